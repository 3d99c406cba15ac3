//! getaddrinfo(3), freeaddrinfo(3), getnameinfo(3). The list is made of malloc's blocks, laid out as glibc lays it out
//! (element and address in one, the canonical name in its own), so that either freeaddrinfo may free it.

use super::{guarded, resolver, text};
use crate::error::Error;
use crate::resolver::{AddressList, Entry, Hints, LookupError, Resolver};
use libc::{
    AF_INET, AF_INET6, AF_UNIX, EAI_AGAIN, EAI_BADFLAGS, EAI_FAMILY, EAI_MEMORY, EAI_NODATA, EAI_NONAME,
    EAI_OVERFLOW, EAI_SERVICE, EAI_SOCKTYPE, EAI_SYSTEM, NI_NAMEREQD, NI_NUMERICHOST, addrinfo, c_char,
    c_int, in_addr, in6_addr, sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un, socklen_t,
};
use std::ffi::CString;
use std::mem::offset_of;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

/// netdb.h, for GNU; not in the libc crate.
const EAI_ADDRFAMILY: c_int = -9;
const EAI_IDN_ENCODE: c_int = -105;

/// What a call gives back: EAI_*, and errno for EAI_SYSTEM.
type Outcome = (c_int, Option<Error>);

/// getaddrinfo(3).
pub unsafe fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    guarded(EAI_SYSTEM, || {
        // SAFETY: the contract is the caller's.
        unsafe { getaddrinfo_by(&resolver(), node, service, hints, result) }
    })
}

