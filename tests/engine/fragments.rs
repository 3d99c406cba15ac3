//! Datagrams that no packet can carry whole.

use crate::allocated;
use crate::world::{Dice, World, address, settings};
use std::time::Duration;
use tubesock::engine::{Domain, Engine, Kind, PathMtuDiscovery, SocketId, SocketOption};
use tubesock::ip::{self, Fault, fragment};
use tubesock::link::Packet;
use tubesock::time::Instant;
use tubesock::udp;

const NOW: Instant = Instant::from_micros(5_000_000);

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 5) as u8).collect()
}

/// The fragments of a datagram to port 53 of `receiver`, for a link of `mtu`.
fn fragments(length: usize, mtu: usize, identification: u32) -> Vec<Packet> {
    let packet = udp::build(address("10.0.2.15:1"), address("10.0.2.2:53"), &payload(length), true);
    fragment::cut(&packet, mtu, identification, true)
}

fn receiver() -> (Engine, SocketId) {
    let mut engine = Engine::new(settings("2", 3), NOW);
    let id = engine.open(Domain::V4, Kind::Datagram);
    engine.bind(id, address("0.0.0.0:53"), NOW).expect("bind");
    (engine, id)
}

#[test]
fn a_large_datagram_arrives_whole() {
    let mut world = World::new();
    let server = world.far.engine.open(Domain::V6, Kind::Datagram);
    world.far.engine.bind(server, address("[::]:53"), world.now).expect("bind");
    // The last fragment first, and one of them twice.
    let mut held: Vec<Packet> = Vec::new();
    world.roads[0] = Box::new(move |packet| {
        assert!(packet.len() <= 1500);
        let last = fragment::parse(&packet, true).is_ok_and(|fragment| !fragment.more);
        held.push(packet);
        if !last {
            return Vec::new();
        }
        held.push(held[0].clone());
        held.reverse();
        std::mem::take(&mut held)
    });
    for (to, length) in
        [("10.0.2.2:53", 4000), ("10.0.2.2:53", 65_507), ("[fd00::2]:53", 1453), ("[fd00::2]:53", 65_527)]
    {
        let client = world.near.engine.open(Domain::V6, Kind::Datagram);
        let to = match address(to) {
            std::net::SocketAddr::V4(to) => (to.ip().to_ipv6_mapped(), to.port()).into(),
            to => to,
        };
        world.near.engine.send_to(client, Some(to), &payload(length), world.now).expect("send");
        world.settle();
        let datagram = world.far.engine.receive_from(server).expect("a datagram");
        assert_eq!(datagram.payload, payload(length));
        assert_eq!(datagram.treatment.hop_limit, 64);
    }
    // One of each was left over, twice: it never becomes a packet.
    assert_eq!(world.far.engine.receive_from(server), None);
    assert!(world.near.engine.counters().packets_sent > 40);
}

#[test]
fn any_order_will_do() {
    let (mut engine, id) = receiver();
    let mut dice = Dice::new(7);
    for turn in 0..200 {
        let mut pieces = fragments(10_000, 576, turn);
        while !pieces.is_empty() {
            let piece = pieces.swap_remove(dice.below(pieces.len() as u64) as usize);
            assert_eq!(engine.receive_from(id), None);
            engine.receive(&piece, NOW);
        }
        assert_eq!(engine.receive_from(id).expect("a datagram").payload, payload(10_000));
    }
    assert_eq!(engine.counters().dropped, 0);
}

/// RFC 5722 4
#[test]
fn what_overlaps_is_thrown_away() {
    let (mut engine, id) = receiver();
    let pieces = fragments(4000, 1500, 1);
    let other = fragments(4000, 1000, 1);
    engine.receive(&pieces[0], NOW);
    engine.receive(&other[1], NOW);
    assert_eq!(engine.counters().dropped, 1);
    pieces[1..].iter().for_each(|piece| engine.receive(piece, NOW));
    assert_eq!(engine.receive_from(id), None, "its first fragment is gone");
    // The rest of it is still there, and the first completes it.
    engine.receive(&pieces[0], NOW);
    assert_eq!(engine.receive_from(id).expect("a datagram").payload, payload(4000));
}

#[test]
fn an_end_that_moves_is_thrown_away() {
    let (mut engine, id) = receiver();
    let long = fragments(4000, 1500, 1);
    let short = fragments(2900, 1500, 1);
    engine.receive(&long[2], NOW);
    engine.receive(&short[1], NOW);
    assert_eq!((engine.counters().dropped, engine.receive_from(id)), (1, None));
}

#[test]
fn what_does_not_come_in_time_is_forgotten() {
    let (mut engine, id) = receiver();
    let pieces = fragments(4000, 1500, 1);
    engine.receive(&pieces[0], NOW);
    let late = NOW + Duration::from_secs(30);
    pieces[1..].iter().for_each(|piece| engine.receive(piece, late));
    assert_eq!((engine.receive_from(id), engine.counters().dropped), (None, 1));
}

