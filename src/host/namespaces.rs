//! Processes that leave the network namespace of their host for another one: they keep the sockets that they have, and get no new
//! ones.
//!
//! A host is found by an abstract name, and each network namespace has its own of those (unix(7)). So who leaves gives the host
//! a second control socket, an outpost, which bears the same name in the other namespace: whoever is there asks by it.
//!
//! ```text
//!   namespace of the host                        another one
//!     control socket ◄── Away ── who leaves ───► outpost, bound to the same name
//!           host ◄───────── the outpost, SCM_RIGHTS ──┘
//! ```
//!
//! * The way to the host is a socket that was made before: the kernel looks for names in the namespace that a socket is of.
//! * New sockets are for the host's own namespace. A program that leaves wants to be without a network; on Linux it gets
//!   sockets that lead nowhere.
//!
//! Limits: an outpost goes with the process that left first, and those that it let in have no host then (ENETDOWN). Who leaves by
//! clone(3), or by a system call of its own, is not seen.
#![forbid(unsafe_code)]

use super::control::{Message, control_name};
use super::inner::AWAY;
use super::{Address, Host, Token, client, elsewhere};
use crate::bridge::Interest;
use crate::config::Key;
use crate::error::Result;
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::signals::Blocked;
use crate::sys::unix;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::net::{SocketFlags, SocketType, sockopt};
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
                let way = unix::socket(SocketType::DGRAM, SocketFlags::CLOEXEC).ok()?;
                Some(Departure { way, key: *key })
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
        let outpost = unix::socket(SocketType::DGRAM, SocketFlags::CLOEXEC)?;
        // Somebody has the name where somebody left before, or where nobody left anything.
        unix::bind(&outpost, &control_name(self.key.token))?;
        let process = Owned::from(pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?);
        let message = Message::Away { secret: self.key.secret };
        let road = client::name(self.key.token)?;
        client::post_from(
            &self.way,
            &[road],
            message,
            &[],
            &[outpost.as_fd(), process.as_fd()],
            None,
            signals,
        )
    }
}

/// The host's control socket in another namespace.
pub(super) struct Outpost {
    pub(super) socket: Internal,
    /// Who left first.
    process: Internal,
}

impl Outpost {
    /// None if it is not what `Departure::tell` sends.
    pub(super) fn new(socket: Owned, process: Owned, token: Token, interest: &Interest) -> Option<Outpost> {
        let name = control_name(token);
        unix::local_name(&socket, |bound| (bound == &name[..]).then_some(()))?;
        sockopt::socket_type(&socket).ok().filter(|&kind| kind == SocketType::DGRAM)?;
        let outpost = Outpost { socket: internal(socket), process: internal(process) };
        interest.add(&outpost.socket, AWAY, EventFlags::IN).ok()?;
        interest.add(&outpost.process, AWAY, EventFlags::IN).ok()?;
        Some(outpost)
    }

    pub(super) fn has_ended(&self) -> bool {
        let mut process = [PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut process, Some(&Timespec::default())).is_ok_and(|ended| ended > 0)
    }
}
