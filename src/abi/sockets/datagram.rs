//! Datagrams: the receiver takes off the header that the bridge put in front (`bridge::datagram`); the sender asks the
//! host, which knows at once when something cannot be sent.

use super::super::kernel::Kernel;
use super::control::{self, Writer};
use super::{fail, traced, work};
use crate::bridge::datagram::{Arrival, HEADER, decode};
use crate::bridge::name::Identity;
use crate::calls;
use crate::engine::Control;
use crate::error::Error;
use libc::{c_int, c_void, iovec, msghdr, ssize_t};
use std::net::SocketAddr;

/// Where a datagram goes, and what is found out about it.
pub(super) struct Message<'a> {
    vector: &'a mut [iovec],
    /// Where the kernel may write control messages of its own (SO_TIMESTAMP).
    control: &'a mut [u8],
    /// Bytes of them that are used.
    control_length: usize,
    /// Who sent it.
    pub(super) sender: Option<SocketAddr>,
    /// MSG_TRUNC and its like.
    flags: c_int,
}

impl<'a> Message<'a> {
    /// Into the buffers of `vector`.
    pub(super) fn into(vector: &'a mut [iovec]) -> Message<'a> {
        Message { vector, control: &mut [], control_length: 0, sender: None, flags: 0 }
    }

    /// What arrived is told; how much of it.
    fn arrived(
        &mut self,
        identity: &Identity,
        arrival: &Arrival,
        native: &msghdr,
        count: ssize_t,
    ) -> ssize_t {
        let mut writer = Writer::new(self.control, native.msg_controllen);
        writer.put_arrival(identity.domain, arrival);
        self.control_length = writer.written();
        self.flags = native.msg_flags | if writer.cut { libc::MSG_CTRUNC } else { 0 };
        self.sender = Some(arrival.from);
        let count = (count - HEADER as ssize_t).max(0);
        traced("recvfrom", identity.fd, format_args!("({}, {}) = {count}", identity.fd, arrival.from));
        count
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
        // SAFETY: as the caller's.
        return unsafe { receive_report(identity, message) };
    }
    let mut header = [0u8; HEADER];
    let mut vector = Vec::with_capacity(1 + message.vector.len());
    vector.push(iovec { iov_base: header.as_mut_ptr().cast(), iov_len: HEADER });
    vector.extend_from_slice(message.vector);
    loop {
        let mut native = empty_message();
        (native.msg_iov, native.msg_iovlen) = (vector.as_mut_ptr(), vector.len() as _);
        if !message.control.is_empty() {
            (native.msg_control, native.msg_controllen) =
                (message.control.as_mut_ptr().cast(), message.control.len());
        }
        // SAFETY: our header, then the caller's buffers.
        let count = unsafe { K::recvmsg(fd, &raw mut native, flags) };
        if count < 0 {
            return count;
        }
        if let Some(arrival) = decode(&header) {
            return message.arrived(identity, &arrival, &native, count);
        }
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
            Ok(None) => {}
        }
    }
}

/// What ICMP said of a datagram (IP_RECVERR): its payload, where it went to, and the error as a control message.
///
/// # Safety
/// The vector's buffers are writable.
unsafe fn receive_report(identity: &Identity, message: &mut Message<'_>) -> ssize_t {
    let report = match work(|| calls::next_report(identity)) {
        Ok(report) => report,
        Err(error) => return fail(error) as ssize_t,
    };
    let mut rest = &report.payload[..];
    for part in message.vector.iter().filter(|part| !part.iov_base.is_null()) {
        let (now, later) = rest.split_at(rest.len().min(part.iov_len));
        // SAFETY: the program's buffer, of the length it gave.
        unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), part.iov_base.cast(), now.len()) };
        rest = later;
    }
    let mut writer = Writer::new(message.control, 0);
    writer.put_report(identity.domain, &report);
    message.control_length = writer.written();
    message.flags = libc::MSG_ERRQUEUE;
    message.flags |= if writer.cut { libc::MSG_CTRUNC } else { 0 };
    message.flags |= if rest.is_empty() { 0 } else { libc::MSG_TRUNC };
    message.sender = Some(report.to);
    (report.payload.len() - rest.len()) as ssize_t
}

/// recvmsg(2) of a datagram socket of ours.
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
    // SAFETY: as the caller's.
    into.control = unsafe { control::bytes(header) };
    // SAFETY: the program's buffers.
    let count = unsafe { receive::<K>(fd, identity, &mut into, flags) };
    if count >= 0 {
        header.msg_flags = into.flags;
        header.msg_controllen = into.control_length;
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
pub(super) unsafe fn send(
    identity: &Identity,
    to: Option<&[u8]>,
    control: Control,
    vector: &[iovec],
) -> ssize_t {
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
    match work(|| calls::send_datagram(identity, to, control, &payload)) {
        Ok(count) => count as ssize_t,
        Err(error) => fail(error) as ssize_t,
    }
}

/// sendmsg(2) of a datagram socket of ours.
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
    // SAFETY: as the caller's; it is only read.
    let control = match control::read(unsafe { control::bytes(header) }, identity.domain) {
        Ok(control) => control,
        Err(error) => return fail(error) as ssize_t,
    };
    let name: *const c_void = header.msg_name;
    if name.is_null() {
        // SAFETY: the program's buffers.
        return unsafe { send(identity, None, control, vector) };
    }
    // SAFETY: as the caller's.
    match unsafe { super::address_bytes(name.cast(), header.msg_namelen) } {
        // SAFETY: the program's buffers.
        Ok(to) => unsafe { send(identity, Some(to), control, vector) },
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
