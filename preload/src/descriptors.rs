//! Descriptors that the program must not touch: those of the host in this process. The numbers that the program uses
//! are the kernel's own, and need no guard.
//!
//! Only the process that runs the host is guarded: in a forked or vforked child the same numbers are copies that
//! nobody uses, and the kernel may close them or put others in their place.

use core::ops::RangeInclusive;

use libc::{c_int, c_uint, c_ulong};
use tubesock::abi::sockets;
use tubesock::bridge::name::Identity;
use tubesock::host;
use tubesock::sys::descriptors;
use tubesock::sys::raw::fail;
use tubesock::system_call;

use crate::next::{Next, next};

/// Whether `fd` is the host's. Then errno says EBADF: for the program it is not open.
pub(crate) fn is_guarded(fd: c_int) -> bool {
    let guarded = descriptors::is_internal(fd) && host::is_here();
    if guarded {
        fail(libc::EBADF);
    }
    guarded
}

/// Whether the program may put its descriptor `from` at the number `onto`. One of the host's that is in the way stays:
/// errno says EBUSY, which dup2(2) knows.
pub(crate) fn may_replace(from: c_int, onto: c_int) -> bool {
    if is_guarded(from) {
        return false;
    }
    if descriptors::is_internal(onto) && host::is_here() {
        fail(libc::EBUSY);
        return false;
    }
    true
}

/// close(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn close(fd: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of close(2).
    unsafe { sockets::close::<Next>(fd) }
}

/// close(2), as glibc exports it too
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __close(fd: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of close(2).
    unsafe { sockets::close::<Next>(fd) }
}

/// close_range(2)
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C-unwind" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    // Those of the host have CLOEXEC already.
    let marks_only = flags as c_uint & libc::CLOSE_RANGE_CLOEXEC != 0;
    if marks_only || first > last {
        return close_numbers(first..=last, flags);
    }
    if !host::is_here() {
        let limit = |number: c_uint| c_int::try_from(number).unwrap_or(c_int::MAX);
        host::closed_without_host(limit(first), limit(last));
        let closed = close_numbers(first..=last, flags);
        sockets::replaced();
        return closed;
    }
    let failed = gaps(first, last).map(|gap| close_numbers(gap, flags)).find(|&closed| closed < 0);
    sockets::replaced();
    failed.unwrap_or(0)
}

/// closefrom(3)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn closefrom(first: c_int) {
    // SAFETY: close_range takes no pointer; which descriptors the program may close is the caller's affair.
    unsafe { close_range(first.max(0).cast_unsigned(), c_uint::MAX, 0) };
}

/// The system call: nothing but numbers, so it may run in a vfork child too.
fn close_numbers(numbers: RangeInclusive<c_uint>, flags: c_int) -> c_int {
    // SAFETY: no pointer is passed; which descriptors the program may close is its own affair.
    unsafe { system_call!(SYS_close_range, *numbers.start(), *numbers.end(), flags) }
}

/// The ranges of numbers from `first` to `last` between those of the host.
fn gaps(first: c_uint, last: c_uint) -> impl Iterator<Item = RangeInclusive<c_uint>> {
    let mut from = Some(first);
    core::iter::from_fn(move || {
        loop {
            let start = from.filter(|&start| start <= last)?;
            let internal = c_int::try_from(start).ok().and_then(descriptors::next_internal);
            let Some(internal) = internal.map(c_int::cast_unsigned).filter(|&number| number <= last) else {
                from = None;
                return Some(start..=last);
            };
            from = internal.checked_add(1);
            if internal > start {
                return Some(start..=internal - 1);
            }
        }
    })
}

/// dup(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup(fd: c_int) -> c_int {
    if is_guarded(fd) { -1 } else { next!(dup(fd) or |fd| system_call!(SYS_dup, fd)) }
}

/// What a dup2 closes, if its host has to hear of it.
fn going(from: c_int, onto: c_int) -> Option<Identity> {
    if from == onto { None } else { sockets::going(onto) }
}

/// dup2(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup2(from: c_int, onto: c_int) -> c_int {
    if !may_replace(from, onto) {
        return -1;
    }
    let going = going(from, onto);
    let result = next!(dup2(from, onto) or |from, onto| system_call!(SYS_dup2, from, onto));
    if let (Some(identity), 0..) = (going, result) {
        sockets::gone(&identity);
    }
    result
}

/// dup2(2), as glibc exports it too
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __dup2(from: c_int, onto: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of dup2(2).
    unsafe { dup2(from, onto) }
}

/// dup3(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn dup3(from: c_int, onto: c_int, flags: c_int) -> c_int {
    if !may_replace(from, onto) {
        return -1;
    }
    let going = going(from, onto);
    let result =
        next!(dup3(from, onto, flags) or |from, onto, flags| system_call!(SYS_dup3, from, onto, flags));
    if let (Some(identity), 0..) = (going, result) {
        sockets::gone(&identity);
    }
    result
}

/// fcntl(2). libc's is variadic, and every command has at most one argument: three fixed ones read the same
/// registers.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    if is_guarded(fd) {
        return -1;
    }
    next!(fcntl(fd, command, argument) or |fd, command, argument| system_call!(SYS_fcntl, fd, command, argument))
}

/// fcntl(2) of programs with large file offsets: a symbol of its own since glibc 2.28
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn fcntl64(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    if is_guarded(fd) {
        return -1;
    }
    next!(fcntl64(fd, command, argument) or |fd, command, argument| system_call!(SYS_fcntl, fd, command, argument))
}

/// fcntl(2), as glibc exports it too
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    // SAFETY: the caller keeps the contract of fcntl(2).
    unsafe { fcntl(fd, command, argument) }
}
