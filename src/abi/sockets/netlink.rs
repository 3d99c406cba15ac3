//! The calls on a socket of NETLINK_ROUTE (`calls::netlink`): what is sent is answered here, what is received is in the near
//! end's queue and is said to come from the kernel. Reading without an address, waiting and closing are the kernel's.

use super::super::kernel::Kernel;
use super::{fail, give, given_length, status, work};
use crate::calls::netlink::{self, Socket};
use crate::error::{Error, Result};
use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

/// socket(2); None when it is no socket of these.
pub(super) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Option<c_int> {
    let made = work(|| Ok(netlink::socket(domain, kind, protocol)));
    made.unwrap_or_else(|error| Some(Err(error))).map(|made| made.unwrap_or_else(fail))
}

/// The most that one call sends: the kernel's send buffer has no room for more.
const REQUESTS_MAX: usize = 212_992;

/// Sends the requests in `vector`. The number of their bytes.
///
/// # Safety
/// The vector's buffers are readable.
pub(super) unsafe fn send(socket: &Socket, to: Option<&[u8]>, vector: &[iovec]) -> ssize_t {
    let total = vector.iter().map(|part| part.iov_len).fold(0, usize::saturating_add);
    if total > REQUESTS_MAX {
        return fail(Error::MessageTooLong) as ssize_t;
    }
    // SAFETY: as the caller's.
    let requests = unsafe { super::datagram::joined(vector, total) };
    let sent = work(|| {
        to.map_or(Ok(()), |to| socket.check_destination(to))?;
        socket.send(&requests?)
    });
    sent.map_or_else(|error| fail(error) as ssize_t, |()| total as ssize_t)
}

/// sendmsg(2)
///
/// # Safety
/// As sendmsg(2).
pub(super) unsafe fn send_message(socket: &Socket, message: *const msghdr) -> ssize_t {
    // SAFETY: null, or as the caller's.
    let Some(header) = (unsafe { message.as_ref() }) else { return fail(Error::BadAddress) as ssize_t };
    // SAFETY: as the caller's.
    let to = unsafe { super::data::destination(header.msg_name.cast(), header.msg_namelen) };
    // SAFETY: as the caller's.
    let vector = unsafe { super::data::vectors(header.msg_iov, header.msg_iovlen) };
    match to.and_then(|to| Ok((to, vector?))) {
        // SAFETY: as the caller's.
        Ok((to, vector)) => unsafe { send(socket, to, vector) },
        Err(error) => fail(error) as ssize_t,
    }
}

/// recvfrom(2)
///
/// # Safety
/// As recvfrom(2).
pub(super) unsafe fn receive_from<K: Kernel>(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    let (nobody, no_length) = (core::ptr::null_mut(), core::ptr::null_mut());
    // SAFETY: as the caller's.
    let count = unsafe { K::recvfrom(fd, buffer, length, flags, nobody, no_length) };
    if count >= 0 {
        // SAFETY: as the caller's.
        let given = unsafe { given_length(from_length) };
        // SAFETY: as the caller's.
        unsafe { give(&netlink::kernel(), from, from_length, given) };
    }
    count
}

/// recvmsg(2)
///
/// # Safety
/// As recvmsg(2).
pub(super) unsafe fn receive_message<K: Kernel>(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: null, or as the caller's.
    let Some(header) = (unsafe { message.as_mut() }) else { return fail(Error::BadAddress) as ssize_t };
    let mut native = *header;
    (native.msg_name, native.msg_namelen) = (core::ptr::null_mut(), 0);
    // SAFETY: the program's message, without its place for an address.
    let count = unsafe { K::recvmsg(fd, &raw mut native, flags) };
    if count >= 0 {
        (header.msg_flags, header.msg_controllen) = (native.msg_flags, native.msg_controllen);
        if !header.msg_name.is_null() {
            let (place, given) = (header.msg_name.cast(), header.msg_namelen);
            // SAFETY: the program's place for a name, of the length it gave.
            unsafe { give(&netlink::kernel(), place, &raw mut header.msg_namelen, given) };
        }
    }
    count
}

/// getsockopt(2); None when the kernel answers, of the near end.
///
/// # Safety
/// As getsockopt(2).
pub(super) unsafe fn option(
    socket: &Socket,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> Option<c_int> {
    let answer = match socket.option(level, name)? {
        Ok(answer) if !value.is_null() && !length.is_null() => answer,
        Ok(_) => return Some(fail(Error::BadAddress)),
        Err(error) => return Some(fail(error)),
    };
    // SAFETY: as the caller's.
    let given = unsafe { given_length(length) };
    if given.cast_signed() < size_of::<c_int>() as i32 {
        return Some(fail(Error::InvalidArgument));
    }
    // SAFETY: as the caller's: an int has room there.
    unsafe { give(&answer.to_ne_bytes(), value.cast(), length, given) };
    Some(0)
}

/// setsockopt(2), likewise.
pub(super) fn set_option(socket: &Socket, level: c_int, name: c_int) -> Option<c_int> {
    socket.set_option(level, name).map(status)
}

/// bind(2), connect(2)
pub(super) fn name(bytes: Result<&[u8]>, act: impl FnOnce(&[u8]) -> Result<()>) -> c_int {
    status(work(|| act(bytes?)))
}
