//! No congestion control, for a path within one process: the receiver's window is the only limit, and nothing is lost.
#![forbid(unsafe_code)]

use super::{Acknowledgement, Congestion, WINDOW_MAX};
use crate::time::Instant;
use core::time::Duration;

#[derive(Debug)]
pub(super) struct Unlimited;

impl Congestion for Unlimited {
    fn name(&self) -> &'static str {
        "none"
    }
    fn window(&self) -> u32 {
        WINDOW_MAX
    }
    fn threshold(&self) -> u32 {
        u32::MAX
    }
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
    /// There is nothing to reduce: should a packet be lost all the same, PRR must not throttle the repair.
    fn owns_recovery(&self) -> bool {
        true
    }
    fn heeds_acknowledgements(&self) -> bool {
        false
    }
    fn on_acknowledgement(&mut self, _ack: &Acknowledgement) {}
    fn on_congestion(&mut self, _now: Instant, _in_flight: u32) {}
    fn on_timeout(&mut self, _now: Instant, _in_flight: u32) {}
    fn on_recovered(&mut self, _now: Instant) {}
    fn on_spurious(&mut self, _now: Instant) {}
    fn on_restart(&mut self, _now: Instant, _idle: Duration, _rto: Duration) {}
    fn set_mss(&mut self, _mss: u32) {}
}
