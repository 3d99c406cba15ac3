//! UDP-Lite, and the options of datagram sockets that change what is sent. The answers are Linux 6.18's.

use crate::world::{World, address, changes};
use tubesock::engine::{
    Control, Coverage, Domain, Engine, Kind, Origin, PathMtuDiscovery, SocketId, SocketOption, Timestamps,
};
use tubesock::error::Error;
use tubesock::ip::Treatment;
use tubesock::time::Instant;
use tubesock::udp_lite;

fn bound(engine: &mut Engine, kind: Kind, to: &str) -> SocketId {
    let id = engine.open(Domain::V4, kind);
    engine.bind(id, address(to), Instant::ZERO).expect("bind");
    id
}

fn received(engine: &mut Engine, id: SocketId) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| engine.receive_from(id)).map(|datagram| datagram.payload).collect()
}

/// The ports of UDP and UDP-Lite are not the same, and neither hears what is sent by the other.
#[test]
fn udp_lite_has_ports_of_its_own() {
    let mut world = World::new();
    let [lite, plain] =
        [Kind::Lite, Kind::Datagram].map(|kind| bound(&mut world.far.engine, kind, "10.0.2.2:53"));
    for (kind, taker) in [(Kind::Lite, lite), (Kind::Datagram, plain)] {
        let client = world.near.engine.open(Domain::V4, kind);
        world.near.engine.connect(client, address("10.0.2.2:53"), world.now).expect("connect");
        world.near.engine.send_to(client, None, b"query", world.now).expect("send");
        world.settle();
        assert_eq!(changes(&mut world.far.engine), [taker]);
        let query = world.far.engine.receive_from(taker).expect("a datagram");
        world.far.engine.send_to(taker, Some(query.from), b"reply", world.now).expect("send");
        world.settle();
        assert_eq!(received(&mut world.near.engine, client), [b"reply"]);
    }
    world.far.engine.release(lite, world.now);
    let client = world.near.engine.open(Domain::V4, Kind::Lite);
    world.near.engine.connect(client, address("10.0.2.2:53"), world.now).expect("connect");
    world.near.engine.send_to(client, None, b"query", world.now).expect("send");
    world.settle();
    assert_eq!(world.near.engine.take_error(client), Some(Error::ConnectionRefused));
}

/// udplite(7): who asks for less coverage than came has it; who asks for more, or for all, has not.
#[test]
fn coverage_that_is_too_small_is_dropped() {
    let mut world = World::new();
    for (sent, least, arrives) in [
        (0, None, true),
        (8, None, true),
        (8, Some(0), false),
        (8, Some(9), false),
        (9, Some(9), true),
        (0, Some(9), true),
        (0, Some(0), true),
        (100, Some(0), true),
    ] {
        let server = bound(&mut world.far.engine, Kind::Lite, "10.0.2.2:53");
        let coverage = Coverage { send: 0, receive: least };
        let option = SocketOption::ChecksumCoverage(coverage);
        world.far.engine.set_option(server, option, world.now).expect("option");
        let (from, to) = (address("10.0.2.15:9"), address("10.0.2.2:53"));
        let packet = udp_lite::build(from, to, Treatment::default(), b"hello", sent, true);
        world.far.engine.receive(&packet, world.now);
        let came = received(&mut world.far.engine, server) == [b"hello"];
        assert_eq!(came, arrives, "{sent} of {least:?}");
        world.far.engine.release(server, world.now);
    }
}

#[test]
fn what_is_corked_leaves_as_one() {
    let mut world = World::new();
    let server = bound(&mut world.far.engine, Kind::Datagram, "10.0.2.2:53");
    let elsewhere = bound(&mut world.far.engine, Kind::Datagram, "10.0.2.2:54");
    let client = world.near.engine.open(Domain::V4, Kind::Datagram);
    let more = Control { more: true, ..Control::default() };
    let to = |text: &str| Some(address(text));
    world.near.engine.send_with(client, to("10.0.2.2:53"), &more, b"one ", world.now).expect("send");
    world.settle();
    assert_eq!(received(&mut world.far.engine, server), [b""; 0]);
    // The first said where it goes.
    world.near.engine.send_to(client, to("10.0.2.2:54"), b"datagram", world.now).expect("send");
    world.settle();
    assert_eq!(received(&mut world.far.engine, server), [b"one datagram"]);

    world.near.engine.set_option(client, SocketOption::Cork(true), world.now).expect("option");
    world.near.engine.send_to(client, to("10.0.2.2:54"), b"a", world.now).expect("send");
    world.near.engine.send_to(client, to("10.0.2.2:54"), b"b", world.now).expect("send");
    world.near.engine.set_option(client, SocketOption::Cork(false), world.now).expect("option");
    world.settle();
    assert_eq!(received(&mut world.far.engine, elsewhere), [b"ab"]);

    // Too much throws all of it away.
    world.near.engine.send_with(client, to("10.0.2.2:54"), &more, &[0; 60_000], world.now).expect("send");
    let refused = world.near.engine.send_to(client, None, &[0; 60_000], world.now);
    assert_eq!(refused, Err(Error::MessageTooLong));
    world.near.engine.send_to(client, to("10.0.2.2:54"), b"c", world.now).expect("send");
    world.settle();
    assert_eq!(received(&mut world.far.engine, elsewhere), [b"c"]);
}

