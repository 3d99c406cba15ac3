//! What `nat` answers itself, and what it drops.

use super::world::World;
use super::*;
use crate::link::{Link, Packet};
use crate::nat::Nat;
use crate::nat::packets::{Datagram, open};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpProtocol, IpRepr};
use std::net::Ipv4Addr;

fn ping(from: &str, to: &str) -> Packet {
    let echo = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 1, data: b"abc" };
    let (from, to): (Ipv4Addr, Ipv4Addr) = (from.parse().unwrap(), to.parse().unwrap());
    let header = IpRepr::new(from.into(), to.into(), IpProtocol::Icmp, echo.buffer_len(), 64);
    let mut packet = vec![0; header.buffer_len()];
    header.emit(&mut packet[..], &ChecksumCapabilities::default());
    let mut icmp = Icmpv4Packet::new_unchecked(&mut packet[header.header_len()..]);
    echo.emit(&mut icmp, &ChecksumCapabilities::default());
    packet
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
fn the_gateway_and_the_resolver_answer_and_nobody_else() {
    let mut world = World::plain();
    let now = crate::sys::now();
    for to in ["10.0.2.2", "10.0.2.3"] {
        send(&mut world.nat, &ping("10.0.2.15", to), now);
        let packet = received(&mut world.nat, now).expect("a reply");
        let reply = open(&packet).unwrap();
        assert_eq!((reply.source.to_string().as_str(), reply.payload[0]), (to, 0));
    }
    send(&mut world.nat, &ping("10.0.2.15", "192.0.2.1"), now);
    assert_eq!(received(&mut world.nat, now), None);
    assert_eq!(world.nat.counters().dropped, 1);
}

#[test]
fn only_the_program_may_send() {
    let mut world = World::plain();
    let now = crate::sys::now();
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let to = seen_by_program(server.local_addr().unwrap());
    let spoofed = Datagram { from: at("192.0.2.9:1"), to, payload: b"x" }.emit().unwrap();
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
