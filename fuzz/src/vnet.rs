//! The target `vnet`: packets of a TUN device behind their `struct virtio_net_hdr`, and ours for it. What the kernel does not
//! vouch for is taken only when its checksums are right; and what we leave to the kernel is right once that has done its part.
#![forbid(unsafe_code)]

use super::bytes::Bytes;
use super::wire::{self, ACK, ICMP_V4, ICMP_V6, PSH, TCP, UDP, Wire};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use tubesock::link::Outgoing;
use tubesock::link::tun::offload::{self, Copied, HEADER};

const STEPS_MAX: usize = 50;

/// The body of the target.
pub fn vnet(data: &[u8]) {
    let mut input = Bytes::new(data);
    for _ in 0..STEPS_MAX {
        match input.u8() % 4 {
            _ if input.is_empty() => break,
            0 => {
                let length = input.u8().into();
                open(input.take(length));
            }
            1 => {
                let packet = packet(&mut input);
                let packet = spoilt(&mut input, packet);
                let mut header = [0; HEADER];
                header[0] = input.pick(&[0, 0, 0, 1, 2, 4]);
                header[1] = input.pick(&[0, 0, 1, 4, 255]);
                header[2] = input.u8();
                open(&[&header[..], &packet].concat());
            }
            2 => {
                let packet = packet(&mut input);
                leave(&mut input, &packet, true);
            }
            _ => {
                let length = input.u8().into();
                let packet = input.take(length).to_vec();
                leave(&mut input, &packet, false);
            }
        }
    }
}

fn spoilt(input: &mut Bytes, mut packet: Vec<u8>) -> Vec<u8> {
    for _ in 0..input.u8() % 3 {
        let (place, value, length) = (usize::from(input.u16()), input.u8(), packet.len().max(1));
        if let Some(byte) = packet.get_mut(place % length) {
            *byte = value;
        }
    }
    if input.u8().is_multiple_of(8) {
        packet.truncate(input.u8().into());
    }
    packet
}

/// Any of the transports, over either version.
fn packet(input: &mut Bytes) -> Vec<u8> {
    let [near, far] = input.pick(&[["10.0.2.15:1000", "10.0.2.2:80"], ["[fd00::15]:1000", "[fd00::2]:80"]]);
    let [near, far]: [SocketAddr; 2] = [near, far].map(|text| text.parse().expect("an address"));
    let length = input.pick(&[0, 1, 7, 100, 1400, 3000, 60_000]);
    let payload = vec![input.u8(); length];
    match input.u8() % 4 {
        0 | 1 => {
            let options = wire::Options { timestamps: Some((1, 2)), ..wire::Options::default() };
            let (sequence, acknowledgement) = (input.u32(), 7);
            let (source, destination, flags) = (near, far, ACK | PSH);
            let options = if input.u8().is_multiple_of(2) { options.bytes() } else { Vec::new() };
            let segment = Wire {
                source,
                destination,
                sequence,
                acknowledgement,
                flags,
                window: 500,
                urgent: 0,
                options,
                payload,
            };
            segment.packet(true)
        }
        2 => wire::datagram(near, far, (8 + payload.len()) as u16, &payload),
        _ => {
            let kind = if near.is_ipv4() { 8 } else { 128 };
            wire::message(near.ip(), far.ip(), [&[kind, 0, 0, 0, 0, 1, 0, 1][..], &payload].concat())
        }
    }
}

/// Whether the checksums of a packet are right, as far as there are any here.
fn is_right(packet: &[u8]) -> bool {
    // What is read here is a packet whose length fits, without options or extensions.
    let Some((source, destination, protocol, bytes)) = wire::payload(packet, true) else { return false };
    let fragment = source.is_ipv4() && (packet[6] & 0x3f | packet[7]) != 0;
    match (protocol, source) {
        _ if fragment => true,
        (ICMP_V4, IpAddr::V4(_)) => wire::sum(0, bytes) == u16::MAX,
        (UDP, IpAddr::V4(_)) if bytes.get(6..8) == Some(&[0, 0]) => true,
        (TCP | UDP, _) | (ICMP_V6, IpAddr::V6(_)) => {
            wire::transport_sum(source, destination, protocol, bytes) == u16::MAX
        }
        _ => true,
    }
}

fn open(bytes: &[u8]) {
    let Some(packet) = offload::open(bytes) else {
        // What it does not take is spoilt.
        let (header, packet) = bytes.split_at_checked(HEADER).unwrap_or_default();
        assert!(header.is_empty() || header[0] & 3 == 0, "the kernel vouched for it");
        let too_long = wire::payload(packet, false).is_none();
        assert!(too_long || !is_right(packet), "{packet:?} is right");
        return;
    };
    assert!(packet == &bytes[HEADER..]);
    if bytes[0] & 3 == 0 && wire::payload(packet, false).is_some() {
        assert!(is_right(packet), "{packet:?} is wrong");
    }
}

/// What the device gets for a packet, in the parts that the input says.
fn leave(input: &mut Bytes, packet: &[u8], sound: bool) {
    let headers = match sound {
        true => headers(packet),
        false => usize::from(input.u8()).min(packet.len()),
    };
    let segment =
        if headers < packet.len() { NonZeroU16::new(input.pick(&[0, 0, 100, 1400, 65_000])) } else { None };
    let mut template = packet[..headers].to_vec();
    if sound {
        // Lengths and sums are the link's to write.
        let spoil = if packet[0] >> 4 == 4 { [2, 3, 10, 11] } else { [4, 5, 4, 5] };
        spoil.iter().for_each(|place| template[*place] = input.u8());
    }
    let (first, second) = packet[headers..].split_at(usize::from(input.u16()) % (packet.len() - headers + 1));
    let outgoing = Outgoing { headers: &template, payload: [first, second], segment };
    let mut front = Vec::new();
    let Some(copied) = offload::prepare(&outgoing, &mut front) else {
        return assert!(!sound, "a good packet is refused");
    };
    let written = match copied {
        Copied::Whole => front,
        Copied::Front(length) => [&front[..], &template[length..], first, second].concat(),
    };
    let (header, written) = written.split_at(HEADER);
    if sound {
        let done = completed(header, written);
        assert!(is_right(&done), "{header:?}: {done:?}");
        assert_eq!(done.len(), packet.len());
        assert!(done[headers..] == packet[headers..], "the payload is another");
        let cuts = segment.is_some_and(|size| packet.len() - headers > size.get().into())
            && packet[headers_at(packet)] == TCP;
        assert_eq!(header[1] != 0, cuts, "to be cut");
        if cuts {
            let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
            assert_eq!((field(2), Some(field(4))), (headers, segment.map(|size| size.get().into())));
            assert_eq!(header[1], if packet[0] >> 4 == 4 { 1 } else { 4 });
        }
    }
}

/// Where the number of the protocol stands.
fn headers_at(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 9 } else { 6 }
}

/// Length of the headers of a packet of ours.
fn headers(packet: &[u8]) -> usize {
    let ip = if packet[0] >> 4 == 4 { 20 } else { 40 };
    match packet[headers_at(packet)] {
        TCP => ip + usize::from(packet[ip + 12] >> 4) * 4,
        _ => ip + 8,
    }
}

/// What the kernel makes of VIRTIO_NET_HDR_F_NEEDS_CSUM.
fn completed(header: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if header[0] & 1 != 0 {
        let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
        let (start, at) = (field(6), field(6) + field(8));
        let sum = !wire::sum(0, &packet[start..]);
        packet[at..at + 2].copy_from_slice(&if sum == 0 { u16::MAX } else { sum }.to_be_bytes());
    }
    packet
}
