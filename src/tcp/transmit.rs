//! What to send now: one segment for each call of `transmit`, in the order of urgency.
//!
//! 1. a reset;
//! 2. SYN or SYN-ACK;
//! 3. a probe that a timer asked for;
//! 4. an acknowledgement with SACK blocks, which has no room beside a full segment;
//! 5. what is lost, once more;
//! 6. new data, and the FIN behind the last;
//! 7. an acknowledgement.
//!
//! Every segment but the first two carries the acknowledgement, so the seventh is rare while data flows.
//!
//! Payload is handed on as slices of the send ring; nothing here copies it.
#![forbid(unsafe_code)]

use super::close::Fin;
use super::context::Context;
use super::options::Timestamps;
use super::recovery::{Phase, TailProbe};
use super::segment::{Draft, HEADERS_MAX};
use super::sequence::Sequence;
use super::timers::{self, CORKED};
use super::{Connection, State};
use crate::link::Outgoing;
use crate::time::Instant;
use core::num::NonZeroU16;
use core::time::Duration;

/// How much of a pause the pacer makes good at once: timers of a program come late by as much.
const PACING_CREDIT: Duration = Duration::from_millis(1);

/// A window of less is not worth halving (Linux's TCP_MSS_DEFAULT).
const SMALL_WINDOW: u32 = 537;

/// Transmissions that are remembered: a peer with the least MSS would have a hundred thousand for one buffer.
const RECORDS_MAX: usize = 16_384;

/// What takes the outgoing segment.
type Sink<'a> = &'a mut dyn FnMut(&Outgoing<'_>);

/// A probe that a timer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// RFC 8985 7.3
    Tail,
    /// RFC 9293 3.8.6.1
    Window,
    /// RFC 9293 3.8.4
    KeepAlive,
}

/// A reset that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reset {
    pub(super) sequence: Sequence,
    pub(super) acknowledgement: Option<Sequence>,
}

impl Reset {
    fn draft(self) -> Draft {
        Draft { rst: true, ..Draft::bare(self.sequence, self.acknowledgement, 0) }
    }
}

/// `length % mss`, without the division where there is one segment, as nearly always.
const fn rest(length: u32, mss: u32) -> u32 {
    match length {
        small if small < mss => small,
        full if full == mss => 0,
        large => large % mss,
    }
}

/// What is to be sent besides data.
#[derive(Debug, Default)]
pub(super) struct Duty {
    pub(super) syn: bool,
    pub(super) reset: Option<Reset>,
    pub(super) probe: Option<Probe>,
    /// The ceiling of TCP_CORK is reached: what is there may go.
    pub(super) uncork: bool,
    /// The pacer holds the next segment back.
    pub(super) paced: bool,
}

/// Data of one outgoing segment: where in the ring, and whether the FIN follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    sequence: Sequence,
    length: u32,
    fin: bool,
    /// Bytes of one segment on the network.
    segment: u32,
}

/// Why no new data may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    PeerWindow,
    CongestionWindow,
    /// Nagle's algorithm, TCP_CORK, or silly-window avoidance.
    Small,
}

impl Connection {
    /// Gives the next segment to `send`. False when there is none until something happens or `deadline` comes.
    pub fn transmit(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        if let Some(reset) = self.duty.reset.take() {
            self.emit(context, &reset.draft(), None, send);
            return true;
        }
        if self.outcome.is_some() {
            return false;
        }
        if !self.state.is_synchronized() {
            return self.transmit_handshake(context, now, send);
        }
        self.duty.paced = false;
        let sent = self.transmit_probe(context, now, send)
            || self.transmit_blocks(context, now, send)
            || self.transmit_lost(context, now, send)
            || self.transmit_new(context, now, send)
            || self.transmit_acknowledgement(context, now, send);
        if !sent {
            debug_assert!(self.scoreboard.is_empty() || self.timers.is_loss_running(), "no timer: {self:?}");
            self.patience.waits(self.outstanding(), self.state == State::FinWait2, now);
        }
        sent
    }

    /// After a segment has left: whether that was all, so that `transmit` would give none. Cheaper than to ask `transmit`,
    /// and with the same consequences.
    pub fn rests(&mut self, now: Instant) -> bool {
        let busy = self.unsent() > 0
            || self.receiving.is_acknowledgement_due()
            || self.scoreboard.totals().waiting > 0
            || self.sending.fin.is_waiting()
            || self.outcome.is_some()
            || !self.state.is_synchronized()
            || self.duty.probe.is_some()
            || self.duty.reset.is_some();
        if !busy {
            self.all_is_sent();
            self.patience.waits(self.outstanding(), self.state == State::FinWait2, now);
        }
        !busy
    }

