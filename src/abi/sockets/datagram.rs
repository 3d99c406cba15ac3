//! Datagrams: the receiver takes off the header that the bridge put in front (`bridge::datagram`); the sender asks the
//! host, which knows at once when something cannot be sent, or puts the destination in front (`calls::datagrams`).

use super::super::kernel::Kernel;
use super::control::{self, Writer};
use super::{fail, traced, work};
use crate::bridge::datagram::{Arrival, HEADER, PREFIX, decode, prefix};
use crate::bridge::name::Identity;
use crate::calls::{self, datagrams};
use crate::engine::{Control, Origin};
use crate::error::Error;
use crate::sys::raw::errno;
use crate::sys::unix;
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

/// Receives one datagram. ECONNRESET stands for an error that the host knows.
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
    let mut quiet = false;
    let count = loop {
        let mut native = empty_message();
        (native.msg_iov, native.msg_iovlen) = (vector.as_mut_ptr(), vector.len() as _);
        if !message.control.is_empty() {
            (native.msg_control, native.msg_controllen) =
                (message.control.as_mut_ptr().cast(), message.control.len());
        }
        // A datagram has no urgent data, and UDP does not look at the flag.
        // SAFETY: our header, then the caller's buffers.
        let count = unsafe { K::recvmsg(fd, &raw mut native, flags & !libc::MSG_OOB) };
        match (count, decode(&header)) {
            (-1, _) if errno() == libc::ECONNRESET => match work(|| calls::explain_datagram(identity)) {
                Ok(Some(error)) | Err(error) => return fail(error) as ssize_t,
                Ok(None) => quiet = true,
            },
            (1.., Some(arrival)) => break message.arrived(identity, &arrival, &native, count),
            // SAFETY: as the caller's.
            (0, _) => break unsafe { receive_behind(identity, message, &mut native, flags) }.unwrap_or(0),
            // Shut for reading, a call that does not wait gets no 0, on Linux either; the near end polls readable for ever.
            (-1, _) if errno() == libc::EAGAIN && unix::is_shut_for_reading(identity.near()) => {
                // SAFETY: as the caller's.
                match unsafe { receive_behind(identity, message, &mut native, flags) } {
                    Some(count) => break count,
                    None => break fail(Error::WouldBlock) as ssize_t,
                }
            }
            // An error that is the kernel's.
            _ => break count,
        }
    };
    if quiet {
        // POLLERR was taken down, and its cause, in the error queue, is still there.
        let _ = work(|| {
            calls::show_errors(identity);
            Ok(())
        });
    }
    count
}

/// Receives one that came when the near end was shut for reading, or was on its way to it then; None where there is none.
///
/// # Safety
/// The vector's buffers are writable.
unsafe fn receive_behind(
    identity: &Identity,
    message: &mut Message<'_>,
    native: &mut msghdr,
    flags: c_int,
) -> Option<ssize_t> {
    let datagram = work(|| Ok(calls::next_datagram(identity, flags & libc::MSG_PEEK != 0))).ok().flatten();
    let (header, payload) = datagram.as_ref()?.split_first_chunk()?;
    let arrival = decode(header)?;
    // SAFETY: as the caller's.
    let copied = unsafe { scatter(payload, message.vector) };
    native.msg_flags = if copied < payload.len() { libc::MSG_TRUNC } else { 0 };
    native.msg_controllen = 0;
    let told = if flags & libc::MSG_TRUNC != 0 { payload.len() } else { copied };
    Some(message.arrived(identity, &arrival, native, (HEADER + told) as ssize_t))
}

/// Copies to the buffers of a vector what fits there, and says how much that is.
///
/// # Safety
/// The vector's buffers are writable.
unsafe fn scatter(bytes: &[u8], vector: &[iovec]) -> usize {
    let mut rest = bytes;
    for part in vector.iter().filter(|part| !part.iov_base.is_null()) {
        let (now, later) = rest.split_at(rest.len().min(part.iov_len));
        // SAFETY: the program's buffer, of the length it gave.
        unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), part.iov_base.cast(), now.len()) };
        rest = later;
    }
    bytes.len() - rest.len()
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
    // SAFETY: as the caller's.
    let copied = unsafe { scatter(&report.payload, message.vector) };
    let mut writer = Writer::new(message.control, 0);
    writer.put_report(identity.domain, &report);
    message.control_length = writer.written();
    message.flags = libc::MSG_ERRQUEUE;
    message.flags |= if writer.cut { libc::MSG_CTRUNC } else { 0 };
    message.flags |= if copied < report.payload.len() { libc::MSG_TRUNC } else { 0 };
    message.sender = (report.origin != Origin::Timestamping).then_some(report.to);
    copied as ssize_t
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
        match into.sender {
            Some(sender) if !header.msg_name.is_null() => {
                let given = header.msg_namelen;
                // SAFETY: the program's place for a name, of the length it gave.
                unsafe {
                    super::give_address(sender, header.msg_name.cast(), &raw mut header.msg_namelen, given)
                };
            }
            Some(_) => {}
            None => header.msg_namelen = 0,
        }
    }
    count
}

