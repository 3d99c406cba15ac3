//! ICMP and ICMPv6: errors in both directions, and the answer to an echo request. Neighbour discovery, redirects and
//! everything else is not here.
//!
//! An error quotes the packet it is about. RFC 792 asks for the IP header and 8 bytes of the transport, so that much is
//! enough here: both ports, and the sequence number of a segment.
#![forbid(unsafe_code)]

use crate::error::Error;
use crate::ip::{self, Fault, Header, Protocol};
use crate::link::Packet;
use core::ops::Range;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, checksum};
use std::net::{IpAddr, SocketAddr};

const HEADER_LENGTH: usize = 8;
const ECHO_REPLY_V4: u8 = 0;
const UNREACHABLE_V4: u8 = 3;
/// A code of UNREACHABLE_V4.
const FRAGMENTATION_NEEDED: u8 = 4;
const ECHO_REQUEST_V4: u8 = 8;
const TIME_EXCEEDED_V4: u8 = 11;
const UNREACHABLE_V6: u8 = 1;
const TOO_BIG_V6: u8 = 2;
const TIME_EXCEEDED_V6: u8 = 3;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Longest error packets: RFC 1812 4.3.2.3 and RFC 4443 2.4 (c).
const ERROR_MAX_V4: usize = 576;
const ERROR_MAX_V6: usize = 1280;

/// A message that concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An echo request.
    Echo,
    /// An error about a packet that we sent.
    Error(Report),
}

/// An error about a packet that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the quoted packet carried: TCP or UDP.
    pub protocol: Protocol,
    /// Its source: one of our sockets.
    pub local: SocketAddr,
    /// Its destination.
    pub remote: SocketAddr,
    /// The sequence number of a quoted segment; of a datagram, no meaning.
    pub sequence: u32,
    /// What Linux makes of it.
    pub error: Error,
    /// Whether Linux reports it to a connected datagram socket.
    pub fatal: bool,
    /// Of a packet that was too big for the next network, that network's MTU; 0 from a router that does not say.
    pub mtu: Option<u32>,
}

/// Why a packet cannot be delivered, to be told to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route to the network.
    Network,
    /// The host does not answer.
    Host,
    /// Nothing is bound to the port.
    Port,
    /// The next network carries packets of so many bytes at the most, and this one must not be cut.
    TooBig(u32),
}

impl Unreachable {
    /// The first eight bytes of the message, without the checksum.
    fn header(self, version_4: bool) -> [u8; HEADER_LENGTH] {
        let (kind, code) = match (self, version_4) {
            (Unreachable::Network, true) => (UNREACHABLE_V4, 0),
            (Unreachable::Host, true) => (UNREACHABLE_V4, 1),
            (Unreachable::Port, true) => (UNREACHABLE_V4, 3),
            (Unreachable::TooBig(_), true) => (UNREACHABLE_V4, FRAGMENTATION_NEEDED),
            (Unreachable::Network, false) => (UNREACHABLE_V6, 0),
            (Unreachable::Host, false) => (UNREACHABLE_V6, 3),
            (Unreachable::Port, false) => (UNREACHABLE_V6, 4),
            (Unreachable::TooBig(_), false) => (TOO_BIG_V6, 0),
        };
        let [a, b, c, d] = match self {
            Unreachable::TooBig(mtu) if version_4 => mtu.min(u16::MAX.into()).to_be_bytes(),
            Unreachable::TooBig(mtu) => mtu.to_be_bytes(),
            _ => [0; 4],
        };
        [kind, code, 0, 0, a, b, c, d]
    }
}

