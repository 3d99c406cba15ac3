//! HyStart++ (RFC 9406): leaves the first slow start when the round trips of a whole round have grown, before the queue
//! overflows. It only watches; the window is CUBIC's.
//!
//! ```text
//!                 RTT of a round grew by an eighth                 five rounds
//!   slow start ───────────────────────────────────► conservative ─────────────► congestion avoidance
//!      (x2)    ◄─────────────────────────────────── slow start (x1.25)
//!                 RTT fell again: it was jitter
//! ```
//!
//! RFC 9406's L, a limit of eight segments to what one ACK may add, is not applied, as it is not on Linux: a receiver
//! that coalesces acknowledges 45 segments at once, and the window would grow by a sixth a round instead of doubling.
//! Linux's own heuristic (the older HyStart) leaves for good at the first sign; conservative slow start lets it be wrong.
#![forbid(unsafe_code)]

use super::Acknowledgement;
use core::time::Duration;

// RFC 9406 4.3
const RTT_THRESHOLD_MIN: Duration = Duration::from_millis(4);
const RTT_THRESHOLD_MAX: Duration = Duration::from_millis(16);
const RTT_DIVISOR: u32 = 8;
const RTT_SAMPLES: u32 = 8;
const CONSERVATIVE_ROUNDS: u32 = 5;
/// What an acknowledged byte adds in conservative slow start: one part in so many.
pub(super) const CONSERVATIVE_DIVISOR: u32 = 4;

/// How the window is to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// By each byte acknowledged.
    SlowStart,
    /// By one byte in `CONSERVATIVE_DIVISOR`.
    Conservative,
    /// As in congestion avoidance: this was the last round of slow start.
    Finished,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    SlowStart,
    Conservative { baseline: Duration, rounds: u32 },
    Finished,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct HyStart {
    phase: Phase,
    /// RFC 9406's windowEnd: the round is over when this offset is acknowledged.
    round_end: u64,
    last_round: Option<Duration>,
    this_round: Option<Duration>,
    samples: u32,
}

impl HyStart {
    pub(super) fn new() -> HyStart {
        HyStart { phase: Phase::SlowStart, round_end: 0, last_round: None, this_round: None, samples: 0 }
    }

    /// Takes an ACK of slow start. The sample of the ACK that ends a round still belongs to it.
    pub(super) fn on_acknowledgement(&mut self, ack: &Acknowledgement) -> Growth {
        if let Some(rtt) = ack.rtt {
            self.this_round = Some(self.this_round.map_or(rtt, |least| least.min(rtt)));
            self.samples = self.samples.saturating_add(1);
            self.judge();
        }
        if ack.first_unacknowledged >= self.round_end {
            self.begin_round(ack.next_sent);
        }
        match self.phase {
            Phase::SlowStart => Growth::SlowStart,
            Phase::Conservative { .. } => Growth::Conservative,
            Phase::Finished => Growth::Finished,
        }
    }

    /// RFC 9406 4.2: into conservative slow start when the round trips grew, back when they were as short as before.
    fn judge(&mut self) {
        let (Some(this_round), true) = (self.this_round, self.samples >= RTT_SAMPLES) else { return };
        match self.phase {
            Phase::SlowStart => {
                if self.last_round.is_some_and(|last| this_round >= last.saturating_add(threshold(last))) {
                    self.phase = Phase::Conservative { baseline: this_round, rounds: 0 };
                }
            }
            Phase::Conservative { baseline, .. } if this_round < baseline => self.phase = Phase::SlowStart,
            Phase::Conservative { .. } | Phase::Finished => {}
        }
    }

    /// The round in which conservative slow start began counts as one of its rounds (RFC 9406 4.2).
    fn begin_round(&mut self, next_sent: u64) {
        self.round_end = next_sent;
        self.last_round = self.this_round.take();
        self.samples = 0;
        if let Phase::Conservative { rounds, .. } = &mut self.phase {
            *rounds += 1;
            if *rounds >= CONSERVATIVE_ROUNDS {
                self.phase = Phase::Finished;
            }
        }
    }
}

/// By how much the round trips of a round must exceed those of the round before.
fn threshold(last_round: Duration) -> Duration {
    (last_round / RTT_DIVISOR).clamp(RTT_THRESHOLD_MIN, RTT_THRESHOLD_MAX)
}
