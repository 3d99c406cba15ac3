//! What a program hears of a packet that no peer will get: its host cannot be reached, which is what Linux's own
//! WireGuard says. It comes from the destination: what came from ourselves over a link would not be believed.
#![forbid(unsafe_code)]

use crate::link::Packet;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
};

/// Bytes of the packet that are quoted: the errors fit into 576 bytes (RFC 1812 4.3.2.3), or 1280 (RFC 4443 2.4 (c)).
const QUOTE_V4: usize = 576 - 2 * 20 - 8;
const QUOTE_V6: usize = 1280 - 2 * 40 - 8;

/// ICMPv4 type 3 code 1, or ICMPv6 type 1 code 3, about `packet`. None where there may be no error: about groups,
/// fragments but the first, and ICMP (but for echo requests), and for what is no packet.
pub(super) fn host_unreachable(packet: &[u8]) -> Option<Packet> {
    match packet.first()? >> 4 {
        4 => version_4(&Ipv4Packet::new_checked(packet).ok()?),
        6 => version_6(&Ipv6Packet::new_checked(packet).ok()?),
        _ => None,
    }
}

fn version_4(about: &Ipv4Packet<&[u8]>) -> Option<Packet> {
    let (source, destination) = (about.src_addr(), about.dst_addr());
    let echo = about.next_header() != IpProtocol::Icmp || about.payload().first() == Some(&8);
    if destination.is_multicast() || destination.is_broadcast() || about.frag_offset() != 0 || !echo {
        return None;
    }
    let payload = about.payload();
    let message = Icmpv4Repr::DstUnreachable {
        reason: Icmpv4DstUnreachable::HostUnreachable,
        header: Ipv4Repr::parse(about, &ChecksumCapabilities::ignored()).ok()?,
        data: &payload[..payload.len().min(QUOTE_V4)],
    };
    let header = Ipv4Repr {
        src_addr: destination,
        dst_addr: source,
        next_header: IpProtocol::Icmp,
        payload_len: message.buffer_len(),
        hop_limit: 64,
    };
    let checksums = ChecksumCapabilities::default();
    let mut packet = vec![0; header.buffer_len() + message.buffer_len()];
    header.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &checksums);
    message.emit(&mut Icmpv4Packet::new_unchecked(&mut packet[header.buffer_len()..]), &checksums);
    Some(packet)
}

fn version_6(about: &Ipv6Packet<&[u8]>) -> Option<Packet> {
    let (source, destination) = (about.src_addr(), about.dst_addr());
    let echo = about.next_header() != IpProtocol::Icmpv6 || about.payload().first() == Some(&128);
    if destination.is_multicast() || !echo {
        return None;
    }
    let payload = about.payload();
    let message = Icmpv6Repr::DstUnreachable {
        reason: Icmpv6DstUnreachable::AddrUnreachable,
        header: Ipv6Repr::parse(about).ok()?,
        data: &payload[..payload.len().min(QUOTE_V6)],
    };
    let header = Ipv6Repr {
        src_addr: destination,
        dst_addr: source,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; header.buffer_len() + message.buffer_len()];
    header.emit(&mut Ipv6Packet::new_unchecked(&mut packet));
    let mut inner = Icmpv6Packet::new_unchecked(&mut packet[header.buffer_len()..]);
    message.emit(&destination, &source, &mut inner, &ChecksumCapabilities::default());
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::icmp::{self, Message};
    use crate::{ip, udp};
    use std::net::SocketAddr;

    #[test]
    fn the_error_names_the_packet() {
        for (local, remote) in [("10.0.0.1:1000", "192.0.2.1:53"), ("[fd00::1]:1000", "[fd00:9::1]:53")] {
            let [local, remote] = [local, remote].map(|text| text.parse::<SocketAddr>().expect("an address"));
            for length in [0, 10, 3000] {
                let packet = udp::build(local, remote, &vec![7; length], true);
                let refusal = host_unreachable(&packet).expect("an error");
                let header = ip::parse(&refusal, true).expect("a packet");
                assert_eq!((header.source, header.destination), (remote.ip(), local.ip()));
                let Ok(Some(Message::Error(report))) = icmp::parse(&refusal, &header, true) else {
                    panic!("no error in {refusal:?}")
                };
                assert_eq!(report.error, Error::HostUnreachable);
                assert_eq!((report.quoted.local, report.quoted.remote), (local, remote));
                assert!(refusal.len() <= if local.is_ipv4() { 576 } else { 1280 });
            }
        }
    }

    #[test]
    fn about_some_there_is_none() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for group in ["224.0.0.251:5353", "255.255.255.255:67", "[ff02::fb]:5353"] {
            let from = if group.starts_with('[') { "[fd00::1]:1" } else { "10.0.0.1:1" };
            assert_eq!(host_unreachable(&udp::build(at(from), at(group), b"x", true)), None);
        }
        let packet = udp::build(at("10.0.0.1:1"), at("10.0.0.2:2"), b"x", true);
        let error = host_unreachable(&packet).expect("an error");
        assert_eq!(host_unreachable(&error), None, "about an error");
        assert_eq!(host_unreachable(&packet[..19]), None);
        assert_eq!(host_unreachable(&[]), None);
    }
}
