//! Ports and addresses: what conflicts, what is mapped, and what stays inside.

use crate::world::{World, address, changes, read, settings, write};
use std::collections::HashSet;
use tubesock::engine::{Domain, Engine, Kind, SocketId, SocketOption, StreamState};
use tubesock::error::Error;
use tubesock::time::Instant;

const NOW: Instant = Instant::from_micros(5_000_000);

fn engine() -> Engine {
    Engine::new(settings("15", 3), NOW)
}

struct Wanted {
    address: &'static str,
    reuse: bool,
    v6_only: bool,
}

const fn wants(address: &'static str) -> Wanted {
    Wanted { address, reuse: false, v6_only: false }
}

const fn reuses(address: &'static str) -> Wanted {
    Wanted { reuse: true, ..wants(address) }
}

fn bind(engine: &mut Engine, kind: Kind, wanted: &Wanted) -> Result<SocketId, Error> {
    let to = address(wanted.address);
    let id = engine.open(if to.is_ipv4() { Domain::V4 } else { Domain::V6 }, kind);
    engine.set_option(id, SocketOption::ReuseAddress(wanted.reuse), NOW)?;
    if to.is_ipv6() {
        engine.set_option(id, SocketOption::V6Only(wanted.v6_only), NOW)?;
    }
    engine.bind(id, to, NOW).map(|()| id)
}

/// Who may be bound beside whom: each row is what Linux 6.18 answered to the same two binds (with 127.0.0.2 for
/// 10.0.2.15).
#[test]
fn bind_conflicts() {
    let v6_only = Wanted { v6_only: true, ..wants("[::]:80") };
    let table: [(Wanted, bool, Wanted, bool); 14] = [
        (wants("0.0.0.0:80"), false, wants("0.0.0.0:80"), false),
        (wants("0.0.0.0:80"), false, wants("10.0.2.15:80"), false),
        (wants("10.0.2.15:80"), false, wants("0.0.0.0:80"), false),
        (wants("10.0.2.15:80"), false, wants("127.0.0.1:80"), true),
        (wants("0.0.0.0:80"), false, wants("0.0.0.0:81"), true),
        (reuses("0.0.0.0:80"), false, wants("0.0.0.0:80"), false),
        (reuses("0.0.0.0:80"), false, reuses("0.0.0.0:80"), true),
        (reuses("0.0.0.0:80"), true, reuses("0.0.0.0:80"), false),
        (reuses("10.0.2.15:80"), true, reuses("127.0.0.1:80"), true),
        (wants("[::]:80"), false, wants("0.0.0.0:80"), false),
        (v6_only, false, wants("0.0.0.0:80"), true),
        (wants("[::]:80"), false, wants("[::ffff:10.0.2.15]:80"), false),
        (wants("[::1]:80"), false, wants("0.0.0.0:80"), true),
        (wants("[::ffff:127.0.0.1]:80"), false, wants("127.0.0.1:80"), false),
    ];
    for (first, listens, second, fits) in &table {
        let mut engine = engine();
        let id = bind(&mut engine, Kind::Stream, first).expect("the first");
        if *listens {
            engine.listen(id, 1, NOW).expect("listen");
        }
        let outcome = bind(&mut engine, Kind::Stream, second).map(|_| ());
        let expected = if *fits { Ok(()) } else { Err(Error::AddressInUse) };
        assert_eq!(outcome, expected, "{} then {}", first.address, second.address);
        engine.release(id, NOW);
        assert!(bind(&mut engine, Kind::Stream, &wants("0.0.0.0:80")).is_ok() || *fits, "freed by release");
    }
}

#[test]
fn of_two_that_reuse_an_address_one_may_listen() {
    let mut engine = engine();
    let ids = [0, 1].map(|_| bind(&mut engine, Kind::Stream, &reuses("0.0.0.0:80")).expect("bind"));
    engine.listen(ids[0], 1, NOW).expect("listen");
    assert_eq!(engine.listen(ids[1], 1, NOW), Err(Error::AddressInUse));
}

#[test]
fn bind_errors() {
    let mut engine = engine();
    let id = engine.open(Domain::V4, Kind::Stream);
    assert_eq!(engine.bind(id, address("9.9.9.9:80"), NOW), Err(Error::AddressNotAvailable));
    assert_eq!(engine.bind(id, address("[::]:80"), NOW), Err(Error::AddressFamilyNotSupported));
    assert_eq!(engine.bind(id, address("0.0.0.0:80"), NOW), Ok(()));
    assert_eq!(engine.bind(id, address("0.0.0.0:81"), NOW), Err(Error::InvalidArgument));
    assert_eq!(engine.local(id), Some(address("0.0.0.0:80")));
}

