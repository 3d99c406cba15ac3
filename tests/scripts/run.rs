//! Runs one script against one stack.
//!
//! An action happens at its time, when everything that the stack sent until then has been collected. A segment expected
//! is the oldest one collected and not yet expected; it must have been sent at its time, give or take what the stack's
//! clock is worth. At the end nothing may be left over.
#![forbid(unsafe_code)]

use crate::flow::{Flow, Names, pattern};
use crate::info::{Info, show_value};
use crate::script::{Action, Backend, Call, Event, Family, IcmpError, Outcome, Script, When};
use crate::segment::{SYN, Segment};
use crate::value::{Bound, Micros, errno_name, show_seconds};
use crate::wire::{self, Raw};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::net::IpAddr;

/// How far from its time a segment may be: the stack's clock and its timers are not exact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(crate) early: Micros,
    pub(crate) late: Micros,
    /// Thousandths of the time waited, on top: the kernel's timer wheel is coarser the longer a timer is.
    pub(crate) late_share: i64,
}

/// How long a peer that fills a window waits for an acknowledgement.
const FILL_PATIENCE: Micros = 100_000;

/// A TCP that can be scripted.
pub(crate) trait Stack {
    /// What reports call it.
    fn name(&self) -> &'static str;
    fn tolerance(&self) -> Tolerance;
    /// The next packet that the stack sends until `until`, with its time; None when that time has come.
    fn next(&mut self, until: Micros) -> Option<(Micros, Vec<u8>)>;
    fn inject(&mut self, packet: &[u8]);
    /// A call on `socket`: its value, or the errno. Nothing blocks.
    fn call(&mut self, socket: &str, call: &Call) -> Result<i64, i32>;
    /// As much as read(2) gives of at most `length` bytes.
    fn read(&mut self, socket: &str, length: usize) -> Result<Vec<u8>, i32>;
    /// What of `data` is taken; `urgent`: as MSG_OOB has it.
    fn write(&mut self, socket: &str, data: &[u8], urgent: bool) -> Result<i64, i32>;
    fn info(&mut self, socket: &str) -> Result<Info, i32>;
}

/// Addresses: of the stack, of the peer that a script is, and of a router that sends ICMP errors.
pub(crate) fn addresses(family: Family) -> [IpAddr; 3] {
    let texts = match family {
        Family::V4 => ["10.0.2.15", "10.0.2.2", "10.0.2.1"],
        Family::V6 => ["fd00::15", "fd00::2", "fd00::1"],
    };
    texts.map(|text| text.parse().expect("an address"))
}

/// A segment that the stack sent.
struct Sent {
    at: Micros,
    flow: u16,
    raw: Raw,
}

struct Run<'a> {
    stack: &'a mut dyn Stack,
    family: Family,
    verify_data: bool,
    flows: BTreeMap<u16, Flow>,
    names: Names,
    sent: VecDeque<Sent>,
    /// The time of the event before: of a segment expected, when it came.
    base: Micros,
    /// Bytes read and written so far, by socket.
    read: BTreeMap<String, i64>,
    written: BTreeMap<String, i64>,
    trace: String,
}

/// Runs `script`; the report of what went wrong, or what happened.
pub(crate) fn run(
    script: &Script,
    family: Family,
    backend: Backend,
    stack: &mut dyn Stack,
) -> Result<String, String> {
    let mut run = Run {
        stack,
        family,
        verify_data: script.setup.verify_data,
        flows: BTreeMap::from([(0, Flow::new(0))]),
        names: Names::new(),
        sent: VecDeque::new(),
        base: 0,
        read: BTreeMap::new(),
        written: BTreeMap::new(),
        trace: String::new(),
    };
    for event in script.events.iter().filter(|event| event.only.is_none_or(|only| only == backend)) {
        run.play(event).map_err(|message| run.report(&script.name, Some(event), &message))?;
    }
    run.finish().map_err(|message| run.report(&script.name, None, &message))?;
    Ok(run.trace)
}

