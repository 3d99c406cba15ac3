//! Which local ports are taken, and by whom: bind's conflicts as on Linux, and ephemeral ports at random (RFC 6056).
//!
//! A port is held by sockets *bound* to it and *used* by connections and TIME-WAIT entries that need no socket bound.
//! Two claims overlap when they share a family and one of them is for any address or both are for the same. An
//! overlap is a conflict unless both have SO_REUSEADDR and, for streams, the other does not listen (Linux's
//! inet_csk_bind_conflict).
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

/// What a socket wants of a port, or has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) id: SocketId,
    /// None for any.
    pub(super) address: Option<IpAddr>,
    /// For any address, whether that of IPv4 is meant, and of IPv6.
    pub(super) v4: bool,
    pub(super) v6: bool,
    pub(super) reuse: bool,
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
}

/// Connections and TIME-WAIT entries of one port, counted by local address and SO_REUSEADDR. An ephemeral port has one,
/// as a rule, and there are many of those; a port of the far side of `nat` has as many as there are servers.
#[derive(Debug, Default)]
enum Uses {
    #[default]
    None,
    One((IpAddr, bool), u32),
    Many(HashMap<(IpAddr, bool), u32>),
}

impl Uses {
    fn add(&mut self, key: (IpAddr, bool)) {
        match self {
            Uses::None => *self = Uses::One(key, 1),
            Uses::One(one, count) if *one == key => *count += 1,
            Uses::One(one, count) => *self = Uses::Many(HashMap::from([(*one, *count), (key, 1)])),
            Uses::Many(many) => *many.entry(key).or_default() += 1,
        }
    }

    fn remove(&mut self, key: (IpAddr, bool)) {
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

    fn any(&self, fits: impl Fn(IpAddr, bool) -> bool) -> bool {
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
    /// Whether `claim` may not have `port`.
    pub(super) fn conflicts(&self, port: u16, claim: &Claim) -> bool {
        self.ports.get(&port).is_some_and(|port| {
            port.claims
                .iter()
                .any(|other| claim.overlaps(other) && (!claim.reuse || !other.reuse || other.listening))
                || port.uses.any(|address, reuse| claim.covers(address) && !(claim.reuse && reuse))
        })
    }

    /// Whether somebody else listens where `claim` is.
    pub(super) fn listened(&self, port: u16, claim: &Claim) -> bool {
        self.ports.get(&port).is_some_and(|port| {
            port.claims.iter().any(|other| other.id != claim.id && other.listening && claim.overlaps(other))
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

    pub(super) fn set_reuse(&mut self, bound: Option<Bound>, id: SocketId, reuse: bool) {
        if let Some(claim) = self.claim_mut(bound, id) {
            claim.reuse = reuse;
        }
    }

    /// A connection uses `port` of `address`.
    pub(super) fn occupy(&mut self, port: u16, address: IpAddr, reuse: bool) {
        self.ports.entry(port).or_default().uses.add((address, reuse));
    }

    /// It does so no more.
    pub(super) fn vacate(&mut self, port: u16, address: IpAddr, reuse: bool) {
        if let Some(entry) = self.ports.get_mut(&port) {
            entry.uses.remove((address, reuse));
        }
        self.forget_if_free(port);
    }

    /// The best claim on `address` and `port` that `fits`: one for this very address before one for any, the newest
    /// of equals.
    pub(super) fn lookup(
        &self,
        port: u16,
        address: IpAddr,
        fits: impl Fn(&Claim) -> bool,
    ) -> Option<SocketId> {
        let claims = &self.ports.get(&port)?.claims;
        let fitting = claims.iter().filter(|claim| claim.covers(address) && fits(claim));
        fitting.max_by_key(|claim| claim.address.is_some()).map(|claim| claim.id)
    }

    /// Everybody who gets what is sent to all on `port`.
    pub(super) fn everyone(&self, port: u16, address: IpAddr) -> impl Iterator<Item = SocketId> + '_ {
        let claims = self.ports.get(&port).map(|port| port.claims.as_slice()).unwrap_or_default();
        claims.iter().filter(move |claim| claim.covers(address)).map(|claim| claim.id)
    }

    /// A random port that `claim` can have.
    pub(super) fn ephemeral(&self, random: &mut Random, claim: &Claim) -> Option<u16> {
        candidates(random.below(u32::MAX)).find(|port| !self.conflicts(*port, claim))
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
            reuse: false,
            listening: false,
        };
        let mut ports = Ports::default();
        for address in [one, other, one] {
            ports.occupy(80, address, false);
            assert!(ports.conflicts(80, &claim(address)));
        }
        for (address, still) in [(one, true), (other, false), (one, false)] {
            ports.vacate(80, address, false);
            assert_eq!(ports.conflicts(80, &claim(address)), still);
        }
        assert!(ports.ports.is_empty());
    }
}
