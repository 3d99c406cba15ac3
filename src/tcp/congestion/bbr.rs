//! BBR version 1: sends at the rate at which the path delivers, and keeps twice what fits into the path in flight. Loss is
//! not a signal, so 3 % of it at random costs 3 %. After draft-cardwell-iccrg-bbr-congestion-control-00 and "BBR:
//! Congestion-Based Congestion Control" (ACM Queue 14/5), with what Linux's BBR does beyond them.
//!
//! ```text
//!   Startup ──► Drain ──► ProbeBandwidth ◄──┐    Startup: 2.89 times the rate, until it no longer grows by a quarter
//!                              │            │    Drain: the inverse, until the queue that Startup made is gone
//!                10 s without  │            │    ProbeBandwidth: a cycle of rounds at 1.25, 0.75, 1, 1, 1, 1, 1, 1
//!            a lower round trip▼            │    ProbeRtt: four segments for 200 ms and a round, to see the
//!                          ProbeRtt ────────┘              round trip without a queue
//! ```
//!
//! The model is two numbers: the largest delivery rate of ten rounds and the smallest round trip of ten seconds. A round
//! is over when a packet that was sent after its beginning is acknowledged.
//!
//! What Linux adds and is here: window for aggregated ACKs, packet conservation in the first round of a recovery and the
//! window from before it afterwards, room for bursts of segmentation offload, 1 % less than the estimate so that
//! queues drain, no drop of the rate before the pipe is known to be full.
//!
//! Limits, and why: no long-term sampling (it finds token-bucket policers: two intervals of the same rate with at least a
//! fifth lost; it often takes other flows for one, and BBR v2 has dropped it); no ECN, no reaction to loss at all, so
//! that in a queue of much less than a path's content CUBIC flows beside it suffer: version 1's known flaw, and why
//! CUBIC is the default. Packets that wait for their time in a queueing discipline need no accounting: there are none.
//!
//! Arithmetic: bytes and bytes per second in u64, products in u128 or f64, every result clamped. A sample that cannot be
//! (no time, a shorter one than the smallest round trip) is ignored.
#![forbid(unsafe_code)]

use super::filter::{Aggregation, Maximum};
use super::{Acknowledgement, Congestion, INITIAL_SEGMENTS, RateSample, WINDOW_MAX, sane_mss};
use crate::time::Instant;
use core::time::Duration;

/// 2/ln 2: the smallest gain that doubles the rate every round.
const HIGH_GAIN: f64 = 2.885;
const DRAIN_GAIN: f64 = 1.0 / HIGH_GAIN;
/// In ProbeBandwidth twice what fits: ACKs may be delayed and collected.
const WINDOW_GAIN: f64 = 2.0;
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// The pipe is full when the rate did not grow by a quarter in three rounds.
const FULL_GROWTH: f64 = 1.25;
const FULL_ROUNDS: u32 = 3;
const PACING_MARGIN: f64 = 0.99;
const MINIMUM_RTT_LIFETIME: Duration = Duration::from_secs(10);
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
/// Segments: enough for ACKs of every second one to keep a sender going.
const WINDOW_MIN_SEGMENTS: u32 = 4;
/// The window for aggregated ACKs is at most what arrives in a second divided by this.
const AGGREGATION_DIVISOR: u64 = 10;
/// A burst for segmentation offload: what is sent in about a millisecond, up to one packet of IP, at least two
/// segments unless the path is slow.
const BURST_SHIFT: u32 = 10;
const BURST_MAX: u64 = 65_535;
const SLOW_RATE: u64 = 150_000;
/// No rate is higher: a petabyte per second, which times any gain and time still fits.
const RATE_MAX: u64 = 1 << 50;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Startup,
    Drain,
    ProbeBandwidth {
        phase: usize,
        since: Instant,
    },
    /// `until` is set when the flight is small enough; `round`: a whole round passed since.
    ProbeRtt {
        until: Option<Instant>,
        round: bool,
    },
}

