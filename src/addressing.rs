//! Addresses, routes and name servers of a stack on its link, and the one question asked of them: which way to a
//! destination.
#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and how many of its leading bits are its network's: `192.0.2.1/24`, `2001:db8::1/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// At most 32 for IPv4, 128 for IPv6.
    pub bits: u8,
}

impl Cidr {
    /// Everything of IPv4.
    pub const ALL_V4: Cidr = Cidr { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), bits: 0 };
    /// Everything of IPv6.
    pub const ALL_V6: Cidr = Cidr { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), bits: 0 };

    /// An address, and how many of its leading bits are its network's.
    pub const fn new(address: IpAddr, bits: u8) -> Cidr {
        Cidr { address, bits }
    }

    /// One address alone.
    pub const fn host(address: IpAddr) -> Cidr {
        Cidr { address, bits: bits_of(address) }
    }

    /// The first address of the network.
    pub fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let hosts = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & !hosts).into()
            }
            IpAddr::V6(v6) => {
                let hosts = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & !hosts).into()
            }
        }
    }

    /// Whether the network has `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
            (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        differing.leading_zeros() >= self.bits.into()
    }
}

const fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Cidr {
    type Err = String;

    /// Without `/BITS` it is the one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = address_of(address)?;
        let most = bits_of(address);
        let Some(bits) = bits else { return Ok(Cidr::host(address)) };
        let number = bits.parse().ok().filter(|number| *number <= most && !bits.starts_with('+'));
        let bits = number
            .ok_or_else(|| format!("'{bits}' is no length of a network; write a number from 0 to {most}"))?;
        Ok(Cidr { address, bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// An address where no port can follow: brackets are allowed around IPv6, and not needed.
pub fn address_of(text: &str) -> Result<IpAddr, String> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| format!("'{text}' is no address; write for example 192.0.2.1 or 2001:db8::1"))
}

/// A way to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The destinations.
    pub network: Cidr,
    /// Who passes their packets on; None: they are on the link themselves.
    pub gateway: Option<IpAddr>,
}

impl Route {
    /// The default route by `gateway`.
    pub fn by(gateway: IpAddr) -> Route {
        Route { network: everything_like(gateway), gateway: Some(gateway) }
    }
}

/// Routes to everything over the link.
pub const EVERYTHING: [Route; 2] =
    [Route { network: Cidr::ALL_V4, gateway: None }, Route { network: Cidr::ALL_V6, gateway: None }];

/// 0.0.0.0/0 or ::/0.
fn everything_like(address: IpAddr) -> Cidr {
    if address.is_ipv4() { Cidr::ALL_V4 } else { Cidr::ALL_V6 }
}

impl FromStr for Route {
    type Err = String;

    /// `CIDR[,GATEWAY]`
    fn from_str(text: &str) -> Result<Self, String> {
        let (network, gateway) = match text.split_once(',') {
            Some((network, gateway)) => (network.parse::<Cidr>()?, Some(address_of(gateway)?)),
            None => (text.parse()?, None),
        };
        if gateway.is_some_and(|gateway| gateway.is_ipv4() != network.address.is_ipv4()) {
            return Err("one is IPv4 and the other IPv6; a gateway is of the family of its network".into());
        }
        Ok(Route { network, gateway })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.network)?;
        self.gateway.map_or(Ok(()), |gateway| write!(f, ",{gateway}"))
    }
}

/// What a stack is called on its link, and whom it knows there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addressing {
    /// The stack's own addresses, with their networks.
    pub addresses: Vec<Cidr>,
    /// Ways to other networks. What is on the networks of `addresses` needs none.
    pub routes: Vec<Route>,
    /// In the order in which to ask them.
    pub name_servers: Vec<IpAddr>,
}

/// The least MTU of a link with IPv6 (RFC 8200 5).
pub const MTU_V6: usize = 1280;

impl Addressing {
    /// Whether there is an address of IPv6 among them.
    pub fn has_v6(&self) -> bool {
        self.addresses.iter().any(|own| own.address.is_ipv6())
    }

    /// Takes IPv6 away, as Linux does where the MTU of an interface is too small for it.
    pub fn drop_v6(&mut self) {
        self.addresses.retain(|own| own.address.is_ipv4());
        self.routes.retain(|route| route.network.address.is_ipv4());
    }

    /// Adds a route over the link to everything of each family that has an address and no route: right for a link between
    /// two, where there is only one to send to.
    pub fn route_everything(&mut self) {
        for all in EVERYTHING {
            let of_family = |address: IpAddr| address.is_ipv4() == all.network.address.is_ipv4();
            if self.addresses.iter().any(|own| of_family(own.address))
                && !self.routes.iter().any(|route| of_family(route.network.address))
            {
                self.routes.push(all);
            }
        }
    }
}

/// Whom on the link a packet to `to` goes to: the most specific of the routes says so, the first of equals, and before
/// all of the same length the networks of the stack's own addresses. None: there is no way.
pub fn next_hop(addresses: &[Cidr], routes: &[Route], to: IpAddr) -> Option<IpAddr> {
    let near = addresses.iter().map(|own| Route { network: *own, gateway: None });
    let ways = near.chain(routes.iter().copied()).filter(|route| route.network.contains(to));
    // `max_by_key` takes the last of equals.
    let best = ways.rev().max_by_key(|route| route.network.bits)?;
    Some(best.gateway.unwrap_or(to))
}

