//! Signals: blocking them for a while, in the calling thread, and waiting for them.

use super::raw;
use core::mem::MaybeUninit;
use rustix::process::Pid;

/// What people and service managers end a program by.
pub const ENDS: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

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

    /// Lets those through that wait.
    pub fn pass(&self) {
        let mut every = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is one that the kernel gave; the other is written, with the mask that blocks.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, every.as_mut_ptr()) };
        // SAFETY: pthread_sigmask wrote it.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), core::ptr::null_mut()) };
    }

    /// Whether one of `ENDS` came meanwhile that the program does not ignore, and did not block itself.
    pub fn holds_an_end(&self) -> bool {
        let pending = pending();
        ENDS.into_iter().any(|end| contains(&pending, end) && !contains(&self.0, end) && !is_ignored(end))
    }
}

/// Signals that wait for this thread to let them through.
fn pending() -> libc::sigset_t {
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigpending writes the set, and cannot fail with a place for it.
    unsafe { libc::sigpending(pending.as_mut_ptr()) };
    // SAFETY: written above.
    unsafe { pending.assume_init() }
}

fn contains(set: &libc::sigset_t, signal: i32) -> bool {
    // SAFETY: an initialised set.
    unsafe { libc::sigismember(set, signal) == 1 }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a place for the action, and no new one.
    if unsafe { libc::sigaction(signal, core::ptr::null(), action.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: written above.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

fn set_of(signals: impl IntoIterator<Item = i32>) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    for signal in signals {
        // SAFETY: initialised above; a number that is no signal is refused.
        unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    }
    // SAFETY: initialised above.
    unsafe { set.assume_init() }
}

impl Drop for Blocked {
    /// Back to what it was.
    fn drop(&mut self) {
        // SAFETY: the set is one that the kernel gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, core::ptr::null_mut()) };
    }
}

/// Signals that are blocked, to be waited for; in this thread and those that it makes.
pub struct Awaited {
    set: libc::sigset_t,
    before: libc::sigset_t,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Came {
    /// SIGTERM and its like.
    pub signal: i32,
    /// Whether a process sent it, to this process or its group, and not the kernel, as for a terminal to the group.
    pub sent: bool,
    /// That process, if this one has a number for it: one outside of this pid namespace has none.
    pub sender: Option<Pid>,
    /// Whether it was sent by `send_typed`.
    pub typed: bool,
}

impl Awaited {
    /// Blocks `signals`.
    pub fn block(signals: &[i32]) -> Awaited {
        let set = set_of(signals.iter().copied());
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the first set is initialised, the second is written; the call cannot fail with these arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) };
        // SAFETY: pthread_sigmask wrote it.
        Awaited { set, before: unsafe { before.assume_init() } }
    }

    /// Lets those of `ENDS` through while `work` is done, in this thread, that are not blocked but for this.
    pub fn let_ends_through<T>(&self, work: impl FnOnce() -> T) -> T {
        let ours = |end: &i32| contains(&self.set, *end) && !contains(&self.before, *end);
        let ends = set_of(ENDS.into_iter().filter(ours));
        let change = |how| {
            // SAFETY: an initialised set; nobody asks for the mask that was before.
            unsafe { libc::pthread_sigmask(how, &raw const ends, core::ptr::null_mut()) }
        };
        change(libc::SIG_UNBLOCK);
        let done = work();
        change(libc::SIG_BLOCK);
        done
    }

    /// Waits for one of them.
    pub fn wait(&self) -> Came {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        loop {
            // SAFETY: an initialised set, and a place for what came.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.set, info.as_mut_ptr()) };
            if signal > 0 {
                // SAFETY: sigwaitinfo wrote it.
                let info = unsafe { info.assume_init_ref() };
                // SAFETY: whoever sends a signal is told in it (sigaction(2)); for others it is not looked at.
                let sender = unsafe { info.si_pid() };
                // SI_USER, SI_QUEUE, SI_TKILL and their like are not positive (sigaction(2)).
                let sent = info.si_code <= 0;
                let sender = Pid::from_raw(sender).filter(|_| sent);
                // SAFETY: what goes with a signal is told in it, where si_code says so.
                let typed = info.si_code == libc::SI_QUEUE && unsafe { info.si_value() }.sival_ptr == TYPED;
                return Came { signal, sent, sender, typed };
            }
        }
    }

    /// The mask as it was, in this thread: in the child that becomes the program, and at the end. Async-signal-safe.
    pub fn restore(&self) {
        // SAFETY: the set is one that the kernel gave.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, core::ptr::null_mut()) };
    }
}

/// What goes with a signal of `send_typed`.
const TYPED: *mut libc::c_void = core::ptr::without_provenance_mut(1);

/// Sends on a signal that a key of the terminal sent.
pub fn send_typed(process: Pid, signal: i32) {
    // SAFETY: a number goes with it, and no memory.
    unsafe { libc::sigqueue(process.as_raw_pid(), signal, libc::sigval { sival_ptr: TYPED }) };
}

/// Does `work`, for which the kernel may send this thread `signal`, and throws that away: it is not about the program's own.
pub fn without<T>(signal: i32, work: impl FnOnce() -> T) -> T {
    let set = set_of([signal]);
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first set is initialised, the second is written; the call cannot fail with these arguments.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) };
    // SAFETY: pthread_sigmask wrote it.
    let before = unsafe { before.assume_init() };
    let waited = contains(&before, signal) && contains(&pending(), signal);
    let done = work();
    if !waited && contains(&pending(), signal) {
        let (at_once, errno) = (libc::timespec { tv_sec: 0, tv_nsec: 0 }, raw::errno());
        // SAFETY: an initialised set and a time; what came is not asked for.
        unsafe { libc::sigtimedwait(&raw const set, core::ptr::null_mut(), &raw const at_once) };
        raw::set_errno(errno);
    }
    // SAFETY: the set is one that the kernel gave.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, core::ptr::null_mut()) };
    done
}

/// Ends this process by `signal`, as it ended another one: the parent sees the same. No second core is written.
pub fn die_of(signal: i32) {
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // SAFETY: the default action of a signal.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let none = set_of([]);
    // SAFETY: an initialised set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, core::ptr::null_mut()) };
    // SAFETY: a signal to this thread.
    unsafe { libc::raise(signal) };
}
