//! Datagram sockets of UDP and UDP-Lite: peers, and who gets what arrives.
//!
//! A datagram goes to the socket connected to its sender, else to the one bound to its very destination, else to one
//! bound to any; of several with SO_REUSEPORT to one by a hash. What was sent to everybody or to a group goes to all that
//! are bound to the port and want it (`multicast.rs`). Of a socket of ICMP (`echo.rs`) the identifier is the port.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::multicast::Membership;
use super::ports::Ports;
use super::reports::{ErrorReport, Timestamps};
use super::send::Corked;
use super::socket::Bound;
use super::tuples::{Keyed, Tuples};
use super::{Domain, Engine, Path, PathMtuDiscovery, SocketId};
use crate::error::{Error, Result};
use crate::icmp;
use crate::ip::{Fault, Header, Protocol, Treatment, Versions};
use crate::time::Instant;
use crate::{udp, udp_lite};
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
    /// Datagrams of the socket that were dropped before it for want of room (SO_RXQ_OVFL).
    pub dropped: u32,
    /// Its payload; of an echo reply the whole message, with the ICMP header.
    pub payload: Vec<u8>,
}

/// What a datagram socket has beside what every socket has.
pub(super) struct Datagrams {
    /// UDP, UDP-Lite, or ICMP: an echo socket.
    pub(super) protocol: Protocol,
    pub(super) coverage: Coverage,
    /// Where it is connected to, and from where.
    pub(super) tuple: Option<FourTuple>,
    /// The address that the program bound it to, and whether the port, too: they stay when it has no peer any more.
    pub(super) chosen: Chosen,
    /// UDP_CORK
    pub(super) cork: bool,
    /// What waits for more.
    pub(super) corked: Option<Corked>,
    /// UDP_SEGMENT; 0 is whole.
    pub(super) segment: u16,
    pub(super) timestamps: Timestamps,
    /// What arrived and found no room.
    dropped: u32,
    pub(super) options: Versions<DatagramOptions>,
    pub(super) memberships: Vec<Membership>,
    queue: VecDeque<Datagram>,
    pub(super) reports: VecDeque<ErrorReport>,
    /// What both queues hold.
    queued_bytes: usize,
    /// What they may hold.
    pub(super) queued_max: usize,
}

/// What of its name the program chose (SOCK_BINDADDR_LOCK, SOCK_BINDPORT_LOCK).
#[derive(Clone, Copy, Default)]
pub(super) struct Chosen {
    pub(super) address: Option<IpAddr>,
    pub(super) port: bool,
}

/// How much of a datagram of UDP-Lite the checksum covers, header included, as udplite(7) has it; 0 is all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// UDPLITE_SEND_CSCOV
    pub send: u16,
    /// UDPLITE_RECV_CSCOV: less is dropped. None takes whatever comes.
    pub receive: Option<u16>,
}

impl Coverage {
    fn admits(self, covered: Option<u16>) -> bool {
        match (self.receive, covered) {
            (Some(least), Some(covered)) => least > 0 && covered >= least,
            _ => true,
        }
    }
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
            coverage: Coverage::default(),
            tuple: None,
            chosen: Chosen::default(),
            cork: false,
            corked: None,
            segment: 0,
            timestamps: Timestamps::default(),
            dropped: 0,
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

    pub(super) fn is_echo(&self) -> bool {
        self.protocol == Protocol::Icmp
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

/// Who has which port of UDP or UDP-Lite.
pub(super) struct Transport {
    pub(super) ports: Ports,
    /// Every connected socket, by its 4-tuple.
    associations: Tuples<SocketId>,
}

impl Transport {
    pub(super) fn new(keyed: &Keyed) -> Transport {
        Transport { ports: Ports::default(), associations: Tuples::new(keyed) }
    }
}

/// A datagram on its way to sockets.
#[derive(Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) protocol: Protocol,
    /// How much of it UDP-Lite's checksum covers, if not all.
    pub(super) covered: Option<u16>,
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
        let protocol = datagrams.protocol;
        if let Some(transport) = self.transport_mut(protocol) {
            transport.associations.insert(&tuple, id);
        }
        Ok(())
    }

    /// connect(AF_UNSPEC) on a datagram socket: no peer any more, and of its name what the program chose (__udp_disconnect).
    pub fn disconnect(&mut self, id: SocketId) -> Result<()> {
        self.dissociate(id);
        let chosen = self.sockets.datagrams(id).ok_or(Error::InvalidArgument)?.chosen;
        if !chosen.port {
            self.unbind(id);
            if let (Some(socket), Some(_)) = (self.sockets.find_mut(id), chosen.address) {
                socket.bound = Some(Bound { address: chosen.address, port: 0 });
            }
        }
        Ok(())
    }

