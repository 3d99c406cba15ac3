//! Names and addresses in C's terms: the families of getaddrinfo(3), gethostbyname(3) and res_query(3). Each function
//! has the contract of the libc function of its name; what it answers is decided in `resolver`.
//!
//! What libc does without sockets stays libc's: res_init (reads a file), dn_expand, res_mkquery and ns_* (messages),
//! gethostent (walks /etc/hosts), getservbyname. getaddrinfo_a is not here: it needs a thread of its own.
//!
//! errno is left alone, but for EAI_SYSTEM, NETDB_INTERNAL and a -1 of the res_ family. A panic ends here, as EIO.
#![allow(clippy::missing_safety_doc)]

mod addrinfo;
mod hostent;
mod records;
#[cfg(test)]
mod tests;

pub use addrinfo::{freeaddrinfo, getaddrinfo, getnameinfo};
pub use hostent::{
    gethostbyaddr, gethostbyaddr_r, gethostbyname, gethostbyname_r, gethostbyname2, gethostbyname2_r,
};
pub use records::{
    res_nquery, res_nquerydomain, res_nsearch, res_nsend, res_query, res_querydomain, res_search, res_send,
};

use crate::error::Error;
use crate::resolver::{Failure, Resolver, ThisMachine};
use crate::sys::raw;
use libc::{c_char, c_int};
use std::borrow::Cow;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// h_errno's values (netdb.h).
const NETDB_INTERNAL: c_int = -1;
const NETDB_SUCCESS: c_int = 0;
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_RECOVERY: c_int = 3;
const NO_DATA: c_int = 4;

unsafe extern "C" {
    safe fn __h_errno_location() -> *mut c_int;
}

fn resolver() -> Resolver<'static> {
    Resolver { machine: &ThisMachine, network: &crate::calls::names::Stack }
}

/// Runs the body of a call. It says what errno becomes, None for what it was; a panic gives `failed` and EIO.
fn guarded<T>(failed: T, body: impl FnOnce() -> (T, Option<Error>)) -> T {
    let errno = raw::errno();
    let (value, error) = catch_unwind(AssertUnwindSafe(body)).unwrap_or((failed, Some(Error::Broken)));
    raw::set_errno(error.map_or(errno, Error::errno));
    value
}

fn set_h_errno(value: c_int) {
    // SAFETY: the location is that of this thread's h_errno, valid as long as the thread.
    unsafe { __h_errno_location().write(value) }
}

fn h_errno_of(failure: Failure) -> c_int {
    match failure {
        Failure::HostNotFound => HOST_NOT_FOUND,
        Failure::NoData => NO_DATA,
        Failure::NoRecovery | Failure::Unrelated => NO_RECOVERY,
        Failure::ServerFailed | Failure::TimedOut => TRY_AGAIN,
        Failure::System(_) => NETDB_INTERNAL,
    }
}

/// A string of C, None for a null pointer. What is not UTF-8 is no name that anybody has.
///
/// # Safety
/// `text` is null or a string that ends, and outlives `'a`.
unsafe fn text<'a>(text: *const c_char) -> Option<Cow<'a, str>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: not null; the caller says the rest.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy())
}
