//! `--capture`: where the packets are written to.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The value that means standard output. A file of that name is `./-`.
const OUTPUT: &str = "-";

/// Where packets are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capture {
    /// A file, or a pipe by its name.
    File(PathBuf),
    /// Standard output of `tubesock run`.
    Output,
}

impl Capture {
    /// `-`, or the name of a file.
    pub(super) fn parse(value: &OsStr) -> Result<Capture, String> {
        match value {
            value if value.is_empty() => Err("the name of a file is missing; give one, or -".into()),
            value if value == OUTPUT => Ok(Capture::Output),
            value => Ok(Capture::File(value.into())),
        }
    }

    /// As `parse` reads it.
    pub(super) fn value(&self) -> OsString {
        match self {
            Capture::File(path) => path.into(),
            Capture::Output => OUTPUT.into(),
        }
    }

    /// The file, if it goes to one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Capture::File(path) => Some(path),
            Capture::Output => None,
        }
    }

    /// Likewise.
    pub fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Capture::File(path) => Some(path),
            Capture::Output => None,
        }
    }
}
