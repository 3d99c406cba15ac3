//! CUBIC (RFC 9438): after a reduction the window grows as a cubic function of the time since, flat around the size at
//! which packets were lost. Slow start and the rest of RFC 5681 are here too. PRR, pacing and loss detection are not.
//!
//! ```text
//!   window
//!     │                                     ╱   W(t) = C (t - K)³ + W_max
//!     │ ╲                                 ╱     convex: probing
//!   W_max ┤╲ · · · · · · · · _____----- ´
//!     │    ╲           _--´
//!     │     ╲      _-´    concave: catching up
//!  0.7 W_max ╲___-´
//!     └───────┬────────────────┬─────────────── t
//!             0                K = cbrt((W_max - window) / C)
//! ```
//!
//! Where the RFC leaves room, Linux is followed:
//! - The threshold is computed from the window, not from what is in flight (RFC 9438 4.6 allows both): the window does
//!   not grow while the program or the receiver is the limit, so it is no larger than what was once in flight.
//! - Without a W_max (no loss yet, or a timeout since) the window grows by at least 5 % a round trip.
//! - Slow start goes on when the program uses more than half of the window.
//! - A timeout in fast recovery does not reduce the threshold a second time.
//! - What counts is the bytes that an ACK newly delivers, however many segments they are (RFC 3465 without its limit): a
//!   receiver that acknowledges 64 KB at once gets the same growth, and one that splits its ACKs gets no more.
//!
//! And where Linux differs from the RFC, the RFC: the Reno-friendly window grows by a whole segment once it passed the size
//! before the reduction (4.3), time in which the program was the limit does not count (5.8), a spurious reduction
//! restores W_max and the epoch too (4.9).
//!
//! Arithmetic is f64 in bytes and seconds. It stays finite: divisors are at least one (the window never falls below
//! one segment of at least one byte), and the window is clamped after every step.
#![forbid(unsafe_code)]

use super::hystart::{CONSERVATIVE_DIVISOR, Growth, HyStart};
use super::{Acknowledgement, Congestion, INITIAL_SEGMENTS, WINDOW_MAX, sane_mss};
use crate::time::Instant;
use core::time::Duration;

/// C of RFC 9438 5, in segments per second cubed.
const C: f64 = 0.4;
/// Multiplicative decrease (RFC 9438 4.6).
const BETA: f64 = 0.7;
/// α of the Reno-friendly region: 3 (1 - β) / (1 + β), RFC 9438 4.3.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// RFC 9438 4.2: the target is at most this much of the window.
const GROWTH_MAX: f64 = 1.5;
/// Growth a round trip while W_max is unknown: Linux's.
const GROWTH_UNKNOWN: f64 = 0.05;

/// A stage of congestion avoidance: from one reduction to the next.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// When it began, moved by the time in which something else was the limit.
    start: Instant,
    /// K in seconds: how long until the plateau.
    plateau: f64,
    /// The size of the plateau, in bytes.
    origin: f64,
    /// W_est, the window that Reno would have, in bytes.
    reno: f64,
}

/// What a reduction changes, and a spurious one restores (RFC 9438 4.9.1).
#[derive(Clone, Copy, Debug)]
struct Curve {
    window: f64,
    threshold: u32,
    /// W_max in bytes; None: not known.
    maximum: Option<f64>,
    /// cwnd_prior in bytes: the window before the last reduction.
    prior: f64,
    epoch: Option<Epoch>,
}

/// Which recovery goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    None,
    Fast,
    /// After a timeout; `progress`: something was acknowledged since.
    Loss {
        progress: bool,
    },
}

#[derive(Debug)]
pub(super) struct Cubic {
    mss: u32,
    curve: Curve,
    before: Option<Curve>,
    recovery: Recovery,
    hystart: HyStart,
    heard: Option<Instant>,
}

impl Cubic {
    pub(super) fn new(mss: u32) -> Cubic {
        let mss = sane_mss(mss);
        let window = f64::from(mss * INITIAL_SEGMENTS);
        Cubic {
            mss,
            curve: Curve { window, threshold: u32::MAX, maximum: None, prior: 0.0, epoch: None },
            before: None,
            recovery: Recovery::None,
            hystart: HyStart::new(),
            heard: None,
        }
    }

