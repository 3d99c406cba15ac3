//! The target `stream`: frames behind their lengths over a socket pair, in pieces of any size. They come out as a reading by
//! hand of the same bytes has them, until the first length that no frame has; and what is sent arrives whole, in its order,
//! whatever there was no room for.
#![forbid(unsafe_code)]

use super::bytes::Bytes;
use super::memory;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use tubesock::ethernet::Frames;
use tubesock::ethernet::stream::Stream;
use tubesock::sys::descriptors::internal;

const STEPS_MAX: usize = 100;
/// A read's worth, what waits, and the largest frame, with the vectors' growth.
const MEMORY_MAX: isize = 6 << 20;

/// The body of the target.
pub fn stream(data: &[u8]) {
    let before = memory::live();
    let mut input = Bytes::new(data);
    let (near, far) = UnixStream::pair().expect("two sockets");
    far.set_nonblocking(true).expect("an option");
    let stream = Stream::over(internal(OwnedFd::from(near)), 1500).expect("an epoll set");
    let mut world =
        World { stream, far, arrives: Vec::new(), sent: Vec::new(), left: Vec::new(), ended: false };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        match input.u8() % 8 {
            0 => {
                let length = input.u16().into();
                world.write(input.take(length));
            }
            1..=4 => world.write_frame(&mut input),
            5 => world.read(usize::from(input.u16()) * 8),
            _ => world.transmit(&mut input),
        }
        let grown = memory::live() - before - world.own();
        assert!(grown < MEMORY_MAX, "{grown} bytes of memory are in use");
    }
    world.end();
}

struct World {
    stream: Stream,
    far: UnixStream,
    /// Bytes on their way to the stream that are no whole frame yet.
    arrives: Vec<u8>,
    /// Frames that the stream was given to send, and bytes that came of it.
    sent: Vec<Vec<u8>>,
    left: Vec<u8>,
    /// A length came that no frame has.
    ended: bool,
}

impl World {
    /// Memory of this side.
    fn own(&self) -> isize {
        let frames: usize = self.sent.iter().map(|frame| frame.capacity() + 64).sum();
        (frames + self.left.capacity() + self.arrives.capacity()) as isize
    }

    fn write_frame(&mut self, input: &mut Bytes) {
        let length = input.pick(&[14, 60, 1514, 65_535, 13, 65_536, 0]);
        let bytes = [&(length as u32).to_be_bytes()[..], &vec![input.u8(); length]].concat();
        let cut = usize::from(input.u16()) % (bytes.len() + 1);
        let (one, other) = bytes.split_at(cut);
        self.write(one);
        self.write(other);
    }

    /// Writes to the stream's other end, and takes what comes out.
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = match (&self.far).write(bytes) {
                Ok(written) => written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
                Err(error) => panic!("{error}"),
            };
            self.arrives.extend(&bytes[..written]);
            bytes = &bytes[written..];
            self.compare();
            // It reads no more.
            if self.ended {
                return;
            }
        }
    }

    fn compare(&mut self) {
        let mut came = Vec::new();
        while self.stream.receive(&mut |frame| came.push(frame.to_vec())) {}
        let mut expected = Vec::new();
        let mut rest = &self.arrives[..];
        while let Some((length, behind)) = rest.split_first_chunk::<4>().filter(|_| !self.ended) {
            let length = u32::from_be_bytes(*length) as usize;
            self.ended |= !(14..=65_535).contains(&length);
            let Some((frame, behind)) = behind.split_at_checked(length).filter(|_| !self.ended) else {
                break;
            };
            expected.push(frame.to_vec());
            rest = behind;
        }
        assert!(came == expected, "{} frames came, and not {}", came.len(), expected.len());
        self.arrives = rest.to_vec();
    }

    fn transmit(&mut self, input: &mut Bytes) {
        let length = input.pick(&[14, 60, 1514, 1514, 65_535, 65_535, 65_536]);
        let serial = self.sent.len() as u32;
        let mut frame = serial.to_be_bytes().to_vec();
        frame.resize(length, serial as u8);
        for _ in 0..input.pick(&[1, 1, 1, 8, 40]) {
            let (first, second) = frame.split_at(usize::from(input.u8()).min(frame.len()));
            self.stream.transmit([first, second, &[], &[]]);
            if length <= 65_535 {
                self.sent.push(frame.clone());
            }
        }
    }

    fn read(&mut self, length: usize) {
        let mut space = vec![0; length];
        if let Ok(count) = self.far.read(&mut space) {
            self.left.extend(&space[..count]);
        }
        self.compare();
    }

    /// All that was taken has left.
    fn end(&mut self) {
        for _ in 0..1000 {
            if !self.stream.busy() || self.ended {
                break;
            }
            self.read(1 << 20);
        }
        assert!(!self.stream.busy(), "something is left");
        self.read(1 << 20);
        let mut sent = self.sent.iter();
        let mut rest = &self.left[..];
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((frame, behind)) = behind.split_at_checked(length) else {
                assert!(self.ended, "half a frame");
                break;
            };
            assert!(sent.any(|sent| sent == frame), "a frame that was not sent, or not then");
            rest = behind;
        }
    }
}
