//! libc's `syscall()`: some programs make their socket calls by number. libuv closes with it, dig sends with it,
//! jemalloc reads its settings with it inside the first malloc, and the locks of Rust's std wait in it.
//!
//! So nothing here allocates, takes a lock or asks the dynamic linker: a call that we care about goes to the same
//! function as its name does, with the raw way to the kernel behind it (libc's `syscall` is no cancellation point
//! either), and every other one straight to the kernel. io_uring is denied: its submissions pass us by, and
//! programs that find it missing fall back to epoll.

use libc::{c_int, c_long};
use tubesock::abi::direct::Direct;
use tubesock::abi::process::deliver;
use tubesock::abi::sockets;
use tubesock::sys::raw::{fail, returned, system_call};

use crate::descriptors::{close_range, is_guarded, may_replace};
use crate::namespaces::{departing, departs};

/// syscall(2). libc's is variadic: seven fixed arguments read the same registers and the same place on the stack.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    // SAFETY: the caller keeps the contract of the system call that it names.
    unsafe { dispatch(number, [a, b, c, d, e, f]) }
}

/// Calls `$function` with as many arguments as it has, each cast to its type, and widens the result.
macro_rules! call {
    ($function:path, $($argument:expr),*) => {
        // SAFETY: the caller of `dispatch` passes what the system call of that name asks for.
        unsafe { $function($($argument as _),*) as c_long }
    };
}

/// # Safety
/// The arguments must be what the system call `number` asks for.
unsafe fn dispatch(number: c_long, arguments: [usize; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let (fd, onto) = (a as c_int, b as c_int);
    match number {
        libc::SYS_socket => call!(sockets::socket::<Direct>, a, b, c),
        libc::SYS_bind => call!(sockets::bind::<Direct>, a, b, c),
        libc::SYS_connect => call!(sockets::connect::<Direct>, a, b, c),
        libc::SYS_listen => call!(sockets::listen::<Direct>, a, b),
        libc::SYS_accept => call!(sockets::accept4::<Direct>, a, b, c, 0),
        libc::SYS_accept4 => call!(sockets::accept4::<Direct>, a, b, c, d),
        libc::SYS_getsockname => call!(sockets::getsockname::<Direct>, a, b, c),
        libc::SYS_getpeername => call!(sockets::getpeername::<Direct>, a, b, c),
        libc::SYS_getsockopt => call!(sockets::getsockopt::<Direct>, a, b, c, d, e),
        libc::SYS_setsockopt => call!(sockets::setsockopt::<Direct>, a, b, c, d, e),
        libc::SYS_shutdown => call!(sockets::shutdown::<Direct>, a, b),
        libc::SYS_ioctl => call!(sockets::ioctl::<Direct>, a, b, c),

        libc::SYS_read => call!(sockets::read::<Direct>, a, b, c),
        libc::SYS_readv => call!(sockets::readv::<Direct>, a, b, c),
        libc::SYS_recvfrom => call!(sockets::recvfrom::<Direct>, a, b, c, d, e, f),
        libc::SYS_recvmsg => call!(sockets::recvmsg::<Direct>, a, b, c),
        libc::SYS_recvmmsg => call!(sockets::recvmmsg::<Direct>, a, b, c, d, e),
        libc::SYS_write => call!(sockets::write::<Direct>, a, b, c),
        libc::SYS_writev => call!(sockets::writev::<Direct>, a, b, c),
        libc::SYS_sendto => call!(sockets::sendto::<Direct>, a, b, c, d, e, f),
        libc::SYS_sendmsg => call!(sockets::sendmsg::<Direct>, a, b, c),
        libc::SYS_sendmmsg => call!(sockets::sendmmsg::<Direct>, a, b, c, d),

        libc::SYS_close => call!(sockets::close::<Direct>, a),
        libc::SYS_close_range => call!(close_range, a, b, c),
        libc::SYS_dup | libc::SYS_fcntl if is_guarded(fd) => -1,
        libc::SYS_dup2 | libc::SYS_dup3 if !may_replace(fd, onto) => -1,
        libc::SYS_dup2 | libc::SYS_dup3 => {
            // SAFETY: numbers only.
            let result = returned(unsafe { system_call(number as usize, arguments) });
            sockets::replaced();
            result as c_long
        }

        libc::SYS_io_uring_setup | libc::SYS_io_uring_enter | libc::SYS_io_uring_register => {
            c_long::from(fail(libc::ENOSYS))
        }
        _ => {
            if number == libc::SYS_exit_group {
                deliver();
            }
            // SAFETY: the caller keeps the contract of this call.
            let call = || returned(unsafe { system_call(number as usize, arguments) }) as c_long;
            if departs(number, arguments) { departing(call) } else { call() }
        }
    }
}
