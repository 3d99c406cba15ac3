//! Echo requests: what `nat` answers itself, what it passes on, and what it drops.

use super::world::World;
use super::*;
use crate::icmp;
use crate::ip::Treatment;
use crate::link::{Link, Packet};
use crate::nat::Nat;
use crate::nat::packets::{Datagram, open};

fn ping(from: &str, to: &str) -> Packet {
    let [from, to]: [IpAddr; 2] = [from, to].map(|text| text.parse().unwrap());
    icmp::echo(from, to, Treatment::default(), 7, b"\x08\0\0\0\0\0\0\x01abc").unwrap()
}

fn send(nat: &mut Nat, packet: &[u8], now: Instant) {
    nat.transmit(packet.into(), now);
}

fn received(nat: &mut Nat, now: Instant) -> Option<Packet> {
    let mut received = None;
    nat.receive(now, &mut |packet| received = Some(packet.to_vec()));
    received
}

#[test]
fn the_gateway_and_the_resolver_answer() {
    let mut world = World::plain();
    let now = crate::sys::now();
    for to in ["10.0.2.2", "10.0.2.3"] {
        send(&mut world.nat, &ping("10.0.2.15", to), now);
        let packet = received(&mut world.nat, now).expect("a reply");
        let reply = open(&packet).unwrap();
        assert_eq!((reply.header.source.to_string().as_str(), reply.payload()[0]), (to, 0));
    }
    for to in ["224.0.0.1", "127.0.0.1", "255.255.255.255"] {
        send(&mut world.nat, &ping("10.0.2.15", to), now);
        assert_eq!(received(&mut world.nat, now), None);
    }
    assert_eq!(world.nat.counters().dropped, 3);
}

#[test]
fn only_the_program_may_send() {
    let mut world = World::plain();
    let now = crate::sys::now();
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let to = seen_by_program(server.local_addr().unwrap());
    let (from, treatment) = (at("192.0.2.9:1"), Treatment::default());
    let spoofed = Datagram { from, to, treatment, payload: b"x" }.emit().unwrap();
    for packet in [ping("192.0.2.9", "10.0.2.2"), spoofed, Vec::new(), vec![0x45; 19], vec![0; 60]] {
        send(&mut world.nat, &packet, now);
    }
    assert_eq!(received(&mut world.nat, now), None);
    assert_eq!(world.nat.counters().dropped, 5);
    assert_eq!(server.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_flood_of_echo_requests_is_bounded() {
    let mut world = World::plain();
    let now = crate::sys::now();
    for _ in 0..5000 {
        send(&mut world.nat, &ping("10.0.2.15", "10.0.2.2"), now);
    }
    let replies = std::iter::from_fn(|| received(&mut world.nat, now)).count();
    assert_eq!(replies as u64 + world.nat.counters().dropped, 5000);
    assert!(replies <= 1024);
}
