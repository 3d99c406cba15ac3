//! The calls of the BSD API, in C's terms. Each is written once, for both ways to the kernel: a descriptor that is not
//! ours goes to `K` untouched; of ours, the kernel does on the near end what it can, and the host is asked for the rest.
//!
//! Before "is it ours?" says yes, nothing here locks, allocates or logs. errno changes only when a call fails. A panic
//! in our part is caught: the call fails with EIO, and the host works no more. The kernel's calls that may wait are
//! outside of that net, so that a thread that is cancelled in one unwinds.

mod batches;
mod control;
mod data;
mod datagram;
mod netlink;
mod options;

use super::kernel::Kernel;
use crate::bridge::name::Identity;
use crate::calls::{self, Progress, address};
use crate::error::{Error, Result};
use crate::host;
use crate::observe::trace;
use crate::sys;
use crate::sys::raw::{self, errno};
pub use batches::{recvmmsg, sendmmsg};
use core::time::Duration;
pub use data::{read, readv, recvfrom, recvmsg, sendmsg, sendto, write, writev};
use libc::{c_int, pollfd, sockaddr, socklen_t, timespec};
pub use options::{getsockopt, ioctl, setsockopt};
use rustix::net::sockopt;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// -1 and errno.
fn fail(error: Error) -> c_int {
    raw::fail(error.errno())
}

/// 0, or -1 and errno.
fn status(result: Result<()>) -> c_int {
    result.map_or_else(fail, |()| 0)
}

/// Our part of a call: errno stays as it was, and a panic becomes EIO.
fn work<T>(part: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = errno();
    let result = catch_unwind(AssertUnwindSafe(part)).unwrap_or(Err(Error::Broken));
    raw::set_errno(before);
    result
}

/// A line in the trace, when one is written, and in the capture, when calls go there.
fn traced(name: &str, fd: c_int, detail: fmt::Arguments<'_>) {
    if trace::wants_calls() {
        trace::call(sys::now(), name, fd, detail);
    }
}

/// The bytes of an address that the program passed.
///
/// # Safety
/// `address` is null or points to `length` readable bytes.
unsafe fn address_bytes<'a>(address: *const sockaddr, length: socklen_t) -> Result<&'a [u8]> {
    // In the order of move_addr_to_kernel; 128 is sizeof(struct sockaddr_storage).
    match length {
        129.. => Err(Error::InvalidArgument),
        0 => Ok(&[]),
        _ if address.is_null() => Err(Error::BadAddress),
        // SAFETY: by the contract of this function.
        _ => Ok(unsafe { core::slice::from_raw_parts(address.cast(), length as usize) }),
    }
}

/// Gives an address to the program, if it wants it: as much as fits in `given` bytes, and its whole length.
///
/// # Safety
/// `length` is null or writable; `place` is null or has `given` writable bytes.
unsafe fn give_address(from: SocketAddr, place: *mut sockaddr, length: *mut socklen_t, given: socklen_t) {
    let (bytes, count) = address::format(from);
    // SAFETY: as the caller's.
    unsafe { give(&bytes[..count], place, length, given) };
}

/// The same, of an address in bytes.
///
/// # Safety
/// As `give_address`.
unsafe fn give(bytes: &[u8], place: *mut sockaddr, length: *mut socklen_t, given: socklen_t) {
    if length.is_null() || place.is_null() {
        return;
    }
    let count = bytes.len().min(given as usize);
    // SAFETY: at most `given` bytes are written, to a place that has them.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), place.cast(), count) };
    // SAFETY: not null, and writable by the contract.
    unsafe { *length = bytes.len() as socklen_t };
}

/// The length that the program passed with a place for an address.
///
/// # Safety
/// `length` is null or readable.
unsafe fn given_length(length: *const socklen_t) -> socklen_t {
    // SAFETY: by the contract of this function.
    if length.is_null() { 0 } else { unsafe { *length } }
}

