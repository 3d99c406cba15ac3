//! IP headers, version 4 and 6: what every protocol above needs of them and no more.
//!
//! Out: no fragments, neither made nor put together; no extension headers and no options made. A fragment and an
//! IPv6 packet whose first header is not the transport's are told apart, so that the engine can count them.
#![forbid(unsafe_code)]

use crate::link::Packet;
use core::ops::Range;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, checksum};
use std::net::{IpAddr, Ipv4Addr};

/// Hop limit of what we send (RFC 1700, and Linux).
const HOP_LIMIT: u8 = 64;

/// What carries the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 1 over IPv4, 58 over IPv6
    Icmp,
    /// Anything else, extension headers of IPv6 included.
    Other(u8),
}

impl Protocol {
    fn of(number: IpProtocol, version_4: bool) -> Protocol {
        match (number, version_4) {
            (IpProtocol::Tcp, _) => Protocol::Tcp,
            (IpProtocol::Udp, _) => Protocol::Udp,
            (IpProtocol::Icmp, true) | (IpProtocol::Icmpv6, false) => Protocol::Icmp,
            (other, _) => Protocol::Other(other.into()),
        }
    }

    fn number(self, version_4: bool) -> IpProtocol {
        match self {
            Protocol::Tcp => IpProtocol::Tcp,
            Protocol::Udp => IpProtocol::Udp,
            Protocol::Icmp if version_4 => IpProtocol::Icmp,
            Protocol::Icmp => IpProtocol::Icmpv6,
            Protocol::Other(number) => IpProtocol::from(number),
        }
    }
}

/// What an IP header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// What the payload is.
    pub protocol: Protocol,
    /// Where the payload lies in the packet.
    pub payload: Range<usize>,
}

/// Why a packet cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Lengths or fields that contradict each other.
    Malformed,
    /// A checksum does not match.
    Checksum,
    /// Part of a larger packet.
    Fragment,
}

/// Length of the header that `build` writes.
pub const fn header_length(address: &IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}

/// Reads the header of `packet`; `verify` checks the checksum that IPv4 has.
pub fn parse(packet: &[u8], verify: bool) -> Result<Header, Fault> {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => parse_v4(packet, verify),
        Some(6) => parse_v6(packet),
        _ => Err(Fault::Malformed),
    }
}

fn parse_v4(packet: &[u8], verify: bool) -> Result<Header, Fault> {
    let header = Ipv4Packet::new_checked(packet).map_err(|_| Fault::Malformed)?;
    if verify && !header.verify_checksum() {
        return Err(Fault::Checksum);
    }
    if header.more_frags() || header.frag_offset() != 0 {
        return Err(Fault::Fragment);
    }
    Ok(Header {
        source: header.src_addr().into(),
        destination: header.dst_addr().into(),
        protocol: Protocol::of(header.next_header(), true),
        payload: header.header_len().into()..header.total_len().into(),
    })
}

fn parse_v6(packet: &[u8]) -> Result<Header, Fault> {
    let header = Ipv6Packet::new_checked(packet).map_err(|_| Fault::Malformed)?;
    let protocol = Protocol::of(header.next_header(), false);
    if protocol == Protocol::Other(IpProtocol::Ipv6Frag.into()) {
        return Err(Fault::Fragment);
    }
    Ok(Header {
        source: header.src_addr().into(),
        destination: header.dst_addr().into(),
        protocol,
        payload: header.header_len()..header.total_len(),
    })
}

/// A packet from `source` to `destination`, of one family, with a header and `length` zero bytes of payload.
/// `length` is at most what the family's length field can say: the caller bounds it by the MTU.
pub fn build(
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    length: usize,
    checksums: bool,
) -> Packet {
    let mut packet = vec![0; header_length(&source) + length];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = Ipv4Packet::new_unchecked(&mut packet[..]);
            header.set_version(4);
            header.set_header_len(20);
            header.set_total_len((20 + length) as u16);
            header.set_dont_frag(true);
            header.set_hop_limit(HOP_LIMIT);
            header.set_next_header(protocol.number(true));
            header.set_src_addr(source);
            header.set_dst_addr(destination);
            if checksums {
                header.fill_checksum();
            }
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = Ipv6Packet::new_unchecked(&mut packet[..]);
            header.set_version(6);
            header.set_payload_len(length as u16);
            header.set_hop_limit(HOP_LIMIT);
            header.set_next_header(protocol.number(false));
            header.set_src_addr(source);
            header.set_dst_addr(destination);
        }
        _ => unreachable!("addresses of two families in one packet"),
    }
    packet
}

/// Writes the header checksum that IPv4 has.
pub fn fill_checksum(packet: &mut [u8]) {
    if packet.first().is_some_and(|byte| byte >> 4 == 4) {
        Ipv4Packet::new_unchecked(packet).fill_checksum();
    }
}

/// The sum of a transport's pseudo header and `payload`, uncomplemented: all ones when a checksum inside is right.
pub fn transport_sum(source: IpAddr, destination: IpAddr, protocol: Protocol, payload: &[u8]) -> u16 {
    let number = protocol.number(source.is_ipv4());
    checksum::combine(&[
        checksum::pseudo_header(
            &IpAddress::from(source),
            &IpAddress::from(destination),
            number,
            payload.len() as u32,
        ),
        checksum::data(payload),
    ])
}

/// Whether `address` can be the other end of a connection: not a group, not everybody, not nobody.
pub fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_multicast() || address.is_unspecified() || address.octets()[0] >= 240)
        }
        IpAddr::V6(address) => !(address.is_multicast() || address.is_unspecified()),
    }
}

/// The address that reaches everybody on the subnet of `address`, where IPv4 has one.
pub fn subnet_broadcast(address: IpAddr, prefix: u8) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) if prefix < 31 => {
            Some(Ipv4Addr::from_bits(address.to_bits() | u32::MAX.checked_shr(prefix.into()).unwrap_or(0)))
        }
        _ => None,
    }
}
