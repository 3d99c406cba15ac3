//! TIME-WAIT: what is left of a connection whose end we closed first, for 60 seconds as on Linux: it answers a FIN
//! that comes again, and keeps old segments from a new connection of the same 4-tuple.
//!
//! An entry takes some 100 bytes and no timer: entries expire in the order in which they came, and are looked at only
//! when something asks. A reset that hits RCV.NXT ends one, as on Linux and against RFC 1337: it is how a peer whose new
//! SYN looked old gets through.
#![forbid(unsafe_code)]

use super::address::{FourTuple, Keyed};
use crate::tcp::{Bare, Remains, Segment, Sequence};
use crate::time::Instant;
use core::time::Duration;
use std::collections::{HashMap, VecDeque};

/// Linux's TCP_TIMEWAIT_LEN.
const DURATION: Duration = Duration::from_secs(60);

/// When an entry may give its 4-tuple to a new connection of ours that finds no other port: Linux's tcp_tw_reuse.
const REUSE_AFTER: Duration = Duration::from_secs(1);

/// The most entries; the oldest goes early. A process that opens and closes more in a minute has no port to spare for
/// longer memories, and pays for this table with a megabyte at the most.
const ENTRIES_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    remains: Remains,
    /// SO_REUSEADDR of the socket that was.
    pub(super) reuse: bool,
    since: Instant,
}

impl Entry {
    /// The acknowledgement that says all there is to say.
    pub(super) fn acknowledgement(&self) -> Bare {
        Bare {
            rst: false,
            sequence: self.remains.next_sent,
            acknowledgement: Some(self.remains.next_received),
            window: self.remains.window,
        }
    }

    /// An initial sequence number behind everything that was sent: `wanted`, or one at the safe distance.
    pub(super) fn successor(&self, wanted: Sequence) -> Sequence {
        if wanted.after(self.remains.next_sent) { wanted } else { self.remains.next_sent + 65_537 }
    }
}

/// What a segment for an entry calls for.
pub(super) enum Answer {
    Nothing,
    Acknowledge(Bare),
    /// The entry is gone.
    End(Entry),
    /// A new connection may take over (RFC 9293 3.6.1); its number must be a `successor`.
    Reopen(Entry),
}

pub(super) struct TimeWaits {
    entries: HashMap<FourTuple, Entry, Keyed>,
    /// In the order of expiry; an entry that was restarted is here again and the older mention is void.
    order: VecDeque<(Instant, FourTuple)>,
}

impl TimeWaits {
    pub(super) fn new(keyed: Keyed) -> TimeWaits {
        TimeWaits { entries: HashMap::with_hasher(keyed), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, tuple: FourTuple, remains: Remains, reuse: bool, now: Instant) -> Entry {
        let entry = Entry { remains, reuse, since: now };
        self.entries.insert(tuple, entry);
        self.order.push_back((now, tuple));
        entry
    }

    pub(super) fn contains(&self, tuple: &FourTuple) -> bool {
        self.entries.contains_key(tuple)
    }

    /// Whether a new connection of ours may take the place of the entry of `tuple`.
    pub(super) fn is_reusable(&self, tuple: &FourTuple, now: Instant) -> bool {
        self.entries.get(tuple).is_some_and(|entry| now - entry.since >= REUSE_AFTER)
    }

    pub(super) fn remove(&mut self, tuple: &FourTuple) -> Option<Entry> {
        self.entries.remove(tuple)
    }

    /// The next entry that is over.
    pub(super) fn expired(&mut self, now: Instant) -> Option<(FourTuple, Entry)> {
        loop {
            let (since, tuple) = *self.order.front()?;
            let current = self.entries.get(&tuple).is_some_and(|entry| entry.since == since);
            if current && now - since < DURATION && self.entries.len() <= ENTRIES_MAX {
                return None;
            }
            self.order.pop_front();
            if current {
                return self.entries.remove(&tuple).map(|entry| (tuple, entry));
            }
        }
    }

    /// RFC 9293 3.10.7.4 in TIME-WAIT. None when the 4-tuple has no entry.
    pub(super) fn answer(&mut self, tuple: &FourTuple, segment: &Segment, now: Instant) -> Option<Answer> {
        let entry = self.entries.get_mut(tuple)?;
        if segment.rst && segment.sequence == entry.remains.next_received {
            let entry = *entry;
            self.entries.remove(tuple);
            return Some(Answer::End(entry));
        }
        if segment.syn
            && segment.acknowledgement.is_none()
            && segment.sequence.after(entry.remains.next_received)
        {
            let entry = *entry;
            self.entries.remove(tuple);
            return Some(Answer::Reopen(entry));
        }
        if segment.rst || segment.length() == 0 {
            return Some(Answer::Nothing);
        }
        if segment.fin && entry.since < now {
            entry.since = now;
            self.order.push_back((now, *tuple));
        }
        Some(Answer::Acknowledge(entry.acknowledgement()))
    }
}
