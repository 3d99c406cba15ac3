//! Blocking signals for a while, in the calling thread.

use core::mem::MaybeUninit;

/// Signals are blocked while it lives; it holds the mask that was before.
pub struct Blocked(libc::sigset_t);

impl Blocked {
    /// Blocks all signals that can be.
    pub fn all() -> Blocked {
        let mut every = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset initialises the set.
        unsafe { libc::sigfillset(every.as_mut_ptr()) };
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the first set is initialised, the second is written; the call cannot fail with these arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: pthread_sigmask wrote it.
        Blocked(unsafe { before.assume_init() })
    }
}

impl Drop for Blocked {
    /// Back to what it was.
    fn drop(&mut self) {
        // SAFETY: the set is one that the kernel gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, core::ptr::null_mut()) };
    }
}
