//! getsockopt, setsockopt and ioctl.

use super::super::interfaces;
use super::super::kernel::Kernel;
use super::{fail, is_datagram, netlink, status, traced, work};
use crate::bridge::datagram::HEADER;
use crate::bridge::name::Identity;
use crate::calls;
use crate::error::Error;
use crate::host::options::Named;
use libc::{c_int, c_ulong, c_void, socklen_t};

/// getsockopt(2)
///
/// # Safety
/// `length` points to a length; `value` has that many writable bytes.
pub unsafe fn getsockopt<K: Kernel>(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let Some(identity) = calls::identify(fd) else {
        // SAFETY: as the caller's.
        let answer = calls::netlink::identify(fd)
            .and_then(|socket| unsafe { netlink::option(&socket, level, name, value, length) });
        // SAFETY: as the caller's.
        return answer.unwrap_or_else(|| unsafe { K::getsockopt(fd, level, name, value, length) });
    };
    if length.is_null() {
        return fail(Error::BadAddress);
    }
    // SAFETY: not null, and as the caller's.
    let Ok(given) = usize::try_from(unsafe { *length }.cast_signed()) else {
        return fail(Error::InvalidArgument);
    };
    let answer = match work(|| calls::option(&identity, level, name, given)) {
        // SAFETY: as the caller's.
        Ok(None) => return unsafe { K::getsockopt(fd, level, name, value, length) },
        Ok(Some(answer)) => answer,
        Err(error) => return fail(error),
    };
    let count = answer.len().min(given);
    if value.is_null() && count > 0 {
        return fail(Error::BadAddress);
    }
    if count > 0 {
        // SAFETY: not null, and at most as many bytes as the program has room for.
        unsafe { core::ptr::copy_nonoverlapping(answer.as_ptr(), value.cast(), count) };
    }
    // SAFETY: not null, and as the caller's.
    unsafe { *length = count as socklen_t };
    0
}

/// setsockopt(2)
///
/// # Safety
/// `value` is null or has `length` readable bytes.
pub unsafe fn setsockopt<K: Kernel>(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    let Some(identity) = calls::identify(fd) else {
        let done = calls::netlink::identify(fd).and_then(|socket| netlink::set_option(&socket, level, name));
        // SAFETY: as the caller's.
        return done.unwrap_or_else(|| unsafe { K::setsockopt(fd, level, name, value, length) });
    };
    if length.cast_signed() < 0 {
        return fail(Error::InvalidArgument);
    }
    let bytes: &[u8] = match length {
        0 => &[],
        _ if value.is_null() => return fail(unreadable(&identity, level, name)),
        // SAFETY: not null, and as the caller's; the kernel, too, reads no more than a page of it.
        _ => unsafe { core::slice::from_raw_parts(value.cast(), (length as usize).min(4096)) },
    };
    match work(|| calls::set_option(&identity, level, name, bytes)) {
        // SAFETY: as the caller's.
        Ok(true) => unsafe { K::setsockopt(fd, level, name, value, length) },
        Ok(false) => {
            traced("setsockopt", fd, format_args!("({fd}, {}) = 0", Named(level, name)));
            0
        }
        Err(error) => fail(error),
    }
}

/// The error of an option without a value. Those of sockets and of TCP are read before it is asked which they are, others behind.
fn unreadable(identity: &Identity, level: c_int, name: c_int) -> Error {
    if matches!(level, libc::SOL_SOCKET | libc::IPPROTO_TCP) {
        return Error::BadAddress;
    }
    match work(|| calls::option(identity, level, name, 0)) {
        Err(Error::NoSuchOption | Error::NotSupported) => Error::NoSuchOption,
        _ => Error::BadAddress,
    }
}

/// ioctl(2). Of ours, the kernel answers for the near end (FIONBIO, FIONREAD, FIOASYNC, SIOCATMARK…), save what it
/// cannot know.
///
/// # Safety
/// `argument` is what the request asks for.
pub unsafe fn ioctl<K: Kernel>(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    const FIONREAD: c_ulong = libc::FIONREAD as c_ulong;
    const TIOCOUTQ: c_ulong = libc::TIOCOUTQ as c_ulong;
    const SIOCATMARK: c_ulong = 0x8905;
    if interfaces::is_about(request)
        && (calls::identify(fd).is_some() || calls::netlink::identify(fd).is_some())
    {
        // SAFETY: as the caller's.
        return status(unsafe { interfaces::ioctl(request, argument) });
    }
    if request == SIOCATMARK && calls::identify(fd).is_some_and(|identity| is_datagram(&identity)) {
        // A stream's.
        return fail(Error::Kernel(libc::ENOTTY));
    }
    // SAFETY: as the caller's.
    let result = unsafe { K::ioctl(fd, request, argument) };
    if result < 0 || argument.is_null() || !matches!(request, FIONREAD | TIOCOUTQ) {
        return result;
    }
    let Some(identity) = calls::identify(fd) else { return result };
    let place: *mut c_int = argument.cast();
    if request == TIOCOUTQ {
        return status(work(|| calls::unacknowledged(&identity)).map(|count| {
            // SAFETY: SIOCOUTQ writes an int, and the kernel just did.
            unsafe { *place = c_int::try_from(count).unwrap_or(c_int::MAX) };
        }));
    }
    if is_datagram(&identity) {
        // SAFETY: FIONREAD writes an int, and the kernel just did.
        let whole = unsafe { *place };
        // SAFETY: the same.
        unsafe { *place = (whole - HEADER as c_int).max(0) };
    }
    result
}
