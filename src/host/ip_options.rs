//! The options of IPPROTO_IP and IPPROTO_IPV6 (ip(7), ipv6(7)): what each means here. What changes packets goes to the
//! engine; what is shown with a datagram (IP_RECVTTL and its like) is written into its header by the bridge.
//!
//! As on Linux an int may come as one byte at level IPPROTO_IP, and a small one goes out as one byte to who has no more
//! room. IP_OPTIONS and whole lists of sources (IP_MSFILTER) are not here: ENOPROTOOPT.
#![forbid(unsafe_code)]

use super::Inner;
use super::options::{Value, flag, number, unknown};
use crate::addressing::Cidr;
use crate::bridge::name::Identity;
use crate::bridge::options::IpOptions;
use crate::engine::{Domain, Kind, Path, PathMtuDiscovery, SocketId, SocketOption};
use crate::error::{Error, Result};
use crate::sys;
use libc::{IPPROTO_IP, IPPROTO_IPV6, c_int};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP_PMTUDISC_DONT and its like, by number.
const DISCOVERIES: [PathMtuDiscovery; 6] = [
    PathMtuDiscovery::Dont,
    PathMtuDiscovery::Want,
    PathMtuDiscovery::Do,
    PathMtuDiscovery::Probe,
    PathMtuDiscovery::Interface,
    PathMtuDiscovery::Omit,
];
const HOPS_DEFAULT: c_int = 64;
/// RFC 8200 5
const MTU_MIN: c_int = 1280;

/// linux/netfilter_ipv4.h
const SO_ORIGINAL_DST: c_int = 80;

/// Membership options that libc does not name.
const IP_MULTICAST_ALL: c_int = 49;
const IPV6_MULTICAST_ALL: c_int = 29;
const IP_UNBLOCK_SOURCE: c_int = 37;
const IP_BLOCK_SOURCE: c_int = 38;
const MCAST_JOIN_GROUP: c_int = 42;
const MCAST_BLOCK_SOURCE: c_int = 43;
const MCAST_LEAVE_GROUP: c_int = 45;
const MCAST_JOIN_SOURCE_GROUP: c_int = 46;
const MCAST_LEAVE_SOURCE_GROUP: c_int = 47;

/// What takes an int at level IPPROTO_IPV6: of these a shorter value is EINVAL, of others it does not matter.
const KNOWN_V6: [c_int; 16] = [
    libc::IPV6_FREEBIND,
    libc::IPV6_MINHOPCOUNT,
    libc::IPV6_V6ONLY,
    libc::IPV6_UNICAST_HOPS,
    libc::IPV6_TCLASS,
    libc::IPV6_RECVHOPLIMIT,
    libc::IPV6_RECVTCLASS,
    libc::IPV6_RECVPKTINFO,
    libc::IPV6_RECVERR,
    libc::IPV6_MTU_DISCOVER,
    libc::IPV6_MULTICAST_HOPS,
    libc::IPV6_MULTICAST_LOOP,
    libc::IPV6_MULTICAST_IF,
    libc::IPV6_ADD_MEMBERSHIP,
    libc::IPV6_DROP_MEMBERSHIP,
    IPV6_MULTICAST_ALL,
];

/// getsockopt(2)
pub(super) fn get(inner: &mut Inner, identity: &Identity, level: c_int, name: c_int) -> Result<Value> {
    let options = inner.socket(identity.id)?.options;
    match level {
        IPPROTO_IP => get_v4(inner, identity, &options.ip.v4, name),
        _ if identity.domain == Domain::V4 => Err(Error::NotSupported),
        _ => get_v6(inner, identity, &options.ip.v6, name),
    }
}