#[test]
fn ephemeral_ports_are_random_and_in_range() {
    let mut engine = engine();
    let mut ports = Vec::new();
    for _ in 0..100 {
        let id = bind(&mut engine, Kind::Datagram, &wants("0.0.0.0:0")).expect("bind");
        ports.push(engine.local(id).expect("bound").port());
    }
    assert!(ports.iter().all(|port| (32768..=60999).contains(port)));
    assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 100);
    let rising = ports.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!((20..80).contains(&rising), "{rising}");
}

#[test]
fn every_ephemeral_port_can_be_had_and_then_no_more() {
    let mut engine = engine();
    for _ in 0..28232 {
        bind(&mut engine, Kind::Stream, &wants("0.0.0.0:0")).expect("bind");
    }
    assert_eq!(bind(&mut engine, Kind::Stream, &wants("0.0.0.0:0")), Err(Error::AddressInUse));
    let id = engine.open(Domain::V4, Kind::Stream);
    assert_eq!(engine.connect(id, address("10.0.2.2:80"), NOW), Err(Error::AddressNotAvailable));
}

#[test]
fn connect_errors() {
    let mut engine = engine();
    let open = |engine: &mut Engine| engine.open(Domain::V4, Kind::Stream);
    let id = open(&mut engine);
    assert_eq!(engine.connect(id, address("255.255.255.255:80"), NOW), Err(Error::NetworkUnreachable));
    assert_eq!(engine.connect(id, address("224.0.0.1:80"), NOW), Err(Error::NetworkUnreachable));
    assert_eq!(engine.connect(id, address("10.0.2.2:80"), NOW), Ok(()));
    assert_eq!(engine.connect(id, address("10.0.2.2:80"), NOW), Err(Error::AlreadyInProgress));
    let [one, other] =
        [0, 1].map(|_| bind(&mut engine, Kind::Stream, &reuses("10.0.2.15:99")).expect("bind"));
    assert_eq!(engine.connect(one, address("10.0.2.2:80"), NOW), Ok(()));
    assert_eq!(engine.connect(other, address("10.0.2.2:80"), NOW), Err(Error::AddressNotAvailable));
    assert_eq!(engine.connect(other, address("10.0.2.2:81"), NOW), Ok(()));
    let mut bare = settings("15", 3);
    bare.addresses.clear();
    let mut engine = Engine::new(bare, NOW);
    let id = open(&mut engine);
    assert_eq!(engine.connect(id, address("10.0.2.2:80"), NOW), Err(Error::NetworkUnreachable));
}

#[test]
fn ipv6_end_to_end() {
    let mut world = World::new();
    let listener = world.far.engine.open(Domain::V6, Kind::Stream);
    world.far.engine.bind(listener, address("[::]:80"), world.now).expect("bind");
    world.far.engine.listen(listener, 5, world.now).expect("listen");
    let client = world.near.engine.open(Domain::V6, Kind::Stream);
    world.near.engine.connect(client, address("[fd00::2]:80"), world.now).expect("connect");
    let fourth = world.near.engine.open(Domain::V4, Kind::Stream);
    world.near.engine.connect(fourth, address("10.0.2.2:80"), world.now).expect("connect");
    world.settle();
    let server = world.far.engine.accept(listener).expect("IPv6");
    assert_eq!(world.far.engine.peer(server), world.near.engine.local(client));
    assert_eq!(world.near.engine.local(client).expect("local").ip(), address("[fd00::15]:1").ip());
    assert_eq!(world.near.engine.mss(client), 1428);
    write(&mut world.near.engine, client, b"six");
    world.settle();
    assert_eq!(read(&mut world.far.engine, server, 9), b"six");
    // The same listener takes IPv4, and shows it mapped.
    let server = world.far.engine.accept(listener).expect("IPv4");
    assert_eq!(world.far.engine.local(server), Some(address("[::ffff:10.0.2.2]:80")));
    let peer = world.far.engine.peer(server).expect("peer");
    assert!(peer.to_string().starts_with("[::ffff:10.0.2.15]:"), "{peer}");
}

#[test]
fn mapped_addresses_connect_over_ipv4_unless_v6_only() {
    let mut world = World::new();
    world.listener(80, 5);
    let client = world.near.engine.open(Domain::V6, Kind::Stream);
    world.near.engine.connect(client, address("[::ffff:10.0.2.2]:80"), world.now).expect("connect");
    world.settle();
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connected));
    assert_eq!(world.near.engine.peer(client), Some(address("[::ffff:10.0.2.2]:80")));
    let only = world.near.engine.open(Domain::V6, Kind::Stream);
    world.near.engine.set_option(only, SocketOption::V6Only(true), world.now).expect("option");
    let to = address("[::ffff:10.0.2.2]:80");
    assert_eq!(world.near.engine.connect(only, to, world.now), Err(Error::NetworkUnreachable));
}

