//! Buffers whose memory is committed only as they fill: rings that grow by doubling, and the pool that lends them memory.
//!
//! An empty ring holds nothing. The pool gives back first what it got last: that memory is warm in the cache, so ten
//! thousand connections that each exchange a few bytes all work in the same few pages.
#![forbid(unsafe_code)]

use core::fmt;

/// The least memory that a ring takes.
const LEAST: usize = 2 * 1024;

/// What the pool keeps; the rest goes back to the system.
const POOLED_MAX: usize = 4 * 1024 * 1024;

/// A buffer of as much serves any need: growing by doubling again, each time that a busy ring was empty, costs more.
const ANY_NEED: usize = 256 * 1024;

/// How deep the pool looks for a buffer that is large enough.
const SEARCH: usize = 4;

/// Buffers in the pool.
const POOLED_COUNT: usize = 256;

/// Buffers that nobody uses.
pub(super) struct Pool {
    stack: Vec<Vec<u8>>,
    bytes: usize,
}

impl Default for Pool {
    /// Its table never grows: at the end of a process it is used while a thread may have been stopped within malloc.
    fn default() -> Pool {
        Pool { stack: Vec::with_capacity(POOLED_COUNT), bytes: 0 }
    }
}

impl Pool {
    /// Makes an empty `buffer` one of a power of two of bytes, `least` at the least. What is in it has no meaning. In place, for a
    /// vector that goes from hand to hand is read before its parts have left the store buffer, which stalls.
    fn lend(&mut self, buffer: &mut Vec<u8>, least: usize) {
        match self.stack.last_mut() {
            Some(last) if suits(last.len(), least) => {
                core::mem::swap(buffer, last);
                self.bytes -= buffer.len();
                self.stack.pop();
            }
            _ => *buffer = self.find(least),
        }
    }

    /// `lend` when the last buffer that was given does not suit.
    #[cold]
    fn find(&mut self, least: usize) -> Vec<u8> {
        let searched = self.stack.len().saturating_sub(SEARCH);
        let found = self.stack[searched..].iter().rposition(|buffer| suits(buffer.len(), least));
        match found {
            Some(index) => {
                let buffer = self.stack.remove(searched + index);
                self.bytes -= buffer.len();
                buffer
            }
            None => vec![0; least.next_power_of_two().max(LEAST)],
        }
    }

    fn give(&mut self, buffer: Vec<u8>) {
        let room = self.bytes + buffer.len() <= POOLED_MAX && self.stack.len() < POOLED_COUNT;
        if !buffer.is_empty() && room {
            self.bytes += buffer.len();
            self.stack.push(buffer);
        }
    }
}

/// Whether a buffer of `length` bytes may serve where `least` are needed. A large one must not be held by a few bytes.
fn suits(length: usize, least: usize) -> bool {
    length >= least && length <= (4 * least).max(ANY_NEED)
}

/// A queue of bytes, which can be written beyond its end too.
#[derive(Default)]
pub(super) struct Ring {
    /// Empty, or a power of two long.
    buffer: Vec<u8>,
    head: usize,
    length: usize,
}

impl Ring {
    /// Bytes in the queue.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Bytes of memory it holds.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Makes room for `total` bytes from the head of the queue on.
    pub(super) fn reserve(&mut self, pool: &mut Pool, total: usize) {
        if total <= self.buffer.len() {
            return;
        }
        if self.buffer.is_empty() {
            pool.lend(&mut self.buffer, total);
            self.head = 0;
            return;
        }
        self.grow(pool, total);
    }

    fn grow(&mut self, pool: &mut Pool, total: usize) {
        let mut larger = Vec::new();
        pool.lend(&mut larger, total);
        // What was written beyond the end moves too.
        let (tail, start) = self.buffer.split_at(self.head);
        larger[..start.len()].copy_from_slice(start);
        larger[start.len()..start.len() + tail.len()].copy_from_slice(tail);
        self.head = 0;
        pool.give(core::mem::replace(&mut self.buffer, larger));
    }

    /// Gives the memory back.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        pool.give(core::mem::take(&mut self.buffer));
        (self.head, self.length) = (0, 0);
    }

    fn index(&self, offset: usize) -> usize {
        (self.head + offset) & (self.buffer.len().wrapping_sub(1))
    }

    /// `length` bytes from `offset` on, in two slices. They must lie within the queue.
    pub(super) fn slices(&self, offset: usize, length: usize) -> [&[u8]; 2] {
        debug_assert!(offset + length <= self.length);
        if length == 0 {
            return [&[], &[]];
        }
        let start = self.index(offset);
        let first = length.min(self.buffer.len() - start);
        [&self.buffer[start..start + first], &self.buffer[..length - first]]
    }

    /// Writes `bytes` at `offset`, beyond the end of the queue or not; there must be memory for them.
    pub(super) fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.index(offset);
        let first = bytes.len().min(self.buffer.len() - start);
        self.buffer[start..start + first].copy_from_slice(&bytes[..first]);
        if first < bytes.len() {
            self.buffer[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        }
    }

    /// What was written beyond the end is in the queue now, `length` bytes of it.
    pub(super) fn extend(&mut self, length: usize) {
        debug_assert!(self.length + length <= self.buffer.len());
        self.length += length;
    }

    /// Free memory behind the end, in one piece.
    pub(super) fn free(&mut self) -> &mut [u8] {
        let free = self.buffer.len() - self.length;
        if free == 0 {
            return &mut [];
        }
        let start = self.index(self.length);
        let end = (start + free).min(self.buffer.len());
        &mut self.buffer[start..end]
    }

    /// Takes `length` bytes off the head.
    pub(super) fn consume(&mut self, length: usize) {
        debug_assert!(length <= self.length);
        if !self.buffer.is_empty() {
            self.head = self.index(length);
        }
        self.length -= length;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(ring: &Ring) -> Vec<u8> {
        ring.slices(0, ring.length()).concat()
    }

    #[test]
    fn it_grows_with_what_lies_beyond_the_end() {
        let (mut pool, mut ring) = (Pool::default(), Ring::default());
        ring.reserve(&mut pool, 2000);
        ring.write_at(0, &[1; 1500]);
        ring.extend(1500);
        ring.consume(1400);
        ring.reserve(&mut pool, 1000);
        ring.write_at(600, &[3; 400]);
        ring.write_at(100, &[2; 500]);
        ring.reserve(&mut pool, 5000);
        ring.extend(900);
        assert_eq!(contents(&ring), [[1; 100].as_slice(), &[2; 500], &[3; 400]].concat());
        ring.consume(1000);
        ring.clear(&mut pool);
        assert_eq!((ring.capacity(), ring.length()), (0, 0));
        ring.reserve(&mut pool, 1);
        assert_eq!(ring.capacity(), 8192, "what was given last comes first");
    }

    #[test]
    fn free_memory_is_offered_in_pieces() {
        let (mut pool, mut ring) = (Pool::default(), Ring::default());
        assert!(ring.free().is_empty());
        ring.reserve(&mut pool, 2048);
        ring.free().fill(1);
        ring.extend(2048);
        assert!(ring.free().is_empty());
        ring.consume(2000);
        assert_eq!(ring.free().len(), 2000);
        ring.free()[..3].fill(2);
        ring.extend(3);
        assert_eq!(contents(&ring), [[1; 48].as_slice(), &[2; 3]].concat());
    }
}
