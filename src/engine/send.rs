//! What datagram sockets send: from where, by which interface, and how large.
//!
//! A datagram for everybody or for a group leaves by the link, and is delivered to our own sockets at once. One that the
//! path cannot carry whole goes in fragments, unless the socket forbids it (IP_MTU_DISCOVER): then it is EMSGSIZE.
//!
//! What is sent with MSG_MORE or under UDP_CORK waits in the socket for the rest, and goes where and how the first of it was
//! to go (udp(7)). What UDP_SEGMENT cuts leaves as datagrams of their own.
#![forbid(unsafe_code)]

use super::address::loopback;
use super::datagram::Delivery;
use super::{Domain, Engine, LOOPBACK_MTU, Path, SocketId};
use crate::error::{Error, Result};
use crate::icmp;
use crate::ip::{self, Protocol, Treatment, fragment};
use crate::link::Packet;
use crate::time::Instant;
use crate::{udp, udp_lite};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// What the flags and control messages of sendmsg(2) ask of one datagram. None: as the socket has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The address to send from (ipi_spec_dst of IP_PKTINFO, ipi6_addr of IPV6_PKTINFO).
    pub source: Option<IpAddr>,
    /// The interface to send by (ipi_ifindex, ipi6_ifindex; sin6_scope_id).
    pub path: Option<Path>,
    /// IP_TTL, IPV6_HOPLIMIT
    pub hop_limit: Option<u8>,
    /// IP_TOS, IPV6_TCLASS
    pub traffic_class: Option<u8>,
    /// UDP_SEGMENT: bytes of payload of each datagram that it is cut into.
    pub segment: Option<u16>,
    /// MSG_MORE
    pub more: bool,
}

/// IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, in the order of their numbers (ip(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// IP_PMTUDISC_DONT: fragments, here and on the way.
    Dont,
    /// IP_PMTUDISC_WANT: fragments, here only.
    Want,
    /// IP_PMTUDISC_DO: none.
    Do,
    /// IP_PMTUDISC_PROBE: none, and what is known of the path does not count.
    Probe,
    /// IP_PMTUDISC_INTERFACE: none made here, and what is known of the path does not count.
    Interface,
    /// IP_PMTUDISC_OMIT: fragments, and what is known of the path does not count.
    Omit,
}

impl PathMtuDiscovery {
    fn may_cut(self) -> bool {
        matches!(self, PathMtuDiscovery::Dont | PathMtuDiscovery::Want | PathMtuDiscovery::Omit)
    }

    fn heeds_path(self) -> bool {
        matches!(self, PathMtuDiscovery::Dont | PathMtuDiscovery::Want | PathMtuDiscovery::Do)
    }

    /// DF of what is sent whole.
    fn forbids_cutting(self) -> bool {
        matches!(self, PathMtuDiscovery::Want | PathMtuDiscovery::Do | PathMtuDiscovery::Probe)
    }
}

/// A datagram that waits for the rest of it.
pub(super) struct Corked {
    remote: SocketAddr,
    control: Control,
    payload: Vec<u8>,
}

/// Linux's UDP_MAX_SEGMENTS: datagrams that one call may send by UDP_SEGMENT.
const SEGMENTS_MAX: usize = 128;

/// How a datagram goes.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) source: IpAddr,
    path: Path,
    treatment: Treatment,
}

impl Engine {
    /// sendto(2): to `to`, or to the peer. Binds to an ephemeral port at need. EDESTADDRREQ, EMSGSIZE, ENETUNREACH,
    /// EACCES (broadcast), EINVAL, ENOBUFS, and a pending ICMP error first (ECONNREFUSED).
    pub fn send_to(
        &mut self,
        id: SocketId,
        to: Option<SocketAddr>,
        payload: &[u8],
        now: Instant,
    ) -> Result<()> {
        self.send_with(id, to, &Control::default(), payload, now)
    }

    /// `send_to` with control messages.
    pub fn send_with(
        &mut self,
        id: SocketId,
        to: Option<SocketAddr>,
        control: &Control,
        payload: &[u8],
        now: Instant,
    ) -> Result<()> {
        if let Some(error) = self.take_error(id) {
            return Err(error);
        }
        let version_4 = self.sockets.find(id).is_some_and(|socket| socket.domain == Domain::V4);
        let datagrams = self.sockets.datagrams_mut(id).ok_or(Error::NotSupported)?;
        if datagrams.is_echo() && !icmp::is_echo_request(payload, version_4) {
            return Err(Error::InvalidArgument);
        }
        let corked = (datagrams.cork || control.more) && !datagrams.is_echo();
        match (datagrams.corked.take(), corked) {
            (None, false) => {
                let remote = self.datagram_destination(id, to)?;
                self.send_cut_by_size(id, remote, control, payload, now)
            }
            (waiting, corked) => {
                let waiting = match waiting {
                    Some(waiting) => waiting,
                    None => self.begin_corked(id, to, control)?,
                };
                self.add_to_corked(id, waiting, payload, corked, now)
            }
        }
    }

