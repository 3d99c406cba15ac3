//! What leaves: packets of no connection first, then one segment of each connection that has some, in turn. What is
//! for an address of ours never leaves: it is received again.
#![forbid(unsafe_code)]

use super::{Engine, Path, SocketId};
use crate::addressing::is_unicast;
use crate::icmp::{self, Unreachable};
use crate::ip::Header;
use crate::link::{Outgoing, Packet};
use crate::time::Instant;
use std::net::IpAddr;

/// Packets to ourselves that one `transmit` moves before it lets its caller do something else.
const LOOPED_PER_CALL: usize = 256;

/// Packets kept for their memory.
const SPARE_MAX: usize = 64;

/// Packets of no connection that wait: replies beyond are dropped, datagrams refused with ENOBUFS.
const OUTBOX_MAX: usize = 1024;

/// ICMP errors sent: this many at once, and so many a second (Linux's icmp_msgs_burst and icmp_msgs_per_sec).
const ERRORS_AT_ONCE: u64 = 50;
const ERRORS_PER_SECOND: u64 = 1000;

/// A token bucket.
pub(super) struct Allowance {
    tokens: u64,
    filled: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Allowance {
        Allowance { tokens: ERRORS_AT_ONCE, filled: now }
    }

    fn take(&mut self, now: Instant) -> bool {
        let earned = (now - self.filled).as_micros() as u64 * ERRORS_PER_SECOND / 1_000_000;
        if earned > 0 {
            self.tokens = (self.tokens + earned).min(ERRORS_AT_ONCE);
            self.filled = now;
        }
        let allowed = self.tokens > 0;
        self.tokens -= u64::from(allowed);
        allowed
    }
}

impl Engine {
    /// Gives the next packet for the link to `send`; false when there is none. Bounded work a call; call until false.
    /// What is left then, if packets to ourselves keep coming, makes `deadline` the past.
    pub fn transmit(&mut self, now: Instant, send: &mut dyn FnMut(&Outgoing<'_>)) -> bool {
        self.now = now;
        if !self.relieved.is_empty() {
            self.answer_late(now);
        }
        for _ in 0..LOOPED_PER_CALL {
            if let Some(packet) = self.looped.pop_front() {
                self.take(&packet, Path::Loopback, now);
                self.recycle(packet);
            } else if let Some(packet) = self.outbox.pop_front() {
                self.counters.sent(packet.len());
                send(&packet.as_slice().into());
                return true;
            } else {
                match self.transmit_segment(now, send) {
                    Some(Path::Link) => return true,
                    Some(Path::Loopback) => {}
                    None => return false,
                }
            }
        }
        false
    }

    /// `transmit` with a packet of its own, for whoever does not mind the copy.
    pub fn transmit_packet(&mut self, now: Instant) -> Option<Packet> {
        let mut packet = None;
        self.transmit(now, &mut |outgoing| packet = Some(outgoing.to_packet()));
        packet
    }

    fn recycle(&mut self, packet: Packet) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(packet);
        }
    }

    /// One segment of the connection whose turn it is, and where it went.
    fn transmit_segment(&mut self, now: Instant, send: &mut dyn FnMut(&Outgoing<'_>)) -> Option<Path> {
        loop {
            let Engine { ready, sockets, contexts, counters, looped, spare, changes, timers, .. } = self;
            let id = *ready.front()?;
            let found = sockets.find_mut(id).filter(|socket| socket.connection().is_some());
            let Some(socket) = found else {
                ready.pop_front();
                continue;
            };
            let Some(open) = socket.connection_mut() else { continue };
            let path = open.path;
            let sent =
                open.connection.transmit(&mut contexts[path as usize], now, &mut |packet| match path {
                    Path::Link => {
                        counters.sent(packet.length());
                        send(packet);
                    }
                    Path::Loopback => {
                        let mut copy = spare.pop().unwrap_or_default();
                        copy.clear();
                        packet.append_to(&mut copy);
                        looped.push_back(copy);
                    }
                });
            if sent && !open.connection.rests(now) {
                if ready.len() > 1 {
                    ready.rotate_left(1);
                }
                return Some(path);
            }
            ready.pop_front();
            let grown = timers.note(id, open.deadline());
            socket.ready = false;
            if !socket.settle_sent(changes) {
                self.settle(id, now);
            }
            if grown {
                self.sweep_timers();
            }
            if sent {
                return Some(path);
            }
        }
    }

    /// Puts a connection on the ring of those that may have something to send.
    pub(super) fn make_ready(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.find_mut(id) {
            socket.make_ready(&mut self.ready);
        }
    }

    /// Sends a packet of no connection. False when there is no room for it.
    pub(super) fn send(&mut self, packet: Packet, destination: IpAddr) -> bool {
        let room = self.has_room(destination, 1);
        if room {
            let queue = if self.is_local(destination) { &mut self.looped } else { &mut self.outbox };
            queue.push_back(packet);
        }
        room
    }

    /// Whether so many packets to `destination` would find room.
    pub(super) fn has_room(&self, destination: IpAddr, count: usize) -> bool {
        let queue = if self.is_local(destination) { &self.looped } else { &self.outbox };
        queue.len() + count <= OUTBOX_MAX
    }

    /// Whether so much waits for the link that more would soon find no room.
    pub fn is_crowded(&self) -> bool {
        self.outbox.len() >= OUTBOX_MAX / 2
    }

    /// Sends an answer that nobody misses.
    pub(super) fn reply(&mut self, packet: Packet, destination: IpAddr) {
        if !self.send(packet, destination) {
            self.counters.dropped += 1;
        }
    }

    /// Tells the sender of `packet` that it cannot be delivered, unless too many have been told so.
    pub(super) fn send_unreachable(
        &mut self,
        reason: Unreachable,
        packet: &[u8],
        header: &Header,
        now: Instant,
    ) {
        // RFC 1122 3.2.2: not about what was sent to everybody.
        let ours = is_unicast(header.destination) && !self.is_broadcast(header.destination);
        if ours && self.errors_allowed.take(now) {
            let checksums = self.settings.checksums;
            let error = icmp::unreachable(reason, header.destination, packet, header, checksums);
            self.reply(error, header.source);
        }
    }
}
