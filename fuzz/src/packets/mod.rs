//! Any packets into an engine that has listeners, connections in every state and datagram sockets, in virtual time. The
//! steps of an input send packets, plausible or not, make calls, and let time pass.
//!
//! What must hold: no panic; `transmit` comes to rest; `deadline` is in the future once everything due was done; what
//! leaves is well-formed, from us, and fits the link; memory stays within a bound however much comes.
#![forbid(unsafe_code)]

use super::bytes::Bytes;
use super::memory;
use super::wire::{self, ACK, SYN, Wire};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tubesock::engine::{Domain, Engine, Kind, Refusal, Settings, SocketId, SocketOption, StreamState};
use tubesock::link::Outgoing;
use tubesock::tcp::KeepAlive;
use tubesock::time::Instant;

const OURS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), IpAddr::V6(address_v6(0x15))];
const THEIRS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 99)), IpAddr::V6(address_v6(0x99))];

/// Steps of one input, sockets that calls may open, connections whose numbers are remembered.
const STEPS_MAX: usize = 400;
const SOCKETS_MAX: usize = 32;
const FLOWS_MAX: usize = 32;

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
    world.wait(Duration::from_secs(600));
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
    sockets: Vec<SocketId>,
    flows: Vec<Flow>,
    /// The packet that left last.
    last: Vec<u8>,
    next_port: u16,
}

impl World {
    fn new(input: &mut Bytes) -> World {
        let settings = settings(input);
        let now = Instant::from_micros(1_000_000);
        let engine = Engine::new(settings.clone(), now);
        let (sockets, flows) = (Vec::new(), Vec::new());
        let mut world = World { engine, now, settings, sockets, flows, last: Vec::new(), next_port: 4000 };
        world.populate();
        world
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
        match input.u8() % 20 {
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
            11 | 12 => self.icmp_error(input),
            13 => self.reflect(input),
            14 | 15 => self.wait(duration(input)),
            16 | 17 => self.transfer(input),
            18 => self.finish(input),
            _ => self.arrange(input),
        }
    }

    // ---- packets in

    fn deliver(&mut self, packet: &[u8]) {
        self.engine.receive(packet, self.now);
    }

    /// Whatever it is, in an IP header.
    fn any_payload(&mut self, input: &mut Bytes) {
        let (source, destination) = addresses(input);
        let protocol = input.pick(&[wire::TCP, 17, 1, 58, 0, 44]);
        let length = usize::from(input.u8());
        let bytes = input.take(length);
        let packet = wire::packet(source, destination, protocol, bytes);
        self.deliver(&packet);
    }

    fn any_segment(&mut self, input: &mut Bytes) {
        let Some(flow) = self.flow(input) else { return };
        let near = |input: &mut Bytes, number: u32| match input.u8() % 6 {
            0..=2 => number,
            3 => number.wrapping_add_signed(i32::from(input.u8() as i8)),
            4 => number.wrapping_add_signed(i32::from(input.u16() as i16) * 16),
            _ => input.u32(),
        };
        let sequence = near(input, flow.next_received);
        let acknowledgement = near(input, flow.next_sent);
        let flags = input.u8();
        let flags = if flags & 0xc0 == 0 { flags } else { ACK | (flags & 9) };
        let window = input.u16();
        let options = usize::from(input.u8() % 64);
        let options = if options > 40 { Vec::new() } else { input.take(options).to_vec() };
        let length = match input.u8() % 8 {
            0..=2 => 0,
            3 => 1,
            4 => usize::from(input.u8()),
            5 => 1400,
            6 => usize::from(input.u16() % 9000),
            _ => usize::from(input.u16()).min(65_000),
        };
        self.segment(&flow, sequence, acknowledgement, flags, window, options, vec![7; length]);
    }

    #[allow(clippy::too_many_arguments)]
    fn segment(
        &mut self,
        flow: &Flow,
        sequence: u32,
        acknowledgement: u32,
        flags: u8,
        window: u16,
        options: Vec<u8>,
        payload: Vec<u8>,
    ) {
        let wire = Wire {
            source: flow.remote,
            destination: flow.local,
            sequence,
            acknowledgement,
            flags,
            window,
            urgent: window,
            options,
            payload,
        };
        let packet = wire.packet(self.settings.checksums);
        self.deliver(&packet);
    }