    /// Whether the next datagram to the same address leaves by the link, at once and whatever its size: then nothing can be
    /// said against it.
    pub fn sends_plainly(&self, id: SocketId, to: Option<SocketAddr>) -> bool {
        let (Ok(remote), Some(datagrams)) = (self.datagram_destination(id, to), self.sockets.datagrams(id))
        else {
            return false;
        };
        let remote = remote.ip();
        let plain = !datagrams.cork && datagrams.corked.is_none() && datagrams.segment == 0;
        let leaves = !self.is_for_many(remote) && !self.is_local(remote);
        plain && leaves && datagrams.options.of(remote).discovery.may_cut()
    }

    /// The first of what is sent with MSG_MORE says where it all goes.
    fn begin_corked(&mut self, id: SocketId, to: Option<SocketAddr>, control: &Control) -> Result<Corked> {
        let remote = self.datagram_destination(id, to)?;
        self.route(id, remote.ip(), control)?;
        Ok(Corked { remote, control: *control, payload: Vec::new() })
    }

    /// What makes it too long throws all of it away (udp_flush_pending_frames).
    fn add_to_corked(
        &mut self,
        id: SocketId,
        mut waiting: Corked,
        payload: &[u8],
        corked: bool,
        now: Instant,
    ) -> Result<()> {
        waiting.payload.extend_from_slice(payload);
        if waiting.payload.len() + udp::HEADER_LENGTH > ip::payload_max(waiting.remote.ip()) {
            return Err(Error::MessageTooLong);
        }
        if !corked {
            return self.send_cut_by_size(id, waiting.remote, &waiting.control, &waiting.payload, now);
        }
        self.port_of(id, now)?;
        self.sockets.datagrams_mut(id).ok_or(Error::BadDescriptor)?.corked = Some(waiting);
        Ok(())
    }

    /// UDP_CORK is off: what waits goes.
    pub(super) fn uncork(&mut self, id: SocketId, now: Instant) {
        let waiting = self.sockets.datagrams_mut(id).and_then(|datagrams| datagrams.corked.take());
        if let Some(Corked { remote, control, payload }) = waiting
            && let Err(error) = self.send_cut_by_size(id, remote, &control, &payload, now)
        {
            tracing::debug!(socket = id.0, %error, "a corked datagram was not sent");
        }
    }

    /// One datagram, or as many as UDP_SEGMENT makes of it (udp_send_skb).
    fn send_cut_by_size(
        &mut self,
        id: SocketId,
        remote: SocketAddr,
        control: &Control,
        payload: &[u8],
        now: Instant,
    ) -> Result<()> {
        let datagrams = self.sockets.datagrams(id).ok_or(Error::BadDescriptor)?;
        let (protocol, options) = (datagrams.protocol, *datagrams.options.of(remote.ip()));
        let size = usize::from(control.segment.unwrap_or(datagrams.segment));
        if size == 0 || protocol == Protocol::Icmp {
            return self.send_one(id, remote, control, payload, now);
        }
        let packet = ip::header_length(&remote.ip()) + udp::HEADER_LENGTH + size.min(payload.len());
        if packet > self.datagram_mtu(remote.ip(), options.discovery, now) {
            return Err(Error::MessageTooLong);
        }
        if payload.len() > size * SEGMENTS_MAX {
            return Err(Error::InvalidArgument);
        }
        if protocol == Protocol::UdpLite {
            return Err(Error::Kernel(libc::EIO));
        }
        if payload.len() + udp::HEADER_LENGTH > ip::payload_max(remote.ip()) {
            return Err(Error::MessageTooLong);
        }
        if payload.len() <= size {
            return self.send_one(id, remote, control, payload, now);
        }
        payload.chunks(size).try_for_each(|part| self.send_one(id, remote, control, part, now))
    }

