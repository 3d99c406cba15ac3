//! What routers advertise (RFC 4861 6.3) and the addresses made of it (RFC 4862): a host's part. The MTU that a router may
//! name, and its reachable and retransmission times, are not taken over. `duplicates` looks whether others have the addresses.
#![forbid(unsafe_code)]

use super::ndp::Advertisement;
use crate::addressing::{Cidr, Route};
use crate::time::Instant;
use core::time::Duration;
use std::net::{IpAddr, Ipv6Addr};

/// RFC 4861 10: RTR_SOLICITATION_INTERVAL, MAX_RTR_SOLICITATIONS. The first interval is shorter: a program waits.
const INTERVAL: Duration = Duration::from_secs(4);
const FIRST_INTERVAL: Duration = Duration::from_millis(250);
const SOLICITATIONS: u32 = 3;

/// Of each kind; what routers say beyond is not believed.
const ENTRIES_MAX: usize = 16;
/// RFC 4862: of 64 bits are the interface's own.
const PREFIX_BITS: u8 = 64;
/// RFC 4862 5.5.3 (e): no router shortens the life of an address to less, for anybody may pretend to be one.
const LIFETIME_KEPT: Duration = Duration::from_secs(2 * 3600);
/// As good as for ever (RFC 4861 4.6.2).
const LIFETIME_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What routers said, each with the time until when it holds.
#[derive(Debug)]
pub(super) struct Advertised {
    /// The lower half of our addresses.
    interface: u64,
    solicited: u32,
    solicit_at: Option<Instant>,
    routers: Vec<(Ipv6Addr, Instant)>,
    addresses: Vec<(Cidr, Instant)>,
    /// On the link, without an address of ours.
    networks: Vec<(Cidr, Instant)>,
    name_servers: Vec<(Ipv6Addr, Instant)>,
}

impl Advertised {
    /// Nothing yet, of an interface whose addresses end like `own`.
    pub(super) fn new(own: Ipv6Addr, now: Instant) -> Advertised {
        Advertised {
            interface: own.to_bits() as u64,
            solicited: 0,
            solicit_at: Some(now),
            routers: Vec::new(),
            addresses: Vec::new(),
            networks: Vec::new(),
            name_servers: Vec::new(),
        }
    }

    /// Whether routers are to be asked now.
    pub(super) fn must_solicit(&mut self, now: Instant) -> bool {
        if self.solicit_at.is_none_or(|at| at > now) {
            return false;
        }
        let interval = if self.solicited == 0 { FIRST_INTERVAL } else { INTERVAL };
        self.solicited += 1;
        self.solicit_at = (self.solicited < SOLICITATIONS).then(|| now + interval);
        true
    }

    /// Forgets what holds no longer. Whether there was any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.count();
        self.routers.retain(|(_, until)| *until > now);
        self.addresses.retain(|(_, until)| *until > now);
        self.networks.retain(|(_, until)| *until > now);
        self.name_servers.retain(|(_, until)| *until > now);
        self.count() != before
    }

    fn count(&self) -> usize {
        self.routers.len() + self.addresses.len() + self.networks.len() + self.name_servers.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let addresses = self.addresses.iter().chain(&self.networks).map(|(_, until)| *until);
        let others = self.routers.iter().chain(&self.name_servers).map(|(_, until)| *until);
        addresses.chain(others).chain(self.solicit_at).min()
    }

    /// Takes an advertisement. Whether it said anything new.
    pub(super) fn take(&mut self, advertisement: &Advertisement, now: Instant) -> bool {
        self.solicit_at = None;
        let until = |seconds: u32| now + Duration::from_secs(seconds.into()).min(LIFETIME_MAX);
        let mut changed =
            note(&mut self.routers, advertisement.from, until(advertisement.lifetime.into()), now);
        for prefix in &advertisement.prefixes {
            let until = until(prefix.lifetime);
            if prefix.is_for_addresses && prefix.network.bits == PREFIX_BITS {
                let address = self.address_in(prefix.network);
                // What is not on the link is behind the router, our own address's neighbours too.
                let bits = if prefix.is_on_link { PREFIX_BITS } else { 128 };
                let address = Cidr::new(address, bits);
                let until = self.kept_until(address, until, now);
                changed |= note(&mut self.addresses, address, until, now);
            } else if prefix.is_on_link {
                changed |= note(&mut self.networks, prefix.network, until, now);
            }
        }
        for (server, lifetime) in &advertisement.name_servers {
            changed |= note(&mut self.name_servers, *server, until(*lifetime), now);
        }
        changed
    }

    /// Until when an address holds of which a router says `until`.
    fn kept_until(&self, address: Cidr, until: Instant, now: Instant) -> Instant {
        let known = self.addresses.iter().find(|(known, _)| *known == address);
        known.map_or(until, |(_, known)| until.max((*known).min(now + LIFETIME_KEPT)))
    }

    fn address_in(&self, network: Cidr) -> IpAddr {
        let IpAddr::V6(network) = network.address else { return network.address };
        let high = network.to_bits() >> 64 << 64;
        Ipv6Addr::from_bits(high | u128::from(self.interface)).into()
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = Cidr> {
        self.addresses.iter().map(|(address, _)| *address)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        let networks = self.networks.iter().map(|(network, _)| Route { network: *network, gateway: None });
        networks.chain(self.routers.iter().map(|(router, _)| Route::by((*router).into())))
    }

    pub(super) fn name_servers(&self) -> impl Iterator<Item = IpAddr> {
        self.name_servers.iter().map(|(server, _)| (*server).into())
    }
}

