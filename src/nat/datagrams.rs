//! UDP from the program to the world. Each port of the program has one kernel socket for each family, for all of
//! its destinations: whoever it talks to sees the same port (endpoint-independent mapping, RFC 4787 REQ-1), and
//! may answer from anywhere (endpoint-independent filtering, REQ-8).
//!
//! The sockets are not connected, so ICMP errors come by the error queue (`IP_RECVERR`), each with the destination
//! that it is about; the program gets them as ICMP from there.
//!
//! Limits: 4,096 sockets. Then, or when the kernel gives no more descriptors, the one idle longest goes. An idle
//! socket goes after two minutes (RFC 4787 REQ-5), after ten seconds when it only asked for names: resolvers use a
//! new port for each query.
#![forbid(unsafe_code)]

use super::addresses::{DNS, Unreachable, is_resolver};
use super::packets::{Datagram, Failure};
use super::recency::Recency;
use super::work::{Shared, Source};
use crate::sys::descriptors::Internal;
use crate::sys::net::{self, EventFlags};
use crate::time::Instant;
use core::time::Duration;
use rustix::io::{Errno, Result};
use slab::Slab;
use std::collections::HashMap;
use std::net::SocketAddr;

const LIMIT: usize = 4096;
const TIMEOUT: Duration = Duration::from_secs(120);
const TIMEOUT_OF_QUERIES: Duration = Duration::from_secs(10);

/// Datagrams read, and errors, in one turn.
const QUANTUM: usize = 16;

struct Mapping {
    socket: Internal,
    key: Key,
    /// It sent nothing but DNS queries.
    queries_only: bool,
    /// It sent to the resolver's address, so the name server must appear under that.
    asked_resolver: bool,
    queued: bool,
}

/// A port of the program and the family of its kernel socket: a query to the resolver's IPv4 address may go to a
/// name server that has an IPv6 one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    guest: SocketAddr,
    outward_ipv4: bool,
}

/// The program's UDP ports that are in use.
pub(super) struct Datagrams {
    mappings: Slab<Mapping>,
    by_key: HashMap<Key, usize>,
    queries: Recency,
    others: Recency,
}

impl Datagrams {
    pub(super) fn new() -> Datagrams {
        Datagrams {
            mappings: Slab::new(),
            by_key: HashMap::new(),
            queries: Recency::new(TIMEOUT_OF_QUERIES),
            others: Recency::new(TIMEOUT),
        }
    }

    /// Passes on a datagram of the program.
    pub(super) fn send(&mut self, datagram: &Datagram<'_>, shared: &mut Shared, now: Instant) {
        let target = match shared.addresses.outward(datagram.to) {
            Ok(target) => target,
            Err(Unreachable::Port) => return shared.fail(Failure::Port, datagram.from, datagram.to),
            // No ICMP error is sent for multicast and broadcast (RFC 1122 3.2.2), and the rest is no better.
            Err(Unreachable::Network) => {
                shared.counters.dropped += 1;
                return;
            }
        };
        let key = Key { guest: datagram.from, outward_ipv4: target.is_ipv4() };
        let outcome = self.mapping(key, target, shared).and_then(|index| {
            let mapping = &mut self.mappings[index];
            mapping.queries_only &= target.port() == DNS || is_resolver(datagram.to.ip());
            mapping.asked_resolver |= is_resolver(datagram.to.ip());
            let (uses, other) = match mapping.queries_only {
                true => (&mut self.queries, &mut self.others),
                false => (&mut self.others, &mut self.queries),
            };
            other.remove(index);
            uses.touch(index, now);
            mapping.send(datagram.payload, target)
        });
        match outcome {
            Ok(()) => shared.counters.datagrams_sent += 1,
            Err(errno) => match failure(errno) {
                Some(failure) => shared.fail(failure, datagram.from, datagram.to),
                None => shared.counters.dropped += 1,
            },
        }
    }

