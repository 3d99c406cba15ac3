//! `tubesock switch`: a network on one machine, of whatever connects to a socket.
#![forbid(unsafe_code)]

use crate::{Failure, complain};
use rustix::net::SocketType;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use tubesock::ethernet::switch::Switch;
use tubesock::host::Entrance;
use tubesock::sys::descriptors;
use tubesock::sys::signals::Awaited;

/// What ends it.
const ENDS: [i32; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Serves whoever connects to `path`, until a signal ends it.
pub(crate) fn serve(path: &Path) -> Result<ExitCode, Failure> {
    let failed = |problem: String| Failure::new(1, format!("the switch cannot start: {problem}"));
    descriptors::claim_process();
    let awaited = Awaited::block(&ENDS);
    let entrance = Entrance::make(path, SocketType::STREAM)
        .map_err(|problem| Failure::new(Failure::SETTING, problem))?;
    let socket = entrance.socket().map_err(|error| failed(error.to_string()))?;
    let switch = Switch::new(socket).map_err(|errno| failed(errno.to_string()))?;
    let run = move || {
        let Err(errno) = switch.run();
        complain(format_args!("the switch has failed: {errno}"));
        std::process::exit(1);
    };
    std::thread::Builder::new().spawn(run).map_err(|error| failed(error.to_string()))?;
    // Whoever started it waits for this line; if nobody reads it, nobody does.
    let _ = writeln!(std::io::stdout(), "switch at {}", path.display());
    awaited.wait();
    drop(entrance);
    Ok(ExitCode::SUCCESS)
}
