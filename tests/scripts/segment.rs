//! A segment as a script writes it: every field a number, a range or `*`, sequence numbers relative.
#![forbid(unsafe_code)]

use crate::script::Words;
use crate::value::Bound;
use std::fmt;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

/// The letters of the flags, in the order in which they are written.
const LETTERS: [(u8, char); 8] =
    [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (URG, 'U'), (ECE, 'E'), (CWR, 'W'), (ACK, '.')];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) flow: u16,
    /// To be sent with a wrong checksum.
    pub(crate) corrupt: bool,
    pub(crate) flags: u8,
    /// Flags that may be there or not; PSH is one unless it is asked for.
    pub(crate) optional: u8,
    pub(crate) sequence: Bound,
    pub(crate) length: Bound,
    /// So many segments, one behind the other.
    pub(crate) count: usize,
    pub(crate) acknowledgement: Option<Bound>,
    pub(crate) window: Option<Bound>,
    pub(crate) urgent: Option<Bound>,
    /// None: none but timestamps.
    pub(crate) options: Option<Vec<TcpOption>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TcpOption {
    /// `*`: whatever there is.
    Any,
    Nop,
    End,
    Mss(Bound),
    Scale(Bound),
    SackPermitted,
    Sack(Vec<(Bound, Bound)>),
    Timestamps(Stamp, Stamp),
    /// `raw fe0400`: bytes as they stand.
    Raw(Vec<u8>),
}

/// A timestamp: a number, or a name for what the stack once sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stamp {
    Number(Bound),
    Name(String),
}

impl Segment {
    /// `[@FLOW] [corrupt] FLAGS SEQ:END(LENGTH) [ack N] [win N] [urg N] [<OPTIONS>]`
    pub(crate) fn read(text: &str) -> Result<Segment, String> {
        let (fields, options) = match text.split_once('<') {
            Some((fields, rest)) => {
                let inside = rest.trim_end().strip_suffix('>').ok_or("the options have no end")?;
                (fields, Some(inside.split(',').map(read_option).collect::<Result<_, _>>()?))
            }
            None => (text, None),
        };
        let mut words = Words::new(fields);
        let flow = words.flow()?;
        let corrupt = words.take("corrupt");
        let (flags, optional) = read_flags(words.next("the flags")?)?;
        let (sequence, length, count) = read_range(words.next("the sequence numbers")?)?;
        let mut field = |name: &str| match words.take(name) {
            true => Bound::parse(words.next(name)?).map(Some),
            false => Ok::<_, String>(None),
        };
        let (acknowledgement, window, urgent) = (field("ack")?, field("win")?, field("urg")?);
        words.end()?;
        if ((flags | optional) & ACK != 0) != acknowledgement.is_some() {
            return Err("`.` and `ack` go together".into());
        }
        Ok(Segment {
            flow,
            corrupt,
            flags,
            optional,
            sequence,
            length,
            count,
            acknowledgement,
            window,
            urgent,
            options,
        })
    }

    /// The segments that it stands for.
    pub(crate) fn each(&self) -> impl Iterator<Item = Segment> {
        let step = self.length.low;
        (0..self.count as i64).map(move |at| {
            let sequence = Bound { low: self.sequence.low + at * step, high: self.sequence.high + at * step };
            let sequence = if self.count == 1 { self.sequence } else { sequence };
            Segment { sequence, count: 1, ..self.clone() }
        })
    }

    /// An injected segment has one value in every field.
    pub(crate) fn is_definite(&self) -> Result<(), String> {
        let fields = [Some(self.sequence), Some(self.length), self.acknowledgement, self.window, self.urgent];
        for field in fields.into_iter().flatten() {
            field.single()?;
        }
        Ok(())
    }
}

/// The flags that must be there, and those with a `?` behind them.
fn read_flags(text: &str) -> Result<(u8, u8), String> {
    let (mut flags, mut optional) = (0, PSH);
    let mut letters = text.chars().filter(|letter| *letter != '-').peekable();
    while let Some(letter) = letters.next() {
        let known = LETTERS.iter().find(|(_, known)| *known == letter);
        let flag = known.ok_or_else(|| format!("`{letter}` is no flag"))?.0;
        if letters.next_if_eq(&'?').is_some() {
            optional |= flag;
        } else {
            flags |= flag;
        }
    }
    Ok((flags, optional & !flags))
}

pub(crate) fn show_flags(flags: u8) -> String {
    let text: String =
        LETTERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| *letter).collect();
    if text.is_empty() { "-".into() } else { text }
}

