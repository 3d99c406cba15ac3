//! A number series that a seed settles. Integers only: the same on every machine.

use std::time::Duration;

#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        let mut dice = Dice(seed);
        Dice(dice.next())
    }

    /// splitmix64
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A series of its own, so that what one part draws does not shift another's.
    pub(crate) fn fork(&mut self) -> Dice {
        Dice::new(self.next())
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound.max(1)
    }

    /// Both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Both included; each doubling as likely as any other. `low` is at least 1.
    pub(crate) fn spread(&mut self, low: u64, high: u64) -> u64 {
        let octave = low << self.below(u64::from((high.max(low) / low).ilog2()) + 1);
        (octave + self.below(octave)).min(high)
    }

    /// `spread` over microseconds.
    pub(crate) fn spread_micros(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_micros(self.spread(low, high))
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

pub(crate) fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The bytes of one direction of one connection, any of them at any time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content(u64);

impl Content {
    pub(crate) fn new(salt: u64) -> Content {
        Content(mix(salt ^ 0x5eed))
    }

    fn word(self, index: u64) -> [u8; 8] {
        mix(self.0.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes()
    }

    /// Calls `each` with every byte of `length` from `position` on, in order; false as soon as that is.
    fn all(self, position: u64, length: usize, mut each: impl FnMut(usize, u8) -> bool) -> bool {
        let mut word = self.word(position / 8);
        (0..length).all(|index| {
            let at = position + index as u64;
            if at.is_multiple_of(8) {
                word = self.word(at / 8);
            }
            each(index, word[(at % 8) as usize])
        })
    }

    pub(crate) fn fill(self, position: u64, bytes: &mut [u8]) {
        self.all(position, bytes.len(), |index, byte| {
            bytes[index] = byte;
            true
        });
    }

    pub(crate) fn matches(self, position: u64, bytes: &[u8]) -> bool {
        self.all(position, bytes.len(), |index, byte| bytes[index] == byte)
    }
}
