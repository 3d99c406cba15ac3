//! `--bypass`: destinations that go to the kernel, and not through the stack.
//!
//! The host decides, when a socket is connected. It makes a socket of the kernel's, with the options of ours and its port
//! if it was bound, and hands it over with the answer; the caller puts it in the place of the near end and connects it. So
//! `--strict`, under which the program may make none itself, holds. From then on the descriptor is the kernel's, and the
//! host knows nothing of it.
//!
//! Limits: what waits for connections is the stack's always, and so are echo sockets. A datagram socket that is not
//! connected is ours, and cannot send there, since one socket cannot be in two networks. A socket that has become the
//! kernel's goes nowhere else (`calls::may_go`). Duplicates of the near end stay behind, unconnected.
#![forbid(unsafe_code)]

use super::Inner;
use crate::bridge::name::Identity;
use crate::bridge::options::Options;
use crate::bridge::{Ended, Role, Socket};
use crate::config::Bypass;
use crate::engine::{Domain, Kind, Path, SocketId};
use crate::error::{Error, Result};
use crate::observe::log;
use crate::sys;
use crate::sys::descriptors::Owned;
use crate::sys::net;
use core::time::Duration;
use libc::{IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET, c_int};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

static RULES: OnceLock<Vec<Bypass>> = OnceLock::new();

/// Takes the rules of the settings, once.
pub(super) fn remember(rules: &[Bypass]) {
    let _ = RULES.set(rules.to_vec());
}

/// Whether there are any rules. Async-signal-safe.
pub fn is_on() -> bool {
    RULES.get().is_some_and(|rules| !rules.is_empty())
}

/// Whether a destination goes to the kernel. Async-signal-safe.
pub fn contains(to: SocketAddr) -> bool {
    RULES.get().is_some_and(|rules| rules.iter().any(|rule| rule.contains(to)))
}

/// sendto(2) of a datagram socket of ours to where it cannot send: EOPNOTSUPP.
pub(super) fn refuse_unconnected(to: SocketAddr) -> Result<()> {
    if !contains(to) {
        return Ok(());
    }
    if log::first_time("sendto", 0) {
        tracing::warn!(
            "sendto {to}: EOPNOTSUPP; --bypass leads a datagram socket there only when it is connected (connect(2))"
        );
    }
    Err(Error::NotSupported)
}

impl Inner {
    /// A socket of the kernel's for one of ours that is about to be connected to `to`, which ceases to be; None when it
    /// stays ours.
    pub(super) fn bypass(&mut self, identity: &Identity, to: SocketAddr) -> Result<Option<Owned>> {
        if identity.kind == Kind::Echo || !contains(to) {
            return Ok(None);
        }
        let idle = matches!(
            self.socket(identity.id)?.role,
            Role::Idle | Role::Datagram(_) | Role::Ended(Ended { unconnected: true, error: None, .. })
        );
        if !idle {
            return Ok(None);
        }
        let bound = self.bound_outside(identity.id)?;
        let socket = kernel_socket(identity, self.socket(identity.id)?, bound)?;
        self.bridge.close(identity.id, &mut self.engine, sys::now());
        self.step();
        Ok(Some(socket))
    }

