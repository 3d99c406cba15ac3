//! What a connection holds of memory and timers: for tests, and for whoever watches over memory.
#![forbid(unsafe_code)]

use super::{Engine, SocketId};
use crate::tcp::Memory;
use crate::time::Instant;
use core::cmp::Reverse;

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
        let socket = self.sockets.find(id)?;
        let connection = &socket.connection()?.connection;
        let live = |Reverse((at, whose)): &&Reverse<_>| *whose == id && socket.scheduled == Some(*at);
        Some(Inspection {
            memory: connection.memory(),
            deadline: connection.deadline(),
            scheduled: socket.scheduled,
            timed: self.timers.heap.iter().any(|entry| live(&entry)),
        })
    }
}
