//! A listening near end: the kernel's own AF_UNIX listener, to which each established connection is connected, from a
//! far end whose name carries the addresses. The backlog is the kernel's: `listen(n)` admits n + 1, and while so many wait
//! there the engine answers no SYN. How many wait only the kernel knows, since any process may accept; it is asked when, by
//! what was offered and what this process accepted, it may be too many, but for long queues, which say EAGAIN. The
//! connection to which that happens, on its way when the queue was full or kept out by a stranger's, waits here.
#![forbid(unsafe_code)]

use super::name::{Encoded, Name, Role, Token};
use crate::engine::{Engine, SocketId};
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::{unix, unix_diag};
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddr};

/// The largest backlog that is exact. The kernel goes through all sockets for its answer: with ten thousand of them that is some
/// milliseconds, too long for a server that is busy.
const SHORT: u32 = 16;

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// What its near end is bound to.
    name: Encoded,
    /// What sock_diag(7) knows it by.
    inode: u32,
    backlog: u32,
    /// At most so many wait in the near end's queue.
    offered: u32,
    waiting: Option<SocketId>,
}

impl Listener {
    /// Of the near end bound to `name`.
    pub fn new(name: Encoded, inode: u32, backlog: u32) -> Listener {
        Listener { name, inode, backlog, offered: 0, waiting: None }
    }

    /// listen(2) again.
    pub fn set_backlog(&mut self, backlog: u32) {
        self.backlog = backlog;
    }

    /// The program took one.
    pub fn accepted(&mut self) {
        self.offered = self.offered.saturating_sub(1);
    }

    /// Whether the near end's queue takes one more. Of a long one, and without an answer of the kernel's, `offer` will tell.
    pub fn has_room(&mut self) -> bool {
        if self.backlog > SHORT {
            return true;
        }
        if self.offered > self.backlog {
            self.offered = unix_diag::socket(self.inode).map_or(0, |near_end| near_end.unread);
        }
        self.offered <= self.backlog
    }

    /// The connection that the backlog refused.
    pub fn waiting(&self) -> Option<SocketId> {
        self.waiting
    }

    /// The next established connection.
    pub fn next(&mut self, id: SocketId, engine: &mut Engine) -> Option<SocketId> {
        self.waiting.take().or_else(|| engine.accept(id))
    }

    /// Connects a far end for `connection` to the near end. EAGAIN: the backlog is full, and the connection waits.
    /// ECONNREFUSED: the near end is gone.
    pub fn offer(
        &mut self,
        connection: SocketId,
        token: Token,
        salt: u64,
        engine: &Engine,
    ) -> Result<Internal, Errno> {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let role = Role::Accepted {
            local: engine.local(connection).unwrap_or(nobody),
            peer: engine.peer(connection).unwrap_or(nobody),
        };
        let far = self.far_end(&Name { token, role, id: connection, salt });
        match far {
            Ok(_) => self.offered += 1,
            Err(Errno::CONNREFUSED | Errno::NOENT) => {}
            Err(_) => self.waiting = Some(connection),
        }
        far.map(internal)
    }

    fn far_end(&self, name: &Name) -> Result<Owned, Errno> {
        let errno = |error: crate::error::Error| Errno::from_raw_os_error(error.errno());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let far = unix::socket(SocketType::STREAM, flags).map_err(errno)?;
        unix::bind(&far, &name.encode()).map_err(errno)?;
        unix::connect(&far, &self.name)?;
        // Whoever took the name of a near end that has gone was not made to listen by this process.
        match unix::peer(&far) {
            Some(listening) if listening.is_this_process() => Ok(far),
            _ => Err(Errno::CONNREFUSED),
        }
    }
}
