//! What a socket is to the engine, and the table of all of them. An id is the slot in the table and a serial number that
//! is never used again.
//!
//! A connection lies in its slot, not behind a pointer: with ten thousand of them, what a segment costs is the wait for
//! memory, and each step from one place to the next is a wait that cannot begin before the last has ended. So every
//! socket has room for a connection, some 1.5 KB, also the few that are something else.
#![forbid(unsafe_code)]

use super::address::{self, FourTuple};
use super::datagram::Datagrams;
use super::ports::{Claim, Reuse};
use super::time_wait::Entry;
use super::{Domain, Path, SocketId};
use crate::error::{Error, Result};
use crate::ip::Versions;
use crate::sys::cache::prefetch;
use crate::tcp::cookie::Cookie;
use crate::tcp::{Connection, Options, Segment, State};
use crate::time::Instant;
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Slots that are made at a time: a table that grew by moving what it holds would need twice the memory.
const PAGE: usize = 16;

/// The id of a socket that is none any more.
const BURIED: SocketId = SocketId(0);

/// Bits of an id that are the slot.
const SLOT_BITS: u32 = 24;

/// Where a socket is bound. Port 0 is one that connect or listen will choose (IP_BIND_ADDRESS_NO_PORT).
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// None for any.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
}

/// Where a socket may be, and whom it talks to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reach {
    /// SO_BINDTODEVICE
    pub(super) device: Option<Path>,
    /// SO_DONTROUTE
    pub(super) only_neighbours: bool,
    /// IP_FREEBIND
    pub(super) any_address: bool,
    /// IP_BIND_ADDRESS_NO_PORT
    pub(super) port_later: bool,
    /// IP_MINTTL, IPV6_MINHOPCOUNT
    pub(super) minimum_hops: Versions<u8>,
}

/// At a line of the cache, so that `prefetch` asks for just the lines that it lies in.
#[repr(align(64))]
pub(super) struct Socket {
    id: SocketId,
    pub(super) domain: Domain,
    pub(super) bound: Option<Bound>,
    pub(super) reuse: Reuse,
    pub(super) v6_only: bool,
    pub(super) broadcast: bool,
    pub(super) reach: Reach,
    /// None as long as all are at their defaults.
    pub(super) options: Option<Box<Options>>,
    pub(super) error: Option<Error>,
    /// It is in `Engine::changes`.
    pub(super) announced: bool,
    /// It is in `Engine::ready`.
    pub(super) ready: bool,
    pub(super) body: Body,
}

#[allow(clippy::large_enum_variant, reason = "see above: the largest is what nearly all are")]
pub(super) enum Body {
    Stream(Stream),
    Datagram(Box<Datagrams>),
}

#[allow(clippy::large_enum_variant, reason = "see above: the largest is what nearly all are")]
pub(super) enum Stream {
    Fresh,
    Listening(Box<Listener>),
    /// A SYN that waits for `admit` or `refuse`.
    Offered(Box<Offer>),
    /// A connection, or what is left to read of one.
    Open(Open),
    /// An offer that its maker took back.
    Withdrawn,
}

#[derive(Default)]
pub(super) struct Listener {
    pub(super) backlog: usize,
    pub(super) hold: bool,
    /// A SYN waits until the owner says that it is still there.
    pub(super) guarded: bool,
    /// In SYN-RECEIVED, or deferred.
    pub(super) embryos: HashSet<SocketId>,
    /// Established, not accepted yet.
    pub(super) queue: VecDeque<SocketId>,
    /// SYNs that came while a queue was full, answered when there is room.
    pub(super) late: VecDeque<LateRequest>,
    /// When the last SYN cookie was sent.
    pub(super) cookie_sent: Option<Instant>,
    /// Answers to cookies that came while the accept queue was full.
    pub(super) returned: VecDeque<Returned>,
}

pub(super) struct Returned {
    pub(super) segment: Segment,
    pub(super) cookie: Cookie,
    pub(super) path: Path,
}

pub(super) struct LateRequest {
    pub(super) segment: Segment,
    pub(super) path: Path,
    pub(super) after: Option<Entry>,
}

pub(super) struct Offer {
    /// The packet that the SYN came in, or what an ICMP error will quote of it.
    pub(super) quote: Box<[u8]>,
    pub(super) segment: Segment,
    pub(super) path: Path,
}

