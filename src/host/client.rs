//! Asking a host in another process, over its control socket.
//!
//! Nothing is remembered here but where the host is that makes this process's sockets: told by `TUBESOCK_HOST`, or
//! inherited from the process that forked this one. Allocates nothing for a request, takes no lock, and has all
//! signals blocked while it waits, which is not long: the host never waits for anything in between.

use super::control::{Message, Secret, control_name};
use super::request::{Answer, Answered, Request};
use super::{Address, Token, elsewhere};
use crate::bridge::name::Identity;
use crate::engine::{Domain, Kind};
use crate::error::{Error, Result};
use crate::sys::descriptors::Owned;
use crate::sys::signals::Blocked;
use crate::sys::unix::{self, DESCRIPTORS};
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// A request without its payload.
const REQUEST: usize = 128;
/// An answer.
const ANSWER: usize = 8192;

/// A near end for a new socket.
pub(super) fn open(at: &Address, domain: Domain, kind: Kind, flags: SocketFlags) -> Result<Owned> {
    let (nonblocking, close_on_exec) =
        (flags.contains(SocketFlags::NONBLOCK), flags.contains(SocketFlags::CLOEXEC));
    let message = Message::Open { secret: secret(at), domain, kind, nonblocking };
    let (_, near) = exchange(&address(at)?, message, &[], None, None)?;
    lowest(near.ok_or(Error::Broken)?, close_on_exec)
}

/// What lets this process in, where the file system does not.
pub(super) fn secret(at: &Address) -> Option<Secret> {
    match at {
        Address::Tree(key) | Address::Process(key) => Some(key.secret),
        Address::Path(_) => None,
    }
}

/// A request about a socket. A host that is shared may be in another network namespace, where only its path leads.
pub(super) fn ask(identity: &Identity, request: Request, bytes: &[u8]) -> Result<Answered> {
    let ask = |to| exchange(&to, Message::Ask(request), bytes, Some(identity.near()), None);
    match (ask(name(identity.token)?), elsewhere()) {
        (Err(GONE), Some(at @ Address::Path(_))) => ask(address(at)?),
        (answered, _) => answered,
    }
}

/// Says something that is not answered. When the host has gone nobody needs to hear it.
pub(super) fn tell(to: Result<SocketAddrUnix>, message: Message) {
    let _signals = Blocked::all();
    let mut space = [0; REQUEST];
    if let (Ok(bytes), Ok(socket), Ok(to)) = (postcard::to_slice(&message, &mut space), socket(), to) {
        let _ = unix::send_message(&socket, Some(&to), [bytes, &[]], &[], SendFlags::empty());
    }
}

/// Waits until the host has delivered what a connection has left that was closed, until `patience` is over or a signal comes.
/// A host of this very process is asked by its control socket, too: whoever waits must not hold its lock.
pub(super) fn await_delivery(identity: &Identity, patience: Duration) -> Result<()> {
    let mut space = [0; REQUEST];
    let message = Message::Delivered(identity.id);
    let bytes = postcard::to_slice(&message, &mut space).map_err(|_| Error::InvalidArgument)?;
    let (answers, reply) = unix::message_pair()?;
    let socket = socket()?;
    unix::send_message(
        &socket,
        Some(&name(identity.token)?),
        [bytes, &[]],
        &[reply.as_fd()],
        SendFlags::empty(),
    )?;
    // Only the host has it now, and lets go of it when it is time.
    drop(reply);
    let mut fds = [PollFd::new(&answers, PollFlags::IN)];
    let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: 0 };
    poll(&mut fds, Some(&patience))?;
    Ok(())
}

/// ENETDOWN: the host has gone.
pub(super) const GONE: Error = Error::Kernel(libc::ENETDOWN);

/// Whether the answer was that there is no host any more.
pub(super) fn is_gone(error: Error) -> bool {
    error == GONE
}

/// Asks the host at `to`, and waits for its answer; with `patience` no longer than that.
pub(super) fn exchange(
    to: &SocketAddrUnix,
    message: Message,
    payload: &[u8],
    near: Option<BorrowedFd<'_>>,
    patience: Option<Duration>,
) -> Result<Answered> {
    exchange_into(&mut [0; ANSWER], to, message, payload, near, patience)
}

/// As `exchange`, with room for the answer.
pub(super) fn exchange_into(
    buffer: &mut [u8],
    to: &SocketAddrUnix,
    message: Message,
    payload: &[u8],
    near: Option<BorrowedFd<'_>>,
    patience: Option<Duration>,
) -> Result<Answered> {
    let _signals = Blocked::all();
    let mut space = [0; REQUEST];
    let bytes = postcard::to_slice(&message, &mut space).map_err(|_| Error::InvalidArgument)?;
    let (answers, reply) = unix::message_pair()?;
    let descriptors = [reply.as_fd(), near.unwrap_or(reply.as_fd())];
    let descriptors = if near.is_some() { &descriptors[..] } else { &descriptors[..1] };
    let socket = socket()?;
    if patience.is_some() {
        sockopt::set_socket_timeout(&socket, Timeout::Send, patience)?;
        sockopt::set_socket_timeout(&answers, Timeout::Recv, patience)?;
    }
    match unix::send_message(&socket, Some(to), [bytes, payload], descriptors, SendFlags::empty()) {
        Ok(()) => {}
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Err(GONE),
        Err(errno) => return Err(errno.into()),
    }
    // Only the host has it now: its end is the end of the host.
    drop(reply);
    let mut descriptors = [const { None }; DESCRIPTORS];
    let length = unix::receive_message(&answers, buffer, &mut descriptors, RecvFlags::empty())?;
    if length == 0 {
        return Err(GONE);
    }
    let answer: Result<Answer> = postcard::from_bytes(&buffer[..length]).map_err(|_| Error::Broken)?;
    let [near, _] = descriptors;
    answer.map(|answer| (answer, near))
}

fn socket() -> Result<Owned> {
    unix::socket(SocketType::DGRAM, SocketFlags::CLOEXEC)
}

/// Where the host of a token is, in this network namespace.
pub(super) fn name(token: Token) -> Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(&control_name(token))?)
}

/// Where a host is.
pub(super) fn address(at: &Address) -> Result<SocketAddrUnix> {
    match at {
        Address::Tree(key) | Address::Process(key) => name(key.token),
        Address::Path(path) => Ok(SocketAddrUnix::new(path)?),
    }
}

/// The descriptor at the lowest free number, as socket(2) gives it: those of the exchange were in the way.
fn lowest(near: Owned, close_on_exec: bool) -> Result<Owned> {
    let lower = match close_on_exec {
        true => rustix::io::fcntl_dupfd_cloexec(&near, 0)?,
        false => rustix::io::dup(&near)?,
    };
    Ok(lower.into())
}
