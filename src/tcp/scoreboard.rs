//! What was sent and is not acknowledged, transmission by transmission: what has arrived, what is lost, what is in flight
//! (RFC 6675's scoreboard, in bytes).
//!
//! One record for each segment handed to the link, in the order of sequence numbers; a large segment that the link cuts is
//! one record until a part of it is acknowledged or SACKed, and is split then. A block that covers part of a segment on
//! the network says nothing of the rest, so a record is split at multiples of the segment size only: absurd blocks cannot
//! make more records than there are segments.
#![forbid(unsafe_code)]

use super::rack::Rack;
use super::rate::{Candidate, Rate, Snapshot};
use super::sequence::Sequence;
use crate::time::Instant;
use core::time::Duration;
use std::collections::VecDeque;

/// Lists of records that the pool keeps, and the longest of them.
const POOLED: usize = 64;
const POOLED_RECORDS: usize = 512;

/// One transmission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) start: Sequence,
    /// FIN counted.
    pub(super) end: Sequence,
    /// When it was sent last.
    pub(super) sent_at: Instant,
    /// Bytes of data of one segment on the network.
    pub(super) segment: u32,
    pub(super) fin: bool,
    /// It has arrived, says a SACK block.
    sacked: bool,
    lost: bool,
    /// It was sent more than once.
    retransmitted: bool,
    /// It was sent again, and that transmission counts as in flight.
    again: bool,
    snapshot: Snapshot,
}

impl Sent {
    fn length(&self) -> u32 {
        self.end - self.start
    }
}

/// Bytes by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) sacked: u32,
    /// Lost, sent again or not.
    pub(super) lost: u32,
    /// Retransmissions in flight.
    pub(super) again: u32,
    /// Lost and not sent again.
    pub(super) waiting: u32,
    /// Records that are SACKed.
    pub(super) sacked_records: u32,
}

impl Totals {
    fn change(&mut self, sent: &Sent, add: bool) {
        if !(sent.sacked || sent.lost || sent.again) {
            return;
        }
        let length = sent.length();
        let count = |total: &mut u32, counts: bool, amount: u32| match (counts, add) {
            (true, true) => *total += amount,
            (true, false) => *total -= amount,
            (false, _) => {}
        };
        count(&mut self.sacked, sent.sacked, length);
        count(&mut self.lost, sent.lost, length);
        count(&mut self.again, sent.again, length);
        count(&mut self.waiting, sent.lost && !sent.again, length);
        count(&mut self.sacked_records, sent.sacked, 1);
    }
}

/// What an acknowledgement told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// Bytes that the cumulative acknowledgement moved on.
    pub(super) acknowledged: u32,
    /// Bytes that are known to have arrived now and were not before.
    pub(super) delivered: u32,
    /// When the first and the last sent of these were sent, of what was sent once only: a time of one that was sent
    /// twice is ambiguous (Karn's algorithm, RFC 6298 3).
    pub(super) first_sent_at: Option<Instant>,
    pub(super) last_sent_at: Option<Instant>,
    /// The highest end among what arrived and was sent once.
    pub(super) original_end: Option<Sequence>,
    /// When the last of what was sent again and has arrived was sent last.
    pub(super) sent_again_at: Option<Instant>,
    /// A SACK block told something new.
    pub(super) sacked: bool,
    /// A D-SACK reported a duplicate, and with it the last of what was sent again in this recovery.
    pub(super) duplicate: bool,
    pub(super) all_reported: bool,
    /// Of what the delivery rate is sampled.
    pub(super) best: Option<Candidate>,
}

/// Lists of records that nobody uses. A connection has one only while something is outstanding, so an idle one pays for none,
/// and what was given last is warm in the cache.
#[derive(Debug, Default)]
pub(super) struct RecordPool(Vec<VecDeque<Sent>>);

impl RecordPool {
    fn take(&mut self) -> VecDeque<Sent> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, records: VecDeque<Sent>) {
        if self.0.len() < POOLED && records.capacity() <= POOLED_RECORDS {
            self.0.push(records);
        }
    }
}

/// The scoreboard.
#[derive(Debug)]
pub(super) struct Scoreboard {
    records: VecDeque<Sent>,
    totals: Totals,
    /// Sequence numbers that the records cover.
    outstanding: u32,
    pub(super) rack: Rack,
    pub(super) rate: Rate,
    /// Duplicate acknowledgements of a peer without SACK stand for this many bytes that have arrived.
    pub(super) presumed: u32,
    /// The blocks of the last acknowledgement, not to be walked again.
    walked: [(Sequence, Sequence); 4],
    any_walked: bool,
    /// No lost record that waits starts before this.
    waiting_from: Sequence,
}

