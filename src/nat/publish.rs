//! Published ports: kernel sockets that lead from the world to the program.
//!
//! A TCP connection to one becomes a connection of the far engine to the program, from the gateway. For UDP each
//! outside peer becomes a port of the gateway, so that the program's answer finds its way back: a *visitor*.
//! IPv4 peers appear at the IPv4 gateway even when they came through a dual-stack `[::]`.
//!
//! Whatever waits at the machine's port is accepted, since the kernel makes those come again in a second for whom its queue
//! has no room. But only so many at a time are on their way to the program: what is more than a listener holds, of the SYNs
//! that find it full, would be dropped there. The others wait here, in order.
//!
//! Limits: a peer is connected before the program is asked, so one that the program refuses sees a reset and not a
//! refusal. The program sees the gateway in place of the peer's address. At most 4,096 visitors; then the one idle
//! longest goes, and any idle one after two minutes. Their ports come from 61000 up, beyond the kernel's usual
//! ephemeral ones; while a visitor has one, the program's published port does not reach the machine's own UDP
//! service at that port.
#![forbid(unsafe_code)]

use super::addresses::{gateway_and_guest, is_gateway};
use super::packets::Datagram;
use super::recency::Recency;
use super::streams::{Streams, Visit};
use super::work::{Shared, Source};
use crate::config::Publish;
use crate::engine::Engine;
use crate::ip::Treatment;
use crate::observe::log;
use crate::sys::descriptors::Internal;
use crate::sys::net;
use crate::sys::unix;
use crate::time::Instant;
use core::time::Duration;
use rustix::io::Errno;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

const VISITORS: usize = 4096;
const TIMEOUT: Duration = Duration::from_secs(120);
const FIRST_PORT: u16 = 61_000;

/// Connections accepted, or datagrams read, in one turn.
const QUANTUM: usize = 16;

/// Connections of a port that are on their way to the program at a time: fewer than SYNs wait at a listener.
const ARRIVING: usize = 64;

/// How long a listener rests that could not accept for lack of descriptors or flows.
const REST: Duration = Duration::from_millis(100);

/// What becomes of a port that another tubesock publishes already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Whoever asked for it has to choose another.
    Refused,
    /// It stays the other's: programs that inherit the same settings have a stack each.
    Left,
}

/// A published port, open.
struct Port {
    socket: Internal,
    publish: Publish,
    bound: SocketAddr,
    /// Says that it is one of ours that listens there.
    _claim: Option<Internal>,
    queued: bool,
    /// Accepted from these peers, and not on their way yet.
    waiting: VecDeque<(Internal, IpAddr)>,
    /// On their way: the program's side has not answered.
    arriving: usize,
    /// A listener that rests does so until then.
    resting: Option<Instant>,
}

struct Visitor {
    door: usize,
    /// The peer, in the form of the door's family.
    peer: SocketAddr,
    /// The gateway's port that stands for it.
    port: u16,
}

/// How a visitor is found by what the program sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Address {
    program: SocketAddr,
    gateway: SocketAddr,
}

/// All published ports.
pub(super) struct Published {
    ports: Vec<Port>,
    visitors: Slab<Visitor>,
    by_peer: HashMap<(usize, SocketAddr), usize>,
    by_address: HashMap<Address, usize>,
    recency: Recency,
    next_port: u16,
}

impl Published {
    /// Opens the ports. The error is for a person.
    pub(super) fn open(publish: &[Publish], taken: Taken, shared: &Shared) -> Result<Published, String> {
        let mut ports = Vec::with_capacity(publish.len());
        for &publish in publish {
            let port = match open(publish, ports.len(), shared) {
                Ok(port) => port,
                Err(Errno::ADDRINUSE) if unix::claim(&claim_name(publish)).is_none() => {
                    if taken == Taken::Refused {
                        return Err(format!(
                            "cannot publish {} (EADDRINUSE): another tubesock publishes it already; end that one, or choose \
                             another port, or 0 for a free one",
                            publish.listen
                        ));
                    }
                    tracing::warn!(
                        "{} is published by another process already, which has a stack of its own: \
                         it leads there, and not to servers of this process",
                        publish.listen
                    );
                    continue;
                }
                Err(errno) => return Err(explain(publish, errno)),
            };
            let protocol = if publish.datagram { "/udp" } else { "" };
            tracing::info!("{}{protocol} leads to the program's port {}", port.bound, publish.port);
            ports.push(port);
        }
        Ok(Published {
            ports,
            visitors: Slab::new(),
            by_peer: HashMap::new(),
            by_address: HashMap::new(),
            recency: Recency::new(TIMEOUT),
            next_port: FIRST_PORT,
        })
    }

