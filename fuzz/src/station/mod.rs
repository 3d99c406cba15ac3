//! A station on a network of frames, in virtual time: what leaves it is well-formed and its own, at no instant does it go in
//! circles, it says no more than it should, and its memory is bounded. What each protocol's messages must do to it is in the
//! files of the protocols.
//!
//! ```text
//!   arp     requests and replies, and packets for neighbours that are there, are not, or lie
//!   ndp     the same for IPv6, and routers: prefixes, lifetimes, name servers
//!   dhcp    servers that offer anything, acknowledge what nobody asked for, and refuse what is not theirs
//! ```
#![forbid(unsafe_code)]

mod arp;
mod dhcp;
mod ndp;

pub use arp::arp;
pub use dhcp::dhcp;
pub use ndp::ndp;

use super::bytes::Bytes;
use super::{memory, wire};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tubesock::addressing::Addressing;
use tubesock::ethernet::{Ethernet, Frames, Mac, Station};
use tubesock::link::Link;
use tubesock::time::Instant;

const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const BROADCAST: [u8; 6] = [0xff; 6];
/// What the address of the link is made of `OURS` (RFC 4291, appendix A).
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Steps of one input.
const STEPS_MAX: usize = 300;
/// Turns at one instant, and deadlines of one step.
const ROUNDS_MAX: usize = 3000;
/// What may be in use beside the packets that wait.
const MEMORY_MAX: isize = 8 << 20;

/// The two directions of a cable.
#[derive(Default)]
struct Cable {
    to_station: VecDeque<Vec<u8>>,
    from_station: Vec<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Plug(Arc<Mutex<Cable>>);

impl Plug {
    fn with<T>(&self, look: impl FnOnce(&mut Cable) -> T) -> T {
        look(&mut self.0.lock().expect("one thread"))
    }
}

impl Frames for Plug {
    fn mtu(&self) -> usize {
        1500
    }

    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> bool {
        self.with(|cable| cable.to_station.pop_front()).map(|frame| take(&frame)).is_some()
    }

    fn transmit(&mut self, parts: [&[u8]; 4]) {
        self.with(|cable| cable.from_station.push(parts.concat()));
    }

    fn wake(&self) -> BorrowedFd<'_> {
        unreachable!("a target waits for nothing")
    }
}

/// A frame that left, opened.
#[derive(Clone, Debug)]
struct Sent {
    to: [u8; 6],
    kind: u16,
    payload: Vec<u8>,
}

struct World {
    link: Ethernet<Plug>,
    cable: Plug,
    addressing: Addressing,
    now: Instant,
    /// What left in the last step, and what came for the engine.
    sent: Vec<Sent>,
    arrived: Vec<Vec<u8>>,
    /// Bytes of packets that were handed over: they may wait.
    handed: usize,
    before: isize,
}

impl World {
    fn new(station: impl FnOnce(Mac, Instant) -> Station) -> World {
        let before = memory::live();
        let now = Instant::from_micros(1_000_000);
        let station = station(Mac(OURS), now);
        let addressing = station.addressing().clone();
        let cable = Plug::default();
        let link = Ethernet::new(cable.clone(), station);
        let (sent, arrived) = (Vec::new(), Vec::new());
        let mut world = World { link, cable, addressing, now, sent, arrived, handed: 0, before };
        world.settle();
        world
    }

    /// Runs the steps of an input.
    fn run(&mut self, input: &mut Bytes, mut step: impl FnMut(&mut World, &mut Bytes)) {
        for _ in 0..STEPS_MAX {
            if input.is_empty() {
                break;
            }
            (self.sent, self.arrived) = (Vec::new(), Vec::new());
            step(self, input);
            let grown = memory::live() - self.before - self.handed as isize;
            assert!(grown < MEMORY_MAX, "{grown} bytes of memory are in use");
        }
    }

    /// A frame arrives.
    fn deliver(&mut self, to: [u8; 6], from: [u8; 6], kind: u16, payload: &[u8]) {
        let mut frame = [&to[..], &from, &kind.to_be_bytes(), payload].concat();
        frame.resize(frame.len().max(60), 0);
        self.cable.with(|cable| cable.to_station.push_back(frame));
        self.settle();
    }

    /// The engine sends a packet.
    fn hand(&mut self, packet: &[u8]) {
        self.handed += packet.len() + 64;
        self.link.transmit(packet.into(), self.now);
        self.settle();
    }

    /// Time passes, in the steps that the link asks for.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "a deadline every {:?}", time / ROUNDS_MAX as u32);
            let Some(due) = self.link.deadline().filter(|due| *due <= end) else { break };
            self.now = due;
            self.settle();
        }
        self.now = end;
    }

    /// Lets the link do all that it has to do now.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "it does not come to rest");
            let World { link, arrived, now, .. } = self;
            if !link.receive(*now, &mut |packet| arrived.push(packet.to_vec())) {
                break;
            }
        }
        if let Some(changed) = self.link.addressing() {
            self.addressing = changed;
        }
        for frame in self.cable.with(|cable| std::mem::take(&mut cable.from_station)) {
            let sent = self.opened(&frame);
            self.sent.push(sent);
        }
        assert!(self.link.deadline().is_none_or(|due| due > self.now), "something is due at once, again");
    }

    /// A frame that left: it is ours, and what is in it is what it says.
    fn opened(&self, frame: &[u8]) -> Sent {
        let (header, payload) = frame.split_first_chunk::<14>().expect("a header");
        let to = *header.first_chunk::<6>().expect("six");
        let kind = u16::from_be_bytes([header[12], header[13]]);
        assert!(header[6..12] == OURS, "from us");
        match kind {
            ARP => assert!(payload.len() == 28 && payload[8..14] == OURS, "{payload:?}"),
            IPV4 | IPV6 => {
                assert!(wire::payload(payload, true).is_some(), "no packet: {payload:?}");
                assert_eq!(payload[0] >> 4 == 4, kind == IPV4);
            }
            _ => panic!("a frame of kind {kind:#x}"),
        }
        Sent { to, kind, payload: payload.to_vec() }
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addressing.addresses.iter().any(|own| own.address == address)
    }
}

/// A time that matters to these protocols.
fn time(input: &mut Bytes) -> Duration {
    let milliseconds =
        input.pick(&[0, 1, 250, 999, 1000, 1001, 4000, 16_000, 30_001, 60_000, 600_000, 7_200_000]);
    Duration::from_millis(milliseconds + u64::from(input.u8()))
}

/// Bytes with some of them changed.
fn spoilt(input: &mut Bytes, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..input.u8() % 3 {
        let place = usize::from(input.u16());
        let value = input.u8();
        let length = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(place % length) {
            *byte = value;
        }
    }
    if input.u8().is_multiple_of(8) {
        bytes.truncate(usize::from(input.u16()) % (bytes.len() + 1));
    }
    bytes
}

/// A packet of the program's to `to`.
fn packet(from: IpAddr, to: IpAddr, length: usize) -> Vec<u8> {
    let (from, to) = (std::net::SocketAddr::new(from, 9), std::net::SocketAddr::new(to, 9));
    wire::datagram(from, to, (8 + length) as u16, &vec![7; length])
}

const fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}
