//! The options of a TCP header (RFC 9293 3.1, 3.2; RFC 7323; RFC 2018), read and written.
//!
//! Our own, because smoltcp's stop at three SACK blocks where four fit (RFC 2018 3). What cannot be read ends the
//! list: what was read before stands, as on Linux.
#![forbid(unsafe_code)]

use super::sequence::Sequence;

/// The most bytes of options (the data offset field has four bits).
pub(super) const OPTIONS_MAX: usize = 40;

/// What the timestamps option takes, with its padding (RFC 7323 appendix A).
pub(super) const TIMESTAMPS_LENGTH: usize = 12;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// RFC 7323 2.3: a larger shift is taken for this.
pub(super) const SHIFT_MAX: u8 = 14;

/// RFC 7323 3.2
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval
    pub value: u32,
    /// TSecr
    pub echo: u32,
}

/// Up to four SACK blocks, in the order in which they stand (RFC 2018 3). Each is the first number of a block and the
/// one behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [(Sequence, Sequence); 4],
    count: u8,
}

impl SackBlocks {
    /// Puts a block behind the others; one too many is left out.
    pub fn push(&mut self, start: Sequence, end: Sequence) {
        if let Some(place) = self.blocks.get_mut(usize::from(self.count)) {
            *place = (start, end);
            self.count += 1;
        }
    }

    /// The blocks.
    pub fn as_slice(&self) -> &[(Sequence, Sequence)] {
        &self.blocks[..usize::from(self.count)]
    }

