//! Asking a host in another process, over its control socket.
//!
//! Nothing is remembered here but where the host is that makes this process's sockets: told by `TUBESOCK_HOST`, or
//! inherited from the process that forked this one. Allocates nothing for what close(2) asks, takes no lock unless the host is
//! of another build, which the log says, and has all signals blocked while it waits, which is not long: the host waits for
//! nothing in between but a capture's pipe, and for that five seconds once. One that was stopped may never answer: signals
//! that come meanwhile get through once a second, and what ends the program ends it.
#![forbid(unsafe_code)]

use super::control::{BUILD, Message, OTHER_BUILD, Secret, VERSION, control_name};
use super::request::{Answer, Answered, Request};
use super::{Address, Token, elsewhere, start};
use crate::bridge::name::Identity;
use crate::engine::{Domain, Kind};
use crate::error::{Error, Result};
use crate::observe::log;
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
/// An answer; and one with a datagram in it, or with all addresses of a network.
const ANSWER: usize = 8192;
const LARGE_ANSWER: usize = 128 * 1024;
/// How long signals wait for a host that is silent.
pub(super) const SILENCE: Duration = Duration::from_secs(1);

/// A near end for a new socket.
pub(super) fn open(at: &Address, domain: Domain, kind: Kind, flags: SocketFlags) -> Result<Owned> {
    let (nonblocking, close_on_exec) =
        (flags.contains(SocketFlags::NONBLOCK), flags.contains(SocketFlags::CLOEXEC));
    let message = Message::Open { secret: secret(at), domain, kind, nonblocking };
    let (_, near) = exchange(&[address(at)?], message, &[], None, None)?;
    lowest(near.ok_or(Error::Broken)?, close_on_exec)
}

/// What lets this process in, where the file system does not.
pub(super) fn secret(at: &Address) -> Option<Secret> {
    match at {
        Address::Tree(key) | Address::Process(key) => Some(key.secret),
        Address::Path(_) => None,
    }
}

/// A request about a socket.
pub(super) fn ask(identity: &Identity, request: Request, bytes: &[u8]) -> Result<Answered> {
    on_roads_to(identity, |roads| exchange(roads, Message::Ask(request), bytes, Some(identity.near()), None))
}

/// Where the host of a socket is. One that is shared may be in another network namespace, where only its path leads.
fn on_roads_to<T>(identity: &Identity, go: impl FnOnce(&[SocketAddrUnix]) -> Result<T>) -> Result<T> {
    let name = name(identity.token)?;
    match elsewhere() {
        Some(at @ Address::Path(_)) => go(&[name, address(at)?]),
        _ => go(&[name]),
    }
}

/// Says something about a socket that is not answered. When the host has gone nobody needs to hear it.
pub(super) fn tell_of(identity: &Identity, message: Message) {
    let signals = Blocked::all();
    let wait = Wait { signals: &signals, patience: None };
    let _ = on_roads_to(identity, |roads| post(&asker()?, roads, message, &[], &[], wait));
}

/// Likewise, about none.
pub(super) fn tell(at: &Address, message: Message) {
    let signals = Blocked::all();
    let wait = Wait { signals: &signals, patience: None };
    let _ = address(at).and_then(|road| post(&asker()?, &[road], message, &[], &[], wait));
}

/// Says what this process did. When the host has gone nobody needs to hear it.
pub(super) fn comment(at: &Address, call: &str) {
    let message = Message::Comment { secret: secret(at) };
    let _ = address(at).and_then(|road| exchange(&[road], message, call.as_bytes(), None, None));
}

/// Waits until the host has delivered what a connection has left that was closed, until `patience` is over or a signal comes.
/// A host of this very process is asked by its control socket, too: whoever waits must not hold its lock.
pub(super) fn await_delivery(identity: &Identity, patience: Duration) -> Result<()> {
    let (answers, reply) = unix::message_pair()?;
    let message = Message::Delivered(identity.id);
    on_roads_to(identity, |roads| {
        let wait = Wait { signals: &Blocked::all(), patience: None };
        post(&asker()?, roads, message, &[], &[reply.as_fd()], wait)
    })?;
    // Only the host has it now, and lets go of it when it is time.
    drop(reply);
    await_end(&answers, patience)
}

