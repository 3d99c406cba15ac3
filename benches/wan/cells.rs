//! The paths that are measured, by name.
#![forbid(unsafe_code)]

use core::num::NonZeroU64;
use core::time::Duration;
use tubesock::link::impair::{Limit, Loss, Probability, Settings};

/// A path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    /// Of each direction.
    pub(crate) path: Settings,
}

const RATE: u64 = 500_000_000;

/// Every path.
pub(crate) fn cells() -> [Cell; 6] {
    let short = Duration::from_millis(20);
    let unlimited = Settings { delay: Duration::from_micros(100), ..Settings::default() };
    [
        Cell { name: "20ms-0%", path: limited(short, 1, 0.0) },
        Cell { name: "20ms-0.1%", path: limited(short, 1, 0.1) },
        Cell { name: "20ms-1%", path: limited(short, 1, 1.0) },
        Cell { name: "20ms-3%", path: limited(short, 1, 3.0) },
        Cell { name: "100ms-4bdp", path: limited(Duration::from_millis(100), 4, 0.0) },
        Cell { name: "0.2ms-unlimited", path: unlimited },
    ]
}

/// Both directions together take `round_trip`. The drop-tail queue has so many times what the path holds.
fn limited(round_trip: Duration, queue: u32, loss_percent: f64) -> Settings {
    let held = round_trip.as_micros() as u64 * RATE / 8 / 1_000_000;
    Settings {
        delay: round_trip / 2,
        rate: NonZeroU64::new(RATE),
        limit: Some(Limit::Bytes(held as usize * queue as usize)),
        loss: Loss::Random(Probability::from_percent(loss_percent)),
        ..Settings::default()
    }
}
