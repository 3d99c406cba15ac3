//! `--trace`: where the trace of calls and packets goes, and in which form.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The value that means the ladder. A file of that name is `./-`.
const LADDER: &str = "-";

/// Where the trace goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Lines, for programs, appended to a file.
    File(PathBuf),
    /// A ladder, for people, on standard error. It counts from this time, in microseconds of CLOCK_MONOTONIC, or else from
    /// its beginning.
    Ladder(Option<u64>),
}

impl Trace {
    /// `-`, `-:MICROSECONDS` or the name of a file.
    pub(super) fn parse(value: &OsStr) -> Result<Trace, String> {
        let text = value.to_str().unwrap_or_default();
        match text.split_once(':') {
            _ if value.is_empty() => Err("the name of a file is missing; give one, or -".into()),
            _ if text == LADDER => Ok(Trace::Ladder(None)),
            Some((LADDER, since)) => match since.parse() {
                Ok(since) => Ok(Trace::Ladder(Some(since))),
                Err(_) => Err(format!("'{since}' is no time; write - alone, or ./{text} for a file")),
            },
            _ => Ok(Trace::File(value.into())),
        }
    }

    /// As `parse` reads it.
    pub(super) fn value(&self) -> OsString {
        match self {
            Trace::File(path) => path.into(),
            Trace::Ladder(None) => LADDER.into(),
            Trace::Ladder(Some(since)) => format!("{LADDER}:{since}").into(),
        }
    }

    /// The file, if it goes to one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Trace::File(path) => Some(path),
            Trace::Ladder(_) => None,
        }
    }

    /// Likewise.
    pub fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Trace::File(path) => Some(path),
            Trace::Ladder(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_value_means() {
        let table = [
            ("-", Trace::Ladder(None)),
            ("-:42", Trace::Ladder(Some(42))),
            ("./-", Trace::File("./-".into())),
            ("-x", Trace::File("-x".into())),
            ("a:b", Trace::File("a:b".into())),
        ];
        for (text, trace) in table {
            assert_eq!(Trace::parse(OsStr::new(text)), Ok(trace.clone()));
            assert_eq!(trace.value(), text);
        }
        for (text, message) in [("", "the name of a file is missing"), ("-:x", "'x' is no time")] {
            assert!(Trace::parse(OsStr::new(text)).is_err_and(|error| error.starts_with(message)), "{text}");
        }
    }
}
