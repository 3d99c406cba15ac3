//! The end of a process, and its forks.
//!
//! The host dies with the process it runs in, so what the program wrote must be delivered before. Of the ways to end,
//! `exit`, a return from `main` and `quick_exit` come by here, `_exit` by the preload; `abort`, a fatal signal
//! and a raw exit_group come by nothing, and lose what was not yet sent. So does exec in the very process that runs the
//! host: it may fail, and then the program goes on, so nothing can be ended before it.
//!
//! libc flushes its streams after the last destructor, with writes that we never see. A stream may lie on a descriptor
//! of ours (fdopen, or standard output after dup2), so the destructor flushes them first.
//!
//! A child of fork, and of vfork in our memory, is not the process that runs the host: `host::is_here` tells.

use crate::host;
use libc::{FILE, c_int};

unsafe extern "C" {
    static stdin: *mut FILE;
    static stdout: *mut FILE;
    fn ftrylockfile(stream: *mut FILE) -> c_int;
    fn funlockfile(stream: *mut FILE);
    fn at_quick_exit(function: extern "C" fn()) -> c_int;
}

/// Delivers what this process wrote, if it runs a host.
pub fn deliver() {
    if host::is_here() {
        host::drain_at_exit();
    }
}

/// Run by the dynamic linker when the program starts, before main but after other libraries may have used us: nothing
/// depends on it but these registrations.
#[used]
#[unsafe(link_section = ".init_array")]
static STARTED: extern "C" fn() = {
    extern "C" fn started() {
        // A program may clear its environment before its first socket, as nginx does.
        host::remember_settings();
        // SAFETY: the handler is a function of this library; libc forgets it when the library goes.
        unsafe { libc::pthread_atfork(None, None, Some(forked_child)) };
        // SAFETY: the same.
        unsafe { at_quick_exit(quick_exit) };
    }
    started
};

unsafe extern "C" fn forked_child() {
    host::forked_child();
}

extern "C" fn quick_exit() {
    deliver();
}

/// Run by exit(3) after the program's own handlers, and before libc's last flush.
#[used]
#[unsafe(link_section = ".fini_array")]
static ENDED: extern "C" fn() = {
    extern "C" fn ended() {
        if host::is_here() {
            flush_streams();
            host::drain_at_exit();
        }
    }
    ended
};

/// fflush(NULL) waits for the lock of every stream, and a thread that sits in fgets(stdin) holds that one for ever:
/// then only standard output is flushed.
fn flush_streams() {
    // SAFETY: libc's own variable, set before any program code runs; the program may assign to it, not free it.
    let (input, output) = (unsafe { stdin }, unsafe { stdout });
    if !with_lock(input, core::ptr::null_mut()) {
        with_lock(output, output);
    }
}

/// Flushes `flushed` (null: all streams) while holding the lock of `held`, which is recursive. False when another
/// thread has that lock.
fn with_lock(held: *mut FILE, flushed: *mut FILE) -> bool {
    // SAFETY: an open stream.
    if held.is_null() || unsafe { ftrylockfile(held) } != 0 {
        return false;
    }
    // SAFETY: an open stream, or null.
    unsafe { libc::fflush(flushed) };
    // SAFETY: locked above.
    unsafe { funlockfile(held) };
    true
}
