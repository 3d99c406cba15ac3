//! Reading and writing. A stream's bytes go the kernel's way through the near end, with nothing of ours in front: only
//! when that gave no bytes is it asked whether the descriptor is ours, and the host, why. Datagram sockets are asked
//! for first, once this process has opened one: their receiver takes off a header, and their sender asks the host.

use super::super::kernel::Kernel;
use super::control;
use super::datagram::{self, Message};
use super::{fail, is_datagram, netlink, traced, work};
use crate::bridge::name::Identity;
use crate::calls;
use crate::engine::Control;
use crate::error::{Error, Result};
use crate::host;
use crate::observe::trace;
use crate::sys::epoll::{Arrival, Arrivals};
use crate::sys::raw::errno;
use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

/// A datagram socket of ours. Costs an atomic load while this process has none.
pub(super) fn datagram_socket(fd: c_int) -> Option<Identity> {
    if !host::datagrams_exist() {
        return None;
    }
    calls::identify(fd).filter(is_datagram)
}

/// A descriptor that another process passed: a datagram socket of ours has headers to mind from now on.
fn came(fd: c_int) {
    if !host::datagrams_exist() && calls::identify(fd).is_some_and(|identity| is_datagram(&identity)) {
        host::datagram_opened();
    }
}

/// The end of a reading call: what the kernel said of the near end, made true for the socket.
fn received(name: &str, fd: c_int, count: ssize_t, wanted: bool) -> ssize_t {
    if count > 0 || !wanted {
        return noted(name, fd, count);
    }
    if count < 0 && !matches!(errno(), libc::ECONNRESET | libc::EINVAL | libc::ENOTCONN) {
        return count;
    }
    let Some(identity) = calls::identify(fd).filter(|identity| !is_datagram(identity)) else { return count };
    match work(|| calls::explain_read(&identity)) {
        Ok(()) => noted(name, fd, 0),
        Err(error) => {
            traced(name, fd, format_args!("({fd}) = -1 ({error})"));
            fail(error) as ssize_t
        }
    }
}

/// SIGPIPE for a writing call that fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// The program wants none.
    Unwanted,
    /// The call left it to us: the kernel was told to send none.
    Ours,
    /// The kernel has sent it with EPIPE (write, writev). It sends none with ENOTCONN, which is what a near end says that
    /// was never connected, and where TCP has EPIPE and the signal.
    Kernels,
}

impl Signal {
    /// Of a call with these flags, which then passes MSG_NOSIGNAL itself.
    fn of(flags: c_int) -> Signal {
        if flags & libc::MSG_NOSIGNAL != 0 { Signal::Unwanted } else { Signal::Ours }
    }
}

/// The end of a writing call: what the kernel said of the near end, made true for the socket.
fn sent(name: &str, fd: c_int, count: ssize_t, signal: Signal) -> ssize_t {
    if count >= 0 {
        return noted(name, fd, count);
    }
    let native = errno();
    if !matches!(native, libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN) {
        return count;
    }
    let ours = calls::identify(fd).filter(|identity| !is_datagram(identity));
    let error = match ours {
        Some(identity) => work(|| Ok(calls::explain_write(&identity))).unwrap_or_else(|error| error),
        None if native == libc::EPIPE => Error::BrokenPipe,
        None => return count,
    };
    let due = signal == Signal::Ours || signal == Signal::Kernels && native == libc::ENOTCONN;
    if error == Error::BrokenPipe && due {
        // SAFETY: a signal to this thread, as the kernel would send it.
        unsafe { libc::raise(libc::SIGPIPE) };
    }
    if ours.is_none() {
        return fail(error) as ssize_t;
    }
    traced(name, fd, format_args!("({fd}) = -1 ({error})"));
    fail(error) as ssize_t
}

/// `traced`, if the descriptor is ours.
fn noted(name: &str, fd: c_int, count: ssize_t) -> ssize_t {
    if trace::wants_calls() && calls::identify(fd).is_some() {
        let _ = work(|| {
            traced(name, fd, format_args!("({fd}) = {count}"));
            Ok(())
        });
    }
    count
}

