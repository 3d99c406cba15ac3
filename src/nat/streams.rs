//! TCP flows: a stream of the far engine on one side, a kernel socket on the other, and the bytes between.
//!
//! ```text
//!   program ── engine A ══ packets ══ engine B ── Flow ── kernel socket ── peer
//!
//!   SYN       offered ─► connect(2) ─► admit: SYN-ACK │ refuse: RST, ICMP or nothing
//!   bytes     recv(2) writes into B's send buffer, send(2) reads from B's receive buffer: no copy between
//!   FIN       B at end of file ─► shutdown(SHUT_WR);   recv(2) gives 0 ─► B's FIN
//!   RST       B ended with an error ─► RST to the peer;   ECONNRESET ─► B's RST, behind the data before it
//! ```
//!
//! Back-pressure needs no state: the kernel is read while B has room, B is read while the kernel takes it, and each
//! side's window does the rest. `readable` and `writable` remember what edge-triggered events said until a system
//! call says otherwise.
//!
//! A reset by the peer waits until the program has what came before it, as the kernel's receive queue would hold
//! it. But a program that is stuck in writing must learn of it: when it has sent something that cannot be
//! delivered, the wait is one second.
//!
//! Limits: 16,384 flows, then connections are refused. What the program sends is acknowledged here and not by the
//! peer, so its TCP_INFO, keep-alive and user timeout speak of the way to here; a peer that vanishes is noticed by
//! the kernel's own timers. A program that gives up while the kernel is connecting sends nothing, so the kernel
//! goes on until its connect ends.
#![forbid(unsafe_code)]

use super::addresses::Unreachable;
use super::work::{Shared, Source};
use crate::engine::{Domain, Engine, Incoming, Kind, Refusal, SocketId, StreamState};
use crate::error::Error;
use crate::sys::descriptors::Internal;
use crate::sys::net::{self, EventFlags};
use crate::time::Instant;
use core::time::Duration;
use rustix::io::{Errno, Result};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

const LIMIT: usize = 16_384;

/// How long a reset waits for the program to take what came before it, when the program has sent more since.
const GRACE: Duration = Duration::from_secs(1);

/// All flows.
pub(super) struct Streams {
    flows: Slab<Flow>,
    by_id: HashMap<SocketId, usize>,
    /// Flows whose reset waits, with the end of their grace; in order, for the grace is one for all.
    waiting: VecDeque<(Instant, SocketId)>,
}

struct Flow {
    socket: Internal,
    id: SocketId,
    /// The kernel is still connecting to there.
    dialling: Option<SocketAddr>,
    /// The published port that it came by, until the program's side has answered.
    arriving: Option<usize>,
    /// The kernel may have something to read.
    readable: bool,
    /// The kernel may take something.
    writable: bool,
    /// An event tells when it takes something again.
    watches_room: bool,
    /// The kernel reported FIN, RST or an error: reading must go on until it shows.
    hung_up: bool,
    /// The peer's FIN was passed to the program.
    inward_over: bool,
    /// The program's FIN was passed to the peer.
    outward_over: bool,
    /// Bytes that the kernel took of the program's.
    taken: u64,
    /// The peer has reset; until when that waits.
    reset: Option<Instant>,
    queued: bool,
}

/// A connection to a published port.
pub(super) struct Visit {
    pub(super) socket: Internal,
    /// Which port.
    pub(super) port: usize,
    /// From where it goes on to the program.
    pub(super) gateway: IpAddr,
    /// Where the program listens.
    pub(super) to: SocketAddr,
}

/// What becomes of a flow after its turn.
enum Fate {
    Stays,
    /// Both ends are through with it: the engine delivers what it still has.
    Finished,
    /// The program's side is gone or was reset: the peer is reset.
    Reset,
    /// The offer was turned down: the engine has forgotten it.
    Refused,
}

