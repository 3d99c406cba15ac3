//! Reno (RFC 5681): slow start, then a segment more in each round trip; half the window after a loss. PRR, pacing and loss
//! detection are not here. Linux's `reno` is followed where the RFC leaves room: the threshold is half of the window, not
//! of what is in flight, slow start goes on when more than half of the window is used, and bytes count, not ACKs (RFC
//! 3465 without its limit).
#![forbid(unsafe_code)]

use super::{Acknowledgement, Congestion, INITIAL_SEGMENTS, WINDOW_MAX, sane_mss};
use crate::time::Instant;
use core::time::Duration;

#[derive(Debug)]
pub(super) struct Reno {
    mss: u32,
    window: u32,
    threshold: u32,
    /// Bytes acknowledged since the window last grew in congestion avoidance.
    counted: u32,
    /// Window and threshold before the last loss.
    before: Option<(u32, u32)>,
    /// A loss is being repaired.
    recovering: bool,
    heard: bool,
}

impl Reno {
    pub(super) fn new(mss: u32) -> Reno {
        let mss = sane_mss(mss);
        Reno {
            mss,
            window: mss * INITIAL_SEGMENTS,
            threshold: u32::MAX,
            counted: 0,
            before: None,
            recovering: false,
            heard: false,
        }
    }

    fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// RFC 5681 does not grow a window that is not used.
    fn is_limit(&self, ack: &Acknowledgement) -> bool {
        ack.window_limited || self.in_slow_start() && self.window / 2 < ack.prior_in_flight
    }

    fn set_window(&mut self, bytes: u32) {
        self.window = bytes.clamp(self.mss, WINDOW_MAX);
    }

    /// The bytes that are left for congestion avoidance.
    fn slow_start(&mut self, bytes: u32) -> u32 {
        let grown = self.window.saturating_add(bytes).min(self.threshold);
        let left = bytes - (grown - self.window);
        self.set_window(grown);
        left
    }

    fn avoid_congestion(&mut self, bytes: u32) {
        self.counted = self.counted.saturating_add(bytes);
        if self.counted >= self.window {
            self.counted -= self.window;
            self.set_window(self.window + self.mss);
        }
    }

    /// Once for each loss.
    fn reduce(&mut self) {
        if !self.recovering {
            self.before = Some((self.window, self.threshold));
            self.threshold = (self.window / 2).max(2 * self.mss);
        }
        self.recovering = true;
        self.counted = 0;
    }
}

impl Congestion for Reno {
    fn name(&self) -> &'static str {
        "reno"
    }

    fn window(&self) -> u32 {
        self.window
    }

    fn threshold(&self) -> u32 {
        self.threshold
    }

    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    fn on_acknowledgement(&mut self, ack: &Acknowledgement) {
        self.heard = true;
        if ack.acknowledged == 0 || ack.fast_recovery || !self.is_limit(ack) {
            return;
        }
        let left = if self.in_slow_start() { self.slow_start(ack.delivered) } else { ack.delivered };
        if left > 0 && !self.in_slow_start() {
            self.avoid_congestion(left);
        }
    }

    fn on_congestion(&mut self, _now: Instant, _in_flight: u32) {
        self.reduce();
        self.set_window(self.threshold);
    }

    fn on_timeout(&mut self, _now: Instant, _in_flight: u32) {
        self.reduce();
        self.set_window(self.mss);
    }

    fn on_recovered(&mut self, _now: Instant) {
        self.recovering = false;
    }

    /// What has been gained since is kept.
    fn on_spurious(&mut self, _now: Instant) {
        self.recovering = false;
        if let Some((window, threshold)) = self.before.take() {
            self.window = window.max(self.window);
            self.threshold = threshold.max(self.threshold);
        }
    }

    /// RFC 2861's halving for each timeout's worth of idle time, down to the initial window; the threshold remembers three
    /// quarters of what was reached (tcp_cwnd_restart).
    fn on_restart(&mut self, _now: Instant, idle: Duration, rto: Duration) {
        let restart = self.window.min(self.mss * INITIAL_SEGMENTS);
        if idle <= rto || self.window <= restart {
            return;
        }
        let halvings = idle.as_micros().saturating_sub(1) / rto.as_micros().max(1);
        self.threshold = self.threshold.max(self.window / 4 * 3);
        self.counted = 0;
        self.set_window((self.window >> halvings.min(31)).max(restart));
    }

    /// The window stays the same in segments when they become smaller, or while it is the initial one.
    fn set_mss(&mut self, mss: u32) {
        let mss = sane_mss(mss);
        if mss < self.mss || !self.heard {
            let scaled = u64::from(self.window) * u64::from(mss) / u64::from(self.mss);
            self.window = scaled.min(WINDOW_MAX.into()) as u32;
        }
        self.mss = mss;
        self.threshold = self.threshold.max(2 * mss);
        self.set_window(self.window);
    }
}
