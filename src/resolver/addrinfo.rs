//! The rules of getaddrinfo(3): a host and a service become a list of addresses with socket types, as glibc gives it.
//! Values in and out; the C structures are made in `abi::names`.
#![forbid(unsafe_code)]

use super::hosts::Mapped;
use super::{Failure, Family, Host, LookupError, Resolver, files, numeric, order};
use libc::{
    AF_INET, AF_INET6, AF_UNSPEC, AI_ADDRCONFIG, AI_ALL, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV,
    AI_PASSIVE, AI_V4MAPPED, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, SOCK_DGRAM, SOCK_RAW,
    SOCK_SEQPACKET, SOCK_STREAM, c_int,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// netdb.h; libc has no names for the first two, and the third does nothing any more.
const AI_IDN: c_int = 0x40;
const AI_CANONIDN: c_int = 0x80;
const AI_IDN_DEPRECATED: c_int = 0x300;
const AI_KNOWN: c_int = AI_PASSIVE
    | AI_CANONNAME
    | AI_NUMERICHOST
    | AI_V4MAPPED
    | AI_ALL
    | AI_ADDRCONFIG
    | AI_IDN
    | AI_CANONIDN
    | AI_IDN_DEPRECATED
    | AI_NUMERICSERV;

const SOCK_DCCP: c_int = 6;
const IPPROTO_DCCP: c_int = 33;

/// The hints of getaddrinfo(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// ai_flags
    pub flags: c_int,
    /// ai_family
    pub family: c_int,
    /// ai_socktype, 0 for any
    pub socket_type: c_int,
    /// ai_protocol, 0 for any
    pub protocol: c_int,
}

impl Default for Hints {
    /// What a null pointer for hints means to glibc; POSIX would have no flags.
    fn default() -> Self {
        Hints { flags: AI_V4MAPPED | AI_ADDRCONFIG, family: AF_UNSPEC, socket_type: 0, protocol: 0 }
    }
}

impl Hints {
    fn has(&self, flag: c_int) -> bool {
        self.flags & flag != 0
    }
}

/// One element of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// ai_socktype
    pub socket_type: c_int,
    /// ai_protocol
    pub protocol: c_int,
    /// ai_addr
    pub address: SocketAddr,
}

/// The list, with the canonical name that its first element carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList {
    /// ai_canonname of the first element.
    pub canonical_name: Option<String>,
    /// One at least.
    pub entries: Vec<Entry>,
}

/// What a hint may mean: the rows that glibc has, in its order.
struct Transport {
    socket_type: c_int,
    /// 0: whatever the hints say.
    protocol: c_int,
    /// In /etc/services. Raw sockets have no services.
    name: Option<&'static str>,
    /// In the list when the hints leave type and protocol open and the port is a number.
    by_default: bool,
}

const TRANSPORTS: [Transport; 7] = [
    Transport { socket_type: SOCK_STREAM, protocol: IPPROTO_TCP, name: Some("tcp"), by_default: true },
    Transport { socket_type: SOCK_DGRAM, protocol: IPPROTO_UDP, name: Some("udp"), by_default: true },
    Transport { socket_type: SOCK_DCCP, protocol: IPPROTO_DCCP, name: Some("dccp"), by_default: false },
    Transport {
        socket_type: SOCK_DGRAM,
        protocol: IPPROTO_UDPLITE,
        name: Some("udplite"),
        by_default: false,
    },
    Transport { socket_type: SOCK_STREAM, protocol: IPPROTO_SCTP, name: Some("sctp"), by_default: false },
    Transport { socket_type: SOCK_SEQPACKET, protocol: IPPROTO_SCTP, name: Some("sctp"), by_default: false },
    Transport { socket_type: SOCK_RAW, protocol: 0, name: None, by_default: true },
];

impl Transport {
    fn suits(&self, hints: &Hints) -> bool {
        (hints.socket_type == 0 || hints.socket_type == self.socket_type)
            && (hints.protocol == 0 || self.protocol == 0 || hints.protocol == self.protocol)
    }

    fn with_port(&self, port: u16, hints: &Hints) -> Endpoint {
        let protocol = if self.protocol == 0 { hints.protocol } else { self.protocol };
        Endpoint { socket_type: self.socket_type, protocol, port }
    }
}

