//! Peers, and strangers in between, that lie in their acknowledgements, blocks, windows, stamps and numbers.
//!
//! Two kinds of tests: a peer that harms only itself must cost no more room and time than one that behaves, and a
//! stranger who does not see the segments must change nothing. What a peer may always do to its own connection (hold
//! it up, acknowledge what it never got) is not tested for its own sake.

use crate::peer::{ACK, Peer, RST, SYN};
use crate::world::{Dice, read, write};
use std::time::Duration;
use tubesock::engine::StreamState;
use tubesock::tcp::{HeaderOptions, SackBlocks, Segment, Sequence, Timestamps};

const MILLISECOND: Duration = Duration::from_millis(1);

/// The byte at `offset` of every stream here: no two segments are alike.
fn byte(offset: usize) -> u8 {
    (offset % 251) as u8
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(byte).collect()
}

/// What a peer has of a stream of `pattern`.
struct Inbox {
    start: Sequence,
    here: Vec<bool>,
    /// Bytes without a gap.
    whole: usize,
}

impl Inbox {
    fn new(start: Sequence, length: usize) -> Inbox {
        Inbox { start, here: vec![false; length], whole: 0 }
    }

    fn take(&mut self, segment: &Segment, data: &[u8]) {
        if data.is_empty() || segment.sequence.before(self.start) {
            return;
        }
        let offset = (segment.sequence - self.start) as usize;
        for (index, value) in data.iter().enumerate() {
            assert_eq!(*value, byte(offset + index), "at {}", offset + index);
            self.here[offset + index] = true;
        }
        while self.here.get(self.whole) == Some(&true) {
            self.whole += 1;
        }
    }

    fn is_whole(&self) -> bool {
        self.whole == self.here.len()
    }

    /// What to acknowledge.
    fn next(&self) -> Sequence {
        self.start + self.whole as u32
    }
}

/// A peer that receives as it should, at one acknowledgement for each burst of segments, and the time until all is there.
fn receive_all(peer: &mut Peer, inbox: &mut Inbox, limit: Duration) {
    let end = peer.now + limit;
    while !inbox.is_whole() {
        let answers = peer.answers_with_data();
        answers.iter().for_each(|(segment, data)| inbox.take(segment, data));
        if !answers.iter().any(|(segment, _)| segment.payload > 0) {
            let deadline = peer.engine.deadline().expect("a timer, while something is missing");
            peer.now = peer.now.max(deadline);
            assert!(peer.now <= end, "{} of {} bytes", inbox.whole, inbox.here.len());
            peer.engine.advance(peer.now);
            continue;
        }
        peer.now = peer.now + MILLISECOND;
        acknowledge(peer, inbox.next());
    }
}

fn acknowledge(peer: &mut Peer, number: Sequence) {
    peer.acknowledged = number;
    peer.send(ACK, peer.next, b"");
}

// ---- selective acknowledgements

/// Four blocks that make no sense, or one byte of sense each; some of `long` bytes.
fn absurd_blocks(dice: &mut Dice, first: Sequence, flight: u32, long: u32) -> SackBlocks {
    let mut blocks = SackBlocks::default();
    for _ in 0..4 {
        let at = first + dice.below(u64::from(flight)) as u32;
        let before = Sequence(first.0.wrapping_sub(1 + dice.below(3000) as u32));
        let (start, end) = match dice.below(7) {
            0 | 1 => (at, at + 1),
            2 => (at + 1 + dice.below(100) as u32, at),
            3 => (at, first + flight + 1 + dice.below(100_000) as u32),
            4 => (before, at),
            5 => (before, before + 1),
            _ => (at, (at + long).earlier(first + flight)),
        };
        blocks.push(start, end);
    }
    blocks
}

