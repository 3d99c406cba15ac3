//! What is seen of connections from outside: when each end was heard, and what was sent twice.

use crate::host::number_of;
use crate::trace::Segment;
use std::time::Duration;
use tubesock::time::Instant;

/// A pause that is worth remembering: no patience is as short.
const PAUSE_LEAST: Duration = Duration::from_secs(1);

/// When something was heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear {
    last: Instant,
    pauses: Vec<(Instant, Instant)>,
}

impl Ear {
    fn hear(&mut self, now: Instant) {
        if now - self.last >= PAUSE_LEAST {
            self.pauses.push((self.last, now));
        }
        self.last = now;
    }

    /// The longest time from `since` to `now` without anything.
    pub(crate) fn silence(&self, since: Instant, now: Instant) -> Duration {
        let pauses = self.pauses.iter().copied().chain([(self.last, now)]);
        pauses.map(|(from, to)| to.min(now) - from.max(since)).max().unwrap_or_default()
    }

    /// The longest time without anything that lasted beyond `since`, whenever it began.
    pub(crate) fn silence_beyond(&self, since: Instant, now: Instant) -> Duration {
        let pauses = self.pauses.iter().copied().chain([(self.last, now)]);
        let lasting = pauses.filter(|(_, to)| *to > since);
        lasting.map(|(from, to)| to.min(now) - from).max().unwrap_or_default()
    }

    /// The time since `since` that has been without anything until now.
    fn silent_now(&self, since: Instant, now: Instant) -> Duration {
        now - self.last.max(since)
    }
}

/// One connection, or several in a row between the same ports; by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    /// Segments that reached this side.
    pub(crate) heard: [Ear; 2],
    /// Segments with data, SYN or FIN that did.
    pub(crate) asked: [Ear; 2],
    /// Segments that acknowledged more than any before, and what the last of them did.
    pub(crate) answered: [Ear; 2],
    acknowledged: [u32; 2],
    /// The number of this side's SYN.
    initial: [Option<u32>; 2],
    /// What this side sent: the end of it all, bytes of data, and those of them that were sent before.
    end: [Option<u32>; 2],
    pub(crate) sent: [u64; 2],
    pub(crate) repeated: [u64; 2],
}

impl Witness {
    /// For how long now, since `since`, `side` has heard nothing, or what it asked was not heard.
    pub(crate) fn silent_now(&self, side: usize, since: Instant, now: Instant) -> Duration {
        self.heard[side].silent_now(since, now).max(self.asked[1 - side].silent_now(since, now))
    }

    /// For how long nothing new of what `side` sent has been acknowledged.
    pub(crate) fn unanswered(&self, side: usize, since: Instant, now: Instant) -> Duration {
        self.answered[side].silent_now(since, now)
    }
}

/// The witness of the connection that `packet` is of, if it is of one; bits may be flipped.
fn find<'a>(witnesses: &'a mut [Witness], packet: &[u8]) -> Option<(&'a mut Witness, Segment)> {
    let segment = Segment::of(packet)?;
    let witness = witnesses.get_mut(number_of(segment.ports()))?;
    Some((witness, segment))
}

/// `packet` reached `side`.
pub(crate) fn received(witnesses: &mut [Witness], side: usize, packet: &[u8], now: Instant) {
    let Some((witness, segment)) = find(witnesses, packet) else { return };
    witness.heard[side].hear(now);
    if segment.syn || segment.fin || segment.data > 0 {
        witness.asked[side].hear(now);
    }
    let Some(number) = segment.acknowledgement else { return };
    if number.wrapping_sub(witness.acknowledged[side]) as i32 > 0 {
        witness.acknowledged[side] = number;
        witness.answered[side].hear(now);
    }
}

/// `side` sent `packet`.
pub(crate) fn sent(witnesses: &mut [Witness], side: usize, packet: &[u8]) {
    let Some((witness, segment)) = find(witnesses, packet) else { return };
    if segment.syn && witness.initial[side] != Some(segment.sequence) {
        (witness.initial[side], witness.acknowledged[side]) = (Some(segment.sequence), segment.sequence);
    }
    let start = segment.sequence.wrapping_add(u32::from(segment.syn));
    let end = start.wrapping_add(segment.data);
    let before = witness.end[side].filter(|_| !segment.syn).unwrap_or(start);
    let news = end.wrapping_sub(before) as i32;
    if segment.data > 0 {
        witness.sent[side] += u64::from(segment.data);
        witness.repeated[side] += (i64::from(segment.data) - i64::from(news).max(0)) as u64;
    }
    witness.end[side] = Some(if news > 0 { end } else { before });
}
