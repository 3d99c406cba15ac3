//! Maps by 4-tuple: the one look-up that a packet costs.
//!
//! The key is packed, 12 bytes for IPv4 and 36 for IPv6, each family in a map of its own. The hash is foldhash under a key
//! of 128 bits from the engine's seed: a third of what SipHash-1-3 costs, which would be a tenth of all that is spent on
//! a packet. It has no proof behind it as SipHash has, and needs less: a peer that wants long chains has to find
//! collisions of a secret function whose values it never sees, with keys of which it may choose some 48 bits.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use core::hash::{BuildHasher, Hash, Hasher};
use foldhash::SharedSeed;
use foldhash::fast::{FoldHasher, SeedableRandomState};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;

/// The half of the key that foldhash wants to live for ever. The first engine of the process sets it for all.
static SHARED: OnceLock<SharedSeed> = OnceLock::new();

/// The hash and its key.
#[derive(Clone)]
pub(super) struct Keyed(SeedableRandomState);

impl Keyed {
    pub(super) fn new(key: [u64; 2]) -> Keyed {
        let shared = SHARED.get_or_init(|| SharedSeed::from_u64(key[0]));
        Keyed(SeedableRandomState::with_seed(key[1], shared))
    }
}

impl BuildHasher for Keyed {
    type Hasher = FoldHasher<'static>;
    fn build_hasher(&self) -> FoldHasher<'static> {
        self.0.build_hasher()
    }
}

/// Local address, remote address, ports.
#[derive(Clone, Copy, PartialEq, Eq)]
struct V4([u32; 3]);

impl Hash for V4 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [local, remote, ports] = self.0;
        state.write_u64((u64::from(local) << 32) | u64::from(remote));
        state.write_u32(ports);
    }
}

/// The addresses in halves: whole, they would want to be aligned, and take 48 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct V6 {
    addresses: [u64; 4],
    ports: u32,
}

impl Hash for V6 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addresses.iter().for_each(|half| state.write_u64(*half));
        state.write_u32(self.ports);
    }
}

enum Key {
    V4(V4),
    V6(V6),
}

/// Both addresses are of one family everywhere in the engine; a tuple of two would have a key as well, of its own.
#[inline(always)]
fn key(tuple: &FourTuple) -> Key {
    let ports = (u32::from(tuple.local.port()) << 16) | u32::from(tuple.remote.port());
    match (tuple.local.ip(), tuple.remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => Key::V4(V4([local.to_bits(), remote.to_bits(), ports])),
        (local, remote) => {
            let [(a, b), (c, d)] = [local, remote].map(halves);
            Key::V6(V6 { addresses: [a, b, c, d], ports })
        }
    }
}

fn halves(address: IpAddr) -> (u64, u64) {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    ((bits >> 64) as u64, bits as u64)
}

/// A map by 4-tuple.
pub(super) struct Tuples<T> {
    v4: HashMap<V4, T, Keyed>,
    v6: HashMap<V6, T, Keyed>,
}

impl<T> Tuples<T> {
    pub(super) fn new(keyed: &Keyed) -> Tuples<T> {
        Tuples { v4: HashMap::with_hasher(keyed.clone()), v6: HashMap::with_hasher(keyed.clone()) }
    }

    /// Inline, so that the tuple is taken from where it lies.
    #[inline(always)]
    pub(super) fn get(&self, tuple: &FourTuple) -> Option<&T> {
        match key(tuple) {
            Key::V4(key) => self.v4.get(&key),
            Key::V6(key) => self.v6.get(&key),
        }
    }

    pub(super) fn get_mut(&mut self, tuple: &FourTuple) -> Option<&mut T> {
        match key(tuple) {
            Key::V4(key) => self.v4.get_mut(&key),
            Key::V6(key) => self.v6.get_mut(&key),
        }
    }

    pub(super) fn contains(&self, tuple: &FourTuple) -> bool {
        self.get(tuple).is_some()
    }

    pub(super) fn insert(&mut self, tuple: &FourTuple, value: T) -> Option<T> {
        match key(tuple) {
            Key::V4(key) => self.v4.insert(key, value),
            Key::V6(key) => self.v6.insert(key, value),
        }
    }

    pub(super) fn remove(&mut self, tuple: &FourTuple) -> Option<T> {
        match key(tuple) {
            Key::V4(key) => self.v4.remove(&key),
            Key::V6(key) => self.v6.remove(&key),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(local: &str, remote: &str) -> FourTuple {
        FourTuple { local: local.parse().expect("an address"), remote: remote.parse().expect("an address") }
    }

    #[test]
    fn every_part_of_a_tuple_counts() {
        let mut map = Tuples::new(&Keyed::new([1, 2]));
        let all = [
            ("1.2.3.4:5", "6.7.8.9:10"),
            ("1.2.3.4:10", "6.7.8.9:5"),
            ("6.7.8.9:5", "1.2.3.4:10"),
            ("1.2.3.4:5", "6.7.8.8:10"),
            ("[::1]:5", "[::2]:10"),
            ("[::2]:5", "[::1]:10"),
            ("[1::1]:5", "[::2]:10"),
            ("[::ffff:1.2.3.4]:5", "[::ffff:6.7.8.9]:10"),
        ]
        .map(|(local, remote)| tuple(local, remote));
        for (number, tuple) in all.iter().enumerate() {
            assert_eq!(map.insert(tuple, number), None, "{tuple:?}");
        }
        assert_eq!(map.len(), all.len());
        for (number, tuple) in all.iter().enumerate() {
            *map.get_mut(tuple).expect("inserted") += 100;
            assert_eq!(map.get(tuple), Some(&(number + 100)));
            assert_eq!((map.remove(tuple), map.contains(tuple)), (Some(number + 100), false));
        }
    }

    /// What a peer may choose freely, its address and port, spreads over the table.
    #[test]
    fn neighbouring_tuples_do_not_collide() {
        let keyed = Keyed::new([3, 4]);
        let mut buckets = vec![0u32; 1 << 12];
        for low in 0..4096u32 {
            let hash = keyed.hash_one(V4([0x0a00_0002, 0x0a00_0003 + (low >> 6), 0x0050_0000 + (low & 63)]));
            buckets[(hash & 0xfff) as usize] += 1;
        }
        // A random function would put 8 into one of 4096 buckets in about one run of 25, and 12 in one of 250,000.
        let fullest = buckets.iter().max().copied();
        assert!(fullest < Some(12), "{fullest:?}");
    }
}
