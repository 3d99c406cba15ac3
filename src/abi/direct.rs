//! The way to the kernel for `tube_*`: raw system calls. No cancellation point, no sanitizer and no other preload
//! sees them, and nothing comes back through a name that the shim interposes.

use libc::{
    c_int, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, nfds_t, pollfd, sigset_t, size_t, sockaddr,
    socklen_t, ssize_t, timespec,
};

use super::kernel::Kernel;
use crate::system_call;

/// Raw system calls.
pub struct Direct;

/// The kernel's sigset_t, in bytes; libc's is larger.
const KERNEL_SIGSET_BYTES: usize = 8;

/// The system call for one of the functions below, all of which are `unsafe fn`.
macro_rules! direct {
    ($number:ident $(, $argument:expr)*) => {
        // SAFETY: the caller keeps the contract of the system call, and the arguments are passed on as they came.
        unsafe { system_call!($number $(, $argument)*) }
    };
}

impl Kernel for Direct {
    unsafe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        direct!(SYS_socket, domain, kind, protocol)
    }

    unsafe fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
        direct!(SYS_bind, fd, address, length)
    }

    unsafe fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
        direct!(SYS_connect, fd, address, length)
    }

    unsafe fn listen(fd: c_int, backlog: c_int) -> c_int {
        direct!(SYS_listen, fd, backlog)
    }

    unsafe fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int {
        direct!(SYS_accept4, fd, address, length, flags)
    }

    unsafe fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
        direct!(SYS_getsockname, fd, address, length)
    }

    unsafe fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
        direct!(SYS_getpeername, fd, address, length)
    }

    unsafe fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        length: *mut socklen_t,
    ) -> c_int {
        direct!(SYS_getsockopt, fd, level, name, value, length)
    }

    unsafe fn setsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *const c_void,
        length: socklen_t,
    ) -> c_int {
        direct!(SYS_setsockopt, fd, level, name, value, length)
    }

    unsafe fn shutdown(fd: c_int, how: c_int) -> c_int {
        direct!(SYS_shutdown, fd, how)
    }

    unsafe fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
        direct!(SYS_read, fd, buffer, length)
    }

    unsafe fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
        direct!(SYS_write, fd, buffer, length)
    }

    unsafe fn readv(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
        direct!(SYS_readv, fd, vector, count)
    }

    unsafe fn writev(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
        direct!(SYS_writev, fd, vector, count)
    }

    unsafe fn recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        length: size_t,
        flags: c_int,
        from: *mut sockaddr,
        from_length: *mut socklen_t,
    ) -> ssize_t {
        direct!(SYS_recvfrom, fd, buffer, length, flags, from, from_length)
    }

    unsafe fn sendto(
        fd: c_int,
        buffer: *const c_void,
        length: size_t,
        flags: c_int,
        to: *const sockaddr,
        to_length: socklen_t,
    ) -> ssize_t {
        direct!(SYS_sendto, fd, buffer, length, flags, to, to_length)
    }

    unsafe fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
        direct!(SYS_recvmsg, fd, message, flags)
    }

    unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
        direct!(SYS_sendmsg, fd, message, flags)
    }

    unsafe fn recvmmsg(
        fd: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut timespec,
    ) -> c_int {
        direct!(SYS_recvmmsg, fd, messages, count, flags, timeout)
    }

    unsafe fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
        direct!(SYS_sendmmsg, fd, messages, count, flags)
    }

    unsafe fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
        direct!(SYS_ioctl, fd, request, argument)
    }

    unsafe fn close(fd: c_int) -> c_int {
        direct!(SYS_close, fd)
    }

    /// The system call writes the time that is left into its timeout, libc's function does not: hence the copy.
    unsafe fn ppoll(
        fds: *mut pollfd,
        count: nfds_t,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int {
        // SAFETY: the caller passes null or a timespec.
        let mut copy = unsafe { timeout.as_ref() }.copied();
        let copied = copy.as_mut().map_or(core::ptr::null_mut(), |t| t as *mut timespec);
        direct!(SYS_ppoll, fds, count, copied, mask, KERNEL_SIGSET_BYTES)
    }
}
