//! The acknowledgement field of a segment, its SACK blocks and its window (RFC 9293 3.10.7.4, fifth step).
#![forbid(unsafe_code)]

use super::congestion::{Acknowledgement, RateSample};
use super::context::Context;
use super::recovery::Phase;
use super::scoreboard::News;
use super::segment::Segment;
use super::sequence::Sequence;
use super::{Connection, State};
use crate::time::Instant;
use core::time::Duration;

/// What one tick of the peer's echo is: our clock's.
const STAMP_UNIT_MICROS: u64 = 1000;

impl Connection {
    /// Takes the acknowledgement `number` of `segment`, which lies between SND.UNA and SND.NXT, or before.
    pub(super) fn take_acknowledgement(
        &mut self,
        context: &mut Context,
        segment: &Segment,
        number: Sequence,
        now: Instant,
    ) {
        let prior_in_flight = self.scoreboard.in_flight();
        let was_outstanding = !self.scoreboard.is_empty();
        let mut news = News::default();
        let advanced = number.after(self.sending.unacknowledged);
        if advanced {
            self.advance_unacknowledged(context, number, now, &mut news);
        }
        let was_closed = !self.sending.edge.after(self.sending.unacknowledged);
        let opened = self.update_window(segment, number);
        let duplicate = was_outstanding
            && !advanced
            && !opened
            && number == self.sending.unacknowledged
            && segment.length() == 0;
        if self.agreed.sack && segment.options.sack.as_slice().is_empty() {
            self.scoreboard.walked(&[]);
        } else if self.agreed.sack {
            self.take_blocks(segment, number, now, &mut news);
        }
        self.measure(&news, advanced, segment, now);
        // RFC 9293 3.8.6.1: a peer that keeps its window shut and says so is waited for.
        let shut = !self.sending.edge.after(self.sending.unacknowledged);
        let answered = advanced || shut || self.timers.is_persisting();
        self.patience.answered(answered, self.outstanding(), now);
        if !was_outstanding {
            self.heed_reports(&news, now);
            return self.update_persistence(opened);
        }
        if was_closed && self.sending.edge.after(self.sending.unacknowledged) && !advanced {
            self.resume(now);
        }
        let echo = segment.options.timestamps.filter(|_| self.agreed.timestamps).map(|stamps| stamps.echo);
        let lost = self.recover(context, &news, duplicate, echo, now);
        let presumed = if duplicate && !self.agreed.sack { self.sending.mss } else { 0 };
        news.delivered += presumed;
        self.reduce_window(news.delivered, news.acknowledged > 0 && lost == 0);
        let rate = self.scoreboard.rate.sample(news.best, self.rtt.minimum_micros());
        if self.congestion.heeds_acknowledgements() {
            self.control(&news, lost, prior_in_flight, rate, now);
            self.limit_sending(context);
        }
        if self.scoreboard.is_reneged() {
            self.arm_renege_timer(now);
        } else if advanced || news.sacked || lost > 0 {
            self.arm_loss_timer(now);
        }
    }

    fn advance_unacknowledged(
        &mut self,
        context: &mut Context,
        number: Sequence,
        now: Instant,
        news: &mut News,
    ) {
        self.scoreboard.acknowledge(number, self.rtt.minimum(), now, news);
        self.scoreboard.release(&mut context.records);
        let sending = &mut self.sending;
        let moved = number - sending.unacknowledged;
        sending.unacknowledged = number;
        sending.offset += u64::from(moved);
        let fin = sending.fin.is_acknowledged_by(number);
        sending.ring.consume((moved - u32::from(fin)) as usize);
        if sending.ring.length() == 0 {
            sending.ring.clear(&mut context.pool);
        }
        // What has been acknowledged must never again be compared with: numbers wrap.
        sending.urgent = sending.urgent.filter(|urgent| urgent.after(number));
        sending.limited_until = sending.limited_until.filter(|until| until.after(number));
        if !sending.small_end.after(number) {
            sending.small_end = number;
        }
        self.recovery.timeouts = 0;
        if fin {
            self.fin_acknowledged();
        }
    }

    /// The window had closed over data in flight, which the peer then dropped, and is open again: that data goes at once.
    #[cold]
    fn resume(&mut self, now: Instant) {
        if self.recovery.timeouts > 0 {
            self.rtt.end_back_off();
            self.scoreboard.mark_all_lost(Duration::ZERO, now);
            self.arm_retransmission(now);
        }
    }

    /// SACK blocks (RFC 2018 5), a D-SACK first (RFC 2883 4).
    #[cold]
    fn take_blocks(&mut self, segment: &Segment, number: Sequence, now: Instant, news: &mut News) {
        let blocks = segment.options.sack.as_slice();
        if let [(start, end), rest @ ..] = blocks {
            let old = !end.after(number);
            let within = rest.first().is_some_and(|other| !start.before(other.0) && !end.after(other.1));
            if start.before(*end) && (old || within) && self.was_sent_lately(*start) {
                self.duplicate_reported((*start, *end), news);
            }
        }
        let minimum = self.rtt.minimum();
        // In ascending order (RFC 8985 6.2 step 2): else one acknowledgement of several blocks looks like reordering.
        let mut ascending = segment.options.sack;
        ascending.sort_from(number);
        for (start, end) in ascending.as_slice().iter().copied() {
            let valid = start.before(end)
                && !start.before(self.sending.unacknowledged)
                && !end.after(self.sending.next);
            if valid {
                self.scoreboard.sack((start, end), minimum, now, news);
            }
        }
        self.scoreboard.walked(blocks);
    }

