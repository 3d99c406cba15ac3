//! A set of offsets, kept as ranges that neither touch nor overlap.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Debug, Default)]
pub(super) struct Intervals(BTreeMap<i64, i64>);

impl Intervals {
    pub(super) fn insert(&mut self, mut range: Range<i64>) {
        if range.is_empty() {
            return;
        }
        while let Some((&start, &end)) = self.0.range(..=range.end).next_back() {
            if end < range.start {
                break;
            }
            range = start.min(range.start)..end.max(range.end);
            self.0.remove(&start);
        }
        self.0.insert(range.start, range.end);
    }

    pub(super) fn contains(&self, range: Range<i64>) -> bool {
        range.is_empty() || self.0.range(..=range.start).next_back().is_some_and(|(_, &end)| range.end <= end)
    }

    /// Where the range that holds `from` ends; `from` itself when none does.
    pub(super) fn end_of(&self, from: i64) -> i64 {
        self.0.range(..=from).next_back().map_or(from, |(_, &end)| end.max(from))
    }

    /// The ranges behind `from`, last first.
    pub(super) fn behind(&self, from: i64) -> impl Iterator<Item = Range<i64>> {
        self.0.range(from + 1..).rev().map(|(&start, &end)| start..end)
    }
}

#[test]
fn ranges_join() {
    let mut set = Intervals::default();
    for range in [5..7, 1..2, 2..3, 9..12, 6..9, 20..20] {
        set.insert(range);
    }
    assert_eq!(set.0.into_iter().collect::<Vec<_>>(), [(1, 3), (5, 12)]);
}
