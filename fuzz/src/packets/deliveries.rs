//! What arrives for datagram and echo sockets, whole and in fragments, and who gets it; errors about what they sent.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::super::wire::{self, ACK, Part, Wire};
use super::datagrams::{BROADCASTS, GROUPS, LITE, MANY, PINGED, SHARED, WATCHED};
use super::{OURS, THEIRS, World};
use std::net::SocketAddr;
use tubesock::engine::Path;

/// Fragments of one packet: more than a packet of the largest size has at an MTU of 576.
const PARTS_MAX: usize = 120;

/// A datagram on its way to sockets.
struct Sent {
    source: SocketAddr,
    destination: SocketAddr,
    treatment: (u8, u8),
    payload: Vec<u8>,
    packet: Vec<u8>,
}

impl World {
    /// One datagram, for one or for many.
    pub(super) fn datagram_arrives(&mut self, input: &mut Bytes) {
        let sent = self.compose(input);
        if input.u8().is_multiple_of(4) {
            // It stays in the queues.
            return self.deliver(&sent.packet);
        }
        self.empty_queues();
        self.deliver(&sent.packet);
        self.look_who_got(&sent);
    }

    /// No two are alike.
    fn compose(&mut self, input: &mut Bytes) -> Sent {
        let bits = input.u8();
        let family = usize::from(bits & 1);
        let destination = match bits >> 1 & 7 {
            0..=2 => OURS[family],
            number @ 3..=5 => GROUPS[family][usize::from(number) - 3],
            number if family == 0 => BROADCASTS[usize::from(number) - 6],
            _ => GROUPS[1][0],
        };
        let ports = [input.pick(&[WATCHED, 4000, 4001]), input.pick(&[SHARED, MANY, WATCHED, 9, LITE, LITE])];
        let source = SocketAddr::new(THEIRS[family], ports[0].wrapping_add(u16::from(bits >> 4)));
        let destination = SocketAddr::new(destination, ports[1]);
        let treatment = (input.u8(), input.u8());
        let length = usize::from(input.pick(&[4, 4, 100, 1400, 4000, 60_000_u16]));
        self.serial += 1;
        let mut payload = self.serial.to_be_bytes().to_vec();
        payload.resize(length, 7);
        let mut packet = match ports[1] {
            LITE => wire::lite_datagram(
                source,
                destination,
                [0, 8, 12, 8 + length][usize::from(bits >> 4 & 3)],
                &payload,
            ),
            _ => wire::datagram(source, destination, 8 + length as u16, &payload),
        };
        wire::treat(&mut packet, treatment.0, treatment.1);
        Sent { source, destination, treatment, payload, packet }
    }

    fn empty_queues(&mut self) {
        for id in [&self.sockets[..], &self.datagrams].concat() {
            while self.engine.receive_from(id).is_some() {}
        }
    }

    /// A datagram comes to a socket once and as it was sent, to one socket if it was for one, and to a group's if there is
    /// a member.
    fn look_who_got(&mut self, sent: &Sent) {
        let to = sent.destination.ip();
        let mut takers = 0;
        for id in [&self.sockets[..], &self.datagrams].concat() {
            let Some(datagram) = self.engine.receive_from(id) else { continue };
            let canonical =
                |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            assert_eq!((canonical(datagram.from), canonical(datagram.to)), (sent.source, sent.destination));
            assert_eq!((datagram.treatment.hop_limit, datagram.treatment.traffic_class), sent.treatment);
            assert!(datagram.payload == sent.payload, "it changed on its way");
            assert!(self.engine.receive_from(id).is_none(), "it came twice");
            takers += 1;
        }
        let is_for_one = OURS.contains(&to);
        assert!(takers <= 1 || !is_for_one, "{takers} sockets got what was sent to {}", sent.destination);
        let joined = GROUPS.iter().any(|groups| groups[2] == to)
            || self.members.iter().any(|one| (one.1, one.2) == (to, Path::Link));
        assert!(takers == 0 || !to.is_multicast() || joined, "nobody has joined {to}");
    }

