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
//! * The host has a process group of its own from when there is a program: who kills the whole group, as timeout(1) does, does not
//!   kill both. The program is in the guardian's, which is the terminal's; and so is the host before, whom an interrupt from there
//!   ends while it waits for its network.
//! * The guardian passes signals on to the host, also those of the terminal's keys, and ends as the host ended. It has
//!   neither sockets nor threads.
//!
//! Limits: what runs as another user, whom this one may not kill, is left; and where there is no /proc, all but the program.

use crate::{Failure, run};
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, setpgid};
use std::process::ExitCode;
use tubesock::sys::signals::{self, Awaited};
use tubesock::sys::{self, processes};

/// Who this process is.
pub(crate) enum Part {
    /// The guardian, of this host; and children that it had before, which are no affair of the program's.
    Guardian(Pid, Vec<u32>),
    /// The host, of this guardian.
    Host(Guardian),
}

/// The guardian as the host knows it.
#[derive(Clone, Copy)]
pub(crate) struct Guardian {
    pub(crate) process: Pid,
    /// Its process group, which the host leaves. None when it stayed, because the group has no number here by which the program could
    /// return to it.
    pub(crate) group: Option<Pid>,
}

impl Guardian {
    /// In the host: from now on it is in a process group of its own.
    pub(crate) fn leave_group(self) -> Result<(), Failure> {
        match self.group {
            Some(_) => setpgid(None, None).map_err(failed),
            None => Ok(()),
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_gone(self) -> bool {
        getppid() != Some(self.process)
    }
}

fn failed(errno: rustix::io::Errno) -> Failure {
    Failure::new(1, format!("there can be no host: {errno}"))
}

/// Forks the host. Called before this process has any thread.
pub(crate) fn split() -> Result<Part, Failure> {
    // Fails only on kernels before 3.4: then orphans are init's, and we end without them.
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
    let guardian = Guardian { process: getpid(), group: processes::group() };
    let others = processes::children(sys::process_id());
    // SAFETY: nothing has started a thread.
    if let Some(host) = unsafe { processes::fork() }.map_err(failed)? {
        return Ok(Part::Guardian(host, others));
    }
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
    rustix::process::set_parent_process_death_signal(Some(Signal::CHILD)).map_err(failed)?;
    if guardian.is_gone() {
        // Before the kernel knew whom to tell.
        sys::end_process(128 + libc::SIGKILL);
    }
    Ok(Part::Host(guardian))
}

/// In the guardian: passes signals on to the host until it ends, and ends as it did.
pub(crate) fn watch(host: Pid, others: &[u32], awaited: &Awaited) -> ExitCode {
    run::release_streams();
    loop {
        let came = awaited.wait();
        if came.signal != libc::SIGCHLD {
            if came.sent {
                run::pass_on(came.signal, host);
            } else if matches!(came.signal, libc::SIGINT | libc::SIGQUIT) {
                signals::send_typed(host, came.signal);
            }
            continue;
        }
        while let Ok(Some((ended, how))) = rustix::process::wait(WaitOptions::NOHANG) {
            if ended == host {
                processes::end_descendants(others);
                awaited.restore();
                return run::end_as(Some(how));
            }
        }
    }
}
