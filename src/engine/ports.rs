//! Which local ports are taken, and by whom: bind's conflicts as on Linux, and ephemeral ports at random (RFC 6056).
//!
//! A port is held by sockets *bound* to it and *used* by connections and TIME-WAIT entries that need no socket bound.
//! Two claims overlap when they share a family and one of them is for any address or both are for the same. An
//! overlap is a conflict unless both have SO_REUSEPORT, or both have SO_REUSEADDR and, for streams, the other does not
//! listen (Linux's inet_bind_conflict and udp_lib_lport_inuse; whose sockets they are is no question in one stack).
//!
//! Of several that fit, the one for the very address comes before one for any, one of the family before one of both, the
//! newest of equals before the others; but sockets with SO_REUSEPORT that are alike are a group, and share what comes by a
//! hash of who sent it.
#![forbid(unsafe_code)]

use super::SocketId;
use super::address::Random;
use super::socket::Bound;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

/// Linux's ip_local_port_range.
const EPHEMERAL: core::ops::RangeInclusive<u16> = 32768..=60999;
const EPHEMERAL_COUNT: u32 = (*EPHEMERAL.end() - *EPHEMERAL.start()) as u32 + 1;

/// With whom a socket shares its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reuse {
    /// SO_REUSEADDR
    pub(super) address: bool,
    /// SO_REUSEPORT
    pub(super) port: bool,
}

impl Reuse {
    const NEVER: Reuse = Reuse { address: false, port: false };

    /// Whether two that overlap get along, neither listening.
    fn agrees(self, other: Reuse) -> bool {
        (self.address && other.address) || (self.port && other.port)
    }
}

/// What a socket wants of a port, or has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) id: SocketId,
    /// None for any.
    pub(super) address: Option<IpAddr>,
    /// For any address, whether that of IPv4 is meant, and of IPv6.
    pub(super) v4: bool,
    pub(super) v6: bool,
    pub(super) reuse: Reuse,
    pub(super) listening: bool,
}

impl Claim {
    fn covers(&self, address: IpAddr) -> bool {
        match self.address {
            Some(own) => own == address,
            None if address.is_ipv4() => self.v4,
            None => self.v6,
        }
    }

    fn overlaps(&self, other: &Claim) -> bool {
        match (self.address, other.address) {
            (None, None) => (self.v4 && other.v4) || (self.v6 && other.v6),
            (Some(address), _) => other.covers(address),
            (_, Some(address)) => self.covers(address),
        }
    }

    fn conflicts(&self, other: &Claim) -> bool {
        let shared = if other.listening {
            self.reuse.port && other.reuse.port
        } else {
            self.reuse.agrees(other.reuse)
        };
        self.overlaps(other) && !shared
    }

    /// How well it fits a packet to `address`, which it covers (Linux's compute_score).
    fn score(&self, address: IpAddr) -> (bool, bool) {
        (self.address.is_some(), address.is_ipv4() && !self.v6)
    }

    /// Whether the two are of one SO_REUSEPORT group.
    fn is_alike(&self, other: &Claim) -> bool {
        let place = |claim: &Claim| (claim.address, claim.v4, claim.v6, claim.reuse.port);
        place(self) == place(other) && self.reuse.port
    }
}

/// Connections and TIME-WAIT entries of one port, counted by local address and with whom they share. An ephemeral port has one,
/// as a rule, and there are many of those; a port of the far side of `nat` has as many as there are servers.
#[derive(Debug, Default)]
enum Uses {
    #[default]
    None,
    One((IpAddr, Reuse), u32),
    Many(HashMap<(IpAddr, Reuse), u32>),
}

impl Uses {
    fn add(&mut self, key: (IpAddr, Reuse)) {
        match self {
            Uses::None => *self = Uses::One(key, 1),
            Uses::One(one, count) if *one == key => *count += 1,
            Uses::One(one, count) => *self = Uses::Many(HashMap::from([(*one, *count), (key, 1)])),
            Uses::Many(many) => *many.entry(key).or_default() += 1,
        }
    }

    fn remove(&mut self, key: (IpAddr, Reuse)) {
        match self {
            Uses::One(one, count) if *one == key => {
                *count -= 1;
                if *count == 0 {
                    *self = Uses::None;
                }
            }
            Uses::None | Uses::One(..) => {}
            Uses::Many(many) => {
                if let Entry::Occupied(mut entry) = many.entry(key) {
                    *entry.get_mut() -= 1;
                    if *entry.get() == 0 {
                        entry.remove();
                    }
                }
                if many.is_empty() {
                    *self = Uses::None;
                }
            }
        }
    }

    fn any(&self, fits: impl Fn(IpAddr, Reuse) -> bool) -> bool {
        match self {
            Uses::None => false,
            Uses::One((address, reuse), _) => fits(*address, *reuse),
            Uses::Many(many) => many.keys().any(|(address, reuse)| fits(*address, *reuse)),
        }
    }
}

#[derive(Debug, Default)]
struct Port {
    claims: Vec<Claim>,
    uses: Uses,
}

/// The ports of one protocol.
#[derive(Debug, Default)]
pub(super) struct Ports {
    ports: HashMap<u16, Port>,
}

