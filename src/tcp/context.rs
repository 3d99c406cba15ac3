//! What the connections of one path share: its MTU, whether it wants checksums, and smoltcp's `Interface`, which
//! holds no state of any connection and is lent to whichever is polled.
//!
//! smoltcp neither computes nor verifies checksums here: the demultiplexer verifies before a packet gets this far,
//! and the armour fills them in after its last change to a header.
#![forbid(unsafe_code)]

use super::Connection;
use super::segment::Sequence;
use crate::link::Packet;
use crate::time::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::wire::HardwareAddress;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Packets kept for reuse: a large packet costs more to allocate and clear than to fill.
const SPARE_PACKETS: usize = 32;

/// Sockets kept for reuse, with half a megabyte of buffers each.
const SPARE_SOCKETS: usize = 16;

/// Headers are at most this long: what a reused packet holds in their place is cleared, so that no padding of
/// theirs ever carries old bytes out.
const HEADERS_MAX: usize = 128;

/// The path that connections share.
pub struct Context {
    interface: Interface,
    device: PacketDevice,
    checksums: bool,
    spare: Vec<Spare>,
}

/// The socket of a connection that is over, with its buffers.
pub(super) type Spare = (SocketSet<'static>, SocketHandle);

impl Context {
    /// A path that carries packets of up to `mtu` bytes.
    pub fn new(mtu: usize, checksums: bool) -> Context {
        let mut device = PacketDevice { mtu, incoming: None, sent: VecDeque::new(), spare: Vec::new() };
        Context { interface: interface(&mut device, 0), device, checksums, spare: Vec::new() }
    }

    /// Largest packet in bytes.
    pub fn mtu(&self) -> usize {
        self.device.mtu
    }

    /// Whether what leaves must carry checksums.
    pub fn checksums(&self) -> bool {
        self.checksums
    }

    /// A packet that is done with, kept for its memory.
    pub fn recycle(&mut self, packet: Packet) {
        self.device.recycle(packet);
    }

    /// A connection that nobody needs any more, kept for its buffers: clearing new ones costs more than all the rest of
    /// a short connection. Only one that ended in order: smoltcp's `reset` leaves loss recovery as it was.
    pub fn reclaim(&mut self, connection: Connection) {
        if self.spare.len() < SPARE_SOCKETS
            && let Some(spare) = connection.into_spare()
        {
            self.spare.push(spare);
        }
    }

    pub(super) fn spare(&mut self) -> Option<Spare> {
        self.spare.pop()
    }

    /// The next packet that smoltcp sent.
    pub(super) fn sent(&mut self) -> Option<Packet> {
        self.device.sent.pop_front()
    }

    /// Gives `packet` to the one socket of `sockets`. False when smoltcp panicked over it.
    pub(super) fn deliver(&mut self, sockets: &mut SocketSet<'_>, packet: Packet, now: Instant) -> bool {
        self.device.put(packet);
        let survived = self
            .guarded(|interface, device| {
                interface.poll_ingress_single(smoltcp_time(now), device, sockets);
            })
            .is_some();
        if let Some(packet) = self.device.incoming.take() {
            self.device.recycle(packet);
        }
        survived
    }

    /// Lets the one socket of `sockets` send at most one packet. False when smoltcp panicked.
    pub(super) fn dispatch(&mut self, sockets: &mut SocketSet<'_>, now: Instant) -> bool {
        self.guarded(|interface, device| {
            interface.poll_egress(smoltcp_time(now), device, sockets);
        })
        .is_some()
    }

    /// When the one socket of `sockets` wants to be polled again; an error when smoltcp panicked.
    pub(super) fn poll_at(
        &mut self,
        sockets: &SocketSet<'_>,
        now: Instant,
    ) -> Result<Option<Instant>, Panicked> {
        self.guarded(|interface, _| interface.poll_at(smoltcp_time(now), sockets))
            .map(|at| at.map(|at| Instant::from_micros(at.total_micros().max(0) as u64)))
            .ok_or(Panicked)
    }

    /// Runs `open`, which makes smoltcp draw an initial sequence number, with a throw-away interface whose next
    /// number is `sequence`. None when it panicked.
    pub(super) fn drawing<R>(
        &mut self,
        sequence: Sequence,
        open: impl FnOnce(&mut Interface, &mut PacketDevice) -> R,
    ) -> Option<R> {
        let throw_away = interface(&mut self.device, seed_that_draws(sequence));
        let shared = core::mem::replace(&mut self.interface, throw_away);
        let result = self.guarded(open);
        self.interface = shared;
        result
    }

    fn guarded<R>(&mut self, poll: impl FnOnce(&mut Interface, &mut PacketDevice) -> R) -> Option<R> {
        let Context { interface, device, .. } = self;
        let result = catch_unwind(AssertUnwindSafe(|| poll(interface, device))).ok();
        if result.is_none() {
            // Only the connection that was being polled can be inconsistent, and its owner ends it.
            device.incoming = None;
            device.sent.clear();
        }
        result
    }
}

/// smoltcp panicked; the connection must not be polled again.
#[derive(Debug)]
pub(super) struct Panicked;

pub(super) fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.micros()).unwrap_or(i64::MAX))
}

