//! RACK (RFC 8985): a segment is lost when one that was sent sufficiently later has arrived.
//!
//! "Sufficiently" is the reordering window: nothing while no reordering was seen and loss is evident, else a quarter of
//! the least round trip, and more for each round in which the peer reported a duplicate.
#![forbid(unsafe_code)]

use super::sequence::Sequence;
use crate::time::Instant;
use core::time::Duration;

/// RFC 8985 6.2 step 4: recoveries after which a widened window is forgotten.
const WIDENED_FOR: u8 = 16;

/// The state of RACK.
#[derive(Debug)]
pub(super) struct Rack {
    /// When the segment that was sent last among those that arrived was sent (RACK.xmit_ts).
    pub(super) sent_at: Instant,
    /// Its end (RACK.end_seq).
    pub(super) end: Sequence,
    /// Its round trip (RACK.rtt).
    pub(super) rtt: Duration,
    /// The highest number that has arrived (RACK.fack).
    pub(super) highest: Sequence,
    /// RACK.reordering_seen
    pub(super) reordering_seen: bool,
    started: bool,
    multiplier: u8,
    persist: u8,
    /// The round in which the window was last widened ends here (RACK.dsack_round).
    widened_until: u64,
}

impl Rack {
    pub(super) fn new(start: Sequence) -> Rack {
        Rack {
            sent_at: Instant::ZERO,
            end: start,
            rtt: Duration::ZERO,
            highest: start,
            reordering_seen: false,
            started: false,
            multiplier: 1,
            persist: 0,
            widened_until: 0,
        }
    }

    /// A segment has arrived (RFC 8985 6.2 steps 2 and 3).
    pub(super) fn arrived(
        &mut self,
        (sent_at, end): (Instant, Sequence),
        retransmitted: bool,
        minimum_rtt: Option<Duration>,
        now: Instant,
    ) {
        if end.after(self.highest) {
            self.highest = end;
        } else if end.before(self.highest) && !retransmitted {
            self.reordering_seen = true;
        }
        let rtt = now - sent_at;
        // The acknowledgement of a retransmission that comes too soon is one of the original.
        if retransmitted && minimum_rtt.is_some_and(|minimum| rtt < minimum) {
            return;
        }
        self.rtt = rtt;
        if !self.started || (sent_at, end.distance(self.end)) > (self.sent_at, 0) {
            (self.started, self.sent_at, self.end) = (true, sent_at, end);
        }
    }

    /// A duplicate was reported: once a round trip, the window widens. SND.UNA and SND.NXT as offsets of the stream.
    pub(super) fn duplicate_reported(&mut self, first_unacknowledged: u64, next: u64) {
        if first_unacknowledged >= self.widened_until {
            self.widened_until = next;
            self.multiplier = self.multiplier.saturating_add(1);
            self.persist = WIDENED_FOR;
        }
    }

    /// A recovery has ended.
    pub(super) fn recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.multiplier = 1;
        }
    }

    /// RACK.reo_wnd; `evident` when in recovery already, or three segments are SACKed.
    pub(super) fn window(&self, evident: bool, minimum_rtt: Duration, smoothed_rtt: Duration) -> Duration {
        if !self.reordering_seen && evident {
            return Duration::ZERO;
        }
        (minimum_rtt / 4 * u32::from(self.multiplier)).min(smoothed_rtt)
    }

    /// When a segment sent at `sent_at`, ending at `end`, counts as lost; None when nothing sent after it has arrived.
    pub(super) fn lost_at(&self, sent_at: Instant, end: Sequence, window: Duration) -> Option<Instant> {
        let later = self.started && (self.sent_at, self.end.distance(end)) > (sent_at, 0);
        later.then(|| sent_at + self.rtt + window)
    }
}
