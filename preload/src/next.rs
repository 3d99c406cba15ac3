//! The functions that these names had before us: libc's, or those of another preload or of a sanitizer.
//!
//! Each is looked up on its first use with `dlsym(RTLD_NEXT)`, which allocates nothing for a name that exists, and
//! takes no lock of ours. A name that nobody has falls back to the raw system call. A call that passes through
//! here stays a cancellation point, which a raw one would not be: hence "C-unwind".

use core::ffi::CStr;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{
    c_int, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, nfds_t, pollfd, sigset_t, size_t, sockaddr,
    socklen_t, ssize_t, timespec,
};
use tubesock::abi::direct::Direct;
use tubesock::abi::kernel::Kernel;

/// One libc function behind ours, found on first use.
pub(crate) struct Symbol {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

/// What `Symbol::address` holds when nobody has the name.
const MISSING: *mut c_void = core::ptr::without_provenance_mut(1);

impl Symbol {
    pub(crate) const fn new(name: &'static CStr) -> Symbol {
        Symbol { name, address: AtomicPtr::new(null_mut()) }
    }

    /// The function's address, or null when nobody has the name. Threads that race find the same answer, so a
    /// relaxed store is enough.
    pub(crate) fn address(&self) -> *mut c_void {
        let mut address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            // SAFETY: the name is a C string that lives for ever.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            let known = if address.is_null() { MISSING } else { address };
            self.address.store(known, Ordering::Relaxed);
        }
        if address == MISSING { null_mut() } else { address }
    }

    /// The function as a pointer of type `F`.
    ///
    /// # Safety
    /// `F` must be the type of a pointer to the function that libc has under this name.
    pub(crate) unsafe fn function<F: Copy>(&self) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let address = self.address();
        // SAFETY: both have the size of a pointer, and the caller answers for the type.
        (!address.is_null()).then(|| unsafe { core::mem::transmute_copy(&address) })
    }
}

/// Calls the next function of the name: `next!(read(fd, buffer, length) or Direct::read)`, with what to call when
/// nobody has it. The types are those of the arguments and of the result. Only inside an `unsafe fn` that has the
/// contract of that function.
macro_rules! next {
    ($name:ident($($argument:expr),*) or $fallback:expr) => {{
        static SYMBOL: $crate::next::Symbol = $crate::next::Symbol::new(
            match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("an identifier has no zero byte"),
            },
        );
        // SAFETY: the arguments have the types of libc's function, since ours has its signature.
        match unsafe { SYMBOL.function::<unsafe extern "C-unwind" fn($($crate::next::next!(@any $argument)),*) -> _>() } {
            // SAFETY: the caller keeps the contract of the function, and the arguments are passed on as they came.
            Some(next) => unsafe { next($($argument),*) },
            // SAFETY: the same.
            None => unsafe { $fallback($($argument),*) },
        }
    }};
    (@any $argument:expr) => { _ };
}
pub(crate) use next;

/// Pass-through by RTLD_NEXT.
pub(crate) struct Next;

impl Kernel for Next {
    unsafe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        next!(socket(domain, kind, protocol) or Direct::socket)
    }

    unsafe fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
        next!(bind(fd, address, length) or Direct::bind)
    }

    unsafe fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
        next!(connect(fd, address, length) or Direct::connect)
    }

    unsafe fn listen(fd: c_int, backlog: c_int) -> c_int {
        next!(listen(fd, backlog) or Direct::listen)
    }

    unsafe fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int {
        next!(accept4(fd, address, length, flags) or Direct::accept4)
    }

    unsafe fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
        next!(getsockname(fd, address, length) or Direct::getsockname)
    }

    unsafe fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
        next!(getpeername(fd, address, length) or Direct::getpeername)
    }

    unsafe fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_void,
        length: *mut socklen_t,
    ) -> c_int {
        next!(getsockopt(fd, level, name, value, length) or Direct::getsockopt)
    }

    unsafe fn setsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *const c_void,
        length: socklen_t,
    ) -> c_int {
        next!(setsockopt(fd, level, name, value, length) or Direct::setsockopt)
    }

    unsafe fn shutdown(fd: c_int, how: c_int) -> c_int {
        next!(shutdown(fd, how) or Direct::shutdown)
    }

    unsafe fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
        next!(read(fd, buffer, length) or Direct::read)
    }

    unsafe fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
        next!(write(fd, buffer, length) or Direct::write)
    }

    unsafe fn readv(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
        next!(readv(fd, vector, count) or Direct::readv)
    }

    unsafe fn writev(fd: c_int, vector: *const iovec, count: c_int) -> ssize_t {
        next!(writev(fd, vector, count) or Direct::writev)
    }

    unsafe fn recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        length: size_t,
        flags: c_int,
        from: *mut sockaddr,
        from_length: *mut socklen_t,
    ) -> ssize_t {
        next!(recvfrom(fd, buffer, length, flags, from, from_length) or Direct::recvfrom)
    }

    unsafe fn sendto(
        fd: c_int,
        buffer: *const c_void,
        length: size_t,
        flags: c_int,
        to: *const sockaddr,
        to_length: socklen_t,
    ) -> ssize_t {
        next!(sendto(fd, buffer, length, flags, to, to_length) or Direct::sendto)
    }

    unsafe fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
        next!(recvmsg(fd, message, flags) or Direct::recvmsg)
    }

    unsafe fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
        next!(sendmsg(fd, message, flags) or Direct::sendmsg)
    }

    unsafe fn recvmmsg(
        fd: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut timespec,
    ) -> c_int {
        next!(recvmmsg(fd, messages, count, flags, timeout) or Direct::recvmmsg)
    }

    unsafe fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
        next!(sendmmsg(fd, messages, count, flags) or Direct::sendmmsg)
    }

    unsafe fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
        next!(ioctl(fd, request, argument) or Direct::ioctl)
    }

    unsafe fn close(fd: c_int) -> c_int {
        next!(close(fd) or Direct::close)
    }

    unsafe fn ppoll(
        fds: *mut pollfd,
        count: nfds_t,
        timeout: *const timespec,
        mask: *const sigset_t,
    ) -> c_int {
        next!(ppoll(fds, count, timeout, mask) or Direct::ppoll)
    }
}