/// Rounds are counted in delivered bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    count: u64,
    /// A packet sent when this many bytes were delivered, or later, ends the round.
    end: u64,
    /// The ACK at hand began a round.
    begun: bool,
}

/// Whether the rate still grows.
#[derive(Clone, Copy, Debug, Default)]
struct Pipe {
    full: bool,
    rate: u64,
    rounds: u32,
}

#[derive(Debug)]
pub(super) struct Bbr {
    mss: u32,
    window: u32,
    /// The window before a recovery or ProbeRtt.
    prior_window: u32,
    threshold: u32,
    pacing_rate: u64,
    /// The pacing rate is still a guess made without a round trip.
    guessed: bool,
    mode: Mode,
    delivered: u64,
    rounds: Rounds,
    bandwidth: Maximum,
    aggregation: Aggregation,
    pipe: Pipe,
    minimum_rtt: Option<Duration>,
    minimum_rtt_at: Instant,
    recovering: bool,
    /// The recovery is over, unless the same ACK begins the next.
    recovered: bool,
    /// The first round of a recovery: one byte out for each that arrived.
    conserving: bool,
    restarted: bool,
    /// Packets sent between these counts of delivered bytes were held back by ProbeRtt.
    held_back: Option<(u64, u64)>,
}

impl Bbr {
    /// Paced as if the round trip were a millisecond, until one was measured.
    pub(super) fn new(mss: u32) -> Bbr {
        let mss = sane_mss(mss);
        let window = mss * INITIAL_SEGMENTS;
        Bbr {
            mss,
            window,
            prior_window: 0,
            threshold: u32::MAX,
            pacing_rate: initial_rate(window, Duration::from_millis(1)),
            guessed: true,
            mode: Mode::Startup,
            delivered: 0,
            rounds: Rounds::default(),
            bandwidth: Maximum::default(),
            aggregation: Aggregation::default(),
            pipe: Pipe::default(),
            minimum_rtt: None,
            minimum_rtt_at: Instant::ZERO,
            recovering: false,
            recovered: false,
            conserving: false,
            restarted: false,
            held_back: None,
        }
    }

    // The model

    /// Gives whether the ACK brought a sample that can be used.
    fn update_bandwidth(&mut self, ack: &Acknowledgement) -> bool {
        self.rounds.begun = false;
        let Some(sample) = ack.rate.as_ref().filter(|sample| is_possible(sample, ack)) else { return false };
        if sample.prior_delivered >= self.rounds.end {
            self.rounds = Rounds { count: self.rounds.count + 1, end: self.delivered, begun: true };
            self.conserving = false;
        }
        let rate = rate(sample);
        if rate >= self.bandwidth.largest() || !self.is_held_back(sample) {
            self.bandwidth.insert(self.rounds.count, rate);
        }
        true
    }

    /// Whether less was sent than the path could have taken.
    fn is_held_back(&self, sample: &RateSample) -> bool {
        let sent = sample.prior_delivered;
        sample.application_limited || self.held_back.is_some_and(|(from, to)| (from..=to).contains(&sent))
    }

    fn update_aggregation(&mut self, ack: &Acknowledgement) {
        if self.rounds.begun {
            self.aggregation.begin_round();
        }
        if ack.delivered > 0 {
            self.aggregation.insert(ack.delivered, self.bandwidth.largest(), self.window, ack.now);
        }
    }

    fn update_pipe(&mut self, ack: &Acknowledgement) {
        let held_back = ack.rate.is_none_or(|sample| self.is_held_back(&sample));
        if self.pipe.full || !self.rounds.begun || held_back {
            return;
        }
        let rate = self.bandwidth.largest();
        if rate as f64 >= self.pipe.rate as f64 * FULL_GROWTH {
            self.pipe = Pipe { full: false, rate, rounds: 0 };
        } else {
            self.pipe.rounds += 1;
            self.pipe.full = self.pipe.rounds >= FULL_ROUNDS;
        }
    }

