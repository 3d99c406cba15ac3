//! What BBR remembers of the path: the largest delivery rate of the last rounds, and by how much ACKs come in bunches.
//! Values in, values out: when a round begins and what a sample is worth is decided in `bbr`.
#![forbid(unsafe_code)]

use crate::time::Instant;

/// Rounds that a maximum is remembered: a cycle of eight and two more.
const BANDWIDTH_ROUNDS: u64 = 10;
/// Rounds that one slot of `Aggregation` covers; both together remember five to ten.
const AGGREGATION_ROUNDS: u32 = 5;
/// A longer epoch is cut: rates change.
const AGGREGATION_BYTES_MAX: u64 = 1 << 30;

/// The largest value of the last ten rounds. It is kept exactly, one slot a round. Nothing is forgotten while nothing is
/// learnt: an idle connection, or one whose samples are all limited by the program, keeps its estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Maximum {
    slots: [(u64, u64); BANDWIDTH_ROUNDS as usize],
    largest: u64,
}

impl Maximum {
    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    /// `value` was seen in `round`; rounds never go back.
    pub(super) fn insert(&mut self, round: u64, value: u64) {
        let slot = &mut self.slots[(round % BANDWIDTH_ROUNDS) as usize];
        *slot = (round, if slot.0 == round { slot.1.max(value) } else { value });
        let recent = |slot: &&(u64, u64)| round - slot.0.min(round) < BANDWIDTH_ROUNDS;
        self.largest = self.slots.iter().filter(recent).map(|slot| slot.1).max().unwrap_or(value);
    }
}

/// How many bytes more than the bandwidth explains were acknowledged at once: a receiver, or a radio link, that
/// collects ACKs needs that much more in flight to stay busy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aggregation {
    epoch: Instant,
    acknowledged: u64,
    slots: [u64; 2],
    current: usize,
    rounds: u32,
}

impl Aggregation {
    pub(super) fn largest(&self) -> u64 {
        self.slots[0].max(self.slots[1])
    }

    /// A new epoch, in which nothing was acknowledged yet.
    pub(super) fn restart(&mut self, now: Instant) {
        self.epoch = now;
        self.acknowledged = 0;
    }

    pub(super) fn begin_round(&mut self) {
        self.rounds += 1;
        if self.rounds >= AGGREGATION_ROUNDS {
            self.rounds = 0;
            self.current = 1 - self.current;
            self.slots[self.current] = 0;
        }
    }

    /// `delivered` bytes arrived where `bandwidth` bytes a second were expected; more than `window` cannot be extra.
    pub(super) fn insert(&mut self, delivered: u32, bandwidth: u64, window: u32, now: Instant) {
        let elapsed = u128::from((now - self.epoch).as_micros() as u64);
        let mut expected = u64::try_from(u128::from(bandwidth) * elapsed / 1_000_000).unwrap_or(u64::MAX);
        let long = self.acknowledged + u64::from(delivered) >= AGGREGATION_BYTES_MAX;
        if self.acknowledged <= expected || long {
            self.restart(now);
            expected = 0;
        }
        self.acknowledged += u64::from(delivered);
        let extra = self.acknowledged.saturating_sub(expected).min(u64::from(window));
        self.slots[self.current] = self.slots[self.current].max(extra);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_maximum_is_remembered_for_ten_rounds_of_samples() {
        let mut maximum = Maximum::default();
        maximum.insert(1, 100);
        for round in 2..11 {
            maximum.insert(round, 50);
            assert_eq!(maximum.largest(), 100, "round {round}");
        }
        maximum.insert(11, 40);
        assert_eq!(maximum.largest(), 50);
        maximum.insert(1_000, 7);
        assert_eq!(maximum.largest(), 7);
    }

    #[test]
    fn extra_bytes_are_those_that_the_bandwidth_does_not_explain() {
        let mut aggregation = Aggregation::default();
        let start = Instant::from_micros(1_000_000);
        aggregation.restart(start);
        aggregation.insert(10_000, 1_000_000, 100_000, start);
        assert_eq!(aggregation.largest(), 10_000);
        aggregation.insert(10_000, 1_000_000, 100_000, start + Duration::from_millis(2));
        assert_eq!(aggregation.largest(), 18_000);
        for _ in 0..2 * AGGREGATION_ROUNDS {
            aggregation.begin_round();
        }
        assert_eq!(aggregation.largest(), 0, "forgotten after ten rounds");
    }
}
