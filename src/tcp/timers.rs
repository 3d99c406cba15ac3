//! The timers of a connection that send something: retransmission, tail loss probe, reordering, zero-window probe,
//! delayed acknowledgement, cork. Those that end it are in `patience`.
//!
//! One loss timer runs at a time (RFC 8985 7.1): the time-out, the probe before it, or the window probe, which needs it
//! only when nothing is in flight. The reordering timer of RACK is earlier than any of them by its nature.
#![forbid(unsafe_code)]

use super::Connection;
use super::context::Context;
use super::patience::Expiry;
use super::recovery::Phase;
use super::transmit::Probe;
use crate::error::Error;
use crate::time::Instant;
use core::time::Duration;

/// How long an acknowledgement may wait for company: Linux's TCP_DELACK_MIN; RFC 9293 3.8.6.3 allows 500 ms.
pub(super) const DELAYED_ACKNOWLEDGEMENT: Duration = Duration::from_millis(40);
/// What a peer may delay an acknowledgement by (RFC 8985 7.2, WCDelAckT).
const PEER_DELAY_MICROS: u64 = 200_000;
/// tcp(7), TCP_CORK: "a 200 millisecond ceiling".
pub(super) const CORKED: Duration = Duration::from_millis(200);
/// The least time of a tail loss probe: Linux adds two of its ticks for the same reason, the grain of clocks.
const PROBE_GRAIN_MICROS: u64 = 2_000;

/// The clock of timestamps (RFC 7323 5.4): milliseconds, before the connection's own offset.
pub fn clock(now: Instant) -> u32 {
    (now.micros() / 1000) as u32
}

/// How long a peer that seems to have reneged is given at the least.
const RENEGED_AFTER: Duration = Duration::from_millis(10);

/// What the loss timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LossTimer {
    Retransmit,
    TailProbe,
    Persist,
}

/// The timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    loss: Option<(Instant, LossTimer)>,
    /// When the retransmission timer would run out, were it not for a probe before it.
    time_out: Option<Instant>,
    pub(super) reorder: Option<Instant>,
    pub(super) delayed: Option<Instant>,
    pub(super) corked: Option<Instant>,
    /// Window probes in a row.
    pub(super) window_probes: u8,
}

impl Timers {
    pub(super) fn is_persisting(&self) -> bool {
        matches!(self.loss, Some((_, LossTimer::Persist)))
    }

    pub(super) fn clear_loss(&mut self) {
        (self.loss, self.time_out, self.reorder) = (None, None, None);
    }

    fn time_out_at(&mut self, at: Instant) {
        self.time_out = Some(at);
        self.loss = Some((at, LossTimer::Retransmit));
    }

    pub(super) fn is_loss_running(&self) -> bool {
        self.loss.is_some()
    }
}

