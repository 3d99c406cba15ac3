//! The engine: sockets, demultiplexer, ports, listeners, timers. Sans-IO: packets and the time go in, packets come
//! out. It knows no descriptor and no program; who calls it, and when, is the host's question.
//!
//! ```text
//!              receive.rs            tcp::Connection ─┐            transmit.rs
//!   packet ──► IP, checksum, ours? ─► by 4-tuple      ├─► ready ──► one packet a turn ──► packet
//!                      │    │         listener.rs     │      ▲          │
//!                      │    │         time_wait.rs ───┤      │          │ to an address of ours:
//!                      │    ├───────► datagram.rs ────┘   timers.rs     ▼ round again, not out
//!                      │    ├───────► echo.rs                          │
//!                      │    └───────► reports.rs: ICMP's errors        │
//!                      └◄─────────────────────────────────────────── looped
//! ```
//!
//! Theory of operation. A packet finds its connection by one look-up of its 4-tuple under a keyed hash. Whatever
//! happens to a connection, a segment, a timer or a call, `settle` afterwards compares what its owner can see with
//! what it saw last (`changed`), moves it between the queues, and puts it on the `ready` ring. `transmit` takes
//! one segment at a time from the connections on that ring, in turn; one that has nothing more to send leaves the
//! ring and has its deadline noted. So a packet costs the same with one connection as with ten thousand.
//!
//! There are two interfaces (`Path`): the loopback, on which nothing leaves, and the link.
//!
//! Limits: routers are not told of multicast groups; of IPv6's extension headers only the fragment header is read; one MTU
//! for the link.
#![forbid(unsafe_code)]

mod address;
mod cookies;
mod counters;
mod datagram;
mod echo;
mod inspection;
mod interfaces;
mod listener;
mod multicast;
mod options;
mod path_mtu;
mod ports;
mod receive;
mod reports;
mod send;
mod socket;
mod stream;
pub mod table;
mod time_wait;
mod timers;
mod transmit;
mod tuples;

pub use crate::tcp::KeepAlive;
pub use counters::Counters;
pub use datagram::{Coverage, Datagram};
pub use inspection::Inspection;
pub use interfaces::{Interface, Path};
pub use options::SocketOption;
pub use reports::{ErrorReport, Origin, Timestamps};
pub use send::{Control, PathMtuDiscovery};

use crate::addressing::{Cidr, EVERYTHING, Route, is_unicast};
use crate::error::{Error, Result};
use crate::ip::Protocol;
use crate::ip::reassembly::Reassembly;
use crate::link::Packet;
use crate::tcp::cookie::Jar;
use crate::tcp::{self, Context, PathSettings};
use crate::time::Instant;
use datagram::{Chosen, Datagrams, Transport};
use path_mtu::PathMtus;
use ports::Ports;
use serde::{Deserialize, Serialize};
use socket::{Body, Sockets, Stream};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use time_wait::TimeWaits;
use timers::Timers;
use tuples::{Keyed, Tuples};

/// A socket of the engine. Never reused: an id that has gone stays unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SocketId(pub u64);

/// Stream (TCP), datagram (UDP, UDP-Lite) or echo (ICMP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// SOCK_STREAM: TCP
    Stream,
    /// SOCK_DGRAM: UDP
    Datagram,
    /// SOCK_DGRAM of IPPROTO_UDPLITE: UDP-Lite
    Lite,
    /// SOCK_DGRAM of IPPROTO_ICMP, IPPROTO_ICMPV6: echo requests and their replies
    Echo,
}

/// AF_INET or AF_INET6. A V6 socket without IPV6_V6ONLY speaks IPv4 too, by v4-mapped addresses:
/// its addresses in and out of the engine are then always `SocketAddr::V6`, mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// AF_INET
    V4,
    /// AF_INET6
    V6,
}

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest packet on the network in bytes.
    pub mtu: usize,
    /// Addresses of the interface with their networks. 127.0.0.0/8 and ::1 are always ours besides.
    pub addresses: Vec<Cidr>,
    /// Whether packets to any address are taken as ours (the far side of `nat`).
    pub any_address: bool,
    /// Whether a SYN that no listener takes is offered by `incoming` instead of being reset.
    pub offer_incoming: bool,
    /// Whether to compute and verify checksums.
    pub checksums: bool,
    /// Most bytes of TCP payload of one packet for the link, which cuts it; 0: no more than the MTU allows.
    pub segmentation: usize,
    /// Nothing is shared on the way: no congestion control.
    pub in_memory: bool,
    /// What TCP may use and take.
    pub tcp: tcp::Settings,
    /// Entropy for initial sequence numbers, ports and hashes.
    pub seed: [u8; 16],
}

