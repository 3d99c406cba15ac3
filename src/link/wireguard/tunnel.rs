//! All peers behind one socket, without the socket: packets go in and datagrams come out, and the other way round.
//!
//! ```text
//!   program's packet ─► whose is the destination? ─► that peer ─► datagrams for its endpoint
//!                       nobody's, or it is silent: refused
//!
//!   datagram ─► mac1, load? ─► whose is the index? the key? ─► that peer ─► is the source one of its? ─► packet
//!               cookie back                                        └─► datagrams: answers
//! ```
//!
//! A data message carries an index that we gave out: its upper 24 bits are the peer's place, counted from a random start,
//! the lower ones its session (boringtun's). A handshake's first message names its sender by public key.
//!
//! Out: what arrives is not checked beyond its source; the engine looks at the packet.
#![forbid(unsafe_code)]

use super::allowed::Allowed;
use super::configuration::Configuration;
use super::key::Key;
pub use super::peer::Outbox;
use super::peer::{DATA, Peer};
use crate::link::Packet;
use crate::time::Instant;
use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Packet as Message, Tunn, TunnResult};
use core::time::Duration;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Default MTU, Linux's and wg-quick's: 1500 less 80, of IPv6, UDP and what encryption adds.
pub(super) const MTU: usize = 1420;

/// Handshake messages a second, from everybody together, before cookies are asked for. Each counts twice, here and with its
/// peer.
const HANDSHAKES: u64 = 2 * 100;
/// Bytes of a cookie message.
const COOKIE_LENGTH: usize = 64;
/// Longest datagram, and what boringtun's answers need.
const SPACE: usize = 65_536;

/// From one tick to the next: while a handshake is under way or packets come, and otherwise.
const TICK: Duration = Duration::from_millis(250);
const SLOW_TICK: Duration = Duration::from_secs(1);

/// REJECT_AFTER_MESSAGES (protocol, 6.1): a session's counter never gets there.
const COUNTER_MAX: u64 = u64::MAX - (1 << 13);

/// What happened to datagrams and packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that are no message of the protocol, or for nobody here.
    pub foreign: u64,
    /// Messages that a peer did not accept: not authentic, too old, or seen before.
    pub unauthentic: u64,
    /// Packets whose source is none of their peer's AllowedIPs.
    pub not_allowed: u64,
    /// Packets that no peer takes.
    pub unroutable: u64,
}

/// The tunnel.
pub struct Tunnel {
    private_key: Key,
    public_key: Key,
    peers: Vec<Peer>,
    by_key: HashMap<[u8; 32], usize>,
    allowed: Allowed,
    limiter: Arc<RateLimiter>,
    first_index: u32,
    space: Vec<u8>,
    ticked: Option<Instant>,
    /// What it has to give: to be emptied after each call.
    pub out: Outbox,
    /// What happened so far.
    pub counters: Counters,
}

impl Tunnel {
    /// Peers at these endpoints, in the order of the configuration. `file` is for the log, `random` for what nobody
    /// should guess.
    pub fn new(
        configuration: &Configuration,
        endpoints: &[Option<SocketAddr>],
        file: &str,
        random: u32,
    ) -> Tunnel {
        let private_key = configuration.private_key.clone();
        let public_key = private_key.public();
        let limiter = Arc::new(RateLimiter::new(&public_key.as_public(), HANDSHAKES));
        let mtu = configuration.mtu.unwrap_or(MTU);
        let first_index = random >> 8;
        let mut tunnel = Tunnel {
            private_key,
            public_key,
            peers: Vec::new(),
            by_key: HashMap::new(),
            allowed: Allowed::default(),
            limiter,
            first_index,
            space: vec![0; SPACE],
            ticked: None,
            out: Outbox::default(),
            counters: Counters::default(),
        };
        for (place, peer) in configuration.peers.iter().enumerate() {
            let index = (first_index.wrapping_add(place as u32) & INDEX_MASK, tunnel.limiter.clone());
            let endpoint = endpoints.get(place).copied().flatten();
            tunnel.peers.push(Peer::new(peer, &configuration.private_key, endpoint, index, (file, mtu)));
            tunnel.by_key.insert(*peer.public_key.bytes(), place);
            peer.allowed.iter().for_each(|network| tunnel.allowed.insert(*network, place));
        }
        tunnel
    }

