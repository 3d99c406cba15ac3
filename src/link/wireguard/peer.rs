//! One peer: its end of the Noise protocol and the sessions (boringtun's), where it is, and what waits for a handshake.
//!
//! A packet for a peer without a session waits, at most `WAITING_MAX` of them, as Linux stages them, and asks for a
//! handshake, which is tried every 5 s for 90 s (boringtun's timers, the protocol's sections 6.1 to 6.4). After
//! `GIVE_UP` without an answer, or two answers that cannot be decrypted, the log says so, what waits is given back as
//! undeliverable, and so is all else until an answer comes, as with a neighbour that does not answer ARP. Linux would keep
//! the program waiting for as long as TCP has patience.
//!
//! boringtun reads the clock itself (CLOCK_BOOTTIME), and stamps what happens with the time of the last `tick`. So it cannot
//! tell what was sent last from what came last, and that the peer has fallen silent, or no longer knows where we are, is
//! found here.
#![forbid(unsafe_code)]

use super::configuration::PeerConfiguration;
use super::key::Key;
use crate::link::Packet;
use crate::time::Instant;
use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// First byte of a message (protocol, 5.4).
pub(super) const INITIATION: u8 = 1;
pub(super) const RESPONSE: u8 = 2;
pub(super) const COOKIE: u8 = 3;
pub(super) const DATA: u8 = 4;

/// Bytes that encryption adds, and those of the longest handshake message.
const OVERHEAD: usize = 32;
const HANDSHAKE_MAX: usize = 148;

/// Packets that wait for a handshake: Linux's MAX_STAGED_PACKETS.
const WAITING_MAX: usize = 128;
/// How long a handshake may go unanswered: four tries.
const GIVE_UP: Duration = Duration::from_secs(20);
/// So many answers that cannot be decrypted are no accident, and nobody's who does not know our key and the index.
const UNREADABLE_MAX: u32 = 2;
/// Between tries (REKEY_TIMEOUT).
const RETRY: Duration = Duration::from_secs(5);
/// How long a peer may leave data without even a keepalive (protocol, 6.5: KEEPALIVE_TIMEOUT + REKEY_TIMEOUT).
const SILENCE: Duration = Duration::from_secs(15);
/// After so long without traffic no timer of the protocol is left (REJECT_AFTER_TIME and some).
const QUIET: Duration = Duration::from_secs(200);

/// What a peer made of what it was given.
#[derive(Default)]
pub struct Outbox {
    /// Datagrams for the network.
    pub datagrams: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Packets that will never be sent.
    pub refused: VecDeque<Packet>,
}

/// A handshake that we began and that has no answer yet.
struct Attempt {
    first: Instant,
    last: Instant,
    tries: u32,
    /// Answers that could not be decrypted.
    unreadable: u32,
    given_up: bool,
}

/// A peer.
pub(super) struct Peer {
    /// For the log: the file and the line.
    name: String,
    noise: Tunn,
    endpoint: Option<SocketAddr>,
    keepalive: bool,
    mtu: usize,
    waiting: VecDeque<Packet>,
    attempt: Option<Attempt>,
    /// When we sent data for the first time since the peer was last heard.
    unanswered: Option<Instant>,
    /// The log has it that the peer does not answer.
    told: bool,
    active_until: Instant,
}

impl Peer {
    pub(super) fn new(
        configuration: &PeerConfiguration,
        private_key: &Key,
        endpoint: Option<SocketAddr>,
        (index, limiter): (u32, Arc<RateLimiter>),
        (file, mtu): (&str, usize),
    ) -> Peer {
        let noise = Tunn::new(
            private_key.secret(),
            configuration.public_key.as_public(),
            configuration.preshared_key.as_ref().map(|key| *key.bytes()),
            configuration.keepalive.map(Into::into),
            index,
            Some(limiter),
        );
        Peer {
            name: format!("wireguard:{file}: the peer of line {}", configuration.line),
            noise,
            endpoint,
            keepalive: configuration.keepalive.is_some(),
            mtu,
            waiting: VecDeque::new(),
            attempt: None,
            unanswered: None,
            told: false,
            active_until: Instant::ZERO,
        }
    }

