//! IP headers, version 4 and 6: what every protocol above needs of them and no more.
//!
//! Out: no extension headers but the fragment header (`fragment`), and no options made. A fragment and an IPv6 packet
//! whose first header is not the transport's are told apart, so that the engine can put the one together and count the
//! other.
#![forbid(unsafe_code)]

pub mod fragment;
pub(crate) mod reassembly;

use core::ops::Range;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, checksum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One whole IP packet, version 4 or 6, header first.
pub type Packet = Vec<u8>;

/// Hop limit of what we send unless told otherwise (RFC 1700, and Linux).
pub const HOP_LIMIT: u8 = 64;

/// Numbers of protocols.
const ICMP_V4: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT_V6: u8 = 44;
const ICMP_V6: u8 = 58;
const UDP_LITE: u8 = 136;

/// Lengths of the headers that we write.
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;

/// The least path MTU that is believed: for IPv4 Linux's min_pmtu, since less is claimed by who wants us to send tiny
/// packets and by routers that do not know (0); for IPv6 what every path carries (RFC 8200 5).
pub const fn least_path_mtu(address: &IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 552,
        IpAddr::V6(_) => 1280,
    }
}

/// What carries the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 6
    Tcp,
    /// 17
    Udp,
    /// 136
    UdpLite,
    /// 1 over IPv4, 58 over IPv6
    Icmp,
    /// Anything else, extension headers of IPv6 included.
    Other(u8),
}

impl Protocol {
    fn of(number: u8, version_4: bool) -> Protocol {
        match (number, version_4) {
            (TCP, _) => Protocol::Tcp,
            (UDP, _) => Protocol::Udp,
            (UDP_LITE, _) => Protocol::UdpLite,
            (ICMP_V4, true) | (ICMP_V6, false) => Protocol::Icmp,
            (other, _) => Protocol::Other(other),
        }
    }

    fn number(self, version_4: bool) -> u8 {
        match self {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
            Protocol::UdpLite => UDP_LITE,
            Protocol::Icmp if version_4 => ICMP_V4,
            Protocol::Icmp => ICMP_V6,
            Protocol::Other(number) => number,
        }
    }
}

/// How routers are to treat a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// TTL of IPv4, hop limit of IPv6.
    pub hop_limit: u8,
    /// TOS of IPv4, traffic class of IPv6: DSCP and ECN (RFC 2474, RFC 3168).
    pub traffic_class: u8,
}

impl Default for Treatment {
    fn default() -> Treatment {
        Treatment { hop_limit: HOP_LIMIT, traffic_class: 0 }
    }
}

/// One for each version of IP: a socket of IPv6 that speaks IPv4 too has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions<T> {
    /// IPv4
    pub v4: T,
    /// IPv6
    pub v6: T,
}

impl<T> Versions<T> {
    /// That of the version of `address`.
    pub const fn of(&self, address: IpAddr) -> &T {
        match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
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
    /// How it asks to be treated.
    pub treatment: Treatment,
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
        IpAddr::V4(_) => V4_HEADER,
        IpAddr::V6(_) => V6_HEADER,
    }
}

/// The most bytes of payload that a packet to or from `address` can have: its length field says no more.
pub const fn payload_max(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => u16::MAX as usize - V4_HEADER,
        IpAddr::V6(_) => u16::MAX as usize,
    }
}

/// Reads the header of `packet`; `verify` checks the checksum that IPv4 has.
pub fn parse(packet: &[u8], verify: bool) -> Result<Header, Fault> {
    parse_front(packet, packet.len(), verify)
}

/// `parse` for a packet of `length` bytes of which `front` is the beginning, with the whole header.
///
/// Inline, as is what reads the segment: an address that is written to memory in pieces and read from it whole takes longer
/// than all else about a header.
#[inline(always)]
pub fn parse_front(front: &[u8], length: usize, verify: bool) -> Result<Header, Fault> {
    match front.first().map(|byte| byte >> 4) {
        Some(4) => parse_v4(front, length, verify),
        Some(6) => parse_v6(front, length),
        _ => Err(Fault::Malformed),
    }
}

