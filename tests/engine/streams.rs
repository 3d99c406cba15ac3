//! Connections: made, used, closed.

use crate::world::{World, address, changes, read, write};
use std::time::Duration;
use tubesock::engine::{Domain, Engine, Kind, SocketId, SocketOption, StreamState};
use tubesock::error::Error;

/// Sends `length` bytes from both ends at once and checks each byte.
pub(crate) fn exchange(world: &mut World, client: SocketId, server: SocketId, length: usize) {
    let byte = |position: usize, salt: usize| (position * 31 + salt + position / 251) as u8;
    let data = |salt| (0..length).map(|position| byte(position, salt)).collect::<Vec<u8>>();
    let sent = [data(1), data(2)];
    let (mut written, mut received) = ([0, 0], [Vec::new(), Vec::new()]);
    for _ in 0..200_000 {
        let sides: [(&mut Engine, SocketId); 2] =
            [(&mut world.near.engine, client), (&mut world.far.engine, server)];
        for (index, (engine, id)) in sides.into_iter().enumerate() {
            written[index] += write(engine, id, &sent[index][written[index]..]);
            received[index].extend(read(engine, id, usize::MAX));
        }
        world.settle();
        if received[0].len() == length && received[1].len() == length {
            assert!(received[0] == sent[1] && received[1] == sent[0], "the bytes differ");
            return;
        }
        let next = world.next_deadline().unwrap_or(world.now);
        world.now = world.now.max(next).max(world.now + Duration::from_micros(10));
        world.near.engine.advance(world.now);
        world.far.engine.advance(world.now);
    }
    panic!("only {} and {} of {length} bytes came", received[0].len(), received[1].len());
}

#[test]
fn handshake_tells_both_owners_once() {
    let mut world = World::new();
    let listener = world.listener(80, 10);
    let client = world.near.engine.open(Domain::V4, Kind::Stream);
    assert_eq!(world.near.engine.state(client), Some(StreamState::Fresh));
    world.near.engine.connect(client, address("10.0.2.2:80"), world.now).expect("connect");
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connecting));
    assert_eq!(world.near.engine.room(client), 0);
    world.settle();
    assert_eq!(changes(&mut world.near.engine), [client]);
    assert_eq!(changes(&mut world.far.engine), [listener]);
    let server = world.far.engine.accept(listener).expect("a connection waits");
    assert_eq!(world.far.engine.accept(listener), None);
    let (near, far) = (&world.near.engine, &world.far.engine);
    assert_eq!(far.peer(server), near.local(client));
    assert_eq!(near.peer(client), far.local(server));
    assert_eq!(near.local(client).expect("local").ip(), address("10.0.2.15:1").ip());
    assert_eq!((near.mss(client), far.mss(server)), (1448, 1448));
    assert_eq!((near.counters().connections_opened, far.counters().connections_accepted), (1, 1));
}

#[test]
fn bulk_both_ways_arrives_byte_by_byte() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    exchange(&mut world, client, server, 3_000_000);
}

#[test]
fn bulk_in_memory_with_the_largest_packets() {
    let mut world = World::with(|near, far| {
        (near.mtu, far.mtu) = (65535, 65535);
        (near.checksums, far.checksums) = (false, false);
        (near.in_memory, far.in_memory) = (true, true);
    });
    let (client, server) = world.connected(80);
    assert_eq!(world.near.engine.mss(client), 65483);
    exchange(&mut world, client, server, 30_000_000);
}

#[test]
fn half_close_keeps_the_other_way_open() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    assert_eq!(write(&mut world.near.engine, client, b"question"), 8);
    world.near.engine.shutdown_write(client, world.now);
    assert_eq!(world.near.engine.room(client), 0);
    world.settle();
    assert!(!world.far.engine.at_eof(server), "data comes first");
    assert_eq!(read(&mut world.far.engine, server, 100), b"question");
    assert!(world.far.engine.at_eof(server));
    assert_eq!(write(&mut world.far.engine, server, b"answer"), 6);
    world.far.engine.shutdown_write(server, world.now);
    world.settle();
    assert_eq!(read(&mut world.near.engine, client, 100), b"answer");
    assert!(world.near.engine.at_eof(client));
    for (engine, id) in [(&world.near.engine, client), (&world.far.engine, server)] {
        assert_eq!((engine.state(id), engine.end(id)), (Some(StreamState::Ended), None));
    }
}

#[test]
fn what_is_unread_when_both_have_closed_can_still_be_read() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    world.near.engine.shutdown_write(client, world.now);
    write(&mut world.far.engine, server, b"late");
    world.far.engine.shutdown_write(server, world.now);
    world.pass(Duration::from_secs(120));
    assert_eq!(world.near.engine.state(client), Some(StreamState::Ended));
    assert_eq!(read(&mut world.near.engine, client, 100), b"late");
}

#[test]
fn release_delivers_what_was_written() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    let length = write(&mut world.near.engine, client, &vec![7; 200_000]);
    world.near.engine.release(client, world.now);
    assert_eq!(world.near.engine.state(client), None);
    assert_eq!(world.near.engine.orphans(), 1);
    let mut received = 0;
    while !world.far.engine.at_eof(server) {
        world.pass(Duration::from_millis(1));
        received += read(&mut world.far.engine, server, usize::MAX).len();
    }
    assert_eq!(received, length);
    world.far.engine.release(server, world.now);
    world.settle();
    assert_eq!((world.near.engine.orphans(), world.far.engine.orphans()), (0, 0));
}

#[test]
fn release_with_unread_data_resets() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    write(&mut world.far.engine, server, b"unwanted");
    world.settle();
    world.near.engine.release(client, world.now);
    world.settle();
    assert_eq!(world.far.engine.state(server), Some(StreamState::Ended));
    assert_eq!(world.far.engine.end(server), Some(Error::ConnectionReset));
    assert_eq!(world.far.engine.counters().connections_reset, 1);
}

#[test]
fn data_for_a_program_that_is_gone_resets() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    world.near.engine.release(client, world.now);
    world.settle();
    write(&mut world.far.engine, server, b"too late");
    world.settle();
    // The FIN came before: Linux's tcp_reset says EPIPE in CLOSE-WAIT.
    assert_eq!(world.far.engine.end(server), Some(Error::BrokenPipe));
}

#[test]
fn abort_resets_and_leaves_received_data_readable_at_the_other_end() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    write(&mut world.near.engine, client, b"last words");
    world.settle();
    world.near.engine.abort(client, world.now);
    assert_eq!(world.near.engine.end(client), Some(Error::ConnectionAborted));
    world.settle();
    assert_eq!(world.far.engine.end(server), Some(Error::ConnectionReset));
    assert!(!world.far.engine.at_eof(server));
    assert_eq!(read(&mut world.far.engine, server, 100), b"last words");
}

#[test]
fn refused_where_nobody_listens() {
    let mut world = World::new();
    let client = world.near.engine.open(Domain::V4, Kind::Stream);
    world.near.engine.connect(client, address("10.0.2.2:81"), world.now).expect("connect");
    world.settle();
    assert_eq!(changes(&mut world.near.engine), [client]);
    assert_eq!(world.near.engine.state(client), Some(StreamState::Ended));
    assert_eq!(world.near.engine.end(client), Some(Error::ConnectionRefused));
}

#[test]
fn options_can_change_at_any_time() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    for option in [SocketOption::NoDelay(true), SocketOption::ReuseAddress(true)] {
        world.near.engine.set_option(client, option, world.now).expect("set_option");
    }
    exchange(&mut world, client, server, 100_000);
}
