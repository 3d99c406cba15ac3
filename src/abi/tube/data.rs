//! Reading and writing. A buffer is used until the call returns, and never kept.

use core::ptr::{null, null_mut};

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};

use crate::abi::direct::Direct;
use crate::abi::sockets;

/// Reads at most `length` bytes, or one datagram, into `buffer`; blocks while there is none.
///
/// Returns the number of bytes; 0 is the end of a TCP stream (the peer has sent its FIN), or an empty datagram; or -1
/// with errno: EAGAIN (none yet at a non-blocking socket, or SO_RCVTIMEO has passed), EBADF, ECONNREFUSED,
/// ECONNRESET, EFAULT, EHOSTUNREACH, EINTR, EINVAL, ENOTCONN, ETIMEDOUT. read(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller keeps the contract of read(2).
    unsafe { sockets::read::<Direct>(fd, buffer, length) }
}

/// Writes `length` bytes, or one datagram; blocks while the send buffer is full. For TCP "written" means accepted for
/// sending, not received by the peer.
///
/// Returns the number of bytes taken, which may be fewer; or -1 with errno: EAGAIN, EBADF, ECONNREFUSED, ECONNRESET,
/// EDESTADDRREQ, EFAULT, EHOSTUNREACH, EINTR, EMSGSIZE, ENETUNREACH, ENOBUFS, ENOTCONN, EPIPE (with SIGPIPE: the
/// connection is at an end in this direction), ETIMEDOUT. write(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller keeps the contract of write(2).
    unsafe { sockets::write::<Direct>(fd, buffer, length) }
}

/// tube_read() into `count` buffers, one after the other; EINVAL if `count` is negative or above IOV_MAX. readv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_readv(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of readv(2).
    unsafe { sockets::readv::<Direct>(fd, vector, count) }
}

/// tube_write() from `count` buffers, one after the other; EINVAL if `count` is negative or above IOV_MAX. writev(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_writev(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of writev(2).
    unsafe { sockets::writev::<Direct>(fd, vector, count) }
}

/// tube_read() with flags: MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL, MSG_TRUNC, MSG_OOB; ENOTSOCK for what is no
/// socket. recv(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_recv(fd: c_int, buffer: *mut c_void, length: size_t, flags: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of recv(2).
    unsafe { sockets::recvfrom::<Direct>(fd, buffer, length, flags, null_mut(), null_mut()) }
}

/// tube_recv() that also tells who sent it: the address to `from`, cut to `*from_length` bytes, and its full
/// length to `*from_length`; both may be null. recvfrom(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of recvfrom(2).
    unsafe { sockets::recvfrom::<Direct>(fd, buffer, length, flags, from, from_length) }
}

/// tube_recvfrom() with buffers, address and control messages in a struct msghdr, whose lengths and flags are
/// written on return; EMSGSIZE for more than IOV_MAX buffers. recvmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of recvmsg(2).
    unsafe { sockets::recvmsg::<Direct>(fd, message, flags) }
}

/// Up to `count` times tube_recvmsg(), until `timeout` has passed since the call (null: no limit). The length of each
/// goes to its msg_len. With MSG_WAITFORONE only the first blocks. Linux's own: define _GNU_SOURCE for struct mmsghdr.
///
/// Returns the number of messages; or -1 with the errno of the first. recvmmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    // SAFETY: the caller keeps the contract of recvmmsg(2).
    unsafe { sockets::recvmmsg::<Direct>(fd, messages, count, flags, timeout) }
}

/// tube_write() with flags: MSG_NOSIGNAL (EPIPE without SIGPIPE), MSG_DONTWAIT, MSG_MORE, MSG_OOB; ENOTSOCK for what is no
/// socket. send(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_send(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of send(2).
    unsafe { sockets::sendto::<Direct>(fd, buffer, length, flags, null(), 0) }
}

/// tube_send() of one datagram to the address `to`, which is copied. With null, to the peer of tube_connect().
/// Also EAFNOSUPPORT, and EINVAL for a wrong `to_length`. sendto(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_length: socklen_t,
) -> ssize_t {
    // SAFETY: the caller keeps the contract of sendto(2).
    unsafe { sockets::sendto::<Direct>(fd, buffer, length, flags, to, to_length) }
}

/// tube_sendto() with buffers, address and control messages in a struct msghdr; EMSGSIZE for more than IOV_MAX
/// buffers. sendmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller keeps the contract of sendmsg(2).
    unsafe { sockets::sendmsg::<Direct>(fd, message, flags) }
}

/// Up to `count` times tube_sendmsg(); the number of bytes sent of each goes to its msg_len. Linux's own: define
/// _GNU_SOURCE for struct mmsghdr.
///
/// Returns the number of messages; or -1 with the errno of the first. sendmmsg(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of sendmmsg(2).
    unsafe { sockets::sendmmsg::<Direct>(fd, messages, count, flags) }
}