impl Streams {
    pub(super) fn new() -> Streams {
        Streams { flows: Slab::new(), by_id: HashMap::new(), waiting: VecDeque::new() }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Whether there could be one more flow beside those that there are and `waiting` ones.
    pub(super) fn has_room_for(&self, waiting: usize) -> bool {
        self.flows.len() + waiting < LIMIT
    }

    /// The program asks for a connection.
    pub(super) fn dial(&mut self, offer: Incoming, engine: &mut Engine, shared: &mut Shared, now: Instant) {
        let refusal = match shared.addresses.outward(offer.to) {
            Err(Unreachable::Port) => Refusal::Reset,
            Err(Unreachable::Network) => Refusal::NetworkUnreachable,
            Ok(_) if !self.has_room_for(0) => Refusal::Reset,
            Ok(target) => match self.connect(offer.id, target, shared) {
                Ok(connected) => {
                    if connected {
                        shared.counters.connections += 1;
                        engine.admit(offer.id, now);
                    }
                    return;
                }
                Err(errno) => refusal(errno, offer.to),
            },
        };
        shared.counters.refused += 1;
        engine.refuse(offer.id, refusal, now);
    }

    /// Makes a flow to `target`. Whether it is connected already, as what the machine's own server accepts is.
    fn connect(&mut self, id: SocketId, target: SocketAddr, shared: &Shared) -> Result<bool> {
        let flow = Flow::new(net::connect(target)?, id);
        let connected = net::connected(&flow.socket, target).transpose()?.is_some();
        let flow = match connected {
            true => Flow { writable: true, watches_room: false, ..flow },
            false => Flow { dialling: Some(target), ..flow },
        };
        self.insert(flow, shared)?;
        Ok(connected)
    }

    /// The world connected to a published port: on to the program. Whether it is on its way.
    pub(super) fn visit(
        &mut self,
        visit: Visit,
        engine: &mut Engine,
        shared: &mut Shared,
        now: Instant,
    ) -> bool {
        let Visit { socket, port, gateway, to } = visit;
        let domain = if gateway.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let id = engine.open(domain, Kind::Stream);
        let asked =
            engine.bind(id, SocketAddr::new(gateway, 0), now).and_then(|()| engine.connect(id, to, now));
        let failed = match asked {
            Ok(()) => {
                let flow = Flow { arriving: Some(port), ..Flow::new(socket, id) };
                self.insert(flow, shared).err().map(Error::from)
            }
            Err(error) => {
                net::reset(socket);
                Some(error)
            }
        };
        let Some(error) = failed else {
            shared.counters.connections += 1;
            return true;
        };
        tracing::warn!("cannot connect {gateway} to the program's port {}: {error}", to.port());
        shared.counters.refused += 1;
        engine.release(id, now);
        false
    }

    fn insert(&mut self, flow: Flow, shared: &Shared) -> Result<()> {
        let entry = self.flows.vacant_entry();
        let source = Source::Stream(entry.key());
        match flow.watches_room {
            true => shared.watch(&flow.socket, source)?,
            false => shared.watch_input(&flow.socket, source)?,
        }
        self.by_id.insert(flow.id, entry.key());
        entry.insert(flow);
        Ok(())
    }

    /// An event for a flow. Whether it must be queued for a turn.
    pub(super) fn hint(&mut self, index: usize, flags: EventFlags) -> bool {
        let Some(flow) = self.flows.get_mut(index) else { return false };
        let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        flow.hung_up |= hung_up;
        flow.readable |= hung_up || flags.contains(EventFlags::IN);
        flow.writable |= hung_up || flags.contains(EventFlags::OUT);
        !std::mem::replace(&mut flow.queued, true)
    }

    /// Something changed at the engine's side: the flow to queue for a turn.
    pub(super) fn changed(&mut self, id: SocketId) -> Option<usize> {
        let index = *self.by_id.get(&id)?;
        (!std::mem::replace(&mut self.flows[index].queued, true)).then_some(index)
    }

    /// Moves what can be moved. The published port by which it came, when the program's side has just answered.
    pub(super) fn turn(
        &mut self,
        index: usize,
        engine: &mut Engine,
        shared: &mut Shared,
        now: Instant,
    ) -> Option<usize> {
        let flow = self.flows.get_mut(index)?;
        flow.queued = false;
        let arrived = flow.arriving.take_if(|_| engine.state(flow.id) != Some(StreamState::Connecting));
        let was_reset = flow.reset.is_some();
        let fate = flow.turn(engine, shared, now);
        match fate {
            Fate::Stays => {
                if !flow.writable && !std::mem::replace(&mut flow.watches_room, true) {
                    shared.watch_room(&flow.socket, Source::Stream(index));
                }
                if let (false, Some(until)) = (was_reset, flow.reset) {
                    self.waiting.push_back((until, flow.id));
                }
            }
            Fate::Finished | Fate::Reset | Fate::Refused => {
                let flow = self.flows.remove(index);
                self.by_id.remove(&flow.id);
                if !matches!(fate, Fate::Refused) {
                    engine.release(flow.id, now);
                }
                if matches!(fate, Fate::Reset) {
                    net::reset(flow.socket);
                }
            }
        }
        arrived
    }

    /// When the first grace ends.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|&(until, _)| until)
    }

    /// Queues the flows whose grace has ended.
    pub(super) fn expire(&mut self, shared: &mut Shared, now: Instant) {
        while let Some(&(until, id)) = self.waiting.front()
            && until <= now
        {
            self.waiting.pop_front();
            if let Some(index) = self.changed(id) {
                shared.queue(Source::Stream(index));
            }
        }
    }

    /// Changes whenever a kernel socket takes something.
    pub(super) fn progress(&self) -> u64 {
        self.flows.iter().map(|(_, flow)| flow.taken).sum()
    }

    /// Whether some flow holds data or a FIN of the program that the kernel has not taken.
    pub(super) fn busy(&self, engine: &Engine) -> bool {
        self.flows.iter().any(|(_, flow)| {
            flow.dialling.is_none()
                && !flow.outward_over
                && (engine.readable(flow.id) > 0 || engine.at_eof(flow.id))
        })
    }
}