impl Run<'_> {
    fn report(&self, name: &str, event: Option<&Event>, message: &str) -> String {
        let place = match event {
            Some(Event { line: 0, text, .. }) => format!("in its prelude: {text}"),
            Some(Event { line, text, .. }) => format!("line {line}: {text}"),
            None => "at its end".into(),
        };
        let Run { stack, family, trace, .. } = self;
        let stack = stack.name();
        format!("{name} ({stack}, {family:?}), {place}\n{message}\n  what happened:\n{trace}")
    }

    fn note(&mut self, at: Micros, text: &str) {
        let _ = writeln!(self.trace, "    {:>8} {text}", show_seconds(at));
    }

    fn play(&mut self, event: &Event) -> Result<(), String> {
        let When { relative, low, high } = event.when;
        let base = if relative { self.base } else { 0 };
        let (low, high) = (base + low, base + high);
        if let Action::Expect(segment) = &event.action {
            return self.expect(segment, low, high);
        }
        self.collect(high)?;
        self.note(high, &event.text);
        self.base = high;
        match &event.action {
            Action::Expect(_) => unreachable!("handled above"),
            Action::Allow(segment) => {
                self.allow(segment);
                Ok(())
            }
            Action::Silence => self.silence(),
            Action::Inject(segment) => self.inject(segment),
            Action::Fill { flow, length } => self.fill(*flow, *length),
            Action::Icmp(error) => self.inject_icmp(error),
            Action::Call { socket, call, outcome } => self.call(socket, call, *outcome),
            Action::Info { socket, fields } => self.compare_info(socket, fields),
            Action::Incarnation { flow, ahead } => {
                self.flow(*flow).renew(*ahead);
                Ok(())
            }
        }
    }

    fn flow(&mut self, number: u16) -> &mut Flow {
        self.flows.entry(number).or_insert_with(|| Flow::new(number))
    }

    /// Collects what the stack sends until `until`.
    fn collect(&mut self, until: Micros) -> Result<(), String> {
        while let Some((at, packet)) = self.stack.next(until) {
            self.keep(at, &packet)?;
        }
        Ok(())
    }

    fn keep(&mut self, at: Micros, packet: &[u8]) -> Result<(), String> {
        let Some(raw) = wire::parse(packet)? else { return Ok(()) };
        let flow = self.flows.values_mut().find(|flow| flow.peer_port() == raw.destination_port);
        let Some(flow) = flow else {
            return Err(format!("  a segment to port {}, where no peer is", raw.destination_port));
        };
        flow.learn(&raw);
        if raw.flags & SYN != 0 {
            flow.stack_port = raw.source_port;
        }
        let (number, shown) = (flow.number(), flow.present(&raw).to_string());
        self.note(at, &format!("        > {shown}"));
        self.sent.push_back(Sent { at, flow: number, raw });
        Ok(())
    }

    fn inject(&mut self, segment: &Segment) -> Result<(), String> {
        let [stack, peer, _] = addresses(self.family);
        self.flow(segment.flow);
        let flow = self.flows.get_mut(&segment.flow).expect("made above");
        let raw = flow.raw_from_peer(segment, &self.names)?;
        self.stack.inject(&wire::tcp_packet(peer, stack, &raw, segment.corrupt));
        Ok(())
    }

    /// Sends until the window is shut; the stack's acknowledgements are taken on the way.
    fn fill(&mut self, number: u16, length: i64) -> Result<(), String> {
        loop {
            let (next, room) = self.flow(number).allowed();
            if room > 0 {
                let text = format!("@{number} . {next}:*({}) ack 1", length.min(room));
                self.inject(&Segment::read(&text)?)?;
                continue;
            }
            self.base += FILL_PATIENCE;
            self.collect(self.base)?;
            self.sent.clear();
            if self.flow(number).allowed().1 <= 0 {
                return Ok(());
            }
        }
    }

    fn inject_icmp(&mut self, error: &IcmpError) -> Result<(), String> {
        let [stack, peer, router] = addresses(self.family);
        let quoted = self.flow(error.flow).raw_quoted(error.sequence);
        let packet = wire::icmp_packet(&error.kind, error.mtu, router, stack, peer, &quoted)?;
        self.stack.inject(&packet);
        Ok(())
    }

    /// The oldest segment not yet expected must be `expected`.
    fn expect(&mut self, expected: &Segment, low: Micros, high: Micros) -> Result<(), String> {
        let Tolerance { early, late, late_share } = self.stack.tolerance();
        let late = late + (high - self.base).max(0) * late_share / 1000;
        let (first, last) = (low - early, high + late);
        while self.sent.is_empty() {
            match self.stack.next(last) {
                Some((at, packet)) => self.keep(at, &packet)?,
                None => break,
            }
        }
        let window = format!("between {} and {}", show_seconds(first), show_seconds(last));
        let Some(Sent { at, flow, raw }) = self.sent.pop_front() else {
            return Err(format!("  expected {expected}\n  got      nothing {window}"));
        };
        let known = self.flows.get(&flow).expect("collected by it");
        let mut faults = known.compare(expected, &raw, &mut self.names);
        if flow != expected.flow {
            faults.push("connection".into());
        }
        if !(first..=last).contains(&at) {
            faults.push(format!("time, not {window}"));
        }
        self.base = at;
        if faults.is_empty() {
            return Ok(());
        }
        let (got, at) = (known.present(&raw), show_seconds(at));
        Err(format!("  expected {expected}\n  got      {got} at {at}\n  wrong:   {}", faults.join("; ")))
    }

    /// Drops the oldest segment not yet expected if it is `allowed`.
    fn allow(&mut self, allowed: &Segment) {
        let Some(Sent { flow, raw, .. }) = self.sent.front() else { return };
        let known = self.flows.get(flow).expect("collected by it");
        if known.compare(allowed, raw, &mut self.names).is_empty() {
            self.sent.pop_front();
        }
    }

    fn silence(&mut self) -> Result<(), String> {
        let Some(Sent { at, flow, raw }) = self.sent.pop_front() else { return Ok(()) };
        let got = self.flows.get(&flow).expect("collected by it").present(&raw);
        Err(format!("  expected nothing\n  got      {got} at {}", show_seconds(at)))
    }

    fn finish(&mut self) -> Result<(), String> {
        self.collect(self.base)?;
        self.silence()
    }

    fn call(&mut self, socket: &str, call: &Call, outcome: Outcome) -> Result<(), String> {
        let result = match call {
            Call::Read(length) => self.read(socket, *length)?,
            Call::Write(length) => self.write(socket, *length, false),
            Call::SendUrgent(length) => self.write(socket, *length, true),
            Call::Connect(number) => {
                self.flow(*number);
                self.stack.call(socket, call)
            }
            other => self.stack.call(socket, other),
        };
        let agrees = match (outcome, result) {
            (Outcome::Returns(bound), Ok(value)) => bound.holds(value),
            (Outcome::Fails(errno), Err(got)) => errno == got,
            // A connection in memory may be made at once.
            (Outcome::Fails(libc::EINPROGRESS), Ok(0)) => true,
            _ => false,
        };
        if agrees {
            return Ok(());
        }
        let is_error = matches!(call, Call::Error);
        let wanted = match outcome {
            Outcome::Returns(bound) if is_error => errno_name(bound.low as i32),
            Outcome::Returns(bound) => bound.to_string(),
            Outcome::Fails(errno) => errno_name(errno),
        };
        let got = match result {
            Ok(value) if is_error => errno_name(value as i32),
            Ok(value) => value.to_string(),
            Err(errno) => errno_name(errno),
        };
        Err(format!("  expected {wanted}\n  got      {got}"))
    }

    /// Reads, and compares what came with the pattern that every stream of a script carries.
    fn read(&mut self, socket: &str, length: usize) -> Result<Result<i64, i32>, String> {
        let data = match self.stack.read(socket, length) {
            Ok(data) => data,
            Err(errno) => return Ok(Err(errno)),
        };
        let offset = self.read.entry(socket.into()).or_default();
        let fits = data.iter().zip(*offset..).all(|(byte, at)| *byte == pattern(at));
        *offset += data.len() as i64;
        if fits || !self.verify_data {
            Ok(Ok(data.len() as i64))
        } else {
            Err(format!("  the {} bytes read are not the bytes sent", data.len()))
        }
    }

    fn write(&mut self, socket: &str, length: usize, urgent: bool) -> Result<i64, i32> {
        let offset = self.written.entry(socket.into()).or_default();
        let data: Vec<u8> = (0..length as i64).map(|at| pattern(*offset + at)).collect();
        let written = self.stack.write(socket, &data, urgent)?;
        *offset += written;
        Ok(written)
    }

    fn compare_info(&mut self, socket: &str, fields: &[(String, Bound)]) -> Result<(), String> {
        let info = self.stack.info(socket).map_err(|errno| format!("  got      {}", errno_name(errno)))?;
        let mut faults = String::new();
        for (name, bound) in fields {
            match info.get(name.as_str()) {
                Some(value) if bound.holds(*value) => {}
                Some(value) => {
                    let wanted = match bound.single() {
                        Ok(single) => show_value(name, single),
                        Err(_) => bound.to_string(),
                    };
                    let _ = writeln!(faults, "  {name}: expected {wanted}, got {}", show_value(name, *value));
                }
                None => {
                    let _ = writeln!(faults, "  {name}: no such field");
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.trim_end().into()) }
    }
}
