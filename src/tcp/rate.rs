//! Delivery rate: how fast data arrives at the peer, sampled at each acknowledgement
//! (draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Each transmission takes a snapshot of what had been delivered by then. When it is acknowledged, the difference to now,
//! over the longer of the time that sending took and the time that acknowledging took, is one sample.
#![forbid(unsafe_code)]

use super::congestion::RateSample;
use crate::time::Instant;
use core::time::Duration;

/// What is noted with each transmission.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Snapshot {
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    application_limited: bool,
    in_flight: u32,
}

/// The counts of a connection.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Bytes delivered so far (C.delivered).
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// The sender has nothing to send until this many bytes are delivered (C.app_limited).
    application_limited_until: u64,
    /// The last valid sample: bytes, and microseconds.
    latest: (u64, u64),
}

/// What an acknowledgement may take its sample from: of all that it shows to have arrived, what was sent last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    snapshot: Snapshot,
    sent_at: Instant,
    retransmitted: bool,
}

impl Rate {
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes per second.
    pub(super) fn latest(&self) -> u64 {
        let (bytes, micros) = self.latest;
        bytes.saturating_mul(1_000_000) / micros.max(1)
    }

    /// A segment is sent at `now`, with `in_flight` bytes before it.
    pub(super) fn sent(&mut self, in_flight: u32, nothing_outstanding: bool, now: Instant) -> Snapshot {
        if nothing_outstanding {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        Snapshot {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            application_limited: self.application_limited_until > self.delivered,
            in_flight,
        }
    }

    /// The window has room, and there is nothing to send.
    pub(super) fn application_limited(&mut self, in_flight: u32) {
        self.application_limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// `bytes` whose last transmission was at `sent_at` have arrived; `best` is what the same acknowledgement found before.
    pub(super) fn arrived(
        &mut self,
        best: &mut Option<Candidate>,
        bytes: u32,
        snapshot: Snapshot,
        sent_at: Instant,
        retransmitted: bool,
        now: Instant,
    ) {
        self.delivered += u64::from(bytes);
        self.delivered_at = now;
        let newer =
            best.is_none_or(|best| (snapshot.delivered, sent_at) >= (best.snapshot.delivered, best.sent_at));
        if newer {
            *best = Some(Candidate { snapshot, sent_at, retransmitted });
            self.first_sent_at = sent_at;
        }
    }

    /// The sample of the acknowledgement that was taken; None when it delivered nothing or the clock shows that the
    /// interval is shorter than any round trip.
    pub(super) fn sample(&mut self, best: Option<Candidate>, minimum_rtt_micros: u64) -> Option<RateSample> {
        let Candidate { snapshot, sent_at, retransmitted } = best?;
        let sending = sent_at.micros_since(snapshot.first_sent_at);
        let acknowledging = self.delivered_at.micros_since(snapshot.delivered_at);
        let interval = sending.max(acknowledging);
        let delivered = self.delivered - snapshot.delivered;
        if interval < minimum_rtt_micros || interval == 0 {
            return None;
        }
        self.latest = (delivered, interval);
        Some(RateSample {
            delivered,
            interval: Duration::from_micros(interval),
            prior_delivered: snapshot.delivered,
            total_delivered: self.delivered,
            application_limited: snapshot.application_limited,
            retransmitted,
            in_flight_at_send: snapshot.in_flight,
        })
    }
}
