//! What stands before each packet of a device with IFF_VNET_HDR: `struct virtio_net_hdr`, which says what the sender
//! left for the receiver to do. We leave the transport's checksum and the cutting; the kernel does the same to us.
//!
//! Sent: TCP and UDP with the sum of their pseudo header in the checksum field and VIRTIO_NET_HDR_F_NEEDS_CSUM, so that
//! whoever needs the checksum completes it, which on the way to a local socket is nobody. ICMP is finished here: programs
//! with raw sockets verify it themselves. The IPv4 header's checksum and the lengths of a template are written here too.
//!
//! Received: what says NEEDS_CSUM or DATA_VALID is good. All else is verified here, so that the engine need not.
#![forbid(unsafe_code)]

use crate::ip::{self, Fault, Header, Protocol};
use crate::link::Outgoing;
use core::num::NonZeroU16;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, checksum};

/// Bytes of `struct virtio_net_hdr` (linux/virtio_net.h) as TUN devices have it by default.
pub const HEADER: usize = 10;

/// Longest packet.
pub(crate) const PACKET_MAX: usize = 65535;

/// Most payload of a super-packet: IPv4's length field counts the headers too, of which TCP's can have 60 bytes.
pub(crate) const SEGMENTATION: usize = PACKET_MAX - 20 - 60;

/// VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_DATA_VALID
const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// VIRTIO_NET_HDR_GSO_TCPV4, _TCPV6
const GSO_TCP_V4: u8 = 1;
const GSO_TCP_V6: u8 = 4;

/// Longest IP and TCP headers that the engine makes, options included.
const HEADERS_MAX: usize = 60 + 60;

/// Shortest transport headers, and where the checksum lies in them.
const TCP: (usize, usize) = (20, 16);
const UDP: (usize, usize) = (8, 6);
const ICMP: (usize, usize) = (4, 2);

/// How much of a packet `prepare` has put into `before`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// So many bytes of its headers.
    Front(usize),
    /// All of it.
    Whole,
}

impl Copied {
    /// The parts of the packet that go behind `before`.
    pub fn rest<'a>(self, packet: &Outgoing<'a>) -> [&'a [u8]; 3] {
        let Copied::Front(length) = self else { return [&[]; 3] };
        let [first, second] = packet.payload;
        [packet.headers.get(length..).unwrap_or_default(), first, second]
    }
}

/// Makes `before` the front of `packet` for the device, with a `virtio_net_hdr`. None for what is no packet, or too long
/// for one.
pub fn prepare(packet: &Outgoing<'_>, before: &mut Vec<u8>) -> Option<Copied> {
    let front = packet.headers.len().min(HEADERS_MAX);
    before.clear();
    before.resize(HEADER, 0);
    before.extend_from_slice(&packet.headers[..front]);
    let (header, bytes) = before.split_at_mut(HEADER);
    let ip = finish_ip(bytes, packet.length())?;
    let (shortest, at) = match ip.protocol {
        IpProtocol::Tcp => TCP,
        IpProtocol::Udp => UDP,
        IpProtocol::Icmp | IpProtocol::Icmpv6 => {
            return finish_message(packet, &ip, before).map(|()| Copied::Whole);
        }
        _ => return Some(Copied::Front(front)),
    };
    let transport = bytes.get_mut(ip.length..).filter(|bytes| bytes.len() >= shortest)?;
    let length = packet.length() - ip.length;
    transport[at..at + 2].copy_from_slice(&ip.pseudo_sum(length).to_be_bytes());
    header[0] = NEEDS_CHECKSUM;
    put(header, 6, ip.length);
    put(header, 8, at);
    let segment = packet.segment.filter(|segment| needs_cutting(packet, *segment));
    if let Some(segment) = segment.filter(|_| ip.protocol == IpProtocol::Tcp) {
        header[1] = if ip.is_v4() { GSO_TCP_V4 } else { GSO_TCP_V6 };
        put(header, 2, packet.headers.len());
        put(header, 4, segment.get().into());
    }
    Some(Copied::Front(front))
}

fn needs_cutting(packet: &Outgoing<'_>, segment: NonZeroU16) -> bool {
    packet.length() - packet.headers.len() > segment.get().into()
}

