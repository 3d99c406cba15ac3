//! Datagram sockets.

use crate::world::{Dice, World, address, changes};
use std::net::IpAddr;
use tubesock::engine::{Domain, Engine, Kind, SocketOption};
use tubesock::error::Error;
use tubesock::ip::{self, Protocol};
use tubesock::time::Instant;
use tubesock::{icmp, udp};

#[test]
fn there_and_back() {
    let mut world = World::new();
    let server = world.far.engine.open(Domain::V4, Kind::Datagram);
    world.far.engine.bind(server, address("0.0.0.0:53"), world.now).expect("bind");
    let client = world.near.engine.open(Domain::V4, Kind::Datagram);
    world.near.engine.send_to(client, Some(address("10.0.2.2:53")), b"query", world.now).expect("send");
    world.settle();
    assert_eq!(changes(&mut world.far.engine), [server]);
    let datagram = world.far.engine.receive_from(server).expect("a datagram");
    assert_eq!((datagram.payload.as_slice(), datagram.to), (b"query".as_slice(), address("10.0.2.2:53")));
    world.far.engine.send_to(server, Some(datagram.from), b"reply", world.now).expect("send");
    world.settle();
    assert_eq!(world.near.engine.receive_from(client).expect("a datagram").payload, b"reply");
    assert_eq!(world.near.engine.receive_from(client), None);
}

#[test]
fn nobody_there_is_connection_refused_on_a_connected_socket() {
    let mut world = World::new();
    let client = world.near.engine.open(Domain::V4, Kind::Datagram);
    world.near.engine.connect(client, address("10.0.2.2:53"), world.now).expect("connect");
    world.near.engine.send_to(client, None, b"query", world.now).expect("send");
    world.settle();
    assert_eq!(changes(&mut world.near.engine), [client]);
    assert_eq!(world.near.engine.send_to(client, None, b"again", world.now), Err(Error::ConnectionRefused));
    assert_eq!(world.near.engine.take_error(client), None);
}

#[test]
fn limits_and_errors() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    let id = engine.open(Domain::V4, Kind::Datagram);
    let to = Some(address("10.0.2.2:53"));
    assert_eq!(engine.send_to(id, None, b"", world.now), Err(Error::DestinationRequired));
    assert_eq!(engine.send_to(id, to, &[0; 65508], world.now), Err(Error::MessageTooLong));
    assert_eq!(engine.send_to(id, to, &[0; 65507], world.now), Ok(()));
    let everybody = Some(address("10.0.2.255:53"));
    assert_eq!(engine.send_to(id, everybody, b"", world.now), Err(Error::PermissionDenied));
    engine.set_option(id, SocketOption::Broadcast(true), world.now).expect("set_option");
    assert_eq!(engine.send_to(id, everybody, b"", world.now), Ok(()));
}

#[test]
fn a_connected_socket_hears_its_peer_only_and_wins_over_the_others() {
    let mut world = World::new();
    let engine = &mut world.far.engine;
    let bind = |engine: &mut Engine, to: &str| {
        let id = engine.open(Domain::V4, Kind::Datagram);
        engine.set_option(id, SocketOption::ReuseAddress(true), Instant::ZERO).expect("option");
        engine.bind(id, address(to), Instant::ZERO).expect("bind");
        id
    };
    let any = bind(engine, "0.0.0.0:53");
    let specific = bind(engine, "10.0.2.2:53");
    let connected = bind(engine, "10.0.2.2:53");
    engine.connect(connected, address("10.0.2.15:1000"), world.now).expect("connect");
    assert_eq!(engine.peer(connected), Some(address("10.0.2.15:1000")));
    for (from, to, taker) in [
        ("10.0.2.15:1000", "10.0.2.2:53", connected),
        ("10.0.2.15:1001", "10.0.2.2:53", specific),
        ("10.0.2.15:1000", "10.0.2.255:53", any),
    ] {
        let packet = udp::build(address(from), address(to), b"x", true);
        engine.receive(&packet, world.now);
        assert_eq!(changes(engine), [taker], "{from} to {to}");
        let datagram = engine.receive_from(taker).expect("a datagram");
        assert_eq!((datagram.from, datagram.to), (address(from), address(to)));
    }
    engine.disconnect(connected).expect("disconnect");
    assert_eq!((engine.peer(connected), engine.local(connected)), (None, Some(address("10.0.2.2:53"))));
}

