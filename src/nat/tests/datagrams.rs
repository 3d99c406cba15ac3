//! UDP, packet by packet: no engine takes part.

use super::*;
use crate::ip::{self, Protocol, Treatment};
use crate::link::Packet;
use crate::nat::addresses::Addresses;
use crate::nat::datagrams::Datagrams;
use crate::nat::packets::{self, Datagram, open};
use crate::nat::publish::{Published, Taken};
use crate::nat::work::{Shared, Source};
use rustix::fd::AsFd;
use std::net::UdpSocket;

struct Side {
    datagrams: Datagrams,
    published: Published,
    shared: Shared,
}

impl Side {
    fn new(name_server: SocketAddr, publish: &[Publish]) -> Side {
        let shared = Shared::new(Addresses { name_server }, packets::MTU).unwrap();
        let published = Published::open(publish, Taken::Refused, &shared).unwrap();
        Side { datagrams: Datagrams::new(), published, shared }
    }

    fn plain() -> Side {
        Side::new(at("127.0.0.1:53"), &[])
    }

    fn send(&mut self, from: &str, to: SocketAddr, payload: &[u8]) {
        self.send_at(from, to, payload, Instant::ZERO);
    }

    fn send_at(&mut self, from: &str, to: SocketAddr, payload: &[u8], now: Instant) {
        let datagram = Datagram { from: at(from), to, treatment: Treatment::default(), payload };
        if !self.published.answer(&datagram, &mut self.shared, now) {
            self.datagrams.send(&datagram, &mut self.shared, now);
        }
    }

    fn work(&mut self) {
        for index in 0..self.shared.poll() {
            let (source, flags) = self.shared.event(index);
            match source {
                Source::Mapping(index) if self.datagrams.hint(index, flags) => self.shared.queue(source),
                Source::Door(index) if self.published.hint(index) => self.shared.queue(source),
                _ => {}
            }
        }
        while let Some(source) = self.shared.next() {
            match source {
                Source::Mapping(index) => self.datagrams.turn(index, &mut self.shared, Instant::ZERO),
                Source::Door(index) => self.published.admit(index, &mut self.shared, Instant::ZERO),
                other => panic!("{other:?}"),
            }
        }
    }

    fn packet(&mut self) -> Packet {
        let give_up = crate::sys::now() + PATIENCE;
        loop {
            self.work();
            if let Some(packet) = self.shared.packet() {
                return packet;
            }
            wait(self.shared.epoll.as_fd(), None, give_up);
        }
    }

    /// The next packet for the program, which must be a datagram.
    fn datagram(&mut self) -> (SocketAddr, SocketAddr, Vec<u8>) {
        datagram(&self.packet()).expect("a datagram")
    }

    /// The next packet for the program, which must be an ICMP error.
    fn error(&mut self) -> ((u8, u8), (u16, u16)) {
        error(&self.packet()).expect("an ICMP error")
    }
}

/// From, to and payload of a datagram.
fn datagram(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
    let opened = open(packet).ok().filter(|opened| opened.header.protocol == Protocol::Udp)?;
    let datagram = Datagram::parse(&opened)?;
    Some((datagram.from, datagram.to, datagram.payload.to_vec()))
}

/// Type and code of an ICMP error, and the ports of the datagram that it quotes.
fn error(packet: &[u8]) -> Option<((u8, u8), (u16, u16))> {
    let opened = open(packet).ok()?;
    let header = ip::header_length(&opened.header.source);
    if opened.header.protocol != Protocol::Icmp {
        return None;
    }
    let ports = &opened.payload()[8 + header..];
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    Some(((opened.payload()[0], opened.payload()[1]), (port(0), port(2))))
}

fn server(address: &str) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// An address at which nobody receives; nobody else can have it while the socket lives, which hears its own only.
fn closed(address: &str) -> (UdpSocket, SocketAddr) {
    let (socket, address) = server(address);
    socket.connect(address).unwrap();
    (socket, address)
}

/// Receives one datagram and answers it with `answer`; gives who asked, and what.
fn answer_one(server: &UdpSocket, answer: &[u8]) -> (SocketAddr, Vec<u8>) {
    let mut buffer = vec![0; 65536];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(answer, from).unwrap();
    buffer.truncate(length);
    (from, buffer)
}

#[test]
fn echo_over_both_families() {
    for (guest, bind) in [("10.0.2.15:4000", "127.0.0.1:0"), ("[fd00::15]:4000", "[::1]:0")] {
        let (server, address) = server(bind);
        let mut side = Side::plain();
        side.send(guest, seen_by_program(address), b"ping");
        assert_eq!(answer_one(&server, b"pong").1, b"ping");
        assert_eq!(side.datagram(), (seen_by_program(address), at(guest), b"pong".to_vec()));
    }
}

