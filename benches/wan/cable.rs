//! A link over a descriptor that reads and writes one packet a call: a TUN device without offloads, or an end of a
//! SOCK_SEQPACKET pair.
//!
//! What leaves our end is like what leaves the kernel's TCP. It is super-segments, which are cut on their way (by GSO; here
//! by whoever reads them); and it waits in a short queue (TCP small queues leave no more than a millisecond's worth with a
//! device): with room for a whole window each packet would be cold in the cache when its turn comes.

use crate::ends::MTU;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tubesock::link::segmentation::cut_coalesced;
use tubesock::link::{Capabilities, Link, Outgoing};
use tubesock::time::Instant;

/// Room of a pair towards our end: more than any window, for the emulator must not wait.
const PAIR_BYTES: usize = 64 << 20;
/// Payload of a packet from our end, at the most.
const SUPER_SEGMENT: usize = 65_000;
/// Room of a pair from our end, which waits when it is full: some 300 packets.
const QUEUE_BYTES: usize = 256 << 10;

/// One end of it.
pub(crate) struct Cable {
    fd: OwnedFd,
    buffer: Vec<u8>,
    packet: Vec<u8>,
    refused: Refused,
    /// It is our end: a packet for which there is no room waits, and all behind it.
    waits: bool,
}

/// Packets that a descriptor had no room for: a fault of the bench.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Arc<AtomicU64>);

impl Refused {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Cable {
    /// The emulator's end, or a device: what does not fit is lost.
    pub(crate) fn new(fd: OwnedFd, refused: &Refused) -> Cable {
        Cable { fd, buffer: vec![0; 65536], packet: Vec::new(), refused: refused.clone(), waits: false }
    }

    /// Our end.
    pub(crate) fn waiting(fd: OwnedFd, refused: &Refused) -> Cable {
        Cable { waits: true, ..Cable::new(fd, refused) }
    }
}

fn wait_for_room(fd: &OwnedFd) {
    // Interrupted or not, the next write tells.
    let _ = rustix::event::poll(&mut [PollFd::new(fd, PollFlags::OUT)], None);
}

/// Both ends of a cable in memory: ours, and the emulator's.
pub(crate) fn pair() -> [OwnedFd; 2] {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (one, other) = pair.expect("descriptors");
    for (end, bytes) in [(&one, QUEUE_BYTES), (&other, PAIR_BYTES)] {
        sockopt::set_socket_send_buffer_size_force(end, bytes).expect("this needs root");
    }
    [one, other]
}

impl Link for Cable {
    fn capabilities(&self) -> Capabilities {
        let segmentation = if self.waits { SUPER_SEGMENT } else { 0 };
        Capabilities { mtu: MTU, checksums: true, segmentation, in_memory: false }
    }

    fn receive(&mut self, _: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        match rustix::io::read(&self.fd, &mut self.buffer[..]) {
            Ok(length @ ..=MTU) if length > 0 => take(&self.buffer[..length]),
            Ok(length @ 1..) => cut_coalesced(&self.buffer[..length], MTU, true, &mut |packet| take(&packet)),
            // Nothing there; or the other end has gone, and the run is over.
            _ => return false,
        }
        true
    }

    fn transmit(&mut self, packet: Outgoing<'_>, _: Instant) {
        let packet = packet.in_one(&mut self.packet);
        loop {
            match rustix::io::write(&self.fd, packet) {
                // Likewise.
                Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => return,
                Err(Errno::AGAIN) if self.waits => wait_for_room(&self.fd),
                Err(_) => {
                    self.refused.0.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}
