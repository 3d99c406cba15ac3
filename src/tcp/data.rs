//! The receiving side: what becomes of data, when it is acknowledged, and urgent data.
//!
//! Data goes into the ring where it belongs, in order or not; `reassembly` knows what lies beyond the first gap. It is
//! acknowledged at once when something is unusual (a gap, a duplicate, a FIN), at the start of a connection and after a
//! pause (so that the peer's slow start is not held up, as on Linux), and when more than one full segment waits;
//! otherwise within 40 ms, by then perhaps on data of ours (RFC 9293 3.8.6.3, RFC 5681 4.2).
#![forbid(unsafe_code)]

use super::context::Context;
use super::options::{SackBlocks, TIMESTAMPS_LENGTH};
use super::reassembly::Reassembly;
use super::ring::Ring;
use super::segment::Segment;
use super::sequence::Sequence;
use super::timers::DELAYED_ACKNOWLEDGEMENT;
use super::window::Space;
use super::{Connection, State};
use crate::time::Instant;
use core::time::Duration;

/// Segments acknowledged at once at the start and after a pause: Linux's TCP_MAX_QUICKACKS.
const QUICK: u8 = 16;
/// Duplicate acknowledgements that wait, for a peer that counts them.
const OWED_MAX: u8 = 32;
/// Acknowledgements behind a gap that go at once: what a peer needs to see a loss (Linux's TCP_FASTRETRANS_THRESH).
const TOLD_AT_ONCE: u8 = 3;
/// Ranges that may grow before an acknowledgement reports it: there is room for three, and one is for what another has
/// reported that got lost (Linux's TCP_SACK_BLOCKS_EXPECTED).
const BLOCKS_EXPECTED: usize = 2;
/// How many are held back at the most, and for how long: Linux's tcp_comp_sack_nr and tcp_comp_sack_delay_ns.
const HELD_MAX: u8 = 44;
const COMPRESSED: Duration = Duration::from_millis(1);
/// How often what may be an attack is answered: Linux's tcp_invalid_ratelimit; RFC 5961 7.
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);
/// The estimate of the peer's segment size before one has come (Linux's TCP_MSS_DEFAULT).
const SEGMENT_AT_FIRST: u32 = 536;

/// The receiving side.
#[derive(Debug)]
pub(super) struct Receiving {
    /// RCV.NXT
    pub(super) next: Sequence,
    /// RCV.NXT + RCV.WND: the highest right edge that was advertised.
    pub(super) edge: Sequence,
    /// Data from what is to be read next on.
    pub(super) ring: Ring,
    pub(super) reassembly: Reassembly,
    pub(super) space: Space,
    /// The number of the peer's FIN.
    pub(super) fin: Option<Sequence>,
    /// All up to and including the FIN has come.
    pub(super) finished: bool,
    pub(super) announced_mss: u32,
    /// Bytes of the peer's full segments, as seen.
    pub(super) segment: u32,
    /// TS.Recent, when it was set, and Last.ACK.sent (RFC 7323 4.3)
    pub(super) recent_stamp: u32,
    pub(super) recent_stamp_at: Instant,
    pub(super) last_acknowledged: Sequence,
    /// The window field last sent.
    pub(super) last_window: u16,
    /// Acknowledgements that must go out.
    due: u8,
    quick: u8,
    /// The program answers soon, and the acknowledgement may ride on that (Linux's pingpong).
    interactive: bool,
    last_data: Instant,
    challenged: Option<Instant>,
    /// RCV.NXT of the gap that the next two speak of: acknowledgements sent at once behind it, and those held back.
    gap: Sequence,
    gap_acknowledged: u8,
    gap_held: u8,
    /// The number of the byte of urgent data (RFC 6093: the one before the pointer).
    urgent: Option<Sequence>,
    /// It has not come yet.
    urgent_awaited: bool,
    pub(super) urgent_byte: Option<u8>,
}