    fn segment(&self) -> f64 {
        f64::from(self.mss)
    }

    fn in_slow_start(&self) -> bool {
        self.curve.window < f64::from(self.curve.threshold)
    }

    /// RFC 5681 does not grow a window that is not used. In slow start using half of it is enough, as on Linux: the
    /// next round may need twice as much.
    fn is_limit(&self, ack: &Acknowledgement) -> bool {
        ack.window_limited
            || (self.in_slow_start() && self.curve.window < 2.0 * f64::from(ack.prior_in_flight))
    }

    fn set_window(&mut self, bytes: f64) {
        self.curve.window = bytes.clamp(self.segment(), f64::from(WINDOW_MAX));
    }

    /// RFC 5681 3.1, with HyStart++ until there is a threshold (RFC 9406 4.3: in the first slow start only). Gives the
    /// bytes that are left for congestion avoidance.
    fn slow_start(&mut self, bytes: f64, ack: &Acknowledgement) -> f64 {
        let mut worth = bytes;
        if self.curve.threshold == u32::MAX {
            match self.hystart.on_acknowledgement(ack) {
                Growth::SlowStart => {}
                Growth::Conservative => worth /= f64::from(CONSERVATIVE_DIVISOR),
                Growth::Finished => {
                    self.curve.threshold = self.window();
                    return bytes;
                }
            }
        }
        let grown = self.curve.window + worth;
        let threshold = f64::from(self.curve.threshold);
        self.set_window(grown.min(threshold));
        (grown - threshold).max(0.0)
    }

    /// RFC 9438 4.2 to 4.5: the larger of the cubic function's window and Reno's.
    fn avoid_congestion(&mut self, bytes: f64, ack: &Acknowledgement) {
        let segment = self.segment();
        let Curve { window, maximum, prior, .. } = self.curve;
        let mut epoch = self.curve.epoch.unwrap_or_else(|| self.begin_epoch(ack.now));
        let alpha = if epoch.reno < prior { ALPHA } else { 1.0 };
        epoch.reno = (epoch.reno + alpha * segment * bytes / window).min(f64::from(WINDOW_MAX));
        self.curve.epoch = Some(epoch);

        let time = (ack.now - epoch.start).as_secs_f64() + ack.smoothed_rtt.as_secs_f64();
        let target = epoch.origin + C * segment * (time - epoch.plateau).powi(3);
        let mut growth = target.clamp(window, window * GROWTH_MAX) / window - 1.0;
        if maximum.is_none() {
            growth = growth.max(GROWTH_UNKNOWN);
        }
        self.set_window((window + growth * bytes).max(epoch.reno));
    }

    fn begin_epoch(&self, now: Instant) -> Epoch {
        let window = self.curve.window;
        let origin = self.curve.maximum.unwrap_or(window).max(window);
        let plateau = ((origin - window) / (C * self.segment())).cbrt();
        Epoch { start: now, plateau, origin, reno: window }
    }

    /// RFC 9438 5.8: the time since the last ACK, when the window was not the limit, is not the epoch's.
    fn pause(&mut self, now: Instant) {
        if let (Some(epoch), Some(heard)) = (&mut self.curve.epoch, self.heard) {
            epoch.start = (epoch.start + (now - heard)).min(now);
        }
    }

    /// RFC 9438 4.6 and 4.7. With fast convergence W_max is lower when the window did not reach the last one: a new
    /// flow needs room.
    fn reduce(&mut self) {
        let window = self.curve.window;
        let shrinking = self.curve.maximum.is_some_and(|maximum| window < maximum);
        self.curve.maximum = Some(if shrinking { window * (1.0 + BETA) / 2.0 } else { window });
        self.curve.prior = window;
        self.curve.threshold = (window * BETA).max(2.0 * self.segment()) as u32;
        self.curve.epoch = None;
    }
}

