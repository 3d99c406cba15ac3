//! TIME-WAIT: what is left of a connection whose end we closed first, for 60 seconds as on Linux: it answers a FIN
//! that comes again, and keeps old segments from a new connection of the same 4-tuple.
//!
//! An entry takes some 150 bytes and no timer: entries expire in the order in which they came, and are looked at only
//! when something asks. A reset that hits RCV.NXT ends one, as on Linux and against RFC 1337: it is how a peer whose new
//! SYN looked old gets through. A SYN that is newer by its number or by its timestamp takes over (RFC 9293 3.6.1,
//! RFC 6191). What is answered how is Linux's tcp_timewait_state_process.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::ports::Reuse;
use super::tuples::{Keyed, Tuples};
use crate::tcp::{self, Draft, HeaderOptions, Remains, Segment, Sequence, Timestamps};
use crate::time::Instant;
use core::time::Duration;
use std::collections::VecDeque;

/// Linux's TCP_TIMEWAIT_LEN.
const DURATION: Duration = Duration::from_secs(60);

/// When an entry may give its 4-tuple to a new connection of ours that finds no other port: Linux's tcp_tw_reuse.
const REUSE_AFTER: Duration = Duration::from_secs(1);

/// The most entries; the oldest goes early. A process that opens and closes more in a minute has no port to spare for
/// longer memories, and pays for this table with a megabyte at the most.
const ENTRIES_MAX: usize = 4_096;

/// The least time between two restarts of an entry.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

/// The time between two answers to segments that may be answers themselves (Linux's tcp_invalid_ratelimit).
const ANSWER_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    remains: Remains,
    /// With whom the socket that was shared its port.
    pub(super) reuse: Reuse,
    since: Instant,
    /// When a segment was answered that may have been an answer.
    answered: Option<Instant>,
}

impl Entry {
    /// The acknowledgement that says all there is to say.
    pub(super) fn acknowledgement(&self, now: Instant) -> Draft {
        let Remains { next_sent, next_received, window, timestamps } = self.remains;
        let timestamps = timestamps
            .map(|(recent, offset)| Timestamps { value: tcp::clock(now).wrapping_add(offset), echo: recent });
        let options = HeaderOptions { timestamps, ..HeaderOptions::default() };
        Draft { options, ..Draft::bare(next_sent, Some(next_received), window) }
    }

    /// How much newer the timestamp of `segment` is than the last one that counted, when both have one.
    fn newer_by(&self, segment: &Segment) -> Option<i32> {
        let (recent, _) = self.remains.timestamps?;
        Some(segment.options.timestamps?.value.wrapping_sub(recent) as i32)
    }

    /// Whether one more answer is due to a segment that is perhaps an answer itself: two that answer each other would do so
    /// for ever.
    fn may_answer(&mut self, now: Instant) -> bool {
        let due = self.answered.is_none_or(|answered| now - answered >= ANSWER_INTERVAL);
        if due {
            self.answered = Some(now);
        }
        due
    }

    /// An initial sequence number behind everything that was sent: `wanted`, or one at the safe distance.
    pub(super) fn successor(&self, wanted: Sequence) -> Sequence {
        if wanted.after(self.remains.next_sent) { wanted } else { self.remains.next_sent + 65_537 }
    }
}

/// What a segment for an entry calls for.
pub(super) enum Answer {
    Nothing,
    Acknowledge(Draft),
    /// The entry is gone.
    End(Entry),
    /// A new connection may take over (RFC 9293 3.6.1); its number must be a `successor`.
    Reopen(Entry),
}

pub(super) struct TimeWaits {
    entries: Tuples<Entry>,
    /// In the order of expiry; an entry that was restarted is here again and the older mention is void.
    order: VecDeque<(Instant, FourTuple)>,
}

impl TimeWaits {
    pub(super) fn new(keyed: &Keyed) -> TimeWaits {
        TimeWaits { entries: Tuples::new(keyed), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, tuple: FourTuple, remains: Remains, reuse: Reuse, now: Instant) -> Entry {
        let entry = Entry { remains, reuse, since: now, answered: None };
        self.entries.insert(&tuple, entry);
        self.order.push_back((now, tuple));
        entry
    }

    pub(super) fn contains(&self, tuple: &FourTuple) -> bool {
        self.entries.contains(tuple)
    }

    /// The 4-tuples that have an entry, the oldest first.
    pub(super) fn tuples(&self, now: Instant) -> impl Iterator<Item = &FourTuple> {
        let current = move |since: Instant, tuple| {
            self.entries.get(tuple).is_some_and(|entry| entry.since == since) && now - since < DURATION
        };
        self.order.iter().filter(move |(since, tuple)| current(*since, tuple)).map(|(_, tuple)| tuple)
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
        let newer_by = entry.newer_by(segment);
        // RFC 7323 5.3 R1; a reset needs no timestamp.
        let stale = newer_by.is_some_and(|newer_by| newer_by < 0) && !segment.rst;
        let next = segment.sequence == entry.remains.next_received;
        if !stale && next && segment.rst {
            return self.remove(tuple).map(Answer::End);
        }
        if segment.rst {
            return Some(Answer::Nothing);
        }
        if !stale && next && segment.length() == 0 {
            if let (Some((recent, _)), Some(stamps)) =
                (&mut entry.remains.timestamps, segment.options.timestamps)
            {
                *recent = stamps.value;
            }
            self.restart(tuple, now);
            return Some(Answer::Nothing);
        }
        let request = segment.syn && segment.acknowledgement.is_none();
        let newer = segment.sequence.after(entry.remains.next_received)
            || newer_by.is_some_and(|newer_by| newer_by > 0);
        if request && newer && !stale {
            return self.remove(tuple).map(Answer::Reopen);
        }
        let perhaps_answer = segment.syn || segment.length() == 0;
        let answer = match perhaps_answer && !entry.may_answer(now) {
            true => Answer::Nothing,
            false => Answer::Acknowledge(entry.acknowledgement(now)),
        };
        if stale || segment.acknowledgement.is_some() {
            self.restart(tuple, now);
        }
        Some(answer)
    }

    /// The minute begins anew; not more than once in a second, as each time leaves a void mention behind.
    fn restart(&mut self, tuple: &FourTuple, now: Instant) {
        if let Some(entry) = self.entries.get_mut(tuple)
            && now - entry.since >= RESTART_INTERVAL
        {
            entry.since = now;
            self.order.push_back((now, *tuple));
        }
    }
}
