//! Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements of neighbours and routers; the messages, not
//! what is made of them. A message counts only when its hop limit is still 255: no router passed it on (RFC 4861 3.1).
#![forbid(unsafe_code)]

use super::frame::{self, Mac};
use crate::addressing::Cidr;
use crate::ip::{self, Protocol, Treatment};
use core::net::Ipv6Addr;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
const PREFIX: u8 = 3;
/// RFC 8106 5.1
const NAME_SERVERS: u8 = 25;

/// Flags of an advertisement: it was solicited, and outranks what was known.
const SOLICITED_OVERRIDE: u8 = 0x60;

const HEADER: usize = 40;
/// Of a neighbour's message, without options.
const FIXED: usize = 24;
const ICMP_V6: u8 = 58;
const HOP_LIMIT: u8 = 255;

/// All nodes and all routers of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What a router says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advertisement {
    pub(super) from: Ipv6Addr,
    pub(super) mac: Option<Mac>,
    /// Seconds for which it passes packets on; 0: it does not.
    pub(super) lifetime: u16,
    pub(super) prefixes: Vec<Prefix>,
    /// Each with the seconds for which it is one.
    pub(super) name_servers: Vec<(Ipv6Addr, u32)>,
}

/// A network that a router names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) network: Cidr,
    pub(super) is_on_link: bool,
    /// Hosts are to make addresses of it.
    pub(super) is_for_addresses: bool,
    /// Seconds for which it is valid.
    pub(super) lifetime: u32,
}

/// What a neighbour says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It asks where `target` is.
    Solicitation { from: Ipv6Addr, mac: Option<Mac>, target: Ipv6Addr },
    /// It says where `target` is.
    Advertisement { target: Ipv6Addr, mac: Option<Mac> },
    /// It is a router.
    Router(Advertisement),
}

/// Whether a packet is of neighbour discovery, and so none of the engine's business.
pub(super) fn is_one(packet: &[u8]) -> bool {
    let kind = packet.get(HEADER).copied().unwrap_or_default();
    packet.get(6) == Some(&ICMP_V6) && (ROUTER_SOLICITATION..=REDIRECT).contains(&kind)
}

/// Reads a message. None for what must be dropped (RFC 4861 7.1), and what is not of neighbours.
pub(super) fn parse(packet: &[u8]) -> Option<Message> {
    let header = ip::parse(packet, true).ok()?;
    let message = packet.get(header.payload.clone())?;
    let (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) = (header.source, header.destination) else {
        return None;
    };
    let sum = ip::transport_sum(header.source, header.destination, Protocol::Icmp, message);
    if packet.get(7) != Some(&HOP_LIMIT) || message.get(1) != Some(&0) || sum != u16::MAX {
        return None;
    }
    if message.first() == Some(&ROUTER_ADVERTISEMENT) {
        // RFC 4861 6.1.2
        return advertised(from, message).filter(|_| from.is_unicast_link_local()).map(Message::Router);
    }
    let (fixed, options) = message.split_first_chunk::<FIXED>()?;
    let target = Ipv6Addr::from(*fixed.last_chunk::<16>()?);
    if target.is_multicast() {
        return None;
    }
    match fixed[0] {
        // RFC 4861 7.1.1: who has no address yet asks the group.
        NEIGHBOUR_SOLICITATION if from.is_unspecified() && to != group_of(target) => None,
        NEIGHBOUR_SOLICITATION => {
            let mac = option(options, SOURCE_ADDRESS).filter(|_| !from.is_unspecified());
            Some(Message::Solicitation { from, mac, target })
        }
        NEIGHBOUR_ADVERTISEMENT => {
            Some(Message::Advertisement { target, mac: option(options, TARGET_ADDRESS) })
        }
        _ => None,
    }
}

/// The options of a message, each whole; no more of them behind a bad one (RFC 4861 4.6: a length of zero).
fn options(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let words = *rest.get(1).filter(|words| **words > 0)?;
        let (option, behind) = rest.split_at_checked(usize::from(words) * 8)?;
        rest = behind;
        Some(option)
    })
}

