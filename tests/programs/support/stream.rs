//! A stream of bytes that is the same in every run and repeats nowhere, so that a lost, doubled or moved piece changes
//! its digest. Nothing of it is ever stored: a gigabyte goes through 64 KiB of memory.

use std::io::{Read, Result, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

const CHUNK: usize = 65536;

/// The first `length` bytes of the stream.
pub(crate) struct Stream {
    counter: u64,
    left: u64,
}

impl Stream {
    pub(crate) fn of(length: u64) -> Stream {
        Stream { counter: 0, left: length }
    }

    /// Writes all of it.
    pub(crate) fn write_to(mut self, target: &mut impl Write) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        while self.left > 0 {
            let count = self.fill(&mut chunk);
            target.write_all(&chunk[..count])?;
        }
        Ok(())
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.left).expect("fits in memory").next_multiple_of(8)];
        let count = self.fill(&mut bytes);
        bytes.truncate(count);
        bytes
    }

    /// SplitMix64 of a counter. `chunk` is a multiple of eight bytes.
    fn fill(&mut self, chunk: &mut [u8]) -> usize {
        for word in chunk.chunks_exact_mut(8) {
            self.counter = self.counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut value = self.counter;
            value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            word.copy_from_slice(&(value ^ (value >> 31)).to_le_bytes());
        }
        let count = self.left.min(chunk.len() as u64);
        self.left -= count;
        count as usize
    }
}

/// SHA-256 of what is written, by `sha256sum`.
pub(crate) struct Digest {
    child: Child,
    input: ChildStdin,
}

impl Digest {
    pub(crate) fn new() -> Digest {
        let mut child = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("coreutils have sha256sum");
        let input = child.stdin.take().expect("standard input is a pipe");
        Digest { child, input }
    }

    /// The digest of the first `length` bytes of the stream.
    pub(crate) fn of_stream(length: u64) -> String {
        let mut digest = Digest::new();
        Stream::of(length).write_to(&mut digest).expect("sha256sum reads to the end");
        digest.finish()
    }

    /// The digest in hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        let Digest { mut child, input } = self;
        drop(input);
        let mut line = String::new();
        child.stdout.take().expect("standard output is a pipe").read_to_string(&mut line).expect("text");
        assert!(child.wait().expect("the child is ours").success(), "sha256sum failed");
        line.split_whitespace().next().expect("sha256sum prints a digest").to_owned()
    }
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.input.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
