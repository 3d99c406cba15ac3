//! The built-in network address translator: a link whose far side is the machine's own sockets. It needs no
//! privilege, no device and no route, and works wherever the kernel's sockets do.
//!
//! ```text
//!   program's engine ══ packets ══╦═ TCP ═► a second engine, which takes every address ── streams ── kernel TCP
//!                                 ╠═ UDP ═► datagrams ── kernel UDP
//!                                 ╠═ echo to the gateway and the resolver: answered here; elsewhere ── kernel ICMP
//!                                 ╠═ UDP-Lite: answered with an ICMP error, protocol unreachable
//!                                 ╚═ anything else: dropped and counted
//!   the world ── kernel sockets ── publish ── the second engine, or UDP packets ══► program's engine
//! ```
//!
//! The addresses are slirp's: the program is 10.0.2.15, the gateway 10.0.2.2 is the machine's 127.0.0.1, and
//! 10.0.2.3 port 53 is the machine's name server; fd00::15, fd00::2 and fd00::3 likewise. The machine's own
//! address on a real network is reached as any other host is.
//!
//! Everything happens in the calls of `Link`, in the caller's thread. `receive` gives out what is ready, and works
//! when there is nothing or when it has given so much that others must have a turn: it asks the kernel for events
//! once between two `None`s (or so many packets), and then every flow that has work gets one turn, bounded by its
//! buffers. `wake` is an epoll descriptor, readable when an event waits that nobody fetched.
//!
//! Fragments come from a program whose MTU is less than that of this link, and go to it.
//!
//! Limits: echo elsewhere is prohibited where the administrator does not let ordinary users send it (`echo`). IP options'
//! meaning, urgent data, multicast and broadcast are not carried: what the program sends to everybody or to a group reaches
//! its own sockets only. The kernel cuts datagrams that are too large for the path, whatever the program said of DF. TTL and TOS
//! of connections end here, those of datagrams are passed on. One name server, read when the link is made.
#![forbid(unsafe_code)]

mod addresses;
mod datagrams;
mod dns;
mod echo;
mod outlet;
mod packets;
mod publish;
mod recency;
mod streams;
#[cfg(test)]
mod tests;
mod work;

use crate::addressing::{Addressing, Cidr, Route};
use crate::config::Publish;
use crate::engine::{Engine, Settings};
use crate::icmp;
use crate::ip::reassembly::Reassembly;
use crate::ip::{Fault, Header, Protocol, fragment};
use crate::link::{Capabilities, Link, Outgoing};
use crate::sys::net;
use crate::tcp;
use crate::time::Instant;
use addresses::Addresses;
use datagrams::Datagrams;
use echo::Echoes;
use packets::{Datagram, Opened};
use publish::Published;
pub use publish::Taken;
use rustix::fd::{AsFd, BorrowedFd};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use streams::Streams;
use work::{Shared, Source};

pub use packets::MTU;
pub use work::Counters;

/// The program's address, the gateway (the machine's loopback) and the name server, as slirp has them.
pub const GUEST_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The gateway: the machine's 127.0.0.1.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// The name server: forwards to the machine's own.
pub const RESOLVER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The program's IPv6 address, fd00::15.
pub const GUEST_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x15);
/// The gateway: the machine's ::1. fd00::2.
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
/// The name server, fd00::3.
pub const RESOLVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);

/// The program's addresses on this link, and whom it knows there.
pub fn addressing() -> Addressing {
    Addressing {
        addresses: vec![Cidr::new(GUEST_V4.into(), 24), Cidr::new(GUEST_V6.into(), 64)],
        routes: vec![Route::by(GATEWAY_V4.into()), Route::by(GATEWAY_V6.into())],
        name_servers: vec![RESOLVER_V4.into()],
    }
}

/// What is between the program and this link.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The largest packet; 576 at least.
    pub mtu: usize,
    /// Nothing is lost there, and nothing waits: TCP needs no congestion control and need not look for the MTU.
    pub in_memory: bool,
}

impl Default for Way {
    fn default() -> Way {
        Way { mtu: packets::MTU, in_memory: true }
    }
}

/// Packets given out until the flows have a turn again.
const PACKETS_A_ROUND: usize = 64;

