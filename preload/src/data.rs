//! Reading and writing. TCP's data does not need us: libc's own function runs first, on a descriptor of the kernel's,
//! and only an end of file or an error on one of ours is explained afterwards. UDP's datagrams carry an address.

use core::ptr::{null, null_mut};

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};
use tubesock::abi::sockets;

use crate::next::Next;

unsafe extern "C" {
    /// Ends the program: "buffer overflow detected".
    safe fn __chk_fail() -> !;
}

/// What _FORTIFY_SOURCE asks of a call whose buffer has a size that the compiler knows.
fn fortify(length: size_t, buffer_bytes: size_t) {
    if length > buffer_bytes {
        __chk_fail();
    }
}

/// read(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller keeps the contract of read(2).
    unsafe { sockets::read::<Next>(fd, buffer, length) }
}

/// read(2), as glibc exports it too
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller keeps the contract of read(2).
    unsafe { sockets::read::<Next>(fd, buffer, length) }
}

/// read(2) under _FORTIFY_SOURCE
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __read_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    buffer_bytes: size_t,
) -> ssize_t {
    fortify(length, buffer_bytes);
    // SAFETY: the caller keeps the contract of read(2).
    unsafe { sockets::read::<Next>(fd, buffer, length) }
}

/// readv(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn readv(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of readv(2).
    unsafe { sockets::readv::<Next>(fd, vector, count) }
}

/// recv(2): recvfrom(2) without an address
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of recv(2).
    unsafe { sockets::recvfrom::<Next>(fd, buffer, length, flags, null_mut(), null_mut()) }
}

/// recv(2) under _FORTIFY_SOURCE
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    buffer_bytes: size_t,
    flags: c_int,
) -> ssize_t {
    fortify(length, buffer_bytes);
    // SAFETY: the caller keeps the contract of recv(2).
    unsafe { sockets::recvfrom::<Next>(fd, buffer, length, flags, null_mut(), null_mut()) }
}

/// recvfrom(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of recvfrom(2).
    unsafe { sockets::recvfrom::<Next>(fd, buffer, length, flags, from, from_length) }
}

/// recvfrom(2) under _FORTIFY_SOURCE
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    buffer_bytes: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    fortify(length, buffer_bytes);
    // SAFETY: the caller keeps the contract of recvfrom(2).
    unsafe { sockets::recvfrom::<Next>(fd, buffer, length, flags, from, from_length) }
}

/// recvmsg(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of recvmsg(2).
    unsafe { sockets::recvmsg::<Next>(fd, message, flags) }
}

/// recvmmsg(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract of recvmmsg(2).
    unsafe { sockets::recvmmsg::<Next>(fd, messages, count, flags, timeout) }
}

/// write(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller keeps the contract of write(2).
    unsafe { sockets::write::<Next>(fd, buffer, length) }
}

/// write(2), as glibc exports it too
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller keeps the contract of write(2).
    unsafe { sockets::write::<Next>(fd, buffer, length) }
}

/// writev(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn writev(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of writev(2).
    unsafe { sockets::writev::<Next>(fd, vector, count) }
}

/// send(2): sendto(2) without an address
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of send(2).
    unsafe { sockets::sendto::<Next>(fd, buffer, length, flags, null(), 0) }
}

/// send(2), as glibc exports it too
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __send(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of send(2).
    unsafe { sockets::sendto::<Next>(fd, buffer, length, flags, null(), 0) }
}

/// sendto(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_length: socklen_t,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of sendto(2).
    unsafe { sockets::sendto::<Next>(fd, buffer, length, flags, to, to_length) }
}

/// sendmsg(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of sendmsg(2).
    unsafe { sockets::sendmsg::<Next>(fd, message, flags) }
}

/// sendmmsg(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of sendmmsg(2).
    unsafe { sockets::sendmmsg::<Next>(fd, messages, count, flags) }
}
