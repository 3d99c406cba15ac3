//! Any packets into an engine that has listeners, connections in every state and datagram sockets, in virtual time. The
//! steps of an input send packets, plausible or not, make calls, and let time pass.
//!
//! What must hold: no panic; `transmit` comes to rest; `deadline` is in the future once everything due was done; what
//! leaves is well-formed, from us, treated as asked, and fits the link; a datagram arrives as it was sent, at one socket
//! unless it was sent to many; memory stays within a bound however much comes; and nothing stays when all is released.
//!
//! ```text
//!   arrivals     packets of all kinds            calls       streams, and plain datagram sockets
//!   deliveries   datagrams, fragments, replies   datagrams   shared ports, groups, wanted errors, echo sockets
//!   departures   what leaves, and time
//! ```
#![forbid(unsafe_code)]

mod arrivals;
mod calls;
mod datagrams;
mod deliveries;
mod departures;

use super::bytes::Bytes;
use super::memory;
use super::wire::ACK;
use calls::duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tubesock::addressing::Cidr;
use tubesock::engine::{Domain, Engine, Kind, Path, Settings, SocketId, SocketOption};
use tubesock::time::Instant;

const OURS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), IpAddr::V6(address_v6(0x15))];
const THEIRS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 99)), IpAddr::V6(address_v6(0x99))];

/// Steps of one input, sockets that calls may open, connections whose numbers are remembered.
const STEPS_MAX: usize = 400;
const SOCKETS_MAX: usize = 32;
const FLOWS_MAX: usize = 32;

/// The port of two listeners with SO_REUSEPORT.
const SHARED_STREAMS: u16 = 8080;

/// Packets that may leave after one step before the engine does not come to rest.
const PACKETS_MAX: usize = 50_000;

/// Rounds of `advance` at one instant.
const ROUNDS_MAX: usize = 100;

/// Largest buffers that the settings here allow a connection, and what everything else may take.
const BUFFER_MAX: usize = 256 * 1024;
const MEMORY_MAX: usize = 64 << 20;

const fn address_v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)
}

/// The body of the target.
pub fn packets(data: &[u8]) {
    let before = memory::live();
    let mut input = Bytes::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.settle();
        let grown = memory::live() - before;
        assert!(grown < MEMORY_MAX as isize, "{grown} bytes of memory are in use");
    }
    world.end();
}

/// A connection as the engine's packets showed it.
#[derive(Clone, Copy)]
struct Flow {
    local: SocketAddr,
    remote: SocketAddr,
    /// SND.NXT and RCV.NXT of the engine.
    next_sent: u32,
    next_received: u32,
}

struct World {
    engine: Engine,
    now: Instant,
    settings: Settings,
    /// Streams and datagram sockets, and datagram and echo sockets that only `datagrams` knows.
    sockets: Vec<SocketId>,
    datagrams: Vec<SocketId>,
    listeners: [SocketId; 2],
    /// Who has joined which group.
    members: Vec<(SocketId, IpAddr, Path)>,
    flows: Vec<Flow>,
    /// The packet that left last, and the last that was no segment.
    last: Vec<u8>,
    last_datagram: Vec<u8>,
    /// What left of a packet that leaves in fragments.
    partial: Vec<u8>,
    next_port: u16,
    /// Numbers of datagrams and of packets in fragments.
    serial: u32,
}

impl World {
    fn new(input: &mut Bytes) -> World {
        let settings = settings(input);
        let now = Instant::from_micros(1_000_000);
        let mut engine = Engine::new(settings.clone(), now);
        let listeners = [Domain::V6; 2].map(|domain| engine.open(domain, Kind::Stream));
        let mut world = World {
            engine,
            now,
            settings,
            sockets: Vec::new(),
            datagrams: Vec::new(),
            listeners,
            members: Vec::new(),
            flows: Vec::new(),
            last: Vec::new(),
            last_datagram: Vec::new(),
            partial: Vec::new(),
            next_port: 4000,
            serial: 0,
        };
        world.populate();
        world.populate_datagrams();
        world.listen_together();
        world
    }

