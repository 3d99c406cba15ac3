//! What an owner asks of streams, and of the datagram sockets that are there from the beginning.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::{BUFFER_MAX, OURS, SHARED_STREAMS, SOCKETS_MAX, THEIRS, World};
use std::net::SocketAddr;
use std::time::Duration;
use tubesock::engine::{Domain, Kind, Refusal, SocketId, SocketOption};
use tubesock::tcp::{Algorithm, KeepAlive};

impl World {
    pub(super) fn socket(&self, input: &mut Bytes) -> SocketId {
        self.sockets[usize::from(input.u8()) % self.sockets.len()]
    }

    pub(super) fn accept(&mut self, listener: SocketId) {
        while self.sockets.len() < SOCKETS_MAX
            && let Some(id) = self.engine.accept(listener)
        {
            self.sockets.push(id);
        }
    }

    pub(super) fn transfer(&mut self, input: &mut Bytes) {
        let id = self.socket(input);
        let mut length = usize::from(input.u16());
        match input.u8() % 8 {
            0..=2 => {
                self.engine.write_with(id, &mut |room| {
                    let written = room.len().min(length);
                    room[..written].fill(9);
                    length -= written;
                    written
                });
            }
            3 | 4 => {
                self.engine.read_with(id, &mut |bytes| {
                    let read = bytes.len().min(length);
                    length -= read;
                    read
                });
            }
            5 => while self.engine.receive_from(id).is_some() {},
            6 => {
                let to = SocketAddr::new(input.pick(&[THEIRS[0], THEIRS[1], OURS[0], OURS[1]]), 53);
                let to = (input.u8().is_multiple_of(2)).then_some(to);
                // EMSGSIZE, EDESTADDRREQ and the rest are as good an answer.
                let _ = self.engine.send_to(id, to, &vec![3; length], self.now);
            }
            _ => self.accept(id),
        }
    }

    pub(super) fn finish(&mut self, input: &mut Bytes) {
        let id = self.socket(input);
        match input.u8() % 4 {
            0 => self.engine.shutdown_write(id, self.now),
            1 => self.engine.abort(id, self.now),
            2 => self.engine.hold_accepting(id, input.u8().is_multiple_of(2)),
            _ => {
                self.engine.release(id, self.now);
                if self.sockets.len() > 1 {
                    self.sockets.retain(|socket| *socket != id);
                }
            }
        }
    }

    /// Sockets are opened, bound, connected; options are set; offers are answered. Any of it may fail.
    pub(super) fn arrange(&mut self, input: &mut Bytes) {
        if input.u8().is_multiple_of(2) && self.sockets.len() < SOCKETS_MAX {
            let domain = input.pick(&[Domain::V4, Domain::V6]);
            self.sockets.push(self.engine.open(domain, input.pick(&[Kind::Stream, Kind::Datagram])));
        }
        let id = self.socket(input);
        let family = usize::from(input.u8() % 2);
        let port = input.pick(&[0, 80, 53, 4000, 4001]);
        match input.u8() % 6 {
            0 => drop(self.engine.bind(id, SocketAddr::new(OURS[family], port), self.now)),
            1 => drop(self.engine.listen(id, usize::from(input.u8()), self.now)),
            2 => drop(self.engine.connect(id, SocketAddr::new(THEIRS[family], port), self.now)),
            // To ourselves.
            3 => drop(self.engine.connect(id, SocketAddr::new(OURS[family], port), self.now)),
            4 => {
                let option = option(input);
                let _ = self.engine.set_option(id, option, self.now);
            }
            _ => self.answer_offers(input),
        }
    }

    /// Urgent data, what two listeners share, and the rest of the options.
    pub(super) fn arrange_streams(&mut self, input: &mut Bytes) {
        let id = self.socket(input);
        match input.u8() % 8 {
            0 => drop(self.engine.write_urgent(id, input.u8())),
            1 => drop(self.engine.read_urgent(id)),
            2 => drop(self.engine.urgent_at_mark(id)),
            3 => {
                let family = usize::from(input.u8() % 2);
                self.request_to(family, SHARED_STREAMS, &[]);
            }
            4 => self.listeners.into_iter().for_each(|listener| self.accept(listener)),
            _ => {
                let option = stream_option(input);
                let _ = self.engine.set_option(id, option, self.now);
            }
        }
    }

    pub(super) fn answer_offers(&mut self, input: &mut Bytes) {
        while let Some(offer) = self.engine.incoming() {
            if input.u8().is_multiple_of(2) && self.sockets.len() < SOCKETS_MAX {
                self.engine.admit(offer.id, self.now);
                self.sockets.push(offer.id);
            } else {
                let how =
                    [Refusal::Reset, Refusal::NetworkUnreachable, Refusal::HostUnreachable, Refusal::Silence];
                self.engine.refuse(offer.id, input.pick(&how), self.now);
            }
        }
    }
}

/// From a microsecond to two hours.
pub(super) fn duration(input: &mut Bytes) -> Duration {
    let scale = input.pick(&[1, 1000, 40_000, 200_000, 1_000_000, 30_000_000]);
    Duration::from_micros(scale * u64::from(input.u8()))
}

fn option(input: &mut Bytes) -> SocketOption {
    let on = input.u8().is_multiple_of(2);
    let span = duration(input);
    match input.u8() % 5 {
        0 => SocketOption::NoDelay(on),
        1 => {
            let probes = KeepAlive { idle: span, interval: span, count: u32::from(input.u8()) };
            SocketOption::KeepAlive(on.then_some(probes))
        }
        2 => SocketOption::UserTimeout(on.then_some(span)),
        3 => SocketOption::ReuseAddress(on),
        _ => SocketOption::V6Only(on),
    }
}

fn stream_option(input: &mut Bytes) -> SocketOption {
    let number = input.u8();
    let on = number.is_multiple_of(2);
    let domain = input.pick(&[Domain::V4, Domain::V6]);
    let bytes = usize::from(number) << (input.u8() % 12);
    match input.u8() % 13 {
        0 => SocketOption::Cork(on),
        1 => SocketOption::QuickAcknowledgement(on),
        2 => SocketOption::UrgentInline(on),
        3 => SocketOption::Congestion(on.then_some(input.pick(&[Algorithm::Bbr, Algorithm::Cubic]))),
        4 => SocketOption::MaximumSegment(on.then_some((bytes as u16).clamp(88, 32_767))),
        5 => SocketOption::SendBuffer(on.then_some(bytes.clamp(1, BUFFER_MAX))),
        6 => SocketOption::ReceiveBuffer(on.then_some(bytes.clamp(1, BUFFER_MAX))),
        7 => SocketOption::SynRetries(on.then_some(number.max(1))),
        8 => SocketOption::Linger2(on.then_some(duration(input))),
        9 => SocketOption::MaxPacingRate(on.then_some(bytes as u64)),
        10 => SocketOption::NotSentLowWater(on.then_some(bytes)),
        11 => SocketOption::HopLimit(domain, on.then_some(number)),
        _ if number < 192 => SocketOption::TrafficClass(domain, number),
        _ => SocketOption::DeferAccept(on.then_some(duration(input))),
    }
}
