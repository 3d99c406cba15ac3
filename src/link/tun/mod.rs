//! A TUN device of the kernel's as a link: the program's own interface on the machine's network, or in a namespace.
//!
//! With offloads (`Tun::open`) packets of up to 64 KB go both ways, which is where the throughput comes from: one such
//! packet costs the kernel about what three small ones do (`offload.rs` has what is done for it). Without
//! (`Tun::open_plain`) every packet is as the network will see it.
//!
//! The device's addresses, routes and MTU are the administrator's, with ip(8); this only attaches to it, or makes one.
//! One descriptor, one queue. The MTU is read once: a device whose MTU changes is to be opened again.
#![forbid(unsafe_code)]

pub(crate) mod attach;
pub mod offload;

use super::{Capabilities, Link, Outgoing};
use crate::addressing::Addressing;
use crate::sys::tun::{Device, Kind};
use crate::time::Instant;
use offload::{PACKET_MAX, SEGMENTATION};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, IoSlice};

/// A TUN device.
pub struct Tun {
    device: Device,
    /// None when the device has no offloads. Holds the front of a packet on its way out.
    front: Option<Vec<u8>>,
    mtu: usize,
    buffer: Vec<u8>,
    counters: Counters,
    gone: bool,
    /// Its end is known.
    over: bool,
}

/// What a device did with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets from the device, coalesced ones counted once.
    pub received: u64,
    /// Packets to the device, super-packets counted once.
    pub sent: u64,
    /// Dropped: the device had no room.
    pub no_room: u64,
    /// Dropped: the device is down, gone, or did not take the packet.
    pub refused: u64,
    /// Dropped: a checksum of what arrived was wrong.
    pub bad_checksum: u64,
}

impl Tun {
    /// Attaches to the device called `name`, or makes one; an empty name lets the kernel choose. The error is for people.
    pub fn open(name: &str) -> Result<Tun, String> {
        Tun::attach(name, true)
    }

    /// Likewise, without offloads: one packet of the network is one packet here.
    pub fn open_plain(name: &str) -> Result<Tun, String> {
        Tun::attach(name, false)
    }

    fn attach(name: &str, offload: bool) -> Result<Tun, String> {
        let (device, mtu) = attach::open(Kind::Tun, name, offload)?;
        let front = offload.then(Vec::new);
        let buffer = vec![0; offload::HEADER + PACKET_MAX];
        Ok(Tun {
            device,
            front,
            mtu: mtu.min(PACKET_MAX),
            buffer,
            counters: Counters::default(),
            gone: false,
            over: false,
        })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        self.device.name()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The device was removed, or will never answer again for another reason.
    fn lose(&mut self, errno: Errno) {
        tracing::error!("the link tun:{} is lost: {errno}", self.device.name());
        self.gone = true;
        self.device.detach();
    }

    fn write(&mut self, packet: &Outgoing<'_>) -> Result<(), Errno> {
        let Some(front) = &mut self.front else {
            let [first, second] = packet.payload;
            return self.device.write(&[packet.headers, first, second].map(IoSlice::new));
        };
        let copied = offload::prepare(packet, front).ok_or(Errno::INVAL)?;
        let [rest, first, second] = copied.rest(packet);
        self.device.write(&[&front[..], rest, first, second].map(IoSlice::new))
    }
}

impl Link for Tun {
    fn capabilities(&self) -> Capabilities {
        let offload = self.front.is_some();
        Capabilities {
            mtu: self.mtu,
            checksums: !offload,
            segmentation: if offload { SEGMENTATION } else { 0 },
            in_memory: false,
        }
    }

    fn receive(&mut self, _: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        if self.gone {
            return false;
        }
        let length = match self.device.read(&mut self.buffer) {
            Ok(length) => length,
            Err(Errno::AGAIN) => return false,
            Err(errno) => {
                self.lose(errno);
                return false;
            }
        };
        self.counters.received += 1;
        let packet = self.buffer.get(..length).unwrap_or_default();
        if self.front.is_none() {
            take(packet);
        } else if let Some(packet) = offload::open(packet) {
            take(packet);
        } else {
            self.counters.bad_checksum += 1;
        }
        true
    }

    fn transmit(&mut self, packet: Outgoing<'_>, _: Instant) {
        let written = if self.gone { Err(Errno::BADFD) } else { self.write(&packet) };
        match written {
            Ok(()) => self.counters.sent += 1,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => self.counters.no_room += 1,
            Err(_) => self.counters.refused += 1,
        }
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.device.as_fd())
    }

    fn addressing(&mut self) -> Option<Addressing> {
        (self.gone && !core::mem::replace(&mut self.over, true)).then(Addressing::default)
    }
}

#[cfg(test)]
mod tests;
