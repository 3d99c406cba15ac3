//! Where records are appended: the log's standard error, the trace and the capture. To a file one record is one write(2),
//! so that the records of several processes stay whole; to a pipe it goes by the page. No buffer, and so nothing to lose at
//! exit or to write twice after fork.

use crate::sys::descriptors::{self, Internal};
use crate::sys::signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::path::Path;

/// A pipe by its name has room for so much, if the user may have that: its reader may look away for a moment.
const PIPE: usize = 1 << 20;
/// For so long. Who writes holds the stack, and a program that waits for it hears no signal.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// PIPE_BUF: what can be written to a pipe that poll(2) calls writable, and does not wait.
const AT_ONCE: usize = 4096;

/// A file, a pipe, or a duplicate of standard output or error, to append to.
#[derive(Debug)]
pub struct Appender {
    file: Internal,
    regular: bool,
}

impl Appender {
    /// Opens a file, made when there is none, or a pipe by its name, to append to it. ENXIO when nobody reads the pipe.
    pub fn open(path: &Path) -> Result<Appender> {
        // Without NONBLOCK the call would wait for the reader of a pipe.
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::from_raw_mode(0o666))?;
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
        let _ = rustix::pipe::fcntl_setpipe_size(&file, PIPE);
        Ok(Appender::to(file))
    }

    /// A private duplicate of standard error: the program may close or redirect its own. EBADF when there is none.
    pub fn standard_error() -> Result<Appender> {
        Appender::duplicate(std::io::stderr().as_fd())
    }

    /// Likewise of standard output.
    pub fn standard_output() -> Result<Appender> {
        Appender::duplicate(std::io::stdout().as_fd())
    }

    fn duplicate(stream: BorrowedFd<'_>) -> Result<Appender> {
        // Above 2: a duplicate must not become what a program believes to be its standard input.
        rustix::io::fcntl_dupfd_cloexec(stream, 3).map(Appender::to)
    }

    fn to(file: OwnedFd) -> Appender {
        let stat = rustix::fs::fstat(&file);
        let regular = stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        Appender { file: descriptors::internal_kept(file), regular }
    }

    /// Appends a record. To a file with one write, and only when the kernel takes a part of it, as on a full disk, with a
    /// second. A pipe is waited for: ETIMEDOUT when it has no room for five seconds. EPIPE when its reader has gone, EFBIG
    /// where a limit on the size of files ends it, both without a signal. EBADF after a child, forked without a host, has closed
    /// it.
    pub fn append(&self, record: &[u8]) -> Result<()> {
        if !descriptors::is_internal(self.file.as_raw_fd()) {
            return Err(Errno::BADF);
        }
        signals::without(if self.regular { libc::SIGXFSZ } else { libc::SIGPIPE }, || self.write(record))
    }

    fn write(&self, mut record: &[u8]) -> Result<()> {
        while !record.is_empty() {
            let mut part = record;
            if !self.regular {
                self.wait_for_room()?;
                part = &record[..record.len().min(AT_ONCE)];
            }
            match rustix::io::write(&self.file, part) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => record = &record[written..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) -> Result<()> {
        let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
        match poll(&mut fds, Some(&PATIENCE)) {
            Ok(0) => Err(Errno::TIMEDOUT),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Whether a short record can be appended now without blocking, and without SIGPIPE for a reader that has gone.
    pub fn has_room(&self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 1) && fds[0].revents() == PollFlags::OUT
    }

    /// The size of a regular file in bytes; None for a pipe or a terminal.
    pub fn size(&self) -> Option<u64> {
        let stat = self.regular.then(|| rustix::fs::fstat(&self.file))?.ok()?;
        Some(stat.st_size as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn no_room_in_a_full_pipe_nor_without_a_reader() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
        let writer = Appender { file: descriptors::internal(writer), regular: false };
        assert!(writer.has_room());
        while writer.has_room() {
            writer.append(&[0; 4096]).expect("there is room");
        }
        let mut drained = [0; 8192];
        rustix::io::read(&reader, &mut drained[..]).expect("a full pipe has something");
        assert!(writer.has_room());
        drop(reader);
        assert!(!writer.has_room());
    }

    #[test]
    fn a_pipe_by_its_name_and_one_without_a_reader() {
        let path = std::env::temp_dir().join(format!("tubesock-pipe-{}", crate::sys::process_id()));
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).expect("a name of its own");
        assert_eq!(Appender::open(&path).err(), Some(Errno::NXIO), "nobody reads");
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let reader = rustix::fs::open(&path, flags, Mode::empty()).expect("there it is");
        let writer = Appender::open(&path).expect("it has a reader");
        std::fs::remove_file(&path).expect("it was there a moment ago");
        writer.append(b"record").expect("there is room");
        let mut read = [0; 10];
        assert_eq!(rustix::io::read(&reader, &mut read[..]), Ok(6));
        drop(reader);
        // The test's own disposition may be to ignore it: by default it ends the process.
        // SAFETY: no handler.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        assert_eq!(writer.append(b"record"), Err(Errno::PIPE));
        // SAFETY: what it was.
        unsafe { libc::signal(libc::SIGPIPE, before) };
    }

    #[test]
    fn records_follow_each_other_and_only_a_file_has_a_size() {
        let path = std::env::temp_dir().join(format!("tubesock-append-{}", crate::sys::process_id()));
        let (first, second) =
            (Appender::open(&path).expect("writable"), Appender::open(&path).expect("writable"));
        first.append(b"one ").expect("room on the disk");
        second.append(b"two ").expect("room on the disk");
        first.append(b"three").expect("room on the disk");
        let text = std::fs::read(&path).expect("it was written");
        std::fs::remove_file(&path).expect("it was there a moment ago");
        assert_eq!((text, first.size()), (b"one two three".to_vec(), Some(13)));
        assert_eq!(Appender::open(Path::new("/dev/null")).expect("writable").size(), None);
    }
}
