//! A segment arrives (RFC 9293 3.10.7): whether it is acceptable, and what its flags mean. RFC 5961 guards against
//! segments by somebody who cannot see ours; PAWS (RFC 7323 5) against segments from before the numbers wrapped.
#![forbid(unsafe_code)]

use super::context::Context;
use super::segment::Segment;
use super::{Connection, State};
use crate::time::Instant;
use core::time::Duration;

/// RFC 7323 5.5: how long TS.Recent means anything.
const STAMP_LASTS: Duration = Duration::from_secs(24 * 24 * 3600);

impl Connection {
    /// Takes a segment of this connection and its data.
    pub fn receive(&mut self, context: &mut Context, segment: &Segment, payload: &[u8], now: Instant) {
        if self.outcome.is_some() {
            return;
        }
        self.tally.segments_received = self.tally.segments_received.wrapping_add(1);
        match self.state {
            State::SynSent => self.receive_in_syn_sent(context, segment, now),
            _ => self.receive_synchronized(context, segment, payload, now),
        }
    }

    /// RFC 9293 3.10.7.4
    fn receive_synchronized(
        &mut self,
        context: &mut Context,
        segment: &Segment,
        payload: &[u8],
        now: Instant,
    ) {
        if self.state == State::SynReceived && self.is_syn_again(segment) {
            return self.answer_syn_again(segment, now);
        }
        // The second SYN of a simultaneous open is a bare acknowledgement by now.
        let crossed = self.state == State::SynReceived && self.is_crossed_syn(segment);
        if !crossed && !self.examine(segment, now) {
            return;
        }
        let Some(number) = segment.acknowledgement else { return };
        if self.state == State::SynReceived && !self.establish(context, segment, number, now) {
            return;
        }
        if !self.is_plausible(number) {
            return self.receiving.challenge(now);
        }
        // Not before: whoever guesses a sequence number only must not set our idea of the peer's clock.
        self.patience.heard(now);
        self.note_stamp(segment, now);
        self.take_acknowledgement(context, segment, number, now);
        if self.outcome.is_none() && !crossed {
            self.sample_round_trip(segment, now);
            self.take_data(context, segment, payload, now);
        }
    }

    /// First to fourth step: PAWS, sequence number, RST, SYN. Whether the segment may be looked at further.
    fn examine(&mut self, segment: &Segment, now: Instant) -> bool {
        if self.is_from_before(segment, now) && !segment.rst {
            self.refuse(segment, now);
            return false;
        }
        if !self.is_acceptable(segment) {
            if !segment.rst {
                self.refuse(segment, now);
            }
            return false;
        }
        if segment.rst || segment.syn {
            self.take_reset_or_syn(segment, now);
            return false;
        }
        true
    }

    /// In the window (RFC 5961 3.2, 4.2). As on Linux, a reset may also stand at the end of what came out of order, where a
    /// peer is that lost its reset's turn.
    #[cold]
    fn take_reset_or_syn(&mut self, segment: &Segment, now: Instant) {
        let sequence = Some(segment.sequence);
        let exact = sequence == Some(self.receiving.next) || sequence == self.receiving.reassembly.end();
        match segment.rst && exact {
            true => self.was_reset(),
            false => self.receiving.challenge(now),
        }
    }

    /// RFC 7323 5.3 R1
    fn is_from_before(&self, segment: &Segment, now: Instant) -> bool {
        let Some(stamps) = segment.options.timestamps.filter(|_| self.agreed.timestamps) else {
            return false;
        };
        let older = (stamps.value.wrapping_sub(self.receiving.recent_stamp) as i32) < 0;
        older && now - self.receiving.recent_stamp_at < STAMP_LASTS
    }

    /// RFC 9293 3.10.7.4, first: some of it lies in the window. What was acknowledged last still counts as the window's
    /// left edge for a segment without data: it may have crossed our acknowledgement, and what it acknowledges counts.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let receiving = &self.receiving;
        let (start, end) = (segment.sequence, segment.end());
        let left = receiving.last_acknowledged.earlier(receiving.next);
        if segment.length() == 0 || segment.rst {
            return !start.before(left) && !start.after(receiving.edge);
        }
        end.after(left)
            && start.before(receiving.edge.later(receiving.next + 1))
            && (end.after(receiving.next) || start.before(receiving.edge))
    }

    /// An unacceptable segment is acknowledged: at once if it has data, with what of it is a duplicate (RFC 2883 4), else
    /// not too often: two ends that disagree must not answer each other for ever.
    #[cold]
    fn refuse(&mut self, segment: &Segment, now: Instant) {
        if segment.payload == 0 && !segment.fin {
            return self.receiving.challenge(now);
        }
        let end = segment.end();
        if self.agreed.sack && segment.payload > 0 && !end.after(self.receiving.next) {
            self.receiving.reassembly.report_duplicate(segment.sequence, end);
        }
        self.receiving.acknowledge();
    }

    /// RFC 7323 4.3 (3)
    fn note_stamp(&mut self, segment: &Segment, now: Instant) {
        let Some(stamps) = segment.options.timestamps.filter(|_| self.agreed.timestamps) else { return };
        let newer = (stamps.value.wrapping_sub(self.receiving.recent_stamp) as i32) >= 0
            || now - self.receiving.recent_stamp_at >= STAMP_LASTS;
        if newer && !segment.sequence.after(self.receiving.last_acknowledged) {
            self.receiving.recent_stamp = stamps.value;
            self.receiving.recent_stamp_at = now;
        }
    }

    /// RFC 5961 5.2: between Max.SND.WND before SND.UNA, and SND.NXT.
    fn is_plausible(&self, number: super::Sequence) -> bool {
        let sending = &self.sending;
        let oldest = super::Sequence(sending.unacknowledged.0.wrapping_sub(sending.window_max));
        !number.before(oldest) && !number.after(sending.next)
    }

    /// How long it took until data came in answer to what we sent, for the receive buffer's growth.
    fn sample_round_trip(&mut self, segment: &Segment, now: Instant) {
        let full = segment.payload as u32 >= self.receiving.segment;
        if let Some(stamps) = segment.options.timestamps.filter(|_| self.agreed.timestamps && full) {
            let milliseconds = self.clock(now).wrapping_sub(stamps.echo);
            if milliseconds < 1 << 20 {
                self.receiving.space.sample(Duration::from_millis(u64::from(milliseconds.max(1))));
            }
        }
    }
}