/// What is for ourselves never leaves: the engine alone makes both ends.
#[test]
fn loopback_and_own_addresses_stay_inside() {
    for to in
        ["127.0.0.1:80", "127.9.9.9:80", "10.0.2.15:80", "0.0.0.0:80", "[::1]:80", "[::]:80", "[fd00::15]:80"]
    {
        let to = address(to);
        let mut engine = engine();
        let listener = engine.open(Domain::V6, Kind::Stream);
        engine.bind(listener, address("[::]:80"), NOW).expect("bind");
        engine.listen(listener, 5, NOW).expect("listen");
        let client = engine.open(if to.is_ipv4() { Domain::V4 } else { Domain::V6 }, Kind::Stream);
        engine.connect(client, to, NOW).expect("connect");
        assert_eq!(engine.transmit_packet(NOW), None);
        assert_eq!(engine.state(client), Some(StreamState::Connected), "{to}");
        let server = engine.accept(listener).expect("a connection");
        assert!(engine.mss(client) > 65_000);
        let data: Vec<u8> = (0..1_000_000).map(|position| (position / 7) as u8).collect();
        let (mut written, mut received) = (0, Vec::new());
        while received.len() < data.len() {
            written += write(&mut engine, client, &data[written..]);
            assert_eq!(engine.transmit_packet(NOW), None);
            received.extend(read(&mut engine, server, usize::MAX));
        }
        assert!(received == data);
        assert!(changes(&mut engine).contains(&server));
        engine.release(client, NOW);
        assert_eq!(engine.transmit_packet(NOW), None);
        assert!(engine.at_eof(server));
        assert_eq!(engine.counters().packets_sent, 0);
    }
}

#[test]
fn loopback_refuses_and_datagrams_loop_too() {
    let mut engine = engine();
    let client = engine.open(Domain::V4, Kind::Stream);
    engine.connect(client, address("127.0.0.1:80"), NOW).expect("connect");
    assert_eq!(engine.transmit_packet(NOW), None);
    assert_eq!(engine.end(client), Some(Error::ConnectionRefused));
    let id = engine.open(Domain::V4, Kind::Datagram);
    engine.connect(id, address("127.0.0.1:53"), NOW).expect("connect");
    engine.send_to(id, None, b"?", NOW).expect("send");
    assert_eq!(engine.transmit_packet(NOW), None);
    assert_eq!(engine.take_error(id), Some(Error::ConnectionRefused));
    engine.send_to(id, engine.local(id), &[0; 65507], NOW).expect("to itself");
    assert_eq!(engine.transmit_packet(NOW), None);
}

/// The famous one: a socket connected to its own address (simultaneous open with itself).
#[test]
fn a_socket_can_connect_to_itself() {
    let mut engine = engine();
    let id = bind(&mut engine, Kind::Stream, &wants("127.0.0.1:77")).expect("bind");
    engine.connect(id, address("127.0.0.1:77"), NOW).expect("connect");
    let mut now = NOW;
    for _ in 0..50 {
        assert_eq!(engine.transmit_packet(now), None);
        now = now + std::time::Duration::from_millis(100);
        engine.advance(now);
    }
    assert_eq!(engine.state(id), Some(StreamState::Connected));
    write(&mut engine, id, b"echo");
    assert_eq!(engine.transmit_packet(now), None);
    assert_eq!(read(&mut engine, id, 9), b"echo");
}

#[test]
fn martians_are_dropped() {
    let mut world = World::new();
    let id = world.far.engine.open(Domain::V4, Kind::Datagram);
    world.far.engine.bind(id, address("0.0.0.0:53"), world.now).expect("bind");
    for (from, to) in [
        ("127.0.0.1:1", "10.0.2.2:53"),
        ("10.0.2.2:1", "10.0.2.2:53"),
        ("10.0.2.15:1", "127.0.0.1:53"),
        ("224.0.0.1:1", "10.0.2.2:53"),
        ("10.0.2.15:1", "10.0.2.3:53"),
    ] {
        let packet = tubesock::udp::build(address(from), address(to), b"x", true);
        world.far.engine.receive(&packet, world.now);
    }
    assert_eq!(world.far.engine.counters().not_ours, 5);
    assert_eq!(world.far.engine.receive_from(id), None);
}

#[test]
fn ids_are_never_used_again() {
    let mut engine = engine();
    let mut seen = HashSet::new();
    for _ in 0..1000 {
        let id = engine.open(Domain::V4, Kind::Stream);
        assert!(seen.insert(id));
        engine.release(id, NOW);
        assert_eq!(engine.state(id), None);
        engine.release(id, NOW);
    }
}

#[test]
fn an_engine_and_its_link_can_move_to_another_thread() {
    fn can_move<T: Send>() {}
    can_move::<Engine>();
    can_move::<tubesock::link::pair::PairEnd>();
}
