//! Plausible segments and calls against one `tcp::Connection`. The steps of an input are segments around the numbers
//! that matter (`step.rs`), calls of an owner and time; a model (`model.rs`) bounds what the connection may do, and at the
//! end a well-behaved peer and owner must still be able to finish (`ending.rs`).
#![forbid(unsafe_code)]

mod ending;
mod model;
mod opening;
mod peer;
mod step;
mod stream;

use super::bytes::Bytes;
use super::intervals::Intervals;
use super::memory;
use super::wire::{ACK, FIN, Options, PSH, RST, SYN, URG, Wire};
use model::{Cause, Model};
use peer::{Peer, Plan};
use std::time::Duration;
use stream::Stream;
use tubesock::ip;
use tubesock::tcp::{Connection, Context, Segment, State};
use tubesock::time::Instant;

/// Steps of one input, and bytes that its owner writes.
const STEPS_MAX: usize = 500;
const WRITTEN_MAX: i64 = 2 << 20;

/// Rounds of `advance` and `transmit` at one instant.
const ROUNDS_MAX: usize = 20;

/// Memory beside twice the buffers (they double as they grow, and give what they leave to the pool).
const OVERHEAD_MAX: usize = 2 << 20;

/// The body of the target.
pub fn connection(data: &[u8]) {
    let mut input = Bytes::new(data);
    let before = memory::live();
    let mut world = opening::world(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() || world.is_over() {
            break;
        }
        world.step(&mut input);
        world.check_memory(before);
    }
    world.end_in_peace();
}

struct World {
    context: Context,
    connection: Connection,
    model: Model,
    peer: Peer,
    now: Instant,
    /// The owner gave up: any end is right.
    aborted: bool,
    /// Segments that have gone either way.
    segments: usize,
    /// Whether to tell what happens: FUZZ_TRACE is set.
    trace: bool,
}