/// Notes until when something holds, which may be now: then it is forgotten. Whether it comes or goes.
fn note<T: PartialEq>(list: &mut Vec<(T, Instant)>, what: T, until: Instant, now: Instant) -> bool {
    let found = list.iter().position(|(known, _)| *known == what);
    match (found, until > now) {
        (Some(at), true) => {
            list[at].1 = until;
            false
        }
        (Some(at), false) => {
            list.remove(at);
            true
        }
        (None, true) if list.len() < ENTRIES_MAX => {
            list.push((what, until));
            true
        }
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ndp::Prefix;
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000 + 1)
    }

    fn address(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    fn advertisement(lifetime: u16, prefix_lifetime: u32) -> Advertisement {
        let prefix = Prefix {
            network: "2001:db8:7::/64".parse().expect("a network"),
            is_on_link: true,
            is_for_addresses: true,
            lifetime: prefix_lifetime,
        };
        Advertisement {
            from: address("fe80::1"),
            mac: None,
            lifetime,
            prefixes: vec![prefix],
            name_servers: vec![(address("2001:db8:7::53"), 600)],
        }
    }

    #[test]
    fn addresses_are_made_of_prefixes_and_expire() {
        let mut advertised = Advertised::new(address("fe80::a:b:c:d"), at(0));
        assert!(advertised.must_solicit(at(0)) && !advertised.must_solicit(at(0)));
        assert!(advertised.take(&advertisement(1800, 100), at(1)));
        assert!(!advertised.take(&advertisement(1800, 100), at(2)), "nothing new");
        assert_eq!(
            advertised.addresses().next().map(|own| own.to_string()),
            Some("2001:db8:7:0:a:b:c:d/64".into())
        );
        assert_eq!(advertised.routes().next().map(|route| route.to_string()), Some("::/0,fe80::1".into()));
        assert_eq!(advertised.name_servers().next(), Some(address("2001:db8:7::53").into()));
        assert!(!advertised.must_solicit(at(50)), "it was answered");
        assert_eq!(advertised.deadline(), Some(at(102)));
        assert!(advertised.expire(at(102)) && advertised.addresses().next().is_none());
        assert!(advertised.take(&advertisement(0, 0), at(103)), "the router is none any more");
        assert!(advertised.routes().next().is_none());
    }

    #[test]
    fn no_router_takes_an_address_away_at_once() {
        const HOUR: u32 = 3600;
        // What an address has left, what a router says, and what it has then (RFC 4862 5.5.3 (e)).
        for (left, said, kept) in [
            (24 * HOUR, 0, 2 * HOUR),
            (24 * HOUR, HOUR, 2 * HOUR),
            (24 * HOUR, 3 * HOUR, 3 * HOUR),
            (HOUR, 0, HOUR),
            (HOUR, 60, HOUR),
            (HOUR, HOUR + 1, HOUR + 1),
        ] {
            let mut advertised = Advertised::new(address("fe80::1"), at(0));
            let only = |lifetime| Advertisement { name_servers: Vec::new(), ..advertisement(0, lifetime) };
            advertised.take(&only(left), at(0));
            assert!(!advertised.take(&only(said), at(0)), "{left} {said}");
            assert_eq!(advertised.deadline(), Some(at(kept.into())), "{left} {said}");
        }
    }

    #[test]
    fn routers_are_asked_three_times() {
        let mut advertised = Advertised::new(address("fe80::1"), at(0));
        let mut times = Vec::new();
        while let Some(due) = advertised.deadline() {
            assert!(advertised.must_solicit(due));
            times.push(due);
        }
        assert_eq!(times, [at(0), at(0) + FIRST_INTERVAL, at(0) + FIRST_INTERVAL + INTERVAL]);
    }

    #[test]
    fn what_is_believed_is_bounded() {
        let mut advertised = Advertised::new(address("fe80::1"), at(0));
        for number in 0..100u16 {
            let mut from = advertisement(1800, 100);
            from.from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number);
            from.name_servers = vec![(from.from, 600)];
            advertised.take(&from, at(1));
        }
        assert_eq!(advertised.count(), ENTRIES_MAX * 2 + 1);
    }
}