impl Offer {
    pub(super) fn tuple(&self) -> FourTuple {
        FourTuple::of(&self.segment)
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
    pub(super) path: Path,
    pub(super) owner: Owner,
    /// The handshake is not done.
    pub(super) opening: bool,
    /// Established, and in its listener's SYN queue until it has sent something, or until then (TCP_DEFER_ACCEPT).
    pub(super) deferred: Option<Instant>,
    /// It has its 4-tuple; when over it has not.
    pub(super) attached: bool,
    /// With whom it shares its port: what the socket said when it was taken.
    pub(super) reuse: Reuse,
    pub(super) seen: Seen,
}

/// What the owner of a connection can see of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) readable: usize,
    pub(super) room: usize,
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

    pub(super) fn tuple(&self) -> FourTuple {
        FourTuple { local: self.connection.local(), remote: self.connection.remote() }
    }

    /// When time alone does something to it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.connection.deadline().into_iter().chain(self.deferred).min()
    }

    /// Whether a listener that defers may show it.
    pub(super) fn has_spoken(&self) -> bool {
        self.connection.readable() > 0 || self.connection.fin_received()
    }

    /// Whether nothing can have happened to it but that data moved: its owner has it, and it is neither being made nor
    /// over.
    fn is_steady(&self) -> bool {
        self.owner == Owner::Caller
            && self.attached
            && !self.opening
            && !matches!(self.connection.state(), State::TimeWait | State::Closed)
    }
}

