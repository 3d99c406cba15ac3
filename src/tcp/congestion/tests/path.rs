//! A model of bulk senders behind one bottleneck: rate, delay, drop-tail queue and seeded random loss, in whole
//! nanoseconds. It stands in for the connection: detects loss when three later packets have arrived, repairs first, reduces
//! by PRR (RFC 6937), samples delivery rates. It has no handshake, no reordering and no receiver window.
#![forbid(unsafe_code)]

use crate::tcp::congestion::{Acknowledgement, Congestion, RateSample};
use crate::time::Instant;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};

pub(super) const MSS: u32 = 1448;
const REORDERING: u64 = 3;
const RTO_MIN: u64 = 200_000_000;

/// What the packets cross. Times in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Path {
    pub(super) bytes_per_second: u64,
    pub(super) round_trip: Duration,
    /// Bytes that wait at most.
    pub(super) queue: u64,
    /// Packets lost at random in a million.
    pub(super) loss: u64,
    /// Each round trip is longer by up to this much, at random.
    pub(super) jitter: Duration,
    /// Packets that one ACK covers.
    pub(super) stretch: usize,
}

impl Path {
    /// With a queue of one bandwidth-delay product.
    pub(super) fn new(megabits: u64, round_trip_ms: u64) -> Path {
        let mut path = Path {
            bytes_per_second: megabits * 125_000,
            round_trip: Duration::from_millis(round_trip_ms),
            queue: 0,
            loss: 0,
            jitter: Duration::ZERO,
            stretch: 1,
        };
        path.queue = path.product();
        path
    }

    /// The bandwidth-delay product.
    pub(super) fn product(&self) -> u64 {
        self.bytes_per_second * self.round_trip.as_micros() as u64 / 1_000_000
    }
}

#[derive(Clone, Copy)]
struct Packet {
    number: u64,
    segment: u64,
    sent: u64,
    first_sent: u64,
    delivered: u64,
    delivered_at: u64,
    in_flight: u32,
}

/// PRR's variables (RFC 6937 3).
#[derive(Clone, Copy, Default)]
struct Reduction {
    point: u64,
    delivered: u64,
    out: u64,
    start: u64,
    window: u64,
    fast: bool,
}

/// A sender with no end of data, and what became of it.
pub(super) struct Flow {
    pub(super) controller: Box<dyn Congestion>,
    starts: u64,
    next_number: u64,
    next_segment: u64,
    outstanding: VecDeque<Packet>,
    repair: VecDeque<u64>,
    missing: BTreeSet<u64>,
    pending: Vec<Packet>,
    recovery: Option<Reduction>,
    delivered: u64,
    delivered_at: u64,
    first_sent: u64,
    smoothed: u64,
    least: u64,
    pace_at: u64,
    timeout_at: u64,
    /// Segments that arrived for the first time.
    pub(super) useful: u64,
    pub(super) lost: u64,
    pub(super) timeouts: u64,
    pub(super) reductions: u64,
    pub(super) longest_round_trip: Duration,
}

pub(super) struct Simulation {
    path: Path,
    pub(super) flows: Vec<Flow>,
    wire: VecDeque<(u64, usize, Packet)>,
    pub(super) now: u64,
    busy_until: u64,
    random: u64,
}

fn instant(nanos: u64) -> Instant {
    Instant::from_micros(nanos / 1000)
}

impl Flow {
    fn new(controller: Box<dyn Congestion>, starts: Duration) -> Flow {
        Flow {
            controller,
            starts: starts.as_nanos() as u64,
            next_number: 0,
            next_segment: 0,
            outstanding: VecDeque::new(),
            repair: VecDeque::new(),
            missing: BTreeSet::new(),
            pending: Vec::new(),
            recovery: None,
            delivered: 0,
            delivered_at: 0,
            first_sent: 0,
            smoothed: 0,
            least: u64::MAX,
            pace_at: starts.as_nanos() as u64,
            timeout_at: u64::MAX,
            useful: 0,
            lost: 0,
            timeouts: 0,
            reductions: 0,
            longest_round_trip: Duration::ZERO,
        }
    }

    fn in_flight(&self) -> u32 {
        self.outstanding.len() as u32 * MSS
    }

    fn window(&self) -> u64 {
        match self.recovery {
            Some(recovery) if recovery.fast && !self.controller.owns_recovery() => recovery.window,
            _ => u64::from(self.controller.window()),
        }
    }

    fn has_room(&self) -> bool {
        u64::from(self.in_flight() + MSS) <= self.window()
    }

    fn first_unacknowledged(&self) -> u64 {
        self.missing.first().copied().unwrap_or(self.next_segment)
    }

