//! Listeners: SYN queue and accept queue; and offers, the requests that no listener takes.
//!
//! A SYN that finds a queue full is not reset, as on Linux, but neither is it dropped at once: it is kept as it came and
//! answered when there is room, which spares a client of a short backlog the second until its next try. The SYN queue is a
//! bound on memory: an entry is a whole connection.
//!
//! A SYN flood fills both, the SYN queue and the SYNs that wait. From then on a SYN is answered by a cookie (`tcp::cookie`),
//! and so is one that comes again while it waits: its client has waited a second, behind requests that perhaps never get
//! anywhere. Only when the *accept* queue is full, so that the connection could not be taken, is there no cookie, and
//! what finds no room is dropped. A client that answers a cookie goes into the accept queue at once.
//!
//! A connection that has sent nothing stays in the SYN queue of a listener with TCP_DEFER_ACCEPT, established as it is.
//!
//! The SYNs of a listener that is guarded wait in the same place, for a moment: the owner may have gone without having said so,
//! and is asked before one is answered. When a listener is released what waits is refused.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::ports::Claim;
use super::socket::{Body, LateRequest, Listener, Offer, Owner, Stream};
use super::time_wait::Entry;
use super::{Domain, Engine, Incoming, Path, Refusal, SocketId};
use crate::error::{Error, Result};
use crate::icmp::Unreachable;
use crate::ip::{Header, Protocol, Treatment};
use crate::tcp::{Connection, Segment};
use crate::time::Instant;

/// Connections in SYN-RECEIVED for one listener.
const SYN_QUEUE_MAX: usize = 256;

/// SYNs that wait for room in the queues of one listener.
const LATE_MAX: usize = 256;

/// Sockets that wait for `admit` or `refuse`.
const OFFERS_MAX: usize = 1024;

/// What an ICMP error quotes of a SYN that was offered: its headers, with all options.
const QUOTE_MAX: usize = 120;

/// What becomes of a SYN that finds a queue full.
enum Postponed {
    Kept,
    Cookie,
    Dropped,
}

impl Listener {
    /// listen(2): at most `backlog` + 1 wait, those counted that are about to.
    pub(super) fn is_full(&self) -> bool {
        let promised = self.queue.len() + self.embryos.len();
        self.hold || promised > self.backlog || self.embryos.len() >= SYN_QUEUE_MAX
    }

    /// Whether a connection that is established now could be accepted.
    pub(super) fn has_room(&self) -> bool {
        !self.hold && self.queue.len() <= self.backlog
    }

    /// Keeps a SYN for later, if that helps it.
    fn postpone(&mut self, request: LateRequest) -> Postponed {
        let key = |segment: &Segment| (segment.source, segment.destination);
        let again = self.late.iter().position(|late| key(&late.segment) == key(&request.segment));
        // A cookie cannot promise a number that is safe after TIME-WAIT.
        let cookie = self.has_room() && request.after.is_none();
        match again {
            Some(again) if cookie && self.is_full() => drop(self.late.remove(again)),
            Some(again) => {
                self.late[again] = request;
                return Postponed::Kept;
            }
            None if self.late.len() < LATE_MAX => {
                self.late.push_back(request);
                return Postponed::Kept;
            }
            None => {}
        }
        if cookie { Postponed::Cookie } else { Postponed::Dropped }
    }

    /// Whether anybody waits for room.
    pub(super) fn is_awaited(&self) -> bool {
        !self.late.is_empty() || !self.returned.is_empty()
    }

    /// The next SYN that can be answered now.
    fn next_late(&mut self) -> Option<LateRequest> {
        if self.is_full() { None } else { self.late.pop_front() }
    }
}

impl Engine {
    /// listen(2), again to change the backlog: at most `backlog` + 1 connections wait in the accept queue. A
    /// socket not bound gets a port. EADDRINUSE, EINVAL when connected.
    pub fn listen(&mut self, id: SocketId, backlog: usize, now: Instant) -> Result<()> {
        let socket = self.sockets.find_mut(id).ok_or(Error::BadDescriptor)?;
        match &mut socket.body {
            Body::Stream(Stream::Listening(listener)) => {
                listener.backlog = backlog;
                return Ok(());
            }
            Body::Stream(Stream::Fresh) => {}
            Body::Stream(_) => return Err(Error::InvalidArgument),
            Body::Datagram(_) => return Err(Error::NotSupported),
        }
        let (bound, address) = (socket.bound, socket.bound.and_then(|bound| bound.address));
        if bound.is_none_or(|bound| bound.port == 0) {
            self.bind_to(id, address, 0, now)?;
        }
        let socket = self.sockets.find_mut(id).expect("found above");
        let bound = socket.bound.expect("bound above");
        let claim = socket.claim(bound.address);
        if self.stream_ports.conflicts(bound.port, &claim) {
            return Err(Error::AddressInUse);
        }
        self.stream_ports.set_listening(socket.bound, id);
        socket.body = Body::Stream(Stream::Listening(Box::new(Listener { backlog, ..Listener::default() })));
        Ok(())
    }

