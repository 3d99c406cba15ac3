//! Links carry IP packets between an engine and a network. Links nest: a wrapper is a link around a link.
//! `nat`, the built-in one, needs an engine of its own and so lives above, in `crate::nat`.

use crate::addressing::Addressing;
pub use crate::ip::Packet;
use crate::time::Instant;
use core::num::NonZeroU16;
use impair::Lanes;
use rustix::fd::BorrowedFd;

pub mod capture;
pub mod impair;
pub mod pair;
pub mod segmentation;
pub mod tun;
pub mod wireguard;

/// What a link can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest packet on the network in bytes, header included.
    pub mtu: usize,
    /// Whether the engine must compute and verify transport and header checksums. False where the link does so, or
    /// where nobody needs them.
    pub checksums: bool,
    /// Most bytes of TCP payload of one packet handed to `transmit`; 0: no more than the MTU allows. What `receive`
    /// gives may be larger than the MTU with any link, up to 65535 bytes: coalesced receive.
    pub segmentation: usize,
    /// No network: the far end is in this process, and nothing on the way is shared, so that no congestion control is
    /// needed.
    pub in_memory: bool,
}

/// A packet on its way to a link, headers and payload apart, so that payload need not be copied.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// IP and TCP headers; or a whole packet.
    pub headers: &'a [u8],
    /// What follows, in two slices, of which either may be empty: a ring has up to two.
    pub payload: [&'a [u8]; 2],
    /// Some(n): the link cuts the payload into packets of n bytes each, the last of what is left, after the template
    /// that the headers are. None: one packet.
    pub segment: Option<NonZeroU16>,
}

impl<'a> Outgoing<'a> {
    /// Bytes in all.
    pub fn length(&self) -> usize {
        self.headers.len() + self.payload[0].len() + self.payload[1].len()
    }

    /// A packet of its own.
    pub fn to_packet(&self) -> Packet {
        let mut packet = Packet::with_capacity(self.length());
        self.append_to(&mut packet);
        packet
    }

    /// Puts it behind what `bytes` holds.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.headers);
        for part in self.payload.iter().filter(|part| !part.is_empty()) {
            bytes.extend_from_slice(part);
        }
    }

    /// It in one slice: copied to `scratch` where it is not yet.
    pub fn in_one<'b>(&self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if self.length() == self.headers.len() {
            return self.headers;
        }
        scratch.clear();
        self.append_to(scratch);
        scratch
    }
}

impl<'a> From<&'a [u8]> for Outgoing<'a> {
    /// A whole packet.
    fn from(packet: &'a [u8]) -> Outgoing<'a> {
        Outgoing { headers: packet, payload: [&[]; 2], segment: None }
    }
}

/// Carries IP packets. Sans-IO towards the engine; a link that has descriptors of its own does its
/// input and output inside these calls, and never blocks.
pub trait Link: Send {
    /// What the link can do. Constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// Gives the next packet from the network to `take`; false when there is none. Called until then.
    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool;

    /// Takes a packet for the network. A link that has no room drops it, as networks do.
    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant);

    /// A descriptor that polls readable when `receive` should be called again; an epoll descriptor, as a rule.
    fn wake(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// When `receive` should be called again though nothing woke: the link's own timers.
    fn deadline(&mut self) -> Option<Instant> {
        None
    }

    /// Whether the link still holds data that it accepted and has not delivered. A host that exits waits for it.
    fn busy(&self) -> bool {
        false
    }

    /// A number that changes when some of that data is delivered.
    fn progress(&self) -> u64 {
        0
    }

    /// The stack's addresses, routes and name servers on it, once whenever the network has given others: none when it has gone.
    fn addressing(&mut self) -> Option<Addressing> {
        None
    }

    /// What is done to its packets, where that can be changed.
    fn impairment(&mut self) -> Option<&mut Lanes> {
        None
    }

    /// A line about what the program did, for those who look at the packets.
    fn comment(&mut self, _text: &str, _now: Instant) {}

    /// No more packets and comments come.
    fn end(&mut self) {}
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        (**self).receive(now, take)
    }

    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant) {
        (**self).transmit(packet, now);
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        (**self).wake()
    }

    fn deadline(&mut self) -> Option<Instant> {
        (**self).deadline()
    }

    fn busy(&self) -> bool {
        (**self).busy()
    }

    fn progress(&self) -> u64 {
        (**self).progress()
    }

    fn addressing(&mut self) -> Option<Addressing> {
        (**self).addressing()
    }

    fn impairment(&mut self) -> Option<&mut Lanes> {
        (**self).impairment()
    }

    fn comment(&mut self, text: &str, now: Instant) {
        (**self).comment(text, now);
    }

    fn end(&mut self) {
        (**self).end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_in_parts_is_the_same_packet() {
        let parts = Outgoing { headers: b"he", payload: [b"ll", b"o"], segment: None };
        assert_eq!((parts.length(), parts.to_packet()), (5, b"hello".to_vec()));
        let mut scratch = b"what was there before".to_vec();
        assert_eq!(parts.in_one(&mut scratch), b"hello");
        let whole = Outgoing::from(b"hello".as_slice());
        assert_eq!(whole.in_one(&mut scratch).as_ptr(), whole.headers.as_ptr());
    }
}