    /// Where the kernel binds what the stack bound: the stack's own address is none of the machine's.
    fn bound_outside(&mut self, id: SocketId) -> Result<Option<SocketAddr>> {
        let Some(bound) = self.socket(id)?.bound else { return Ok(None) };
        let ip = match (self.engine.interface_of(bound.ip()), bound.ip()) {
            (Some(Path::Link), IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (Some(Path::Link), IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            (Some(Path::Loopback) | None, ip) => ip,
        };
        Ok(Some(SocketAddr::new(ip, bound.port())))
    }
}

fn kernel_socket(identity: &Identity, ours: &Socket, bound: Option<SocketAddr>) -> Result<Owned> {
    let family = match ours.domain {
        Domain::V4 => AddressFamily::INET,
        Domain::V6 => AddressFamily::INET6,
    };
    let kind = if ours.kind == Kind::Stream { SocketType::STREAM } else { SocketType::DGRAM };
    let mut flags = SocketFlags::CLOEXEC;
    let status = rustix::fs::fcntl_getfl(identity.near())?;
    flags.set(SocketFlags::NONBLOCK, status.contains(OFlags::NONBLOCK));
    let protocol = (ours.kind == Kind::Lite).then_some(rustix::net::ipproto::UDPLITE);
    let socket: Owned = rustix::net::socket_with(family, kind, flags, protocol)?.into();
    let near = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_RCVLOWAT]
        .map(|name| (SOL_SOCKET, name, net::option(identity.near(), SOL_SOCKET, name).ok()));
    for (level, name, value) in chosen(&ours.options).into_iter().chain(near) {
        if let Some(value) = value
            && let Err(errno) = net::set_option(&socket, level, name, &value)
        {
            tracing::debug!(level, name, %errno, "an option that the kernel does not take from a bypassed socket");
        }
    }
    if let Some(bound) = bound {
        rustix::net::bind(&socket, &bound)?;
    }
    Ok(socket)
}

/// The options that the program set: level, name and value; None for what the kernel is to choose.
fn chosen(options: &Options) -> [(c_int, c_int, Option<Vec<u8>>); 22] {
    let number = |number: c_int| number.to_ne_bytes().to_vec();
    let flag = |on: bool| on.then(|| number(1));
    let seconds =
        |value: Duration, default: Duration| (value != default).then(|| number(value.as_secs() as c_int));
    let natural = |value: u32| (value > 0).then(|| number(value as c_int));
    let default = Options::default();
    let (times, usual) = (options.keep_alive_times, default.keep_alive_times);
    let linger = options.linger.map(|linger| [number(1), number(linger as c_int)].concat());
    let linger2 = options
        .linger2
        .map(|limit| if limit.is_zero() { number(-1) } else { number(limit.as_secs() as c_int) });
    let congestion = options.congestion.map(|algorithm| algorithm.name().as_bytes().to_vec());
    [
        (IPPROTO_IPV6, libc::IPV6_V6ONLY, flag(options.v6_only)),
        (SOL_SOCKET, libc::SO_REUSEADDR, flag(options.reuse_address)),
        (SOL_SOCKET, libc::SO_REUSEPORT, flag(options.reuse_port)),
        (SOL_SOCKET, libc::SO_BROADCAST, flag(options.broadcast)),
        (SOL_SOCKET, libc::SO_KEEPALIVE, flag(options.keep_alive)),
        (SOL_SOCKET, libc::SO_OOBINLINE, flag(options.urgent_inline)),
        (SOL_SOCKET, libc::SO_LINGER, linger),
        (SOL_SOCKET, libc::SO_SNDBUF, options.send_buffer.map(|bytes| number(bytes as c_int))),
        (SOL_SOCKET, libc::SO_RCVBUF, options.receive_buffer.map(|bytes| number(bytes as c_int))),
        (
            SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            options.max_pacing_rate.map(|rate| rate.to_ne_bytes().to_vec()),
        ),
        (IPPROTO_TCP, libc::TCP_KEEPIDLE, seconds(times.idle, usual.idle)),
        (IPPROTO_TCP, libc::TCP_KEEPINTVL, seconds(times.interval, usual.interval)),
        (IPPROTO_TCP, libc::TCP_KEEPCNT, (times.count != usual.count).then(|| number(times.count as c_int))),
        (IPPROTO_TCP, libc::TCP_NODELAY, flag(options.no_delay)),
        (IPPROTO_TCP, libc::TCP_CORK, flag(options.cork)),
        (IPPROTO_TCP, libc::TCP_USER_TIMEOUT, natural(options.user_timeout.as_millis() as u32)),
        (IPPROTO_TCP, libc::TCP_CONGESTION, congestion),
        (IPPROTO_TCP, libc::TCP_MAXSEG, options.maximum_segment.map(|size| number(size.into()))),
        (IPPROTO_TCP, libc::TCP_SYNCNT, options.syn_retries.map(|retries| number(retries.into()))),
        (IPPROTO_TCP, libc::TCP_LINGER2, linger2),
        (IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, natural(options.window_clamp)),
        (IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, natural(options.not_sent_low_water)),
    ]
}
