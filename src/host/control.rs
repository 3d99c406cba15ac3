//! The control socket: how other processes ask the host. They hold near ends of its sockets (by fork, exec or
//! SCM_RIGHTS), or were told where it is (`TUBESOCK_HOST`).
//!
//! ```text
//!   asking process                                             host
//!     datagram: BUILD, Message, bytes; descriptors: reply end, near end ──► control socket, an abstract name
//!     reply end ◄── Answer or Error; descriptor: a near end
//! ```
//!
//! * A request is one datagram, with the socket that the answer goes to. So nothing is kept between two requests, in
//!   neither process: nothing goes stale by fork, vfork, exec or dup, two threads need no lock, and whoever waits sees
//!   the end of the host as the end of its own socket.
//! * Who holds a near end may ask about its socket: it goes with the request, and the kernel says which it is. Its name, which
//!   anybody can read (sock_diag(7)) and bear, tells of which socket, and is believed where the kernel vouches for the end itself
//!   (`Bridge::is_true`): dup, fork, exec and SCM_RIGHTS pass the right on, and nothing else does.
//! * A socket is opened for whoever knows the secret; the table is shown to the user of the host, and to root.
//! * A host that is shared (`tubesock host`) has a second control socket, with a path. Who may write to that file may open
//!   sockets without the secret, from other network namespaces too. One without a path has an outpost in each that a
//!   process of its left for (`namespaces`), for what is asked about sockets.
//! * The name of the socket has the token of the host, which every near end bears: holding one is enough to find the
//!   host. Anybody in the network namespace can send to it; what does not decode, or has no right, is dropped.
//!
//! Limits: the descriptors of a request take the lowest free numbers of the host's process for a moment. A stranger can have a
//! socket looked at that may be closed (`Message::Closed`), and be told when a connection's last byte is delivered; a file that
//! he sends, of a file system that waits when it is closed (FUSE), holds the host up. Who asks is taken from the pair of sockets that
//! the answer comes by: who holds an end of a pair that another user made passes for that one.
#![forbid(unsafe_code)]

use super::inner::ENTRANCE;
use super::namespaces::Outpost;
use super::request::{Answer, Answered, Request};
use super::{Inner, Token, client};
use crate::bridge::Interest;
use crate::bridge::name::{self, Encoded, Name, Role};
use crate::config::Key;
use crate::engine::{Domain, Kind, SocketId};
use crate::error::{Error, Result};
use crate::sys;
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::unix::{self, DESCRIPTORS};
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

/// What a message begins with: the sources that its sender is built from, as are the types that come behind. In a program and its
/// host these are two files, which may be of two builds.
pub(super) const BUILD: [u8; 8] =
    *env!("SOURCES_HASH").as_bytes().first_chunk().expect("build.rs gives so many");
/// What an answer begins with to who is of another build, and `VERSION` comes behind: nothing that an answer begins with.
pub(super) const OTHER_BUILD: u8 = 0xff;
/// The version and the build, for people.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SOURCES_HASH"), ")");

/// What makes a process one of the host's own.
pub(super) type Secret = [u8; 16];

/// The largest message: a datagram's payload, and the request in front of it.
const MESSAGE: usize = 66 * 1024;
/// Messages of one turn; then the others have theirs.
const TURN: usize = 64;

/// What a process has to say to a host.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// About the socket of the near end that comes with it.
    Ask(Request),
    /// socket(2); answered with a near end.
    Open { secret: Option<Secret>, domain: Domain, kind: Kind, nonblocking: bool },
    /// The network that the stack is in.
    Network { secret: Option<Secret> },
    /// A call that the program made, in words that come behind, for the capture; answered when it has them.
    Comment { secret: Option<Secret> },
    /// All sockets; answered with a memfd.
    Table,
    /// What is done to packets on the link, in words that come behind: it is changed where there are any. Answered in words.
    Impair,
    /// This thread has left for another network namespace, and sends an outpost of the host's and the pidfd of its
    /// process. Answered by the end of the reply end.
    Away { secret: Secret, thread: i32 },
    /// A near end of this socket was closed, perhaps the last. Not answered.
    Closed(SocketId),
    /// Near ends were closed that nobody looked at. Not answered.
    ClosedSome,
    /// This connection was closed: what comes with it is let go of when all is delivered. Not answered; needs no right, for
    /// nothing is told but that.
    Delivered(SocketId),
}

/// By which of its sockets a message reached the host.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The abstract name, which anybody can send to.
    Name,
    /// The path, which the file system guards.
    Path,
    /// The outpost of that number, in another network namespace.
    Outpost(usize),
}

/// The host's end.
pub(super) struct Control {
    socket: Internal,
    entrance: Option<Internal>,
    outposts: Vec<Outpost>,
    secret: Secret,
    token: Token,
    buffer: Vec<u8>,
}

