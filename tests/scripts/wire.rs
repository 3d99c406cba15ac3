//! Packets as bytes: what a script injects is built here, and what the stack sent is read, independently of the code
//! under test. Checksums are verified on everything read.
#![forbid(unsafe_code)]

use std::net::IpAddr;

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// A segment with plain numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    /// The options' bytes, padded to a multiple of four.
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Raw {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.push((((20 + self.options.len()) / 4) << 4) as u8);
        bytes.push(self.flags);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.urgent.to_be_bytes());
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        bytes
    }
}

fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The addresses, the length and the protocol, as they are summed.
fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend((length as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// An IP packet around `body`.
fn enclose(source: IpAddr, destination: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + body.len());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x45, 0]);
            packet.extend(((20 + body.len()) as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let checksum = !sum(&[&packet]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((body.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => unreachable!("both ends are of one family"),
    }
    packet.extend(body);
    packet
}

/// The packet that carries `segment`; `corrupt` spoils its checksum.
pub(crate) fn tcp_packet(source: IpAddr, destination: IpAddr, segment: &Raw, corrupt: bool) -> Vec<u8> {
    let mut bytes = segment.bytes();
    let checksum = !sum(&[&pseudo_header(source, destination, TCP, bytes.len()), &bytes]);
    let checksum = if corrupt { checksum ^ 0x5555 } else { checksum };
    bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
    enclose(source, destination, TCP, &bytes)
}

/// The ICMP error `kind` from `router` about a segment from `stack` to `peer`, of which it quotes eight bytes.
pub(crate) fn icmp_packet(
    kind: &str,
    mtu: u32,
    router: IpAddr,
    stack: IpAddr,
    peer: IpAddr,
    segment: &Raw,
) -> Result<Vec<u8>, String> {
    let quoted = tcp_packet(stack, peer, segment, false);
    let version_4 = stack.is_ipv4();
    let (kind, code) = icmp_numbers(kind, version_4).ok_or_else(|| format!("`{kind}` is no ICMP error"))?;
    let mut body = vec![kind, code, 0, 0];
    body.extend(mtu.to_be_bytes());
    body.extend(&quoted[..if version_4 { 28 } else { quoted.len() }]);
    let pseudo = if version_4 { Vec::new() } else { pseudo_header(router, stack, ICMP_V6, body.len()) };
    let checksum = !sum(&[&pseudo, &body]);
    body[2..4].copy_from_slice(&checksum.to_be_bytes());
    Ok(enclose(router, stack, if version_4 { ICMP } else { ICMP_V6 }, &body))
}

/// Type and code (RFC 792, RFC 1122 3.2.2.1, RFC 4443).
fn icmp_numbers(kind: &str, version_4: bool) -> Option<(u8, u8)> {
    Some(match (kind, version_4) {
        ("network_unreachable", true) => (3, 0),
        ("host_unreachable", true) => (3, 1),
        ("protocol_unreachable", true) => (3, 2),
        ("port_unreachable", true) => (3, 3),
        ("fragmentation_needed", true) => (3, 4),
        ("source_route_failed", true) => (3, 5),
        ("prohibited", true) => (3, 13),
        ("source_quench", true) => (4, 0),
        ("time_exceeded", true) => (11, 0),
        ("parameter_problem", true) => (12, 0),
        ("network_unreachable", false) => (1, 0),
        ("prohibited", false) => (1, 1),
        ("host_unreachable", false) => (1, 3),
        ("port_unreachable", false) => (1, 4),
        ("fragmentation_needed", false) => (2, 0),
        ("time_exceeded", false) => (3, 0),
        ("parameter_problem", false) => (4, 0),
        _ => return None,
    })
}

/// The segment in a packet that the stack sent; None when it carries none (neighbour discovery and the like).
pub(crate) fn parse(packet: &[u8]) -> Result<Option<Raw>, String> {
    let version_4 = packet[0] >> 4 == 4;
    let (header, protocol, length) = if version_4 {
        (usize::from(packet[0] & 15) * 4, packet[9], usize::from(u16_at(packet, 2)))
    } else {
        (40, packet[6], 40 + usize::from(u16_at(packet, 4)))
    };
    if protocol != TCP {
        return Ok(None);
    }
    if length != packet.len() {
        return Err(format!("a packet of {} bytes says it has {length}", packet.len()));
    }
    let (source, destination) = addresses(packet, version_4);
    let bytes = &packet[header..];
    if version_4 && sum(&[&packet[..header]]) != u16::MAX {
        return Err("the checksum of the IP header is wrong".into());
    }
    if sum(&[&pseudo_header(source, destination, TCP, bytes.len()), bytes]) != u16::MAX {
        return Err("the checksum of the segment is wrong".into());
    }
    let data = usize::from(bytes[12] >> 4) * 4;
    Ok(Some(Raw {
        source_port: u16_at(bytes, 0),
        destination_port: u16_at(bytes, 2),
        sequence: u32_at(bytes, 4),
        acknowledgement: u32_at(bytes, 8),
        flags: bytes[13],
        window: u16_at(bytes, 14),
        urgent: u16_at(bytes, 18),
        options: bytes[20..data].to_vec(),
        payload: bytes[data..].to_vec(),
    }))
}

/// Whom a packet is for.
pub(crate) fn destination(packet: &[u8]) -> IpAddr {
    addresses(packet, packet[0] >> 4 == 4).1
}

fn addresses(packet: &[u8], version_4: bool) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes"));
    if version_4 { (v4(12), v4(16)) } else { (v6(8), v6(24)) }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
