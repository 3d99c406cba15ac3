//! Datagram sockets: peers, sending, and who gets what arrives.
//!
//! A datagram goes to the socket connected to its sender, else to the one bound to its very destination, else to one
//! bound to any; a broadcast to all that are bound. No fragments: what does not fit the MTU is EMSGSIZE.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::socket::Bound;
use super::{Datagram, Engine, LOOPBACK_MTU, SocketId};
use crate::error::{Error, Result};
use crate::icmp::Report;
use crate::time::Instant;
use crate::udp::{self, Arrived};
use std::net::{IpAddr, SocketAddr};

/// Linux's rmem_default. Each datagram counts a little more than its payload, as there.
const RECEIVE_BUFFER_BYTES: usize = 212_992;
const DATAGRAM_OVERHEAD_BYTES: usize = 256;

impl Engine {
    pub(super) fn connect_datagram(&mut self, id: SocketId, remote: SocketAddr, now: Instant) -> Result<()> {
        let address = self.datagram_source(id, remote.ip())?;
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        if self.is_broadcast(remote.ip()) && !socket.broadcast {
            return Err(Error::PermissionDenied);
        }
        let port = self.port_of(id, now)?;
        let tuple = FourTuple { local: SocketAddr::new(address, port), remote };
        self.dissociate(id);
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return Err(Error::BadDescriptor) };
        datagrams.peer = Some(remote);
        datagrams.tuple = Some(tuple);
        self.associations.insert(&tuple, id);
        Ok(())
    }

    /// connect(AF_UNSPEC) on a datagram socket: no peer any more, and unbound unless the program bound it.
    pub fn disconnect(&mut self, id: SocketId) -> Result<()> {
        self.dissociate(id);
        let datagrams = self.sockets.datagrams_mut(id).ok_or(Error::InvalidArgument)?;
        if !datagrams.bound_by_caller {
            let bound = self.sockets.find_mut(id).and_then(|socket| socket.bound.take());
            self.datagram_ports.unbind(bound, id);
        }
        Ok(())
    }

    /// Takes the peer away.
    pub(super) fn dissociate(&mut self, id: SocketId) {
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        datagrams.peer = None;
        if let Some(tuple) = datagrams.tuple.take()
            && self.associations.get(&tuple) == Some(&id)
        {
            self.associations.remove(&tuple);
        }
    }

    /// The address that datagrams to `remote` come from.
    fn datagram_source(&self, id: SocketId, remote: IpAddr) -> Result<IpAddr> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        match socket.bound.and_then(|bound| bound.address) {
            Some(address) if address.is_ipv4() != remote.is_ipv4() => Err(Error::NetworkUnreachable),
            Some(address) if address.is_loopback() && !self.is_local(remote) => Err(Error::InvalidArgument),
            Some(address) if !address.is_multicast() && !self.is_broadcast(address) => Ok(address),
            _ => self.source_for(remote),
        }
    }

    /// The port that the socket is bound to; an ephemeral one now, if none.
    fn port_of(&mut self, id: SocketId, now: Instant) -> Result<u16> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        if let Some(Bound { port, .. }) = socket.bound {
            return Ok(port);
        }
        self.bind_to(id, None, 0, now).map_err(|_| Error::WouldBlock)?;
        Ok(self.sockets.find(id).and_then(|socket| socket.bound).expect("bound above").port)
    }

    /// sendto(2): to `to`, or to the peer. Binds to an ephemeral port at need. EDESTADDRREQ, EMSGSIZE,
    /// ENETUNREACH, EACCES (broadcast), ENOBUFS, and a pending ICMP error first (ECONNREFUSED). A datagram
    /// that the MTU cannot carry is EMSGSIZE: there is no fragmentation.
    pub fn send_to(
        &mut self,
        id: SocketId,
        to: Option<SocketAddr>,
        payload: &[u8],
        now: Instant,
    ) -> Result<()> {
        if let Some(error) = self.take_error(id) {
            return Err(error);
        }
        let remote = self.datagram_destination(id, to)?;
        let source = self.datagram_source(id, remote.ip())?;
        let mtu = if self.is_local(remote.ip()) { LOOPBACK_MTU } else { self.settings.mtu };
        if payload.len() > udp::payload_max(mtu, &remote.ip()) {
            return Err(Error::MessageTooLong);
        }
        let source = SocketAddr::new(source, self.port_of(id, now)?);
        let packet = udp::build(source, remote, payload, self.settings.checksums);
        if !self.send(packet, remote.ip()) {
            return Err(Error::NoBuffers);
        }
        self.counters.datagrams_sent += 1;
        Ok(())
    }

    fn datagram_destination(&self, id: SocketId, to: Option<SocketAddr>) -> Result<SocketAddr> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        let mut remote = match to {
            Some(to) => socket.wire_address(to)?,
            None => socket.peer().ok_or(Error::DestinationRequired)?,
        };
        if remote.port() == 0 {
            return Err(Error::InvalidArgument);
        }
        if remote.ip().is_unspecified() {
            remote.set_ip(super::address::loopback(remote.ip()));
        }
        if self.is_broadcast(remote.ip()) && !socket.broadcast {
            return Err(Error::PermissionDenied);
        }
        Ok(remote)
    }

    /// The next datagram that arrived; bounded by the receive buffer, later ones are dropped and counted.
    pub fn receive_from(&mut self, id: SocketId) -> Option<Datagram> {
        let datagrams = self.sockets.datagrams_mut(id)?;
        let datagram = datagrams.queue.pop_front()?;
        datagrams.queued_bytes -= datagram.payload.len() + DATAGRAM_OVERHEAD_BYTES;
        Some(datagram)
    }

    /// Whether some socket was there to get it.
    pub(super) fn deliver_to_one(&mut self, packet: &[u8], arrived: &Arrived) -> bool {
        let tuple = FourTuple { local: arrived.destination, remote: arrived.source };
        let unconnected = |id| {
            let socket = self.sockets.find(id);
            socket.is_some_and(|socket| socket.peer().is_none())
        };
        let to = arrived.destination;
        let found = self
            .associations
            .get(&tuple)
            .copied()
            .or_else(|| self.datagram_ports.lookup(to.port(), to.ip(), |claim| unconnected(claim.id)));
        if let Some(id) = found {
            self.queue_datagram(id, packet, arrived);
        }
        found.is_some()
    }

    pub(super) fn deliver_to_all(&mut self, packet: &[u8], arrived: &Arrived) -> bool {
        let to = arrived.destination;
        let everyone: Vec<SocketId> = self.datagram_ports.everyone(to.port(), to.ip()).collect();
        for id in &everyone {
            let peer = self.sockets.find(*id).and_then(|socket| socket.peer());
            if peer.is_none_or(|peer| peer == arrived.source) {
                self.queue_datagram(*id, packet, arrived);
            }
        }
        !everyone.is_empty()
    }

    fn queue_datagram(&mut self, id: SocketId, packet: &[u8], arrived: &Arrived) {
        let Some(socket) = self.sockets.find(id) else { return };
        let (from, to) = (socket.present(arrived.source), socket.present(arrived.destination));
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        let payload = &packet[arrived.payload.clone()];
        let size = payload.len() + DATAGRAM_OVERHEAD_BYTES;
        if datagrams.queued_bytes + size > RECEIVE_BUFFER_BYTES {
            self.counters.dropped += 1;
            return;
        }
        datagrams.queued_bytes += size;
        datagrams.queue.push_back(Datagram { from, to, payload: payload.to_vec() });
        self.announce(id);
    }

    /// An ICMP error about a datagram: the socket connected to where it went hears of it, if it is fatal (Linux).
    pub(super) fn fail_association(&mut self, tuple: &FourTuple, report: &Report) {
        let Some(id) = self.associations.get(tuple).copied().filter(|_| report.fatal) else { return };
        if let Some(socket) = self.sockets.find_mut(id) {
            socket.error = Some(report.error);
            self.announce(id);
        }
    }
}
