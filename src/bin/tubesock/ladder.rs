//! Draws a trace as a ladder: on the left the program's calls, on the right the packets of its stack, in the four
//! phases of a TCP connection's life. Of a trace with several connections the first one sets the phases.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::SocketAddr;
use tubesock::observe::event::{Call, Event, Form, Packet, Segment, What};
use tubesock::observe::rung::{self, CALL_WIDTH, WIDTH};

const DATA_CALLS: [&str; 14] = [
    "read", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "send", "sendto",
    "sendmsg", "sendmmsg", "sendfile", "splice",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Create,
    Connect,
    Transfer,
    Disconnect,
}

impl Phase {
    fn title(self) -> &'static str {
        match self {
            Phase::Create => "1 create",
            Phase::Connect => "2 connect",
            Phase::Transfer => "3 transfer",
            Phase::Disconnect => "4 disconnect",
        }
    }
}

/// A connection that the program opened: its two ends and the descriptor.
struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    descriptor: Option<i32>,
}

impl Connection {
    /// The one of the first SYN that was sent.
    fn first(events: &[Event]) -> Option<Connection> {
        let (local, remote) = events.iter().find_map(|event| match &event.what {
            What::Packet(Packet { outgoing: true, form: Form::Tcp(segment) }) if segment.flags == "SYN" => {
                Some((segment.source, segment.destination))
            }
            _ => None,
        })?;
        let descriptor = events.iter().find_map(|event| match &event.what {
            What::Call(call) if call.name() == "connect" && call.text.contains(&remote.to_string()) => {
                Some(call.descriptor)
            }
            _ => None,
        });
        Some(Connection { local, remote, descriptor })
    }

    fn segment<'a>(&self, event: &'a Event) -> Option<(bool, &'a Segment)> {
        let What::Packet(Packet { outgoing, form: Form::Tcp(segment) }) = &event.what else { return None };
        let (source, destination) =
            if *outgoing { (self.local, self.remote) } else { (self.remote, self.local) };
        (segment.source == source && segment.destination == destination).then_some((*outgoing, segment))
    }

    fn call<'a>(&self, event: &'a Event) -> Option<&'a Call> {
        match &event.what {
            What::Call(call) if Some(call.descriptor) == self.descriptor => Some(call),
            _ => None,
        }
    }

    /// The phase that an event starts, when the one before it was `phase`.
    fn next_phase(&self, phase: Phase, event: &Event) -> Phase {
        let started = if let Some((_, segment)) = self.segment(event) {
            match segment {
                segment if segment.has("FIN") || segment.has("RST") => Phase::Disconnect,
                segment if segment.has("SYN") => Phase::Connect,
                segment if segment.payload_bytes > 0 => Phase::Transfer,
                _ => phase,
            }
        } else if let Some(call) = self.call(event) {
            match call.name() {
                "connect" => Phase::Connect,
                // Before the connection, the number can have belonged to another socket.
                name if phase >= Phase::Connect && DATA_CALLS.contains(&name) => Phase::Transfer,
                "close" | "shutdown" if phase >= Phase::Connect => Phase::Disconnect,
                _ => phase,
            }
        } else {
            phase
        };
        phase.max(started)
    }

    /// The time from SYN to the acknowledgment of its answer, when all three segments of the handshake are there, with
    /// sequence numbers that fit (RFC 9293 3.5).
    fn handshake_micros(&self, events: &[Event]) -> Option<u64> {
        let mut segments = events.iter().filter_map(|event| Some((event.micros, self.segment(event)?)));
        let (start, syn) = segments.find_map(|(micros, (outgoing, segment))| {
            (outgoing && segment.flags == "SYN").then_some((micros, segment))
        })?;
        let answer = segments.find_map(|(_, (outgoing, segment))| {
            let fits = segment.acknowledgment == syn.sequence.wrapping_add(1);
            (!outgoing && segment.has("SYN") && segment.has("ACK") && fits).then_some(segment)
        })?;
        segments.find_map(|(micros, (outgoing, segment))| {
            let fits = segment.acknowledgment == answer.sequence.wrapping_add(1);
            (outgoing && segment.has("ACK") && fits).then_some(micros - start)
        })
    }
}