    /// A packet in fragments: all of them in some order, or not quite.
    pub(super) fn fragments(&mut self, input: &mut Bytes) {
        let what = input.u8() % 4;
        let sent = (what < 2).then(|| self.compose(input));
        let Some(whole) = sent.as_ref().map(|sent| sent.packet.clone()).or_else(|| match what {
            2 => self.large_segment(input),
            _ => Some(self.large_echo(input)),
        }) else {
            return;
        };
        let room = input.pick(&[1400, 1400, 552, 8, 24, 256, 9000]);
        let spoilt = input.u8();
        self.serial += 1;
        // A spoilt one may meet the parts of another.
        let identification = if spoilt & 0x80 == 0 { 1000 + self.serial } else { u32::from(input.u8() % 4) };
        let mut parts = Part::cut(&whole, room, identification);
        parts.truncate(PARTS_MAX);
        let complete = parts.last().is_none_or(|last| !last.more);
        match spoilt & 3 {
            0 => {}
            1 => parts.reverse(),
            2 => {
                let middle = usize::from(input.u8()) % parts.len();
                parts.rotate_left(middle);
            }
            _ if parts.len() == 1 => {}
            _ => {
                let again = parts[usize::from(input.u8()) % parts.len()].clone();
                parts.insert(0, again);
            }
        }
        if spoilt & 0x80 != 0 {
            spoil(&mut parts, input);
        }
        self.empty_queues();
        for part in parts {
            self.deliver(&part.packet(&whole));
        }
        if let Some(sent) = sent.filter(|_| complete && spoilt & 0x80 == 0) {
            self.look_who_got(&sent);
        }
    }

    fn large_segment(&mut self, input: &mut Bytes) -> Option<Vec<u8>> {
        let flow = self.flow(input)?;
        let length = usize::from(input.pick(&[100, 1400, 9000, 60_000_u16]));
        let segment = Wire {
            source: flow.remote,
            destination: flow.local,
            sequence: flow.next_received,
            acknowledgement: flow.next_sent,
            flags: ACK,
            window: 60_000,
            urgent: 0,
            options: Vec::new(),
            payload: vec![7; length],
        };
        Some(segment.packet(true))
    }

    fn large_echo(&mut self, input: &mut Bytes) -> Vec<u8> {
        let family = usize::from(input.u8() % 2);
        let length = usize::from(input.pick(&[100, 1400, 9000, 60_000_u16]));
        let mut bytes = vec![5; length];
        bytes[..4].copy_from_slice(&[[8, 128][family], 0, 0, 0]);
        wire::message(THEIRS[family], OURS[family], bytes)
    }

    /// A reply to somebody who pings, or to nobody.
    pub(super) fn echo_reply(&mut self, input: &mut Bytes) {
        let family = usize::from(input.u8() % 2);
        let identifier = input.pick(&[PINGED, PINGED, 0, 33_000]);
        let length = usize::from(input.u8());
        let [high, low] = identifier.to_be_bytes();
        let head = [[0, 129][family], 0, 0, 0, high, low, 0, 0];
        let bytes = [&head, input.take(length)].concat();
        let source = input.pick(&[THEIRS[family], THEIRS[family], OURS[family]]);
        self.deliver(&wire::message(source, OURS[family], bytes));
    }

    /// An error about the datagram that left last.
    pub(super) fn report(&mut self, input: &mut Bytes) {
        let about = self.last_datagram.clone();
        self.icmp_error(input, &about);
    }
}

/// Breaks one of the parts.
fn spoil(parts: &mut Vec<Part>, input: &mut Bytes) {
    let index = usize::from(input.u8()) % parts.len();
    let part = &mut parts[index];
    match input.u8() % 6 {
        0 => drop(parts.remove(index)),
        1 => part.more = !part.more,
        2 => part.offset = part.offset.saturating_add_signed(isize::from(input.u8() as i8) * 8) & 0xfff8,
        3 => part.payload.truncate(usize::from(input.u8())),
        4 => part.protocol = input.pick(&[wire::TCP, wire::FRAGMENT_V6, 0, 59]),
        _ => part.offset = 0xfff8,
    }
}
