//! How connections end when nobody is polite, and what is remembered of them.

use crate::peer::{ACK, FIN, Peer, RST, SYN};
use crate::world::{World, address, read, write};
use std::time::Duration;
use tubesock::engine::{Domain, KeepAlive, Kind, SocketOption, StreamState};
use tubesock::error::Error;
use tubesock::icmp::Unreachable;
use tubesock::tcp::Segment;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn simultaneous_close_is_orderly_for_both() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    world.near.engine.shutdown_write(client, world.now);
    world.far.engine.shutdown_write(server, world.now);
    world.pass(SECOND);
    for (engine, id) in [(&world.near.engine, client), (&world.far.engine, server)] {
        assert_eq!((engine.state(id), engine.end(id)), (Some(StreamState::Ended), None));
        assert!(engine.at_eof(id));
    }
}

#[test]
fn a_syn_that_nobody_answers_times_out_as_on_linux() {
    let mut peer = Peer::new();
    let id = peer.connecting();
    let again = peer.pass(Duration::from_secs(126));
    assert_eq!(again.len(), 6, "{again:?}");
    assert_eq!(peer.engine.state(id), Some(StreamState::Connecting));
    peer.pass(SECOND);
    assert_eq!(peer.engine.end(id), Some(Error::TimedOut));
    assert_eq!(peer.pass(Duration::from_secs(1000)), []);
}

#[test]
fn unacknowledged_data_times_out_after_924_seconds_or_the_user_timeout() {
    for (user, limit) in [(None, 924), (Some(Duration::from_secs(30)), 30)] {
        let mut peer = Peer::new();
        let id = peer.connected();
        peer.engine.set_option(id, SocketOption::UserTimeout(user), peer.now).expect("option");
        peer.pass(Duration::from_secs(5000));
        write(&mut peer.engine, id, b"anybody there?");
        assert!(peer.pass(Duration::from_secs(limit - 1)).len() > 3);
        assert_eq!(peer.engine.state(id), Some(StreamState::Connected), "{limit}");
        peer.pass(2 * SECOND);
        assert_eq!(peer.engine.end(id), Some(Error::TimedOut), "{limit}");
        assert_eq!(peer.engine.counters().connections_timed_out, 1);
    }
}

#[test]
fn a_peer_that_answers_window_probes_is_waited_for() {
    let mut peer = Peer::new();
    let id = peer.connected();
    peer.window = 0;
    peer.send(ACK, peer.next, b"");
    write(&mut peer.engine, id, b"patience");
    for _ in 0..2000 {
        if !peer.pass(SECOND).is_empty() {
            peer.send(ACK, peer.next, b"");
        }
    }
    assert_eq!(peer.engine.state(id), Some(StreamState::Connected));
    peer.window = 1000;
    peer.send(ACK, peer.next, b"");
    let sent: usize = peer.pass(60 * SECOND).iter().map(|segment| segment.payload).max().unwrap_or(0);
    assert_eq!(sent, 8);
}

/// RFC 9293 3.8.6.1: also when the window was shut over what was sent already.
#[test]
fn a_peer_that_shuts_its_window_over_data_in_flight_is_waited_for() {
    let mut peer = Peer::new();
    let id = peer.connected();
    write(&mut peer.engine, id, &[7; 1000]);
    assert_eq!(peer.answers().len(), 1);
    peer.window = 0;
    peer.send(ACK, peer.next, b"");
    for _ in 0..2000 {
        if !peer.pass(SECOND).is_empty() {
            peer.send(ACK, peer.next, b"");
        }
    }
    assert_eq!(peer.engine.state(id), Some(StreamState::Connected));
    peer.pass(Duration::from_secs(925));
    assert_eq!(peer.engine.end(id), Some(Error::TimedOut), "it answers no more");
}

#[test]
fn keep_alive_probes_an_idle_peer_and_ends_a_dead_one() {
    let mut peer = Peer::new();
    let id = peer.connected();
    let keep_alive = KeepAlive { idle: 100 * SECOND, interval: 10 * SECOND, count: 3 };
    peer.engine.set_option(id, SocketOption::KeepAlive(Some(keep_alive)), peer.now).expect("option");
    assert_eq!(peer.pass(99 * SECOND), []);
    let probes = peer.pass(2 * SECOND);
    assert_eq!(probes.len(), 1);
    assert_eq!((probes[0].sequence + 1, probes[0].payload), (peer.acknowledged, 0));
    // An answer starts the count anew.
    peer.send(ACK, peer.next, b"");
    assert_eq!(peer.pass(99 * SECOND), []);
    let last = peer.pass(32 * SECOND);
    assert_eq!(last.iter().map(|segment| segment.rst).collect::<Vec<_>>(), [false, false, false, true]);
    assert_eq!(peer.engine.end(id), Some(Error::TimedOut));
}