    /// The first `count` blocks at most.
    pub fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count.min(4) as u8);
    }

    /// Puts them in the order of their numbers, counted from `start` on.
    pub(super) fn sort_from(&mut self, start: Sequence) {
        self.blocks[..usize::from(self.count)].sort_unstable_by_key(|block| block.0 - start);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The options of one header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderOptions {
    /// Maximum segment size, read on a SYN only.
    pub mss: Option<u16>,
    /// Window scale, read on a SYN only.
    pub window_scale: Option<u8>,
    /// SACK-permitted, read on a SYN only.
    pub sack_permitted: bool,
    /// Timestamps
    pub timestamps: Option<Timestamps>,
    /// SACK
    pub sack: SackBlocks,
}

impl HeaderOptions {
    /// Reads the bytes behind a header; `syn` tells whether it has the SYN flag.
    #[inline]
    pub fn parse(bytes: &[u8], syn: bool) -> HeaderOptions {
        // What nearly every segment has, in the layout that RFC 7323 recommends.
        if let [NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10, a, b, c, d, e, f, g, h] = *bytes
            && !syn
        {
            let (value, echo) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            return HeaderOptions {
                timestamps: Some(Timestamps { value, echo }),
                ..HeaderOptions::default()
            };
        }
        HeaderOptions::parse_each(bytes, syn)
    }

    fn parse_each(bytes: &[u8], syn: bool) -> HeaderOptions {
        let mut options = HeaderOptions::default();
        let mut rest = bytes;
        while let [kind, tail @ ..] = rest {
            match *kind {
                END => break,
                NO_OPERATION => rest = tail,
                kind => {
                    let Some(length) = tail.first().map(|length| usize::from(*length)) else { break };
                    let Some(body) = rest.get(2..length) else { break };
                    options.read(kind, body, syn);
                    rest = &rest[length..];
                }
            }
        }
        options
    }

    fn read(&mut self, kind: u8, body: &[u8], syn: bool) {
        match (kind, body) {
            (MSS, [a, b]) if syn => self.mss = Some(u16::from_be_bytes([*a, *b])),
            (WINDOW_SCALE, [shift]) if syn => self.window_scale = Some((*shift).min(SHIFT_MAX)),
            (SACK_PERMITTED, []) if syn => self.sack_permitted = true,
            (TIMESTAMPS, [a, b, c, d, e, f, g, h]) => {
                let (value, echo) =
                    (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]));
                self.timestamps = Some(Timestamps { value, echo });
            }
            (SACK, blocks) if !syn && blocks.len() % 8 == 0 => {
                for block in blocks.chunks_exact(8) {
                    let number = |at: usize| {
                        Sequence(u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]))
                    };
                    self.sack.push(number(0), number(4));
                }
            }
            _ => {}
        }
    }

    /// Bytes that `write` fills.
    pub fn length(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let scale = if self.window_scale.is_some() { 4 } else { 0 };
        let permitted = if self.sack_permitted && self.timestamps.is_none() { 4 } else { 0 };
        let timestamps = if self.timestamps.is_some() { TIMESTAMPS_LENGTH } else { 0 };
        let blocks = self.sack.as_slice().len();
        mss + scale + permitted + timestamps + if blocks > 0 { 4 + 8 * blocks } else { 0 }
    }

    /// Writes them as Linux lays them out; `bytes` is `length` long.
    pub fn write(&self, bytes: &mut [u8]) {
        // What nearly every segment has.
        if let (Ok(place), Some(Timestamps { value, echo })) =
            (<&mut [u8; TIMESTAMPS_LENGTH]>::try_from(&mut *bytes), self.timestamps)
        {
            let ([a, b, c, d], [e, f, g, h]) = (value.to_be_bytes(), echo.to_be_bytes());
            let kind = if self.sack_permitted { [SACK_PERMITTED, 2] } else { [NO_OPERATION; 2] };
            *place = [kind[0], kind[1], TIMESTAMPS, 10, a, b, c, d, e, f, g, h];
            return;
        }
        let mut writer = Writer { bytes, at: 0 };
        if let Some(mss) = self.mss {
            writer.put(&[MSS, 4]);
            writer.put(&mss.to_be_bytes());
        }
        if let Some(Timestamps { value, echo }) = self.timestamps {
            let padding = if self.sack_permitted { [SACK_PERMITTED, 2] } else { [NO_OPERATION; 2] };
            writer.put(&padding);
            writer.put(&[TIMESTAMPS, 10]);
            writer.put(&value.to_be_bytes());
            writer.put(&echo.to_be_bytes());
        } else if self.sack_permitted {
            writer.put(&[NO_OPERATION, NO_OPERATION, SACK_PERMITTED, 2]);
        }
        if let Some(shift) = self.window_scale {
            writer.put(&[NO_OPERATION, WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack.as_slice();
        if !blocks.is_empty() {
            writer.put(&[NO_OPERATION, NO_OPERATION, SACK, 2 + 8 * blocks.len() as u8]);
        }
        for (start, end) in blocks {
            writer.put(&start.0.to_be_bytes());
            writer.put(&end.0.to_be_bytes());
        }
    }
}

struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(options: HeaderOptions, syn: bool) {
        let mut bytes = [0; OPTIONS_MAX];
        let length = options.length();
        options.write(&mut bytes[..length]);
        assert_eq!(length % 4, 0);
        assert_eq!(HeaderOptions::parse(&bytes[..length], syn), options);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let timestamps = Some(Timestamps { value: 7, echo: u32::MAX });
        for timestamps in [None, timestamps] {
            for sack_permitted in [false, true] {
                let options = HeaderOptions {
                    mss: Some(1460),
                    window_scale: Some(7),
                    sack_permitted,
                    timestamps,
                    sack: SackBlocks::default(),
                };
                round_trip(options, true);
            }
            for count in 0..4 - usize::from(timestamps.is_some()) {
                let mut options = HeaderOptions { timestamps, ..HeaderOptions::default() };
                (0..=count as u32).for_each(|n| options.sack.push(Sequence(n * 10), Sequence(n * 10 + 5)));
                round_trip(options, false);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        for bytes in
            [&[2, 4, 5, 180, 3][..], &[2, 4, 5, 180, 8, 0], &[2, 4, 5, 180, 8, 200, 1], &[2, 4, 5, 180, 0, 3]]
        {
            let options = HeaderOptions::parse(bytes, true);
            assert_eq!(options, HeaderOptions { mss: Some(1460), ..HeaderOptions::default() });
        }
        // Of a length that their kind does not have, or where they have no meaning: passed over.
        let options = HeaderOptions::parse(&[2, 3, 1, 3, 2, 5, 9, 0, 0, 0, 0, 0, 0, 0, 2, 4, 1, 0], true);
        assert_eq!(options, HeaderOptions { mss: Some(256), ..HeaderOptions::default() });
        assert_eq!(HeaderOptions::parse(&[2, 4, 1, 0, 3, 3, 7, 4, 2], false), HeaderOptions::default());
    }
}