#[inline(always)]
fn parse_v4(packet: &[u8], length: usize, verify: bool) -> Result<Header, Fault> {
    let header = parse_v4_whole(packet, length, verify)?;
    // More fragments, or not the first.
    if packet[6] & 0x3f | packet[7] != 0 { Err(Fault::Fragment) } else { Ok(header) }
}

/// The header of a packet or a fragment.
fn parse_v4_whole(packet: &[u8], length: usize, verify: bool) -> Result<Header, Fault> {
    let words = packet.as_chunks().0.first_chunk().ok_or(Fault::Malformed)?;
    let [lengths, _, protocol, source, destination] = words.map(u32::from_be_bytes);
    let header_length = (lengths >> 24 & 0x0f) as usize * 4;
    let total = (lengths & 0xffff) as usize;
    let header = packet.get(..header_length).ok_or(Fault::Malformed)?;
    if header_length < V4_HEADER || header_length > total || total > length {
        return Err(Fault::Malformed);
    }
    if verify && checksum::data(header) != u16::MAX {
        return Err(Fault::Checksum);
    }
    Ok(Header {
        source: IpAddr::V4(Ipv4Addr::from_bits(source)),
        destination: IpAddr::V4(Ipv4Addr::from_bits(destination)),
        protocol: Protocol::of((protocol >> 16) as u8, true),
        treatment: Treatment { hop_limit: (protocol >> 24) as u8, traffic_class: (lengths >> 16) as u8 },
        payload: header_length..total,
    })
}

fn parse_v6(packet: &[u8], length: usize) -> Result<Header, Fault> {
    let (header, _) = packet.split_first_chunk::<V6_HEADER>().ok_or(Fault::Malformed)?;
    let total = V6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if total > length {
        return Err(Fault::Malformed);
    }
    let protocol = Protocol::of(header[6], false);
    if protocol == Protocol::Other(FRAGMENT_V6) {
        return Err(Fault::Fragment);
    }
    let traffic_class = header[0] << 4 | header[1] >> 4;
    Ok(Header {
        source: v6_address(header, 8),
        destination: v6_address(header, 24),
        protocol,
        treatment: Treatment { hop_limit: header[7], traffic_class },
        payload: V6_HEADER..total,
    })
}

/// The address at this place of a header that has both.
fn v6_address(header: &[u8], at: usize) -> IpAddr {
    let octets = header[at..].first_chunk::<16>().expect("two addresses fill the header");
    IpAddr::V6(Ipv6Addr::from(*octets))
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
    write_header(&mut packet, source, destination, protocol, Treatment::default(), length, checksums);
    packet
}

/// Writes the header of a packet with `length` bytes of payload to the front of `buffer`; returns its length.
pub fn write_header(
    buffer: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    treatment: Treatment,
    length: usize,
    checksums: bool,
) -> usize {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let (header, _) = buffer.split_first_chunk_mut().expect("the caller has room for a header");
            write_v4(header, source, destination, protocol, treatment, length, checksums);
            V4_HEADER
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (header, _) = buffer.split_first_chunk_mut().expect("the caller has room for a header");
            write_v6(header, source, destination, protocol, treatment, length);
            V6_HEADER
        }
        _ => unreachable!("addresses of two families in one packet"),
    }
}

fn write_v4(
    header: &mut [u8; V4_HEADER],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: Protocol,
    treatment: Treatment,
    length: usize,
    checksums: bool,
) {
    let Treatment { hop_limit, traffic_class: tos } = treatment;
    let total = u32::from((V4_HEADER + length) as u16);
    let carried = u32::from(hop_limit) << 24 | u32::from(protocol.number(true)) << 16;
    // Version 4, five words; no identification, as it is not to be cut (RFC 6864 4.1): DF.
    let first = 0x4500_0000 | u32::from(tos) << 16 | total;
    write_words(header, [first, 0x4000, carried, source.to_bits(), destination.to_bits()]);
    if checksums {
        Ipv4Packet::new_unchecked(header).fill_checksum();
    }
}

