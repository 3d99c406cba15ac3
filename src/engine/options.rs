//! Options of sockets that change what the engine does.
#![forbid(unsafe_code)]

use super::datagram::{Coverage, Datagrams};
use super::socket::Body;
use super::{Domain, Engine, Path, PathMtuDiscovery, SocketId, Timestamps};
use crate::error::{Error, Result};
use crate::ip::{self, Versions};
use crate::tcp::{Algorithm, KeepAlive, Options};
use crate::time::Instant;
use core::time::Duration;

/// Options that change what the engine does. Everything else is kept by `calls`. None is the default of the stack, where
/// there is an Option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// SO_REUSEADDR
    ReuseAddress(bool),
    /// SO_REUSEPORT
    ReusePort(bool),
    /// IPV6_V6ONLY
    V6Only(bool),
    /// SO_BROADCAST
    Broadcast(bool),
    /// SO_BINDTODEVICE, of streams
    Device(Option<Path>),
    /// SO_DONTROUTE, of streams
    OnlyNeighbours(bool),
    /// IP_FREEBIND
    AnyAddress(bool),
    /// IP_BIND_ADDRESS_NO_PORT, of streams
    PortLater(bool),
    /// IP_MINTTL, IPV6_MINHOPCOUNT, of streams
    MinimumHops(Domain, u8),
    /// IP_TTL, IPV6_UNICAST_HOPS
    HopLimit(Domain, Option<u8>),
    /// IP_TOS, IPV6_TCLASS
    TrafficClass(Domain, u8),
    /// IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS
    MulticastHops(Domain, u8),
    /// IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP
    MulticastLoop(Domain, bool),
    /// IP_MULTICAST_IF, IPV6_MULTICAST_IF
    MulticastPath(Domain, Option<Path>),
    /// IP_MULTICAST_ALL, IPV6_MULTICAST_ALL
    MulticastAll(Domain, bool),
    /// IP_RECVERR, IPV6_RECVERR, of datagram sockets
    ReceiveErrors(Domain, bool),
    /// IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, of datagram sockets
    PathMtuDiscovery(Domain, PathMtuDiscovery),
    /// TCP_NODELAY
    NoDelay(bool),
    /// TCP_CORK, UDP_CORK
    Cork(bool),
    /// TCP_QUICKACK
    QuickAcknowledgement(bool),
    /// SO_OOBINLINE
    UrgentInline(bool),
    /// SO_KEEPALIVE with TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT; None is off.
    KeepAlive(Option<KeepAlive>),
    /// TCP_USER_TIMEOUT
    UserTimeout(Option<Duration>),
    /// TCP_CONGESTION
    Congestion(Option<Algorithm>),
    /// TCP_MAXSEG, in bytes
    MaximumSegment(Option<u16>),
    /// SO_SNDBUF, in bytes of data: the buffer does not grow by itself.
    SendBuffer(Option<usize>),
    /// SO_RCVBUF, in bytes of data: the buffer does not grow by itself. Of a datagram socket it bounds what waits.
    ReceiveBuffer(Option<usize>),
    /// TCP_SYNCNT
    SynRetries(Option<u8>),
    /// TCP_LINGER2
    Linger2(Option<Duration>),
    /// SO_MAX_PACING_RATE, in bytes per second
    MaxPacingRate(Option<u64>),
    /// TCP_NOTSENT_LOWAT, in bytes
    NotSentLowWater(Option<usize>),
    /// UDP_SEGMENT, in bytes; 0 is off.
    Segment(u16),
    /// SO_TIMESTAMPING of what is sent
    Timestamps(Timestamps),
    /// UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV
    ChecksumCoverage(Coverage),
    /// TCP_DEFER_ACCEPT, of a listener
    DeferAccept(Option<Duration>),
}

impl SocketOption {
    /// Changes what it is about in the options of a connection.
    fn change(self, options: &mut Options) {
        match self {
            SocketOption::HopLimit(domain, limit) => {
                version_of(&mut options.treatment, domain).hop_limit = limit.unwrap_or(ip::HOP_LIMIT);
            }
            SocketOption::TrafficClass(domain, class) => {
                version_of(&mut options.treatment, domain).traffic_class = class;
            }
            SocketOption::NoDelay(on) => options.no_delay = on,
            SocketOption::Cork(on) => options.cork = on,
            SocketOption::QuickAcknowledgement(on) => options.quick_ack = on,
            SocketOption::UrgentInline(on) => options.urgent_inline = on,
            SocketOption::KeepAlive(parameters) => options.keep_alive = parameters,
            SocketOption::UserTimeout(limit) => options.user_timeout = limit,
            SocketOption::Congestion(algorithm) => options.congestion = algorithm,
            SocketOption::MaximumSegment(bytes) => options.maximum_segment = bytes,
            SocketOption::SendBuffer(bytes) => options.send_buffer = bytes,
            SocketOption::ReceiveBuffer(bytes) => options.receive_buffer = bytes,
            SocketOption::SynRetries(count) => options.syn_retries = count,
            SocketOption::Linger2(limit) => options.linger2 = limit,
            SocketOption::MaxPacingRate(rate) => options.max_pacing_rate = rate,
            SocketOption::NotSentLowWater(bytes) => options.not_sent_low_water = bytes,
            SocketOption::DeferAccept(limit) => options.defer_accept = limit,
            _ => {}
        }
    }

