//! What a line of the trace says (`trace` has its format).
#![forbid(unsafe_code)]

use std::net::SocketAddr;

/// A line of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// CLOCK_MONOTONIC.
    pub micros: u64,
    /// The process that wrote it.
    pub pid: u32,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The program made a call.
    Call(Call),
    /// A packet passed.
    Packet(Packet),
}

/// A call of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// On which it was made, or that it made.
    pub descriptor: i32,
    /// With arguments and result.
    pub text: String,
}

impl Call {
    /// The function.
    pub fn name(&self) -> &str {
        self.text.split('(').next().unwrap_or_default()
    }
}

/// A packet on the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The program's side sent it.
    pub outgoing: bool,
    /// What it is.
    pub form: Form,
}

/// What a packet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A segment.
    Tcp(Segment),
    /// A datagram.
    Udp {
        /// Whose it is.
        source: SocketAddr,
        /// Where it goes.
        destination: SocketAddr,
        /// Its length.
        payload_bytes: usize,
    },
    /// As it stands in the trace.
    Other(String),
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose it is.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// Joined by `+`.
    pub flags: String,
    /// SEG.SEQ
    pub sequence: u32,
    /// SEG.ACK
    pub acknowledgment: u32,
    /// SEG.LEN without SYN and FIN.
    pub payload_bytes: usize,
}

impl Segment {
    /// Whether it bears a flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.split('+').any(|name| name == flag)
    }
}

/// The events in the order of their times. The error is the line that is not understood.
pub fn parse(text: &str) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for line in text.lines() {
        events.push(event(line).ok_or_else(|| format!("a line of the trace is not understood: {line}"))?);
    }
    // Of the same microsecond, a call comes before the packets that it caused, whose lines are before its own.
    events.sort_by_key(|event| (event.micros, matches!(event.what, What::Packet(_))));
    Ok(events)
}

/// The event of a line; None for one that is not understood.
pub fn event(line: &str) -> Option<Event> {
    let mut words = line.splitn(4, ' ');
    let micros = words.next()?.parse().ok()?;
    let pid = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let rest = words.next()?;
    let what = match kind {
        "call" => What::Call(call(rest)?),
        ">" | "<" => What::Packet(Packet { outgoing: kind == ">", form: form(rest)? }),
        _ => return None,
    };
    Some(Event { micros, pid, what })
}

fn call(text: &str) -> Option<Call> {
    let (descriptor, text) = text.split_once(' ')?;
    let printable = |c: char| if c.is_control() { '.' } else { c };
    Some(Call { descriptor: descriptor.parse().ok()?, text: text.chars().map(printable).collect() })
}

fn form(text: &str) -> Option<Form> {
    let mut words = text.split(' ');
    Some(match words.next()? {
        "TCP" => Form::Tcp(Segment {
            source: words.next()?.parse().ok()?,
            destination: words.next()?.parse().ok()?,
            flags: words.next()?.to_owned(),
            sequence: field(text, "seq=")?.parse().ok()?,
            acknowledgment: field(text, "ack=")?.parse().ok()?,
            payload_bytes: field(text, "len=")?.parse().ok()?,
        }),
        "UDP" => Form::Udp {
            source: words.next()?.parse().ok()?,
            destination: words.next()?.parse().ok()?,
            payload_bytes: field(text, "len=")?.parse().ok()?,
        },
        _ => Form::Other(text.to_owned()),
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(' ').find_map(|word| word.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::packet::Summary;

    #[test]
    fn calls() {
        let events = parse("9 7 call 5 send(5, \"a\u{1b}\", 2) = 2\n").expect("a good line");
        let call = Call { descriptor: 5, text: "send(5, \"a.\", 2) = 2".into() };
        assert_eq!(call.name(), "send");
        assert_eq!(events, [Event { micros: 9, pid: 7, what: What::Call(call) }]);
    }

    #[test]
    fn what_the_library_writes_is_understood() {
        let mut packet = vec![0x45, 0, 0, 42, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2];
        packet.extend([0xc0, 0, 0, 80, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 1, 0, 0, 0, 0, 0, b'h', b'i']);
        let line = format!("1 2 > {}\n", Summary(&packet));
        let segment = Segment {
            source: "10.0.2.15:49152".parse().expect("an address"),
            destination: "10.0.2.2:80".parse().expect("an address"),
            flags: "PSH+ACK".into(),
            sequence: 7,
            acknowledgment: 9,
            payload_bytes: 2,
        };
        assert!(segment.has("ACK") && !segment.has("SYN"));
        let packet = Packet { outgoing: true, form: Form::Tcp(segment) };
        assert_eq!(parse(&line), Ok(vec![Event { micros: 1, pid: 2, what: What::Packet(packet) }]));
    }

    #[test]
    fn in_the_order_of_their_times() {
        let text = "5 1 > UDP 10.0.2.15:1 10.0.2.3:53 len=3\n5 1 call 4 b() = 0\n2 1 call 3 a() = 0\n";
        let events = parse(text).expect("good lines");
        let calls = events.iter().map(|event| match &event.what {
            What::Call(call) => call.name().to_owned(),
            What::Packet(_) => "packet".into(),
        });
        assert_eq!(calls.collect::<Vec<_>>(), ["a", "b", "packet"]);
    }

    #[test]
    fn nonsense_is_an_error() {
        for line in
            ["x", "1 2 call", "1 2 call x y", "1 2 > TCP a b", "1 2 ! x", "1 2 > TCP 1.1.1.1:1 1.1.1.1:2 ACK"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
