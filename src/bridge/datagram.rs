//! The far end of a datagram socket. What arrives crosses to the near end behind a header with both addresses, which
//! the shim's receive calls take off. What the program sends does not come this way (its calls ask the host), except
//! what leaves by a call that is not interposed: bytes without a header, for the connected peer.
//!
//! An ICMP error crosses as a header with no datagram: it wakes the reader, who then asks for the error. So a program
//! that only polls sees POLLIN where Linux shows POLLERR.

use super::Interest;
use crate::engine::{Engine, SocketId};
use crate::error::{Error, Result};
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::unix;
use crate::time::Instant;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::net::{IpAddr, SocketAddr};

/// Bytes in front of each datagram at the near end.
pub const HEADER: usize = 40;
/// The largest payload of UDP over IPv6 without jumbograms.
const LARGEST: usize = 65_527;

/// The far end.
#[derive(Debug)]
pub struct Datagram {
    far: Internal,
    /// A message that the near end's queue did not take.
    waiting: Option<Vec<u8>>,
    watched: bool,
    /// The error that no call has reported yet.
    pub error: Option<Error>,
}

impl Datagram {
    /// A near end bound to `name`, and its far end.
    pub fn open(name: &[u8], flags: SocketFlags) -> Result<(Owned, Datagram)> {
        let (near, far) = unix::datagram_pair(flags)?;
        unix::bind(&near, name)?;
        Ok((near, Datagram { far: internal(far), waiting: None, watched: false, error: None }))
    }

    /// The far end.
    pub fn far(&self) -> BorrowedFd<'_> {
        self.far.as_fd()
    }

    /// Sends what the program wrote past the shim.
    pub fn ready(&mut self, id: SocketId, flags: EventFlags, engine: &mut Engine, now: Instant) {
        if !flags.contains(EventFlags::IN) {
            return;
        }
        let mut buffer = vec![0; LARGEST];
        while let Ok(length) = unix::receive(&self.far, &mut buffer) {
            if let Err(error) = engine.send_to(id, None, &buffer[..length], now) {
                tracing::debug!(socket = id.0, %error, "a datagram written past the shim was not sent");
            }
        }
    }

    /// Wakes the reader with an error, and for good.
    pub fn wake_with(&mut self, error: Error) {
        self.error = Some(error);
        // A queue that is full has woken the reader already.
        let _ = unix::send(&self.far, &[0; HEADER]);
    }

    /// Hands on what arrived.
    pub fn run(&mut self, id: SocketId, engine: &mut Engine, interest: &Interest) {
        if let Some(error) = engine.take_error(id) {
            self.error = Some(error);
            self.waiting.get_or_insert_with(|| vec![0; HEADER]);
        }
        while let Some(message) = self.waiting.take().or_else(|| next(id, engine)) {
            if unix::send(&self.far, &message) == Err(Errno::AGAIN) {
                self.waiting = Some(message);
                break;
            }
        }
        let watch = self.waiting.is_some();
        if watch != self.watched {
            let flags = if watch { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            interest.change(&self.far, id, flags);
            self.watched = watch;
        }
    }
}

fn next(id: SocketId, engine: &mut Engine) -> Option<Vec<u8>> {
    let datagram = engine.receive_from(id)?;
    let mut message = Vec::with_capacity(HEADER + datagram.payload.len());
    encode(datagram.from, &mut message);
    encode(datagram.to, &mut message);
    message.extend_from_slice(&datagram.payload);
    Some(message)
}

/// Family (4 or 6), a zero, port, address; an IPv4 address in its first four bytes.
fn encode(address: SocketAddr, message: &mut Vec<u8>) {
    let start = message.len();
    message.push(if address.is_ipv4() { 4 } else { 6 });
    message.push(0);
    message.extend_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(v4) => message.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => message.extend_from_slice(&v6.octets()),
    }
    message.resize(start + HEADER / 2, 0);
}

/// Who sent the datagram behind this header, and which of our addresses they sent it to; None for the mark of an error.
pub fn decode(header: &[u8; HEADER]) -> Option<(SocketAddr, SocketAddr)> {
    let (from, to) = header.split_at(HEADER / 2);
    Some((decode_one(from)?, decode_one(to)?))
}

fn decode_one(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    let ip = match bytes[0] {
        4 => IpAddr::from(<[u8; 4]>::try_from(&bytes[4..8]).ok()?),
        6 => IpAddr::from(<[u8; 16]>::try_from(&bytes[4..20]).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}
