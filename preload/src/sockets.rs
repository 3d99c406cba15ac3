//! Making, naming and ending sockets, and their options.

use libc::{c_int, c_ulong, c_void, sockaddr, socklen_t};
use tubesock::abi::sockets;

use crate::next::Next;

/// socket(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of socket(2).
    unsafe { sockets::socket::<Next>(domain, kind, protocol) }
}

/// bind(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of bind(2).
    unsafe { sockets::bind::<Next>(fd, address, length) }
}

/// connect(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of connect(2).
    unsafe { sockets::connect::<Next>(fd, address, length) }
}

/// connect(2), as glibc exports it too
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of connect(2).
    unsafe { sockets::connect::<Next>(fd, address, length) }
}

/// listen(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of listen(2).
    unsafe { sockets::listen::<Next>(fd, backlog) }
}

/// accept(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of accept(2).
    unsafe { sockets::accept4::<Next>(fd, address, length, 0) }
}

/// accept4(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of accept4(2).
    unsafe { sockets::accept4::<Next>(fd, address, length, flags) }
}

/// getsockname(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of getsockname(2).
    unsafe { sockets::getsockname::<Next>(fd, address, length) }
}

/// getpeername(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of getpeername(2).
    unsafe { sockets::getpeername::<Next>(fd, address, length) }
}

/// getsockopt(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of getsockopt(2).
    unsafe { sockets::getsockopt::<Next>(fd, level, name, value, length) }
}

/// setsockopt(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of setsockopt(2).
    unsafe { sockets::setsockopt::<Next>(fd, level, name, value, length) }
}

/// shutdown(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of shutdown(2).
    unsafe { sockets::shutdown::<Next>(fd, how) }
}

/// ioctl(2). libc's is variadic, and every request has at most one argument: three fixed ones read the same
/// registers.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    // SAFETY: the caller keeps the contract of ioctl(2).
    unsafe { sockets::ioctl::<Next>(fd, request, argument) }
}