/// socket(2)
///
/// # Safety
/// None beyond the kernel's.
pub unsafe fn socket<K: Kernel>(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    if let Some(fd) = netlink::socket(domain, kind, protocol) {
        return fd;
    }
    match work(|| Ok(calls::socket(domain, kind, protocol))) {
        // SAFETY: no pointers.
        Ok(None) => unsafe { K::socket(domain, kind, protocol) },
        Ok(Some(Ok(fd))) => {
            let (family, kind) = (if domain == libc::AF_INET { "AF_INET" } else { "AF_INET6" }, kind & 0xf);
            let kind = if kind == libc::SOCK_STREAM { "SOCK_STREAM" } else { "SOCK_DGRAM" };
            traced("socket", fd, format_args!("({family}, {kind}) = {fd}"));
            fd
        }
        Ok(Some(Err(error))) | Err(error) => fail(error),
    }
}

/// bind(2)
///
/// # Safety
/// `address` is null or points to `length` readable bytes.
pub unsafe fn bind<K: Kernel>(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    if let Some(socket) = calls::netlink::identify(fd) {
        // SAFETY: as the caller's.
        return netlink::name(unsafe { address_bytes(address, length) }, |to| socket.bind(to));
    }
    let Some(identity) = calls::identify(fd) else {
        // SAFETY: as the caller's.
        return unsafe { K::bind(fd, address, length) };
    };
    // SAFETY: as the caller's.
    let bytes = unsafe { address_bytes(address, length) };
    let bound = work(|| calls::bind(&identity, bytes?));
    let result = status(bound);
    traced("bind", fd, format_args!("({fd}, {}) = {result}", Shown(bytes)));
    result
}

/// listen(2)
///
/// # Safety
/// None beyond the kernel's.
pub unsafe fn listen<K: Kernel>(fd: c_int, backlog: c_int) -> c_int {
    let Some(identity) = calls::identify(fd) else {
        // SAFETY: no pointers.
        return unsafe { K::listen(fd, backlog) };
    };
    let result = status(work(|| calls::listen(&identity, backlog)));
    traced("listen", fd, format_args!("({fd}, {backlog}) = {result}"));
    result
}

/// connect(2)
///
/// # Safety
/// `address` is null or points to `length` readable bytes.
pub unsafe fn connect<K: Kernel>(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    if let Some(socket) = calls::netlink::identify(fd) {
        // SAFETY: as the caller's.
        return netlink::name(unsafe { address_bytes(address, length) }, |to| socket.check_destination(to));
    }
    let Some(identity) = calls::identify(fd) else {
        // SAFETY: as the caller's.
        return match unsafe { may_go(fd, address, length) } {
            // SAFETY: as the caller's.
            Ok(()) => unsafe { K::connect(fd, address, length) },
            Err(error) => fail(error),
        };
    };
    let begun_at = sys::now();
    // SAFETY: as the caller's.
    let bytes = unsafe { address_bytes(address, length) };
    let outcome = match work(|| calls::connect(&identity, bytes?)) {
        Ok(Progress::Done) => Ok(()),
        // SAFETY: as the caller's.
        Ok(Progress::Kernels) => match unsafe { K::connect(fd, address, length) } {
            0 => Ok(()),
            _ => Err(rustix::io::Errno::from_raw_os_error(errno()).into()),
        },
        Ok(Progress::Waits(identity)) => wait_connected::<K>(&identity),
        Err(error) => Err(error),
    };
    if trace::wants_calls() {
        let result = Outcome(outcome);
        trace::call(begun_at, "connect", fd, format_args!("({fd}, {}) = {result}", Shown(bytes)));
    }
    status(outcome)
}

/// Whether a socket of the kernel's may go to an address (`calls::may_go`); what is no address the kernel may judge.
///
/// # Safety
/// `address` is null or points to `length` readable bytes.
unsafe fn may_go(fd: c_int, address: *const sockaddr, length: socklen_t) -> Result<()> {
    if !host::bypass::is_on() {
        return Ok(());
    }
    // SAFETY: as the caller's.
    let bytes = unsafe { address_bytes(address, length) };
    bytes.map_or(Ok(()), |bytes| work(|| calls::may_go(fd, bytes)))
}

/// Waits as connect(2) on a blocking socket does: SO_SNDTIMEO bounds it, a signal interrupts it; the handshake goes on.
fn wait_connected<K: Kernel>(identity: &Identity) -> Result<()> {
    let limit = sockopt::socket_timeout(identity.near(), sockopt::Timeout::Send).ok().flatten();
    let deadline = limit.map(|limit| sys::now() + limit);
    loop {
        match work(|| Ok(calls::connected(identity)))? {
            Some(outcome) => return outcome,
            None if !poll_writable::<K>(identity.fd, deadline.map(|deadline| deadline - sys::now()))? => {
                return Err(Error::InProgress);
            }
            None => {}
        }
    }
}