impl Receiving {
    pub(super) fn new(announced_mss: u32, space: Space) -> Receiving {
        Receiving {
            next: Sequence(0),
            edge: Sequence(0),
            ring: Ring::default(),
            reassembly: Reassembly::default(),
            space,
            fin: None,
            finished: false,
            announced_mss,
            segment: announced_mss.min(SEGMENT_AT_FIRST),
            recent_stamp: 0,
            recent_stamp_at: Instant::ZERO,
            last_acknowledged: Sequence(0),
            last_window: 0,
            due: 0,
            quick: QUICK,
            interactive: false,
            last_data: Instant::ZERO,
            challenged: None,
            gap: Sequence(0),
            gap_acknowledged: 0,
            gap_held: 0,
            urgent: None,
            urgent_awaited: false,
            urgent_byte: None,
        }
    }

    // ---- acknowledgements

    pub(super) fn is_acknowledgement_due(&self) -> bool {
        self.due > 0
    }

    /// An acknowledgement that is due has blocks to carry.
    pub(super) fn reports_gaps(&self) -> bool {
        self.due > 0 && self.has_blocks()
    }

    /// Whether there are SACK blocks to report.
    pub(super) fn has_blocks(&self) -> bool {
        !self.reassembly.is_empty() || self.reassembly.has_duplicate()
    }

    pub(super) fn acknowledge(&mut self) {
        self.due = self.due.max(1);
    }

    /// A duplicate acknowledgement: a peer without SACK counts them.
    fn acknowledge_again(&mut self, sack: bool) {
        self.due = if sack { self.due.max(1) } else { (self.due + 1).min(OWED_MAX) };
    }

    /// Whether the acknowledgement of what came out of order may wait for more of it: behind a gap of which the peer
    /// knows, a few microseconds change nothing for it, and each acknowledgement costs both ends (Linux's compressed
    /// acknowledgements).
    fn is_compressible(&mut self) -> bool {
        if self.gap != self.next {
            (self.gap, self.gap_acknowledged, self.gap_held) = (self.next, 0, 0);
        }
        let many = self.reassembly.unreported() >= BLOCKS_EXPECTED;
        if self.gap_acknowledged < TOLD_AT_ONCE || many || self.reassembly.has_duplicate() {
            self.gap_acknowledged = self.gap_acknowledged.saturating_add(1);
            return false;
        }
        self.gap_held += 1;
        if self.gap_held >= HELD_MAX {
            self.gap_held = 0;
            return false;
        }
        true
    }

    /// A segment that acknowledges RCV.NXT leaves.
    pub(super) fn acknowledged(&mut self) {
        self.due = self.due.saturating_sub(1);
        self.last_acknowledged = self.next;
    }

    /// The blocks for it, at most `most`; what does not fit goes with a further one.
    pub(super) fn report(&mut self, most: usize) -> SackBlocks {
        let blocks = self.reassembly.blocks(most);
        if self.reassembly.unreported() > 0 {
            self.acknowledge();
        }
        blocks
    }

    /// The delay is over, and nothing of ours went that way: the program does not answer so soon.
    pub(super) fn delay_is_over(&mut self) {
        self.acknowledge();
        self.interactive = false;
    }

    /// TCP_QUICKACK
    pub(super) fn acknowledge_quickly(&mut self) {
        (self.quick, self.interactive) = (QUICK, false);
        if self.last_acknowledged != self.next {
            self.acknowledge();
        }
    }

    /// Data of ours leaves.
    pub(super) fn answered(&mut self, now: Instant) {
        if now < self.last_data + DELAYED_ACKNOWLEDGEMENT {
            self.interactive = true;
        }
    }

    /// RFC 5961: an acknowledgement for what may be an attack, not too often.
    #[cold]
    pub(super) fn challenge(&mut self, now: Instant) {
        if self.challenged.is_none_or(|at| now - at >= CHALLENGE_INTERVAL) {
            self.challenged = Some(now);
            self.acknowledge();
        }
    }

    /// Data came; whether its acknowledgement must not wait.
    fn is_urgent_to_acknowledge(&mut self, rto_micros: u64, now: Instant) -> bool {
        if now.micros_since(self.last_data) > rto_micros {
            // After such a pause the peer is in slow start again.
            self.quick = QUICK;
        }
        self.last_data = now;
        let quick = self.quick > 0 && !self.interactive;
        self.quick = self.quick.saturating_sub(1);
        quick || self.next.distance(self.last_acknowledged) > self.segment
    }

    // ---- reading

