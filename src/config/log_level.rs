//! How much the log says.
#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

/// How much the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What ends the work.
    Error,
    /// What a user should know: unsupported calls, each once.
    #[default]
    Warn,
    /// Start and end of a host, with its counters.
    Info,
    /// Every connection.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    pub(super) const ALL: [(LogLevel, &'static str); 6] = [
        (LogLevel::Off, "off"),
        (LogLevel::Error, "error"),
        (LogLevel::Warn, "warn"),
        (LogLevel::Info, "info"),
        (LogLevel::Debug, "debug"),
        (LogLevel::Trace, "trace"),
    ];
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = LogLevel::ALL.iter().find(|(_, name)| *name == text);
        level.map(|(level, _)| *level).ok_or_else(|| {
            format!("not a level; use one of {}", LogLevel::ALL.map(|(_, name)| name).join(", "))
        })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LogLevel::ALL[*self as usize].1)
    }
}
