//! Round-trip time: the estimator and the retransmission time-out (RFC 6298), and the least time seen lately.
//!
//! As on Linux the variance term, not the whole, has the floor of 200 ms: a floor under the whole would let a path of
//! 190 ms time out at its own jitter.
#![forbid(unsafe_code)]

use crate::time::Instant;
use core::time::Duration;

/// RFC 6298 2.1
const INITIAL_RTO: Duration = Duration::from_secs(1);
/// RFC 6298 5.7: after a SYN that had to be sent again.
const RTO_AFTER_SYN_LOSS: Duration = Duration::from_secs(3);
/// Linux's TCP_RTO_MIN.
const VARIANCE_FLOOR: Duration = Duration::from_millis(200);
/// Linux's TCP_RTO_MAX; RFC 6298 2.5 asks for 60 seconds at least.
const RTO_MAX: Duration = Duration::from_secs(120);
const RTO_MAX_MICROS: u32 = RTO_MAX.as_secs() as u32 * 1_000_000;
/// How long the least time is believed: Linux's tcp_min_rtt_wlen.
const MINIMUM_LASTS: Duration = Duration::from_secs(300);

/// What is known of the round-trip time, in microseconds: it is asked with every segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundTrip {
    /// 0 before the first sample.
    smoothed: u32,
    variance: u32,
    minimum: u32,
    latest: u32,
    minimum_since: Instant,
    /// The time-out without back-off.
    base: u32,
    backoff: u8,
}

impl RoundTrip {
    pub(super) fn new() -> RoundTrip {
        RoundTrip {
            smoothed: 0,
            variance: 0,
            minimum: u32::MAX,
            latest: 0,
            minimum_since: Instant::ZERO,
            base: micros(INITIAL_RTO),
            backoff: 0,
        }
    }

    /// RFC 6298 2.2, 2.3. `rtt` is that of the first segment that an acknowledgement covers, with whatever the peer waited;
    /// `latest` that of the last.
    pub(super) fn sample(&mut self, rtt: Duration, latest: Duration, now: Instant) {
        self.sample_micros(micros(rtt).into(), micros(latest).into(), now);
    }

    /// `sample` in microseconds.
    pub(super) fn sample_micros(&mut self, rtt: u64, latest: u64, now: Instant) {
        let [rtt, latest] = [rtt, latest].map(|time| time.clamp(1, RTO_MAX_MICROS.into()) as u32);
        self.latest = latest;
        if latest <= self.minimum
            || now.micros_since(self.minimum_since) > MINIMUM_LASTS.as_secs() * 1_000_000
        {
            (self.minimum, self.minimum_since) = (latest, now);
        }
        if self.smoothed == 0 {
            (self.smoothed, self.variance) = (rtt, rtt / 2);
        } else {
            self.variance = (self.variance * 3 + self.smoothed.abs_diff(rtt)) / 4;
            self.smoothed = (self.smoothed * 7 + rtt) / 8;
        }
        let spread = (self.variance * 4).max(micros(VARIANCE_FLOOR));
        self.base = (self.smoothed + spread).min(micros(RTO_MAX));
    }

    pub(super) fn smoothed(&self) -> Option<Duration> {
        (self.smoothed > 0).then(|| duration(self.smoothed))
    }

    /// `smoothed` in microseconds; 0 before the first sample.
    pub(super) fn smoothed_micros(&self) -> u64 {
        self.smoothed.into()
    }

    /// `rto` in microseconds.
    pub(super) fn rto_micros(&self) -> u64 {
        (u64::from(self.base) << self.backoff.min(16)).min(RTO_MAX_MICROS.into())
    }

    pub(super) fn variance(&self) -> Duration {
        duration(self.variance)
    }

    pub(super) fn minimum(&self) -> Option<Duration> {
        (self.smoothed > 0).then(|| duration(self.minimum))
    }

    /// `minimum` in microseconds; 0 before the first sample.
    pub(super) fn minimum_micros(&self) -> u64 {
        if self.smoothed > 0 { self.minimum.into() } else { 0 }
    }

    pub(super) fn latest(&self) -> Duration {
        duration(self.latest)
    }

    /// The time-out without back-off, in microseconds.
    pub(super) fn base_rto_micros(&self) -> u64 {
        self.base.into()
    }

    /// The time-out, backed off.
    pub(super) fn rto(&self) -> Duration {
        self.backed_off(self.backoff)
    }

    /// The time-out after `times` doublings (RFC 6298 5.5).
    pub(super) fn backed_off(&self, times: u8) -> Duration {
        let most = u64::from(micros(RTO_MAX));
        Duration::from_micros((u64::from(self.base) << times.min(16)).min(most))
    }

    pub(super) fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    pub(super) fn backoff(&self) -> u8 {
        self.backoff
    }

    /// Something new was acknowledged.
    pub(super) fn end_back_off(&mut self) {
        self.backoff = 0;
    }

    /// The handshake is done, without a sample: a SYN was lost.
    pub(super) fn distrust(&mut self) {
        if self.smoothed == 0 {
            self.base = micros(RTO_AFTER_SYN_LOSS);
        }
    }
}

/// At least one: the clock counts microseconds, and what took less took one. Nothing takes longer than the longest time-out.
const fn micros(duration: Duration) -> u32 {
    if duration.as_secs() >= RTO_MAX.as_secs() {
        return RTO_MAX_MICROS;
    }
    let micros = duration.as_secs() as u32 * 1_000_000 + duration.subsec_micros();
    if micros == 0 { 1 } else { micros }
}

const fn duration(micros: u32) -> Duration {
    Duration::from_micros(micros as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_follows_rfc_6298() {
        let mut rtt = RoundTrip::new();
        let now = Instant::from_micros(1);
        assert_eq!(rtt.rto(), Duration::from_secs(1));
        rtt.sample(Duration::from_millis(100), Duration::from_millis(100), now);
        assert_eq!(rtt.rto(), Duration::from_millis(300), "SRTT + max(200 ms, 4 * RTT/2)");
        rtt.sample(Duration::from_millis(500), Duration::from_millis(500), now);
        assert_eq!(rtt.smoothed(), Some(Duration::from_millis(150)));
        assert_eq!(rtt.variance(), Duration::from_micros(137_500));
        assert_eq!(rtt.rto(), Duration::from_millis(700));
        rtt.back_off();
        assert_eq!(rtt.rto(), Duration::from_millis(1400));
        (0..200).for_each(|_| rtt.back_off());
        assert_eq!(rtt.rto(), RTO_MAX);
        rtt.end_back_off();
        assert_eq!(rtt.rto(), Duration::from_millis(700));
    }

    #[test]
    fn the_minimum_is_forgotten_in_time() {
        let mut rtt = RoundTrip::new();
        rtt.sample(Duration::from_millis(10), Duration::from_millis(10), Instant::from_micros(1));
        rtt.sample(Duration::from_millis(20), Duration::from_millis(20), Instant::from_micros(2));
        assert_eq!(rtt.minimum(), Some(Duration::from_millis(10)));
        rtt.sample(Duration::from_millis(20), Duration::from_millis(20), Instant::from_micros(400_000_000));
        assert_eq!(rtt.minimum(), Some(Duration::from_millis(20)));
    }
}