    /// Whether `number` is one that a D-SACK may speak of: sent, and not so long ago that numbers wrapped.
    fn was_sent_lately(&self, number: Sequence) -> bool {
        let oldest = self.sending.unacknowledged.0.wrapping_sub(self.sending.window_max.max(65_536));
        !number.before(Sequence(oldest)) && number.before(self.sending.next)
    }

    /// RFC 9293 3.10.7.4: SND.WND. Whether it opened, or moved on with the acknowledgement.
    fn update_window(&mut self, segment: &Segment, number: Sequence) -> bool {
        let window = self.window_of(segment);
        let sending = &mut self.sending;
        if number.before(sending.unacknowledged) {
            return false;
        }
        let newer = segment.sequence.after(sending.window_sequence)
            || segment.sequence == sending.window_sequence && !number.before(sending.window_acknowledgement);
        if !newer {
            return false;
        }
        let edge = number + window;
        let changed = edge != sending.edge;
        sending.edge = edge;
        sending.window_max = sending.window_max.max(window);
        sending.window_sequence = segment.sequence;
        sending.window_acknowledgement = number;
        changed
    }

    /// The window that `segment` offers: never scaled in one with SYN, the SYN-ACK that crosses ours too (RFC 7323 2.2).
    pub(super) fn window_of(&self, segment: &Segment) -> u32 {
        let shift = self.agreed.shifts.filter(|_| !segment.syn).map_or(0, |(shift, _)| shift);
        u32::from(segment.window) << shift
    }

    /// RFC 6298 3, RFC 7323 4. The time since a segment was sent is exact, but too long when its acknowledgement was lost
    /// and another one tells; the timestamp that comes back knows that, in milliseconds.
    fn measure(&mut self, news: &News, advanced: bool, segment: &Segment, now: Instant) {
        let stamps = segment.options.timestamps.filter(|_| self.agreed.timestamps);
        let echoed = stamps.and_then(|stamps| {
            let milliseconds = self.clock(now).wrapping_sub(stamps.echo);
            // A peer that echoes what we never sent is not to be believed.
            (milliseconds < 1 << 20).then(|| STAMP_UNIT_MICROS * (u64::from(milliseconds) + 1))
        });
        let since = |sent_at: Instant| now.micros_since(sent_at).min(echoed.unwrap_or(u64::MAX));
        match (news.first_sent_at, news.last_sent_at) {
            (Some(first), Some(last)) if !advanced || news.sent_again_at.is_none() => {
                self.sample(since(first), since(last), now);
            }
            _ => {}
        }
        // What was sent twice was acknowledged: the timestamp tells whether it is the answer to the second time. The
        // answer to a duplicate carries an old one.
        if let (true, Some(again), Some(echoed)) = (advanced, news.sent_again_at, echoed)
            && echoed <= now.micros_since(again) + 2 * STAMP_UNIT_MICROS
        {
            self.sample(echoed, echoed, now);
        }
    }

    /// A time-out is backed off until there is a sample (RFC 6298 5, Karn's algorithm).
    fn sample(&mut self, first: u64, last: u64, now: Instant) {
        self.rtt.sample_micros(first, last, now);
        self.rtt.end_back_off();
    }

    /// Tells the congestion controller.
    fn control(
        &mut self,
        news: &News,
        lost: u32,
        prior_in_flight: u32,
        rate: Option<RateSample>,
        now: Instant,
    ) {
        let sampled = news.last_sent_at.is_some();
        let minimum_rtt = self.rtt.minimum().unwrap_or(Duration::ZERO);
        let in_flight = self.scoreboard.in_flight();
        let offset = self.sending.offset;
        let limited = self.was_window_limited();
        let acknowledgement = Acknowledgement {
            now,
            acknowledged: news.acknowledged,
            delivered: news.delivered,
            lost,
            in_flight,
            prior_in_flight,
            rtt: sampled.then(|| self.rtt.latest()),
            smoothed_rtt: self.rtt.smoothed().unwrap_or(Duration::ZERO),
            minimum_rtt,
            window_limited: limited,
            first_unacknowledged: offset,
            next_sent: offset + u64::from(self.flight()),
            recovering: self.recovery.phase != Phase::Open,
            fast_recovery: self.recovery.phase == Phase::Fast,
            rate,
        };
        self.congestion.on_acknowledgement(&acknowledgement);
    }

    /// RFC 7661 in short, as Linux: the window is validated when it held data back, or in slow start when more than half of
    /// it was in use.
    fn was_window_limited(&mut self) -> bool {
        let window = self.congestion.window();
        let sending = &mut self.sending;
        let slow_start = window < self.congestion.threshold();
        let limited = sending.limited_until.is_some() || slow_start && window / 2 < sending.in_flight_max;
        if !sending.unacknowledged.before(sending.round_end) {
            sending.round_end = sending.next;
            sending.in_flight_max = self.scoreboard.in_flight();
        }
        limited
    }

    /// The FIN of ours is acknowledged (RFC 9293 3.10.7.4).
    #[cold]
    fn fin_acknowledged(&mut self) {
        match self.state {
            State::FinWait1 => self.state = State::FinWait2,
            State::Closing => self.state = State::TimeWait,
            State::LastAck => {
                self.state = State::Closed;
                self.outcome = Some(Ok(()));
            }
            _ => {}
        }
    }
}