    /// Whether it has timers running.
    pub(super) fn is_awake(&self, now: Instant) -> bool {
        self.keepalive || self.attempt.is_some() || !self.waiting.is_empty() || now < self.active_until
    }

    /// Whether it waits for an answer, so that the next tick matters.
    pub(super) fn is_opening(&self) -> bool {
        self.attempt.is_some()
    }

    /// Whether packets wait for a handshake.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a packet of the program's.
    pub(super) fn send(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        // A session lasts longer than the patience with a handshake that is to renew it.
        let given_up = self.attempt.as_ref().is_some_and(|attempt| attempt.given_up) && !self.has_session();
        if self.endpoint.is_none() || given_up {
            return out.refused.push_back(packet);
        }
        self.active_until = now + QUIET;
        if self.has_session() {
            return self.encrypt(packet, now, out);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(packet);
        self.open(now, out);
    }

    /// Takes a datagram from the network that is for this peer by its looks. What it holds for the program, and from
    /// whom, is put into `space`, which must have room for it.
    pub(super) fn receive<'a>(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        space: &'a mut [u8],
        now: Instant,
        out: &mut Outbox,
    ) -> Result<Option<(&'a [u8], IpAddr)>, WireGuardError> {
        let kind = datagram.first().copied();
        let packet = match self.noise.decapsulate(Some(from.ip()), datagram, space) {
            TunnResult::Err(error) => {
                self.doubt(kind, &error);
                return Err(error);
            }
            TunnResult::Done => None,
            TunnResult::WriteToNetwork(reply) => {
                let reply = reply.to_vec();
                // A cookie is for whoever sent this, which need not have been the peer.
                let authentic = reply.first() != Some(&COOKIE);
                out.datagrams.push_back((from, reply));
                if !authentic {
                    return Ok(None);
                }
                None
            }
            TunnResult::WriteToTunnelV4(packet, source) => Some((&*packet, IpAddr::V4(source))),
            TunnResult::WriteToTunnelV6(packet, source) => Some((&*packet, IpAddr::V6(source))),
        };
        if kind != Some(COOKIE) {
            self.heard(from, now, out);
        }
        Ok(packet)
    }

