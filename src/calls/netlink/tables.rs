//! Interfaces, addresses and routes as rtnetlink(7) shows them.
//!
//! Not shown: counters, and the routes of the table `local`, which follow from the addresses.

use super::message::Message;
use crate::addressing::{self, Cidr, Route, is_link_local, subnet_broadcast};
use crate::calls::interfaces::{Interface, State, View};
use libc::{
    IFA_ADDRESS, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS, IFA_LABEL, IFA_LOCAL, IFLA_ADDRESS, IFLA_BROADCAST,
    IFLA_CARRIER, IFLA_GROUP, IFLA_IFNAME, IFLA_LINKMODE, IFLA_MTU, IFLA_NUM_RX_QUEUES, IFLA_NUM_TX_QUEUES,
    IFLA_OPERSTATE, IFLA_PROMISCUITY, IFLA_QDISC, IFLA_TXQLEN, RT_SCOPE_HOST, RT_SCOPE_LINK,
    RT_SCOPE_UNIVERSE, RT_TABLE_LOCAL, RT_TABLE_MAIN, RTA_CACHEINFO, RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREF,
    RTA_PREFSRC, RTA_PRIORITY, RTA_SRC, RTA_TABLE, RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST, RTN_UNICAST,
    RTPROT_BOOT, RTPROT_KERNEL, RTPROT_UNSPEC,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// linux/if.h
const IF_OPER_UNKNOWN: u8 = 0;
const IF_OPER_UP: u8 = 6;
/// Metrics of IPv6: of the networks of one's own, and of other routes (IP6_RT_PRIO_ADDRCONF, IP6_RT_PRIO_USER).
const OWN_METRIC: u32 = 256;
const OTHER_METRIC: u32 = 1024;
/// struct rta_cacheinfo, of which nothing is known.
const CACHE: [u8; 32] = [0; 32];

/// AF_INET or AF_INET6.
const fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// RTM_NEWLINK
pub(super) fn link((interface, state): &(Interface, State)) -> Message {
    let loopback = interface.flags & libc::IFF_LOOPBACK != 0;
    let flags = interface.flags | libc::IFF_LOWER_UP;
    // struct ifinfomsg
    let mut fixed = vec![libc::AF_UNSPEC as u8, 0];
    fixed.extend(interface.hardware.to_ne_bytes());
    fixed.extend(interface.index.to_ne_bytes());
    fixed.extend(flags.to_ne_bytes());
    fixed.extend([0; 4]);
    let message = Message::new(libc::RTM_NEWLINK, &fixed)
        .with_text(IFLA_IFNAME, interface.name)
        .with_number(IFLA_TXQLEN, 1000)
        .with(IFLA_OPERSTATE, &[if loopback { IF_OPER_UNKNOWN } else { IF_OPER_UP }])
        .with(IFLA_LINKMODE, &[0])
        .with_number(IFLA_MTU, state.mtu)
        .with_number(IFLA_GROUP, 0)
        .with_number(IFLA_PROMISCUITY, 0)
        .with_number(IFLA_NUM_TX_QUEUES, 1)
        .with_number(IFLA_NUM_RX_QUEUES, 1)
        .with(IFLA_CARRIER, &[1])
        .with_text(IFLA_QDISC, "noqueue");
    match interface.hardware_length {
        0 => message,
        length => {
            let hardware = vec![0; length.into()];
            message.with(IFLA_ADDRESS, &hardware).with(IFLA_BROADCAST, &hardware)
        }
    }
}

/// RTM_NEWADDR, for all addresses of one family, or of both for another number.
pub(super) fn addresses(view: &View, wanted: u8) -> Vec<Message> {
    let each = |(interface, state): &'_ (Interface, State)| {
        let interface = *interface;
        state.addresses.clone().into_iter().map(move |own| (interface, own))
    };
    let mut all: Vec<_> =
        view.interfaces.iter().flat_map(each).filter(|(_, own)| shows(wanted, own)).collect();
    all.sort_by_key(|(_, own)| own.address.is_ipv6());
    all.iter().map(|(interface, own)| address(interface, *own)).collect()
}