/// MSG_OOB is a stream's (udp_sendmsg).
pub(super) fn refused_of_datagrams(flags: c_int) -> Option<Error> {
    (flags & libc::MSG_OOB != 0).then_some(Error::NotSupported)
}

/// What the flags of a sending call ask of a datagram.
fn asked(flags: c_int) -> Control {
    Control { more: flags & libc::MSG_MORE != 0, ..Control::default() }
}

/// Flags that a stream of ours has no meaning for.
fn refused_flags(fd: c_int, flags: c_int) -> Option<Error> {
    let refused = flags & (libc::MSG_ERRQUEUE | libc::MSG_FASTOPEN) != 0;
    let identity = if refused { calls::identify(fd)? } else { return None };
    Some(match identity.watched {
        // The error queue is empty.
        _ if flags & libc::MSG_ERRQUEUE != 0 => Error::WouldBlock,
        true => Error::AlreadyConnected,
        false => Error::NotSupported,
    })
}

/// Flags of a reading call that the kernel would not honour at the near end of a stream.
fn is_special(fd: c_int, flags: c_int) -> bool {
    (flags & libc::MSG_TRUNC != 0 || flags & PEEK_ALL == PEEK_ALL) && calls::identify(fd).is_some()
}

const PEEK_ALL: c_int = libc::MSG_PEEK | libc::MSG_WAITALL;

/// Receives with such flags into `vector`. With MSG_TRUNC the bytes are thrown away (tcp(7)); a peek with MSG_WAITALL waits
/// until all is there, or nothing more comes.
///
/// # Safety
/// As recvmsg(2), of a message with this vector.
unsafe fn receive_specially<K: Kernel>(fd: c_int, message: &mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: as the caller's.
    let wanted = match unsafe { vectors(message.msg_iov, message.msg_iovlen as size_t) } {
        Ok(vector) => vector.iter().map(|part| part.iov_len).fold(0, size_t::saturating_add),
        Err(error) => return fail(error) as ssize_t,
    };
    let truncates = flags & libc::MSG_TRUNC != 0;
    let mut thrown_away = vec![0_u8; if truncates { wanted.min(THROWN_AWAY_MAX) } else { 0 }];
    let mut place = iovec { iov_base: thrown_away.as_mut_ptr().cast(), iov_len: thrown_away.len() };
    if truncates {
        (message.msg_iov, message.msg_iovlen) = (&raw mut place, 1);
    }
    let flags = flags & !libc::MSG_TRUNC;
    let waits = flags & PEEK_ALL == PEEK_ALL && flags & libc::MSG_DONTWAIT == 0;
    let arrivals = if waits { Arrivals::of(fd) } else { None };
    let mut seen = Arrival::More;
    loop {
        // SAFETY: the caller's message, or our own place for its bytes.
        let count = unsafe { K::recvmsg(fd, message, flags) };
        let Some(arrivals) = &arrivals else { return count };
        if count <= 0 || count as size_t >= wanted || seen == Arrival::Last {
            return count;
        }
        seen = arrivals.wait();
        if seen == Arrival::Nothing {
            return count;
        }
    }
}

/// The most that one call with MSG_TRUNC throws away.
const THROWN_AWAY_MAX: size_t = 1 << 20;

/// read(2)
///
/// # Safety
/// As read(2).
pub unsafe fn read<K: Kernel>(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        let mut vector = [iovec { iov_base: buffer, iov_len: length }];
        // SAFETY: the program's buffer, as the caller's.
        return unsafe { datagram::receive::<K>(fd, &identity, &mut Message::into(&mut vector), 0) };
    }
    // SAFETY: as the caller's.
    let count = unsafe { K::read(fd, buffer, length) };
    // EINVAL for so many is not about the socket.
    received("read", fd, count, length.cast_signed() > 0)
}

