//! gethostbyname(3), gethostbyaddr(3), their `2` and their `_r`. A hostent is laid out in the caller's buffer; those
//! without `_r` keep the last one per thread, where libc keeps one per process.

use super::{NETDB_INTERNAL, NETDB_SUCCESS, NO_DATA, guarded, h_errno_of, resolver, set_h_errno, text};
use crate::error::Error;
use crate::resolver::{Failure, Family, Host, Resolver};
use libc::{AF_INET, AF_INET6, c_char, c_int, c_void, hostent, size_t, socklen_t};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// gethostbyname(3): IPv4 only, as in glibc since 2.26.
pub unsafe fn gethostbyname(name: *const c_char) -> *mut hostent {
    // SAFETY: the contract is the caller's.
    unsafe { gethostbyname2(name, AF_INET) }
}

/// gethostbyname2(3).
pub unsafe fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
    guarded(ptr::null_mut(), || {
        // SAFETY: the caller's string.
        kept(unsafe { by_name(&resolver(), name, family) })
    })
}

/// gethostbyaddr(3).
pub unsafe fn gethostbyaddr(address: *const c_void, length: socklen_t, family: c_int) -> *mut hostent {
    guarded(ptr::null_mut(), || {
        // SAFETY: the caller's address.
        kept(unsafe { by_address(&resolver(), address, length, family) })
    })
}

/// gethostbyname_r(3).
pub unsafe fn gethostbyname_r(
    name: *const c_char,
    entry: *mut hostent,
    buffer: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    h_errno: *mut c_int,
) -> c_int {
    // SAFETY: the contract is the caller's.
    unsafe { gethostbyname2_r(name, AF_INET, entry, buffer, length, result, h_errno) }
}

/// gethostbyname2_r(3).
pub unsafe fn gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    h_errno: *mut c_int,
) -> c_int {
    let place = Place { entry, buffer, length, result, h_errno };
    guarded(libc::EIO, || {
        // SAFETY: the caller's string.
        let found = unsafe { by_name(&resolver(), name, family) };
        // SAFETY: the caller's places.
        unsafe { place.put(found) }
    })
}

/// gethostbyaddr_r(3).
#[allow(clippy::too_many_arguments)] // glibc's
pub unsafe fn gethostbyaddr_r(
    address: *const c_void,
    address_length: socklen_t,
    family: c_int,
    entry: *mut hostent,
    buffer: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    h_errno: *mut c_int,
) -> c_int {
    let place = Place { entry, buffer, length, result, h_errno };
    guarded(libc::EIO, || {
        // SAFETY: the caller's address.
        let found = unsafe { by_address(&resolver(), address, address_length, family) };
        // SAFETY: the caller's places.
        unsafe { place.put(found) }
    })
}

/// A failure in C's terms: what h_errno says, and what a `_r` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotFound {
    h_errno: c_int,
    error: Option<Error>,
}

impl NotFound {
    /// A `_r` returns 0 for "there is none" and an errno for "I could not tell" (glibc's getXXbyYY_r).
    fn by_name(failure: Failure) -> Self {
        let error = match failure {
            Failure::HostNotFound | Failure::NoData | Failure::NoRecovery => None,
            Failure::Unrelated | Failure::ServerFailed | Failure::TimedOut => Some(Error::WouldBlock),
            Failure::System(error) => Some(error),
        };
        NotFound { h_errno: h_errno_of(failure), error }
    }

    /// Of an address it says 0 even for TRY_AGAIN.
    fn by_address(failure: Failure) -> Self {
        let error = if let Failure::System(error) = failure { Some(error) } else { None };
        NotFound { h_errno: h_errno_of(failure), error }
    }

    const TOO_SMALL: NotFound =
        NotFound { h_errno: NETDB_INTERNAL, error: Some(Error::Kernel(libc::ERANGE)) };
}

/// # Safety
/// `name` is null or a string that ends.
pub(super) unsafe fn by_name(
    resolver: &Resolver,
    name: *const c_char,
    family: c_int,
) -> Result<Host, NotFound> {
    let family = match family {
        AF_INET => Family::Inet,
        AF_INET6 => Family::Inet6,
        _ => return Err(NotFound { h_errno: NO_DATA, error: Some(Error::AddressFamilyNotSupported) }),
    };
    // SAFETY: the caller's string.
    let name = unsafe { text(name) }.unwrap_or_default();
    resolver.host_by_name(&name, family).map_err(NotFound::by_name)
}

/// # Safety
/// `length` octets at `address` may be read.
pub(super) unsafe fn by_address(
    resolver: &Resolver,
    address: *const c_void,
    length: socklen_t,
    family: c_int,
) -> Result<Host, NotFound> {
    let address: IpAddr = match (family, length as usize) {
        (AF_INET, 4) => {
            // SAFETY: the caller's four octets.
            let octets = unsafe { address.cast::<[u8; 4]>().read_unaligned() };
            Ipv4Addr::from(octets).into()
        }
        (AF_INET6, 16) => {
            // SAFETY: the caller's sixteen octets.
            let octets = unsafe { address.cast::<[u8; 16]>().read_unaligned() };
            Ipv6Addr::from(octets).into()
        }
        _ => {
            return Err(NotFound { h_errno: NETDB_INTERNAL, error: Some(Error::AddressFamilyNotSupported) });
        }
    };
    resolver.host_by_address(address).map_err(NotFound::by_address)
}

/// Where a `_r` puts its answer.
pub(super) struct Place {
    pub(super) entry: *mut hostent,
    pub(super) buffer: *mut c_char,
    pub(super) length: size_t,
    pub(super) result: *mut *mut hostent,
    pub(super) h_errno: *mut c_int,
}