#[test]
fn segments() {
    let mut world = World::new();
    let server = bound(&mut world.far.engine, Kind::Datagram, "10.0.2.2:53");
    let client = world.near.engine.open(Domain::V4, Kind::Datagram);
    world.near.engine.connect(client, address("10.0.2.2:53"), world.now).expect("connect");
    world.near.engine.set_option(client, SocketOption::Segment(4), world.now).expect("option");
    world.near.engine.send_to(client, None, b"abcdefghij", world.now).expect("send");
    let whole = Control { segment: Some(0), ..Control::default() };
    world.near.engine.send_with(client, None, &whole, b"abcdefghij", world.now).expect("send");
    world.near.engine.send_to(client, None, b"", world.now).expect("send");
    world.settle();
    let parts: [&[u8]; 5] = [b"abcd", b"efgh", b"ij", b"abcdefghij", b""];
    assert_eq!(received(&mut world.far.engine, server), parts);
    let send = |engine: &mut Engine, size, length: usize| {
        let control = Control { segment: Some(size), ..Control::default() };
        engine.send_with(client, None, &control, &vec![0; length], world.now)
    };
    assert_eq!(send(&mut world.near.engine, 4, 4 * 128 + 1), Err(Error::InvalidArgument));
    assert_eq!(send(&mut world.near.engine, 1473, 3000), Err(Error::MessageTooLong));
    assert_eq!(send(&mut world.near.engine, 1472, 3000), Ok(()));
}

/// __udp_disconnect: a port that bind(2) chose is given back, and an address that the program chose is kept.
#[test]
fn dissolved() {
    let mut world = World::new();
    for (to, kept) in
        [("10.0.2.15:0", "10.0.2.15:0"), ("0.0.0.0:0", "0.0.0.0:0"), ("0.0.0.0:77", "0.0.0.0:77")]
    {
        let engine = &mut world.near.engine;
        let id = bound(engine, Kind::Datagram, to);
        engine.connect(id, address("10.0.2.2:53"), world.now).expect("connect");
        engine.disconnect(id).expect("disconnect");
        assert_eq!(engine.local(id), Some(address(kept)), "{to}");
        engine.send_to(id, Some(address("10.0.2.2:53")), b"x", world.now).expect("send");
        let again = engine.local(id).expect("a name");
        assert_eq!((again.ip(), again.port() != 0), (address(kept).ip(), true));
        engine.release(id, world.now);
    }
}

#[test]
fn a_broadcast_stays_on_the_loopback() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    let server = bound(engine, Kind::Datagram, "0.0.0.0:7000");
    let client = engine.open(Domain::V4, Kind::Datagram);
    let everybody = address("127.255.255.255:7000");
    assert_eq!(engine.send_to(client, Some(everybody), b"x", world.now), Err(Error::PermissionDenied));
    engine.set_option(client, SocketOption::Broadcast(true), world.now).expect("option");
    engine.send_to(client, Some(everybody), b"x", world.now).expect("send");
    assert_eq!(engine.transmit_packet(world.now), None);
    let datagram = engine.receive_from(server).expect("a datagram");
    assert_eq!((datagram.from.ip(), datagram.to), (address("127.0.0.1:0").ip(), everybody));
    assert_eq!(engine.receive_from(server), None);
}

#[test]
fn when_a_datagram_left() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    let id = engine.open(Domain::V4, Kind::Datagram);
    let to = address("10.0.2.2:53");
    let wanted = Timestamps { on: true, only: true, numbered: true, next: 0 };
    engine.set_option(id, SocketOption::Timestamps(wanted), world.now).expect("option");
    for number in 0..2 {
        engine.send_to(id, Some(to), b"x", world.now).expect("send");
        let report = engine.next_report(id).expect("a report");
        assert_eq!((report.origin, report.data), (Origin::Timestamping, number));
        assert_eq!((report.sent_micros, report.payload.len()), (Some(world.now.micros()), 0));
        assert_eq!(engine.take_error(id), None, "it is no error");
    }
    engine
        .set_option(id, SocketOption::PathMtuDiscovery(Domain::V4, PathMtuDiscovery::Do), world.now)
        .expect("option");
    assert_eq!(engine.send_to(id, Some(to), &[0; 2000], world.now), Err(Error::MessageTooLong));
    assert_eq!(engine.next_report(id), None, "what is refused has not left");
    engine.send_to(id, Some(to), b"x", world.now).expect("send");
    assert_eq!(engine.next_report(id).map(|report| report.data), Some(2), "nor is it counted");
}