/// write(2)
///
/// # Safety
/// As write(2).
pub unsafe fn write<K: Kernel>(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        let vector = [iovec { iov_base: buffer.cast_mut(), iov_len: length }];
        // SAFETY: the program's buffer, as the caller's; it is only read.
        return unsafe { datagram::send::<K>(&identity, None, Control::default(), &vector, 0) };
    }
    if let Some(socket) = calls::netlink::identify(fd) {
        let vector = [iovec { iov_base: buffer.cast_mut(), iov_len: length }];
        // SAFETY: the program's buffer, as the caller's; it is only read.
        return unsafe { netlink::send(&socket, None, &vector) };
    }
    // SAFETY: as the caller's.
    let count = unsafe { K::write(fd, buffer, length) };
    sent("write", fd, count, Signal::Kernels)
}

/// readv(2)
///
/// # Safety
/// As readv(2).
pub unsafe fn readv<K: Kernel>(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        // SAFETY: as the caller's.
        let mut vector = match unsafe { vectors(vector, count as size_t) } {
            Ok(vector) => vector.to_vec(),
            Err(error) => return fail(error) as ssize_t,
        };
        // SAFETY: the program's buffers, as the caller's.
        return unsafe { datagram::receive::<K>(fd, &identity, &mut Message::into(&mut vector), 0) };
    }
    // SAFETY: as the caller's.
    let read = unsafe { K::readv(fd, vector, count) };
    // With EINVAL the kernel has read the vector, or its count alone is wrong; before that it may be no memory at all.
    // SAFETY: as the caller's.
    let sound = read >= 0 || errno() != libc::EINVAL || unsafe { vectors(vector, count as size_t) }.is_ok();
    received("readv", fd, read, sound)
}

/// writev(2)
///
/// # Safety
/// As writev(2).
pub unsafe fn writev<K: Kernel>(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        // SAFETY: as the caller's.
        return match unsafe { vectors(vector, count as size_t) } {
            // SAFETY: the program's buffers, as the caller's; they are only read.
            Ok(vector) => unsafe { datagram::send::<K>(&identity, None, Control::default(), vector, 0) },
            Err(error) => fail(error) as ssize_t,
        };
    }
    if let Some(socket) = calls::netlink::identify(fd) {
        // SAFETY: as the caller's.
        return match unsafe { vectors(vector, count as size_t) } {
            // SAFETY: the program's buffers, as the caller's; they are only read.
            Ok(vector) => unsafe { netlink::send(&socket, None, vector) },
            Err(error) => fail(error) as ssize_t,
        };
    }
    // SAFETY: as the caller's.
    let written = unsafe { K::writev(fd, vector, count) };
    sent("writev", fd, written, Signal::Kernels)
}

/// The program's vector, with the kernel's bounds on its length and on those of its parts; EINVAL.
///
/// # Safety
/// `vector` points to `count` readable iovecs.
pub(super) unsafe fn vectors<'a>(vector: *const iovec, count: size_t) -> Result<&'a [iovec]> {
    match count {
        0 => Ok(&[]),
        1..=1024 if !vector.is_null() => {
            // SAFETY: as the caller's.
            let vector = unsafe { core::slice::from_raw_parts(vector, count) };
            match vector.iter().all(|part| part.iov_len.cast_signed() >= 0) {
                true => Ok(vector),
                false => Err(Error::InvalidArgument),
            }
        }
        1..=1024 => Err(Error::BadAddress),
        _ => Err(Error::InvalidArgument),
    }
}

