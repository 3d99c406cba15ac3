//! Errors of datagrams, and their queue (MSG_ERRQUEUE). The answers are Linux 6.18's.

use crate::world::{World, address, changes};
use tubesock::engine::{Domain, ErrorReport, Kind, Origin, PathMtuDiscovery, SocketId, SocketOption};
use tubesock::error::Error;
use tubesock::icmp::{self, Unreachable};
use tubesock::ip;

fn reporting(world: &mut World, domain: Domain) -> SocketId {
    let engine = &mut world.near.engine;
    let id = engine.open(domain, Kind::Datagram);
    for version in [Domain::V4, Domain::V6] {
        let option = SocketOption::ReceiveErrors(version, true);
        engine.set_option(id, option, world.now).expect("option");
    }
    id
}

/// Sends, and what the router answers to it arrives.
fn complain(world: &mut World, id: SocketId, to: &str, payload: &[u8], reason: Unreachable) {
    let to = address(to);
    world.near.engine.send_to(id, Some(to), payload, world.now).expect("send");
    let packet = world.near.engine.transmit_packet(world.now).expect("a packet");
    let header = ip::parse(&packet, true).expect("a packet");
    let router = if header.source.is_ipv4() { "10.0.2.1:0" } else { "[fd00::1]:0" };
    let error = icmp::unreachable(reason, address(router).ip(), &packet, &header, true);
    world.near.engine.receive(&error, world.now);
}

#[test]
fn an_unconnected_socket_hears_only_if_it_asks() {
    let mut world = World::new();
    let id = world.near.engine.open(Domain::V4, Kind::Datagram);
    complain(&mut world, id, "10.0.2.2:9", b"x", Unreachable::Port);
    assert_eq!((world.near.engine.take_error(id), changes(&mut world.near.engine).len()), (None, 0));
    let option = SocketOption::ReceiveErrors(Domain::V4, true);
    world.near.engine.set_option(id, option, world.now).expect("option");
    complain(&mut world, id, "10.0.2.2:9", b"hello", Unreachable::Port);
    assert_eq!(changes(&mut world.near.engine), [id]);
    assert!(world.near.engine.has_reports(id));
    assert_eq!(world.near.engine.take_error(id), Some(Error::ConnectionRefused));
    let report = ErrorReport {
        error: Error::ConnectionRefused,
        origin: Origin::Icmp,
        kind: 3,
        code: 3,
        info: 0,
        data: 0,
        sent_micros: None,
        offender: Some(address("10.0.2.1:0").ip()),
        to: address("10.0.2.2:9"),
        payload: b"hello".to_vec(),
    };
    assert_eq!(world.near.engine.next_report(id), Some(report));
    assert_eq!((world.near.engine.next_report(id), world.near.engine.has_reports(id)), (None, false));
}

/// Without IP_RECVERR, of a connected socket what is fatal only.
#[test]
fn a_connected_socket_hears_what_is_fatal() {
    let mut world = World::new();
    let id = world.near.engine.open(Domain::V4, Kind::Datagram);
    world.near.engine.connect(id, address("10.0.2.2:9"), world.now).expect("connect");
    for (reason, heard) in [
        (Unreachable::Host, None),
        (Unreachable::Network, None),
        (Unreachable::Port, Some(Error::ConnectionRefused)),
        (Unreachable::Prohibited, Some(Error::HostUnreachable)),
    ] {
        complain(&mut world, id, "10.0.2.2:9", b"x", reason);
        assert_eq!(world.near.engine.take_error(id), heard, "{reason:?}");
        assert!(!world.near.engine.has_reports(id));
    }
}

#[test]
fn reading_the_queue_leaves_the_next_error_pending() {
    let mut world = World::new();
    let id = reporting(&mut world, Domain::V4);
    for (to, reason) in [("10.0.2.2:9", Unreachable::Port), ("10.0.2.2:10", Unreachable::Host)] {
        complain(&mut world, id, to, b"x", reason);
        world.near.engine.take_error(id);
    }
    assert_eq!(world.near.engine.next_report(id).expect("a report").to, address("10.0.2.2:9"));
    assert_eq!(world.near.engine.take_error(id), Some(Error::HostUnreachable));
    assert_eq!(world.near.engine.next_report(id).expect("a report").to, address("10.0.2.2:10"));
    assert_eq!(world.near.engine.take_error(id), None);
    // And a pending error goes with its report.
    complain(&mut world, id, "10.0.2.2:9", b"x", Unreachable::Port);
    world.near.engine.next_report(id).expect("a report");
    assert_eq!(world.near.engine.take_error(id), None);
}

