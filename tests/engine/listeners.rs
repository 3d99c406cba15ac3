//! Listeners, their queues, and offers.

use crate::world::{World, address, changes, read, write};
use std::time::Duration;
use tubesock::engine::{Domain, Engine, Kind, Refusal, SocketId, StreamState};
use tubesock::error::Error;

fn connect(world: &mut World, to: &str) -> SocketId {
    let client = world.near.engine.open(Domain::V4, Kind::Stream);
    world.near.engine.connect(client, address(to), world.now).expect("connect");
    client
}

fn offering() -> World {
    World::with(|_, far| (far.any_address, far.offer_incoming) = (true, true))
}

#[test]
fn offer_admitted_is_a_connection() {
    let mut world = offering();
    let client = connect(&mut world, "93.184.216.34:443");
    world.settle();
    let offer = world.far.engine.incoming().expect("an offer");
    assert_eq!(offer.to, address("93.184.216.34:443"));
    assert_eq!(Some(offer.from), world.near.engine.local(client));
    assert_eq!(world.far.engine.state(offer.id), Some(StreamState::Connecting));
    // The SYN comes again while the owner makes up its mind.
    world.pass(Duration::from_secs(10));
    assert_eq!(world.far.engine.incoming(), None);
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connecting));
    world.far.engine.admit(offer.id, world.now);
    world.settle();
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connected));
    assert_eq!(world.far.engine.state(offer.id), Some(StreamState::Connected));
    assert_eq!(changes(&mut world.far.engine), [offer.id]);
    write(&mut world.near.engine, client, b"hello");
    world.settle();
    assert_eq!(read(&mut world.far.engine, offer.id, 100), b"hello");
}

#[test]
fn offers_refused_give_the_reason() {
    for (how, error) in [
        (Refusal::Reset, Error::ConnectionRefused),
        (Refusal::NetworkUnreachable, Error::NetworkUnreachable),
        (Refusal::HostUnreachable, Error::HostUnreachable),
    ] {
        let mut world = offering();
        let client = connect(&mut world, "93.184.216.34:443");
        world.settle();
        let offer = world.far.engine.incoming().expect("an offer");
        world.far.engine.refuse(offer.id, how, world.now);
        world.settle();
        assert_eq!(world.near.engine.end(client), Some(error));
        assert_eq!(world.far.engine.state(offer.id), None);
    }
}

#[test]
fn an_offer_refused_in_silence_times_out() {
    let mut world = offering();
    let client = connect(&mut world, "93.184.216.34:443");
    for _ in 0..200 {
        world.pass(Duration::from_secs(1));
        while let Some(offer) = world.far.engine.incoming() {
            world.far.engine.refuse(offer.id, Refusal::Silence, world.now);
        }
    }
    assert_eq!(world.near.engine.end(client), Some(Error::TimedOut));
    assert_eq!(world.near.engine.counters().connections_timed_out, 1);
}

fn accepted(engine: &mut Engine, listener: SocketId) -> usize {
    std::iter::from_fn(|| engine.accept(listener)).count()
}

#[test]
fn requests_beyond_the_backlog_wait_for_room() {
    let mut world = World::new();
    let listener = world.listener(80, 1);
    let clients: Vec<SocketId> = (0..5).map(|_| connect(&mut world, "10.0.2.2:80")).collect();
    world.settle();
    let mut taken = Vec::new();
    for _ in 0..5 {
        taken.push(accepted(&mut world.far.engine, listener));
        world.settle();
    }
    assert_eq!(taken, [2, 2, 1, 0, 0], "backlog + 1 at a time, with no time passing");
    for client in clients {
        assert_eq!(world.near.engine.state(client), Some(StreamState::Connected));
    }
    assert_eq!(world.far.engine.counters().listen_overflows, 0);
}

#[test]
fn requests_beyond_all_bounds_get_cookies_and_wait_all_the_same() {
    let mut world = World::new();
    let listener = world.listener(80, 1);
    let clients: Vec<SocketId> = (0..400).map(|_| connect(&mut world, "10.0.2.2:80")).collect();
    world.settle();
    assert_eq!(world.far.engine.counters().cookies_sent, 400 - 2 - 256);
    let mut servers = Vec::new();
    while let Some(server) = world.far.engine.accept(listener) {
        servers.push(server);
        world.settle();
    }
    assert_eq!(servers.len(), clients.len(), "with no time passing");
    assert_eq!(world.far.engine.counters().listen_overflows, 0);
    for server in servers {
        write(&mut world.far.engine, server, b"welcome");
    }
    world.settle();
    for client in clients {
        assert_eq!(read(&mut world.near.engine, client, 10), b"welcome");
        // Timestamps remember what a cookie cannot: scaling by 7, SACK.
        let info = world.near.engine.info(client, world.now).expect("a connection");
        assert_eq!((info.options & 7, info.snd_wscale), (7, 7));
    }
}

#[test]
fn a_held_listener_answers_when_it_is_let_go() {
    let mut world = World::new();
    let listener = world.listener(80, 10);
    world.far.engine.hold_accepting(listener, true);
    let client = connect(&mut world, "10.0.2.2:80");
    world.settle();
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connecting));
    world.far.engine.hold_accepting(listener, false);
    world.settle();
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connected));
}

#[test]
fn releasing_a_listener_resets_its_queue() {
    let mut world = World::new();
    let listener = world.listener(80, 10);
    let client = connect(&mut world, "10.0.2.2:80");
    world.settle();
    world.far.engine.release(listener, world.now);
    world.settle();
    assert_eq!(world.near.engine.end(client), Some(Error::ConnectionReset));
    let again = connect(&mut world, "10.0.2.2:80");
    world.settle();
    assert_eq!(world.near.engine.end(again), Some(Error::ConnectionRefused));
}