/// recvfrom(2); recv(2) is this with null addresses.
///
/// # Safety
/// As recvfrom(2).
pub unsafe fn recvfrom<K: Kernel>(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_length: *mut socklen_t,
) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        let mut vector = [iovec { iov_base: buffer, iov_len: length }];
        let mut message = Message::into(&mut vector);
        // SAFETY: as the caller's.
        let count = unsafe { datagram::receive::<K>(fd, &identity, &mut message, flags) };
        if let (true, Some(sender)) = (count >= 0, message.sender) {
            // SAFETY: as the caller's.
            let given = unsafe { super::given_length(from_length) };
            // SAFETY: the same.
            unsafe { super::give_address(sender, from, from_length, given) };
        }
        return count;
    }
    if calls::netlink::identify(fd).is_some() {
        // SAFETY: as the caller's.
        return unsafe { netlink::receive_from::<K>(fd, buffer, length, flags, from, from_length) };
    }
    if flags & libc::MSG_ERRQUEUE != 0
        && let Some(error) = refused_flags(fd, flags)
    {
        return fail(error) as ssize_t;
    }
    let count = if is_special(fd, flags) {
        let mut vector = iovec { iov_base: buffer, iov_len: length };
        // SAFETY: no message is all zeros.
        let mut message: msghdr = unsafe { core::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut vector, 1);
        // SAFETY: the program's buffer.
        unsafe { receive_specially::<K>(fd, &mut message, flags) }
    } else {
        // SAFETY: as the caller's.
        unsafe { K::recvfrom(fd, buffer, length, flags, from, from_length) }
    };
    if count < 0 && flags & libc::MSG_OOB != 0 {
        // EINVAL: no urgent data, and nothing that the host could add.
        return count;
    }
    if count >= 0 && !from.is_null() && !from_length.is_null() && calls::identify(fd).is_some() {
        // A stream gives no address; the kernel gave the far end's.
        // SAFETY: as the caller's.
        unsafe { *from_length = 0 };
    }
    received("recvfrom", fd, count, length > 0)
}

/// sendto(2); send(2) is this with a null address.
///
/// # Safety
/// As sendto(2).
pub unsafe fn sendto<K: Kernel>(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    to: *const sockaddr,
    to_length: socklen_t,
) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        if let Some(error) = refused_of_datagrams(flags) {
            return fail(error) as ssize_t;
        }
        let vector = [iovec { iov_base: buffer.cast_mut(), iov_len: length }];
        // SAFETY: as the caller's.
        return match unsafe { destination(to, to_length) } {
            // SAFETY: the program's buffer, as the caller's; it is only read.
            Ok(to) => unsafe { datagram::send::<K>(&identity, to, asked(flags), &vector, flags) },
            Err(error) => fail(error) as ssize_t,
        };
    }
    if let Some(socket) = calls::netlink::identify(fd) {
        let vector = [iovec { iov_base: buffer.cast_mut(), iov_len: length }];
        // SAFETY: as the caller's.
        return match unsafe { destination(to, to_length) } {
            // SAFETY: the program's buffer, as the caller's; it is only read.
            Ok(to) => unsafe { netlink::send(&socket, to, &vector) },
            Err(error) => fail(error) as ssize_t,
        };
    }
    if flags & libc::MSG_FASTOPEN != 0
        && let Some(error) = refused_flags(fd, flags)
    {
        return fail(error) as ssize_t;
    }
    // A stream that is connected ignores the address, on Linux, unless it is none.
    let ours = !to.is_null() && calls::identify(fd).is_some();
    // SAFETY: as the caller's.
    if ours && let Err(error) = unsafe { super::address_bytes(to, to_length) } {
        return fail(error) as ssize_t;
    }
    let (to, to_length) = if ours { (core::ptr::null(), 0) } else { (to, to_length) };
    // SAFETY: as the caller's.
    if let Err(error) = unsafe { super::may_go(fd, to, to_length) } {
        return fail(error) as ssize_t;
    }
    // SAFETY: as the caller's.
    let count = unsafe { K::sendto(fd, buffer, length, flags | libc::MSG_NOSIGNAL, to, to_length) };
    sent("sendto", fd, count, Signal::of(flags))
}

/// Where a datagram goes: None for the connected peer.
///
/// # Safety
/// `to` is null or has `length` readable bytes.
pub(super) unsafe fn destination<'a>(to: *const sockaddr, length: socklen_t) -> Result<Option<&'a [u8]>> {
    if to.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller's.
    unsafe { super::address_bytes(to, length) }.map(Some)
}