    /// Nothing waits to be sent: the program is what limits.
    fn all_is_sent(&mut self) {
        if self.recovery.phase == Phase::Open && !self.scoreboard.is_empty() {
            self.note_application_limited();
        }
    }

    // ---- 3: probes

    fn transmit_probe(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        match self.duty.probe.take() {
            None => false,
            Some(Probe::Tail) => self.probe_tail(context, now, send),
            Some(Probe::Window) => self.probe_window(context, now, send),
            Some(Probe::KeepAlive) => {
                self.probe_empty(context, now, send);
                true
            }
        }
    }

    /// RFC 8985 7.3: new data if there is some and the peer has room for it, else the last segment once more.
    #[cold]
    fn probe_tail(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        self.tally.tail_probes += 1;
        let mss = self.sending.mss;
        let room = self.sending.edge.distance(self.sending.next);
        let unsent = self.unsent() as u32;
        if unsent > 0 && room >= unsent.min(mss) {
            let length = unsent.min(mss);
            self.send_new(context, length, false, mss, now, send);
            self.recovery.probe = Some(TailProbe { end: self.sending.next, retransmission: false });
            return true;
        }
        let Some(last) = self.scoreboard.last_index() else { return false };
        self.resend(context, last, true, now, send);
        self.recovery.probe = Some(TailProbe { end: self.sending.next, retransmission: true });
        true
    }

    /// As Linux: what the window takes if it takes anything, else a segment without data that is old.
    #[cold]
    fn probe_window(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        let room = self.sending.edge.distance(self.sending.next);
        let length = (self.unsent() as u32).min(room).min(self.sending.mss);
        if length == 0 {
            self.probe_empty(context, now, send);
        } else {
            self.send_new(context, length, false, self.sending.mss, now, send);
        }
        true
    }

    #[cold]
    fn probe_empty(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) {
        let sequence = self.sending.unacknowledged.minus_one();
        let draft = self.draft(sequence, 0, now);
        self.emit(context, &draft, None, send);
    }

    // ---- 5: what is lost

    fn transmit_lost(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        if self.scoreboard.totals().waiting == 0 || self.is_paced(now) {
            return false;
        }
        let in_flight = self.scoreboard.in_flight();
        // Fast recovery's first retransmission goes whatever the window says.
        if in_flight > 0 && in_flight + self.sending.mss > self.window() {
            return false;
        }
        let Some(index) = self.scoreboard.next_lost() else { return false };
        self.resend(context, index, false, now, send);
        true
    }

    /// Sends the record at `index` again, or its first segment; of the last record, its last segment.
    #[cold]
    fn resend(&mut self, context: &mut Context, index: usize, last: bool, now: Instant, send: Sink<'_>) {
        let mss = self.sending.mss;
        let index = if last { self.scoreboard.cut_tail(mss) } else { index };
        // No more than the window allows, but one segment: after a time-out that is all it allows.
        let allowed = self.window().saturating_sub(self.scoreboard.in_flight());
        let most = self.largest(context).min((allowed / mss * mss).max(mss));
        if !last {
            self.scoreboard.merge(index, mss, self.sending.edge);
        }
        self.scoreboard.limit(index, most, mss);
        let Some(record) = self.scoreboard.record(index).copied() else { return };
        let length = (record.end - record.start) - u32::from(record.fin);
        let part = Part { sequence: record.start, length, fin: record.fin, segment: mss };
        self.scoreboard.sent_again(index, now);
        let clock = self.clock(now);
        self.note_retransmission(record.end - record.start, clock);
        self.tally.retransmitted(length);
        self.pace(length, now);
        self.send_part(context, part, now, send);
        self.retransmission_left(now);
    }

    // ---- 6: new data

    fn transmit_new(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        if self.unsent() == 0 && !self.sending.fin.is_waiting() {
            self.all_is_sent();
            return false;
        }
        if self.is_paced(now) {
            return false;
        }
        self.restart_after_idle(now);
        if self.path_mtu.is_searching()
            && let Some(size) = self.probe_size(now)
        {
            let start = self.sending.next;
            self.probe_left(start, start + size);
            self.send_new(context, size, false, size, now, send);
            return true;
        }
        match self.measure_new(context, now) {
            Ok((length, fin)) => {
                self.send_new(context, length, fin, self.sending.mss, now, send);
                true
            }
            Err(held) => {
                self.held_back(held, now);
                false
            }
        }
    }