/// Where a stream socket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// Neither connected nor listening (bound or not).
    Fresh,
    /// Listening.
    Listening,
    /// SYN sent, or offered and not admitted.
    Connecting,
    /// Established, or half-closed either way.
    Connected,
    /// Over. `end` has the reason: None when both sides closed in order.
    Ended,
}

/// A connection request that no listener took (`Settings::offer_incoming`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The socket made for it: Connecting until `admit` or `refuse`.
    pub id: SocketId,
    /// Who asks.
    pub from: SocketAddr,
    /// Whom they ask for.
    pub to: SocketAddr,
}

/// How an offered connection is turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// RST: ECONNREFUSED at the other end.
    Reset,
    /// ICMP destination unreachable, network: ENETUNREACH.
    NetworkUnreachable,
    /// ICMP destination unreachable, host: EHOSTUNREACH.
    HostUnreachable,
    /// No answer at all: ETIMEDOUT at the other end, in its own time.
    Silence,
}

/// Largest packet that goes round inside, where nothing bounds it but the length field.
const LOOPBACK_MTU: usize = 65535;

/// What the queues hold before they grow. They are made by one thread and at the end of a process used by another, which
/// must not need the first one's memory allocator: it may have been stopped in there.
const QUEUED_AT_FIRST: usize = 64;

/// The engine.
pub struct Engine {
    settings: Settings,
    /// Ways to other networks than those of the addresses.
    routes: Vec<Route>,
    /// The time that it was told last.
    now: Instant,
    counters: Counters,
    random: address::Random,
    sockets: Sockets,
    /// Every TCP connection and offer, by its 4-tuple.
    connections: Tuples<SocketId>,
    stream_ports: Ports,
    udp: Transport,
    udp_lite: Transport,
    /// Identifiers of echo sockets.
    echo_ports: Ports,
    /// Members of multicast groups on an interface, counted.
    groups: HashMap<(IpAddr, Path), usize>,
    reassembly: Reassembly,
    time_waits: TimeWaits,
    path_mtus: PathMtus,
    cookies: Jar,
    timers: Timers,
    /// The paths of `Path`, in its order.
    contexts: [Context; 2],
    /// Connections that may have something to send.
    ready: VecDeque<SocketId>,
    /// Packets of no connection, for the link.
    outbox: VecDeque<Packet>,
    /// Packets for ourselves.
    looped: VecDeque<Packet>,
    /// Packets that were looped, kept for their memory.
    spare: Vec<Packet>,
    changes: VecDeque<SocketId>,
    offers: VecDeque<Incoming>,
    /// Listeners with SYNs that wait, whose queues have room again.
    relieved: Vec<SocketId>,
    /// Sockets that wait for `admit` or `refuse`.
    offered: usize,
    orphaned: usize,
    /// Ephemeral ports given to connections so far.
    ports_given: u32,
    errors_allowed: transmit::Allowance,
}

impl Kind {
    /// Whether a socket of it receives datagrams, whatever the protocol.
    pub const fn is_datagram(self) -> bool {
        !matches!(self, Kind::Stream)
    }
}

impl Engine {
    /// An engine without sockets.
    pub fn new(settings: Settings, now: Instant) -> Engine {
        let random = address::Random::new(settings.seed);
        let keyed = Keyed::new(random.key("tuples"));
        Engine {
            counters: Counters::default(),
            sockets: Sockets::default(),
            connections: Tuples::new(&keyed),
            stream_ports: Ports::default(),
            udp: Transport::new(&keyed),
            udp_lite: Transport::new(&keyed),
            echo_ports: Ports::default(),
            groups: HashMap::new(),
            reassembly: Reassembly::default(),
            time_waits: TimeWaits::new(&keyed),
            path_mtus: PathMtus::new(&keyed),
            cookies: Jar::new(random.key("cookies")),
            timers: Timers::default(),
            contexts: contexts(&settings),
            ready: VecDeque::with_capacity(QUEUED_AT_FIRST),
            outbox: VecDeque::with_capacity(QUEUED_AT_FIRST),
            looped: VecDeque::with_capacity(QUEUED_AT_FIRST),
            spare: Vec::new(),
            changes: VecDeque::with_capacity(QUEUED_AT_FIRST),
            offers: VecDeque::new(),
            relieved: Vec::new(),
            offered: 0,
            orphaned: 0,
            ports_given: 0,
            errors_allowed: transmit::Allowance::new(now),
            routes: EVERYTHING.to_vec(),
            random,
            settings,
            now,
        }
    }

