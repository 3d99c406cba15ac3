//! Sending datagrams. The host knows at once what cannot be sent, so it is asked; but that takes two hand-offs between
//! processes. Where it has said of a socket and an address that the next one cannot fail there, that one crosses by the near
//! end with its destination in front of it, and nobody waits: what becomes of it is told by a later call, as Linux tells
//! what comes of a datagram on its way.
//!
//! What the host has said is remembered by each thread for a few sockets and addresses, under ids that never come again; and
//! forgotten when this process changes anything about a datagram socket. What another process changes of a socket that it
//! shares can make an error come later than on Linux, and nothing worse.
#![forbid(unsafe_code)]

use super::address::{self, Given};
use crate::bridge::name::{Identity, Token};
use crate::engine::{Control, Kind, SocketId};
use crate::error::{Error, Result};
use crate::host::{self, Answer, Request};
use core::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

/// What one thread remembers.
const PLACES: usize = 16;

/// Where a socket's datagrams cross by the near end.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Plain {
    token: Token,
    id: SocketId,
    /// None for the peer.
    to: Option<IpAddr>,
    changes: u32,
}

thread_local! {
    static KNOWN: [Cell<Option<Plain>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
}

/// Counts the changes that this process makes to datagram sockets.
static CHANGES: AtomicU32 = AtomicU32::new(0);

impl Plain {
    fn of(identity: &Identity, to: Option<SocketAddr>) -> Plain {
        let (Identity { token, id, .. }, to) = (*identity, to.map(|to| to.ip()));
        Plain { token, id, to, changes: CHANGES.load(Ordering::Acquire) }
    }

    /// Its place of those there are.
    fn place(&self) -> usize {
        let low = match self.to {
            None => 0,
            Some(IpAddr::V4(v4)) => v4.octets()[3],
            Some(IpAddr::V6(v6)) => v6.octets()[15],
        };
        (self.id.0 as usize + usize::from(low)) % PLACES
    }
}

/// What is remembered of datagram sockets may not hold any more.
pub(super) fn changed(identity: &Identity) {
    if identity.kind.is_datagram() {
        CHANGES.fetch_add(1, Ordering::Release);
    }
}

/// The destination that a program gave; None for the peer.
pub fn destination(identity: &Identity, to: Option<&[u8]>) -> Result<Option<SocketAddr>> {
    match to.map(|to| address::parse(to, identity.domain)).transpose()? {
        Some(Given::Address(to)) => Ok(Some(to)),
        // Linux takes AF_UNSPEC for AF_INET here; nobody sends to nowhere on purpose.
        Some(Given::Unspecified) => Err(Error::AddressFamilyNotSupported),
        None => Ok(None),
    }
}

/// Whether a datagram to `to` crosses by the near end. Async-signal-safe.
pub fn crosses(identity: &Identity, to: Option<SocketAddr>) -> bool {
    let sound = to.is_none_or(|to| to.port() != 0 && !is_scoped(to));
    let plain = Plain::of(identity, to);
    sound && KNOWN.with(|known| known[plain.place()].get() == Some(plain))
}

fn is_scoped(to: SocketAddr) -> bool {
    matches!(to, SocketAddr::V6(to) if to.scope_id() != 0)
}

/// sendto(2) of a datagram socket, by the host.
pub fn send(identity: &Identity, to: Option<SocketAddr>, control: Control, payload: &[u8]) -> Result<()> {
    let plain = Plain::of(identity, to);
    let (answer, _) = host::ask(identity, "sendto", Request::SendDatagram(to, control), payload)?;
    let worth_it = identity.kind != Kind::Echo && host::is_elsewhere(identity);
    if worth_it && matches!(answer, Answer::Sent { plain: true }) {
        KNOWN.with(|known| known[plain.place()].set(Some(plain)));
    }
    Ok(())
}
