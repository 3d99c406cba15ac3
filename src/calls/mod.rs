//! What POSIX and Linux say of each call, in safe terms: which sockets are ours, what a descriptor is, what a call does
//! in which state. The bytes of an address or an option come in as slices; pointers and errno are `abi`'s.

pub mod address;
pub mod datagrams;
pub mod interfaces;
pub mod names;
pub mod netlink;

use crate::bridge::name::{self, Identity};
use crate::engine::{Domain, ErrorReport, Kind};
use crate::error::{Error, Result};
use crate::host::{self, Answer, Connect, Request};
use crate::observe::log;
use crate::sys;
use crate::sys::descriptors::{Owned, put_over};
use crate::sys::epoll::Registrations;
use crate::sys::unix::{self, Peer};
use address::Given;
use core::time::Duration;
use libc::c_int;
use rustix::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, sockopt};
use std::net::SocketAddr;

/// What a descriptor is, when it is one of ours. Async-signal-safe.
pub fn identify(fd: RawFd) -> Option<Identity> {
    name::identify(fd)
}

/// Asks the host that a descriptor belongs to.
fn ask(identity: &Identity, call: &'static str, request: Request) -> Result<Answer> {
    host::ask(identity, call, request, &[]).map(|(answer, _)| answer)
}

/// As `ask`, where all that can be answered is that it is done.
fn demand(identity: &Identity, call: &'static str, request: Request) -> Result<()> {
    ask(identity, call, request).map(drop)
}

/// As `ask`, for an address.
fn ask_address(identity: &Identity, call: &'static str, request: Request) -> Result<SocketAddr> {
    match ask(identity, call, request)? {
        Answer::Address(address) => Ok(address),
        _ => Err(Error::Broken),
    }
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

/// linux/net.h, and linux/in.h, with MPTCP.
const SOCK_MAX: c_int = 11;
const IPPROTO_MAX: c_int = 263;

fn open(domain: Domain, kind: c_int, protocol: c_int) -> Result<RawFd> {
    let mut flags = SocketFlags::empty();
    flags.set(SocketFlags::NONBLOCK, kind & libc::SOCK_NONBLOCK != 0);
    flags.set(SocketFlags::CLOEXEC, kind & libc::SOCK_CLOEXEC != 0);
    let kind = match (kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), protocol) {
        // __sock_create, inet_create
        (SOCK_MAX.. | ..=-1, _) | (_, IPPROTO_MAX.. | ..=-1) => return Err(Error::InvalidArgument),
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Kind::Stream,
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Kind::Datagram,
        (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) => Kind::Lite,
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMP) if domain == Domain::V4 => Kind::Echo,
        (libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) if domain == Domain::V6 => Kind::Echo,
        (libc::SOCK_RAW, 0) => return Err(Error::ProtocolNotSupported),
        (libc::SOCK_RAW, _) => return Err(refused("raw socket", Error::Kernel(libc::EPERM))),
        (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => return Err(Error::ProtocolNotSupported),
        _ => return Err(Error::SocketTypeNotSupported),
    };
    let near = host::open(domain, kind, flags)?;
    if kind != Kind::Stream {
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
    let address = address::parse_to_bind(address, identity.domain)?;
    datagrams::changed(identity);
    demand(identity, "bind", Request::Bind(address))
}

/// listen(2). A negative backlog is the largest, as on Linux.
pub fn listen(identity: &Identity, backlog: c_int) -> Result<()> {
    if identity.kind != Kind::Stream {
        return Err(Error::NotSupported);
    }
    let backlog = u16::try_from(backlog).unwrap_or(4096).min(4096);
    demand(identity, "listen", Request::Listen(backlog))
}

/// A connect that goes on after the call has begun it.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Nothing is left to wait for.
    Done,
    /// The caller waits until the descriptor polls writable: perhaps with a new near end under its number.
    Waits(Identity),
    /// The descriptor is now the kernel's, for which the call is to be made.
    Kernels,
}

