//! Our datagrams and the kernel's: such as need fragments, either way, groups, and echo.

use crate::world::{Mode, OUR_V4, OUR_V6, THEIR_V4, THEIR_V6, World};
use rustix::net::{AddressFamily, SocketType, ipproto};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tubesock::engine::{Datagram, Domain, Engine, Kind, SocketId};
use tubesock::sys;
use tubesock::tcp;

const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 7000;
const ADDRESSES: [(IpAddr, IpAddr); 2] = [(OUR_V4, THEIR_V4), (OUR_V6, THEIR_V6)];

fn world() -> World {
    World::new(Mode::Plain, tcp::Settings::default())
}

/// A socket of the kernel's in the namespace.
fn theirs(world: &World, at: SocketAddr) -> UdpSocket {
    let socket = world.namespace.run(|| UdpSocket::bind(at)).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    socket
}

fn ours(engine: &mut Engine, at: SocketAddr, kind: Kind) -> SocketId {
    let id = engine.open(if at.is_ipv4() { Domain::V4 } else { Domain::V6 }, kind);
    engine.bind(id, at, sys::now()).expect("bind");
    id
}

/// The next datagram of our socket.
fn receive(world: &mut World, id: SocketId) -> Datagram {
    let mut received = None;
    world
        .drive(PATIENCE, |engine, _| {
            received = engine.receive_from(id);
            received.is_none()
        })
        .expect("a datagram comes");
    received.expect("it came")
}

/// Up to the longest there is: one of them the kernel cuts, and joins what we cut.
#[test]
fn datagrams_of_every_size_go_both_ways() {
    let mut world = world();
    for (our, their) in ADDRESSES {
        let socket = theirs(&world, SocketAddr::new(their, PORT));
        let id = ours(&mut world.engine, SocketAddr::new(our, PORT), Kind::Datagram);
        let to = socket.local_addr().expect("it is bound");
        let longest = if our.is_ipv4() { 65_507 } else { 65_527 };
        for length in [0, 1, 1452, 1473, 4000, 9001, longest] {
            let payload: Vec<u8> = (0..length).map(|index| (index / 7) as u8).collect();
            world.engine.send_to(id, Some(to), &payload, sys::now()).expect("send");
            let mut buffer = vec![0; 65_536];
            std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    let (length, from) = socket.recv_from(&mut buffer).expect("it arrives");
                    assert_eq!(from, SocketAddr::new(our, PORT));
                    assert!(buffer[..length] == payload, "{length} bytes from us");
                    socket.send_to(&payload, from).expect("sendto");
                });
                let answer = receive(&mut world, id);
                assert!(answer.payload == payload, "{length} bytes from the kernel");
                assert_eq!((answer.from, answer.treatment.hop_limit), (to, 64));
                thread.join().expect("theirs arrived");
            });
        }
    }
    let counters = world.engine.counters();
    assert!(counters.packets_sent > 100 && counters.packets_received > 100, "there were fragments");
    world.assert_intact();
}

#[test]
fn groups_join_both_stacks() {
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
    let mut world = world();
    world.namespace.ip("link set tube0 multicast on");
    let (IpAddr::V4(their), to) = (THEIR_V4, SocketAddr::new(GROUP.into(), PORT)) else { unreachable!() };
    world.namespace.ip(&format!("route add {GROUP}/32 dev tube0"));
    let socket = theirs(&world, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT));
    socket.join_multicast_v4(&GROUP, &their).expect("join");
    let id = ours(&mut world.engine, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT), Kind::Datagram);
    world.engine.join_group(id, GROUP.into(), None, None).expect("join");
    world.engine.send_to(id, Some(to), b"from us", sys::now()).expect("send");
    assert_eq!(receive(&mut world, id).payload, b"from us", "looped");
    let mut buffer = [0; 16];
    world
        .drive(PATIENCE, |_, _| {
            socket.set_nonblocking(true).expect("a flag");
            !matches!(socket.recv_from(&mut buffer), Ok((7, from)) if from == SocketAddr::new(OUR_V4, PORT))
        })
        .expect("the kernel is a member");
    assert_eq!(&buffer[..7], b"from us");
    socket.send_to(b"from them", to).expect("sendto");
    let datagram = receive(&mut world, id);
    assert_eq!((datagram.payload.as_slice(), datagram.treatment.hop_limit), (b"from them".as_slice(), 1));
    assert_eq!((datagram.from.ip(), datagram.to, datagram.local), (THEIR_V4, to, OUR_V4));
}

#[test]
fn echo_goes_both_ways() {
    let mut world = world();
    world.namespace.set("net.ipv4.ping_group_range", "0 2147483647");
    for (our, their) in ADDRESSES {
        let (request, family, protocol) = match our {
            IpAddr::V4(_) => (8, AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (128, AddressFamily::INET6, ipproto::ICMPV6),
        };
        // Longer than a packet.
        let message = [&[request, 0, 0, 0, 0, 0, 0, 1], [7; 3000].as_slice()].concat();
        let id = ours(&mut world.engine, SocketAddr::new(our, 99), Kind::Echo);
        world.engine.send_to(id, Some(SocketAddr::new(their, 0)), &message, sys::now()).expect("send");
        let reply = receive(&mut world, id);
        assert_eq!(
            (reply.from.ip(), &reply.payload[4..]),
            (their, &[&[0, 99, 0, 1], &message[8..]].concat()[..])
        );
        let socket = world.namespace.run(|| rustix::net::socket(family, SocketType::DGRAM, Some(protocol)));
        let socket = UdpSocket::from(socket.expect("echo is permitted"));
        socket.set_nonblocking(true).expect("a flag");
        socket.send_to(&message, SocketAddr::new(our, 0)).expect("sendto");
        let mut buffer = vec![0; 4000];
        let mut received = None;
        world
            .drive(PATIENCE, |_, _| {
                received = socket.recv_from(&mut buffer).ok();
                received.is_none()
            })
            .expect("we answer");
        assert_eq!(received.map(|(length, from)| (length, from.ip())), Some((3008, our)));
        assert_eq!(buffer[8..3008], message[8..]);
    }
    world.assert_intact();
}
