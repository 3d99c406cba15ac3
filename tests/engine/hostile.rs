//! Peers that mean harm, or merely have bad luck: the triggers of `facts/smoltcp.md` 7, each harmless.

use crate::peer::{ACK, FIN, Peer, RST, SYN};
use crate::world::{Dice, World, address, read, write};
use std::time::Duration;
use tubesock::engine::{Domain, Kind, SocketId, SocketOption, StreamState};
use tubesock::error::Error;
use tubesock::tcp::Sequence;

/// P1. smoltcp: smoltcp panics in its ring buffer.
#[test]
fn data_beyond_the_window_of_the_syn_is_acknowledged_and_dropped() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    peer.send(ACK, peer.next + 300_000, &[1; 1000]);
    let answers = peer.answers();
    assert!(answers.iter().all(|answer| answer.acknowledgement == Some(peer.next)), "{answers:?}");
    let mut sent = 0;
    while sent < 400_000 {
        peer.send(ACK, peer.next + sent, &[2; 1000]);
        peer.answers();
        sent += 1000;
    }
    assert_eq!((peer.engine.state(id), peer.engine.end(id)), (Some(StreamState::Connected), None));
    let received = read(&mut peer.engine, id, usize::MAX);
    assert!(received.len() > 60_000 && received.iter().all(|byte| *byte == 2));
}

/// P2. smoltcp: `poll` sends one acknowledgement after the other, for ever.
#[test]
fn a_window_closed_over_the_fin_does_not_run_in_circles() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    write(&mut peer.engine, id, &[3; 100]);
    peer.engine.shutdown_write(id, peer.now);
    assert!(peer.answers().iter().any(|segment| segment.fin));
    peer.window = 0;
    let start = peer.acknowledged;
    peer.acknowledged = start + 99;
    peer.send(ACK, peer.next, b"");
    peer.answers();
    peer.acknowledged = start + 101;
    peer.send(ACK, peer.next, b"");
    assert!(peer.pass(Duration::from_secs(30)).len() < 10);
    assert_eq!(peer.engine.state(id), Some(StreamState::Connected));
    peer.send(FIN | ACK, peer.next, b"bye");
    assert_eq!(read(&mut peer.engine, id, 10), b"bye");
    assert_eq!((peer.engine.state(id), peer.engine.end(id)), (Some(StreamState::Ended), None));
    assert_eq!(peer.engine.unacknowledged(id), 0);
}

/// P3: a bare SYN answers ours, before it has even left, or on the way.
#[test]
fn simultaneous_open() {
    simultaneous_open_with(false);
    simultaneous_open_with(true);
}

fn simultaneous_open_with(crossing: bool) {
    let mut world = World::new();
    let ends = [("10.0.2.15:7", "10.0.2.2:7"), ("10.0.2.2:7", "10.0.2.15:7")];
    let ids = [(&mut world.near, ends[0]), (&mut world.far, ends[1])].map(|(side, (from, to))| {
        let id = side.engine.open(Domain::V4, Kind::Stream);
        side.engine.bind(id, address(from), world.now).expect("bind");
        side.engine.connect(id, address(to), world.now).expect("connect");
        id
    });
    if crossing {
        let syns = [&mut world.near, &mut world.far]
            .map(|side| side.engine.transmit_packet(world.now).expect("SYN"));
        let [there, back] = syns;
        world.far.engine.receive(&there, world.now);
        world.near.engine.receive(&back, world.now);
    }
    world.pass(Duration::from_secs(5));
    assert_eq!(world.near.engine.state(ids[0]), Some(StreamState::Connected));
    assert_eq!(world.far.engine.state(ids[1]), Some(StreamState::Connected));
    write(&mut world.near.engine, ids[0], b"hello");
    world.settle();
    assert_eq!(read(&mut world.far.engine, ids[1], 10), b"hello");
}

