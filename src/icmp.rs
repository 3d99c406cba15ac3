//! ICMP and ICMPv6: errors in both directions, echo requests and replies. Neighbour discovery, group membership (IGMP,
//! MLD), redirects and everything else is not here.
//!
//! An error quotes the packet it is about. RFC 792 asks for the IP header and 8 bytes of the transport, so that much is
//! enough here: both ports, and the sequence number of a segment; or the identifier of an echo request, which stands for
//! the port of who sent it.
#![forbid(unsafe_code)]

use crate::addressing::is_unicast;
use crate::error::Error;
use crate::ip::{self, Fault, Header, Packet, Protocol, Treatment};
use core::ops::Range;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, checksum};
use std::net::{IpAddr, SocketAddr};

const HEADER_LENGTH: usize = 8;
const UDP_LITE: IpProtocol = IpProtocol::Unknown(136);
const ECHO_REPLY_V4: u8 = 0;
const UNREACHABLE_V4: u8 = 3;
/// A code of UNREACHABLE_V4.
const FRAGMENTATION_NEEDED: u8 = 4;
const ECHO_REQUEST_V4: u8 = 8;
const TIME_EXCEEDED_V4: u8 = 11;
const UNREACHABLE_V6: u8 = 1;
const TOO_BIG_V6: u8 = 2;
const TIME_EXCEEDED_V6: u8 = 3;
const PARAMETER_PROBLEM_V6: u8 = 4;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Longest error packets: RFC 1812 4.3.2.3 and RFC 4443 2.4 (c).
const ERROR_MAX_V4: usize = 576;
const ERROR_MAX_V6: usize = 1280;

/// A message that concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// An echo request.
    Echo,
    /// The answer to one, which had this identifier.
    EchoReply(u16),
    /// An error about a packet that we sent.
    Error(Report),
}

/// An error about a packet that we sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The packet that is quoted.
    pub quoted: Quoted,
    /// Who says so: a router, or the destination.
    pub offender: IpAddr,
    /// Type of the message.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// What Linux makes of it.
    pub error: Error,
    /// Whether Linux reports it to a connected datagram socket.
    pub fatal: bool,
    /// Of a packet that was too big for the next network, that network's MTU; 0 from a router that does not say.
    pub mtu: Option<u32>,
}

/// What an error quotes of the packet that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// What it carried: TCP, UDP, or an echo request.
    pub protocol: Protocol,
    /// Its source: one of our sockets. Of an echo request the port is its identifier.
    pub local: SocketAddr,
    /// Its destination; of an echo request the port is 0.
    pub remote: SocketAddr,
    /// The sequence number of a segment; otherwise no meaning.
    pub sequence: u32,
    /// Where in the error's packet lies what was sent: the payload of a datagram, an echo request with its header.
    pub payload: Range<usize>,
}

/// Why a packet cannot be delivered, to be told to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route to the network.
    Network,
    /// The host does not answer.
    Host,
    /// Nobody there knows what the packet carries.
    Protocol,
    /// Nothing is bound to the port.
    Port,
    /// The administrator does not let it through.
    Prohibited,
    /// The next network carries packets of so many bytes at the most, and this one must not be cut.
    TooBig(u32),
}

/// What the header of an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Type
    pub kind: u8,
    /// Code
    pub code: u8,
    /// The four bytes behind the checksum: the MTU of what was too big.
    pub info: u32,
}

impl Unreachable {
    /// As the version of IP says it.
    pub fn cause(self, version_4: bool) -> Cause {
        let (kind, code) = match (self, version_4) {
            (Unreachable::Network, true) => (UNREACHABLE_V4, 0),
            (Unreachable::Host, true) => (UNREACHABLE_V4, 1),
            (Unreachable::Protocol, true) => (UNREACHABLE_V4, 2),
            (Unreachable::Port, true) => (UNREACHABLE_V4, 3),
            (Unreachable::Prohibited, true) => (UNREACHABLE_V4, 13),
            (Unreachable::TooBig(_), true) => (UNREACHABLE_V4, FRAGMENTATION_NEEDED),
            (Unreachable::Network, false) => (UNREACHABLE_V6, 0),
            (Unreachable::Host, false) => (UNREACHABLE_V6, 3),
            // RFC 8200 4: unrecognized next header
            (Unreachable::Protocol, false) => (PARAMETER_PROBLEM_V6, 1),
            (Unreachable::Port, false) => (UNREACHABLE_V6, 4),
            (Unreachable::Prohibited, false) => (UNREACHABLE_V6, 1),
            (Unreachable::TooBig(_), false) => (TOO_BIG_V6, 0),
        };
        let info = match self {
            Unreachable::TooBig(mtu) if version_4 => mtu.min(u16::MAX.into()),
            Unreachable::TooBig(mtu) => mtu,
            // Where that field lies in the header.
            Unreachable::Protocol if !version_4 => 6,
            _ => 0,
        };
        Cause { kind, code, info }
    }
}