    /// Lets the timers run. Handshakes, keepalives and the end of sessions come of it.
    pub(super) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        let result = self.make(HANDSHAKE_MAX, now, out, |noise, space| noise.update_timers(space));
        if matches!(result, Err(WireGuardError::ConnectionExpired)) {
            self.expire(now, out);
        }
        let unsaid = self.keepalive && self.attempt.is_none() && !self.has_session();
        if unsaid || self.is_overtaken(now) || self.is_silent(now) {
            self.open(now, out);
        }
        self.give_up(now, out);
    }

    /// boringtun has forgotten all sessions and tries no more: for want of an answer, or because the last session is so
    /// old, which may have happened to a handshake that had just begun.
    fn expire(&mut self, now: Instant, out: &mut Outbox) {
        if self.attempt.as_ref().is_some_and(|attempt| now - attempt.first < GIVE_UP) {
            return self.open(now, out);
        }
        self.attempt = None;
        out.refused.extend(self.waiting.drain(..));
    }

    /// Whether packets wait and nobody tries any more: the peer's own handshake came between, and was not finished.
    fn is_overtaken(&self, now: Instant) -> bool {
        let recent = self.attempt.as_ref().is_some_and(|attempt| now - attempt.last < RETRY);
        self.has_waiting() && !recent
    }

    /// Whether data has gone unanswered for too long; true once.
    fn is_silent(&mut self, now: Instant) -> bool {
        self.unanswered.take_if(|since| now - *since >= SILENCE).is_some()
    }

    fn has_session(&self) -> bool {
        self.noise.time_since_last_handshake().is_some()
    }

    /// Begins a handshake, unless one is under way or the peer's address is not known.
    fn open(&mut self, now: Instant, out: &mut Outbox) {
        if self.endpoint.is_some() {
            // Nothing can fail but for space, of which there is enough.
            let _ = self.make(HANDSHAKE_MAX, now, out, |noise, space| {
                noise.format_handshake_initiation(space, false)
            });
        }
    }

    fn encrypt(&mut self, mut packet: Packet, now: Instant, out: &mut Outbox) {
        self.unanswered.get_or_insert(now);
        // The protocol pads to 16 bytes (5.4.6), and Linux never beyond the MTU.
        let padded = packet.len().next_multiple_of(16).min(self.mtu).max(packet.len());
        packet.resize(padded, 0);
        let space = (padded + OVERHEAD).max(HANDSHAKE_MAX);
        // There is a session: what could fail is checked.
        let _ = self.make(space, now, out, |noise, space| noise.encapsulate(&packet, space));
    }

    /// Has boringtun write a datagram of at most `length` bytes, and sends it.
    fn make(
        &mut self,
        length: usize,
        now: Instant,
        out: &mut Outbox,
        write: impl for<'a> FnOnce(&mut Tunn, &'a mut [u8]) -> TunnResult<'a>,
    ) -> Result<(), WireGuardError> {
        let mut space = vec![0; length];
        let length = match write(&mut self.noise, &mut space) {
            TunnResult::WriteToNetwork(datagram) => datagram.len(),
            TunnResult::Err(error) => return Err(error),
            TunnResult::Done | TunnResult::WriteToTunnelV4(..) | TunnResult::WriteToTunnelV6(..) => {
                return Ok(());
            }
        };
        space.truncate(length);
        if space.first() == Some(&INITIATION) {
            self.count_try(now);
        }
        out.datagrams.extend(self.endpoint.map(|endpoint| (endpoint, space)));
        Ok(())
    }

    fn count_try(&mut self, now: Instant) {
        let new = Attempt { first: now, last: now, tries: 0, unreadable: 0, given_up: false };
        let attempt = self.attempt.get_or_insert(new);
        attempt.last = now;
        attempt.tries += 1;
    }

    /// Something authentic came from the peer: that is where it is.
    fn heard(&mut self, from: SocketAddr, now: Instant, out: &mut Outbox) {
        if self.endpoint != Some(from) {
            tracing::debug!("{} is at {from}", self.name);
            self.endpoint = Some(from);
        }
        (self.active_until, self.unanswered) = (now + QUIET, None);
        if !self.has_session() {
            return;
        }
        self.attempt = None;
        if core::mem::take(&mut self.told) {
            tracing::warn!("{} answers again", self.name);
        }
        for packet in core::mem::take(&mut self.waiting) {
            self.encrypt(packet, now, out);
        }
    }

    /// An answer to our handshake is for us and yet cannot be read: only the keys are left to be wrong.
    fn doubt(&mut self, kind: Option<u8>, error: &WireGuardError) {
        if kind != Some(RESPONSE) || !matches!(error, WireGuardError::InvalidAeadTag) {
            return;
        }
        let Some(attempt) = &mut self.attempt else { return };
        attempt.unreadable += 1;
        if !core::mem::replace(&mut self.told, true) {
            let (name, place) = (&self.name, Place(self.endpoint));
            tracing::warn!(
                "{name}, {place}: its answer to the handshake cannot be decrypted: check PresharedKey at both ends"
            );
        }
    }

    /// Gives up waiting, when it is time; the tries go on.
    fn give_up(&mut self, now: Instant, out: &mut Outbox) {
        let Some(attempt) = &mut self.attempt else { return };
        let waited = now - attempt.first;
        if waited < GIVE_UP && attempt.unreadable < UNREADABLE_MAX {
            return;
        }
        attempt.given_up = true;
        out.refused.extend(self.waiting.drain(..));
        if !core::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "{}, {}, does not answer the handshake ({} tries in {} s): check Endpoint and PublicKey, and that the \
                 peer has our public key",
                self.name,
                Place(self.endpoint),
                attempt.tries,
                waited.as_secs()
            );
        }
    }
}

/// Where a peer is, for the log.
struct Place(Option<SocketAddr>);

impl core::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(endpoint) => endpoint.fmt(f),
            None => f.write_str("without an endpoint"),
        }
    }
}