    fn listen_together(&mut self) {
        for id in self.listeners {
            let port = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), SHARED_STREAMS);
            self.engine.set_option(id, SocketOption::ReusePort(true), self.now).expect("an option");
            self.engine.bind(id, port, self.now).expect("bind");
            self.engine.listen(id, 4, self.now).expect("listen");
        }
    }

    /// A listener, a connection accepted from it, one under way each way, and datagram sockets.
    fn populate(&mut self) {
        let now = self.now;
        let listener = self.engine.open(Domain::V6, Kind::Stream);
        self.engine.bind(listener, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 80), now).expect("bind");
        self.engine.listen(listener, 4, now).expect("listen");
        let bound = self.engine.open(Domain::V4, Kind::Datagram);
        self.engine.bind(bound, SocketAddr::new(OURS[0], 53), now).expect("bind");
        let connected = self.engine.open(Domain::V6, Kind::Datagram);
        self.engine.connect(connected, SocketAddr::new(THEIRS[1], 53), now).expect("connect");
        self.engine.send_to(connected, None, b"hello", now).expect("sendto");
        let connecting = self.engine.open(Domain::V4, Kind::Stream);
        self.engine.connect(connecting, SocketAddr::new(THEIRS[0], 4000), now).expect("connect");
        self.sockets = vec![listener, bound, connected, connecting];
        self.settle();
        for family in 0..2 {
            self.request(family, &[2, 4, 5, 0xb4, 3, 3, 7, 0, 4, 2, 0, 0]);
            self.settle();
            let flow = self.flows.last().copied().expect("a SYN-ACK left");
            self.segment(&flow, flow.next_received, flow.next_sent, ACK, 60_000, Vec::new(), Vec::new());
            self.settle();
            self.accept(listener);
        }
    }

    fn step(&mut self, input: &mut Bytes) {
        match input.u8() % 32 {
            0 => {
                let length = usize::from(input.u16() % 2048);
                let packet = input.take(length).to_vec();
                self.deliver(&packet);
            }
            1 => self.any_payload(input),
            2..=7 => self.any_segment(input),
            8 => self.requests(input),
            9 => self.datagram(input),
            10 => self.echo(input),
            11 | 12 => self.icmp_error(input, &self.last.clone()),
            13 => self.reflect(input),
            14 | 15 => self.wait(duration(input)),
            16 | 17 => self.transfer(input),
            18 => self.finish(input),
            19 => self.arrange(input),
            20 | 21 => self.datagram_arrives(input),
            22 | 23 => self.fragments(input),
            24 => self.report(input),
            25 => self.echo_reply(input),
            26 | 27 => self.send(input),
            28 => self.take(input),
            29 => self.arrange_datagrams(input),
            _ => self.arrange_streams(input),
        }
    }
}

fn settings(input: &mut Bytes) -> Settings {
    let bits = input.u8();
    let bit = |number: u8| bits & (1 << number) != 0;
    let mtu = input.pick(&[1500, 1500, 1280, 65_535, 9000]);
    let tcp = tubesock::tcp::Settings {
        timestamps: !bit(3),
        sack: !bit(4),
        window_scale: !bit(5),
        congestion: if bit(6) { tubesock::tcp::Algorithm::Bbr } else { tubesock::tcp::Algorithm::Cubic },
        send_max: BUFFER_MAX,
        receive_max: BUFFER_MAX,
        ..tubesock::tcp::Settings::default()
    };
    Settings {
        mtu,
        addresses: vec![Cidr::new(OURS[0], 24), Cidr::new(OURS[1], 64)],
        any_address: bit(0),
        offer_incoming: bit(0),
        checksums: bit(1),
        segmentation: if bit(2) { 65_000 } else { 0 },
        in_memory: bit(7),
        tcp,
        seed: [5; 16],
    }
}
