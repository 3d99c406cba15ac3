//! The link itself, with the kernel as a router between two of its devices: what is left for the other to do, and what is
//! believed of it. And what becomes of a device that cannot be had, or goes away.

use crate::namespace::Namespace;
use crate::world::{Mode, attach};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::CapabilitySet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use tubesock::ip::{self, Protocol};
use tubesock::link::tun::Tun;
use tubesock::link::{Link, Outgoing, Packet};
use tubesock::sys;

/// What is routed between the two devices: 192.0.2.x and 2001:db8:0:x:: lie behind the x-th.
const V4: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 17)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 33))];
const V6: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 16, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 32, 0, 0, 0, 1)),
];
const TCP_HEADER: usize = 20;

/// Two devices in a namespace that routes between them.
fn routed(modes: [Mode; 2]) -> (Namespace, [Tun; 2]) {
    let namespace = Namespace::new();
    let mut tuns = [("one", 16, modes[0]), ("two", 32, modes[1])].map(|(name, network, mode)| {
        let tun = attach(&namespace, name, mode);
        namespace.ip(&format!("route add 192.0.2.{network}/28 dev {name}"));
        namespace.ip(&format!("route add 2001:db8:0:{network:x}::/64 dev {name}"));
        tun
    });
    namespace.set("net.ipv4.ip_forward", "1");
    namespace.set("net.ipv6.conf.all.forwarding", "1");
    // What the kernel says to a new interface on its own (RFC 4861, RFC 3810).
    tuns.iter_mut().for_each(|tun| drop(arrived(tun, 0)));
    (namespace, tuns)
}

/// Waits until `count` packets of TCP have arrived, and whatever is there besides.
fn arrived(tun: &mut Tun, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    loop {
        let keep = |packet: &[u8]| {
            if ip::parse(packet, false).is_ok_and(|header| header.protocol == Protocol::Tcp) {
                packets.push(packet.to_vec());
            }
        };
        let mut keep = keep;
        while tun.receive(sys::now(), &mut keep) {}
        if packets.len() >= count {
            return packets;
        }
        let wake = tun.wake().expect("a device has a descriptor");
        let ready = rustix::event::poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], Some(&limit));
        assert_ne!(ready, Ok(0), "{} of {count} packets arrived", packets.len());
    }
}

/// A segment's headers, without checksums: port 1 to port 2, ACK and PSH.
fn headers([from, to]: [IpAddr; 2], payload: usize) -> Packet {
    let mut packet = ip::build(from, to, Protocol::Tcp, TCP_HEADER + payload, false);
    let start = ip::header_length(&from);
    packet.truncate(start + TCP_HEADER);
    packet[start..].copy_from_slice(&[0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 5 << 4, 0x18, 1, 0, 0, 0, 0, 0]);
    packet
}

/// The sequence number and the payload of a segment whose checksums are right.
fn checked(packet: &[u8]) -> (u32, &[u8]) {
    let header = ip::parse(packet, true).expect("a packet whose IPv4 checksum is right");
    let segment = &packet[header.payload.clone()];
    let sum = ip::transport_sum(header.source, header.destination, header.protocol, segment);
    assert_eq!(sum, u16::MAX, "the checksum of a segment");
    (u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]), &segment[TCP_HEADER..])
}

#[test]
fn the_kernel_cuts_a_super_packet_as_it_was_told() {
    let (_namespace, [mut one, mut two]) = routed([Mode::Offload, Mode::Plain]);
    let payload: Vec<u8> = (0..60_001u32).map(|byte| (byte % 251) as u8).collect();
    for addresses in [V4, V6] {
        let template = headers(addresses, payload.len());
        let (first, second) = payload.split_at(777);
        let segment = NonZeroU16::new(1400);
        one.transmit(Outgoing { headers: &template, payload: [first, second], segment }, sys::now());
        let packets = arrived(&mut two, payload.len().div_ceil(1400));
        let mut together = Vec::new();
        for packet in &packets {
            let (sequence, bytes) = checked(packet);
            assert_eq!(sequence as usize, together.len());
            together.extend_from_slice(bytes);
        }
        assert!(together == payload, "other bytes than were sent");
        assert!(packets.iter().all(|packet| packet.len() <= 1400 + template.len()));
    }
}

#[test]
fn a_super_packet_arrives_whole() {
    let (_namespace, [mut one, mut two]) = routed([Mode::Offload, Mode::Offload]);
    let payload = vec![7; 50_000];
    for addresses in [V4, V6] {
        let template = headers(addresses, payload.len());
        let segment = NonZeroU16::new(1400);
        one.transmit(Outgoing { headers: &template, payload: [&payload, &[]], segment }, sys::now());
        let packets = arrived(&mut two, 1);
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [template.len() + payload.len()]);
    }
}

