//! `tubesock link`: what is done to the packets of a host's link, shown and changed while it runs; for its own user and for
//! root.
#![forbid(unsafe_code)]

use super::control::Message;
use super::request::Answer;
use super::{Address, Inner, PATIENCE, Token, client, is_owner};
use crate::config::Impairments;
use crate::error::{Error, Result};
use crate::link::impair::{Counters, Direction, Lanes};
use crate::sys;
use crate::time::Instant;
use core::fmt::Write;
use rustix::net::SocketAddrUnix;

impl Inner {
    /// Does what `words` say, if they say anything, and tells what is done now.
    pub(super) fn impair(&mut self, words: &[u8], user: Option<u32>) -> Result<String> {
        if !is_owner(user) {
            return Err(Error::PermissionDenied);
        }
        let now = sys::now();
        let lanes = self.link.impairment().ok_or(Error::NotSupported)?;
        if !words.is_empty() {
            let words = core::str::from_utf8(words).map_err(|_| Error::InvalidArgument)?;
            let asked: Impairments = words.parse().map_err(|_| Error::InvalidArgument)?;
            let directions = [(Direction::Outgoing, asked.outgoing), (Direction::Incoming, asked.incoming)];
            for (direction, settings) in directions {
                if let Some(settings) = settings {
                    lanes.set(direction, settings, now);
                }
            }
        }
        let text = report(lanes, now);
        // What was held back may be due, or will be.
        self.step();
        Ok(text)
    }
}

/// What is done, in words that can be given to `--impair` again, and a line for what became of the packets of each direction.
fn report(lanes: &Lanes, now: Instant) -> String {
    let mut text = format!("{}\n", lanes.settings(now));
    for (name, direction) in [("out", Direction::Outgoing), ("in", Direction::Incoming)] {
        let Counters { seen, duplicated, lost, corrupted, reordered, overflowed, too_large, down } =
            lanes.counters(direction);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    {name} seen {seen} lost {lost} duplicated {duplicated} corrupted {corrupted} reordered \
             {reordered} overflowed {overflowed} too-large {too_large} down {down}"
        );
    }
    text
}

/// Asks the host of `token` to do as `words` say, if they say anything; returns what is done now. EACCES for other users
/// than its own and root, EINVAL for words that are none, ENETDOWN when there is no such host.
pub fn impair_of(token: Token, words: &str) -> Result<String> {
    ask(&client::name(token)?, words)
}

/// As `impair_of`, of the host at an address.
pub fn impair_at(address: &Address, words: &str) -> Result<String> {
    ask(&client::address(address)?, words)
}

fn ask(host: &SocketAddrUnix, words: &str) -> Result<String> {
    match client::exchange(
        core::slice::from_ref(host),
        Message::Impair,
        words.as_bytes(),
        None,
        Some(PATIENCE),
    )? {
        (Answer::Bytes(text), _) => Ok(String::from_utf8_lossy(&text).into_owned()),
        _ => Err(Error::Broken),
    }
}
