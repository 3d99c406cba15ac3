//! The other end: a TCP that knows what it received and what it sent, and so can behave, or lie by a known amount.
#![forbid(unsafe_code)]

use super::model::Model;
use super::stream::{Stream, unwrapped, wrapped};
use super::{ACK, Intervals, Options, RST, SYN, Wire};
use std::collections::VecDeque;
use tubesock::time::Instant;

/// Segments of ours that are on their way; more are lost.
const QUEUE_MAX: usize = 4096;

/// A segment in the making: everything as offsets.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) sequence: i64,
    pub(super) acknowledgement: Option<i64>,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) length: usize,
    pub(super) urgent: u16,
    /// TSval less the clock's; None for no timestamps.
    pub(super) timestamp: Option<i32>,
    /// Ranges of our offsets.
    pub(super) sack: Vec<(i64, i64)>,
}

#[derive(Default)]
pub(super) struct Peer {
    /// What of ours is on its way.
    pub(super) queue: VecDeque<Wire>,
    /// What of ours has arrived, and how far without a gap.
    arrived: Intervals,
    pub(super) next: i64,
    /// Where the SACK block lies that grew last.
    latest: i64,
    /// How much of its own stream it has sent.
    pub(super) sent: i64,
    /// TSval of ours that it echoes.
    echo: u32,
}

/// The clock of its timestamps.
fn clock(model: &Model, now: Instant) -> u32 {
    ((now.micros() / 1000) as u32).wrapping_add(model.terms.irs)
}

impl Peer {
    /// How far its timestamps must be ahead of its clock, after those that it sent (RFC 7323 5).
    pub(super) fn skew(&self, model: &Model, now: Instant) -> i32 {
        (model.last_echo.wrapping_sub(clock(model, now)) as i32).max(0)
    }

    pub(super) fn on_its_way(&mut self, wire: Wire) {
        // A reset that answers a lie does not concern a peer that goes on.
        if self.queue.len() < QUEUE_MAX && !wire.has(RST) {
            self.queue.push_back(wire);
        }
    }

    /// One segment of ours arrives.
    pub(super) fn receive(&mut self, wire: &Wire, model: &Model) {
        let start = unwrapped(wire.sequence, model.terms.iss, self.next);
        self.arrived.insert(start..start + wire.length());
        self.next = self.arrived.end_of(self.next);
        self.latest = start;
        if let Some((value, _)) = Options::read(&wire.options).and_then(|options| options.timestamps) {
            self.echo = value;
        }
    }

    /// What it acknowledged without having it, it will not ask for.
    pub(super) fn believe(&mut self, acknowledged: i64) {
        self.next = self.arrived.end_of(self.next.max(acknowledged));
    }

    /// The blocks of RFC 2018: the one that grew last first.
    pub(super) fn blocks(&self) -> Vec<(i64, i64)> {
        let mut blocks: Vec<_> =
            self.arrived.behind(self.next).take(4).map(|range| (range.start, range.end)).collect();
        if let Some(first) = blocks.iter().position(|block| (block.0..block.1).contains(&self.latest)) {
            blocks.swap(0, first);
        }
        blocks.truncate(3);
        blocks
    }

    /// An honest acknowledgement.
    pub(super) fn acknowledgement(&self, window: u16, sack: bool) -> Plan {
        let sack = if sack { self.blocks() } else { Vec::new() };
        Plan {
            sequence: self.sent,
            acknowledgement: Some(self.next),
            flags: ACK,
            window,
            timestamp: Some(0),
            sack,
            ..Plan::default()
        }
    }

    /// The segment on the wire.
    pub(super) fn build(&mut self, plan: &Plan, model: &Model, now: Instant) -> Wire {
        let terms = &model.terms;
        let mut options = Options::default();
        if plan.flags & SYN != 0 {
            options = terms.offer.clone();
        }
        let timestamp = match (plan.flags & SYN != 0, options.timestamps) {
            // What a SYN offers is settled for the run.
            (true, offered) => offered.map(|_| plan.timestamp.unwrap_or(0)),
            (false, _) => plan.timestamp.filter(|_| model.timestamps_agreed()),
        };
        options.timestamps = timestamp.map(|skew| {
            let value = clock(model, now).wrapping_add_signed(skew);
            (value, self.echo)
        });
        let blocks =
            plan.sack.iter().map(|(left, right)| (wrapped(*left, terms.iss), wrapped(*right, terms.iss)));
        options.sack = blocks.take(if options.timestamps.is_some() { 3 } else { 4 }).collect();
        let data = plan.sequence + i64::from(plan.flags & SYN != 0);
        self.note_sent(plan, model);
        Wire {
            source: terms.remote,
            destination: terms.local,
            sequence: wrapped(plan.sequence, terms.irs),
            acknowledgement: plan.acknowledgement.map_or(0, |offset| wrapped(offset, terms.iss)),
            flags: plan.flags,
            window: plan.window,
            urgent: plan.urgent,
            options: options.bytes(),
            payload: Stream::Theirs.bytes(data, plan.length),
        }
    }

    /// Its SND.NXT is behind the furthest that could have been taken; where it ends is not settled by one FIN.
    fn note_sent(&mut self, plan: &Plan, model: &Model) {
        let end = plan.sequence + plan.length as i64 + i64::from(plan.flags & SYN != 0);
        let edge = model.advertised.max(1);
        if plan.sequence <= edge {
            self.sent = self.sent.max(end.min(edge));
        }
    }
}