    /// One SYN, from a port that was not used yet.
    fn request(&mut self, family: usize, options: &[u8]) {
        self.next_port = self.next_port.checked_add(1).unwrap_or(4000);
        let flow = Flow {
            local: SocketAddr::new(OURS[family], 80),
            remote: SocketAddr::new(THEIRS[family], self.next_port),
            next_sent: 0,
            next_received: 0,
        };
        self.segment(&flow, u32::MAX - 100, 0, SYN, 60_000, options.to_vec(), Vec::new());
    }

    fn requests(&mut self, input: &mut Bytes) {
        let family = usize::from(input.u8() % 2);
        let count = input.pick(&[1, 1, 1, 5, 20, 400]);
        let length = usize::from(input.u8() % 41);
        let options = input.take(length);
        for _ in 0..count {
            self.request(family, options);
        }
    }

    fn datagram(&mut self, input: &mut Bytes) {
        let (source, destination) = addresses(input);
        let ports = [input.pick(&[53, 4000, 0]), input.pick(&[53, 80, 0, 9])];
        let length = usize::from(input.pick(&[0, 1, 100, 1400, 9000, 65_000_u16]));
        let claimed = if input.u8().is_multiple_of(8) { input.u16() } else { (8 + length) as u16 };
        let mut udp: Vec<u8> =
            [ports[0], ports[1], claimed, 0].into_iter().flat_map(u16::to_be_bytes).collect();
        udp.resize(8 + length, 7);
        let sum = !wire::transport_sum(source, destination, 17, &udp);
        udp[6..8].copy_from_slice(&sum.max(1).to_be_bytes());
        let packet = wire::packet(source, destination, 17, &udp);
        self.deliver(&packet);
    }

    fn echo(&mut self, input: &mut Bytes) {
        let (source, destination) = addresses(input);
        let kind = if source.is_ipv4() { 8 } else { 128 };
        let length = usize::from(input.u8());
        let bytes = [&[kind, 0, 0, 0], input.take(length)].concat();
        self.icmp(source, destination, bytes);
    }

    /// An error about the packet that left last, with a quote cut anywhere.
    fn icmp_error(&mut self, input: &mut Bytes) {
        let family = usize::from(self.last.first().is_some_and(|first| first >> 4 == 6));
        let kind = match input.u8() % 4 {
            0 => input.u8(),
            _ if family == 0 => input.pick(&[3, 3, 11, 12, 4]),
            _ => input.pick(&[1, 2, 2, 3, 4]),
        };
        let mut bytes = vec![kind, input.u8() % 16, 0, 0];
        bytes.extend([0, 0]);
        bytes.extend(input.pick(&[0_u16, 68, 576, 1280, 1400, 65_535, 20]).to_be_bytes());
        let length = input.pick(&[28, 20, 48, 60, 500, 8]).min(self.last.len());
        bytes.extend(&self.last[..length]);
        self.icmp(THEIRS[family], OURS[family], bytes);
    }

    fn icmp(&mut self, source: IpAddr, destination: IpAddr, mut bytes: Vec<u8>) {
        let sum = match source {
            IpAddr::V4(_) => wire::sum(0, &bytes),
            IpAddr::V6(_) => wire::transport_sum(source, destination, 58, &bytes),
        };
        bytes[2..4].copy_from_slice(&(!sum).to_be_bytes());
        let protocol = if source.is_ipv4() { 1 } else { 58 };
        self.deliver(&wire::packet(source, destination, protocol, &bytes));
    }

    /// The packet that left last comes back, its addresses and ports swapped or not, with some bytes changed.
    fn reflect(&mut self, input: &mut Bytes) {
        let mut packet = self.last.clone();
        let (address, port) =
            if packet.first().is_some_and(|first| first >> 4 == 6) { (8, 40) } else { (12, 20) };
        let width = (port - address) / 2;
        if !input.u8().is_multiple_of(4) && packet.len() >= port + 4 {
            for at in 0..width {
                packet.swap(address + at, address + width + at);
            }
            packet.swap(port, port + 2);
            packet.swap(port + 1, port + 3);
        }
        for _ in 0..input.u8() % 4 {
            let at = usize::from(input.u16());
            let value = input.u8();
            if let Some(byte) = packet.get_mut(at % 128) {
                *byte = value;
            }
        }
        self.deliver(&packet);
    }

    // ---- calls

