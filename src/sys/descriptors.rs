//! Internal descriptors: the ones of our own that a program must not meet. They are CLOEXEC, lie above the numbers
//! that the program uses, and are marked in a bit map, so that the shim can keep `close`, `close_range`, `dup2` and
//! close loops off them, and a forked child can drop them all.
//!
//! Where they lie: at the soft limit of RLIMIT_NOFILE and above when the hard limit allows it (the limit is raised for
//! the moment of the `F_DUPFD_CLOEXEC` and restored, so neither the program nor its children see it change), in the
//! upper half below the soft limit when both limits are equal.
//!
//! Limits: numbers of `TRACKED` and above are never handed out, so a limit above it is used up to it only.

use core::mem::ManuallyDrop;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::process::{Resource, Rlimit};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

/// Numbers that the bit map covers: 128 KiB of zero pages, of which one or two are ever touched.
const TRACKED: usize = 1 << 20;
static MAP: [AtomicU64; TRACKED / 64] = [const { AtomicU64::new(0) }; TRACKED / 64];

/// The numbers that a forked child keeps; -1 where there is none.
static KEPT: [AtomicI32; 8] = [const { AtomicI32::new(-1) }; 8];

fn bit(fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let number = usize::try_from(fd).ok()?;
    Some((MAP.get(number / 64)?, 1 << (number % 64)))
}