impl Socket {
    pub(super) fn id(&self) -> SocketId {
        self.id
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.body, Body::Stream(_))
    }

    pub(super) fn is_echo(&self) -> bool {
        matches!(&self.body, Body::Datagram(datagrams) if datagrams.is_echo())
    }

    /// Whether its id means anything to a caller of the engine.
    pub(super) fn is_known(&self) -> bool {
        self.connection().is_none_or(|open| open.owner == Owner::Caller)
    }

    /// Neither connected nor listening nor over.
    pub(super) fn is_unused(&self) -> bool {
        match &self.body {
            Body::Stream(stream) => matches!(stream, Stream::Fresh),
            Body::Datagram(datagrams) => datagrams.tuple.is_none(),
        }
    }

    /// What the program set of TCP.
    pub(super) fn options(&self) -> Options {
        self.options.as_deref().copied().unwrap_or_default()
    }

    /// Puts it on the ring of those that may have something to send.
    pub(super) fn make_ready(&mut self, ready: &mut VecDeque<SocketId>) {
        if !core::mem::replace(&mut self.ready, true) {
            ready.push_back(self.id);
        }
    }

    /// Tells its owner once that something changed.
    pub(super) fn announce(&mut self, changes: &mut VecDeque<SocketId>) {
        if !core::mem::replace(&mut self.announced, true) {
            changes.push_back(self.id);
        }
    }

    /// `Engine::settle` for all but a few events in a connection's life: tells its owner if data or room came. False when
    /// more than that may have happened.
    pub(super) fn settle_steady(&mut self, changes: &mut VecDeque<SocketId>) -> bool {
        let Some(open) = self.connection_mut().filter(|open| open.is_steady()) else { return false };
        let seen = open.seen_now();
        if core::mem::replace(&mut open.seen, seen) != seen {
            self.announce(changes);
        }
        true
    }

    /// `settle_steady` after a turn to send, which moves no data between the connection and its owner. Only a limit on what
    /// waits to be sent (TCP_NOTSENT_LOWAT) makes room of what left.
    pub(super) fn settle_sent(&mut self, changes: &mut VecDeque<SocketId>) -> bool {
        match self.connection() {
            Some(open) if open.connection.has_room_by_sending() => self.settle_steady(changes),
            open => open.is_some_and(Open::is_steady),
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

    /// What it asks of a port at `address`. Identifiers of echo sockets are one set, whatever address and family they are
    /// for (ping_get_port).
    pub(super) fn claim(&self, address: Option<IpAddr>) -> Claim {
        let echo = self.is_echo();
        Claim {
            id: self.id,
            address: address.filter(|_| !echo),
            v4: self.domain == Domain::V4 || !self.v6_only || echo,
            v6: self.domain == Domain::V6 || echo,
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
            Body::Stream(Stream::Open(open)) => Some(open.tuple()),
            Body::Stream(Stream::Offered(offer)) => Some(offer.tuple()),
            Body::Stream(Stream::Fresh | Stream::Listening(_) | Stream::Withdrawn) => None,
            Body::Datagram(datagrams) => datagrams.tuple,
        }
    }
}

/// All sockets.
#[derive(Default)]
pub(super) struct Sockets {
    pages: Vec<Box<[Option<Socket>]>>,
    /// Slots without a socket; the last one that was left comes first.
    vacant: Vec<usize>,
    serial: u64,
    count: usize,
    /// What `prefetch` fetched last.
    fetched: Option<SocketId>,
}

impl Sockets {
    pub(super) fn insert(&mut self, domain: Domain, body: Body) -> SocketId {
        let slot = self.vacant.pop().unwrap_or_else(|| self.grow());
        debug_assert!(slot < 1 << SLOT_BITS);
        self.serial += 1;
        self.count += 1;
        let id = SocketId((self.serial << SLOT_BITS) | slot as u64);
        self.pages[slot / PAGE][slot % PAGE] = Some(Socket {
            id,
            domain,
            bound: None,
            reuse: Reuse::default(),
            v6_only: false,
            broadcast: false,
            reach: Reach::default(),
            options: None,
            error: None,
            announced: false,
            ready: false,
            body,
        });
        id
    }

    /// A page more; the first of its slots.
    fn grow(&mut self) -> usize {
        let first = self.pages.len() * PAGE;
        self.pages.push((0..PAGE).map(|_| None).collect());
        self.vacant.extend((first + 1..first + PAGE).rev());
        first
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn find(&self, id: SocketId) -> Option<&Socket> {
        let (page, place) = place(id);
        self.pages.get(page)?[place].as_ref().filter(|socket| socket.id == id)
    }

    /// Starts to fetch a socket that is about to be used, if it was not the last one: one that was not used for long lies in
    /// some twenty places of slow memory, and to wait for one after the other is most of what a segment costs.
    pub(super) fn prefetch(&mut self, id: SocketId) {
        if self.fetched.replace(id) == Some(id) {
            return;
        }
        let (page, place) = place(id);
        if let Some(page) = self.pages.get(page) {
            prefetch(&page[place]);
        }
    }

    pub(super) fn find_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let (page, place) = place(id);
        self.pages.get_mut(page)?[place].as_mut().filter(|socket| socket.id == id)
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Socket> {
        self.find(id)?;
        let (page, place) = place(id);
        self.vacant.push(page * PAGE + place);
        self.count -= 1;
        self.pages[page][place].take()
    }

    /// Forgets a socket and leaves it where it lies until its slot is used again. To free the memory of a connection here
    /// is not only slower: it may be another thread's, which was interrupted in malloc by the handler that ends the process.
    pub(super) fn bury(&mut self, id: SocketId) {
        let (page, place) = place(id);
        if let Some(socket) = self.find_mut(id) {
            socket.id = BURIED;
            self.vacant.push(page * PAGE + place);
            self.count -= 1;
        }
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

    pub(super) fn datagrams(&self, id: SocketId) -> Option<&Datagrams> {
        match &self.find(id)?.body {
            Body::Datagram(datagrams) => Some(datagrams),
            Body::Stream(_) => None,
        }
    }

    pub(super) fn datagrams_mut(&mut self, id: SocketId) -> Option<&mut Datagrams> {
        match &mut self.find_mut(id)?.body {
            Body::Datagram(datagrams) => Some(datagrams),
            Body::Stream(_) => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Socket> {
        let sockets = self.pages.iter().flat_map(|page| page.iter().flatten());
        sockets.filter(|socket| socket.id != BURIED)
    }

    pub(super) fn orphans_outstanding(&self) -> usize {
        let open = self.iter().filter_map(Socket::connection);
        open.filter(|open| open.owner == Owner::Nobody && open.connection.outstanding()).count()
    }
}

/// The slot of a socket, counted through all pages.
pub(super) fn slot(id: SocketId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}

/// The page, and the place in it.
fn place(id: SocketId) -> (usize, usize) {
    (slot(id) / PAGE, slot(id) % PAGE)
}
