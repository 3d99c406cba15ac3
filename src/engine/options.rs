//! Options of sockets that change what the engine does.
#![forbid(unsafe_code)]

use super::{Engine, SocketId};
use crate::error::{Error, Result};
use crate::tcp::{Algorithm, KeepAlive, Options};
use crate::time::Instant;
use core::time::Duration;

/// Options that change what the engine does. Everything else is kept by `calls`. None is the default of the stack, where
/// there is an Option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// SO_REUSEADDR
    ReuseAddress(bool),
    /// IPV6_V6ONLY
    V6Only(bool),
    /// SO_BROADCAST
    Broadcast(bool),
    /// TCP_NODELAY
    NoDelay(bool),
    /// TCP_CORK
    Cork(bool),
    /// TCP_QUICKACK
    QuickAcknowledgement(bool),
    /// SO_OOBINLINE
    UrgentInline(bool),
    /// SO_KEEPALIVE with TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT; None is off.
    KeepAlive(Option<KeepAlive>),
    /// TCP_USER_TIMEOUT
    UserTimeout(Option<Duration>),
    /// TCP_CONGESTION
    Congestion(Option<Algorithm>),
    /// TCP_MAXSEG, in bytes
    MaximumSegment(Option<u16>),
    /// SO_SNDBUF, in bytes of data: the buffer does not grow by itself.
    SendBuffer(Option<usize>),
    /// SO_RCVBUF, in bytes of data: the buffer does not grow by itself.
    ReceiveBuffer(Option<usize>),
    /// TCP_SYNCNT
    SynRetries(Option<u8>),
    /// TCP_LINGER2
    Linger2(Option<Duration>),
    /// SO_MAX_PACING_RATE, in bytes per second
    MaxPacingRate(Option<u64>),
    /// TCP_NOTSENT_LOWAT, in bytes
    NotSentLowWater(Option<usize>),
}

impl SocketOption {
    /// Changes what it is about in the options of a connection.
    fn change(self, options: &mut Options) {
        match self {
            SocketOption::ReuseAddress(_) | SocketOption::V6Only(_) | SocketOption::Broadcast(_) => {}
            SocketOption::NoDelay(on) => options.no_delay = on,
            SocketOption::Cork(on) => options.cork = on,
            SocketOption::QuickAcknowledgement(on) => options.quick_ack = on,
            SocketOption::UrgentInline(on) => options.urgent_inline = on,
            SocketOption::KeepAlive(parameters) => options.keep_alive = parameters,
            SocketOption::UserTimeout(limit) => options.user_timeout = limit,
            SocketOption::Congestion(algorithm) => options.congestion = algorithm,
            SocketOption::MaximumSegment(bytes) => options.maximum_segment = bytes,
            SocketOption::SendBuffer(bytes) => options.send_buffer = bytes,
            SocketOption::ReceiveBuffer(bytes) => options.receive_buffer = bytes,
            SocketOption::SynRetries(count) => options.syn_retries = count,
            SocketOption::Linger2(limit) => options.linger2 = limit,
            SocketOption::MaxPacingRate(rate) => options.max_pacing_rate = rate,
            SocketOption::NotSentLowWater(bytes) => options.not_sent_low_water = bytes,
        }
    }
}

impl Engine {
    /// Changes an option. IPV6_V6ONLY is EINVAL once the socket is bound, and so are keep-alive parameters below tcp(7)'s
    /// limits: a second, a probe.
    pub fn set_option(&mut self, id: SocketId, option: SocketOption, now: Instant) -> Result<()> {
        let Engine { sockets, stream_ports, datagram_ports, contexts, ready, .. } = self;
        let socket = sockets.find_mut(id).ok_or(Error::BadDescriptor)?;
        match option {
            SocketOption::ReuseAddress(on) => {
                socket.reuse = on;
                stream_ports.set_reuse(socket.bound, id, on);
                datagram_ports.set_reuse(socket.bound, id, on);
            }
            SocketOption::V6Only(on) if socket.bound.is_none() || on == socket.v6_only => socket.v6_only = on,
            SocketOption::V6Only(_) => return Err(Error::InvalidArgument),
            SocketOption::Broadcast(on) => socket.broadcast = on,
            SocketOption::KeepAlive(Some(probes)) if !probes.is_valid() => {
                return Err(Error::InvalidArgument);
            }
            option => option.change(socket.options.get_or_insert_default()),
        }
        let options = socket.options();
        if let Some(open) = socket.connection_mut() {
            open.connection.set_options(&contexts[open.path as usize], options, now);
            socket.make_ready(ready);
        }
        Ok(())
    }
}