    /// A sample replaces an older and larger one after ten seconds; ProbeRtt then makes sure that there is a good one.
    fn update_minimum_rtt(&mut self, ack: &Acknowledgement) {
        let expired = ack.now > self.minimum_rtt_at + MINIMUM_RTT_LIFETIME && self.minimum_rtt.is_some();
        if let Some(rtt) = ack.rtt
            && (expired || self.minimum_rtt.is_none_or(|least| rtt < least))
        {
            self.minimum_rtt = Some(rtt.max(Duration::from_micros(1)));
            self.minimum_rtt_at = ack.now;
        }
        if expired && !self.restarted && !self.in_probe_rtt() {
            self.save_window();
            self.mode = Mode::ProbeRtt { until: None, round: false };
            self.held_back = Some((self.delivered, self.delivered));
        }
    }

    // The modes

    fn in_probe_rtt(&self) -> bool {
        matches!(self.mode, Mode::ProbeRtt { .. })
    }

    fn update_mode(&mut self, ack: &Acknowledgement) {
        match self.mode {
            Mode::ProbeBandwidth { phase, since } if self.phase_is_over(phase, since, ack) => {
                self.mode = Mode::ProbeBandwidth { phase: (phase + 1) % CYCLE.len(), since: ack.now };
            }
            Mode::Startup if self.pipe.full => {
                self.threshold = self.flight(1.0);
                self.mode = Mode::Drain;
            }
            _ => {}
        }
        if self.mode == Mode::Drain && ack.in_flight <= self.flight(1.0) {
            self.probe_bandwidth(ack.now);
        }
    }

    /// A phase lasts a round trip; the one that probes until the flight really is larger (or packets are lost), the one
    /// that drains not longer than needed.
    fn phase_is_over(&self, phase: usize, since: Instant, ack: &Acknowledgement) -> bool {
        let gain = CYCLE[phase % CYCLE.len()];
        let whole = self.minimum_rtt.is_none_or(|rtt| ack.now - since > rtt);
        if gain > 1.0 {
            whole && (ack.lost > 0 || ack.prior_in_flight >= self.flight(gain))
        } else if gain < 1.0 {
            whole || ack.prior_in_flight <= self.flight(1.0)
        } else {
            whole
        }
    }

    /// Into any phase but the draining one, so that flows do not probe in step. The clock is random enough to choose.
    fn probe_bandwidth(&mut self, now: Instant) {
        let scrambled = now.micros().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let phase = (scrambled % (CYCLE.len() as u64 - 1)) as usize;
        self.mode = Mode::ProbeBandwidth { phase: if phase == 0 { 0 } else { phase + 1 }, since: now };
    }

    fn update_probe_rtt(&mut self, ack: &Acknowledgement) {
        let Mode::ProbeRtt { until, round } = self.mode else { return };
        if let Some((_, to)) = &mut self.held_back {
            *to = self.delivered.saturating_add(u64::from(ack.in_flight));
        }
        match until {
            None if ack.in_flight <= self.window_min() => {
                self.mode = Mode::ProbeRtt { until: Some(ack.now + PROBE_RTT_TIME), round: false };
                self.rounds.end = self.delivered;
            }
            None => {}
            Some(_) => {
                let round = round || self.rounds.begun;
                self.mode = Mode::ProbeRtt { until, round };
                self.leave_probe_rtt(ack.now);
            }
        }
    }

    fn leave_probe_rtt(&mut self, now: Instant) {
        let Mode::ProbeRtt { until: Some(until), round: true } = self.mode else { return };
        if now <= until {
            return;
        }
        self.minimum_rtt_at = now;
        self.window = self.window.max(self.prior_window);
        if self.pipe.full {
            self.probe_bandwidth(now);
        } else {
            self.mode = Mode::Startup;
        }
    }

    // What follows from the model

