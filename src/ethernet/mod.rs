//! The link on a link of Ethernet frames: to whom on it a packet goes. The station with its addresses, neighbours and the
//! protocols that keep them (`station`) is sans-IO; what carries the frames is a `Frames`: a TAP device, or a stream of them.
//!
//! ```text
//!   engine ── IP packets ──► next hop ──► neighbours ──► frame ──► Frames: tap, stream
//!      ▲                                  │      ▲
//!      └── IP packets, or ICMP: ◄─────────┘      └── arp, ndp: solicitations, advertisements ◄── Frames
//!          the neighbour does not answer
//! ```
//!
//! Limits: no VLAN tags; offloads with a TAP device only.

mod arp;
mod dhcp;
mod duplicates;
mod frame;
pub mod joined;
mod ndp;
mod neighbours;
mod slaac;
mod station;
pub mod stream;
pub mod switch;
pub mod tap;

pub use frame::{Mac, UNTAGGED_MTU};
pub use station::Station;

use crate::addressing::Addressing;
use crate::link::tun::offload::SEGMENTATION;
use crate::link::{Capabilities, Link, Outgoing};
use crate::time::Instant;
use rustix::fd::BorrowedFd;

/// Carries Ethernet frames. As with `Link`, input and output happen inside these calls, which never block.
pub trait Frames: Send {
    /// Largest IP packet in a frame, in bytes.
    fn mtu(&self) -> usize;

    /// Gives the next frame from the network to `take`; false when there is none.
    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> bool;

    /// Whether checksums are the other side's to make, those of what comes have been verified, and super-packets are cut there.
    fn offloads(&self) -> bool {
        false
    }

    /// Takes a frame for the network, in parts, in which nothing is left to be done. What there is no room for is dropped.
    fn transmit(&mut self, parts: [&[u8]; 4]);

    /// Takes a packet for the network, and the header of its frame.
    fn send(&mut self, header: &[u8], packet: &Outgoing<'_>) {
        let [first, second] = packet.payload;
        self.transmit([header, packet.headers, first, second]);
    }

    /// A descriptor that polls readable when `receive` should be called again.
    fn wake(&self) -> BorrowedFd<'_>;

    /// Whether frames that were taken have not left yet.
    fn busy(&self) -> bool {
        false
    }

    /// Whether there is no network now: what is transmitted is dropped.
    fn is_down(&self) -> bool {
        false
    }
}

/// A station on a network of frames.
pub struct Ethernet<F> {
    frames: F,
    station: Station,
    /// The network has gone, and that is known.
    down: bool,
}

impl<F: Frames> Ethernet<F> {
    /// Puts `station` on the network.
    pub fn new(frames: F, mut station: Station) -> Ethernet<F> {
        station.verifies = !frames.offloads();
        Ethernet { frames, station, down: false }
    }

    /// Sends what the station has to say for itself.
    fn flush(&mut self, now: Instant) {
        self.station.expire(now);
        while let Some(frame) = self.station.frame() {
            self.frames.transmit([&frame, &[], &[], &[]]);
        }
    }
}

impl<F: Frames> Link for Ethernet<F> {
    fn capabilities(&self) -> Capabilities {
        let offloads = self.frames.offloads();
        Capabilities {
            mtu: self.frames.mtu(),
            checksums: !offloads,
            segmentation: if offloads { SEGMENTATION } else { 0 },
            in_memory: false,
        }
    }

    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        let Ethernet { frames, station, .. } = self;
        let received = frames.receive(&mut |frame| station.receive(frame, now, take));
        self.flush(now);
        if let Some(packet) = self.station.packet() {
            take(&packet);
            return true;
        }
        received
    }

    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant) {
        if let Some(header) = self.station.transmit(&packet, now) {
            self.frames.send(&header, &packet);
        }
        self.flush(now);
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.frames.wake())
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.station.deadline()
    }

    fn busy(&self) -> bool {
        !self.down && (self.frames.busy() || self.station.waits())
    }

    fn addressing(&mut self) -> Option<Addressing> {
        let down = self.frames.is_down();
        match (core::mem::replace(&mut self.down, down), down) {
            (false, false) => self.station.changed(),
            (false, true) => Some(Addressing::default()),
            (true, true) => None,
            (true, false) => Some(self.station.addressing().clone()),
        }
    }
}