/// The address of ours for a packet to `to` by way of `hop`, RFC 6724 5, rules 2 and 5: of the scope of the destination, and
/// of the networks the one that is used.
pub fn source(addresses: &[Cidr], hop: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let mut family = addresses.iter().filter(|own| own.address.is_ipv4() == hop.is_ipv4());
    let near = is_link_local(to);
    let best = family
        .clone()
        .find(|own| own.contains(to) || (own.contains(hop) && is_link_local(own.address) == near))
        .or_else(|| family.clone().find(|own| is_link_local(own.address) == near))
        .or_else(|| family.next());
    best.map(|own| own.address)
}

/// Whether an address is one of IPv6 that holds on its link only.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Whether `address` can be the other end of a connection: not a group, not everybody, not nobody.
pub fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_multicast() || address.is_unspecified() || address.octets()[0] >= 240)
        }
        IpAddr::V6(address) => !(address.is_multicast() || address.is_unspecified()),
    }
}

/// The address that reaches everybody on the subnet of `address`, where IPv4 has one.
pub fn subnet_broadcast(address: IpAddr, prefix: u8) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) if prefix < 31 => {
            Some(Ipv4Addr::from_bits(address.to_bits() | u32::MAX.checked_shr(prefix.into()).unwrap_or(0)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("a network in a test")
    }

    #[test]
    fn networks_as_they_are_written() {
        for text in ["192.0.2.1/24", "0.0.0.0/0", "2001:db8::1/64", "::/0"] {
            assert_eq!(cidr(text).to_string(), text);
        }
        assert_eq!((cidr("192.0.2.1").bits, cidr("[::1]").bits), (32, 128));
        for (text, expected) in [
            ("", "'' is no address"),
            ("10.0.0.0/33", "'33' is no length of a network; write a number from 0 to 32"),
            ("::/129", "'129' is no length"),
            ("::/+1", "'+1' is no length"),
            ("[10.0.0.1]", "'[10.0.0.1]' is no address"),
        ] {
            let error = text.parse::<Cidr>().expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
        assert!(cidr("10.1.0.0/16").contains(cidr("10.1.255.1").address));
        assert!(!cidr("10.1.0.0/16").contains(cidr("10.2.0.1").address));
        assert!(!cidr("0.0.0.0/0").contains(cidr("::1").address));
    }

    #[test]
    fn routes_as_they_are_written() {
        for text in ["10.0.0.0/8", "10.0.0.0/8,192.0.2.1", "::/0,fe80::1"] {
            assert_eq!(text.parse::<Route>().expect("a route").to_string(), text);
        }
        assert!("::/0,192.0.2.1".parse::<Route>().is_err_and(|error| error.starts_with("one is IPv4")));
    }

    #[test]
    fn the_most_specific_way_is_taken() {
        let addresses = [cidr("192.0.2.15/24"), cidr("2001:db8::15/64")];
        let routes: Vec<Route> = [
            "0.0.0.0/0,192.0.2.1",
            "198.51.100.0/24,192.0.2.9",
            "198.51.100.128/25",
            "192.0.2.0/24,192.0.2.1",
        ]
        .map(|route| route.parse().expect("a route"))
        .to_vec();
        for (to, hop) in [
            ("192.0.2.77", Some("192.0.2.77")),
            ("203.0.113.1", Some("192.0.2.1")),
            ("198.51.100.1", Some("192.0.2.9")),
            ("198.51.100.200", Some("198.51.100.200")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("2001:db9::1", None),
        ] {
            let hop = hop.map(|hop| cidr(hop).address);
            assert_eq!(next_hop(&addresses, &routes, cidr(to).address), hop, "{to}");
        }
    }

    #[test]
    fn networks_begin_where_their_hosts_do() {
        for (own, first) in [
            ("10.0.2.15/24", "10.0.2.0"),
            ("10.0.2.15/32", "10.0.2.15"),
            ("10.0.2.15/0", "0.0.0.0"),
            ("fd00::15/64", "fd00::"),
            ("fd00::15/0", "::"),
        ] {
            assert_eq!(cidr(own).first().to_string(), first, "{own}");
        }
    }

    #[test]
    fn without_ipv6_nothing_of_it_is_left() {
        let mut addressing = Addressing {
            addresses: vec![cidr("192.0.2.15/24"), cidr("2001:db8::15/64")],
            routes: vec![Route::by(cidr("192.0.2.1").address), Route::by(cidr("2001:db8::1").address)],
            name_servers: vec![cidr("2001:db8::53").address],
        };
        assert!(addressing.has_v6());
        addressing.drop_v6();
        assert_eq!((addressing.addresses.len(), addressing.routes.len(), addressing.has_v6()), (1, 1, false));
    }

    #[test]
    fn between_two_everything_goes_to_the_other_unless_routes_say_more() {
        let mut addressing = Addressing {
            addresses: vec![cidr("192.0.2.15/24"), cidr("2001:db8::15/64")],
            routes: vec!["2001:db8:1::/48".parse().expect("a route")],
            name_servers: Vec::new(),
        };
        addressing.route_everything();
        let hop = |to: &str| next_hop(&addressing.addresses, &addressing.routes, cidr(to).address);
        assert!(hop("203.0.113.1").is_some() && hop("2001:db8:1::1").is_some());
        assert_eq!(hop("2001:db8:2::1"), None);
    }
}