/// False when `patience` is over.
fn poll_writable<K: Kernel>(fd: c_int, patience: Option<Duration>) -> Result<bool> {
    let mut wanted = pollfd { fd, events: libc::POLLOUT, revents: 0 };
    let patience = patience.map(|patience| timespec {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_nsec: patience.subsec_nanos().into(),
    });
    let patience = patience.as_ref().map_or(core::ptr::null(), |patience| patience);
    // SAFETY: one pollfd, a time-out that lives as long as the call or none, and no mask.
    match unsafe { K::ppoll(&raw mut wanted, 1, patience, core::ptr::null()) } {
        -1 => Err(Error::Kernel(errno())),
        ready => Ok(ready > 0),
    }
}

/// accept4(2); accept(2) is this with no flags.
///
/// # Safety
/// `length` is null or points to a length; `address` is null or has that many writable bytes.
pub unsafe fn accept4<K: Kernel>(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(listener) = calls::identify(fd) else {
        // SAFETY: as the caller's.
        return unsafe { K::accept4(fd, address, length, flags) };
    };
    if let Err(error) = work(|| calls::can_accept(&listener)) {
        return fail(error);
    }
    // SAFETY: as the caller's.
    let given = unsafe { given_length(length) };
    // Before: a handler of the program may close the listener while accept waits.
    let host = sys::unix::peer(listener.near());
    loop {
        // SAFETY: as the caller's. The near end's listener is the kernel's, and so is waiting for it.
        let accepted = unsafe { K::accept4(fd, address, length, flags) };
        let identity = if accepted < 0 { None } else { calls::identify(accepted) };
        let Some(identity) = identity else { return accepted };
        match work(|| Ok(calls::accepted(host, &listener, &identity))) {
            Ok(Some(peer)) => {
                // SAFETY: as the caller's, with the length that was there before the kernel wrote its own.
                unsafe { give_address(peer, address, length, given) };
                traced("accept", accepted, format_args!("({fd}, {peer}) = {accepted}"));
                return accepted;
            }
            Ok(None) => {
                // SAFETY: a stranger's, that nobody else has seen.
                unsafe { K::close(accepted) };
                if !length.is_null() {
                    // SAFETY: as the caller's.
                    unsafe { *length = given };
                }
            }
            Err(error) => {
                // SAFETY: as above.
                unsafe { K::close(accepted) };
                return fail(error);
            }
        }
    }
}

/// getsockname(2)
///
/// # Safety
/// `length` points to a length; `address` has that many writable bytes.
pub unsafe fn getsockname<K: Kernel>(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    if let Some(socket) = calls::netlink::identify(fd) {
        // SAFETY: as the caller's.
        return unsafe { answer_bytes(&socket.local(), address, length) };
    }
    let Some(identity) = calls::identify(fd) else {
        // SAFETY: as the caller's.
        return unsafe { K::getsockname(fd, address, length) };
    };
    // SAFETY: as the caller's.
    unsafe { answer_address(work(|| calls::local(&identity)), address, length) }
}

/// getpeername(2)
///
/// # Safety
/// As `getsockname`.
pub unsafe fn getpeername<K: Kernel>(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    if calls::netlink::identify(fd).is_some() {
        // SAFETY: as the caller's.
        return unsafe { answer_bytes(&calls::netlink::kernel(), address, length) };
    }
    let Some(identity) = calls::identify(fd) else {
        // SAFETY: as the caller's.
        return unsafe { K::getpeername(fd, address, length) };
    };
    // SAFETY: as the caller's.
    unsafe { answer_address(work(|| calls::peer(&identity)), address, length) }
}

/// As move_addr_to_user does it: what there is to tell is found out first, and its length told before it is.
///
/// # Safety
/// As `getsockname`.
unsafe fn answer_address(
    answer: Result<SocketAddr>,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    match answer.map(address::format) {
        // SAFETY: as the caller's.
        Ok((bytes, count)) => unsafe { answer_bytes(&bytes[..count], address, length) },
        Err(error) => fail(error),
    }
}

