//! Which addresses are whose, the 4-tuple, and the keyed hash and random numbers that peers cannot foresee.
#![forbid(unsafe_code)]

use super::{Domain, Engine};
use crate::error::{Error, Result};
use crate::ip;
use crate::tcp::Sequence;
use crate::time::Instant;
use core::hash::{BuildHasher, Hash, Hasher};
use siphasher::sip::SipHasher13;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The two ends of a connection, in the families that are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FourTuple {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Hash for FourTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = (u32::from(self.local.port()) << 16) | u32::from(self.remote.port());
        // One write for IPv4, which is nearly every packet: the standard library's takes six.
        match (self.local.ip(), self.remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let addresses = (u128::from(local.to_bits()) << 32) | u128::from(remote.to_bits());
                state.write_u128((addresses << 32) | u128::from(ports));
            }
            (local, remote) => {
                local.hash(state);
                remote.hash(state);
                state.write_u32(ports);
            }
        }
    }
}

/// SipHash under a key that is the engine's own (no peer can aim at a bucket).
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed([u8; 16]);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.0)
    }
}

/// Numbers that cannot be foreseen without the seed: SipHash of a counter.
#[derive(Debug)]
pub(super) struct Random {
    key: Keyed,
    drawn: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 16]) -> Random {
        Random { key: Keyed(seed), drawn: 0 }
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        self.drawn += 1;
        let drawn = self.key.hash_one(("draw", self.drawn)) as u32;
        ((u64::from(drawn) * u64::from(bound)) >> 32) as u32
    }

    /// A hash under a key of its own.
    pub(super) fn keyed(&self) -> Keyed {
        let half = |name: &str| self.key.hash_one(name).to_le_bytes();
        let mut key = [0; 16];
        key[..8].copy_from_slice(&half("first half"));
        key[8..].copy_from_slice(&half("second half"));
        Keyed(key)
    }

    /// RFC 6528: a clock plus a keyed hash of the 4-tuple. The clock ticks every 1/16 µs (Linux's does every 64 ns):
    /// it must outrun what a short connection sends before its 4-tuple comes again.
    pub(super) fn initial_sequence(&self, tuple: &FourTuple, now: Instant) -> Sequence {
        let clock = now.micros().wrapping_mul(16) as u32;
        Sequence(clock.wrapping_add(self.key.hash_one(("sequence", tuple)) as u32))
    }

    /// Where the search for an ephemeral port starts, by destination.
    pub(super) fn port_offset(&self, local: IpAddr, remote: SocketAddr) -> u32 {
        self.key.hash_one(("port", local, remote)) as u32
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
        address.is_loopback() || self.settings.addresses.iter().any(|(own, _)| *own == address)
    }

    /// Whether `address` is everybody, on the link or on a subnet of ours.
    pub(super) fn is_broadcast(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        address.is_broadcast()
            || self.settings.addresses.iter().any(|(own, prefix)| {
                ip::subnet_broadcast(*own, *prefix) == Some(address) && IpAddr::V4(address) != *own
            })
    }

    /// The address that a packet to `remote` comes from when its socket has none (RFC 1122 3.3.4.3).
    pub(super) fn source_for(&self, remote: IpAddr) -> Result<IpAddr> {
        if remote.is_loopback() {
            return Ok(loopback(remote));
        }
        if self.is_local(remote) {
            return Ok(remote);
        }
        let mut family = self.settings.addresses.iter().filter(|(own, _)| own.is_ipv4() == remote.is_ipv4());
        let first = family.clone().next();
        family
            .find(|(own, prefix)| same_subnet(*own, remote, *prefix))
            .or(first)
            .map(|(own, _)| *own)
            .ok_or(Error::NetworkUnreachable)
    }
}

fn same_subnet(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differing = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differing.leading_zeros() >= u32::from(prefix)
}