/// Fills a header by words: in memory it is read so at once, and bytes written one by one cannot be had together until they
/// have reached the cache.
pub(crate) fn write_words(header: &mut [u8; 20], words: [u32; 5]) {
    for (place, word) in header.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
}

fn write_v6(
    header: &mut [u8; V6_HEADER],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: Protocol,
    treatment: Treatment,
    length: usize,
) {
    let [length_high, length_low] = (length as u16).to_be_bytes();
    let protocol = protocol.number(false);
    let Treatment { hop_limit, traffic_class } = treatment;
    let (first, second) = (0x60 | traffic_class >> 4, traffic_class << 4);
    header[..8].copy_from_slice(&[first, second, 0, 0, length_high, length_low, protocol, hop_limit]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
}

/// Writes the header checksum that IPv4 has.
pub fn fill_checksum(packet: &mut [u8]) {
    if packet.first().is_some_and(|byte| byte >> 4 == 4) {
        Ipv4Packet::new_unchecked(packet).fill_checksum();
    }
}

/// Writes the checksum of the segment, the datagram or the ICMP message that a packet carries.
pub fn fill_transport_checksum(packet: &mut [u8]) {
    let Ok(Header { source, destination, protocol, payload, .. }) = parse(packet, false) else { return };
    let at = match protocol {
        Protocol::Tcp => 16,
        Protocol::Udp => 6,
        Protocol::Icmp => 2,
        // That of UDP-Lite is always written.
        Protocol::UdpLite | Protocol::Other(_) => return,
    };
    let Some(message) = packet.get_mut(payload).filter(|message| message.len() >= at + 2) else { return };
    message[at..at + 2].fill(0);
    let sum = match (protocol, source) {
        // RFC 792 sums the message alone.
        (Protocol::Icmp, IpAddr::V4(_)) => !sum_of(message),
        _ => !transport_sum(source, destination, protocol, message),
    };
    // RFC 768: 0 is none.
    let sum = if sum == 0 && protocol == Protocol::Udp { u16::MAX } else { sum };
    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// The sum of a transport's pseudo header and `payload`, uncomplemented: all ones when a checksum inside is right.
pub fn transport_sum(source: IpAddr, destination: IpAddr, protocol: Protocol, payload: &[u8]) -> u16 {
    transport_sum_of(source, destination, protocol, &[payload])
}

/// The same over a payload in pieces. A piece that starts at an odd place is summed with its bytes exchanged (RFC 1071 2).
pub fn transport_sum_of(source: IpAddr, destination: IpAddr, protocol: Protocol, pieces: &[&[u8]]) -> u16 {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let number = IpProtocol::from(protocol.number(source.is_ipv4()));
    let (source, destination) = (IpAddress::from(source), IpAddress::from(destination));
    let mut sum = checksum::pseudo_header(&source, &destination, number, length as u32);
    let mut place = 0;
    for piece in pieces {
        let own = sum_of(piece);
        let own = if place % 2 == 0 { own } else { own.swap_bytes() };
        sum = checksum::combine(&[sum, own]);
        place += piece.len();
    }
    sum
}

/// The ones' complement sum of `bytes`. Words of four bytes, in the machine's order, give the same as words of two in the
/// network's (RFC 1071 2), in a fraction of the time.
fn sum_of(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let whole: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut sum = whole + u64::from(u32::from_ne_bytes(last));
    while sum > u64::from(u16::MAX) {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::from_be(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_words_of_two_bytes() {
        let bytes: Vec<u8> = (0..4096u32).map(|n| ((n * n) >> 3) as u8).collect();
        let ranges = (0..9).flat_map(|start| (9..80).map(move |end| (start, end)));
        for (start, end) in ranges.chain([(1, 4096), (0, 0)]) {
            assert_eq!(sum_of(&bytes[start..end]), checksum::data(&bytes[start..end]), "{start}..{end}");
        }
        assert_eq!((sum_of(&[0xff; 1 << 16]), sum_of(&[0; 5])), (u16::MAX, 0));
    }
}
