//! What a program does with its end of a connection, step by step, whichever stack it is on.

use tubesock::error::Error;

/// A step. The bytes that a side sends are settled by its case; the other side compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Writes all its bytes.
    Send,
    /// Reads all the other's bytes.
    Receive,
    /// Reads half of them.
    ReceiveHalf,
    /// Waits until something can be read, and does not.
    Arrived,
    /// shutdown(SHUT_WR)
    Finish,
    /// Reads the end of the file.
    EndOfFile,
    /// The connection is over, in order, as far as this side is concerned.
    Over,
    /// Resets the connection: SO_LINGER 0 and close.
    Reset,
    /// close(2)
    Close,
    /// Reads, and gets this error.
    Fail(Error),
    /// Writes without end until it gets this error.
    SendUntil(Error),
}

use Step::*;

/// How a connection goes and ends.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) name: &'static str,
    pub(crate) ours: &'static [Step],
    pub(crate) theirs: &'static [Step],
}

/// All of them. Where a side resets after both have sent, the other has sent first and waits: what is under way when a
/// reset comes is lost, rightly.
pub(crate) const STORIES: [Story; 11] = [
    Story {
        name: "we close first",
        ours: &[Send, Receive, Finish, EndOfFile, Over],
        theirs: &[Send, Receive, EndOfFile, Over, Close],
    },
    Story {
        name: "they close first",
        ours: &[Send, Receive, EndOfFile, Finish, Over],
        theirs: &[Send, Receive, Finish, EndOfFile, Over, Close],
    },
    Story {
        name: "both close at once",
        ours: &[Send, Receive, Finish, EndOfFile, Over],
        theirs: &[Send, Receive, Finish, EndOfFile, Over, Close],
    },
    Story {
        name: "we close and forget it",
        ours: &[Receive, Send, Close],
        theirs: &[Send, Receive, EndOfFile, Over, Close],
    },
    Story {
        name: "we half-close, they send",
        ours: &[Send, Finish, Receive, EndOfFile, Over],
        theirs: &[Receive, EndOfFile, Send, Over, Close],
    },
    Story {
        name: "they half-close, we send",
        ours: &[Receive, EndOfFile, Send, Finish, Over],
        theirs: &[Send, Finish, Receive, EndOfFile, Over, Close],
    },
    Story {
        name: "we reset",
        ours: &[Send, Receive, Reset],
        theirs: &[Receive, Send, Fail(Error::ConnectionReset)],
    },
    Story {
        name: "they reset",
        ours: &[Receive, Send, Fail(Error::ConnectionReset)],
        theirs: &[Send, Receive, Reset],
    },
    Story {
        name: "we reset halfway",
        ours: &[ReceiveHalf, Reset],
        theirs: &[SendUntil(Error::ConnectionReset)],
    },
    Story {
        name: "we close with bytes unread",
        ours: &[Arrived, Close],
        theirs: &[SendUntil(Error::ConnectionReset)],
    },
    Story {
        name: "they close with bytes unread",
        ours: &[SendUntil(Error::ConnectionReset)],
        theirs: &[Arrived, Close],
    },
];

/// One side's bytes: `length` of them, settled by `seed` (xorshift64*).
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    });
    words.flatten().take(length).collect()
}
