//! res_query(3) and its family: raw DNS answers. The `n` forms take a state, of which nothing is used: servers, timeouts
//! and search list come from the link and from /etc/resolv.conf at each call, and options that a program set in `_res`
//! (TCP only, DNSSEC) are not seen.
//!
//! An answer longer than the buffer is cut off, and its length is that of what was written, as with glibc over UDP.

use super::{guarded, h_errno_of, resolver, set_h_errno, text};
use crate::error::Error;
use crate::resolver::{Failure, RecordClass, RecordType, Resolver, domain_name, verdict};
use libc::{c_char, c_int, c_uchar, c_void};
use std::ptr;

/// res_query(3).
pub unsafe fn res_query(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    guarded(-1, || {
        // SAFETY: the caller's string.
        let name = unsafe { text(name) }.unwrap_or_default();
        let outcome = question(class, kind).and_then(|(class, kind)| query(&resolver(), &name, class, kind));
        // SAFETY: the caller's buffer.
        unsafe { written(outcome, answer, length) }
    })
}

/// res_querydomain(3): the name and the domain with a dot between them; a null domain is none.
pub unsafe fn res_querydomain(
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    guarded(-1, || {
        // SAFETY: the caller's string.
        let name = unsafe { text(name) }.unwrap_or_default();
        // SAFETY: the caller's string.
        let name = match unsafe { text(domain) } {
            Some(domain) => format!("{name}.{domain}").into(),
            None => name,
        };
        let outcome = question(class, kind).and_then(|(class, kind)| query(&resolver(), &name, class, kind));
        // SAFETY: the caller's buffer.
        unsafe { written(outcome, answer, length) }
    })
}

/// res_search(3).
pub unsafe fn res_search(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    guarded(-1, || {
        // SAFETY: the caller's string.
        let name = unsafe { text(name) }.unwrap_or_default();
        let outcome = question(class, kind)
            .and_then(|(class, kind)| resolver().search_record(&name, class, kind))
            .map(|reply| Answer { reply, verdict: Ok(()) });
        // SAFETY: the caller's buffer.
        unsafe { written(outcome, answer, length) }
    })
}

/// res_send(3): a message that is ready; the answer is good whatever it says.
pub unsafe fn res_send(
    message: *const c_uchar,
    message_length: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    guarded(-1, || {
        let size = usize::try_from(message_length).unwrap_or(0);
        if message.is_null() || size == 0 {
            return (-1, Some(Error::InvalidArgument));
        }
        // SAFETY: the caller's message, not null and not empty.
        let message = unsafe { std::slice::from_raw_parts(message, size) }.to_vec();
        let outcome = resolver().send(message).map(|reply| Answer { reply, verdict: Ok(()) });
        // SAFETY: the caller's buffer.
        unsafe { written(outcome, answer, length) }
    })
}

/// res_nquery(3).
pub unsafe fn res_nquery(
    _state: *mut c_void,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the contract is the caller's.
    unsafe { res_query(name, class, kind, answer, length) }
}

/// res_nquerydomain(3).
pub unsafe fn res_nquerydomain(
    _state: *mut c_void,
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the contract is the caller's.
    unsafe { res_querydomain(name, domain, class, kind, answer, length) }
}

/// res_nsearch(3).
pub unsafe fn res_nsearch(
    _state: *mut c_void,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the contract is the caller's.
    unsafe { res_search(name, class, kind, answer, length) }
}

/// res_nsend(3).
pub unsafe fn res_nsend(
    _state: *mut c_void,
    message: *const c_uchar,
    message_length: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the contract is the caller's.
    unsafe { res_send(message, message_length, answer, length) }
}

/// A reply, and whether the call succeeds with it: res_query fails with "no such name" in the buffer.
pub(super) struct Answer {
    reply: Vec<u8>,
    verdict: Result<(), Failure>,
}

pub(super) fn query(
    resolver: &Resolver,
    name: &str,
    class: RecordClass,
    kind: RecordType,
) -> Result<Answer, Failure> {
    let query = resolver.query(&domain_name(name)?, class, kind);
    let reply = resolver.send(query)?;
    Ok(Answer { verdict: verdict(&reply), reply })
}

fn question(class: c_int, kind: c_int) -> Result<(RecordClass, RecordType), Failure> {
    let number = |value: c_int| u16::try_from(value).map_err(|_| Failure::NoRecovery);
    Ok((RecordClass::from_int(number(class)?), RecordType::from_int(number(kind)?)))
}

/// What the call returns: the length of what is in the buffer, or -1 and h_errno.
///
/// # Safety
/// `length` octets at `answer` may be written.
pub(super) unsafe fn written(
    outcome: Result<Answer, Failure>,
    answer: *mut c_uchar,
    length: c_int,
) -> (c_int, Option<Error>) {
    let Answer { reply, verdict } = match outcome {
        Ok(answer) => answer,
        Err(failure) => {
            set_h_errno(h_errno_of(failure));
            return (-1, failure.error());
        }
    };
    let size = reply.len().min(usize::try_from(length).unwrap_or(0));
    if size > 0 {
        // SAFETY: the caller's buffer is long enough, and the reply is our own.
        unsafe { ptr::copy_nonoverlapping(reply.as_ptr(), answer, size) };
    }
    match verdict {
        Ok(()) => (c_int::try_from(size).expect("no longer than the buffer, whose length is an int"), None),
        Err(failure) => {
            set_h_errno(h_errno_of(failure));
            (-1, None)
        }
    }
}
