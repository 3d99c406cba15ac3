//! seccomp(2): filters over the system calls of a thread and all that it becomes and starts, and listeners, by which
//! another process decides on a call (seccomp_unotify(2)). What a filter says is its maker's affair.

use crate::sys::descriptors::Owned;
use core::ffi::{c_uint, c_ulong};
use libc::{seccomp_notif, seccomp_notif_resp, sock_filter, sock_fprog};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};

/// What the kernel has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Nothing that we can use.
    None,
    /// Filters.
    Filters,
    /// Filters, and listeners: Linux 5.0 and later.
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

/// Puts a filter on this thread, for ever, and gives up that a set-user-ID program gains rights (no_new_privs).
/// Async-signal-safe.
pub fn install(filter: &[sock_filter]) -> Result<()> {
    set_filter(filter, 0).map(drop)
}

/// Likewise; what the filter answers with SECCOMP_RET_USER_NOTIF waits at the listener. EINVAL before Linux 5.0, EBUSY when a
/// filter of this thread has a listener already. Async-signal-safe.
pub fn install_with_listener(filter: &[sock_filter]) -> Result<Owned> {
    // SPEC_ALLOW: the filter keeps no secrets, and the program should be no slower for it.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let listener = set_filter(filter, flags)?;
    // SAFETY: the kernel has just made it, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) }.into())
}

fn set_filter(filter: &[sock_filter], flags: c_ulong) -> Result<i32> {
    rustix::thread::set_no_new_privs(true)?;
    let length = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    let place = &raw const program;
    // SAFETY: the kernel reads the program, of that length, and copies it.
    let result: i32 =
        unsafe { crate::system_call!(SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, place) };
    if result < 0 { Err(Errno::from_raw_os_error(crate::sys::raw::errno())) } else { Ok(result) }
}

/// Waits for the next call at a listener; None when no process is left that has the filter.
pub fn receive(listener: impl AsFd) -> Option<seccomp_notif> {
    loop {
        let mut ready = [PollFd::new(&listener, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) if ready[0].revents().contains(PollFlags::IN) => {}
            Ok(_) => return None,
            Err(_) => continue,
        }
        // ENOENT: whoever called was killed, or interrupted by a signal. The call may come again.
        if let Ok(call) = receive_now(&listener) {
            return Some(call);
        }
    }
}

fn receive_now(listener: impl AsFd) -> Result<seccomp_notif> {
    let data = libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
    let mut call = seccomp_notif { id: 0, pid: 0, flags: 0, data };
    // SAFETY: it reads and writes a `struct seccomp_notif`, all zero as the kernel asks.
    let receive = unsafe { Updater::<{ libc::SECCOMP_IOCTL_NOTIF_RECV as Opcode }, _>::new(&mut call) };
    // SAFETY: the opcode and its type fit, as above.
    unsafe { ioctl(listener, receive) }?;
    Ok(call)
}

/// Whether a call still waits: if not, its process number may be another's.
pub fn is_waiting(listener: impl AsFd, call: &seccomp_notif) -> bool {
    // SAFETY: it reads the number of a call.
    let ask = unsafe { Setter::<{ libc::SECCOMP_IOCTL_NOTIF_ID_VALID as Opcode }, u64>::new(call.id) };
    // SAFETY: the opcode and its type fit, as above.
    unsafe { ioctl(listener, ask) }.is_ok()
}

/// Lets a call fail.
pub fn refuse(listener: impl AsFd, call: &seccomp_notif, errno: Errno) {
    let mut answer = seccomp_notif_resp { id: call.id, val: 0, error: -errno.raw_os_error(), flags: 0 };
    // SAFETY: it reads a `struct seccomp_notif_resp`.
    let send = unsafe { Updater::<{ libc::SECCOMP_IOCTL_NOTIF_SEND as Opcode }, _>::new(&mut answer) };
    // SAFETY: the opcode and its type fit, as above. ENOENT: nobody waits for it any more.
    let _ = unsafe { ioctl(listener, send) };
}