/// Ends the program's flows at kernel sockets.
pub struct Nat {
    way: Way,
    engine: Engine,
    streams: Streams,
    datagrams: Datagrams,
    echoes: Echoes,
    published: Published,
    reassembly: Reassembly,
    /// Where packets that come in parts are put together.
    scratch: Vec<u8>,
    shared: Shared,
    /// Packets that may still be given out before the next round.
    budget: usize,
    /// Whether timers were run since the last `None`.
    stepped: bool,
    /// Whether the kernel was asked for events since the last `None`, and had no more.
    polled: bool,
}

impl Nat {
    /// Opens the published ports. The error names the port that could not be opened.
    pub fn new(
        publish: &[Publish],
        taken: Taken,
        way: Way,
        seed: [u8; 16],
        now: Instant,
    ) -> Result<Nat, String> {
        let configuration = net::resolver_configuration().unwrap_or_default();
        Nat::with_name_server(dns::name_server(&configuration), publish, taken, way, seed, now)
    }

    fn with_name_server(
        name_server: SocketAddr,
        publish: &[Publish],
        taken: Taken,
        way: Way,
        seed: [u8; 16],
        now: Instant,
    ) -> Result<Nat, String> {
        let shared = Shared::new(Addresses { name_server }, way.mtu)
            .map_err(|errno| format!("cannot make the epoll descriptor of the link nat: {errno}"))?;
        let settings = Settings {
            mtu: packets::MTU,
            addresses: vec![
                Cidr::new(GATEWAY_V4.into(), 24),
                Cidr::new(RESOLVER_V4.into(), 24),
                Cidr::new(GATEWAY_V6.into(), 64),
                Cidr::new(RESOLVER_V6.into(), 64),
            ],
            any_address: true,
            offer_incoming: true,
            checksums: false,
            segmentation: 0,
            in_memory: way.in_memory,
            tcp: tcp::Settings::default(),
            seed,
        };
        Ok(Nat {
            way,
            engine: Engine::new(settings, now),
            streams: Streams::new(),
            datagrams: Datagrams::new(),
            echoes: Echoes::new(),
            published: Published::open(publish, taken, &shared)?,
            reassembly: Reassembly::default(),
            scratch: Vec::new(),
            shared,
            budget: PACKETS_A_ROUND,
            stepped: false,
            polled: false,
        })
    }

    /// The published ports, each with the address that it is bound to: the port that the kernel chose for 0.
    pub fn published(&self) -> impl Iterator<Item = (Publish, SocketAddr)> {
        self.published.bound()
    }