    fn rearm(&mut self, now: u64) {
        let timeout = RTO_MIN.max(self.smoothed * 2);
        self.timeout_at = if self.outstanding.is_empty() { u64::MAX } else { now + timeout };
    }

    fn next_packet(&mut self, now: u64) -> Packet {
        let segment = self.repair.pop_front().unwrap_or_else(|| {
            self.next_segment += 1;
            self.missing.insert(self.next_segment - 1);
            self.next_segment - 1
        });
        if self.outstanding.is_empty() {
            (self.first_sent, self.delivered_at) = (now, now);
            self.rearm(now);
        }
        let packet = Packet {
            number: self.next_number,
            segment,
            sent: now,
            first_sent: self.first_sent,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            in_flight: self.in_flight(),
        };
        self.next_number += 1;
        self.outstanding.push_back(packet);
        if let Some(recovery) = &mut self.recovery {
            recovery.out += u64::from(MSS);
        }
        if let Some(rate) = self.controller.pacing_rate() {
            self.pace_at = now.max(self.pace_at) + u64::from(MSS) * 1_000_000_000 / rate.max(1);
        }
        if self.timeout_at == u64::MAX {
            self.rearm(now);
        }
        packet
    }

    /// Takes one ACK for what is pending.
    fn acknowledge(&mut self, now: u64) {
        let Some(&last) = self.pending.last() else { return };
        let before = (self.in_flight(), self.first_unacknowledged());
        let arrived = core::mem::take(&mut self.pending);
        for packet in &arrived {
            self.forget(packet.number);
            self.useful += u64::from(self.missing.remove(&packet.segment));
        }
        let delivered = arrived.len() as u32 * MSS;
        self.delivered += u64::from(delivered);
        self.delivered_at = now;
        self.first_sent = last.sent;
        let lost = self.find_lost(last.number);
        let rtt = now - last.sent;
        self.smoothed = if self.smoothed == 0 { rtt } else { (self.smoothed * 7 + rtt) / 8 };
        self.least = self.least.min(rtt);
        self.longest_round_trip = self.longest_round_trip.max(Duration::from_nanos(rtt));
        self.recover(lost, now);
        let una = self.first_unacknowledged();
        let ack = Acknowledgement {
            now: instant(now),
            acknowledged: ((una - before.1) as u32).saturating_mul(MSS),
            delivered,
            lost,
            in_flight: self.in_flight(),
            prior_in_flight: before.0,
            rtt: Some(Duration::from_nanos(rtt)),
            smoothed_rtt: Duration::from_nanos(self.smoothed),
            minimum_rtt: Duration::from_nanos(self.least),
            window_limited: true,
            first_unacknowledged: una * u64::from(MSS),
            next_sent: self.next_segment * u64::from(MSS),
            recovering: self.recovery.is_some(),
            fast_recovery: self.recovery.is_some_and(|recovery| recovery.fast),
            rate: Some(self.rate_sample(&last, now)),
        };
        self.controller.on_acknowledgement(&ack);
        self.reduce_proportionally(u64::from(delivered));
        self.rearm(now);
    }

    /// The packet is near the front, since nothing is reordered.
    fn forget(&mut self, number: u64) {
        if let Some(index) = self.outstanding.iter().position(|packet| packet.number >= number)
            && self.outstanding[index].number == number
        {
            self.outstanding.remove(index);
        }
    }

    fn rate_sample(&self, last: &Packet, now: u64) -> RateSample {
        let interval = (last.sent - last.first_sent).max(now - last.delivered_at);
        RateSample {
            delivered: self.delivered - last.delivered,
            interval: Duration::from_nanos(interval),
            prior_delivered: last.delivered,
            total_delivered: self.delivered,
            application_limited: false,
            retransmitted: false,
            in_flight_at_send: last.in_flight,
        }
    }

    fn find_lost(&mut self, highest: u64) -> u32 {
        let mut lost = 0;
        while let Some(packet) = self.outstanding.front().copied()
            && packet.number + REORDERING <= highest
        {
            self.outstanding.pop_front();
            self.repair.push_back(packet.segment);
            lost += MSS;
        }
        self.lost += u64::from(lost);
        lost
    }

    fn recover(&mut self, lost: u32, now: u64) {
        if self.recovery.is_some_and(|recovery| self.first_unacknowledged() >= recovery.point) {
            self.recovery = None;
            self.controller.on_recovered(instant(now));
        }
        if lost > 0 && self.recovery.is_none() {
            let start = u64::from(self.controller.window());
            self.controller.on_congestion(instant(now), self.in_flight());
            self.reductions += 1;
            let point = self.next_segment;
            self.recovery = Some(Reduction { point, start, window: start, fast: true, ..Default::default() });
        }
    }

