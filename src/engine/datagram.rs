//! Datagram sockets of UDP: peers, and who gets what arrives.
//!
//! A datagram goes to the socket connected to its sender, else to the one bound to its very destination, else to one
//! bound to any; of several with SO_REUSEPORT to one by a hash. What was sent to everybody or to a group goes to all that
//! are bound to the port and want it (`multicast.rs`). Of a socket of ICMP (`echo.rs`) the identifier is the port.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::multicast::Membership;
use super::reports::ErrorReport;
use super::socket::Bound;
use super::{Domain, Engine, Path, PathMtuDiscovery, SocketId};
use crate::error::{Error, Result};
use crate::icmp;
use crate::ip::{Fault, Header, Protocol, Treatment, Versions};
use crate::time::Instant;
use crate::udp;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Linux's rmem_default. Each datagram counts a little more than its payload, as there.
const RECEIVE_BUFFER_BYTES: usize = 212_992;
const DATAGRAM_OVERHEAD_BYTES: usize = 256;

/// A datagram that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it, in the form of the socket's domain.
    pub from: SocketAddr,
    /// Where it was sent to: an address of ours, everybody, or a group.
    pub to: SocketAddr,
    /// The address of ours that an answer would come from, in the same form (ipi_spec_dst of IP_PKTINFO).
    pub local: IpAddr,
    /// The interface it came to (ipi_ifindex).
    pub path: Path,
    /// TTL and TOS, or hop limit and traffic class.
    pub treatment: Treatment,
    /// Its payload; of an echo reply the whole message, with the ICMP header.
    pub payload: Vec<u8>,
}

/// What a datagram socket has beside what every socket has.
pub(super) struct Datagrams {
    /// UDP, or ICMP: an echo socket.
    pub(super) protocol: Protocol,
    /// Where it is connected to, and from where.
    pub(super) tuple: Option<FourTuple>,
    /// The program bound it: it stays bound when it has no peer any more.
    pub(super) bound_by_caller: bool,
    pub(super) options: Versions<DatagramOptions>,
    pub(super) memberships: Vec<Membership>,
    queue: VecDeque<Datagram>,
    pub(super) reports: VecDeque<ErrorReport>,
    /// What both queues hold.
    queued_bytes: usize,
    /// What they may hold.
    pub(super) queued_max: usize,
}

/// What can be set of a datagram socket for each version of IP.
#[derive(Clone, Copy)]
pub(super) struct DatagramOptions {
    /// IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS
    pub(super) multicast_hops: u8,
    /// IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP
    pub(super) multicast_loop: bool,
    /// IP_MULTICAST_IF, IPV6_MULTICAST_IF; None is the link.
    pub(super) multicast_path: Option<Path>,
    /// IP_MULTICAST_ALL, IPV6_MULTICAST_ALL
    pub(super) multicast_all: bool,
    /// IP_RECVERR, IPV6_RECVERR
    pub(super) reports: bool,
    /// IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
    pub(super) discovery: PathMtuDiscovery,
}

impl Default for DatagramOptions {
    /// Linux's, in ip(7) and ipv6(7).
    fn default() -> DatagramOptions {
        DatagramOptions {
            multicast_hops: 1,
            multicast_loop: true,
            multicast_path: None,
            multicast_all: true,
            reports: false,
            discovery: PathMtuDiscovery::Want,
        }
    }
}

impl Datagrams {
    pub(super) fn new(protocol: Protocol, domain: Domain) -> Datagrams {
        let mut options = Versions::<DatagramOptions>::default();
        // What Linux's sockets of IPv6 begin with: inet6_create leaves it off.
        options.v4.multicast_all = domain == Domain::V4;
        Datagrams {
            protocol,
            tuple: None,
            bound_by_caller: false,
            options,
            memberships: Vec::new(),
            queue: VecDeque::new(),
            reports: VecDeque::new(),
            queued_bytes: 0,
            queued_max: RECEIVE_BUFFER_BYTES,
        }
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    pub(super) fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp
    }

    /// SO_RCVBUF: Linux allows twice what was asked for, its own overhead counted (socket(7)).
    pub(super) fn set_buffer(&mut self, bytes: Option<usize>) {
        self.queued_max = bytes.map_or(RECEIVE_BUFFER_BYTES, |bytes| bytes.saturating_mul(2));
    }

    /// Counts something of `length` bytes in, if there is room.
    pub(super) fn reserve(&mut self, length: usize) -> bool {
        let size = length + DATAGRAM_OVERHEAD_BYTES;
        // One always fits: Linux looks at what is there already.
        let fits = self.queued_bytes == 0 || self.queued_bytes + size <= self.queued_max;
        if fits {
            self.queued_bytes += size;
        }
        fits
    }

    pub(super) fn free(&mut self, length: usize) {
        self.queued_bytes -= length + DATAGRAM_OVERHEAD_BYTES;
    }
}

/// A datagram on its way to sockets.
#[derive(Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    /// The interface it came to.
    pub(super) path: Path,
    pub(super) treatment: Treatment,
    pub(super) payload: &'a [u8],
}

