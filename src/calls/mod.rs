//! What POSIX and Linux say of each call, in safe terms: which sockets are ours, what a descriptor is, what a call does
//! in which state. The bytes of an address or an option come in as slices; pointers and errno are `abi`'s.

pub mod address;
pub mod names;
pub mod options;
mod tcp_info;

use crate::bridge::name::{self, Identity};
use crate::engine::{Domain, Kind, SocketId};
use crate::error::{Error, Result};
use crate::host::{self, Connect, Host, Inner};
use crate::observe::log;
use crate::sys;
use address::Given;
use libc::c_int;
use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::net::SocketFlags;
use std::net::SocketAddr;

/// What a descriptor is, when it is one of ours. Async-signal-safe.
pub fn identify(fd: RawFd) -> Option<Identity> {
    name::identify(fd)
}

/// Asks the host that a descriptor belongs to. A socket that came from another process by fork or exec has its host
/// there: data still flows, but its host cannot be asked yet, and that is an error that is said once.
pub fn ask<T>(
    identity: &Identity,
    call: &'static str,
    request: impl FnOnce(&mut Inner) -> Result<T>,
) -> Result<T> {
    let Some(host) = Host::of(identity) else { return Err(elsewhere(call)) };
    let mut inner = host.lock();
    if inner.is_broken() { Err(Error::Broken) } else { request(&mut inner) }
}

fn elsewhere(call: &'static str) -> Error {
    if log::first_time(call, 0) {
        tracing::error!(
            "{call}: this socket was opened by another process, before fork or exec, and belongs to the stack there: \
             EOPNOTSUPP. Only reading, writing and accepting work on it; open the socket in the process that uses it"
        );
    }
    Error::NotSupported
}

/// socket(2): None when the kernel should make it. Streams and datagrams of AF_INET and AF_INET6 are ours.
pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Option<Result<RawFd>> {
    let domain = match domain {
        libc::AF_INET => Domain::V4,
        libc::AF_INET6 => Domain::V6,
        _ => return None,
    };
    Some(open(domain, kind, protocol))
}

fn open(domain: Domain, kind: c_int, protocol: c_int) -> Result<RawFd> {
    let mut flags = SocketFlags::empty();
    flags.set(SocketFlags::NONBLOCK, kind & libc::SOCK_NONBLOCK != 0);
    flags.set(SocketFlags::CLOEXEC, kind & libc::SOCK_CLOEXEC != 0);
    let kind = match (kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Kind::Stream,
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Kind::Datagram,
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => {
            return Err(refused("ICMP echo socket", Error::PermissionDenied));
        }
        (libc::SOCK_RAW, _) => return Err(refused("raw socket", Error::Kernel(libc::EPERM))),
        (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => return Err(Error::ProtocolNotSupported),
        _ => return Err(Error::SocketTypeNotSupported),
    };
    let near = Host::start()?.lock().open(domain, kind, flags)?;
    if kind == Kind::Datagram {
        host::datagram_opened();
    }
    Ok(near.into_raw_fd())
}

fn refused(what: &'static str, error: Error) -> Error {
    if log::first_time(what, 0) {
        tracing::warn!("{what}: not supported, {error}");
    }
    error
}

/// bind(2)
pub fn bind(identity: &Identity, address: &[u8]) -> Result<()> {
    ask(identity, "bind", |inner| {
        let domain = inner.socket(identity.id)?.domain;
        let address = address::parse(address, domain)?.to_bind(domain)?;
        inner.bind(identity.id, address)
    })
}

/// listen(2). A negative backlog is the largest, as on Linux.
pub fn listen(fd: BorrowedFd<'_>, identity: &Identity, backlog: c_int) -> Result<()> {
    if identity.kind == Kind::Datagram {
        return Err(Error::NotSupported);
    }
    let backlog = u16::try_from(backlog).unwrap_or(4096).min(4096);
    ask(identity, "listen", |inner| inner.listen(identity.id, fd, backlog))
}

/// A connect that goes on after the call has begun it.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Nothing is left to wait for.
    Done,
    /// The caller waits until the descriptor polls writable.
    Waits(SocketId),
}

/// connect(2)
pub fn connect(fd: BorrowedFd<'_>, identity: &Identity, address: &[u8]) -> Result<Progress> {
    ask(identity, "connect", |inner| {
        let domain = inner.socket(identity.id)?.domain;
        let to = address::parse(address, domain)?;
        match (identity.kind, to) {
            (Kind::Datagram, Given::Unspecified) => inner.connect_datagram(identity.id, None)?,
            (Kind::Datagram, Given::Address(to)) => inner.connect_datagram(identity.id, Some(to))?,
            (Kind::Stream, Given::Unspecified) => {
                return Err(refused("connect(AF_UNSPEC) of a stream", Error::NotSupported));
            }
            (Kind::Stream, Given::Address(to)) => return connect_stream(inner, fd, identity.id, to),
        }
        Ok(Progress::Done)
    })
}

fn connect_stream(inner: &mut Inner, fd: BorrowedFd<'_>, id: SocketId, to: SocketAddr) -> Result<Progress> {
    let (id, begun) = match inner.connect(id, fd, to)? {
        Connect::Again => {
            let id = replace(inner, fd, id)?;
            (id, inner.connect(id, fd, to)?)
        }
        begun => (id, begun),
    };
    match begun {
        // Also when it is done already: so does Linux, over loopback.
        Connect::Pending if is_nonblocking(fd) => Err(Error::InProgress),
        Connect::Pending => Ok(Progress::Waits(id)),
        Connect::Done | Connect::Again => Ok(Progress::Done),
    }
}

