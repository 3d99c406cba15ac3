//! Streams: connect, data, close, and `settle`, which after every event moves a connection to where it belongs.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::ports::{Reuse, candidates};
use super::socket::{Body, Bound, Open, Owner, Seen, Stream};
use super::{Engine, Path, SocketId, StreamState};
use crate::addressing::is_unicast;
use crate::error::{Error, Result};
use crate::tcp::{Connection, Context, Info, State};
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

/// Connections that nobody owns; one more is reset (Linux's tcp_max_orphans).
const ORPHANS_MAX: usize = 8192;

impl Engine {
    pub(super) fn connect_stream(&mut self, id: SocketId, remote: SocketAddr, now: Instant) -> Result<()> {
        match self.state(id).ok_or(Error::BadDescriptor)? {
            StreamState::Fresh => {}
            StreamState::Connecting => return Err(Error::AlreadyInProgress),
            StreamState::Listening | StreamState::Connected | StreamState::Ended => {
                return Err(Error::AlreadyConnected);
            }
        }
        if !is_unicast(remote.ip()) || self.is_broadcast(remote.ip()) {
            return Err(Error::NetworkUnreachable);
        }
        if remote.port() == 0 {
            return Err(Error::ConnectionRefused);
        }
        self.expire_time_waits(now);
        let socket = self.sockets.find(id).expect("it has a state");
        let (bound, reach) = (socket.bound, socket.reach);
        let local = self.is_local(remote.ip());
        if local && reach.device == Some(Path::Link)
            || !local && reach.only_neighbours && !self.is_neighbour(remote.ip())
        {
            return Err(Error::NetworkUnreachable);
        }
        let address = match bound.and_then(|bound| bound.address) {
            // What leaves the host must not come from its loopback (RFC 1122 3.2.1.3); Linux says EINVAL.
            Some(address) if address.is_loopback() && !self.is_local(remote.ip()) => {
                return Err(Error::InvalidArgument);
            }
            // Nor from one that is many's, to which a stream can be bound (ip_route_output_key).
            Some(address) if !is_unicast(address) || self.is_broadcast(address) => {
                return Err(Error::InvalidArgument);
            }
            Some(address) if address.is_ipv4() == remote.is_ipv4() => {
                self.source_for(remote.ip())?;
                address
            }
            Some(_) => return Err(Error::NetworkUnreachable),
            None => self.source_for(remote.ip())?,
        };
        let tuple = match bound {
            Some(Bound { port: port @ 1.., .. }) => self.tuple_from(SocketAddr::new(address, port), remote),
            Some(Bound { port: 0, .. }) | None => self.tuple_from_any_port(id, address, remote, now),
        };
        self.start(id, tuple.ok_or(Error::AddressNotAvailable)?, now);
        Ok(())
    }

    /// The 4-tuple, if no connection has it. connect(2) gives EADDRNOTAVAIL otherwise, on Linux.
    fn tuple_from(&self, local: SocketAddr, remote: SocketAddr) -> Option<(FourTuple, bool)> {
        let tuple = FourTuple { local, remote };
        (!self.connections.contains(&tuple) && !self.time_waits.contains(&tuple)).then_some((tuple, false))
    }

