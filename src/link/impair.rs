//! A link around a link that is worse than it: delay, jitter, rate, loss, bursts, reordering, duplicates, corruption, an
//! MTU black hole, an outage; each direction on its own. In the words of tc-netem(8), whose grammar is in
//! `config::impairment`.
//!
//! ```text
//!   packet ─► down? mtu? ─► duplicate ─► loss ─► corrupt ─► rate with a queue ─► delay ± jitter, or reorder ─► packet
//! ```
//!
//! Theory of operation. What happens to the n-th packet of a direction is drawn from a generator of its own, which the
//! seed, the direction and n settle: so the same seed gives the same decisions whenever the packets come, and changed
//! settings do not shift the decisions that follow. Only the Gilbert model and `gap` remember packets before. What waits
//! is held in order of the time when it is due, and among equals in order of arrival. Super-packets and coalesced ones
//! are cut into what a network would carry before anything happens to them.
//!
//! Where this is not netem: with a rate `limit` counts what waits for it and not what is under way besides, so that it is
//! the queue of a bottleneck, and without one a delay holds what comes unless a limit is given; a reordered packet skips
//! the delay and not the rate; nothing is correlated; the jitter is uniform. A corrupted packet has one bit flipped; where
//! nobody looks at checksums (`Capabilities::checksums`) it is dropped, as the receiver would have done by its checksum.
//!
//! Limits: `HELD_BYTES_MAX` in each direction, beyond which packets are lost.
#![forbid(unsafe_code)]

use super::segmentation::{cut, cut_coalesced};
use super::{Capabilities, Link, Outgoing, Packet};
use crate::addressing::Addressing;
pub use crate::config::{Impairment as Settings, Impairments, Limit, Loss, Probability};
use crate::time::Instant;
use core::cmp::Ordering;
use core::time::Duration;
use rustix::fd::BorrowedFd;
use std::collections::{BinaryHeap, VecDeque};

/// Bytes that are under way in one direction: a quarter of a second at 2 Gbit/s.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Packets of the link that one call takes: who floods it must not hold the others up.
const TAKEN_AT_ONCE: usize = 256;

/// Which way packets go, as the engine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From `transmit` to the network.
    Outgoing,
    /// From the network to `receive`.
    Incoming,
}

/// What became of the packets of one direction, as long as its settings are not the default's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came.
    pub seen: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Lost by `loss`.
    pub lost: u64,
    /// With a bit flipped, or dropped for it.
    pub corrupted: u64,
    /// That skipped the delay.
    pub reordered: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Lost because they were larger than `mtu`.
    pub too_large: u64,
    /// Lost while the link was down.
    pub down: u64,
}

/// A link whose packets are impaired.
pub struct Impair<L> {
    link: L,
    lanes: Lanes,
    /// Packets passed on to the link.
    passed: u64,
    /// Of a link in memory: that nothing was to be done to packets from the start.
    in_memory: bool,
}

/// Both directions.
pub struct Lanes {
    seed: u64,
    outgoing: Lane,
    incoming: Lane,
}

impl Lanes {
    /// Changes the settings of a direction. What is under way arrives as it would have.
    pub fn set(&mut self, direction: Direction, settings: Settings, now: Instant) {
        match direction {
            Direction::Outgoing => self.outgoing.set(settings, now),
            Direction::Incoming => self.incoming.set(settings, now),
        }
    }

    /// What is done from `now` on, with the seed: given to `Impair::new`, it decides the same.
    pub fn settings(&self, now: Instant) -> Impairments {
        // To the millisecond, for people; no shorter than it is.
        let rest = |lane: &Lane| (lane.down_until - now).as_micros().div_ceil(1000) as u64;
        let left = |lane: &Lane| Settings { down: Duration::from_millis(rest(lane)), ..lane.settings };
        Impairments {
            outgoing: Some(left(&self.outgoing)),
            incoming: Some(left(&self.incoming)),
            seed: Some(self.seed),
        }
    }

    /// What became of the packets so far.
    pub fn counters(&self, direction: Direction) -> Counters {
        self.lane(direction).counters
    }

    fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::Outgoing => &self.outgoing,
            Direction::Incoming => &self.incoming,
        }
    }
}

impl<L: Link> Impair<L> {
    /// Impairs `link` from `now` on.
    pub fn new(link: L, outgoing: Settings, incoming: Settings, seed: u64, now: Instant) -> Impair<L> {
        // Two streams of one seed.
        let mut dice = Dice::new(seed, 0);
        let outgoing = Lane::new(outgoing, dice.next(), now);
        let incoming = Lane::new(incoming, dice.next(), now);
        let in_memory = outgoing.is_clear() && incoming.is_clear();
        Impair { link, lanes: Lanes { seed, outgoing, incoming }, passed: 0, in_memory }
    }

    /// Changes the settings of a direction. What is under way arrives as it would have.
    pub fn set(&mut self, direction: Direction, settings: Settings, now: Instant) {
        self.lanes.set(direction, settings, now);
    }

    /// What became of the packets so far.
    pub fn counters(&self, direction: Direction) -> Counters {
        self.lanes.counters(direction)
    }