/// A peer that announces a segment of `mss` bytes loses every third segment, and then sends 20,000 acknowledgements with
/// absurd blocks, some of which claim what it never got.
fn absurd_blocks_with(mss: u16) {
    const LENGTH: usize = 300_000;
    let mut peer = Peer::new();
    peer.offer = HeaderOptions {
        mss: Some(mss),
        window_scale: Some(7),
        sack_permitted: true,
        ..HeaderOptions::default()
    };
    let id = peer.accepted();
    let mut inbox = Inbox::new(peer.acknowledged, LENGTH);
    let mut written = 0;
    let (mut rounds, mut highest) = (0, inbox.start);
    // Until much is in flight.
    loop {
        written += write(&mut peer.engine, id, &pattern(LENGTH)[written..]);
        let answers = peer.answers_with_data();
        assert!(answers.iter().all(|(segment, _)| segment.payload <= 48), "RFC 9293 3.7.1");
        highest = answers.iter().fold(highest, |highest, (segment, _)| highest.later(segment.end()));
        if answers.len() > 1200 {
            assert!(answers.iter().all(|(segment, _)| segment.payload >= 36), "of one byte is not believed");
            let kept = answers.iter().enumerate().filter(|(index, _)| index % 3 != 0);
            kept.for_each(|(_, (segment, data))| inbox.take(segment, data));
            break;
        }
        answers.iter().for_each(|(segment, data)| inbox.take(segment, data));
        peer.now = peer.now + 10 * MILLISECOND;
        acknowledge(&mut peer, inbox.next());
        rounds += 1;
        assert!(rounds < 1000, "the window does not grow");
    }
    let (first, mut end) = (inbox.next(), highest);
    let (before, mut most, mut sent) = (crate::allocated(), 0, 0);
    let mut dice = Dice::new(u64::from(mss));
    for turn in 0..20_000 {
        let long = if turn < 10_000 { 1 } else { 200 };
        peer.options.sack = absurd_blocks(&mut dice, first, end - first, long);
        acknowledge(&mut peer, first);
        let answers = peer.answers();
        answers.iter().for_each(|answer| end = end.later(answer.end()));
        sent += answers.len();
        most = most.max(crate::allocated() - before);
        if turn % 1000 == 0 {
            peer.now = peer.now + MILLISECOND;
            peer.engine.advance(peer.now);
        }
    }
    assert!(most < 1_000_000, "{most} bytes of memory");
    assert!(sent < 20_000, "{sent} segments in answer");
    peer.options.sack = SackBlocks::default();
    while !inbox.is_whole() {
        written += write(&mut peer.engine, id, &pattern(LENGTH)[written..]);
        let mut so_far =
            Inbox { start: inbox.start, here: inbox.here[..written].to_vec(), whole: inbox.whole };
        receive_all(&mut peer, &mut so_far, Duration::from_secs(600));
        inbox.whole = so_far.whole;
        inbox.here[..written].copy_from_slice(&so_far.here);
    }
    peer.pass(Duration::from_secs(1));
    assert_eq!((peer.engine.state(id), peer.engine.unacknowledged(id)), (Some(StreamState::Connected), 0));
}

/// Breaks when a block is cut into the scoreboard byte by byte (memory), when one below SND.UNA or beyond SND.NXT is
/// believed (panics of the totals), when what was claimed and never came is not sent again (the stream stays short), or
/// when each absurd acknowledgement is answered by several segments.
#[test]
fn absurd_blocks_of_a_peer_with_tiny_segments_cost_little_and_the_stream_arrives() {
    absurd_blocks_with(48);
}

