//! The interfaces that a program sees: the loopback inside its stack, and the one that the link is behind. Their names and
//! numbers are known from the start; what addresses the second one has its host knows.
#![forbid(unsafe_code)]

use crate::addressing::{Cidr, Route};
use crate::engine::Path;
use crate::host::{self, Network};
use libc::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An interface, as far as it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// At most 15 bytes.
    pub name: &'static str,
    /// From 1 on.
    pub index: u32,
    /// IFF_UP and its like (netdevice(7)).
    pub flags: c_int,
    /// ARPHRD_LOOPBACK and its like.
    pub hardware: u16,
    /// Bytes of a hardware address, all zero.
    pub hardware_length: u8,
}

const LOOPBACK: Interface = Interface {
    name: Path::Loopback.name(),
    index: 1,
    flags: libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_LOOPBACK,
    hardware: libc::ARPHRD_LOOPBACK,
    hardware_length: 6,
};

/// All of them, by index.
pub const INTERFACES: [Interface; 2] = [
    LOOPBACK,
    Interface {
        name: Path::Link.name(),
        index: 2,
        flags: libc::IFF_UP | libc::IFF_RUNNING | libc::IFF_BROADCAST | libc::IFF_MULTICAST,
        hardware: libc::ARPHRD_NONE,
        hardware_length: 0,
    },
];

/// What an interface has at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Addresses with their networks.
    pub addresses: Vec<Cidr>,
    /// Largest packet in bytes.
    pub mtu: u32,
}

impl Interface {
    /// What it has at the moment.
    pub fn state(&self) -> State {
        if *self == LOOPBACK {
            let addresses =
                vec![Cidr::new(Ipv4Addr::LOCALHOST.into(), 8), Cidr::host(Ipv6Addr::LOCALHOST.into())];
            return State { addresses, mtu: 65_536 };
        }
        State::on(&host::network())
    }
}

/// All that can be asked of interfaces, as it is at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Each with what it has.
    pub interfaces: [(Interface, State); 2],
    /// Ways to other networks than those of the addresses, over the link.
    pub routes: Vec<Route>,
}

impl View {
    /// That of the stack.
    pub fn now() -> View {
        let [loopback, link] = INTERFACES;
        let network = host::network();
        let interfaces = [(loopback, loopback.state()), (link, State::on(&network))];
        View { interfaces, routes: network.routes }
    }
}

impl State {
    /// Of the link.
    fn on(network: &Network) -> State {
        State { addresses: network.addresses.clone(), mtu: network.mtu as u32 }
    }

    /// The first address of IPv4, which the requests of netdevice(7) show.
    pub fn first_v4(&self) -> Option<(Ipv4Addr, u8)> {
        self.addresses.iter().find_map(|own| match own.address {
            IpAddr::V4(address) => Some((address, own.bits)),
            IpAddr::V6(_) => None,
        })
    }
}

/// The interface of a name.
pub fn by_name(name: &[u8]) -> Option<&'static Interface> {
    INTERFACES.iter().find(|interface| interface.name.as_bytes() == name)
}

/// The interface of a number.
pub fn by_index(index: u32) -> Option<&'static Interface> {
    INTERFACES.iter().find(|interface| interface.index == index)
}

/// The mask of a prefix.
pub fn mask(address: IpAddr, length: u8) -> IpAddr {
    let above = |bits: u32| u32::from(length).min(bits);
    match address {
        IpAddr::V4(_) => Ipv4Addr::from(u32::MAX.checked_shl(32 - above(32)).unwrap_or(0)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(u128::MAX.checked_shl(128 - above(128)).unwrap_or(0)).into(),
    }
}

/// The broadcast address of an IPv4 prefix.
pub fn broadcast(address: Ipv4Addr, length: u8) -> Ipv4Addr {
    let hosts = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) | hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_broadcasts() {
        let table = [
            (0, "0.0.0.0", "255.255.255.255"),
            (24, "255.255.255.0", "10.0.2.255"),
            (32, "255.255.255.255", "10.0.2.15"),
        ];
        for (length, expected, all) in table {
            let address = Ipv4Addr::new(10, 0, 2, 15);
            assert_eq!(mask(address.into(), length).to_string(), expected);
            assert_eq!(broadcast(address, length).to_string(), all);
        }
        assert_eq!(mask(Ipv6Addr::LOCALHOST.into(), 64).to_string(), "ffff:ffff:ffff:ffff::");
        assert_eq!(mask(Ipv6Addr::LOCALHOST.into(), 128), IpAddr::V6(u128::MAX.into()));
    }
}