/// The largest that crosses by the near end: the host says what is too large for a socket.
const CROSSING_MAX: usize = 60_000;

/// Sends one datagram, gathered.
///
/// # Safety
/// The vector's buffers are readable.
pub(super) unsafe fn send<K: Kernel>(
    identity: &Identity,
    to: Option<&[u8]>,
    control: Control,
    vector: &[iovec],
    flags: c_int,
) -> ssize_t {
    let to = match datagrams::destination(identity, to) {
        Ok(to) => to,
        Err(error) => return fail(error) as ssize_t,
    };
    let total: usize = vector.iter().map(|part| part.iov_len).fold(0, usize::saturating_add);
    if control == Control::default() && total <= CROSSING_MAX && datagrams::crosses(identity, to) {
        // SAFETY: as the caller's.
        if let Some(count) = unsafe { cross::<K>(identity, to, vector, flags) } {
            return count;
        }
    }
    // SAFETY: as the caller's.
    let sent = unsafe { gathered(vector, total) }
        .and_then(|payload| work(|| datagrams::send(identity, to, control, &payload)));
    match sent {
        Ok(()) => {
            traced("sendto", identity.fd, format_args!("({}) = {total}", identity.fd));
            total as ssize_t
        }
        Err(error) => fail(error) as ssize_t,
    }
}

/// Sends one by the near end; None when the host is to be asked after all. It waits for room, is interrupted and fails as
/// the kernel has it: EPIPE behind shutdown(2), ECONNRESET for an error that the host knows.
///
/// # Safety
/// As `send`.
unsafe fn cross<K: Kernel>(
    identity: &Identity,
    to: Option<SocketAddr>,
    vector: &[iovec],
    flags: c_int,
) -> Option<ssize_t> {
    let mut front = prefix(&identity.token, to);
    let mut whole = Vec::with_capacity(1 + vector.len());
    whole.push(iovec { iov_base: front.as_mut_ptr().cast(), iov_len: PREFIX });
    whole.extend_from_slice(vector);
    let mut native = empty_message();
    (native.msg_iov, native.msg_iovlen) = (whole.as_mut_ptr(), whole.len() as _);
    let flags = flags & libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: our prefix, then the caller's buffers.
    let count = unsafe { K::sendmsg(identity.fd, &raw const native, flags) };
    match (count, errno()) {
        (0.., _) => {
            let count = count - PREFIX as ssize_t;
            traced("sendto", identity.fd, format_args!("({}) = {count}", identity.fd));
            Some(count)
        }
        (_, libc::EAGAIN | libc::EINTR | libc::EPIPE | libc::EFAULT) => Some(count),
        // The host has the error, and what it is asked to send meets it.
        _ => None,
    }
}

/// The payload in one.
///
/// # Safety
/// The vector's buffers are readable.
unsafe fn gathered(vector: &[iovec], total: usize) -> crate::error::Result<Vec<u8>> {
    // 65,535 less a UDP header: what no datagram exceeds.
    if total > 65_527 {
        return Err(Error::MessageTooLong);
    }
    // SAFETY: as the caller's.
    unsafe { joined(vector, total) }
}

/// The bytes of a vector, `total` in all.
///
/// # Safety
/// The vector's buffers are readable.
pub(super) unsafe fn joined(vector: &[iovec], total: usize) -> crate::error::Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(total);
    for part in vector.iter().filter(|part| part.iov_len > 0) {
        if part.iov_base.is_null() {
            return Err(Error::BadAddress);
        }
        // SAFETY: the program's buffer, of the length it gave.
        payload.extend_from_slice(unsafe {
            core::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len)
        });
    }
    Ok(payload)
}

/// sendmsg(2) of a datagram socket of ours.
///
/// # Safety
/// As sendmsg(2).
pub(super) unsafe fn send_message<K: Kernel>(
    identity: &Identity,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
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
    let control = match control::read(unsafe { control::bytes(header) }, identity.domain, identity.kind) {
        Ok(control) => Control { more: flags & libc::MSG_MORE != 0, ..control },
        Err(error) => return fail(error) as ssize_t,
    };
    let name: *const c_void = header.msg_name;
    if name.is_null() {
        // SAFETY: the program's buffers.
        return unsafe { send::<K>(identity, None, control, vector, flags) };
    }
    // SAFETY: as the caller's.
    match unsafe { super::address_bytes(name.cast(), header.msg_namelen) } {
        // SAFETY: the program's buffers.
        Ok(to) => unsafe { send::<K>(identity, Some(to), control, vector, flags) },
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