#[test]
fn what_the_kernel_did_not_check_is_checked() {
    let (_namespace, [mut one, mut two]) = routed([Mode::Plain, Mode::Offload]);
    for addresses in [V4, V6] {
        let mut packet = headers(addresses, 0);
        let start = packet.len() - TCP_HEADER;
        ip::fill_checksum(&mut packet);
        let sum = !ip::transport_sum(addresses[0], addresses[1], Protocol::Tcp, &packet[start..]);
        let mut wrong = packet.clone();
        packet[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
        wrong[start + 16..start + 18].copy_from_slice(&(sum ^ 0x100).to_be_bytes());
        let before = two.counters().bad_checksum;
        // The wrong one first: when the right one is here it has been seen.
        one.transmit(wrong[..].into(), sys::now());
        one.transmit(packet[..].into(), sys::now());
        let packets = arrived(&mut two, 1);
        assert_eq!((packets.len(), two.counters().bad_checksum - before), (1, 1));
        checked(&packets[0]);
    }
}

#[test]
fn a_device_that_cannot_be_had_says_why() {
    let namespace = Namespace::new();
    let open = |name: &'static str| namespace.run(move || Tun::open(name).err().unwrap_or_default());
    let _held = attach(&namespace, "held", Mode::Plain);
    let unprivileged = namespace.run(|| {
        let mut capabilities = rustix::thread::capabilities(None).expect("every thread has a set of them");
        capabilities.effective.remove(CapabilitySet::NET_ADMIN);
        rustix::thread::set_capabilities(None, capabilities).expect("they may be given up, in one thread");
        Tun::open("mine").err().unwrap_or_default()
    });
    let cases = [
        (open("held"), "tun:held: cannot attach to the device (EBUSY): another process"),
        (open("lo"), "tun:lo: cannot attach to the device (EINVAL): there is an interface of that name"),
        (open("a-name-that-is-too-long"), "tun:a-name-that-is-too-long: no name of an interface"),
        (open("."), "tun:.: no name of an interface"),
        (open("a:b"), "tun:a:b: no name of an interface"),
        (open("all"), "tun:all: no name of an interface"),
        (unprivileged, "tun:mine: cannot attach to the device (EPERM): only root may make"),
    ];
    for (said, expected) in cases {
        assert!(said.starts_with(expected), "{said:?} instead of {expected:?}");
    }
}

#[test]
fn a_device_that_goes_away_is_silent() {
    let namespace = Namespace::new();
    for mode in [Mode::Plain, Mode::Offload] {
        let mut tun = attach(&namespace, "going", mode);
        drop(arrived(&mut tun, 0));
        let packet = headers(V4, 0);
        tun.transmit(packet[..].into(), sys::now());
        assert_eq!((tun.counters().sent, tun.counters().refused), (1, 0));
        namespace.ip("link set going down");
        tun.transmit(packet[..].into(), sys::now());
        assert_eq!((tun.counters().sent, tun.counters().refused), (1, 1), "a device that is down");
        namespace.ip("link delete going");
        assert!(!tun.receive(sys::now(), &mut |_| {}));
        tun.transmit(packet[..].into(), sys::now());
        assert_eq!((tun.counters().sent, tun.counters().refused), (1, 2), "a device that is gone");
        let wake = tun.wake().expect("the descriptor stays");
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], Some(&now));
        assert_eq!(ready, Ok(0), "nobody is woken for a device that is gone");
    }
}

#[test]
fn the_kernel_gets_its_answers() {
    let mut world = crate::world::World::new(Mode::Offload, tubesock::tcp::Settings::default());
    let namespace = &world.namespace;
    let (engine, tun) = (&mut world.engine, &mut world.tun);
    std::thread::scope(|scope| {
        let ping = scope.spawn(|| {
            [crate::world::OUR_V4, crate::world::OUR_V6].map(|address| {
                let socket = namespace.run(|| std::net::UdpSocket::bind(("::", 0))).expect("a port");
                let to = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                socket.connect((to, 9)).expect("a route");
                socket.set_read_timeout(Some(crate::theirs::PATIENCE)).expect("a duration above zero");
                socket.send(b"anybody there?").expect("an up device");
                socket.recv(&mut [0]).err().and_then(|error| error.raw_os_error())
            })
        });
        crate::drive::drive(engine, tun, |_, _| !ping.is_finished());
        // Port unreachable, whose checksum the kernel verifies.
        assert_eq!(ping.join().expect("no panic"), [Some(libc::ECONNREFUSED); 2]);
    });
    world.assert_intact();
}