/// A socket type, a protocol and a port: what each address is combined with.
struct Endpoint {
    socket_type: c_int,
    protocol: c_int,
    port: u16,
}

/// An address with its scope id, 0 for none.
type Scoped = (IpAddr, u32);

/// The addresses of a host.
struct Addresses {
    canonical_name: String,
    list: Vec<Scoped>,
}

impl Resolver<'_> {
    /// getaddrinfo(3). A numeric host and one of /etc/hosts are found without the network.
    pub fn address_list(
        &self,
        host: Option<&str>,
        service: Option<&str>,
        hints: Hints,
    ) -> Result<AddressList, LookupError> {
        let host = host.filter(|name| *name != "*");
        let service = service.filter(|name| *name != "*");
        let family = self.family(host, service, &hints)?;
        let endpoints = self.endpoints(service.filter(|name| !name.is_empty()), &hints)?;
        let mut addresses = match host {
            Some(name) => self.addresses_of(name, family, &hints)?,
            None => own_addresses(family, hints.has(AI_PASSIVE)),
        };
        if addresses.list.len() > 1 {
            order::sort(&mut addresses.list, |(address, _)| *address, &self.network.addresses());
        }
        let entries = addresses.list.iter().flat_map(|&(address, scope)| {
            endpoints.iter().map(move |endpoint| Entry {
                socket_type: endpoint.socket_type,
                protocol: endpoint.protocol,
                address: socket_address(address, endpoint.port, scope),
            })
        });
        Ok(AddressList {
            canonical_name: hints.has(AI_CANONNAME).then_some(addresses.canonical_name),
            entries: entries.collect(),
        })
    }

    /// Checks the arguments in glibc's order; gives the family to look for.
    fn family(
        &self,
        host: Option<&str>,
        service: Option<&str>,
        hints: &Hints,
    ) -> Result<Family, LookupError> {
        if host.is_none() && service.is_none() {
            return Err(LookupError::NoName);
        }
        if hints.flags & !AI_KNOWN != 0 || (hints.has(AI_CANONNAME) && host.is_none()) {
            return Err(LookupError::BadFlags);
        }
        let family = match hints.family {
            AF_UNSPEC => Family::Unspecified,
            AF_INET => Family::Inet,
            AF_INET6 => Family::Inet6,
            _ => return Err(LookupError::Family),
        };
        let family = if hints.has(AI_ADDRCONFIG) { self.configured(family)? } else { family };
        let not_numeric = service.is_some_and(|name| !name.is_empty() && numeric::service(name).is_none());
        if hints.has(AI_NUMERICSERV) && not_numeric {
            return Err(LookupError::NoName);
        }
        Ok(family)
    }

    /// AI_ADDRCONFIG: no addresses of a family that the stack has none of.
    fn configured(&self, family: Family) -> Result<Family, LookupError> {
        let own = self.network.addresses();
        let has_4 = own.iter().any(|source| source.address.is_ipv4());
        let has_6 = own.iter().any(|source| source.address.is_ipv6());
        match (family, has_4, has_6) {
            (Family::Unspecified, true, false) => Ok(Family::Inet),
            (Family::Unspecified, false, true) => Ok(Family::Inet6),
            (Family::Inet, false, _) | (Family::Inet6, _, false) => Err(LookupError::NoName),
            _ => Ok(family),
        }
    }

    fn endpoints(&self, service: Option<&str>, hints: &Hints) -> Result<Vec<Endpoint>, LookupError> {
        let is_open = hints.socket_type == 0 && hints.protocol == 0;
        let Some(first) = TRANSPORTS.iter().find(|transport| transport.suits(hints)) else {
            return Err(if hints.socket_type != 0 { LookupError::SocketType } else { LookupError::Service });
        };
        let Some(service) = service else {
            return Ok(endpoints_at(0, first, is_open, hints));
        };
        if !is_open && first.name.is_none() {
            return Err(LookupError::Service);
        }
        if let Some(port) = numeric::port(service) {
            return Ok(endpoints_at(port, first, is_open, hints));
        }
        let services = self.machine.text("/etc/services").unwrap_or_default();
        let candidates = if is_open { &TRANSPORTS[..] } else { std::slice::from_ref(first) };
        let found: Vec<_> = candidates
            .iter()
            .filter_map(|transport| {
                let port = files::service_by_name(&services, service, transport.name?)?;
                Some(transport.with_port(port, hints))
            })
            .collect();
        if found.is_empty() { Err(LookupError::Service) } else { Ok(found) }
    }

    fn addresses_of(&self, name: &str, family: Family, hints: &Hints) -> Result<Addresses, LookupError> {
        if hints.has(AI_IDN) && !name.is_ascii() {
            return Err(LookupError::IdnEncode);
        }
        if let Some(address) = self.numeric_address(name, family, hints)? {
            return Ok(Addresses { canonical_name: name.to_owned(), list: vec![address] });
        }
        if hints.has(AI_NUMERICHOST) || name.is_empty() {
            return Err(LookupError::NoName);
        }
        let mapped = match (hints.has(AI_V4MAPPED), hints.has(AI_ALL)) {
            (false, _) => Mapped::Never,
            (true, false) => Mapped::Otherwise,
            (true, true) => Mapped::Always,
        };
        let Host { name, addresses, .. } =
            self.look_up(name, family, mapped).map_err(|failure| match failure {
                // gethostbyname2(3) answers in place of the others here, and its NO_RECOVERY is taken for NO_DATA.
                Failure::Unrelated if family == Family::Inet && !hints.has(AI_CANONNAME) => {
                    LookupError::NoData
                }
                failure => failure.into(),
            })?;
        Ok(Addresses {
            canonical_name: name,
            list: addresses.into_iter().map(|address| (address, 0)).collect(),
        })
    }

    /// The address that a numeric `name` writes, in the family that is wanted.
    fn numeric_address(
        &self,
        name: &str,
        family: Family,
        hints: &Hints,
    ) -> Result<Option<Scoped>, LookupError> {
        if let Some(four) = numeric::ipv4(name) {
            return match family {
                Family::Inet | Family::Unspecified => Ok(Some((four.into(), 0))),
                Family::Inet6 if hints.has(AI_V4MAPPED) => Ok(Some((four.to_ipv6_mapped().into(), 0))),
                Family::Inet6 => Err(LookupError::AddressFamily),
            };
        }
        let Some((six, scope)) = numeric::ipv6(name) else { return Ok(None) };
        let address: IpAddr = match (family, six.to_ipv4_mapped()) {
            (Family::Inet6 | Family::Unspecified, _) => six.into(),
            (Family::Inet, Some(four)) => four.into(),
            (Family::Inet, None) => return Err(LookupError::AddressFamily),
        };
        let interface_index = |name: &str| self.network.interface_index(name);
        let scope = match scope {
            Some(text) => numeric::scope(six, text, &interface_index).ok_or(LookupError::NoName)?,
            None => 0,
        };
        Ok(Some((address, scope)))
    }
}

