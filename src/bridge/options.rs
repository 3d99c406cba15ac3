//! What setsockopt(2) set on a socket and getsockopt(2) gives back; `calls::options` holds their meaning.

use crate::engine::KeepAlive;
use core::time::Duration;

/// The options of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// SO_REUSEADDR
    pub reuse_address: bool,
    /// SO_REUSEPORT
    pub reuse_port: bool,
    /// SO_BROADCAST
    pub broadcast: bool,
    /// SO_KEEPALIVE
    pub keep_alive: bool,
    /// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
    pub keep_alive_times: KeepAlive,
    /// SO_OOBINLINE
    pub urgent_inline: bool,
    /// SO_LINGER's seconds when it is on.
    pub linger: Option<u32>,
    /// SO_SNDBUF in bytes, as Linux shows it: doubled.
    pub send_buffer: u32,
    /// SO_RCVBUF, likewise.
    pub receive_buffer: u32,
    /// IPV6_V6ONLY
    pub v6_only: bool,
    /// TCP_NODELAY
    pub no_delay: bool,
    /// TCP_USER_TIMEOUT; zero is the default of the stack.
    pub user_timeout: Duration,
}

impl Default for Options {
    /// Linux's defaults: tcp(7), socket(7).
    fn default() -> Options {
        Options {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            keep_alive: false,
            keep_alive_times: KeepAlive {
                idle: Duration::from_secs(7200),
                interval: Duration::from_secs(75),
                count: 9,
            },
            urgent_inline: false,
            linger: None,
            send_buffer: 87_040,
            receive_buffer: 131_072,
            v6_only: false,
            no_delay: false,
            user_timeout: Duration::ZERO,
        }
    }
}
