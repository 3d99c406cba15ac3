//! What came out of order: which ranges of the receive buffer beyond RCV.NXT are filled, and how the SACK blocks that
//! report them are chosen (RFC 2018 4, RFC 2883).
//!
//! The bytes themselves lie in the receive ring already. At most `RANGES_MAX` ranges are kept: a segment that would make
//! one more is dropped, and comes again, so that a peer that sends every second byte costs 16 KB and no more.
#![forbid(unsafe_code)]

use super::options::SackBlocks;
use super::sequence::Sequence;
use core::ops::Range;

/// A window of 6 MB in segments of 1460 bytes, every second one lost.
const RANGES_MAX: usize = 2_048;

/// Ranges of which is known in which order they grew: what may come in one go, before an acknowledgement leaves.
const LATEST: usize = 16;

/// What came out of order, and what came twice.
///
/// Most connections have nothing of either at most times: then there is nothing here.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// None when there are none.
    ranges: Option<Box<Ranges>>,
    /// The duplicate to report with the next acknowledgement.
    duplicate: Option<(Sequence, Sequence)>,
}

/// The ranges: at least one.
#[derive(Debug, Default)]
struct Ranges {
    /// In order, neither overlapping nor touching, all behind RCV.NXT.
    ranges: Vec<(Sequence, Sequence)>,
    /// A number in each of the ranges that grew last, the latest first: how many there are, and how many of them no
    /// acknowledgement has reported as they are now.
    latest: [Sequence; LATEST],
    known: u8,
    unreported: u8,
}

impl Reassembly {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_none()
    }

    /// Bytes of memory it holds.
    pub(super) fn memory(&self) -> usize {
        self.ranges.as_ref().map_or(0, |ranges| {
            size_of::<Ranges>() + ranges.ranges.capacity() * size_of::<(Sequence, Sequence)>()
        })
    }

    /// Forgets what came out of order: the stream ends before it.
    pub(super) fn forget(&mut self) {
        self.ranges = None;
    }

    /// Ranges that grew since they were last reported, at most `LATEST`.
    pub(super) fn unreported(&self) -> usize {
        self.ranges.as_ref().map_or(0, |ranges| usize::from(ranges.unreported))
    }

    /// The end of what has come, if something is missing before.
    pub(super) fn end(&self) -> Option<Sequence> {
        self.ranges.as_ref()?.ranges.last().map(|range| range.1)
    }

    /// Whether a block waits to be reported.
    pub(super) fn has_duplicate(&self) -> bool {
        self.duplicate.is_some()
    }

    /// Notes that `start..end`, all behind RCV.NXT, has come. False when there is no room to remember it. What of it was
    /// there already is the duplicate to report.
    pub(super) fn insert(&mut self, start: Sequence, end: Sequence) -> bool {
        let ranges = self.ranges.get_or_insert_default();
        let touched = ranges.touched(start, end);
        self.duplicate = ranges.overlap(touched.clone(), start, end).or(self.duplicate);
        ranges.insert(touched, start, end)
    }

    /// `start..end` came a second time (RFC 2883 4).
    pub(super) fn report_duplicate(&mut self, start: Sequence, end: Sequence) {
        self.duplicate = Some((start, end));
    }

    /// RCV.NXT reached `next`: how far it goes on with what is here already.
    pub(super) fn advance(&mut self, next: Sequence) -> Sequence {
        let Some(ranges) = &mut self.ranges else { return next };
        let reached = ranges.advance(next);
        if ranges.ranges.is_empty() {
            self.ranges = None;
        }
        reached
    }

    /// The blocks for the next acknowledgement, at most `most` of them: a duplicate first, then the range that grew last.
    /// One place is for a range that was reported before, lest all depends on one acknowledgement. Where more wait,
    /// those that grew first come first: a peer takes what it has sent before the latest, and has not heard of, for lost.
    pub(super) fn blocks(&mut self, most: usize) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        if most == 0 {
            return blocks;
        }
        if let Some((start, end)) = self.duplicate.take() {
            blocks.push(start, end);
        }
        if let Some(ranges) = &mut self.ranges {
            ranges.report(most, &mut blocks);
        }
        blocks
    }
}

impl Ranges {
    /// Those that touch `start..end`. All lie within one window, which is shorter than half the number space.
    fn touched(&self, start: Sequence, end: Sequence) -> Range<usize> {
        let first = self.ranges.partition_point(|range| range.1.before(start));
        first..first + self.ranges[first..].partition_point(|range| !range.0.after(end))
    }

    /// The first part of `start..end` that is here.
    fn overlap(&self, touched: Range<usize>, start: Sequence, end: Sequence) -> Option<(Sequence, Sequence)> {
        self.ranges[touched]
            .iter()
            .map(|range| (range.0.later(start), range.1.earlier(end)))
            .find(|(from, to)| from.before(*to))
    }

    fn insert(&mut self, touched: Range<usize>, start: Sequence, end: Sequence) -> bool {
        let Range { start: first, end: beyond } = touched;
        if first == beyond {
            if self.ranges.len() >= RANGES_MAX {
                return false;
            }
            self.ranges.insert(first, (start, end));
            self.grew((start, end), start);
        } else {
            let merged = (self.ranges[first].0.earlier(start), self.ranges[beyond - 1].1.later(end));
            self.ranges[first] = merged;
            self.ranges.drain(first + 1..beyond);
            self.grew(merged, start);
        }
        true
    }

