//! TCP/IP on the wire, written and read by hand: an oracle that shared its code with the stack would share its mistakes.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;
pub(super) const URG: u8 = 32;

pub(super) const ICMP_V4: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const FRAGMENT_V6: u8 = 44;
pub(super) const ICMP_V6: u8 = 58;
pub(super) const UDP_LITE: u8 = 136;

/// A TCP segment in its packet.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    pub(super) urgent: u16,
    /// As they stand in the header, padded by `packet`.
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Wire {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// SEG.LEN
    pub(super) fn length(&self) -> i64 {
        self.payload.len() as i64 + i64::from(self.has(SYN)) + i64::from(self.has(FIN))
    }

    /// The packet that carries it; without `checksums` they are left out.
    pub(super) fn packet(&self, checksums: bool) -> Vec<u8> {
        let mut options = self.options.clone();
        options.truncate(40);
        options.resize(options.len().next_multiple_of(4), 0);
        let mut tcp = Vec::with_capacity(20 + options.len() + self.payload.len());
        tcp.extend(self.source.port().to_be_bytes());
        tcp.extend(self.destination.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.extend([((20 + options.len()) as u8) << 2, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0, 0]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(options);
        tcp.extend(&self.payload);
        if checksums {
            let sum = !transport_sum(self.source.ip(), self.destination.ip(), TCP, &tcp);
            tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        }
        packet(self.source.ip(), self.destination.ip(), TCP, &tcp)
    }

    /// The segment in `packet`; None when it is no whole one of TCP. `verify` wants its checksums right.
    pub(super) fn read(packet: &[u8], verify: bool) -> Option<Wire> {
        let (source, destination, protocol, tcp) = payload(packet, verify)?;
        if protocol != TCP || tcp.len() < 20 {
            return None;
        }
        if verify && transport_sum(source, destination, TCP, tcp) != u16::MAX {
            return None;
        }
        let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let long = |at: usize| u32::from(word(at)) << 16 | u32::from(word(at + 2));
        let header = usize::from(tcp[12] >> 4) * 4;
        Some(Wire {
            source: SocketAddr::new(source, word(0)),
            destination: SocketAddr::new(destination, word(2)),
            sequence: long(4),
            acknowledgement: long(8),
            flags: tcp[13],
            window: word(14),
            urgent: word(18),
            options: tcp.get(20..header)?.to_vec(),
            payload: tcp[header..].to_vec(),
        })
    }
}

/// A packet with an IP header without options.
pub(super) fn packet(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x45, 0]);
            packet.extend(((20 + payload.len()) as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let sum = !sum(0, &packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => unreachable!("the targets pair addresses of one family"),
    }
    packet.extend(payload);
    packet
}

/// A packet with a datagram of UDP, which says that it is `claimed` bytes long.
pub(super) fn datagram(source: SocketAddr, destination: SocketAddr, claimed: u16, payload: &[u8]) -> Vec<u8> {
    let mut udp: Vec<u8> =
        [source.port(), destination.port(), claimed, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    udp.extend(payload);
    let sum = !transport_sum(source.ip(), destination.ip(), UDP, &udp);
    udp[6..8].copy_from_slice(&sum.max(1).to_be_bytes());
    packet(source.ip(), destination.ip(), UDP, &udp)
}

/// A packet with a datagram of UDP-Lite, of which the checksum covers `coverage` bytes, or all for 0 (RFC 3828 3.1).
pub(super) fn lite_datagram(
    source: SocketAddr,
    destination: SocketAddr,
    coverage: usize,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes: Vec<u8> = [source.port(), destination.port(), coverage as u16, 0]
        .into_iter()
        .flat_map(u16::to_be_bytes)
        .collect();
    bytes.extend(payload);
    let sum = !lite_sum(source.ip(), destination.ip(), &bytes).expect("a coverage within it");
    bytes[6..8].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_be_bytes());
    packet(source.ip(), destination.ip(), UDP_LITE, &bytes)
}

/// `transport_sum` of what is covered of a datagram of UDP-Lite. None for a coverage that cannot be.
pub(super) fn lite_sum(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Option<u16> {
    let covered = match usize::from(u16::from_be_bytes([bytes[4], bytes[5]])) {
        0 => bytes.len(),
        covered => covered,
    };
    let front = bytes.get(..covered).filter(|front| front.len() >= 8)?;
    // The pseudo header has the length of the whole.
    let rest = (bytes.len() - covered) as u64;
    Some(sum(rest + u64::from(transport_sum(source, destination, UDP_LITE, front)), &[]))
}

/// A packet with a message of ICMP or ICMPv6, whose checksum is filled in.
pub(super) fn message(source: IpAddr, destination: IpAddr, mut bytes: Vec<u8>) -> Vec<u8> {
    let (protocol, sum) = match source {
        IpAddr::V4(_) => (ICMP_V4, sum(0, &bytes)),
        IpAddr::V6(_) => (ICMP_V6, transport_sum(source, destination, ICMP_V6, &bytes)),
    };
    bytes[2..4].copy_from_slice(&(!sum).to_be_bytes());
    packet(source, destination, protocol, &bytes)
}

/// Gives a packet a TTL and TOS, or a hop limit and traffic class.
pub(super) fn treat(packet: &mut [u8], hop_limit: u8, class: u8) {
    if packet[0] >> 4 == 4 {
        (packet[1], packet[8]) = (class, hop_limit);
        packet[10..12].fill(0);
        let sum = !sum(0, &packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | packet[1] & 15;
        packet[7] = hop_limit;
    }
}

/// Hop limit and traffic class of a packet.
pub(super) fn treatment(packet: &[u8]) -> (u8, u8) {
    match packet[0] >> 4 {
        4 => (packet[8], packet[1]),
        _ => (packet[7], packet[0] << 4 | packet[1] >> 4),
    }
}

/// Part of the payload of a packet (RFC 791 3.2, RFC 8200 4.5).
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) identification: u32,
    /// In bytes.
    pub(super) offset: usize,
    pub(super) more: bool,
    pub(super) protocol: u8,
    pub(super) payload: Vec<u8>,
}

impl Part {
    /// The payload of `packet` in parts of `room` bytes, a multiple of eight.
    pub(super) fn cut(packet: &[u8], room: usize, identification: u32) -> Vec<Part> {
        let Some((_, _, protocol, payload)) = payload(packet, false) else { return Vec::new() };
        let parts = payload.chunks(room).enumerate().map(|(index, piece)| Part {
            identification,
            offset: index * room,
            more: (index + 1) * room < payload.len(),
            protocol,
            payload: piece.to_vec(),
        });
        parts.collect()
    }

    /// The fragment of `packet` that carries it.
    pub(super) fn packet(&self, of: &[u8]) -> Vec<u8> {
        let (source, destination, _, _) = payload(of, false).expect("a packet");
        let (hop_limit, class) = treatment(of);
        let field = self.offset as u16 & !7;
        let mut fragment = if source.is_ipv4() {
            let mut fragment = packet(source, destination, self.protocol, &self.payload);
            fragment[4..6].copy_from_slice(&(self.identification as u16).to_be_bytes());
            fragment[6..8].copy_from_slice(&(field / 8 + (u16::from(self.more) << 13)).to_be_bytes());
            fragment
        } else {
            let [high, low] = (field | u16::from(self.more)).to_be_bytes();
            let header = [[self.protocol, 0, high, low], self.identification.to_be_bytes()].concat();
            packet(source, destination, FRAGMENT_V6, &[&header, &self.payload[..]].concat())
        };
        treat(&mut fragment, hop_limit, class);
        fragment
    }

    /// What `packet` carries, if it is a fragment.
    pub(super) fn read(packet: &[u8]) -> Option<Part> {
        let (source, _, protocol, payload) = payload(packet, false)?;
        let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if source.is_ipv4() {
            let (identification, field) = (word(packet, 4).into(), word(packet, 6));
            let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
            let part = Part { identification, offset, more, protocol, payload: payload.to_vec() };
            return (more || offset > 0).then_some(part);
        }
        let (header, payload) = payload.split_first_chunk::<8>().filter(|_| protocol == FRAGMENT_V6)?;
        let field = word(header, 2);
        Some(Part {
            identification: u32::from(word(header, 4)) << 16 | u32::from(word(header, 6)),
            offset: usize::from(field & !7),
            more: field & 1 != 0,
            protocol: header[0],
            payload: payload.to_vec(),
        })
    }
}

/// Addresses, protocol and payload of a packet whose length is what its header says.
pub(super) fn payload(packet: &[u8], verify: bool) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    match packet.first()? >> 4 {
        4 if packet.len() >= 20 && packet[0] & 15 == 5 && usize::from(word(2)) == packet.len() => {
            if verify && sum(0, &packet[..20]) != u16::MAX {
                return None;
            }
            let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four"));
            Some((address(12), address(16), packet[9], &packet[20..]))
        }
        6 if packet.len() >= 40 && usize::from(word(4)) == packet.len() - 40 => {
            let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("16"));
            Some((address(8), address(24), packet[6], &packet[40..]))
        }
        _ => None,
    }
}