    /// What was asked for, and the address that it got.
    pub(super) fn bound(&self) -> impl Iterator<Item = (Publish, SocketAddr)> {
        self.ports.iter().map(|port| (port.publish, port.bound))
    }

    /// An event for a port. Whether it must be queued for a turn.
    pub(super) fn hint(&mut self, index: usize) -> bool {
        !std::mem::replace(&mut self.ports[index].queued, true)
    }

    /// Accepts what waits at a listener.
    pub(super) fn accept(&mut self, index: usize, streams: &Streams, shared: &mut Shared, now: Instant) {
        let waiting: usize = self.ports.iter().map(|port| port.waiting.len()).sum();
        let port = &mut self.ports[index];
        port.queued = false;
        port.resting = None;
        for accepted in 0..QUANTUM {
            if !streams.has_room_for(waiting + accepted) {
                port.resting = Some(now + REST);
                return;
            }
            match net::accept(&port.socket) {
                Ok((socket, peer)) => port.waiting.push_back((socket, peer.ip())),
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    if log::first_time("publish without a descriptor", 0) {
                        tracing::warn!("{}: no descriptors left to accept a connection", port.bound);
                    }
                    port.resting = Some(now + REST);
                    return;
                }
                // An error of that connection, or of the network on the way to it (accept(2)).
                Err(_) => {}
            }
        }
        port.queued = true;
        shared.queue(Source::Listener(index));
    }

    /// Sends those on their way to the program for whom there is room.
    pub(super) fn lead(
        &mut self,
        index: usize,
        streams: &mut Streams,
        engine: &mut Engine,
        shared: &mut Shared,
        now: Instant,
    ) {
        let port = &mut self.ports[index];
        while port.arriving < ARRIVING
            && let Some((socket, peer)) = port.waiting.pop_front()
        {
            let (gateway, guest) = gateway_and_guest(peer);
            let to = SocketAddr::new(guest, port.publish.port);
            let visit = Visit { socket, port: index, gateway, to };
            port.arriving += usize::from(streams.visit(visit, engine, shared, now));
        }
    }

    /// The program's side has answered one that came by a port.
    pub(super) fn arrived(&mut self, index: usize) {
        self.ports[index].arriving -= 1;
    }

    /// Brings in what waits at a door.
    pub(super) fn admit(&mut self, index: usize, shared: &mut Shared, now: Instant) {
        self.ports[index].queued = false;
        for _ in 0..QUANTUM {
            match net::receive_from(&self.ports[index].socket, &mut shared.scratch) {
                Ok((length, peer)) => {
                    let Some(address) = self.address_of(index, peer, now) else {
                        shared.counters.dropped += 1;
                        continue;
                    };
                    let payload = &shared.scratch[..length];
                    let (from, to, treatment) = (address.gateway, address.program, Treatment::default());
                    let packet = Datagram { from, to, treatment, payload }.emit();
                    shared.counters.datagrams_received += 1;
                    shared.deliver(packet);
                }
                Err(Errno::AGAIN) => return,
                // An ICMP error for an answer; reading it cleared it.
                Err(_) => {}
            }
        }
        self.ports[index].queued = true;
        shared.queue(Source::Door(index));
    }

    /// Takes a datagram of the program if it answers a visitor.
    pub(super) fn answer(&mut self, datagram: &Datagram<'_>, shared: &mut Shared, now: Instant) -> bool {
        if !is_gateway(datagram.to.ip()) {
            return false;
        }
        let address = Address { program: datagram.from, gateway: datagram.to };
        let Some(&index) = self.by_address.get(&address) else { return false };
        self.recency.touch(index, now);
        let visitor = &self.visitors[index];
        match net::send_to(&self.ports[visitor.door].socket, datagram.payload, visitor.peer) {
            Ok(()) => shared.counters.datagrams_sent += 1,
            Err(_) => shared.counters.dropped += 1,
        }
        true
    }

    /// The addresses under which the program sees a peer. None when its ports are all taken.
    fn address_of(&mut self, door: usize, peer: SocketAddr, now: Instant) -> Option<Address> {
        if let Some(&index) = self.by_peer.get(&(door, peer)) {
            self.recency.touch(index, now);
            return Some(self.address(&self.visitors[index]));
        }
        if self.visitors.len() >= VISITORS
            && let Some((_, oldest)) = self.recency.oldest()
        {
            self.forget(oldest);
        }
        for _ in FIRST_PORT..=u16::MAX {
            let visitor = Visitor { door, peer, port: self.next_port };
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            let address = self.address(&visitor);
            if !self.by_address.contains_key(&address) {
                let index = self.visitors.insert(visitor);
                self.by_address.insert(address, index);
                self.by_peer.insert((door, peer), index);
                self.recency.touch(index, now);
                return Some(address);
            }
        }
        None
    }

    fn address(&self, visitor: &Visitor) -> Address {
        let (gateway, guest) = gateway_and_guest(visitor.peer.ip());
        let program = SocketAddr::new(guest, self.ports[visitor.door].publish.port);
        Address { program, gateway: SocketAddr::new(gateway, visitor.port) }
    }

    fn forget(&mut self, index: usize) {
        self.recency.remove(index);
        let visitor = self.visitors.remove(index);
        self.by_peer.remove(&(visitor.door, visitor.peer));
        self.by_address.remove(&self.address(&visitor));
    }

    /// When a visitor expires or a listener has rested.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let rested = self.ports.iter().filter_map(|port| port.resting);
        rested.chain(self.recency.deadline()).min()
    }

    /// Forgets idle visitors, and wakes listeners that have rested.
    pub(super) fn expire(&mut self, shared: &mut Shared, now: Instant) {
        while let Some(index) = self.recency.expired(now) {
            self.forget(index);
        }
        for (index, port) in self.ports.iter_mut().enumerate() {
            if port.resting.take_if(|until| *until <= now).is_some() && !port.queued {
                port.queued = true;
                shared.queue(Source::Listener(index));
            }
        }
    }
}

