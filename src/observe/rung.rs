//! A line of the ladder: on the left the program's calls, on the right the packets of its stack.
#![forbid(unsafe_code)]

use super::event::{Event, Form, Packet, What};

/// Columns of a line: 8 for the time, 2 between, 50 for the call, 2 between, 38 for the packet.
pub const WIDTH: usize = 100;
/// The calls' column.
pub const CALL_WIDTH: usize = 50;
/// Of the arrow between two ports of 5 columns.
const ARROW_WIDTH: usize = 26;

/// What stands above the columns.
pub fn titles() -> String {
    format!("{:>8}  {:<CALL_WIDTH$}  segments of its own stack\n", "ms", "calls of the program")
}

/// The line of an event, with its time since `start` in microseconds.
pub fn draw(start: u64, event: &Event) -> String {
    let (call, packet) = match &event.what {
        What::Call(call) => (shortened(&call.text), String::new()),
        What::Packet(packet) => (String::new(), arrow(packet)),
    };
    let milliseconds = event.micros.saturating_sub(start) as f64 / 1000.0;
    let line = format!("{milliseconds:>8.3}  {call:<CALL_WIDTH$}  {packet}");
    format!("{}\n", line.trim_end())
}

/// A call in `CALL_WIDTH` columns. What is cut is in the arguments, never the result.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= CALL_WIDTH {
        return text.to_owned();
    }
    let result: String = match text.rfind(") = ") {
        Some(place) if text[place..].chars().count() < CALL_WIDTH / 2 => text[place..].to_owned(),
        _ => String::new(),
    };
    let kept = CALL_WIDTH - 1 - result.chars().count();
    text.chars().take(kept).chain(['…']).chain(result.chars()).collect()
}

/// A packet as an arrow from port to port; the program's side is on the left.
fn arrow(packet: &Packet) -> String {
    let (label, ports) = match &packet.form {
        Form::Tcp(segment) => {
            (with_size(&segment.flags, segment.payload_bytes), Some((segment.source, segment.destination)))
        }
        Form::Udp { source, destination, payload_bytes } => {
            (format!("UDP, {payload_bytes} bytes"), Some((*source, *destination)))
        }
        Form::Other(text) => (text.split(' ').next().unwrap_or_default().to_owned(), None),
    };
    let (left, right) = match ports.map(|(source, destination)| (source.port(), destination.port())) {
        Some((source, destination)) if packet.outgoing => (source.to_string(), destination.to_string()),
        Some((source, destination)) => (destination.to_string(), source.to_string()),
        None => (String::new(), String::new()),
    };
    // One column is the head.
    let shaft = format!("{:─^width$}", format!(" {label} "), width = ARROW_WIDTH - 1);
    let (tail, head) = if packet.outgoing { ("", "►") } else { ("◄", "") };
    format!("{left:>5} {tail}{shaft}{head} {right:<5}")
}

fn with_size(flags: &str, bytes: usize) -> String {
    if bytes == 0 { flags.to_owned() } else { format!("{flags}, {bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_call_keeps_its_result() {
        let text =
            shortened("send(5, \"GET / HTTP/1.1\\r\\nHost: 10.0.2.2:8000\\r\\nUser-Agent\"..., 78, 0) = 78");
        assert_eq!(text.chars().count(), CALL_WIDTH);
        assert!(text.starts_with("send(5, \"GET / ") && text.ends_with("…) = 78"), "{text}");
    }
}
