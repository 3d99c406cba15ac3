//! The end of the process: what the program wrote is sent and acknowledged before the process goes, or the log says
//! that it was not.
//!
//! The driver's thread does the work. The thread that ends the process only asks and waits: it may be in a signal
//! handler, in the middle of malloc or with any lock of the program held, and so takes no lock and allocates nothing
//! here. It waits no longer than the driver may take, whatever becomes of that.
#![forbid(unsafe_code)]

use super::{Host, Inner};
use crate::error::Result;
use crate::sys;
use crate::sys::descriptors::{Internal, internal};
use crate::time::Instant;
use core::time::Duration;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How long the end may take without anything moving.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the thread that ends the process and the driver meet.
pub(super) struct Ending {
    asked: AtomicBool,
    /// Counts the turns in which something moved.
    moved: AtomicU64,
    /// Wakes the driver.
    wake: Internal,
    /// Polls readable when all is delivered.
    done: Internal,
}

impl Ending {
    pub(super) fn new() -> Result<Ending> {
        let descriptor = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(internal);
        Ok(Ending {
            asked: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            wake: descriptor()?,
            done: descriptor()?,
        })
    }

    /// What the driver waits on besides.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether the process is ending.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    pub(super) fn report_done(&self) {
        // Room for one more count there always is.
        let _ = rustix::io::write(&self.done, &1u64.to_ne_bytes());
    }
}

/// Treats every stream as closed, and returns when all that was written is acknowledged and handed on, or when nothing
/// has moved for ten seconds. For exit hooks. Does nothing where no host runs, in a forked child included.
/// Async-signal-safe.
pub fn drain_at_exit() {
    let Some(host) = Host::running().filter(|host| host.process == sys::process_id()) else { return };
    if host.ending.asked.swap(true, Ordering::AcqRel) {
        return;
    }
    let _ = rustix::io::write(&host.ending.wake, &1u64.to_ne_bytes());
    let mut moved = host.ending.moved.load(Ordering::Relaxed);
    let mut since = sys::now();
    // The driver gives up by itself. The limit here is for one that cannot, because this very thread holds what it needs.
    while sys::now() - since < PATIENCE + Duration::from_secs(2) {
        let turn = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut done = [PollFd::new(&host.ending.done, PollFlags::IN)];
        // EINTR only means to look again.
        if poll(&mut done, Some(&turn)).is_ok_and(|ready| ready > 0) {
            return;
        }
        let now_moved = host.ending.moved.load(Ordering::Relaxed);
        if now_moved != moved {
            (moved, since) = (now_moved, sys::now());
        }
    }
}

/// What the driver knows of the end.
#[derive(Debug)]
pub(super) struct Drain {
    seen: (usize, usize, u64),
    moved: Instant,
}

impl Drain {
    /// Closes all streams.
    pub(super) fn begin(inner: &mut Inner) -> Drain {
        let Inner { bridge, engine, .. } = inner;
        bridge.close_all(engine, sys::now());
        inner.step();
        Drain { seen: inner.undelivered(), moved: sys::now() }
    }

    /// Whether there is nothing left to wait for.
    pub(super) fn is_over(&mut self, inner: &Inner, ending: &Ending) -> bool {
        if !inner.busy() {
            tracing::info!("{}", inner.counters());
            return true;
        }
        // Not the counters: they count probes of a closed window, too.
        let undelivered = inner.undelivered();
        if undelivered != self.seen {
            (self.seen, self.moved) = (undelivered, sys::now());
            ending.moved.fetch_add(1, Ordering::Relaxed);
        }
        let over = sys::now() - self.moved > PATIENCE;
        if over {
            tracing::warn!(
                "the program ended, and its peers took no more of what it sent for {PATIENCE:?}: given up"
            );
        }
        over
    }
}
