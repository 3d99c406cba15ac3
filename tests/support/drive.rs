//! Drives an engine over a link in real time, as a host would, without a host.

use rustix::event::{PollFd, PollFlags, Timespec};
use std::time::Duration;
use tubesock::engine::Engine;
use tubesock::link::Link;
use tubesock::sys;
use tubesock::time::Instant;

/// Packets of one direction before the other has its turn.
const BURST: usize = 256;
/// How long a turn waits when neither engine nor link has a deadline.
const PATIENCE: Duration = Duration::from_millis(20);

/// Moves packets, lets time pass and calls `work`, in turn, until that says false. It is called after whatever the
/// engine received, and at least every `PATIENCE`.
pub(crate) fn drive(
    engine: &mut Engine,
    link: &mut dyn Link,
    mut work: impl FnMut(&mut Engine, Instant) -> bool,
) {
    loop {
        for _ in 0..BURST {
            // Each at its own time: a late packet of a long burst must not seem to have taken less than the path does.
            let now = sys::now();
            if !link.receive(now, &mut |packet| engine.receive(packet, now)) {
                break;
            }
        }
        let now = sys::now();
        engine.advance(now);
        if !work(engine, now) {
            return;
        }
        let more = transmit(engine, link);
        wait(engine, link, more);
    }
}

/// Hands packets to the link. True when that was not all.
fn transmit(engine: &mut Engine, link: &mut dyn Link) -> bool {
    let now = sys::now();
    (0..BURST).all(|_| engine.transmit(now, &mut |packet| link.transmit(*packet, now)))
}

fn wait(engine: &mut Engine, link: &mut dyn Link, more: bool) {
    let deadline = [engine.deadline(), link.deadline()].into_iter().flatten().min();
    let now = sys::now();
    let wait = deadline.map_or(PATIENCE, |deadline| {
        if deadline > now { (deadline - now).min(PATIENCE) } else { Duration::ZERO }
    });
    let wait = if more { Duration::ZERO } else { wait };
    let timeout = Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as i64 };
    let wake = link.wake().expect("a link with a network has a descriptor");
    // Interrupted or not, the next turn looks.
    let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(wake, PollFlags::IN)], Some(&timeout));
}
