//! What epoll sets of this process wait for at a descriptor, so that it goes on being waited for when the number comes to
//! stand for another open file: epoll(7) follows the open file, and not the number.
//!
//! And how to wait for more at one that can be read from already.
//!
//! The kernel tells in /proc/self/fdinfo; without /proc nothing follows. Sets that only other processes hold are not seen.

use super::descriptors::Owned;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::fd::{AsRawFd, BorrowedFd, RawFd};
use rustix::net::sockopt::{self, Timeout};
use std::mem::MaybeUninit;

/// One set's.
#[derive(Debug, PartialEq, Eq)]
struct Registration {
    set: RawFd,
    events: u32,
    data: u64,
}

/// What was waited for at a descriptor.
#[derive(Debug)]
pub struct Registrations(Vec<Registration>);

impl Registrations {
    /// Takes a descriptor out of all sets.
    pub fn take(fd: BorrowedFd<'_>) -> Registrations {
        let Ok(inode) = rustix::fs::fstat(fd).map(|stat| stat.st_ino) else {
            return Registrations(Vec::new());
        };
        let mut taken = Vec::new();
        for set in sets() {
            let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{set}")).unwrap_or_default();
            let found = told.lines().filter_map(|line| parse(line, fd.as_raw_fd(), inode));
            for (events, data) in found {
                // SAFETY: a number that was an epoll set's a moment ago; the kernel refuses what is none.
                let of = unsafe { BorrowedFd::borrow_raw(set) };
                if epoll::delete(of, fd).is_ok() {
                    taken.push(Registration { set, events, data });
                }
            }
        }
        Registrations(taken)
    }

    /// Puts what now has the descriptor's number into the same sets.
    pub fn restore(self, fd: BorrowedFd<'_>) {
        for Registration { set, events, data } in self.0 {
            // SAFETY: as in `take`.
            let set = unsafe { BorrowedFd::borrow_raw(set) };
            // When the set has gone meanwhile, so has whoever would have waited.
            let _ = epoll::add(set, fd, EventData::new_u64(data), EventFlags::from_bits_retain(events));
        }
    }
}

/// What comes to a descriptor that can be read from already: poll(2) would not wait for it.
#[derive(Debug)]
pub struct Arrivals {
    set: Owned,
    patience: Option<Timespec>,
}

/// Whether there is a point in looking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// More came.
    More,
    /// That was all.
    Last,
    /// A time-out (SO_RCVTIMEO), or a signal.
    Nothing,
}

impl Arrivals {
    /// At `fd`, from now on and what is there.
    pub fn of(fd: RawFd) -> Option<Arrivals> {
        // SAFETY: the kernel looks at the number, and answers EBADF when it is not open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let set = Owned::from(epoll::create(epoll::CreateFlags::CLOEXEC).ok()?);
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&set, fd, EventData::new_u64(0), flags).ok()?;
        let patience = sockopt::socket_timeout(fd, Timeout::Recv).ok().flatten();
        Some(Arrivals { set, patience: patience.and_then(|patience| Timespec::try_from(patience).ok()) })
    }

    /// Waits for the next.
    pub fn wait(&self) -> Arrival {
        let mut space = [const { MaybeUninit::<Event>::uninit() }; 1];
        match epoll::wait(&self.set, &mut space[..], self.patience.as_ref()) {
            Ok(([event], _)) => {
                let flags = event.flags;
                let last = flags.intersects(EventFlags::RDHUP | EventFlags::HUP);
                if last { Arrival::Last } else { Arrival::More }
            }
            Ok(_) | Err(_) => Arrival::Nothing,
        }
    }
}

/// The epoll sets among the descriptors of this process.
fn sets() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let sets = entries.filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == "anon_inode:[eventpoll]")
    });
    sets.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The events and the data of a line of proc_pid_fdinfo(5), when it is about descriptor `fd` with that inode:
/// `tfd:        5 events:       19 data:                5  pos:0 ino:61 sdev:8`.
fn parse(line: &str, fd: RawFd, inode: u64) -> Option<(u32, u64)> {
    let mut words = line.split_whitespace().flat_map(|word| word.split(':')).filter(|word| !word.is_empty());
    let mut field = |name| words.find(|word| *word == name).and_then(|_| words.next());
    let number = field("tfd")?.parse::<RawFd>().ok()?;
    let events = u32::from_str_radix(field("events")?, 16).ok()?;
    let data = u64::from_str_radix(field("data")?, 16).ok()?;
    // Missing before Linux 4.13.
    let same = field("ino").is_none_or(|found| u64::from_str_radix(found, 16) == Ok(inode));
    (number == fd && same).then_some((events, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::Timespec;
    use rustix::fd::AsFd;

    #[test]
    fn lines_of_the_kernel() {
        let line = "tfd:        5 events: 80000019 data:     7f0012345678  pos:0 ino:61 sdev:8";
        assert_eq!(parse(line, 5, 0x61), Some((0x8000_0019, 0x7f00_1234_5678)));
        assert_eq!(parse(line, 6, 0x61), None);
        assert_eq!(parse(line, 5, 0x62), None);
        assert_eq!(parse("flags:\t02000002", 5, 0x61), None);
    }

    #[test]
    fn a_set_waits_on_for_what_has_the_number() {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set");
        let (quiet, _kept) = rustix::pipe::pipe().expect("a pipe");
        let (readable, writing) = rustix::pipe::pipe().expect("a pipe");
        rustix::io::write(&writing, b"x").expect("there is room");
        epoll::add(&set, &quiet, EventData::new_u64(0xfedc_ba98_7654_3210), EventFlags::IN | EventFlags::ET)
            .expect("a new entry");

        let taken = Registrations::take(quiet.as_fd());
        super::super::descriptors::put_over(readable.into(), quiet.as_fd(), true).expect("both are open");
        taken.restore(quiet.as_fd());

        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 2];
        let count = epoll::wait(&set, &mut events, Some(&Timespec::default())).expect("a set of ours");
        assert_eq!((count, events[0].data.u64()), (1, 0xfedc_ba98_7654_3210));
    }
}