    /// The first established connection of the accept queue, now a socket of its own.
    pub fn accept(&mut self, id: SocketId) -> Option<SocketId> {
        let listener = self.sockets.listener_mut(id)?;
        let accepted = listener.queue.pop_front()?;
        if listener.is_awaited() {
            self.relieved.push(id);
        }
        let open = self.sockets.connection_mut(accepted)?;
        open.owner = Owner::Caller;
        let (before, now) = (open.seen, open.seen_now());
        open.seen = now;
        if before != now {
            self.announce(accepted);
        }
        Some(accepted)
    }

    /// From now on no SYN is answered before the owner, who sees that the listener changed, says by `hold_accepting` that it
    /// is there.
    pub fn guard_requests(&mut self, id: SocketId) {
        if let Some(listener) = self.sockets.listener_mut(id) {
            listener.guarded = true;
        }
    }

    /// Whether anybody waits at a listener for room, or for its owner.
    pub fn requests_wait(&self, id: SocketId) -> bool {
        match self.sockets.find(id).map(|socket| &socket.body) {
            Some(Body::Stream(Stream::Listening(listener))) => listener.is_awaited(),
            _ => false,
        }
    }

    /// While set, the listener answers no SYN (its owner's queue is full): they wait, within limits.
    pub fn hold_accepting(&mut self, id: SocketId, hold: bool) {
        if let Some(listener) = self.sockets.listener_mut(id) {
            listener.hold = hold;
            if !hold && listener.is_awaited() {
                self.relieved.push(id);
            }
        }
    }

    /// Answers the SYNs that waited for the room that there is now.
    pub(super) fn answer_late(&mut self, now: Instant) {
        for id in core::mem::take(&mut self.relieved) {
            self.answer_returned(id, now);
            while let Some(late) = self.sockets.listener_mut(id).and_then(Listener::next_late) {
                // Its client tried again meanwhile, and that SYN found room.
                if !self.connections.contains(&FourTuple::of(&late.segment)) {
                    self.answer_request_for(id, &late.segment, late.path, late.after, now);
                }
            }
        }
    }

    /// The next offered connection (`Settings::offer_incoming`).
    pub fn incoming(&mut self) -> Option<Incoming> {
        loop {
            let offer = self.offers.pop_front()?;
            match self.sockets.find(offer.id).map(|socket| &socket.body) {
                Some(Body::Stream(Stream::Offered(_))) => return Some(offer),
                // Taken back before anybody heard of it: nobody else will release it.
                Some(Body::Stream(Stream::Withdrawn)) => drop(self.sockets.remove(offer.id)),
                _ => {}
            }
        }
    }

    /// Goes on with the handshake of an offered connection; it is Connected when the handshake is done.
    pub fn admit(&mut self, id: SocketId, now: Instant) {
        if let Some(offer) = self.take_offer(id) {
            let Offer { segment, path, .. } = *offer;
            self.answer_request(id, &segment, path, Owner::Caller, None, now);
        }
    }

    /// Turns an offered connection down. The id is gone.
    pub fn refuse(&mut self, id: SocketId, how: Refusal, now: Instant) {
        let Some(offer) = self.take_offer(id) else { return };
        self.connections.remove(&offer.tuple());
        self.sockets.remove(id);
        self.counters.connections_refused += 1;
        let reason = match how {
            Refusal::Reset => return self.refuse_segment(&offer.segment),
            Refusal::Silence => return,
            Refusal::NetworkUnreachable => Unreachable::Network,
            Refusal::HostUnreachable => Unreachable::Host,
        };
        let (from, to) = (offer.segment.source.ip(), offer.segment.destination.ip());
        let header = Header {
            source: from,
            destination: to,
            protocol: Protocol::Tcp,
            treatment: Treatment::default(),
            payload: 0..0,
        };
        self.send_unreachable(reason, &offer.quote, &header, now);
    }

    fn take_offer(&mut self, id: SocketId) -> Option<Box<Offer>> {
        let socket = self.sockets.find_mut(id)?;
        let Body::Stream(Stream::Offered(_)) = socket.body else { return None };
        let Body::Stream(Stream::Offered(offer)) =
            core::mem::replace(&mut socket.body, Body::Stream(Stream::Withdrawn))
        else {
            return None;
        };
        self.offered -= 1;
        Some(offer)
    }

