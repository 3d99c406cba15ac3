//! Our side of a connection: a script played against an engine, as far as it goes without waiting.

use crate::script::Step;
use crate::theirs::Agreed;
use std::net::SocketAddr;
use tubesock::engine::{Domain, Engine, Kind, SocketId, StreamState};
use tubesock::error::Error;
use tubesock::time::Instant;

/// A socket that runs through its script.
pub(crate) struct Ours {
    socket: Socket,
    steps: Vec<Step>,
    at: usize,
    outgoing: Vec<u8>,
    sent: usize,
    expected: Vec<u8>,
    received: usize,
}

enum Socket {
    Listening(SocketId),
    Connected(SocketId),
    Released,
}

/// A listening socket at `address`.
pub(crate) fn listen(engine: &mut Engine, address: SocketAddr, now: Instant) -> SocketId {
    let listener = engine.open(domain(address), Kind::Stream);
    engine.bind(listener, address, now).expect("a free port of the engine's own address");
    engine.listen(listener, 16, now).expect("a bound socket");
    listener
}

/// A socket that connects to `address`.
pub(crate) fn connect(engine: &mut Engine, address: SocketAddr, now: Instant) -> SocketId {
    let socket = engine.open(domain(address), Kind::Stream);
    engine.connect(socket, address, now).expect("an address on the link");
    socket
}

fn domain(address: SocketAddr) -> Domain {
    if address.is_ipv4() { Domain::V4 } else { Domain::V6 }
}

impl Ours {
    /// A side that sends `outgoing` and reads `expected`, when its script says so, over a connection to `address`.
    pub(crate) fn connect(
        engine: &mut Engine,
        address: SocketAddr,
        steps: &[Step],
        [outgoing, expected]: [Vec<u8>; 2],
        now: Instant,
    ) -> Ours {
        let socket = Socket::Connected(connect(engine, address, now));
        Ours { socket, steps: steps.to_vec(), at: 0, outgoing, sent: 0, expected, received: 0 }
    }

    /// Likewise, over the first connection that is made to `address`.
    pub(crate) fn listen(
        engine: &mut Engine,
        address: SocketAddr,
        steps: &[Step],
        [outgoing, expected]: [Vec<u8>; 2],
        now: Instant,
    ) -> Ours {
        let socket = Socket::Listening(listen(engine, address, now));
        Ours { socket, steps: steps.to_vec(), at: 0, outgoing, sent: 0, expected, received: 0 }
    }

    /// The connection, once there is one.
    pub(crate) fn id(&self) -> Option<SocketId> {
        match self.socket {
            Socket::Connected(id) => Some(id),
            Socket::Listening(_) | Socket::Released => None,
        }
    }

    /// What our TCP_INFO says was agreed on, while there is a connection.
    pub(crate) fn agreed(&self, engine: &Engine, now: Instant) -> Option<Agreed> {
        let id = self.id().filter(|id| engine.state(*id) == Some(StreamState::Connected))?;
        Some(Agreed::from_options(engine.info(id, now)?.options))
    }

    /// Goes as far as it can. True when the script is over.
    pub(crate) fn turn(&mut self, engine: &mut Engine, now: Instant) -> Result<bool, String> {
        if let Socket::Listening(listener) = self.socket {
            let Some(id) = engine.accept(listener) else { return Ok(false) };
            engine.release(listener, now);
            self.socket = Socket::Connected(id);
        }
        while let Some(step) = self.steps.get(self.at).copied() {
            let Socket::Connected(id) = self.socket else { return Err(format!("{step:?} after close")) };
            if !self.perform(step, engine, id, now).map_err(|error| format!("{step:?}: {error}"))? {
                return Ok(false);
            }
            self.at += 1;
        }
        if let Socket::Connected(id) = self.socket {
            engine.release(id, now);
            self.socket = Socket::Released;
        }
        Ok(true)
    }

    /// Whether the step is done.
    fn perform(
        &mut self,
        step: Step,
        engine: &mut Engine,
        id: SocketId,
        now: Instant,
    ) -> Result<bool, String> {
        if !matches!(step, Step::Fail(_) | Step::SendUntil(_))
            && let Some(error) = engine.end(id)
        {
            return Err(format!("{error} ({error:?})"));
        }
        match step {
            Step::Send => {
                self.sent += write(engine, id, &self.outgoing[self.sent..]);
                Ok(self.sent == self.outgoing.len())
            }
            Step::Receive => self.receive(engine, id, self.expected.len()),
            Step::ReceiveHalf => self.receive(engine, id, self.expected.len() / 2),
            Step::Arrived => Ok(engine.readable(id) > 0),
            Step::Finish => {
                engine.shutdown_write(id, now);
                Ok(true)
            }
            Step::EndOfFile if engine.readable(id) > 0 => Err("more bytes than were sent".into()),
            Step::EndOfFile => Ok(engine.at_eof(id)),
            Step::Over => Ok(engine.state(id) == Some(StreamState::Ended)),
            Step::Reset => {
                engine.abort(id, now);
                ended_with(engine, id, Error::ConnectionAborted)
            }
            Step::Close => {
                engine.release(id, now);
                self.socket = Socket::Released;
                Ok(true)
            }
            Step::Fail(error) => ended_with(engine, id, error),
            Step::SendUntil(error) => {
                write(engine, id, &self.outgoing);
                ended_with(engine, id, error)
            }
        }
    }

    /// Reads until `enough` has been read, and compares. True when it has.
    fn receive(&mut self, engine: &mut Engine, id: SocketId, enough: usize) -> Result<bool, String> {
        let mut wanted = &self.expected[self.received..enough.max(self.received)];
        let mut equal = true;
        engine.read_with(id, &mut |bytes| {
            let (now, later) = wanted.split_at(bytes.len().min(wanted.len()));
            equal &= bytes[..now.len()] == *now;
            wanted = later;
            now.len()
        });
        let before = self.received;
        self.received = enough.max(before) - wanted.len();
        match equal {
            false => {
                Err(format!("other bytes than were sent, between offsets {before} and {}", self.received))
            }
            true if self.received < enough && engine.at_eof(id) => {
                Err(format!("end of file after {} bytes of {enough}", self.received))
            }
            true => Ok(self.received >= enough),
        }
    }

    /// Where it stands, for a person.
    pub(crate) fn describe(&self, engine: &Engine) -> String {
        let (step, (sent, received)) = (self.steps.get(self.at), (self.sent, self.received));
        let state = self.id().map(|id| (engine.state(id), engine.end(id), engine.unacknowledged(id)));
        format!(
            "at {step:?}, {sent} bytes written and {received} read, state, end and unacknowledged {state:?}"
        )
    }
}

fn ended_with(engine: &Engine, id: SocketId, error: Error) -> Result<bool, String> {
    match (engine.state(id), engine.end(id)) {
        (Some(StreamState::Ended), Some(end)) if end == error => Ok(true),
        (Some(StreamState::Ended), end) => Err(format!("the connection ended with {end:?}")),
        _ => Ok(false),
    }
}

/// Writes as much of `bytes` as there is room for.
pub(crate) fn write(engine: &mut Engine, id: SocketId, bytes: &[u8]) -> usize {
    let mut rest = bytes;
    engine.write_with(id, &mut |room| {
        let (now, later) = rest.split_at(room.len().min(rest.len()));
        room[..now.len()].copy_from_slice(now);
        rest = later;
        now.len()
    })
}
