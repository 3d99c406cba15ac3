//! seccomp(2): filters over system calls.

use core::ffi::c_uint;

/// What the kernel has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Nothing that we can use.
    None,
    /// Filters.
    Filters,
    /// Filters, which can hand a call to another process to decide: Linux 5.0 and later.
    Notification,
}

/// Asks the kernel.
pub fn support() -> Support {
    if has_action(libc::SECCOMP_RET_USER_NOTIF) {
        Support::Notification
    } else if has_action(libc::SECCOMP_RET_ERRNO) {
        Support::Filters
    } else {
        Support::None
    }
}

fn has_action(action: c_uint) -> bool {
    let place = &raw const action;
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one number, ours.
    let result: i32 = unsafe { crate::system_call!(SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, place) };
    result == 0
}