    /// Sends a packet of the program's.
    pub fn send(&mut self, packet: Packet, now: Instant) {
        self.advance(now);
        let peer = Tunn::dst_address(&packet).and_then(|address| self.allowed.peer_of(address));
        match peer.and_then(|place| self.peers.get_mut(place)) {
            Some(peer) => peer.send(packet, now, &mut self.out),
            None => {
                self.counters.unroutable += 1;
                self.out.refused.push_back(packet);
            }
        }
    }

    /// Takes a datagram from the network; gives the packet in it.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) -> Option<&[u8]> {
        self.advance(now);
        let Some(place) = self.addressee(datagram, from) else {
            self.counters.foreign += 1;
            return None;
        };
        let peer = self.peers.get_mut(place)?;
        match peer.receive(datagram, from, &mut self.space, now, &mut self.out) {
            Ok(Some((packet, source))) if self.allowed.peer_of(source) == Some(place) => Some(packet),
            Ok(Some(_)) => {
                self.counters.not_allowed += 1;
                None
            }
            Ok(None) => None,
            Err(_) => {
                self.counters.unauthentic += 1;
                None
            }
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Instant) {
        if self.ticked.is_some_and(|ticked| now - ticked < TICK) {
            return;
        }
        self.ticked = Some(now);
        self.limiter.reset_count();
        for peer in &mut self.peers {
            peer.tick(now, &mut self.out);
        }
    }

    /// When `advance` should be called.
    pub fn deadline(&self) -> Option<Instant> {
        let Some(ticked) = self.ticked else { return Some(Instant::ZERO) };
        let awake = self.peers.iter().any(|peer| peer.is_awake(ticked));
        let opening = self.peers.iter().any(Peer::is_opening);
        awake.then(|| ticked + if opening { TICK } else { SLOW_TICK })
    }

    /// Whether packets of the program's wait for a handshake.
    pub fn has_waiting(&self) -> bool {
        self.peers.iter().any(Peer::has_waiting)
    }

    /// Whose a datagram is, before anything is believed of it but the first message of a handshake, whose sender has to
    /// be decrypted.
    fn addressee(&mut self, datagram: &[u8], from: SocketAddr) -> Option<usize> {
        let mut cookie = [0; COOKIE_LENGTH];
        let index = match self.limiter.verify_packet(Some(from.ip()), datagram, &mut cookie) {
            Ok(Message::HandshakeInit(message)) => {
                let (private, public) = (self.private_key.secret(), self.public_key.as_public());
                let sender = parse_handshake_anon(&private, &public, &message).ok()?;
                return self.by_key.get(&sender.peer_static_public).copied();
            }
            Ok(Message::HandshakeResponse(message)) => message.receiver_idx,
            Ok(Message::PacketCookieReply(message)) => message.receiver_idx,
            Ok(Message::PacketData(message)) => message.receiver_idx,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                self.out.datagrams.push_back((from, cookie.to_vec()));
                return None;
            }
            Err(_) => return None,
        };
        let place = (index >> 8).wrapping_sub(self.first_index) & INDEX_MASK;
        Some(place as usize).filter(|place| *place < self.peers.len() && !is_overrun(datagram))
    }
}

/// An index without its session's eight bits.
const INDEX_MASK: u32 = 0xff_ffff;

/// Whether a data message has a counter that no session reaches. boringtun does not look.
fn is_overrun(datagram: &[u8]) -> bool {
    match datagram {
        [DATA, _, _, _, _, _, _, _, counter @ ..] => {
            counter.first_chunk().is_some_and(|counter| u64::from_le_bytes(*counter) > COUNTER_MAX)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