    fn advance(&mut self, next: Sequence) -> Sequence {
        let mut reached = next;
        let passed = self.ranges.iter().take_while(|range| !range.0.after(reached.later(next))).count();
        for range in self.ranges.drain(..passed) {
            reached = reached.later(range.1);
        }
        // What the first ranges reach may touch the next only if they touched each other, and they do not.
        if passed > 0 {
            self.keep(None, |at| !at.before(reached));
        }
        reached
    }

    /// `range` grew at `at`.
    fn grew(&mut self, range: (Sequence, Sequence), at: Sequence) {
        self.keep(Some(at), |other| other.before(range.0) || !other.before(range.1));
    }

    /// The latest are `first` and those that `is_kept` keeps.
    fn keep(&mut self, first: Option<Sequence>, is_kept: impl Fn(Sequence) -> bool) {
        let (before, known, unreported) = (self.latest, self.known, self.unreported);
        (self.known, self.unreported) = (0, 0);
        let others = before.into_iter().take(known.into()).zip(0..).filter(|(at, _)| is_kept(*at));
        let news = first.map(|at| (at, 0)).into_iter().chain(others);
        for (place, (at, index)) in self.latest.iter_mut().zip(news) {
            *place = at;
            self.known += 1;
            self.unreported += u8::from(Some(at) == first || index < unreported);
        }
    }

    fn range_of(&self, at: Sequence) -> Option<(Sequence, Sequence)> {
        let index = self.ranges.partition_point(|range| !range.1.after(at));
        self.ranges.get(index).copied().filter(|range| !range.0.after(at))
    }

    /// Adds to `blocks` until they are `most`.
    fn report(&mut self, most: usize, blocks: &mut SackBlocks) {
        let room = most - blocks.as_slice().len();
        let news = room.min(room.saturating_sub(1).max(1));
        let left = usize::from(self.unreported).saturating_sub(news);
        let known = self.latest.into_iter().take(self.known.into());
        for (start, end) in known.skip(left).take(room).filter_map(|at| self.range_of(at)) {
            blocks.push(start, end);
        }
        self.unreported = left as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(reassembly: &mut Reassembly) -> Vec<(u32, u32)> {
        reassembly.blocks(4).as_slice().iter().map(|(start, end)| (start.0, end.0)).collect()
    }

    #[test]
    fn ranges_merge_and_the_latest_is_first() {
        let mut reassembly = Reassembly::default();
        for (start, end) in [(20, 30), (40, 50), (60, 70)] {
            assert!(reassembly.insert(Sequence(start), Sequence(end)));
        }
        assert_eq!(blocks(&mut reassembly), [(60, 70), (40, 50), (20, 30)]);
        reassembly.insert(Sequence(30), Sequence(40));
        assert_eq!(blocks(&mut reassembly), [(20, 50), (60, 70)]);
        reassembly.insert(Sequence(45), Sequence(65));
        assert_eq!(blocks(&mut reassembly), [(45, 50), (20, 70)], "a duplicate is reported, once");
        assert_eq!(blocks(&mut reassembly), [(20, 70)]);
        assert_eq!(reassembly.advance(Sequence(10)), Sequence(10));
        assert_eq!(reassembly.advance(Sequence(20)), Sequence(70));
        assert!(reassembly.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_reported_by_a_further_acknowledgement() {
        let mut reassembly = Reassembly::default();
        for start in [10, 20, 30, 40, 50] {
            reassembly.insert(Sequence(start), Sequence(start + 5));
        }
        let three = |reassembly: &mut Reassembly| {
            let blocks = reassembly.blocks(3);
            blocks.as_slice().iter().map(|(start, _)| start.0).collect::<Vec<u32>>()
        };
        assert_eq!(three(&mut reassembly), [20, 10], "the oldest news first");
        assert_eq!(three(&mut reassembly), [40, 30, 20]);
        assert_eq!(reassembly.unreported(), 1);
        assert_eq!(three(&mut reassembly), [50, 40, 30]);
        assert_eq!(reassembly.unreported(), 0);
        reassembly.insert(Sequence(15), Sequence(20));
        reassembly.insert(Sequence(45), Sequence(47));
        assert_eq!(reassembly.unreported(), 2);
        assert_eq!(reassembly.advance(Sequence(10)), Sequence(25));
        assert_eq!((reassembly.unreported(), three(&mut reassembly)), (1, vec![40, 50, 30]));
    }

    #[test]
    fn numbers_wrap() {
        let mut reassembly = Reassembly::default();
        reassembly.insert(Sequence(5), Sequence(10));
        reassembly.insert(Sequence(u32::MAX - 5), Sequence(2));
        assert_eq!(blocks(&mut reassembly), [(u32::MAX - 5, 2), (5, 10)]);
        assert_eq!(reassembly.advance(Sequence(u32::MAX - 5)), Sequence(2));
        assert_eq!(reassembly.advance(Sequence(7)), Sequence(10));
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut reassembly = Reassembly::default();
        let taken = (0..10_000).filter(|n| reassembly.insert(Sequence(2 * n), Sequence(2 * n + 1))).count();
        assert_eq!(taken, RANGES_MAX);
        assert!(reassembly.insert(Sequence(1), Sequence(2)), "what makes no new range is always taken");
    }
}
