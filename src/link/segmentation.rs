//! Cuts a super-packet into the packets that it stands for, as a network card does: one TCP header as the template, its
//! sequence number, lengths, flags and checksums set right in each (RFC 9293 3.1; Linux's tcp_gso_segment).
//!
//! Only TCP over IPv4 or over IPv6 without extension headers; anything else passes as it is.
#![forbid(unsafe_code)]

use super::{Outgoing, Packet};
use core::num::NonZeroU16;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};

/// Where the headers of a TCP packet lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    version_4: bool,
    /// Length of the IP header.
    ip: usize,
    /// Length of both headers.
    headers: usize,
}

impl Layout {
    fn of(packet: &[u8]) -> Option<Layout> {
        let (version_4, ip, protocol) = match packet.first()? >> 4 {
            4 => (true, usize::from(packet[0] & 0xf) * 4, *packet.get(9)?),
            6 => (false, 40, *packet.get(6)?),
            _ => return None,
        };
        let words = packet.get(ip + 12)? >> 4;
        let headers = ip + usize::from(words) * 4;
        let whole = ip >= 20 && words >= 5 && packet.len() >= headers;
        (whole && protocol == IpProtocol::Tcp.into()).then_some(Layout { version_4, ip, headers })
    }
}

/// Gives `take` the packets of `outgoing`, one at a time; `checksums` says whether they must be right.
pub fn cut(outgoing: Outgoing<'_>, checksums: bool, take: &mut dyn FnMut(Packet)) {
    let total = outgoing.payload[0].len() + outgoing.payload[1].len();
    let (Some(size), Some(layout)) = (outgoing.segment, Layout::of(outgoing.headers)) else {
        return take(outgoing.to_packet());
    };
    let size = usize::from(size.get());
    if total <= size || outgoing.headers.len() != layout.headers {
        return take(outgoing.to_packet());
    }
    for start in (0..total).step_by(size) {
        let length = size.min(total - start);
        let mut packet = Packet::with_capacity(layout.headers + length);
        packet.extend_from_slice(outgoing.headers);
        append_range(&mut packet, outgoing.payload, start, length);
        number(&mut packet, layout, start, start + length == total, checksums);
        take(packet);
    }
}

/// Like `cut` for a packet that was received coalesced: larger than the MTU, and nobody knows any more of how many.
pub fn cut_coalesced(packet: &[u8], mtu: usize, checksums: bool, take: &mut dyn FnMut(Packet)) {
    let layout = if packet.len() > mtu { Layout::of(packet) } else { None };
    let size = layout.and_then(|layout| mtu.checked_sub(layout.headers));
    let segment = size.and_then(|size| NonZeroU16::new(u16::try_from(size).ok()?));
    let (Some(layout), Some(_)) = (layout, segment) else { return take(packet.to_vec()) };
    let (headers, payload) = packet.split_at(layout.headers);
    cut(Outgoing { headers, payload: [payload, &[]], segment }, checksums, take);
}

/// Bytes `start..start + length` of a payload in two parts.
fn append_range(packet: &mut Packet, [first, second]: [&[u8]; 2], start: usize, length: usize) {
    let end = start + length;
    let split = first.len();
    packet.extend_from_slice(&first[start.min(split)..end.min(split)]);
    packet.extend_from_slice(&second[start.saturating_sub(split)..end.saturating_sub(split)]);
}

