//! Echo requests of the program to the world, by the kernel's own echo sockets (icmp(7)). Each identifier of the program has
//! one, whose identifier the kernel chooses; replies and errors get the program's back.
//!
//! The kernel lets a user have such sockets only where the administrator says so (net.ipv4.ping_group_range). Elsewhere a
//! request is answered by ICMP: prohibited, and the log says once what to do.
//!
//! Limits: 256 identifiers, each until it was idle for a minute.
#![forbid(unsafe_code)]

use super::addresses::is_passed_on;
use super::outlet::{Outlet, retold, unreachable};
use super::packets::Opened;
use super::recency::Recency;
use super::work::{Shared, Source};
use crate::icmp::{self, Message, Unreachable};
use crate::ip::Treatment;
use crate::observe::log;
use crate::sys::net::{self, EventFlags, Received, Report};
use crate::time::Instant;
use core::time::Duration;
use rustix::io::{Errno, Result};
use slab::Slab;
use std::collections::HashMap;
use std::net::SocketAddr;

const LIMIT: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Replies read, and errors, in one turn.
const QUANTUM: usize = 16;

struct Echo {
    outlet: Outlet,
    /// The program's address; the port is its identifier.
    guest: SocketAddr,
    queued: bool,
}

/// The program's identifiers that are in use.
pub(super) struct Echoes {
    echoes: Slab<Echo>,
    by_guest: HashMap<SocketAddr, usize>,
    recency: Recency,
}

impl Echoes {
    pub(super) fn new() -> Echoes {
        Echoes { echoes: Slab::new(), by_guest: HashMap::new(), recency: Recency::new(TIMEOUT) }
    }

    /// Passes on an echo request of the program.
    pub(super) fn send(&mut self, opened: &Opened<'_>, shared: &mut Shared, now: Instant) {
        let header = &opened.header;
        let request = icmp::parse(opened.packet, header, false) == Ok(Some(Message::Echo));
        let identifier = icmp::echo_identifier(opened.payload());
        let Some(identifier) = identifier.filter(|_| request && is_passed_on(header.destination)) else {
            shared.counters.dropped += 1;
            return;
        };
        let guest = SocketAddr::new(header.source, identifier);
        let target = SocketAddr::new(header.destination, 0);
        let outcome = self.echo(guest, target, shared).and_then(|index| {
            self.recency.touch(index, now);
            self.echoes[index].outlet.send(opened.payload(), target, header.treatment)
        });
        match outcome {
            Ok(()) => shared.counters.datagrams_sent += 1,
            Err(errno) => match unreachable(errno) {
                Some(reason) => {
                    explain(reason);
                    shared.fail(reason, opened.packet);
                }
                None => shared.counters.dropped += 1,
            },
        }
    }

    /// The socket for `guest`, made if need be.
    fn echo(&mut self, guest: SocketAddr, target: SocketAddr, shared: &mut Shared) -> Result<usize> {
        if let Some(&index) = self.by_guest.get(&guest) {
            return Ok(index);
        }
        if self.echoes.len() >= LIMIT
            && let Some((_, oldest)) = self.recency.oldest()
        {
            self.close(oldest);
        }
        let socket = net::echo(target)?;
        let entry = self.echoes.vacant_entry();
        let index = entry.key();
        shared.watch(&socket, Source::Echo(index))?;
        entry.insert(Echo { outlet: Outlet::new(socket), guest, queued: false });
        self.by_guest.insert(guest, index);
        Ok(index)
    }

    /// An event for a socket. Whether it must be queued for a turn.
    pub(super) fn hint(&mut self, index: usize, flags: EventFlags) -> bool {
        let readable = flags.intersects(EventFlags::IN | EventFlags::ERR);
        match self.echoes.get_mut(index) {
            Some(echo) if readable => !std::mem::replace(&mut echo.queued, true),
            _ => false,
        }
    }

    /// Delivers what came for a socket.
    pub(super) fn turn(&mut self, index: usize, shared: &mut Shared) {
        let Some(echo) = self.echoes.get_mut(index) else { return };
        echo.queued = false;
        for _ in 0..QUANTUM {
            match echo.outlet.receive(shared) {
                Ok((received, treatment)) => echo.deliver(&received, treatment, shared),
                Err(Errno::AGAIN) => {
                    while let Some(report) = echo.outlet.report(shared) {
                        echo.retell(&report, shared);
                    }
                    return;
                }
                // An error that the queue tells in full, below; reading it cleared it.
                Err(_) => {}
            }
        }
        echo.queued = true;
        shared.queue(Source::Echo(index));
    }

    /// When the next socket expires.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.recency.deadline()
    }

    /// Closes the sockets that have been idle too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(index) = self.recency.expired(now) {
            self.close(index);
        }
    }

    fn close(&mut self, index: usize) {
        self.recency.remove(index);
        let echo = self.echoes.remove(index);
        self.by_guest.remove(&echo.guest);
    }
}

impl Echo {
    fn deliver(&self, received: &Received, treatment: Treatment, shared: &mut Shared) {
        let (from, to) = (received.from.ip(), self.guest.ip());
        let message = &shared.scratch[..received.length];
        let packet = icmp::echo(from, to, treatment, self.guest.port(), message);
        shared.counters.datagrams_received += 1;
        shared.deliver(packet);
    }

    /// Tells the program of an error about what it sent.
    fn retell(&self, report: &Report, shared: &mut Shared) {
        let Some(to) = report.to.map(|to| to.ip()) else { return };
        let Some((cause, offender)) = retold(report, to, shared) else { return };
        let message = &shared.scratch[..report.length];
        let quoted = icmp::echo(self.guest.ip(), to, Treatment::default(), self.guest.port(), message);
        if let Some(quoted) = quoted {
            shared.pass_on(cause, offender, &quoted);
        }
    }
}

fn explain(reason: Unreachable) {
    if reason == Unreachable::Prohibited && log::first_time("echo by nat", 0) {
        tracing::warn!(
            "echo requests (ping) to the network are not permitted to this user: they are answered with ICMP \
             prohibited. The administrator permits them with sysctl net.ipv4.ping_group_range='0 2147483647'"
        );
    }
}
