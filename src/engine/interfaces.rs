//! The two interfaces of an engine, as getifaddrs(3) and if_nametoindex(3) need them.
#![forbid(unsafe_code)]

use super::Engine;
use crate::addressing::{Cidr, Route};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Linux's loopback has this MTU; ours bounds nothing but by the length field.
const LOOPBACK_MTU_SHOWN: usize = 65_536;

/// An interface: which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Path {
    /// Over the link.
    Link,
    /// To ourselves.
    Loopback,
}

impl Path {
    /// Its number (if_nametoindex(3)): the loopback is the first, as everywhere.
    pub const fn index(self) -> u32 {
        match self {
            Path::Loopback => 1,
            Path::Link => 2,
        }
    }

    /// Its name (if_indextoname(3)).
    pub const fn name(self) -> &'static str {
        match self {
            Path::Loopback => "lo",
            Path::Link => "tube0",
        }
    }

    /// The interface with this number.
    pub const fn with_index(index: u32) -> Option<Path> {
        match index {
            1 => Some(Path::Loopback),
            2 => Some(Path::Link),
            _ => None,
        }
    }

    /// The interface that has the address of ours `address`, though what is sent to it never leaves; of everybody and of
    /// groups the link.
    pub(super) const fn of(address: IpAddr) -> Path {
        if address.is_loopback() { Path::Loopback } else { Path::Link }
    }
}

/// An interface and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Which it is.
    pub path: Path,
    /// Addresses with their networks.
    pub addresses: Vec<Cidr>,
    /// Largest packet in bytes.
    pub mtu: usize,
}

impl Engine {
    /// The interfaces, in the order of their numbers.
    pub fn interfaces(&self) -> [Interface; 2] {
        let loopback = vec![Cidr::new(Ipv4Addr::LOCALHOST.into(), 8), Cidr::host(Ipv6Addr::LOCALHOST.into())];
        [
            Interface { path: Path::Loopback, addresses: loopback, mtu: LOOPBACK_MTU_SHOWN },
            Interface {
                path: Path::Link,
                addresses: self.settings.addresses.clone(),
                mtu: self.settings.mtu,
            },
        ]
    }

    /// Ways to other networks than those of the link's addresses.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The interface that has `address`: what IP_ADD_MEMBERSHIP and IP_MULTICAST_IF name it by.
    pub fn interface_of(&self, address: IpAddr) -> Option<Path> {
        self.is_local(address).then(|| Path::of(address))
    }
}
