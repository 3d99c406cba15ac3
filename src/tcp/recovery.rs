//! Loss recovery: when it begins and ends, how much may be sent meanwhile, and how a false alarm is taken back.
//!
//! ```text
//!            lost (RACK, or three duplicates)              all before `point` acknowledged
//!   Open ───────────────────────────────────► Fast ────────────────────────────────────────► Open
//!    │ └── RTO ──► Loss ◄── RTO ───────────────┘  └── false alarm ──────────────────────────► Open
//!                    └────────── all before `point` acknowledged, or false alarm ───────────► Open
//! ```
//!
//! In `Fast` the window is PRR's (RFC 6937 with its slow-start bound) unless the controller owns recovery. A false alarm
//! shows in one of three ways: the timestamp that the peer echoes is older than the retransmission (Eifel, RFC 3522 and
//! 4015); D-SACKs report every retransmission as a duplicate (RFC 2883, RFC 3708); or after a time-out data that was sent
//! once only turns out to have arrived (F-RTO for SACK, RFC 5682 3; without its two probing segments).
#![forbid(unsafe_code)]

use super::context::Context;
use super::sequence::Sequence;
use super::{Connection, scoreboard::News};
use crate::time::Instant;
use core::time::Duration;

/// RFC 5681 3.2
const DUPLICATE_THRESHOLD: u32 = 3;

/// Which recovery goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Fast,
    Loss,
}

/// What must be known to take a reduction back.
#[derive(Clone, Copy, Debug)]
struct Undo {
    /// SND.UNA at the beginning.
    start: Sequence,
    /// Bytes sent again that no D-SACK has reported.
    unreported: u32,
}

/// A tail loss probe that is in flight (RFC 8985 7.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct TailProbe {
    /// SND.NXT when it was sent.
    pub(super) end: Sequence,
    pub(super) retransmission: bool,
}

/// The state of recovery.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) phase: Phase,
    /// SND.NXT when it began (RFC 6675's RecoveryPoint).
    pub(super) point: Sequence,
    /// PRR's window, and what it counts.
    window: u32,
    delivered: u32,
    sent: u32,
    in_flight_at_start: u32,
    undo: Option<Undo>,
    /// Our clock, in the unit of timestamps, at the first retransmission of this recovery, or at an earlier one of which
    /// something was in flight when it began.
    retransmitted_at: Option<u32>,
    pub(super) probe: Option<TailProbe>,
    /// Duplicate acknowledgements in a row, of a peer without SACK.
    pub(super) duplicates: u32,
    /// Time-outs since something was acknowledged.
    pub(super) timeouts: u32,
    /// Time-outs, ever.
    pub(super) timeouts_ever: u32,
}

impl Recovery {
    pub(super) fn new(start: Sequence) -> Recovery {
        Recovery {
            phase: Phase::Open,
            // Nothing has been lost: even the first number is beyond it.
            point: start.minus_one(),
            window: 0,
            delivered: 0,
            sent: 0,
            in_flight_at_start: 0,
            undo: None,
            retransmitted_at: None,
            probe: None,
            duplicates: 0,
            timeouts: 0,
            timeouts_ever: 0,
        }
    }

    /// PRR (RFC 6937 3.1), once for each acknowledgement of fast recovery.
    #[cold]
    fn reduce(&mut self, delivered: u32, progress: bool, in_flight: u32, threshold: u32, mss: u32) {
        self.delivered = self.delivered.saturating_add(delivered);
        let allowed = if in_flight > threshold {
            let share = u64::from(self.delivered) * u64::from(threshold);
            let due = share.div_ceil(u64::from(self.in_flight_at_start.max(1)));
            u32::try_from(due).unwrap_or(u32::MAX).saturating_sub(self.sent)
        } else {
            let behind = self.delivered.saturating_sub(self.sent);
            // The slow-start bound while things go well, the conservative one while more is being lost.
            let limit = if progress { behind.max(delivered) + mss } else { behind };
            (threshold - in_flight).min(limit)
        };
        // The first retransmission goes out at once.
        let least = if self.sent == 0 { mss } else { 0 };
        self.window = in_flight.saturating_add(allowed.max(least));
    }
}

impl Connection {
    /// The congestion window in force.
    pub(super) fn window(&self) -> u32 {
        match self.recovery.phase {
            Phase::Fast if !self.congestion.owns_recovery() => self.recovery.window,
            _ => self.congestion.window(),
        }
    }

    /// Draws the consequences of an acknowledgement; the bytes that it showed to be lost.
    pub(super) fn recover(
        &mut self,
        context: &Context,
        news: &News,
        duplicate: bool,
        echo: Option<u32>,
        now: Instant,
    ) -> u32 {
        if self.is_false_alarm(news, echo) {
            self.take_back(now);
        }
        if self.recovery.phase != Phase::Open && !self.sending.unacknowledged.before(self.recovery.point) {
            self.end_recovery(now);
        }
        let lost = match self.agreed.sack {
            true => self.detect_losses(now),
            false => self.count_duplicates(news, duplicate),
        };
        self.respond_to(context, lost, now);
        if let Some(probe) = self.recovery.probe {
            self.judge_tail_probe(probe, news, duplicate, now);
        }
        lost
    }

