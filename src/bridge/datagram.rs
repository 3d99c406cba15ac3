//! The far end of a datagram socket. What arrives crosses to the near end behind a header that says all that recvmsg(2)
//! can show of it, and whether the options of that moment want it shown; the shim's receive calls take it off.
//!
//! What the program sends comes this way where the host has nothing to say about it (`calls::datagrams`): behind the host's
//! token and where it goes. What has no token in front left by a call that is not interposed, for the connected peer.
//!
//! An error shows as POLLERR, and the native call that meets it asks the host what it is. AF_UNIX gives the near end one,
//! ECONNRESET, when its peer leaves with something unread (unix_dgram_disconnected). So the far end gives up its peer,
//! sends itself something to leave unread, takes the near end for its peer again, leaves, and comes back.
//!
//! Limit: between two of these steps anybody who finds the far end's name may send to it. What does not come from the near
//! end is thrown away.
#![forbid(unsafe_code)]

use super::Interest;
use super::name::{Encoded, Token};
use super::options::Options;
use crate::engine::{Control, Engine, SocketId};
use crate::error::{Error, Result};
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::{self, unix};
use crate::time::Instant;
use rustix::event::epoll::EventFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::net::{IpAddr, SocketAddr};

/// Bytes in front of each datagram at the near end: three addresses, and what `Arrival` has besides.
pub const HEADER: usize = 3 * ADDRESS + 16;
const ADDRESS: usize = 20;
/// Bytes in front of what the program sends: the host's token, which nothing else begins with, and where it goes.
pub const PREFIX: usize = size_of::<Token>() + ADDRESS;
/// The largest payload of UDP over IPv6 without jumbograms, and what is in front of it.
pub const LARGEST: usize = 65_527 + PREFIX;
/// Datagrams taken in one turn: then the others have theirs.
const TURN: usize = 256;

/// The far end.
#[derive(Debug)]
pub struct Datagram {
    far: Internal,
    token: Token,
    /// That of the near end.
    name: Encoded,
    /// A message that the near end's queue did not take.
    waiting: Option<Vec<u8>>,
    watched: bool,
    /// The error that no call has reported yet.
    error: Option<Error>,
    /// POLLERR shows.
    raised: bool,
    /// shutdown(2) with SHUT_WR or SHUT_RDWR
    pub shut_write: bool,
    /// With SHUT_RD or SHUT_RDWR: the near end takes no more, and whoever reads has what it took, and asks for the rest.
    pub shut_read: bool,
}

impl Datagram {
    /// A near end bound to `name`, and its far end.
    pub fn open(token: Token, name: Encoded, flags: SocketFlags) -> Result<(Owned, Datagram)> {
        let (near, far) = unix::datagram_pair(flags)?;
        unix::bind(&near, &name)?;
        let far = internal(far);
        let datagram = Datagram {
            far,
            token,
            name,
            waiting: None,
            watched: false,
            error: None,
            raised: false,
            shut_write: false,
            shut_read: false,
        };
        Ok((near, datagram))
    }

