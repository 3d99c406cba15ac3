//! Between the relative numbers of a script and the numbers on the wire: what each connection of a script has learnt
//! of the stack's initial sequence number, its timestamps and its port.
#![forbid(unsafe_code)]

use crate::segment::{ACK, FIN, RST, SYN, Segment, Stamp, TcpOption};
use crate::value::Bound;
use crate::wire::{Raw, u16_at, u32_at};
use std::collections::HashMap;

/// The peer's first sequence number: so chosen that the numbers wrap within every script that moves some data.
const PEER_START: u32 = u32::MAX - 2000;

/// The port of the script's peer (and one more for each further flow), and the one that the stack listens on.
pub(crate) const PEER_PORT: u16 = 4000;
pub(crate) const LISTEN_PORT: u16 = 80;

#[derive(Debug)]
pub(crate) struct Flow {
    number: u16,
    /// The stack's: what it listens on, or what it connected from.
    pub(crate) stack_port: u16,
    peer_start: u32,
    /// Known from the stack's first SYN on.
    stack_start: Option<u32>,
    /// The first timestamp that the stack sent.
    stack_clock: Option<u32>,
    /// What the peer's last segment said, for those that do not say.
    window: u16,
    /// Behind all that the peer has sent, relative: what `^` stands for.
    next: i64,
    /// The right edge of the window that the stack offers, relative to the peer.
    edge: i64,
    /// The window scales that the peer's SYN and the stack's offered.
    scales: [Option<u8>; 2],
}

/// Names that a script gave to timestamps of the stack, with their values on the wire.
pub(crate) type Names = HashMap<String, u32>;

impl Flow {
    pub(crate) fn new(number: u16) -> Flow {
        Flow {
            number,
            stack_port: LISTEN_PORT,
            peer_start: PEER_START.wrapping_sub(u32::from(number) * 1_000_003),
            stack_start: None,
            stack_clock: None,
            window: u16::MAX,
            next: 0,
            edge: 0,
            scales: [None; 2],
        }
    }

