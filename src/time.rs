//! The clock's type. Time is an argument everywhere below `sys`: nothing here reads a clock.
#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A point on the monotonic clock, in whole microseconds from an origin that the owner of the clock chose.
///
/// Kept plus one: so an `Option` of one is no larger, and a connection has many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(NonZeroU64::MIN);

    /// The instant `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Instant(NonZeroU64::MIN.saturating_add(micros))
    }

    /// Microseconds since the origin.
    pub const fn micros(self) -> u64 {
        self.0.get() - 1
    }

    /// Microseconds since `earlier`; 0 when that is later. What `-` gives, for where it is done with every segment:
    /// a `Duration` counts seconds and nanoseconds, and to make one takes a division.
    pub const fn micros_since(self, earlier: Instant) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// The instant `micros` microseconds later.
    pub const fn after_micros(self, micros: u64) -> Instant {
        Instant(self.0.saturating_add(micros))
    }
}

impl Default for Instant {
    fn default() -> Instant {
        Instant::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.micros()).finish()
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        let micros =
            duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into());
        self.after_micros(micros)
    }
}

impl Sub for Instant {
    type Output = Duration;
    /// Zero when `earlier` is later.
    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.micros_since(earlier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let (early, late) = (Instant::from_micros(5), Instant::from_micros(2_000_005));
        assert_eq!((late - early, early - late), (Duration::from_secs(2), Duration::ZERO));
        assert_eq!((early + Duration::from_secs(2), Instant::ZERO.micros(), early.micros()), (late, 0, 5));
        assert_eq!(late + Duration::MAX, Instant::from_micros(u64::MAX));
        assert_eq!(size_of::<Option<Instant>>(), size_of::<u64>());
        assert_eq!(format!("{late:?}"), "Instant(2000005)");
    }
}