    fn send_one(
        &mut self,
        id: SocketId,
        remote: SocketAddr,
        control: &Control,
        payload: &[u8],
        now: Instant,
    ) -> Result<()> {
        let route = self.route(id, remote.ip(), control)?;
        let source = SocketAddr::new(route.source, self.port_of(id, now)?);
        let datagrams = self.sockets.datagrams(id).ok_or(Error::BadDescriptor)?;
        let (protocol, coverage) = (datagrams.protocol, datagrams.coverage.send);
        let headers = if protocol == Protocol::Icmp { 0 } else { udp::HEADER_LENGTH };
        if payload.len() + headers > ip::payload_max(remote.ip()) {
            return Err(Error::MessageTooLong);
        }
        let (treatment, checksums) = (route.treatment, self.settings.checksums);
        let packet = match protocol {
            Protocol::Icmp => icmp::echo_request(source.ip(), remote.ip(), treatment, source.port(), payload)
                .ok_or(Error::InvalidArgument)?,
            Protocol::UdpLite => udp_lite::build(source, remote, treatment, payload, coverage, checksums),
            _ => udp::build_treated(source, remote, treatment, payload, checksums),
        };
        if protocol != Protocol::Icmp && self.is_for_many(remote.ip()) {
            self.deliver_copies(id, source, remote, &route, payload);
        }
        let stamp = self.stamp(id, remote, &packet, now);
        self.dispatch(id, packet, remote, &route, now)?;
        self.stamp_sent(id, stamp);
        self.counters.datagrams_sent += 1;
        Ok(())
    }