/// Whether the stack itself made a connection: the three segments of its handshake.
pub(crate) fn shows_handshake(events: &[Event]) -> bool {
    Connection::first(events).is_some_and(|connection| connection.handshake_micros(events).is_some())
}

/// The ladder, with a line of counts at its end.
pub(crate) fn draw(events: &[Event]) -> String {
    let connection = Connection::first(events);
    let start = events.first().map_or(0, |event| event.micros);
    let mut text = heading(connection.as_ref());
    let mut phase = Phase::Create;
    let mut shown = None;
    for event in events {
        if let Some(connection) = &connection {
            phase = connection.next_phase(phase, event);
        }
        if shown != Some(phase) {
            text += &rule(phase.title());
            shown = Some(phase);
        }
        text += &rung::draw(start, event);
    }
    text += &"─".repeat(WIDTH);
    text.push('\n');
    text += &counts(events, connection.as_ref());
    text
}

fn heading(connection: Option<&Connection>) -> String {
    let titles = rung::titles();
    let Some(connection) = connection else { return titles };
    let (local, remote) = (connection.local.ip().to_string(), connection.remote.ip().to_string());
    let between = 38usize.saturating_sub(local.len());
    format!("{titles}{:>8}  {:<CALL_WIDTH$}  {local}{remote:>between$}\n", "", "")
}

fn rule(title: &str) -> String {
    format!("── {title} {}\n", "─".repeat(WIDTH - 4 - title.len()))
}

