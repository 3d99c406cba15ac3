//! What both kinds of host are to the simulation, and the kind that is ours: an engine.

use crate::plan::{End, Opener, Plan};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tubesock::addressing::Cidr;
use tubesock::engine::{self, Domain, Engine, Kind, SocketId, SocketOption, StreamState};
use tubesock::error::Error;
use tubesock::link::Outgoing;
use tubesock::tcp::Memory;
use tubesock::time::Instant;

/// Where one end of a connection stands, as its program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing of it was seen yet: a passive end.
    Waiting,
    Connecting,
    Connected,
    /// Over, in order or with an error.
    Ended(Option<Error>),
}

/// A host with one end of each connection, which is known by its number in the plan.
pub(crate) trait Host {
    /// Starts to wait for connection `number`.
    fn listen(&mut self, number: usize, now: Instant);
    /// Opens connection `number` from its port to that of the other host. An error: the port is not free yet.
    fn connect(&mut self, number: usize, now: Instant) -> Result<(), Error>;
    /// Where there are options.
    fn set_option(&mut self, number: usize, option: SocketOption, now: Instant);
    fn status(&self, number: usize) -> Status;
    fn write_with(&mut self, number: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize;
    /// Writes one byte of urgent data; false when there is no room, or no such thing.
    fn write_urgent(&mut self, number: usize, byte: u8) -> bool;
    fn read_with(&mut self, number: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> usize;
    fn at_eof(&self, number: usize) -> bool;
    /// Whether something it wrote is not acknowledged.
    fn has_outstanding(&self, number: usize) -> bool;
    /// Whether what is unread when a connection is over goes away after a time.
    fn forgets_unread(&self) -> bool;
    fn shutdown(&mut self, number: usize, now: Instant);
    /// The reset, and the program has nothing more to do with it.
    fn abort(&mut self, number: usize, now: Instant);
    fn release(&mut self, number: usize, now: Instant);

    fn receive(&mut self, packet: &[u8], now: Instant);
    fn transmit(&mut self, now: Instant, send: &mut dyn FnMut(&Outgoing<'_>)) -> bool;
    fn deadline(&mut self) -> Option<Instant>;
    fn advance(&mut self, now: Instant);

    /// What sending depends on, in a line.
    fn describe(&self, number: usize, now: Instant) -> Option<String>;

    /// Connections that were accepted since; what must hold at any time.
    fn settle(&mut self, now: Instant) -> Result<(), String>;
    /// What must hold when all is over.
    fn rest(&mut self, now: Instant) -> Result<(), String>;
    /// Whether connection `number` waits for something that only a fault of the host's own keeps from coming.
    fn is_stuck_by_itself(&mut self, number: usize) -> Option<&'static str>;
}

/// The address of a host.
pub(crate) fn address(side: usize, version_4: bool) -> IpAddr {
    match (side, version_4) {
        (0, true) => Ipv4Addr::new(10, 0, 2, 15).into(),
        (_, true) => Ipv4Addr::new(10, 0, 2, 2).into(),
        (0, false) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x15).into(),
        (_, false) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
    }
}

/// Ports say which connection a segment belongs to: those of active ends begin here, on near and on far.
const ACTIVE: [u16; 2] = [20_000, 30_000];
/// And those of passive ends here.
const PASSIVE: u16 = 8000;

/// The address of the passive end.
pub(crate) fn passive(plan: &Plan, side: usize, number: usize) -> SocketAddr {
    let own = if plan.shared_backlog.is_some() { 0 } else { plan.ports_of(number) };
    SocketAddr::new(address(side, plan.connections[number].version_4), PASSIVE + own as u16)
}

/// The address of an end that opens its connection.
pub(crate) fn active(plan: &Plan, side: usize, number: usize) -> SocketAddr {
    let port = ACTIVE[side] + plan.ports_of(number) as u16;
    SocketAddr::new(address(side, plan.connections[number].version_4), port)
}

/// What the end of `side` that opens connection `number` opens it to.
pub(crate) fn target(plan: &Plan, side: usize, number: usize) -> SocketAddr {
    match plan.connections[number].opener {
        Opener::Both => active(plan, 1 - side, number),
        Opener::Side(_) => passive(plan, 1 - side, number),
    }
}

/// The first connection between these ports, if they are ours at all.
pub(crate) fn number_of(ports: [u16; 2]) -> usize {
    usize::from(ports[0].max(ports[1]) % 10_000)
}

/// The most memory that a connection may hold: what its buffers are to hold, and how small its segments may be, in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    send: usize,
    receive: usize,
    segment: usize,
}

impl Limits {
    fn allow(self, memory: Memory) -> bool {
        // The window is in units of its scale, which is at most this part of the buffer, and rounded up.
        let received = self.receive + self.receive / 32_768 + 1;
        // A list grows by doubling. A super-packet of which the peer has a part is a record for each segment.
        let records = 2 * (RECORDS_MAX + self.send / self.segment) * RECORD;
        memory.send <= ring(self.send)
            && memory.receive <= ring(received)
            && memory.reassembly <= 2 * RANGES_MAX * RANGE
            && memory.records <= records
    }
}

/// The largest ring for so many bytes: a power of two, or what others have left, four times as much at the most (`tcp::ring`).
fn ring(bytes: usize) -> usize {
    const LEFT: usize = 4 << 20;
    bytes.next_power_of_two().max(ANY_NEED).max(LEFT.min(4 * bytes))
}

/// A buffer of as much serves any need (`tcp::ring`).
const ANY_NEED: usize = 256 << 10;

/// How many transmissions and ranges are remembered (`tcp::transmit`, `tcp::reassembly`), and bytes of each.
const RECORDS_MAX: usize = 16_384;
const RECORD: usize = 80;
const RANGES_MAX: usize = 2048;
const RANGE: usize = 8;

/// The smallest segment of a path as bad as ICMP may say it is, and what timestamps take of it (RFC 1191, RFC 7323).
const SEGMENT_LEAST: usize = 500;
const TIMESTAMPS_LENGTH: usize = 12;

/// One of our engines.
pub(crate) struct Ours<'a> {
    plan: &'a Plan,
    engine: Engine,
    side: usize,
    sockets: Vec<Option<SocketId>>,
    listeners: HashMap<SocketAddr, SocketId>,
    /// Ends that are expected to be accepted, by their opener.
    expected: HashMap<SocketAddr, usize>,
}

impl<'a> Ours<'a> {
    pub(crate) fn new(plan: &'a Plan, side: usize, seed: u64, now: Instant) -> Ours<'a> {
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&seed.to_le_bytes());
        entropy[8] = side as u8;
        let settings = engine::Settings {
            mtu: plan.mtu[side],
            addresses: vec![Cidr::new(address(side, true), 24), Cidr::new(address(side, false), 64)],
            any_address: false,
            offer_incoming: false,
            checksums: plan.checksums,
            segmentation: plan.segmentation[side],
            in_memory: plan.in_memory,
            tcp: plan.tcp[side].clone(),
            seed: entropy,
        };
        Ours {
            plan,
            engine: Engine::new(settings, now),
            side,
            sockets: vec![None; plan.connections.len()],
            listeners: HashMap::new(),
            expected: HashMap::new(),
        }
    }