#[test]
fn keep_alive_without_a_pause_is_refused() {
    let mut peer = Peer::new();
    let id = peer.connected();
    let limits = KeepAlive { idle: SECOND, interval: SECOND, count: 1 };
    for keep_alive in [
        KeepAlive { idle: Duration::ZERO, ..limits },
        KeepAlive { interval: Duration::ZERO, count: u32::MAX, ..limits },
        KeepAlive { interval: SECOND - Duration::from_micros(1), ..limits },
        KeepAlive { count: 0, ..limits },
    ] {
        let set = peer.engine.set_option(id, SocketOption::KeepAlive(Some(keep_alive)), peer.now);
        assert_eq!(set, Err(Error::InvalidArgument), "{keep_alive:?}");
    }
    assert_eq!(peer.pass(7300 * SECOND), [], "none of it is in force");
    peer.engine.set_option(id, SocketOption::KeepAlive(Some(limits)), peer.now).expect("a valid one");
    assert_eq!(peer.pass(SECOND + SECOND / 2).len(), 1);
}

#[test]
fn icmp_errors_end_a_connect_with_their_reason() {
    for (reason, error) in [
        (Unreachable::Network, Error::NetworkUnreachable),
        (Unreachable::Host, Error::HostUnreachable),
        (Unreachable::Port, Error::ConnectionRefused),
    ] {
        let mut peer = Peer::new();
        let id = peer.connecting();
        // One that quotes a segment that we never sent is a guess.
        peer.complain(reason, peer.acknowledged + 77);
        assert_eq!(peer.engine.state(id), Some(StreamState::Connecting));
        peer.complain(reason, peer.acknowledged);
        assert_eq!(peer.engine.end(id), Some(error));
    }
}

#[test]
fn icmp_errors_on_a_connection_are_the_reason_only_if_it_times_out() {
    let mut peer = Peer::new();
    let id = peer.connected();
    write(&mut peer.engine, id, b"data");
    peer.answers();
    peer.complain(Unreachable::Host, peer.acknowledged);
    assert_eq!(peer.engine.state(id), Some(StreamState::Connected));
    peer.pass(1000 * SECOND);
    assert_eq!(peer.engine.end(id), Some(Error::HostUnreachable));
}

/// The largest segment that the engine sends now.
fn largest(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.payload).max().unwrap_or(0)
}

/// RFC 1191, and RFC 5927 against forgeries: what a router says of the path holds for this connection and for the next ones
/// to the same host, for ten minutes.
#[test]
fn a_narrow_path_is_believed_of_who_has_seen_our_segments() {
    let mut peer = Peer::new();
    let id = peer.connected();
    write(&mut peer.engine, id, &[1; 3000]);
    assert_eq!(largest(&peer.answers()), 1460);
    peer.complain(Unreachable::TooBig(1400), peer.acknowledged + 100_000);
    assert_eq!((peer.answers(), peer.engine.mss(id)), (vec![], 1460), "a forgery");
    peer.complain(Unreachable::TooBig(1400), peer.acknowledged);
    let again = peer.answers();
    assert_eq!((largest(&again), peer.engine.mss(id)), (1360, 1360));
    assert_eq!(again[0].sequence, peer.acknowledged, "what was too big goes again at once");
    // Absurd claims do not make us send crumbs.
    peer.complain(Unreachable::TooBig(0), peer.acknowledged);
    assert_eq!(peer.engine.mss(id), 552 - 40);
    for (after, mss) in [(1, 512), (600, 1460)] {
        peer.pass(Duration::from_secs(after));
        peer.ours.set_port(peer.ours.port() + 1);
        let next = peer.connected();
        assert_eq!(peer.engine.mss(next), mss, "after {after} s");
    }
}

#[test]
fn fin_wait_2_without_an_owner_is_forgotten_after_a_minute() {
    let mut peer = Peer::new();
    let id = peer.connected();
    peer.engine.release(id, peer.now);
    assert!(peer.answers().iter().any(|segment| segment.fin));
    assert_eq!(peer.engine.orphans(), 1);
    peer.acknowledged = peer.acknowledged + 1;
    peer.send(ACK, peer.next, b"");
    assert_eq!(peer.engine.orphans(), 0, "it only waits for the peer");
    assert_eq!(peer.pass(59 * SECOND), []);
    peer.send(ACK, peer.next.minus_one(), b"");
    assert!(peer.answers().iter().all(|segment| !segment.rst));
    peer.pass(2 * SECOND);
    peer.send(ACK, peer.next, b"");
    assert!(peer.answers()[0].rst);
}

#[test]
fn an_orphan_that_the_peer_does_not_acknowledge_is_given_up() {
    let mut peer = Peer::new();
    let id = peer.connected();
    write(&mut peer.engine, id, b"last words");
    peer.engine.release(id, peer.now);
    peer.pass(101 * SECOND);
    assert_eq!(peer.engine.orphans(), 1);
    peer.pass(2 * SECOND);
    assert_eq!(peer.engine.orphans(), 0);
}

