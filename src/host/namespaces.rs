//! Processes that leave the network namespace of their host for another one: they keep the sockets that they have,
//! and get no new ones.
//!
//! A host is found by an abstract name, and each network namespace has its own of those (unix(7)). So who leaves gives
//! the host a second control socket, an outpost, which bears the same name in the other namespace: whoever is there
//! asks by it.
//!
//! ```text
//!   namespace of the host                        another one
//!     control socket ◄── Away ── who leaves ───► outpost, bound to the same name
//!           host ◄───────── the outpost, SCM_RIGHTS ──┘
//! ```
//!
//! * The way to the host is a socket that was made before: the kernel looks for names in the namespace that a socket
//!   is of.
//! * An outpost keeps its namespace alive. So it is given up when the process that sent it ends, or the thread leaves
//!   again; where somebody has the name, as at home, what the thread sends is a socket without one.
//! * New sockets are for the host's own namespace. A program that leaves wants to be without a network; on Linux it
//!   gets sockets that lead nowhere.
//!
//! Limits: an outpost goes when who left first ends or leaves again, and those that it let in have no host then
//! (ENETDOWN). Before Linux 6.9 the kernel does not tell whose an outpost is, and it stays until the process ends; so
//! it does when a thread ends that had left. There are at most `MOST`. Who leaves by clone(3), or by a system call of
//! its own, is not seen. A process that runs the stack itself makes new sockets all the same: it asks nobody.
#![forbid(unsafe_code)]

use super::control::{Message, control_name};
use super::inner::AWAY;
use super::{Address, Host, Token, client, elsewhere};
use crate::bridge::Interest;
use crate::config::Key;
use crate::error::Result;
use crate::observe::log;
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::signals::Blocked;
use crate::sys::{processes, unix};
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::net::{SocketType, sockopt};
use rustix::process::{PidfdFlags, pidfd_open};

/// What a process has in hand while it changes its network namespace. Allocates nothing.
pub struct Departure {
    /// Of the namespace that is left.
    way: Owned,
    key: Key,
}

impl Departure {
    /// To be called before. None where there is no host to lose, or one with a path, which leads to it from everywhere.
    pub fn begin() -> Option<Departure> {
        match Host::running().map(Host::address).or_else(elsewhere)? {
            Address::Tree(key) | Address::Process(key) => {
                Some(Departure { way: client::asker().ok()?, key: *key })
            }
            Address::Path(_) => None,
        }
    }

    /// To be called behind it, in the process that has left. Where the host cannot be told, its sockets get ENETDOWN.
    pub fn end(self) {
        let signals = Blocked::all();
        let _ = self.tell(&signals);
    }

    fn tell(&self, signals: &Blocked) -> Result<()> {
        let outpost = client::asker()?;
        // Somebody has the name where somebody left for before, and the host where it is.
        let _ = unix::bind(&outpost, &control_name(self.key.token));
        let process = Owned::from(pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?);
        let message = Message::Away {
            secret: self.key.secret,
            thread: rustix::thread::gettid().as_raw_nonzero().get(),
        };
        let road = client::name(self.key.token)?;
        let (answers, reply) = unix::message_pair()?;
        let descriptors = [reply.as_fd(), outpost.as_fd(), process.as_fd()];
        let wait = client::Wait { signals, patience: None };
        client::post(&self.way, &[road], message, &[], &descriptors, wait)?;
        // What was left is given up before this thread comes to it again, and wants the name.
        drop(reply);
        client::await_end(&answers, client::SILENCE)
    }
}

/// How many there may be: two descriptors each.
const MOST: usize = 256;

/// The host's control socket in another network namespace.
pub(super) struct Outpost {
    pub(super) socket: Internal,
    /// Who left first.
    process: Internal,
    /// The process and its thread, if the kernel tells.
    who: Option<(u64, i32)>,
}

impl Outpost {
    /// Of what `Departure::tell` sends.
    pub(super) fn new(socket: Owned, process: Owned, thread: i32) -> Outpost {
        let who = processes::inode(&process).map(|process| (process, thread));
        Outpost { socket: internal(socket), process: internal(process), who }
    }

    /// Takes the place of those that the same thread has left, if it is one.
    pub(super) fn join(self, others: &mut Vec<Outpost>, token: Token, interest: &Interest) {
        let place = unix::namespace(&self.socket);
        let left = |other: &Outpost| {
            self.who.is_some() && self.who == other.who && place != unix::namespace(&other.socket)
        };
        others.retain(|other| !left(other));
        if !self.is_one(token) {
            return;
        }
        if others.len() == MOST {
            if log::first_time("outposts", 0) {
                tracing::warn!(
                    "programs are in {MOST} other network namespaces: in those that they enter now, what they ask \
                     about their sockets is ENETDOWN"
                );
            }
            return;
        }
        let added = interest.add(&self.socket, AWAY, EventFlags::IN);
        if added.and_then(|()| interest.add(&self.process, AWAY, EventFlags::IN)).is_ok() {
            others.push(self);
        }
    }

    fn is_one(&self, token: Token) -> bool {
        let name = control_name(token);
        unix::local_name(&self.socket, |bound| (bound == &name[..]).then_some(())).is_some()
            && sockopt::socket_type(&self.socket).is_ok_and(|kind| kind == SocketType::DGRAM)
    }

    pub(super) fn has_ended(&self) -> bool {
        let mut process = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut process, Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
    }
}
