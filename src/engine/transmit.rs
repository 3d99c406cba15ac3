//! What leaves: packets of no connection first, then one segment of each connection that has some, in turn. What is
//! for an address of ours never leaves: it is received again.
#![forbid(unsafe_code)]

use super::{Engine, Path, SocketId};
use crate::icmp::{self, Unreachable};
use crate::ip::{self, Header};
use crate::link::Packet;
use crate::time::Instant;
use std::net::IpAddr;

/// Packets to ourselves that one `transmit` moves before it lets its caller do something else.
const LOOPED_PER_CALL: usize = 256;

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
    /// The next packet for the link. Bounded work a call; call until None. What is left then, if packets to ourselves
    /// keep coming, makes `deadline` the past.
    pub fn transmit(&mut self, now: Instant) -> Option<Packet> {
        self.answer_late(now);
        for _ in 0..LOOPED_PER_CALL {
            if let Some(packet) = self.looped.pop_front() {
                self.take(packet, Path::Loopback, now);
            } else if let Some(packet) = self.outbox.pop_front() {
                return Some(self.count_sent(packet));
            } else {
                match self.next_segment(now)? {
                    (packet, Path::Link) => return Some(self.count_sent(packet)),
                    (packet, Path::Loopback) => self.looped.push_back(packet),
                }
            }
        }
        None
    }

    fn count_sent(&mut self, packet: Packet) -> Packet {
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += packet.len() as u64;
        packet
    }

    fn next_segment(&mut self, now: Instant) -> Option<(Packet, Path)> {
        loop {
            let id = self.ready.pop_front()?;
            let Some(socket) = self.sockets.find_mut(id) else { continue };
            let Some(open) = socket.connection_mut() else { continue };
            let path = open.path;
            if let Some(packet) = open.connection.transmit(&mut self.contexts[path as usize], now) {
                self.ready.push_back(id);
                return Some((packet, path));
            }
            socket.ready = false;
            self.settle(id, now);
            self.schedule(id);
        }
    }

    /// Puts a connection on the ring of those that may have something to send.
    pub(super) fn make_ready(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.find_mut(id)
            && !core::mem::replace(&mut socket.ready, true)
        {
            self.ready.push_back(id);
        }
    }

    /// Sends a packet of no connection. False when there is no room for it.
    pub(super) fn send(&mut self, packet: Packet, destination: IpAddr) -> bool {
        let queue = if self.is_local(destination) { &mut self.looped } else { &mut self.outbox };
        let room = queue.len() < OUTBOX_MAX;
        if room {
            queue.push_back(packet);
        }
        room
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
        if ip::is_unicast(header.destination) && self.errors_allowed.take(now) {
            let checksums = self.settings.checksums;
            let error = icmp::unreachable(reason, header.destination, packet, header, checksums);
            self.reply(error, header.source);
        }
    }
}
