//! An engine for the program, `nat` beside it, and what a host does: carry packets, and wait.

use super::*;
use crate::engine::{Domain, Engine, Kind, Settings, SocketId, StreamState};
use crate::link::Link;
use crate::nat::{self, Nat, Taken, Way};
use crate::tcp;

pub(super) struct World {
    pub(super) program: Engine,
    pub(super) nat: Nat,
}

impl World {
    pub(super) fn new(name_server: SocketAddr, publish: &[Publish]) -> World {
        let now = crate::sys::now();
        let nat = Nat::with_name_server(name_server, publish, Taken::Refused, Way::default(), [2; 16], now)
            .unwrap();
        let capabilities = nat.capabilities();
        let settings = Settings {
            mtu: capabilities.mtu,
            addresses: nat::addressing().addresses,
            any_address: false,
            offer_incoming: false,
            checksums: capabilities.checksums,
            segmentation: capabilities.segmentation,
            in_memory: capabilities.in_memory,
            tcp: tcp::Settings::default(),
            seed: [1; 16],
        };
        World { program: Engine::new(settings, now), nat }
    }

    pub(super) fn plain() -> World {
        World::new(at("127.0.0.1:53"), &[])
    }

    /// Carries packets both ways until there are none. Whether there were any.
    fn exchange(&mut self) -> bool {
        let now = crate::sys::now();
        if self.program.deadline().is_some_and(|deadline| deadline <= now) {
            self.program.advance(now);
        }
        let mut any = false;
        loop {
            let mut moved = false;
            while self.program.transmit(now, &mut |packet| self.nat.transmit(*packet, now)) {
                moved = true;
            }
            while self.nat.receive(now, &mut |packet| self.program.receive(packet, now)) {
                moved = true;
            }
            if !moved {
                while self.program.changed().is_some() {}
                return any;
            }
            any = true;
        }
    }

    /// Runs both until `done` gives something. It is asked again whenever a packet moved.
    fn run_both<T>(&mut self, mut done: impl FnMut(&mut World) -> Option<T>) -> T {
        let give_up = crate::sys::now() + PATIENCE;
        self.exchange();
        loop {
            if let Some(result) = done(self) {
                self.exchange();
                return result;
            }
            if !self.exchange() {
                let deadline = self.program.deadline().into_iter().chain(self.nat.deadline()).min();
                wait(self.nat.wake().expect("nat has one"), deadline, give_up);
                self.exchange();
            }
        }
    }

    /// Runs both until `done`, which is the program, gives something.
    pub(super) fn run<T>(&mut self, mut done: impl FnMut(&mut Engine) -> Option<T>) -> T {
        self.run_both(|world| done(&mut world.program))
    }

    /// Runs both until `done`, which looks at nat.
    pub(super) fn run_nat(&mut self, mut done: impl FnMut(&Nat) -> bool) {
        self.run_both(|world| done(&world.nat).then_some(()));
    }

    /// Starts a connection of the program.
    pub(super) fn connect(&mut self, to: SocketAddr) -> SocketId {
        let domain = if to.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let id = self.program.open(domain, Kind::Stream);
        self.program.connect(id, to, crate::sys::now()).unwrap();
        id
    }

    /// A connection of the program that stands.
    pub(super) fn connected(&mut self, to: SocketAddr) -> SocketId {
        let id = self.connect(to);
        self.run(|program| match program.state(id) {
            Some(StreamState::Connecting) => None,
            state => Some(state),
        });
        assert_eq!(self.program.state(id), Some(StreamState::Connected), "{:?}", self.program.end(id));
        id
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&mut self, id: SocketId, bytes: &[u8]) {
        let mut rest = bytes;
        self.run(|program| {
            assert_eq!(program.state(id), Some(StreamState::Connected), "{:?}", program.end(id));
            write_some(program, id, &mut rest);
            rest.is_empty().then_some(())
        });
    }

    /// Reads until the end of file.
    pub(super) fn read_to_end(&mut self, id: SocketId) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.run(|program| {
            read_some(program, id, &mut bytes);
            assert_eq!(program.end(id), None);
            program.at_eof(id).then_some(())
        });
        bytes
    }

    /// Reads `length` bytes.
    pub(super) fn read(&mut self, id: SocketId, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.run(|program| {
            read_some(program, id, &mut bytes);
            assert_eq!(program.end(id), None);
            (bytes.len() >= length).then_some(())
        });
        bytes
    }

    /// Runs until the stream has ended, and says why.
    pub(super) fn end(&mut self, id: SocketId) -> Option<crate::error::Error> {
        self.run(|program| (program.state(id) == Some(StreamState::Ended)).then(|| program.end(id)))
    }
}

/// Writes what there is room for, and cuts it off `rest`.
pub(super) fn write_some(program: &mut Engine, id: SocketId, rest: &mut &[u8]) {
    program.write_with(id, &mut |space| {
        let count = space.len().min(rest.len());
        let (now, later) = rest.split_at(count);
        space[..count].copy_from_slice(now);
        *rest = later;
        count
    });
}

/// Appends what there is to read.
pub(super) fn read_some(program: &mut Engine, id: SocketId, bytes: &mut Vec<u8>) {
    program.read_with(id, &mut |slice| {
        bytes.extend_from_slice(slice);
        slice.len()
    });
}
