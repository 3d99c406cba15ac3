//! UDP datagrams (RFC 768): read from packets and put into them. Who gets one is the engine's question.
#![forbid(unsafe_code)]

use crate::ip::{self, Fault, Header, Packet, Protocol, Treatment};
use core::ops::Range;
use smoltcp::wire::UdpPacket;
use std::net::SocketAddr;

/// Length of the header.
pub const HEADER_LENGTH: usize = 8;

/// What the header of a datagram says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// Where the payload lies in the packet.
    pub payload: Range<usize>,
}

/// Reads the datagram in `packet`.
pub fn parse(packet: &[u8], header: &Header, verify: bool) -> Result<Arrived, Fault> {
    let bytes = packet.get(header.payload.clone()).ok_or(Fault::Malformed)?;
    let udp = UdpPacket::new_checked(bytes).map_err(|_| Fault::Malformed)?;
    let length = usize::from(udp.len());
    // A checksum of 0 is none; IPv6 allows that for tunnels only (RFC 8200 8.1).
    let checked = udp.checksum() != 0 || header.source.is_ipv6();
    if verify
        && checked
        && (udp.checksum() == 0
            || ip::transport_sum(header.source, header.destination, Protocol::Udp, &bytes[..length])
                != u16::MAX)
    {
        return Err(Fault::Checksum);
    }
    let start = header.payload.start;
    Ok(Arrived {
        source: SocketAddr::new(header.source, udp.src_port()),
        destination: SocketAddr::new(header.destination, udp.dst_port()),
        payload: start + HEADER_LENGTH..start + length,
    })
}

/// The packet that carries `payload` between two addresses of one family. Its length is at most what the family's length
/// field can say.
pub fn build(source: SocketAddr, destination: SocketAddr, payload: &[u8], checksums: bool) -> Packet {
    build_treated(source, destination, Treatment::default(), payload, checksums)
}

/// `build` of a packet that asks to be treated as given.
pub fn build_treated(
    source: SocketAddr,
    destination: SocketAddr,
    treatment: Treatment,
    payload: &[u8],
    checksums: bool,
) -> Packet {
    let length = HEADER_LENGTH + payload.len();
    let start = ip::header_length(&source.ip());
    let mut packet = Packet::with_capacity(start + length);
    packet.resize(start + HEADER_LENGTH, 0);
    packet.extend_from_slice(payload);
    ip::write_header(&mut packet, source.ip(), destination.ip(), Protocol::Udp, treatment, length, checksums);
    let mut udp = UdpPacket::new_unchecked(&mut packet[start..]);
    udp.set_src_port(source.port());
    udp.set_dst_port(destination.port());
    udp.set_len(length as u16);
    if checksums {
        udp.fill_checksum(&source.ip().into(), &destination.ip().into());
    }
    packet
}