/// The same. Breaks besides when an announced segment size of one byte is believed: segments of one byte each.
#[test]
fn a_peer_that_announces_one_byte_segments_gets_larger_ones() {
    let started = std::time::Instant::now();
    absurd_blocks_with(1);
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

// ---- optimistic acknowledgements

/// Breaks when an acknowledgement of what was never sent moves SND.UNA or the window (RFC 9293 3.10.7.4: "send an ACK,
/// drop the segment"), or when each is answered: a reflector (RFC 5961 7).
#[test]
fn acknowledgements_of_what_was_never_sent_move_nothing() {
    let mut peer = Peer::new();
    peer.window = 2000;
    let id = peer.accepted();
    write(&mut peer.engine, id, &pattern(10_000));
    let first = peer.acknowledged;
    let sent: usize = peer.answers().iter().map(|segment| segment.payload).sum();
    assert!((1000..=2000).contains(&sent), "{sent}");
    peer.window = 60_000;
    let mut challenges = 0;
    for turn in 0..3000 {
        acknowledge(&mut peer, first + sent as u32 + 1 + turn * 7919);
        for answer in peer.pass(MILLISECOND) {
            let beyond = (answer.sequence + answer.length()).after(first + sent as u32);
            assert!(!beyond, "new data left: {answer:?}");
            challenges += u32::from(answer.payload == 0);
        }
    }
    assert!((1..=7).contains(&challenges), "{challenges} challenges in 3 s");
    assert_eq!(peer.engine.unacknowledged(id), 10_000);
    let mut inbox = Inbox::new(first, 10_000);
    peer.acknowledged = first;
    peer.send(ACK, peer.next, b"");
    receive_all(&mut peer, &mut inbox, Duration::from_secs(120));
}

/// A peer acknowledges each byte of a segment by itself ("ACK division"). Breaks when the congestion window grows by
/// acknowledgements and not by bytes (RFC 3465): here by 1460 segments.
#[test]
fn an_acknowledgement_for_each_byte_opens_the_window_no_faster() {
    let mut peer = Peer::new();
    peer.offer.window_scale = Some(7);
    let id = peer.accepted();
    let written = write(&mut peer.engine, id, &pattern(4_000_000));
    let first = peer.acknowledged;
    let initial: usize = peer.answers().iter().map(|segment| segment.payload).sum();
    assert!(written > 2 * initial && initial >= 10_000, "{written} {initial}");
    let mut more = 0;
    for count in 1..=1460 {
        acknowledge(&mut peer, first + count);
        more += peer.answers().iter().map(|segment| segment.payload).sum::<usize>();
    }
    assert!((1..=3 * 1460).contains(&more), "{more} bytes for 1460");
}

/// A peer acknowledges what is in flight before it can have come, and what it did get last. Breaks when that upsets the
/// numbers: bytes out of place, a window of nothing, no rest.
#[test]
fn acknowledgements_ahead_of_the_data_leave_a_whole_sender() {
    let mut peer = Peer::new();
    peer.offer.window_scale = Some(7);
    peer.offer.sack_permitted = true;
    let id = peer.accepted();
    let mut dice = Dice::new(3);
    let (mut una, mut written, mut end) = (peer.acknowledged, 0, peer.acknowledged);
    let start = una;
    for _ in 0..3000 {
        let data: Vec<u8> = (written..written + 20_000).map(byte).collect();
        written += write(&mut peer.engine, id, &data);
        for (segment, data) in peer.answers_with_data() {
            let offset = (segment.sequence - start) as usize;
            assert!(data.iter().enumerate().all(|(index, value)| *value == byte(offset + index)));
            end = end.later(segment.end());
        }
        una = una + dice.below(u64::from(end - una) + 1) as u32;
        let old = Sequence(una.0.wrapping_sub(dice.below(3000) as u32)).later(start);
        for number in [una, old] {
            acknowledge(&mut peer, number);
        }
        peer.now = peer.now + MILLISECOND;
    }
    acknowledge(&mut peer, end);
    for _ in 0..10_000 {
        peer.pass(MILLISECOND).iter().for_each(|segment| end = end.later(segment.end()));
        acknowledge(&mut peer, end);
    }
    assert_eq!((end - start) as usize, written);
    assert_eq!((peer.engine.state(id), peer.engine.unacknowledged(id)), (Some(StreamState::Connected), 0));
}

// ---- out of order

/// 64 KB in segments of one byte, every second first, then those between, and again what is missing. Breaks when what
/// the table of ranges had no room for is acknowledged all the same (wrong bytes, or a stream that never ends), or when
/// the table takes room without limit.
#[test]
fn one_byte_segments_out_of_order_arrive_whole() {
    const LENGTH: u32 = 64_000;
    let mut peer = Peer::new();
    peer.offer.sack_permitted = true;
    let id = peer.accepted();
    let first = peer.next;
    let (mut arrived, mut rounds) = (0, 0);
    let before = crate::allocated();
    while arrived < LENGTH {
        let from = arrived;
        for parity in [1, 0] {
            // What the first pass left is what takes the most room.
            assert!(crate::allocated() - before < 250_000, "{} bytes", crate::allocated() - before);
            for offset in (from..LENGTH).filter(|offset| (offset - from) % 2 == parity) {
                peer.send(ACK, first + offset, &[byte(offset as usize)]);
                for answer in peer.answers() {
                    arrived = answer.acknowledgement.expect("an acknowledgement") - first;
                }
            }
        }
        arrived = peer
            .pass(MILLISECOND)
            .last()
            .map_or(arrived, |answer| answer.acknowledgement.expect("an acknowledgement") - first);
        assert!(arrived > from, "no progress at {from}");
        rounds += 1;
    }
    assert!(rounds <= 40, "{rounds}");
    assert!(read(&mut peer.engine, id, usize::MAX) == pattern(LENGTH as usize), "not what was sent");
}

// ---- injected by somebody who sees nothing

/// A peer with timestamps, at `value` now.
fn stamped(value: u32) -> Peer {
    let mut peer = Peer::new();
    peer.offer.timestamps = Some(Timestamps { value, echo: 0 });
    stamp(&mut peer, value);
    peer
}

fn stamp(peer: &mut Peer, value: u32) {
    peer.options.timestamps = Some(Timestamps { value, echo: 0 });
}

/// A stranger's segment with an acknowledgement that cannot be, and a stamp far ahead; the peer's own come after it.
/// Breaks when TS.Recent is taken from a segment that is then dropped: PAWS refuses the peer from there on, until it
/// times out.
fn implausible_with(back: u32, data: &[u8]) {
    let mut peer = stamped(1000);
    let id = peer.accepted();
    let (right, next) = (peer.acknowledged, peer.next);
    peer.send(ACK, next, b"hello");
    peer.pass(Duration::from_secs(1));
    peer.acknowledged = right + 0x4000_0000;
    stamp(&mut peer, 1000 + 0x7000_0000);
    peer.send(ACK, Sequence((next + 5).0.wrapping_sub(back)), data);
    peer.pass(Duration::from_secs(1));
    peer.acknowledged = right;
    stamp(&mut peer, 1002);
    peer.send(ACK, next + 5, b" world");
    assert_eq!(read(&mut peer.engine, id, 100), b"hello world", "{back} back, {} bytes", data.len());
    write(&mut peer.engine, id, b"and you");
    assert!(peer.answers().iter().any(|answer| answer.payload == 7));
    stamp(&mut peer, 1003);
    peer.acknowledged = right + 7;
    peer.send(ACK, next + 11, b"");
    assert_eq!(peer.engine.unacknowledged(id), 0, "the peer's acknowledgement counts");
}

#[test]
fn an_implausible_segment_from_the_left_of_the_window_leaves_no_stamp() {
    implausible_with(3, &[9; 200]);
    implausible_with(1000, &[9; 1400]);
}

#[test]
fn an_implausible_segment_at_the_left_edge_leaves_no_stamp() {
    implausible_with(0, &[9; 10]);
    implausible_with(0, b"");
}

/// Resets, SYNs, acknowledgements and data by somebody who knows the window and not the numbers in it. Breaks when any
/// of them ends the connection, puts bytes into the stream, moves the sender, or is answered each (RFC 5961 3, 4, 5, 7).
#[test]
fn blind_injection_changes_nothing() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    let (next, right) = (peer.next, peer.acknowledged);
    write(&mut peer.engine, id, &pattern(1000));
    assert_eq!(peer.answers().len(), 1);
    let mut dice = Dice::new(11);
    let mut challenges = 0;
    for turn in 0..10_000 {
        let sequence = next + 1 + dice.below(50_000) as u32;
        // Neither before SND.UNA by a window, nor in flight.
        peer.acknowledged = right + 0x1000_0000 + dice.below(0xd000_0000) as u32;
        let anywhere = Sequence(dice.next() as u32);
        match turn % 5 {
            0 => peer.send(RST, sequence, b""),
            1 => peer.send(RST | ACK, sequence, b""),
            2 => peer.send(SYN, anywhere, b""),
            3 => peer.send(ACK, sequence, b""),
            _ => peer.send(ACK, next, b"poison"),
        }
        let answers = peer.pass(MILLISECOND);
        challenges += answers.iter().filter(|answer| answer.payload == 0).count();
        assert!(
            answers.iter().all(|answer| !answer.rst && answer.acknowledgement == Some(next)),
            "{answers:?}"
        );
    }
    assert!((1..=21).contains(&challenges), "{challenges} challenges in 10 s");
    assert_eq!((peer.engine.state(id), peer.engine.end(id)), (Some(StreamState::Connected), None));
    assert_eq!((peer.engine.readable(id), peer.engine.unacknowledged(id)), (0, 1000));
    peer.acknowledged = right + 1000;
    peer.send(ACK, next, b"genuine");
    assert_eq!(read(&mut peer.engine, id, 100), b"genuine");
    assert_eq!(peer.engine.unacknowledged(id), 0);
}