    /// The reordering timer ran out: whether something is lost.
    pub(super) fn lose(&mut self, context: &Context, now: Instant) -> bool {
        let lost = self.detect_losses(now);
        self.respond_to(context, lost, now);
        lost > 0
    }

    fn respond_to(&mut self, context: &Context, lost: u32, now: Instant) {
        // A probe of the path MTU that is lost is no congestion (RFC 4821 7.5).
        let probe_lost = self.path_mtu.is_searching() && self.judge_probe(context, now);
        if lost > 0 && !probe_lost && self.recovery.phase == Phase::Open {
            self.begin_recovery(now);
        }
    }

    /// PRR's turn, when everything else about an acknowledgement is known.
    pub(super) fn reduce_window(&mut self, delivered: u32, progress: bool) {
        if self.recovery.phase == Phase::Fast {
            let (in_flight, threshold) = (self.scoreboard.in_flight(), self.congestion.threshold());
            self.recovery.reduce(delivered, progress, in_flight, threshold, self.sending.mss);
        }
    }

    /// RFC 8985 6.2 step 5
    fn detect_losses(&mut self, now: Instant) -> u32 {
        if self.scoreboard.is_empty() {
            return 0;
        }
        let totals = self.scoreboard.totals();
        let evident = self.recovery.phase != Phase::Open
            || totals.sacked_records >= DUPLICATE_THRESHOLD
            || totals.sacked >= DUPLICATE_THRESHOLD * self.sending.mss;
        let smoothed = self.rtt.smoothed().unwrap_or(Duration::ZERO);
        let minimum = self.rtt.minimum().unwrap_or(Duration::ZERO);
        let window = self.scoreboard.rack.window(evident, minimum, smoothed);
        let (lost, next) = self.scoreboard.detect(window, now);
        self.timers.reorder = next;
        lost
    }

    /// RFC 5681 3.2, RFC 6582: a peer without SACK.
    #[cold]
    fn count_duplicates(&mut self, news: &News, duplicate: bool) -> u32 {
        let mss = self.sending.mss;
        if news.acknowledged > 0 {
            self.recovery.duplicates = 0;
            let una = self.sending.unacknowledged;
            if self.recovery.phase == Phase::Open && una.after(self.recovery.point) {
                // It stays near, lest numbers wrap.
                self.recovery.point = una.minus_one();
            }
            let presumed = self.scoreboard.presumed;
            self.scoreboard.presumed = presumed.saturating_sub(news.acknowledged.saturating_sub(mss));
            // RFC 6582 3.2 step 3: a partial acknowledgement shows the next hole.
            let partial = self.recovery.phase == Phase::Fast;
            return if partial { self.scoreboard.mark_first_lost(mss) } else { 0 };
        }
        if !duplicate {
            return 0;
        }
        self.recovery.duplicates += 1;
        self.scoreboard.presumed = (self.scoreboard.presumed + mss).min(self.flight().saturating_sub(mss));
        // RFC 6582 3.2 step 1: what is answered to a go-back-N is no sign of loss.
        let beyond = self.sending.unacknowledged.after(self.recovery.point);
        match self.recovery.duplicates == DUPLICATE_THRESHOLD && self.recovery.phase == Phase::Open && beyond
        {
            true => self.scoreboard.mark_first_lost(mss),
            false => 0,
        }
    }

    /// SND.NXT - SND.UNA
    pub(super) fn flight(&self) -> u32 {
        self.sending.next.distance(self.sending.unacknowledged)
    }

    #[cold]
    fn begin_recovery(&mut self, now: Instant) {
        let in_flight = self.flight();
        self.congestion.on_congestion(now, self.scoreboard.in_flight());
        self.enter(Phase::Fast);
        let recovery = &mut self.recovery;
        (recovery.delivered, recovery.sent) = (0, 0);
        recovery.in_flight_at_start = in_flight;
        recovery.window = self.congestion.threshold();
    }

    fn enter(&mut self, phase: Phase) {
        // What was sent again before and is still on its way would look like the original of what follows.
        let earlier = self.recovery.retransmitted_at.filter(|_| self.scoreboard.totals().again > 0);
        let recovery = &mut self.recovery;
        recovery.phase = phase;
        recovery.point = self.sending.next;
        recovery.probe = None;
        recovery.retransmitted_at = earlier;
        recovery.undo = Some(Undo { start: self.sending.unacknowledged, unreported: 0 });
    }

    fn leave(&mut self) {
        self.recovery.phase = Phase::Open;
        self.recovery.duplicates = 0;
        self.scoreboard.presumed = 0;
    }

