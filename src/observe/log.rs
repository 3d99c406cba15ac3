//! The log: `tracing` events, each one line on standard error, `tubesock[PID]: level: message`.
//!
//! The lines go to a private duplicate of descriptor 2, made when the log starts, by raw system calls. std's own way
//! (`eprintln!`) is no way here: inside the shim it ends in the `write` that the shim interposes. A line is dropped
//! when writing it would block or raise SIGPIPE: the log must neither hold the engine's lock for a reader that is
//! slow nor end a program for a reader that has gone. When descriptor 2 is closed there is no log.

use crate::config::LogLevel;
use crate::sys;
use crate::sys::append::Appender;
use core::fmt::{self, Write};
use std::collections::BTreeSet;
use std::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Installs the subscriber. Once; later calls do nothing.
pub fn start(level: LogLevel) {
    let Some(level) = filter(level).into_level() else { return };
    if tracing::dispatcher::has_been_set() {
        return;
    }
    let Ok(out) = Appender::standard_error() else { return };
    // An error says that another thread was first, and that is as good.
    let _ = tracing::subscriber::set_global_default(Log { level, out });
}

/// Whether this is the first time that the process says `number` of `subject`: an option, a request, a flag that is not
/// supported. For what a program would otherwise repeat a thousand times.
///
/// Never blocks, and remembers a bounded number: when in doubt the answer is no.
pub fn first_time(subject: &'static str, number: i64) -> bool {
    const LIMIT: usize = 256;
    static SAID: Mutex<BTreeSet<(&'static str, i64)>> = Mutex::new(BTreeSet::new());
    // try_lock: a child forked while another thread held the lock would wait for ever.
    SAID.try_lock().is_ok_and(|mut said| said.len() < LIMIT && said.insert((subject, number)))
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The subscriber. Not `tracing_subscriber`'s: its formatter keeps a buffer in a thread-local variable, which is gone
/// when the last lines are written, from a destructor at exit. Spans are not shown; none are made.
struct Log {
    level: Level,
    out: Appender,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What crates say of their own is for who looks for a fault in them.
        let ours = metadata.target().starts_with("tubesock");
        *metadata.level() <= self.level && (ours || self.level == Level::TRACE)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("tubesock[{}]: {}:", sys::process_id(), name(*event.metadata().level())));
        event.record(&mut line);
        line.0.push('\n');
        if self.out.has_room() {
            // There is nobody to tell that the log cannot be written.
            let _ = self.out.append(line.0.as_bytes());
        }
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// A line in the making: the message as it is, other fields as `name=value`. tracing gives the message first.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_said_once() {
        assert!(first_time("setsockopt in a test", 7));
        assert!(!first_time("setsockopt in a test", 7));
        assert!(first_time("setsockopt in a test", 8));
    }

    #[test]
    fn a_line_names_the_process_and_the_level() {
        let path = std::env::temp_dir().join(format!("tubesock-log-{}", sys::process_id()));
        let out = Appender::open(&path).expect("a writable temporary directory");
        let subscriber = Log { level: Level::WARN, out };
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(port = 80, "not {}", "now");
            tracing::info!("too quiet");
            tracing::error!(target: "somebody", "else");
        });
        let text = std::fs::read_to_string(&path).expect("the log was written");
        std::fs::remove_file(&path).expect("it was there a moment ago");
        assert_eq!(text, format!("tubesock[{}]: warn: not now port=80\n", sys::process_id()));
    }
}
