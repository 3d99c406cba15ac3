//! Which addresses are whose, the 4-tuple, and the keyed hash and random numbers that peers cannot foresee.
#![forbid(unsafe_code)]

use super::{Domain, Engine};
use crate::addressing;
use crate::addressing::subnet_broadcast;
use crate::error::{Error, Result};
use crate::tcp::{Segment, Sequence};
use crate::time::Instant;
use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher13;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The two ends of a connection, in the families that are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FourTuple {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl FourTuple {
    /// That of the connection to which a segment that arrived belongs.
    pub(super) fn of(segment: &Segment) -> FourTuple {
        FourTuple { local: segment.destination, remote: segment.source }
    }
}

/// Numbers that cannot be foreseen without the seed: SipHash of a counter.
#[derive(Debug)]
pub(super) struct Random {
    key: SipHasher13,
    drawn: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 16]) -> Random {
        Random { key: SipHasher13::new_with_key(&seed), drawn: 0 }
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.drawn += 1;
        let drawn = self.hash(("draw", self.drawn)) as u32;
        ((u64::from(drawn) * u64::from(bound)) >> 32) as u32
    }

    /// Two words of a key for a purpose of its own.
    pub(super) fn key(&self, purpose: &str) -> [u64; 2] {
        [0u8, 1].map(|half| self.hash((purpose, half)))
    }

    fn hash(&self, what: impl Hash) -> u64 {
        let mut hasher = self.key;
        what.hash(&mut hasher);
        hasher.finish()
    }

    /// RFC 6528: a clock plus a keyed hash of the 4-tuple. The clock ticks every 1/16 µs (Linux's does every 64 ns):
    /// it must outrun what a short connection sends before its 4-tuple comes again.
    pub(super) fn initial_sequence(&self, tuple: &FourTuple, now: Instant) -> Sequence {
        let clock = now.micros().wrapping_mul(16) as u32;
        Sequence(clock.wrapping_add(self.hash(("sequence", tuple)) as u32))
    }

    /// What is added to the clock for timestamps, so that they tell nobody how long we have been running (RFC 7323 7.1). The
    /// same for all connections between two addresses, as on Linux: the peer's TIME-WAIT believes what is newer.
    pub(super) fn timestamp_offset(&self, tuple: &FourTuple) -> u32 {
        self.hash(("timestamps", tuple.local.ip(), tuple.remote.ip())) as u32
    }

    /// What the identification of a packet in fragments is: never 0.
    pub(super) fn identification(&mut self) -> u32 {
        let [high, low] = [0; 2].map(|_: u32| self.below(0xffff) + 1);
        high << 16 | low
    }

    /// What chooses among the sockets that share a port by SO_REUSEPORT.
    pub(super) fn spread(&self, tuple: &FourTuple) -> u32 {
        self.hash(("spread", tuple)) as u32
    }

    /// Where the search for an ephemeral port starts, by destination.
    pub(super) fn port_offset(&self, local: IpAddr, remote: SocketAddr) -> u32 {
        self.hash(("port", local, remote)) as u32
    }
}

/// The loopback address of the family of `like`.
pub(super) fn loopback(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// An address of a program's socket in the family that goes on the wire: a v4-mapped one becomes IPv4.
pub(super) fn wire(domain: Domain, v6_only: bool, address: SocketAddr) -> Result<SocketAddr> {
    match (domain, address) {
        (Domain::V4, SocketAddr::V4(_)) => Ok(address),
        (Domain::V6, SocketAddr::V6(v6)) => match v6.ip().to_ipv4_mapped() {
            Some(_) if v6_only => Err(Error::NetworkUnreachable),
            Some(mapped) => Ok(SocketAddr::new(mapped.into(), v6.port())),
            None => Ok(SocketAddr::new(IpAddr::V6(*v6.ip()), v6.port())),
        },
        (Domain::V4, SocketAddr::V6(_)) | (Domain::V6, SocketAddr::V4(_)) => {
            Err(Error::AddressFamilyNotSupported)
        }
    }
}

/// The inverse of `wire`: an IPv4 address as a V6 socket shows it.
pub(super) fn present(domain: Domain, address: SocketAddr) -> SocketAddr {
    match (domain, address) {
        (Domain::V6, SocketAddr::V4(v4)) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        _ => address,
    }
}

impl Engine {
    /// Whether `address` is our own: what is sent to it does not leave.
    pub(super) fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.settings.addresses.iter().any(|own| own.address == address)
    }

    /// Whether `address` is everybody, on the link or on a subnet of ours.
    pub(super) fn is_broadcast(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        const LOOPBACK_ALL: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
        address.is_broadcast()
            || address == LOOPBACK_ALL
            || self.settings.addresses.iter().any(|own| {
                subnet_broadcast(own.address, own.bits) == Some(address) && IpAddr::V4(address) != own.address
            })
    }

    /// Whether `address` is on the link: what is for it goes to nobody else there (RT_SCOPE_LINK).
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        self.next_hop(address) == Some(address)
    }

    /// Whether `address` is not one host's: everybody, or a group.
    pub(super) fn is_for_many(&self, address: IpAddr) -> bool {
        address.is_multicast() || self.is_broadcast(address)
    }

    /// The address that a packet to `remote` comes from when its socket has none (RFC 1122 3.3.4.3).
    pub(super) fn source_for(&self, remote: IpAddr) -> Result<IpAddr> {
        if remote.is_loopback() {
            return Ok(loopback(remote));
        }
        if self.is_local(remote) {
            return Ok(remote);
        }
        let hop = self.next_hop(remote).ok_or(Error::NetworkUnreachable)?;
        addressing::source(&self.settings.addresses, hop, remote).ok_or(Error::NetworkUnreachable)
    }

    /// Whom on the link a packet to `remote` goes to. Everybody and groups need no route.
    pub(super) fn next_hop(&self, remote: IpAddr) -> Option<IpAddr> {
        if self.is_for_many(remote) {
            return Some(remote);
        }
        addressing::next_hop(&self.settings.addresses, &self.routes, remote)
    }
}
