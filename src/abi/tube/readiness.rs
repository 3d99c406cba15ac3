//! Waiting for readiness. The descriptors are the kernel's, so these are libc's own, for sets of any descriptors.

use libc::{c_int, epoll_event, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

/// Waits until one of `count` descriptors is ready, or for `timeout_ms` milliseconds (-1: for ever). The events go to
/// each `revents`.
///
/// Returns how many are ready, 0 after the time; or -1 with errno: EFAULT, EINTR, EINVAL, ENOMEM. poll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_poll(fds: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int {
    // SAFETY: the caller keeps the contract of poll(2).
    unsafe { libc::poll(fds, count, timeout_ms) }
}

/// tube_poll() with a timespec (null: for ever) and a signal mask for the wait (null: the present one). ppoll(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of ppoll(2).
    unsafe { libc::ppoll(fds, count, timeout, mask) }
}

/// Waits until a descriptor in one of the sets is ready, all below `count` (at most FD_SETSIZE), or until `timeout` has
/// passed (null: for ever); Linux writes the time left into it. The sets keep what is ready.
///
/// Returns how many are ready, 0 after the time; or -1 with errno: EBADF, EINTR, EINVAL, ENOMEM. select(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_select(
    count: c_int,
    readable: *mut fd_set,
    writable: *mut fd_set,
    exceptional: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the caller keeps the contract of select(2).
    unsafe { libc::select(count, readable, writable, exceptional, timeout) }
}

/// tube_select() with a timespec, which is left alone, and a signal mask for the wait (null: the present one).
/// pselect(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_pselect(
    count: c_int,
    readable: *mut fd_set,
    writable: *mut fd_set,
    exceptional: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of pselect(2).
    unsafe { libc::pselect(count, readable, writable, exceptional, timeout, mask) }
}

/// Makes an epoll set; `flags` is 0 or EPOLL_CLOEXEC.
///
/// Returns a descriptor, to be given to tube_close(); or -1 with errno: EINVAL, EMFILE, ENFILE, ENOMEM.
/// epoll_create1(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_epoll_create1(flags: c_int) -> c_int {
    // SAFETY: no pointer is passed.
    unsafe { libc::epoll_create1(flags) }
}

/// Adds `fd` to an epoll set, changes its events, or takes it out: EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL. The
/// event is copied.
///
/// Returns 0, or -1 with errno: EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOMEM, ENOSPC, EPERM. epoll_ctl(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_epoll_ctl(
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: the caller keeps the contract of epoll_ctl(2).
    unsafe { libc::epoll_ctl(epoll, operation, fd, event) }
}

/// Waits for events of an epoll set, at most `count` of them, or for `timeout_ms` milliseconds (-1: for ever).
///
/// Returns how many were written to `events`, 0 after the time; or -1 with errno: EBADF, EFAULT, EINTR, EINVAL.
/// epoll_wait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout_ms: c_int,
) -> c_int {
    // SAFETY: the caller keeps the contract of epoll_wait(2).
    unsafe { libc::epoll_wait(epoll, events, count, timeout_ms) }
}

/// tube_epoll_wait() with a signal mask for the wait (null: the present one). epoll_pwait(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tube_epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout_ms: c_int,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller keeps the contract of epoll_pwait(2).
    unsafe { libc::epoll_pwait(epoll, events, count, timeout_ms, mask) }
}