/// Reads the message in `packet`; None for one that we do not act on.
pub fn parse(packet: &[u8], header: &Header, verify: bool) -> Result<Option<Message>, Fault> {
    let bytes = packet.get(header.payload.clone()).ok_or(Fault::Malformed)?;
    let [kind, code, _, _, high, low, ..] = *bytes else { return Err(Fault::Malformed) };
    let quote = bytes.get(HEADER_LENGTH..).ok_or(Fault::Malformed)?;
    if verify && sum(header.source, header.destination, bytes) != u16::MAX {
        return Err(Fault::Checksum);
    }
    let version_4 = header.source.is_ipv4();
    let meaning = match (version_4, kind) {
        (true, ECHO_REQUEST_V4) | (false, ECHO_REQUEST_V6) => return Ok(Some(Message::Echo)),
        (true, ECHO_REPLY_V4) | (false, ECHO_REPLY_V6) => {
            return Ok(Some(Message::EchoReply(u16::from_be_bytes([high, low]))));
        }
        (true, _) => meaning_v4(kind, code),
        (false, _) => meaning_v6(kind, code),
    };
    let Some((error, fatal)) = meaning else { return Ok(None) };
    let start = header.payload.start + HEADER_LENGTH;
    let quoted = if version_4 { quoted_v4(quote, start) } else { quoted_v6(quote, start) };
    let mtu = (error == Error::MessageTooLong).then(|| next_mtu(bytes, version_4));
    let offender = header.source;
    Ok(quoted.map(|quoted| Message::Error(Report { quoted, offender, kind, code, error, fatal, mtu })))
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
        (PARAMETER_PROBLEM_V6, _) => (Error::Kernel(libc::EPROTO), true),
        _ => return None,
    })
}

/// `start` is where the quote lies in the packet.
fn quoted_v4(quote: &[u8], start: usize) -> Option<Quoted> {
    // `new_checked` would want the whole quoted packet.
    let length = usize::from(quote.first()? & 0x0f) * 4;
    let (header, transport) = (quote.get(..length.max(20))?, quote.get(length..)?);
    let header = Ipv4Packet::new_unchecked(header);
    if length < 20 || header.version() != 4 || header.frag_offset() != 0 {
        return None;
    }
    let addresses = [header.src_addr().into(), header.dst_addr().into()];
    quoted_transport(header.next_header(), addresses, transport, start + length)
}

fn quoted_v6(quote: &[u8], start: usize) -> Option<Quoted> {
    let header = Ipv6Packet::new_unchecked(quote.get(..40)?);
    if header.version() != 6 {
        return None;
    }
    let addresses = [header.src_addr().into(), header.dst_addr().into()];
    quoted_transport(header.next_header(), addresses, &quote[40..], start + 40)
}

fn quoted_transport(
    protocol: IpProtocol,
    [source, destination]: [IpAddr; 2],
    bytes: &[u8],
    start: usize,
) -> Option<Quoted> {
    let version_4 = source.is_ipv4();
    let ([a, b, c, d, e, f, g, h], _) = bytes.split_first_chunk()?;
    let port = |high, low| u16::from_be_bytes([high, low]);
    let (protocol, local_port, remote_port, skipped) = match protocol {
        IpProtocol::Tcp => (Protocol::Tcp, port(*a, *b), port(*c, *d), 0),
        IpProtocol::Udp => (Protocol::Udp, port(*a, *b), port(*c, *d), 8),
        UDP_LITE => (Protocol::UdpLite, port(*a, *b), port(*c, *d), 8),
        IpProtocol::Icmp if version_4 && *a == ECHO_REQUEST_V4 => (Protocol::Icmp, port(*e, *f), 0, 0),
        IpProtocol::Icmpv6 if !version_4 && *a == ECHO_REQUEST_V6 => (Protocol::Icmp, port(*e, *f), 0, 0),
        _ => return None,
    };
    Some(Quoted {
        protocol,
        local: SocketAddr::new(source, local_port),
        remote: SocketAddr::new(destination, remote_port),
        sequence: u32::from_be_bytes([*e, *f, *g, *h]),
        payload: start + skipped..start + bytes.len(),
    })
}

