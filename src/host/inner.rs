//! What is behind the lock: the engine, its link and the bridge, and the step that moves all three.
#![forbid(unsafe_code)]

use super::control::{self, Control, Door};
use crate::addressing::{Addressing, Cidr};
use crate::bridge::Bridge;
use crate::engine::{Engine, SocketId};
use crate::error::Result;
use crate::link::Link;
use crate::observe::trace;
use crate::sys;
use crate::sys::timer::Timer;
use crate::time::Instant;
use core::time::Duration;
use rustix::event::epoll::EventFlags;
use std::net::IpAddr;

/// Key of the timer in the epoll set; sockets use their ids.
pub(super) const TIMER: u64 = u64::MAX;
/// Key of the link's wake descriptor.
pub(super) const LINK: u64 = u64::MAX - 1;
/// Key of what wakes the driver at the end.
pub(super) const ENDING: u64 = u64::MAX - 2;
/// Key of the control socket.
pub(super) const CONTROL: u64 = u64::MAX - 3;
/// Key of the control socket that has a path.
pub(super) const ENTRANCE: u64 = u64::MAX - 4;
/// Key of its sockets in other network namespaces, and of the processes that they are kept for.
pub(super) const AWAY: u64 = u64::MAX - 5;
/// How often a full backlog is tried again when nothing says that the program accepted.
const STALLED_RETRY: Duration = Duration::from_millis(10);
/// Rounds of one step.
const ROUNDS: u32 = 32;

/// Packets taken from the link in one round: who floods it must not keep timers, calls and signals waiting.
const RECEIVED_A_ROUND: usize = 256;

/// Characters of a call in the capture.
const COMMENT_MAX: usize = 1000;

/// Engine, link and bridge.
pub struct Inner {
    pub(super) engine: Engine,
    pub(super) link: Box<dyn Link>,
    pub(super) bridge: Bridge,
    pub(super) control: Control,
    pub(super) name_servers: Vec<IpAddr>,
    timer: Timer,
    pub(super) stalled: Option<Instant>,
    pub(super) opened: u32,
    /// A panic was caught: the engine refuses further work.
    pub(super) broken: bool,
}

impl Inner {
    pub(super) fn new(
        engine: Engine,
        link: Box<dyn Link>,
        bridge: Bridge,
        control: Control,
        name_servers: Vec<IpAddr>,
    ) -> Result<Inner> {
        let timer = Timer::new()?;
        bridge.interest().add(control.descriptor(), CONTROL, EventFlags::IN)?;
        bridge.interest().add(timer.descriptor(), TIMER, EventFlags::IN)?;
        if let Some(wake) = link.wake() {
            bridge.interest().add(wake, LINK, EventFlags::IN)?;
        }
        Ok(Inner {
            engine,
            link,
            bridge,
            control,
            name_servers,
            timer,
            stalled: None,
            opened: 0,
            broken: false,
        })
    }

    /// Moves packets and bytes until nothing moves, or others should have their turn, and arms the timer.
    pub fn step(&mut self) {
        // What comes to the link by itself wakes the driver: it is asked once, and again for what packets of ours bring about.
        let mut ask = true;
        for _ in 0..ROUNDS {
            let now = sys::now();
            self.engine.advance(now);
            let mut moved = self.retry_stalled(now);
            let mut sent = false;
            while self.transmit(now) {
                sent = true;
            }
            moved |= sent;
            if ask || sent {
                let received = (0..RECEIVED_A_ROUND).take_while(|_| self.receive(now)).count();
                moved |= received > 0;
                ask = sent || received == RECEIVED_A_ROUND;
            }
            if let Some(addressing) = self.link.addressing() {
                self.readdress(addressing);
            }
            while let Some(id) = self.engine.changed() {
                self.bridge.follow(id, &mut self.engine, now);
                moved = true;
            }
            if !moved && !self.bridge.reset_the_rest(&mut self.engine, now) {
                self.bridge.release_waiters(&self.engine);
                self.arm();
                return;
            }
        }
        // A bulk transfer would go on for as long as its ends keep up. The driver comes back at once, after a look at
        // the other descriptors, and whoever waits for the lock gets it.
        self.timer.no_later_than(sys::now());
    }

    /// Takes over what the network gave.
    fn readdress(&mut self, addressing: Addressing) {
        let shown: Vec<String> = addressing.addresses.iter().map(Cidr::to_string).collect();
        tracing::info!("addresses {}", shown.join(" "));
        self.engine.set_addressing(addressing.addresses, addressing.routes);
        self.name_servers = addressing.name_servers;
    }

    /// Puts a call of the program's into the capture.
    pub(super) fn comment(&mut self, call: &str) {
        // A line, of a length that an option of a block holds.
        let line = call.chars().take(COMMENT_MAX).map(|c| if c.is_control() { '.' } else { c });
        self.link.comment(&line.collect::<String>(), sys::now());
    }

    /// Moves a packet from the engine to the link.
    fn transmit(&mut self, now: Instant) -> bool {
        let Inner { engine, link, .. } = self;
        engine.transmit(now, &mut |packet| {
            if trace::enabled() {
                trace::packet(now, true, &packet.to_packet());
            }
            link.transmit(*packet, now);
        })
    }

    /// Moves a packet from the link to the engine.
    fn receive(&mut self, now: Instant) -> bool {
        let Inner { engine, link, .. } = self;
        link.receive(now, &mut |packet| {
            trace::packet(now, false, packet);
            engine.receive(packet, now);
        })
    }

    /// A descriptor of the epoll set is ready.
    pub(super) fn ready(&mut self, key: u64, flags: EventFlags) {
        match key {
            TIMER => self.timer.expired(),
            LINK | ENDING => {}
            CONTROL => control::serve(self, Door::Name),
            ENTRANCE => control::serve(self, Door::Path),
            AWAY => control::serve_outposts(self),
            id => self.bridge.ready(SocketId(id), flags, &mut self.engine, sys::now()),
        }
    }

    /// Whether connections that waited for a full backlog were tried again.
    fn retry_stalled(&mut self, now: Instant) -> bool {
        let due = self.stalled.is_some_and(|due| due <= now);
        if due {
            self.bridge.retry_stalled(&mut self.engine, now);
        }
        if due || self.stalled.is_none() {
            self.stalled = self.bridge.is_stalled().then(|| now + STALLED_RETRY);
        }
        due
    }

    fn arm(&mut self) {
        let deadlines = [self.engine.deadline(), self.link.deadline(), self.stalled];
        if let Some(first) = deadlines.into_iter().flatten().min() {
            self.timer.no_later_than(first);
        }
    }

    /// A panic came through here: the driver, woken, tells everybody.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
        self.timer.no_later_than(Instant::ZERO);
    }

    /// The counters of the engine.
    pub fn counters(&self) -> crate::engine::Counters {
        self.engine.counters()
    }

    /// What is still on its way: it changes when some of it arrives.
    pub(super) fn undelivered(&self) -> (usize, usize, u64) {
        (self.bridge.streams(), self.engine.orphans(), self.link.progress())
    }

    /// Whether anything that the program sent is still on its way.
    pub(super) fn busy(&self) -> bool {
        self.bridge.streams() > 0 || self.engine.orphans() > 0 || self.link.busy()
    }
}