/// Reads the message in `packet`; None for one that we do not act on.
pub fn parse(packet: &[u8], header: &Header, verify: bool) -> Result<Option<Message>, Fault> {
    let bytes = packet.get(header.payload.clone()).ok_or(Fault::Malformed)?;
    let [kind, code, ..] = *bytes else { return Err(Fault::Malformed) };
    let quote = bytes.get(HEADER_LENGTH..).ok_or(Fault::Malformed)?;
    if verify && sum(header.source, header.destination, bytes) != u16::MAX {
        return Err(Fault::Checksum);
    }
    let version_4 = header.source.is_ipv4();
    if (version_4, kind) == (true, ECHO_REQUEST_V4) || (version_4, kind) == (false, ECHO_REQUEST_V6) {
        return Ok(Some(Message::Echo));
    }
    let meaning = if version_4 { meaning_v4(kind, code) } else { meaning_v6(kind, code) };
    let Some((error, fatal)) = meaning else { return Ok(None) };
    let quoted = if version_4 { quoted_v4(quote) } else { quoted_v6(quote) };
    let mtu = (error == Error::MessageTooLong).then(|| next_mtu(bytes, version_4));
    Ok(quoted.map(|(protocol, local, remote, sequence)| {
        Message::Error(Report { protocol, local, remote, sequence, error, fatal, mtu })
    }))
}

/// RFC 1191 4 and RFC 4443 3.2.
fn next_mtu(bytes: &[u8], version_4: bool) -> u32 {
    match *bytes {
        [_, _, _, _, _, _, c, d, ..] if version_4 => u32::from(u16::from_be_bytes([c, d])),
        [_, _, _, _, a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]),
        _ => 0,
    }
}

