//! Several messages with one call: recvmmsg(2), sendmmsg(2).

use super::super::kernel::Kernel;
use super::data::{datagram_socket, refused_of_datagrams, sendmsg};
use super::{datagram, fail, netlink};
use crate::calls;
use crate::error::{Error, Result};
use crate::{host, sys};
use core::time::Duration;
use libc::{c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};

/// recvmmsg(2). Of a socket of ours that keeps messages apart, as do_recvmmsg has it: waits for each message, or for the first only
/// (MSG_WAITFORONE), and looks at the time after each.
///
/// # Safety
/// As recvmmsg(2).
pub unsafe fn recvmmsg<K: Kernel>(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    let datagrams = datagram_socket(fd);
    if datagrams.is_none() && calls::netlink::identify(fd).is_none() {
        // SAFETY: as the caller's.
        return unsafe { K::recvmmsg(fd, messages, count, flags, timeout) };
    }
    // SAFETY: null, or as the caller's.
    let patience = match unsafe { timeout.as_ref() }.map(patience).transpose() {
        Ok(patience) => patience,
        Err(error) => return fail(error),
    };
    let deadline = patience.map(|patience| sys::now() + patience);
    let mut now_flags = flags & !libc::MSG_WAITFORONE;
    let mut over = false;
    let each = |message: *mut msghdr| {
        if core::mem::replace(&mut over, false) {
            return fail(Error::WouldBlock) as ssize_t;
        }
        let received = match &datagrams {
            // SAFETY: a message of the program's array.
            Some(identity) => unsafe { datagram::receive_message::<K>(fd, identity, message, now_flags) },
            // SAFETY: the same.
            None => unsafe { netlink::receive_message::<K>(fd, message, now_flags) },
        };
        if flags & libc::MSG_WAITFORONE != 0 {
            now_flags |= libc::MSG_DONTWAIT;
        }
        over = deadline.is_some_and(|deadline| sys::now() >= deadline);
        received
    };
    // SAFETY: as the caller's.
    let received = unsafe { for_each_message(messages, count, each) };
    if let (Some(deadline), 1..) = (deadline, received) {
        let left = deadline - sys::now();
        let left = timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        // SAFETY: not null where there is a deadline, and as the caller's.
        unsafe { *timeout = left };
    }
    received
}

/// EINVAL for what is no time.
fn patience(time: &timespec) -> Result<Duration> {
    match (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
        (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(Error::InvalidArgument),
    }
}

/// sendmmsg(2)
///
/// # Safety
/// As sendmmsg(2).
pub unsafe fn sendmmsg<K: Kernel>(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    let Some(identity) = datagram_socket(fd) else {
        if host::bypass::is_on() || calls::netlink::identify(fd).is_some() {
            // SAFETY: a message of the program's array.
            let each = |message: *mut msghdr| unsafe { sendmsg::<K>(fd, message, flags) };
            // SAFETY: as the caller's.
            return unsafe { for_each_message(messages, count, each) };
        }
        // SAFETY: as the caller's.
        return unsafe { K::sendmmsg(fd, messages, count, flags) };
    };
    if let Some(error) = refused_of_datagrams(flags) {
        return fail(error);
    }
    // SAFETY: a message of the program's array.
    let each = |message: *mut msghdr| unsafe { datagram::send_message::<K>(&identity, message, flags) };
    // SAFETY: as the caller's.
    unsafe { for_each_message(messages, count, each) }
}

/// Handles messages until one fails. The number handled, or the first's error.
///
/// # Safety
/// `messages` points to `count` writable entries.
unsafe fn for_each_message(
    messages: *mut mmsghdr,
    count: c_uint,
    mut each: impl FnMut(*mut msghdr) -> ssize_t,
) -> c_int {
    if messages.is_null() {
        return fail(Error::BadAddress);
    }
    for index in 0..count as usize {
        // SAFETY: within the program's array.
        let entry = unsafe { messages.add(index) };
        // SAFETY: a field of the entry.
        let length = each(unsafe { &raw mut (*entry).msg_hdr });
        if length < 0 {
            return if index == 0 { -1 } else { index as c_int };
        }
        // SAFETY: the same entry.
        unsafe { (*entry).msg_len = length as c_uint };
    }
    count as c_int
}
