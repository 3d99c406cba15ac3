//! Coalesced receive, as a kernel's GRO has it: segments of one connection that come together, in sequence and alike, are
//! handed up as one.

use crate::trace::Segment;
use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket};
use tubesock::link::Packet;

const LENGTH_MAX: usize = 65_535;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// A packet that may still grow.
struct Held {
    packet: Packet,
    segment: Segment,
    /// Bytes of data of the first; a smaller one is the last.
    size: u32,
    data: u32,
}

#[derive(Default)]
pub(crate) struct Coalescer {
    held: Option<Held>,
}

impl Coalescer {
    /// Takes the next packet; `give` gets what cannot grow any more.
    pub(crate) fn push(&mut self, packet: &[u8], checksums: bool, give: &mut dyn FnMut(&[u8])) {
        let Some(segment) = Segment::of(packet).filter(|_| is_whole(packet, checksums)) else {
            self.flush(checksums, give);
            return give(packet);
        };
        if let Some(held) = &mut self.held
            && held.takes(packet, &segment)
        {
            held.packet.extend_from_slice(&packet[packet.len() - segment.data as usize..]);
            held.data += segment.data;
            if segment.data < held.size || segment.flags & PSH != 0 {
                let tcp = held.segment.header;
                held.packet[tcp + 13] |= segment.flags;
                self.flush(checksums, give);
            }
            return;
        }
        self.flush(checksums, give);
        if segment.flags == ACK && segment.data > 0 {
            self.held =
                Some(Held { packet: packet.to_vec(), size: segment.data, data: segment.data, segment });
        } else {
            give(packet);
        }
    }

    /// Nothing more comes now.
    pub(crate) fn flush(&mut self, checksums: bool, give: &mut dyn FnMut(&[u8])) {
        let Some(Held { mut packet, segment, data, .. }) = self.held.take() else { return };
        if data > segment.data {
            set_lengths(&mut packet, checksums);
        }
        give(&packet);
    }
}

impl Held {
    fn takes(&self, packet: &[u8], segment: &Segment) -> bool {
        let headers = |packet: &[u8], segment: &Segment| {
            // The acknowledgement, and from the window on all but the checksum; the options.
            let tcp = segment.header;
            let end = packet.len() - segment.data as usize;
            [
                packet[tcp + 8..tcp + 12].to_vec(),
                packet[tcp + 14..tcp + 16].to_vec(),
                packet[tcp + 20..end].to_vec(),
            ]
        };
        let mut first = self.packet.clone();
        first.truncate(self.packet.len() - (self.data - self.segment.data) as usize);
        (segment.source, segment.destination) == (self.segment.source, self.segment.destination)
            && segment.flags & !PSH == ACK
            && segment.data > 0
            && segment.data <= self.size
            && segment.sequence == self.segment.sequence.wrapping_add(self.data)
            && self.packet.len() + segment.data as usize <= LENGTH_MAX
            && headers(&first, &self.segment) == headers(packet, segment)
    }
}

fn addresses(packet: &[u8]) -> (IpAddress, IpAddress) {
    if packet[0] >> 4 == 4 {
        let header = Ipv4Packet::new_unchecked(packet);
        (header.src_addr().into(), header.dst_addr().into())
    } else {
        let header = Ipv6Packet::new_unchecked(packet);
        (header.src_addr().into(), header.dst_addr().into())
    }
}

/// Whether its lengths and checksums are right: what is wrong is not for us to put right.
fn is_whole(packet: &[u8], checksums: bool) -> bool {
    let header = match packet[0] >> 4 {
        4 => Ipv4Packet::new_checked(packet).is_ok_and(|header| {
            usize::from(header.total_len()) == packet.len() && (!checksums || header.verify_checksum())
        }),
        _ => Ipv6Packet::new_checked(packet).is_ok_and(|header| header.total_len() == packet.len()),
    };
    let (source, destination) = addresses(packet);
    let start = if packet[0] >> 4 == 4 { usize::from(packet[0] & 15) * 4 } else { 40 };
    let tcp = |packet: &[u8]| {
        TcpPacket::new_checked(packet)
            .is_ok_and(|tcp| !checksums || tcp.verify_checksum(&source, &destination))
    };
    header && packet.get(start..).is_some_and(tcp)
}

fn set_lengths(packet: &mut Packet, checksums: bool) {
    let (length, (source, destination)) = (packet.len(), addresses(packet));
    let start = if packet[0] >> 4 == 4 {
        let mut header = Ipv4Packet::new_unchecked(&mut packet[..]);
        header.set_total_len(length as u16);
        header.fill_checksum();
        usize::from(header.header_len())
    } else {
        Ipv6Packet::new_unchecked(&mut packet[..]).set_payload_len((length - 40) as u16);
        40
    };
    if checksums {
        TcpPacket::new_unchecked(&mut packet[start..]).fill_checksum(&source, &destination);
    }
}