    /// From now on has these addresses and these routes; before, it sends everything over the link. Connections keep theirs.
    pub fn set_addressing(&mut self, addresses: Vec<Cidr>, routes: Vec<Route>) {
        self.settings.addresses = addresses;
        self.routes = routes;
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The next socket whose state, received data, room to send, accept queue, end or pending error changed
    /// since it was last given here; each at most once between changes.
    pub fn changed(&mut self) -> Option<SocketId> {
        loop {
            let id = self.changes.pop_front()?;
            if let Some(socket) = self.sockets.find_mut(id) {
                socket.announced = false;
                return Some(id);
            }
        }
    }

    /// A socket, neither bound nor connected.
    pub fn open(&mut self, domain: Domain, kind: Kind) -> SocketId {
        let body = match kind {
            Kind::Stream => Body::Stream(Stream::Fresh),
            Kind::Datagram => Body::Datagram(Box::new(Datagrams::new(Protocol::Udp, domain))),
            Kind::Lite => Body::Datagram(Box::new(Datagrams::new(Protocol::UdpLite, domain))),
            Kind::Echo => Body::Datagram(Box::new(Datagrams::new(Protocol::Icmp, domain))),
        };
        let id = self.sockets.insert(domain, body);
        if let Some(socket) = self.sockets.find_mut(id) {
            // Each version has an ICMP of its own. Linux sets SO_REUSEADDR on echo sockets (INET_PROTOSW_REUSE).
            socket.v6_only = kind == Kind::Echo && domain == Domain::V6;
            socket.reuse.address = kind == Kind::Echo;
        }
        id
    }

    /// bind(2): EINVAL when bound already, EADDRINUSE, EADDRNOTAVAIL. Port 0 picks one (RFC 6056).
    pub fn bind(&mut self, id: SocketId, address: SocketAddr, now: Instant) -> Result<()> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        if socket.bound.is_some_and(|bound| bound.port != 0) || !socket.is_unused() {
            return Err(Error::InvalidArgument);
        }
        // A mapped address with IPV6_V6ONLY (inet6_bind).
        let wanted = socket.wire_address(address).map_err(|error| match error {
            Error::NetworkUnreachable => Error::InvalidArgument,
            error => error,
        })?;
        let reach = socket.reach;
        if !wanted.ip().is_unspecified() && !reach.any_address && !self.can_bind(wanted.ip()) {
            return Err(Error::AddressNotAvailable);
        }
        let address = (!wanted.ip().is_unspecified()).then_some(wanted.ip());
        if let Some(socket) = self.sockets.find_mut(id)
            && (wanted.port(), reach.port_later, socket.is_stream()) == (0, true, true)
        {
            socket.bound = Some(socket::Bound { address, port: 0 });
            return Ok(());
        }
        self.bind_to(id, address, wanted.port(), now)?;
        if let Some(datagrams) = self.sockets.datagrams_mut(id) {
            datagrams.chosen = Chosen { address, port: wanted.port() != 0 };
        }
        Ok(())
    }

    /// Binds a stream where the one was bound whose place it takes. A port that was asked for would still be that one's, whatever
    /// else uses it; port 0 is one that bind(2) chose and that was given back, for connect or listen to choose anew
    /// (inet_put_port).
    pub fn bind_in_place(&mut self, id: SocketId, address: SocketAddr) -> Result<()> {
        let socket = self.sockets.find_mut(id).ok_or(Error::BadDescriptor)?;
        let wanted = socket.wire_address(address)?;
        let address = (!wanted.ip().is_unspecified()).then_some(wanted.ip());
        socket.bound = Some(socket::Bound { address, port: wanted.port() });
        if wanted.port() != 0 {
            self.stream_ports.bind(wanted.port(), socket.claim(address));
        }
        Ok(())
    }

    fn can_bind(&self, address: IpAddr) -> bool {
        self.is_local(address)
            || (self.settings.any_address && is_unicast(address))
            || self.is_broadcast(address)
            || address.is_multicast()
    }

