//! What the parts of `nat` share: which kernel sockets have work, the packets that wait for the program, and the
//! counters.
//!
//! Kernel sockets are watched edge-triggered, with an index in the event: nothing is searched, and interest is changed
//! once at the most (a back-pressured flow would pay two epoll_ctl(2) for each of its turns). An event is a hint
//! that the socket's part remembers; the system call that follows tells the truth. So an event for a socket that
//! has gone, or whose index has a new owner, does no harm.
#![forbid(unsafe_code)]

use super::addresses::Addresses;
use super::packets;
use crate::icmp::{Cause, Unreachable};
use crate::ip::{self, fragment};
use crate::link::Packet;
use crate::sys::descriptors::Internal;
use crate::sys::net::{Epoll, EventFlags};
use rustix::io::Result;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Most packets in the outbox: it is emptied between turns, so only a flood of echo requests or errors gets here.
const OUTBOX: usize = 1024;

/// Something with a kernel socket, by its index among its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A TCP flow.
    Stream(usize),
    /// A UDP socket of a port of the program.
    Mapping(usize),
    /// A published TCP port.
    Listener(usize),
    /// A published UDP port.
    Door(usize),
    /// A socket of an echo identifier of the program.
    Echo(usize),
}

impl Source {
    fn key(self) -> u64 {
        let (kind, index) = match self {
            Source::Stream(index) => (0, index),
            Source::Mapping(index) => (1, index),
            Source::Listener(index) => (2, index),
            Source::Door(index) => (3, index),
            Source::Echo(index) => (4, index),
        };
        (index as u64) << 3 | kind
    }

    fn from_key(key: u64) -> Source {
        let index = (key >> 3) as usize;
        match key & 7 {
            0 => Source::Stream(index),
            1 => Source::Mapping(index),
            2 => Source::Listener(index),
            3 => Source::Door(index),
            _ => Source::Echo(index),
        }
    }
}

/// Counters, all monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// TCP connections carried between the program and the kernel.
    pub connections: u64,
    /// TCP connections turned down, either way.
    pub refused: u64,
    /// Datagrams and echo requests handed to the kernel.
    pub datagrams_sent: u64,
    /// Datagrams and echo replies from the kernel.
    pub datagrams_received: u64,
    /// Packets and datagrams dropped: malformed, of no protocol carried here, no room, not permitted.
    pub dropped: u64,
}

/// What the parts share.
pub(super) struct Shared {
    pub(super) addresses: Addresses,
    pub(super) epoll: Epoll,
    pub(super) counters: Counters,
    /// Packets for the program that no engine made.
    outbox: VecDeque<Packet>,
    /// The largest of them.
    mtu: usize,
    /// Of the last that went in fragments.
    identification: u32,
    /// Where datagrams are received.
    pub(super) scratch: Box<[u8]>,
    queue: VecDeque<Source>,
    events: Vec<(u64, EventFlags)>,
}

impl Shared {
    pub(super) fn new(addresses: Addresses, mtu: usize) -> Result<Shared> {
        Ok(Shared {
            addresses,
            epoll: Epoll::new()?,
            counters: Counters::default(),
            outbox: VecDeque::new(),
            mtu,
            identification: 0,
            scratch: vec![0; packets::MTU].into(),
            queue: VecDeque::new(),
            events: Vec::new(),
        })
    }

    pub(super) fn watch(&self, socket: &Internal, source: Source) -> Result<()> {
        self.epoll.watch(socket, source.key())
    }

    /// Watches a connected socket, which has room: that is no news, and would wake the driver beside the call that made it.
    pub(super) fn watch_input(&self, socket: &Internal, source: Source) -> Result<()> {
        self.epoll.watch_input(socket, source.key())
    }

    /// It has no room any more.
    pub(super) fn watch_room(&self, socket: &Internal, source: Source) {
        self.epoll.watch_room(socket, source.key()).expect("a socket is watched while it lives");
    }

    /// Fetches what became ready: the number of events.
    pub(super) fn poll(&mut self) -> usize {
        self.epoll.ready(&mut self.events);
        self.events.len()
    }

    /// One of the events that `poll` fetched.
    pub(super) fn event(&self, index: usize) -> (Source, EventFlags) {
        let (key, flags) = self.events[index];
        (Source::from_key(key), flags)
    }

    /// Gives `source` a turn, behind those that wait already.
    pub(super) fn queue(&mut self, source: Source) {
        self.queue.push_back(source);
    }

    /// How many wait for a turn.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<Source> {
        self.queue.pop_front()
    }

    /// A packet for the program, if one could be made: in fragments, where it is too large.
    pub(super) fn deliver(&mut self, packet: Option<Packet>) {
        match packet.filter(|_| self.outbox.len() < OUTBOX) {
            None => self.counters.dropped += 1,
            Some(packet) if packet.len() <= self.mtu => self.outbox.push_back(packet),
            Some(mut packet) => {
                // Of what came in fragments it is looked at, where anything may have happened to them.
                ip::fill_transport_checksum(&mut packet);
                self.identification = self.identification.wrapping_add(1);
                self.outbox.extend(fragment::cut(&packet, self.mtu, self.identification, false));
            }
        }
    }

    /// An ICMP error for the program about `quoted`, a packet of its own, from where that was going.
    pub(super) fn fail(&mut self, reason: Unreachable, quoted: &[u8]) {
        let Ok(to) = packets::open(quoted).map(|opened| opened.header.destination) else { return };
        self.pass_on(reason.cause(to.is_ipv4()), to, quoted);
    }

    /// An ICMP error for the program that `offender` sent about `quoted`, a packet of the program.
    pub(super) fn pass_on(&mut self, cause: Cause, offender: IpAddr, quoted: &[u8]) {
        self.deliver(packets::error(cause, offender, quoted));
    }

    /// The next packet that was delivered.
    pub(super) fn packet(&mut self) -> Option<Packet> {
        self.outbox.pop_front()
    }

    /// Whether somebody waits for a turn or a packet for `packet`.
    pub(super) fn pending(&self) -> bool {
        !self.queue.is_empty() || !self.outbox.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_survives_its_key() {
        for source in [
            Source::Stream(0),
            Source::Mapping(1),
            Source::Listener(16383),
            Source::Door(7),
            Source::Echo(255),
        ] {
            assert_eq!(Source::from_key(source.key()), source);
        }
    }
}
