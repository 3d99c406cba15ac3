//! A stream of frames to whoever listens at a path: passt, QEMU, `tubesock switch`. When that one has gone, the path is
//! tried once a second, and the network is back with the next who listens there.

use super::Frames;
use super::stream::Stream;
use crate::sys;
use crate::sys::descriptors::{Internal, internal};
use crate::sys::timer::Timer;
use crate::sys::unix;
use crate::time::Instant;
use core::time::Duration;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// The stream, and where it leads.
pub struct Joined {
    path: PathBuf,
    mtu: usize,
    stream: Stream,
    /// Has the stream and the timer in it.
    set: Internal,
    timer: Timer,
    /// The next try, while nobody is there.
    retry: Option<Instant>,
    /// A frame came since it was joined: its end is worth a line, and so is the next beginning.
    heard: bool,
}

impl Joined {
    /// Connects to the socket at `path`; the largest packet on it is what both ends were told. The error is for people.
    pub fn connect(path: &Path, mtu: usize) -> Result<Joined, String> {
        Joined::open(path, mtu).map_err(|errno| complaint(path, errno))
    }

    fn open(path: &Path, mtu: usize) -> Result<Joined, Errno> {
        let stream = Stream::over(internal(unix::connect_path(path, SocketFlags::empty())?), mtu)?;
        let (set, timer) = (internal(epoll::create(CreateFlags::CLOEXEC)?), Timer::new()?);
        for wake in [stream.wake(), timer.descriptor()] {
            epoll::add(&set, wake, EventData::new_u64(0), EventFlags::IN)?;
        }
        Ok(Joined { path: path.to_owned(), mtu, stream, set, timer, retry: None, heard: true })
    }

    /// Joins again, when it is time to, if the stream has ended.
    fn mend(&mut self) {
        let Some(why) = self.stream.ended() else { return };
        let now = sys::now();
        match self.retry {
            None if !self.heard => {}
            None => tracing::error!(
                "stream:{}: {why}: there is no network until somebody listens there again",
                self.path.display()
            ),
            Some(at) if at > now => return,
            Some(_) => self.timer.expired(),
        }
        if self.retry.is_some() && self.join().is_ok() {
            if core::mem::take(&mut self.heard) {
                tracing::warn!("stream:{}: joined again", self.path.display());
            }
            self.retry = None;
        } else {
            self.retry = Some(now + PAUSE);
            self.timer.no_later_than(now + PAUSE);
        }
    }

    fn join(&mut self) -> Result<(), Errno> {
        let socket = unix::connect_path(&self.path, SocketFlags::NONBLOCK)?;
        let stream = Stream::over(internal(socket), self.mtu)?;
        epoll::add(&self.set, stream.wake(), EventData::new_u64(0), EventFlags::IN)?;
        // The old one leaves the set by being closed.
        self.stream = stream;
        Ok(())
    }
}

/// What is told: what failed, with the errno, and what to do.
fn complaint(path: &Path, errno: Errno) -> String {
    let (why, name) = match errno {
        Errno::NOENT => {
            ("nothing listens there; start passt, QEMU or 'tubesock switch' first", "ENOENT".into())
        }
        // The kernel's answer for every file that is not a socket, too.
        Errno::CONNREFUSED if path.metadata().is_ok_and(|file| !file.file_type().is_socket()) => (
            "this is no socket; give the one at which passt, QEMU or 'tubesock switch' listens",
            "ECONNREFUSED".into(),
        ),
        Errno::CONNREFUSED => ("who listened there has gone; start it again", "ECONNREFUSED".into()),
        Errno::PROTOTYPE => (
            "that socket takes no streams; if it is a 'tubesock host', give it by --host",
            "EPROTOTYPE".into(),
        ),
        Errno::ACCESS => ("you may not write to that socket; its owner can change that", "EACCES".into()),
        Errno::NAMETOOLONG => ("a socket's path has 107 bytes at most", "ENAMETOOLONG".into()),
        _ => ("the kernel gives no other reason", std::io::Error::from(errno).to_string()),
    };
    format!("stream:{}: cannot connect ({name}): {why}", path.display())
}

impl Frames for Joined {
    fn mtu(&self) -> usize {
        self.mtu
    }

    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> bool {
        let received = self.stream.receive(take);
        self.heard |= received;
        self.mend();
        received
    }

    fn transmit(&mut self, parts: [&[u8]; 4]) {
        self.stream.transmit(parts);
        self.mend();
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    fn busy(&self) -> bool {
        self.stream.busy()
    }

    fn is_down(&self) -> bool {
        self.stream.is_down()
    }
}