    /// What passed so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters
    }

    /// Runs the timers that are due, once between two `None`s.
    fn step(&mut self, now: Instant) {
        if std::mem::replace(&mut self.stepped, true) {
            return;
        }
        if self.engine.deadline().is_some_and(|deadline| deadline <= now) {
            self.engine.advance(now);
        }
        self.streams.expire(&mut self.shared, now);
        self.datagrams.expire(now);
        self.echoes.expire(now);
        self.published.expire(&mut self.shared, now);
    }

    /// Gives a packet that is ready to `take`.
    fn give(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        if let Some(packet) = self.shared.packet() {
            take(&packet);
            return true;
        }
        let Nat { engine, scratch, .. } = self;
        engine.transmit(now, &mut |packet| take(packet.in_one(scratch)))
    }

    /// Gives a turn to whatever has work. Whether there was any.
    fn round(&mut self, now: Instant) -> bool {
        let offered = self.take_changes(now);
        self.take_events();
        let queued = self.shared.queued();
        for _ in 0..queued {
            match self.shared.next() {
                Some(Source::Stream(index)) => {
                    if let Some(port) = self.streams.turn(index, &mut self.engine, &mut self.shared, now) {
                        self.published.arrived(port);
                        self.lead(port, now);
                    }
                }
                Some(Source::Mapping(index)) => self.datagrams.turn(index, &mut self.shared, now),
                Some(Source::Listener(index)) => {
                    self.published.accept(index, &self.streams, &mut self.shared, now);
                    self.lead(index, now);
                }
                Some(Source::Door(index)) => self.published.admit(index, &mut self.shared, now),
                Some(Source::Echo(index)) => self.echoes.turn(index, &mut self.shared),
                None => break,
            }
        }
        self.budget = PACKETS_A_ROUND;
        offered || queued > 0
    }

    /// Sends on to the program what waits at a published port.
    fn lead(&mut self, port: usize, now: Instant) {
        let Nat { published, streams, engine, shared, .. } = self;
        published.lead(port, streams, engine, shared, now);
    }

    /// What happened at the engine. Whether there was an offer, which may be answered by now.
    fn take_changes(&mut self, now: Instant) -> bool {
        let mut offered = false;
        while let Some(offer) = self.engine.incoming() {
            self.streams.dial(offer, &mut self.engine, &mut self.shared, now);
            offered = true;
        }
        while let Some(id) = self.engine.changed() {
            if let Some(index) = self.streams.changed(id) {
                self.shared.queue(Source::Stream(index));
            }
        }
        offered
    }

    /// What happened at the kernel's sockets.
    fn take_events(&mut self) {
        if self.polled {
            return;
        }
        let count = self.shared.poll();
        self.polled = count < net::EVENTS;
        for index in 0..count {
            let (source, flags) = self.shared.event(index);
            let must_queue = match source {
                Source::Stream(index) => self.streams.hint(index, flags),
                Source::Mapping(index) => self.datagrams.hint(index, flags),
                Source::Listener(index) | Source::Door(index) => self.published.hint(index),
                Source::Echo(index) => self.echoes.hint(index, flags),
            };
            if must_queue {
                self.shared.queue(source);
            }
        }
    }

    fn transmit_datagram(&mut self, opened: &Opened<'_>, now: Instant) {
        match Datagram::parse(opened) {
            Some(datagram) if self.published.answer(&datagram, &mut self.shared, now) => {}
            Some(datagram) => self.datagrams.send(&datagram, &mut self.shared, now),
            None => self.shared.counters.dropped += 1,
        }
    }

    /// Takes the packet of which this is the last fragment that was missing.
    fn take_fragment(&mut self, packet: &[u8], now: Instant) {
        let fragment = fragment::parse(packet, false);
        let fragment = fragment.ok().filter(|fragment| addresses::is_guest(fragment.header.source));
        let (whole, kept) = match fragment {
            Some(fragment) => {
                let payload = &packet[fragment.header.payload.clone()];
                self.reassembly.take(fragment, payload, now)
            }
            None => (None, false),
        };
        self.shared.counters.dropped += u64::from(!kept);
        if let Some(whole) = whole {
            self.take(&whole, now);
        }
    }

    /// Takes a packet of the program.
    fn take(&mut self, packet: &[u8], now: Instant) {
        let opened = match packets::open(packet) {
            // Nobody but the program sends on this link.
            Ok(opened) if addresses::is_guest(opened.header.source) => opened,
            Err(Fault::Fragment) => return self.take_fragment(packet, now),
            Ok(_) | Err(Fault::Malformed | Fault::Checksum) => {
                self.shared.counters.dropped += 1;
                return;
            }
        };
        let Header { protocol, destination, .. } = opened.header;
        let ours = addresses::is_gateway(destination) || addresses::is_resolver(destination);
        match protocol {
            Protocol::Tcp => self.engine.receive(packet, now),
            Protocol::Udp => self.transmit_datagram(&opened, now),
            Protocol::Icmp if ours => self.shared.deliver(packets::echo_reply(&opened)),
            Protocol::Icmp => self.echoes.send(&opened, &mut self.shared, now),
            Protocol::UdpLite => self.shared.fail(icmp::Unreachable::Protocol, packet),
            Protocol::Other(_) => self.shared.counters.dropped += 1,
        }
    }
}

impl Link for Nat {
    fn capabilities(&self) -> Capabilities {
        let Way { mtu, in_memory } = self.way;
        Capabilities { mtu, checksums: false, segmentation: 0, in_memory }
    }

    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        self.step(now);
        loop {
            if self.budget == 0 {
                self.polled = false;
                self.round(now);
            }
            if self.give(now, take) {
                self.budget -= 1;
                return true;
            }
            if !self.round(now) {
                self.stepped = false;
                self.polled = false;
                return false;
            }
        }
    }

    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant) {
        let mut scratch = std::mem::take(&mut self.scratch);
        // Only the program's connections have its address.
        if !self.engine.receive_parts(&packet, now) {
            self.take(packet.in_one(&mut scratch), now);
        }
        self.scratch = scratch;
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.epoll.as_fd())
    }

    fn deadline(&mut self) -> Option<Instant> {
        if self.shared.pending() {
            return Some(Instant::ZERO);
        }
        let timers = [
            self.engine.deadline(),
            self.streams.deadline(),
            self.datagrams.deadline(),
            self.echoes.deadline(),
            self.published.deadline(),
        ];
        timers.into_iter().flatten().min()
    }

    fn busy(&self) -> bool {
        self.streams.busy(&self.engine)
    }

    fn progress(&self) -> u64 {
        self.streams.progress()
    }
}
