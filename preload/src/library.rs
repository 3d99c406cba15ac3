//! Loading libraries: RTLD_DEEPBIND would let a library find libc's names before ours, and go round us.

use core::ffi::c_char;

use libc::{c_int, c_void};

use crate::next::Symbol;

/// libc's dlopen, or null.
extern "C" fn next_dlopen() -> *mut c_void {
    static NEXT: Symbol = Symbol::new(c"dlopen");
    NEXT.address()
}

/// dlopen(3) without RTLD_DEEPBIND.
///
/// libc looks at its return address to learn who asks, for the search path ($ORIGIN, RUNPATH) and the namespace are
/// the caller's. So this jumps to it, with the stack as it was, instead of calling it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void {
    core::arch::naked_asm!(
        "and esi, {kept}",
        "push rdi",
        "push rsi",
        "sub rsp, 8",
        "call {next}",
        "add rsp, 8",
        "pop rsi",
        "pop rdi",
        "test rax, rax",
        "jz 2f",
        "jmp rax",
        "2:",
        "ret",
        kept = const !libc::RTLD_DEEPBIND,
        next = sym next_dlopen,
    )
}
