//! The trace: a line a call and a line a packet, in the file of `--trace`. `tubesock demo` draws its ladder from
//! it; so can any other program. Or each is drawn at once, on standard error (`rung`).
//!
//! ```text
//! MICROSECONDS PID call DESCRIPTOR NAME(ARGUMENTS) = RESULT
//! MICROSECONDS PID > PACKET        the program's side sent it
//! MICROSECONDS PID < PACKET        it came to the program's side
//!
//! 812345678 4711 call 5 connect(5, 10.0.2.2:80) = 0
//! 812345702 4711 > TCP 10.0.2.15:49152 10.0.2.2:80 SYN seq=7 ack=0 win=65535 len=0 <mss 1460>
//! ```
//!
//! The time is CLOCK_MONOTONIC, one clock for all processes of a machine, and for a call it is the time at which the
//! program made it. A call's line is written when its result is known, so lines are not in the order of their times.
//! A packet is as `observe::packet` shows it. Every line is one write(2) to a file opened with O_APPEND: several
//! processes can share the file. Calls, without packets, may go to a capture as well (`start_comments`). When a line cannot
//! be written the trace of this process ends, and the log says so.
//!
//! Programs may call send(2) and close(2) in a signal handler, so a line is put together on the stack, never on the heap.

use super::event::{self, What};
use super::rung;
use crate::config::Trace;
use crate::observe::packet::Summary;
use crate::sys;
use crate::sys::append::Appender;
use crate::time::Instant;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::io::Errno;
use std::sync::OnceLock;

static ENABLED: AtomicBool = AtomicBool::new(false);
static OUT: OnceLock<Out> = OnceLock::new();
static COMMENTS: OnceLock<Comments> = OnceLock::new();

/// What is told of calls, and the program's name.
struct Comments {
    tell: fn(&str),
    program: String,
}

/// Where the trace goes.
enum Out {
    Lines(Appender),
    /// And from which time it counts.
    Ladder(Appender, u64),
}

/// Whether a trace is being written: one relaxed atomic load.
pub fn enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Whether anybody wants to know of calls.
pub fn wants_calls() -> bool {
    enabled() || COMMENTS.get().is_some()
}

/// From now on tells `comment` of each call, with the program's name and the process's number. Once; later calls do nothing.
pub fn start_comments(tell: fn(&str)) {
    COMMENTS.get_or_init(|| Comments { tell, program: sys::program_name() });
}

/// Opens the file (append), or standard error. Once; later calls do nothing.
pub fn start(to: &Trace) -> std::io::Result<()> {
    if OUT.get().is_some() {
        return Ok(());
    }
    let out = match to {
        Trace::File(path) => Out::Lines(Appender::open(path)?),
        Trace::Ladder(since) => {
            let out = Appender::standard_error()?;
            if since.is_none() {
                append(&out, &rung::titles());
            }
            Out::Ladder(out, since.unwrap_or_else(|| sys::now().micros()))
        }
    };
    OUT.get_or_init(|| out);
    ENABLED.store(true, Ordering::Relaxed);
    Ok(())
}

/// What continues this trace in another process.
pub fn continued(to: Option<Trace>) -> Option<Trace> {
    match (to, OUT.get()) {
        (Some(Trace::Ladder(_)), Some(Out::Ladder(_, since))) => Some(Trace::Ladder(Some(*since))),
        (to, _) => to,
    }
}

/// A call of the program on a descriptor of ours, made at `now`. `detail` is the arguments and the result as strace
/// would show them: `(5, 10.0.2.2:80) = 0`. Of a call that makes a descriptor, `fd` is the new one.
pub fn call(now: Instant, name: &str, fd: i32, detail: fmt::Arguments<'_>) {
    if enabled() {
        write(now, format_args!("call {fd} {name}{detail}"));
    }
    if let Some(Comments { tell, program }) = COMMENTS.get() {
        tell(Line::of(format_args!("{program}[{}]: {name}{detail}", sys::process_id())).text());
    }
}

/// A packet on the link. `outgoing` from the program's point of view.
pub fn packet(now: Instant, outgoing: bool, packet: &[u8]) {
    write(now, format_args!("{} {}", if outgoing { '>' } else { '<' }, Summary(packet)));
}