/// Whether the program must not touch `fd`: close, dup2 onto it and F_GETFD give EBADF. Async-signal-safe.
pub fn is_internal(fd: RawFd) -> bool {
    bit(fd).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// A descriptor that is closed by a raw system call. `OwnedFd` closes by libc's `close`, which in a preloaded program
/// is ours, and asks the host about what it closes: under the host's lock that would be the end.
#[derive(Debug)]
pub struct Owned(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for Owned {
    fn from(fd: OwnedFd) -> Owned {
        Owned(ManuallyDrop::new(fd))
    }
}

impl AsFd for Owned {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl IntoRawFd for Owned {
    fn into_raw_fd(self) -> RawFd {
        let fd = self.0.as_raw_fd();
        core::mem::forget(self);
        fd
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: owned, and not used after.
        unsafe { rustix::io::close(self.0.as_raw_fd()) };
    }
}

/// A descriptor of our own, marked while it lives.
#[derive(Debug)]
pub struct Internal(ManuallyDrop<Owned>);

impl AsFd for Internal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Internal {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Drop for Internal {
    fn drop(&mut self) {
        // The mark goes first: once closed, the number may be the program's.
        let marked = bit(self.as_raw_fd())
            .is_none_or(|(word, bit)| word.fetch_and(!bit, Ordering::Relaxed) & bit != 0);
        // A forked child drops all internal descriptors at once: then the number is not ours any more.
        if marked {
            // SAFETY: once, in drop.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// Whether this process runs no program but ours.
static ALONE: AtomicBool = AtomicBool::new(false);

/// This process runs no program but ours: its descriptors are in nobody's way, and it may have as many as the hard limit
/// allows. The limits as they were, for the programs that it starts.
pub fn claim_process() -> Rlimit {
    ALONE.store(true, Ordering::Relaxed);
    let limits = rustix::process::getrlimit(Resource::Nofile);
    // Root may have more than the hard limit; whoever may not keeps it.
    let most = TRACKED as u64;
    for wanted in [most, limits.maximum.unwrap_or(most)] {
        let raised = Rlimit { current: Some(wanted), maximum: Some(wanted.max(limits.maximum.unwrap_or(0))) };
        if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() {
            break;
        }
    }
    limits
}

/// Moves a descriptor of our own out of the program's way and marks it. When no higher number is free it stays
/// where it is, marked all the same.
pub fn internal(fd: impl Into<Owned>) -> Internal {
    let fd = fd.into();
    let fd = match ALONE.load(Ordering::Relaxed) {
        true => fd,
        false => duplicate_high(&fd).unwrap_or(fd),
    };
    let fd = Internal(ManuallyDrop::new(fd));
    if let Some((word, bit)) = bit(fd.as_raw_fd()) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
    fd
}

/// Another internal descriptor for the same open file.
pub fn duplicate(fd: BorrowedFd<'_>) -> rustix::io::Result<Internal> {
    Ok(internal(rustix::io::fcntl_dupfd_cloexec(fd, 0)?))
}

/// Likewise, for one that a forked child goes on using: the log's, the trace's, the capture's. There are few.
pub fn internal_kept(fd: impl Into<Owned>) -> Internal {
    let fd = internal(fd);
    let number = fd.as_raw_fd();
    // When all places are taken the child merely loses its log.
    let _ = KEPT
        .iter()
        .find(|kept| kept.compare_exchange(-1, number, Ordering::Relaxed, Ordering::Relaxed).is_ok());
    fd
}

fn duplicate_high(fd: &Owned) -> rustix::io::Result<Owned> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let (Some(soft), hard) = (limit.current, limit.maximum.unwrap_or(u64::MAX)) else {
        return rustix::io::fcntl_dupfd_cloexec(fd, TRACKED as RawFd / 2).map(Owned::from);
    };
    if hard <= soft || soft >= TRACKED as u64 {
        let half = soft.min(TRACKED as u64) as RawFd / 2;
        return rustix::io::fcntl_dupfd_cloexec(fd, half).map(Owned::from);
    }
    let raised = Rlimit { current: Some(hard.min(TRACKED as u64)), maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    let high = rustix::io::fcntl_dupfd_cloexec(fd, soft as RawFd);
    // Only ever back to the value that the kernel held a moment ago, which cannot be refused.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
    high.map(Owned::from)
}

/// Puts `new` in the place of `old`, in one step.
pub fn put_over(new: Owned, old: BorrowedFd<'_>, close_on_exec: bool) -> crate::error::Result<()> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: numbers only; the program asked for the change of what `old` stands for.
    let put: i32 = unsafe { crate::system_call!(SYS_dup3, new.as_fd().as_raw_fd(), old.as_raw_fd(), flags) };
    if put < 0 { Err(crate::error::Error::BadDescriptor) } else { Ok(()) }
}

/// The lowest internal number that is at least `from`, for calls that must go round them. Async-signal-safe.
pub fn next_internal(from: RawFd) -> Option<RawFd> {
    let from = usize::try_from(from).unwrap_or(0);
    let mut below = (1 << (from % 64)) - 1;
    for (index, word) in MAP.iter().enumerate().skip(from / 64) {
        let word = word.load(Ordering::Relaxed) & !below;
        if word != 0 {
            return Some((index * 64) as RawFd + word.trailing_zeros() as RawFd);
        }
        below = 0;
    }
    None
}

/// In a process without a host: numbers from `first` to `last` were closed, and are not ours any more, be they the
/// log's. Async-signal-safe.
pub fn forget(first: RawFd, last: RawFd) {
    let mut from = first;
    while let Some(fd) = next_internal(from).filter(|&fd| fd <= last) {
        from = fd + 1;
        if let Some((word, bit)) = bit(fd) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
        for kept in &KEPT {
            let _ = kept.compare_exchange(fd, -1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// In a forked child: closes every internal descriptor that is not kept, and forgets it. Takes no lock, allocates
/// nothing.
pub fn drop_all() {
    let mut from = 0;
    while let Some(fd) = next_internal(from) {
        from = fd + 1;
        if KEPT.iter().any(|kept| kept.load(Ordering::Relaxed) == fd) {
            continue;
        }
        if let Some((word, bit)) = bit(fd) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
        // SAFETY: a marked number is a descriptor of ours; its owner, in the parent's copy of memory, is never
        // dropped here, and `Internal::drop` leaves a number alone whose mark is gone.
        unsafe { rustix::io::close(fd) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_descriptor_is_high_marked_and_unmarked() {
        let (end, _other) = rustix::pipe::pipe().expect("a pipe");
        let fd = internal(end);
        let number = fd.as_raw_fd();
        assert!(number > 100, "out of the program's way, got {number}");
        assert!(is_internal(number));
        assert_eq!(next_internal(number), Some(number));
        assert_ne!(next_internal(number + 1), Some(number));
        drop(fd);
        assert!(!is_internal(number));
    }
}