fn interface(device: &mut PacketDevice, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, device, smoltcp::time::Instant::ZERO);
    // Whose address a packet is for is the demultiplexer's question.
    interface.set_any_ip(true);
    interface
}

/// The seed with which the second number that smoltcp's generator draws is `sequence`: `Interface::new` draws the
/// first. The generator is a linear congruence modulo 2^64 with an odd multiplier, so each step can be undone, and
/// its output is 32 bits of the state, chosen by the top three. Should another release of smoltcp draw otherwise,
/// sequence numbers are still as good as its own; a test notices.
fn seed_that_draws(sequence: Sequence) -> u64 {
    const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
    const INCREMENT: u64 = 0x7590_ef39;
    const INVERSE: u64 = inverse(MULTIPLIER);
    let before = |state: u64| state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE);
    let output = |state: u64| (state >> (29 - (state >> 61))) as u32;
    // With its top three bits clear the state's output is bits 29 to 60; the low bits are free, and chosen so that
    // the first draw, the interface's first packet identifier, is not 0: it would be drawn again.
    (0..)
        .map(|low: u64| before((u64::from(sequence.0) << 29) | low))
        .find(|first| {
            let drawn = output(*first);
            drawn as u16 ^ (drawn >> 16) as u16 != 0
        })
        .map(before)
        .expect("a draw of 16 bits is not 0 for ever")
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the right bits.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// One packet in, any number out. It always takes a packet: smoltcp panics over a device that refuses (F3).
pub(super) struct PacketDevice {
    mtu: usize,
    incoming: Option<Packet>,
    sent: VecDeque<Packet>,
    spare: Vec<Packet>,
}

impl PacketDevice {
    fn recycle(&mut self, packet: Packet) {
        if self.spare.len() < SPARE_PACKETS && packet.capacity() <= 2 * self.mtu {
            self.spare.push(packet);
        }
    }

    pub(super) fn put(&mut self, packet: Packet) {
        self.incoming = Some(packet);
    }
}

impl Device for PacketDevice {
    type RxToken<'a> = Incoming<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let PacketDevice { incoming, sent, spare, .. } = self;
        Some((Incoming(incoming.as_deref()?), Outgoing { sent, spare }))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing { sent: &mut self.sent, spare: &mut self.spare })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

pub(super) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

pub(super) struct Outgoing<'a> {
    sent: &'a mut VecDeque<Packet>,
    spare: &'a mut Vec<Packet>,
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = self.spare.pop().unwrap_or_default();
        let used = packet.len().min(HEADERS_MAX);
        packet[..used].fill(0);
        packet.resize(length, 0);
        let result = fill(&mut packet);
        self.sent.push_back(packet);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_told_and_leaves_the_path_usable() {
        let mut context = Context::new(1500, false);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let outcome: Option<()> = context.drawing(Sequence(1), |_, _| panic!("as smoltcp does"));
        std::panic::set_hook(hook);
        assert_eq!(outcome, None);
        let mut sockets = SocketSet::new(Vec::new());
        assert!(context.dispatch(&mut sockets, Instant::from_micros(1)));
    }

    #[test]
    fn the_inverse_of_the_multiplier_is_one() {
        assert_eq!(inverse(0xbb2e_fcec_3c39_611d).wrapping_mul(0xbb2e_fcec_3c39_611d), 1);
    }
}