    fn pacing_gain(&self) -> f64 {
        match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBandwidth { phase, .. } => CYCLE[phase % CYCLE.len()],
            Mode::ProbeRtt { .. } => 1.0,
        }
    }

    fn window_gain(&self) -> f64 {
        match self.mode {
            Mode::Startup | Mode::Drain => HIGH_GAIN,
            Mode::ProbeBandwidth { .. } => WINDOW_GAIN,
            Mode::ProbeRtt { .. } => 1.0,
        }
    }

    /// Before the pipe is full the rate only grows: a first sample after a burst or a delayed ACK says little.
    fn set_pacing_rate(&mut self, gain: f64, smoothed_rtt: Duration) {
        if self.guessed && !smoothed_rtt.is_zero() {
            self.guessed = false;
            self.pacing_rate = self.bounded(initial_rate(self.window, smoothed_rtt));
        }
        let rate = (self.bandwidth.largest() as f64 * gain * PACING_MARGIN) as u64;
        if self.pipe.full || rate > self.pacing_rate {
            self.pacing_rate = self.bounded(rate);
        }
    }

    /// No less than a segment a second: a peer that acknowledged late for long would have made us so slow that our own pauses
    /// are what is measured, and nothing would ever show that it has become better.
    fn bounded(&self, rate: u64) -> u64 {
        rate.clamp(self.mss.into(), RATE_MAX)
    }

    fn window_min(&self) -> u32 {
        WINDOW_MIN_SEGMENTS * self.mss
    }

    /// `gain` times the bandwidth-delay product.
    fn product(&self, gain: f64) -> f64 {
        match self.minimum_rtt {
            None => f64::from(self.mss * INITIAL_SEGMENTS),
            Some(rtt) => self.bandwidth.largest() as f64 * rtt.as_secs_f64() * gain,
        }
    }

    /// `bytes` with room for three bursts (in the sender, on its way, in the receiver) and for the probing phase to
    /// find something at tiny windows.
    fn with_bursts(&self, bytes: f64) -> u32 {
        let burst = (self.pacing_rate >> BURST_SHIFT).min(BURST_MAX) as u32 / self.mss;
        let mut segments = 3 * burst.max(if self.pacing_rate < SLOW_RATE { 1 } else { 2 });
        if matches!(self.mode, Mode::ProbeBandwidth { phase: 0, .. }) {
            segments += 2;
        }
        // The cast saturates, the sum is clamped where it becomes a window.
        (bytes as u32).saturating_add(segments.saturating_mul(self.mss))
    }

    fn flight(&self, gain: f64) -> u32 {
        self.with_bursts(self.product(gain))
    }

    /// The window that the model asks for.
    fn target(&self) -> u32 {
        let extra = if self.pipe.full {
            self.aggregation.largest().min(self.bandwidth.largest() / AGGREGATION_DIVISOR)
        } else {
            0
        };
        self.with_bursts(self.product(self.window_gain()) + extra as f64)
    }

    fn set_window(&mut self, ack: &Acknowledgement) {
        if ack.delivered > 0 {
            self.window = self.window.saturating_sub(ack.lost);
            if self.conserving {
                self.window = self.window.max(ack.in_flight.saturating_add(ack.delivered)).max(self.mss);
            } else {
                self.approach_target(ack.delivered);
                self.window = self.window.max(self.window_min());
            }
        }
        self.window = self.window.min(WINDOW_MAX);
        if self.in_probe_rtt() {
            self.window = self.window.min(self.window_min());
        }
    }

    fn approach_target(&mut self, delivered: u32) {
        let target = self.target();
        let grown = self.window.saturating_add(delivered);
        if self.pipe.full {
            self.window = grown.min(target);
        } else if self.window < target || self.delivered < u64::from(self.mss * INITIAL_SEGMENTS) {
            self.window = grown;
        }
    }

    fn save_window(&mut self) {
        let nested = self.recovering || self.in_probe_rtt();
        self.prior_window = if nested { self.prior_window.max(self.window) } else { self.window };
    }

    fn end_recovery(&mut self) {
        self.recovered = false;
        if self.recovering {
            self.recovering = false;
            self.conserving = false;
            self.window = self.window.max(self.prior_window);
        }
    }
}

