//! What a script says, as values, and the reading of its text. The grammar stands at the head of `main.rs`.
#![forbid(unsafe_code)]

use crate::segment::Segment;
use crate::value::{Bound, Micros, errno_named, parse_seconds};
use std::path::Path;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Whose TCP runs the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Ours,
    Linux,
}

/// The header of a script: how the stack under test is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) mtu: usize,
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
    pub(crate) scaling: bool,
    pub(crate) cookies: bool,
    pub(crate) congestion: String,
    pub(crate) families: Vec<Family>,
    /// Why the script, or its lines marked `ours:`, is not what Linux does.
    pub(crate) differs: Option<String>,
    /// Whether received bytes are compared with the pattern; urgent data shifts it.
    pub(crate) verify_data: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            mtu: 1500,
            timestamps: true,
            sack: true,
            scaling: true,
            cookies: false,
            congestion: "cubic".into(),
            families: vec![Family::V4],
            differs: None,
            verify_data: true,
        }
    }
}

/// A script, read.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// `directory/name`
    pub(crate) name: String,
    pub(crate) setup: Setup,
    pub(crate) events: Vec<Event>,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) when: When,
    /// Whether the line is for one backend only.
    pub(crate) only: Option<Backend>,
    pub(crate) action: Action,
}

impl Event {
    /// The events that it stands for: a train of segments is one each, the others at once behind the first.
    fn each(self) -> Vec<Event> {
        let (segments, action): (Vec<Segment>, fn(Segment) -> Action) = match &self.action {
            Action::Inject(segment) => (segment.each().collect(), Action::Inject),
            Action::Expect(segment) => (segment.each().collect(), Action::Expect),
            _ => return vec![self],
        };
        let at_once = When { relative: true, low: 0, high: 0 };
        let times = std::iter::once(self.when).chain(std::iter::repeat(at_once));
        let each = segments.into_iter().zip(times);
        each.map(|(segment, when)| Event { when, action: action(segment), ..self.clone() }).collect()
    }
}

/// When it happens, or may happen: since the event before, or since the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    pub(crate) relative: bool,
    pub(crate) low: Micros,
    pub(crate) high: Micros,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Inject(Segment),
    Icmp(IcmpError),
    /// The peer sends segments of so many bytes for as long as the window allows.
    Fill {
        flow: u16,
        length: i64,
    },
    Expect(Segment),
    /// Taken if it was sent by now.
    Allow(Segment),
    /// Nothing has been sent since the last expected segment.
    Silence,
    Call {
        socket: String,
        call: Call,
        outcome: Outcome,
    },
    /// Fields of TCP_INFO.
    Info {
        socket: String,
        fields: Vec<(String, Bound)>,
    },
    /// The peer and the stack begin a new connection on the same ports; the peer's numbers start so much later.
    Incarnation {
        flow: u16,
        ahead: i64,
    },
}

/// An ICMP error about a segment of the stack's.
#[derive(Clone, Debug)]
pub(crate) struct IcmpError {
    pub(crate) flow: u16,
    pub(crate) kind: String,
    pub(crate) mtu: u32,
    /// The sequence number quoted.
    pub(crate) sequence: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Socket,
    Listen(i32),
    Connect(u16),
    Accept,
    Read(usize),
    Write(usize),
    SendUrgent(usize),
    ReadUrgent,
    /// SHUT_WR
    Shutdown,
    Close,
    SetOption(String, Vec<String>),
    /// FIONREAD
    Readable,
    /// SIOCOUTQ
    Unacknowledged,
    /// SO_ERROR
    Error,
}

/// What a call returns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Returns(Bound),
    Fails(i32),
}

impl Outcome {
    fn parse(text: &str) -> Result<Outcome, String> {
        match errno_named(text) {
            Some(errno) => Ok(Outcome::Fails(errno)),
            None => Bound::parse(text).map(Outcome::Returns),
        }
    }
}

/// The words of a line, taken one by one.
pub(crate) struct Words<'a>(pub(crate) std::iter::Peekable<std::str::SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    pub(crate) fn new(text: &'a str) -> Words<'a> {
        Words(text.split_whitespace().peekable())
    }

    pub(crate) fn next(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing"))
    }

    /// Takes `word` when it comes next.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        self.0.next_if_eq(&word).is_some()
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.next(what)?;
        word.parse().map_err(|_| format!("{what}: `{word}` is no number"))
    }

    fn number_or<T: std::str::FromStr>(&mut self, otherwise: T) -> Result<T, String> {
        if self.0.peek().is_none_or(|word| *word == "=") { Ok(otherwise) } else { self.number("a number") }
    }

    /// `@2`: the second, third … connection of a script with several.
    pub(crate) fn flow(&mut self) -> Result<u16, String> {
        match self.0.next_if(|word| word.starts_with('@')) {
            Some(word) => word[1..].parse().map_err(|_| format!("`{word}` is no flow")),
            None => Ok(0),
        }
    }

    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.0.next().map_or(Ok(()), |word| Err(format!("`{word}` is not understood")))
    }
}

