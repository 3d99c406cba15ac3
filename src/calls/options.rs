//! getsockopt(2) and setsockopt(2): what each option means here. An option is supported with effect, or it fails with
//! the errno of Linux for one that it does not know (ENOPROTOOPT), said once in the log.
//!
//! Kernel's: SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVLOWAT, SO_PEEK_OFF and SO_COOKIE act on the near end, natively.
//! Kept only: buffer sizes are remembered and shown doubled, as Linux shows them; the stack sizes its buffers itself.

use super::{ask, log};
use crate::bridge::Role;
use crate::bridge::name::Identity;
use crate::bridge::options::Options;
use crate::engine::{Domain, Kind};
use crate::error::{Error, Result};
use crate::host::Inner;
use core::fmt;
use core::time::Duration;
use libc::{SOL_SOCKET, c_int};

/// Names of the options that programs use most, for people.
const NAMES: &[(c_int, c_int, &str)] = &[
    (SOL_SOCKET, libc::SO_REUSEADDR, "SO_REUSEADDR"),
    (SOL_SOCKET, libc::SO_REUSEPORT, "SO_REUSEPORT"),
    (SOL_SOCKET, libc::SO_KEEPALIVE, "SO_KEEPALIVE"),
    (SOL_SOCKET, libc::SO_BROADCAST, "SO_BROADCAST"),
    (SOL_SOCKET, libc::SO_LINGER, "SO_LINGER"),
    (SOL_SOCKET, libc::SO_SNDBUF, "SO_SNDBUF"),
    (SOL_SOCKET, libc::SO_RCVBUF, "SO_RCVBUF"),
    (SOL_SOCKET, libc::SO_TIMESTAMP, "SO_TIMESTAMP"),
    (SOL_SOCKET, libc::SO_BINDTODEVICE, "SO_BINDTODEVICE"),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, "TCP_NODELAY"),
    (libc::IPPROTO_TCP, libc::TCP_CORK, "TCP_CORK"),
    (libc::IPPROTO_TCP, libc::TCP_INFO, "TCP_INFO"),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, "TCP_KEEPIDLE"),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, "TCP_KEEPINTVL"),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, "TCP_KEEPCNT"),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN, "TCP_FASTOPEN"),
    (libc::IPPROTO_TCP, libc::TCP_QUICKACK, "TCP_QUICKACK"),
    (libc::IPPROTO_IP, libc::IP_TOS, "IP_TOS"),
    (libc::IPPROTO_IP, libc::IP_TTL, "IP_TTL"),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, "IP_MTU_DISCOVER"),
    (libc::IPPROTO_IP, libc::IP_RECVERR, "IP_RECVERR"),
    (libc::IPPROTO_IP, libc::IP_PKTINFO, "IP_PKTINFO"),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, "IPV6_V6ONLY"),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, "IPV6_RECVERR"),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, "IPV6_TCLASS"),
];

/// An option as a person knows it: its name, or level and number.
#[derive(Clone, Copy, Debug)]
pub struct Named(pub c_int, pub c_int);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(level, number, _)| (*level, *number) == (self.0, self.1)) {
            Some((_, _, name)) => f.write_str(name),
            None => write!(f, "option {} of level {}", self.1, self.0),
        }
    }
}

/// Who answers for an option.
pub enum Answer {
    /// The kernel, for the near end.
    Kernel,
    /// An int.
    Number(c_int),
    /// Something else, as its bytes.
    Bytes(Vec<u8>),
}

/// Options that the near end has by itself.
fn is_kernels(level: c_int, name: c_int) -> bool {
    level == SOL_SOCKET
        && [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_RCVLOWAT, libc::SO_PEEK_OFF, libc::SO_COOKIE]
            .contains(&name)
}

/// getsockopt(2)
pub fn get(identity: &Identity, level: c_int, name: c_int) -> Result<Answer> {
    if is_kernels(level, name) {
        return Ok(Answer::Kernel);
    }
    ask(identity, "getsockopt", |inner| match level {
        SOL_SOCKET => get_socket(inner, identity, name),
        libc::IPPROTO_TCP if identity.kind == Kind::Stream => get_tcp(inner, identity, name),
        libc::IPPROTO_IPV6 if name == libc::IPV6_V6ONLY => {
            let socket = inner.socket(identity.id)?;
            match socket.domain {
                Domain::V6 => Ok(flag(socket.options.v6_only)),
                Domain::V4 => Err(Error::NotSupported),
            }
        }
        _ => Err(unknown(level, name)),
    })
}

