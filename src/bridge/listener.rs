//! A listening near end: the kernel's own AF_UNIX listener, to which each established connection is connected, from a
//! far end whose name carries the addresses. The backlog is the kernel's: `listen(n)` admits n + 1, then EAGAIN, and
//! one more connection waits here while the engine answers no SYN.

use super::name::{Name, Role, Token};
use crate::engine::{Engine, SocketId};
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::unix;
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType};
use std::net::{Ipv4Addr, SocketAddr};

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// What its near end is bound to.
    name: Vec<u8>,
    waiting: Option<SocketId>,
}

impl Listener {
    /// Of the near end bound to `name`.
    pub fn new(name: Vec<u8>) -> Listener {
        Listener { name, waiting: None }
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
    pub fn offer(&mut self, connection: SocketId, token: Token, engine: &Engine) -> Result<Internal, Errno> {
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let role = Role::Accepted {
            local: engine.local(connection).unwrap_or(nobody),
            peer: engine.peer(connection).unwrap_or(nobody),
        };
        let far = self.far_end(&Name { token, role, id: connection });
        if !matches!(far, Ok(_) | Err(Errno::CONNREFUSED | Errno::NOENT)) {
            self.waiting = Some(connection);
        }
        far.map(internal)
    }

    fn far_end(&self, name: &Name) -> Result<Owned, Errno> {
        let errno = |error: crate::error::Error| Errno::from_raw_os_error(error.errno());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let far = unix::socket(SocketType::STREAM, flags).map_err(errno)?;
        unix::bind(&far, &name.encode()).map_err(errno)?;
        unix::connect(&far, &self.name)?;
        Ok(far)
    }
}