/// Reads the script at `path`, with the prelude that it begins with, out of the directory `root`.
pub(crate) fn read(root: &Path, name: &str) -> Result<Script, String> {
    parse(root, name, &read_file(root, name)?)
}

/// Reads a script from its text.
pub(crate) fn parse(root: &Path, name: &str, text: &str) -> Result<Script, String> {
    if !text.starts_with("# ") {
        return Err(format!("{name}: begins with no comment that says what it shows"));
    }
    let mut script = Script { name: name.into(), setup: Setup::default(), events: Vec::new() };
    read_lines(root, text, &mut script).map_err(|message| format!("{name}:{message}"))?;
    Ok(script)
}

fn read_file(root: &Path, name: &str) -> Result<String, String> {
    let path = root.join(name).with_extension("script");
    std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_lines(root: &Path, text: &str, script: &mut Script) -> Result<(), String> {
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or("").trim();
        let read = match content.chars().next() {
            None => Ok(()),
            Some('+' | '0'..='9') => {
                read_event(content, index + 1).map(|event| script.events.extend(event.each()))
            }
            Some(_) if script.events.iter().all(|event| event.line == 0) => {
                read_setting(root, content, script)
            }
            Some(_) => Err("an event begins with its time".into()),
        };
        read.map_err(|message| format!("{}: {message}", index + 1))?;
    }
    Ok(())
}

/// A line of the header: `key: value`.
fn read_setting(root: &Path, line: &str, script: &mut Script) -> Result<(), String> {
    let (key, value) = line.split_once(':').ok_or("a setting is `key: value`")?;
    let value = value.trim();
    let switch = || match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!("`{other}` is neither on nor off")),
    };
    let setup = &mut script.setup;
    match key {
        "begin" => {
            let text = read_file(root, &format!("preludes/{value}"))?;
            read_lines(root, &text, script).map_err(|message| format!("prelude {value}:{message}"))?;
            script.events.iter_mut().for_each(|event| event.line = 0);
        }
        "mtu" => setup.mtu = value.parse().map_err(|_| "mtu: no number")?,
        "timestamps" => setup.timestamps = switch()?,
        "sack" => setup.sack = switch()?,
        "scaling" => setup.scaling = switch()?,
        "cookies" => setup.cookies = switch()?,
        "verify_data" => setup.verify_data = switch()?,
        "congestion" => setup.congestion = value.into(),
        "families" => setup.families = value.split_whitespace().map(family).collect::<Result<_, _>>()?,
        "differs" => setup.differs = Some(value.into()),
        other => return Err(format!("`{other}` is no setting")),
    }
    Ok(())
}

fn family(word: &str) -> Result<Family, String> {
    match word {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        other => Err(format!("`{other}` is no family")),
    }
}

fn read_event(text: &str, line: usize) -> Result<Event, String> {
    let (time, rest) = text.split_once(char::is_whitespace).ok_or("a time without an event")?;
    let rest = rest.trim();
    let (only, rest) = match (rest.strip_prefix("ours:"), rest.strip_prefix("linux:")) {
        (Some(rest), _) => (Some(Backend::Ours), rest),
        (_, Some(rest)) => (Some(Backend::Linux), rest),
        _ => (None, rest),
    };
    Ok(Event { line, text: text.into(), when: read_when(time)?, only, action: read_action(rest.trim())? })
}

fn read_when(text: &str) -> Result<When, String> {
    let relative = text.starts_with('+');
    let seconds = |text: &str| parse_seconds(text.strip_prefix('+').unwrap_or(text));
    let (low, high) = match text.split_once('~') {
        Some((low, high)) => (seconds(low)?, seconds(high)?),
        None => (seconds(text)?, seconds(text)?),
    };
    Ok(When { relative, low, high })
}

