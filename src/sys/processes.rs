//! Processes: a copy of this one, the children of one, and an end to all that descends from this one.

use rustix::fd::AsFd;
use rustix::fs::{fstat, fstatfs};
use rustix::io::{Errno, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

/// fork(2): None in the child.
///
/// # Safety
/// This process has one thread, or the child calls async-signal-safe functions only.
pub unsafe fn fork() -> Result<Option<Pid>> {
    // SAFETY: by the contract of this function.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::from_raw_os_error(super::raw::errno())),
        child => Ok(Pid::from_raw(child)),
    }
}

/// The process group of this process; None when it is of another pid namespace, where this one has no number for it.
pub fn group() -> Option<Pid> {
    // SAFETY: the call takes nothing, and cannot fail.
    Pid::from_raw(unsafe { libc::getpgrp() })
}

/// What the kernel knows the process of a pidfd by, and never another, in whatever pid namespace (Linux 6.9).
pub fn inode(pidfd: impl AsFd) -> Option<u64> {
    const PID_FS_MAGIC: i64 = 0x5049_4446;
    let is_told = fstatfs(&pidfd).is_ok_and(|system| system.f_type == PID_FS_MAGIC);
    fstat(&pidfd).ok().filter(|_| is_told).map(|status| status.st_ino)
}

/// The children of a process, as far as /proc shows them (proc(5), children).
pub fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let all: String = lists.collect();
    all.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Kills what descends from this process, which is a child subreaper: the children of those that are killed come to it,
/// until none is left, or none that it may kill. `others` are children that are left alone.
pub fn end_descendants(others: &[u32]) {
    let kill = |child: &u32| {
        Pid::from_raw(child.cast_signed()).is_some_and(|child| kill_process(child, Signal::KILL).is_ok())
    };
    let is_meant = |child: &&u32| !others.contains(child);
    while children(super::process_id()).iter().filter(is_meant).filter(|child| kill(child)).count() > 0 {
        // One of them has to end before there is anything new to see.
        let _ = wait(WaitOptions::empty());
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}