impl Flow {
    fn new(socket: Internal, id: SocketId) -> Flow {
        Flow {
            socket,
            id,
            dialling: None,
            arriving: None,
            readable: false,
            writable: false,
            watches_room: true,
            hung_up: false,
            inward_over: false,
            outward_over: false,
            reset: None,
            taken: 0,
            queued: false,
        }
    }

    fn turn(&mut self, engine: &mut Engine, shared: &mut Shared, now: Instant) -> Fate {
        if let Some(target) = self.dialling {
            return self.conclude_dialling(target, engine, shared, now);
        }
        match engine.state(self.id) {
            None => Fate::Reset,
            Some(StreamState::Ended) if engine.end(self.id).is_some() => Fate::Reset,
            Some(StreamState::Fresh | StreamState::Listening | StreamState::Connecting) => Fate::Stays,
            Some(StreamState::Connected | StreamState::Ended) => self.shuttle(engine, now),
        }
    }

    fn conclude_dialling(
        &mut self,
        target: SocketAddr,
        engine: &mut Engine,
        shared: &mut Shared,
        now: Instant,
    ) -> Fate {
        if engine.state(self.id) != Some(StreamState::Connecting) {
            return Fate::Reset; // Who asked has gone.
        }
        if !self.writable {
            return Fate::Stays;
        }
        match net::connected(&self.socket, target) {
            None => Fate::Stays,
            Some(Ok(())) => {
                self.dialling = None;
                shared.counters.connections += 1;
                engine.admit(self.id, now);
                Fate::Stays
            }
            Some(Err(errno)) => {
                shared.counters.refused += 1;
                engine.refuse(self.id, refusal(errno, target), now);
                Fate::Refused
            }
        }
    }

    fn shuttle(&mut self, engine: &mut Engine, now: Instant) -> Fate {
        if self.reset.is_none() {
            // Inward first: what the peer said before it reset is read before a write meets the reset.
            let moved = self.move_inward(engine, now).and_then(|()| self.move_outward(engine));
            self.reset = moved.is_err().then_some(now + GRACE);
        }
        if let Some(until) = self.reset {
            let undelivered = engine.unacknowledged(self.id) > 0;
            let stuck = engine.readable(self.id) > 0 && until <= now;
            if undelivered && !stuck {
                return Fate::Stays;
            }
            engine.abort(self.id, now);
            return Fate::Reset;
        }
        if self.outward_over && (self.inward_over || engine.state(self.id) == Some(StreamState::Ended)) {
            return Fate::Finished;
        }
        Fate::Stays
    }

    /// From the peer to the program. An error is the connection's end.
    fn move_inward(&mut self, engine: &mut Engine, now: Instant) -> Result<()> {
        if self.inward_over && self.hung_up {
            // Nothing will be read any more, so nothing else would tell of a reset.
            self.hung_up = false;
            return net::take_error(&self.socket);
        }
        let mut outcome = Ok(());
        while self.readable && !self.inward_over && outcome.is_ok() && engine.room(self.id) > 0 {
            engine.write_with(self.id, &mut |space| match net::receive(&self.socket, space) {
                _ if space.is_empty() => 0,
                Ok(0) => {
                    self.inward_over = true;
                    0
                }
                Ok(count) => {
                    // A short read has emptied the queue (epoll(7)); behind what is left may be an end.
                    self.readable = count == space.len() || self.hung_up;
                    count
                }
                Err(Errno::AGAIN) => {
                    self.readable = false;
                    0
                }
                Err(Errno::INTR) => 0,
                Err(errno) => {
                    outcome = Err(errno);
                    0
                }
            });
        }
        if self.inward_over {
            engine.shutdown_write(self.id, now);
        }
        outcome
    }

    /// From the program to the peer. An error is the connection's end.
    fn move_outward(&mut self, engine: &mut Engine) -> Result<()> {
        if self.outward_over {
            return Ok(());
        }
        let mut outcome = Ok(());
        if self.writable && engine.readable(self.id) > 0 {
            engine.read_with(self.id, &mut |bytes| match net::send(&self.socket, bytes) {
                Ok(count) => {
                    self.writable = count == bytes.len();
                    self.taken += count as u64;
                    count
                }
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    0
                }
                Err(Errno::INTR) => 0,
                Err(errno) => {
                    outcome = Err(errno);
                    0
                }
            });
        }
        if outcome.is_ok() && engine.at_eof(self.id) {
            self.outward_over = true;
            outcome = net::finish(&self.socket);
        }
        outcome
    }
}

/// How the program learns why the kernel could not connect.
pub(super) fn refusal(errno: Errno, to: SocketAddr) -> Refusal {
    match errno {
        Errno::CONNREFUSED | Errno::CONNRESET => Refusal::Reset,
        Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT => Refusal::NetworkUnreachable,
        Errno::ADDRNOTAVAIL => Refusal::NetworkUnreachable,
        Errno::HOSTUNREACH | Errno::HOSTDOWN | Errno::ACCESS | Errno::PERM => Refusal::HostUnreachable,
        Errno::TIMEDOUT => Refusal::Silence,
        _ => {
            tracing::warn!("cannot connect to {to}: {errno}");
            Refusal::HostUnreachable
        }
    }
}
