//! Where records are appended: the log's standard error, the trace and the capture. One record, one write(2), so that
//! the records of several processes in one file stay whole. No buffer, and so nothing to lose at exit or to write
//! twice after fork.

use crate::sys::descriptors::{self, Internal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use std::path::Path;

/// A file, or a duplicate of standard error, to append to.
#[derive(Debug)]
pub struct Appender(Internal);

impl Appender {
    /// Opens a file, made when there is none, to append to it.
    pub fn open(path: &Path) -> Result<Appender> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::open(path, flags, Mode::from_raw_mode(0o666))
            .map(|fd| Appender(descriptors::internal_kept(fd)))
    }

    /// A private duplicate of standard error: the program may close or redirect its own. EBADF when there is none.
    pub fn standard_error() -> Result<Appender> {
        // Above 2: a duplicate must not become what a program believes to be its standard input.
        let duplicate = rustix::io::fcntl_dupfd_cloexec(std::io::stderr().as_fd(), 3)?;
        Ok(Appender(descriptors::internal_kept(duplicate)))
    }

    /// Appends a record. Only when the kernel takes a part of it, as on a full disk, is there a second write.
    /// EBADF after a child, forked without a host, has closed it.
    pub fn append(&self, mut record: &[u8]) -> Result<()> {
        if !descriptors::is_internal(self.0.as_raw_fd()) {
            return Err(Errno::BADF);
        }
        while !record.is_empty() {
            match rustix::io::write(&self.0, record) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => record = &record[written..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Whether a short record can be appended now without blocking, and without SIGPIPE for a reader that has gone.
    pub fn has_room(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 1) && fds[0].revents() == PollFlags::OUT
    }

    /// The size of a regular file in bytes; None for a pipe or a terminal.
    pub fn size(&self) -> Option<u64> {
        let stat = rustix::fs::fstat(&self.0).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        regular.then_some(stat.st_size as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn no_room_in_a_full_pipe_nor_without_a_reader() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
        let writer = Appender(descriptors::internal(writer));
        assert!(writer.has_room());
        let full = loop {
            if let Err(errno) = writer.append(&[0; 4096]) {
                break errno;
            }
        };
        assert_eq!((full, writer.has_room()), (Errno::AGAIN, false));
        let mut drained = [0; 8192];
        rustix::io::read(&reader, &mut drained[..]).expect("a full pipe has something");
        assert!(writer.has_room());
        drop(reader);
        assert!(!writer.has_room());
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
