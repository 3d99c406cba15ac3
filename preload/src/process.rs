//! The start of a process, and the ends that pass libc's exit by; the others are `tubesock::abi::process`.

use libc::c_int;
use tubesock::abi::process::deliver;
use tubesock::host::reserve_variable;
use tubesock::system_call;

use crate::next::Symbol;

/// Run by the dynamic linker when the program starts, while it has one thread.
#[used]
#[unsafe(link_section = ".init_array")]
static STARTED: extern "C" fn() = {
    extern "C" fn started() {
        reserve_variable();
    }
    started
};

/// _exit(2)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn _exit(status: c_int) -> ! {
    static NEXT: Symbol = Symbol::new(c"_exit");
    deliver();
    // SAFETY: the type of libc's function.
    if let Some(next) = unsafe { NEXT.function::<unsafe extern "C-unwind" fn(c_int) -> !>() } {
        // SAFETY: no precondition.
        unsafe { next(status) }
    }
    loop {
        // SAFETY: no precondition; it does not return.
        let _: c_int = unsafe { system_call!(SYS_exit_group, status) };
    }
}

/// _Exit(3)
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn _Exit(status: c_int) -> ! {
    // SAFETY: no precondition.
    unsafe { _exit(status) }
}