    /// What can be read, up to the urgent byte if that is out of line.
    pub(super) fn readable(&self, inline: bool) -> [&[u8]; 2] {
        let length = self.ring.length();
        let until = self.urgent_offset().filter(|offset| !inline || *offset > 0);
        self.ring.slices(0, until.map_or(length, |offset| offset.min(length)))
    }

    /// How far ahead of the reader the urgent byte is, if it is not behind.
    fn urgent_offset(&self) -> Option<usize> {
        let read = Sequence(self.next.0.wrapping_sub(u32::from(self.finished))).0;
        let start = Sequence(read.wrapping_sub(self.ring.length() as u32));
        let urgent = self.urgent?;
        (!urgent.before(start)).then(|| (urgent - start) as usize)
    }

    /// Whether the next byte is the urgent one.
    pub(super) fn is_at_mark(&self) -> bool {
        self.urgent_offset() == Some(0)
    }

    /// Steps over the urgent byte; false when the reader is not at it.
    pub(super) fn skip_urgent(&mut self) -> bool {
        let at_mark = self.is_at_mark() && self.ring.length() > 0;
        if at_mark {
            self.urgent = None;
            self.ring.consume(1);
        }
        at_mark
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.ring.consume(length);
        if self.urgent.is_some() && self.urgent_offset().is_none() {
            // Behind the reader; numbers wrap.
            self.urgent = None;
        }
    }
}

impl Connection {
    /// RFC 9293 3.10.7.4, seventh and eighth step: the data of an acceptable segment, and its FIN.
    pub(super) fn take_data(
        &mut self,
        context: &mut Context,
        segment: &Segment,
        payload: &[u8],
        now: Instant,
    ) {
        let takes_data = matches!(self.state, State::Established | State::FinWait1 | State::FinWait2);
        if !takes_data {
            return;
        }
        if let Some(pointer) = segment.urgent {
            self.note_urgent(segment.sequence, pointer);
        }
        if segment.length() == 0 {
            return;
        }
        if self.receiving.urgent_awaited {
            self.take_urgent(segment.sequence, payload);
        }
        if segment.fin {
            self.note_fin(segment.sequence, segment.end().minus_one());
        }
        let (start, data) = self.trim(segment.sequence, payload);
        let old = (segment.sequence + payload.len() as u32).earlier(self.receiving.next);
        if segment.sequence.before(old) {
            self.take_duplicate(segment.sequence, old);
        }
        if data.is_empty() {
            self.receiving.acknowledge();
        } else {
            self.note_size(payload.len() as u32);
            self.store(context, start, data, now);
        }
        if !self.receiving.finished && self.receiving.fin == Some(self.receiving.next) {
            self.reach_fin();
        }
    }

    /// All of it was here before, or the first part (RFC 2883 4.1, 4.2).
    #[cold]
    fn take_duplicate(&mut self, start: Sequence, end: Sequence) {
        self.receiving.reassembly.report_duplicate(start, end);
        self.receiving.acknowledge_again(self.agreed.sack);
    }