#[test]
fn empty_and_largest_datagrams_pass() {
    let (server, address) = server("127.0.0.1:0");
    let mut side = Side::plain();
    for length in [0, 65507] {
        let payload = vec![7; length];
        side.send("10.0.2.15:4000", seen_by_program(address), &payload);
        assert_eq!(answer_one(&server, &payload).1, payload);
        assert_eq!(side.datagram().2, payload);
    }
}

#[test]
fn one_port_serves_all_destinations() {
    let ((one, first), (two, second)) = (server("127.0.0.1:0"), server("127.0.0.1:0"));
    let mut side = Side::plain();
    side.send("10.0.2.15:4000", seen_by_program(first), b"1");
    side.send("10.0.2.15:4000", seen_by_program(second), b"2");
    let (seen_by_one, _) = answer_one(&one, b"one");
    let (seen_by_two, _) = answer_one(&two, b"two");
    assert_eq!(seen_by_one, seen_by_two);
    let mut answers = [side.datagram(), side.datagram()];
    answers.sort_by_key(|(_, _, payload)| payload.clone());
    assert_eq!(answers[0].0, seen_by_program(first));
    assert_eq!(answers[1].0, seen_by_program(second));
    // Who was not asked may speak too (RFC 4787 REQ-8).
    let (third, address) = server("127.0.0.1:0");
    third.send_to(b"hello", ("127.0.0.1", seen_by_one.port())).unwrap();
    assert_eq!(side.datagram(), (seen_by_program(address), at("10.0.2.15:4000"), b"hello".to_vec()));
}

#[test]
fn a_closed_port_is_reported_for_the_destination_that_it_is_about() {
    for (guest, bind, kind) in
        [("10.0.2.15:4000", "127.0.0.1:0", (3, 3)), ("[fd00::15]:4000", "[::1]:0", (1, 4))]
    {
        let (open, served) = server(bind);
        let (_held, closed) = closed(bind);
        let mut side = Side::plain();
        side.send(guest, seen_by_program(closed), b"anyone?");
        // Sent while the error of the other waits: it must arrive all the same.
        side.send(guest, seen_by_program(served), b"you");
        assert_eq!(answer_one(&open, b"yes").1, b"you");
        let packets = [side.packet(), side.packet()];
        assert_eq!(packets.iter().find_map(|packet| error(packet)), Some((kind, (4000, closed.port()))));
        let (from, _, payload) = packets.iter().find_map(|packet| datagram(packet)).expect("the answer");
        assert_eq!((from, payload), (seen_by_program(served), b"yes".to_vec()));
    }
}

#[test]
fn the_resolver_is_the_name_server_whatever_its_family() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let (server, name_server) = server(bind);
        for (guest, resolver) in [("10.0.2.15:4000", "10.0.2.3:53"), ("[fd00::15]:4000", "[fd00::3]:53")] {
            let mut side = Side::new(name_server, &[]);
            side.send(guest, at(resolver), b"query");
            assert_eq!(answer_one(&server, b"reply").1, b"query");
            assert_eq!(side.datagram(), (at(resolver), at(guest), b"reply".to_vec()));
        }
    }
}

#[test]
fn what_cannot_be_reached_is_told_or_dropped() {
    let mut side = Side::plain();
    side.send("10.0.2.15:4000", at("10.0.2.3:80"), b"x");
    assert_eq!(side.error(), ((3, 3), (4000, 80)));
    for to in ["224.0.0.251:5353", "255.255.255.255:67", "127.0.0.1:9", "0.0.0.0:9"] {
        side.send("10.0.2.15:4000", at(to), b"x");
    }
    assert_eq!(side.shared.counters.dropped, 4);
    assert_eq!(side.shared.packet(), None);
}

#[test]
fn idle_ports_are_closed_and_queries_sooner() {
    let seconds = |s: u64| Instant::from_micros(s * 1_000_000);
    let (_names, name_server) = server("127.0.0.1:0");
    let (server, address) = server("127.0.0.1:0");
    let mut side = Side::new(name_server, &[]);
    side.send_at("10.0.2.15:4000", at("10.0.2.3:53"), b"query", seconds(0));
    side.send_at("10.0.2.15:4001", seen_by_program(address), b"data", seconds(0));
    side.send_at("10.0.2.15:4002", at("10.0.2.3:53"), b"query", seconds(0));
    side.send_at("10.0.2.15:4002", seen_by_program(address), b"data", seconds(1));
    assert_eq!(side.datagrams.deadline(), Some(seconds(10)));
    side.datagrams.expire(seconds(10));
    assert_eq!(side.datagrams.deadline(), Some(seconds(120)));
    side.datagrams.expire(seconds(120));
    assert_eq!(side.datagrams.deadline(), Some(seconds(121)));
    side.datagrams.expire(seconds(121));
    assert_eq!(side.datagrams.deadline(), None);
    // A port that was closed opens again.
    side.send_at("10.0.2.15:4001", seen_by_program(address), b"again", seconds(200));
    for expected in ["data", "data", "again"] {
        assert_eq!(answer_one(&server, b"still here").1, expected.as_bytes());
    }
    assert_eq!(side.datagram().2, b"still here");
}