#[test]
fn ipv6_and_mapped_addresses() {
    let mut world = World::new();
    let server = world.far.engine.open(Domain::V6, Kind::Datagram);
    world.far.engine.bind(server, address("[::]:53"), world.now).expect("bind");
    let client = world.near.engine.open(Domain::V6, Kind::Datagram);
    for (to, shown) in [("[fd00::2]:53", "[fd00::15]"), ("[::ffff:10.0.2.2]:53", "[::ffff:10.0.2.15]")] {
        world.near.engine.send_to(client, Some(address(to)), b"six", world.now).expect("send");
        world.settle();
        let datagram = world.far.engine.receive_from(server).expect("a datagram");
        assert_eq!(datagram.to, address(to));
        assert!(datagram.from.to_string().starts_with(shown), "{}", datagram.from);
    }
    let client = world.near.engine.open(Domain::V6, Kind::Datagram);
    world.near.engine.connect(client, address("[fd00::2]:54"), world.now).expect("connect");
    world.near.engine.send_to(client, None, b"?", world.now).expect("send");
    world.settle();
    assert_eq!(world.near.engine.take_error(client), Some(Error::ConnectionRefused));
}

#[test]
fn the_receive_buffer_is_bounded() {
    let mut world = World::new();
    let server = world.far.engine.open(Domain::V4, Kind::Datagram);
    world.far.engine.bind(server, address("0.0.0.0:53"), world.now).expect("bind");
    for _ in 0..1000 {
        let packet = udp::build(address("10.0.2.15:1"), address("10.0.2.2:53"), &[0; 1000], true);
        world.far.engine.receive(&packet, world.now);
    }
    assert_eq!(std::iter::from_fn(|| world.far.engine.receive_from(server)).count(), 212_992 / 1256);
    assert_eq!(world.far.engine.counters().dropped, 1000 - 212_992 / 1256);
}

#[test]
fn port_unreachable_is_not_sent_without_limit() {
    let mut world = World::new();
    for _ in 0..1000 {
        let packet = udp::build(address("10.0.2.15:1"), address("10.0.2.2:53"), b"", true);
        world.far.engine.receive(&packet, world.now);
    }
    assert_eq!(std::iter::from_fn(|| world.far.engine.transmit_packet(world.now)).count(), 50);
}

/// RFC 1122 3.2.2
#[test]
fn what_was_sent_to_everybody_is_not_complained_about() {
    let mut world = World::new();
    for to in ["10.0.2.255:53", "255.255.255.255:53"] {
        let packet = udp::build(address("10.0.2.15:1"), address(to), b"", true);
        world.far.engine.receive(&packet, world.now);
        assert_eq!(world.far.engine.transmit_packet(world.now), None);
    }
}

#[test]
fn a_datagram_too_big_for_the_path_is_an_error() {
    let mut world = World::new();
    let id = world.near.engine.open(Domain::V4, Kind::Datagram);
    world.near.engine.connect(id, address("10.0.2.2:53"), world.now).expect("connect");
    world.near.engine.send_to(id, None, &[0; 1400], world.now).expect("send");
    let packet = world.near.engine.transmit_packet(world.now).expect("a datagram");
    let header = ip::parse(&packet, true).expect("an IP packet");
    let router = address("10.0.2.1:0").ip();
    let error = icmp::unreachable(icmp::Unreachable::TooBig(1300), router, &packet, &header, true);
    world.near.engine.receive(&error, world.now);
    assert_eq!(world.near.engine.take_error(id), Some(Error::MessageTooLong));
}