fn read_action(text: &str) -> Result<Action, String> {
    if text == "> nothing" {
        return Ok(Action::Silence);
    }
    if let Some(rest) = text.strip_prefix(">?") {
        return Segment::read(rest).map(Action::Allow);
    }
    if let Some(rest) = text.strip_prefix('>') {
        return Segment::read(rest).map(Action::Expect);
    }
    match text.strip_prefix('<').map(str::trim) {
        Some(rest) if rest.starts_with("icmp ") => read_icmp(&rest[5..]),
        Some(rest) if rest.starts_with("fill ") => {
            let mut words = Words::new(&rest[5..]);
            Ok(Action::Fill { flow: words.flow()?, length: words.number("a length")? })
        }
        Some(rest) => {
            let segment = Segment::read(rest)?;
            segment.is_definite()?;
            Ok(Action::Inject(segment))
        }
        None => read_call(text),
    }
}

/// `icmp KIND [mtu N] about SEQUENCE`
fn read_icmp(text: &str) -> Result<Action, String> {
    let mut words = Words::new(text);
    let flow = words.flow()?;
    let kind = words.next("the kind")?.to_string();
    let mtu = if words.take("mtu") { words.number("the mtu")? } else { 0 };
    if !words.take("about") {
        return Err("`about SEQUENCE` is missing".into());
    }
    let sequence = words.number("the sequence number")?;
    words.end()?;
    Ok(Action::Icmp(IcmpError { flow, kind, mtu, sequence }))
}

fn read_call(text: &str) -> Result<Action, String> {
    let mut words = Words::new(text);
    let socket = if words.take("on") { words.next("a socket")? } else { "it" }.to_string();
    let name = words.next("a call")?;
    if name == "incarnation" {
        return Ok(Action::Incarnation { flow: words.flow()?, ahead: words.number("how far ahead")? });
    }
    if name == "expect" && words.take("info") {
        return read_info(socket, &mut words);
    }
    let (call, default) = call_of(name, &mut words)?;
    let outcome = if words.take("=") { Outcome::parse(words.next("an outcome")?)? } else { default };
    words.end()?;
    let socket = if matches!(call, Call::Listen(_)) && socket == "it" { "listener".into() } else { socket };
    Ok(Action::Call { socket, call, outcome })
}

fn call_of(name: &str, words: &mut Words<'_>) -> Result<(Call, Outcome), String> {
    let returns = |value: usize| Outcome::Returns(Bound::exactly(value as i64));
    Ok(match name {
        "socket" => (Call::Socket, returns(0)),
        "listen" => (Call::Listen(words.number_or(10)?), returns(0)),
        "connect" => (Call::Connect(words.flow()?), Outcome::Fails(libc::EINPROGRESS)),
        "accept" => (Call::Accept, returns(0)),
        "read" => words.number("a length").map(|length| (Call::Read(length), returns(length)))?,
        "write" => words.number("a length").map(|length| (Call::Write(length), returns(length)))?,
        "send_urgent" => {
            words.number("a length").map(|length| (Call::SendUrgent(length), returns(length)))?
        }
        "read_urgent" => (Call::ReadUrgent, returns(1)),
        "shutdown" if words.take("wr") => (Call::Shutdown, returns(0)),
        "close" => (Call::Close, returns(0)),
        "setsockopt" => {
            let option = words.next("an option")?.to_string();
            let values = std::iter::from_fn(|| words.0.next_if(|word| *word != "="));
            (Call::SetOption(option, values.map(Into::into).collect()), returns(0))
        }
        "expect" => read_expectation(words)?,
        other => return Err(format!("`{other}` is no call")),
    })
}

/// `expect error E`, `expect readable N`, `expect unacknowledged N`.
fn read_expectation(words: &mut Words<'_>) -> Result<(Call, Outcome), String> {
    let what = words.next("what to expect")?;
    let value = words.next("a value")?;
    match what {
        "error" if value == "none" => Ok((Call::Error, Outcome::Returns(Bound::exactly(0)))),
        "error" => {
            let errno = errno_named(value).ok_or_else(|| format!("`{value}` is no error"))?;
            Ok((Call::Error, Outcome::Returns(Bound::exactly(errno.into()))))
        }
        "readable" => Ok((Call::Readable, Outcome::parse(value)?)),
        "unacknowledged" => Ok((Call::Unacknowledged, Outcome::parse(value)?)),
        other => Err(format!("`{other}` cannot be expected")),
    }
}

fn read_info(socket: String, words: &mut Words<'_>) -> Result<Action, String> {
    let mut fields = Vec::new();
    for word in words.0.by_ref() {
        let (name, value) = word.split_once('=').ok_or("a field is `name=value`")?;
        let bound = match crate::info::named_value(name, value) {
            Some(value) => Bound::exactly(value),
            None => Bound::parse(value)?,
        };
        fields.push((name.to_string(), bound));
    }
    if fields.is_empty() { Err("no fields".into()) } else { Ok(Action::Info { socket, fields }) }
}
