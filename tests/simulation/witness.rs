//! What is seen of connections from outside: when each end was last heard, and what was sent twice.

use crate::host::number_of;
use crate::trace::Segment;
use tubesock::time::Instant;

/// One connection, or several in a row between the same ports; by side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Witness {
    /// When a segment reached this side.
    pub(crate) heard: [Instant; 2],
    /// When a segment with data, SYN or FIN did.
    pub(crate) heard_asking: [Instant; 2],
    /// What this side sent: the end of it all, bytes of data, and those of them that were sent before.
    end: [Option<u32>; 2],
    pub(crate) sent: [u64; 2],
    pub(crate) repeated: [u64; 2],
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
    witness.heard[side] = now;
    if segment.syn || segment.fin || segment.data > 0 {
        witness.heard_asking[side] = now;
    }
}

/// `side` sent `packet`.
pub(crate) fn sent(witnesses: &mut [Witness], side: usize, packet: &[u8]) {
    let Some((witness, segment)) = find(witnesses, packet) else { return };
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