/// connect(2)
pub fn connect(identity: &Identity, address: &[u8]) -> Result<Progress> {
    let to = address::parse(address, identity.domain)?;
    datagrams::changed(identity);
    let request = match (identity.kind, to) {
        (kind, Given::Unspecified) if kind.is_datagram() => Request::ConnectDatagram(None),
        (kind, Given::Address(to)) if kind.is_datagram() => Request::ConnectDatagram(Some(to)),
        (_, Given::Unspecified) => return disconnect(identity).map(|()| Progress::Done),
        (_, Given::Address(to)) => Request::Connect(to),
    };
    let (identity, begun) = match begin(identity, request)? {
        Connect::Again => {
            let identity = replace(identity)?;
            (identity, begin(&identity, request)?)
        }
        begun => (*identity, begun),
    };
    match begun {
        // Also when it is done already: so does Linux, over loopback.
        Connect::Pending if is_nonblocking(identity.near()) => Err(Error::InProgress),
        Connect::Pending => Ok(Progress::Waits(identity)),
        Connect::Done | Connect::Again => Ok(Progress::Done),
        Connect::Kernels => Ok(Progress::Kernels),
        Connect::Failed(error) => Err(error),
    }
}

/// connect(2) of a stream to AF_UNSPEC.
fn disconnect(identity: &Identity) -> Result<()> {
    let (_, fresh) = host::ask(identity, "connect", Request::Disconnect, &[])?;
    fresh.map_or(Ok(()), |fresh| renew(fresh, identity))
}

fn begin(identity: &Identity, request: Request) -> Result<Connect> {
    match host::ask(identity, "connect", request, &[])? {
        (Answer::Connect(Connect::Kernels), Some(socket)) => {
            put_in_place(socket, identity.near())?;
            Ok(Connect::Kernels)
        }
        (Answer::Connect(Connect::Failed(error)), fresh) => {
            as_before(identity, fresh);
            Err(error)
        }
        (Answer::Connect(begun), _) => Ok(begun),
        _ => Err(Error::Broken),
    }
}

/// After a connect that failed. Without a fresh near end the next attempt asks for one.
fn as_before(identity: &Identity, fresh: Option<Owned>) {
    if let Some(fresh) = fresh {
        let _ = renew(fresh, identity);
    }
}

/// Puts a new near end in the place of one whose connect failed: the kernel lets an AF_UNIX socket connect once only.
/// Duplicates of the old one do not follow; when it was they that learned of the failure, this one has to ask.
fn replace(identity: &Identity) -> Result<Identity> {
    let (_, replacement) = host::ask(identity, "connect", Request::Replacement, &[])?;
    renew(replacement.ok_or(Error::Broken)?, identity)?;
    identify(identity.fd).ok_or(Error::BadDescriptor)
}

/// Gives the number of a near end to another near end, with the options that are natively its own.
fn renew(fresh: Owned, identity: &Identity) -> Result<()> {
    unix::inherit(identity.near(), &fresh);
    put_in_place(fresh, identity.near())
}

/// Gives the number of a near end to another open file, and its places in epoll sets.
fn put_in_place(new: Owned, near: BorrowedFd<'_>) -> Result<()> {
    let close_on_exec = rustix::io::fcntl_getfd(near)?.contains(FdFlags::CLOEXEC);
    let registrations = Registrations::take(near);
    let put = put_over(new, near, close_on_exec);
    registrations.restore(near);
    put
}

/// Before the kernel's socket `fd` is connected to `address`, or sends there: with --bypass it may have taken the place of
/// one of ours, and must not carry what is the stack's. ENETUNREACH.
pub fn may_go(fd: RawFd, address: &[u8]) -> Result<()> {
    let Ok(Given::Address(to)) = address::parse(address, Domain::V6) else { return Ok(()) };
    if host::bypass::contains(to) || fd < 0 {
        return Ok(());
    }
    // SAFETY: the kernel looks at the number, and answers EBADF when it is not open.
    let socket = unsafe { BorrowedFd::borrow_raw(fd) };
    let domain = sockopt::socket_domain(socket);
    if !domain.is_ok_and(|domain| [AddressFamily::INET, AddressFamily::INET6].contains(&domain)) {
        return Ok(());
    }
    Err(refused(
        "what is not bypassed, from a socket that is the kernel's by --bypass",
        Error::NetworkUnreachable,
    ))
}

