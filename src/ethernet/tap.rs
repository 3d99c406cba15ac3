//! A TAP device of the kernel's: a cable between its interface and a station of ours. What the device's own side is called,
//! bridged to or routed by is the administrator's. With the offloads of `link::tun`: packets of up to 64 KB in one frame, and
//! checksums that nobody needs are not made.
#![forbid(unsafe_code)]

use super::Frames;
use super::frame::{self, HEADER};
use crate::link::Outgoing;
use crate::link::tun::attach;
use crate::link::tun::offload;
use crate::sys::tun::{Device, Kind};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, IoSlice};

/// Longest frame, with what is before it.
const FRAME_MAX: usize = offload::HEADER + HEADER + offload::PACKET_MAX;

/// Before a frame that has nothing left to be done.
const NOTHING_TO_DO: [u8; offload::HEADER] = [0; offload::HEADER];

/// A TAP device.
pub struct Tap {
    device: Device,
    mtu: usize,
    buffer: Vec<u8>,
    /// Holds the front of a packet on its way out.
    front: Vec<u8>,
    gone: bool,
}

impl Tap {
    /// Attaches to the device called `name`, or makes one. The error is for people.
    pub fn open(name: &str) -> Result<Tap, String> {
        let (device, mtu) = attach::open(Kind::Tap, name, true)?;
        Ok(Tap { device, mtu, buffer: vec![0; FRAME_MAX], front: Vec::new(), gone: false })
    }

    fn write(&self, parts: [&[u8]; 6]) {
        if !self.gone {
            // A device that is down, or has no room: the frame is lost, as on a cable that is not plugged in.
            let _ = self.device.write(&parts.map(IoSlice::new));
        }
    }
}

impl Frames for Tap {
    fn mtu(&self) -> usize {
        self.mtu
    }

    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> bool {
        if self.gone {
            return false;
        }
        match self.device.read(&mut self.buffer) {
            Ok(length) => {
                if let Some(frame) = opened(self.buffer.get(..length).unwrap_or_default()) {
                    take(frame);
                }
                true
            }
            Err(Errno::AGAIN) => false,
            Err(errno) => {
                tracing::error!("the link tap:{} is lost: {errno}", self.device.name());
                self.gone = true;
                self.device.detach();
                false
            }
        }
    }

    fn offloads(&self) -> bool {
        true
    }

    fn transmit(&mut self, parts: [&[u8]; 4]) {
        let [first, second, third, fourth] = parts;
        self.write([&NOTHING_TO_DO, first, second, third, fourth, &[]]);
    }

    fn send(&mut self, header: &[u8], packet: &Outgoing<'_>) {
        let mut front = core::mem::take(&mut self.front);
        if let Some(copied) = offload::prepare(packet, &mut front) {
            let (before, front) = front.split_at_mut(offload::HEADER);
            offload::shift(before, HEADER);
            let [rest, first, second] = copied.rest(packet);
            self.write([before, header, front, rest, first, second]);
        }
        self.front = front;
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    fn is_down(&self) -> bool {
        self.gone
    }
}

/// The frame in what the device gave, behind its header; None for an IP packet with a wrong checksum that nobody vouches for.
fn opened(bytes: &[u8]) -> Option<&[u8]> {
    let (header, bytes) = bytes.split_first_chunk::<{ offload::HEADER }>()?;
    let frame = frame::open(bytes)?;
    let is_ip = matches!(frame.kind, frame::IPV4 | frame::IPV6);
    (!is_ip || offload::is_good(header, frame::without_padding(frame.payload))).then_some(bytes)
}
