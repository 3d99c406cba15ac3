//! Deadlines of connections: a heap with at most one live entry for each. A deadline that moves later leaves its entry
//! where it is, to be looked at when it comes up; one that moves earlier gets a second entry and voids the first. Void
//! entries are swept out when they are most of the heap. Two equal entries are one: what is done for the first voids the
//! second.
#![forbid(unsafe_code)]

use super::socket::{Open, Socket};
use super::{Engine, SocketId};
use crate::time::Instant;
use core::cmp::Reverse;
use std::collections::BinaryHeap;

#[derive(Debug, Default)]
pub(super) struct Timers {
    pub(super) heap: BinaryHeap<Reverse<(Instant, SocketId)>>,
}

impl Timers {
    /// Notes the deadline of the connection in `socket`. Whether the heap grew.
    pub(super) fn note(&mut self, socket: &mut Socket, id: SocketId) -> bool {
        let Some(deadline) = socket.connection().and_then(Open::deadline) else { return false };
        let earlier = socket.scheduled.is_none_or(|scheduled| deadline < scheduled);
        if earlier {
            socket.scheduled = Some(deadline);
            self.heap.push(Reverse((deadline, id)));
        }
        earlier
    }
}

impl Engine {
    /// When `advance` should be called next. May be earlier than needed, never later; the past, when `transmit` has
    /// more to do.
    pub fn deadline(&mut self) -> Option<Instant> {
        let idle = self.looped.is_empty() && self.ready.is_empty() && self.outbox.is_empty();
        if !idle || !self.relieved.is_empty() {
            return Some(Instant::ZERO);
        }
        self.timers.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Runs the timers that are due.
    pub fn advance(&mut self, now: Instant) {
        self.now = now;
        self.expire_time_waits(now);
        while let Some(Reverse((at, id))) = self.timers.heap.peek().copied()
            && at <= now
        {
            self.timers.heap.pop();
            let Engine { sockets, contexts, ready, .. } = self;
            let Some(socket) = sockets.find_mut(id) else { continue };
            if socket.scheduled != Some(at) {
                continue;
            }
            socket.scheduled = None;
            let Some(open) = socket.connection_mut() else { continue };
            if open.deadline().is_some_and(|deadline| deadline <= now) {
                open.connection.advance(&mut contexts[open.path as usize], now);
                socket.make_ready(ready);
                self.settle(id, now);
            } else {
                self.timers.note(socket, id);
            }
        }
    }

    /// Throws void entries out when they are most of the heap.
    pub(super) fn sweep_timers(&mut self) {
        const SMALL: usize = 1024;
        let Engine { timers, sockets, .. } = self;
        if timers.heap.len() > SMALL.max(4 * sockets.len()) {
            timers.heap.retain(|Reverse((at, id))| {
                sockets.find(*id).is_some_and(|socket| socket.scheduled == Some(*at))
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Domain, Kind, Settings};
    use crate::tcp;

    #[test]
    fn deadlines_of_connections_that_are_gone_do_not_pile_up() {
        let addresses = vec!["10.0.0.1/24".parse().expect("an address")];
        let settings = Settings {
            mtu: 1500,
            addresses,
            any_address: false,
            offer_incoming: false,
            checksums: false,
            segmentation: 0,
            in_memory: false,
            tcp: tcp::Settings::default(),
            seed: [1; 16],
        };
        let now = Instant::from_micros(1);
        let mut engine = Engine::new(settings, now);
        for _ in 0..5000 {
            let id = engine.open(Domain::V4, Kind::Stream);
            engine.connect(id, "10.0.0.2:80".parse().expect("an address"), now).expect("connect");
            while engine.transmit(now, &mut |_| {}) {}
            engine.release(id, now);
        }
        assert!(engine.timers.heap.len() <= 1025, "{}", engine.timers.heap.len());
        assert_eq!(engine.connections.len(), 0);
    }
}