    /// The part of `payload` that lies in the window and is new (RFC 9293 3.10.7.4: "trimmed").
    fn trim<'a>(&self, sequence: Sequence, payload: &'a [u8]) -> (Sequence, &'a [u8]) {
        let receiving = &self.receiving;
        let edge = receiving.fin.map_or(receiving.edge, |fin| receiving.edge.earlier(fin));
        let start = sequence.later(receiving.next);
        let end = (sequence + payload.len() as u32).earlier(edge);
        match start.before(end) {
            true => (start, &payload[(start - sequence) as usize..(end - sequence) as usize]),
            false => (start, &[]),
        }
    }

    /// The peer's segments are what we announced at the most, and hardly more than it announces itself; a longer packet is
    /// several in one (coalesced receive).
    fn note_size(&mut self, length: u32) {
        self.tally.data_segments_received += 1;
        if length > self.receiving.segment {
            let announced = self.receiving.announced_mss.min(self.sending.peer_mss);
            let options = if self.agreed.timestamps { TIMESTAMPS_LENGTH as u32 } else { 0 };
            let full = length.min(announced.saturating_sub(options));
            self.receiving.segment = self.receiving.segment.max(full);
        }
    }

    fn store(&mut self, context: &mut Context, start: Sequence, data: &[u8], now: Instant) {
        let rto = self.rtt.base_rto_micros();
        let receiving = &mut self.receiving;
        if start == receiving.next {
            let (offset, end) = (receiving.ring.length(), start + data.len() as u32);
            receiving.ring.reserve(&mut context.pool, offset + data.len());
            receiving.ring.write_at(offset, data);
            let filled = !receiving.reassembly.is_empty();
            let reached = if filled { receiving.reassembly.advance(end) } else { end };
            // A FIN that came out of order ends the stream, whatever came behind it.
            let reached = receiving.fin.map_or(reached, |fin| reached.earlier(fin));
            receiving.ring.extend((reached - start) as usize);
            receiving.next = reached;
            self.tally.bytes_received += u64::from(reached - start);
            self.tally.last_data_received = now;
            if receiving.is_urgent_to_acknowledge(rto, now) || filled {
                receiving.acknowledge();
            } else {
                self.timers.delayed.get_or_insert(now + DELAYED_ACKNOWLEDGEMENT);
            }
        } else {
            self.store_beyond(context, start, data, now);
        }
    }

    /// Data behind a gap.
    #[cold]
    fn store_beyond(&mut self, context: &mut Context, start: Sequence, data: &[u8], now: Instant) {
        self.tally.out_of_order += 1;
        let receiving = &mut self.receiving;
        if receiving.reassembly.insert(start, start + data.len() as u32) {
            let offset = receiving.ring.length() + (start - receiving.next) as usize;
            receiving.ring.reserve(&mut context.pool, offset + data.len());
            receiving.ring.write_at(offset, data);
        }
        self.acknowledge_gap(now);
    }

    #[cold]
    fn acknowledge_gap(&mut self, now: Instant) {
        let sack = self.agreed.sack;
        let round_trip = self.receiving.round_trip().or(self.rtt.smoothed()).unwrap_or_default();
        let wait = (round_trip / 20).min(COMPRESSED);
        if sack && !wait.is_zero() && self.receiving.is_compressible() {
            let at = now + wait;
            self.timers.delayed = Some(self.timers.delayed.map_or(at, |delayed| delayed.min(at)));
        } else {
            self.receiving.acknowledge_again(sack);
        }
    }

    // ---- FIN

    /// A FIN in the window. The earliest counts, and one in order ends the stream whatever came out of order behind it: else
    /// somebody who guesses one segment could keep the end of the stream from ever being seen.
    #[cold]
    fn note_fin(&mut self, start: Sequence, number: Sequence) {
        let receiving = &mut self.receiving;
        if number.before(receiving.next) || number.after(receiving.edge) {
            return;
        }
        if receiving.fin.is_none_or(|fin| number.before(fin)) {
            receiving.fin = Some(number);
        }
        if !start.after(receiving.next) && receiving.fin == Some(number) {
            receiving.reassembly.forget();
        }
    }

    /// All before the FIN is here: so is the FIN.
    #[cold]
    fn reach_fin(&mut self) {
        self.receiving.finished = true;
        // What came out of order behind it is nothing, and must not be SACKed.
        self.receiving.reassembly.forget();
        self.receiving.next = self.receiving.next + 1;
        self.receiving.edge = self.receiving.edge.later(self.receiving.next);
        self.receiving.acknowledge();
        self.state = match self.state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            other => other,
        };
    }

    // ---- urgent data

    /// RFC 9293 3.8.5, as Linux: one byte at a time, the last one counts.
    #[cold]
    fn note_urgent(&mut self, sequence: Sequence, pointer: u16) {
        if pointer == 0 {
            return;
        }
        let number = sequence + u32::from(pointer - 1);
        let receiving = &mut self.receiving;
        let newer = receiving.urgent.is_none_or(|urgent| number.after(urgent));
        if number.before(receiving.next) || !newer {
            return;
        }
        (receiving.urgent, receiving.urgent_awaited, receiving.urgent_byte) = (Some(number), true, None);
    }

    /// The byte of urgent data may come with the pointer, or behind it.
    #[cold]
    fn take_urgent(&mut self, sequence: Sequence, payload: &[u8]) {
        let receiving = &mut self.receiving;
        let Some(number) = receiving.urgent else { return };
        if let Some(byte) = payload.get((number - sequence) as usize) {
            receiving.urgent_awaited = false;
            receiving.urgent_byte = Some(*byte).filter(|_| !self.options.urgent_inline);
        }
    }
}
