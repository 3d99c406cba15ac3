//! Names and addresses.

use core::ffi::{c_char, c_void};

use libc::{addrinfo, c_int, hostent, sockaddr, socklen_t};

use crate::abi::names;

/// Looks up the addresses of `node` and the port of `service`, over the stack: numbers, /etc/hosts, then DNS. Either
/// may be null, not both; `hints` may be.
///
/// Returns 0 and a list in `*result`, to be freed with tube_freeaddrinfo(); or an EAI_ code, not errno (except with
/// EAI_SYSTEM): EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_FAMILY, EAI_SOCKTYPE, EAI_SERVICE, EAI_BADFLAGS, EAI_ADDRFAMILY,
/// EAI_NODATA, EAI_MEMORY. getaddrinfo(3), RFC 3493, RFC 6724.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: the caller keeps the contract of getaddrinfo(3).
    unsafe { names::getaddrinfo(node, service, hints, result) }
}

/// Frees what tube_getaddrinfo() returned; never what libc's getaddrinfo() did. freeaddrinfo(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_freeaddrinfo(list: *mut addrinfo) {
    // SAFETY: the caller keeps the contract of freeaddrinfo(3).
    unsafe { names::freeaddrinfo(list) }
}

/// The name of an address and of its port, each to a buffer of that many bytes (null and 0 for neither).
///
/// Returns 0, or an EAI_ code: EAI_AGAIN, EAI_BADFLAGS, EAI_FAIL, EAI_FAMILY, EAI_MEMORY, EAI_NONAME, EAI_OVERFLOW,
/// EAI_SYSTEM. getnameinfo(3), RFC 3493.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_getnameinfo(
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

/// A sentence for an EAI_ code, which lives for ever and must not be freed. gai_strerror(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_gai_strerror(code: c_int) -> *const c_char {
    // SAFETY: no precondition.
    unsafe { libc::gai_strerror(code) }
}

/// The IPv4 addresses of `name`. Obsolete: use tube_getaddrinfo().
///
/// Returns a structure that lives until this thread's next call of the tube_gethostby family; or null with h_errno
/// HOST_NOT_FOUND, NO_DATA, NO_RECOVERY or TRY_AGAIN. gethostbyname(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_gethostbyname(name: *const c_char) -> *mut hostent {
    // SAFETY: the caller keeps the contract of gethostbyname(3).
    unsafe { names::gethostbyname(name) }
}

/// tube_gethostbyname() for one family, AF_INET or AF_INET6. Obsolete: use tube_getaddrinfo(). gethostbyname2(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
    // SAFETY: the caller keeps the contract of gethostbyname2(3).
    unsafe { names::gethostbyname2(name, family) }
}

/// The name of an address, a struct in_addr or in6_addr as `family` says. Obsolete: use tube_getnameinfo(). Returns as
/// tube_gethostbyname() does. gethostbyaddr(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_gethostbyaddr(
    address: *const c_void,
    length: socklen_t,
    family: c_int,
) -> *mut hostent {
    // SAFETY: the caller keeps the contract of gethostbyaddr(3).
    unsafe { names::gethostbyaddr(address, length, family) }
}