fn write(now: Instant, what: fmt::Arguments<'_>) {
    match OUT.get() {
        Some(Out::Lines(file)) => {
            if let Err(errno) = file.append(line(now, what).text().as_bytes()) {
                end(errno);
            }
        }
        Some(Out::Ladder(out, since)) => append(out, &drawn(*since, line(now, what).text())),
        None => {}
    }
}

/// A full disk, or a limit on the size of files, ends the trace, not the program's work.
fn end(errno: Errno) {
    // EBADF: this child, forked without a host, has closed the file.
    if ENABLED.swap(false, Ordering::Relaxed) && errno != Errno::BADF {
        tracing::error!("the trace ends here: {}", std::io::Error::from(errno));
    }
}

/// A line of the ladder. Several processes make calls: each is told with its number.
fn drawn(since: u64, line: &str) -> String {
    let Some(mut event) = event::event(line.trim_end()) else { return line.to_owned() };
    if let What::Call(call) = &mut event.what {
        call.text = format!("{} {}", event.pid, call.text);
    }
    rung::draw(since, &event)
}

/// Appends to standard error, unless that would have to wait for its reader.
fn append(out: &Appender, text: &str) {
    if out.has_room() {
        let _ = out.append(text.as_bytes());
    }
}

fn line(now: Instant, what: fmt::Arguments<'_>) -> Line {
    let mut line = Line::of(format_args!("{} {} {what}", now.micros(), sys::process_id()));
    line.end();
    line
}

/// One line, cut where there is no more room.
struct Line {
    bytes: [u8; Line::MAX],
    length: usize,
}

impl Line {
    const MAX: usize = 1024;

    fn of(text: fmt::Arguments<'_>) -> Line {
        let mut line = Line { bytes: [0; Line::MAX], length: 0 };
        // Fails when it is cut.
        let _ = fmt::Write::write_fmt(&mut line, text);
        line
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).expect("characters were written whole")
    }

    /// There is always room for it.
    fn end(&mut self) {
        self.bytes[self.length] = b'\n';
        self.length += 1;
    }

    fn push(&mut self, text: &str) -> fmt::Result {
        // A byte is left for the end.
        let room = self.bytes[self.length..Line::MAX - 1].get_mut(..text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '\n' => self.push("\\n"),
            c => self.push(c.encode_utf8(&mut [0; 4])),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_line() {
        let pid = sys::process_id();
        let now = Instant::from_micros(42);
        assert_eq!(
            line(now, format_args!("call 5 send(5, \"a\nb\") = 3")).text(),
            format!("42 {pid} call 5 send(5, \"a\\nb\") = 3\n")
        );
    }

    #[test]
    fn a_long_line_is_cut() {
        let text = "\u{e9}".repeat(Line::MAX);
        let long = line(Instant::from_micros(42), format_args!("{text}"));
        assert!(
            (Line::MAX - 2..=Line::MAX).contains(&long.text().len()) && long.text().ends_with("\u{e9}\n")
        );
    }

    /// The only test of this process that starts the trace: it can be started once.
    #[test]
    fn calls_and_packets_are_appended() {
        assert!(!enabled());
        let path = std::env::temp_dir().join(format!("tubesock-trace-{}", sys::process_id()));
        start(&Trace::File(path.clone())).expect("a writable temporary directory");
        assert!(enabled());
        call(Instant::from_micros(1), "connect", 5, format_args!("(5, {}) = 0", "10.0.2.2:80"));
        packet(Instant::from_micros(2), true, &[]);
        packet(Instant::from_micros(3), false, &[0x45]);
        let text = std::fs::read_to_string(&path).expect("the trace was written");
        std::fs::remove_file(&path).expect("it was there a moment ago");
        let pid = sys::process_id();
        for line in [
            format!("1 {pid} call 5 connect(5, 10.0.2.2:80) = 0\n"),
            format!("2 {pid} > malformed len=0\n"),
            format!("3 {pid} < malformed len=1\n"),
        ] {
            assert!(text.contains(&line), "{line:?} is missing in {text:?}");
        }
    }
}