    /// The far end.
    pub fn far(&self) -> BorrowedFd<'_> {
        self.far.as_fd()
    }

    /// Sends what the program sent by the near end, as long as the engine has room. Whether there was anything.
    pub fn forward(&mut self, id: SocketId, engine: &mut Engine, buffer: &mut [u8], now: Instant) -> bool {
        for turn in 0..TURN {
            if engine.is_crowded() {
                return turn > 0;
            }
            let Ok((length, from_near)) = unix::receive_from(&self.far, buffer, &self.name) else {
                return turn > 0;
            };
            if from_near {
                let (to, payload) = split(&self.token, &buffer[..length]);
                self.take_errors(id, engine);
                let sent = engine.send_with(id, to, &Control::default(), payload, now);
                // Linux is silent about a datagram that found no room in a queue (ip(7)).
                if let Err(error) = sent
                    && error != Error::NoBuffers
                {
                    self.error = Some(error);
                    self.raised = false;
                }
            }
        }
        true
    }

    /// A pending error of the engine's socket is ours from now on.
    fn take_errors(&mut self, id: SocketId, engine: &mut Engine) {
        if let Some(error) = engine.take_error(id) {
            self.error = Some(error);
            self.raised = false;
        }
    }

    /// Wakes whoever waits with an error.
    pub fn fail(&mut self, error: Error) {
        self.error = Some(error);
        self.raise();
    }

    /// The error that no call has reported yet, cleared; and the near end's own, if no native call has met it.
    pub fn take_error(&mut self, near: BorrowedFd<'_>) -> Option<Error> {
        if core::mem::take(&mut self.raised) {
            unix::take_error(near);
        }
        self.error.take()
    }

    /// The error queue was read: `error` is pending now.
    pub fn replace_error(&mut self, error: Option<Error>, near: BorrowedFd<'_>) {
        self.take_error(near);
        self.error = error;
    }

    /// POLLERR, while an error is pending or the error queue holds something.
    pub fn show_errors(&mut self, id: SocketId, engine: &Engine) {
        if !self.raised && (self.error.is_some() || engine.has_reports(id)) {
            self.raise();
        }
    }

    fn raise(&mut self) {
        self.raised = true;
        let raised = unix::bind_unnamed(&self.far)
            .and_then(|()| unix::disconnect(&self.far))
            .and_then(|()| unix::send_to_itself(&self.far))
            .and_then(|()| unix::connect(&self.far, &self.name))
            .and_then(|()| unix::disconnect(&self.far));
        let connected = unix::connect(&self.far, &self.name);
        if let Err(errno) = raised.and(connected) {
            // The near end has gone.
            tracing::debug!(%errno, "an error does not show at a datagram socket");
        }
    }

    /// Hands on what arrived.
    pub fn run(
        &mut self,
        id: SocketId,
        engine: &mut Engine,
        options: &Options,
        interest: &Interest,
        buffer: &mut [u8],
        now: Instant,
    ) {
        self.take_errors(id, engine);
        if !self.raised && (self.error.is_some() || engine.has_reports(id)) {
            // It would be lost when the far end leaves.
            self.forward(id, engine, buffer, now);
            self.show_errors(id, engine);
        }
        while !self.shut_read
            && let Some(message) = self.waiting.take().or_else(|| next(id, engine, options))
        {
            // Of other errors the near end has gone.
            if let Err(errno @ (Errno::AGAIN | Errno::PIPE)) = unix::send(&self.far, &message) {
                self.shut_read |= errno == Errno::PIPE;
                self.waiting = Some(message);
                break;
            }
        }
        let watch = self.waiting.is_some() && !self.shut_read;
        if watch != self.watched {
            let flags = if watch { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            interest.change(&self.far, id, flags);
            self.watched = watch;
        }
    }

    /// The next that has not gone to the near end; it stays the next where it is only looked at.
    pub fn take(
        &mut self,
        id: SocketId,
        engine: &mut Engine,
        options: &Options,
        peek: bool,
    ) -> Option<Vec<u8>> {
        let message = self.waiting.take().or_else(|| next(id, engine, options))?;
        self.waiting = peek.then(|| message.clone());
        Some(message)
    }
}

