//! Deadlines of connections: a heap with at most one live entry for each. A deadline that moves later leaves its entry
//! where it is, to be looked at when it comes up; one that moves earlier gets a second entry and voids the first. Void
//! entries are swept out when they are most of the heap. Two equal entries are one: what is done for the first voids the
//! second.
//!
//! What a connection's deadline is stands in a table here too. Most entries that come up belong to a connection whose
//! deadline has moved on, and are put back without a look at it: of ten thousand, it lies in slow memory.
#![forbid(unsafe_code)]

use super::socket::slot;
use super::{Engine, SocketId};
use crate::time::Instant;
use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, SocketId)>>,
    /// By the slot of the socket.
    notes: Vec<Note>,
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Note {
    /// Whose note it is; None in a slot that never had one.
    id: Option<SocketId>,
    /// As it was when the connection last had nothing more to send.
    deadline: Option<Instant>,
    /// Its live entry in the heap.
    scheduled: Option<Instant>,
}

impl Timers {
    /// Notes the deadline of the connection `id`. Whether the heap grew.
    pub(super) fn note(&mut self, id: SocketId, deadline: Option<Instant>) -> bool {
        let slot = slot(id);
        if slot >= self.notes.len() {
            self.notes.resize_with(slot + 1, Note::default);
        }
        let note = &mut self.notes[slot];
        if note.id != Some(id) {
            *note = Note { id: Some(id), ..Note::default() };
        }
        note.deadline = deadline;
        let Some(deadline) = deadline else { return false };
        let earlier = note.scheduled.is_none_or(|scheduled| deadline < scheduled);
        if earlier {
            note.scheduled = Some(deadline);
            self.heap.push(Reverse((deadline, id)));
        }
        earlier
    }

    /// A connection whose deadline has come, if it still is what was noted.
    fn due(&mut self, now: Instant) -> Option<SocketId> {
        loop {
            let mut first = self.heap.peek_mut()?;
            let Reverse((at, id)) = *first;
            if at > now {
                return None;
            }
            let Some(note) = self.notes.get_mut(slot(id)).filter(|note| note.is_entry(at, id)) else {
                PeekMut::pop(first);
                continue;
            };
            note.scheduled = note.deadline.filter(|deadline| *deadline > now);
            match note.scheduled {
                Some(later) => *first = Reverse((later, id)),
                None => {
                    PeekMut::pop(first);
                    return Some(id);
                }
            }
        }
    }

    /// When the live entry of `id` comes up, and whether there is one in the heap.
    pub(super) fn scheduled(&self, id: SocketId) -> (Option<Instant>, bool) {
        let note = self.notes.get(slot(id)).filter(|note| note.id == Some(id));
        let live =
            |Reverse((at, whose)): &Reverse<_>| *whose == id && note.is_some_and(|n| n.is_entry(*at, id));
        (note.and_then(|note| note.scheduled), self.heap.iter().any(live))
    }
}

impl Note {
    fn is_entry(&self, at: Instant, id: SocketId) -> bool {
        (self.id, self.scheduled) == (Some(id), Some(at))
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
        while let Some(id) = self.timers.due(now) {
            let Engine { sockets, contexts, ready, .. } = self;
            let Some(socket) = sockets.find_mut(id) else { continue };
            let Some(open) = socket.connection_mut() else { continue };
            let deadline = open.deadline();
            if deadline.is_some_and(|deadline| deadline <= now) {
                open.connection.advance(&mut contexts[open.path as usize], now);
                socket.make_ready(ready);
                self.settle(id, now);
            } else {
                self.timers.note(id, deadline);
            }
        }
    }

    /// Throws void entries out when they are most of the heap.
    pub(super) fn sweep_timers(&mut self) {
        const SMALL: usize = 1024;
        let Engine { timers: Timers { heap, notes }, sockets, .. } = self;
        if heap.len() > SMALL.max(4 * sockets.len()) {
            heap.retain(|Reverse((at, id))| {
                sockets.find(*id).is_some()
                    && notes.get(slot(*id)).is_some_and(|note| note.is_entry(*at, *id))
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