/// Whether O_NONBLOCK is set on the open file.
pub fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// The outcome of a connect that was waited for; None while it is under way.
pub fn connected(identity: &Identity) -> Option<Result<()>> {
    match begin(identity, Request::Connected) {
        Ok(Connect::Pending) => None,
        outcome => Some(outcome.map(drop)),
    }
}

/// getsockname(2)
pub fn local(identity: &Identity) -> Result<SocketAddr> {
    match identity.accepted {
        Some((local, _)) => Ok(local),
        None => ask_address(identity, "getsockname", Request::Local),
    }
}

/// getpeername(2)
pub fn peer(identity: &Identity) -> Result<SocketAddr> {
    ask_address(identity, "getpeername", Request::Peer)
}

/// Before accept(2): ENETDOWN when the process has gone that ran the listener's host, since nobody would ever connect to
/// it again. The kernel answers for a socket that does not listen, and names no process for it.
pub fn can_accept(identity: &Identity) -> Result<()> {
    // Of this very process it was the one before exec.
    let gone = |process| process == sys::process_id() || !sys::process_lives(process);
    if !host::is_elsewhere(identity) || !name::host_process(identity.near()).is_some_and(gone) {
        return Ok(());
    }
    host::host_has_gone(identity, "accept");
    Err(Error::Kernel(libc::ENETDOWN))
}

/// What accept(2) took from a listener of ours, whose host is `host`: the peer, or None for a stranger who found
/// the name. The kernel knows who made either end.
pub fn accepted(host: Option<Peer>, listener: &Identity, identity: &Identity) -> Option<SocketAddr> {
    let (_, peer) = identity.accepted?;
    unix::peer(identity.near()).filter(|maker| host.is_some_and(|host| host.is_same(maker)))?;
    if !host::is_elsewhere(listener) {
        // A host elsewhere looks by itself from time to time: it is not worth a message for each.
        let _ = demand(listener, "accept", Request::Accepted);
    }
    unix::inherit(listener.near(), identity.near());
    Some(peer)
}

/// shutdown(2), the part before the kernel's own call on the near end. False when there is nothing left for that to do: the
/// socket listened, and has another near end, that does not.
pub fn shutdown(identity: &Identity, how: c_int) -> Result<bool> {
    if ![libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR].contains(&how) {
        return Err(Error::InvalidArgument);
    }
    let request = Request::Shutdown { reading: how != libc::SHUT_WR, writing: how != libc::SHUT_RD };
    let (_, fresh) = host::ask(identity, "shutdown", request, &[])?;
    let Some(fresh) = fresh else { return Ok(true) };
    // Whoever waits in accept wakes up with EINVAL.
    rustix::net::shutdown(identity.near(), Shutdown::Both)?;
    renew(fresh, identity)?;
    Ok(false)
}

/// Why a read of a stream gave nothing, when the kernel gave end of file, ECONNRESET, or EINVAL for a near end that is
/// not connected. Ok is a true end of file; when the host has gone nobody can say that it is one.
pub fn explain_read(identity: &Identity) -> Result<()> {
    demand(identity, "read", Request::ExplainRead).map_err(|error| match error {
        Error::Kernel(libc::ENETDOWN) => Error::ConnectionReset,
        error => error,
    })
}

/// Why a write to a stream failed, when the kernel said EPIPE, ECONNRESET or ENOTCONN.
pub fn explain_write(identity: &Identity) -> Error {
    take_error(identity).unwrap_or(Error::BrokenPipe)
}

/// The error that no call has reported yet.
pub fn take_error(identity: &Identity) -> Option<Error> {
    match ask(identity, "write", Request::TakeError) {
        Ok(Answer::Reported(error)) => error,
        _ => None,
    }
}

/// What a call of a datagram socket fails with, that the kernel fails with ECONNRESET; None when there is something in the
/// error queue only.
pub fn explain_datagram(identity: &Identity) -> Result<Option<Error>> {
    match ask(identity, "recvfrom", Request::TakeError)? {
        Answer::Reported(error) => Ok(error),
        _ => Err(Error::Broken),
    }
}

