//! Frames over a stream: QEMU's way, a length of four bytes in network order before each (`-netdev stream`), as passt,
//! gvproxy, VDE's tools and `tubesock switch` speak it over a unix socket.
//!
//! The socket is never waited for. What it does not take waits here, up to a limit; then frames are lost, as networks do. A
//! length that no frame has ends the connection, for where the next frame begins nobody knows.

use super::Frames;
use super::frame::HEADER;
use crate::sys::descriptors::{Internal, internal};
use crate::sys::unix;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, IoSlice, Result};

const LENGTH: usize = 4;
/// The largest IP packet that a frame carries: so that its length has sixteen bits with its header.
pub const MTU_MAX: usize = 65535 - HEADER;
const FRAME_MAX: usize = 65535;
/// Bytes that wait for the socket.
const WAITING_MAX: usize = 1 << 20;
/// Bytes that are read ahead: those of two frames and some.
const READ: usize = 3 * (LENGTH + FRAME_MAX);

/// One end of a stream of frames.
pub struct Stream {
    socket: Internal,
    /// Has the socket in it, and polls readable when it has something to say.
    set: Internal,
    mtu: usize,
    /// Room for what comes; bytes before `taken` were given out, those from `came` on are none yet.
    room: Box<[u8]>,
    taken: usize,
    came: usize,
    waiting: Vec<u8>,
    /// The other end has gone, or speaks no frames: why.
    ended: Option<String>,
}

impl Stream {
    /// Frames over a connected socket, which is made non-blocking.
    pub fn over(socket: Internal, mtu: usize) -> Result<Stream> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let set = internal(epoll::create(CreateFlags::CLOEXEC)?);
        epoll::add(&set, &socket, EventData::new_u64(0), EventFlags::IN)?;
        let (room, waiting) = (vec![0; READ].into(), Vec::new());
        Ok(Stream { socket, set, mtu, room, taken: 0, came: 0, waiting, ended: None })
    }

    fn end(&mut self, why: &str) {
        if self.ended.is_none() {
            self.ended = Some(why.to_owned());
            // Or it would be ready for ever.
            let _ = epoll::delete(&self.set, &self.socket);
            self.waiting.clear();
        }
    }

    /// Why no more frames come or go.
    pub(super) fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// The frame that is next, if all of it is there.
    fn next(&mut self) -> Option<core::ops::Range<usize>> {
        let (length, _) = self.room[self.taken..self.came].split_first_chunk::<LENGTH>()?;
        let length = u32::from_be_bytes(*length) as usize;
        if !(HEADER..=FRAME_MAX).contains(&length) {
            self.end("what came is no frame");
            return None;
        }
        let start = self.taken + LENGTH;
        let frame = start..start + length;
        (frame.end <= self.came).then_some(frame)
    }

    /// Whether more bytes came, where what is there is no whole frame.
    fn read(&mut self) -> bool {
        self.room.copy_within(self.taken..self.came, 0);
        (self.taken, self.came) = (0, self.came - self.taken);
        match unix::receive(&self.socket, &mut self.room[self.came..]) {
            Ok(0) => self.end("the other end has gone"),
            Ok(count) => {
                self.came += count;
                return true;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => self.end(&errno.to_string()),
        }
        false
    }

    /// Gives the socket what waits for it.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        match unix::send(&self.socket, &self.waiting) {
            Ok(count) => drop(self.waiting.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => self.end(&errno.to_string()),
        }
        self.await_room();
    }

    fn await_room(&self) {
        let mut events = EventFlags::IN;
        events.set(EventFlags::OUT, !self.waiting.is_empty());
        // Fails when it has ended.
        let _ = epoll::modify(&self.set, &self.socket, EventData::new_u64(0), events);
    }
}

impl Frames for Stream {
    fn mtu(&self) -> usize {
        self.mtu
    }

    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> bool {
        self.flush();
        loop {
            if self.ended.is_some() {
                return false;
            }
            if let Some(frame) = self.next() {
                self.taken = frame.end;
                take(&self.room[frame]);
                return true;
            }
            if !self.read() {
                return false;
            }
        }
    }

    fn transmit(&mut self, parts: [&[u8]; 4]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.ended.is_some() || length > FRAME_MAX || self.waiting.len() + length > WAITING_MAX {
            return;
        }
        let prefix = (length as u32).to_be_bytes();
        let [first, second, third, fourth] = parts;
        let parts = [&prefix[..], first, second, third, fourth];
        let sent = match self.waiting.is_empty() {
            true => unix::send_parts(&self.socket, &parts.map(IoSlice::new)),
            false => Ok(0),
        };
        let sent = match sent {
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(0),
            sent => sent,
        };
        match sent {
            Ok(sent) if sent == LENGTH + length => {}
            Ok(sent) => {
                self.waiting.extend(parts.concat().get(sent..).unwrap_or_default());
                self.await_room();
            }
            Err(errno) => self.end(&errno.to_string()),
        }
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }

    fn busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn is_down(&self) -> bool {
        self.ended.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (Stream, Internal) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("sockets");
        (Stream::over(internal(one), 1500).expect("an epoll set"), internal(other))
    }

    fn received(stream: &mut Stream) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while stream.receive(&mut |frame| frames.push(frame.to_vec())) {}
        frames
    }

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let (mut stream, other) = pair();
        let (one, two) = (vec![1; 60], vec![2; 1514]);
        let bytes = [&60u32.to_be_bytes()[..], &one, &1514u32.to_be_bytes(), &two].concat();
        let mut frames = Vec::new();
        for byte in bytes {
            rustix::io::write(&other, &[byte]).expect("there is room");
            frames.extend(received(&mut stream));
        }
        assert_eq!(frames, [one, two]);
        assert!(!stream.is_down());
    }

    #[test]
    fn what_the_socket_does_not_take_waits_and_is_whole() {
        let (mut stream, other) = pair();
        let frame = vec![7; 1000];
        for _ in 0..2000 {
            stream.transmit([&frame[..400], &frame[400..], &[], &[]]);
        }
        let mut peer = Stream::over(other, 1500).expect("an epoll set");
        let mut frames = Vec::new();
        loop {
            let before = frames.len();
            frames.extend(received(&mut peer));
            received(&mut stream);
            if frames.len() == before && !stream.busy() {
                break;
            }
        }
        assert!(
            frames.len() >= WAITING_MAX / 1000 && frames.iter().all(|received| *received == frame),
            "{}",
            frames.len()
        );
    }

    #[test]
    fn an_end_and_nonsense_end_it() {
        let (mut stream, other) = pair();
        rustix::net::shutdown(&other, rustix::net::Shutdown::Both).expect("it is connected");
        assert!(received(&mut stream).is_empty() && stream.is_down());
        stream.transmit([&[0; 60], &[], &[], &[]]);
        for length in [0u32, 13, 65536, u32::MAX] {
            let (mut stream, other) = pair();
            rustix::io::write(&other, &length.to_be_bytes()).expect("there is room");
            assert!(received(&mut stream).is_empty() && stream.is_down(), "{length}");
        }
    }
}
