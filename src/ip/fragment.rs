//! Fragments of IP packets (RFC 791 3.2, RFC 8200 4.5): cut, and read. `reassembly` puts them together.
//!
//! Of IPv6 the fragment header is read only where it follows the header at once, as everybody writes it who has no other
//! extension header; of IPv4 options are copied to the first fragment only.
#![forbid(unsafe_code)]

use super::{
    FRAGMENT_V6, Fault, Header, Packet, Protocol, Treatment, V4_HEADER, V6_HEADER, parse_v4_whole, v6_address,
};
use core::ops::Range;
use smoltcp::wire::Ipv4Packet;

/// Length of IPv6's fragment header.
const FRAGMENT_HEADER: usize = 8;
/// In the flags and offset of IPv4.
const DONT_FRAGMENT: u8 = 0x40;
const MORE_V4: u16 = 0x2000;
const OFFSET_V4: u16 = 0x1fff;
/// In the offset and flags of IPv6.
const MORE_V6: u16 = 1;

/// What a fragment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Addresses, protocol and treatment of the packet that it is a part of; the payload is the fragment's own.
    pub header: Header,
    /// Which packet of these addresses it is a part of.
    pub identification: u32,
    /// Where its payload lies in that of the packet, in bytes.
    pub offset: usize,
    /// Whether it is not the last.
    pub more: bool,
}

impl Fragment {
    /// Where its payload lies in that of the packet.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.header.payload.len()
    }
}

/// Reads a fragment; an error for what is none, or cannot be right.
pub fn parse(packet: &[u8], verify: bool) -> Result<Fragment, Fault> {
    let fragment = match packet.first().map(|byte| byte >> 4) {
        Some(4) => parse_v4(packet, verify),
        Some(6) => parse_v6(packet),
        _ => Err(Fault::Malformed),
    }?;
    let payload = fragment.header.payload.len();
    // All but the last are multiples of eight bytes (RFC 791 3.2), and no packet is longer than its length field.
    let regular = payload > 0 && (!fragment.more || payload.is_multiple_of(8));
    if regular && fragment.range().end <= usize::from(u16::MAX) {
        Ok(fragment)
    } else {
        Err(Fault::Malformed)
    }
}

fn parse_v4(packet: &[u8], verify: bool) -> Result<Fragment, Fault> {
    let header = parse_v4_whole(packet, packet.len(), verify)?;
    let field = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let flags = field(6);
    Ok(Fragment {
        header,
        identification: field(4).into(),
        offset: usize::from(flags & OFFSET_V4) * 8,
        more: flags & MORE_V4 != 0,
    })
}

fn parse_v6(packet: &[u8]) -> Result<Fragment, Fault> {
    let (front, _) = packet.split_first_chunk::<{ V6_HEADER + FRAGMENT_HEADER }>().ok_or(Fault::Malformed)?;
    let total = V6_HEADER + usize::from(u16::from_be_bytes([front[4], front[5]]));
    let payload = front.len()..total;
    if front[6] != FRAGMENT_V6 || total > packet.len() || payload.is_empty() {
        return Err(Fault::Malformed);
    }
    let [next, _, high, low, a, b, c, d] = front[V6_HEADER..] else { return Err(Fault::Malformed) };
    if next == FRAGMENT_V6 {
        // Once and no more (RFC 8200 4.1): each would be put together inside the other, as deep as a packet is long. Linux
        // drops it too (ipv6_frag_rcv).
        return Err(Fault::Malformed);
    }
    let field = u16::from_be_bytes([high, low]);
    let traffic_class = front[0] << 4 | front[1] >> 4;
    Ok(Fragment {
        header: Header {
            source: v6_address(front, 8),
            destination: v6_address(front, 24),
            protocol: Protocol::of(next, false),
            treatment: Treatment { hop_limit: front[7], traffic_class },
            payload,
        },
        identification: u32::from_be_bytes([a, b, c, d]),
        offset: usize::from(field & !7),
        more: field & MORE_V6 != 0,
    })
}

/// Cuts a packet that `super::build` or the like made into pieces of at most `mtu` bytes. None for an MTU that has no
/// room for eight bytes of payload.
pub fn cut(packet: &[u8], mtu: usize, identification: u32, checksums: bool) -> Vec<Packet> {
    let version_4 = packet[0] >> 4 == 4;
    let (header, front) =
        if version_4 { (V4_HEADER, V4_HEADER) } else { (V6_HEADER, V6_HEADER + FRAGMENT_HEADER) };
    let room = mtu.saturating_sub(front) & !7;
    if room == 0 {
        return Vec::new();
    }
    let (header, payload) = packet.split_at(header);
    let pieces = payload.chunks(room).enumerate().map(|(index, piece)| {
        let offset = index * room;
        let more = offset + piece.len() < payload.len();
        let mut fragment = Packet::with_capacity(front + piece.len());
        fragment.extend_from_slice(header);
        if !version_4 {
            fragment.extend_from_slice(&fragment_header(header[6], offset, more, identification));
        }
        fragment.extend_from_slice(piece);
        match version_4 {
            true => mark_v4(&mut fragment, offset, more, identification as u16, checksums),
            false => {
                let length = (fragment.len() - V6_HEADER) as u16;
                fragment[4..6].copy_from_slice(&length.to_be_bytes());
                fragment[6] = FRAGMENT_V6;
            }
        }
        fragment
    });
    pieces.collect()
}

