//! A link over a descriptor that reads and writes one packet a call: a TUN device without offloads, or an end of a
//! SOCK_SEQPACKET pair.

use crate::ends::MTU;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tubesock::link::{Capabilities, Link, Outgoing};
use tubesock::time::Instant;

/// Room of a pair: more than any window.
const PAIR_BYTES: usize = 64 << 20;

/// One end of it.
pub(crate) struct Cable {
    fd: OwnedFd,
    buffer: Vec<u8>,
    packet: Vec<u8>,
    refused: Refused,
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
    pub(crate) fn new(fd: OwnedFd, refused: &Refused) -> Cable {
        Cable { fd, buffer: vec![0; 65536], packet: Vec::new(), refused: refused.clone() }
    }
}

/// Both ends of a cable in memory.
pub(crate) fn pair() -> [OwnedFd; 2] {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (one, other) = pair.expect("descriptors");
    for end in [&one, &other] {
        sockopt::set_socket_send_buffer_size_force(end, PAIR_BYTES).expect("this needs root");
    }
    [one, other]
}

impl Link for Cable {
    fn capabilities(&self) -> Capabilities {
        Capabilities { mtu: MTU, checksums: true, segmentation: 0, in_memory: false }
    }

    fn receive(&mut self, _: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        match rustix::io::read(&self.fd, &mut self.buffer[..]) {
            Ok(length @ 1..) => take(&self.buffer[..length]),
            // Nothing there; or the other end has gone, and the run is over.
            _ => return false,
        }
        true
    }

    fn transmit(&mut self, packet: Outgoing<'_>, _: Instant) {
        match rustix::io::write(&self.fd, packet.in_one(&mut self.packet)) {
            // Likewise.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => {}
            Err(_) => drop(self.refused.0.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }
}
