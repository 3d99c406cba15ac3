//! Names as the machine knows them: libc's own getaddrinfo, with its files, its nsswitch.conf and the kernel's network.
//!
//! In a preloaded program the name `getaddrinfo` leads to us; the next one of that name, in the order of loading, is
//! libc's. It blocks, and so is for the start only. A module of nsswitch.conf that makes an Internet socket by its public
//! name would wait for the host that is just being started: none of Debian's does.

use core::ffi::{CStr, c_char, c_int};
use core::mem::transmute;
use core::ptr;
use std::ffi::CString;
use std::net::{IpAddr, SocketAddr};

type Ask = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const libc::addrinfo,
    *mut *mut libc::addrinfo,
) -> c_int;
type Free = unsafe extern "C" fn(*mut libc::addrinfo);

/// The first address of `name`, with a port. The error is a reason for a person.
pub fn first(name: &str, port: u16) -> Result<SocketAddr, String> {
    let address = addresses(name)?.into_iter().next().ok_or("the name has no address")?;
    Ok(SocketAddr::new(address, port))
}

/// The addresses of `name`, in the order in which to try them.
fn addresses(name: &str) -> Result<Vec<IpAddr>, String> {
    let name = CString::new(name).map_err(|_| "a zero byte in a name".to_owned())?;
    let (ask, free) = functions().ok_or("this program has no getaddrinfo; write an address")?;
    let mut hints = libc::addrinfo {
        ai_flags: 0,
        ai_family: libc::AF_UNSPEC,
        ai_socktype: libc::SOCK_DGRAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    };
    let mut list: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: a string, no service, hints with nothing but numbers, and a place for the list.
    let status = unsafe { ask(name.as_ptr(), ptr::null(), &raw mut hints, &raw mut list) };
    if status != 0 {
        return Err(reason(status));
    }
    let mut found = Vec::new();
    let mut place = list;
    // SAFETY: getaddrinfo made a list that ends with null, and nobody else has it.
    while let Some(entry) = unsafe { place.as_ref() } {
        found.extend(address(entry));
        place = entry.ai_next;
    }
    // SAFETY: the list came from the same library, and nothing borrows from it any more.
    unsafe { free(list) };
    Ok(found)
}

/// libc's getaddrinfo and freeaddrinfo.
fn functions() -> Option<(Ask, Free)> {
    let (ask, free) = (next(c"getaddrinfo"), next(c"freeaddrinfo"));
    if ask.is_null() || free.is_null() {
        return None;
    }
    // SAFETY: the symbol is the function of POSIX, which has this type.
    let ask = unsafe { transmute::<*mut libc::c_void, Ask>(ask) };
    // SAFETY: as above.
    let free = unsafe { transmute::<*mut libc::c_void, Free>(free) };
    Some((ask, free))
}

fn next(name: &CStr) -> *mut libc::c_void {
    // SAFETY: a string; dlsym only looks it up.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

fn reason(status: c_int) -> String {
    // SAFETY: it takes any number, and gives a string that stays.
    let text = unsafe { libc::gai_strerror(status) };
    if text.is_null() {
        return format!("error {status}");
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn address(entry: &libc::addrinfo) -> Option<IpAddr> {
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: an entry of this family has a sockaddr_in.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().as_ref() }?;
            Some(IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: likewise, a sockaddr_in6.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().as_ref() }?;
            Some(IpAddr::from(address.sin6_addr.s6_addr))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_names() {
        let found = addresses("localhost").expect("/etc/hosts has it");
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
        assert_eq!(first("192.0.2.1", 7), Ok("192.0.2.1:7".parse().expect("an address")));
        addresses("a\0b").expect_err("no name");
    }
}
