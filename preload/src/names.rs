//! Names and addresses. libc's own functions would ask name servers through sockets that we never see.
//!
//! What needs no socket stays libc's: res_init, dn_expand, gethostent, getservbyname.

use core::ffi::{c_char, c_uchar, c_void};

use libc::{addrinfo, c_int, hostent, size_t, sockaddr, socklen_t};
use tubesock::abi::names;

/// getaddrinfo(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: the caller keeps the contract of getaddrinfo(3).
    unsafe { names::getaddrinfo(node, service, hints, result) }
}

/// freeaddrinfo(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn freeaddrinfo(list: *mut addrinfo) {
    // SAFETY: the caller keeps the contract of freeaddrinfo(3).
    unsafe { names::freeaddrinfo(list) }
}

/// getnameinfo(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_length: socklen_t,
    service: *mut c_char,
    service_length: socklen_t,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of getnameinfo(3).
    unsafe { names::getnameinfo(address, length, host, host_length, service, service_length, flags) }
}

/// gethostbyname(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname(name: *const c_char) -> *mut hostent {
    // SAFETY: the caller keeps the contract of gethostbyname(3).
    unsafe { names::gethostbyname(name) }
}

/// gethostbyname2(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
    // SAFETY: the caller keeps the contract of gethostbyname2(3).
    unsafe { names::gethostbyname2(name, family) }
}

/// gethostbyaddr(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyaddr(address: *const c_void, length: socklen_t, family: c_int) -> *mut hostent {
    // SAFETY: the caller keeps the contract of gethostbyaddr(3).
    unsafe { names::gethostbyaddr(address, length, family) }
}

/// gethostbyname_r(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname_r(
    name: *const c_char,
    entry: *mut hostent,
    buffer: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of gethostbyname_r(3).
    unsafe { names::gethostbyname_r(name, entry, buffer, length, result, error) }
}

/// gethostbyname2_r(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of gethostbyname2_r(3).
    unsafe { names::gethostbyname2_r(name, family, entry, buffer, length, result, error) }
}

/// gethostbyaddr_r(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn gethostbyaddr_r(
    address: *const c_void,
    address_length: socklen_t,
    family: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of gethostbyaddr_r(3).
    unsafe { names::gethostbyaddr_r(address, address_length, family, entry, buffer, length, result, error) }
}

/// res_query(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_query(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_query(3).
    unsafe { names::res_query(name, class, kind, answer, length) }
}

/// res_query(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_query(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_query(3).
    unsafe { names::res_query(name, class, kind, answer, length) }
}

/// res_querydomain(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_querydomain(
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_querydomain(3).
    unsafe { names::res_querydomain(name, domain, class, kind, answer, length) }
}

/// res_querydomain(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_querydomain(
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_querydomain(3).
    unsafe { names::res_querydomain(name, domain, class, kind, answer, length) }
}

/// res_search(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_search(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_search(3).
    unsafe { names::res_search(name, class, kind, answer, length) }
}

/// res_search(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_search(
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_search(3).
    unsafe { names::res_search(name, class, kind, answer, length) }
}

/// res_send(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_send(
    message: *const c_uchar,
    message_length: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_send(3).
    unsafe { names::res_send(message, message_length, answer, length) }
}

/// res_send(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_send(
    message: *const c_uchar,
    message_length: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_send(3).
    unsafe { names::res_send(message, message_length, answer, length) }
}

/// res_nquery(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_nquery(
    state: *mut c_void,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nquery(3).
    unsafe { names::res_nquery(state, name, class, kind, answer, length) }
}

/// res_nquery(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_nquery(
    state: *mut c_void,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nquery(3).
    unsafe { names::res_nquery(state, name, class, kind, answer, length) }
}

/// res_nquerydomain(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_nquerydomain(
    state: *mut c_void,
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nquerydomain(3).
    unsafe { names::res_nquerydomain(state, name, domain, class, kind, answer, length) }
}

/// res_nquerydomain(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_nquerydomain(
    state: *mut c_void,
    name: *const c_char,
    domain: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nquerydomain(3).
    unsafe { names::res_nquerydomain(state, name, domain, class, kind, answer, length) }
}

/// res_nsearch(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_nsearch(
    state: *mut c_void,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nsearch(3).
    unsafe { names::res_nsearch(state, name, class, kind, answer, length) }
}

/// res_nsearch(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_nsearch(
    state: *mut c_void,
    name: *const c_char,
    class: c_int,
    kind: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nsearch(3).
    unsafe { names::res_nsearch(state, name, class, kind, answer, length) }
}

/// res_nsend(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn res_nsend(
    state: *mut c_void,
    message: *const c_uchar,
    message_length: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nsend(3).
    unsafe { names::res_nsend(state, message, message_length, answer, length) }
}

/// res_nsend(3), by the name it had before glibc 2.34
#[unsafe(no_mangle)]
unsafe extern "C" fn __res_nsend(
    state: *mut c_void,
    message: *const c_uchar,
    message_length: c_int,
    answer: *mut c_uchar,
    length: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of res_nsend(3).
    unsafe { names::res_nsend(state, message, message_length, answer, length) }
}