    /// Bytes that the stack's window allows, and the number they begin at.
    pub(crate) fn allowed(&self) -> (i64, i64) {
        (self.next, self.edge - self.next)
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn peer_port(&self) -> u16 {
        PEER_PORT + self.number
    }

    /// A new connection on the same ports, whose peer begins `ahead` of where the last began.
    pub(crate) fn renew(&mut self, ahead: i64) {
        self.peer_start = self.peer_start.wrapping_add(ahead as u32);
        self.stack_start = None;
        self.stack_clock = None;
        self.next = 0;
    }

    fn stack_start(&self) -> u32 {
        self.stack_start.unwrap_or(0)
    }

    /// The segment that a script injects.
    pub(crate) fn raw_from_peer(&mut self, segment: &Segment, names: &Names) -> Result<Raw, String> {
        let sequence = segment.sequence.resolved(self.next).single()?;
        if let Some(window) = segment.window {
            self.window = window.single()? as u16;
        }
        let acknowledgement = match segment.acknowledgement {
            Some(number) => self.stack_start().wrapping_add(number.single()? as u32),
            None => 0,
        };
        let mut options = Vec::new();
        for option in segment.options.iter().flatten() {
            self.write_option(option, names, &mut options)?;
        }
        options.resize(options.len().next_multiple_of(4), 0);
        let offset = sequence - i64::from(segment.flags & SYN == 0);
        let length = segment.length.single()?;
        self.next = self.next.max(sequence + length + i64::from(segment.flags & (SYN | FIN) != 0));
        if segment.flags & SYN != 0 {
            self.scales[0] = scale(segment.options.as_deref());
        }
        Ok(Raw {
            source_port: self.peer_port(),
            destination_port: self.stack_port,
            sequence: self.peer_start.wrapping_add(sequence as u32),
            acknowledgement,
            flags: segment.flags,
            window: self.window,
            urgent: segment.urgent.map_or(Ok(0), Bound::single)? as u16,
            options,
            payload: (0..length).map(|at| pattern(offset + at)).collect(),
        })
    }

    /// The segment that an ICMP error quotes: as if the stack had sent it.
    pub(crate) fn raw_quoted(&self, sequence: i64) -> Raw {
        Raw {
            source_port: self.stack_port,
            destination_port: self.peer_port(),
            sequence: self.stack_start().wrapping_add(sequence as u32),
            flags: ACK,
            ..Raw::default()
        }
    }

    fn write_option(&self, option: &TcpOption, names: &Names, out: &mut Vec<u8>) -> Result<(), String> {
        match option {
            TcpOption::Any => return Err("`*` cannot be sent".into()),
            TcpOption::Nop => out.push(1),
            TcpOption::End => out.push(0),
            TcpOption::Mss(mss) => {
                out.extend([2, 4]);
                out.extend((mss.single()? as u16).to_be_bytes());
            }
            TcpOption::Scale(shift) => out.extend([3, 3, shift.single()? as u8]),
            TcpOption::SackPermitted => out.extend([4, 2]),
            TcpOption::Sack(blocks) => {
                out.extend([5, (2 + 8 * blocks.len()) as u8]);
                for edge in blocks.iter().flat_map(|(left, right)| [left, right]) {
                    let number = self.stack_start().wrapping_add(edge.single()? as u32);
                    out.extend(number.to_be_bytes());
                }
            }
            TcpOption::Timestamps(value, echo) => {
                out.extend([8, 10]);
                let Stamp::Number(value) = value else { return Err("the peer's val is a number".into()) };
                out.extend((value.single()? as u32).to_be_bytes());
                out.extend(self.echo(echo, names)?.to_be_bytes());
            }
            TcpOption::Raw(bytes) => out.extend(bytes),
        }
        Ok(())
    }

    /// A name stands for what the stack sent; 0 for itself; any other number is relative to the stack's first.
    fn echo(&self, echo: &Stamp, names: &Names) -> Result<u32, String> {
        match echo {
            Stamp::Name(name) => names.get(name).copied().ok_or_else(|| format!("${name} is not known")),
            Stamp::Number(number) => match number.single()? {
                0 => Ok(0),
                number => Ok(self.stack_clock.unwrap_or(0).wrapping_add(number as u32)),
            },
        }
    }

    /// Learns what a segment of the stack's shows for the first time.
    pub(crate) fn learn(&mut self, raw: &Raw) {
        if raw.flags & SYN != 0 && self.stack_start.is_none() {
            self.stack_start = Some(raw.sequence);
        }
        if let Some((value, _)) = timestamps(&raw.options)
            && self.stack_clock.is_none()
        {
            self.stack_clock = Some(value);
        }
        let syn = raw.flags & SYN != 0;
        if syn {
            self.scales[1] = scale(Some(&self.present_options(&raw.options)));
        }
        if raw.flags & (ACK | RST) == ACK {
            let shift = match self.scales {
                [Some(_), Some(shift)] if !syn => shift,
                _ => 0,
            };
            self.edge = self.relative_to_peer(raw.acknowledgement) + (i64::from(raw.window) << shift);
        }
    }

    fn relative_to_stack(&self, number: u32) -> i64 {
        i64::from(number.wrapping_sub(self.stack_start()) as i32)
    }

    fn relative_to_peer(&self, number: u32) -> i64 {
        i64::from(number.wrapping_sub(self.peer_start) as i32)
    }

    /// The stack's segment as a script would write it.
    pub(crate) fn present(&self, raw: &Raw) -> Segment {
        Segment {
            flow: self.number,
            corrupt: false,
            flags: raw.flags,
            optional: 0,
            sequence: Bound::exactly(self.relative_to_stack(raw.sequence)),
            length: Bound::exactly(raw.payload.len() as i64),
            count: 1,
            acknowledgement: (raw.flags & ACK != 0)
                .then(|| Bound::exactly(self.relative_to_peer(raw.acknowledgement))),
            window: Some(Bound::exactly(raw.window.into())),
            urgent: (raw.urgent != 0).then(|| Bound::exactly(raw.urgent.into())),
            options: Some(self.present_options(&raw.options)),
        }
    }

    fn present_options(&self, mut bytes: &[u8]) -> Vec<TcpOption> {
        let mut options = Vec::new();
        while let [kind, rest @ ..] = bytes {
            match kind {
                0 => break,
                1 => bytes = rest,
                _ => {
                    let length = rest.first().map_or(0, |length| usize::from(*length));
                    if length < 2 || length > bytes.len() {
                        options.push(TcpOption::Raw(bytes.to_vec()));
                        break;
                    }
                    options.push(self.present_option(&bytes[..length]));
                    bytes = &bytes[length..];
                }
            }
        }
        options
    }

    fn present_option(&self, bytes: &[u8]) -> TcpOption {
        match (bytes[0], bytes.len()) {
            (2, 4) => TcpOption::Mss(Bound::exactly(u16_at(bytes, 2).into())),
            (3, 3) => TcpOption::Scale(Bound::exactly(bytes[2].into())),
            (4, 2) => TcpOption::SackPermitted,
            (5, _) => {
                let edge = |at: usize| Bound::exactly(self.relative_to_peer(u32_at(bytes, at)));
                let blocks = (2..bytes.len() - 7).step_by(8);
                TcpOption::Sack(blocks.map(|at| (edge(at), edge(at + 4))).collect())
            }
            (8, 10) => {
                let value = u32_at(bytes, 2).wrapping_sub(self.stack_clock.unwrap_or(0)) as i32;
                let stamp = |number: i64| Stamp::Number(Bound::exactly(number));
                TcpOption::Timestamps(stamp(value.into()), stamp(u32_at(bytes, 6).into()))
            }
            _ => TcpOption::Raw(bytes.to_vec()),
        }
    }

    /// Where `raw` is not what `expected` says; in words.
    pub(crate) fn compare(&self, expected: &Segment, raw: &Raw, names: &mut Names) -> Vec<String> {
        let got = self.present(raw);
        let mut faults = Vec::new();
        if got.flags & !expected.optional != expected.flags {
            faults.push("flags".to_string());
        }
        let mut check = |name: &str, wanted: Option<Bound>, found: Option<Bound>| {
            let found = found.map_or(0, |bound| bound.low);
            if wanted.is_some_and(|wanted| !wanted.resolved(self.next).holds(found)) {
                faults.push(name.to_string());
            }
        };
        check("sequence number", Some(expected.sequence), Some(got.sequence));
        check("length", Some(expected.length), Some(got.length));
        if got.acknowledgement.is_some() {
            check("acknowledgement", expected.acknowledgement, got.acknowledgement);
        }
        check("window", expected.window, got.window);
        check("urgent pointer", Some(expected.urgent.unwrap_or(Bound::exactly(0))), got.urgent);
        let found = got.options.as_deref().unwrap_or_default();
        let stamps = timestamps(&raw.options);
        if !options_match(expected.options.as_deref(), found, stamps, names) {
            faults.push("options".to_string());
        }
        if got.flags & SYN == 0 && !self.payload_fits(raw) {
            faults.push("data".to_string());
        }
        faults
    }

    fn payload_fits(&self, raw: &Raw) -> bool {
        let offset = self.relative_to_stack(raw.sequence) - 1;
        raw.payload.iter().zip(0..).all(|(byte, at)| *byte == pattern(offset + at))
    }
}

fn scale(options: Option<&[TcpOption]>) -> Option<u8> {
    options?.iter().find_map(|option| match option {
        TcpOption::Scale(shift) => Some(shift.low.min(14) as u8),
        _ => None,
    })
}

/// The byte at `offset` of any stream of a script.
pub(crate) fn pattern(offset: i64) -> u8 {
    (offset % 251) as u8
}

/// Without `<…>` nothing but timestamps may be there; with it, the same options in any order, and again timestamps.
fn options_match(
    expected: Option<&[TcpOption]>,
    found: &[TcpOption],
    stamps: Option<(u32, u32)>,
    names: &mut Names,
) -> bool {
    let is_stamp = |option: &&TcpOption| matches!(option, TcpOption::Timestamps(..));
    let expected = expected.unwrap_or_default();
    if expected.contains(&TcpOption::Any) {
        return true;
    }
    let wanted: Vec<_> = expected.iter().filter(|option| **option != TcpOption::Nop).collect();
    let stamps_wanted = wanted.iter().any(is_stamp);
    let found: Vec<_> = found.iter().filter(|option| stamps_wanted || !is_stamp(option)).collect();
    wanted.len() == found.len()
        && wanted.iter().all(|wanted| found.iter().any(|found| option_matches(wanted, found, stamps, names)))
}

fn option_matches(
    expected: &TcpOption,
    found: &TcpOption,
    stamps: Option<(u32, u32)>,
    names: &mut Names,
) -> bool {
    match (expected, found) {
        (TcpOption::Mss(wanted), TcpOption::Mss(found))
        | (TcpOption::Scale(wanted), TcpOption::Scale(found)) => wanted.holds(found.low),
        (TcpOption::Sack(wanted), TcpOption::Sack(found)) => {
            let holds = |(wanted, found): (&(Bound, Bound), &(Bound, Bound))| {
                wanted.0.holds(found.0.low) && wanted.1.holds(found.1.low)
            };
            wanted.len() == found.len() && wanted.iter().zip(found).all(holds)
        }
        (TcpOption::Timestamps(value, echo), TcpOption::Timestamps(found_value, found_echo)) => {
            let (raw_value, raw_echo) = stamps.unwrap_or_default();
            stamp_matches(value, found_value, raw_value, names)
                && stamp_matches(echo, found_echo, raw_echo, names)
        }
        (expected, found) => expected == found,
    }
}

/// A name that is new takes the value; one that is known must have it.
fn stamp_matches(wanted: &Stamp, found: &Stamp, raw: u32, names: &mut Names) -> bool {
    match (wanted, found) {
        (Stamp::Number(wanted), Stamp::Number(found)) => wanted.holds(found.low),
        (Stamp::Name(name), _) => *names.entry(name.clone()).or_insert(raw) == raw,
        _ => false,
    }
}

/// The timestamp option's two fields.
fn timestamps(mut bytes: &[u8]) -> Option<(u32, u32)> {
    loop {
        match bytes {
            [1, rest @ ..] => bytes = rest,
            [8, 10, ..] if bytes.len() >= 10 => return Some((u32_at(bytes, 2), u32_at(bytes, 6))),
            [_, length, ..] if *length >= 2 => bytes = bytes.get(usize::from(*length)..)?,
            _ => return None,
        }
    }
}