impl Scoreboard {
    pub(super) fn new(start: Sequence) -> Scoreboard {
        Scoreboard {
            records: VecDeque::new(),
            totals: Totals::default(),
            outstanding: 0,
            rack: Rack::new(start),
            rate: Rate::default(),
            presumed: 0,
            walked: [(start, start); 4],
            any_walked: false,
            waiting_from: start,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Records.
    pub(super) fn length(&self) -> usize {
        self.records.len()
    }

    /// Bytes of memory it holds.
    pub(super) fn memory(&self) -> usize {
        self.records.capacity() * size_of::<Sent>()
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// The first record was SACKed and is not acknowledged: the peer has thrown it away (RFC 2018 8).
    pub(super) fn is_reneged(&self) -> bool {
        self.records.front().is_some_and(|first| first.sacked)
    }

    pub(super) fn front(&self) -> Option<&Sent> {
        self.records.front()
    }

    /// Bytes in flight (RFC 6675's pipe).
    pub(super) fn in_flight(&self) -> u32 {
        let Totals { sacked, lost, again, .. } = self.totals;
        (self.outstanding + again).saturating_sub(sacked + lost + self.presumed)
    }

    /// Gives the memory back if nothing is outstanding.
    pub(super) fn release(&mut self, pool: &mut RecordPool) {
        if self.records.is_empty() && self.records.capacity() > 0 {
            pool.give(core::mem::take(&mut self.records));
        }
    }

    // ---- sending

    /// Before `sent`.
    pub(super) fn reserve(&mut self, pool: &mut RecordPool) {
        if self.records.capacity() == 0 {
            self.records = pool.take();
        }
    }

    /// `start..end` is sent for the first time.
    pub(super) fn sent(&mut self, start: Sequence, end: Sequence, segment: u32, fin: bool, now: Instant) {
        let snapshot = self.rate.sent(self.in_flight(), self.records.is_empty(), now);
        self.outstanding += end - start;
        self.records.push_back(Sent {
            start,
            end,
            sent_at: now,
            segment,
            fin,
            sacked: false,
            lost: false,
            retransmitted: false,
            again: false,
            snapshot,
        });
    }

    /// The first lost record that was not sent again.
    pub(super) fn next_lost(&mut self) -> Option<usize> {
        if self.totals.waiting == 0 {
            return None;
        }
        let from = self.find(self.waiting_from);
        let found = (from..self.records.len()).find(|index| {
            let sent = &self.records[*index];
            sent.lost && !sent.again
        });
        if let Some(index) = found {
            self.waiting_from = self.records[index].start;
        }
        found
    }

    /// Whether what starts at `start` is lost.
    pub(super) fn is_lost(&self, start: Sequence) -> bool {
        self.records.get(self.find(start)).is_some_and(|sent| sent.lost)
    }

    pub(super) fn record(&self, index: usize) -> Option<&Sent> {
        self.records.get(index)
    }

    pub(super) fn last_index(&self) -> Option<usize> {
        self.records.len().checked_sub(1)
    }

    /// Makes the last segment of the last record, of at most `segment` bytes, a record of its own; its index.
    pub(super) fn cut_tail(&mut self, segment: u32) -> usize {
        let last = self.records.len().saturating_sub(1);
        let Some(sent) = self.records.back().copied() else { return last };
        let data = sent.length() - u32::from(sent.fin);
        if data <= segment {
            return last;
        }
        let rest = data % sent.segment.min(segment).max(1);
        let tail = if rest == 0 { sent.segment.min(segment) } else { rest };
        self.split(last, sent.start + (data - tail));
        last + 1
    }

    /// Cuts the record at `index` so that it holds at most `length` bytes in segments of `segment`.
    pub(super) fn limit(&mut self, index: usize, length: u32, segment: u32) {
        let sent = self.records[index];
        if sent.length() > length {
            self.split(index, sent.start + length);
        }
        self.records[index].segment = segment;
    }

    /// Makes one record of the one at `index`, which is lost, and of those behind it that wait with it, while they are no
    /// longer than `most` together and end before `edge` (Linux's tcp_retrans_try_collapse).
    pub(super) fn merge(&mut self, index: usize, most: u32, edge: Sequence) {
        let first = self.records[index];
        let joins = |sent: &&Sent| {
            sent.lost && !sent.again && sent.end - first.start <= most && !sent.end.after(edge)
        };
        let count = self.records.iter().skip(index + 1).take_while(joins).count();
        let Some(last) = self.records.get(index + count).copied().filter(|_| count > 0) else { return };
        // Bytes are counted as before; only lost records come together, and of those none is SACKed.
        (self.records[index].end, self.records[index].fin) = (last.end, last.fin);
        self.records.drain(index + 1..=index + count);
    }

    /// The record at `index` is sent again.
    pub(super) fn sent_again(&mut self, index: usize, now: Instant) {
        let snapshot = self.rate.sent(self.in_flight(), self.records.is_empty(), now);
        self.change(index, |sent| {
            (sent.again, sent.retransmitted, sent.sent_at, sent.snapshot) = (true, true, now, snapshot);
        });
    }

    // ---- acknowledgements

    /// Everything before `first_unacknowledged` has arrived.
    pub(super) fn acknowledge(
        &mut self,
        first_unacknowledged: Sequence,
        minimum_rtt: Option<Duration>,
        now: Instant,
        news: &mut News,
    ) {
        while let Some(first) = self.records.front()
            && first.start.before(first_unacknowledged)
        {
            if first.end.after(first_unacknowledged) {
                self.split(0, first_unacknowledged);
            }
            let Some(sent) = self.records.pop_front() else { break };
            self.totals.change(&sent, false);
            self.outstanding -= sent.length();
            news.acknowledged += sent.length();
            if !sent.sacked {
                self.arrived(&sent, minimum_rtt, now, news);
            }
        }
    }

    /// A SACK block: `start..end` has arrived. It lies between SND.UNA and SND.NXT.
    pub(super) fn sack(
        &mut self,
        (start, end): (Sequence, Sequence),
        minimum_rtt: Option<Duration>,
        now: Instant,
        news: &mut News,
    ) {
        let Some((from, to)) = self.unwalked(start, end) else { return };
        let mut index = self.find(from);
        while let Some(sent) = self.records.get(index).copied()
            && sent.start.before(to)
        {
            if !sent.sacked {
                if self.isolate(index, start, end) {
                    let sent = self.records[index];
                    self.change(index, |sent| {
                        (sent.sacked, sent.lost, sent.again) = (true, false, false);
                    });
                    news.sacked = true;
                    self.arrived(&sent, minimum_rtt, now, news);
                } else if self.records[index].end.after(end) {
                    break;
                }
            }
            index += 1;
        }
    }

    /// The blocks that `sack` was given with one acknowledgement.
    pub(super) fn walked(&mut self, blocks: &[(Sequence, Sequence)]) {
        if core::mem::replace(&mut self.any_walked, !blocks.is_empty()) || !blocks.is_empty() {
            self.note_walked(blocks);
        }
    }

    #[cold]
    fn note_walked(&mut self, blocks: &[(Sequence, Sequence)]) {
        for (index, place) in self.walked.iter_mut().enumerate() {
            *place = blocks.get(index).copied().unwrap_or_default();
        }
    }

    /// What of a block was not in the blocks of the last acknowledgement.
    fn unwalked(&self, start: Sequence, end: Sequence) -> Option<(Sequence, Sequence)> {
        let (mut from, mut to) = (start, end);
        for (known_start, known_end) in self.walked {
            if known_start == known_end || known_start.after(from) && known_end.before(to) {
                continue;
            }
            if !known_start.after(from) && known_end.after(from) {
                from = known_end.earlier(to);
            } else if known_start.before(to) && !known_end.before(to) && known_start.after(from) {
                to = known_start;
            }
        }
        // The segment at the seam may have been covered in part only.
        from.before(to).then(|| (from.minus_one().later(start), (to + 1).earlier(end)))
    }

    /// Cuts the record at `index` so that one which lies within `start..end` stands there. False when no segment of it
    /// does: a record before the block's first whole segment is left where it is.
    fn isolate(&mut self, index: usize, start: Sequence, end: Sequence) -> bool {
        let sent = self.records[index];
        if !sent.start.before(start) && !sent.end.after(end) {
            return true;
        }
        let segment = sent.segment.max(1);
        if sent.start.before(start) {
            let before = (start - sent.start).div_ceil(segment) * segment;
            if before < sent.length() {
                // The next turn looks at what is behind the cut.
                self.split(index, sent.start + before);
            }
            return false;
        }
        let within = (end - sent.start) / segment * segment;
        if within == 0 {
            return false;
        }
        self.split(index, sent.start + within);
        true
    }

    fn arrived(&mut self, sent: &Sent, minimum_rtt: Option<Duration>, now: Instant, news: &mut News) {
        news.delivered += sent.length();
        if sent.retransmitted {
            news.sent_again_at = Some(news.sent_again_at.map_or(sent.sent_at, |at| at.max(sent.sent_at)));
        } else {
            let earliest = news.first_sent_at.map_or(sent.sent_at, |at| at.min(sent.sent_at));
            let latest = news.last_sent_at.map_or(sent.sent_at, |at| at.max(sent.sent_at));
            (news.first_sent_at, news.last_sent_at) = (Some(earliest), Some(latest));
            news.original_end = Some(news.original_end.map_or(sent.end, |end| end.later(sent.end)));
        }
        self.rack.arrived((sent.sent_at, sent.end), sent.retransmitted, minimum_rtt, now);
        self.rate.arrived(
            &mut news.best,
            sent.length(),
            sent.snapshot,
            sent.sent_at,
            sent.retransmitted,
            now,
        );
    }

    // ---- losses

    /// Marks what RACK takes for lost (RFC 8985 6.2 step 5). The bytes newly lost, and when the next may be.
    pub(super) fn detect(&mut self, window: Duration, now: Instant) -> (u32, Option<Instant>) {
        let (mut lost, mut next) = (0, None::<Instant>);
        for index in 0..self.records.len() {
            let sent = self.records[index];
            if sent.sent_at > self.rack.sent_at && !sent.retransmitted {
                // Nothing that was sent later has arrived, of it or of what follows.
                break;
            }
            if sent.sacked || (sent.lost && !sent.again) {
                continue;
            }
            match self.rack.lost_at(sent.sent_at, sent.end, window) {
                Some(at) if at <= now => lost += self.mark_lost(index),
                // The timer runs until the last of them, as RFC 8985 7.2 has it.
                Some(at) => next = Some(next.map_or(at, |next| next.max(at))),
                None => {}
            }
        }
        (lost, next)
    }

    /// The record at `index` is lost; its bytes.
    #[cold]
    pub(super) fn mark_lost(&mut self, index: usize) -> u32 {
        let sent = self.records[index];
        // With nothing waiting it may be older than numbers can be compared.
        self.waiting_from = match self.totals.waiting {
            0 => sent.start,
            _ => self.waiting_from.earlier(sent.start),
        };
        self.change(index, |sent| (sent.lost, sent.again) = (true, false));
        sent.length()
    }

    /// Marks the first record, of at most `segment` bytes, lost (RFC 6582); its bytes.
    pub(super) fn mark_first_lost(&mut self, segment: u32) -> u32 {
        match self.records.front().copied() {
            Some(first) if !first.sacked && (!first.lost || first.again) => {
                if first.length() > segment {
                    self.split(0, first.start + segment);
                }
                self.mark_lost(0)
            }
            _ => 0,
        }
    }

    /// The retransmission timer ran out: all that was not SACKed is lost, but for what was sent less than `recent` ago
    /// (RFC 8985 6.3). A peer whose SACKs began at SND.UNA has reneged (RFC 2018 8).
    pub(super) fn mark_all_lost(&mut self, recent: Duration, now: Instant) -> u32 {
        self.presumed = 0;
        if self.is_reneged() {
            for index in 0..self.records.len() {
                self.change(index, |sent| sent.sacked = false);
            }
            self.walked = [(Sequence(0), Sequence(0)); 4];
        }
        let mut lost = 0;
        for index in 0..self.records.len() {
            let sent = self.records[index];
            if !sent.sacked && (index == 0 || now - sent.sent_at >= recent) {
                lost += self.mark_lost(index);
            }
        }
        lost
    }

    /// Marks what was sent in segments of more than `largest` bytes lost: the path takes it no more.
    pub(super) fn mark_oversized_lost(&mut self, largest: u32) -> u32 {
        let mut lost = 0;
        for index in 0..self.records.len() {
            let sent = self.records[index];
            if !sent.sacked && sent.segment.min(sent.length()) > largest {
                lost += self.mark_lost(index);
            }
        }
        lost
    }

    /// Nothing was lost after all.
    pub(super) fn unmark_lost(&mut self) {
        for index in 0..self.records.len() {
            self.change(index, |sent| sent.lost = false);
        }
    }

    // ---- records

    /// The first record that ends behind `sequence`.
    fn find(&self, sequence: Sequence) -> usize {
        self.records.partition_point(|sent| !sent.end.after(sequence))
    }

    fn change(&mut self, index: usize, change: impl FnOnce(&mut Sent)) {
        let sent = &mut self.records[index];
        self.totals.change(sent, false);
        change(sent);
        self.totals.change(sent, true);
    }

    /// Makes two records of the one at `index`; `at` lies within it.
    #[cold]
    fn split(&mut self, index: usize, at: Sequence) {
        let sent = self.records[index];
        debug_assert!(at.after(sent.start) && at.before(sent.end));
        self.totals.change(&sent, false);
        let (first, second) = (Sent { end: at, fin: false, ..sent }, Sent { start: at, ..sent });
        self.records[index] = first;
        self.records.insert(index + 1, second);
        self.totals.change(&first, true);
        self.totals.change(&second, true);
    }
}