/// P5. In smoltcp it resets the listener.
#[test]
fn a_syn_to_everybody_is_not_for_tcp() {
    let mut peer = Peer::new();
    let listener = peer.engine.open(Domain::V4, Kind::Stream);
    peer.engine.bind(listener, address("0.0.0.0:80"), peer.now).expect("bind");
    peer.engine.listen(listener, 5, peer.now).expect("listen");
    for broadcast in ["10.0.2.255:80", "255.255.255.255:80"] {
        peer.theirs = address(broadcast);
        peer.send(SYN, peer.next, b"");
        assert_eq!(peer.answers(), []);
    }
    assert_eq!(peer.engine.counters().not_ours, 2);
    assert_eq!(peer.engine.state(listener), Some(StreamState::Listening));
}

/// P6. smoltcp: the FIN counts, the bytes before it are lost, and the stream looks whole.
#[test]
fn data_and_fin_across_the_edge_of_the_window_are_not_an_early_end_of_file() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    let (mut sent, mut edge) = (0, 60_000);
    while sent < edge {
        let length = (edge - sent).min(1000);
        peer.send(ACK, peer.next + sent, &vec![4; length as usize]);
        sent += length;
        for answer in peer.answers() {
            edge = edge.max(peer.edge(&answer));
        }
    }
    peer.send(FIN | ACK, peer.next + (sent - 10), &[4; 1000]);
    peer.answers();
    let mut received = read(&mut peer.engine, id, usize::MAX).len() as u32;
    assert_eq!(received, sent);
    assert!(!peer.engine.at_eof(id));
    peer.answers();
    peer.send(FIN | ACK, peer.next + (sent - 10), &[4; 1000]);
    received += read(&mut peer.engine, id, usize::MAX).len() as u32;
    assert_eq!(received, sent + 990);
    assert!(peer.engine.at_eof(id));
}

/// P6. smoltcp: an acknowledgement whose window was rounded moves the edge left, and the last bytes before
/// a FIN at the edge that was promised before are lost.
#[test]
fn the_edge_of_the_window_never_moves_left() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    let (mut sent, mut edge) = (0, 0);
    let mut send = |peer: &mut Peer, edge: &mut u32, length: u32, flags: u8| {
        peer.send(flags, peer.next + sent, &vec![4; length as usize]);
        sent += length;
        for answer in peer.answers() {
            *edge = (*edge).max(peer.edge(&answer));
        }
        sent
    };
    send(&mut peer, &mut edge, 1, ACK);
    let mut received = read(&mut peer.engine, id, usize::MAX).len() as u32;
    for length in [1, 5, 5] {
        send(&mut peer, &mut edge, length, ACK);
        received += read(&mut peer.engine, id, if length == 1 { 1 } else { 0 }).len() as u32;
    }
    let mut total = 12;
    while total < edge {
        let length = (edge - total).min(1000);
        let last = total + length == edge;
        total = send(&mut peer, &mut edge.clone(), length, if last { FIN | ACK } else { ACK });
    }
    received += read(&mut peer.engine, id, usize::MAX).len() as u32;
    assert_eq!(received, total);
    assert!(peer.engine.at_eof(id));
}