/// Whether a dump of a family shows an address; of no family in particular it shows all (rtnl_dump_all).
fn shows(wanted: u8, own: &Cidr) -> bool {
    !matches!(wanted.into(), libc::AF_INET | libc::AF_INET6) || wanted == family(own.address)
}

fn address(interface: &Interface, own: Cidr) -> Message {
    let scope = match own.address {
        address if address.is_loopback() => RT_SCOPE_HOST,
        address if is_link_local(address) => RT_SCOPE_LINK,
        _ => RT_SCOPE_UNIVERSE,
    };
    // struct ifaddrmsg
    let mut fixed = vec![family(own.address), own.bits, libc::IFA_F_PERMANENT as u8, scope];
    fixed.extend(interface.index.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWADDR, &fixed).with_address(IFA_ADDRESS, own.address);
    if own.address.is_ipv4() {
        message = message.with_address(IFA_LOCAL, own.address);
        let everybody = subnet_broadcast(own.address, own.bits);
        if let Some(everybody) = everybody.filter(|_| interface.flags & libc::IFF_BROADCAST != 0) {
            message = message.with_address(IFA_BROADCAST, everybody.into());
        }
        message = message.with_text(IFA_LABEL, interface.name);
    }
    // struct ifa_cacheinfo: valid for ever.
    let for_ever = [[u8::MAX; 8], [0; 8]].concat();
    message.with_number(IFA_FLAGS, libc::IFA_F_PERMANENT).with(IFA_CACHEINFO, &for_ever)
}

/// RTM_NEWROUTE, for all routes of one family, or of both for another number.
pub(super) fn routes(view: &View, wanted: u8) -> Vec<Message> {
    let [_, (link, state)] = &view.interfaces;
    // An address of IPv4 that is alone on its network has no other route than to itself.
    let own =
        state.addresses.iter().filter(|own| shows(wanted, own) && (own.address.is_ipv6() || own.bits < 32));
    let mut all: Vec<_> = own.map(|own| (own.first(), own.bits, own_route(own, link))).collect();
    let others = view.routes.iter().filter(|route| shows(wanted, &route.network));
    all.extend(others.map(|route| (route.network.first(), route.network.bits, other_route(route, link))));
    all.sort_by_key(|(first, bits, _)| (*first, *bits));
    all.into_iter().map(|(.., message)| message).collect()
}

/// What a route is, in the terms of struct rtmsg.
struct Kind {
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    flags: u32,
}

fn route(network: Cidr, source_bits: u8, kind: &Kind) -> Message {
    let Kind { table, protocol, scope, kind, flags } = *kind;
    let first = family(network.address);
    let mut fixed = vec![first, network.bits, source_bits, 0, table, protocol, scope, kind];
    fixed.extend(flags.to_ne_bytes());
    let message = Message::new(libc::RTM_NEWROUTE, &fixed).with_number(RTA_TABLE, table.into());
    if network.bits == 0 { message } else { message.with_address(RTA_DST, network.first()) }
}

/// What a route of IPv6 has besides.
fn with_metric(message: Message, metric: u32) -> Message {
    message.with_number(RTA_PRIORITY, metric).with(RTA_CACHEINFO, &CACHE).with(RTA_PREF, &[0])
}

