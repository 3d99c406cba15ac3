//! The timers that end a connection, with Linux's limits. smoltcp has none that can be used: it sends a SYN and
//! retransmits data for ever, its one timeout ends healthy idle connections, and it cannot count keep-alive probes.
//! When to retransmit is smoltcp's; when to give up is decided here.
#![forbid(unsafe_code)]

use super::Options;
use crate::time::Instant;
use core::time::Duration;

/// Six retransmissions of a SYN: tcp_syn_retries of tcp(7), 1 + 2 + 4 + … + 64 seconds.
const SYN_TIMEOUT: Duration = Duration::from_secs(127);
/// Five retransmissions of a SYN-ACK: tcp_synack_retries, 1 + 2 + … + 32 seconds.
const SYN_ACK_TIMEOUT: Duration = Duration::from_secs(63);
/// Fifteen retransmissions of data: tcp_retries2's "924.6 seconds".
const DATA_TIMEOUT: Duration = Duration::from_millis(924_600);
/// Eight retransmissions of what nobody owns any more: tcp_orphan_retries.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(102);
/// FIN-WAIT-2 that nobody owns: tcp_fin_timeout.
const FIN_WAIT_2_TIMEOUT: Duration = Duration::from_secs(60);

/// Keep-alive parameters (RFC 9293 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Idle time before the first probe.
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes until the connection ends with ETIMEDOUT.
    pub count: u32,
}

/// Which limits apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    SynSent,
    SynReceived,
    Open,
}

/// What a timer that ran out asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    None,
    /// Send a keep-alive probe.
    Probe,
    /// End with ETIMEDOUT.
    TimedOut {
        reset: bool,
    },
    /// FIN-WAIT-2 without an owner: gone without a word.
    Forgotten,
}

#[derive(Debug)]
pub(super) struct Timers {
    opened: Instant,
    heard: Instant,
    /// Since when something has been waiting for the peer without any progress.
    stalled: Option<Instant>,
    fin_wait_2: Option<Instant>,
    orphan: Option<Instant>,
    probes: u32,
}

impl Timers {
    pub(super) fn new(now: Instant) -> Timers {
        Timers { opened: now, heard: now, stalled: None, fin_wait_2: None, orphan: None, probes: 0 }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.probes = 0;
    }

    /// A segment was taken; `progress` when it acknowledged something or answered a window probe.
    pub(super) fn answered(&mut self, progress: bool, outstanding: bool, now: Instant) {
        if progress {
            self.stalled = outstanding.then_some(now);
        }
    }

    /// Everything that can be sent was sent.
    pub(super) fn waits(&mut self, outstanding: bool, fin_wait_2: bool, now: Instant) {
        self.stalled = outstanding.then(|| self.stalled.unwrap_or(now));
        self.fin_wait_2 = fin_wait_2.then(|| self.fin_wait_2.unwrap_or(now));
    }

    pub(super) fn orphan(&mut self, now: Instant) {
        self.orphan.get_or_insert(now);
    }

    pub(super) fn deadline(&self, phase: Phase, options: &Options) -> Option<Instant> {
        let limits = [self.give_up_at(phase, options), self.forget_at(), self.probe_at(phase, options)];
        limits.into_iter().flatten().min()
    }

    pub(super) fn expire(&mut self, phase: Phase, options: &Options, now: Instant) -> Expiry {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.give_up_at(phase, options)) {
            return Expiry::TimedOut { reset: false };
        }
        if due(self.forget_at()) {
            return Expiry::Forgotten;
        }
        if !due(self.probe_at(phase, options)) {
            return Expiry::None;
        }
        if self.probes_exhausted(options, now) {
            return Expiry::TimedOut { reset: true };
        }
        self.probes += 1;
        Expiry::Probe
    }

    fn give_up_at(&self, phase: Phase, options: &Options) -> Option<Instant> {
        let user = options.user_timeout;
        match phase {
            Phase::SynSent => Some(self.opened + user.unwrap_or(SYN_TIMEOUT).min(SYN_TIMEOUT)),
            Phase::SynReceived => Some(self.opened + SYN_ACK_TIMEOUT),
            Phase::Open if self.orphan.is_some() => self.stalled.map(|since| since + ORPHAN_TIMEOUT),
            Phase::Open => self.stalled.map(|since| since + user.unwrap_or(DATA_TIMEOUT)),
        }
    }

    fn forget_at(&self) -> Option<Instant> {
        Some(self.orphan?.max(self.fin_wait_2?) + FIN_WAIT_2_TIMEOUT)
    }

    /// While something waits for the peer, its retransmission is the probe (as on Linux).
    fn probe_at(&self, phase: Phase, options: &Options) -> Option<Instant> {
        let keep_alive = options.keep_alive?;
        (phase == Phase::Open && self.stalled.is_none())
            .then(|| self.heard + keep_alive.idle + keep_alive.interval * self.probes)
    }

    /// tcp(7): with TCP_USER_TIMEOUT set, it decides and not the number of probes.
    fn probes_exhausted(&self, options: &Options, now: Instant) -> bool {
        match (options.user_timeout, options.keep_alive) {
            (Some(limit), _) => self.probes > 0 && now - self.heard >= limit,
            (None, Some(keep_alive)) => self.probes >= keep_alive.count,
            (None, None) => false,
        }
    }
}