    fn id(&self, number: usize) -> SocketId {
        self.sockets[number].expect("only a socket that there is is used")
    }

    fn end(&self, number: usize) -> &'a End {
        &self.plan.connections[number].ends[self.side]
    }

    fn open(&mut self, at: SocketAddr) -> SocketId {
        self.engine.open(if at.is_ipv4() { Domain::V4 } else { Domain::V6 }, Kind::Stream)
    }

    fn set_first_options(&mut self, id: SocketId, number: usize, now: Instant) {
        for (_, option) in self.end(number).options.iter().filter(|(at, _)| *at == 0) {
            self.engine.set_option(id, *option, now).expect("any stream has these options");
        }
    }

    fn accept(&mut self, now: Instant) -> Result<(), String> {
        let mut listeners: Vec<_> = self.listeners.values().copied().collect();
        listeners.sort_unstable();
        for listener in listeners {
            while let Some(id) = self.engine.accept(listener) {
                let peer = self.engine.peer(id).ok_or("an accepted connection without a peer")?;
                match self.expected.remove(&peer) {
                    Some(number) => {
                        self.sockets[number] = Some(id);
                        self.set_first_options(id, number, now);
                    }
                    // A packet of the past that carries a SYN cookie, or belongs to one that came again so fast that
                    // the clock of initial numbers stood still, is as good as the first.
                    None if !self.plan.is_pristine() => {
                        self.engine.abort(id, now);
                        self.engine.release(id, now);
                    }
                    None => return Err(format!("a second connection from {peer} was accepted")),
                }
            }
        }
        Ok(())
    }