fn get_v4(inner: &mut Inner, identity: &Identity, options: &IpOptions, name: c_int) -> Result<Value> {
    let datagrams = identity.kind != Kind::Stream;
    Ok(match name {
        libc::IP_TTL => Value::Small(options.hops.map_or(HOPS_DEFAULT, c_int::from)),
        libc::IP_TOS => Value::Small(options.traffic_class.into()),
        libc::IP_RECVTTL => small_flag(options.shows_hops),
        libc::IP_RECVTOS => small_flag(options.shows_class),
        libc::IP_PKTINFO => small_flag(options.shows_destination),
        libc::IP_RETOPTS => small_flag(options.shows_options),
        libc::IP_RECVERR => small_flag(options.reports),
        libc::IP_MTU_DISCOVER => Value::Small(options.discovery as c_int),
        libc::IP_MINTTL => Value::Small(options.minimum_hops.into()),
        libc::IP_FREEBIND => small_flag(inner.socket(identity.id)?.options.any_address),
        libc::IP_BIND_ADDRESS_NO_PORT if !datagrams => {
            small_flag(inner.socket(identity.id)?.options.port_later)
        }
        // There is no NAT behind which another would be.
        SO_ORIGINAL_DST if !datagrams => return Err(Error::Kernel(libc::ENOENT)),
        libc::IP_MTU => Value::Number(path_mtu(inner, identity)?),
        libc::IP_MULTICAST_TTL => Value::Small(options.multicast_hops.map_or(1, c_int::from)),
        libc::IP_MULTICAST_LOOP => small_flag(!options.multicast_quiet),
        libc::IP_MULTICAST_IF if datagrams => {
            Value::Bytes(address_of(inner, options.multicast_path).octets().to_vec())
        }
        IP_MULTICAST_ALL => small_flag(!options.multicast_own),
        // No options were set, and none can be.
        libc::IP_OPTIONS => Value::Bytes(Vec::new()),
        _ => return Err(unknown(IPPROTO_IP, name)),
    })
}

fn small_flag(set: bool) -> Value {
    Value::Small(c_int::from(set))
}

/// What IP_MULTICAST_IF shows: the address of the interface that was set.
fn address_of(inner: &Inner, path: Option<Path>) -> Ipv4Addr {
    let interfaces = inner.engine.interfaces();
    let set = interfaces.iter().find(|interface| Some(interface.path) == path);
    match set.and_then(|interface| interface.addresses.first()) {
        Some(Cidr { address: IpAddr::V4(address), .. }) => *address,
        _ => Ipv4Addr::UNSPECIFIED,
    }
}

fn get_v6(inner: &mut Inner, identity: &Identity, options: &IpOptions, name: c_int) -> Result<Value> {
    Ok(match name {
        libc::IPV6_V6ONLY => flag(inner.socket(identity.id)?.options.v6_only),
        libc::IPV6_UNICAST_HOPS => Value::Number(options.hops.map_or(HOPS_DEFAULT, c_int::from)),
        libc::IPV6_TCLASS => Value::Number(options.traffic_class.into()),
        libc::IPV6_RECVHOPLIMIT => flag(options.shows_hops),
        libc::IPV6_RECVTCLASS => flag(options.shows_class),
        libc::IPV6_RECVPKTINFO => flag(options.shows_destination),
        libc::IPV6_RECVERR => flag(options.reports),
        libc::IPV6_MTU_DISCOVER => Value::Number(options.discovery as c_int),
        libc::IPV6_MINHOPCOUNT => Value::Number(options.minimum_hops.into()),
        libc::IPV6_FREEBIND => flag(inner.socket(identity.id)?.options.any_address),
        libc::IPV6_MTU => Value::Number(path_mtu(inner, identity)?),
        libc::IPV6_MULTICAST_HOPS => Value::Number(options.multicast_hops.map_or(1, c_int::from)),
        libc::IPV6_MULTICAST_LOOP => flag(!options.multicast_quiet),
        libc::IPV6_MULTICAST_IF => {
            Value::Number(options.multicast_path.map_or(0, |path| path.index() as c_int))
        }
        IPV6_MULTICAST_ALL => flag(!options.multicast_own),
        _ => return Err(unknown(IPPROTO_IPV6, name)),
    })
}

