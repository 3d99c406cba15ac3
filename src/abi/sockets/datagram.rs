//! Datagrams: the receiver takes off the header that the bridge put in front (`bridge::datagram`); the sender asks the
//! host, which knows at once when something cannot be sent.

use super::super::kernel::Kernel;
use super::{fail, traced, work};
use crate::bridge::datagram::{HEADER, decode};
use crate::bridge::name::Identity;
use crate::calls;
use crate::error::Error;
use libc::{c_int, c_void, iovec, msghdr, ssize_t};
use std::net::SocketAddr;

/// Where a datagram goes, and what is found out about it.
pub(super) struct Message<'a> {
    vector: &'a mut [iovec],
    /// Who sent it.
    pub(super) sender: Option<SocketAddr>,
    /// MSG_TRUNC and its like.
    flags: c_int,
}

impl<'a> Message<'a> {
    /// Into the buffers of `vector`.
    pub(super) fn into(vector: &'a mut [iovec]) -> Message<'a> {
        Message { vector, sender: None, flags: 0 }
    }
}

/// Receives one datagram. The mark of an error is taken out of the queue, and its error reported if nobody has it yet.
///
/// # Safety
/// The vector's buffers are writable.
pub(super) unsafe fn receive<K: Kernel>(
    fd: c_int,
    identity: &Identity,
    message: &mut Message<'_>,
    flags: c_int,
) -> ssize_t {
    if flags & libc::MSG_ERRQUEUE != 0 {
        return fail(Error::WouldBlock) as ssize_t;
    }
    let mut header = [0u8; HEADER];
    let mut vector = Vec::with_capacity(1 + message.vector.len());
    vector.push(iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER });
    vector.extend_from_slice(message.vector);
    loop {
        let mut native = empty_message();
        (native.msg_iov, native.msg_iovlen) = (vector.as_mut_ptr(), vector.len() as _);
        // SAFETY: our header, then the caller's buffers.
        let count = unsafe { K::recvmsg(fd, &raw mut native, flags) };
        if count < 0 {
            return count;
        }
        let Some((sender, _)) = decode(&header) else {
            if flags & libc::MSG_PEEK != 0 {
                // The mark was only looked at: the next receive would find it again.
                // SAFETY: no buffer at all.
                unsafe {
                    K::recvfrom(
                        fd,
                        core::ptr::null_mut(),
                        0,
                        libc::MSG_DONTWAIT,
                        core::ptr::null_mut(),
                        core::ptr::null_mut(),
                    )
                };
            }
            match work(|| Ok(calls::take_error(identity))) {
                Ok(Some(error)) | Err(error) => return fail(error) as ssize_t,
                Ok(None) => continue,
            }
        };
        message.sender = Some(sender);
        message.flags = native.msg_flags;
        let count = (count - HEADER as ssize_t).max(0);
        traced("recvfrom", fd, format_args!("({fd}, {sender}) = {count}"));
        return count;
    }
}

/// recvmsg(2) of a datagram socket of ours. No control messages.
///
/// # Safety
/// As recvmsg(2).
pub(super) unsafe fn receive_message<K: Kernel>(
    fd: c_int,
    identity: &Identity,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    if message.is_null() {
        return fail(Error::BadAddress) as ssize_t;
    }
    // SAFETY: not null, and the caller's to write.
    let header = unsafe { &mut *message };
    // SAFETY: as the caller's.
    let mut vector = match unsafe { vectors(header) } {
        Ok(vector) => vector.to_vec(),
        Err(error) => return fail(error) as ssize_t,
    };
    let mut into = Message::into(&mut vector);
    // SAFETY: the program's buffers.
    let count = unsafe { receive::<K>(fd, identity, &mut into, flags) };
    if count >= 0 {
        header.msg_flags = into.flags;
        header.msg_controllen = 0;
        if let (Some(sender), false) = (into.sender, header.msg_name.is_null()) {
            let given = header.msg_namelen;
            // SAFETY: the program's place for a name, of the length it gave.
            unsafe {
                super::give_address(sender, header.msg_name.cast(), &raw mut header.msg_namelen, given)
            };
        }
    }
    count
}

/// Sends one datagram, gathered.
///
/// # Safety
/// The vector's buffers are readable.
pub(super) unsafe fn send(identity: &Identity, to: Option<&[u8]>, vector: &[iovec]) -> ssize_t {
    let total: usize = vector.iter().map(|part| part.iov_len).fold(0, usize::saturating_add);
    // 65,535 less a UDP header: what no datagram exceeds.
    if total > 65_527 {
        return fail(Error::MessageTooLong) as ssize_t;
    }
    let mut payload = Vec::with_capacity(total);
    for part in vector.iter().filter(|part| part.iov_len > 0) {
        if part.iov_base.is_null() {
            return fail(Error::BadAddress) as ssize_t;
        }
        // SAFETY: the program's buffer, of the length it gave.
        payload.extend_from_slice(unsafe {
            core::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)
        });
    }
    match work(|| calls::send_datagram(identity, to, &payload)) {
        Ok(count) => count as ssize_t,
        Err(error) => fail(error) as ssize_t,
    }
}

/// sendmsg(2) of a datagram socket of ours. Control messages are not supported: EINVAL.
///
/// # Safety
/// As sendmsg(2).
pub(super) unsafe fn send_message(identity: &Identity, message: *const msghdr) -> ssize_t {
    if message.is_null() {
        return fail(Error::BadAddress) as ssize_t;
    }
    // SAFETY: not null, and as the caller's.
    let header = unsafe { &*message };
    // SAFETY: as the caller's.
    let vector = match unsafe { vectors(header) } {
        Ok(vector) => vector,
        Err(error) => return fail(error) as ssize_t,
    };
    let name: *const c_void = header.msg_name;
    if name.is_null() {
        // SAFETY: the program's buffers.
        return unsafe { send(identity, None, vector) };
    }
    // SAFETY: as the caller's.
    match unsafe { super::address_bytes(name.cast(), header.msg_namelen) } {
        // SAFETY: the program's buffers.
        Ok(to) => unsafe { send(identity, Some(to), vector) },
        Err(error) => fail(error) as ssize_t,
    }
}

/// # Safety
/// The message's vector is what it says.
unsafe fn vectors(header: &msghdr) -> crate::error::Result<&[iovec]> {
    // SAFETY: as the caller's.
    unsafe { super::data::vectors(header.msg_iov, header.msg_iovlen) }
}

fn empty_message() -> msghdr {
    // SAFETY: null pointers and zero lengths are a valid message.
    unsafe { core::mem::zeroed() }
}
