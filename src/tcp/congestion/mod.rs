//! How much may be on its way: congestion control, behind one trait. A controller is told what each ACK showed, and
//! says how large the window is and how fast to send into it.
//!
//! ```text
//!   scoreboard, RTT, rate ──► Acknowledgement ─┐              ┌─► window, threshold ─► PRR, transmit
//!   recovery begins, ends, was for nothing ────┼─► Congestion ┤
//!   retransmission timeout, idle ──────────────┘              └─► pacing rate ───────► transmit
//! ```
//!
//! It deliberately does not detect loss (RFC 8985), count what is in flight, measure delivery rates, spread a reduction
//! over a round trip (RFC 6937), or hold a timer: all that is the connection's and the same for every controller.
//! Everything is in bytes. Order of calls: the event of an ACK (`on_congestion`, `on_recovered`, …) first, then its
//! `on_acknowledgement`; the other order costs a controller no more than the ACK between.
//!
//! - `cubic`: RFC 9438, the default, with HyStart++ (RFC 9406, `hystart`) for the first slow start.
//! - `reno`: RFC 5681, for programs that ask for it.
//! - `bbr`: BBR version 1, which does not take random loss for congestion; its filters are in `filter`.
//! - `unlimited`: no network, no congestion.
#![forbid(unsafe_code)]

mod bbr;
mod cubic;
mod filter;
mod hystart;
mod reno;
#[cfg(test)]
mod tests;
mod unlimited;

use crate::time::Instant;
use core::fmt::Debug;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Segments of the initial window (RFC 6928). Ten whatever the MSS, as on Linux.
const INITIAL_SEGMENTS: u32 = 10;
/// No window is larger: what RFC 7323's window scale can express.
const WINDOW_MAX: u32 = 1 << 30;

/// What one ACK told, after the scoreboard was updated.
#[derive(Clone, Copy, Debug)]
pub struct Acknowledgement {
    /// When it came.
    pub now: Instant,
    /// Bytes by which SND.UNA advanced.
    pub acknowledged: u32,
    /// Bytes newly known to have arrived, cumulatively or by SACK.
    pub delivered: u32,
    /// Bytes newly marked lost.
    pub lost: u32,
    /// Bytes in flight after it.
    pub in_flight: u32,
    /// Bytes in flight before it.
    pub prior_in_flight: u32,
    /// Its round-trip sample.
    pub rtt: Option<Duration>,
    /// SRTT (RFC 6298); zero before the first sample.
    pub smoothed_rtt: Duration,
    /// The smallest round trip seen lately; zero before the first sample.
    pub minimum_rtt: Duration,
    /// The congestion window was what held the sender back in the last round trip.
    pub window_limited: bool,
    /// SND.UNA as a stream offset that never wraps.
    pub first_unacknowledged: u64,
    /// SND.NXT as a stream offset that never wraps.
    pub next_sent: u64,
    /// Fast recovery, or loss recovery after a timeout, goes on.
    pub recovering: bool,
    /// It is fast recovery that goes on: the window is PRR's, unless the controller owns recovery.
    pub fast_recovery: bool,
    /// The delivery rate it showed.
    pub rate: Option<RateSample>,
}

/// A delivery rate (draft-cheng-iccrg-delivery-rate-estimation).
#[derive(Clone, Copy, Debug)]
pub struct RateSample {
    /// Bytes delivered over the interval.
    pub delivered: u64,
    /// The longer of the time to send them and the time to get their ACKs.
    pub interval: Duration,
    /// The connection's count of delivered bytes when the packet was sent.
    pub prior_delivered: u64,
    /// The connection's count of delivered bytes now.
    pub total_delivered: u64,
    /// The program did not write enough: the path may be faster.
    pub application_limited: bool,
    /// The packet was a retransmission.
    pub retransmitted: bool,
    /// Bytes in flight when the packet was sent.
    pub in_flight_at_send: u32,
}

/// A congestion controller: one for each connection.
pub trait Congestion: Send + Debug {
    /// What TCP_CONGESTION calls it.
    fn name(&self) -> &'static str;

    /// The congestion window, in bytes. At least two segments, but one after a timeout.
    fn window(&self) -> u32;

    /// The slow start threshold, in bytes; u32::MAX: none yet.
    fn threshold(&self) -> u32;

    /// How fast to send, in bytes per second; None: as the window allows.
    fn pacing_rate(&self) -> Option<u64>;

    /// Whether `window` holds during fast recovery too. If not, the connection reduces to `threshold` itself (RFC 6937).
    fn owns_recovery(&self) -> bool {
        false
    }

    /// Whether it makes anything of an ACK. If not, `on_acknowledgement` need not be called: what one told takes longer to
    /// put together than all else about a segment in memory.
    fn heeds_acknowledgements(&self) -> bool {
        true
    }

    /// An ACK came, in whatever state. In fast recovery a controller that does not own it leaves the window alone; in
    /// loss recovery it grows it.
    fn on_acknowledgement(&mut self, ack: &Acknowledgement);

    /// Fast recovery begins: a new threshold, and a window equal to it.
    fn on_congestion(&mut self, now: Instant, in_flight: u32);

    /// The retransmission timer ran out: a new threshold on the first of a series, and a window of one segment.
    fn on_timeout(&mut self, now: Instant, in_flight: u32);

    /// Fast or loss recovery ended in order.
    fn on_recovered(&mut self, now: Instant);

    /// Nothing had been lost when the window was last reduced: what was before holds again.
    fn on_spurious(&mut self, now: Instant);

    /// The first transmission after nothing was in flight for `idle`.
    fn on_restart(&mut self, now: Instant, idle: Duration, rto: Duration);

    /// The largest segment is now `mss` bytes.
    fn set_mss(&mut self, mss: u32);
}

/// The controllers that a program can choose (TCP_CONGESTION of tcp(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// CUBIC: Linux's default and ours.
    #[default]
    Cubic,
    /// BBR version 1: for paths that lose packets at random.
    Bbr,
    /// Reno: what was before.
    Reno,
}

impl Algorithm {
    /// What TCP_CONGESTION calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Cubic => "cubic",
            Algorithm::Bbr => "bbr",
            Algorithm::Reno => "reno",
        }
    }

    /// The one that TCP_CONGESTION calls so.
    pub fn named(name: &str) -> Option<Algorithm> {
        [Algorithm::Cubic, Algorithm::Bbr, Algorithm::Reno]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// A controller with an initial window of ten segments (RFC 6928).
pub fn controller(algorithm: Algorithm, mss: u32) -> Box<dyn Congestion> {
    match algorithm {
        Algorithm::Cubic => Box::new(cubic::Cubic::new(mss)),
        Algorithm::Bbr => Box::new(bbr::Bbr::new(mss)),
        Algorithm::Reno => Box::new(reno::Reno::new(mss)),
    }
}

/// For a far end in this process: no network is shared, so nothing limits what is in flight but the receiver.
pub fn in_memory(_mss: u32) -> Box<dyn Congestion> {
    Box::new(unlimited::Unlimited)
}

/// The MSS that the arithmetic can work with, whatever the peer said.
fn sane_mss(mss: u32) -> u32 {
    mss.clamp(1, u32::from(u16::MAX))
}