impl Congestion for Cubic {
    fn name(&self) -> &'static str {
        "cubic"
    }

    fn window(&self) -> u32 {
        self.curve.window as u32
    }

    fn threshold(&self) -> u32 {
        self.curve.threshold
    }

    /// Linux's CUBIC is not paced either, unless a queueing discipline does it.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// RFC 5681: only an ACK that advances grows the window, and none in fast recovery.
    fn on_acknowledgement(&mut self, ack: &Acknowledgement) {
        if let (Recovery::Loss { progress }, true) = (&mut self.recovery, ack.acknowledged > 0) {
            *progress = true;
        }
        if !self.is_limit(ack) {
            self.pause(ack.now);
        } else if ack.acknowledged > 0 && !ack.fast_recovery {
            let mut bytes = f64::from(ack.delivered);
            if self.in_slow_start() {
                bytes = self.slow_start(bytes, ack);
            }
            if bytes > 0.0 && !self.in_slow_start() {
                self.avoid_congestion(bytes, ack);
            }
        }
        self.heard = Some(ack.now);
    }

    fn on_congestion(&mut self, _now: Instant, _in_flight: u32) {
        if self.recovery == Recovery::None {
            self.before = Some(self.curve);
        }
        self.reduce();
        self.recovery = Recovery::Fast;
        self.set_window(f64::from(self.curve.threshold));
    }

    /// RFC 5681 3.1: the threshold once for each loss, the window to one segment. RFC 9438 4.8: W_max is forgotten.
    fn on_timeout(&mut self, _now: Instant, _in_flight: u32) {
        if matches!(self.recovery, Recovery::None | Recovery::Loss { progress: true }) {
            self.before = Some(self.curve);
            self.reduce();
        }
        self.recovery = Recovery::Loss { progress: false };
        self.curve.maximum = None;
        self.curve.epoch = None;
        self.set_window(self.segment());
    }

    fn on_recovered(&mut self, _now: Instant) {
        self.recovery = Recovery::None;
    }

    /// RFC 9438 4.9; what has been gained since is kept.
    fn on_spurious(&mut self, _now: Instant) {
        self.recovery = Recovery::None;
        if let Some(before) = self.before.take() {
            let window = before.window.max(self.curve.window);
            let threshold = before.threshold.max(self.curve.threshold);
            self.curve = Curve { window, threshold, ..before };
        }
    }

    /// RFC 5681 4.1, by RFC 2861's halving for each timeout's worth of idle time, down to the initial window: Linux's
    /// tcp_slow_start_after_idle. The threshold remembers three quarters of what was reached.
    fn on_restart(&mut self, now: Instant, idle: Duration, rto: Duration) {
        if let Some(epoch) = &mut self.curve.epoch {
            epoch.start = (epoch.start + idle).min(now);
        }
        self.heard = Some(now);
        let window = self.curve.window;
        let restart = window.min(f64::from(self.mss * INITIAL_SEGMENTS));
        if idle <= rto || window <= restart {
            return;
        }
        let halvings = idle.as_micros().saturating_sub(1) / rto.as_micros().max(1);
        let shrunk = window / f64::from(1_u32 << halvings.min(31) as u32);
        self.curve.threshold = self.curve.threshold.max((window * 0.75) as u32);
        self.curve.epoch = None;
        self.hystart = HyStart::new();
        self.set_window(shrunk.max(restart));
    }

    /// The window stays the same in segments when they become smaller (RFC 5681 3.1), or while it is the initial one;
    /// otherwise in bytes: larger segments are no reason to send more.
    fn set_mss(&mut self, mss: u32) {
        let mss = sane_mss(mss);
        if mss < self.mss || self.heard.is_none() {
            let scaled = self.curve.window / self.segment() * f64::from(mss);
            self.mss = mss;
            self.set_window(scaled);
        }
        self.mss = mss;
        self.curve.threshold = self.curve.threshold.max(2 * mss);
        if self.recovery == Recovery::None {
            self.set_window(self.curve.window.max(2.0 * self.segment()));
        }
    }
}