/// Waits until nobody has the other end of a pair any more, `patience` is over or a signal comes.
pub(super) fn await_end(answers: &Owned, patience: Duration) -> Result<()> {
    let mut fds = [PollFd::new(answers, PollFlags::IN)];
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

/// Asks the host where the first of `roads` leads to one, and waits for its answer; with `patience` no longer than that.
pub(super) fn exchange(
    roads: &[SocketAddrUnix],
    message: Message,
    payload: &[u8],
    near: Option<BorrowedFd<'_>>,
    patience: Option<Duration>,
) -> Result<Answered> {
    let signals = Blocked::all();
    let wait = Wait { signals: &signals, patience };
    let (answers, reply) = unix::message_pair()?;
    let descriptors = [reply.as_fd(), near.unwrap_or(reply.as_fd())];
    let descriptors = if near.is_some() { &descriptors[..] } else { &descriptors[..1] };
    post(&asker()?, roads, message, payload, descriptors, wait)?;
    // Only the host has it now: its end is the end of the host.
    drop(reply);
    sockopt::set_socket_timeout(&answers, Timeout::Recv, Some(wait.turn()))?;
    let receive = |buffer: &mut [u8]| {
        let mut descriptors = [const { None }; DESCRIPTORS];
        let length =
            wait.persist(|| unix::receive_message(&answers, buffer, &mut descriptors, RecvFlags::empty()))?;
        answered(&buffer[..length], descriptors)
    };
    match message {
        Message::Ask(Request::NextReport | Request::NextDatagram { .. }) | Message::Network { .. } => {
            receive(&mut vec![0; LARGE_ANSWER])
        }
        _ => receive(&mut [0; ANSWER]),
    }
}

/// How a host is waited for, with signals blocked.
#[derive(Clone, Copy)]
pub(super) struct Wait<'a> {
    pub(super) signals: &'a Blocked,
    /// For ever without one: then signals get through between two turns.
    pub(super) patience: Option<Duration>,
}

impl Wait<'_> {
    /// The time-out of a socket that is waited at.
    fn turn(self) -> Duration {
        self.patience.unwrap_or(SILENCE)
    }

    /// Does what gives up with EAGAIN after a turn.
    fn persist<T>(self, mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
        loop {
            match attempt() {
                Err(Errno::AGAIN) if self.patience.is_none() => self.signals.pass(),
                // This process was stopped, and goes on (signal(7)).
                Err(Errno::INTR) => {}
                done => return done,
            }
        }
    }
}

/// A socket to ask a host from.
pub(super) fn asker() -> Result<Owned> {
    unix::socket(SocketType::DGRAM, SocketFlags::CLOEXEC)
}

/// Sends a message from `asker` on the first of `roads` that leads to a host.
pub(super) fn post(
    asker: &Owned,
    roads: &[SocketAddrUnix],
    message: Message,
    payload: &[u8],
    descriptors: &[BorrowedFd<'_>],
    wait: Wait<'_>,
) -> Result<()> {
    let mut space = [0; BUILD.len() + REQUEST];
    let (build, rest) = space.split_at_mut(BUILD.len());
    build.copy_from_slice(&BUILD);
    let length = postcard::to_slice(&message, rest).map_err(|_| Error::InvalidArgument)?.len();
    let bytes = &space[..BUILD.len() + length];
    let send = |road, flags| unix::send_message(asker, Some(road), [bytes, payload], descriptors, flags);
    for road in roads {
        let sent = match send(road, SendFlags::DONTWAIT) {
            // Its queue is full.
            Err(Errno::AGAIN) => {
                sockopt::set_socket_timeout(asker, Timeout::Send, Some(wait.turn()))?;
                wait.persist(|| send(road, SendFlags::empty()))
            }
            sent => sent,
        };
        match sent {
            Err(Errno::CONNREFUSED | Errno::NOENT) => {}
            sent => return Ok(sent?),
        }
    }
    Err(GONE)
}

/// What an answer says.
fn answered(bytes: &[u8], [near, ..]: [Option<Owned>; DESCRIPTORS]) -> Result<Answered> {
    if bytes.is_empty() {
        return Err(GONE);
    }
    if let Some(theirs) = bytes.strip_prefix(&[OTHER_BUILD]) {
        return Err(of_another_build(theirs));
    }
    let answer: Result<Answer> = postcard::from_bytes(bytes).map_err(|_| Error::Broken)?;
    answer.map(|answer| (answer, near))
}

/// Says once that the host does not understand this process.
fn of_another_build(theirs: &[u8]) -> Error {
    start::prepare_log();
    if log::first_time("build", 0) {
        let theirs = String::from_utf8_lossy(theirs);
        let theirs = theirs.escape_debug();
        tracing::error!(
            "the stack is that of tubesock {theirs}, and this process asks it as {VERSION} does: EPROTO; use a tubesock and a \
             libtubesock_preload.so of one build"
        );
    }
    Error::Kernel(libc::EPROTO)
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