    fn limits(&self, number: usize) -> Limits {
        let ends = &self.plan.connections[number].ends;
        let receive = self.end(number).options.iter().filter_map(|(_, option)| match option {
            SocketOption::ReceiveBuffer(bytes) => *bytes,
            _ => None,
        });
        let segments = ends.iter().flat_map(|end| &end.options).filter_map(|(_, option)| match option {
            SocketOption::MaximumSegment(bytes) => bytes.map(usize::from),
            _ => None,
        });
        let tcp = &self.plan.tcp[self.side];
        Limits {
            // What a program asks for is no more than the path allows.
            send: tcp.send_max,
            receive: receive.chain([tcp.receive_max]).max().unwrap_or(0),
            segment: segments.chain([SEGMENT_LEAST]).min().unwrap_or(0) - TIMESTAMPS_LENGTH,
        }
    }

    /// Whether `at` can be bound to.
    fn is_free(&mut self, at: SocketAddr, now: Instant) -> Result<(), String> {
        let id = self.open(at);
        let bound = self.engine.bind(id, at, now);
        self.engine.release(id, now);
        bound.map_err(|error| format!("{at} is never free again: {error}"))
    }
}

impl Host for Ours<'_> {
    fn listen(&mut self, number: usize, now: Instant) {
        let at = passive(self.plan, self.side, number);
        self.expected.insert(active(self.plan, 1 - self.side, number), number);
        if self.listeners.contains_key(&at) {
            return;
        }
        let id = self.open(at);
        self.engine.bind(id, at, now).expect("each listener has a port of its own");
        self.engine
            .listen(id, self.plan.shared_backlog.unwrap_or(8), now)
            .expect("it is bound, not connected");
        self.listeners.insert(at, id);
    }

    fn connect(&mut self, number: usize, now: Instant) -> Result<(), Error> {
        let at = active(self.plan, self.side, number);
        let id = self.open(at);
        self.engine.set_option(id, SocketOption::ReuseAddress(true), now)?;
        self.set_first_options(id, number, now);
        let connected = self.engine.bind(id, at, now);
        let connected =
            connected.and_then(|()| self.engine.connect(id, target(self.plan, self.side, number), now));
        match connected {
            Ok(()) => self.sockets[number] = Some(id),
            Err(_) => self.engine.release(id, now),
        }
        connected
    }

    fn set_option(&mut self, number: usize, option: SocketOption, now: Instant) {
        self.engine.set_option(self.id(number), option, now).expect("any stream has these options");
    }

    fn status(&self, number: usize) -> Status {
        let Some(id) = self.sockets[number] else { return Status::Waiting };
        match self.engine.state(id) {
            Some(StreamState::Connecting) => Status::Connecting,
            Some(StreamState::Connected) => Status::Connected,
            Some(StreamState::Ended) => Status::Ended(self.engine.end(id)),
            other => panic!("a connection became {other:?}"),
        }
    }

    fn write_with(&mut self, number: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        self.engine.write_with(self.id(number), fill)
    }

    fn write_urgent(&mut self, number: usize, byte: u8) -> bool {
        self.engine.write_urgent(self.id(number), byte)
    }

    fn read_with(&mut self, number: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        self.engine.read_with(self.id(number), take)
    }

    fn at_eof(&self, number: usize) -> bool {
        self.engine.at_eof(self.id(number))
    }

    fn has_outstanding(&self, number: usize) -> bool {
        self.engine.unacknowledged(self.id(number)) > 0
    }

    fn forgets_unread(&self) -> bool {
        false
    }

    fn shutdown(&mut self, number: usize, now: Instant) {
        self.engine.shutdown_write(self.id(number), now);
    }

    fn abort(&mut self, number: usize, now: Instant) {
        self.engine.abort(self.id(number), now);
        self.engine.release(self.id(number), now);
    }

    fn release(&mut self, number: usize, now: Instant) {
        self.engine.release(self.id(number), now);
    }

    fn receive(&mut self, packet: &[u8], now: Instant) {
        self.engine.receive(packet, now);
    }

    fn transmit(&mut self, now: Instant, send: &mut dyn FnMut(&Outgoing<'_>)) -> bool {
        self.engine.transmit(now, send)
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.engine.deadline()
    }

    fn advance(&mut self, now: Instant) {
        self.engine.advance(now);
    }

    fn describe(&self, number: usize, now: Instant) -> Option<String> {
        let info = self.engine.info(self.sockets[number]?, now)?;
        Some(format!(
            "cwnd={} ssthresh={} mss={} unacked={} sacked={} lost={} retrans={} rtt={} rto={} backoff={} pace={} ca={}",
            info.snd_cwnd,
            info.snd_ssthresh,
            info.snd_mss,
            info.unacked,
            info.sacked,
            info.lost,
            info.retrans,
            info.rtt,
            info.rto,
            info.backoff,
            info.pacing_rate,
            info.ca_state,
        ))
    }

    fn settle(&mut self, now: Instant) -> Result<(), String> {
        self.accept(now)?;
        // Nobody waits for these: the programs of the simulation look for themselves.
        while self.engine.changed().is_some() {}
        let busy = self.engine.deadline() == Some(Instant::ZERO);
        for (number, id) in self.sockets.iter().enumerate() {
            let Some(held) = id.and_then(|id| self.engine.inspect(id)) else { continue };
            let broken = |what: String| Err(format!("connection {number}: {what}"));
            let limits = self.limits(number);
            if !limits.allow(held.memory) {
                return broken(format!("{:?}, its limits are {limits:?}", held.memory));
            }
            let awaited =
                held.deadline.is_none_or(|deadline| held.scheduled.is_some_and(|at| at <= deadline));
            if held.timed != held.scheduled.is_some() || !(busy || awaited) {
                return broken(format!("{held:?}: not one timer that runs in time"));
            }
        }
        Ok(())
    }

    fn rest(&mut self, now: Instant) -> Result<(), String> {
        let count = self.engine.sockets();
        if count != self.listeners.len() {
            return Err(format!("{} sockets are left besides the listeners", count - self.listeners.len()));
        }
        for listener in core::mem::take(&mut self.listeners).into_values() {
            self.engine.release(listener, now);
        }
        if self.engine.sockets() + self.engine.orphans() > 0 || self.engine.transmit_packet(now).is_some() {
            return Err("listeners without connections leave something behind".into());
        }
        if let Some(deadline) = self.engine.deadline() {
            return Err(format!("a deadline at {} us is left", deadline.micros()));
        }
        // TIME-WAIT is over: all ports are free.
        let later = now + Duration::from_secs(61);
        self.engine.advance(later);
        for number in 0..self.sockets.len() {
            self.is_free(passive(self.plan, self.side, number), later)?;
            self.is_free(active(self.plan, self.side, number), later)?;
        }
        Ok(())
    }

    fn is_stuck_by_itself(&mut self, _: usize) -> Option<&'static str> {
        None
    }
}