    /// RFC 6937 3, with its slow start reduction bound.
    fn reduce_proportionally(&mut self, delivered: u64) {
        let (flight, target) = (u64::from(self.in_flight()), u64::from(self.controller.threshold()));
        let Some(recovery) = &mut self.recovery else { return };
        recovery.delivered += delivered;
        let room = if flight > target {
            (recovery.delivered * target).div_ceil(recovery.start.max(1)).saturating_sub(recovery.out)
        } else {
            let bound = recovery.delivered.saturating_sub(recovery.out).max(delivered) + u64::from(MSS);
            bound.min(target - flight)
        };
        recovery.window = flight + room;
    }

    fn time_out(&mut self, now: u64) {
        self.timeouts += 1;
        self.lost += u64::from(self.in_flight());
        let flight: Vec<u64> = self.outstanding.drain(..).map(|packet| packet.segment).collect();
        self.repair.extend(flight);
        self.repair.make_contiguous().sort_unstable();
        self.controller.on_timeout(instant(now), 0);
        self.recovery = Some(Reduction { point: self.next_segment, ..Default::default() });
        self.rearm(now);
    }
}

impl Simulation {
    pub(super) fn new(path: Path, seed: u64) -> Simulation {
        Simulation {
            path,
            flows: Vec::new(),
            wire: VecDeque::new(),
            now: 0,
            busy_until: 0,
            random: seed.wrapping_mul(2) + 1,
        }
    }

    pub(super) fn with(mut self, controller: Box<dyn Congestion>, starts: Duration) -> Simulation {
        self.flows.push(Flow::new(controller, starts));
        self
    }

    /// Steele's and Vigna's splitmix64.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Goes on until `end` after the start.
    pub(super) fn run(&mut self, end: Duration) {
        let end = end.as_nanos() as u64;
        loop {
            let at = self.next_event();
            if at > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(at);
            self.receive();
            for index in 0..self.flows.len() {
                if self.flows[index].timeout_at <= self.now {
                    self.flows[index].time_out(self.now);
                }
                self.send(index);
            }
        }
    }

    fn next_event(&self) -> u64 {
        let arrival = self.wire.front().map_or(u64::MAX, |packet| packet.0);
        let flows = self.flows.iter().map(|flow| {
            let send = if flow.has_room() { flow.pace_at.max(flow.starts) } else { u64::MAX };
            send.min(flow.timeout_at)
        });
        flows.fold(arrival, u64::min)
    }

    fn receive(&mut self) {
        while let Some(&(at, index, packet)) = self.wire.front()
            && at <= self.now
        {
            self.wire.pop_front();
            let more = self.wire.iter().take(self.flows.len()).any(|next| next.1 == index);
            let flow = &mut self.flows[index];
            flow.pending.push(packet);
            let gap = flow.outstanding.front().is_some_and(|first| first.number < flow.pending[0].number);
            if gap || !more || flow.pending.len() >= self.path.stretch {
                flow.acknowledge(self.now);
            }
        }
    }

    fn send(&mut self, index: usize) {
        while self.flows[index].has_room()
            && self.flows[index].pace_at.max(self.flows[index].starts) <= self.now
        {
            let packet = self.flows[index].next_packet(self.now);
            self.carry(index, packet);
        }
    }

    fn carry(&mut self, index: usize, packet: Packet) {
        let time = |bytes: u64| bytes * 1_000_000_000 / self.path.bytes_per_second;
        let waiting = self.busy_until.saturating_sub(self.now);
        if waiting > time(self.path.queue) {
            return;
        }
        self.busy_until = self.busy_until.max(self.now) + time(u64::from(MSS));
        let (dice, jitter) = (self.random() % 1_000_000, self.random());
        if dice < self.path.loss {
            return;
        }
        let jitter = jitter % (self.path.jitter.as_nanos() as u64 + 1);
        let at = self.busy_until + self.path.round_trip.as_nanos() as u64 + jitter;
        let at = self.wire.back().map_or(at, |last| at.max(last.0));
        self.wire.push_back((at, index, packet));
    }

    /// The part of the path's rate that arrived and was new, until now.
    pub(super) fn utilisation(&self) -> f64 {
        let useful: u64 = self.flows.iter().map(|flow| flow.useful).sum();
        (useful * u64::from(MSS)) as f64 / (self.path.bytes_per_second as f64 * self.now as f64 / 1e9)
    }
}