#[test]
fn a_flood_takes_bounded_room() {
    let (mut engine, id) = receiver();
    let before = allocated();
    for identification in 0..10_000 {
        engine.receive(&fragments(60_000, 1500, identification)[usize::from(identification % 2 == 0)], NOW);
        // The smallest there are, of one packet, without end.
        engine.receive(&fragments(2008, 28, 7)[identification as usize % 250], NOW);
    }
    assert!(allocated() - before < 4 << 20, "{}", allocated() - before);
    // And still: one that comes at once comes whole.
    fragments(60_000, 1500, 99_999).iter().for_each(|piece| engine.receive(piece, NOW));
    assert_eq!(
        std::iter::from_fn(|| engine.receive_from(id)).last().expect("a datagram").payload.len(),
        60_000
    );
}

#[test]
fn fragments_for_others_are_not_kept() {
    let (mut engine, _) = receiver();
    let packet = udp::build(address("10.0.2.15:1"), address("10.0.2.3:53"), &payload(4000), true);
    fragment::cut(&packet, 1500, 1, true).iter().for_each(|piece| engine.receive(piece, NOW));
    assert_eq!(engine.counters().not_ours, 3);
}

/// A whole packet that says it is a fragment (RFC 6946), and headers that cannot be.
#[test]
fn an_atomic_fragment_is_a_packet() {
    let mut engine = Engine::new(settings("2", 3), NOW);
    let id = engine.open(Domain::V6, Kind::Datagram);
    engine.bind(id, address("[::]:53"), NOW).expect("bind");
    let packet = udp::build(address("[fd00::15]:1"), address("[fd00::2]:53"), b"atom", true);
    let [atom] = &fragment::cut(&packet, 1500, 1, true)[..] else { panic!("it fits") };
    assert_eq!(ip::parse(atom, true), Err(Fault::Fragment));
    engine.receive(atom, NOW);
    assert_eq!(engine.receive_from(id).expect("a datagram").payload, b"atom");
    (40..atom.len()).for_each(|length| engine.receive(&atom[..length], NOW));
    assert_eq!(engine.receive_from(id), None);
}

/// Headers in headers, as many as a packet holds: more than any stack does.
#[test]
fn fragments_of_fragments_are_dropped() {
    let mut engine = Engine::new(settings("2", 3), NOW);
    let [source, destination] = ["fd00::15", "fd00::2"].map(|text| text.parse().expect("an address"));
    let header = [44, 0, 0, 0, 0, 0, 0, 1];
    let mut packet = ip::build(source, destination, ip::Protocol::Other(44), 8 * 8190, true);
    packet[40..].chunks_mut(8).for_each(|place| place.copy_from_slice(&header));
    engine.receive(&packet, NOW);
    assert_eq!(engine.counters().malformed, 1);
}

/// The answer is as large as the question, and the link no larger than before.
#[test]
fn an_echo_in_fragments_is_answered_in_fragments() {
    for (domain, kind, to) in [(Domain::V4, 8, "10.0.2.2:0"), (Domain::V6, 128, "[fd00::2]:0")] {
        let mut world = World::new();
        for road in &mut world.roads {
            *road = Box::new(|packet| {
                assert!(packet.len() <= 1500, "{} bytes", packet.len());
                vec![packet]
            });
        }
        let id = world.near.engine.open(domain, Kind::Echo);
        let request = [&[kind, 0, 0, 0, 0, 0, 0, 1], &payload(4000)[..]].concat();
        world.near.engine.send_to(id, Some(address(to)), &request, world.now).expect("send");
        world.settle();
        let reply = world.near.engine.receive_from(id).expect("a reply");
        assert_eq!(reply.payload[8..], request[8..]);
    }
}

/// DF, and an identification only where it means something (RFC 6864).
#[test]
fn who_forbids_cutting_says_so_in_the_packet() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    let id = engine.open(Domain::V4, Kind::Datagram);
    for (discovery, forbidden) in [
        (PathMtuDiscovery::Dont, false),
        (PathMtuDiscovery::Want, true),
        (PathMtuDiscovery::Do, true),
        (PathMtuDiscovery::Probe, true),
        (PathMtuDiscovery::Interface, false),
        (PathMtuDiscovery::Omit, false),
    ] {
        let option = SocketOption::PathMtuDiscovery(Domain::V4, discovery);
        engine.set_option(id, option, world.now).expect("option");
        engine.send_to(id, Some(address("10.0.2.2:9")), b"x", world.now).expect("send");
        let packet = engine.transmit_packet(world.now).expect("a packet");
        assert!(ip::parse(&packet, true).is_ok());
        assert_eq!((packet[6] & 0x40 != 0, packet[4..6] == [0, 0]), (forbidden, forbidden), "{discovery:?}");
    }
}