    /// The link inside.
    pub fn link_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Passes on what is due.
    fn flush(&mut self, now: Instant) {
        while let Some(packet) = self.lanes.outgoing.due(now) {
            self.passed += 1;
            self.link.transmit(packet.as_slice().into(), now);
        }
    }
}

impl<L: Link> Link for Impair<L> {
    fn capabilities(&self) -> Capabilities {
        // What impairment there is from the start is a network's, and has congestion; one that comes later is a trial.
        let inner = self.link.capabilities();
        Capabilities { in_memory: inner.in_memory && self.in_memory, ..inner }
    }

    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        self.flush(now);
        if self.lanes.incoming.is_clear() {
            return self.link.receive(now, take);
        }
        // Before others come: what has arrived takes no room on the way.
        if let Some(packet) = self.lanes.incoming.due(now) {
            take(&packet);
            return true;
        }
        let Capabilities { mtu, checksums, .. } = self.link.capabilities();
        let Impair { link, lanes: Lanes { incoming, .. }, .. } = self;
        let mut put = |packet: &[u8]| {
            cut_coalesced(packet, mtu, checksums, &mut |packet| incoming.put(packet, checksums, now));
        };
        for _ in 0..TAKEN_AT_ONCE {
            if !link.receive(now, &mut put) {
                break;
            }
        }
        match self.lanes.incoming.due(now) {
            Some(packet) => {
                take(&packet);
                true
            }
            None => false,
        }
    }

    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant) {
        if self.lanes.outgoing.is_clear() {
            self.passed += 1;
            return self.link.transmit(packet, now);
        }
        self.flush(now);
        let checksums = self.link.capabilities().checksums;
        cut(packet, checksums, &mut |packet| self.lanes.outgoing.put(packet, checksums, now));
        self.flush(now);
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.link.wake()
    }

    fn deadline(&mut self) -> Option<Instant> {
        let held = [self.lanes.outgoing.next_due(), self.lanes.incoming.next_due(), self.link.deadline()];
        held.into_iter().flatten().min()
    }

    fn busy(&self) -> bool {
        !self.lanes.outgoing.held.is_empty() || self.link.busy()
    }

    fn progress(&self) -> u64 {
        self.link.progress().wrapping_add(self.passed)
    }

    fn addressing(&mut self) -> Option<Addressing> {
        self.link.addressing()
    }

    fn impairment(&mut self) -> Option<&mut Lanes> {
        Some(&mut self.lanes)
    }
}

/// One direction.
struct Lane {
    settings: Settings,
    /// Whether they do anything.
    idle: bool,
    seed: u64,
    counters: Counters,
    /// The bad state of the Gilbert model.
    bad: bool,
    /// Packets since the last that was reordered.
    in_order: u32,
    down_until: Instant,
    bottleneck: Bottleneck,
    held: BinaryHeap<Held>,
    held_bytes: usize,
    /// Packets ever held.
    serial: u64,
}

impl Lane {
    fn new(settings: Settings, seed: u64, now: Instant) -> Lane {
        Lane {
            settings,
            idle: settings == Settings::default(),
            seed,
            counters: Counters::default(),
            bad: false,
            in_order: 0,
            down_until: now + settings.down,
            bottleneck: Bottleneck::default(),
            held: BinaryHeap::new(),
            held_bytes: 0,
            serial: 0,
        }
    }

    fn set(&mut self, settings: Settings, now: Instant) {
        self.settings = settings;
        self.idle = settings == Settings::default();
        self.down_until = now + settings.down;
    }

    /// Nothing to do and nothing held: packets pass untouched, whole and uncounted.
    fn is_clear(&self) -> bool {
        self.idle && self.held.is_empty()
    }

    fn put(&mut self, packet: Packet, checksums: bool, now: Instant) {
        let mut dice = Dice::new(self.seed, self.counters.seen);
        self.counters.seen += 1;
        if now < self.down_until {
            self.counters.down += 1;
            return;
        }
        if self.settings.mtu.is_some_and(|mtu| packet.len() > mtu) {
            self.counters.too_large += 1;
            return;
        }
        if dice.roll(self.settings.duplicate) {
            self.counters.duplicated += 1;
            self.put_copy(packet.clone(), &mut dice, checksums, now);
        }
        self.put_copy(packet, &mut dice, checksums, now);
    }

    fn put_copy(&mut self, mut packet: Packet, dice: &mut Dice, checksums: bool, now: Instant) {
        // All are drawn, used or not: what is asked of one kind does not shift another's.
        let (lost, corrupt, bit) = (self.loses(dice), dice.roll(self.settings.corrupt), dice.next());
        let (reorder, late) = (dice.roll(self.settings.reorder), dice.next());
        if lost {
            self.counters.lost += 1;
            return;
        }
        if corrupt {
            self.counters.corrupted += 1;
            if !checksums {
                return;
            }
            flip(&mut packet, bit);
        }
        // Before it takes its time at the bottleneck.
        if self.held_bytes + packet.len() > HELD_BYTES_MAX {
            self.counters.overflowed += 1;
            return;
        }
        if !self.has_room(packet.len()) {
            self.counters.overflowed += 1;
            return;
        }
        let Some(sent) = self.bottleneck.send(packet.len(), &self.settings, now) else {
            self.counters.overflowed += 1;
            return;
        };
        let due = if self.overtakes(reorder) { sent } else { sent + self.settings.delay_of(late) };
        self.hold(packet, due);
    }