fn open(publish: Publish, index: usize, shared: &Shared) -> Result<Port, Errno> {
    let (socket, source) = match publish.datagram {
        true => (net::datagram_bound(publish.listen)?, Source::Door(index)),
        false => (net::listen(publish.listen)?, Source::Listener(index)),
    };
    shared.watch(&socket, source)?;
    let bound = net::local(&socket)?;
    let claim = unix::claim(&claim_name(publish));
    Ok(Port {
        socket,
        publish,
        bound,
        _claim: claim,
        queued: false,
        waiting: VecDeque::new(),
        arriving: 0,
        resting: None,
    })
}

/// The name by which processes that are given the same port to publish know of each other.
fn claim_name(publish: Publish) -> Vec<u8> {
    let protocol = if publish.datagram { "udp" } else { "tcp" };
    format!("tubesock publishes {} {protocol}", publish.listen).into_bytes()
}

fn explain(publish: Publish, errno: Errno) -> String {
    let (name, advice) = match errno {
        Errno::ACCESS if publish.listen.port() < 1024 => {
            ("EACCES", "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one")
        }
        Errno::ADDRINUSE => {
            ("EADDRINUSE", "something listens there already; choose another port, or 0 for a free one")
        }
        Errno::ADDRNOTAVAIL => ("EADDRNOTAVAIL", "the machine has no such address"),
        Errno::AFNOSUPPORT => ("EAFNOSUPPORT", "the machine has no IPv6"),
        Errno::PERM => {
            ("EPERM", "the machine's network is barred here, as by a 'tubesock run --strict' around this one")
        }
        _ => return format!("cannot publish {}: {errno}", publish.listen),
    };
    format!("cannot publish {} ({name}): {advice}", publish.listen)
}