#[test]
fn echo_requests_are_answered() {
    let mut world = World::with(|near, far| (near.checksums, far.checksums) = (false, false));
    for (from, to, request, reply) in [("10.0.2.15", "10.0.2.2", 8, 0), ("fd00::15", "fd00::2", 128, 129)] {
        let [from, to] = [from, to].map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let mut packet = ip::build(from, to, Protocol::Icmp, 64, false);
        let offset = packet.len() - 64;
        packet[offset] = request;
        packet[offset + 63] = 77;
        world.far.engine.receive(&packet, world.now);
        let answer = world.far.engine.transmit_packet(world.now).expect("an answer");
        let header = ip::parse(&answer, false).expect("an IP packet");
        assert_eq!((header.source, header.destination), (to, from));
        assert_eq!((answer[offset], answer[offset + 63]), (reply, 77));
        let checked = icmp::echo_reply(&answer, &header, true);
        let header = ip::parse(&checked, true).expect("an IP packet");
        assert!(icmp::parse(&checked, &header, true).is_ok(), "the checksum is right");
    }
}

/// Fragments, errors and replies with some bytes of theirs changed: all of it is counted, nothing stays behind.
#[test]
fn what_is_nearly_right_does_no_harm() {
    let mut world = World::with(|near, far| (near.checksums, far.checksums) = (false, false));
    let engine = &mut world.near.engine;
    let id = engine.open(Domain::V6, Kind::Datagram);
    engine.bind(id, address("[::]:53"), world.now).expect("bind");
    engine.join_group(id, address("239.1.2.3:0").ip(), None, None).expect("join");
    for domain in [Domain::V4, Domain::V6] {
        engine.set_option(id, SocketOption::ReceiveErrors(domain, true), world.now).expect("option");
        let echo = engine.open(domain, Kind::Echo);
        let any = if domain == Domain::V4 { "0.0.0.0:53" } else { "[::]:53" };
        engine.bind(echo, address(any), world.now).expect("bind");
    }
    let mut packets = Vec::new();
    for (ours, theirs) in [("10.0.2.15:53", "10.0.2.2:9"), ("[fd00::15]:53", "[fd00::2]:9")] {
        let (ours, theirs) = (address(ours), address(theirs));
        let sent = udp::build(ours, theirs, &[1; 100], false);
        let header = ip::parse(&sent, false).expect("a packet");
        for reason in [icmp::Unreachable::Port, icmp::Unreachable::TooBig(1300)] {
            packets.push(icmp::unreachable(reason, theirs.ip(), &sent, &header, false));
        }
        let kind = if ours.is_ipv4() { 0 } else { 129 };
        let reply = icmp::echo(theirs.ip(), ours.ip(), Default::default(), 53, &[kind; 40]);
        packets.push(reply.expect("a packet"));
        packets.extend(ip::fragment::cut(&udp::build(theirs, ours, &[2; 400], false), 200, 5, false));
    }
    packets.push(udp::build(address("10.0.2.2:9"), address("239.1.2.3:53"), b"group", false));
    let mut dice = Dice::new(11);
    for _ in 0..200_000 {
        let mut packet = packets[dice.below(packets.len() as u64) as usize].clone();
        for _ in 0..dice.below(4) {
            let place = dice.below(packet.len() as u64) as usize;
            packet[place] = dice.next() as u8;
        }
        packet.truncate(packet.len() - dice.below(3) as usize * dice.below(20) as usize);
        engine.receive(&packet, world.now);
        while engine.receive_from(id).is_some() || engine.next_report(id).is_some() {}
        while engine.transmit_packet(world.now).is_some() {}
    }
    let counters = engine.counters();
    assert!(counters.malformed > 1000 && counters.not_ours > 1000 && counters.dropped > 1000, "{counters}");
    packets.iter().for_each(|packet| engine.receive(packet, world.now));
    assert!(engine.receive_from(id).is_some() && engine.next_report(id).is_some());
}
