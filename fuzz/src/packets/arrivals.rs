//! Packets of all kinds for the engine.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::super::wire::{self, ACK, SYN, Wire};
use super::{Flow, OURS, THEIRS, World};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl World {
    pub(super) fn deliver(&mut self, packet: &[u8]) {
        self.engine.receive(packet, self.now);
    }

    /// Whatever it is, in an IP header.
    pub(super) fn any_payload(&mut self, input: &mut Bytes) {
        let (source, destination) = addresses(input);
        let protocol =
            input.pick(&[wire::TCP, wire::UDP, wire::ICMP_V4, wire::ICMP_V6, 0, wire::FRAGMENT_V6]);
        let length = usize::from(input.u8());
        let bytes = input.take(length);
        let packet = wire::packet(source, destination, protocol, bytes);
        self.deliver(&packet);
    }

    pub(super) fn any_segment(&mut self, input: &mut Bytes) {
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
    pub(super) fn segment(
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
    pub(super) fn request(&mut self, family: usize, options: &[u8]) {
        self.request_to(family, 80, options);
    }

    pub(super) fn request_to(&mut self, family: usize, port: u16, options: &[u8]) {
        self.next_port = self.next_port.checked_add(1).unwrap_or(4000);
        let flow = Flow {
            local: SocketAddr::new(OURS[family], port),
            remote: SocketAddr::new(THEIRS[family], self.next_port),
            next_sent: 0,
            next_received: 0,
        };
        self.segment(&flow, u32::MAX - 100, 0, SYN, 60_000, options.to_vec(), Vec::new());
    }

    pub(super) fn requests(&mut self, input: &mut Bytes) {
        let family = usize::from(input.u8() % 2);
        let count = input.pick(&[1, 1, 1, 5, 20, 400]);
        let length = usize::from(input.u8() % 41);
        let options = input.take(length);
        for _ in 0..count {
            self.request(family, options);
        }
    }

    pub(super) fn datagram(&mut self, input: &mut Bytes) {
        let (source, destination) = addresses(input);
        let ports = [input.pick(&[53, 4000, 0]), input.pick(&[53, 80, 0, 9])];
        let length = usize::from(input.pick(&[0, 1, 100, 1400, 9000, 65_000_u16]));
        let claimed = if input.u8().is_multiple_of(8) { input.u16() } else { (8 + length) as u16 };
        let source = SocketAddr::new(source, ports[0]);
        let destination = SocketAddr::new(destination, ports[1]);
        let packet = wire::datagram(source, destination, claimed, &vec![7; length]);
        self.deliver(&packet);
    }

    pub(super) fn echo(&mut self, input: &mut Bytes) {
        let (source, destination) = addresses(input);
        let kind = if source.is_ipv4() { 8 } else { 128 };
        let length = usize::from(input.u8());
        let bytes = [&[kind, 0, 0, 0], input.take(length)].concat();
        self.deliver(&wire::message(source, destination, bytes));
    }

    /// An error about a packet that left, with a quote cut anywhere.
    pub(super) fn icmp_error(&mut self, input: &mut Bytes, about: &[u8]) {
        let family = usize::from(about.first().is_some_and(|first| first >> 4 == 6));
        let kind = match input.u8() % 4 {
            0 => input.u8(),
            _ if family == 0 => input.pick(&[3, 3, 11, 12, 4]),
            _ => input.pick(&[1, 2, 2, 3, 4]),
        };
        let mut bytes = vec![kind, input.u8() % 16, 0, 0];
        bytes.extend([0, 0]);
        bytes.extend(input.pick(&[0_u16, 68, 576, 1280, 1400, 65_535, 20]).to_be_bytes());
        let length = input.pick(&[28, 20, 48, 60, 500, 8]).min(about.len());
        bytes.extend(&about[..length]);
        self.deliver(&wire::message(THEIRS[family], OURS[family], bytes));
    }

    /// The packet that left last comes back, its addresses and ports swapped or not, with some bytes changed.
    pub(super) fn reflect(&mut self, input: &mut Bytes) {
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
