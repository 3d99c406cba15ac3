//! The receive window: what is advertised, when it is worth a segment of its own, and how the buffer behind it grows.
//!
//! The right edge never moves left (RFC 9293 3.8.6), and right only by a full segment or half the buffer (3.8.6.2.2). The
//! buffer grows with what the program reads in a round trip (dynamic right-sizing, as Linux's tcp_rcv_space_adjust): so
//! a program that does not read gives its peer no more than it had, and one that does is never what holds the peer up.
#![forbid(unsafe_code)]

use super::Connection;
use super::context::Context;
use super::data::Receiving;
use crate::time::Instant;
use core::time::Duration;

/// Linux's initial rcvq_space: ten segments.
const READ_AT_FIRST: usize = 10;

/// How much may be received ahead of the reader.
#[derive(Debug)]
pub(super) struct Space {
    limit: usize,
    max: usize,
    /// Bytes read since the round began.
    read: usize,
    round: Instant,
    /// The most that was read in one round.
    most_read: usize,
    /// Round-trip time as the receiver sees it, by the timestamps that come back.
    round_trip: Option<Duration>,
}

impl Space {
    pub(super) fn new((limit, max): (usize, usize), mss: usize, now: Instant) -> Space {
        let most_read = limit.min(READ_AT_FIRST * mss).max(1);
        Space { limit, max: max.max(limit), read: 0, round: now, most_read, round_trip: None }
    }

    /// A round-trip sample of data received.
    pub(super) fn sample(&mut self, rtt: Duration) {
        self.round_trip = Some(self.round_trip.map_or(rtt, |known| (known * 7 + rtt) / 8));
    }

    /// `bytes` were read.
    fn was_read(&mut self, bytes: usize, mss: usize, smoothed: u64, now: Instant) {
        if self.limit >= self.max {
            return;
        }
        self.read += bytes;
        let round_trip = self.round_trip.map_or(smoothed, |known| known.as_micros() as u64);
        if round_trip == 0 || now.micros_since(self.round) < round_trip {
            return;
        }
        let read = core::mem::take(&mut self.read);
        self.round = now;
        if read > self.most_read {
            let twice = 2 * read + 16 * mss;
            // Room for the peer's slow start: it may grow as much again in the next round.
            let growth = twice as u64 * (read - self.most_read) as u64 / self.most_read as u64;
            let wanted = twice.saturating_add(2 * usize::try_from(growth).unwrap_or(usize::MAX / 4));
            self.limit = self.limit.max(wanted.min(self.max));
            self.most_read = read;
        }
    }
}

impl Receiving {
    pub(super) fn set_limits(&mut self, (limit, max): (usize, usize)) {
        (self.space.limit, self.space.max) = (limit, max.max(limit));
    }

    pub(super) fn limit_bytes(&self) -> u32 {
        self.space.limit as u32
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.space.round_trip
    }

    fn free(&self) -> u32 {
        u32::try_from(self.space.limit.saturating_sub(self.ring.length())).unwrap_or(u32::MAX)
    }

    /// The least move of the right edge that is worth telling.
    fn step(&self) -> u32 {
        (self.space.limit as u32 / 2).min(self.segment.max(1))
    }

    /// The window of a SYN, which is never scaled.
    pub(super) fn advertise_unscaled(&mut self) -> u16 {
        let window = self.free().min(u32::from(u16::MAX));
        self.edge = self.edge.later(self.next + window);
        self.last_window = window as u16;
        window as u16
    }

    /// Whether reading has opened the window so far that the peer should be told.
    fn is_worth_telling(&self, most: u32) -> bool {
        let (known, free) = (self.edge.distance(self.next), self.free().min(most));
        free >= known.saturating_mul(2) && free - known >= self.step()
    }
}

impl Connection {
    /// The window field of the next segment; the right edge moves with it.
    pub(super) fn advertise(&mut self) -> u16 {
        let shift = self.agreed.shifts.map_or(0, |(_, shift)| shift);
        let receiving = &mut self.receiving;
        let (known, free) = (receiving.edge.distance(receiving.next), receiving.free());
        let window = if free >= known.saturating_add(receiving.step()) { free } else { known };
        let unit = 1u32 << shift;
        // Rounded up, lest rounding moves the edge left; but not for ever by a little, when nothing is read.
        let rounded_up = (window + (unit - 1)) >> shift;
        let field = if rounded_up << shift <= free + unit { rounded_up } else { window >> shift };
        let field = u16::try_from(field).unwrap_or(u16::MAX);
        receiving.edge = receiving.edge.later(receiving.next + (u32::from(field) << shift));
        receiving.last_window = field;
        field
    }

    /// The program has read `bytes`.
    pub(super) fn was_read(&mut self, context: &mut Context, bytes: usize, now: Instant) {
        // What the field can say.
        let most = u32::from(u16::MAX) << self.agreed.shifts.map_or(0, |(_, shift)| shift);
        let receiving = &mut self.receiving;
        receiving.space.was_read(bytes, receiving.segment as usize, self.rtt.smoothed_micros(), now);
        if receiving.ring.length() == 0 && receiving.reassembly.is_empty() {
            receiving.ring.clear(&mut context.pool);
        }
        if self.outcome.is_none() && !receiving.finished && receiving.is_worth_telling(most) {
            receiving.acknowledge();
        }
    }
}