/// Makes the template at the front of `packet` the header of the segment at `offset` of the payload.
fn number(packet: &mut [u8], layout: Layout, offset: usize, last: bool, checksums: bool) {
    let mut tcp = TcpPacket::new_unchecked(&mut packet[layout.ip..]);
    let sequence = tcp.seq_number();
    // A super-packet is at most 64 KiB.
    tcp.set_seq_number(TcpSeqNumber(sequence.0.wrapping_add(offset as i32)));
    if !last {
        tcp.set_fin(false);
        tcp.set_psh(false);
    }
    if offset > 0 {
        // RFC 3168 6.1.2: CWR tells once.
        tcp.set_cwr(false);
    }
    let whole = packet.len();
    if layout.version_4 {
        let mut header = Ipv4Packet::new_unchecked(&mut *packet);
        header.set_total_len(whole as u16);
        header.fill_checksum();
        let (source, destination) = (header.src_addr().into(), header.dst_addr().into());
        if checksums {
            TcpPacket::new_unchecked(&mut packet[layout.ip..]).fill_checksum(&source, &destination);
        }
    } else {
        let mut header = Ipv6Packet::new_unchecked(&mut *packet);
        header.set_payload_len((whole - layout.ip) as u16);
        let (source, destination) = (header.src_addr().into(), header.dst_addr().into());
        if checksums {
            TcpPacket::new_unchecked(&mut packet[layout.ip..]).fill_checksum(&source, &destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{IpAddress, Ipv4Address, Ipv6Address};

    /// The headers of a super-packet with FIN, PSH and CWR.
    fn template(version_4: bool) -> Packet {
        let ip = if version_4 { 20 } else { 40 };
        let mut packet = vec![0; ip + 32];
        if version_4 {
            let mut header = Ipv4Packet::new_unchecked(&mut packet[..]);
            header.set_version(4);
            header.set_header_len(20);
            header.set_next_header(IpProtocol::Tcp);
            header.set_src_addr(Ipv4Address::new(10, 0, 0, 1));
            header.set_dst_addr(Ipv4Address::new(10, 0, 0, 2));
        } else {
            let mut header = Ipv6Packet::new_unchecked(&mut packet[..]);
            header.set_version(6);
            header.set_next_header(IpProtocol::Tcp);
            header.set_src_addr(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
            header.set_dst_addr(Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
        }
        let mut tcp = TcpPacket::new_unchecked(&mut packet[ip..]);
        tcp.set_src_port(1);
        tcp.set_dst_port(2);
        tcp.set_seq_number(TcpSeqNumber(-500));
        tcp.set_header_len(32);
        tcp.set_fin(true);
        tcp.set_psh(true);
        tcp.set_cwr(true);
        packet
    }

    fn addresses(packet: &[u8]) -> (IpAddress, IpAddress) {
        match packet[0] >> 4 {
            4 => {
                let header = Ipv4Packet::new_checked(packet).expect("IPv4");
                assert!(header.verify_checksum());
                (header.src_addr().into(), header.dst_addr().into())
            }
            _ => {
                let header = Ipv6Packet::new_checked(packet).expect("IPv6");
                (header.src_addr().into(), header.dst_addr().into())
            }
        }
    }

    #[test]
    fn the_packets_together_are_the_super_packet() {
        let data: Vec<u8> = (0..2500).map(|byte| byte as u8).collect();
        for (version_4, split) in [(true, 0), (true, 1700), (false, 1000), (false, 2500)] {
            let headers = template(version_4);
            let ip = headers.len() - 32;
            let payload = [&data[..split], &data[split..]];
            let mut packets = Vec::new();
            cut(
                Outgoing { headers: &headers, payload, segment: NonZeroU16::new(1000) },
                true,
                &mut |packet| {
                    packets.push(packet);
                },
            );
            let mut together = Vec::new();
            for (index, packet) in packets.iter().enumerate() {
                let (source, destination) = addresses(packet);
                let tcp = TcpPacket::new_checked(&packet[ip..]).expect("a segment");
                assert!(tcp.verify_checksum(&source, &destination));
                assert_eq!(tcp.seq_number(), TcpSeqNumber(-500 + 1000 * index as i32));
                assert_eq!((tcp.fin(), tcp.psh(), tcp.cwr()), (index == 2, index == 2, index == 0));
                together.extend_from_slice(&packet[headers.len()..]);
            }
            assert_eq!((packets.len(), together == data), (3, true));
        }
    }

    #[test]
    fn a_coalesced_packet_is_cut_by_the_mtu() {
        let mut packet = template(true);
        packet.resize(52 + 3000, 7);
        let mut lengths = Vec::new();
        cut_coalesced(&packet, 1500, true, &mut |packet| lengths.push(packet.len()));
        assert_eq!(lengths, [1500, 1500, 52 + 104]);
    }

    #[test]
    fn what_is_no_super_packet_passes_as_it_is() {
        let headers = template(true);
        for (bytes, length) in [(&headers[..], 10), (&[0x45; 3][..], 2000), (&[][..], 5), (&headers[..], 0)] {
            let mut packets = Vec::new();
            let payload = vec![1; length];
            let outgoing =
                Outgoing { headers: bytes, payload: [&payload, &[]], segment: NonZeroU16::new(1000) };
            cut(outgoing, true, &mut |packet| packets.push(packet));
            assert_eq!(packets, [outgoing.to_packet()]);
        }
        let mut passed = false;
        cut_coalesced(&[0x60; 2000], 1500, true, &mut |packet| passed = packet.len() == 2000);
        assert!(passed);
    }
}
