//! The bench of the engine alone: two engines in one thread, packets handed over in memory, MTU 1500, no checksums.
//!
//! `cargo bench --bench memory` prints what bulk data, round trips and idle connections cost, each beside its limit, and
//! fails when one is missed; beside the first two what smoltcp's TCP does in the same run (`yardstick.rs`). Time is CPU
//! time of the thread; the engines' clock is stepped. What is counted is what a host does: write, transmit, receive, the
//! changes that the engine tells of, read, and the timers.

mod yardstick;

use rustix::time::{ClockId, clock_gettime};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tubesock::addressing::Cidr;
use tubesock::engine::{Domain, Engine, Kind, Settings, SocketId, SocketOption, StreamState};
use tubesock::tcp;
use tubesock::time::Instant;

/// Bytes that are allocated.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Allocations so far.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed to the system's allocator with the arguments that it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `dealloc`; the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Packets that one engine gives away before the other has its turn, as with `nat`.
const PACKETS_A_TURN: usize = 64;
const ROUNDS: usize = 20;
const BULK_BYTES: u64 = 1 << 28;
const ROUND_TRIPS: usize = 50_000;
const MANY: usize = 10_000;
const IDLE: usize = 100_000;

/// A client's and a server's engine.
struct World {
    client: Engine,
    server: Engine,
    now: Instant,
    /// Where a packet is put together.
    scratch: Vec<u8>,
}

fn engine(address: &str, seed: u8, now: Instant) -> Engine {
    let settings = Settings {
        mtu: 1500,
        addresses: vec![Cidr::new(address.parse().expect("an address"), 24)],
        any_address: false,
        offer_incoming: false,
        checksums: false,
        segmentation: 0,
        in_memory: true,
        tcp: tcp::Settings::default(),
        seed: [seed; 16],
    };
    Engine::new(settings, now)
}

/// Hands at most `limit` packets over. Whether there were any.
fn carry(from: &mut Engine, to: &mut Engine, scratch: &mut Vec<u8>, limit: usize, now: Instant) -> bool {
    let mut any = false;
    for _ in 0..limit {
        let sent = from.transmit(now, &mut |packet| {
            if !to.receive_parts(packet, now) {
                to.receive(packet.in_one(scratch), now);
            }
        });
        if !sent {
            break;
        }
        any = true;
    }
    while to.changed().is_some() {}
    any
}

impl World {
    fn new() -> World {
        let now = Instant::from_micros(1_000_000);
        let (client, server) = (engine("10.0.0.1", 1, now), engine("10.0.0.2", 2, now));
        World { client, server, now, scratch: Vec::new() }
    }

    fn step(&mut self, time: Duration) {
        self.now = self.now + time;
        self.client.advance(self.now);
        self.server.advance(self.now);
    }

    fn settle(&mut self) {
        loop {
            let World { client, server, scratch, now } = self;
            let there = carry(client, server, scratch, usize::MAX, *now);
            let back = carry(server, client, scratch, usize::MAX, *now);
            if !there && !back {
                return;
            }
        }
    }

    /// `count` connections, over so many ports that the client's suffice.
    fn connections(&mut self, count: usize) -> Vec<(SocketId, SocketId)> {
        const CONNECTIONS_PER_PORT: usize = 25_000;
        let mut pairs = Vec::with_capacity(count);
        for port in 0..count.div_ceil(CONNECTIONS_PER_PORT) {
            let listener = self.server.open(Domain::V4, Kind::Stream);
            let to: SocketAddr = format!("10.0.0.2:{}", 80 + port).parse().expect("an address");
            self.server.bind(listener, to, self.now).expect("bind");
            self.server.listen(listener, 16, self.now).expect("listen");
            for _ in 0..CONNECTIONS_PER_PORT.min(count - pairs.len()) {
                pairs.push(self.connection(listener, to));
            }
            self.server.release(listener, self.now);
        }
        pairs
    }

    fn connection(&mut self, listener: SocketId, to: SocketAddr) -> (SocketId, SocketId) {
        let client = self.client.open(Domain::V4, Kind::Stream);
        self.client.set_option(client, SocketOption::NoDelay(true), self.now).expect("an option");
        self.client.connect(client, to, self.now).expect("connect");
        self.settle();
        assert_eq!(self.client.state(client), Some(StreamState::Connected));
        (client, self.server.accept(listener).expect("a connection"))
    }

    /// Moves `total` bytes from the client to the server.
    fn bulk(&mut self, (client, server): (SocketId, SocketId), total: u64, buffer: &mut [u8]) {
        let (mut written, mut received) = (0, 0);
        while received < total {
            self.step(Duration::from_micros(10));
            if written < total {
                written += write(&mut self.client, client, buffer);
            }
            let World { client: from, server: to, scratch, now } = self;
            carry(from, to, scratch, PACKETS_A_TURN, *now);
            received += read(to, server, buffer);
            carry(to, from, scratch, PACKETS_A_TURN, *now);
        }
    }

    /// A byte to the server and back. The clock goes as it does for a host that is busy: about a microsecond.
    fn round_trip(&mut self, (client, server): (SocketId, SocketId)) {
        let mut byte = [1];
        self.step(Duration::from_micros(1));
        let World { client: from, server: to, scratch, now } = self;
        assert_eq!(write(from, client, &byte), 1);
        carry(from, to, scratch, usize::MAX, *now);
        assert_eq!(read(to, server, &mut byte), 1);
        assert_eq!(write(to, server, &byte), 1);
        carry(to, from, scratch, usize::MAX, *now);
        assert_eq!(read(from, client, &mut byte), 1);
    }