fn counts(events: &[Event], connection: Option<&Connection>) -> String {
    let calls = events.iter().filter(|event| matches!(event.what, What::Call(_))).count();
    let total = |wanted: bool| {
        let sizes = events.iter().filter_map(|event| match &event.what {
            What::Packet(Packet { outgoing, form: Form::Tcp(segment) }) if *outgoing == wanted => {
                Some(segment.payload_bytes)
            }
            _ => None,
        });
        sizes.fold((0, 0), |(segments, bytes), size| (segments + 1, bytes + size))
    };
    let ((sent, sent_bytes), (received, received_bytes)) = (total(true), total(false));
    let mut text = format!(
        "{calls} calls; {sent} segments sent with {sent_bytes} bytes of data, {received} received with {received_bytes}"
    );
    match connection.and_then(|connection| connection.handshake_micros(events)) {
        Some(micros) => writeln!(text, "; handshake {:.3} ms", micros as f64 / 1000.0),
        None => writeln!(text, "; no handshake"),
    }
    .expect("writing to memory does not fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tubesock::observe::event::parse;

    /// The first two calls are about another socket, which had the same number.
    const TRACE: &str = "\
1000000 77 call 5 socket(AF_INET6, SOCK_DGRAM, IPPROTO_IP) = 5
1000020 77 call 5 close(5) = 0
1000150 77 call 5 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 5
1000170 77 call 5 setsockopt(5, IPPROTO_TCP, TCP_NODELAY, [1], 4) = 0
1000201 77 > TCP 10.0.2.15:49152 10.0.2.2:8000 SYN seq=4294967295 ack=0 win=65535 len=0 <mss 65495>
1000200 77 call 5 connect(5, 10.0.2.2:8000) = -1 EINPROGRESS
1000350 77 < TCP 10.0.2.2:8000 10.0.2.15:49152 SYN+ACK seq=900 ack=0 win=65535 len=0 <mss 65495>
1000360 77 > TCP 10.0.2.15:49152 10.0.2.2:8000 ACK seq=0 ack=901 win=1024 len=0
1000400 77 call 5 getsockopt(5, SOL_SOCKET, SO_ERROR, [0], [4]) = 0
1000500 77 > TCP 10.0.2.15:49152 10.0.2.2:8000 PSH+ACK seq=0 ack=901 win=1024 len=78
1000480 77 call 5 send(5, \"GET / HTTP/1.1\\r\\nHost: 10.0.2.2:8000\\r\\nUser-Agent\"..., 78, MSG_NOSIGNAL) = 78
1000600 77 < TCP 10.0.2.2:8000 10.0.2.15:49152 PSH+ACK seq=901 ack=78 win=1024 len=65495
1000620 77 call 5 recv(5, \"HTTP/1.1 200 OK\"..., 102400, 0) = 65495
1000700 77 call 5 close(5) = 0
1000710 77 > TCP 10.0.2.15:49152 10.0.2.2:8000 FIN+ACK seq=78 ack=66396 win=1024 len=0
1000800 77 < TCP 10.0.2.2:8000 10.0.2.15:49152 FIN+ACK seq=66396 ack=79 win=1024 len=0
1000810 77 > TCP 10.0.2.15:49152 10.0.2.2:8000 ACK seq=79 ack=66397 win=1024 len=0
";

    const LADDER: &str = concat!(
        "      ms  calls of the program                                segments of its own stack\n",
        "                                                              10.0.2.15                     10.0.2.2\n",
        "── 1 create ────────────────────────────────────────────────────────────────────────────────────────\n",
        "   0.000  socket(AF_INET6, SOCK_DGRAM, IPPROTO_IP) = 5\n",
        "   0.020  close(5) = 0\n",
        "   0.150  socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 5\n",
        "   0.170  setsockopt(5, IPPROTO_TCP, TCP_NODELAY, [1],…) = 0\n",
        "── 2 connect ───────────────────────────────────────────────────────────────────────────────────────\n",
        "   0.200  connect(5, 10.0.2.2:8000) = -1 EINPROGRESS\n",
        "   0.201                                                      49152 ────────── SYN ──────────► 8000\n",
        "   0.350                                                      49152 ◄──────── SYN+ACK ──────── 8000\n",
        "   0.360                                                      49152 ────────── ACK ──────────► 8000\n",
        "   0.400  getsockopt(5, SOL_SOCKET, SO_ERROR, [0], [4]) = 0\n",
        "── 3 transfer ──────────────────────────────────────────────────────────────────────────────────────\n",
        "   0.480  send(5, \"GET / HTTP/1.1\\r\\nHost: 10.0.2.2:8…) = 78\n",
        "   0.500                                                      49152 ─── PSH+ACK, 78 bytes ───► 8000\n",
        "   0.600                                                      49152 ◄─ PSH+ACK, 65495 bytes ── 8000\n",
        "   0.620  recv(5, \"HTTP/1.1 200 OK\"..., 102400, 0) = 65495\n",
        "── 4 disconnect ────────────────────────────────────────────────────────────────────────────────────\n",
        "   0.700  close(5) = 0\n",
        "   0.710                                                      49152 ──────── FIN+ACK ────────► 8000\n",
        "   0.800                                                      49152 ◄──────── FIN+ACK ──────── 8000\n",
        "   0.810                                                      49152 ────────── ACK ──────────► 8000\n",
        "────────────────────────────────────────────────────────────────────────────────────────────────────\n",
        "9 calls; 5 segments sent with 78 bytes of data, 3 received with 65495; handshake 0.159 ms\n",
    );

    #[test]
    fn a_connection() {
        let events = parse(TRACE).expect("a good trace");
        assert!(shows_handshake(&events));
        let drawn = draw(&events);
        for line in drawn.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        assert_eq!(drawn, LADDER, "\n{drawn}");
    }

    #[test]
    fn no_handshake_without_its_three_segments() {
        for missing in ["> TCP 10.0.2.15:49152 10.0.2.2:8000 SYN", "SYN+ACK", "ack=901", "ack=66397"] {
            let kept: Vec<&str> = TRACE.lines().filter(|line| !line.contains(missing)).collect();
            let events = parse(&kept.join("\n")).expect("a good trace");
            // The acknowledgment of the last FIN is no part of it.
            assert_eq!(shows_handshake(&events), missing == "ack=66397", "without {missing}");
        }
        assert!(!shows_handshake(&[]));
    }

    #[test]
    fn other_packets_have_their_place() {
        let trace = "1 7 > UDP 10.0.2.15:49152 10.0.2.3:53 len=31\n2 7 < ICMP 10.0.2.2 10.0.2.15 type=3 code=3 len=56\n";
        let drawn = draw(&parse(trace).expect("a good trace"));
        assert!(drawn.contains("49152 ───── UDP, 31 bytes ─────► 53\n"), "{drawn}");
        assert!(drawn.contains("◄───────── ICMP ──────────\n"), "{drawn}");
        assert!(drawn.ends_with("0 received with 0; no handshake\n"), "{drawn}");
    }
}
