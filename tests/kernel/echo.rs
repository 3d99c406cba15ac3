//! Echo requests of a program behind `nat`, in a network namespace whose administrator permits them, or not. The kernel
//! answers for addresses of its own.

use crate::namespace::Namespace;
use rustix::event::{PollFd, PollFlags, poll};
use std::net::SocketAddr;
use tubesock::engine::{Domain, Engine, Kind, Origin, Settings, SocketId, SocketOption};
use tubesock::error::Error;
use tubesock::link::Link;
use tubesock::nat::{self, Nat, Taken, Way};
use tubesock::{sys, tcp};

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

struct World {
    program: Engine,
    nat: Nat,
}

impl World {
    fn new() -> World {
        let now = sys::now();
        let nat = Nat::new(&[], Taken::Refused, Way::default(), [2; 16], now).expect("nothing is published");
        let capabilities = nat.capabilities();
        let settings = Settings {
            mtu: capabilities.mtu,
            addresses: nat::addressing().addresses,
            any_address: false,
            offer_incoming: false,
            checksums: capabilities.checksums,
            segmentation: capabilities.segmentation,
            in_memory: capabilities.in_memory,
            tcp: tcp::Settings::default(),
            seed: [1; 16],
        };
        World { program: Engine::new(settings, now), nat }
    }

    /// A socket that has sent an echo request.
    fn ping(&mut self, to: &str, sequence: u8) -> SocketId {
        let to = at(to);
        let (domain, request) = if to.is_ipv4() { (Domain::V4, 8) } else { (Domain::V6, 128) };
        let (program, now) = (&mut self.program, sys::now());
        let id = program.open(domain, Kind::Echo);
        program.set_option(id, SocketOption::ReceiveErrors(domain, true), now).expect("option");
        let message = [&[request, 0, 0, 0, 0, 0, 0, sequence], b"payload".as_slice()].concat();
        program.send_to(id, Some(to), &message, now).expect("send");
        id
    }

    /// Carries packets until `done` gives something.
    fn run<T>(&mut self, mut done: impl FnMut(&mut Engine) -> Option<T>) -> T {
        loop {
            let now = sys::now();
            while self.program.transmit(now, &mut |packet| self.nat.transmit(*packet, now)) {}
            while self.nat.receive(now, &mut |packet| self.program.receive(packet, now)) {}
            if let Some(result) = done(&mut self.program) {
                return result;
            }
            let wake = self.nat.wake().expect("nat has a descriptor");
            let patience = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
            let woken = poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], Some(&patience));
            assert_eq!(woken, Ok(1), "nothing came");
        }
    }
}

fn namespace(permitted: &str) -> Namespace {
    let namespace = Namespace::new();
    namespace.ip("address add 192.0.2.1/32 dev lo");
    namespace.ip("-6 address add 2001:db8::1/128 dev lo nodad");
    namespace.ip("route add unreachable 198.51.100.0/24");
    namespace.set("net.ipv4.ping_group_range", permitted);
    namespace
}

#[test]
fn the_rest_of_the_world_answers_where_the_kernel_permits_it() {
    namespace("0 2147483647").run(|| {
        let mut world = World::new();
        for to in ["192.0.2.1:0", "[2001:db8::1]:0"] {
            let ids = [1, 2].map(|sequence| (world.ping(to, sequence), sequence));
            for (id, sequence) in ids {
                let reply = world.run(|program| program.receive_from(id));
                assert_eq!(reply.from, at(to));
                assert_eq!(reply.payload[4..6], reply.to.port().to_be_bytes());
                assert_eq!((reply.payload[7], &reply.payload[8..]), (sequence, b"payload".as_slice()));
            }
        }
        let counters = world.nat.counters();
        assert_eq!((counters.datagrams_sent, counters.datagrams_received, counters.dropped), (4, 4, 0));
        let id = world.ping("198.51.100.1:0", 3);
        let report = world.run(|program| program.next_report(id));
        assert_eq!((report.error, report.to), (Error::HostUnreachable, at("198.51.100.1:0")));
        assert_eq!((report.payload[0], report.payload[7]), (8, 3));
    });
}

#[test]
fn where_the_kernel_does_not_permit_it_the_program_is_told() {
    namespace("1 0").run(|| {
        let mut world = World::new();
        for (to, origin, kind, code) in
            [("192.0.2.1:0", Origin::Icmp, 3, 13), ("[2001:db8::1]:0", Origin::Icmp6, 1, 1)]
        {
            let id = world.ping(to, 1);
            let report = world.run(|program| program.next_report(id));
            assert_eq!((report.origin, report.kind, report.code), (origin, kind, code));
            assert_eq!((report.to, report.offender), (at(to), Some(at(to).ip())));
        }
        assert_eq!(world.nat.counters().datagrams_sent, 0);
    });
}