    fn socket(&self, input: &mut Bytes) -> SocketId {
        self.sockets[usize::from(input.u8()) % self.sockets.len()]
    }

    fn accept(&mut self, listener: SocketId) {
        while self.sockets.len() < SOCKETS_MAX
            && let Some(id) = self.engine.accept(listener)
        {
            self.sockets.push(id);
        }
    }

    fn transfer(&mut self, input: &mut Bytes) {
        let id = self.socket(input);
        let mut length = usize::from(input.u16());
        match input.u8() % 8 {
            0..=2 => {
                self.engine.write_with(id, &mut |room| {
                    let written = room.len().min(length);
                    room[..written].fill(9);
                    length -= written;
                    written
                });
            }
            3 | 4 => {
                self.engine.read_with(id, &mut |bytes| {
                    let read = bytes.len().min(length);
                    length -= read;
                    read
                });
            }
            5 => while self.engine.receive_from(id).is_some() {},
            6 => {
                let to = SocketAddr::new(input.pick(&[THEIRS[0], THEIRS[1], OURS[0], OURS[1]]), 53);
                let to = (input.u8().is_multiple_of(2)).then_some(to);
                // EMSGSIZE, EDESTADDRREQ and the rest are as good an answer.
                let _ = self.engine.send_to(id, to, &vec![3; length], self.now);
            }
            _ => self.accept(id),
        }
    }

    fn finish(&mut self, input: &mut Bytes) {
        let id = self.socket(input);
        match input.u8() % 4 {
            0 => self.engine.shutdown_write(id, self.now),
            1 => self.engine.abort(id, self.now),
            2 => self.engine.hold_accepting(id, input.u8().is_multiple_of(2)),
            _ => {
                self.engine.release(id, self.now);
                if self.sockets.len() > 1 {
                    self.sockets.retain(|socket| *socket != id);
                }
            }
        }
    }

    /// Sockets are opened, bound, connected; options are set; offers are answered. Any of it may fail.
    fn arrange(&mut self, input: &mut Bytes) {
        if input.u8().is_multiple_of(2) && self.sockets.len() < SOCKETS_MAX {
            let domain = input.pick(&[Domain::V4, Domain::V6]);
            self.sockets.push(self.engine.open(domain, input.pick(&[Kind::Stream, Kind::Datagram])));
        }
        let id = self.socket(input);
        let family = usize::from(input.u8() % 2);
        let port = input.pick(&[0, 80, 53, 4000, 4001]);
        match input.u8() % 6 {
            0 => drop(self.engine.bind(id, SocketAddr::new(OURS[family], port), self.now)),
            1 => drop(self.engine.listen(id, usize::from(input.u8()), self.now)),
            2 => drop(self.engine.connect(id, SocketAddr::new(THEIRS[family], port), self.now)),
            // To ourselves.
            3 => drop(self.engine.connect(id, SocketAddr::new(OURS[family], port), self.now)),
            4 => {
                let option = option(input);
                let _ = self.engine.set_option(id, option, self.now);
            }
            _ => self.answer_offers(input),
        }
    }

    fn answer_offers(&mut self, input: &mut Bytes) {
        while let Some(offer) = self.engine.incoming() {
            if input.u8().is_multiple_of(2) && self.sockets.len() < SOCKETS_MAX {
                self.engine.admit(offer.id, self.now);
                self.sockets.push(offer.id);
            } else {
                let how =
                    [Refusal::Reset, Refusal::NetworkUnreachable, Refusal::HostUnreachable, Refusal::Silence];
                self.engine.refuse(offer.id, input.pick(&how), self.now);
            }
        }
    }

    // ---- packets out, and time