    /// A 4-tuple with an ephemeral port, shared with connections to elsewhere; when TIME-WAIT has them all, one that
    /// has been there long enough. RFC 6056 3.3.3: from an offset that depends on the destination and cannot be
    /// foreseen, one after the other, so that a port comes again as late as possible: the peer may have it in
    /// TIME-WAIT.
    fn tuple_from_any_port(
        &mut self,
        id: SocketId,
        address: IpAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Option<(FourTuple, bool)> {
        let claim = self.sockets.find(id)?.claim(Some(address));
        let mut reusable = None;
        let start = self.random.port_offset(address, remote).wrapping_add(self.ports_given);
        self.ports_given = self.ports_given.wrapping_add(1);
        for port in candidates(start) {
            let local = SocketAddr::new(address, port);
            if self.stream_ports.bound(port, &claim) || local == remote {
                continue;
            }
            if let Some(free) = self.tuple_from(local, remote) {
                return Some(free);
            }
            let tuple = FourTuple { local, remote };
            if reusable.is_none() && self.time_waits.is_reusable(&tuple, now) {
                reusable = Some((tuple, true));
            }
        }
        reusable
    }

    fn start(&mut self, id: SocketId, (tuple, reused): (FourTuple, bool), now: Instant) {
        let wanted = self.random.initial_sequence(&tuple, now);
        let entry = if reused { self.time_waits.remove(&tuple) } else { None };
        let sequence = entry.map_or(wanted, |entry| entry.successor(wanted));
        if let Some(entry) = entry {
            self.vacate(&tuple, entry.reuse);
        }
        let path = if self.is_local(tuple.remote.ip()) { Path::Loopback } else { Path::Link };
        let offset = self.random.timestamp_offset(&tuple);
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let path = socket.reach.device.unwrap_or(path);
        let context = &mut self.contexts[path as usize];
        let FourTuple { local, remote } = tuple;
        let connection =
            Connection::connect(context, local, remote, sequence, offset, &socket.options(), now);
        self.counters.connections_opened += 1;
        self.begin(id, connection, tuple, path, Owner::Caller, now);
    }

    /// Makes `id` the socket of a new connection.
    pub(super) fn begin(
        &mut self,
        id: SocketId,
        mut connection: Connection,
        tuple: FourTuple,
        path: Path,
        owner: Owner,
        now: Instant,
    ) {
        if let Some(mtu) = self.path_mtus.of(tuple.remote.ip(), now) {
            connection.known_path_mtu(&self.contexts[path as usize], mtu);
        }
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let reuse = socket.reuse;
        let open = Open {
            connection,
            path,
            owner,
            opening: true,
            deferred: None,
            attached: true,
            reuse,
            seen: Seen::default(),
        };
        socket.body = Body::Stream(Stream::Open(open));
        self.stream_ports.occupy(tuple.local.port(), tuple.local.ip(), reuse);
        self.connections.insert(&tuple, id);
        self.make_ready(id);
        self.settle(id, now);
    }

    // ---- what happened to a connection

    /// Draws the consequences of whatever just happened to the connection `id`.
    pub(super) fn settle(&mut self, id: SocketId, now: Instant) {
        let Some(open) = self.sockets.connection_mut(id) else { return };
        let state = open.connection.state();
        if open.opening && state.is_synchronized() {
            self.established(id, now);
        } else if open.deferred.is_some_and(|until| until <= now || open.has_spoken()) {
            self.show(id);
        }
        if matches!(state, State::TimeWait | State::Closed) {
            self.detach(id, now);
        }
        let Some(open) = self.sockets.connection_mut(id) else { return };
        match open.owner {
            Owner::Queue(_) => {}
            Owner::Caller => {
                let seen = open.seen_now();
                if core::mem::replace(&mut open.seen, seen) != seen {
                    self.announce(id);
                }
            }
            Owner::Nobody if !open.attached => {
                self.orphaned -= 1;
                self.discard(id);
            }
            // Data for a program that is gone (RFC 9293 3.6.1, RFC 2525 2.17).
            Owner::Nobody if open.connection.readable() > 0 => {
                open.connection.abort();
                self.settle(id, now);
            }
            Owner::Nobody => {}
        }
    }

    /// The handshake is done.
    fn established(&mut self, id: SocketId, now: Instant) {
        let Engine { sockets, timers, .. } = self;
        let Some(socket) = sockets.find_mut(id) else { return };
        let limit = socket.options.as_ref().and_then(|options| options.defer_accept);
        let Some(open) = socket.connection_mut() else { return };
        open.opening = false;
        if let (Owner::Queue(_), Some(limit), false) = (open.owner, limit, open.has_spoken()) {
            open.deferred = Some(now + limit);
            timers.note(id, open.deadline());
            return;
        }
        self.show(id);
    }

    /// Puts an established connection of a listener in its accept queue.
    fn show(&mut self, id: SocketId) {
        let Some(open) = self.sockets.connection_mut(id) else { return };
        let Owner::Queue(parent) = open.owner else { return };
        open.deferred = None;
        open.seen = open.seen_now();
        self.counters.connections_accepted += 1;
        if let Some(listener) = self.sockets.listener_mut(parent) {
            listener.embryos.remove(&id);
            listener.queue.push_back(id);
            self.announce(parent);
        }
    }

    /// The connection is over: its 4-tuple is free, or TIME-WAIT's.
    fn detach(&mut self, id: SocketId, now: Instant) {
        let Some(open) = self.sockets.connection_mut(id) else { return };
        if !core::mem::replace(&mut open.attached, false) {
            return;
        }
        let (tuple, reuse, end) = (open.tuple(), open.reuse, open.connection.end());
        let embryo_of = match open.owner {
            Owner::Queue(parent) if open.opening || open.deferred.is_some() => Some(parent),
            _ => None,
        };
        let mut last = Vec::new();
        let context = &mut self.contexts[open.path as usize];
        while open.connection.transmit(context, now, &mut |packet| last.push(packet.to_packet())) {}
        let remains = open.connection.time_wait();
        if remains.is_some() {
            open.connection.retire();
        }
        self.connections.remove(&tuple);
        match remains {
            Some(remains) => {
                self.time_waits.insert(tuple, remains, reuse, now);
            }
            None => self.vacate(&tuple, reuse),
        }
        for packet in last {
            self.reply(packet, tuple.remote.ip());
        }
        self.count_end(end);
        if let Some(parent) = embryo_of {
            if let Some(listener) = self.sockets.listener_mut(parent) {
                listener.embryos.remove(&id);
                if listener.is_awaited() {
                    self.relieved.push(parent);
                }
            }
            self.discard(id);
        }
    }

    /// Takes a stream out of the table; its buffers may serve another.
    fn discard(&mut self, id: SocketId) {
        let Engine { sockets, contexts, .. } = self;
        match sockets.connection_mut(id) {
            Some(open) => {
                open.connection.recycle(&mut contexts[open.path as usize]);
                sockets.bury(id);
            }
            None => drop(sockets.remove(id)),
        }
    }

    fn count_end(&mut self, end: Option<Error>) {
        match end {
            Some(Error::ConnectionRefused) => self.counters.connections_refused += 1,
            Some(Error::ConnectionReset | Error::BrokenPipe) => self.counters.connections_reset += 1,
            Some(Error::TimedOut) => self.counters.connections_timed_out += 1,
            _ => {}
        }
    }

    /// The port of `tuple` is used by one less.
    pub(super) fn vacate(&mut self, tuple: &FourTuple, reuse: Reuse) {
        self.stream_ports.vacate(tuple.local.port(), tuple.local.ip(), reuse);
    }

    pub(super) fn expire_time_waits(&mut self, now: Instant) {
        while let Some((tuple, entry)) = self.time_waits.expired(now) {
            self.vacate(&tuple, entry.reuse);
        }
    }

    pub(super) fn release_stream(&mut self, id: SocketId, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        match &mut socket.body {
            Body::Stream(Stream::Open(open)) => {
                open.owner = Owner::Nobody;
                self.orphaned += 1;
                self.finish_orphan(id, now);
            }
            Body::Stream(Stream::Listening(listener)) => {
                let waiting: Vec<SocketId> =
                    listener.embryos.drain().chain(listener.queue.drain(..)).collect();
                let late = core::mem::take(&mut listener.late);
                self.sockets.remove(id);
                for id in waiting {
                    self.abort(id, now);
                    self.discard(id);
                }
                for request in late {
                    self.refuse_segment(&request.segment);
                }
            }
            Body::Stream(Stream::Offered(_)) => self.refuse(id, super::Refusal::Silence, now),
            Body::Stream(Stream::Fresh | Stream::Withdrawn) | Body::Datagram(_) => {
                self.sockets.remove(id);
            }
        }
    }

    fn finish_orphan(&mut self, id: SocketId, now: Instant) {
        let crowded = self.orphaned > ORPHANS_MAX;
        let Some(open) = self.sockets.connection_mut(id) else { return };
        // close(2) with data unread, and before the handshake is done: RST.
        if crowded || open.opening || open.connection.readable() > 0 {
            open.connection.abort();
        } else {
            open.connection.disown(now);
            open.connection.close();
        }
        self.make_ready(id);
        self.settle(id, now);
    }

    // ---- what the owner asks

    /// None for an id that is gone or no stream.
    pub fn state(&self, id: SocketId) -> Option<StreamState> {
        match &self.sockets.find(id).filter(|socket| socket.is_known())?.body {
            Body::Datagram(_) => None,
            Body::Stream(Stream::Fresh) => Some(StreamState::Fresh),
            Body::Stream(Stream::Listening(_)) => Some(StreamState::Listening),
            Body::Stream(Stream::Offered(_)) => Some(StreamState::Connecting),
            Body::Stream(Stream::Withdrawn) => Some(StreamState::Ended),
            Body::Stream(Stream::Open(open)) if !open.attached => Some(StreamState::Ended),
            Body::Stream(Stream::Open(open)) if open.opening => Some(StreamState::Connecting),
            Body::Stream(Stream::Open(_)) => Some(StreamState::Connected),
        }
    }

    /// The peer of a connection that was released, until it is over.
    pub fn peer_of_released(&self, id: SocketId) -> Option<SocketAddr> {
        let socket = self.sockets.find(id)?;
        let open = socket.connection().filter(|open| open.owner == Owner::Nobody && open.attached)?;
        Some(socket.present(open.connection.remote()))
    }

    /// Why an Ended stream ended; None for an orderly end.
    pub fn end(&self, id: SocketId) -> Option<Error> {
        match &self.sockets.find(id).filter(|socket| socket.is_known())?.body {
            Body::Stream(Stream::Open(open)) => open.connection.end(),
            Body::Stream(Stream::Withdrawn) => Some(Error::ConnectionReset),
            _ => None,
        }
    }

    /// Bytes received and not read.
    pub fn readable(&self, id: SocketId) -> usize {
        self.sockets.owned(id).map_or(0, |open| open.connection.readable())
    }

    /// Whether the peer's FIN has come and all before it was read.
    pub fn at_eof(&self, id: SocketId) -> bool {
        self.sockets
            .owned(id)
            .is_some_and(|open| open.connection.fin_received() && open.connection.readable() == 0)
    }

    /// Free bytes of the send buffer; 0 unless Connected and not shut down.
    pub fn room(&self, id: SocketId) -> usize {
        self.sockets.owned(id).map_or(0, |open| open.connection.room())
    }

    /// Bytes written and not yet acknowledged by the peer (SIOCOUTQ).
    pub fn unacknowledged(&self, id: SocketId) -> usize {
        self.sockets.owned(id).map_or(0, |open| open.connection.unacknowledged())
    }

    /// Offers received bytes to `take`, in slices, until it takes fewer than offered or none are left.
    /// Returns the bytes taken. Reading opens the window.
    pub fn read_with(&mut self, id: SocketId, take: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let now = self.now;
        self.exchange(id, |open, context| {
            let taken = open.connection.read_with(context, now, take);
            open.seen.readable = open.connection.readable();
            taken
        })
    }

    /// Offers free space of the send buffer to `fill`, in slices, until it fills less than offered or none is
    /// left. Returns the bytes written.
    pub fn write_with(&mut self, id: SocketId, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        self.sockets.prefetch(id);
        self.exchange(id, |open, context| {
            let written = open.connection.write_with(context, fill);
            open.seen.room = open.connection.room();
            written
        })
    }

    /// Writes a byte of urgent data (send(2), MSG_OOB) behind what was written. False when there is no room.
    pub fn write_urgent(&mut self, id: SocketId, byte: u8) -> bool {
        let written = self.exchange(id, |open, context| {
            let written = open.connection.write_urgent(context, byte);
            open.seen.room = open.connection.room();
            usize::from(written)
        });
        written > 0
    }

    /// The byte of urgent data, when all before it was read and `read_urgent` has not taken it.
    pub fn urgent_at_mark(&self, id: SocketId) -> Option<u8> {
        self.sockets.owned(id)?.connection.urgent_at_mark()
    }

    /// The byte of urgent data that came last, once, unless it goes in line (recv(2), MSG_OOB).
    pub fn read_urgent(&mut self, id: SocketId) -> Option<u8> {
        self.sockets.owned_mut(id)?.connection.read_urgent()
    }

    /// Moves bytes. What the owner did itself is no change to tell it of: `bytes` notes what it sees now.
    fn exchange(&mut self, id: SocketId, bytes: impl FnOnce(&mut Open, &mut Context) -> usize) -> usize {
        let Engine { sockets, contexts, ready, .. } = self;
        let Some(socket) = sockets.find_mut(id) else { return 0 };
        let Some(open) = socket.connection_mut().filter(|open| open.owner == Owner::Caller) else { return 0 };
        let context = &mut contexts[open.path as usize];
        let moved = bytes(open, context);
        if moved > 0 {
            socket.make_ready(ready);
        }
        moved
    }

    /// TCP_INFO at `now`; None for what never was a connection of the caller's.
    pub fn info(&self, id: SocketId, now: Instant) -> Option<Info> {
        Some(self.sockets.owned(id)?.connection.info(now))
    }

    /// FIN behind what was written.
    pub fn shutdown_write(&mut self, id: SocketId, _now: Instant) {
        if let Some(open) = self.sockets.owned_mut(id) {
            open.connection.close();
            open.seen = open.seen_now();
            self.make_ready(id);
        }
    }

    /// The owner's program has closed it. What it wrote before is still to come from the owner, and must find an end.
    pub fn disown(&mut self, id: SocketId, now: Instant) {
        if let Some(open) = self.sockets.owned_mut(id) {
            open.connection.disown(now);
            self.make_ready(id);
        }
    }

    /// RST at once; what was written and not sent is lost. State Ended, `end` ConnectionAborted.
    pub fn abort(&mut self, id: SocketId, now: Instant) {
        if let Some(open) = self.sockets.connection_mut(id) {
            open.connection.abort();
            self.settle(id, now);
        } else if let Some(Body::Stream(Stream::Offered(_))) =
            self.sockets.find(id).map(|socket| &socket.body)
        {
            self.refuse(id, super::Refusal::Reset, now);
        }
    }

    /// Whether a stream was released and has something left to send, or a FIN to be acknowledged.
    pub fn is_delivering(&self, id: SocketId) -> bool {
        let open = self.sockets.connection(id).filter(|open| open.owner == Owner::Nobody);
        open.is_some_and(|open| open.connection.outstanding())
    }

    /// Effective maximum segment size in bytes (TCP_MAXSEG).
    pub fn mss(&self, id: SocketId) -> usize {
        const DEFAULT: usize = 536;
        self.sockets.owned(id).map_or(DEFAULT, |open| open.connection.mss())
    }
}
