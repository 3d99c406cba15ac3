//! The address resolution protocol (RFC 826) for IPv4 over Ethernet.
#![forbid(unsafe_code)]

use super::frame::{self, Mac};
use std::net::Ipv4Addr;

const REQUEST: u16 = 1;
const REPLY: u16 = 2;
/// Hardware Ethernet, protocol IPv4, and the lengths of their addresses.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What a station says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Whether it asks for the target's address.
    pub(super) asks: bool,
    pub(super) from: (Mac, Ipv4Addr),
    pub(super) target: Ipv4Addr,
}

/// Reads a message; None for anything else than a request or a reply of one station.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let (message, _padding) = bytes.split_first_chunk::<28>()?;
    let address = |at: usize| Some(Ipv4Addr::from(*message[at..].first_chunk::<4>()?));
    let operation = u16::from_be_bytes([message[6], message[7]]);
    let mac = Mac(*message[8..].first_chunk()?);
    let known = message[..6] == KIND && (operation == REQUEST || operation == REPLY) && !mac.is_group();
    known.then_some(Message { asks: operation == REQUEST, from: (mac, address(14)?), target: address(24)? })
}

/// The frame that asks who has `target`: everybody, or the one who had it last.
pub(super) fn request(from: (Mac, Ipv4Addr), target: Ipv4Addr, whom: Option<Mac>) -> Vec<u8> {
    build(whom.unwrap_or(Mac::BROADCAST), REQUEST, from, (Mac([0; 6]), target))
}

/// The frame that answers `to`.
pub(super) fn reply(from: (Mac, Ipv4Addr), to: (Mac, Ipv4Addr)) -> Vec<u8> {
    build(to.0, REPLY, from, to)
}

fn build(whom: Mac, operation: u16, from: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let header = frame::header(whom, from.0, frame::ARP);
    let (own, theirs) = (from.1.octets(), target.1.octets());
    [&header, &KIND[..], &operation.to_be_bytes(), &from.0.0, &own, &target.0.0, &theirs].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let ours = (Mac([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(192, 0, 2, 15));
        let theirs = (Mac([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(192, 0, 2, 1));
        let asked = request(ours, theirs.1, None);
        let opened = frame::open(&asked).expect("a frame");
        assert_eq!((opened.to, opened.kind), (Mac::BROADCAST, frame::ARP));
        assert_eq!(parse(opened.payload), Some(Message { asks: true, from: ours, target: theirs.1 }));
        let answered = reply(theirs, ours);
        let opened = frame::open(&answered).expect("a frame");
        assert_eq!(opened.to, ours.0);
        assert_eq!(parse(opened.payload), Some(Message { asks: false, from: theirs, target: ours.1 }));
        assert_eq!(parse(&opened.payload[..27]), None);
        let mut group = opened.payload.to_vec();
        group[8] |= 1;
        assert_eq!(parse(&group), None);
    }
}