    /// Whoever asked for an offered connection has taken it back.
    pub(super) fn withdraw(&mut self, id: SocketId) {
        if let Some(offer) = self.take_offer(id) {
            self.connections.remove(&offer.tuple());
            self.announce(id);
        }
    }

    /// A SYN for which there is no connection. `after` is the TIME-WAIT entry that it follows on.
    pub(super) fn take_request(
        &mut self,
        packet: &[u8],
        segment: Segment,
        path: Path,
        after: Option<Entry>,
        now: Instant,
    ) {
        match self.listener(&FourTuple::of(&segment), path) {
            Some(listener) => self.take_request_for(listener, &segment, path, after, now),
            None if self.settings.offer_incoming => self.offer(packet, segment, path),
            None => self.refuse_segment(&segment),
        }
    }

    /// Who listens for the connection `tuple` over `path`: of several with SO_REUSEPORT always the same one.
    pub(super) fn listener(&self, tuple: &FourTuple, path: Path) -> Option<SocketId> {
        let to = tuple.local;
        let spread = || self.random.spread(tuple);
        let device = |id| self.sockets.find(id).and_then(|socket| socket.reach.device);
        let listens = |claim: &Claim| claim.listening && device(claim.id).is_none_or(|device| device == path);
        self.stream_ports.lookup(to.port(), to.ip(), listens, spread)
    }

    fn take_request_for(
        &mut self,
        id: SocketId,
        segment: &Segment,
        path: Path,
        after: Option<Entry>,
        now: Instant,
    ) {
        let Some(listener) = self.sockets.listener_mut(id) else { return };
        let full = listener.is_full();
        // Of more than may wait the owner is not asked: the first of them have asked already.
        if !full && (!listener.guarded || listener.late.len() >= LATE_MAX) {
            return self.answer_request_for(id, segment, path, after, now);
        }
        match listener.postpone(LateRequest { segment: segment.clone(), path, after }) {
            Postponed::Kept => self.announce(id),
            Postponed::Cookie => self.send_cookie(id, segment, path, now),
            Postponed::Dropped => {
                self.counters.listen_overflows += 1;
                self.counters.dropped += 1;
            }
        }
    }

    fn answer_request_for(
        &mut self,
        id: SocketId,
        segment: &Segment,
        path: Path,
        after: Option<Entry>,
        now: Instant,
    ) {
        if let Some(embryo) = self.conceive(id) {
            self.answer_request(embryo, segment, path, Owner::Queue(id), after, now);
        }
    }

    /// A socket for a connection to the listener `id`, counted in its SYN queue.
    pub(super) fn conceive(&mut self, id: SocketId) -> Option<SocketId> {
        let socket = self.sockets.find(id)?;
        let (domain, reuse, v6_only) = (socket.domain, socket.reuse, socket.v6_only);
        let (options, broadcast, reach) = (socket.options.clone(), socket.broadcast, socket.reach);
        let embryo = self.sockets.insert(domain, Body::Stream(Stream::Fresh));
        let socket = self.sockets.find_mut(embryo)?;
        // accept(2): what is set on the listener is set on what it accepts.
        (socket.reuse, socket.v6_only, socket.options, socket.broadcast, socket.reach) =
            (reuse, v6_only, options, broadcast, reach);
        self.sockets.listener_mut(id)?.embryos.insert(embryo);
        Some(embryo)
    }

    fn offer(&mut self, packet: &[u8], segment: Segment, path: Path) {
        if self.offered >= OFFERS_MAX {
            self.counters.listen_overflows += 1;
            self.counters.dropped += 1;
            return;
        }
        let (from, to) = (segment.source, segment.destination);
        let domain = if to.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let quote = packet[..packet.len().min(QUOTE_MAX)].into();
        let offer = Offer { quote, segment, path };
        let tuple = offer.tuple();
        let id = self.sockets.insert(domain, Body::Stream(Stream::Offered(Box::new(offer))));
        self.connections.insert(&tuple, id);
        self.offered += 1;
        self.offers.push_back(Incoming { id, from, to });
    }

    /// Makes `id` the connection in SYN-RECEIVED that a SYN asks for.
    fn answer_request(
        &mut self,
        id: SocketId,
        segment: &Segment,
        path: Path,
        owner: Owner,
        after: Option<Entry>,
        now: Instant,
    ) {
        let tuple = FourTuple::of(segment);
        let wanted = self.random.initial_sequence(&tuple, now);
        let sequence = after.map_or(wanted, |entry| entry.successor(wanted));
        let offset = self.random.timestamp_offset(&tuple);
        let Some(socket) = self.sockets.find_mut(id) else { return };
        let context = &mut self.contexts[path as usize];
        let connection = Connection::accept(context, segment, sequence, offset, &socket.options(), now);
        self.begin(id, connection, tuple, path, owner, now);
    }
}