/// The error about `packet`, from `source`, to be sent to whom `header` says the packet came from.
pub fn unreachable(
    reason: Unreachable,
    source: IpAddr,
    packet: &[u8],
    header: &Header,
    checksums: bool,
) -> Packet {
    error(reason.cause(source.is_ipv4()), source, header.source, packet, checksums)
}

/// The error about `packet`, of which it quotes what there is room for.
pub fn error(cause: Cause, source: IpAddr, destination: IpAddr, packet: &[u8], checksums: bool) -> Packet {
    let longest = if source.is_ipv4() { ERROR_MAX_V4 } else { ERROR_MAX_V6 };
    let quote = packet.len().min(longest - ip::header_length(&source) - HEADER_LENGTH);
    let Cause { kind, code, info } = cause;
    let [a, b, c, d] = info.to_be_bytes();
    let message = [[kind, code, 0, 0, a, b, c, d].as_slice(), &packet[..quote]].concat();
    wrap(source, destination, Treatment::default(), message, checksums)
}

/// What the sender of `packet` hears of a link that cannot deliver it: its host cannot be reached, says `from`, or else the host
/// itself, for what came from ourselves over a link would not be believed. None where there may be no error (RFC 1122 3.2.2,
/// RFC 4443 2.4 (e)): about groups, fragments but the first, and ICMP but for echo requests; and about what is no packet.
pub fn undeliverable(packet: &[u8], from: Option<IpAddr>) -> Option<Packet> {
    let (source, destination, first) = match packet.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            let message = (packet.next_header() == IpProtocol::Icmp)
                .then(|| packet.payload().first() == Some(&ECHO_REQUEST_V4));
            let first = packet.frag_offset() == 0 && message.unwrap_or(true);
            (IpAddr::V4(packet.src_addr()), IpAddr::V4(packet.dst_addr()), first)
        }
        6 => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            let first = match (packet.next_header(), packet.payload()) {
                (IpProtocol::Icmpv6, message) => message.first() == Some(&ECHO_REQUEST_V6),
                // RFC 8200 4.5: thirteen bits of the offset.
                (IpProtocol::Ipv6Frag, header) => matches!(header, [_, _, 0, 0..8, ..]),
                _ => true,
            };
            (IpAddr::V6(packet.src_addr()), IpAddr::V6(packet.dst_addr()), first)
        }
        _ => return None,
    };
    let cause = Unreachable::Host.cause(source.is_ipv4());
    (first && is_unicast(destination))
        .then(|| error(cause, from.unwrap_or(destination), source, packet, true))
}

