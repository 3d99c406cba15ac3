//! What both ends say, as functions of the place in the stream, and sequence numbers that do not wrap: every byte that
//! is accepted anywhere can be checked by where it stands.
#![forbid(unsafe_code)]

/// One end's stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Ours,
    Theirs,
}

impl Stream {
    /// The byte at `offset`, counted as sequence numbers are: the SYN is 0, the first byte 1.
    pub(super) fn byte(self, offset: i64) -> u8 {
        let salt = match self {
            Stream::Ours => 0,
            Stream::Theirs => 0x5555,
        };
        ((offset as u64).wrapping_add(salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
    }

    pub(super) fn bytes(self, offset: i64, length: usize) -> Vec<u8> {
        (offset..offset + length as i64).map(|at| self.byte(at)).collect()
    }

    /// Whether `bytes` are what stands at `offset`.
    pub(super) fn has(self, offset: i64, bytes: &[u8]) -> bool {
        bytes.iter().zip(offset..).all(|(byte, at)| *byte == self.byte(at))
    }
}

/// The place that `number` means, given that it lies around `near` in a space that starts at `first`.
pub(super) fn unwrapped(number: u32, first: u32, near: i64) -> i64 {
    let there = first.wrapping_add(near as u32);
    near + i64::from(number.wrapping_sub(there) as i32)
}

/// `offset` as a sequence number.
pub(super) fn wrapped(offset: i64, first: u32) -> u32 {
    first.wrapping_add(offset as u32)
}

#[test]
fn numbers_survive_wrapping() {
    for (first, near) in [(0, 0_i64), (u32::MAX, 5), (7, 1 << 33)] {
        for away in [-5, 0, 3, i32::MAX.into()] {
            let offset = near + away;
            assert_eq!(unwrapped(wrapped(offset, first), first, near), offset);
        }
    }
}