/// P7. smoltcp: both ends drop each other's acknowledgements for ever.
#[test]
fn both_ends_retransmitting_find_each_other_again() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    write(&mut world.near.engine, client, &[5; 5000]);
    write(&mut world.far.engine, server, &[6; 5000]);
    world.settle();
    // More than one segment each way crosses; every acknowledgement is lost, until both have rewound.
    write(&mut world.near.engine, client, &[5; 5000]);
    write(&mut world.far.engine, server, &[6; 5000]);
    let now = world.now;
    let [there, back] = [&mut world.near, &mut world.far]
        .map(|side| std::iter::from_fn(|| side.engine.transmit_packet(now)).collect::<Vec<_>>());
    assert!(there.len() > 2 && back.len() > 2);
    there.into_iter().for_each(|packet| world.far.engine.receive(&packet, now));
    back.into_iter().for_each(|packet| world.near.engine.receive(&packet, now));
    world.roads = [Box::new(|_| Vec::new()), Box::new(|_| Vec::new())];
    world.pass(Duration::from_secs(10));
    world.roads = [Box::new(|packet| vec![packet]), Box::new(|packet| vec![packet])];
    world.pass(Duration::from_secs(130));
    assert_eq!(world.near.engine.unacknowledged(client), 0);
    assert_eq!(world.far.engine.unacknowledged(server), 0);
    assert_eq!(read(&mut world.far.engine, server, usize::MAX).len(), 10_000);
    assert_eq!(read(&mut world.near.engine, client, usize::MAX).len(), 10_000);
}

/// P8. smoltcp: no timer is left.
#[test]
fn a_window_that_closes_over_data_in_flight_is_probed() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    write(&mut peer.engine, id, &[7; 3000]);
    assert!(peer.answers().iter().any(|segment| segment.payload > 0));
    peer.window = 0;
    peer.send(ACK, peer.next, b"");
    peer.pass(Duration::from_secs(30));
    assert!(!peer.pass(Duration::from_secs(200)).is_empty(), "no probe in 200 s");
    peer.window = 60_000;
    peer.send(ACK, peer.next, b"");
    let sent: usize = peer.pass(Duration::from_secs(60)).iter().map(|segment| segment.payload).sum();
    assert!(sent >= 1000, "{sent}");
}

/// P8. smoltcp: the FIN is never sent again.
#[test]
fn a_lost_fin_is_sent_again_after_duplicate_acknowledgements() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    peer.engine.shutdown_write(id, peer.now);
    assert!(peer.answers().iter().any(|segment| segment.fin));
    for _ in 0..5 {
        peer.send(ACK, peer.next, b"");
        peer.answers();
    }
    assert!(peer.pass(Duration::from_secs(10)).iter().any(|segment| segment.fin));
}

/// RFC 5961 3 and 4. smoltcp takes any reset in the window.
#[test]
fn only_an_exact_reset_resets() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    peer.send(RST, peer.next + 100, b"");
    let answers = peer.answers();
    assert_eq!(answers.len(), 1, "a challenge");
    assert_eq!(answers[0].acknowledgement, Some(peer.next));
    peer.send(RST, peer.next + 100, b"");
    assert_eq!(peer.answers(), [], "one challenge in half a second");
    peer.send(RST, peer.next + 1_000_000, b"");
    peer.pass(Duration::from_secs(1));
    peer.send(SYN, peer.next + 5, b"");
    assert_eq!(peer.answers().len(), 1, "a challenge");
    assert_eq!(peer.engine.state(id), Some(StreamState::Connected));
    peer.send(RST, peer.next, b"");
    assert_eq!(peer.engine.end(id), Some(Error::ConnectionReset));
}

#[test]
fn a_blind_reset_does_not_refuse_a_connect() {
    let mut peer = Peer::new();
    let id = peer.connecting();
    peer.send(RST, Sequence(0), b"");
    let right = peer.acknowledged;
    peer.acknowledged = right + 7;
    peer.send(RST | ACK, Sequence(0), b"");
    assert_eq!(peer.engine.state(id), Some(StreamState::Connecting));
    peer.acknowledged = right;
    peer.send(RST | ACK, Sequence(0), b"");
    assert_eq!(peer.engine.end(id), Some(Error::ConnectionRefused));
}

/// A listener of the engine's at port 81, besides the connection that `peer` may have to port 80.
fn listener(peer: &mut Peer, backlog: usize) -> SocketId {
    let listener = peer.engine.open(Domain::V4, Kind::Stream);
    peer.engine.set_option(listener, SocketOption::ReuseAddress(true), peer.now).expect("option");
    peer.engine.bind(listener, address("0.0.0.0:81"), peer.now).expect("bind");
    peer.engine.listen(listener, backlog, peer.now).expect("listen");
    listener
}