/// The endpoints at a port that is a number.
fn endpoints_at(port: u16, first: &Transport, is_open: bool, hints: &Hints) -> Vec<Endpoint> {
    if !is_open {
        return vec![first.with_port(port, hints)];
    }
    let by_default = TRANSPORTS.iter().filter(|transport| transport.by_default);
    by_default.map(|transport| transport.with_port(port, hints)).collect()
}

/// Without a host: loopback to connect to, the unspecified address to listen on.
fn own_addresses(family: Family, passive: bool) -> Addresses {
    let six = if passive { Ipv6Addr::UNSPECIFIED } else { Ipv6Addr::LOCALHOST }.into();
    let four = if passive { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST }.into();
    let list = match family {
        Family::Inet => vec![(four, 0)],
        Family::Inet6 => vec![(six, 0)],
        Family::Unspecified => vec![(six, 0), (four, 0)],
    };
    Addresses { canonical_name: String::new(), list }
}

fn socket_address(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V4(four) => SocketAddr::new(four.into(), port),
        IpAddr::V6(six) => SocketAddrV6::new(six, port, 0, scope).into(),
    }
}

impl From<Failure> for LookupError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::HostNotFound | Failure::NoRecovery | Failure::Unrelated => LookupError::NoName,
            Failure::NoData => LookupError::NoData,
            Failure::ServerFailed | Failure::TimedOut => LookupError::Again,
            Failure::System(error) => LookupError::System(error),
        }
    }
}