impl World {
    fn is_over(&self) -> bool {
        matches!(self.connection.state(), State::Closed | State::TimeWait)
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>12} {:?} {}", self.now.micros(), self.connection.state(), what());
        }
    }

    /// The peer sends a segment.
    fn send(&mut self, plan: &Plan) {
        let wire = self.peer.build(plan, &self.model, self.now);
        self.inject(&wire);
    }

    fn inject(&mut self, wire: &Wire) {
        self.tell(|| format!("< {}", self.shown(wire, false)));
        self.segments += 1;
        self.model.arrives(wire);
        let packet = wire.packet(false);
        let Ok(header) = ip::parse(&packet, false) else { unreachable!("built well") };
        if let Ok(segment) = Segment::parse(&packet, &header, false) {
            let payload = &packet[segment.payload_range()];
            self.connection.receive(&mut self.context, &segment, payload, self.now);
            self.peer.believe(self.model.acknowledged_by_peer);
        }
        self.check(Cause::Segment(wire));
        self.settle();
    }

    /// A segment with its numbers as offsets.
    fn shown(&self, wire: &Wire, ours: bool) -> String {
        let (iss, irs) = (self.model.terms.iss, self.model.terms.irs);
        let (sent, received) = (self.model.sent, self.model.acknowledged);
        let (sequence, acknowledged) = match ours {
            true => ((iss, sent), (irs, received)),
            false => ((irs, received), (iss, sent)),
        };
        let offset = |number, (first, near): (u32, i64)| stream::unwrapped(number, first, near);
        let flags: String = "FSRPAU"
            .chars()
            .enumerate()
            .filter(|(bit, _)| wire.has(1 << bit))
            .map(|(_, name)| name)
            .collect();
        let options = Options::read(&wire.options);
        let sack = options.iter().flat_map(|options| &options.sack);
        let sack: Vec<_> =
            sack.map(|(left, right)| (offset(*left, acknowledged), offset(*right, acknowledged))).collect();
        format!(
            "{flags} {}:{} ack {} win {} urg {} sack {sack:?} {:?}",
            offset(wire.sequence, sequence),
            wire.payload.len(),
            offset(wire.acknowledgement, acknowledged),
            wire.window,
            wire.urgent,
            options.and_then(|options| options.timestamps)
        )
    }

    fn check(&mut self, cause: Cause<'_>) {
        let (state, end) = (self.connection.state(), self.connection.end());
        self.model.check_state(state, end, cause, self.aborted);
        if state == State::TimeWait {
            let remains = self.connection.time_wait().expect("TIME-WAIT has what must be remembered");
            let sent = stream::wrapped(self.model.sent, self.model.terms.iss);
            assert_eq!(remains.next_sent.0, sent, "SND.NXT of TIME-WAIT");
            self.model.check_fin_received(remains.next_received.0);
        }
        self.model.check_info(&self.connection.info(self.now));
    }

    /// Lets the connection do all that is due now.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.drain();
            self.check(Cause::Call);
            match self.connection.deadline() {
                Some(deadline) if deadline <= self.now => {
                    self.connection.advance(&mut self.context, self.now)
                }
                _ => return,
            }
            self.check(Cause::Time);
        }
        panic!("the deadline stays in the past");
    }

    /// Sends all there is to send.
    fn drain(&mut self) {
        let unacknowledged = self.connection.unacknowledged();
        let (mut empty, mut bytes) = (0, 0);
        loop {
            let mut sent = Vec::new();
            let (model, context) = (&mut self.model, &mut self.context);
            let more = self
                .connection
                .transmit(context, self.now, &mut |outgoing| sent.push(model.leaves(outgoing)));
            assert_eq!(more, sent.len() == 1, "one segment for each true");
            let Some(wire) = sent.pop() else { return };
            self.tell(|| format!("> {}", self.shown(&wire, true)));
            let goes_on = self.connection.state().is_synchronized();
            assert!(!wire.has(RST) || !goes_on, "a reset of a connection that goes on");
            self.segments += 1;
            bytes += wire.payload.len();
            empty += usize::from(wire.payload.is_empty());
            assert!(empty <= 8, "empty segments without an end");
            assert!(bytes <= 3 * unacknowledged, "{bytes} bytes leave at one instant, of {unacknowledged}");
            self.peer.on_its_way(wire);
        }
    }

    /// Time passes, every deadline on the way honoured, but for a bound on how many.
    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..1000 {
            match self.connection.deadline().filter(|deadline| *deadline <= end) {
                Some(deadline) => self.now = deadline,
                None => break,
            }
            self.connection.advance(&mut self.context, self.now);
            self.check(Cause::Time);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// The owner writes as much of its stream as there is room for.
    fn write(&mut self, length: usize) {
        let mut left = length.min((WRITTEN_MAX - self.model.written).max(0) as usize);
        let start = 1 + self.model.written;
        let mut at = start;
        let written = self.connection.write_with(&mut self.context, &mut |room| {
            let count = room.len().min(left);
            room[..count].copy_from_slice(&Stream::Ours.bytes(at, count));
            (left, at) = (left - count, at + count as i64);
            count
        });
        assert_eq!(written as i64, at - start, "what was written is counted");
        assert!(written == 0 || !self.model.closed, "written after the end");
        self.model.written += written as i64;
        self.tell(|| format!("write {written} of {length}"));
        self.settle();
    }

    /// The owner reads, over marks of urgent data, at which one read stops.
    fn read(&mut self, length: usize) {
        let (wanted, mut total) = (length.min(self.connection.readable()), 0);
        loop {
            let read = self.read_once(length - total);
            total += read;
            if read == 0 {
                break;
            }
        }
        self.tell(|| format!("read {total} of {length}"));
        assert!(total == wanted || self.model.urgent_apart, "what can be read is read");
        if self.connection.fin_received() && self.connection.readable() == 0 {
            self.model.check_end_of_file();
        }
        self.settle();
    }

    fn read_once(&mut self, mut left: usize) -> usize {
        let model = &mut self.model;
        self.connection.read_with(&mut self.context, self.now, &mut |bytes| {
            let count = bytes.len().min(left);
            model.is_read(&bytes[..count]);
            left -= count;
            count
        })
    }

    fn check_memory(&self, before: isize) {
        let most = 2 * (2 * self.model.terms.tcp.send_max + 2 * self.model.receive_max) + OVERHEAD_MAX;
        // What is on its way to the peer is not the connection's.
        let queue: usize = self.peer.queue.iter().map(|wire| wire.payload.len() + 200).sum();
        let grown = memory::live() - before;
        assert!(grown <= (most + 2 * queue) as isize, "{grown} bytes of memory are in use");
    }
}
