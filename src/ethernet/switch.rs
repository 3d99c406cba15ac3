//! `tubesock switch`: a learning switch between streams of frames, so that several hosts, QEMU guests and what else speaks
//! them form a network on one machine without any rights.
//!
//! A frame goes to where its destination was last heard of, and to all others when that is not known. Who does not read
//! loses frames, and holds up nobody. No spanning tree: two switches must not be joined twice.

use super::Frames;
use super::frame::{self, Mac};
use super::stream::{MTU_MAX, Stream};
use crate::sys;
use crate::sys::descriptors::{Internal, internal};
use crate::sys::unix;
use crate::time::Instant;
use core::convert::Infallible;
use core::time::Duration;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::{Errno, Result};
use slab::Slab;
use std::collections::HashMap;
use std::mem::MaybeUninit;

/// IEEE 802.1D 7.9.2: how long a station is believed to be where it was.
const AGEING: Duration = Duration::from_secs(300);
/// Stations remembered.
const STATIONS_MAX: usize = 4096;
/// Key of the listener; the ports have their places.
const LISTENER: u64 = u64::MAX;
/// Ports; who comes when there are as many is let go.
const PORTS_MAX: usize = 256;
/// Frames of one port until the others have their turn.
const TURN: usize = 64;
const EVENTS: usize = 64;
/// Until the next who came is let in, when no descriptor was to be had for the last.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks for stations that are forgotten.
const FORGETTING: Duration = Duration::from_secs(1);

/// Where stations are.
#[derive(Default)]
struct Table {
    stations: HashMap<Mac, (usize, Instant)>,
    /// When those that were not heard of for long were last looked for.
    swept: Instant,
}

impl Table {
    fn learn(&mut self, station: Mac, port: usize, now: Instant) {
        let known = self.stations.contains_key(&station);
        // Not for each frame of a crowd that has no room.
        if !known && self.stations.len() >= STATIONS_MAX && now - self.swept >= FORGETTING {
            self.stations.retain(|_, (_, seen)| now - *seen < AGEING);
            self.swept = now;
        }
        if !station.is_group() && (known || self.stations.len() < STATIONS_MAX) {
            self.stations.insert(station, (port, now));
        }
    }

    /// The port behind which a station is; None: behind any.
    fn port_of(&self, station: Mac, now: Instant) -> Option<usize> {
        let (port, seen) = self.stations.get(&station)?;
        (now - *seen < AGEING).then_some(*port)
    }

    fn forget(&mut self, port: usize) {
        self.stations.retain(|_, (other, _)| *other != port);
    }
}

/// A switch.
pub struct Switch {
    listener: Internal,
    set: Internal,
    ports: Slab<Stream>,
    table: Table,
    /// No descriptor was to be had: until when the listener is left alone.
    paused: Option<Instant>,
}

impl Switch {
    /// A switch whose ports are what connects to `socket`, which is bound, and non-blocking.
    pub fn new(socket: Internal) -> Result<Switch> {
        rustix::net::listen(&socket, 128)?;
        let set = internal(epoll::create(CreateFlags::CLOEXEC)?);
        epoll::add(&set, &socket, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Switch { listener: socket, set, ports: Slab::new(), table: Table::default(), paused: None })
    }

    /// Works for ever.
    pub fn run(mut self) -> Result<Infallible> {
        loop {
            self.turn()?;
        }
    }

    fn turn(&mut self) -> Result<()> {
        let mut space = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let pause = self.paused.map(|until| until - sys::now());
        let pause =
            pause.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let events = match epoll::wait(&self.set, &mut space[..], pause.as_ref()) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if self.paused.is_some_and(|until| until <= sys::now()) {
            self.pause(false)?;
        }
        for event in events {
            match event.data.u64() {
                LISTENER => self.accept()?,
                port => self.serve(port as usize)?,
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match unix::accept(&self.listener) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                // Who came waits in the queue, and would wake us for ever.
                Err(_) => return self.pause(true),
            };
            if self.ports.len() >= PORTS_MAX {
                continue;
            }
            let Ok(stream) = Stream::over(internal(socket), MTU_MAX) else { return self.pause(true) };
            let entry = self.ports.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            if epoll::add(&self.set, stream.wake(), data, EventFlags::IN).is_ok() {
                entry.insert(stream);
            }
        }
    }

    /// Leaves the listener alone until a port is given back, or for a while; or no more.
    fn pause(&mut self, paused: bool) -> Result<()> {
        self.paused = paused.then(|| sys::now() + PAUSE);
        let events = if paused { EventFlags::empty() } else { EventFlags::IN };
        epoll::modify(&self.set, &self.listener, EventData::new_u64(LISTENER), events)
    }

    /// Gives back a port whose stream has ended: it is ready for nothing any more.
    fn remove(&mut self, port: usize) -> Result<()> {
        self.ports.remove(port);
        self.table.forget(port);
        if self.paused.is_some() { self.pause(false) } else { Ok(()) }
    }

    /// Passes on what came by a port.
    fn serve(&mut self, port: usize) -> Result<()> {
        let mut bytes = Vec::new();
        for _ in 0..TURN {
            bytes.clear();
            let Some(stream) = self.ports.get_mut(port) else { return Ok(()) };
            if !stream.receive(&mut |frame| bytes.extend_from_slice(frame)) {
                return if stream.is_down() { self.remove(port) } else { Ok(()) };
            }
            self.pass_on(port, &bytes)?;
        }
        Ok(())
    }