fn next(id: SocketId, engine: &mut Engine, options: &Options) -> Option<Vec<u8>> {
    let datagram = engine.receive_from(id)?;
    let mut message = Vec::with_capacity(HEADER + datagram.payload.len());
    for address in [datagram.from, datagram.to, SocketAddr::new(datagram.local, 0)] {
        message.extend_from_slice(&encode(address));
    }
    let over_v4 = datagram.to.ip().to_canonical().is_ipv4();
    let own = if over_v4 { &options.ip.v4 } else { &options.ip.v6 };
    // A socket of IPv6 shows where a datagram of IPv4 was sent to in its own form (ip6_datagram_recv_ctl).
    let destination = [options.ip.v4.shows_destination, options.ip.v6.shows_destination];
    let shown = [
        destination[0] && over_v4,
        destination[1],
        own.shows_hops,
        own.shows_class,
        options.shows_times(),
        options.shows_drops,
    ];
    let shown = shown.iter().rev().fold(0, |bits, shown| bits << 1 | u8::from(*shown));
    let treatment = datagram.treatment;
    message.extend([treatment.hop_limit, treatment.traffic_class, datagram.path.index() as u8, shown]);
    message.extend_from_slice(&sys::wall_nanos().to_ne_bytes());
    message.extend_from_slice(&datagram.dropped.to_ne_bytes());
    message.extend_from_slice(&datagram.payload);
    Some(message)
}

/// Family (4 or 6), a zero, port, address; an IPv4 address in its first four bytes.
fn encode(address: SocketAddr) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    bytes[0] = if address.is_ipv4() { 4 } else { 6 };
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(v4) => bytes[4..8].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes[4..].copy_from_slice(&v6.octets()),
    }
    bytes
}

/// What goes in front of a datagram to `to`, or to the peer.
pub fn prefix(token: &Token, to: Option<SocketAddr>) -> [u8; PREFIX] {
    let mut bytes = [0; PREFIX];
    let (front, place) = bytes.split_at_mut(token.len());
    front.copy_from_slice(token);
    place.copy_from_slice(&to.map_or([0; ADDRESS], encode));
    bytes
}

/// Where a datagram goes that came from the near end, and its payload.
fn split<'a>(token: &Token, bytes: &'a [u8]) -> (Option<SocketAddr>, &'a [u8]) {
    let rest = bytes.strip_prefix(token).and_then(|rest| rest.split_first_chunk::<ADDRESS>());
    rest.map_or((None, bytes), |(to, payload)| (decode_one(to), payload))
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
    /// SO_TIMESTAMPING wants to know when it came.
    pub shows_time: bool,
    /// SO_RXQ_OVFL was set.
    pub shows_drops: bool,
    /// When it came, in nanoseconds since 1970.
    pub wall_nanos: u64,
    /// Datagrams of the socket that were dropped before it.
    pub dropped: u32,
}

/// The header in front of a datagram; None for what is none.
pub fn decode(header: &[u8; HEADER]) -> Option<Arrival> {
    let (addresses, rest) = header.as_chunks::<ADDRESS>();
    let [from, to, local] = addresses else { return None };
    let ([hop_limit, traffic_class, interface, shown], rest) = rest.split_first_chunk()?;
    let (wall_nanos, dropped) = rest.split_first_chunk()?;
    let shows = |bit: u8| shown >> bit & 1 != 0;
    Some(Arrival {
        from: decode_one(from)?,
        to: decode_one(to)?,
        local: decode_one(local)?.ip(),
        hop_limit: *hop_limit,
        traffic_class: *traffic_class,
        interface: (*interface).into(),
        shows_info_v4: shows(0),
        shows_info_v6: shows(1),
        shows_hops: shows(2),
        shows_class: shows(3),
        shows_time: shows(4),
        shows_drops: shows(5),
        wall_nanos: u64::from_ne_bytes(*wall_nanos),
        dropped: u32::from_ne_bytes(*dropped.first_chunk()?),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_token_in_front_is_for_the_peer() {
        let token = [7; 16];
        for to in [None, Some("10.0.2.2:53"), Some("[fd00::2]:53"), Some("[::ffff:10.0.2.2]:9")] {
            let to = to.map(|to| to.parse().expect("an address"));
            let message = [&prefix(&token, to)[..], b"payload"].concat();
            assert_eq!(split(&token, &message), (to, &b"payload"[..]));
            assert_eq!(split(&[8; 16], &message), (None, &message[..]), "another host's");
        }
        for short in [&token[..], &[7; PREFIX - 1], b"payload", b""] {
            assert_eq!(split(&token, short), (None, short));
        }
    }
}
