//! A system call without libc: nothing allocates, no lock is taken, no thread is cancelled, and no symbol that the
//! shim interposes is used. So it works inside a program's first malloc, in a signal handler and in a vfork child.
//!
//! For the calls of the program whose pointers are passed on as they are; what we do for ourselves goes through
//! rustix's safe types.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("tubesock knows the system calls of Linux on x86_64 only");

/// Makes the system call `number` and returns what the kernel returned: from -4095 to -1 a negated errno.
///
/// # Safety
/// The arguments must be what the call asks for; the kernel reads and writes through those that are pointers.
#[inline(always)]
pub unsafe fn system_call(number: usize, arguments: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the registers are those of the x86_64 ABI, the clobbered ones are declared, and the caller answers
    // for what the kernel does with the arguments.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// The result in C's terms: a negated errno becomes -1, with errno set. A success leaves errno alone.
#[inline]
pub fn returned(result: isize) -> isize {
    if (-4095..0).contains(&result) { fail(-result as i32) as isize } else { result }
}

/// This thread's errno.
pub fn errno() -> i32 {
    // SAFETY: it points to this thread's errno, which lives as long as the thread.
    unsafe { *errno_place() }
}

/// Sets errno.
pub fn set_errno(errno: i32) {
    // SAFETY: as above.
    unsafe { *errno_place() = errno };
}

fn errno_place() -> *mut i32 {
    // SAFETY: no precondition.
    unsafe { libc::__errno_location() }
}

/// Sets errno and returns -1.
#[cold]
pub fn fail(errno: i32) -> i32 {
    set_errno(errno);
    -1
}

/// A system call in C's terms: `system_call!(SYS_listen, descriptor, backlog)`, from inside an `unsafe` block.
/// Arguments are integers or pointers, at most six; the result has the type that the context asks for.
#[macro_export]
macro_rules! system_call {
    ($number:ident $(, $argument:expr)*) => {
        $crate::sys::raw::returned($crate::sys::raw::system_call(
            libc::$number as usize,
            $crate::sys::raw::six([$($argument as usize),*]),
        )) as _
    };
}

/// Fills up to the six arguments of a system call.
#[inline(always)]
pub fn six<const N: usize>(given: [usize; N]) -> [usize; 6] {
    const { assert!(N <= 6) };
    let mut arguments = [0; 6];
    arguments[..N].copy_from_slice(&given);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_leaves_errno_alone() {
        fail(libc::ENOTTY);
        // SAFETY: getppid takes no argument and cannot fail.
        let parent: i32 = unsafe { system_call!(SYS_getppid) };
        assert!(parent > 0);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::ENOTTY));
    }

    #[test]
    fn a_failure_is_minus_one_and_errno() {
        // SAFETY: closing a number that is no descriptor touches nothing.
        let closed: i32 = unsafe { system_call!(SYS_close, -1i32) };
        assert_eq!((closed, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EBADF)));
    }

    #[test]
    fn all_six_arguments_reach_the_kernel() {
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping disturbs nothing.
        let page: usize = unsafe { system_call!(SYS_mmap, 0, 4096, protection, flags, -1i32, 0) };
        assert_eq!(page % 4096, 0);
        // SAFETY: the page was mapped above and nobody else knows it.
        let unmapped: i32 = unsafe { system_call!(SYS_munmap, page, 4096) };
        assert_eq!(unmapped, 0);
    }
}