/// The answer to the echo request in `packet`: of its class (RFC 1812 4.3.2.5, and Linux), with a hop limit of its own.
pub fn echo_reply(packet: &[u8], header: &Header, checksums: bool) -> Packet {
    let mut message = packet[header.payload.clone()].to_vec();
    message[0] = if header.source.is_ipv4() { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
    let treatment = Treatment { hop_limit: ip::HOP_LIMIT, ..header.treatment };
    wrap(header.destination, header.source, treatment, message, checksums)
}

/// Whether `message` is a whole echo request.
pub fn is_echo_request(message: &[u8], version_4: bool) -> bool {
    let request = if version_4 { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 };
    message.len() >= HEADER_LENGTH && message[..2] == [request, 0]
}

/// The packet that carries the echo request `message` under the identifier `identifier`. None when it is none (ping(8)'s
/// sockets send nothing else).
pub fn echo_request(
    source: IpAddr,
    destination: IpAddr,
    treatment: Treatment,
    identifier: u16,
    message: &[u8],
) -> Option<Packet> {
    let sound = is_echo_request(message, source.is_ipv4());
    sound.then(|| echo(source, destination, treatment, identifier, message)).flatten()
}

/// The packet that carries the echo request or reply `message` under the identifier `identifier`. None when that is no
/// whole header, or no packet can carry it.
pub fn echo(
    source: IpAddr,
    destination: IpAddr,
    treatment: Treatment,
    identifier: u16,
    message: &[u8],
) -> Option<Packet> {
    if !(HEADER_LENGTH..=ip::payload_max(source)).contains(&message.len()) {
        return None;
    }
    let mut message = message.to_vec();
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    Some(wrap(source, destination, treatment, message, true))
}

/// The identifier of an echo request.
pub fn echo_identifier(message: &[u8]) -> Option<u16> {
    message.get(4..6)?.try_into().ok().map(u16::from_be_bytes)
}

fn wrap(
    source: IpAddr,
    destination: IpAddr,
    treatment: Treatment,
    mut message: Vec<u8>,
    checksums: bool,
) -> Packet {
    message[2..4].fill(0);
    if checksums {
        let sum = !sum(source, destination, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let start = ip::header_length(&source);
    let mut packet = vec![0; start + message.len()];
    packet[start..].copy_from_slice(&message);
    ip::write_header(&mut packet, source, destination, Protocol::Icmp, treatment, message.len(), checksums);
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
            // Linux: the two versions are not of one mind.
            let prohibited = if local.is_ipv4() { Error::HostUnreachable } else { Error::PermissionDenied };
            let unknown = if local.is_ipv4() { Error::NoSuchOption } else { Error::Kernel(libc::EPROTO) };
            let router: IpAddr = if local.is_ipv4() { at("10.0.0.3:1") } else { at("[fd00::3]:1") }.ip();
            for (reason, error, fatal, mtu) in [
                (Unreachable::Network, Error::NetworkUnreachable, false, None),
                (Unreachable::Host, Error::HostUnreachable, false, None),
                (Unreachable::Port, Error::ConnectionRefused, true, None),
                (Unreachable::Protocol, unknown, true, None),
                (Unreachable::Prohibited, prohibited, true, None),
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
                let quoted = report.quoted;
                assert_eq!((quoted.protocol, quoted.local, quoted.remote), (Protocol::Udp, local, remote));
                assert_eq!((&packet[quoted.payload], report.offender), (b"data".as_slice(), router));
                assert_eq!((report.error, report.fatal, report.mtu), (error, fatal, mtu), "{reason:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_delivered_is_told_by_its_host() {
        for (local, remote) in [("10.0.0.1:1000", "192.0.2.1:53"), ("[fd00::1]:1000", "[fd00:9::1]:53")] {
            let (local, remote) = (at(local), at(remote));
            for (length, from) in [(0, None), (10, None), (3000, None), (10, Some(local.ip()))] {
                let packet = crate::udp::build(local, remote, &vec![7; length], true);
                let refusal = undeliverable(&packet, from).expect("an error");
                let header = ip::parse(&refusal, true).expect("a packet");
                assert_eq!((header.source, header.destination), (from.unwrap_or(remote.ip()), local.ip()));
                let Ok(Some(Message::Error(report))) = parse(&refusal, &header, true) else {
                    panic!("no error in {refusal:?}")
                };
                assert_eq!(report.error, Error::HostUnreachable);
                assert_eq!((report.quoted.local, report.quoted.remote), (local, remote));
                assert!(refusal.len() <= if local.is_ipv4() { 576 } else { 1280 });
                assert_eq!(undeliverable(&refusal, None), None, "about an error");
            }
        }
    }

    #[test]
    fn about_some_there_is_no_error() {
        for (from, group) in [
            ("10.0.0.1:1", "224.0.0.251:5353"),
            ("10.0.0.1:1", "255.255.255.255:67"),
            ("[fd00::1]:1", "[ff02::fb]:5353"),
        ] {
            assert_eq!(undeliverable(&crate::udp::build(at(from), at(group), b"x", true), None), None);
        }
        let mut fragment = crate::udp::build(at("10.0.0.1:1"), at("10.0.0.2:2"), b"x", true);
        for (field, told) in [([0x20, 0], true), ([0x20, 1], false), ([0, 7], false)] {
            fragment[6..8].copy_from_slice(&field);
            assert_eq!(undeliverable(&fragment, None).is_some(), told, "{field:?}");
        }
        let mut fragment =
            ip::build(at("[fd00::1]:1").ip(), at("[fd00::2]:2").ip(), Protocol::Other(44), 100, true);
        for (field, told) in [([0, 1], true), ([0, 8], false), ([1, 0], false)] {
            fragment[42..44].copy_from_slice(&field);
            assert_eq!(undeliverable(&fragment, None).is_some(), told, "{field:?}");
        }
        assert_eq!(undeliverable(&fragment[..39], None), None);
        assert_eq!(undeliverable(&[], None), None);
    }
}
