//! A socket of the engine with a program's near end: what the bridge makes of the ends of a connection.

use crate::peer::{ACK, Peer, SYN};
use rustix::event::epoll::EventFlags;
use rustix::fd::AsFd;
use rustix::net::SocketFlags;
use std::time::Duration;
use tubesock::bridge::{Bridge, options::Options};
use tubesock::engine::{Domain, Kind};
use tubesock::sys::unix;

/// Breaks when only the engine's own queue counts as the orphan's: what waits in the near end then keeps the connection, its
/// memory and a descriptor for as long as the peer likes.
#[test]
fn what_a_closed_near_end_still_holds_does_not_keep_a_connection_before_a_shut_window() {
    let mut peer = Peer::new();
    let mut bridge = Bridge::new([1; 16]).expect("a bridge");
    let id = peer.connecting();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let near = bridge.open(id, Domain::V4, Kind::Stream, Options::default(), flags).expect("a near end");
    bridge.connecting(id, near.as_fd()).expect("a far end");
    peer.window = 0;
    peer.send(SYN | ACK, peer.next, b"");
    peer.next = peer.next + 1;
    bridge.run(id, &mut peer.engine, peer.now);

    let mut written = 0;
    while let Ok(taken) = unix::send(&near, &[7; 65536]) {
        written += taken;
        bridge.run(id, &mut peer.engine, peer.now);
    }
    assert!(written > peer.engine.unacknowledged(id), "{written} bytes, and some in the near end");
    drop(near);
    bridge.ready(id, EventFlags::IN | EventFlags::HUP, &mut peer.engine, peer.now);

    let start = peer.now;
    while bridge.streams() > 0 && peer.now < start + Duration::from_secs(900) {
        for _ in peer.pass(Duration::from_millis(100)) {
            peer.send(ACK, peer.next, b"");
        }
        bridge.follow(id, &mut peer.engine, peer.now);
    }
    let lasted = peer.now - start;
    assert!((60..200).contains(&lasted.as_secs()), "{lasted:?}");
    assert_eq!(peer.engine.sockets(), 0);
}