// ---- windows

/// The right edge moves left under data in flight. Breaks when the room that is then negative is taken for a large one
/// (new data leaves), when nothing is sent again, or when the connection does not go on once the window opens.
#[test]
fn a_window_that_shrinks_under_data_in_flight_holds_and_then_lets_go() {
    let mut peer = Peer::new();
    peer.window = 20_000;
    let id = peer.accepted();
    let first = peer.acknowledged;
    let mut inbox = Inbox::new(first, 50_000);
    assert_eq!(write(&mut peer.engine, id, &pattern(50_000)), 50_000);
    let flight: usize = peer.answers().iter().map(|segment| segment.payload).sum();
    assert!(flight > 10_000, "{flight}");
    let highest = first + flight as u32;
    for (acknowledged, window) in [(1460, 100), (2920, 1), (2920, 5000), (4380, 0)] {
        peer.window = window;
        acknowledge(&mut peer, first + acknowledged);
        for answer in peer.pass(Duration::from_secs(5)) {
            assert!(!answer.end().after(highest), "beyond what was allowed ever: {answer:?}");
        }
    }
    assert_eq!(peer.engine.state(id), Some(StreamState::Connected));
    peer.window = 60_000;
    inbox.here[..4380].fill(true);
    inbox.whole = 4380;
    acknowledge(&mut peer, inbox.next());
    receive_all(&mut peer, &mut inbox, Duration::from_secs(60));
    peer.pass(Duration::from_secs(1));
    assert_eq!(peer.engine.unacknowledged(id), 0);
}