fn fragment_header(next: u8, offset: usize, more: bool, identification: u32) -> [u8; FRAGMENT_HEADER] {
    let [high, low] = (offset as u16 | if more { MORE_V6 } else { 0 }).to_be_bytes();
    let [a, b, c, d] = identification.to_be_bytes();
    [next, 0, high, low, a, b, c, d]
}

fn mark_v4(fragment: &mut [u8], offset: usize, more: bool, identification: u16, checksums: bool) {
    let length = fragment.len() as u16;
    let field = (offset / 8) as u16 | if more { MORE_V4 } else { 0 };
    fragment[2..4].copy_from_slice(&length.to_be_bytes());
    fragment[4..6].copy_from_slice(&identification.to_be_bytes());
    fragment[6..8].copy_from_slice(&field.to_be_bytes());
    if checksums {
        Ipv4Packet::new_unchecked(fragment).fill_checksum();
    }
}

/// Lets routers cut a packet of IPv4: DF is taken away, and it gets a number by which its pieces know each other (RFC 6864
/// 4.1). Of IPv6 no router may.
pub fn permit(packet: &mut [u8], identification: u16, checksums: bool) {
    if packet[0] >> 4 == 4 {
        packet[6] &= !DONT_FRAGMENT;
        packet[4..6].copy_from_slice(&identification.to_be_bytes());
        if checksums {
            Ipv4Packet::new_unchecked(packet).fill_checksum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip;
    use std::net::IpAddr;

    fn packet(version_4: bool, length: usize) -> Packet {
        let [from, to]: [IpAddr; 2] =
            if version_4 { ["10.0.0.1", "10.0.0.2"] } else { ["fd00::1", "fd00::2"] }
                .map(|text| text.parse().expect("an address"));
        let mut packet = ip::build(from, to, Protocol::Udp, length, true);
        let start = packet.len() - length;
        packet[start..].iter_mut().enumerate().for_each(|(index, byte)| *byte = (index / 3) as u8);
        packet
    }

    /// The pieces of a packet are its payload, in order, none larger than the MTU and none but the last odd.
    #[test]
    fn the_pieces_are_the_packet() {
        for (version_4, length, mtu) in
            [(true, 4000, 1500), (false, 4000, 1500), (true, 65_515, 576), (false, 9, 56)]
        {
            let whole = packet(version_4, length);
            let header = ip::parse(&whole, true).expect("whole");
            let mut together = Vec::new();
            let pieces = cut(&whole, mtu, 77, true);
            for (index, piece) in pieces.iter().enumerate() {
                assert!(piece.len() <= mtu);
                assert_eq!(ip::parse(piece, true), Err(Fault::Fragment));
                let fragment = parse(piece, true).expect("a fragment");
                assert_eq!((fragment.offset, fragment.identification), (together.len(), 77));
                assert_eq!(fragment.more, index + 1 < pieces.len());
                assert_eq!(fragment.header.source, header.source);
                assert_eq!(
                    (fragment.header.protocol, fragment.header.treatment),
                    (header.protocol, header.treatment)
                );
                together.extend_from_slice(&piece[fragment.header.payload]);
            }
            assert_eq!(together, whole[header.payload]);
        }
    }

    #[test]
    fn an_mtu_without_room_cuts_nothing() {
        for (version_4, least) in [(true, 28), (false, 56)] {
            let whole = packet(version_4, 100);
            assert_eq!(cut(&whole, least - 1, 1, true), Vec::<Packet>::new());
            assert_eq!(cut(&whole, least, 1, true).len(), 13);
        }
    }

    #[test]
    fn what_cannot_be_right_is_no_fragment() {
        let middle = cut(&packet(true, 4000), 1500, 1, false).swap_remove(1);
        let changed = |change: &dyn Fn(&mut Packet)| {
            let mut packet = middle.clone();
            change(&mut packet);
            parse(&packet, false).is_ok()
        };
        assert!(changed(&|_| {}));
        // Not a multiple of eight; nothing in it; beyond the longest packet.
        assert!(!changed(&|packet| packet[3] -= 1));
        assert!(!changed(&|packet| packet[2..4].copy_from_slice(&20_u16.to_be_bytes())));
        assert!(!changed(&|packet| packet[6..8].copy_from_slice(&0x3fff_u16.to_be_bytes())));
        assert_eq!(parse(&[0x60; 47], true), Err(Fault::Malformed));
    }

    #[test]
    fn a_packet_that_may_be_cut_says_so() {
        let mut packet = packet(true, 8);
        permit(&mut packet, 0x1234, true);
        assert_eq!(packet[4..8], [0x12, 0x34, 0, 0]);
        assert!(ip::parse(&packet, true).is_ok(), "the checksum is right");
    }
}