/// The address in an option of this kind.
fn option(bytes: &[u8], wanted: u8) -> Option<Mac> {
    let option = options(bytes).find(|option| option[0] == wanted && option.len() == 8)?;
    option[2..].first_chunk().copied().map(Mac).filter(|mac| !mac.is_group())
}

fn advertised(from: Ipv6Addr, message: &[u8]) -> Option<Advertisement> {
    let (fixed, rest) = message.split_first_chunk::<16>()?;
    let lifetime = u16::from_be_bytes([fixed[6], fixed[7]]);
    let prefixes = options(rest).filter_map(prefix).collect();
    let name_servers = options(rest).flat_map(name_servers).collect();
    Some(Advertisement { from, mac: option(rest, SOURCE_ADDRESS), lifetime, prefixes, name_servers })
}

/// RFC 4861 4.6.2
fn prefix(option: &[u8]) -> Option<Prefix> {
    let fields: &[u8; 32] = option.try_into().ok()?;
    let [PREFIX, _, bits @ 0..=128, flags, a, b, c, d, e, f, g, h, ..] = *fields else { return None };
    let [lifetime, preferred] = [[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes);
    let address = Ipv6Addr::from(*fields.last_chunk::<16>()?);
    let wrong = address.is_unicast_link_local() || address.is_multicast();
    (!wrong).then_some(Prefix {
        network: Cidr::new(address.into(), bits),
        is_on_link: flags & 0x80 != 0,
        // RFC 4862 5.5.3 (c)
        is_for_addresses: flags & 0x40 != 0 && preferred <= lifetime,
        lifetime,
    })
}

fn name_servers(option: &[u8]) -> Vec<(Ipv6Addr, u32)> {
    let Some((&[NAME_SERVERS, _, _, _, a, b, c, d], servers)) = option.split_first_chunk::<8>() else {
        return Vec::new();
    };
    let lifetime = u32::from_be_bytes([a, b, c, d]);
    servers.as_chunks::<16>().0.iter().map(|server| (Ipv6Addr::from(*server), lifetime)).collect()
}

/// The group of all whose address ends as this one (RFC 4291 2.7.1).
pub(super) fn group_of(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The frame that asks where `target` is: everybody, or the one who had it last. Who has no address does not say where he is
/// (RFC 4861 4.3).
pub(super) fn solicitation(from: (Mac, Ipv6Addr), target: Ipv6Addr, whom: Option<Mac>) -> Vec<u8> {
    let to = if whom.is_some() { target } else { group_of(target) };
    let mac = whom.unwrap_or_else(|| Mac::of_group(to.into()));
    let mut message = message(NEIGHBOUR_SOLICITATION, 0, target, SOURCE_ADDRESS, from.0);
    if from.1.is_unspecified() {
        message.truncate(FIXED);
    }
    build(from, (mac, to), message)
}

/// The frame that asks the routers to say what they are.
pub(super) fn router_solicitation(from: (Mac, Ipv6Addr)) -> Vec<u8> {
    let message = [&[ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0, SOURCE_ADDRESS, 1][..], &from.0.0].concat();
    build(from, (Mac::of_group(ALL_ROUTERS.into()), ALL_ROUTERS), message)
}

/// The frame that says that we have `target`, for who asked; who has no address of its own has everybody told.
pub(super) fn advertisement(from: Mac, target: Ipv6Addr, to: (Mac, Ipv6Addr)) -> Vec<u8> {
    let to = match to.1.is_unspecified() {
        true => (Mac::of_group(ALL_NODES.into()), ALL_NODES),
        false => to,
    };
    let message = message(NEIGHBOUR_ADVERTISEMENT, SOLICITED_OVERRIDE, target, TARGET_ADDRESS, from);
    build((from, target), to, message)
}

fn message(kind: u8, flags: u8, target: Ipv6Addr, option: u8, mac: Mac) -> Vec<u8> {
    [&[kind, 0, 0, 0, flags, 0, 0, 0][..], &target.octets(), &[option, 1], &mac.0].concat()
}

fn build(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    let (source, destination) = (from.1.into(), to.1.into());
    let sum = !ip::transport_sum(source, destination, Protocol::Icmp, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let treatment = Treatment { hop_limit: HOP_LIMIT, ..Treatment::default() };
    let mut packet = vec![0; HEADER];
    ip::write_header(&mut packet, source, destination, Protocol::Icmp, treatment, message.len(), true);
    [&frame::header(to.0, from.0, frame::IPV6)[..], &packet, &message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn address(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn what_is_said_is_understood() {
        let (own, target) = (address("2001:db8::15"), address("2001:db8::1"));
        let asked = solicitation((OURS, own), target, None);
        let opened = frame::open(&asked).expect("a frame");
        assert_eq!(opened.to.to_string(), "33:33:ff:00:00:01");
        assert!(is_one(opened.payload));
        let expected = Message::Solicitation { from: own, mac: Some(OURS), target };
        assert_eq!(parse(opened.payload), Some(expected));
        let answered = advertisement(THEIRS, target, (OURS, own));
        let opened = frame::open(&answered).expect("a frame");
        assert_eq!((opened.to, opened.from), (OURS, THEIRS));
        assert_eq!(parse(opened.payload), Some(Message::Advertisement { target, mac: Some(THEIRS) }));
        let everybody = advertisement(THEIRS, target, (OURS, Ipv6Addr::UNSPECIFIED));
        assert_eq!(frame::open(&everybody).expect("a frame").to.to_string(), "33:33:00:00:00:01");
    }

    #[test]
    fn what_a_router_advertises() {
        let from = address("fe80::1");
        let prefix = [
            &[PREFIX, 4, 64, 0xc0, 0, 0, 0, 100, 0, 0, 0, 50, 0, 0, 0, 0][..],
            &address("2001:db8::").octets(),
        ];
        let servers = [&[NAME_SERVERS, 3, 0, 0, 0, 0, 1, 0][..], &address("2001:db8::53").octets()];
        let fixed = [ROUTER_ADVERTISEMENT, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        let message =
            [&fixed[..], &[SOURCE_ADDRESS, 1], &THEIRS.0, &prefix.concat(), &servers.concat()].concat();
        let frame = build((THEIRS, from), (Mac::of_group(ALL_NODES.into()), ALL_NODES), message);
        let packet = &frame[14..];
        let expected = Advertisement {
            from,
            mac: Some(THEIRS),
            lifetime: 0x708,
            prefixes: vec![Prefix {
                network: "2001:db8::/64".parse().expect("a network"),
                is_on_link: true,
                is_for_addresses: true,
                lifetime: 100,
            }],
            name_servers: vec![(address("2001:db8::53"), 256)],
        };
        assert_eq!(parse(packet), Some(Message::Router(expected)));
        let asked = router_solicitation((OURS, from));
        assert!(is_one(&asked[14..]) && parse(&asked[14..]).is_none());
        // Only routers of the link are believed.
        let message = frame[14 + HEADER..].to_vec();
        let mut message = [&message[..2], &[0, 0], &message[4..]].concat();
        message[2..4].fill(0);
        let far = build((THEIRS, address("2001:db8::1")), (OURS, ALL_NODES), message);
        assert_eq!(parse(&far[14..]), None);
    }

    #[test]
    fn what_a_router_passed_on_or_spoilt_is_dropped() {
        let asked = solicitation((OURS, address("fe80::1")), address("fe80::2"), Some(THEIRS));
        let packet = frame::open(&asked).expect("a frame").payload.to_vec();
        assert!(parse(&packet).is_some());
        for at in [7, HEADER + 1, HEADER + 3, HEADER + 9, packet.len() - 1] {
            let mut bad = packet.clone();
            bad[at] ^= 1;
            assert_eq!(parse(&bad), None, "at {at}");
        }
        for length in 0..packet.len() {
            let _never_a_panic = parse(&packet[..length]);
        }
    }
}
