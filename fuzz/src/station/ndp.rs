//! The target `ndp`. Only what no router passed on counts; who asks for our address is answered; what a router says may add
//! addresses, and takes none away at once (RFC 4862 5.5.3 (e)); what is believed is bounded.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::super::wire;
use super::{IPV6, LINK_LOCAL, OURS, THEIRS, World, packet, spoilt, time};
use std::net::{IpAddr, Ipv6Addr};
use tubesock::addressing::Addressing;
use tubesock::ethernet::Station;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Of each kind that routers name, and ours.
const ADDRESSES_MAX: usize = 16 + 1;

/// The body of the target.
pub fn ndp(data: &[u8]) {
    let mut world = World::new(|mac, now| Station::automatic(mac, Addressing::default(), 7, now));
    world.run(&mut Bytes::new(data), |world, input| match input.u8() % 8 {
        0 => {
            let length = input.u8().into();
            let message = input.take(length).to_vec();
            arrives(world, input, message);
        }
        1 | 2 => {
            let message = neighbour(world, input);
            arrives(world, input, message);
        }
        3..=5 => {
            let message = router(input);
            arrives(world, input, message);
        }
        6 => send(world, input),
        _ => world.pass(time(input)),
    });
}

fn address(input: &mut Bytes) -> Ipv6Addr {
    let other = input.u8().into();
    input.pick(&[
        LINK_LOCAL,
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, other),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0, other, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0xff, 0xfe00, 1),
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
        ALL_NODES,
    ])
}

/// A solicitation or an advertisement of a neighbour.
fn neighbour(world: &World, input: &mut Bytes) -> Vec<u8> {
    let kind = input.pick(&[135, 136, 135, 137]);
    let own = world.addressing.addresses.iter().filter_map(|own| match own.address {
        IpAddr::V6(own) => Some(own),
        IpAddr::V4(_) => None,
    });
    let own: Vec<_> = own.collect();
    let target = if input.u8().is_multiple_of(2) { input.pick(&own) } else { address(input) };
    let mut message = vec![kind, 0, 0, 0, input.u8(), 0, 0, 0];
    message.extend(target.octets());
    options(input, &mut message);
    message
}

fn lifetime(input: &mut Bytes) -> u32 {
    let other = input.u16().into();
    input.pick(&[0, 1, 60, 7199, 7200, 7201, 86_400, u32::MAX, u32::MAX - 1, other])
}

fn router(input: &mut Bytes) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, input.u8()];
    message.extend((lifetime(input) as u16).to_be_bytes());
    message.extend(input.u32().to_be_bytes());
    message.extend(input.u32().to_be_bytes());
    options(input, &mut message);
    message
}

fn options(input: &mut Bytes, message: &mut Vec<u8>) {
    for _ in 0..input.u8() % 6 {
        match input.u8() % 6 {
            0 => {
                let kind = 1 + input.u8() % 2;
                message.extend([kind, 1]);
                message.extend(input.pick(&[THEIRS, OURS, [3, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 9]]));
            }
            1..=3 => {
                let bits = input.pick(&[64, 64, 64, 0, 48, 127, 128, 129]);
                message.extend([3, 4, bits, input.u8()]);
                message.extend(lifetime(input).to_be_bytes());
                message.extend(lifetime(input).to_be_bytes());
                message.extend([0; 4]);
                message.extend(address(input).octets());
            }
            4 => {
                message.extend([25, 3, 0, 0]);
                message.extend(lifetime(input).to_be_bytes());
                message.extend(address(input).octets());
            }
            _ => {
                let (kind, words) = (input.u8(), input.u8() % 8);
                message.extend([kind, words]);
                let length = (usize::from(words) * 8).saturating_sub(2);
                message.extend(input.take(length));
            }
        }
    }
}

/// Hands over a message, in a packet that is right but where the input says otherwise.
fn arrives(world: &mut World, input: &mut Bytes, message: Vec<u8>) {
    let mut message = spoilt(input, message);
    message.resize(message.len().max(4), 0);
    let (from, to) = (address(input), input.pick(&[ALL_NODES, LINK_LOCAL, LINK_LOCAL, Ipv6Addr::LOCALHOST]));
    let wrong = input.u8();
    message[2..4].fill(0);
    let mut bytes = wire::message(from.into(), to.into(), message.clone());
    let hop_limit = if wrong.is_multiple_of(16) { 254 } else { 255 };
    wire::treat(&mut bytes, hop_limit, 0);
    if wrong == 1 {
        bytes[40 + 2] ^= 1;
    }
    let before = world.addressing.clone();
    let mac = input.pick(&[THEIRS, THEIRS, [2, 0, 0, 0, 0, 9]]);
    world.deliver(input.pick(&[OURS, [0x33, 0x33, 0, 0, 0, 1]]), mac, IPV6, &bytes);
    let sound = hop_limit == 255 && wrong != 1;
    if !sound {
        assert_eq!(world.addressing, before, "what a router passed on, or is spoilt, says nothing");
    }
    for own in &before.addresses {
        assert!(world.has(own.address), "{own} has gone at a word of a router's");
    }
    answers(world, &message, from, sound);
    assert!(world.addressing.addresses.len() <= ADDRESSES_MAX, "{:?}", world.addressing);
    assert!(world.addressing.routes.len() <= 2 * 16 && world.addressing.name_servers.len() <= 16);
    for own in &world.addressing.addresses {
        assert!(!own.address.is_multicast() && !own.address.is_loopback() && own.bits <= 128, "{own}");
    }
}

/// Who asked for an address of ours, and only he, is told.
fn answers(world: &World, message: &[u8], from: Ipv6Addr, sound: bool) {
    let told = world.sent.iter().filter(|sent| sent.kind == IPV6 && sent.payload[40] == 136);
    let target = message.get(8..24).map(|octets| Ipv6Addr::from(<[u8; 16]>::try_from(octets).expect("16")));
    let asked = sound && message[..2] == [135, 0] && target.is_some_and(|target| world.has(target.into()));
    let told: Vec<_> = told.collect();
    assert!(told.len() <= usize::from(asked), "{told:?}");
    // Of one without an address only what goes to the group counts.
    assert!(!asked || from.is_unspecified() || told.len() == 1, "no answer");
    for sent in world.sent.iter().filter(|sent| sent.kind == IPV6 && sent.payload[6] == 58) {
        let (source, destination, protocol, bytes) =
            wire::payload(&sent.payload, true).expect("looked at already");
        assert_eq!(wire::transport_sum(source, destination, protocol, bytes), u16::MAX);
        assert!(sent.payload[7] == 255 || bytes[0] < 133, "the hop limit of neighbour discovery");
    }
}

/// A packet for a neighbour, or by a router.
fn send(world: &mut World, input: &mut Bytes) {
    let to = address(input);
    let length = usize::from(input.u8()) * 5;
    world.hand(&packet(LINK_LOCAL.into(), to.into(), length));
}
