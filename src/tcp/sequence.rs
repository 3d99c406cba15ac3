//! Sequence numbers (RFC 9293 3.4): modulo 2^32, compared by the shorter way round.
#![forbid(unsafe_code)]

use core::ops::{Add, Sub};

/// A sequence number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// Whether `self` comes before `other`.
    pub const fn before(self, other: Sequence) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether `self` comes after `other`.
    pub const fn after(self, other: Sequence) -> bool {
        other.before(self)
    }

    /// The number before.
    pub const fn minus_one(self) -> Sequence {
        Sequence(self.0.wrapping_sub(1))
    }

    /// The later of the two.
    pub const fn later(self, other: Sequence) -> Sequence {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    pub const fn earlier(self, other: Sequence) -> Sequence {
        if self.after(other) { other } else { self }
    }

    /// How far `self` is behind `start`; 0 when it is not.
    pub const fn distance(self, start: Sequence) -> u32 {
        if self.after(start) { self.0.wrapping_sub(start.0) } else { 0 }
    }
}

impl Add<u32> for Sequence {
    type Output = Sequence;
    fn add(self, length: u32) -> Sequence {
        Sequence(self.0.wrapping_add(length))
    }
}

impl Sub for Sequence {
    type Output = u32;
    /// How far `self` is behind `earlier`, which must not be later.
    fn sub(self, earlier: Sequence) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_goes_the_shorter_way_round() {
        let (low, high) = (Sequence(u32::MAX - 5), Sequence(10));
        assert!(low.before(high) && high.after(low) && !high.before(low));
        assert_eq!((high - low, high.distance(low), low.distance(high)), (16, 16, 0));
        assert_eq!((low.later(high), low.earlier(high)), (high, low));
        assert_eq!(Sequence(0).minus_one(), Sequence(u32::MAX));
    }
}
