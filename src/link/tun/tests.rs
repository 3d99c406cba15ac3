//! What is put before packets and what is believed of it, without a device. The device's side is `tests/kernel`.

use super::offload::{self, Copied, HEADER};
use crate::icmp;
use crate::ip::{self, Protocol};
use crate::link::{Outgoing, Packet};
use core::num::NonZeroU16;
use proptest::prelude::*;
use std::net::IpAddr;

const V4: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2))];
const V6: [IpAddr; 2] = [
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
];

/// A packet without checksums, its transport bytes counting up from the fourth.
fn packet([from, to]: [IpAddr; 2], protocol: Protocol, length: usize) -> Packet {
    let mut packet = ip::build(from, to, protocol, length, false);
    let header = ip::header_length(&from);
    for (index, byte) in packet[header..].iter_mut().enumerate().skip(4) {
        *byte = index as u8;
    }
    packet[header + 12..].first_mut().map(|offset| *offset = 5 << 4).expect("longer than that");
    packet
}

/// The packet that the kernel makes of what was prepared: the checksum completed as virtio 1.2, 5.1.6.2, has it.
fn completed(before: &[u8], copied: Copied, packet: &Outgoing<'_>) -> Packet {
    let (header, front) = before.split_at(HEADER);
    let mut bytes = front.to_vec();
    if let Copied::Front(length) = copied {
        bytes.extend_from_slice(&packet.headers[length..]);
        bytes.extend_from_slice(packet.payload[0]);
        bytes.extend_from_slice(packet.payload[1]);
    }
    let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    if header[0] & 1 != 0 {
        let (start, at) = (field(6), field(6) + field(8));
        let sum = !smoltcp::wire::checksum::data(&bytes[start..]);
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

fn is_right(packet: &[u8]) -> bool {
    offload::open(&[&[0; HEADER], packet].concat()).is_some()
}

#[test]
fn what_the_kernel_completes_is_right() {
    for addresses in [V4, V6] {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
            for length in [20, 21, 101, 1000] {
                let whole = packet(addresses, protocol, length);
                let middle = whole.len().min(ip::header_length(&addresses[0]) + 20);
                let (headers, payload) = whole.split_at(middle);
                let (first, second) = payload.split_at(payload.len() / 3);
                for outgoing in [
                    Outgoing::from(&whole[..]),
                    Outgoing { headers, payload: [first, second], segment: None },
                ] {
                    let mut before = Vec::new();
                    let copied = offload::prepare(&outgoing, &mut before).expect("a packet");
                    let completed = completed(&before, copied, &outgoing);
                    assert!(is_right(&completed), "{protocol:?} of {length} bytes from {}", addresses[0]);
                    assert_eq!(completed.len(), whole.len());
                }
            }
        }
    }
}

#[test]
fn a_super_packet_says_how_to_cut_it() {
    for (addresses, kind) in [(V4, 1), (V6, 4)] {
        let template = packet(addresses, Protocol::Tcp, 32);
        let payload = vec![7; 5000];
        let segment = NonZeroU16::new(1448);
        let outgoing = Outgoing { headers: &template, payload: [&payload, &[]], segment };
        let mut before = Vec::new();
        let copied = offload::prepare(&outgoing, &mut before).expect("a packet");
        assert_eq!((before[0], before[1]), (1, kind));
        assert_eq!(before[2..4], (template.len() as u16).to_ne_bytes());
        assert_eq!(before[4..6], 1448u16.to_ne_bytes());
        let completed = completed(&before, copied, &outgoing);
        assert_eq!(ip::parse(&completed, true).map(|header| header.payload.end), Ok(completed.len()));

        let short = Outgoing { payload: [&payload[..1448], &[]], ..outgoing };
        offload::prepare(&short, &mut before).expect("a packet");
        assert_eq!(before[1..6], [0; 5], "nothing to cut");
    }
}

#[test]
fn what_is_too_long_is_no_packet() {
    let template = packet(V4, Protocol::Tcp, 20);
    let payload = vec![0; 65536];
    let outgoing = Outgoing { headers: &template, payload: [&payload, &[]], segment: NonZeroU16::new(1000) };
    assert_eq!(offload::prepare(&outgoing, &mut Vec::new()), None);
}

#[test]
fn a_wrong_checksum_is_seen_unless_the_header_vouches_for_it() {
    let mut echo = ip::build(V4[0], V4[1], Protocol::Icmp, 64, true);
    echo[20] = 8;
    let header = ip::parse(&echo, true).expect("just built");
    let mut reply = icmp::echo_reply(&echo, &header, true);
    assert!(is_right(&reply));
    reply[60] ^= 0x10;
    assert!(!is_right(&reply));
    for vouched in [1, 2] {
        let bytes = [&[vouched, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &reply].concat();
        assert_eq!(offload::open(&bytes), Some(&reply[..]));
    }
    reply[60] ^= 0x10;
    reply[8] ^= 1;
    assert!(!is_right(&reply), "the checksum of the IPv4 header");
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(
        front in prop::sample::select(vec![0x45u8, 0x4f, 0x60, 0x00, 0x41]),
        protocol in prop::sample::select(vec![1u8, 6, 17, 58, 200]),
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        segment in any::<u16>(),
    ) {
        for (at, value) in [(0, front), (9, protocol), (6, protocol)] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let (headers, payload) = bytes.split_at(cut.index(bytes.len() + 1));
        let outgoing = Outgoing { headers, payload: [payload, &[]], segment: NonZeroU16::new(segment) };
        offload::prepare(&outgoing, &mut Vec::new());
        is_right(&bytes);
    }
}