fn flag(set: bool) -> Answer {
    Answer::Number(c_int::from(set))
}

fn seconds(duration: Duration) -> Answer {
    Answer::Number(c_int::try_from(duration.as_secs()).unwrap_or(c_int::MAX))
}

fn get_socket(inner: &mut Inner, identity: &Identity, name: c_int) -> Result<Answer> {
    if name == libc::SO_ERROR {
        return Ok(Answer::Number(inner.take_error(identity.id).map_or(0, Error::errno)));
    }
    let socket = inner.socket(identity.id)?;
    let options = &socket.options;
    Ok(match (name, identity.kind) {
        (libc::SO_TYPE, Kind::Stream) => Answer::Number(libc::SOCK_STREAM),
        (libc::SO_TYPE, Kind::Datagram) => Answer::Number(libc::SOCK_DGRAM),
        (libc::SO_PROTOCOL, Kind::Stream) => Answer::Number(libc::IPPROTO_TCP),
        (libc::SO_PROTOCOL, Kind::Datagram) => Answer::Number(libc::IPPROTO_UDP),
        (libc::SO_DOMAIN, _) => Answer::Number(match socket.domain {
            Domain::V4 => libc::AF_INET,
            Domain::V6 => libc::AF_INET6,
        }),
        (libc::SO_ACCEPTCONN, _) => flag(matches!(socket.role, Role::Listener(_))),
        (libc::SO_REUSEADDR, _) => flag(options.reuse_address),
        (libc::SO_REUSEPORT, _) => flag(options.reuse_port),
        (libc::SO_BROADCAST, _) => flag(options.broadcast),
        (libc::SO_KEEPALIVE, _) => flag(options.keep_alive),
        (libc::SO_OOBINLINE, _) => flag(options.urgent_inline),
        (libc::SO_SNDBUF, _) => Answer::Number(options.send_buffer as c_int),
        (libc::SO_RCVBUF, _) => Answer::Number(options.receive_buffer as c_int),
        (libc::SO_LINGER, _) => {
            let on = c_int::from(options.linger.is_some()).to_ne_bytes();
            Answer::Bytes([on, options.linger.unwrap_or(0).to_ne_bytes()].concat())
        }
        _ => return Err(unknown(SOL_SOCKET, name)),
    })
}

fn get_tcp(inner: &mut Inner, identity: &Identity, name: c_int) -> Result<Answer> {
    if name == libc::TCP_MAXSEG {
        return Ok(Answer::Number(inner.segment_size(identity.id) as c_int));
    }
    let options = &inner.socket(identity.id)?.options;
    Ok(match name {
        libc::TCP_NODELAY => flag(options.no_delay),
        libc::TCP_KEEPIDLE => seconds(options.keep_alive_times.idle),
        libc::TCP_KEEPINTVL => seconds(options.keep_alive_times.interval),
        libc::TCP_KEEPCNT => Answer::Number(options.keep_alive_times.count as c_int),
        libc::TCP_USER_TIMEOUT => Answer::Number(options.user_timeout.as_millis() as c_int),
        // The engine acknowledges at once.
        libc::TCP_QUICKACK => flag(true),
        libc::TCP_CONGESTION => Answer::Bytes(b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
        _ => return Err(unknown(libc::IPPROTO_TCP, name)),
    })
}

/// setsockopt(2): whether the kernel is to set it, on the near end.
pub fn set(identity: &Identity, level: c_int, name: c_int, value: &[u8]) -> Result<bool> {
    if is_kernels(level, name) {
        return Ok(true);
    }
    ask(identity, "setsockopt", |inner| match (level, name) {
        (SOL_SOCKET, _) => set_socket(inner, identity, name, value),
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) if identity.kind == Kind::Stream => {
            let name = value.split(|&byte| byte == 0).next().unwrap_or_default();
            if name == b"cubic" { Ok(()) } else { Err(Error::Kernel(libc::ENOENT)) }
        }
        (libc::IPPROTO_TCP, _) if identity.kind == Kind::Stream => {
            set_tcp(inner, identity, name, number(value)?)
        }
        // ip_setsockopt's answer, and no news for the log: programs try it on every socket.
        (libc::IPPROTO_IPV6, _) if inner.socket(identity.id)?.domain == Domain::V4 => {
            Err(Error::NoSuchOption)
        }
        (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY) => {
            let only = number(value)? != 0;
            inner.set_options(identity.id, |options| options.v6_only = only)
        }
        _ => Err(unknown(level, name)),
    })?;
    Ok(false)
}

