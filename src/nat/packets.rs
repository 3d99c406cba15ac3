//! The packets that `nat` reads and writes itself: UDP, echo, and the ICMP errors of UDP. TCP is the engine's. The
//! link is in memory, so checksums are neither checked nor, except for ICMP, filled in.
#![forbid(unsafe_code)]

use crate::link::Packet;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Message,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, IpRepr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, UDP_HEADER_LEN,
    UdpPacket,
};
use std::net::{IpAddr, SocketAddr};

/// Largest packet, header included: what 16 bits of length can say for IPv4.
pub(super) const MTU: usize = 65535;

const HOP_LIMIT: u8 = 64;

/// An IP packet, opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: IpProtocol,
    pub(super) payload: &'a [u8],
}

/// Opens a packet. None for what is malformed or a fragment: nothing makes fragments on a link of this MTU.
pub(super) fn open(packet: &[u8]) -> Option<Opened<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            let whole = !packet.more_frags() && packet.frag_offset() == 0;
            whole.then(|| Opened {
                source: packet.src_addr().into(),
                destination: packet.dst_addr().into(),
                protocol: packet.next_header(),
                payload: packet.payload(),
            })
        }
        6 => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            Some(Opened {
                source: packet.src_addr().into(),
                destination: packet.dst_addr().into(),
                protocol: packet.next_header(),
                payload: packet.payload(),
            })
        }
        _ => None,
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the datagram in a packet.
    pub(super) fn parse(packet: &Opened<'a>) -> Option<Datagram<'a>> {
        let udp = UdpPacket::new_checked(packet.payload).ok()?;
        Some(Datagram {
            from: SocketAddr::new(packet.source, udp.src_port()),
            to: SocketAddr::new(packet.destination, udp.dst_port()),
            payload: udp.payload(),
        })
    }

    /// The packet that carries it. None when it is too long, or its two addresses are of different families.
    pub(super) fn emit(&self) -> Option<Packet> {
        let length = UDP_HEADER_LEN + self.payload.len();
        let mut packet = envelope(self.from.ip(), self.to.ip(), IpProtocol::Udp, length)?;
        packet.extend_from_slice(&self.header(length as u16));
        packet.extend_from_slice(self.payload);
        Some(packet)
    }

    fn header(&self, length: u16) -> [u8; UDP_HEADER_LEN] {
        let mut header = [0; UDP_HEADER_LEN];
        let mut udp = UdpPacket::new_unchecked(&mut header[..]);
        udp.set_src_port(self.from.port());
        udp.set_dst_port(self.to.port());
        udp.set_len(length);
        header
    }
}

/// An IP header for a payload of `length` bytes, with room for it. None when the result would exceed the MTU.
fn envelope(source: IpAddr, destination: IpAddr, protocol: IpProtocol, length: usize) -> Option<Packet> {
    if source.is_ipv4() != destination.is_ipv4() {
        return None;
    }
    let header = IpRepr::new(source.into(), destination.into(), protocol, length, HOP_LIMIT);
    let total = header.header_len() + length;
    if total > MTU {
        return None;
    }
    let mut packet = Vec::with_capacity(total);
    packet.resize(header.header_len(), 0);
    header.emit(&mut packet[..], &ChecksumCapabilities::ignored());
    Some(packet)
}

/// Why a datagram could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Port,
    Host,
    Network,
    Prohibited,
}