/// recvmsg(2)
///
/// # Safety
/// As recvmsg(2).
pub unsafe fn recvmsg<K: Kernel>(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        // SAFETY: as the caller's.
        return unsafe { datagram::receive_message::<K>(fd, &identity, message, flags) };
    }
    if calls::netlink::identify(fd).is_some() {
        // SAFETY: as the caller's.
        return unsafe { netlink::receive_message::<K>(fd, message, flags) };
    }
    if flags & libc::MSG_ERRQUEUE != 0
        && let Some(error) = refused_flags(fd, flags)
    {
        return fail(error) as ssize_t;
    }
    // SAFETY: null, or the program's message.
    let special = is_special(fd, flags).then(|| unsafe { message.as_ref() }.copied()).flatten();
    let count = match special {
        Some(mut header) => {
            // SAFETY: as the caller's.
            let count = unsafe { receive_specially::<K>(fd, &mut header, flags) };
            // SAFETY: not null, and the program's to be written.
            let told = unsafe { &mut *message };
            (told.msg_flags, told.msg_controllen) = (header.msg_flags, header.msg_controllen);
            count
        }
        // SAFETY: as the caller's.
        None => unsafe { K::recvmsg(fd, message, flags) },
    };
    if count >= 0 && !message.is_null() {
        // SAFETY: not null, and the kernel just wrote it.
        let header = unsafe { &mut *message };
        // SAFETY: the kernel wrote its control messages.
        control::descriptors(unsafe { control::bytes(header) }).for_each(came);
        if !header.msg_name.is_null() && header.msg_namelen != 0 && calls::identify(fd).is_some() {
            header.msg_namelen = 0;
        }
    }
    // SAFETY: null, or the program's message, which with EINVAL the kernel has read, as in `readv`.
    let sound = count >= 0
        || errno() != libc::EINVAL
        || unsafe { message.as_ref() }.is_none_or(|message| {
            // SAFETY: as the caller's.
            unsafe { vectors(message.msg_iov, message.msg_iovlen as size_t) }.is_ok()
        });
    received("recvmsg", fd, count, sound)
}

/// sendmsg(2)
///
/// # Safety
/// As sendmsg(2).
pub unsafe fn sendmsg<K: Kernel>(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    if let Some(identity) = datagram_socket(fd) {
        if let Some(error) = refused_of_datagrams(flags) {
            return fail(error) as ssize_t;
        }
        // SAFETY: as the caller's.
        return unsafe { datagram::send_message::<K>(&identity, message, flags) };
    }
    if let Some(socket) = calls::netlink::identify(fd) {
        // SAFETY: as the caller's.
        return unsafe { netlink::send_message(&socket, message) };
    }
    if flags & libc::MSG_FASTOPEN != 0
        && let Some(error) = refused_flags(fd, flags)
    {
        return fail(error) as ssize_t;
    }
    if host::bypass::is_on() && !message.is_null() {
        // SAFETY: not null, and as the caller's.
        let header = unsafe { *message };
        // SAFETY: as the caller's.
        if let Err(error) = unsafe { super::may_go(fd, header.msg_name.cast(), header.msg_namelen) } {
            return fail(error) as ssize_t;
        }
    }
    // SAFETY: as the caller's.
    let mut count = unsafe { K::sendmsg(fd, message, flags | libc::MSG_NOSIGNAL) };
    // A stream ignores the address, on Linux, and a near end refuses it. Only with this errno has the kernel read the message.
    if count < 0 && matches!(errno(), libc::EISCONN | libc::EOPNOTSUPP) && calls::identify(fd).is_some() {
        // SAFETY: the kernel has read it.
        let mut header = unsafe { *message };
        (header.msg_name, header.msg_namelen) = (core::ptr::null_mut(), 0);
        // SAFETY: the program's message without its address.
        count = unsafe { K::sendmsg(fd, &raw const header, flags | libc::MSG_NOSIGNAL) };
    }
    sent("sendmsg", fd, count, Signal::of(flags))
}