/// The fields are of the host's byte order (Documentation/networking/tuntap.rst, TUNSETVNETLE). They hold what is less
/// than a packet's length, which has sixteen bits.
fn put(header: &mut [u8], at: usize, value: usize) {
    header[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
}

/// What an IP header says, as far as checksums go.
struct Ip {
    source: IpAddress,
    destination: IpAddress,
    protocol: IpProtocol,
    /// Of the header.
    length: usize,
}

impl Ip {
    fn is_v4(&self) -> bool {
        matches!(self.source, IpAddress::Ipv4(_))
    }

    /// The sum of the pseudo header for a transport of so many bytes.
    fn pseudo_sum(&self, length: usize) -> u16 {
        checksum::pseudo_header(&self.source, &self.destination, self.protocol, length as u32)
    }
}

/// Reads the IP header at the front of `bytes` and makes its length and checksum those of a packet of `total` bytes.
fn finish_ip(bytes: &mut [u8], total: usize) -> Option<Ip> {
    let first = *bytes.first()?;
    match (first >> 4, usize::from(first & 0xf) * 4) {
        (4, length) if length >= 20 && bytes.len() >= length => {
            let mut header = Ipv4Packet::new_unchecked(bytes);
            header.set_total_len(u16::try_from(total).ok()?);
            header.fill_checksum();
            let (source, destination) = (header.src_addr().into(), header.dst_addr().into());
            // What a fragment carries is no segment, nor whole: its checksum is written already.
            let fragment = header.more_frags() || header.frag_offset() != 0;
            let protocol = if fragment { IpProtocol::Ipv6Frag } else { header.next_header() };
            Some(Ip { source, destination, protocol, length })
        }
        (6, _) if bytes.len() >= 40 => {
            let mut header = Ipv6Packet::new_unchecked(bytes);
            header.set_payload_len(u16::try_from(total - 40).ok()?);
            let (source, destination) = (header.src_addr().into(), header.dst_addr().into());
            Some(Ip { source, destination, protocol: header.next_header(), length: 40 })
        }
        _ => None,
    }
}

/// Makes `before` the whole of an ICMP packet, and writes its checksum.
fn finish_message(packet: &Outgoing<'_>, ip: &Ip, before: &mut Vec<u8>) -> Option<()> {
    // The front is in it, with its IP header set right.
    before.extend_from_slice(&packet.headers[before.len() - HEADER..]);
    before.extend_from_slice(packet.payload[0]);
    before.extend_from_slice(packet.payload[1]);
    let message = before.get_mut(HEADER + ip.length..).filter(|message| message.len() >= ICMP.0)?;
    message[ICMP.1..ICMP.1 + 2].fill(0);
    // RFC 792 sums the message alone, RFC 4443 2.3 the pseudo header too.
    let pseudo = if ip.is_v4() { 0 } else { ip.pseudo_sum(message.len()) };
    let sum = !checksum::combine(&[pseudo, checksum::data(message)]);
    message[ICMP.1..ICMP.1 + 2].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Makes the header that `prepare` wrote one of a device of frames: so many bytes come before the packet.
pub(crate) fn shift(header: &mut [u8], bytes: usize) {
    // Where the headers end, and the checksum begins.
    for at in [2, 6] {
        let place = u16::from_ne_bytes([header[at], header[at + 1]]);
        if place != 0 {
            put(header, at, usize::from(place) + bytes);
        }
    }
}

/// The packet in what the device gave, behind its header; None when it is none, or a checksum is wrong that nobody vouches for.
pub fn open(bytes: &[u8]) -> Option<&[u8]> {
    let (header, packet) = bytes.split_first_chunk::<HEADER>()?;
    is_good(header, packet).then_some(packet)
}

/// Whether the checksums of a packet are right, or its header vouches for them.
pub(crate) fn is_good(header: &[u8; HEADER], packet: &[u8]) -> bool {
    header[0] & (NEEDS_CHECKSUM | DATA_VALID) != 0 || is_intact(packet)
}

/// Whether the checksums of a packet are right. A fragment's cannot be known; nor can those of a transport that is none of
/// ours.
fn is_intact(packet: &[u8]) -> bool {
    match ip::parse(packet, true) {
        Ok(header) => {
            packet.get(header.payload.clone()).is_some_and(|transport| is_right(&header, transport))
        }
        Err(fault) => fault == Fault::Fragment,
    }
}

fn is_right(header: &Header, transport: &[u8]) -> bool {
    let (source, destination) = (header.source, header.destination);
    let sum = match header.protocol {
        // RFC 768: no checksum. IPv6 has no such thing (RFC 8200 8.1).
        Protocol::Udp if source.is_ipv4() && transport.get(UDP.1..UDP.0) == Some(&[0, 0]) => return true,
        Protocol::Icmp if source.is_ipv4() => checksum::data(transport),
        Protocol::Tcp | Protocol::Udp | Protocol::Icmp => {
            ip::transport_sum(source, destination, header.protocol, transport)
        }
        Protocol::UdpLite | Protocol::Other(_) => return true,
    };
    sum == u16::MAX
}