/// To the network of an address of ours.
fn own_route(own: &Cidr, link: &Interface) -> Message {
    let v4 = own.address.is_ipv4();
    let scope = if v4 { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
    let kind = Kind { table: RT_TABLE_MAIN, protocol: RTPROT_KERNEL, scope, kind: RTN_UNICAST, flags: 0 };
    let message = route(*own, 0, &kind).with_number(RTA_OIF, link.index);
    if v4 { message.with_address(RTA_PREFSRC, own.address) } else { with_metric(message, OWN_METRIC) }
}

fn other_route(to: &Route, link: &Interface) -> Message {
    let v4 = to.network.address.is_ipv4();
    let scope = if v4 && to.gateway.is_none() { RT_SCOPE_LINK } else { RT_SCOPE_UNIVERSE };
    let kind = Kind { table: RT_TABLE_MAIN, protocol: RTPROT_BOOT, scope, kind: RTN_UNICAST, flags: 0 };
    let mut message = route(to.network, 0, &kind).with_number(RTA_OIF, link.index);
    if let Some(gateway) = to.gateway {
        message = message.with_address(RTA_GATEWAY, gateway);
    }
    if v4 { message } else { with_metric(message, OTHER_METRIC) }
}

/// Where a packet goes.
struct Way {
    to: IpAddr,
    /// RTN_UNICAST and its like
    kind: u8,
    /// Whom on the link it is handed to.
    hop: IpAddr,
    /// The address of ours that it bears.
    source: IpAddr,
    /// No route is needed but those that follow from the addresses.
    near: bool,
}

impl Way {
    /// That of a packet to `to`; None when there is none.
    fn find(view: &View, to: IpAddr) -> Option<Way> {
        let own = &view.interfaces[1].1.addresses;
        let to = match to {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            to => to,
        };
        let everybody = |own: &Cidr| subnet_broadcast(own.address, own.bits).map(IpAddr::V4) == Some(to);
        let (kind, hop) = match to {
            _ if to.is_loopback() || own.iter().any(|own| own.address == to) => (RTN_LOCAL, to),
            _ if to == Ipv4Addr::BROADCAST || own.iter().any(everybody) => (RTN_BROADCAST, to),
            _ if to.is_multicast() => (RTN_MULTICAST, to),
            _ => (RTN_UNICAST, addressing::next_hop(own, &view.routes, to)?),
        };
        let source = match to {
            IpAddr::V4(_) if to.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            _ if kind == RTN_LOCAL => to,
            _ => addressing::source(own, hop, to)?,
        };
        let near = kind != RTN_UNICAST || own.iter().any(|own| own.contains(to));
        Some(Way { to, kind, hop, source, near })
    }
}

/// The same as flags, linux/in_route.h.
const fn what_it_is(kind: u8) -> u32 {
    match kind {
        RTN_LOCAL => 0x8000_0000,
        RTN_BROADCAST => 0x9000_0000,
        RTN_MULTICAST => 0xa000_0000,
        _ => 0,
    }
}

/// RTM_NEWROUTE: which way a packet to `to` goes, as `ip route get` asks; None when there is none.
pub(super) fn way(view: &View, to: IpAddr) -> Option<Message> {
    let Way { to, kind, hop, source, near } = Way::find(view, to)?;
    let [(loopback, _), (link, _)] = &view.interfaces;
    let v4 = to.is_ipv4();
    let table = if v4 || kind == RTN_UNICAST { RT_TABLE_MAIN } else { RT_TABLE_LOCAL };
    let (protocol, flags, source_bits) = match (v4, near) {
        (true, _) => (RTPROT_UNSPEC, libc::RTM_F_CLONED | what_it_is(kind), 0),
        (false, true) => (RTPROT_KERNEL, 0, 128),
        (false, false) => (RTPROT_BOOT, 0, 128),
    };
    let kinds = Kind { table, protocol, scope: RT_SCOPE_UNIVERSE, kind, flags };
    let out = if kind == RTN_LOCAL { loopback } else { link };
    let mut message = route(Cidr::host(to), source_bits, &kinds)
        .with_number(RTA_OIF, out.index)
        .with_address(RTA_PREFSRC, source);
    if hop != to {
        message = message.with_address(RTA_GATEWAY, hop);
    }
    if v4 {
        return Some(message.with(RTA_CACHEINFO, &CACHE));
    }
    let metric = match kind {
        RTN_LOCAL => 0,
        _ if near => OWN_METRIC,
        _ => OTHER_METRIC,
    };
    Some(with_metric(message.with_address(RTA_SRC, Ipv6Addr::UNSPECIFIED.into()), metric))
}
