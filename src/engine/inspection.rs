//! What a connection holds of memory and timers: for tests, and for whoever watches over memory.
#![forbid(unsafe_code)]

use super::{Engine, SocketId};
use crate::tcp::Memory;
use crate::time::Instant;

/// What a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Memory besides the connection itself.
    pub memory: Memory,
    /// What it waits for.
    pub deadline: Option<Instant>,
    /// When it will be looked after: no later than `deadline`, once `transmit` has no more to send.
    pub scheduled: Option<Instant>,
    /// Whether a timer runs for that: the one that does, whatever void ones there are.
    pub timed: bool,
}

impl Engine {
    /// What the connection `id` holds, whether it has an owner or not; None when it is gone, or none.
    pub fn inspect(&self, id: SocketId) -> Option<Inspection> {
        let connection = &self.sockets.connection(id)?.connection;
        let (scheduled, timed) = self.timers.scheduled(id);
        Some(Inspection { memory: connection.memory(), deadline: connection.deadline(), scheduled, timed })
    }
}