/// The sum of a transport's pseudo header and bytes: all ones when a checksum inside is right.
pub(super) fn transport_sum(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut start = u64::from(protocol) + bytes.len() as u64;
    for address in [source, destination] {
        start += u64::from(match address {
            IpAddr::V4(address) => sum(0, &address.octets()),
            IpAddr::V6(address) => sum(0, &address.octets()),
        });
    }
    sum(start, bytes)
}

/// RFC 1071, not complemented.
pub(super) fn sum(start: u64, bytes: &[u8]) -> u16 {
    // In eights as long as there are some: a loop is slow where each turn is traced.
    let (longs, rest) = bytes.as_chunks::<8>();
    let mut total = start;
    for long in longs {
        let long = u64::from_be_bytes(*long);
        total += (long >> 48) + (long >> 32 & 0xffff) + (long >> 16 & 0xffff) + (long & 0xffff);
    }
    for pair in rest.chunks(2) {
        total += u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The options of a segment that the model knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    pub(super) scale: Option<u8>,
    pub(super) sack_permitted: bool,
    /// TSval and TSecr
    pub(super) timestamps: Option<(u32, u32)>,
    /// Left and right edges.
    pub(super) sack: Vec<(u32, u32)>,
}

impl Options {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(mss) = self.mss {
            bytes.extend([2, 4]);
            bytes.extend(mss.to_be_bytes());
        }
        if let Some(scale) = self.scale {
            bytes.extend([1, 3, 3, scale]);
        }
        if self.sack_permitted {
            bytes.extend([1, 1, 4, 2]);
        }
        if let Some((value, echo)) = self.timestamps {
            bytes.extend([1, 1, 8, 10]);
            bytes.extend(value.to_be_bytes());
            bytes.extend(echo.to_be_bytes());
        }
        if !self.sack.is_empty() {
            bytes.extend([1, 1, 5, (2 + 8 * self.sack.len()) as u8]);
            for (left, right) in &self.sack {
                bytes.extend(left.to_be_bytes());
                bytes.extend(right.to_be_bytes());
            }
        }
        bytes
    }

    /// None when they are malformed: what the stack sends never is.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Options> {
        let mut options = Options::default();
        let long = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        while let Some(&kind) = bytes.first() {
            if kind == 0 {
                break;
            }
            let length = if kind == 1 { 1 } else { usize::from(*bytes.get(1)?) };
            let (option, rest) = bytes.split_at_checked(length)?;
            match option {
                [1] => {}
                [2, 4, high, low] => options.mss = Some(u16::from_be_bytes([*high, *low])),
                [3, 3, scale] => options.scale = Some(*scale),
                [4, 2] => options.sack_permitted = true,
                [8, 10, value @ ..] => options.timestamps = Some((long(&value[..4]), long(&value[4..]))),
                [5, _, blocks @ ..] if blocks.len() % 8 == 0 => {
                    options.sack =
                        blocks.chunks(8).map(|block| (long(&block[..4]), long(&block[4..]))).collect();
                }
                _ => return None,
            }
            bytes = rest;
        }
        Some(options)
    }
}

