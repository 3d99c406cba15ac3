//! What came out of order: which ranges of the receive buffer beyond RCV.NXT are filled, and how the SACK blocks that
//! report them are chosen (RFC 2018 4, RFC 2883).
//!
//! The bytes themselves lie in the receive ring already. At most `RANGES_MAX` ranges are kept: a segment that would make
//! one more is dropped, and comes again, so that a peer that sends every second byte costs 16 KB and no more.
#![forbid(unsafe_code)]

use super::options::SackBlocks;
use super::sequence::Sequence;

/// A window of 6 MB in segments of 1460 bytes, every second one lost.
const RANGES_MAX: usize = 2_048;

/// The ranges, in order, neither overlapping nor touching, all behind RCV.NXT.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    ranges: Vec<(Sequence, Sequence)>,
    /// A number in each of the ranges that grew last, the latest first.
    latest: [Option<Sequence>; 4],
    /// The duplicate to report with the next acknowledgement.
    duplicate: Option<(Sequence, Sequence)>,
}

impl Reassembly {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes of memory it holds.
    pub(super) fn memory(&self) -> usize {
        self.ranges.capacity() * size_of::<(Sequence, Sequence)>()
    }

    /// Forgets what came out of order: the stream ends before it.
    pub(super) fn forget(&mut self) {
        self.ranges = Vec::new();
        self.latest = [None; 4];
    }

    /// The end of what has come, if something is missing before.
    pub(super) fn end(&self) -> Option<Sequence> {
        self.ranges.last().map(|range| range.1)
    }

    /// Whether a block waits to be reported.
    pub(super) fn has_duplicate(&self) -> bool {
        self.duplicate.is_some()
    }

    /// Notes that `start..end`, all behind RCV.NXT, has come. False when there is no room to remember it. What of it was
    /// there already is the duplicate to report.
    pub(super) fn insert(&mut self, start: Sequence, end: Sequence) -> bool {
        // The ranges lie within one window, which is shorter than half the number space.
        let first = self.ranges.partition_point(|range| range.1.before(start));
        let beyond = first + self.ranges[first..].partition_point(|range| !range.0.after(end));
        if first == beyond {
            if self.ranges.len() >= RANGES_MAX {
                return false;
            }
            self.ranges.insert(first, (start, end));
        } else {
            self.report_overlap(first, beyond, start, end);
            let merged = (self.ranges[first].0.earlier(start), self.ranges[beyond - 1].1.later(end));
            self.ranges[first] = merged;
            self.ranges.drain(first + 1..beyond);
        }
        self.grew(start);
        true
    }

    fn report_overlap(&mut self, first: usize, beyond: usize, start: Sequence, end: Sequence) {
        let overlap = self.ranges[first..beyond]
            .iter()
            .map(|range| (range.0.later(start), range.1.earlier(end)))
            .find(|(from, to)| from.before(*to));
        if let Some((from, to)) = overlap {
            self.report_duplicate(from, to);
        }
    }

    /// `start..end` came a second time (RFC 2883 4).
    pub(super) fn report_duplicate(&mut self, start: Sequence, end: Sequence) {
        self.duplicate = Some((start, end));
    }

    /// RCV.NXT reached `next`: how far it goes on with what is here already.
    pub(super) fn advance(&mut self, next: Sequence) -> Sequence {
        let mut reached = next;
        let passed = self.ranges.iter().take_while(|range| !range.0.after(reached.later(next))).count();
        for range in self.ranges.drain(..passed) {
            reached = reached.later(range.1);
        }
        // What the first ranges reach may touch the next only if they touched each other, and they do not.
        if self.ranges.is_empty() {
            self.ranges = Vec::new();
            self.latest = [None; 4];
        }
        reached
    }

    fn grew(&mut self, at: Sequence) {
        let range = self.range_of(at);
        let others = self.latest.into_iter().flatten().filter(|other| self.range_of(*other) != range);
        let mut latest = [None; 4];
        latest[0] = Some(at);
        for (place, other) in latest[1..].iter_mut().zip(others) {
            *place = Some(other);
        }
        self.latest = latest;
    }

    fn range_of(&self, at: Sequence) -> Option<(Sequence, Sequence)> {
        let index = self.ranges.partition_point(|range| !range.1.after(at));
        self.ranges.get(index).copied().filter(|range| !range.0.after(at))
    }

    /// The blocks for the next acknowledgement, at most `most` of them: a duplicate first, then the range that grew last.
    pub(super) fn blocks(&mut self, most: usize) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        if self.ranges.is_empty() && self.duplicate.is_none() {
            return blocks;
        }
        if let Some((start, end)) = self.duplicate.take() {
            blocks.push(start, end);
        }
        for (start, end) in self.latest.into_iter().flatten().filter_map(|at| self.range_of(at)) {
            blocks.push(start, end);
        }
        blocks.truncate(most);
        blocks
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