    /// Whether `limit` lets another packet be under way. Where there is a rate it is the bottleneck's.
    fn has_room(&self, bytes: usize) -> bool {
        let holds = self.settings.rate.is_none()
            && !(self.settings.delay.is_zero() && self.settings.jitter.is_zero());
        let limit = self.settings.limit.filter(|_| holds);
        limit.is_none_or(|limit| limit.has_room(self.held.len(), self.held_bytes, bytes))
    }

    /// As netem does: lost by the state that the packet found, and then the state changes.
    fn loses(&mut self, dice: &mut Dice) -> bool {
        let (lost, turns) = match self.settings.loss {
            Loss::None => (Probability::NEVER, Probability::NEVER),
            Loss::Random(probability) => (probability, Probability::NEVER),
            Loss::Gilbert { turns_good, lost_when_bad, .. } if self.bad => (lost_when_bad, turns_good),
            Loss::Gilbert { turns_bad, lost_when_good, .. } => (lost_when_good, turns_bad),
        };
        self.bad ^= dice.roll(turns);
        dice.roll(lost)
    }

    fn overtakes(&mut self, reorder: bool) -> bool {
        let may = self.in_order.saturating_add(1) >= self.settings.gap;
        let overtakes = may && reorder;
        self.in_order = if overtakes { 0 } else { self.in_order.saturating_add(1) };
        self.counters.reordered += u64::from(overtakes);
        overtakes
    }

    fn hold(&mut self, packet: Packet, due: Instant) {
        self.held_bytes += packet.len();
        self.serial += 1;
        self.held.push(Held { due, serial: self.serial, packet });
    }

    fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|held| held.due)
    }

    /// The next packet that has been under way for long enough.
    fn due(&mut self, now: Instant) -> Option<Packet> {
        if self.next_due()? > now {
            return None;
        }
        let held = self.held.pop()?;
        self.held_bytes -= held.packet.len();
        Some(held.packet)
    }
}

impl Settings {
    /// `delay` plus what `random` makes of `jitter`, never negative.
    fn delay_of(&self, random: u64) -> Duration {
        // A jitter of a thousand years is as good as one.
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX).min(1 << 55);
        (self.delay.saturating_add(Duration::from_micros(random % (2 * jitter + 1))))
            .saturating_sub(Duration::from_micros(jitter))
    }
}

fn flip(packet: &mut [u8], random: u64) {
    let bits = packet.len() as u64 * 8;
    if let Some(bit) = random.checked_rem(bits)
        && let Some(byte) = packet.get_mut((bit / 8) as usize)
    {
        *byte ^= 1 << (bit % 8);
    }
}

/// What sends at `rate`, one packet after the other.
#[derive(Default)]
struct Bottleneck {
    /// When the last packet that was taken has been sent, in nanoseconds: a packet may take less than a microsecond.
    free_at: u128,
    /// When each packet has been sent, and its bytes.
    queue: VecDeque<(u128, usize)>,
    queued_bytes: usize,
}

impl Bottleneck {
    /// When a packet has been sent that comes now; None when there is no room for it.
    fn send(&mut self, bytes: usize, settings: &Settings, now: Instant) -> Option<Instant> {
        let nanos = u128::from(now.micros()) * 1000;
        let Some(rate) = settings.rate else { return Some(now) };
        while let Some((sent, bytes)) = self.queue.front().copied()
            && sent <= nanos
        {
            self.queue.pop_front();
            self.queued_bytes -= bytes;
        }
        let limit = settings.limit.unwrap_or(Limit::OF_A_RATE);
        if !limit.has_room(self.queue.len(), self.queued_bytes, bytes) {
            return None;
        }
        self.free_at = self.free_at.max(nanos) + bytes as u128 * 8 * 1_000_000_000 / u128::from(rate.get());
        self.queue.push_back((self.free_at, bytes));
        self.queued_bytes += bytes;
        // Not before it was sent.
        Some(Instant::from_micros(u64::try_from(self.free_at.div_ceil(1000)).unwrap_or(u64::MAX)))
    }
}

/// A packet under way.
struct Held {
    due: Instant,
    serial: u64,
    packet: Packet,
}

impl Held {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.serial)
    }
}

impl Ord for Held {
    /// The heap's greatest is the next one due.
    fn cmp(&self, other: &Held) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

/// splitmix64: any state is as good as any other, so that one can be made for each packet.
struct Dice(u64);

impl Dice {
    /// The generator of the `index`-th packet.
    fn new(seed: u64, index: u64) -> Dice {
        let mut dice = Dice(seed ^ Dice(index).next());
        Dice(dice.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn roll(&mut self, probability: Probability) -> bool {
        probability.has(self.next() >> 32)
    }
}

#[cfg(test)]
mod tests;