/// Puts a new near end in the place of one whose connect failed: the kernel lets an AF_UNIX socket connect once only.
/// Duplicates of the old one, and epoll registrations, do not follow.
fn replace(inner: &mut Inner, fd: BorrowedFd<'_>, id: SocketId) -> Result<SocketId> {
    let mut flags = SocketFlags::empty();
    flags.set(SocketFlags::NONBLOCK, is_nonblocking(fd));
    let (id, near) = inner.replacement(id, flags)?;
    let close_on_exec = rustix::io::fcntl_getfd(fd)?.contains(FdFlags::CLOEXEC);
    crate::sys::descriptors::put_over(near, fd, close_on_exec)?;
    Ok(id)
}

/// Whether O_NONBLOCK is set on the open file.
pub fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// The outcome of a connect that was waited for; None while it is under way.
pub fn connected(identity: &Identity, id: SocketId) -> Option<Result<()>> {
    ask(identity, "connect", |inner| Ok(inner.connected(id))).unwrap_or_else(|error| Some(Err(error)))
}

/// getsockname(2)
pub fn local(identity: &Identity) -> Result<SocketAddr> {
    match (Host::of(identity), identity.accepted) {
        (None, Some((local, _))) => Ok(local),
        _ => ask(identity, "getsockname", |inner| inner.local(identity.id)),
    }
}

/// getpeername(2)
pub fn peer(identity: &Identity) -> Result<SocketAddr> {
    match (Host::of(identity), identity.accepted) {
        (None, Some((_, peer))) => Ok(peer),
        _ => ask(identity, "getpeername", |inner| inner.peer(identity.id)),
    }
}

/// Whether the process that the engine of a socket runs in still lives.
fn host_lives(fd: BorrowedFd<'_>) -> bool {
    name::host_process(fd).is_some_and(sys::process_lives)
}

/// Before accept(2): ENETDOWN when the process has gone that opened the listener, since nobody would ever connect to it
/// again.
pub fn can_accept(fd: BorrowedFd<'_>, identity: &Identity) -> Result<()> {
    if Host::of(identity).is_some() || host_lives(fd) {
        return Ok(());
    }
    if log::first_time("accept", 0) {
        tracing::error!(
            "accept: the process that opened this listener has ended, and its stack with it: ENETDOWN"
        );
    }
    Err(Error::Kernel(libc::ENETDOWN))
}

/// What accept(2) took from a listener of ours: the peer, or None for a stranger who found the name. The kernel knows
/// who made either end.
pub fn accepted(listener: BorrowedFd<'_>, fd: BorrowedFd<'_>, identity: &Identity) -> Option<SocketAddr> {
    let (_, peer) = identity.accepted?;
    let host = name::host_process(listener)?;
    if name::host_process(fd) != Some(host) {
        return None;
    }
    if let Some(host) = Host::of(identity) {
        host.lock().accepted();
    }
    Some(peer)
}

/// shutdown(2), the part before the kernel's own call on the near end.
pub fn shutdown(identity: &Identity, how: c_int) -> Result<()> {
    if ![libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR].contains(&how) {
        return Err(Error::InvalidArgument);
    }
    match Host::of(identity) {
        Some(host) => host.lock().shutdown(identity.id, how != libc::SHUT_WR),
        None => Ok(()),
    }
}

/// Why a read of a stream gave nothing, when the kernel gave end of file, ECONNRESET, or EINVAL for a near end that is
/// not connected. Ok is a true end of file.
pub fn explain_read(fd: BorrowedFd<'_>, identity: &Identity) -> Result<()> {
    let Some(host) = Host::of(identity) else { return explain_elsewhere(fd) };
    let mut inner = host.lock();
    match inner.take_error(identity.id) {
        Some(error) => Err(error),
        None if inner.is_readable(identity.id) => Ok(()),
        None => Err(Error::NotConnected),
    }
}

/// A socket of another process's stack: only while that lives does an end of file mean one.
fn explain_elsewhere(fd: BorrowedFd<'_>) -> Result<()> {
    if host_lives(fd) {
        return Ok(());
    }
    if log::first_time("read", 0) {
        tracing::error!(
            "read: the process that opened this socket has ended, and its stack with it: ECONNRESET"
        );
    }
    Err(Error::ConnectionReset)
}

/// Why a write to a stream failed, when the kernel said EPIPE, ECONNRESET or ENOTCONN.
pub fn explain_write(identity: &Identity) -> Error {
    let error = Host::of(identity).and_then(|host| host.lock().take_error(identity.id));
    error.unwrap_or(Error::BrokenPipe)
}

/// sendto(2) of a datagram socket. Returns the bytes sent.
pub fn send_datagram(identity: &Identity, to: Option<&[u8]>, payload: &[u8]) -> Result<usize> {
    ask(identity, "sendto", |inner| {
        let domain = inner.socket(identity.id)?.domain;
        let to = match to.map(|to| address::parse(to, domain)).transpose()? {
            Some(Given::Address(to)) => Some(to),
            // Linux takes AF_UNSPEC for AF_INET here; nobody sends to nowhere on purpose.
            Some(Given::Unspecified) => return Err(Error::AddressFamilyNotSupported),
            None => None,
        };
        inner.send_datagram(identity.id, to, payload)
    })
}

/// The error behind the mark that a datagram socket's reader found, if nobody fetched it meanwhile.
pub fn datagram_error(identity: &Identity) -> Option<Error> {
    Host::of(identity)?.lock().take_error(identity.id)
}

/// After close(2) of a descriptor of ours that no far end watches.
pub fn closed(identity: &Identity) {
    if let Some(host) = Host::of(identity) {
        host.lock().closed(identity.id);
    }
}

/// After descriptors were closed or replaced that nobody looked at.
pub fn closed_some() {
    if let Some(host) = Host::running() {
        host.lock().closed_some();
    }
}