impl Ports {
    /// Whether `claim` may not have `port`, because of others.
    pub(super) fn conflicts(&self, port: u16, claim: &Claim) -> bool {
        self.ports.get(&port).is_some_and(|port| {
            port.claims.iter().any(|other| other.id != claim.id && claim.conflicts(other))
                || port.uses.any(|address, reuse| claim.covers(address) && !claim.reuse.agrees(reuse))
        })
    }

    /// Whether any socket is bound to `port` where `claim` would be.
    pub(super) fn bound(&self, port: u16, claim: &Claim) -> bool {
        self.ports.get(&port).is_some_and(|port| port.claims.iter().any(|other| claim.overlaps(other)))
    }

    pub(super) fn bind(&mut self, port: u16, claim: Claim) {
        self.ports.entry(port).or_default().claims.push(claim);
    }

    pub(super) fn unbind(&mut self, bound: Option<Bound>, id: SocketId) {
        let Some(bound) = bound else { return };
        if let Some(port) = self.ports.get_mut(&bound.port) {
            port.claims.retain(|claim| claim.id != id);
        }
        self.forget_if_free(bound.port);
    }

    fn forget_if_free(&mut self, number: u16) {
        if self
            .ports
            .get(&number)
            .is_some_and(|port| port.claims.is_empty() && matches!(port.uses, Uses::None))
        {
            self.ports.remove(&number);
        }
    }

    fn claim_mut(&mut self, bound: Option<Bound>, id: SocketId) -> Option<&mut Claim> {
        self.ports.get_mut(&bound?.port)?.claims.iter_mut().find(|claim| claim.id == id)
    }

    pub(super) fn set_listening(&mut self, bound: Option<Bound>, id: SocketId) {
        if let Some(claim) = self.claim_mut(bound, id) {
            claim.listening = true;
        }
    }

    pub(super) fn set_reuse(&mut self, bound: Option<Bound>, id: SocketId, reuse: Reuse) {
        if let Some(claim) = self.claim_mut(bound, id) {
            claim.reuse = reuse;
        }
    }

    /// A connection uses `port` of `address`.
    pub(super) fn occupy(&mut self, port: u16, address: IpAddr, reuse: Reuse) {
        self.ports.entry(port).or_default().uses.add((address, reuse));
    }

    /// It does so no more.
    pub(super) fn vacate(&mut self, port: u16, address: IpAddr, reuse: Reuse) {
        if let Some(entry) = self.ports.get_mut(&port) {
            entry.uses.remove((address, reuse));
        }
        self.forget_if_free(port);
    }

    /// The best claim on `address` and `port` that `fits`. `spread` is the hash by which a group shares.
    pub(super) fn lookup(
        &self,
        port: u16,
        address: IpAddr,
        fits: impl Fn(&Claim) -> bool,
        spread: impl FnOnce() -> u32,
    ) -> Option<SocketId> {
        let claims = &self.ports.get(&port)?.claims;
        let fitting = || claims.iter().filter(|claim| claim.covers(address) && fits(claim));
        let best = fitting().max_by_key(|claim| claim.score(address))?;
        if !best.reuse.port {
            return Some(best.id);
        }
        let group = || fitting().filter(|claim| claim.is_alike(best));
        // The product's upper half is a number below the count, and as likely as any other.
        let chosen = (u64::from(spread()) * group().count() as u64) >> 32;
        group().nth(chosen as usize).map(|claim| claim.id)
    }

    /// Everybody who gets what is sent to all on `port`.
    pub(super) fn everyone(&self, port: u16, address: IpAddr) -> impl Iterator<Item = SocketId> + '_ {
        let claims = self.ports.get(&port).map(|port| port.claims.as_slice()).unwrap_or_default();
        claims.iter().filter(move |claim| claim.covers(address)).map(|claim| claim.id)
    }

    /// A random port that `claim` can have to itself: nobody shares one by chance (inet_csk_find_open_port).
    pub(super) fn ephemeral(&self, random: &mut Random, claim: &Claim) -> Option<u16> {
        let alone = Claim { reuse: Reuse::NEVER, ..*claim };
        candidates(random.below(u32::MAX)).find(|port| !self.conflicts(*port, &alone))
    }
}

/// The ephemeral ports, each once, from the one that `start` stands for.
pub(super) fn candidates(start: u32) -> impl Iterator<Item = u16> {
    (0..EPHEMERAL_COUNT)
        .map(move |turn| EPHEMERAL.start() + (start.wrapping_add(turn) % EPHEMERAL_COUNT) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_when_all_uses_have_ended() {
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().expect("an address"));
        let claim = |address| Claim {
            id: SocketId(1),
            address: Some(address),
            v4: true,
            v6: false,
            reuse: Reuse::NEVER,
            listening: false,
        };
        let mut ports = Ports::default();
        for address in [one, other, one] {
            ports.occupy(80, address, Reuse::NEVER);
            assert!(ports.conflicts(80, &claim(address)));
        }
        for (address, still) in [(one, true), (other, false), (one, false)] {
            ports.vacate(80, address, Reuse::NEVER);
            assert_eq!(ports.conflicts(80, &claim(address)), still);
        }
        assert!(ports.ports.is_empty());
    }
}
