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

/// Where stations are.
#[derive(Default)]
struct Table(HashMap<Mac, (usize, Instant)>);

impl Table {
    fn learn(&mut self, station: Mac, port: usize, now: Instant) {
        if self.0.len() >= STATIONS_MAX && !self.0.contains_key(&station) {
            self.0.retain(|_, (_, seen)| now - *seen < AGEING);
        }
        if !station.is_group() && (self.0.len() < STATIONS_MAX || self.0.contains_key(&station)) {
            self.0.insert(station, (port, now));
        }
    }

    /// The port behind which a station is; None: behind any.
    fn port_of(&self, station: Mac, now: Instant) -> Option<usize> {
        let (port, seen) = self.0.get(&station)?;
        (now - *seen < AGEING).then_some(*port)
    }

    fn forget(&mut self, port: usize) {
        self.0.retain(|_, (other, _)| *other != port);
    }
}

/// A switch.
pub struct Switch {
    listener: Internal,
    set: Internal,
    ports: Slab<Stream>,
    table: Table,
}

impl Switch {
    /// A switch whose ports are what connects to `socket`, which is bound, and non-blocking.
    pub fn new(socket: Internal) -> Result<Switch> {
        rustix::net::listen(&socket, 128)?;
        let set = internal(epoll::create(CreateFlags::CLOEXEC)?);
        epoll::add(&set, &socket, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Switch { listener: socket, set, ports: Slab::new(), table: Table::default() })
    }

    /// Works for ever.
    pub fn run(mut self) -> Result<Infallible> {
        loop {
            self.turn()?;
        }
    }

    fn turn(&mut self) -> Result<()> {
        let mut space = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let events = match epoll::wait(&self.set, &mut space[..], None) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        for event in events {
            match event.data.u64() {
                LISTENER => self.accept(),
                port => self.serve(port as usize),
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok(socket) = unix::accept(&self.listener) {
            if self.ports.len() >= PORTS_MAX {
                continue;
            }
            let Ok(stream) = Stream::over(internal(socket), MTU_MAX) else { continue };
            let entry = self.ports.vacant_entry();
            let data = EventData::new_u64(entry.key() as u64);
            if epoll::add(&self.set, stream.wake(), data, EventFlags::IN).is_ok() {
                entry.insert(stream);
            }
        }
    }

    /// Passes on what came by a port.
    fn serve(&mut self, port: usize) {
        let mut bytes = Vec::new();
        for _ in 0..TURN {
            bytes.clear();
            let Some(stream) = self.ports.get_mut(port) else { return };
            if !stream.receive(&mut |frame| bytes.extend_from_slice(frame)) {
                if stream.has_ended() {
                    self.ports.remove(port);
                    self.table.forget(port);
                }
                return;
            }
            self.pass_on(port, &bytes);
        }
    }

    fn pass_on(&mut self, port: usize, bytes: &[u8]) {
        let Some(frame) = frame::open(bytes) else { return };
        let now = sys::now();
        self.table.learn(frame.from, port, now);
        let known = self.table.port_of(frame.to, now).filter(|_| !frame.to.is_group());
        for (other, stream) in self.ports.iter_mut() {
            if other != port && known.is_none_or(|known| known == other) {
                stream.transmit([bytes, &[], &[], &[]]);
            }
        }
        // One that has gone is seen here too, and is ready for nothing any more.
        let table = &mut self.table;
        self.ports.retain(|port, stream| {
            let ended = stream.has_ended();
            if ended {
                table.forget(port);
            }
            !ended
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(table.0.len(), STATIONS_MAX);
        table.learn(ONE, 2, at(301));
        assert_eq!(table.port_of(ONE, at(301)), Some(2));
    }
}