    fn datagram_destination(&self, id: SocketId, to: Option<SocketAddr>) -> Result<SocketAddr> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        let datagrams = self.sockets.datagrams(id).ok_or(Error::NotSupported)?;
        let mut remote = match to {
            // ping_v6_sendmsg
            Some(SocketAddr::V6(to)) if datagrams.is_echo() && to.ip().to_ipv4_mapped().is_some() => {
                return Err(Error::InvalidArgument);
            }
            Some(to) if to.port() == 0 && !datagrams.is_echo() => return Err(Error::InvalidArgument),
            Some(to) => socket.wire_address(to)?,
            // Who is connected to port 0 sends there, and hears that nobody is (udp_sendmsg).
            None => socket.peer().ok_or(Error::DestinationRequired)?,
        };
        if remote.ip().is_unspecified() {
            remote.set_ip(loopback(remote.ip()));
        }
        if self.is_broadcast(remote.ip()) && !socket.broadcast {
            return Err(Error::PermissionDenied);
        }
        Ok(remote)
    }

    /// How the socket's datagrams go to `remote`. ENETUNREACH, EINVAL.
    pub(super) fn route(&self, id: SocketId, remote: IpAddr, control: &Control) -> Result<Route> {
        let socket = self.sockets.find(id).ok_or(Error::BadDescriptor)?;
        let options = self.sockets.datagrams(id).ok_or(Error::BadDescriptor)?.options.of(remote);
        let mut treatment = *socket.options().treatment.of(remote);
        let path = if remote.is_multicast() {
            treatment.hop_limit = options.multicast_hops;
            control.path.or(options.multicast_path).unwrap_or(Path::Link)
        } else if self.is_local(remote) {
            Path::Loopback
        } else if control.path == Some(Path::Loopback) {
            return Err(Error::NetworkUnreachable);
        } else {
            Path::Link
        };
        treatment.hop_limit = control.hop_limit.unwrap_or(treatment.hop_limit);
        treatment.traffic_class = control.traffic_class.unwrap_or(treatment.traffic_class);
        let asked = control.source.map(|source| source.to_canonical());
        let source = match asked.filter(|source| !source.is_unspecified()) {
            Some(source) => self.asked_source(source, remote)?,
            None => {
                let bound = socket.bound.and_then(|bound| bound.address);
                let own = bound.filter(|own| !self.is_for_many(*own));
                own.map_or_else(|| self.source_on(path, remote), Ok)?
            }
        };
        if source.is_ipv4() != remote.is_ipv4() {
            return Err(Error::NetworkUnreachable);
        }
        if path == Path::Link {
            self.next_hop(remote).ok_or(Error::NetworkUnreachable)?;
        }
        // What leaves the host must not come from its loopback (RFC 1122 3.2.1.3); Linux says EINVAL.
        if source.is_loopback() && path == Path::Link {
            return Err(Error::InvalidArgument);
        }
        Ok(Route { source, path, treatment })
    }

    /// The source that a control message asks for: Linux gives ENETUNREACH for one that is not ours, EINVAL for one that
    /// can be nobody's, and over IPv6 EINVAL for both.
    fn asked_source(&self, source: IpAddr, remote: IpAddr) -> Result<IpAddr> {
        if source.is_ipv4() != remote.is_ipv4() || source.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        match self.is_local(source) || self.settings.any_address {
            true => Ok(source),
            false if source.is_ipv4() => Err(Error::NetworkUnreachable),
            false => Err(Error::InvalidArgument),
        }
    }

    /// The address that a packet to `remote` by this interface comes from.
    pub(super) fn source_on(&self, path: Path, remote: IpAddr) -> Result<IpAddr> {
        match path {
            Path::Loopback if remote.is_multicast() => Ok(loopback(remote)),
            _ => self.source_for(remote),
        }
    }

    /// What our own sockets get of a datagram to everybody or to a group. On the loopback nothing else would bring it.
    fn deliver_copies(
        &mut self,
        id: SocketId,
        source: SocketAddr,
        destination: SocketAddr,
        route: &Route,
        payload: &[u8],
    ) {
        let Route { path, treatment, .. } = *route;
        let to = destination.ip();
        let Some(protocol) = self.sockets.datagrams(id).map(|datagrams| datagrams.protocol) else { return };
        let wanted = |engine: &Engine| {
            let options = engine.sockets.datagrams(id)?.options.of(to);
            let looped = options.multicast_loop || path == Path::Loopback;
            Some(!to.is_multicast() || (looped && engine.is_joined(to, path)))
        };
        if wanted(self) == Some(true) {
            self.deliver_to_all(&Delivery {
                protocol,
                covered: None,
                source,
                destination,
                path,
                treatment,
                payload,
            });
        }
    }

    /// Puts a packet on its way, in fragments if need be.
    fn dispatch(
        &mut self,
        id: SocketId,
        mut packet: Packet,
        remote: SocketAddr,
        route: &Route,
        now: Instant,
    ) -> Result<()> {
        let to = remote.ip();
        // Our own sockets have had it.
        let stays = route.path == Path::Loopback && self.is_for_many(to);
        if stays || to.is_multicast() && route.treatment.hop_limit == 0 {
            return Ok(());
        }
        let discovery = self.sockets.datagrams(id).ok_or(Error::BadDescriptor)?.options.of(to).discovery;
        let mtu = self.datagram_mtu(to, discovery, now);
        if packet.len() > mtu {
            if !discovery.may_cut() {
                self.report_too_long(id, remote, mtu);
                return Err(Error::MessageTooLong);
            }
            return self.send_cut(packet, mtu, to);
        }
        if !discovery.forbids_cutting() {
            let identification = self.random.identification();
            fragment::permit(&mut packet, identification as u16, self.settings.checksums);
        }
        if self.send(packet, to) { Ok(()) } else { Err(Error::NoBuffers) }
    }

    fn send_cut(&mut self, mut packet: Packet, mtu: usize, to: IpAddr) -> Result<()> {
        if !self.settings.checksums {
            // The link would, and cannot in pieces.
            ip::fill_transport_checksum(&mut packet);
        }
        let identification = self.random.identification();
        let pieces = fragment::cut(&packet, mtu, identification, self.settings.checksums);
        // All or none: one that is missing makes the rest worthless.
        if pieces.is_empty() || !self.has_room(to, pieces.len()) {
            return Err(Error::NoBuffers);
        }
        pieces.into_iter().for_each(|piece| self.reply(piece, to));
        Ok(())
    }

    /// Sends an answer as large as what it answers, which may have come in fragments.
    pub(super) fn reply_in_pieces(&mut self, packet: Packet, to: IpAddr, now: Instant) {
        let mtu = self.datagram_mtu(to, PathMtuDiscovery::Dont, now);
        if packet.len() <= mtu {
            self.reply(packet, to);
        } else if self.send_cut(packet, mtu, to).is_err() {
            self.counters.dropped += 1;
        }
    }

    /// The largest packet that goes to `remote` whole. A link of the largest MTU there is bounds nothing: the length
    /// field does.
    fn datagram_mtu(&self, remote: IpAddr, discovery: PathMtuDiscovery, now: Instant) -> usize {
        if self.is_local(remote) || self.settings.mtu >= LOOPBACK_MTU {
            return usize::MAX;
        }
        let known = self.path_mtus.of(remote, now).filter(|_| discovery.heeds_path());
        known.map_or(self.settings.mtu, |known| known.min(self.settings.mtu))
    }

    /// IP_MTU and IPV6_MTU of a connected socket: what the path to its peer carries. ENOTCONN.
    pub fn path_mtu(&self, id: SocketId, now: Instant) -> Result<usize> {
        let remote = self.sockets.find(id).and_then(|socket| socket.peer()).ok_or(Error::NotConnected)?;
        let mtu = self.datagram_mtu(remote.ip(), PathMtuDiscovery::Want, now);
        Ok(mtu.min(LOOPBACK_MTU))
    }
}