    #[cold]
    fn end_recovery(&mut self, now: Instant) {
        self.leave();
        self.scoreboard.rack.recovered();
        self.congestion.on_recovered(now);
    }

    /// The retransmission timer ran out (RFC 6298 5.4 to 5.6, RFC 8985 6.3).
    pub(super) fn time_out(&mut self, now: Instant) {
        let recent = self.scoreboard.rack.rtt.min(self.rtt.smoothed().unwrap_or(Duration::ZERO));
        self.congestion.on_timeout(now, self.flight());
        // A second time-out of the same data: the first reduction may still be taken back.
        if self.recovery.phase != Phase::Loss {
            self.enter(Phase::Loss);
        }
        self.recovery.point = self.sending.next;
        self.scoreboard.mark_all_lost(recent, now);
        self.recovery.probe = None;
        self.recovery.duplicates = 0;
        self.recovery.timeouts += 1;
        self.recovery.timeouts_ever += 1;
        self.rtt.back_off();
        self.timers.reorder = None;
    }

    /// The path takes no such large segments any more: they are sent again, and nobody is to blame (RFC 1191 6.5).
    pub(super) fn resend_oversized(&mut self) {
        if self.scoreboard.mark_oversized_lost(self.sending.mss) > 0 && self.recovery.phase == Phase::Open {
            self.recovery.phase = Phase::Loss;
            self.recovery.point = self.sending.next;
            self.recovery.undo = None;
        }
    }

    /// A retransmission of `bytes` leaves.
    pub(super) fn note_retransmission(&mut self, bytes: u32, clock: u32) {
        self.recovery.sent = self.recovery.sent.saturating_add(bytes);
        self.recovery.retransmitted_at.get_or_insert(clock);
        if let Some(undo) = &mut self.recovery.undo {
            undo.unreported = undo.unreported.saturating_add(bytes);
        }
    }

    /// New data of `bytes` leaves.
    pub(super) fn note_transmission(&mut self, bytes: u32) {
        self.recovery.sent = self.recovery.sent.saturating_add(bytes);
    }

    // ---- false alarms

    /// A D-SACK reports `start..end` (RFC 2883).
    pub(super) fn duplicate_reported(&mut self, (start, end): (Sequence, Sequence), news: &mut News) {
        let offset = self.sending.offset;
        self.scoreboard.rack.duplicate_reported(offset, offset + u64::from(self.flight()));
        self.tally.duplicates_reported += 1;
        news.duplicate = true;
        if let Some(undo) = &mut self.recovery.undo
            && end.after(undo.start)
            && undo.unreported > 0
        {
            undo.unreported = undo.unreported.saturating_sub(end - start);
            news.all_reported = undo.unreported == 0;
        }
    }

    fn is_false_alarm(&self, news: &News, echo: Option<u32>) -> bool {
        if self.recovery.undo.is_none() {
            return false;
        }
        if news.all_reported {
            return true;
        }
        if self.recovery.phase == Phase::Open || news.acknowledged == 0 {
            return false;
        }
        let original = self.recovery.phase == Phase::Loss
            && self.agreed.sack
            && news.original_end.is_some_and(|end| !end.after(self.recovery.point));
        let eifel = match (self.recovery.retransmitted_at, echo) {
            (Some(retransmitted_at), Some(echo)) => (echo.wrapping_sub(retransmitted_at) as i32) < 0,
            _ => false,
        };
        original || eifel
    }

    /// The last retransmission of a recovery may be reported as a duplicate when all is acknowledged.
    pub(super) fn heed_reports(&mut self, news: &News, now: Instant) {
        if news.all_reported {
            self.take_back(now);
        }
    }

    #[cold]
    fn take_back(&mut self, now: Instant) {
        self.scoreboard.unmark_lost();
        self.scoreboard.rack.reordering_seen = true;
        self.congestion.on_spurious(now);
        self.rtt.end_back_off();
        self.recovery.undo = None;
        if self.recovery.phase != Phase::Open {
            self.leave();
        }
    }

    // ---- tail loss probes

    /// RFC 8985 7.4.2: whether the probe repaired a loss that nobody else has noticed. What acknowledges just the probed
    /// segment does not tell whose arrival it acknowledges; the next acknowledgement does.
    #[cold]
    fn judge_tail_probe(&mut self, probe: TailProbe, news: &News, duplicate: bool, now: Instant) {
        let acknowledged = self.sending.unacknowledged;
        if acknowledged.before(probe.end) {
            return;
        }
        let beyond = acknowledged.after(probe.end);
        if probe.retransmission && !news.duplicate && !duplicate && !beyond {
            return;
        }
        self.recovery.probe = None;
        let repaired = probe.retransmission && !news.duplicate && beyond;
        if repaired && self.recovery.phase == Phase::Open {
            self.congestion.on_congestion(now, self.flight());
            self.congestion.on_recovered(now);
        }
    }
}
