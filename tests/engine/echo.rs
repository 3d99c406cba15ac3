//! Echo sockets. The answers are those of Linux 6.18's ping sockets.

use crate::world::{World, address, changes};
use tubesock::engine::{Domain, Engine, Kind, Path, SocketId, SocketOption};
use tubesock::error::Error;
use tubesock::icmp::{self, Unreachable};
use tubesock::ip;

/// An echo request with some identifier and this sequence number.
fn request(domain: Domain, sequence: u8) -> Vec<u8> {
    let kind = if domain == Domain::V4 { 8 } else { 128 };
    [&[kind, 0, 0xff, 0xff, 9, 9, 0, sequence], b"payload".as_slice()].concat()
}

fn bound(engine: &mut Engine, to: &str) -> Result<SocketId, Error> {
    let to = address(to);
    let id = engine.open(if to.is_ipv4() { Domain::V4 } else { Domain::V6 }, Kind::Echo);
    engine.bind(id, to, tubesock::time::Instant::ZERO).map(|()| id)
}

#[test]
fn a_reply_comes_back_to_its_identifier() {
    for (domain, to, own) in
        [(Domain::V4, "10.0.2.2:33", "10.0.2.15:1"), (Domain::V6, "[fd00::2]:0", "[fd00::15]:1")]
    {
        let mut world = World::new();
        let to = address(to);
        let [one, other] = [0, 1].map(|_| world.near.engine.open(domain, Kind::Echo));
        for (id, sequence) in [(one, 1), (other, 2)] {
            let request = request(domain, sequence);
            world.near.engine.send_to(id, Some(to), &request, world.now).expect("send");
        }
        world.settle();
        assert_eq!(changes(&mut world.near.engine), [one, other]);
        for (id, sequence) in [(one, 1), (other, 2)] {
            let identifier = world.near.engine.local(id).expect("it is bound now").port();
            let datagram = world.near.engine.receive_from(id).expect("a reply");
            assert_eq!((datagram.from.ip(), datagram.from.port()), (to.ip(), 0));
            assert_eq!((datagram.to.ip(), datagram.path), (address(own).ip(), Path::Link));
            assert_eq!(datagram.treatment.hop_limit, 64);
            assert_eq!(datagram.payload[4..6], identifier.to_be_bytes());
            assert_eq!(datagram.payload[6..8], [0, sequence]);
            assert_eq!(&datagram.payload[8..], b"payload");
            assert_eq!(datagram.payload[0], if domain == Domain::V4 { 0 } else { 129 });
            assert_eq!(world.near.engine.receive_from(id), None);
        }
    }
}

#[test]
fn the_loopback_answers_too() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    for to in ["127.0.0.1:0", "[::1]:0", "10.0.2.15:0"] {
        let to = address(to);
        let domain = if to.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let id = engine.open(domain, Kind::Echo);
        engine.connect(id, to, world.now).expect("connect");
        engine.send_to(id, None, &request(domain, 1), world.now).expect("send");
        assert_eq!(engine.transmit_packet(world.now), None);
        assert_eq!(engine.receive_from(id).expect("a reply").from.ip(), to.ip());
    }
}

#[test]
fn what_a_ping_socket_refuses() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    let id = bound(engine, "0.0.0.0:77").expect("bind");
    assert_eq!(engine.local(id), Some(address("0.0.0.0:77")));
    // SO_REUSEADDR is on from the beginning.
    let again = bound(engine, "127.0.0.1:77").expect("bind");
    engine.set_option(id, SocketOption::ReuseAddress(false), world.now).expect("option");
    engine.release(again, world.now);
    assert_eq!(bound(engine, "127.0.0.1:77"), Err(Error::AddressInUse));
    assert_eq!(bound(engine, "[::]:77"), Err(Error::AddressInUse));
    assert_eq!(bound(engine, "9.9.9.9:5"), Err(Error::AddressNotAvailable));
    let to = Some(address("10.0.2.2:0"));
    let good = request(Domain::V4, 1);
    for bad in [&good[..7], &[0; 8], &[8, 1, 0, 0, 0, 0, 0, 0], &request(Domain::V6, 1)] {
        assert_eq!(engine.send_to(id, to, bad, world.now), Err(Error::InvalidArgument));
    }
    assert_eq!(engine.send_to(id, None, &[0; 8], world.now), Err(Error::InvalidArgument));
    assert_eq!(engine.send_to(id, None, &good, world.now), Err(Error::DestinationRequired));
    let mut large = good.clone();
    large.resize(65_516, 0);
    assert_eq!(engine.send_to(id, to, &large, world.now), Err(Error::MessageTooLong));
    large.truncate(65_515);
    assert_eq!(engine.send_to(id, to, &large, world.now), Ok(()));
    assert_eq!(engine.listen(id, 1, world.now), Err(Error::NotSupported));
    let six = engine.open(Domain::V6, Kind::Echo);
    let mapped = address("[::ffff:10.0.2.2]:0");
    let sent = engine.send_to(six, Some(mapped), &request(Domain::V6, 1), world.now);
    assert_eq!(sent, Err(Error::InvalidArgument));
    assert_eq!(engine.connect(six, mapped, world.now), Err(Error::NetworkUnreachable));
}

#[test]
fn a_reply_to_nobody_is_dropped() {
    let mut world = World::new();
    let id = world.near.engine.open(Domain::V4, Kind::Echo);
    let to = Some(address("10.0.2.2:0"));
    world.near.engine.send_to(id, to, &request(Domain::V4, 1), world.now).expect("send");
    world.near.engine.release(id, world.now);
    world.settle();
    assert_eq!(world.near.engine.counters().dropped, 1);
}

/// Of a router on the way: ping(8) has IP_RECVERR set, and so has what it shows.
#[test]
fn errors_find_the_socket_by_its_identifier() {
    let mut world = World::new();
    let id = world.near.engine.open(Domain::V4, Kind::Echo);
    let option = SocketOption::ReceiveErrors(Domain::V4, true);
    world.near.engine.set_option(id, option, world.now).expect("option");
    let to = address("192.0.2.1:0");
    world.near.engine.send_to(id, Some(to), &request(Domain::V4, 3), world.now).expect("send");
    let packet = world.near.engine.transmit_packet(world.now).expect("a request");
    let header = ip::parse(&packet, true).expect("a packet");
    let router = address("10.0.2.1:0").ip();
    let error = icmp::unreachable(Unreachable::Host, router, &packet, &header, true);
    world.near.engine.receive(&error, world.now);
    assert_eq!(world.near.engine.take_error(id), Some(Error::HostUnreachable));
    let report = world.near.engine.next_report(id).expect("a report");
    assert_eq!((report.kind, report.code, report.offender, report.to), (3, 1, Some(router), to));
    assert_eq!((report.payload[0], &report.payload[6..]), (8, &request(Domain::V4, 3)[6..]));
}
