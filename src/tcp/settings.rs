//! What can be set of TCP: for a whole path, and by the program for one connection. Defaults are Linux's.
#![forbid(unsafe_code)]

use super::congestion::Algorithm;
use crate::ip::{Treatment, Versions};
use core::time::Duration;

/// What holds for every connection of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Offer and take timestamps (RFC 7323); net.ipv4.tcp_timestamps.
    pub timestamps: bool,
    /// Offer and take selective acknowledgements (RFC 2018); net.ipv4.tcp_sack.
    pub sack: bool,
    /// Offer and take window scaling (RFC 7323); net.ipv4.tcp_window_scaling.
    pub window_scale: bool,
    /// Congestion control of a connection that does not ask for another; net.ipv4.tcp_congestion_control.
    pub congestion: Algorithm,
    /// The most bytes of a send buffer, to which it grows with the congestion window; net.ipv4.tcp_wmem[2].
    pub send_max: usize,
    /// Bytes of a receive buffer at first.
    pub receive_initial: usize,
    /// The most bytes of a receive buffer, to which it grows with what is read in a round trip; net.ipv4.tcp_rmem[2].
    pub receive_max: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timestamps: true,
            sack: true,
            window_scale: true,
            congestion: Algorithm::Cubic,
            send_max: 4 * 1024 * 1024,
            receive_initial: 64 * 1024,
            receive_max: 6 * 1024 * 1024,
        }
    }
}

/// Keep-alive parameters (RFC 9293 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle time before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes until the connection ends with ETIMEDOUT.
    pub count: u32,
}

impl KeepAlive {
    /// Whether it is within tcp(7)'s limits: with an interval of nothing, probes would follow each other without end.
    pub fn is_valid(&self) -> bool {
        const SECOND: Duration = Duration::from_secs(1);
        self.idle >= SECOND && self.interval >= SECOND && self.count >= 1
    }
}

/// What a program may set of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// IP_TTL, IP_TOS; IPV6_UNICAST_HOPS, IPV6_TCLASS
    pub treatment: Versions<Treatment>,
    /// TCP_NODELAY
    pub no_delay: bool,
    /// TCP_CORK
    pub cork: bool,
    /// TCP_QUICKACK: acknowledge at once, for now.
    pub quick_ack: bool,
    /// SO_OOBINLINE
    pub urgent_inline: bool,
    /// SO_KEEPALIVE and its parameters, which must be valid
    pub keep_alive: Option<KeepAlive>,
    /// TCP_USER_TIMEOUT
    pub user_timeout: Option<Duration>,
    /// TCP_CONGESTION; None is the default of the path.
    pub congestion: Option<Algorithm>,
    /// TCP_MAXSEG, in bytes of data and options
    pub maximum_segment: Option<u16>,
    /// Bytes of the send buffer; None lets it grow.
    pub send_buffer: Option<usize>,
    /// Bytes of the receive buffer; None lets it grow.
    pub receive_buffer: Option<usize>,
    /// TCP_SYNCNT
    pub syn_retries: Option<u8>,
    /// TCP_LINGER2: how long FIN-WAIT-2 lasts when nobody owns the connection.
    pub linger2: Option<Duration>,
    /// SO_MAX_PACING_RATE, in bytes per second
    pub max_pacing_rate: Option<u64>,
    /// TCP_NOTSENT_LOWAT, in bytes
    pub not_sent_low_water: Option<usize>,
    /// TCP_DEFER_ACCEPT: how long a listener keeps a connection to itself that has sent nothing
    pub defer_accept: Option<Duration>,
}
