//! Whether a near end is still there is asked by taking its name: who gets it knows that nobody has it.
#![forbid(unsafe_code)]

use crate::sys::descriptors::{Internal, internal};
use crate::sys::unix;
use core::cell::RefCell;
use rustix::net::{SocketFlags, SocketType};

/// Sockets that ask after names by taking them. One that could not goes on to ask after others: a listener is asked after
/// for each connection.
#[derive(Debug, Default)]
pub(super) struct Probes {
    stream: RefCell<Option<Internal>>,
    datagram: RefCell<Option<Internal>>,
}

impl Probes {
    /// Whether no socket of this kind has the name.
    pub(super) fn is_free(&self, kind: SocketType, name: &[u8]) -> bool {
        let place = if kind == SocketType::STREAM { &self.stream } else { &self.datagram };
        let made = || unix::socket(kind, SocketFlags::CLOEXEC).ok().map(internal);
        let Some(probe) = place.take().or_else(made) else { return false };
        let free = unix::bind(&probe, name).is_ok();
        if !free {
            place.replace(Some(probe));
        }
        free
    }
}