/// `SEQ:END(LENGTH)` or `SEQ:END(COUNT*LENGTH)`; the end, when it is a number, must fit.
fn read_range(text: &str) -> Result<(Bound, Bound, usize), String> {
    let form = || format!("`{text}` is not SEQ:END(LENGTH)");
    let (sequence, rest) = text.split_once(':').ok_or_else(form)?;
    let (end, length) = rest.split_once('(').ok_or_else(form)?;
    let length = length.strip_suffix(')').ok_or_else(form)?;
    let (count, length) = match length.split_once('*') {
        Some((count, length)) if !count.is_empty() => (count.parse().map_err(|_| form())?, length),
        _ => (1, length),
    };
    let length = Bound::parse(length)?;
    let (sequence, end) = (Bound::parse(sequence)?, Bound::parse(end)?);
    match (sequence.single(), length.single(), end.single()) {
        (Ok(sequence), Ok(length), Ok(end)) if sequence + count as i64 * length != end => {
            Err(format!("`{text}`: the numbers do not add up"))
        }
        _ => Ok((sequence, length, count)),
    }
}

fn read_option(text: &str) -> Result<TcpOption, String> {
    let mut words = Words::new(text);
    let option = match words.next("an option")? {
        "*" => TcpOption::Any,
        "nop" => TcpOption::Nop,
        "eol" => TcpOption::End,
        "mss" => TcpOption::Mss(Bound::parse(words.next("the mss")?)?),
        "wscale" => TcpOption::Scale(Bound::parse(words.next("the scale")?)?),
        "sackOK" => TcpOption::SackPermitted,
        "sack" => {
            let blocks: Result<Vec<_>, String> = words.0.by_ref().map(read_block).collect();
            TcpOption::Sack(blocks?)
        }
        "TS" => {
            let mut stamp = |name: &str| match words.take(name) {
                true => read_stamp(words.next(name)?),
                false => Err(format!("TS: `{name}` is missing")),
            };
            TcpOption::Timestamps(stamp("val")?, stamp("ecr")?)
        }
        "raw" => TcpOption::Raw(read_hex(words.next("the bytes")?)?),
        other => return Err(format!("`{other}` is no option")),
    };
    words.end()?;
    Ok(option)
}

fn read_block(text: &str) -> Result<(Bound, Bound), String> {
    let (left, right) = text.split_once(':').ok_or_else(|| format!("`{text}` is no block"))?;
    Ok((Bound::parse(left)?, Bound::parse(right)?))
}

fn read_stamp(text: &str) -> Result<Stamp, String> {
    match text.strip_prefix('$') {
        Some(name) => Ok(Stamp::Name(name.into())),
        None => Bound::parse(text).map(Stamp::Number),
    }
}

fn read_hex(text: &str) -> Result<Vec<u8>, String> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len())
        .step_by(2)
        .map(|at| digit(at).ok_or_else(|| format!("`{text}` is not hexadecimal")))
        .collect()
}

impl fmt::Display for Segment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flow != 0 {
            write!(out, "@{} ", self.flow)?;
        }
        let end = match (self.sequence.single(), self.length.single()) {
            (Ok(sequence), Ok(length)) => Bound::exactly(sequence + length),
            _ => Bound::ANY,
        };
        write!(out, "{} {}:{}({})", show_flags(self.flags), self.sequence, end, self.length)?;
        for (name, field) in [("ack", self.acknowledgement), ("win", self.window), ("urg", self.urgent)] {
            if let Some(field) = field {
                write!(out, " {name} {field}")?;
            }
        }
        if let Some(options) = self.options.as_ref().filter(|options| !options.is_empty()) {
            let options: Vec<String> = options.iter().map(ToString::to_string).collect();
            write!(out, " <{}>", options.join(","))?;
        }
        Ok(())
    }
}

impl fmt::Display for TcpOption {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TcpOption::Any => write!(out, "*"),
            TcpOption::Nop => write!(out, "nop"),
            TcpOption::End => write!(out, "eol"),
            TcpOption::Mss(mss) => write!(out, "mss {mss}"),
            TcpOption::Scale(shift) => write!(out, "wscale {shift}"),
            TcpOption::SackPermitted => write!(out, "sackOK"),
            TcpOption::Sack(blocks) => {
                write!(out, "sack")?;
                blocks.iter().try_for_each(|(left, right)| write!(out, " {left}:{right}"))
            }
            TcpOption::Timestamps(value, echo) => write!(out, "TS val {value} ecr {echo}"),
            TcpOption::Raw(bytes) => {
                write!(out, "raw ")?;
                bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stamp::Number(number) => number.fmt(out),
            Stamp::Name(name) => write!(out, "${name}"),
        }
    }
}
