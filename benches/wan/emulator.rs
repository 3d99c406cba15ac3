//! Moves packets between two cables in real time. What happens to them on the way is `tubesock::link::impair`'s.
//!
//! It must not be what is measured. So it runs in real time on a core that the ends leave alone, and tells by how much it
//! was late. It sleeps as much as it can: Linux stops a real-time thread that leaves too little to others, for 50 ms.

use crate::cable::{Cable, Refused};
use crate::precedence;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tubesock::link::Link;
use tubesock::link::impair::{Counters, Direction, Impair, Settings};
use tubesock::sys::now;

/// Packets that are moved one way before the other has its turn.
const BURST: usize = 32;
/// Longest wait that is not worth a sleep.
const SPIN: Duration = Duration::from_micros(5);
/// How long it sleeps at most while packets are on the way: so much later an end's packets set out at most. On a path that
/// is not much slower than this it does not sleep then.
const NAP: Duration = Duration::from_micros(50);
/// How long it sleeps at most otherwise: how soon the end is noticed.
const IDLE: Duration = Duration::from_millis(20);

/// A running emulator.
pub(crate) struct Emulator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Report>,
}

/// What an emulator did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// From the first cable to the second, and back.
    pub(crate) directions: [Counters; 2],
    /// Packets that a cable had no room for.
    pub(crate) refused: u64,
    /// How late packets were delivered, microseconds: 99 of 100 times no later, and the latest.
    pub(crate) late_p99_us: u64,
    pub(crate) late_max_us: u64,
}

impl Emulator {
    /// Starts to move packets, on `core`.
    pub(crate) fn start(cables: [OwnedFd; 2], path: Settings, seed: u64, core: usize) -> Emulator {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("emulator".into()).spawn(move || {
            precedence::pin(core);
            // Without a rate it never sleeps.
            if path.rate.is_some() {
                precedence::real_time();
            }
            let mut mover = Mover::new(cables, path, seed);
            while !stopped.load(Ordering::Relaxed) {
                mover.turn();
            }
            mover.report()
        });
        Emulator { stop, thread: thread.expect("a thread") }
    }

    /// Ends it. The packets on the way are lost.
    pub(crate) fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the emulator does not panic")
    }
}

struct Mover {
    /// Each impairs what is written to it.
    ends: [Impair<Cable>; 2],
    refused: Refused,
    late: Lateness,
    nap: Duration,
}

impl Mover {
    fn new(cables: [OwnedFd; 2], path: Settings, seed: u64) -> Mover {
        let refused = Refused::default();
        let mut seed = !seed;
        let ends = cables.map(|cable| {
            seed = !seed;
            Impair::new(Cable::new(cable, &refused), path, Settings::default(), seed, now())
        });
        let nap = if path.delay > 20 * NAP { NAP } else { Duration::ZERO };
        Mover { ends, refused, late: Lateness::default(), nap }
    }

    fn turn(&mut self) {
        let mut moved = self.note_late();
        let [one, other] = &mut self.ends;
        moved |= carry(one, other);
        moved |= carry(other, one);
        if !moved {
            self.rest();
        }
    }

    /// True when a packet is due, which `carry` is about to deliver.
    fn note_late(&mut self) -> bool {
        let now = now();
        let due: Vec<_> =
            self.ends.iter_mut().filter_map(|end| end.deadline().filter(|due| *due <= now)).collect();
        due.iter().for_each(|due| self.late.note((now - *due).as_micros() as u64));
        !due.is_empty()
    }

    fn rest(&mut self) {
        let next = self.ends.iter_mut().filter_map(Link::deadline).min();
        let now = now();
        let wait =
            next.map_or(IDLE, |due| if due > now { (due - now).min(self.nap) } else { Duration::ZERO });
        if wait <= SPIN {
            return core::hint::spin_loop();
        }
        let [one, other] = &self.ends;
        let mut fds = [one, other].map(|end| {
            PollFd::from_borrowed_fd(end.wake().expect("a cable has a descriptor"), PollFlags::IN)
        });
        // With packets on the way the ends are looked at once a nap, and do not wake it for each packet.
        let fds = if next.is_some() { &mut fds[..0] } else { &mut fds[..] };
        // Interrupted or not, the next turn looks.
        let _ = rustix::event::poll(fds, Some(&Timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as i64 }));
    }

    fn report(&self) -> Report {
        let [one, other] = &self.ends;
        Report {
            directions: [other, one].map(|end| end.counters(Direction::Outgoing)),
            refused: self.refused.count(),
            late_p99_us: self.late.percentile(99),
            late_max_us: self.late.max_us,
        }
    }
}

/// Delivers to `from` what is due, and moves what has come from there on its way. False when there is nothing.
fn carry(from: &mut Impair<Cable>, to: &mut Impair<Cable>) -> bool {
    for carried in 0..BURST {
        let now = now();
        if !from.receive(now, &mut |packet| to.transmit(packet.into(), now)) {
            return carried > 0;
        }
    }
    true
}

/// How often it was how late, in steps of 4 µs up to 16 ms.
struct Lateness {
    counts: Vec<u64>,
    max_us: u64,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness { counts: vec![0; 4096], max_us: 0 }
    }
}

impl Lateness {
    const STEP_US: u64 = 4;

    fn note(&mut self, late_us: u64) {
        let step = (late_us / Self::STEP_US).min(self.counts.len() as u64 - 1);
        self.counts[step as usize] += 1;
        self.max_us = self.max_us.max(late_us);
    }

    fn percentile(&self, percent: u64) -> u64 {
        let wanted = self.counts.iter().sum::<u64>() * percent / 100;
        let mut seen = 0;
        let step = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        step.unwrap_or(0) as u64 * Self::STEP_US
    }
}