impl Congestion for Bbr {
    fn name(&self) -> &'static str {
        "bbr"
    }

    fn window(&self) -> u32 {
        self.window
    }

    /// What Drain drained to; nothing depends on it.
    fn threshold(&self) -> u32 {
        self.threshold
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn owns_recovery(&self) -> bool {
        true
    }

    fn on_acknowledgement(&mut self, ack: &Acknowledgement) {
        let counted = self.delivered.saturating_add(u64::from(ack.delivered));
        self.delivered = ack.rate.as_ref().map_or(counted, |sample| sample.total_delivered);
        if self.update_bandwidth(ack) {
            self.update_aggregation(ack);
        }
        self.update_pipe(ack);
        self.update_mode(ack);
        self.update_minimum_rtt(ack);
        self.update_probe_rtt(ack);
        if ack.delivered > 0 {
            self.restarted = false;
        }
        self.set_pacing_rate(self.pacing_gain(), ack.smoothed_rtt);
        if self.recovered {
            self.end_recovery();
        }
        self.set_window(ack);
    }

    /// Packet conservation for a round; the window comes back when recovery is over. One that begins with the ACK that ends
    /// another goes on with it, as on Linux: where packets are always being lost there would be nothing but first rounds.
    fn on_congestion(&mut self, _now: Instant, in_flight: u32) {
        self.save_window();
        if core::mem::take(&mut self.recovered) {
            return;
        }
        self.recovering = true;
        self.conserving = true;
        self.rounds.end = self.delivered;
        self.window = in_flight.saturating_add(self.mss).min(WINDOW_MAX);
    }

    /// The path may have changed: whether the pipe is full is seen anew.
    fn on_timeout(&mut self, _now: Instant, _in_flight: u32) {
        self.save_window();
        (self.recovering, self.recovered) = (true, false);
        self.conserving = false;
        self.pipe.rate = 0;
        self.window = self.mss;
    }

    fn on_recovered(&mut self, _now: Instant) {
        self.recovered = self.recovering;
    }

    fn on_spurious(&mut self, _now: Instant) {
        self.end_recovery();
        self.pipe.rate = 0;
        self.pipe.rounds = 0;
    }

    /// The model still holds, so neither window nor rate starts over; but the pipe is empty and needs no probing.
    fn on_restart(&mut self, now: Instant, _idle: Duration, _rto: Duration) {
        self.restarted = true;
        self.aggregation.restart(now);
        match self.mode {
            Mode::ProbeBandwidth { .. } => self.set_pacing_rate(1.0, Duration::ZERO),
            Mode::ProbeRtt { .. } => self.leave_probe_rtt(now),
            Mode::Startup | Mode::Drain => {}
        }
    }

    fn set_mss(&mut self, mss: u32) {
        let mss = sane_mss(mss);
        if self.delivered == 0 {
            self.window = self.window / self.mss * mss;
            self.pacing_rate = self.pacing_rate / u64::from(self.mss) * u64::from(mss);
        }
        self.mss = mss;
        self.pacing_rate = self.bounded(self.pacing_rate);
        self.window = self.window.max(mss).min(WINDOW_MAX);
    }
}

/// The initial window in one round trip, with Startup's gain.
fn initial_rate(window: u32, rtt: Duration) -> u64 {
    let seconds = rtt.max(Duration::from_micros(1)).as_secs_f64();
    (f64::from(window) / seconds * HIGH_GAIN) as u64
}

/// An interval shorter than any round trip was measured over ACKs that were held and let go together.
fn is_possible(sample: &RateSample, ack: &Acknowledgement) -> bool {
    sample.delivered > 0 && sample.interval >= ack.minimum_rtt.max(Duration::from_micros(1))
}

/// Bytes per second.
fn rate(sample: &RateSample) -> u64 {
    let rate = u128::from(sample.delivered) * 1_000_000 / sample.interval.as_micros().max(1);
    u64::try_from(rate).unwrap_or(RATE_MAX).min(RATE_MAX)
}