#[test]
fn a_published_port_shows_each_visitor_as_a_port_of_the_gateway() {
    let publish = [publishing("127.0.0.1:0", 7000, true), publishing("[::]:0", 7000, true)];
    let mut side = Side::new(at("127.0.0.1:53"), &publish);
    let doors: Vec<SocketAddr> = side.published.bound().map(|(_, bound)| bound).collect();
    let v6 = SocketAddr::new("::1".parse().unwrap(), doors[1].port());
    let mapped = SocketAddr::new("127.0.0.1".parse().unwrap(), doors[1].port());
    for (door, bind, gateway, guest) in [
        (doors[0], "127.0.0.1:0", "10.0.2.2:0", "10.0.2.15:7000"),
        (v6, "[::1]:0", "[fd00::2]:0", "[fd00::15]:7000"),
        (mapped, "127.0.0.1:0", "10.0.2.2:0", "10.0.2.15:7000"),
    ] {
        let ((one, _), (two, _)) = (server(bind), server(bind));
        one.send_to(b"one", door).unwrap();
        let (seen_one, to, payload) = side.datagram();
        assert_eq!((seen_one.ip(), to, payload), (at(gateway).ip(), at(guest), b"one".to_vec()));
        two.send_to(b"two", door).unwrap();
        let (seen_two, ..) = side.datagram();
        assert_ne!(seen_one, seen_two);
        one.send_to(b"again", door).unwrap();
        assert_eq!(side.datagram().0, seen_one);
        side.send(guest, seen_two, b"answer");
        let mut buffer = [0; 16];
        assert_eq!(two.recv_from(&mut buffer).unwrap(), (6, door));
    }
}

#[test]
fn visitors_are_bounded_and_forgotten() {
    let mut side = Side::new(at("127.0.0.1:53"), &[publishing("127.0.0.1:0", 7000, true)]);
    let door = side.published.bound().next().unwrap().1;
    let (peer, _) = server("127.0.0.1:0");
    peer.send_to(b"hello", door).unwrap();
    let seen = side.datagram().0;
    assert_eq!(side.published.deadline(), Some(Instant::from_micros(120_000_000)));
    side.published.expire(&mut side.shared, Instant::from_micros(120_000_000));
    assert_eq!(side.published.deadline(), None);
    // Nobody is there any more: this is now the machine's own UDP port, which is closed.
    side.send("10.0.2.15:7000", seen, b"late");
    assert_eq!(side.error(), ((3, 3), (7000, seen.port())));
}

/// TTL and TOS are passed on, and told of what comes.
#[test]
fn datagrams_keep_how_they_are_to_be_treated() {
    for (guest, bind) in [("10.0.2.15:4000", "127.0.0.1:0"), ("[fd00::15]:4000", "[::1]:0")] {
        let (server, address) = server(bind);
        let mut side = Side::plain();
        for treatment in [Treatment { hop_limit: 9, traffic_class: 0x10 }, Treatment::default()] {
            let datagram =
                Datagram { from: at(guest), to: seen_by_program(address), treatment, payload: b"x" };
            side.datagrams.send(&datagram, &mut side.shared, Instant::ZERO);
            let from = server.recv_from(&mut [0; 8]).unwrap().1;
            // What the program sends to its own port comes back to it as the kernel received it.
            let to = SocketAddr::new(seen_by_program(address).ip(), from.port());
            let datagram = Datagram { to, ..datagram };
            side.datagrams.send(&datagram, &mut side.shared, Instant::ZERO);
            let packet = side.packet();
            assert_eq!(open(&packet).unwrap().header.treatment, treatment);
        }
    }
}

/// What MSG_ERRQUEUE shows: the whole of what was sent.
#[test]
fn an_error_quotes_what_was_sent() {
    for (guest, bind) in [("10.0.2.15:4000", "127.0.0.1:0"), ("[fd00::15]:4000", "[::1]:0")] {
        let (_held, closed) = closed(bind);
        let mut side = Side::plain();
        side.send(guest, seen_by_program(closed), b"anyone there?");
        let packet = side.packet();
        assert!(packet.ends_with(b"anyone there?"));
        assert_eq!(open(&packet).unwrap().header.source, seen_by_program(closed).ip());
    }
}