    /// The mapping for `key`, made if need be.
    fn mapping(&mut self, key: Key, target: SocketAddr, shared: &mut Shared) -> Result<usize> {
        if let Some(&index) = self.by_key.get(&key) {
            return Ok(index);
        }
        if self.mappings.len() >= LIMIT {
            self.evict();
        }
        let socket = match net::datagram(target) {
            Err(Errno::MFILE | Errno::NFILE) if self.evict() => net::datagram(target)?,
            made => made?,
        };
        let entry = self.mappings.vacant_entry();
        let index = entry.key();
        shared.watch(&socket, Source::Mapping(index))?;
        entry.insert(Mapping { socket, key, queries_only: true, asked_resolver: false, queued: false });
        self.by_key.insert(key, index);
        Ok(index)
    }

    /// An event for a mapping. Whether it must be queued for a turn.
    pub(super) fn hint(&mut self, index: usize, flags: EventFlags) -> bool {
        let readable = flags.intersects(EventFlags::IN | EventFlags::ERR);
        match self.mappings.get_mut(index) {
            Some(mapping) if readable => !std::mem::replace(&mut mapping.queued, true),
            _ => false,
        }
    }

    /// Delivers what came for a mapping.
    pub(super) fn turn(&mut self, index: usize, shared: &mut Shared, now: Instant) {
        let Some(mapping) = self.mappings.get_mut(index) else { return };
        mapping.queued = false;
        let mut heard = false;
        for _ in 0..QUANTUM {
            match net::receive_from(&mapping.socket, &mut shared.scratch) {
                Ok((length, from)) => {
                    heard = true;
                    mapping.deliver(length, from, shared);
                }
                Err(Errno::AGAIN) => {
                    while let Some(report) = net::take_report(&mapping.socket) {
                        mapping.report(report, shared);
                    }
                    self.heard(index, heard, now);
                    return;
                }
                // An error that the queue tells in full, below; reading it cleared it.
                Err(_) => {}
            }
        }
        mapping.queued = true;
        shared.queue(Source::Mapping(index));
        self.heard(index, heard, now);
    }

    /// What comes in keeps a mapping alive too, unless it only asked for names.
    fn heard(&mut self, index: usize, heard: bool, now: Instant) {
        if heard && !self.mappings[index].queries_only {
            self.others.touch(index, now);
        }
    }

    /// When the next mapping expires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queries.deadline().into_iter().chain(self.others.deadline()).min()
    }

    /// Closes the mappings that have been idle too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(index) = self.queries.expired(now).or_else(|| self.others.expired(now)) {
            self.close(index);
        }
    }

    /// Closes the mapping idle longest. Whether there was one.
    fn evict(&mut self) -> bool {
        let oldest = self.queries.oldest().into_iter().chain(self.others.oldest()).min();
        oldest.map(|(_, index)| self.close(index)).is_some()
    }

    fn close(&mut self, index: usize) {
        self.queries.remove(index);
        self.others.remove(index);
        let mapping = self.mappings.remove(index);
        self.by_key.remove(&mapping.key);
    }
}

impl Mapping {
    fn send(&self, payload: &[u8], target: SocketAddr) -> Result<()> {
        match net::send_to(&self.socket, payload, target) {
            // An earlier datagram's error: it is in the queue, and reading it off the socket cleared it.
            Err(errno) if failure(errno).is_some() => net::send_to(&self.socket, payload, target),
            outcome => outcome,
        }
    }

    fn deliver(&self, length: usize, from: SocketAddr, shared: &mut Shared) {
        let guest = self.key.guest;
        let Some(from) = shared.addresses.inward(from, guest.ip(), self.asked_resolver) else {
            shared.counters.dropped += 1;
            return;
        };
        let packet = Datagram { from, to: guest, payload: &shared.scratch[..length] }.emit();
        shared.counters.datagrams_received += 1;
        shared.deliver(packet);
    }

    fn report(&self, report: net::Report, shared: &mut Shared) {
        let guest = self.key.guest;
        let to = report.to.and_then(|to| shared.addresses.inward(to, guest.ip(), self.asked_resolver));
        if let (Some(to), Some(failure)) = (to, failure(report.errno)) {
            shared.fail(failure, guest, to);
        }
    }
}

/// What the program is told of an error. None: nothing, the datagram was lost, as datagrams are.
fn failure(errno: Errno) -> Option<Failure> {
    match errno {
        Errno::CONNREFUSED => Some(Failure::Port),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Failure::Host),
        Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => {
            Some(Failure::Network)
        }
        Errno::ACCESS | Errno::PERM => Some(Failure::Prohibited),
        _ => None,
    }
}