fn number(value: &[u8]) -> Result<c_int> {
    value.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes)).ok_or(Error::InvalidArgument)
}

fn set_socket(inner: &mut Inner, identity: &Identity, name: c_int, value: &[u8]) -> Result<()> {
    let number = number(value)?;
    let on = number != 0;
    let buffer = |smallest: u32| (number.max(0) as u32).min(106_496).saturating_mul(2).max(smallest);
    let change: &dyn Fn(&mut Options) = match name {
        libc::SO_REUSEADDR => &|options| options.reuse_address = on,
        libc::SO_REUSEPORT => &|options| options.reuse_port = on,
        libc::SO_BROADCAST => &|options| options.broadcast = on,
        libc::SO_KEEPALIVE => &|options| options.keep_alive = on,
        libc::SO_OOBINLINE => &|options| options.urgent_inline = on,
        libc::SO_SNDBUF => &|options| options.send_buffer = buffer(4608),
        libc::SO_RCVBUF => &|options| options.receive_buffer = buffer(2304),
        libc::SO_LINGER => {
            let seconds = value.get(4..8).ok_or(Error::InvalidArgument)?;
            let seconds = u32::from_ne_bytes(seconds.try_into().expect("four bytes"));
            &move |options| options.linger = on.then_some(seconds)
        }
        libc::SO_TYPE | libc::SO_PROTOCOL | libc::SO_DOMAIN | libc::SO_ERROR | libc::SO_ACCEPTCONN => {
            return Err(Error::NoSuchOption);
        }
        _ => return Err(unknown(SOL_SOCKET, name)),
    };
    inner.set_options(identity.id, change)
}

fn set_tcp(inner: &mut Inner, identity: &Identity, name: c_int, number: c_int) -> Result<()> {
    // tcp(7): seconds from 1 to 32767, probes from 1 to 127.
    let within = |largest: c_int| {
        if (1..=largest).contains(&number) { Ok(number as u32) } else { Err(Error::InvalidArgument) }
    };
    match name {
        libc::TCP_NODELAY => inner.set_options(identity.id, |options| options.no_delay = number != 0),
        libc::TCP_KEEPIDLE => {
            let idle = Duration::from_secs(within(32_767)?.into());
            inner.set_options(identity.id, |options| options.keep_alive_times.idle = idle)
        }
        libc::TCP_KEEPINTVL => {
            let interval = Duration::from_secs(within(32_767)?.into());
            inner.set_options(identity.id, |options| options.keep_alive_times.interval = interval)
        }
        libc::TCP_KEEPCNT => {
            let count = within(127)?;
            inner.set_options(identity.id, |options| options.keep_alive_times.count = count)
        }
        libc::TCP_USER_TIMEOUT => {
            let millis = u64::try_from(number).map_err(|_| Error::InvalidArgument)?;
            inner.set_options(identity.id, |options| options.user_timeout = Duration::from_millis(millis))
        }
        // A wish for the moment, on Linux too: the engine acknowledges at once in any case.
        libc::TCP_QUICKACK => Ok(()),
        _ => Err(unknown(libc::IPPROTO_TCP, name)),
    }
}

fn unknown(level: c_int, name: c_int) -> Error {
    if log::first_time("socket option", i64::from(level) << 32 | i64::from(name)) {
        tracing::warn!("{}: not supported, ENOPROTOOPT", Named(level, name));
    }
    Error::NoSuchOption
}
