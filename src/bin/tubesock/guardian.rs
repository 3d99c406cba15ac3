//! The process that `tubesock run` is to whoever started it. The host is a child of it, and what makes the two of them is
//! SIGKILL: whichever is killed, the other one ends all that descends from the program, so that nothing waits for ever at
//! sockets whose stack has gone.
//!
//! ```text
//!   shell ── guardian ── host ── program ── what it starts
//! ```
//!
//! * Orphans of the program come to the host (child subreaper), when that is killed to the guardian.
//! * The kernel tells the host that the guardian has ended (PR_SET_PDEATHSIG), by a SIGCHLD.
//! * The guardian passes signals on to the host, and ends as the host ended. It has neither sockets nor threads.
//!
//! Limits: what runs as another user, whom this one may not kill, is left; and where there is no /proc, all but the program.

use crate::{Failure, run};
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid};
use std::process::ExitCode;
use tubesock::sys::signals::Awaited;
use tubesock::sys::{self, processes};

/// Who this process is.
pub(crate) enum Part {
    /// The guardian, of this host.
    Guardian(Pid),
    /// The host, of this guardian.
    Host(Pid),
}

/// Forks the host. Called before this process has any thread.
pub(crate) fn split() -> Result<Part, Failure> {
    let failed = |errno: rustix::io::Errno| Failure::new(1, format!("there can be no host: {errno}"));
    // Fails only on kernels before 3.4: then orphans are init's, and we end without them.
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
    let guardian = getpid();
    // SAFETY: nothing has started a thread.
    if let Some(host) = unsafe { processes::fork() }.map_err(failed)? {
        return Ok(Part::Guardian(host));
    }
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
    rustix::process::set_parent_process_death_signal(Some(Signal::CHILD)).map_err(failed)?;
    if is_gone(guardian) {
        // Before the kernel knew whom to tell.
        sys::end_process(128 + libc::SIGKILL);
    }
    Ok(Part::Host(guardian))
}

/// In the host: whether the guardian has gone.
pub(crate) fn is_gone(guardian: Pid) -> bool {
    getppid() != Some(guardian)
}

/// In the guardian: passes signals on to the host until it ends, and ends as it did.
pub(crate) fn watch(host: Pid, awaited: &Awaited) -> ExitCode {
    run::release_streams();
    loop {
        let came = awaited.wait();
        if came.signal != libc::SIGCHLD {
            if came.sender.is_some() {
                run::pass_on(came.signal, host);
            }
            continue;
        }
        while let Ok(Some((ended, how))) = rustix::process::wait(WaitOptions::NOHANG) {
            if ended == host {
                processes::end_descendants();
                awaited.restore();
                return run::end_as(Some(how));
            }
        }
    }
}
