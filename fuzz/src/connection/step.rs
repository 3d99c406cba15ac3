//! One step of an input: what the peer sends, what the owner calls, what time does.
#![forbid(unsafe_code)]

use super::{ACK, Bytes, Cause, FIN, PSH, Plan, RST, SYN, URG, World};
use std::time::Duration;
use tubesock::error::Error;
use tubesock::tcp::{Algorithm, KeepAlive, Options, Sequence, State};

impl World {
    pub(super) fn step(&mut self, input: &mut Bytes) {
        match input.u8() % 32 {
            0..=6 => self.deliver(input),
            7..=10 => self.their_data(input),
            11..=15 => self.any_segment(input),
            16 => self.lies_about_arrival(input),
            17..=20 => self.write(length(input)),
            21..=23 => self.read(length(input)),
            24 => self.wait(duration(input)),
            25 | 26 => self.wait_for_deadlines(input),
            27 => self.finish(input),
            28 => self.choose(input),
            29 => self.path_mtu(input),
            30 => self.unreachable(input),
            _ => self.urgent(input),
        }
    }

    // ---- the peer

    /// Some segments of ours arrive, others are lost; the peer may answer, each or all at once.
    fn deliver(&mut self, input: &mut Bytes) {
        let (count, lost, how) = (1 + input.u8() % 24, input.u8(), input.u8());
        let window = window(input);
        for index in 0..count {
            let Some(wire) = self.peer.queue.pop_front() else { break };
            if lost & (1 << (index % 8)) != 0 && index % 3 != 2 {
                continue;
            }
            self.peer.receive(&wire, &self.model);
            if how & 1 != 0 {
                self.answer(window, how);
            }
        }
        if how & 2 == 0 {
            self.answer(window, how);
        }
    }

    fn answer(&mut self, window: u16, how: u8) {
        let agreed = self.model.sack_agreed() && how & 4 == 0;
        let mut plan = self.peer.acknowledgement(window, agreed);
        if how & 8 != 0 && agreed {
            // A duplicate: what was just acknowledged came twice (RFC 2883).
            plan.sack.insert(0, (self.peer.next - 1, self.peer.next));
        }
        self.send(&plan);
    }

    /// Data of the peer: next in line, further on, or once more.
    fn their_data(&mut self, input: &mut Bytes) {
        let ahead = match input.u8() % 8 {
            0..=3 => 0,
            4 => i64::from(input.u8()),
            5 => i64::from(input.u8()) * 1000,
            6 => -i64::from(input.u16()),
            _ => self.model.advertised - self.peer.sent - i64::from(input.u8()),
        };
        let base = if ahead > 0 { self.model.acknowledged.max(1) } else { self.peer.sent.max(1) };
        let bits = input.u8();
        let flags = ACK | if bits & 7 == 0 { FIN } else { 0 } | if bits & 8 != 0 { PSH } else { 0 };
        let plan = Plan {
            sequence: (base + ahead).max(1),
            flags,
            length: length(input),
            ..self.peer.acknowledgement(window(input), bits & 16 != 0 && self.model.sack_agreed())
        };
        self.send(&plan);
    }

    fn any_segment(&mut self, input: &mut Bytes) {
        let flags = match input.u8() {
            bits @ 0..64 => bits,
            64..128 => ACK | FIN,
            128..160 => RST,
            160..176 => RST | ACK,
            176..192 => SYN | ACK,
            192..200 => SYN,
            200..208 => ACK | URG,
            _ => ACK,
        };
        let sequence = match (flags & SYN != 0, self.connection.state()) {
            // A peer has one initial sequence number; once it is known, any SYN may come.
            (true, State::SynSent) => 0,
            _ => self.their_number(input),
        };
        let acknowledgement = self.our_number(input);
        let skew = match input.u8() % 8 {
            0..=3 => Some(0),
            4 => None,
            5 => Some(-i32::from(input.u8())),
            6 => Some(i32::from(input.u8())),
            _ => Some(-0x7000_0000),
        };
        let blocks =
            (0..input.u8() % 8 % 5).map(|_| (self.our_number(input), self.our_number(input))).collect();
        let plan = Plan {
            sequence,
            acknowledgement: (flags & ACK != 0).then_some(acknowledgement),
            flags,
            window: window(input),
            length: if input.u8().is_multiple_of(2) { 0 } else { length(input) },
            urgent: input.u16(),
            timestamp: skew,
            sack: blocks,
        };
        self.send(&plan);
    }

    /// Acknowledges what it never got, or takes back what it said it had.
    fn lies_about_arrival(&mut self, input: &mut Bytes) {
        let acknowledgement = self.our_number(input);
        let blocks =
            (0..1 + input.u8() % 3).map(|_| (self.our_number(input), self.our_number(input))).collect();
        let plan = Plan {
            acknowledgement: Some(acknowledgement),
            sack: blocks,
            ..self.peer.acknowledgement(window(input), false)
        };
        self.send(&plan);
    }

    /// A number of the peer's own, around those that matter.
    fn their_number(&self, input: &mut Bytes) -> i64 {
        let model = &self.model;
        let base = match input.u8() % 6 {
            0 | 1 => model.acknowledged,
            2 => self.peer.sent,
            3 => model.advertised,
            4 => 0,
            _ => model.acknowledged + (1 << 31),
        };
        base + near(input)
    }