    /// CPU time of one round trip among `pairs`, in turn.
    fn round_trips(&mut self, pairs: &[(SocketId, SocketId)]) -> Duration {
        cpu(|| pairs.iter().cycle().take(ROUND_TRIPS).for_each(|pair| self.round_trip(*pair)))
            / ROUND_TRIPS as u32
    }
}

/// Fills the room there is with what `data` begins with, over and over.
fn write(engine: &mut Engine, id: SocketId, data: &[u8]) -> u64 {
    engine.write_with(id, &mut |room| {
        let length = room.len().min(data.len());
        room[..length].copy_from_slice(&data[..length]);
        length
    }) as u64
}

fn read(engine: &mut Engine, id: SocketId, buffer: &mut [u8]) -> u64 {
    engine.read_with(id, &mut |bytes| {
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        length
    }) as u64
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn cpu(work: impl FnOnce()) -> Duration {
    let start = thread_time();
    work();
    thread_time() - start
}

/// The best of the rounds: whatever else the machine does adds to a time, and nothing takes away from it.
fn best(times: impl Iterator<Item = Duration>) -> f64 {
    times.map(|time| time.as_secs_f64()).fold(f64::INFINITY, f64::min)
}

/// A line of the table; whether the limit holds.
fn line(what: &str, value: f64, limit: f64, more_is_better: bool) -> bool {
    let held = if more_is_better { value >= limit } else { value <= limit };
    let (sign, verdict) = (if more_is_better { ">=" } else { "<=" }, if held { "" } else { "missed" });
    println!("| {what:<58} | {value:>9.2} | {sign} {limit:>7.1} | {verdict:<6} |");
    held
}

/// A line that compares with smoltcp.
fn compare(what: &str, ours: f64, theirs: f64) {
    println!("| {what:<58} | {theirs:>9.2} | ratio {:>4.2} |        |", ours / theirs);
}

fn gigabits(bulk: impl FnMut() -> Duration) -> f64 {
    BULK_BYTES as f64 * 8.0 / best(core::iter::repeat_with(bulk).take(ROUNDS)) / 1e9
}

fn bulk() -> f64 {
    let mut world = World::new();
    let pair = world.connections(1)[0];
    let mut buffer = vec![7; 64 * 1024];
    world.bulk(pair, BULK_BYTES / 16, &mut buffer);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let rate = gigabits(|| cpu(|| world.bulk(pair, BULK_BYTES, &mut buffer)));
    println!("allocations in bulk: {}", ALLOCATIONS.load(Ordering::Relaxed) - before);
    rate
}

fn bulk_of_smoltcp() -> f64 {
    let mut pair = yardstick::Pair::new();
    let mut buffer = vec![7; 64 * 1024];
    pair.bulk(BULK_BYTES / 16, PACKETS_A_TURN, &mut buffer);
    gigabits(|| cpu(|| pair.bulk(BULK_BYTES, PACKETS_A_TURN, &mut buffer)))
}

/// Nanoseconds of a round trip of smoltcp's.
fn round_trips_of_smoltcp() -> f64 {
    let mut pair = yardstick::Pair::new();
    let round = || cpu(|| (0..ROUND_TRIPS).for_each(|_| pair.round_trip()));
    best(core::iter::repeat_with(round).take(ROUNDS)) / ROUND_TRIPS as f64 * 1e9
}

/// Nanoseconds of a round trip among `count` connections.
fn round_trips(count: usize) -> f64 {
    let mut world = World::new();
    let pairs = world.connections(count);
    pairs.iter().for_each(|pair| world.round_trip(*pair));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let time = best((0..ROUNDS).map(|_| world.round_trips(&pairs)));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!("allocations in round trips among {count}: {allocations}");
    time * 1e9
}

/// Bytes that an idle connection takes at one end: as it was established, and after a request and its answer.
fn idle() -> [f64; 2] {
    let mut world = World::new();
    let before = ALLOCATED.load(Ordering::Relaxed);
    let pairs = world.connections(IDLE);
    let taken = |before| {
        let pairs = core::mem::size_of::<(SocketId, SocketId)>() * IDLE;
        (ALLOCATED.load(Ordering::Relaxed) - before - pairs) as f64 / (2 * IDLE) as f64
    };
    let established = taken(before);
    pairs.iter().for_each(|pair| world.round_trip(*pair));
    world.step(Duration::from_secs(1));
    world.settle();
    world.step(Duration::from_secs(1));
    [established, taken(before)]
}

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, with no wish for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    // `cargo bench --bench memory -- bulk`: only that part, for a profiler.
    let wanted = |part: &str| {
        let mut parts = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
        parts.peek().is_none() || parts.any(|argument| argument == part)
    };
    let mut held = Vec::new();
    // `-- among 1`: round trips of one connection only.
    for count in std::env::args().filter_map(|argument| argument.parse().ok()) {
        println!("round trip among {count}: {:.0} ns", round_trips(count));
    }
    if wanted("bulk") {
        let ours = bulk();
        held.push(line("bulk, Gbit per CPU-second", ours, 50.0, true));
        compare("bulk of smoltcp", ours, bulk_of_smoltcp());
    }
    if wanted("trips") {
        let [one, few, many] = [1, 10, MANY].map(round_trips);
        held.push(line("round trip of 1 byte, one connection, ns", one, 450.0, false));
        compare("round trip of smoltcp", one, round_trips_of_smoltcp());
        held.push(line("round trip of 1 byte, among 10 connections, ns", few, 450.0, false));
        held.push(line("round trip of 1 byte, among 10,000, times that among 10", many / few, 1.5, false));
    }
    if wanted("idle") {
        let [fresh, used] = idle();
        held.push(line("idle connection of 100,000, established, bytes", fresh, 2048.0, false));
        held.push(line("idle connection of 100,000, after a round trip, bytes", used, 2048.0, false));
    }
    if held.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
