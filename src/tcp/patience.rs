//! The timers that end a connection, with Linux's limits: how long a handshake, data without an answer, an orphan and
//! FIN-WAIT-2 may take, keep-alive (RFC 9293 3.8.4) and the user timeout (RFC 5482, TCP_USER_TIMEOUT).
//!
//! What Linux counts in retransmissions is counted in time here: the sum of the time-outs at their least, as tcp(7) gives
//! it for each.
#![forbid(unsafe_code)]

use super::State;
use super::settings::Options;
use crate::time::Instant;
use core::time::Duration;

/// Retransmissions of a SYN: tcp_syn_retries of tcp(7): 1 + 2 + 4 + … + 64 = 127 seconds.
const SYN_RETRIES: u8 = 6;
/// Retransmissions of a SYN-ACK: tcp_synack_retries: 1 + 2 + … + 32 = 63 seconds.
const SYN_ACK_RETRIES: u8 = 5;
/// Fifteen retransmissions of data: tcp_retries2's "924.6 seconds".
const DATA_TIMEOUT: Duration = Duration::from_millis(924_600);
/// Eight retransmissions of what nobody owns any more: tcp_orphan_retries.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(102);
/// FIN-WAIT-2 that nobody owns: tcp_fin_timeout.
const FIN_WAIT_2_TIMEOUT: Duration = Duration::from_secs(60);

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
pub(super) struct Patience {
    opened: Instant,
    /// We sent the first SYN.
    pub(super) active: bool,
    /// When the peer was last heard.
    heard: Instant,
    /// Since when something has been waiting for the peer without any progress.
    stalled: Option<Instant>,
    fin_wait_2: Option<Instant>,
    orphan: Option<Instant>,
    /// Keep-alive probes without an answer, when the last was sent, and when the option was set.
    probes: u32,
    probed: Instant,
    keep_alive_since: Instant,
    /// Since when the peer's window has been shut before data.
    shut: Option<Instant>,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Patience {
        Patience {
            opened: now,
            active: false,
            heard: now,
            stalled: None,
            fin_wait_2: None,
            orphan: None,
            probes: 0,
            probed: now,
            keep_alive_since: now,
            shut: None,
        }
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

    /// SO_KEEPALIVE was set, or its parameters: the idle time begins anew, as on Linux.
    pub(super) fn keep_alive_is_set(&mut self, now: Instant) {
        self.keep_alive_since = now;
        self.probes = 0;
    }

    /// The peer's window is shut before data, or lets some go.
    pub(super) fn window_is_shut(&mut self, shut: bool, now: Instant) {
        self.shut = shut.then(|| self.shut.unwrap_or(now));
    }

    pub(super) fn orphan(&mut self, now: Instant) {
        self.orphan.get_or_insert(now);
    }

    /// When the peer was last heard.
    pub(super) fn last_heard(&self) -> Instant {
        self.heard
    }

    pub(super) fn probes(&self) -> u32 {
        self.probes
    }

    pub(super) fn deadline(&self, state: State, options: &Options) -> Option<Instant> {
        let give_up = self.give_up_at(state, options);
        if self.orphan.is_none() && options.keep_alive.is_none() {
            return give_up;
        }
        [give_up, self.forget_at(options), self.probe_at(state, options)].into_iter().flatten().min()
    }

    pub(super) fn expire(&mut self, state: State, options: &Options, now: Instant) -> Expiry {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.give_up_at(state, options)) {
            return Expiry::TimedOut { reset: false };
        }
        if due(self.forget_at(options)) {
            return Expiry::Forgotten;
        }
        if !due(self.probe_at(state, options)) {
            return Expiry::None;
        }
        if self.probes_exhausted(options, now) {
            return Expiry::TimedOut { reset: true };
        }
        self.probes += 1;
        self.probed = now;
        Expiry::Probe
    }

    fn give_up_at(&self, state: State, options: &Options) -> Option<Instant> {
        let user = options.user_timeout;
        match state {
            State::SynSent => {
                let limit = handshake_limit(options, SYN_RETRIES);
                Some(self.opened + user.unwrap_or(limit).min(limit))
            }
            State::SynReceived => {
                let retries = if self.active { SYN_RETRIES } else { SYN_ACK_RETRIES };
                Some(self.opened + handshake_limit(options, retries))
            }
            _ if self.orphan.is_some() => self.orphan_limit(),
            // tcp(7), TCP_USER_TIMEOUT: a shut window counts though the peer answers.
            _ => match user {
                Some(limit) => {
                    self.stalled.map(|since| self.shut.map_or(since, |shut| shut.min(since)) + limit)
                }
                None => self.stalled.map(|since| since + DATA_TIMEOUT),
            },
        }
    }

    /// A peer that keeps its window shut must not keep what nobody owns, whatever it answers.
    fn orphan_limit(&self) -> Option<Instant> {
        let (stalled, orphan) = (self.stalled?, self.orphan?);
        let since = self.shut.map_or(stalled, |shut| shut.min(stalled).max(orphan));
        Some(since + ORPHAN_TIMEOUT)
    }

    fn forget_at(&self, options: &Options) -> Option<Instant> {
        Some(self.orphan?.max(self.fin_wait_2?) + options.linger2.unwrap_or(FIN_WAIT_2_TIMEOUT))
    }

    /// While something waits for the peer, its retransmission is the probe (as on Linux).
    fn probe_at(&self, state: State, options: &Options) -> Option<Instant> {
        let keep_alive = options.keep_alive?;
        (state.is_synchronized() && self.stalled.is_none()).then(|| match self.probes {
            0 => self.heard.max(self.keep_alive_since) + keep_alive.idle,
            _ => self.probed + keep_alive.interval,
        })
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

/// The sum of the time-outs of a SYN that is sent again so often, from one second on (TCP_SYNCNT).
fn handshake_limit(options: &Options, retries: u8) -> Duration {
    Duration::from_secs((2 << options.syn_retries.unwrap_or(retries).min(30)) - 1)
}
