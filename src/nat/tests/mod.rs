//! `nat` against the kernel's own sockets on the loopback. Nothing sleeps: every wait is for a descriptor or a
//! deadline, and ends the test after twenty seconds.

mod datagrams;
mod echo;
mod publish;
mod streams;
mod world;

use crate::config::Publish;
use crate::time::Instant;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;
use std::net::{IpAddr, SocketAddr};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for the descriptor or the deadline. Panics when nothing happens before `give_up`.
fn wait(wake: BorrowedFd<'_>, deadline: Option<Instant>, give_up: Instant) {
    let now = crate::sys::now();
    assert!(now < give_up, "nothing happened any more");
    let until = deadline.map_or(give_up, |deadline| deadline.min(give_up));
    let timeout = rustix::time::Timespec::try_from((until - now) + Duration::from_micros(1)).unwrap();
    let _ = poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], Some(&timeout));
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The program's address for a service of the machine's loopback.
fn seen_by_program(address: SocketAddr) -> SocketAddr {
    let gateway: IpAddr = if address.is_ipv4() { super::GATEWAY_V4.into() } else { super::GATEWAY_V6.into() };
    SocketAddr::new(gateway, address.port())
}

fn publishing(listen: &str, port: u16, datagram: bool) -> Publish {
    Publish { listen: at(listen), port, datagram }
}