/// Acknowledgements older than SND.UNA, with newer sequence numbers and tiny windows: late, or a stranger's. Breaks when
/// their window is taken (RFC 9293 3.10.7.4: only if SND.UNA =< SEG.ACK): the edge lies before what was acknowledged,
/// and the peer, whose sequence numbers are older, cannot open the window again.
#[test]
fn an_old_acknowledgement_does_not_shut_the_window() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    let first = peer.acknowledged;
    write(&mut peer.engine, id, &pattern(5000));
    peer.answers();
    acknowledge(&mut peer, first + 5000);
    peer.answers();
    let right = peer.acknowledged;
    for (back, window) in [(5000, 0), (1460, 1), (1, 0), (4999, 10)] {
        peer.acknowledged = Sequence(right.0.wrapping_sub(back));
        peer.window = window;
        peer.send(ACK, peer.next + (30_000 - back), b"");
        peer.answers();
    }
    (peer.acknowledged, peer.window) = (right, 60_000);
    assert_eq!(write(&mut peer.engine, id, &pattern(2000)), 2000);
    let sent: usize = peer.answers().iter().map(|segment| segment.payload).sum();
    assert_eq!(sent, 2000, "the window is as the peer's last acknowledgement left it");
}

// ---- what nobody owns

/// A peer that holds its window shut before what an orphan has to send, and answers every probe; with `chatter` says so
/// every 100 ms besides.
fn orphan_with(chatter: bool) {
    let mut peer = Peer::new();
    let id = peer.accepted();
    peer.window = 0;
    peer.send(ACK, peer.next, b"");
    write(&mut peer.engine, id, &pattern(5000));
    peer.engine.release(id, peer.now);
    let start = peer.now;
    let mut probes = 0;
    while peer.engine.sockets() > 0 && peer.now < start + Duration::from_secs(900) {
        let heard = peer.pass(100 * MILLISECOND).into_iter().filter(|segment| !segment.rst).count();
        probes += heard;
        (0..heard + usize::from(chatter)).for_each(|_| peer.send(ACK, peer.next, b""));
    }
    let lasted = peer.now - start;
    assert!(probes >= 3, "{probes} probes");
    assert_eq!(peer.engine.sockets(), 0, "still there after {lasted:?}");
    assert!((10..600).contains(&lasted.as_secs()), "{lasted:?}");
}

/// Breaks when each answer gives an orphan all its time anew: a peer that answers for ever holds the memory for ever
/// (Linux ends it after tcp_orphan_retries probes).
#[test]
fn an_orphan_before_a_window_that_stays_shut_ends() {
    orphan_with(false);
    orphan_with(true);
}
