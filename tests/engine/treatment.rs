//! TTL and TOS, hop limit and traffic class; where a datagram comes from and where it went.

use crate::world::{World, address, write};
use std::net::IpAddr;
use tubesock::engine::{Control, Domain, Engine, Kind, Path, SocketId, SocketOption};
use tubesock::error::Error;
use tubesock::ip::{self, Treatment};

const SPECIAL: Treatment = Treatment { hop_limit: 9, traffic_class: 0xb8 };

fn set(engine: &mut Engine, id: SocketId, domain: Domain, wanted: Treatment) {
    for option in [
        SocketOption::HopLimit(domain, Some(wanted.hop_limit)),
        SocketOption::TrafficClass(domain, wanted.traffic_class),
    ] {
        engine.set_option(id, option, tubesock::time::Instant::ZERO).expect("option");
    }
}

/// How the next packet that `engine` sends asks to be treated.
fn next(world: &mut World) -> Treatment {
    let packet = world.near.engine.transmit_packet(world.now).expect("a packet");
    ip::parse(&packet, true).expect("its checksum is right").treatment
}

#[test]
fn datagrams_are_treated_as_the_socket_or_the_call_says() {
    let mut world = World::new();
    for (domain, to) in [(Domain::V4, "10.0.2.2:53"), (Domain::V6, "[fd00::2]:53")] {
        let id = world.near.engine.open(domain, Kind::Datagram);
        let send = |world: &mut World, control: &Control| {
            world.near.engine.send_with(id, Some(address(to)), control, b"x", world.now).expect("send");
            next(world)
        };
        assert_eq!(send(&mut world, &Control::default()), Treatment::default());
        set(&mut world.near.engine, id, domain, SPECIAL);
        assert_eq!(send(&mut world, &Control::default()), SPECIAL);
        let control = Control { hop_limit: Some(1), traffic_class: Some(3), ..Control::default() };
        assert_eq!(send(&mut world, &control), Treatment { hop_limit: 1, traffic_class: 3 });
        world.near.engine.set_option(id, SocketOption::HopLimit(domain, None), world.now).expect("option");
        assert_eq!(send(&mut world, &Control::default()).hop_limit, 64);
    }
}

/// A socket of IPv6 that speaks IPv4 has both, each its own.
#[test]
fn the_versions_are_apart() {
    let mut world = World::new();
    let id = world.near.engine.open(Domain::V6, Kind::Datagram);
    set(&mut world.near.engine, id, Domain::V4, SPECIAL);
    for (to, expected) in [("[::ffff:10.0.2.2]:53", SPECIAL), ("[fd00::2]:53", Treatment::default())] {
        world.near.engine.send_to(id, Some(address(to)), b"x", world.now).expect("send");
        assert_eq!(next(&mut world), expected);
    }
}

/// Every segment, from the SYN on; those of accepted connections as the listener said. The bits of ECN are not the program's.
#[test]
fn connections_are_treated_as_the_socket_says() {
    let mut world = World::new();
    let listener = world.listener(80, 5);
    set(&mut world.far.engine, listener, Domain::V4, Treatment { hop_limit: 7, traffic_class: 0x13 });
    let client = world.near.engine.open(Domain::V4, Kind::Stream);
    set(&mut world.near.engine, client, Domain::V4, SPECIAL);
    world.near.engine.connect(client, address("10.0.2.2:80"), world.now).expect("connect");
    let seen = std::rc::Rc::new(std::cell::RefCell::new([vec![], vec![]]));
    for (way, road) in world.roads.iter_mut().enumerate() {
        let seen = seen.clone();
        *road = Box::new(move |packet| {
            seen.borrow_mut()[way].push(ip::parse(&packet, true).expect("a packet").treatment);
            vec![packet]
        });
    }
    world.settle();
    write(&mut world.near.engine, client, &[1; 10_000]);
    world.settle();
    let seen = seen.borrow();
    assert!(seen.iter().all(|way| way.len() > 1));
    assert!(seen[0].iter().all(|treatment| *treatment == SPECIAL));
    assert!(seen[1].iter().all(|treatment| *treatment == Treatment { hop_limit: 7, traffic_class: 0x10 }));
}