impl Connection {
    /// When `transmit` and `advance` must be called though nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let timers = &self.timers;
        let pace = self.duty.paced.then_some(self.sending.pace);
        let mut first = self.patience.deadline(self.state, &self.options);
        for at in [timers.loss.map(|(at, _)| at), timers.reorder, timers.delayed, timers.corked, pace] {
            first = match (first, at) {
                (Some(first), Some(at)) => Some(first.min(at)),
                (first, at) => first.or(at),
            };
        }
        first
    }

    /// Runs the timers that are due; `transmit` sends what they call for.
    pub fn advance(&mut self, context: &mut Context, now: Instant) {
        if self.outcome.is_some() {
            return;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.timers.delayed) {
            self.timers.delayed = None;
            self.receiving.delay_is_over();
        }
        if due(self.timers.corked) {
            self.timers.corked = None;
            self.duty.uncork = true;
        }
        if due(self.timers.reorder) {
            self.timers.reorder = None;
            self.reordered(context, now);
        }
        if let Some((_, timer)) = self.timers.loss.filter(|(at, _)| *at <= now) {
            self.timers.loss = None;
            self.loss_timer(context, timer, now);
        }
        self.lose_patience(now);
    }

    fn reordered(&mut self, context: &Context, now: Instant) {
        if self.lose(context, now) {
            self.reduce_window(0, false);
            self.arm_loss_timer(now);
        }
    }

    fn loss_timer(&mut self, context: &mut Context, timer: LossTimer, now: Instant) {
        match timer {
            _ if !self.state.is_synchronized() => self.handshake_timer(now),
            LossTimer::Retransmit if self.scoreboard.is_empty() => {}
            LossTimer::Retransmit => {
                self.time_out(now);
                self.suspect_path(context, now);
                self.arm_retransmission(now);
            }
            LossTimer::TailProbe => {
                self.duty.probe = Some(Probe::Tail);
                self.arm_retransmission(now);
            }
            LossTimer::Persist => {
                self.timers.window_probes = self.timers.window_probes.saturating_add(1);
                self.tally.probes += 1;
                self.duty.probe = Some(Probe::Window);
                self.persist(now);
            }
        }
    }

    fn lose_patience(&mut self, now: Instant) {
        match self.patience.expire(self.state, &self.options, now) {
            Expiry::None => {}
            Expiry::Probe => self.duty.probe = Some(Probe::KeepAlive),
            Expiry::TimedOut { reset } => {
                if reset {
                    self.reset_peer();
                }
                self.finish(Err(self.soft_error.unwrap_or(Error::TimedOut)));
            }
            Expiry::Forgotten => self.finish(Ok(())),
        }
    }

    /// RFC 6298 5.3, RFC 8985 7.2: after something was acknowledged.
    pub(super) fn arm_loss_timer(&mut self, now: Instant) {
        if self.scoreboard.is_empty() {
            self.timers.reorder = None;
            if !self.timers.is_persisting() {
                self.timers.clear_loss();
            }
            return;
        }
        self.arm_retransmission(now);
        self.put_probe_before(now);
    }

    pub(super) fn arm_retransmission(&mut self, now: Instant) {
        self.timers.time_out_at(now.after_micros(self.rtt.rto_micros()));
    }

    /// The peer seems to have reneged; an acknowledgement on its way may say otherwise (Linux's tcp_check_sack_reneging).
    pub(super) fn arm_renege_timer(&mut self, now: Instant) {
        let smoothed = self.rtt.smoothed().unwrap_or_default();
        self.timers.time_out_at(now + (smoothed / 2).max(RENEGED_AFTER));
    }

    /// RFC 8985 7.2: a probe comes before the time-out, or in its place.
    fn put_probe_before(&mut self, now: Instant) {
        if let (Some(after), Some(time_out)) = (self.tail_probe_after(), self.timers.time_out) {
            self.timers.loss = Some((now.after_micros(after).min(time_out), LossTimer::TailProbe));
        }
    }

    /// A segment of new data leaves: the time-out starts with the first (RFC 6298 5.1), a probe is put off by each.
    pub(super) fn data_left(&mut self, now: Instant) {
        self.retransmission_left(now);
        self.put_probe_before(now);
    }

    /// A retransmission leaves: the time-out starts if it does not run.
    pub(super) fn retransmission_left(&mut self, now: Instant) {
        if self.timers.time_out.is_none() || self.timers.loss.is_none() {
            self.arm_retransmission(now);
        }
    }

    /// RFC 8985 7.2: after how many microseconds a probe, if one is allowed.
    fn tail_probe_after(&self) -> Option<u64> {
        let smoothed = self.rtt.smoothed_micros();
        let allowed = self.agreed.sack
            && smoothed > 0
            && self.recovery.phase == Phase::Open
            && self.recovery.probe.is_none()
            && self.scoreboard.totals().sacked == 0;
        let alone = self.flight() <= self.sending.mss;
        let wait = 2 * smoothed + if alone { PEER_DELAY_MICROS } else { PROBE_GRAIN_MICROS };
        allowed.then_some(wait)
    }

    /// RFC 9293 3.8.6.1: data waits, nothing is in flight, and the window does not let it go.
    pub(super) fn persist(&mut self, now: Instant) {
        if self.timers.loss.is_none() {
            self.patience.window_is_shut(true, now);
            let after = self.rtt.backed_off(self.timers.window_probes);
            self.timers.loss = Some((now + after, LossTimer::Persist));
        }
    }

    /// An acknowledgement came while nothing was in flight.
    pub(super) fn update_persistence(&mut self, opened: bool) {
        if opened && self.timers.is_persisting() && self.sending.edge.after(self.sending.next) {
            self.timers.loss = None;
            self.timers.window_probes = 0;
        }
    }

    fn handshake_timer(&mut self, now: Instant) {
        self.rtt.back_off();
        self.recovery.timeouts += 1;
        self.recovery.timeouts_ever += 1;
        self.duty.syn = true;
        self.arm_retransmission(now);
    }
}