    /// Binds to a port, or an ephemeral one for 0; the socket's domain and options say what that conflicts with.
    fn bind_to(&mut self, id: SocketId, address: Option<IpAddr>, port: u16, now: Instant) -> Result<()> {
        self.expire_time_waits(now);
        let socket = self.sockets.find_mut(id).ok_or(Error::BadDescriptor)?;
        let claim = socket.claim(address);
        let ports = match &socket.body {
            Body::Stream(_) => &mut self.stream_ports,
            Body::Datagram(datagrams) => match datagrams.protocol {
                Protocol::UdpLite => &mut self.udp_lite.ports,
                Protocol::Icmp => &mut self.echo_ports,
                _ => &mut self.udp.ports,
            },
        };
        let port = match port {
            0 => ports.ephemeral(&mut self.random, &claim).ok_or(Error::AddressInUse)?,
            port if ports.conflicts(port, &claim) => return Err(Error::AddressInUse),
            port => port,
        };
        ports.bind(port, claim);
        socket.bound = Some(socket::Bound { address, port });
        Ok(())
    }

    /// The ports among which that of `id` is.
    fn ports_of(&mut self, id: SocketId) -> &mut Ports {
        match self.sockets.datagrams(id).map(|datagrams| datagrams.protocol) {
            Some(Protocol::UdpLite) => &mut self.udp_lite.ports,
            Some(Protocol::Icmp) => &mut self.echo_ports,
            Some(_) => &mut self.udp.ports,
            None => &mut self.stream_ports,
        }
    }

    /// Gives the port of `id` back.
    fn unbind(&mut self, id: SocketId) {
        let bound = self.sockets.find_mut(id).and_then(|socket| socket.bound.take());
        self.ports_of(id).unbind(bound, id);
    }

    /// getsockname(2): the wildcard address and port 0 before bind. None for an id that is gone.
    pub fn local(&self, id: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.find(id).filter(|socket| socket.is_known())?;
        Some(socket.present(socket.local()))
    }

    /// getpeername(2)
    pub fn peer(&self, id: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.find(id).filter(|socket| socket.is_known())?;
        Some(socket.present(socket.peer()?))
    }

    /// connect(2): for a stream the handshake starts (Connecting; the outcome shows in `state` and `end`); for
    /// a datagram socket sets the peer at once. ENETUNREACH without a route, EADDRNOTAVAIL without a port, EISCONN.
    pub fn connect(&mut self, id: SocketId, to: SocketAddr, now: Instant) -> Result<()> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        let mut remote = socket.wire_address(to)?;
        if remote.ip().is_unspecified() {
            // Linux: the wildcard as a destination is the loopback address.
            remote.set_ip(address::loopback(remote.ip()));
        }
        match socket.body {
            Body::Stream(_) => self.connect_stream(id, remote, now),
            Body::Datagram(_) => self.connect_datagram(id, remote, now),
        }
    }

    /// The pending error, cleared: a datagram socket's ICMP error.
    pub fn take_error(&mut self, id: SocketId) -> Option<Error> {
        self.sockets.find_mut(id)?.error.take()
    }

    /// Nobody holds the socket any more. A stream is closed in order behind what was written (FIN) and lives
    /// on without an owner until it is done, within limits; unread data, or `abort` before, makes it RST.
    /// A listener's queue is reset. The id is gone for the caller.
    pub fn release(&mut self, id: SocketId, now: Instant) {
        let Some(socket) = self.sockets.find(id).filter(|socket| socket.is_known()) else { return };
        let stream = socket.is_stream();
        self.unbind(id);
        if stream {
            self.release_stream(id, now);
        } else {
            self.dissociate(id);
            self.leave_groups(id);
            self.sockets.remove(id);
        }
    }

    /// Streams without an owner that still have something to send or a FIN to be acknowledged.
    pub fn orphans(&self) -> usize {
        if self.orphaned == 0 { 0 } else { self.sockets.orphans_outstanding() }
    }

    /// Sockets of every kind, those included that nobody holds any more. TIME-WAIT is none.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Tells the owner of `id` once that something changed.
    fn announce(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.find_mut(id) {
            socket.announce(&mut self.changes);
        }
    }
}

/// What the connections of each `Path` share, in its order.
fn contexts(settings: &Settings) -> [Context; 2] {
    let link = PathSettings {
        mtu: settings.mtu,
        checksums: settings.checksums,
        segmentation: settings.segmentation,
        in_memory: settings.in_memory,
        tcp: settings.tcp.clone(),
    };
    let loopback = PathSettings {
        mtu: LOOPBACK_MTU,
        checksums: false,
        segmentation: 0,
        in_memory: true,
        ..link.clone()
    };
    [link, loopback].map(Context::new)
}
