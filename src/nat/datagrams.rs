//! UDP from the program to the world. Each port of the program has one kernel socket for each family, for all of
//! its destinations: whoever it talks to sees the same port (endpoint-independent mapping, RFC 4787 REQ-1), and
//! may answer from anywhere (endpoint-independent filtering, REQ-8).
//!
//! What the sockets are like is in `outlet`.
//!
//! Limits: 4,096 sockets. Then, or when the kernel gives no more descriptors, the one idle longest goes. An idle
//! socket goes after two minutes (RFC 4787 REQ-5), after ten seconds when it only asked for names: resolvers use a
//! new port for each query.
#![forbid(unsafe_code)]

use super::addresses::{DNS, Unreachable, is_resolver};
use super::outlet::{Outlet, retold, unreachable};
use super::packets::Datagram;
use super::recency::Recency;
use super::work::{Shared, Source};
use crate::icmp;
use crate::ip::Treatment;
use crate::sys::net::{self, EventFlags, Received, Report};
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
    outlet: Outlet,
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
            Err(Unreachable::Port) => return fail(icmp::Unreachable::Port, datagram, shared),
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
            mapping.outlet.send(datagram.payload, target, datagram.treatment)
        });
        match outcome {
            Ok(()) => shared.counters.datagrams_sent += 1,
            Err(errno) => match unreachable(errno) {
                Some(reason) => fail(reason, datagram, shared),
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
        let outlet = Outlet::new(socket);
        entry.insert(Mapping { outlet, key, queries_only: true, asked_resolver: false, queued: false });
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
            match mapping.outlet.receive(shared) {
                Ok((received, treatment)) => {
                    heard = true;
                    mapping.deliver(&received, treatment, shared);
                }
                Err(Errno::AGAIN) => {
                    while let Some(report) = mapping.outlet.report(shared) {
                        mapping.retell(&report, shared);
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
    fn deliver(&self, received: &Received, treatment: Treatment, shared: &mut Shared) {
        let to = self.key.guest;
        let Some(from) = shared.addresses.inward(received.from, to.ip(), self.asked_resolver) else {
            shared.counters.dropped += 1;
            return;
        };
        let payload = &shared.scratch[..received.length];
        let packet = Datagram { from, to, treatment, payload }.emit();
        shared.counters.datagrams_received += 1;
        shared.deliver(packet);
    }

    /// Tells the program of an error about what it sent.
    fn retell(&self, report: &Report, shared: &mut Shared) {
        let from = self.key.guest;
        let to = report.to.and_then(|to| shared.addresses.inward(to, from.ip(), self.asked_resolver));
        let Some(to) = to else { return };
        let Some((cause, offender)) = retold(report, to.ip(), shared) else { return };
        let payload = &shared.scratch[..report.length];
        let quoted = Datagram { from, to, treatment: Treatment::default(), payload }.emit();
        if let Some(quoted) = quoted {
            shared.pass_on(cause, offender, &quoted);
        }
    }
}

fn fail(reason: icmp::Unreachable, datagram: &Datagram<'_>, shared: &mut Shared) {
    if let Some(quoted) = datagram.emit() {
        shared.fail(reason, &quoted);
    }
}