    /// Lets the engine do all that is due now.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.drain();
            if self.engine.deadline().is_none_or(|deadline| deadline > self.now) {
                return self.look();
            }
            self.engine.advance(self.now);
        }
        panic!("the deadline stays in the past");
    }

    fn drain(&mut self) {
        for _ in 0..PACKETS_MAX {
            let mut packets = Vec::new();
            let sent = self
                .engine
                .transmit(self.now, &mut |outgoing| packets.push(examined(outgoing, &self.settings)));
            assert_eq!(sent, packets.len() == 1, "one packet for each true");
            let Some(packet) = packets.pop() else { return };
            self.remember(&packet);
            self.last = packet;
        }
        panic!("the engine does not come to rest");
    }

    fn remember(&mut self, packet: &[u8]) {
        let Some(wire) = Wire::read(packet, false) else { return };
        let flow = Flow {
            local: wire.source,
            remote: wire.destination,
            next_sent: wire.sequence.wrapping_add(wire.length() as u32),
            next_received: wire.acknowledgement,
        };
        self.flows.retain(|known| (known.local, known.remote) != (flow.local, flow.remote));
        if self.flows.len() == FLOWS_MAX {
            self.flows.remove(0);
        }
        self.flows.push(flow);
    }

    /// The flow that showed itself last is the first choice.
    fn flow(&self, input: &mut Bytes) -> Option<Flow> {
        let back = usize::from(input.u8()) % self.flows.len().max(1);
        self.flows.iter().rev().nth(back).copied()
    }

    /// What an owner would ask after a change: nothing may panic or contradict itself.
    fn look(&mut self) {
        while self.engine.changed().is_some() {}
        for id in &self.sockets {
            let state = self.engine.state(*id);
            if state == Some(StreamState::Ended) {
                assert_eq!(self.engine.room(*id), 0, "nothing can be written to what has ended");
            }
            assert!(self.engine.readable(*id) <= 2 * BUFFER_MAX, "more to read than the buffer holds");
            self.engine.info(*id, self.now);
            self.engine.end(*id);
        }
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(deadline) = self.engine.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "settled");
            self.now = deadline;
            self.engine.advance(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
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
        addresses: vec![(OURS[0], 24), (OURS[1], 64)],
        any_address: bit(0),
        offer_incoming: bit(0),
        checksums: bit(1),
        segmentation: if bit(2) { 65_000 } else { 0 },
        in_memory: bit(7),
        tcp,
        seed: [5; 16],
    }
}

fn addresses(input: &mut Bytes) -> (IpAddr, IpAddr) {
    const OTHERS: [[IpAddr; 3]; 2] = [
        [
            IpAddr::V4(Ipv4Addr::BROADCAST),
            IpAddr::V4(Ipv4Addr::new(10, 0, 2, 255)),
            IpAddr::V4(Ipv4Addr::LOCALHOST),
        ],
        [
            IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
    ];
    let bits = input.u8();
    let family = usize::from(bits & 1);
    let choose = |usual: IpAddr, number: u8| match number % 8 {
        number @ 0..3 => OTHERS[family][usize::from(number)],
        3 => [OURS, THEIRS][usize::from(bits >> 7)][family],
        _ => usual,
    };
    (choose(THEIRS[family], bits >> 1), choose(OURS[family], bits >> 4))
}

/// From a microsecond to two hours.
fn duration(input: &mut Bytes) -> Duration {
    let scale = input.pick(&[1, 1000, 40_000, 200_000, 1_000_000, 30_000_000]);
    Duration::from_micros(scale * u64::from(input.u8()))
}

fn option(input: &mut Bytes) -> SocketOption {
    let on = input.u8().is_multiple_of(2);
    let span = duration(input);
    match input.u8() % 5 {
        0 => SocketOption::NoDelay(on),
        1 => {
            let probes = KeepAlive { idle: span, interval: span, count: u32::from(input.u8()) };
            SocketOption::KeepAlive(on.then_some(probes))
        }
        2 => SocketOption::UserTimeout(on.then_some(span)),
        3 => SocketOption::ReuseAddress(on),
        _ => SocketOption::V6Only(on),
    }
}

/// The packet in `outgoing`, if it is one that may leave.
fn examined(outgoing: &Outgoing<'_>, settings: &Settings) -> Vec<u8> {
    let packet = [outgoing.headers, outgoing.payload[0], outgoing.payload[1]].concat();
    assert!(packet.len() <= 65_535, "a packet longer than IP can say");
    let longest = if outgoing.segment.is_some() { settings.segmentation + 120 } else { settings.mtu };
    assert!(packet.len() <= longest, "{} bytes leave over a link for {longest}", packet.len());
    let verify = settings.checksums && outgoing.segment.is_none();
    let (source, _, protocol, _) = wire::payload(&packet, verify).expect("a packet of IP");
    assert!(OURS.contains(&source) || settings.any_address, "it leaves in the name of {source}");
    if protocol == wire::TCP {
        Wire::read(&packet, verify).expect("a segment");
    }
    packet
}
