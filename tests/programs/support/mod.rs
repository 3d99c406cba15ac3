//! What the tests of real programs share: running a command with a deadline, servers on the kernel's loopback, a
//! deterministic stream of bytes, and a reader of captures. It knows nothing of the crate's inside: what it
//! starts sees `tubesock` as a user does, through the command and the preload library.

pub(crate) mod capture;
pub(crate) mod command;
pub(crate) mod http;
pub(crate) mod network;
pub(crate) mod nginx;
#[path = "../../support/ports.rs"]
mod ports;
pub(crate) mod stack;
pub(crate) mod stream;

/// The Python that the distribution installs; another first in PATH may be a wrapper script.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
