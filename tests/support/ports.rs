//! Ports for a test's servers: nobody listens on them, and nobody is given them by chance.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where the kernel's own choices end to begin: it gives these to nobody who does not ask for them
/// (net.ipv4.ip_local_port_range). One of its own that is free now may be a client's a moment later, and a client
/// that tries it over and over may even find itself there.
const PORTS: core::ops::Range<u16> = 10_000..32_000;

/// A port that is free for TCP and UDP, and that this process has not been given before.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = PORTS.end - PORTS.start;
    // Processes that test at the same time begin at different places.
    let begin = (std::process::id() as u16).wrapping_mul(251) % count;
    (0..count)
        .map(|_| PORTS.start + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % count) % count)
        .find(|&port| {
            TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok()
        })
        .expect("twenty thousand ports are not all taken")
}