/// A SYN from one of very many strangers.
fn stranger(peer: &mut Peer, number: u32) {
    let port = 1 + number % 60_000;
    peer.ours = address(&format!("10.{}.{}.98:{port}", 9 + (number >> 24), (number >> 16) & 255));
    peer.send(SYN, Sequence(number.wrapping_mul(0x9e37_79b1)), b"");
}

/// A client at `from` that behaves: its SYN, once more after a second if nobody answers, and its first bytes.
fn client(peer: &mut Peer, from: &str, listener: SocketId) -> SocketId {
    (peer.ours, peer.theirs) = (address(from), address("10.0.2.15:81"));
    let ask = |peer: &mut Peer| {
        peer.send(SYN, Sequence(77), b"");
        peer.answers().into_iter().find(|answer| answer.destination == peer.ours)
    };
    let answer = ask(peer).or_else(|| {
        peer.pass(Duration::from_secs(1));
        ask(peer)
    });
    let answer = answer.expect("a SYN-ACK");
    assert!(answer.syn && answer.acknowledgement == Some(Sequence(78)), "{answer:?}");
    peer.acknowledged = answer.sequence + 1;
    peer.send(ACK, Sequence(78), b"hello");
    let accepted = peer.engine.accept(listener).expect("a connection waits");
    assert_eq!(peer.engine.peer(accepted), Some(peer.ours));
    assert_eq!(read(&mut peer.engine, accepted, 10), b"hello");
    write(&mut peer.engine, accepted, b"welcome");
    assert!(peer.answers().iter().any(|segment| segment.payload == 7));
    accepted
}

#[test]
fn a_syn_flood_takes_bounded_room_and_keeps_nobody_out() {
    let mut peer = Peer::new();
    let id = peer.accepted();
    let established = (peer.ours, peer.theirs, peer.next, peer.acknowledged);
    let listener = listener(&mut peer, 5);
    let before = crate::allocated();
    for number in 0..100_000 {
        peer.theirs = address("10.0.2.15:81");
        stranger(&mut peer, number);
        peer.answers();
        if number % 10_000 == 9_999 {
            peer.pass(Duration::from_secs(2));
            let next;
            (peer.ours, peer.theirs, next, peer.acknowledged) = established;
            peer.send(ACK, next + number / 10_000, b"x");
            assert_eq!(read(&mut peer.engine, id, 20), b"x", "the established connection lives on");
            let accepted = client(&mut peer, &format!("10.0.3.1:{}", 1000 + number / 10_000), listener);
            peer.engine.abort(accepted, peer.now);
            peer.engine.release(accepted, peer.now);
            peer.answers();
        }
    }
    let taken = crate::allocated() - before;
    assert!(taken < 1_000_000, "{taken} bytes");
    let counters = peer.engine.counters();
    assert!(counters.cookies_sent > 99_000 && counters.cookies_accepted >= 10, "{counters}");
    assert_eq!(counters.connections_accepted, 1 + 10);
}