/// getaddrinfo(3) by a given resolver.
///
/// # Safety
/// Strings end, `hints` is null or valid, `result` may be written.
pub(super) unsafe fn getaddrinfo_by(
    resolver: &Resolver,
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> Outcome {
    // SAFETY: the caller's string.
    let node = unsafe { text(node) };
    // SAFETY: the caller's string.
    let service = unsafe { text(service) };
    // SAFETY: null or valid.
    let given = unsafe { hints.as_ref() };
    let hints = given.map_or_else(Hints::default, |given| Hints {
        flags: given.ai_flags,
        family: given.ai_family,
        socket_type: given.ai_socktype,
        protocol: given.ai_protocol,
    });
    match resolver.address_list(node.as_deref(), service.as_deref(), hints) {
        Err(error) => failed(error),
        Ok(list) => match chain(&list, hints.flags) {
            None => (EAI_MEMORY, None),
            Some(head) => {
                // SAFETY: the caller's place for the result.
                unsafe { result.write(head) };
                (0, None)
            }
        },
    }
}

fn failed(error: LookupError) -> Outcome {
    match error {
        LookupError::AddressFamily => (EAI_ADDRFAMILY, None),
        LookupError::Again => (EAI_AGAIN, None),
        LookupError::BadFlags => (EAI_BADFLAGS, None),
        LookupError::Family => (EAI_FAMILY, None),
        LookupError::IdnEncode => (EAI_IDN_ENCODE, None),
        LookupError::NoData => (EAI_NODATA, None),
        LookupError::NoName => (EAI_NONAME, None),
        LookupError::Service => (EAI_SERVICE, None),
        LookupError::SocketType => (EAI_SOCKTYPE, None),
        LookupError::System(error) => (EAI_SYSTEM, Some(error)),
    }
}

/// One element with its address behind it.
#[repr(C)]
struct Node {
    info: addrinfo,
    address: SocketAddress,
}

#[repr(C)]
union SocketAddress {
    four: sockaddr_in,
    six: sockaddr_in6,
}

/// The list in C's memory. None: there was none left.
fn chain(list: &AddressList, flags: c_int) -> Option<*mut addrinfo> {
    let mut head: *mut addrinfo = ptr::null_mut();
    // From the last to the first, so that each knows its next.
    for entry in list.entries.iter().rev() {
        let Some(node) = allocate(entry, flags, head) else {
            // SAFETY: the chain so far is ours and nobody else knows it.
            unsafe { freeaddrinfo(head) };
            return None;
        };
        head = node;
    }
    if let Some(name) = &list.canonical_name {
        let name = terminated(name);
        // SAFETY: a string that ends.
        let copy = unsafe { libc::strdup(name.as_ptr()) };
        if copy.is_null() {
            // SAFETY: as above.
            unsafe { freeaddrinfo(head) };
            return None;
        }
        // SAFETY: a list has one element at least, and nobody else knows it.
        unsafe { (*head).ai_canonname = copy };
    }
    Some(head)
}

fn allocate(entry: &Entry, flags: c_int, next: *mut addrinfo) -> Option<*mut addrinfo> {
    // SAFETY: any size is allowed.
    let node: *mut Node = unsafe { libc::malloc(size_of::<Node>()) }.cast();
    if node.is_null() {
        return None;
    }
    let (family, length, address) = match entry.address {
        SocketAddr::V4(four) => {
            (AF_INET, size_of::<sockaddr_in>(), SocketAddress { four: c_address_4(four) })
        }
        SocketAddr::V6(six) => (AF_INET6, size_of::<sockaddr_in6>(), SocketAddress { six: c_address_6(six) }),
    };
    let info = addrinfo {
        ai_flags: flags,
        ai_family: family,
        ai_socktype: entry.socket_type,
        ai_protocol: entry.protocol,
        ai_addrlen: length as socklen_t,
        ai_addr: node.wrapping_byte_add(offset_of!(Node, address)).cast(),
        ai_canonname: ptr::null_mut(),
        ai_next: next,
    };
    // SAFETY: a fresh block of the right size; malloc aligns for any type.
    unsafe { node.write(Node { info, address }) };
    Some(node.cast())
}

fn c_address_4(address: SocketAddrV4) -> sockaddr_in {
    sockaddr_in {
        sin_family: AF_INET as sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn c_address_6(address: SocketAddrV6) -> sockaddr_in6 {
    sockaddr_in6 {
        sin6_family: AF_INET6 as sa_family_t,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: 0,
        sin6_addr: in6_addr { s6_addr: address.ip().octets() },
        sin6_scope_id: address.scope_id(),
    }
}

/// A string for C, up to the first NUL: names come from strings of C and from files.
fn terminated(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).expect("there is no NUL before the first one")
}

/// freeaddrinfo(3). Null is an empty list.
pub unsafe fn freeaddrinfo(list: *mut addrinfo) {
    let mut next = list;
    while !next.is_null() {
        // SAFETY: the caller's list, or the rest of it; read before it is freed.
        let info = unsafe { next.read() };
        // SAFETY: malloc's block, or null.
        unsafe { libc::free(info.ai_canonname.cast()) };
        // SAFETY: malloc's block, which nothing points to any more.
        unsafe { libc::free(next.cast()) };
        next = info.ai_next;
    }
}

/// getnameinfo(3).
pub unsafe fn getnameinfo(
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_length: socklen_t,
    service: *mut c_char,
    service_length: socklen_t,
    flags: c_int,
) -> c_int {
    guarded(EAI_SYSTEM, || {
        let host = Buffer { start: host, length: host_length as usize };
        let service = Buffer { start: service, length: service_length as usize };
        // SAFETY: the contract is the caller's.
        unsafe { getnameinfo_by(&resolver(), address, length, host, service, flags) }
    })
}

/// Where a string is to go. Null or empty: nowhere.
pub(super) struct Buffer {
    pub(super) start: *mut c_char,
    pub(super) length: usize,
}

impl Buffer {
    fn is_wanted(&self) -> bool {
        !self.start.is_null() && self.length > 0
    }

    /// False: the string does not fit, and nothing is written.
    ///
    /// # Safety
    /// A buffer that is wanted may be written in its whole length.
    unsafe fn fill(&self, text: Option<&str>) -> bool {
        let Some(text) = text.map(terminated).filter(|_| self.is_wanted()) else { return true };
        let octets = text.as_bytes_with_nul();
        if octets.len() > self.length {
            return false;
        }
        // SAFETY: the caller's buffer is long enough, and not part of the string, which is ours.
        unsafe { ptr::copy_nonoverlapping(octets.as_ptr(), self.start.cast(), octets.len()) };
        true
    }
}

/// getnameinfo(3) by a given resolver.
///
/// # Safety
/// `length` octets at `address` may be read, the buffers written.
pub(super) unsafe fn getnameinfo_by(
    resolver: &Resolver,
    address: *const sockaddr,
    length: socklen_t,
    host: Buffer,
    service: Buffer,
    flags: c_int,
) -> Outcome {
    if let Err(error) = Resolver::check_name_flags(flags) {
        return failed(error);
    }
    if address.is_null() || (length as usize) < size_of::<sa_family_t>() {
        return (EAI_FAMILY, None);
    }
    if flags & NI_NAMEREQD != 0 && host.start.is_null() && service.start.is_null() {
        return (EAI_NONAME, None);
    }
    // SAFETY: the caller's address.
    let answer = match unsafe { given_address(address, length as usize) } {
        None => return (EAI_FAMILY, None),
        Some(Given::Internet(address)) => {
            match resolver.name_and_service(address, host.is_wanted(), service.is_wanted(), flags) {
                Ok(answer) => (answer.host, answer.service),
                Err(error) => return failed(error),
            }
        }
        Some(Given::Local(path)) => (Some(local_host(resolver, flags)), Some(path)),
    };
    // SAFETY: the caller's buffer.
    let host_fits = unsafe { host.fill(answer.0.as_deref()) };
    // SAFETY: the caller's buffer.
    let fits = host_fits && unsafe { service.fill(answer.1.as_deref()) };
    (if fits { 0 } else { EAI_OVERFLOW }, None)
}

/// The host of an AF_UNIX address is this one.
fn local_host(resolver: &Resolver, flags: c_int) -> String {
    let name = if flags & NI_NUMERICHOST == 0 { resolver.machine_name() } else { None };
    name.unwrap_or_else(|| "localhost".to_owned())
}

enum Given {
    Internet(SocketAddr),
    Local(String),
}

/// The address that a program passes, None when it is of no known family or too short for its own.
///
/// # Safety
/// `length` octets at `address` may be read, two at least.
unsafe fn given_address(address: *const sockaddr, length: usize) -> Option<Given> {
    // SAFETY: the caller's two octets; programs align such things as they like.
    let family = unsafe { address.cast::<sa_family_t>().read_unaligned() };
    match c_int::from(family) {
        AF_INET if length >= size_of::<sockaddr_in>() => {
            // SAFETY: long enough.
            let four = unsafe { address.cast::<sockaddr_in>().read_unaligned() };
            let octets = four.sin_addr.s_addr.to_ne_bytes();
            Some(Given::Internet(SocketAddr::from((octets, u16::from_be(four.sin_port)))))
        }
        AF_INET6 if length >= size_of::<sockaddr_in6>() => {
            // SAFETY: long enough.
            let six = unsafe { address.cast::<sockaddr_in6>().read_unaligned() };
            let (octets, port) = (six.sin6_addr.s6_addr, u16::from_be(six.sin6_port));
            Some(Given::Internet(SocketAddrV6::new(octets.into(), port, 0, six.sin6_scope_id).into()))
        }
        AF_UNIX => {
            let start = address.wrapping_byte_add(offset_of!(sockaddr_un, sun_path)).cast::<u8>();
            let longest = size_of::<sockaddr_un>() - offset_of!(sockaddr_un, sun_path);
            let room = length.saturating_sub(offset_of!(sockaddr_un, sun_path)).min(longest);
            // SAFETY: the octets of the caller's address behind the family.
            let path = unsafe { std::slice::from_raw_parts(start, room) };
            let path = path.split(|octet| *octet == 0).next().unwrap_or_default();
            Some(Given::Local(String::from_utf8_lossy(path).into_owned()))
        }
        _ => None,
    }
}
