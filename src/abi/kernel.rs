//! The way to the kernel that a call takes when a descriptor is not ours, or after we have done our part.
//! C's conventions: -1 and errno.

use libc::{
    c_int, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, nfds_t, pollfd, sigset_t, size_t, sockaddr,
    socklen_t, ssize_t, timespec,
};

/// One of the two ways: `Direct` here (raw system calls, for `tube_*`), `Next` in `preload` (RTLD_NEXT, which keeps
/// cancellation, other preloads and sanitizers).
///
/// # Safety
/// Each function has the contract of the system call of its name.
#[allow(missing_docs, clippy::missing_safety_doc)]
pub trait Kernel {
    unsafe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    unsafe fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int;
    unsafe fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int;
    unsafe fn listen(fd: c_int, backlog: c_int) -> c_int;
    unsafe fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int;
    unsafe fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int;
    unsafe fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int;
    unsafe fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        length: *mut socklen_t,
    ) -> c_int;
    unsafe fn setsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *const c_void,
        length: socklen_t,
    ) -> c_int;
    unsafe fn shutdown(fd: c_int, how: c_int) -> c_int;
    unsafe fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t;
    unsafe fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t;
    unsafe fn readv(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t;
    unsafe fn writev(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t;
    unsafe fn recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        length: size_t,
        flags: c_int,
        from: *mut sockaddr,
        from_length: *mut socklen_t,
    ) -> ssize_t;
    unsafe fn sendto(
        fd: c_int,
        buffer: *const c_void,
        length: size_t,
        flags: c_int,
        to: *const sockaddr,
        to_length: socklen_t,
    ) -> ssize_t;
    unsafe fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    unsafe fn recvmmsg(
        fd: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut timespec,
    ) -> c_int;
    unsafe fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int;
    unsafe fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int;
    unsafe fn close(fd: c_int) -> c_int;
    unsafe fn ppoll(
        fds: *mut pollfd,
        count: nfds_t,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int;
}
