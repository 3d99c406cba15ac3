//! The only room that calls the kernel: by raw system calls (rustix's linux_raw), so that nothing here comes
//! back through the names that the shim interposes. Clock and entropy enter here.

pub mod append;
pub mod cache;
pub mod descriptors;
pub mod environment;
pub mod epoll;
pub mod machine_names;
pub mod net;
pub mod processes;
pub mod raw;
pub mod seccomp;
pub mod signals;
pub mod timer;
pub mod tun;
pub mod udp;
pub mod unix;
pub mod unix_diag;

use crate::time::Instant;

/// The monotonic clock (CLOCK_MONOTONIC).
pub fn now() -> Instant {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Instant::from_micros(t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1_000)
}

/// Nanoseconds since the Unix epoch.
pub fn wall_nanos() -> u64 {
    let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    wall.tv_sec as u64 * 1_000_000_000 + wall.tv_nsec as u64
}

/// Nanoseconds from the Unix epoch to the origin of `now`, to date captures.
pub fn epoch_offset_nanos() -> u64 {
    let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let mono = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = |t: rustix::time::Timespec| t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64;
    nanos(wall) - nanos(mono)
}

/// Entropy from the kernel (getrandom(2)).
pub fn entropy<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => panic!("getrandom(2) cannot fail on Linux 3.17 and later, yet did: {errno}"),
        }
    }
    bytes
}

/// This process. A system call every time: a stored number would be the parent's after fork.
pub fn process_id() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

/// The effective user of this process.
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The file name of this process's executable, for a person to read.
pub fn program_name() -> String {
    let path = rustix::fs::readlink("/proc/self/exe", Vec::new()).unwrap_or_default();
    let path = path.to_string_lossy();
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned()
}

/// Whether a process of this number exists.
pub fn process_lives(process: u32) -> bool {
    let Some(process) = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

/// Ends the process, all threads at once, with no handler run.
pub fn end_process(status: i32) -> ! {
    loop {
        // SAFETY: exit_group takes a number and does not return.
        let _: isize = unsafe { crate::system_call!(SYS_exit_group, status) };
    }
}