    fn pass_on(&mut self, port: usize, bytes: &[u8]) -> Result<()> {
        let Some(frame) = frame::open(bytes) else { return Ok(()) };
        let now = sys::now();
        self.table.learn(frame.from, port, now);
        match self.table.port_of(frame.to, now) {
            Some(known) if known == port => Ok(()),
            Some(known) => self.send(known, bytes),
            None => {
                let others: Vec<usize> =
                    self.ports.iter().map(|(other, _)| other).filter(|other| *other != port).collect();
                others.into_iter().try_for_each(|other| self.send(other, bytes))
            }
        }
    }

    fn send(&mut self, port: usize, bytes: &[u8]) -> Result<()> {
        let Some(stream) = self.ports.get_mut(port) else { return Ok(()) };
        stream.transmit([bytes, &[], &[], &[]]);
        // One that has gone is seen here too.
        if stream.is_down() { self.remove(port) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SocketFlags, SocketType};

    const ONE: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn stations_are_where_they_were_heard_of_last() {
        let mut table = Table::default();
        assert_eq!(table.port_of(ONE, at(0)), None);
        table.learn(ONE, 3, at(0));
        assert_eq!(table.port_of(ONE, at(1)), Some(3));
        table.learn(ONE, 4, at(2));
        assert_eq!(table.port_of(ONE, at(3)), Some(4));
        assert_eq!(table.port_of(ONE, at(400)), None);
        table.forget(4);
        assert_eq!(table.port_of(ONE, at(3)), None);
        table.learn(Mac::BROADCAST, 1, at(0));
        assert_eq!(table.port_of(Mac::BROADCAST, at(0)), None);
    }

    #[test]
    fn what_it_remembers_is_bounded() {
        let mut table = Table::default();
        for number in 0..10_000u32 {
            let [a, b, c, d] = number.to_be_bytes();
            table.learn(Mac([2, 0, a, b, c, d]), 1, at(0));
        }
        assert_eq!(table.stations.len(), STATIONS_MAX);
        table.learn(ONE, 2, at(301));
        assert_eq!(table.port_of(ONE, at(301)), Some(2));
    }

    /// A switch at a socket of a name of its own, and who connects to it.
    fn switch(name: &str) -> (Switch, impl Fn() -> Stream) {
        let name = format!("tubesock-switch-{name}-{}", sys::process_id());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = unix::socket(SocketType::STREAM, flags).expect("a socket");
        unix::bind(&socket, name.as_bytes()).expect("a name of its own");
        let connect = move || {
            let socket = unix::socket(SocketType::STREAM, SocketFlags::CLOEXEC).expect("a socket");
            unix::connect(&socket, name.as_bytes()).expect("the switch listens");
            Stream::over(internal(socket), MTU_MAX).expect("an epoll set")
        };
        (Switch::new(internal(socket)).expect("it can listen"), connect)
    }

    /// Whether there is something to do.
    fn is_woken(switch: &Switch) -> bool {
        let mut space = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let (events, _) = epoll::wait(&switch.set, &mut space[..], Some(&at_once)).expect("a set");
        !events.is_empty()
    }

    fn work(switch: &mut Switch) {
        while is_woken(switch) {
            switch.turn().expect("it works");
        }
    }

    fn received(stream: &mut Stream) -> usize {
        let mut frames = 0;
        while stream.receive(&mut |_| frames += 1) {}
        frames
    }

    #[test]
    fn frames_go_where_they_belong() {
        let (mut switch, connect) = switch("belong");
        let mut streams = [connect(), connect(), connect()];
        work(&mut switch);
        let mac = |number| Mac([2, 0, 0, 0, 0, number]);
        // From, to, and who gets it.
        for (from, to, gets) in [(0, 1, [0, 1, 1]), (1, 0, [1, 0, 0]), (0, 1, [0, 1, 0]), (2, 2, [0, 0, 0])] {
            let header = frame::header(mac(to as u8), mac(from as u8), frame::IPV4);
            streams[from].transmit([&header, &[7; 46], &[], &[]]);
            work(&mut switch);
            assert_eq!(streams.each_mut().map(received), gets, "{from} to {to}");
        }
        // One who has gone is noticed, and what is for him goes to all.
        let [one, two, mut three] = streams;
        drop(two);
        work(&mut switch);
        assert_eq!(switch.ports.len(), 2);
        let mut one = one;
        one.transmit([&frame::header(mac(1), mac(0), frame::IPV4), &[7; 46], &[], &[]]);
        work(&mut switch);
        assert_eq!(received(&mut three), 1);
    }

    #[test]
    fn who_cannot_be_let_in_wakes_it_no_more_until_there_is_room() {
        let (mut switch, connect) = switch("pause");
        let first = connect();
        work(&mut switch);
        switch.pause(true).expect("it listens");
        let _second = connect();
        assert!(!is_woken(&switch), "who waits is left alone");
        drop(first);
        work(&mut switch);
        assert_eq!((switch.ports.len(), switch.paused), (1, None), "the port of who has gone");
        switch.pause(true).expect("it listens");
        let _third = connect();
        switch.turn().expect("it waits for a second");
        work(&mut switch);
        assert_eq!(switch.ports.len(), 2);
    }
}