#[test]
fn who_receives_is_told_all_of_it() {
    let mut world = World::new();
    let server = world.far.engine.open(Domain::V6, Kind::Datagram);
    world.far.engine.bind(server, address("[::]:53"), world.now).expect("bind");
    for (domain, to) in [(Domain::V4, "10.0.2.2:53"), (Domain::V6, "[fd00::2]:53")] {
        let client = world.near.engine.open(domain, Kind::Datagram);
        set(&mut world.near.engine, client, domain, SPECIAL);
        world.near.engine.send_to(client, Some(address(to)), b"x", world.now).expect("send");
        world.settle();
        let datagram = world.far.engine.receive_from(server).expect("a datagram");
        assert_eq!((datagram.treatment, datagram.path), (SPECIAL, Path::Link));
        assert_eq!(datagram.local, datagram.to.ip());
    }
}

/// The interface is that of the address, though what is for ourselves never leaves; as on Linux.
#[test]
fn the_interface_of_what_stays_inside_is_that_of_the_address() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    let id = engine.open(Domain::V4, Kind::Datagram);
    engine.bind(id, address("0.0.0.0:53"), world.now).expect("bind");
    for (to, from, path) in [
        ("127.0.0.1:53", "127.0.0.1", Path::Loopback),
        ("127.5.5.5:53", "127.0.0.1", Path::Loopback),
        ("10.0.2.15:53", "10.0.2.15", Path::Link),
    ] {
        engine.send_to(id, Some(address(to)), b"x", world.now).expect("send");
        assert_eq!(engine.transmit_packet(world.now), None);
        let datagram = engine.receive_from(id).expect("a datagram");
        assert_eq!((datagram.to, datagram.path), (address(to), path));
        assert_eq!(datagram.from.ip(), from.parse::<IpAddr>().expect("an address"));
    }
}

/// IP_PKTINFO: each row is what Linux 6.18 answered, with an address of its own for ours.
#[test]
fn a_call_chooses_source_and_interface() {
    let mut world = World::with(|near, _| {
        near.addresses.push("10.0.2.16/24".parse().expect("an address"));
    });
    let id = world.near.engine.open(Domain::V4, Kind::Datagram);
    let mut source = |source: &str, path: Option<Path>, to: &str| {
        let source = Some(source.parse().expect("an address"));
        let control = Control { source, path, ..Control::default() };
        world.near.engine.send_with(id, Some(address(to)), &control, b"x", world.now)?;
        let packet = world.near.engine.transmit_packet(world.now).expect("a packet");
        Ok(ip::parse(&packet, true).expect("a packet").source.to_string())
    };
    let to = "10.0.2.2:53";
    assert_eq!(source("10.0.2.16", None, to).as_deref(), Ok("10.0.2.16"));
    assert_eq!(source("10.0.2.16", Some(Path::Link), to).as_deref(), Ok("10.0.2.16"));
    assert_eq!(source("0.0.0.0", Some(Path::Link), to).as_deref(), Ok("10.0.2.15"));
    assert_eq!(source("1.2.3.4", None, to), Err(Error::NetworkUnreachable));
    assert_eq!(source("239.1.1.1", None, to), Err(Error::InvalidArgument));
    assert_eq!(source("127.0.0.1", None, to), Err(Error::InvalidArgument));
    assert_eq!(source("0.0.0.0", Some(Path::Loopback), to), Err(Error::NetworkUnreachable));
}

#[test]
fn interfaces_have_names_by_number_and_addresses() {
    let world = World::new();
    let [loopback, link] = world.near.engine.interfaces();
    assert_eq!((loopback.path.index(), loopback.mtu, link.path.index(), link.mtu), (1, 65_536, 2, 1500));
    assert_eq!(link.addresses[0], "10.0.2.15/24".parse().expect("an address"));
    assert_eq!(Path::with_index(2), Some(Path::Link));
    assert_eq!(Path::with_index(3), None);
    for (text, path) in
        [("127.0.0.9", Some(Path::Loopback)), ("10.0.2.15", Some(Path::Link)), ("10.0.2.2", None)]
    {
        assert_eq!(world.near.engine.interface_of(text.parse().expect("an address")), path);
    }
}
