//! Links carry IP packets between an engine and a network. Links nest: a wrapper is a link around a link.
//! `nat`, the built-in one, needs an engine of its own and so lives above, in `crate::nat`.

use crate::time::Instant;
use rustix::fd::BorrowedFd;

pub mod capture;
pub mod pair;

/// One whole IP packet, version 4 or 6, header first.
pub type Packet = Vec<u8>;

/// What a link can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest packet in bytes, header included.
    pub mtu: usize,
    /// Whether transport and header checksums must be computed and verified. A link in memory needs none.
    pub checksums: bool,
}

/// Carries IP packets. Sans-IO towards the engine; a link that has descriptors of its own does its
/// input and output inside these calls, and never blocks.
pub trait Link: Send {
    /// What the link can do. Constant over its life.
    fn capabilities(&self) -> Capabilities;

    /// The next packet from the network, if one is there. Called until it gives none.
    fn receive(&mut self, now: Instant) -> Option<Packet>;

    /// Takes a packet for the network. A link that has no room drops it, as networks do.
    fn transmit(&mut self, packet: Packet, now: Instant);

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
}

impl<L: Link + ?Sized> Link for Box<L> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }

    fn receive(&mut self, now: Instant) -> Option<Packet> {
        (**self).receive(now)
    }

    fn transmit(&mut self, packet: Packet, now: Instant) {
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
}
