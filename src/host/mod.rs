//! The host of this process: one engine, its link and the bridge, behind one lock, and who drives them.
//!
//! The first socket starts it. A call that asks something of it takes the lock, does its part and steps the engine in
//! the caller's thread; a thread of the host's own sleeps on the epoll set and steps for data and timers. Both run
//! `Inner::step`: nothing here needs a particular thread.
//!
//! Rules of the lock: whoever holds it has all signals blocked, so a handler that calls us cannot meet its own
//! thread inside; nothing under it blocks; a forked child never touches the parent's (it forgets the host instead).
//!
//! Limits: a forked or exec'd child has a host of its own; the sockets that it inherited stay with the parent's host,
//! and serve the child for data as long as that process lives.

mod driver;
mod exit;
mod inner;
mod requests;
mod start;

use crate::bridge::name::{Identity, Token};
use crate::error::{Error, Result};
use crate::sys::descriptors::Internal;
use crate::sys::signals::Blocked;
use crate::sys::{self, descriptors};
pub use exit::drain_at_exit;
pub use inner::Inner;
pub use requests::Connect;
pub use start::{configure, remember_settings};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static HOST: AtomicPtr<Host> = AtomicPtr::new(core::ptr::null_mut());
/// The process that is starting a host at the moment, or zero.
static STARTING: AtomicU32 = AtomicU32::new(0);
/// Datagram sockets opened in this process or a forebear: while zero, no descriptor needs their headers minded.
static DATAGRAMS: AtomicUsize = AtomicUsize::new(0);

/// The host.
pub struct Host {
    token: Token,
    process: u32,
    /// The epoll set of the bridge, to wait on without the lock.
    set: Internal,
    ending: exit::Ending,
    inner: Mutex<Inner>,
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Host").field("process", &self.process).finish_non_exhaustive()
    }
}

/// The lock, held, with signals blocked.
pub struct Held {
    // Dropped in this order: the lock before the signals come through again.
    guard: MutexGuard<'static, Inner>,
    _signals: Blocked,
}

impl Host {
    /// The host of this process, if it has one. Async-signal-safe.
    pub fn running() -> Option<&'static Host> {
        // SAFETY: the pointer is null or comes from a `Box` that was leaked.
        unsafe { HOST.load(Ordering::Acquire).as_ref() }
    }

    /// The host of this process, started at need. The error is EINVAL when the settings cannot be used; the log
    /// says which.
    pub fn start() -> Result<&'static Host> {
        match Host::running() {
            Some(host) if host.process == sys::process_id() => Ok(host),
            Some(_) => Err(Error::NotSupported),
            None => start::start(),
        }
    }

    /// The host of a descriptor, when it is this process's. A child that no fork handler ran in (vfork, `_Fork`, clone)
    /// sees its parent's, and must not touch it.
    pub fn of(identity: &Identity) -> Option<&'static Host> {
        Host::running().filter(|host| host.token == identity.token && host.process == sys::process_id())
    }

    /// Takes the lock.
    pub fn lock(&'static self) -> Held {
        let _signals = Blocked::all();
        // A panic under the lock was caught, logged and marked in `Inner`; the lock itself stays usable.
        let guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Held { guard, _signals }
    }
}

impl Deref for Held {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.guard
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.guard
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        UNWATCHED.store(self.guard.bridge.unwatched(), Ordering::Relaxed);
        if std::thread::panicking() {
            self.guard.give_up();
        }
    }
}

/// Counts a datagram socket.
pub fn datagram_opened() {
    DATAGRAMS.fetch_add(1, Ordering::Relaxed);
}

/// Whether any datagram socket of ours may be among the descriptors of this process. Async-signal-safe.
pub fn datagrams_exist() -> bool {
    DATAGRAMS.load(Ordering::Relaxed) != 0
}

/// Sockets of the running host that no far end watches over.
static UNWATCHED: AtomicUsize = AtomicUsize::new(0);

/// Whether the host must be told when descriptors are closed: it has sockets that no far end watches over.
/// Async-signal-safe.
pub fn unwatched_exist() -> bool {
    UNWATCHED.load(Ordering::Relaxed) != 0
}

/// Whether this very process runs a host: not before the first socket, nor in the child of fork, nor in that of vfork,
/// which sees our memory under another process id. Async-signal-safe; asks the kernel only when a host was started.
pub fn is_here() -> bool {
    Host::running().is_some_and(|host| host.process == sys::process_id())
}

/// After the program closed the numbers from `first` to `last` where no host runs: there, none of them is ours any more.
/// A child of vfork, whose memory is its parent's, changes nothing.
pub fn closed_without_host(first: i32, last: i32) {
    if Host::running().is_none() {
        descriptors::forget(first, last);
    }
}

/// In the child of fork: the parent's host is not ours. Its internal descriptors are closed, and the first socket
/// starts a new host. Takes no lock and allocates nothing.
pub fn forked_child() {
    if Host::running().is_some() {
        HOST.store(core::ptr::null_mut(), Ordering::Release);
        UNWATCHED.store(0, Ordering::Relaxed);
        descriptors::drop_all();
    }
    STARTING.store(0, Ordering::Release);
}
