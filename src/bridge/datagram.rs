//! The far end of a datagram socket. What arrives crosses to the near end behind a header that says all that recvmsg(2)
//! can show of it, and whether the options of that moment want it shown; the shim's receive calls take it off. What the
//! program sends does not come this way (its calls ask the host), except what leaves by a call that is not interposed:
//! bytes without a header, for the connected peer.
//!
//! An ICMP error crosses as a header with no datagram: it wakes the reader, who then asks for the error. So a program
//! that only polls sees POLLIN where Linux shows POLLERR.

use super::Interest;
use super::options::Options;
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

/// Bytes in front of each datagram at the near end: three addresses, and what `Arrival` has besides.
pub const HEADER: usize = 3 * ADDRESS + 4;
const ADDRESS: usize = 20;
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
    pub fn run(&mut self, id: SocketId, engine: &mut Engine, options: &Options, interest: &Interest) {
        if let Some(error) = engine.take_error(id) {
            self.error = Some(error);
            self.waiting.get_or_insert_with(|| vec![0; HEADER]);
        }
        while let Some(message) = self.waiting.take().or_else(|| next(id, engine, options)) {
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

fn next(id: SocketId, engine: &mut Engine, options: &Options) -> Option<Vec<u8>> {
    let datagram = engine.receive_from(id)?;
    let mut message = Vec::with_capacity(HEADER + datagram.payload.len());
    encode(datagram.from, &mut message);
    encode(datagram.to, &mut message);
    encode(SocketAddr::new(datagram.local, 0), &mut message);
    let over_v4 = datagram.to.ip().to_canonical().is_ipv4();
    let own = if over_v4 { &options.ip.v4 } else { &options.ip.v6 };
    // A socket of IPv6 shows where a datagram of IPv4 was sent to in its own form (ip6_datagram_recv_ctl).
    let destination = [options.ip.v4.shows_destination, options.ip.v6.shows_destination];
    let shown = [destination[0] && over_v4, destination[1], own.shows_hops, own.shows_class];
    let shown = shown.iter().rev().fold(0, |bits, shown| bits << 1 | u8::from(*shown));
    let treatment = datagram.treatment;
    message.extend([treatment.hop_limit, treatment.traffic_class, datagram.path.index() as u8, shown]);
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
    message.resize(start + ADDRESS, 0);
}

/// What the header of a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent it.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// The address of ours that an answer would come from.
    pub local: IpAddr,
    /// TTL, hop limit
    pub hop_limit: u8,
    /// TOS, traffic class
    pub traffic_class: u8,
    /// The number of the interface it came to.
    pub interface: u32,
    /// IP_PKTINFO was set, and it came over IPv4.
    pub shows_info_v4: bool,
    /// IPV6_RECVPKTINFO was set.
    pub shows_info_v6: bool,
    /// IP_RECVTTL or IPV6_RECVHOPLIMIT was set, of the version it came over.
    pub shows_hops: bool,
    /// IP_RECVTOS or IPV6_RECVTCLASS, likewise.
    pub shows_class: bool,
}

/// The header in front of a datagram; None for the mark of an error.
pub fn decode(header: &[u8; HEADER]) -> Option<Arrival> {
    let (addresses, rest) = header.as_chunks::<ADDRESS>();
    let [from, to, local] = addresses else { return None };
    let [hop_limit, traffic_class, interface, shown] = *rest else { return None };
    let shows = |bit: u8| shown >> bit & 1 != 0;
    Some(Arrival {
        from: decode_one(from)?,
        to: decode_one(to)?,
        local: decode_one(local)?.ip(),
        hop_limit,
        traffic_class,
        interface: interface.into(),
        shows_info_v4: shows(0),
        shows_info_v6: shows(1),
        shows_hops: shows(2),
        shows_class: shows(3),
    })
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