#[test]
fn a_packet_survives_in_parts() {
    for addresses in [["10.0.2.15:1", "10.0.2.2:2"], ["[fd00::15]:1", "[fd00::2]:2"]] {
        let [source, destination] = addresses.map(|text| text.parse().expect("an address"));
        let mut whole = datagram(source, destination, 8 + 100, &[5; 100]);
        treat(&mut whole, 9, 0xb8);
        let mut together = Vec::new();
        for part in Part::cut(&whole, 40, 77) {
            let packet = part.packet(&whole);
            assert_eq!(treatment(&packet), (9, 0xb8));
            assert!(payload(&packet, true).is_some(), "its header is whole");
            let read = Part::read(&packet).expect("a fragment");
            assert_eq!((read.identification, read.protocol), (77, UDP));
            assert_eq!((read.offset, read.more), (together.len(), together.len() < 80));
            together.extend(read.payload);
        }
        assert_eq!(Some(&together[..]), payload(&whole, true).map(|(_, _, _, payload)| payload));
        assert!(Part::read(&whole).is_none());
    }
}

#[test]
fn a_segment_survives_the_wire() {
    let options = Options {
        mss: Some(1460),
        scale: Some(7),
        sack_permitted: true,
        timestamps: Some((1, 2)),
        sack: vec![(5, 9)],
    };
    for addresses in [["10.0.2.15:1", "10.0.2.2:2"], ["[fd00::15]:1", "[fd00::2]:2"]] {
        let [source, destination] = addresses.map(|text| text.parse().expect("an address"));
        let wire = Wire {
            source,
            destination,
            sequence: 0xfedc_ba98,
            acknowledgement: 3,
            flags: ACK | PSH,
            window: 7,
            urgent: 0,
            options: options.bytes(),
            payload: b"odd".to_vec(),
        };
        let mut packet = wire.packet(true);
        let read = Wire::read(&packet, true).expect("a segment");
        assert_eq!((read.sequence, read.flags, &read.payload[..]), (wire.sequence, wire.flags, &b"odd"[..]));
        assert_eq!(Options::read(&read.options), Some(options.clone()));
        *packet.last_mut().expect("not empty") ^= 1;
        assert!(Wire::read(&packet, true).is_none(), "the checksum is wrong now");
    }
}