    /// Takes the peer away.
    pub(super) fn dissociate(&mut self, id: SocketId) {
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        let protocol = datagrams.protocol;
        let Some(tuple) = datagrams.tuple.take() else { return };
        let Some(transport) = self.transport_mut(protocol) else { return };
        if transport.associations.get(&tuple) != Some(&id) {
            return;
        }
        transport.associations.remove(&tuple);
        // Another that shares the port may have the same peer.
        let others: Vec<SocketId> = transport.ports.everyone(tuple.local.port(), tuple.local.ip()).collect();
        let heir = others.into_iter().find(|other| self.tuple_of(*other) == Some(tuple));
        if let (Some(heir), Some(transport)) = (heir, self.transport_mut(protocol)) {
            transport.associations.insert(&tuple, heir);
        }
    }

    /// None of ICMP, whose identifiers are no ports.
    fn transport(&self, protocol: Protocol) -> Option<&Transport> {
        match protocol {
            Protocol::Udp => Some(&self.udp),
            Protocol::UdpLite => Some(&self.udp_lite),
            Protocol::Icmp | Protocol::Tcp | Protocol::Other(_) => None,
        }
    }

    fn transport_mut(&mut self, protocol: Protocol) -> Option<&mut Transport> {
        match protocol {
            Protocol::Udp => Some(&mut self.udp),
            Protocol::UdpLite => Some(&mut self.udp_lite),
            Protocol::Icmp | Protocol::Tcp | Protocol::Other(_) => None,
        }
    }

    fn tuple_of(&self, id: SocketId) -> Option<FourTuple> {
        self.sockets.datagrams(id)?.tuple
    }

    /// The port that the socket is bound to; an ephemeral one now, if none.
    pub(super) fn port_of(&mut self, id: SocketId, now: Instant) -> Result<u16> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        let address = match socket.bound {
            Some(Bound { port, .. }) if port != 0 => return Ok(port),
            bound => bound.and_then(|bound| bound.address),
        };
        self.bind_to(id, address, 0, now).map_err(|_| Error::WouldBlock)?;
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
        let (arrived, covered) = match header.protocol {
            Protocol::UdpLite => udp_lite::parse(packet, header, verify)?,
            _ => (udp::parse(packet, header, verify)?, None),
        };
        self.counters.datagrams_received += 1;
        let delivery = Delivery {
            protocol: header.protocol,
            covered,
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
        let found = self.datagram_socket(delivery.protocol, &tuple);
        if let Some(id) = found {
            self.queue_datagram(id, delivery);
        }
        found.is_some()
    }

    /// The socket of UDP or UDP-Lite that gets what comes from `tuple.remote` to `tuple.local`.
    pub(super) fn datagram_socket(&self, protocol: Protocol, tuple: &FourTuple) -> Option<SocketId> {
        let transport = self.transport(protocol)?;
        let unconnected = |id| self.tuple_of(id).is_none();
        let connected = transport.associations.get(tuple).copied();
        connected.or_else(|| {
            let to = tuple.local;
            let spread = || self.random.spread(tuple);
            transport.ports.lookup(to.port(), to.ip(), |claim| unconnected(claim.id), spread)
        })
    }

    /// Gives it to everybody who is bound to the port and wants it. Whether there was anybody.
    pub(super) fn deliver_to_all(&mut self, delivery: &Delivery<'_>) -> bool {
        let to = delivery.destination;
        let Some(transport) = self.transport(delivery.protocol) else { return false };
        let bound = transport.ports.everyone(to.port(), to.ip());
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
        let Delivery { source, destination, path, treatment, payload, .. } = *delivery;
        let local = if self.is_for_many(destination.ip()) {
            self.source_on(path, destination.ip()).unwrap_or(destination.ip())
        } else {
            destination.ip()
        };
        let Some(socket) = self.sockets.find(id) else { return };
        let (from, to) = (socket.present(source), socket.present(destination));
        let local = socket.present(SocketAddr::new(local, 0)).ip();
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        if !datagrams.coverage.admits(delivery.covered) || !datagrams.reserve(payload.len()) {
            datagrams.dropped = datagrams.dropped.wrapping_add(1);
            self.counters.dropped += 1;
            return;
        }
        let (payload, dropped) = (payload.to_vec(), datagrams.dropped);
        datagrams.queue.push_back(Datagram { from, to, local, path, treatment, dropped, payload });
        self.announce(id);
    }
}
