//! One timer as a descriptor (timerfd), that is only ever moved forward: a wake-up too early costs less than a system
//! call for each deadline that moves back.

use crate::sys::descriptors::{Internal, internal};
use crate::time::Instant;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The timer.
#[derive(Debug)]
pub struct Timer {
    fd: Internal,
    armed: Option<Instant>,
}

impl Timer {
    /// Not armed.
    pub fn new() -> Result<Timer> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Timer { fd: internal(timerfd_create(TimerfdClockId::Monotonic, flags)?), armed: None })
    }

    /// Polls readable when the timer has expired.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes sure that it expires at `deadline` or before.
    pub fn no_later_than(&mut self, deadline: Instant) {
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        // Zero would disarm it.
        let micros = deadline.micros().max(1) as i64;
        let at = Timespec { tv_sec: micros / 1_000_000, tv_nsec: micros % 1_000_000 * 1_000 };
        let value = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &value)
            .expect("a timerfd takes any absolute time");
        self.armed = Some(deadline);
    }

    /// It has expired: takes the expiry away.
    pub fn expired(&mut self) {
        let mut count = [0u8; 8];
        // EAGAIN when another thread took it.
        let _ = rustix::io::read(&self.fd, &mut count);
        self.armed = None;
    }
}
