//! The thread that drives the engine when no call does. It sleeps on the epoll set, all signals blocked, and at the end
//! of the process delivers what is left.
#![forbid(unsafe_code)]

use super::exit::Drain;
use super::{Host, Inner};
use crate::error::{Error, Result};
use crate::sys::signals::Blocked;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventFlags};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Events taken in one turn.
const EVENTS: usize = 64;
/// How long a turn waits while the process is ending.
const WHILE_ENDING: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Starts the thread.
pub(super) fn start(host: &'static Host) -> Result<()> {
    // The thread inherits the mask of its maker.
    let signals = Blocked::all();
    let started =
        std::thread::Builder::new().name("tubesock".into()).stack_size(256 * 1024).spawn(move || drive(host));
    drop(signals);
    started.map(drop).map_err(|error| Error::Kernel(error.raw_os_error().unwrap_or(libc::EAGAIN)))
}

fn drive(host: &'static Host) {
    let mut drain = None;
    while turn(host, &mut drain) {}
    host.ending.report_done();
}

/// Waits for events and handles them; false when there is nothing more to do, ever.
fn turn(host: &'static Host, drain: &mut Option<Drain>) -> bool {
    let mut space = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
    let events = match epoll::wait(&host.set, &mut space[..], drain.as_ref().map(|_| &WHILE_ENDING)) {
        Ok((events, _)) => &*events,
        Err(_) => &[],
    };
    let mut inner = host.lock_with(None);
    // The engine contains what a single connection may do wrong; this is the last net, before the program's own stack.
    let more = catch_unwind(AssertUnwindSafe(|| {
        handle(&mut inner, events);
        if host.ending.is_asked() {
            let over = drain.get_or_insert_with(|| Drain::begin(&mut inner)).is_over(&inner, &host.ending);
            if over {
                inner.link.end();
            }
            return !over;
        }
        true
    }));
    if more.is_err() {
        inner.broken = true;
    }
    if inner.broken {
        tracing::error!("a panic in the engine: its sockets fail with EIO from now on; please report this");
        inner.bridge.break_all();
        return false;
    }
    more.unwrap_or(false)
}

fn handle(inner: &mut Inner, events: &[Event]) {
    for event in events {
        let (key, flags) = (event.data.u64(), event.flags);
        inner.ready(key, EventFlags::from_bits_retain(flags.bits()));
    }
    inner.step();
}
