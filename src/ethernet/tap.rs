//! A TAP device of the kernel's: a cable between its interface and a station of ours. What the device's own side is called,
//! bridged to or routed by is the administrator's. No offloads: every frame is as the network sees it.
#![forbid(unsafe_code)]

use super::Frames;
use super::frame::HEADER;
use crate::link::tun::attach;
use crate::sys::tun::{Device, Kind};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, IoSlice};

/// Longest frame.
const FRAME_MAX: usize = 65535 + HEADER;

/// A TAP device.
pub struct Tap {
    device: Device,
    mtu: usize,
    buffer: Vec<u8>,
    gone: bool,
}

impl Tap {
    /// Attaches to the device called `name`, or makes one. The error is for people.
    pub fn open(name: &str) -> Result<Tap, String> {
        let (device, mtu) = attach::open(Kind::Tap, name, false)?;
        Ok(Tap { device, mtu, buffer: vec![0; FRAME_MAX], gone: false })
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
                take(self.buffer.get(..length).unwrap_or_default());
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

    fn transmit(&mut self, parts: [&[u8]; 4]) {
        if !self.gone {
            // A device that is down, or has no room: the frame is lost, as on a cable that is not plugged in.
            let _ = self.device.write(&parts.map(IoSlice::new));
        }
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