impl Control {
    pub(super) fn new(token: Token) -> Result<Control> {
        let socket = unix::socket(SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        unix::bind(&socket, &control_name(token))?;
        let (secret, buffer) = (sys::entropy(), Vec::new());
        Ok(Control { socket: internal(socket), entrance: None, outposts: Vec::new(), secret, token, buffer })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// From now on answers by a socket in the file system, too.
    pub(super) fn enter_by(&mut self, entrance: Internal, interest: &Interest) -> Result<()> {
        interest.add(&entrance, ENTRANCE, EventFlags::IN)?;
        self.entrance = Some(entrance);
        Ok(())
    }

    pub(super) fn key(&self) -> Key {
        Key { token: self.token, secret: self.secret }
    }

    fn lets_in(&self, door: Door, secret: Option<Secret>) -> bool {
        match door {
            Door::Path => true,
            Door::Name => secret == Some(self.secret),
            Door::Outpost(_) => false,
        }
    }

    fn receive(&mut self, door: Door, descriptors: &mut [Option<Owned>; DESCRIPTORS]) -> Option<usize> {
        let socket = match door {
            Door::Name => &self.socket,
            Door::Path => self.entrance.as_ref()?,
            Door::Outpost(number) => &self.outposts.get(number)?.socket,
        };
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        unix::receive_message(socket, &mut self.buffer, descriptors, flags).ok()
    }
}

/// The abstract name of the control socket of a host.
pub(super) fn control_name(token: Token) -> Encoded {
    Name { token, role: Role::Control, id: SocketId(0), salt: 0 }.encode()
}

/// A message that arrived.
struct Arrived {
    door: Door,
    length: usize,
    descriptors: [Option<Owned>; DESCRIPTORS],
}

/// Answers the requests that have arrived.
pub(super) fn serve(inner: &mut Inner, door: Door) {
    inner.control.buffer.resize(MESSAGE, 0);
    for _ in 0..TURN {
        let mut descriptors = [const { None }; DESCRIPTORS];
        let Some(length) = inner.control.receive(door, &mut descriptors) else { break };
        let buffer = core::mem::take(&mut inner.control.buffer);
        answer(inner, &buffer, Arrived { door, length, descriptors });
        inner.control.buffer = buffer;
    }
}

/// The same at the outposts; those of processes that have ended are given up.
pub(super) fn serve_outposts(inner: &mut Inner) {
    for number in 0..inner.control.outposts.len() {
        serve(inner, Door::Outpost(number));
    }
    inner.control.outposts.retain(|outpost| !outpost.has_ended());
}

fn answer(inner: &mut Inner, buffer: &[u8], arrived: Arrived) {
    let [reply, near, process] = arrived.descriptors;
    let (build, rest) = buffer[..arrived.length].split_at(BUILD.len().min(arrived.length));
    if let Some(reply) = reply.as_ref().filter(|_| build != BUILD && build.iter().all(u8::is_ascii_hexdigit))
    {
        return send(reply, &[&[OTHER_BUILD], VERSION.as_bytes()].concat(), None);
    }
    let Some((message, bytes)) = postcard::take_from_bytes::<Message>(rest).ok().filter(|_| build == BUILD)
    else {
        tracing::debug!("a message of {} bytes to the control socket is none of ours", arrived.length);
        return;
    };
    let answered = match message {
        Message::Away { secret, thread } => {
            if let (true, Some(socket), Some(process)) = (secret == inner.control.secret, near, process) {
                let outpost = Outpost::new(socket, process, thread);
                outpost.join(&mut inner.control.outposts, inner.control.token, inner.bridge.interest());
            }
            return;
        }
        Message::Closed(id) => return inner.closed(id),
        Message::ClosedSome => return inner.closed_some(),
        Message::Delivered(id) => {
            if let Some(waiter) = reply {
                inner.await_delivery(id, waiter);
            }
            return;
        }
        Message::Table => {
            let user = reply.as_ref().and_then(unix::pair_user);
            inner.table(inner.control.token, user).map(|table| (Answer::Done, Some(table)))
        }
        Message::Impair => {
            let user = reply.as_ref().and_then(unix::pair_user);
            inner.impair(bytes, user).map(|text| (Answer::Bytes(text.into_bytes()), None))
        }
        Message::Ask(request) => ask(inner, near.as_ref(), request, bytes),
        Message::Open { secret, domain, kind, nonblocking }
            if inner.control.lets_in(arrived.door, secret) =>
        {
            let mut flags = SocketFlags::CLOEXEC;
            flags.set(SocketFlags::NONBLOCK, nonblocking);
            inner.open(domain, kind, flags).map(|near| (Answer::Done, Some(near)))
        }
        Message::Network { secret } if inner.control.lets_in(arrived.door, secret) => {
            Ok((Answer::Network(Box::new(inner.network())), None))
        }
        Message::Comment { secret } if inner.control.lets_in(arrived.door, secret) => {
            inner.comment(&String::from_utf8_lossy(bytes));
            Ok((Answer::Done, None))
        }
        Message::Open { .. } | Message::Network { .. } | Message::Comment { .. } => {
            Err(Error::PermissionDenied)
        }
    };
    let (answer, near) = match answered {
        Ok((answer, near)) => (Ok(answer), near),
        Err(error) => (Err(error), None),
    };
    if let (Some(reply), Ok(bytes)) = (reply, postcard::to_stdvec::<Result<Answer>>(&answer)) {
        send(&reply, &bytes, near.as_ref());
    }
}

/// A request about the socket whose near end came along.
fn ask(inner: &mut Inner, near: Option<&Owned>, request: Request, bytes: &[u8]) -> Result<Answered> {
    let identity = near.and_then(|near| name::identify(near.as_fd().as_raw_fd()));
    match identity {
        Some(identity) if identity.token == inner.control.token => inner.perform(&identity, request, bytes),
        // The path led to a host that came after that of the socket.
        Some(_) => Err(client::GONE),
        None => Err(Error::PermissionDenied),
    }
}

/// The asker may have gone; then there is nobody to tell.
fn send(reply: &Owned, answer: &[u8], near: Option<&Owned>) {
    let descriptor = near.map(AsFd::as_fd);
    let _ = unix::send_message(reply, None, [answer, &[]], descriptor.as_slice(), SendFlags::DONTWAIT);
}
