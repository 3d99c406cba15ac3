//! Interfaces: the stack's own, and not the machine's.

use core::ffi::{c_char, c_int, c_uint};

use libc::{if_nameindex as Named, ifaddrs};
use tubesock::abi::interfaces;

/// getifaddrs(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn getifaddrs(list: *mut *mut ifaddrs) -> c_int {
    // SAFETY: the caller keeps the contract of getifaddrs(3).
    unsafe { interfaces::getifaddrs(list) }
}

/// freeifaddrs(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn freeifaddrs(list: *mut ifaddrs) {
    // SAFETY: the caller keeps the contract of freeifaddrs(3).
    unsafe { interfaces::freeifaddrs(list) }
}

/// if_nametoindex(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn if_nametoindex(name: *const c_char) -> c_uint {
    // SAFETY: the caller keeps the contract of if_nametoindex(3).
    unsafe { interfaces::if_nametoindex(name) }
}

/// if_indextoname(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
    // SAFETY: the caller keeps the contract of if_indextoname(3).
    unsafe { interfaces::if_indextoname(index, name) }
}

/// if_nameindex(3)
#[unsafe(no_mangle)]
extern "C" fn if_nameindex() -> *mut Named {
    interfaces::if_nameindex()
}

/// if_freenameindex(3)
#[unsafe(no_mangle)]
unsafe extern "C" fn if_freenameindex(list: *mut Named) {
    // SAFETY: the caller keeps the contract of if_freenameindex(3).
    unsafe { interfaces::if_freenameindex(list) }
}
