//! What is sent to everybody and to groups. The answers are Linux 6.18's.

use crate::world::{World, address, changes};
use std::net::IpAddr;
use tubesock::engine::{Datagram, Domain, Engine, Kind, Path, SocketId, SocketOption};
use tubesock::error::Error;
use tubesock::ip;
use tubesock::time::Instant;

const GROUP: &str = "239.1.2.3";

fn group(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn socket(engine: &mut Engine, to: &str) -> SocketId {
    let to = address(to);
    let id = engine.open(if to.is_ipv4() { Domain::V4 } else { Domain::V6 }, Kind::Datagram);
    engine.set_option(id, SocketOption::ReuseAddress(true), Instant::ZERO).expect("option");
    engine.bind(id, to, Instant::ZERO).expect("bind");
    id
}

fn received(engine: &mut Engine, id: SocketId) -> Vec<Datagram> {
    std::iter::from_fn(|| engine.receive_from(id)).collect()
}

#[test]
fn a_broadcast_reaches_everybody_ourselves_included() {
    let mut world = World::new();
    let near = [0, 1].map(|_| socket(&mut world.near.engine, "0.0.0.0:7000"));
    let far = socket(&mut world.far.engine, "0.0.0.0:7000");
    let elsewhere = socket(&mut world.far.engine, "10.0.2.2:7000");
    let sender = world.near.engine.open(Domain::V4, Kind::Datagram);
    for to in ["255.255.255.255:7000", "10.0.2.255:7000"] {
        let to = address(to);
        let set = |world: &mut World, on| {
            world.near.engine.set_option(sender, SocketOption::Broadcast(on), world.now).expect("option");
        };
        set(&mut world, false);
        let refused = world.near.engine.send_to(sender, Some(to), b"x", world.now);
        assert_eq!(refused, Err(Error::PermissionDenied));
        set(&mut world, true);
        world.near.engine.send_to(sender, Some(to), b"x", world.now).expect("send");
        world.settle();
        for (ours, id, local) in
            [(true, near[0], "10.0.2.15"), (true, near[1], "10.0.2.15"), (false, far, "10.0.2.2")]
        {
            let engine = if ours { &mut world.near.engine } else { &mut world.far.engine };
            let [datagram] = &received(engine, id)[..] else { panic!("one for each") };
            assert_eq!((datagram.to, datagram.path, datagram.local), (to, Path::Link, group(local)));
            assert_eq!((datagram.from.ip(), datagram.treatment.hop_limit), (group("10.0.2.15"), 64));
        }
        assert_eq!(received(&mut world.far.engine, elsewhere), [], "bound to one address");
    }
    // connect(2) of a datagram socket wants SO_BROADCAST too.
    let other = world.near.engine.open(Domain::V4, Kind::Datagram);
    let to = address("10.0.2.255:7000");
    assert_eq!(world.near.engine.connect(other, to, world.now), Err(Error::PermissionDenied));
}

#[test]
fn a_group_reaches_its_members_and_who_does_not_mind() {
    for (any, to, group_address) in
        [("0.0.0.0:7000", "239.1.2.3:7000", GROUP), ("[::]:7000", "[ff15::7]:7000", "ff15::7")]
    {
        let mut world = World::new();
        let domain = if address(to).is_ipv4() { Domain::V4 } else { Domain::V6 };
        let [member, indifferent, exclusive] = [0; 3].map(|_| socket(&mut world.far.engine, any));
        let at_group = socket(&mut world.far.engine, to);
        let set = |world: &mut World, id, option| world.far.engine.set_option(id, option, world.now);
        set(&mut world, exclusive, SocketOption::MulticastAll(domain, false)).expect("option");
        let sender = world.near.engine.open(domain, Kind::Datagram);
        let send = |world: &mut World| {
            world.near.engine.send_to(sender, Some(address(to)), b"x", world.now).expect("send");
            world.settle();
            [member, indifferent, exclusive, at_group].map(|id| received(&mut world.far.engine, id).len())
        };
        assert_eq!(send(&mut world), [0; 4], "nobody has joined");
        world.far.engine.join_group(member, group(group_address), None, None).expect("join");
        assert_eq!(send(&mut world), [1, 1, 0, 1]);
        world.far.engine.join_group(exclusive, group(group_address), None, None).expect("join");
        world.far.engine.leave_group(member, group(group_address), None, None).expect("leave");
        assert_eq!(send(&mut world), [1; 4]);
        world.far.engine.release(exclusive, world.now);
        assert_eq!(send(&mut world), [0; 4], "the last member has gone");
        assert_eq!(world.far.engine.counters().not_ours, 2);
    }
}

#[test]
fn hops_loop_and_interface() {
    let mut world = World::new();
    let member = socket(&mut world.near.engine, "0.0.0.0:7000");
    world.near.engine.join_group(member, group(GROUP), None, None).expect("join");
    let sender = world.near.engine.open(Domain::V4, Kind::Datagram);
    // Whether it left, with which TTL; and whether it was looped back, as from which interface.
    let send = |world: &mut World| {
        world.near.engine.send_to(sender, Some(address("239.1.2.3:7000")), b"x", world.now).expect("send");
        let packet = world.near.engine.transmit_packet(world.now);
        let left = packet.map(|packet| ip::parse(&packet, true).expect("a packet").treatment.hop_limit);
        let looped = received(&mut world.near.engine, member);
        (left, looped.first().map(|datagram| (datagram.path, datagram.from.ip())))
    };
    let set =
        |world: &mut World, option| world.near.engine.set_option(sender, option, world.now).expect("option");
    let here = Some((Path::Link, group("10.0.2.15")));
    assert_eq!(send(&mut world), (Some(1), here));
    set(&mut world, SocketOption::MulticastHops(Domain::V4, 5));
    assert_eq!(send(&mut world), (Some(5), here));
    set(&mut world, SocketOption::MulticastHops(Domain::V4, 0));
    assert_eq!(send(&mut world), (None, here), "not beyond this host");
    set(&mut world, SocketOption::MulticastLoop(Domain::V4, false));
    assert_eq!(send(&mut world), (None, None));
    set(&mut world, SocketOption::MulticastPath(Domain::V4, Some(Path::Loopback)));
    assert_eq!(send(&mut world), (None, None), "nobody has joined on the loopback");
    world.near.engine.join_group(member, group(GROUP), None, Some(Path::Loopback)).expect("join");
    assert_eq!(send(&mut world), (None, Some((Path::Loopback, group("127.0.0.1")))));
}

/// Connecting binds to the address that datagrams come from, which is not that of a group.
#[test]
fn a_connected_socket_hears_no_group_unless_it_is_bound_to_it() {
    let mut world = World::new();
    let to = address("239.1.2.3:7000");
    let [any, bound] = ["0.0.0.0:7000", "239.1.2.3:7000"].map(|to| socket(&mut world.far.engine, to));
    for id in [any, bound] {
        world.far.engine.join_group(id, group(GROUP), None, None).expect("join");
        world.far.engine.connect(id, address("10.0.2.15:7100"), world.now).expect("connect");
    }
    for (port, heard) in [(7100, [0, 1]), (7101, [0, 0])] {
        let sender = socket(&mut world.near.engine, &format!("0.0.0.0:{port}"));
        world.near.engine.send_to(sender, Some(to), b"x", world.now).expect("send");
        world.settle();
        assert_eq!([any, bound].map(|id| received(&mut world.far.engine, id).len()), heard);
    }
    // An answer of a socket that is bound to a group comes from an address of ours.
    world.far.engine.send_to(bound, None, b"y", world.now).expect("send");
    let packet = world.far.engine.transmit_packet(world.now).expect("a packet");
    assert_eq!(ip::parse(&packet, true).expect("a packet").source, group("10.0.2.2"));
}

#[test]
fn joining_and_leaving_fail_as_on_linux() {
    let mut world = World::new();
    let engine = &mut world.near.engine;
    let id = engine.open(Domain::V4, Kind::Datagram);
    assert_eq!(engine.join_group(id, group(GROUP), None, None), Ok(()));
    assert_eq!(engine.join_group(id, group(GROUP), None, Some(Path::Link)), Err(Error::AddressInUse));
    assert_eq!(engine.join_group(id, group(GROUP), None, Some(Path::Loopback)), Ok(()));
    assert_eq!(engine.join_group(id, group("10.1.2.3"), None, None), Err(Error::InvalidArgument));
    assert_eq!(engine.leave_group(id, group("239.9.9.9"), None, None), Err(Error::AddressNotAvailable));
    assert_eq!(engine.leave_group(id, group(GROUP), None, None), Ok(()));
    assert_eq!(engine.leave_group(id, group(GROUP), None, None), Err(Error::AddressNotAvailable));
    for last in 0..19 {
        engine.join_group(id, group(&format!("239.2.2.{last}")), None, None).expect("join");
    }
    assert_eq!(engine.join_group(id, group("239.2.2.99"), None, None), Err(Error::NoBuffers));
    let stream = engine.open(Domain::V4, Kind::Stream);
    assert_eq!(engine.join_group(stream, group(GROUP), None, None), Err(Error::NotSupported));
}

#[test]
fn a_source_specific_member_hears_its_sources() {
    let mut world = World::new();
    let member = socket(&mut world.far.engine, "0.0.0.0:7000");
    let sender = world.near.engine.open(Domain::V4, Kind::Datagram);
    let heard = |world: &mut World| {
        world.near.engine.send_to(sender, Some(address("239.1.2.3:7000")), b"x", world.now).expect("send");
        world.settle();
        !changes(&mut world.far.engine).is_empty() && received(&mut world.far.engine, member).len() == 1
    };
    let [near, other] = [Some(group("10.0.2.15")), Some(group("10.0.2.77"))];
    world.far.engine.join_group(member, group(GROUP), other, None).expect("join");
    assert!(!heard(&mut world));
    world.far.engine.join_group(member, group(GROUP), near, None).expect("one more");
    assert!(heard(&mut world));
    let engine = &mut world.far.engine;
    assert_eq!(engine.join_group(member, group(GROUP), near, None), Err(Error::AddressNotAvailable));
    assert_eq!(engine.join_group(member, group(GROUP), None, None), Err(Error::AddressInUse));
    assert_eq!(engine.leave_group(member, group(GROUP), near, None), Ok(()));
    assert!(!heard(&mut world));
    let engine = &mut world.far.engine;
    assert_eq!(engine.leave_group(member, group(GROUP), near, None), Err(Error::AddressNotAvailable));
    assert_eq!(engine.leave_group(member, group(GROUP), other, None), Ok(()));
    assert_eq!(engine.leave_group(member, group(GROUP), other, None), Err(Error::InvalidArgument));
}

/// TCP is between two, and nobody answers to a group.
#[test]
fn what_goes_to_a_group_is_not_answered() {
    let mut world = World::new();
    let member = socket(&mut world.far.engine, "0.0.0.0:7000");
    world.far.engine.join_group(member, group(GROUP), None, None).expect("join");
    let packet = tubesock::udp::build(address("10.0.2.15:1"), address("239.1.2.3:9"), b"x", true);
    world.far.engine.receive(&packet, world.now);
    let mut segment = ip::build(group("10.0.2.15"), group(GROUP), ip::Protocol::Tcp, 20, true);
    segment[20..24].copy_from_slice(&[0, 7, 0, 80]);
    (segment[32], segment[33]) = (0x50, 2);
    let sum = !ip::transport_sum(group("10.0.2.15"), group(GROUP), ip::Protocol::Tcp, &segment[20..]);
    segment[36..38].copy_from_slice(&sum.to_be_bytes());
    world.far.engine.receive(&segment, world.now);
    assert_eq!(world.far.engine.counters().not_ours, 1);
    assert_eq!(world.far.engine.transmit_packet(world.now), None);
}

/// ip_mc_source: a list of one kind becomes one of the other only when it is empty.
#[test]
fn sources_are_blocked_and_heard_again() {
    let mut world = World::new();
    let (to, [good, bad]) = (address("239.1.2.3:7000"), ["10.0.2.15", "10.0.2.16"].map(group));
    let member = socket(&mut world.far.engine, "0.0.0.0:7000");
    let heard = |world: &mut World| {
        [good, bad].map(|from| {
            let packet = tubesock::udp::build(std::net::SocketAddr::new(from, 9), to, b"x", true);
            world.far.engine.receive(&packet, world.now);
            received(&mut world.far.engine, member).len()
        })
    };
    let block =
        |world: &mut World, blocked| world.far.engine.block_source(member, group(GROUP), bad, None, blocked);
    assert_eq!(block(&mut world, true), Err(Error::InvalidArgument), "it is no member");
    world.far.engine.join_group(member, group(GROUP), None, None).expect("join");
    assert_eq!(block(&mut world, false), Err(Error::AddressNotAvailable));
    assert_eq!((block(&mut world, true), heard(&mut world)), (Ok(()), [1, 0]));
    assert_eq!(block(&mut world, true), Err(Error::AddressNotAvailable));
    let only = |world: &mut World| world.far.engine.join_group(member, group(GROUP), Some(bad), None);
    assert_eq!(only(&mut world), Err(Error::InvalidArgument));
    assert_eq!((block(&mut world, false), heard(&mut world)), (Ok(()), [1, 1]));
    assert_eq!((only(&mut world), heard(&mut world)), (Ok(()), [0, 1]));
    assert_eq!(block(&mut world, true), Err(Error::InvalidArgument));
}