#[test]
fn ipv6_and_mapped_addresses() {
    let mut world = World::new();
    let id = reporting(&mut world, Domain::V6);
    for (to, origin, kind, code, offender) in [
        ("[fd00::2]:9", Origin::Icmp6, 1, 4, "fd00::1"),
        ("[::ffff:10.0.2.2]:9", Origin::Icmp, 3, 3, "::ffff:10.0.2.1"),
    ] {
        complain(&mut world, id, to, b"six", Unreachable::Port);
        assert_eq!(world.near.engine.take_error(id), Some(Error::ConnectionRefused));
        let report = world.near.engine.next_report(id).expect("a report");
        assert_eq!((report.origin, report.kind, report.code), (origin, kind, code));
        assert_eq!((report.offender, report.to), (Some(offender.parse().expect("an address")), address(to)));
        assert_eq!(report.payload, b"six");
    }
}

#[test]
fn the_queue_is_bounded_by_the_receive_buffer() {
    let mut world = World::new();
    let id = reporting(&mut world, Domain::V4);
    world.near.engine.set_option(id, SocketOption::ReceiveBuffer(Some(1280)), world.now).expect("option");
    for _ in 0..100 {
        complain(&mut world, id, "10.0.2.2:9", b"", Unreachable::Port);
        world.near.engine.take_error(id);
    }
    assert_eq!(std::iter::from_fn(|| world.near.engine.next_report(id)).count(), 10);
    assert_eq!(world.near.engine.counters().dropped, 90);
}

/// IP_MTU_DISCOVER: who may cut, who heeds what routers say, and who hears of it.
#[test]
fn a_datagram_too_large_for_the_path() {
    use PathMtuDiscovery::{Do, Dont, Interface, Omit, Probe, Want};
    for (discovery, heard, cut) in [
        (Dont, None, Some(1300)),
        (Want, Some(Error::MessageTooLong), Some(1300)),
        (Do, Some(Error::MessageTooLong), None),
        (Probe, Some(Error::MessageTooLong), Some(1500)),
        (Interface, Some(Error::MessageTooLong), Some(1500)),
        (Omit, Some(Error::MessageTooLong), Some(1500)),
    ] {
        let mut world = World::new();
        let id = world.near.engine.open(Domain::V4, Kind::Datagram);
        let engine = &mut world.near.engine;
        let option = SocketOption::PathMtuDiscovery(Domain::V4, discovery);
        engine.set_option(id, option, world.now).expect("option");
        assert_eq!(engine.path_mtu(id, world.now), Err(Error::NotConnected));
        engine.connect(id, address("10.0.2.2:9"), world.now).expect("connect");
        assert_eq!(engine.path_mtu(id, world.now), Ok(1500));
        complain(&mut world, id, "10.0.2.2:9", &[0; 1472], Unreachable::TooBig(1300));
        let engine = &mut world.near.engine;
        assert_eq!(engine.take_error(id), heard, "{discovery:?}");
        assert_eq!(engine.path_mtu(id, world.now), Ok(1300));
        // A full packet of the link once more: whole, in two, or not at all.
        let sent = engine.send_to(id, None, &[0; 1472], world.now);
        assert_eq!(sent.is_ok(), cut.is_some(), "{discovery:?}");
        let sizes: Vec<usize> =
            std::iter::from_fn(|| engine.transmit_packet(world.now)).map(|packet| packet.len()).collect();
        let expected: &[usize] = match cut {
            Some(1300) => &[20 + 1280, 20 + 200],
            Some(_) => &[1500],
            None => &[],
        };
        assert_eq!(sizes, expected, "{discovery:?}");
        // Beyond what the link itself takes.
        let larger = engine.send_to(id, None, &[0; 1473], world.now);
        let may_cut = matches!(discovery, Dont | Want | Omit);
        assert_eq!(larger, if may_cut { Ok(()) } else { Err(Error::MessageTooLong) }, "{discovery:?}");
    }
}

#[test]
fn too_long_is_in_the_queue_too() {
    let mut world = World::new();
    let id = reporting(&mut world, Domain::V4);
    let engine = &mut world.near.engine;
    let option = SocketOption::PathMtuDiscovery(Domain::V4, PathMtuDiscovery::Do);
    engine.set_option(id, option, world.now).expect("option");
    let sent = engine.send_to(id, Some(address("10.0.2.2:9")), &[0; 1473], world.now);
    assert_eq!((sent, engine.take_error(id)), (Err(Error::MessageTooLong), None));
    let report = engine.next_report(id).expect("a report");
    assert_eq!((report.error, report.origin, report.info), (Error::MessageTooLong, Origin::Local, 1500));
    assert_eq!((report.offender, report.to), (None, address("10.0.2.2:0")));
}
