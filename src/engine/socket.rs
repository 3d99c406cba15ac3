//! What a socket is to the engine, and the table of all of them. An id is the slot in the table and a serial number that
//! is never used again.
#![forbid(unsafe_code)]

use super::address::{self, FourTuple};
use super::ports::Claim;
use super::time_wait::Entry;
use super::{Datagram, Domain, Path, SocketId};
use crate::error::{Error, Result};
use crate::link::Packet;
use crate::tcp::{Connection, Options, Segment};
use crate::time::Instant;
use slab::Slab;
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bits of an id that are the slot.
const SLOT_BITS: u32 = 24;

/// Where a socket is bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// None for any.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

pub(super) struct Socket {
    id: SocketId,
    pub(super) domain: Domain,
    pub(super) bound: Option<Bound>,
    pub(super) reuse: bool,
    pub(super) v6_only: bool,
    pub(super) broadcast: bool,
    pub(super) options: Options,
    pub(super) error: Option<Error>,
    /// It is in `Engine::changes`.
    pub(super) announced: bool,
    /// It is in `Engine::ready`.
    pub(super) ready: bool,
    /// Its live entry in the timers.
    pub(super) scheduled: Option<Instant>,
    pub(super) body: Body,
}

pub(super) enum Body {
    Stream(Stream),
    Datagram(Box<Datagrams>),
}

pub(super) enum Stream {
    Fresh,
    Listening(Listener),
    /// A SYN that waits for `admit` or `refuse`.
    Offered(Offer),
    /// A connection, or what is left to read of one.
    Open(Box<Open>),
    /// An offer that its maker took back.
    Withdrawn,
}

#[derive(Default)]
pub(super) struct Listener {
    pub(super) backlog: usize,
    pub(super) hold: bool,
    /// In SYN-RECEIVED.
    pub(super) embryos: HashSet<SocketId>,
    /// Established, not accepted yet.
    pub(super) queue: VecDeque<SocketId>,
    /// SYNs that came while a queue was full, answered when there is room.
    pub(super) late: VecDeque<LateRequest>,
}

pub(super) struct LateRequest {
    pub(super) packet: Packet,
    pub(super) segment: Segment,
    pub(super) path: Path,
    pub(super) after: Option<Entry>,
}

pub(super) struct Offer {
    pub(super) packet: Packet,
    pub(super) segment: Segment,
    pub(super) path: Path,
}

impl Offer {
    pub(super) fn tuple(&self) -> FourTuple {
        FourTuple { local: self.segment.destination, remote: self.segment.source }
    }
}

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A caller of the engine.
    Caller,
    /// A listener's queue.
    Queue(SocketId),
    /// Nobody any more.
    Nobody,
}

pub(super) struct Open {
    pub(super) connection: Connection,
    pub(super) tuple: FourTuple,
    pub(super) path: Path,
    pub(super) owner: Owner,
    /// The handshake is not done.
    pub(super) opening: bool,
    /// It has its 4-tuple; when over it has not.
    pub(super) attached: bool,
    /// SO_REUSEADDR when its port was taken.
    pub(super) reuse: bool,
    pub(super) seen: Seen,
}

/// What the owner of a connection can see of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    readable: usize,
    room: usize,
    fin: bool,
    opening: bool,
    over: bool,
}

impl Open {
    pub(super) fn seen_now(&self) -> Seen {
        Seen {
            readable: self.connection.readable(),
            room: self.connection.room(),
            fin: self.connection.fin_received(),
            opening: self.opening,
            over: !self.attached,
        }
    }
}

#[derive(Default)]
pub(super) struct Datagrams {
    pub(super) peer: Option<SocketAddr>,
    /// Whom `Engine::associations` has it under.
    pub(super) tuple: Option<FourTuple>,
    /// The program bound it: it stays bound when it has no peer any more.
    pub(super) bound_by_caller: bool,
    pub(super) queue: VecDeque<Datagram>,
    pub(super) queued_bytes: usize,
}