fn sum(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> u16 {
    match source {
        IpAddr::V4(_) => checksum::data(bytes),
        IpAddr::V6(_) => ip::transport_sum(source, destination, Protocol::Icmp, bytes),
    }
}

/// Linux's icmp_err_convert: the error, and whether it is fatal.
fn meaning_v4(kind: u8, code: u8) -> Option<(Error, bool)> {
    Some(match (kind, code) {
        (UNREACHABLE_V4, 0) => (Error::NetworkUnreachable, false),
        (UNREACHABLE_V4, 1) => (Error::HostUnreachable, false),
        (UNREACHABLE_V4, 2) => (Error::NoSuchOption, true),
        (UNREACHABLE_V4, 3) => (Error::ConnectionRefused, true),
        (UNREACHABLE_V4, FRAGMENTATION_NEEDED) => (Error::MessageTooLong, true),
        (UNREACHABLE_V4, 5) => (Error::NotSupported, false),
        (UNREACHABLE_V4, 6 | 9) => (Error::NetworkUnreachable, true),
        (UNREACHABLE_V4, 11) => (Error::NetworkUnreachable, false),
        (UNREACHABLE_V4, 12) => (Error::HostUnreachable, false),
        (UNREACHABLE_V4, 7 | 8 | 10 | 13..=15) => (Error::HostUnreachable, true),
        (TIME_EXCEEDED_V4, _) => (Error::HostUnreachable, false),
        _ => return None,
    })
}

/// Linux's icmpv6_err_convert.
fn meaning_v6(kind: u8, code: u8) -> Option<(Error, bool)> {
    Some(match (kind, code) {
        (UNREACHABLE_V6, 0) => (Error::NetworkUnreachable, false),
        (UNREACHABLE_V6, 2 | 3) => (Error::HostUnreachable, false),
        (UNREACHABLE_V6, 1 | 5 | 6) => (Error::PermissionDenied, true),
        (UNREACHABLE_V6, 4) => (Error::ConnectionRefused, true),
        (TOO_BIG_V6, _) => (Error::MessageTooLong, true),
        (TIME_EXCEEDED_V6, _) => (Error::HostUnreachable, false),
        _ => return None,
    })
}

type Quoted = (Protocol, SocketAddr, SocketAddr, u32);

fn quoted_v4(quote: &[u8]) -> Option<Quoted> {
    // `new_checked` would want the whole quoted packet.
    let length = usize::from(quote.first()? & 0x0f) * 4;
    let (header, transport) = (quote.get(..length.max(20))?, quote.get(length..)?);
    let header = Ipv4Packet::new_unchecked(header);
    if length < 20 || header.version() != 4 || header.frag_offset() != 0 {
        return None;
    }
    quoted_transport(header.next_header(), header.src_addr().into(), header.dst_addr().into(), transport)
}

fn quoted_v6(quote: &[u8]) -> Option<Quoted> {
    let header = Ipv6Packet::new_unchecked(quote.get(..40)?);
    if header.version() != 6 {
        return None;
    }
    quoted_transport(header.next_header(), header.src_addr().into(), header.dst_addr().into(), &quote[40..])
}

fn quoted_transport(
    protocol: IpProtocol,
    source: IpAddr,
    destination: IpAddr,
    bytes: &[u8],
) -> Option<Quoted> {
    let protocol = match protocol {
        IpProtocol::Tcp => Protocol::Tcp,
        IpProtocol::Udp => Protocol::Udp,
        _ => return None,
    };
    let [a, b, c, d, rest @ ..] = bytes.get(..8)? else { return None };
    let sequence = u32::from_be_bytes(rest.try_into().ok()?);
    let local = SocketAddr::new(source, u16::from_be_bytes([*a, *b]));
    let remote = SocketAddr::new(destination, u16::from_be_bytes([*c, *d]));
    Some((protocol, local, remote, sequence))
}

/// The error about `packet`, from `source`, to be sent to whom `header` says the packet came from.
pub fn unreachable(
    reason: Unreachable,
    source: IpAddr,
    packet: &[u8],
    header: &Header,
    checksums: bool,
) -> Packet {
    let version_4 = source.is_ipv4();
    let longest = if version_4 { ERROR_MAX_V4 } else { ERROR_MAX_V6 };
    let quote = packet.len().min(longest - ip::header_length(&source) - HEADER_LENGTH);
    let message = [reason.header(version_4).as_slice(), &packet[..quote]].concat();
    wrap(source, header.source, message, checksums)
}

/// The answer to the echo request in `packet`.
pub fn echo_reply(packet: &[u8], header: &Header, checksums: bool) -> Packet {
    let payload: Range<usize> = header.payload.clone();
    let mut message = packet[payload].to_vec();
    message[0] = if header.source.is_ipv4() { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    wrap(header.destination, header.source, message, checksums)
}

fn wrap(source: IpAddr, destination: IpAddr, mut message: Vec<u8>, checksums: bool) -> Packet {
    message[2..4].fill(0);
    if checksums {
        let sum = !sum(source, destination, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let mut packet = ip::build(source, destination, Protocol::Icmp, message.len(), checksums);
    let offset = packet.len() - message.len();
    packet[offset..].copy_from_slice(&message);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// Each error reads as it was written, and says which packet it is about.
    #[test]
    fn an_error_survives_the_packet() {
        for (local, remote) in [("10.0.0.1:4000", "10.0.0.2:53"), ("[fd00::1]:4000", "[fd00::2]:53")] {
            let (local, remote) = (at(local), at(remote));
            let router: IpAddr = if local.is_ipv4() { at("10.0.0.3:1") } else { at("[fd00::3]:1") }.ip();
            for (reason, error, fatal, mtu) in [
                (Unreachable::Network, Error::NetworkUnreachable, false, None),
                (Unreachable::Host, Error::HostUnreachable, false, None),
                (Unreachable::Port, Error::ConnectionRefused, true, None),
                (Unreachable::TooBig(1400), Error::MessageTooLong, true, Some(1400)),
                (Unreachable::TooBig(0), Error::MessageTooLong, true, Some(0)),
            ] {
                let packet = crate::udp::build(local, remote, b"data", true);
                let header = ip::parse(&packet, true).expect("an IP packet");
                let packet = unreachable(reason, router, &packet, &header, true);
                let header = ip::parse(&packet, true).expect("an IP packet");
                let Ok(Some(Message::Error(report))) = parse(&packet, &header, true) else {
                    panic!("{reason:?} does not read")
                };
                assert_eq!((report.protocol, report.local, report.remote), (Protocol::Udp, local, remote));
                assert_eq!((report.error, report.fatal, report.mtu), (error, fatal, mtu), "{reason:?}");
            }
        }
    }
}