impl Place {
    /// What the call returns, and errno when that is not 0.
    ///
    /// # Safety
    /// All places may be written, the buffer in its whole length.
    pub(super) unsafe fn put(&self, found: Result<Host, NotFound>) -> (c_int, Option<Error>) {
        let laid_out = found.and_then(|host| {
            let image = Image::of(&host, self.buffer.addr());
            if image.octets.len() > self.length {
                return Err(NotFound::TOO_SMALL);
            }
            // SAFETY: the caller's buffer is long enough, and the image is our own.
            unsafe {
                ptr::copy_nonoverlapping(image.octets.as_ptr(), self.buffer.cast(), image.octets.len())
            };
            // SAFETY: the caller's place.
            unsafe { self.entry.write(image.entry(self.buffer)) };
            Ok(())
        });
        let (result, h_errno, error) = match laid_out {
            Ok(()) => (self.entry, NETDB_SUCCESS, None),
            Err(not_found) => (ptr::null_mut(), not_found.h_errno, not_found.error),
        };
        // SAFETY: the caller's place.
        unsafe { self.result.write(result) };
        // SAFETY: the caller's place.
        unsafe { self.h_errno.write(h_errno) };
        (error.map_or(0, Error::errno), error)
    }
}

/// What goes into the buffer behind a hostent: two tables of pointers, the addresses, the strings.
struct Image {
    octets: Vec<u8>,
    name: usize,
    aliases: usize,
    addresses: usize,
    family: c_int,
    address_length: c_int,
}

impl Image {
    /// The octets as they must stand at `base`: the pointers in them are into themselves.
    fn of(host: &Host, base: usize) -> Image {
        let padding = base.wrapping_neg() % align_of::<usize>();
        let tables = (host.aliases.len() + 1 + host.addresses.len() + 1) * size_of::<usize>();
        let mut image = Image {
            octets: vec![0; padding + tables],
            name: 0,
            aliases: padding,
            addresses: padding + (host.aliases.len() + 1) * size_of::<usize>(),
            family: AF_INET,
            address_length: 4,
        };
        for (at, address) in host.addresses.iter().enumerate() {
            let start = match address {
                IpAddr::V4(four) => image.append(&four.octets()),
                IpAddr::V6(six) => {
                    (image.family, image.address_length) = (AF_INET6, 16);
                    image.append(&six.octets())
                }
            };
            image.point(image.addresses, at, base + start);
        }
        for (at, alias) in host.aliases.iter().enumerate() {
            let start = image.append_string(alias);
            image.point(image.aliases, at, base + start);
        }
        image.name = image.append_string(&host.name);
        image
    }

    fn append(&mut self, octets: &[u8]) -> usize {
        let start = self.octets.len();
        self.octets.extend_from_slice(octets);
        start
    }

    fn append_string(&mut self, text: &str) -> usize {
        let start = self.append(text.as_bytes());
        self.octets.push(0);
        start
    }

    /// Sets a pointer of the table at `table`. The last of each table stays null.
    fn point(&mut self, table: usize, at: usize, target: usize) {
        let place = table + at * size_of::<usize>();
        self.octets[place..place + size_of::<usize>()].copy_from_slice(&target.to_ne_bytes());
    }

    /// The hostent over the octets when they stand at `base`.
    fn entry(&self, base: *mut c_char) -> hostent {
        hostent {
            h_name: base.wrapping_add(self.name),
            h_aliases: base.wrapping_add(self.aliases).cast(),
            h_addrtype: self.family,
            h_length: self.address_length,
            h_addr_list: base.wrapping_add(self.addresses).cast(),
        }
    }
}

/// malloc's block with the thread's last hostent and what it points to.
struct Kept(Cell<*mut c_void>);

impl Kept {
    fn replace(&self, block: *mut c_void) {
        // SAFETY: malloc's block or null; a program must not use a result after the next call.
        unsafe { libc::free(self.0.replace(block)) };
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.replace(ptr::null_mut());
    }
}

thread_local! {
    static KEPT: Kept = const { Kept(Cell::new(ptr::null_mut())) };
}

/// Keeps the host for the program to read until its next call in this thread; sets h_errno when there is none.
fn kept(found: Result<Host, NotFound>) -> (*mut hostent, Option<Error>) {
    match found.and_then(keep) {
        Ok(entry) => (entry, None),
        Err(not_found) => {
            set_h_errno(not_found.h_errno);
            (ptr::null_mut(), not_found.error)
        }
    }
}

fn keep(host: Host) -> Result<*mut hostent, NotFound> {
    let out_of_memory = NotFound { h_errno: NETDB_INTERNAL, error: Some(Error::OutOfMemory) };
    // The size does not depend on the base, when that is aligned as malloc aligns.
    let length = size_of::<hostent>() + Image::of(&host, 0).octets.len();
    // SAFETY: any size is allowed.
    let block = unsafe { libc::malloc(length) };
    if block.is_null() {
        return Err(out_of_memory);
    }
    let entry: *mut hostent = block.cast();
    let buffer: *mut c_char = entry.wrapping_add(1).cast();
    let image = Image::of(&host, buffer.addr());
    // SAFETY: the block is as long as a hostent and the image, and fresh.
    unsafe { ptr::copy_nonoverlapping(image.octets.as_ptr(), buffer.cast(), image.octets.len()) };
    // SAFETY: the block begins with room for it; malloc aligns for any type.
    unsafe { entry.write(image.entry(buffer)) };
    // Without the place to keep it, in a thread that ends, it lives on: a leak, not a dangling pointer.
    let _ = KEPT.try_with(|kept| kept.replace(block));
    Ok(entry)
}