/// The ICMP error that tells the sender of a datagram `from` the program's address `to` some destination that it
/// failed. It shows the headers of that datagram, which is what the program's engine finds the socket by
/// (RFC 1122 4.1.3.3).
pub(super) fn unreachable(failure: Failure, from: SocketAddr, to: SocketAddr) -> Option<Packet> {
    let quoted = Datagram { from, to, payload: &[] }.header(UDP_HEADER_LEN as u16);
    let capabilities = ChecksumCapabilities::default();
    match (from.ip(), to.ip()) {
        (IpAddr::V4(guest), IpAddr::V4(destination)) => {
            let header = Ipv4Repr {
                src_addr: guest,
                dst_addr: destination,
                next_header: IpProtocol::Udp,
                payload_len: quoted.len(),
                hop_limit: HOP_LIMIT,
            };
            let reason = match failure {
                Failure::Port => Icmpv4DstUnreachable::PortUnreachable,
                Failure::Host => Icmpv4DstUnreachable::HostUnreachable,
                Failure::Network => Icmpv4DstUnreachable::NetUnreachable,
                Failure::Prohibited => Icmpv4DstUnreachable::CommProhibited,
            };
            let message = Icmpv4Repr::DstUnreachable { reason, header, data: &quoted };
            let mut packet = envelope(to.ip(), from.ip(), IpProtocol::Icmp, message.buffer_len())?;
            let start = packet.len();
            packet.resize(start + message.buffer_len(), 0);
            message.emit(&mut Icmpv4Packet::new_unchecked(&mut packet[start..]), &capabilities);
            Some(packet)
        }
        (IpAddr::V6(guest), IpAddr::V6(destination)) => {
            let header = Ipv6Repr {
                src_addr: guest,
                dst_addr: destination,
                next_header: IpProtocol::Udp,
                payload_len: quoted.len(),
                hop_limit: HOP_LIMIT,
            };
            let reason = match failure {
                Failure::Port => Icmpv6DstUnreachable::PortUnreachable,
                Failure::Host => Icmpv6DstUnreachable::AddrUnreachable,
                Failure::Network => Icmpv6DstUnreachable::NoRoute,
                Failure::Prohibited => Icmpv6DstUnreachable::AdminProhibit,
            };
            let message = Icmpv6Repr::DstUnreachable { reason, header, data: &quoted };
            let mut packet = envelope(to.ip(), from.ip(), IpProtocol::Icmpv6, message.buffer_len())?;
            let start = packet.len();
            packet.resize(start + message.buffer_len(), 0);
            let mut icmp = Icmpv6Packet::new_unchecked(&mut packet[start..]);
            message.emit(&destination, &guest, &mut icmp, &capabilities);
            Some(packet)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// The reply to a packet, when that is an echo request (RFC 792, RFC 4443 4.1).
pub(super) fn echo_reply(request: &Opened<'_>) -> Option<Packet> {
    let mut packet = envelope(request.destination, request.source, request.protocol, request.payload.len())?;
    let start = packet.len();
    packet.extend_from_slice(request.payload);
    match (request.destination, request.source) {
        (IpAddr::V4(_), IpAddr::V4(_)) if request.protocol == IpProtocol::Icmp => {
            let mut icmp = Icmpv4Packet::new_checked(&mut packet[start..]).ok()?;
            (icmp.msg_type() == Icmpv4Message::EchoRequest).then_some(())?;
            icmp.set_msg_type(Icmpv4Message::EchoReply);
            icmp.fill_checksum();
        }
        (IpAddr::V6(us), IpAddr::V6(guest)) if request.protocol == IpProtocol::Icmpv6 => {
            let mut icmp = Icmpv6Packet::new_checked(&mut packet[start..]).ok()?;
            (icmp.msg_type() == Icmpv6Message::EchoRequest).then_some(())?;
            icmp.set_msg_type(Icmpv6Message::EchoReply);
            icmp.fill_checksum(&us, &guest);
        }
        _ => return None,
    }
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_datagram_survives_the_packet() {
        for (from, to) in [("10.0.2.15:40000", "192.0.2.1:53"), ("[fd00::15]:40000", "[2001:db8::1]:53")] {
            for length in [0, 1, 1472, 65000] {
                let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
                let datagram = Datagram { from: at(from), to: at(to), payload: &payload };
                let packet = datagram.emit().unwrap();
                assert_eq!(Datagram::parse(&open(&packet).unwrap()), Some(datagram));
            }
        }
    }

    #[test]
    fn a_datagram_that_no_packet_can_carry_is_none() {
        let payload = [0; MTU];
        let from = at("10.0.2.15:1");
        let longest = MTU - 20 - UDP_HEADER_LEN;
        assert!(Datagram { from, to: at("10.0.2.2:1"), payload: &payload[..longest] }.emit().is_some());
        assert!(Datagram { from, to: at("10.0.2.2:1"), payload: &payload[..=longest] }.emit().is_none());
        assert!(Datagram { from, to: at("[fd00::2]:1"), payload: &[] }.emit().is_none());
    }

    #[test]
    fn an_error_quotes_the_datagram() {
        let packet =
            unreachable(Failure::Port, at("10.0.2.15:40000"), at("192.0.2.1:99")).expect("same family");
        let opened = open(&packet).unwrap();
        assert_eq!(opened.destination.to_string(), "10.0.2.15");
        let icmp = Icmpv4Packet::new_checked(opened.payload).unwrap();
        match Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).unwrap() {
            Icmpv4Repr::DstUnreachable { reason, header, data } => {
                assert_eq!(reason, Icmpv4DstUnreachable::PortUnreachable);
                assert_eq!(
                    (header.src_addr.to_string().as_str(), header.next_header),
                    ("10.0.2.15", IpProtocol::Udp)
                );
                assert_eq!(data[..4], [0x9c, 0x40, 0, 99]);
            }
            other => panic!("{other:?}"),
        }
        let packet = unreachable(Failure::Network, at("[fd00::15]:40000"), at("[2001:db8::1]:99"))
            .expect("same family");
        let opened = open(&packet).unwrap();
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (opened.source, opened.destination) else {
            panic!()
        };
        let icmp = Icmpv6Packet::new_checked(opened.payload).unwrap();
        match Icmpv6Repr::parse(&source, &destination, &icmp, &ChecksumCapabilities::default()).unwrap() {
            Icmpv6Repr::DstUnreachable { reason, data, .. } => {
                assert_eq!(reason, Icmpv6DstUnreachable::NoRoute);
                assert_eq!(data[..4], [0x9c, 0x40, 0, 99]);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_echo_request_is_answered_and_nothing_else() {
        let icmp = [8, 0, 0, 0, 0x12, 0x34, 0, 1, b'h', b'i'];
        let request = Opened {
            source: at("10.0.2.15:0").ip(),
            destination: at("10.0.2.2:0").ip(),
            protocol: IpProtocol::Icmp,
            payload: &icmp,
        };
        let packet = echo_reply(&request).unwrap();
        let reply = open(&packet).unwrap();
        assert_eq!((reply.source, reply.destination), (request.destination, request.source));
        assert_eq!(reply.payload[0], 0);
        assert_eq!(reply.payload[4..], icmp[4..]);
        assert!(Icmpv4Packet::new_checked(reply.payload).unwrap().verify_checksum());
        assert_eq!(echo_reply(&reply), None);
        assert_eq!(echo_reply(&Opened { payload: &icmp[..3], ..request }), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(version in prop_oneof![Just(0x45_u8), Just(0x60), Just(0x4f), any::<u8>()],
                          mut bytes in proptest::collection::vec(any::<u8>(), 1..128),
                          protocol in prop_oneof![Just(1_u8), Just(17), Just(58)]) {
            bytes[0] = version;
            let length = bytes.len() as u16;
            for (index, value) in [(2, (length >> 8) as u8), (3, length as u8), (4, 0), (5, length.saturating_sub(40) as u8), (6, protocol), (9, protocol)] {
                if let Some(byte) = bytes.get_mut(index) {
                    *byte = value;
                }
            }
            if let Some(opened) = open(&bytes) {
                let _ = echo_reply(&opened);
                let _ = Datagram::parse(&opened);
            }
        }
    }
}