/// Cookies are made for a flood, and what is no cookie, or an old one, is refused as ever.
#[test]
fn answers_to_cookies_are_looked_at_only_while_cookies_are_sent() {
    let mut peer = Peer::new();
    let listener = listener(&mut peer, 1);
    peer.theirs = address("10.0.2.15:81");
    (0..300).for_each(|number| stranger(&mut peer, number));
    peer.answers();
    peer.ours = address("10.0.3.1:1000");
    peer.send(SYN, Sequence(77), b"");
    let cookie = peer.answers().pop().expect("a cookie").sequence + 1;
    for (acknowledged, sequence) in [(cookie + 1, 78), (cookie, 79)] {
        peer.acknowledged = acknowledged;
        peer.send(ACK, Sequence(sequence), b"");
        assert!(peer.answers().iter().all(|answer| answer.rst), "a guess");
    }
    // Data behind the first, which is late, is no reason for a reset.
    peer.acknowledged = cookie;
    peer.send(ACK, Sequence(78 + 5), b"world");
    assert_eq!(peer.answers(), []);
    peer.pass(Duration::from_secs(119));
    peer.send(ACK, Sequence(78), b"");
    assert!(peer.answers().iter().all(|answer| answer.rst), "an old one");
    assert_eq!(peer.engine.accept(listener), None);
    peer.send(SYN, Sequence(77), b"");
    peer.answers();
    let accepted = client(&mut peer, "10.0.3.1:1001", listener);
    assert_eq!(peer.engine.state(accepted), Some(StreamState::Connected));
}

#[test]
fn offers_are_bounded() {
    let mut world = World::with(|_, far| (far.any_address, far.offer_incoming) = (true, true));
    for _ in 0..2000 {
        let id = world.near.engine.open(Domain::V4, Kind::Stream);
        world.near.engine.connect(id, address("1.2.3.4:80"), world.now).expect("connect");
    }
    world.settle();
    assert_eq!(std::iter::from_fn(|| world.far.engine.incoming()).count(), 1024);
}

/// Nothing that comes in panics: random bytes, and valid packets with bytes changed, cut and in any order.
#[test]
fn garbage_is_dropped_and_counted() {
    for seed in 1..=20 {
        let mut peer = Peer::new();
        let id = peer.accepted();
        let mut dice = Dice::new(seed);
        for turn in 0..5_000 {
            peer.engine.receive(&garbage(&peer, &mut dice), peer.now);
            if dice.below(10) == 0 {
                write(&mut peer.engine, id, &[1; 3000]);
                read(&mut peer.engine, id, dice.below(5000) as usize);
            }
            if dice.below(500) == 0 {
                peer.engine.shutdown_write(id, peer.now);
            }
            if turn % 3 == 0 {
                peer.pass(Duration::from_millis(dice.below(3000)));
            }
        }
        assert!(peer.engine.counters().malformed > 100, "seed {seed}");
        let end = peer.engine.end(id);
        let by_the_network = matches!(end, None | Some(Error::ConnectionReset | Error::TimedOut));
        assert!(by_the_network, "seed {seed}: {end:?}");
        peer.answers();
        let listener = listener(&mut peer, 1);
        let accepted = client(&mut peer, "10.0.3.1:1000", listener);
        assert_eq!(peer.engine.state(accepted), Some(StreamState::Connected), "seed {seed}");
    }
}

fn garbage(peer: &Peer, dice: &mut Dice) -> Vec<u8> {
    if dice.below(8) == 0 {
        return (0..dice.below(120)).map(|_| dice.next() as u8).collect();
    }
    // RST would end the game too soon; the bytes changed below make some.
    let flags = dice.next() as u8 & (SYN | FIN | ACK) | if dice.below(2) == 0 { ACK } else { 0 };
    let near = |dice: &mut Dice| dice.below(4000) as u32;
    let sequence = Sequence((peer.next + near(dice)).0.wrapping_sub(1000));
    let acknowledged = Sequence((peer.acknowledged + near(dice)).0.wrapping_sub(1000));
    let data = vec![0x55; dice.below(1460) as usize];
    let mut packet = peer.segment(flags, sequence, acknowledged, &data);
    let window = packet.len().min(36);
    packet[34..window].copy_from_slice(&(dice.below(3) as u16 * 700).to_be_bytes()[..window - 34]);
    for _ in 0..dice.below(3) {
        let at = dice.below(60.min(packet.len() as u64)) as usize;
        if at != 33 {
            packet[at] = dice.next() as u8;
        }
    }
    if dice.below(20) == 0 {
        packet.truncate(dice.below(packet.len() as u64) as usize);
    }
    packet
}
