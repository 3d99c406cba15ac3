//! The ways into another network namespace, from which the program's host would not be found
//! (`tubesock::host::Departure`).

use libc::{c_int, c_long, iovec};
use tubesock::host::Departure;
use tubesock::system_call;

use crate::next::next;

/// unshare(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn unshare(flags: c_int) -> c_int {
    let call = || next!(unshare(flags) or |flags| system_call!(SYS_unshare, flags));
    if flags & libc::CLONE_NEWNET != 0 { departing(call) } else { call() }
}

/// setns(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setns(fd: c_int, kind: c_int) -> c_int {
    let call = || next!(setns(fd, kind) or |fd, kind| system_call!(SYS_setns, fd, kind));
    if into_network(kind) { departing(call) } else { call() }
}

/// With 0 the descriptor alone says of which kind the namespace is.
fn into_network(kind: c_int) -> bool {
    kind == 0 || kind & libc::CLONE_NEWNET != 0
}

/// Whether a system call with these arguments may put who returns from it with 0 into another network namespace. Not a
/// clone with memory or descriptors in common, whose child cannot go on here.
pub(crate) fn departs(number: c_long, arguments: [usize; 6]) -> bool {
    let flags = match number {
        libc::SYS_setns => return into_network(arguments[1] as c_int),
        libc::SYS_unshare | libc::SYS_clone => arguments[0] as u64,
        libc::SYS_clone3 => flags_of_clone3(arguments[0], arguments[1]),
        _ => return false,
    };
    let [network, common] =
        [libc::CLONE_NEWNET, libc::CLONE_VM | libc::CLONE_FILES].map(|flags| flags as u64);
    flags & network != 0 && (number == libc::SYS_unshare || flags & common == 0)
}

/// What a structure of that size begins with. 0 where it cannot be read, which the kernel refuses.
fn flags_of_clone3(place: usize, size: usize) -> u64 {
    let mut flags = 0u64;
    if size < size_of_val(&flags) {
        return 0;
    }
    let here = iovec { iov_base: (&raw mut flags).cast(), iov_len: size_of_val(&flags) };
    let there = iovec { iov_base: place as *mut _, ..here };
    let process = std::process::id();
    // SAFETY: the kernel writes to `here` alone, and what it cannot read is an error.
    let _: c_int =
        unsafe { system_call!(SYS_process_vm_readv, process, &raw const here, 1, &raw const there, 1, 0) };
    flags
}

/// The call, after which who gets 0 has left.
pub(crate) fn departing<T: Default + PartialEq>(call: impl FnOnce() -> T) -> T {
    let departure = Departure::begin();
    let result = call();
    if let (Some(departure), true) = (departure, result == T::default()) {
        departure.end();
    }
    result
}
