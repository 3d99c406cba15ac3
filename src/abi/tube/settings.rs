//! Set-up, before the first socket.

use core::ffi::{CStr, c_char, c_int};

use crate::host;
use crate::sys::raw::fail;

/// Sets the variable `name` ("TUBESOCK_LINK", "TUBESOCK_CAPTURE", "TUBESOCK_PUBLISH", "TUBESOCK_LOG", ...) to
/// `value` for the stack of this process. It outweighs the variable of the environment. The stack starts with the
/// first tube_socket() or tube_getaddrinfo(); after that nothing can be set.
///
/// Both strings are copied. Returns 0, or -1 with errno:
/// EINVAL (no such name, or a value that cannot be used: the log says why), EBUSY (the stack has started).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_configure(name: *const c_char, value: *const c_char) -> c_int {
    // SAFETY: the caller passes two C strings, or null.
    match (unsafe { text(name) }, unsafe { text(value) }) {
        (Some(name), Some(value)) => {
            host::configure(name, value).map_or_else(|error| fail(error.errno()), |()| 0)
        }
        _ => fail(libc::EINVAL),
    }
}

/// # Safety
/// Null or a C string that lives as long as the result is used.
unsafe fn text<'a>(string: *const c_char) -> Option<&'a str> {
    // SAFETY: not null here, so a C string.
    (!string.is_null()).then(|| unsafe { CStr::from_ptr(string) })?.to_str().ok()
}