    /// How much new data may go in one segment, and whether the FIN with it.
    fn measure_new(&mut self, context: &Context, now: Instant) -> Result<(u32, bool), Held> {
        let unsent = u32::try_from(self.unsent()).unwrap_or(u32::MAX);
        let fin = self.sending.fin.is_waiting();
        let mss = self.full_segment();
        let peer_room = self.sending.edge.distance(self.sending.next);
        if peer_room == 0 {
            return Err(Held::PeerWindow);
        }
        if self.scoreboard.length() >= RECORDS_MAX {
            return Err(Held::CongestionWindow);
        }
        let in_flight = self.scoreboard.in_flight();
        let window = self.window();
        let allowed = window.saturating_sub(in_flight);
        if allowed < mss.min(unsent) && in_flight > 0 {
            return Err(Held::CongestionWindow);
        }
        let most = if mss < self.sending.mss { mss } else { self.largest(context) };
        let most = most.min(peer_room).min(allowed.max(mss));
        let mut length = unsent.min(most);
        if length > mss && length < unsent {
            length -= rest(length, mss);
        }
        let tail = rest(length, mss);
        if length < mss || tail > 0 {
            match self.avoid_silliness(tail, unsent - (length - tail), fin, now) {
                Err(held) if length < mss => return Err(held),
                Err(_) => length -= tail,
                Ok(()) => {}
            }
        }
        Ok((length, fin && length == unsent && peer_room > length))
    }

    /// A peer with a small buffer gets two segments into it, not one at a time (Linux's tcp_bound_to_half_wnd).
    fn full_segment(&self) -> u32 {
        match self.sending.window_max {
            small @ SMALL_WINDOW.. => self.sending.mss.min(small / 2),
            _ => self.sending.mss,
        }
    }

    /// RFC 9293 3.8.6.2.1 and 3.7.4 with Minshall's change, and TCP_CORK, for a segment that is not full.
    fn avoid_silliness(&mut self, length: u32, unsent: u32, fin: bool, now: Instant) -> Result<(), Held> {
        if length < unsent {
            let half = (self.sending.window_max / 2).max(1);
            return if length >= half { Ok(()) } else { Err(Held::PeerWindow) };
        }
        let urgent = self.sending.urgent.is_some_and(|urgent| urgent.after(self.sending.next));
        if fin || urgent {
            return Ok(());
        }
        if self.options.cork && !core::mem::take(&mut self.duty.uncork) {
            self.timers.corked.get_or_insert(now + CORKED);
            return Err(Held::Small);
        }
        let small_in_flight = self.sending.small_end.after(self.sending.unacknowledged);
        match self.options.no_delay || self.options.cork || !small_in_flight {
            true => Ok(()),
            false => Err(Held::Small),
        }
    }

    fn held_back(&mut self, held: Held, now: Instant) {
        match held {
            Held::PeerWindow if self.scoreboard.is_empty() => self.persist(now),
            Held::CongestionWindow => self.sending.limited_until = Some(self.sending.next),
            Held::Small => self.note_application_limited(),
            Held::PeerWindow => {}
        }
    }

    /// The program is what limits: no sample of the delivery rate may be taken for the path's.
    fn note_application_limited(&mut self) {
        let in_flight = self.scoreboard.in_flight();
        if in_flight < self.window() {
            self.scoreboard.rate.application_limited(in_flight);
        }
    }

    /// RFC 5681 4.1
    fn restart_after_idle(&mut self, now: Instant) {
        if self.scoreboard.is_empty() && self.sending.last_sent != Instant::ZERO {
            let idle = now.micros_since(self.sending.last_sent);
            if idle > self.rtt.rto_micros() {
                self.congestion.on_restart(now, Duration::from_micros(idle), self.rtt.rto());
            }
        }
    }

    fn send_new(
        &mut self,
        context: &mut Context,
        length: u32,
        fin: bool,
        segment: u32,
        now: Instant,
        send: Sink<'_>,
    ) {
        let sequence = self.sending.next;
        let part = Part { sequence, length, fin, segment };
        let end = sequence + length + u32::from(fin);
        self.sending.next = end;
        if fin {
            self.sending.fin = Fin::Sent(end);
        }
        if rest(length, self.sending.mss) > 0 {
            self.sending.small_end = end;
        }
        if self.timers.is_persisting() {
            self.timers.clear_loss();
            self.timers.window_probes = 0;
        }
        self.patience.window_is_shut(false, now);
        (self.timers.corked, self.duty.uncork) = (None, false);
        self.scoreboard.reserve(&mut context.records);
        self.scoreboard.sent(sequence, end, segment, fin, now);
        self.note_transmission(length);
        self.sending.in_flight_max = self.sending.in_flight_max.max(self.scoreboard.in_flight());
        self.sending.last_sent = now;
        self.receiving.answered(now);
        self.pace(length, now);
        self.send_part(context, part, now, send);
        self.data_left(now);
    }

