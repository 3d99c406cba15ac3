//! Getting the machine's attention: the bench shares it with whatever else runs, and the emulator must be on time.

use rustix::process::Signal;
use rustix::thread::CpuSet;

/// Puts this process ahead of the others. Linux weighs sessions against each other first (sched(7), autogroup), so it needs
/// one of its own; and as that has no terminal, it dies with who started it. All of it is a wish: without root, or on
/// another kernel, the figures are merely noisier.
pub(crate) fn take() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    let _ = rustix::process::setsid();
    let _ = std::fs::write("/proc/self/autogroup", "-20");
}

/// Keeps this thread on one core, and lets it wake in time.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    // On a machine with one core all share it, and the emulator's lateness tells.
    let _ = rustix::thread::sched_setaffinity(None, &set);
    let _ = rustix::thread::set_current_timer_slack(core::num::NonZeroU64::new(1));
}

/// Puts this thread ahead of all that are not in real time. It must sleep now and then.
pub(crate) fn real_time() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: it reads the structure, which outlives the call; 0 is this thread.
    let _ = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
}
