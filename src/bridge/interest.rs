//! The epoll set of the far ends, which the host waits on with descriptors of its own in it.
#![forbid(unsafe_code)]

use crate::engine::SocketId;
use crate::error::Result;
use crate::sys::descriptors::{Internal, internal};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd};

/// The epoll set of the far ends.
#[derive(Debug)]
pub struct Interest(Internal);

impl Interest {
    pub(super) fn new() -> Result<Interest> {
        Ok(Interest(internal(epoll::create(epoll::CreateFlags::CLOEXEC)?)))
    }

    /// The descriptor to wait on.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Adds a descriptor under a key.
    pub fn add(&self, fd: impl AsFd, key: u64, flags: EventFlags) -> Result<()> {
        Ok(epoll::add(&self.0, fd, EventData::new_u64(key), flags)?)
    }

    pub(super) fn change(&self, fd: impl AsFd, id: SocketId, flags: EventFlags) {
        epoll::modify(&self.0, fd, EventData::new_u64(id.0), flags)
            .expect("a far end is registered while it lives");
    }

    pub(super) fn remove(&self, fd: impl AsFd) {
        // Only ever after `add`, and closing would remove it as well.
        let _ = epoll::delete(&self.0, fd);
    }
}