/// POLLERR, if the error queue of a datagram socket holds something.
pub fn show_errors(identity: &Identity) {
    // A host that has gone has nothing to show.
    let _ = demand(identity, "recvfrom", Request::ShowErrors);
}

/// The next datagram, behind its header, of a socket whose near end is shut for reading and has no more; None when there is none.
pub fn next_datagram(identity: &Identity, peek: bool) -> Option<Vec<u8>> {
    match ask(identity, "recvmsg", Request::NextDatagram { peek }) {
        Ok(Answer::Bytes(datagram)) => Some(datagram),
        _ => None,
    }
}

/// What ICMP said of a datagram that the socket sent; EAGAIN when nothing is left (MSG_ERRQUEUE).
pub fn next_report(identity: &Identity) -> Result<ErrorReport> {
    match ask(identity, "recvmsg", Request::NextReport)? {
        Answer::Report(report) => Ok(*report),
        _ => Err(Error::Broken),
    }
}

/// getsockopt(2): the option's bytes; None when the kernel has it, of the near end.
pub fn option(identity: &Identity, level: c_int, name: c_int, room: usize) -> Result<Option<Vec<u8>>> {
    if host::options::is_kernels(level, name) {
        return Ok(None);
    }
    let of_error = (level, name, identity.kind) == (libc::SOL_SOCKET, libc::SO_ERROR, Kind::Stream);
    if of_error && identity.watched && !unix::hangs_up(identity.near()) {
        // With an error its far end would be gone. Every connect that does not wait ends with this question.
        return Ok(Some(vec![0; room.min(size_of::<c_int>())]));
    }
    match ask(identity, "getsockopt", Request::GetOption { level, name, room })? {
        Answer::Bytes(bytes) => {
            if of_error {
                // The near end's own, which shows as POLLERR.
                let _ = sockopt::socket_error(identity.near());
            }
            if (level, name) == (libc::SOL_SOCKET, libc::SO_BINDTODEVICE)
                && !bytes.is_empty()
                && room < libc::IFNAMSIZ
            {
                return Err(Error::InvalidArgument);
            }
            Ok(Some(bytes))
        }
        _ => Err(Error::Broken),
    }
}

/// setsockopt(2): whether the kernel is to set it, on the near end.
pub fn set_option(identity: &Identity, level: c_int, name: c_int, value: &[u8]) -> Result<bool> {
    if host::options::is_kernels(level, name) {
        return Ok(true);
    }
    datagrams::changed(identity);
    host::ask(identity, "setsockopt", Request::SetOption { level, name }, value)?;
    if (level, name) == (libc::SOL_SOCKET, libc::SO_LINGER) && has_time(value) {
        host::linger_is_set();
    }
    Ok(false)
}

/// Whether a struct linger is on and has a time.
fn has_time(value: &[u8]) -> bool {
    value.get(..8).is_some_and(|value| value[..4] != [0; 4] && value[4..] != [0; 4])
}

/// Before close(2): a connection whose close is to wait, and how long (SO_LINGER, socket(7)). O_NONBLOCK does not matter
/// (tcp_close). Costs a request in processes in which a time was ever set, or that were forked from one. Async-signal-safe.
pub fn lingering(fd: RawFd) -> Option<(Identity, Duration)> {
    if !host::is_linger_set() {
        return None;
    }
    let identity = identify(fd).filter(|identity| identity.watched)?;
    match ask(&identity, "close", Request::LingerTime) {
        Ok(Answer::Number(seconds @ 1..)) => Some((identity, Duration::from_secs(seconds))),
        _ => None,
    }
}

/// After it: waits until what was sent is acknowledged, if nobody else holds the connection. A signal ends that.
pub fn linger(identity: &Identity, patience: Duration) -> Result<()> {
    host::await_delivery(identity, patience)
}

/// Bytes written and not acknowledged by the peer, beside those in the near end's queue (SIOCOUTQ).
pub fn unacknowledged(identity: &Identity) -> Result<usize> {
    match ask(identity, "ioctl", Request::Unacknowledged)? {
        Answer::Number(count) => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
        _ => Err(Error::Broken),
    }
}