    /// A number of ours, likewise.
    fn our_number(&self, input: &mut Bytes) -> i64 {
        let model = &self.model;
        let base = match input.u8() % 6 {
            0 | 1 => model.sent,
            2 => self.peer.next,
            3 => model.acknowledged_by_peer,
            4 => self
                .peer
                .queue
                .front()
                .map_or(0, |wire| super::stream::unwrapped(wire.sequence, model.terms.iss, model.sent)),
            _ => model.sent + (1 << 31),
        };
        base + near(input)
    }

    // ---- time

    fn wait_for_deadlines(&mut self, input: &mut Bytes) {
        for _ in 0..=input.u8() % 4 {
            let Some(deadline) = self.connection.deadline() else { return };
            self.wait(deadline - self.now);
        }
    }

    // ---- the owner

    fn finish(&mut self, input: &mut Bytes) {
        match input.u8() % 16 {
            0..=7 => {
                self.tell(|| "close".into());
                self.model.closed = true;
                self.connection.close();
            }
            8..=11 => {
                self.tell(|| "orphan".into());
                (self.model.closed, self.model.orphaned) = (true, true);
                self.connection.disown(self.now);
                self.connection.close();
            }
            12 => {
                self.tell(|| "abort".into());
                self.aborted = true;
                self.connection.abort();
            }
            _ => {}
        }
        self.check(Cause::Call);
        self.settle();
    }

    fn choose(&mut self, input: &mut Bytes) {
        let bits = input.u8();
        let some = |on: bool, value: u64| on.then_some(Duration::from_millis(value));
        let keep_alive = KeepAlive {
            idle: Duration::from_secs(1 + u64::from(input.u8())),
            interval: Duration::from_secs(1 + u64::from(input.u8() % 8)),
            count: 1 + u32::from(input.u8() % 8),
        };
        let size = usize::from(input.u16()) * 16;
        let options = Options {
            no_delay: bits & 1 != 0,
            cork: bits & 2 != 0,
            quick_ack: bits & 4 != 0,
            keep_alive: (bits & 8 != 0).then_some(keep_alive),
            user_timeout: some(bits & 16 != 0, u64::from(input.u16())),
            congestion: input.pick(&[None, None, Some(Algorithm::Cubic), Some(Algorithm::Bbr)]),
            send_buffer: (bits & 32 != 0).then_some(size),
            receive_buffer: (bits & 64 != 0).then_some(size),
            not_sent_low_water: (bits & 128 != 0).then_some(size),
            max_pacing_rate: input.pick(&[None, None, Some(10_000), Some(10_000_000)]),
            linger2: input.pick(&[None, None, Some(Duration::from_secs(1))]),
            maximum_segment: input.pick(&[None, None, Some(536), Some(100)]),
            urgent_inline: !self.model.urgent_apart,
            ..Options::default()
        };
        self.tell(|| format!("{options:?}"));
        self.model.receive_max = self.model.receive_max.max(options.receive_buffer.unwrap_or(0));
        self.connection.set_options(&self.context, options, self.now);
        self.settle();
    }

    fn path_mtu(&mut self, input: &mut Bytes) {
        let mtu = usize::from(input.pick(&[1280, 1492, 600, 576, 68, 0, 21, 65_535_u16]));
        let number = self.our_number(input);
        let sequence = Sequence(super::stream::wrapped(number, self.model.terms.iss));
        self.tell(|| format!("path MTU {mtu} quoting {number}"));
        let believed = self.connection.path_mtu(&self.context, mtu, sequence);
        self.model.is_too_big(mtu, number, believed);
        self.check(Cause::Call);
        self.settle();
    }

    fn unreachable(&mut self, input: &mut Bytes) {
        let error =
            input.pick(&[Error::HostUnreachable, Error::ConnectionRefused, Error::NetworkUnreachable]);
        let number = self.our_number(input);
        let sequence = Sequence(super::stream::wrapped(number, self.model.terms.iss));
        self.tell(|| format!("{error:?} quoting {number}"));
        self.connection.unreachable(error, sequence);
        self.model.reported.push(error);
        self.check(Cause::Report(error, number));
        self.settle();
    }

    fn urgent(&mut self, input: &mut Bytes) {
        if input.u8().is_multiple_of(2) && self.model.written < super::WRITTEN_MAX {
            let byte = super::Stream::Ours.byte(1 + self.model.written);
            self.model.written += i64::from(self.connection.write_urgent(&mut self.context, byte));
        } else {
            self.connection.read_urgent();
        }
        self.settle();
    }
}

/// Mostly nothing, else a few bytes, segments or windows away.
fn near(input: &mut Bytes) -> i64 {
    match input.u8() % 8 {
        0..=2 => 0,
        3 => 1,
        4 => -1,
        5 => i64::from(input.u8() as i8),
        6 => i64::from(input.u8() as i8) * 1448,
        _ => i64::from(input.u16() as i16) * 64,
    }
}

fn length(input: &mut Bytes) -> usize {
    match input.u8() % 8 {
        0 => 1,
        1 => usize::from(input.u8()),
        2 | 3 => 1448,
        4 => 1000 * usize::from(input.u8() % 64),
        5 => usize::from(input.u16() % 4096),
        6 => usize::from(input.u16()).min(65_000),
        _ => 0,
    }
}

fn window(input: &mut Bytes) -> u16 {
    match input.u8() % 8 {
        0 => 0,
        1 => 1,
        2 => u16::from(input.u8()),
        3 => input.u16(),
        4 => u16::MAX,
        _ => 2000,
    }
}

/// From a microsecond to two hours.
fn duration(input: &mut Bytes) -> Duration {
    let scale = input.pick(&[1, 1000, 40_000, 200_000, 1_000_000, 30_000_000]);
    Duration::from_micros(scale * u64::from(input.u8()))
}