    /// The most payload of one outgoing segment.
    fn largest(&self, context: &Context) -> u32 {
        let mss = self.sending.mss;
        let mut offered = context.segmentation().min(65_535 - HEADERS_MAX) as u32;
        if self.sending.urgent.is_some() {
            // The pointer counts from the first number of a segment, and who cuts one knows nothing of it.
            return mss;
        }
        if let Some(rate) = self.pacing_rate() {
            // What is sent in a millisecond, or two segments (Linux's tcp_tso_autosize).
            offered = offered.min(u32::try_from(rate >> 10).unwrap_or(u32::MAX).max(2 * mss));
        }
        if offered <= mss { mss } else { offered / mss * mss }
    }

    // ---- pacing

    fn is_paced(&mut self, now: Instant) -> bool {
        self.duty.paced = now < self.sending.pace;
        self.duty.paced
    }

    fn pace(&mut self, length: u32, now: Instant) {
        let Some(rate) = self.pacing_rate() else { return };
        let micros = u64::from(length) * 1_000_000 / rate.max(1);
        let credit = Instant::from_micros(now.micros().saturating_sub(PACING_CREDIT.as_micros() as u64));
        self.sending.pace = self.sending.pace.max(credit) + Duration::from_micros(micros);
    }

    /// Bytes per second, if anything limits them.
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        match (self.congestion.pacing_rate(), self.options.max_pacing_rate) {
            (Some(rate), Some(most)) => Some(rate.min(most)),
            (rate, most) => rate.or(most),
        }
    }

    // ---- 4 and 7: acknowledgements

    fn transmit_blocks(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        self.agreed.sack && self.receiving.reports_gaps() && self.transmit_acknowledgement(context, now, send)
    }

    fn transmit_acknowledgement(&mut self, context: &mut Context, now: Instant, send: Sink<'_>) -> bool {
        if !self.receiving.is_acknowledgement_due() {
            return false;
        }
        let draft = self.draft(self.sending.next, 0, now);
        self.emit(context, &draft, None, send);
        true
    }

    // ---- segments

    /// The header of a segment of a synchronized connection, with `length` bytes of data in each packet; what it
    /// acknowledges counts as acknowledged.
    pub(super) fn draft(&mut self, sequence: Sequence, length: u32, now: Instant) -> Draft {
        let window = self.advertise();
        self.receiving.acknowledged();
        self.timers.delayed = None;
        let mut draft = Draft::bare(sequence, Some(self.receiving.next), window);
        draft.options.timestamps = self.stamps(now);
        if self.agreed.sack && self.receiving.has_blocks() {
            let room = (self.sending.mss.max(40) - length.min(self.sending.mss)) as usize;
            let most = if self.agreed.timestamps { 3 } else { 4 };
            let fits = (room.saturating_sub(4) / 8).min(most);
            draft.options.sack = self.receiving.report(fits);
        }
        draft
    }

    /// Our timestamps, when agreed.
    pub(super) fn stamps(&self, now: Instant) -> Option<Timestamps> {
        let stamps = Timestamps { value: self.clock(now), echo: self.receiving.recent_stamp };
        self.agreed.timestamps.then_some(stamps)
    }

    /// The clock of our timestamps: milliseconds, from an origin of the connection's own.
    pub(super) fn clock(&self, now: Instant) -> u32 {
        timers::clock(now).wrapping_add(self.timestamp_offset)
    }

    fn send_part(&mut self, context: &mut Context, part: Part, now: Instant, send: Sink<'_>) {
        let mut draft = self.draft(part.sequence, part.length.min(part.segment), now);
        let end = part.sequence + part.length;
        draft.fin = part.fin;
        // All that was written goes with this one: the reader should not wait (RFC 9293 3.9.1.2).
        draft.push = end == self.sending.unacknowledged + self.sending.ring.length() as u32;
        if let Some(urgent) = self.sending.urgent
            && urgent.after(part.sequence)
        {
            draft.urgent = Some(u16::try_from(urgent - part.sequence).unwrap_or(u16::MAX));
        }
        self.emit(context, &draft, Some(part), send);
    }

    pub(super) fn emit(&mut self, context: &Context, draft: &Draft, part: Option<Part>, send: Sink<'_>) {
        let mut headers = [0; HEADERS_MAX];
        let (mut payload, mut segment): ([&[u8]; 2], _) = ([&[], &[]], None);
        if let Some(part) = part {
            let offset = part.sequence.distance(self.sending.unacknowledged) as usize;
            payload = self.sending.ring.slices(offset, part.length as usize);
            segment = (part.length > part.segment).then(|| NonZeroU16::new(part.segment as u16)).flatten();
            self.tally.sent_data(part.length, part.segment);
        }
        self.tally.segments_sent += 1;
        let checksums = context.checksums();
        let treatment = *self.options.treatment.of(self.remote.ip());
        let length = draft.write(&mut headers, self.local, self.remote, treatment, payload, checksums);
        send(&Outgoing { headers: &headers[..length], payload, segment });
    }
}