/// # Safety
/// As `getsockname`.
unsafe fn answer_bytes(bytes: &[u8], address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    if length.is_null() {
        return fail(Error::BadAddress);
    }
    // SAFETY: not null, and as the caller's.
    let given = unsafe { given_length(length) };
    if given.cast_signed() < 0 {
        return fail(Error::InvalidArgument);
    }
    if address.is_null() {
        // SAFETY: not null, and as the caller's.
        unsafe { *length = bytes.len() as socklen_t };
        return if given > 0 { fail(Error::BadAddress) } else { 0 };
    }
    // SAFETY: the same.
    unsafe { give(bytes, address, length, given) };
    0
}

/// shutdown(2)
///
/// # Safety
/// None beyond the kernel's.
pub unsafe fn shutdown<K: Kernel>(fd: c_int, how: c_int) -> c_int {
    if calls::netlink::identify(fd).is_some() {
        return fail(Error::NotSupported);
    }
    if let Some(identity) = calls::identify(fd) {
        let natively = match work(|| calls::shutdown(&identity, how)) {
            Ok(natively) => natively,
            Err(error) => {
                if identity.kind.is_datagram() && error == Error::NotConnected {
                    // An error, and yet it is shut (inet_shutdown).
                    // SAFETY: no pointers.
                    unsafe { K::shutdown(fd, how) };
                }
                return fail(error);
            }
        };
        traced("shutdown", fd, format_args!("({fd}, {how}) = 0"));
        if !natively {
            return 0;
        }
    }
    // SAFETY: no pointers.
    unsafe { K::shutdown(fd, how) }
}

/// close(2): EBADF for the numbers that are internal, and the host hears of sockets that have no far end to tell it. With
/// SO_LINGER it waits.
///
/// # Safety
/// None beyond the kernel's.
pub unsafe fn close<K: Kernel>(fd: c_int) -> c_int {
    if host::is_here() {
        if sys::descriptors::is_internal(fd) {
            return fail(Error::BadDescriptor);
        }
    } else {
        host::closed_without_host(fd, fd);
    }
    let going = going(fd);
    let lingering = work(|| Ok(calls::lingering(fd))).ok().flatten();
    let closed_at = sys::now();
    // SAFETY: no pointers.
    let result = unsafe { K::close(fd) };
    if let Some((identity, patience)) = lingering.filter(|_| result == 0) {
        let _ = work(|| calls::linger(&identity, patience));
    }
    if let Some(identity) = going {
        gone(&identity);
        if trace::wants_calls() {
            trace::call(closed_at, "close", fd, format_args!("({fd}) = {result}"));
        }
    }
    result
}

/// What `fd` is, before it is closed or replaced, if anybody needs to hear of that: a host of a socket that has no far
/// end to tell it, or the trace.
pub fn going(fd: c_int) -> Option<Identity> {
    if !host::unwatched_exist() && !trace::wants_calls() {
        return None;
    }
    calls::identify(fd)
}

/// After it was closed or replaced.
pub fn gone(identity: &Identity) {
    if !identity.watched {
        let _ = work(|| {
            host::closed(identity);
            Ok(())
        });
    }
}

/// After close_range and closefrom: descriptors have gone that nobody looked at.
pub fn replaced() {
    if host::unwatched_exist() {
        let _ = work(|| {
            host::closed_some();
            Ok(())
        });
    }
}

/// An address for the trace.
struct Shown<'a>(Result<&'a [u8]>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parsed = self.0.and_then(|bytes| address::parse(bytes, crate::engine::Domain::V6));
        match parsed {
            Ok(address::Given::Address(SocketAddr::V6(v6))) => match v6.ip().to_ipv4_mapped() {
                Some(v4) => write!(f, "{v4}:{}", v6.port()),
                None => v6.fmt(f),
            },
            Ok(address::Given::Address(v4)) => v4.fmt(f),
            Ok(address::Given::Unspecified) => f.write_str("AF_UNSPEC"),
            Err(_) => f.write_str("?"),
        }
    }
}

/// The result of a call for the trace: 0, or -1 with the errno's text.
struct Outcome(Result<()>);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(()) => f.write_str("0"),
            Err(Error::InProgress) => f.write_str("-1 EINPROGRESS"),
            Err(error) => write!(f, "-1 ({error})"),
        }
    }
}

/// Whether `identity` is a datagram socket, of UDP or ICMP.
fn is_datagram(identity: &Identity) -> bool {
    identity.kind.is_datagram()
}