/// Of a connected socket only.
fn path_mtu(inner: &Inner, identity: &Identity) -> Result<c_int> {
    let mtu = inner.engine.path_mtu(identity.id, sys::now())?;
    Ok(c_int::try_from(mtu).unwrap_or(c_int::MAX))
}

/// setsockopt(2)
pub(super) fn set(
    inner: &mut Inner,
    identity: &Identity,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> Result<()> {
    match level {
        IPPROTO_IP => set_v4(inner, identity, name, value),
        // ip_setsockopt's answer, and no news for the log: programs try it on every socket.
        _ if identity.domain == Domain::V4 => Err(Error::NoSuchOption),
        _ => set_v6(inner, identity, name, value),
    }
}

/// An int, or the one byte that stands for it; nothing is zero.
pub(super) fn small(value: &[u8]) -> c_int {
    number(value).unwrap_or_else(|_| value.first().copied().unwrap_or(0).into())
}

/// Of these no value at all is EINVAL.
const NOT_EMPTY_V4: [c_int; 5] =
    [libc::IP_MINTTL, libc::IP_FREEBIND, libc::IP_MULTICAST_TTL, libc::IP_MULTICAST_LOOP, IP_MULTICAST_ALL];

fn set_v4(inner: &mut Inner, identity: &Identity, name: c_int, value: &[u8]) -> Result<()> {
    if let Some(set) = set_group_v4(inner, identity, name, value) {
        return set;
    }
    if value.is_empty() && NOT_EMPTY_V4.contains(&name) {
        return Err(Error::InvalidArgument);
    }
    let datagrams = identity.kind != Kind::Stream;
    let mut options = inner.socket(identity.id)?.options.ip.v4;
    match (name, small(value)) {
        (libc::IP_MULTICAST_IF, _) if datagrams => {
            options.multicast_path = multicast_interface_v4(inner, value)?
        }
        (libc::IP_FREEBIND, number) => {
            return inner.set_options(identity.id, |options| options.any_address = number != 0);
        }
        (libc::IP_BIND_ADDRESS_NO_PORT, number) if !datagrams => {
            return inner.set_options(identity.id, |options| options.port_later = number != 0);
        }
        (name, number) => set_number_v4(&mut options, datagrams, name, number)?,
    }
    inner.set_options(identity.id, |all| all.ip.v4 = options)?;
    apply(inner, identity.id, Domain::V4)
}

/// What a group is joined, left and heard by; None for other options.
fn set_group_v4(inner: &mut Inner, identity: &Identity, name: c_int, value: &[u8]) -> Option<Result<()>> {
    Some(match name {
        libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP => {
            let joins = name == libc::IP_ADD_MEMBERSHIP;
            membership_v4(inner, value)
                .and_then(|(group, path)| membership(inner, identity, joins, group.into(), None, path))
        }
        libc::IP_ADD_SOURCE_MEMBERSHIP | libc::IP_DROP_SOURCE_MEMBERSHIP => {
            let joins = name == libc::IP_ADD_SOURCE_MEMBERSHIP;
            source_membership_v4(inner, value).and_then(|(group, source, path)| {
                membership(inner, identity, joins, group.into(), Some(source.into()), path)
            })
        }
        IP_BLOCK_SOURCE | IP_UNBLOCK_SOURCE => {
            let blocked = name == IP_BLOCK_SOURCE;
            source_membership_v4(inner, value).and_then(|(group, source, path)| {
                block(inner, identity, blocked, group.into(), source.into(), path)
            })
        }
        MCAST_JOIN_GROUP..=MCAST_LEAVE_SOURCE_GROUP => any_membership(inner, identity, name, value),
        _ => return None,
    })
}

/// What an int says all of, of a stream's options or of datagrams'.
fn set_number_v4(options: &mut IpOptions, datagrams: bool, name: c_int, number: c_int) -> Result<()> {
    let on = number != 0;
    match name {
        libc::IP_MINTTL => options.minimum_hops = minimum_hops(number)?,
        libc::IP_TTL => options.hops = hops(number, 1)?,
        // The bits of ECN are TCP's own.
        libc::IP_TOS if !datagrams => options.traffic_class = number as u8 & !3,
        libc::IP_TOS => options.traffic_class = number as u8,
        libc::IP_RECVTTL => options.shows_hops = on,
        libc::IP_RECVTOS => options.shows_class = on,
        libc::IP_PKTINFO => options.shows_destination = on,
        libc::IP_RECVERR => options.reports = on,
        libc::IP_MTU_DISCOVER => options.discovery = discovery(number)?,
        libc::IP_MULTICAST_TTL if datagrams => options.multicast_hops = hops(number, 0)?,
        libc::IP_MULTICAST_TTL => return Err(Error::InvalidArgument),
        libc::IP_MULTICAST_LOOP => options.multicast_quiet = !on,
        IP_MULTICAST_ALL if (0..=1).contains(&number) => options.multicast_own = !on,
        IP_MULTICAST_ALL => return Err(Error::InvalidArgument),
        // Shows the options of a header, of which ours never has any.
        libc::IP_RETOPTS => options.shows_options = on,
        _ => return Err(unknown(IPPROTO_IP, name)),
    }
    Ok(())
}

fn set_v6(inner: &mut Inner, identity: &Identity, name: c_int, value: &[u8]) -> Result<()> {
    if matches!(name, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) {
        // struct ipv6_mreq: group, interface
        let (group, index) = value.split_first_chunk::<16>().ok_or(Error::InvalidArgument)?;
        let path = interface_numbered(number(index)?)?;
        let group = IpAddr::V6(Ipv6Addr::from(*group));
        return membership(inner, identity, name == libc::IPV6_ADD_MEMBERSHIP, group, None, path);
    }
    if (MCAST_JOIN_GROUP..=MCAST_LEAVE_SOURCE_GROUP).contains(&name) {
        return any_membership(inner, identity, name, value);
    }
    let number = number(value)
        .map_err(|error| if KNOWN_V6.contains(&name) { error } else { unknown(IPPROTO_IPV6, name) })?;
    let on = number != 0;
    let change: &dyn Fn(&mut IpOptions) = match name {
        libc::IPV6_V6ONLY => return inner.set_options(identity.id, |options| options.v6_only = on),
        libc::IPV6_FREEBIND => return inner.set_options(identity.id, |options| options.any_address = on),
        libc::IPV6_MINHOPCOUNT => {
            let hops = minimum_hops(number)?;
            &move |options| options.minimum_hops = hops
        }
        // Bounds fragments, which a stream has none of.
        libc::IPV6_MTU if identity.kind == Kind::Stream && (number == 0 || number >= MTU_MIN) => {
            return Ok(());
        }
        libc::IPV6_UNICAST_HOPS => {
            let hops = hops(number, 0)?;
            &move |options| options.hops = hops
        }
        libc::IPV6_TCLASS => {
            let class = hops(number, 0)?.unwrap_or(0);
            &move |options| options.traffic_class = class
        }
        libc::IPV6_RECVHOPLIMIT => &move |options| options.shows_hops = on,
        libc::IPV6_RECVTCLASS => &move |options| options.shows_class = on,
        libc::IPV6_RECVPKTINFO => &move |options| options.shows_destination = on,
        libc::IPV6_RECVERR => &move |options| options.reports = on,
        libc::IPV6_MTU_DISCOVER => {
            let discovery = discovery(number)?;
            &move |options| options.discovery = discovery
        }
        libc::IPV6_MULTICAST_HOPS if identity.kind == Kind::Stream => return Err(Error::NoSuchOption),
        libc::IPV6_MULTICAST_HOPS => {
            let hops = hops(number, 0)?;
            &move |options| options.multicast_hops = hops
        }
        libc::IPV6_MULTICAST_LOOP if (0..=1).contains(&number) => {
            &move |options| options.multicast_quiet = !on
        }
        libc::IPV6_MULTICAST_LOOP => return Err(Error::InvalidArgument),
        libc::IPV6_MULTICAST_IF if identity.kind == Kind::Stream => return Err(Error::NoSuchOption),
        libc::IPV6_MULTICAST_IF => {
            let path = interface_numbered(number)?;
            &move |options| options.multicast_path = path
        }
        IPV6_MULTICAST_ALL => &move |options| options.multicast_own = !on,
        _ => return Err(unknown(IPPROTO_IPV6, name)),
    };
    inner.set_options(identity.id, |options| change(&mut options.ip.v6))?;
    apply(inner, identity.id, Domain::V6)
}

/// TTL and its like: -1 is the default.
fn hops(number: c_int, least: c_int) -> Result<Option<u8>> {
    match number {
        -1 => Ok(None),
        number if (least..=255).contains(&number) => Ok(Some(number as u8)),
        _ => Err(Error::InvalidArgument),
    }
}

fn minimum_hops(number: c_int) -> Result<u8> {
    u8::try_from(number).map_err(|_| Error::InvalidArgument)
}

fn discovery(number: c_int) -> Result<PathMtuDiscovery> {
    let place = usize::try_from(number).ok();
    place.and_then(|place| DISCOVERIES.get(place)).copied().ok_or(Error::InvalidArgument)
}

/// Tells the engine what it acts on of one version.
pub(super) fn apply(inner: &mut Inner, id: SocketId, domain: Domain) -> Result<()> {
    let options = &inner.socket(id)?.options.ip;
    let options = *match domain {
        Domain::V4 => &options.v4,
        Domain::V6 => &options.v6,
    };
    for option in options_of(&options, domain) {
        inner.engine.set_option(id, option, sys::now())?;
    }
    Ok(())
}

fn options_of(options: &IpOptions, domain: Domain) -> [SocketOption; 9] {
    [
        SocketOption::MinimumHops(domain, options.minimum_hops),
        SocketOption::HopLimit(domain, options.hops),
        SocketOption::TrafficClass(domain, options.traffic_class),
        SocketOption::MulticastHops(domain, options.multicast_hops.unwrap_or(1)),
        SocketOption::MulticastLoop(domain, !options.multicast_quiet),
        SocketOption::MulticastPath(domain, options.multicast_path),
        SocketOption::MulticastAll(domain, !options.multicast_own),
        SocketOption::ReceiveErrors(domain, options.reports),
        SocketOption::PathMtuDiscovery(domain, options.discovery),
    ]
}

// ---- groups and interfaces

fn membership(
    inner: &mut Inner,
    identity: &Identity,
    joins: bool,
    group: IpAddr,
    source: Option<IpAddr>,
    path: Option<Path>,
) -> Result<()> {
    if identity.kind == Kind::Stream {
        return Err(Error::Kernel(libc::EPROTO));
    }
    match joins {
        true => inner.engine.join_group(identity.id, group, source, path),
        false => inner.engine.leave_group(identity.id, group, source, path),
    }
}

fn block(
    inner: &mut Inner,
    identity: &Identity,
    blocked: bool,
    group: IpAddr,
    source: IpAddr,
    path: Option<Path>,
) -> Result<()> {
    if identity.kind == Kind::Stream {
        return Err(Error::Kernel(libc::EPROTO));
    }
    inner.engine.block_source(identity.id, group, source, path, blocked)
}

/// The options of RFC 3678 5: struct group_req (interface, group) or group_source_req (and source), each address in a
/// sockaddr_storage.
fn any_membership(inner: &mut Inner, identity: &Identity, name: c_int, value: &[u8]) -> Result<()> {
    const STORAGE: usize = size_of::<libc::sockaddr_storage>();
    let path = interface_numbered(number(value)?)?;
    // The addresses are aligned as a pointer is.
    let addresses = value.get(size_of::<usize>()..).ok_or(Error::InvalidArgument)?;
    let group = storage(addresses.get(..STORAGE), identity.domain)?;
    let source = || storage(addresses.get(STORAGE..2 * STORAGE), identity.domain);
    match name {
        MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP => {
            membership(inner, identity, name == MCAST_JOIN_GROUP, group, None, path)
        }
        MCAST_JOIN_SOURCE_GROUP | MCAST_LEAVE_SOURCE_GROUP => {
            let joins = name == MCAST_JOIN_SOURCE_GROUP;
            membership(inner, identity, joins, group, Some(source()?), path)
        }
        _ => block(inner, identity, name == MCAST_BLOCK_SOURCE, group, source()?, path),
    }
}

/// The address in a sockaddr_storage, of the family of the socket.
fn storage(bytes: Option<&[u8]>, domain: Domain) -> Result<IpAddr> {
    let bytes = bytes.ok_or(Error::InvalidArgument)?;
    let family = c_int::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
    match (domain, family) {
        // Behind the port; and the flow label, where there is one.
        (Domain::V4, libc::AF_INET) => Ok(address_v4(&bytes[4..])?.0.into()),
        (Domain::V6, libc::AF_INET6) => {
            let octets: &[u8; 16] = bytes[8..].first_chunk().ok_or(Error::InvalidArgument)?;
            Ok(IpAddr::V6(Ipv6Addr::from(*octets)))
        }
        _ => Err(Error::AddressNotAvailable),
    }
}

fn address_v4(value: &[u8]) -> Result<(Ipv4Addr, &[u8])> {
    let (address, rest) = value.split_first_chunk::<4>().ok_or(Error::InvalidArgument)?;
    Ok((Ipv4Addr::from(*address), rest))
}

/// struct ip_mreq (group, address of an interface), or ip_mreqn (and its number, which wins).
fn membership_v4(inner: &Inner, value: &[u8]) -> Result<(Ipv4Addr, Option<Path>)> {
    let (group, rest) = address_v4(value)?;
    let (interface, rest) = address_v4(rest)?;
    match number(rest) {
        Ok(index @ 1..) => Ok((group, interface_numbered(index)?)),
        _ => Ok((group, interface_at(inner, interface)?)),
    }
}

/// struct ip_mreq_source: group, interface, source.
fn source_membership_v4(inner: &Inner, value: &[u8]) -> Result<(Ipv4Addr, Ipv4Addr, Option<Path>)> {
    let (group, rest) = address_v4(value)?;
    let (interface, rest) = address_v4(rest)?;
    let (source, _) = address_v4(rest)?;
    Ok((group, source, interface_at(inner, interface)?))
}

/// IP_MULTICAST_IF: an address, or what IP_ADD_MEMBERSHIP takes.
fn multicast_interface_v4(inner: &Inner, value: &[u8]) -> Result<Option<Path>> {
    match value.len() {
        4..8 => interface_at(inner, address_v4(value)?.0).map_err(|_| Error::AddressNotAvailable),
        _ => membership_v4(inner, value).map(|(_, path)| path).map_err(|_| Error::AddressNotAvailable),
    }
}

/// None for the default.
fn interface_at(inner: &Inner, address: Ipv4Addr) -> Result<Option<Path>> {
    if address.is_unspecified() {
        return Ok(None);
    }
    inner.engine.interface_of(address.into()).map(Some).ok_or(Error::Kernel(libc::ENODEV))
}

/// None for the default.
fn interface_numbered(index: c_int) -> Result<Option<Path>> {
    match index {
        0 => Ok(None),
        index => {
            let path = u32::try_from(index).ok().and_then(Path::with_index);
            path.map(Some).ok_or(Error::Kernel(libc::ENODEV))
        }
    }
}
