//! Two engines, the link between them, and a clock that only this moves.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tubesock::addressing::Cidr;
use tubesock::engine::{Domain, Engine, Kind, Settings, SocketId, StreamState};
use tubesock::link::pair::{Pair, PairEnd};
use tubesock::link::{Capabilities, Link, Packet};
use tubesock::tcp;
use tubesock::time::Instant;

/// One engine with its end of the link.
pub(crate) struct Side {
    pub(crate) engine: Engine,
    pub(crate) end: PairEnd,
}

/// What happens to a packet on its way: what comes out instead of it.
pub(crate) type Road = Box<dyn FnMut(Packet) -> Vec<Packet>>;

/// `near` is 10.0.2.15 and fd00::15, `far` is 10.0.2.2 and fd00::2.
pub(crate) struct World {
    pub(crate) near: Side,
    pub(crate) far: Side,
    pub(crate) now: Instant,
    /// On the way to `far` and to `near`.
    pub(crate) roads: [Road; 2],
}

pub(crate) fn settings(last: &str, seed: u8) -> Settings {
    Settings {
        mtu: 1500,
        addresses: vec![
            Cidr::new(format!("10.0.2.{last}").parse().expect("IPv4"), 24),
            Cidr::new(format!("fd00::{last}").parse().expect("IPv6"), 64),
        ],
        any_address: false,
        offer_incoming: false,
        checksums: true,
        segmentation: 0,
        in_memory: false,
        tcp: tcp::Settings::default(),
        seed: [seed; 16],
    }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

impl World {
    pub(crate) fn new() -> World {
        World::with(|_, _| {})
    }

    /// `change` may alter the settings of near and far.
    pub(crate) fn with(change: impl FnOnce(&mut Settings, &mut Settings)) -> World {
        let (mut near, mut far) = (settings("15", 1), settings("2", 2));
        change(&mut near, &mut far);
        let now = Instant::from_micros(1_000_000);
        let capabilities = Capabilities {
            mtu: near.mtu,
            checksums: near.checksums,
            segmentation: near.segmentation,
            in_memory: near.in_memory,
        };
        let (near_end, far_end) = Pair::new(capabilities, 100_000);
        World {
            near: Side { engine: Engine::new(near, now), end: near_end },
            far: Side { engine: Engine::new(far, now), end: far_end },
            now,
            roads: [Box::new(|packet| vec![packet]), Box::new(|packet| vec![packet])],
        }
    }

    /// Moves packets until none moves; the time stands still.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let sides = [&mut self.near, &mut self.far];
            let mut moved = false;
            for (side, road) in sides.into_iter().zip(&mut self.roads) {
                while side.end.receive(self.now, &mut |packet| side.engine.receive(packet, self.now)) {
                    moved = true;
                }
                while let Some(packet) = side.engine.transmit_packet(self.now) {
                    for packet in road(packet) {
                        side.end.transmit(packet.as_slice().into(), self.now);
                    }
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the engines never come to rest");
    }

    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        [self.near.engine.deadline(), self.far.engine.deadline()].into_iter().flatten().min()
    }

    /// Lets time pass, every deadline on the way honoured.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(deadline) = self.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.near.engine.advance(self.now);
            self.far.engine.advance(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// A listener of `far` and a stream of `near` connected to it, accepted.
    pub(crate) fn connected(&mut self, port: u16) -> (SocketId, SocketId) {
        let listener = self.listener(port, 10);
        let client = self.near.engine.open(Domain::V4, Kind::Stream);
        let to = SocketAddr::new("10.0.2.2".parse().expect("IPv4"), port);
        self.near.engine.connect(client, to, self.now).expect("connect");
        self.settle();
        assert_eq!(self.near.engine.state(client), Some(StreamState::Connected));
        let server = self.far.engine.accept(listener).expect("a connection waits");
        self.far.engine.release(listener, self.now);
        (client, server)
    }

    pub(crate) fn listener(&mut self, port: u16, backlog: usize) -> SocketId {
        let engine = &mut self.far.engine;
        let listener = engine.open(Domain::V4, Kind::Stream);
        engine.bind(listener, address(&format!("0.0.0.0:{port}")), self.now).expect("bind");
        engine.listen(listener, backlog, self.now).expect("listen");
        listener
    }
}

/// Writes as much of `data` as there is room for.
pub(crate) fn write(engine: &mut Engine, id: SocketId, data: &[u8]) -> usize {
    let mut rest = data;
    engine.write_with(id, &mut |room| {
        let length = room.len().min(rest.len());
        room[..length].copy_from_slice(&rest[..length]);
        rest = &rest[length..];
        length
    })
}

/// Reads at most `limit` bytes.
pub(crate) fn read(engine: &mut Engine, id: SocketId, limit: usize) -> Vec<u8> {
    let mut data = Vec::new();
    engine.read_with(id, &mut |bytes| {
        let length = bytes.len().min(limit - data.len());
        data.extend_from_slice(&bytes[..length]);
        length
    });
    data
}

pub(crate) fn changes(engine: &mut Engine) -> VecDeque<SocketId> {
    std::iter::from_fn(|| engine.changed()).collect()
}

/// A number series that a seed settles.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) % bound
    }
}