impl Socket {
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.body, Body::Stream(_))
    }

    /// Whether its id means anything to a caller of the engine.
    pub(super) fn is_known(&self) -> bool {
        self.connection().is_none_or(|open| open.owner == Owner::Caller)
    }

    /// Neither connected nor listening nor over.
    pub(super) fn is_unused(&self) -> bool {
        match &self.body {
            Body::Stream(stream) => matches!(stream, Stream::Fresh),
            Body::Datagram(datagrams) => datagrams.peer.is_none(),
        }
    }

    pub(super) fn connection(&self) -> Option<&Open> {
        match &self.body {
            Body::Stream(Stream::Open(open)) => Some(open),
            _ => None,
        }
    }

    pub(super) fn connection_mut(&mut self) -> Option<&mut Open> {
        match &mut self.body {
            Body::Stream(Stream::Open(open)) => Some(open),
            _ => None,
        }
    }

    pub(super) fn wire_address(&self, address: SocketAddr) -> Result<SocketAddr> {
        address::wire(self.domain, self.v6_only, address)
    }

    pub(super) fn present(&self, address: SocketAddr) -> SocketAddr {
        address::present(self.domain, address)
    }

    /// What it asks of a port at `address`.
    pub(super) fn claim(&self, address: Option<IpAddr>) -> Claim {
        Claim {
            id: self.id,
            address,
            v4: self.domain == Domain::V4 || !self.v6_only,
            v6: self.domain == Domain::V6,
            reuse: self.reuse,
            listening: false,
        }
    }

    pub(super) fn local(&self) -> SocketAddr {
        let any = match self.domain {
            Domain::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Domain::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let bound = self.bound.map_or(SocketAddr::new(any, 0), |bound| {
            SocketAddr::new(bound.address.unwrap_or(any), bound.port)
        });
        self.tuple().map_or(bound, |tuple| tuple.local)
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.tuple().map(|tuple| tuple.remote)
    }

    fn tuple(&self) -> Option<FourTuple> {
        match &self.body {
            Body::Stream(Stream::Open(open)) => Some(open.tuple),
            Body::Stream(Stream::Offered(offer)) => Some(offer.tuple()),
            Body::Stream(Stream::Fresh | Stream::Listening(_) | Stream::Withdrawn) => None,
            Body::Datagram(datagrams) => datagrams.tuple,
        }
    }
}

/// All sockets.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Slab<Socket>,
    serial: u64,
}

impl Sockets {
    pub(super) fn insert(&mut self, domain: Domain, body: Body) -> SocketId {
        let entry = self.slots.vacant_entry();
        debug_assert!(entry.key() < 1 << SLOT_BITS);
        self.serial += 1;
        let id = SocketId((self.serial << SLOT_BITS) | entry.key() as u64);
        entry.insert(Socket {
            id,
            domain,
            bound: None,
            reuse: false,
            v6_only: false,
            broadcast: false,
            options: Options::default(),
            error: None,
            announced: false,
            ready: false,
            scheduled: None,
            body,
        });
        id
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn find(&self, id: SocketId) -> Option<&Socket> {
        self.slots.get(slot(id)).filter(|socket| socket.id == id)
    }

    pub(super) fn find_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.slots.get_mut(slot(id)).filter(|socket| socket.id == id)
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        self.find(id)?;
        self.slots.try_remove(slot(id))
    }

    pub(super) fn connection(&self, id: SocketId) -> Option<&Open> {
        self.find(id)?.connection()
    }

    pub(super) fn connection_mut(&mut self, id: SocketId) -> Option<&mut Open> {
        self.find_mut(id)?.connection_mut()
    }

    /// A connection that a caller of the engine has: not in a queue, not released.
    pub(super) fn owned(&self, id: SocketId) -> Option<&Open> {
        self.connection(id).filter(|open| open.owner == Owner::Caller)
    }

    pub(super) fn owned_mut(&mut self, id: SocketId) -> Option<&mut Open> {
        self.connection_mut(id).filter(|open| open.owner == Owner::Caller)
    }

    pub(super) fn listener_mut(&mut self, id: SocketId) -> Option<&mut Listener> {
        match &mut self.find_mut(id)?.body {
            Body::Stream(Stream::Listening(listener)) => Some(listener),
            _ => None,
        }
    }

    pub(super) fn datagrams_mut(&mut self, id: SocketId) -> Option<&mut Datagrams> {
        match &mut self.find_mut(id)?.body {
            Body::Datagram(datagrams) => Some(datagrams),
            Body::Stream(_) => None,
        }
    }

    pub(super) fn orphans_outstanding(&self) -> usize {
        let open = self.slots.iter().filter_map(|(_, socket)| socket.connection());
        open.filter(|open| open.owner == Owner::Nobody && open.connection.outstanding()).count()
    }
}

fn slot(id: SocketId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}