impl Engine {
    pub(super) fn connect_datagram(&mut self, id: SocketId, remote: SocketAddr, now: Instant) -> Result<()> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        if self.is_broadcast(remote.ip()) && !socket.broadcast {
            return Err(Error::PermissionDenied);
        }
        let route = self.route(id, remote.ip(), &Default::default())?;
        let port = self.port_of(id, now)?;
        let tuple = FourTuple { local: SocketAddr::new(route.source, port), remote };
        self.dissociate(id);
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return Err(Error::BadDescriptor) };
        datagrams.tuple = Some(tuple);
        if datagrams.is_udp() {
            self.associations.insert(&tuple, id);
        }
        Ok(())
    }

    /// connect(AF_UNSPEC) on a datagram socket: no peer any more, and unbound unless the program bound it.
    pub fn disconnect(&mut self, id: SocketId) -> Result<()> {
        self.dissociate(id);
        let datagrams = self.sockets.datagrams_mut(id).ok_or(Error::InvalidArgument)?;
        if !datagrams.bound_by_caller {
            self.unbind(id);
        }
        Ok(())
    }

    /// Takes the peer away.
    pub(super) fn dissociate(&mut self, id: SocketId) {
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        let Some(tuple) = datagrams.tuple.take().filter(|_| datagrams.is_udp()) else { return };
        if self.associations.get(&tuple) != Some(&id) {
            return;
        }
        self.associations.remove(&tuple);
        // Another that shares the port may have the same peer.
        let mut others = self.datagram_ports.everyone(tuple.local.port(), tuple.local.ip());
        if let Some(heir) = others.find(|other| self.tuple_of(*other) == Some(tuple)) {
            self.associations.insert(&tuple, heir);
        }
    }

    fn tuple_of(&self, id: SocketId) -> Option<FourTuple> {
        self.sockets.datagrams(id)?.tuple
    }

    /// The port that the socket is bound to; an ephemeral one now, if none.
    pub(super) fn port_of(&mut self, id: SocketId, now: Instant) -> Result<u16> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        if let Some(Bound { port, .. }) = socket.bound {
            return Ok(port);
        }
        self.bind_to(id, None, 0, now).map_err(|_| Error::WouldBlock)?;
        Ok(self.sockets.find(id).and_then(|socket| socket.bound).expect("bound above").port)
    }

    /// The next datagram that arrived; bounded by the receive buffer, later ones are dropped and counted.
    pub fn receive_from(&mut self, id: SocketId) -> Option<Datagram> {
        let datagrams = self.sockets.datagrams_mut(id)?;
        let datagram = datagrams.queue.pop_front()?;
        datagrams.free(datagram.payload.len());
        Some(datagram)
    }

    pub(super) fn take_datagram(
        &mut self,
        packet: &[u8],
        header: &Header,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        let arrived = udp::parse(packet, header, verify)?;
        self.counters.datagrams_received += 1;
        let delivery = Delivery {
            source: arrived.source,
            destination: arrived.destination,
            path: Path::of(header.destination),
            treatment: header.treatment,
            payload: &packet[arrived.payload],
        };
        let delivered = if self.is_for_many(header.destination) {
            self.deliver_to_all(&delivery)
        } else {
            self.deliver_to_one(&delivery)
        };
        if !delivered {
            self.counters.dropped += 1;
            self.send_unreachable(icmp::Unreachable::Port, packet, header, now);
        }
        Ok(())
    }

    /// Whether some socket was there to get it.
    fn deliver_to_one(&mut self, delivery: &Delivery<'_>) -> bool {
        let tuple = FourTuple { local: delivery.destination, remote: delivery.source };
        let found = self.datagram_socket(&tuple);
        if let Some(id) = found {
            self.queue_datagram(id, delivery);
        }
        found.is_some()
    }

    /// The socket of UDP that gets what comes from `tuple.remote` to `tuple.local`.
    pub(super) fn datagram_socket(&self, tuple: &FourTuple) -> Option<SocketId> {
        let unconnected = |id| self.tuple_of(id).is_none();
        let connected = self.associations.get(tuple).copied();
        connected.or_else(|| {
            let to = tuple.local;
            let spread = || self.random.spread(tuple);
            self.datagram_ports.lookup(to.port(), to.ip(), |claim| unconnected(claim.id), spread)
        })
    }

    /// Gives it to everybody who is bound to the port and wants it. Whether there was anybody.
    pub(super) fn deliver_to_all(&mut self, delivery: &Delivery<'_>) -> bool {
        let to = delivery.destination;
        let bound = self.datagram_ports.everyone(to.port(), to.ip());
        let takers: Vec<SocketId> = bound.filter(|id| self.wants(*id, delivery)).collect();
        for id in &takers {
            self.queue_datagram(*id, delivery);
        }
        !takers.is_empty()
    }

    /// Whether a socket wants what was sent to everybody or to a group. One that is connected is bound to the address of
    /// ours that its datagrams come from (ip4_datagram_connect).
    fn wants(&self, id: SocketId, delivery: &Delivery<'_>) -> bool {
        let Some(socket) = self.sockets.find(id) else { return false };
        let Some(datagrams) = self.sockets.datagrams(id) else { return false };
        let to = delivery.destination.ip();
        let from_peer = datagrams.tuple.is_none_or(|tuple| {
            let bound = socket.bound.and_then(|bound| bound.address).unwrap_or(tuple.local.ip());
            tuple.remote == delivery.source && bound == to
        });
        from_peer && (!to.is_multicast() || datagrams.admits(to, delivery.source.ip(), delivery.path))
    }

    pub(super) fn queue_datagram(&mut self, id: SocketId, delivery: &Delivery<'_>) {
        let Delivery { source, destination, path, treatment, payload } = *delivery;
        let local = if self.is_for_many(destination.ip()) {
            self.source_on(path, destination.ip()).unwrap_or(destination.ip())
        } else {
            destination.ip()
        };
        let Some(socket) = self.sockets.find(id) else { return };
        let (from, to) = (socket.present(source), socket.present(destination));
        let local = socket.present(SocketAddr::new(local, 0)).ip();
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        if !datagrams.reserve(payload.len()) {
            self.counters.dropped += 1;
            return;
        }
        let payload = payload.to_vec();
        datagrams.queue.push_back(Datagram { from, to, local, path, treatment, payload });
        self.announce(id);
    }
}
