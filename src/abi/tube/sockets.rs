//! Making, naming and ending sockets, and their options.

use libc::{c_int, c_ulong, c_void, sockaddr, socklen_t};

use crate::abi::direct::Direct;
use crate::abi::{process, sockets};
use crate::system_call;

/// A linker takes from libtubesock.a only what is asked for: whoever makes sockets asks for the ends of the process.
#[used]
static ENDS: fn() = process::deliver;

/// Makes a socket: AF_INET or AF_INET6 with SOCK_STREAM (TCP) or SOCK_DGRAM (UDP), of the stack; any other is the
/// kernel's. SOCK_NONBLOCK and SOCK_CLOEXEC may be or'ed to `kind`. The first one starts the stack.
///
/// Returns a descriptor, the lowest free number, to be given to tube_close(); or -1 with errno: EAFNOSUPPORT,
/// EPROTONOSUPPORT, EPROTOTYPE, ESOCKTNOSUPPORT, EINVAL (also: a setting cannot be used, see the log), EMFILE, ENFILE,
/// ENOBUFS, ENOMEM. socket(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of socket(2).
    unsafe { sockets::socket::<Direct>(domain, kind, protocol) }
}

/// Gives the socket its own address and port; port 0 takes a free one. The address is copied.
///
/// Returns 0, or -1 with errno: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EBADF, EFAULT, EINVAL (it has one
/// already, or `length` is wrong), ENOTSOCK. bind(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of bind(2).
    unsafe { sockets::bind::<Direct>(fd, address, length) }
}

/// Connects: for TCP the handshake; for UDP the peer of send and the only sender heard. The address is copied.
///
/// A non-blocking TCP socket gets EINPROGRESS at once; when it polls writable, SO_ERROR says how it went.
/// Returns 0, or -1 with errno: EADDRNOTAVAIL, EAFNOSUPPORT, EALREADY, EBADF, ECONNREFUSED, ECONNRESET, EFAULT,
/// EHOSTUNREACH, EINPROGRESS, EINTR (it goes on: wait for writable), EINVAL, EISCONN, ENETUNREACH, ENOTSOCK,
/// ETIMEDOUT. connect(2), RFC 9293 3.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of connect(2).
    unsafe { sockets::connect::<Direct>(fd, address, length) }
}

/// Lets a TCP socket take connections, of which `backlog` may wait to be accepted.
///
/// Returns 0, or -1 with errno: EADDRINUSE, EBADF, EINVAL (it is connected), ENOTSOCK, EOPNOTSUPP. listen(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_listen(fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of listen(2).
    unsafe { sockets::listen::<Direct>(fd, backlog) }
}

/// Takes the first connection that waits at a listening socket; blocks if there is none. The peer's address goes to
/// `address`, cut to `*length` bytes, and its full length to `*length`; both may be null.
///
/// Returns a new descriptor, to be given to tube_close(); or -1 with errno: EAGAIN (none waits at a non-blocking
/// socket), EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL (not listening), EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK,
/// EOPNOTSUPP. accept(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: the caller keeps the contract of accept(2).
    unsafe { sockets::accept4::<Direct>(fd, address, length, 0) }
}

/// tube_accept() with flags for the new descriptor: SOCK_NONBLOCK, SOCK_CLOEXEC. accept4(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of accept4(2).
    unsafe { sockets::accept4::<Direct>(fd, address, length, flags) }
}

/// The socket's own address, to `address`, cut to `*length` bytes; its full length to `*length`.
///
/// Returns 0, or -1 with errno: EBADF, EFAULT, EINVAL (`*length` is negative), ENOBUFS, ENOTSOCK. getsockname(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_getsockname(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of getsockname(2).
    unsafe { sockets::getsockname::<Direct>(fd, address, length) }
}

/// The peer's address, to `address`, cut to `*length` bytes; its full length to `*length`.
///
/// Returns 0, or -1 with errno: EBADF, EFAULT, EINVAL (`*length` is negative), ENOBUFS, ENOTCONN, ENOTSOCK.
/// getpeername(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_getpeername(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of getpeername(2).
    unsafe { sockets::getpeername::<Direct>(fd, address, length) }
}

/// Reads an option of `level` (SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP, IPPROTO_IPV6) into `value`, cut to `*length`
/// bytes; the length written goes to `*length`. Reading SO_ERROR clears it.
///
/// Returns 0, or -1 with errno: EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, EOPNOTSUPP. getsockopt(2), socket(7),
/// tcp(7), ip(7), ipv6(7).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of getsockopt(2).
    unsafe { sockets::getsockopt::<Direct>(fd, level, name, value, length) }
}

/// Sets an option of `level` from the `length` bytes at `value`, which are copied. Units as on Linux:
/// TCP_USER_TIMEOUT in milliseconds, TCP_KEEPIDLE and SO_LINGER in seconds, SO_RCVTIMEO a struct timeval.
///
/// Returns 0, or -1 with errno: EBADF, EDOM, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, EOPNOTSUPP. setsockopt(2),
/// socket(7), tcp(7), ip(7), ipv6(7).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of setsockopt(2).
    unsafe { sockets::setsockopt::<Direct>(fd, level, name, value, length) }
}

/// Ends one direction of a connection, or both: SHUT_RD, SHUT_WR (the peer reads an end of file after all that was
/// written), SHUT_RDWR. The descriptor stays open.
///
/// Returns 0, or -1 with errno: EBADF, EINVAL, ENOTCONN, ENOTSOCK. shutdown(2), RFC 9293 3.6.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_shutdown(fd: c_int, how: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of shutdown(2).
    unsafe { sockets::shutdown::<Direct>(fd, how) }
}

/// Closes a descriptor. What was written before is still delivered, in the background, unless SO_LINGER says
/// otherwise; bytes left unread reset the connection, as RFC 9293 3.6.1 and Linux have it.
///
/// Returns 0, or -1 with errno: EBADF, EINTR, EIO. The number is free in any case but EBADF. close(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_close(fd: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of close(2).
    unsafe { sockets::close::<Direct>(fd) }
}

/// Requests of a device or socket, with at most one argument, null when there is none: FIONBIO, FIONREAD, SIOCOUTQ,
/// SIOCATMARK, ...
///
/// Returns 0 or a value of the request's, or -1 with errno: EBADF, EFAULT, EINVAL, ENOTTY. ioctl(2), tcp(7), udp(7).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    // SAFETY: the caller keeps the contract of ioctl(2).
    unsafe { sockets::ioctl::<Direct>(fd, request, argument) }
}

/// The kernel's fcntl: a descriptor of the stack is the kernel's. `argument` is an integer, a pointer, or 0:
/// F_GETFL, F_SETFL with O_NONBLOCK, F_GETFD, F_SETFD with FD_CLOEXEC, F_DUPFD_CLOEXEC, ...
///
/// Returns a value of the command's, or -1 with errno: EBADF, EFAULT, EINVAL, EMFILE, EPERM. fcntl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_fcntl(fd: c_int, command: c_int, argument: isize) -> c_int {
    // SAFETY: the caller keeps the contract of fcntl(2).
    unsafe { system_call!(SYS_fcntl, fd, command, argument) }
}
