//! The end of a run: whatever has happened, from now on the peer and the owner do what they should. Then what was
//! written arrives, what the peer sent is read, both close, and the connection ends in order: it is not wedged.
#![forbid(unsafe_code)]

use super::{ACK, FIN, Plan, World};
use std::time::Duration;
use tubesock::tcp::{Options, State};

/// The longest without any progress: twice what is between two retransmissions, or probes, and none is answered in vain.
const STALLED_MAX: Duration = Duration::from_secs(300);

/// Segments in all: a megabyte in segments of 48 bytes may end later than it is worth waiting for.
const SEGMENTS_MAX: usize = 20_000;

/// Retransmissions and probes are at most two minutes apart.
const DEADLINE_MAX: Duration = Duration::from_secs(150);

/// From a segment to its answer.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// What the peer sends at a time.
const SEGMENT: usize = 1000;

impl World {
    pub(super) fn end_in_peace(&mut self) {
        if self.aborted || self.is_over() {
            return self.part();
        }
        // No limits of the owner's making.
        let urgent_inline = !self.model.urgent_apart;
        self.connection.set_options(&self.context, Options { urgent_inline, ..Options::default() }, self.now);
        self.peer.queue.clear();
        self.settle();
        let (mut since, mut before) = (self.now, self.progress());
        let last = self.segments + SEGMENTS_MAX;
        while self.segments < last {
            if self.is_over() {
                return self.part();
            }
            self.turn();
            if self.progress() != before {
                (since, before) = (self.now, self.progress());
            }
            let wedged = self.now - since >= STALLED_MAX;
            assert!(!wedged, "wedged: {before:?} {:?}", self.connection);
        }
    }

    /// What changes as long as things go on: how far either direction has come.
    fn progress(&self) -> (State, i64, i64) {
        (self.connection.state(), self.peer.next, self.model.acknowledged)
    }

    fn turn(&mut self) {
        while let Some(wire) = self.peer.queue.pop_front() {
            self.peer.receive(&wire, &self.model);
        }
        self.answer_peacefully();
        self.read(usize::MAX);
        if self.connection.state() == State::Established || self.connection.state() == State::CloseWait {
            self.model.closed = true;
            self.connection.close();
            self.settle();
        }
        let patience = match self.connection.deadline().filter(|_| self.peer.queue.is_empty()) {
            Some(deadline) => (deadline - self.now).min(DEADLINE_MAX),
            None => ROUND_TRIP,
        };
        self.wait(patience);
    }

    /// What a TCP would send now: the handshake, what it sent and we lack, its FIN, an acknowledgement.
    fn answer_peacefully(&mut self) {
        let sack = self.model.sack_agreed();
        let timestamp = Some(self.peer.skew(&self.model, self.now));
        let acknowledgement = Plan { timestamp, ..self.peer.acknowledgement(u16::MAX, sack) };
        match self.connection.state() {
            State::SynSent if self.peer.next == 0 => return,
            State::SynSent => {
                let plan = Plan { flags: super::SYN | ACK, sequence: 0, ..acknowledgement };
                return self.send(&plan);
            }
            _ if self.connection.fin_received() => {
                // Not left of where it lied to be: SND.WL1 may stand there.
                let plan = Plan { sequence: self.peer.sent.max(self.model.acknowledged), ..acknowledgement };
                return self.send(&plan);
            }
            _ => {}
        }
        let from = self.model.acknowledged.max(1);
        let end = self.peer.sent.max(from);
        let room = (self.model.advertised - from).clamp(0, 64 * SEGMENT as i64);
        for at in (from..end.min(from + room)).step_by(SEGMENT) {
            let length = (end - at).min(SEGMENT as i64) as usize;
            self.send(&Plan { sequence: at, length, ..acknowledgement.clone() });
        }
        // Its FIN stands behind all that it ever sent.
        let flags = if self.model.acknowledged >= end { ACK | FIN } else { ACK };
        self.send(&Plan { sequence: end, flags, ..acknowledgement });
    }

    /// Over: the rest can be read, and nothing more is sent.
    fn part(&mut self) {
        self.settle();
        if self.connection.state() == State::TimeWait {
            self.connection.retire();
        }
        self.read(usize::MAX);
        let in_order = self.connection.end().is_none() && !self.aborted && !self.model.orphaned;
        if in_order && self.model.closed && self.model.sent > 0 {
            assert!(self.model.fin_acknowledged(), "in order, and our FIN was not acknowledged");
        }
        assert_eq!(self.connection.deadline(), None, "what is over has no timers");
    }
}