    /// Changes what it is about in a datagram socket.
    fn change_datagrams(self, datagrams: &mut Datagrams) {
        let options = &mut datagrams.options;
        match self {
            SocketOption::MulticastHops(domain, hops) => version_of(options, domain).multicast_hops = hops,
            SocketOption::MulticastLoop(domain, on) => version_of(options, domain).multicast_loop = on,
            SocketOption::MulticastPath(domain, path) => version_of(options, domain).multicast_path = path,
            SocketOption::MulticastAll(domain, on) => version_of(options, domain).multicast_all = on,
            SocketOption::ReceiveErrors(domain, on) => version_of(options, domain).reports = on,
            SocketOption::PathMtuDiscovery(domain, discovery) => {
                version_of(options, domain).discovery = discovery;
            }
            SocketOption::Cork(on) => datagrams.cork = on,
            SocketOption::Segment(bytes) => datagrams.segment = bytes,
            SocketOption::Timestamps(wanted) => datagrams.timestamps.set(wanted),
            SocketOption::ChecksumCoverage(coverage) => datagrams.coverage = coverage,
            SocketOption::ReceiveBuffer(bytes) => datagrams.set_buffer(bytes),
            _ => {}
        }
    }
}

fn version_of<T>(both: &mut Versions<T>, domain: Domain) -> &mut T {
    match domain {
        Domain::V4 => &mut both.v4,
        Domain::V6 => &mut both.v6,
    }
}

impl Engine {
    /// Changes an option. IPV6_V6ONLY is EINVAL once the socket is bound, and so are keep-alive parameters below tcp(7)'s
    /// limits: a second, a probe. One that means nothing to a socket of this kind is without effect.
    pub fn set_option(&mut self, id: SocketId, option: SocketOption, now: Instant) -> Result<()> {
        let Engine { sockets, contexts, ready, .. } = self;
        let socket = sockets.find_mut(id).ok_or(Error::BadDescriptor)?;
        match option {
            SocketOption::ReuseAddress(on) => socket.reuse.address = on,
            SocketOption::ReusePort(on) => socket.reuse.port = on,
            SocketOption::V6Only(on) if socket.bound.is_none() || on == socket.v6_only => socket.v6_only = on,
            SocketOption::V6Only(_) => return Err(Error::InvalidArgument),
            SocketOption::Broadcast(on) => socket.broadcast = on,
            SocketOption::Device(device) => socket.reach.device = device,
            SocketOption::OnlyNeighbours(on) => socket.reach.only_neighbours = on,
            SocketOption::AnyAddress(on) => socket.reach.any_address = on,
            SocketOption::PortLater(on) => socket.reach.port_later = on,
            SocketOption::MinimumHops(domain, hops) => {
                *version_of(&mut socket.reach.minimum_hops, domain) = hops;
            }
            SocketOption::KeepAlive(Some(probes)) if !probes.is_valid() => {
                return Err(Error::InvalidArgument);
            }
            // The bits of ECN are TCP's own (__ip_sock_set_tos).
            SocketOption::TrafficClass(domain, class) if socket.is_stream() => {
                SocketOption::TrafficClass(domain, class & !3).change(socket.options.get_or_insert_default());
            }
            option => option.change(socket.options.get_or_insert_default()),
        }
        if let Body::Datagram(datagrams) = &mut socket.body {
            option.change_datagrams(datagrams);
        }
        let options = socket.options();
        if let Some(open) = socket.connection_mut() {
            open.connection.set_options(&contexts[open.path as usize], options, now);
            socket.make_ready(ready);
        }
        let (bound, reuse) = (socket.bound, socket.reuse);
        self.ports_of(id).set_reuse(bound, id, reuse);
        if option == SocketOption::Cork(false) {
            self.uncork(id, now);
        }
        Ok(())
    }
}