/// Brings a connection from the engine's side into TIME-WAIT.
fn time_wait(peer: &mut Peer) {
    let id = peer.connected();
    peer.engine.shutdown_write(id, peer.now);
    assert!(peer.answers().iter().any(|segment| segment.fin));
    peer.acknowledged = peer.acknowledged + 1;
    peer.send(FIN | ACK, peer.next, b"");
    peer.next = peer.next + 1;
    let answers = peer.answers();
    assert_eq!(answers.iter().map(|answer| answer.acknowledgement).collect::<Vec<_>>(), [Some(peer.next)]);
    assert_eq!(peer.engine.state(id), Some(StreamState::Ended));
    peer.engine.release(id, peer.now);
}

#[test]
fn time_wait_answers_a_fin_again_for_a_minute_after_the_last() {
    let mut peer = Peer::new();
    time_wait(&mut peer);
    for _ in 0..3 {
        peer.pass(50 * SECOND);
        peer.send(RST, peer.next + 1, b"");
        peer.send(FIN | ACK, peer.next.minus_one(), b"");
        let answers = peer.answers();
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].rst, answers[0].acknowledgement), (false, Some(peer.next)));
    }
    peer.pass(61 * SECOND);
    peer.engine.advance(peer.now);
    peer.send(FIN | ACK, peer.next.minus_one(), b"");
    assert!(peer.answers()[0].rst);
}

#[test]
fn an_exact_reset_ends_time_wait() {
    let mut peer = Peer::new();
    time_wait(&mut peer);
    peer.send(RST, peer.next, b"");
    peer.send(FIN | ACK, peer.next.minus_one(), b"");
    assert!(peer.answers()[0].rst);
}

#[test]
fn a_newer_syn_takes_over_from_time_wait_and_an_older_one_does_not() {
    let mut peer = Peer::new();
    time_wait(&mut peer);
    let port = peer.theirs.port();
    let listener = peer.engine.open(Domain::V4, Kind::Stream);
    let any = address(&format!("0.0.0.0:{port}"));
    assert_eq!(peer.engine.bind(listener, any, peer.now), Err(Error::AddressInUse));
    let server = peer.engine.open(Domain::V4, Kind::Stream);
    peer.engine.set_option(server, SocketOption::ReuseAddress(true), peer.now).expect("option");
    assert_eq!(
        peer.engine.bind(server, any, peer.now),
        Err(Error::AddressInUse),
        "the connection that was had no SO_REUSEADDR"
    );
    peer.pass(61 * SECOND);
    peer.engine.bind(server, any, peer.now).expect("bind");
    peer.engine.listen(server, 1, peer.now).expect("listen");
    // Now the other way round: the peer opens, the engine closes first.
    for (newer, expected) in [(false, false), (true, true)] {
        peer.ours.set_port(5000 + u16::from(newer));
        peer.send(SYN, peer.next, b"");
        let answer = peer.answers().pop().expect("SYN-ACK");
        peer.next = peer.next + 1;
        peer.acknowledged = answer.sequence + 1;
        peer.send(ACK, peer.next, b"");
        let id = peer.engine.accept(server).expect("a connection");
        peer.engine.release(id, peer.now);
        peer.answers();
        peer.acknowledged = peer.acknowledged + 1;
        peer.send(FIN | ACK, peer.next, b"");
        peer.answers();
        peer.next = peer.next + 1;
        let sequence = if newer { peer.next + 100 } else { peer.next.minus_one() };
        peer.send(SYN, sequence, b"");
        let answer = peer.answers().pop().expect("an answer");
        assert_eq!((answer.syn, answer.rst), (expected, false));
        assert!(!newer || answer.sequence.after(peer.acknowledged));
    }
}

#[test]
fn shutdown_before_the_handshake_is_done_sends_the_fin_after_it() {
    let mut world = World::new();
    let listener = world.listener(80, 1);
    let client = world.near.engine.open(Domain::V4, Kind::Stream);
    world.near.engine.connect(client, address("10.0.2.2:80"), world.now).expect("connect");
    world.near.engine.shutdown_write(client, world.now);
    world.settle();
    let server = world.far.engine.accept(listener).expect("a connection");
    assert!(world.far.engine.at_eof(server));
    write(&mut world.far.engine, server, b"still");
    world.settle();
    assert_eq!(read(&mut world.near.engine, client, 9), b"still");
}

#[test]
fn release_of_a_connect_under_way_leaves_nothing() {
    let mut peer = Peer::new();
    let id = peer.connecting();
    peer.engine.release(id, peer.now);
    assert_eq!(peer.pass(300 * SECOND), []);
    peer.send(SYN | ACK, peer.next, b"");
    assert!(peer.answers()[0].rst);
}
