//! Listeners, their queues, and offers.

use crate::peer::{Peer, RST, SYN};
use crate::world::{World, address, changes, read, settings, write};
use std::time::Duration;
use tubesock::engine::{Domain, Engine, Kind, Path, Refusal, SocketId, SocketOption, StreamState};
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
fn an_offer_taken_back_before_anybody_heard_of_it_leaves_nothing() {
    let mut peer = Peer::new();
    let mut settings = settings("15", 9);
    (settings.checksums, settings.offer_incoming) = (false, true);
    peer.engine = Engine::new(settings, peer.now);
    peer.send(SYN, peer.next, b"");
    assert_eq!(peer.engine.sockets(), 1);
    peer.send(RST, peer.next + 1, b"");
    assert_eq!((peer.engine.incoming(), peer.engine.sockets()), (None, 0));
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

/// The owner is told of the request, and answers for the listener or lets go of it.
#[test]
fn a_guarded_listener_answers_when_its_owner_says_so_and_refuses_when_it_has_gone() {
    let mut world = World::new();
    let listener = world.listener(80, 10);
    world.far.engine.guard_requests(listener);
    let client = connect(&mut world, "10.0.2.2:80");
    world.settle();
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connecting));
    assert_eq!(changes(&mut world.far.engine), [listener]);
    assert!(world.far.engine.requests_wait(listener));
    world.far.engine.hold_accepting(listener, false);
    world.settle();
    assert_eq!(world.near.engine.state(client), Some(StreamState::Connected));
    assert!(!world.far.engine.requests_wait(listener));
    let next = connect(&mut world, "10.0.2.2:80");
    world.settle();
    assert_eq!(world.near.engine.state(next), Some(StreamState::Connecting));
    world.far.engine.release(listener, world.now);
    world.settle();
    assert_eq!(world.near.engine.end(next), Some(Error::ConnectionRefused));
}

/// IP_BIND_ADDRESS_NO_PORT: the address is bound, the port is chosen by connect, or by listen.
#[test]
fn a_port_may_be_chosen_later() {
    let mut world = World::new();
    let open = |world: &mut World| {
        let id = world.near.engine.open(Domain::V4, Kind::Stream);
        world.near.engine.set_option(id, SocketOption::PortLater(true), world.now).expect("option");
        world.near.engine.bind(id, address("10.0.2.15:0"), world.now).expect("ours");
        assert_eq!(world.near.engine.local(id), Some(address("10.0.2.15:0")));
        id
    };
    let client = open(&mut world);
    world.near.engine.connect(client, address("10.0.2.2:80"), world.now).expect("a route");
    assert_ne!(world.near.engine.local(client).map(|local| local.port()), Some(0));
    let listener = open(&mut world);
    world.near.engine.listen(listener, 1, world.now).expect("a port is free");
    assert_ne!(world.near.engine.local(listener).map(|local| local.port()), Some(0));
}

/// SO_BINDTODEVICE and SO_DONTROUTE.
#[test]
fn a_stream_keeps_to_its_interface_and_its_neighbours() {
    let mut world = World::new();
    let listener = world.listener(80, 10);
    world
        .far
        .engine
        .set_option(listener, SocketOption::Device(Some(Path::Loopback)), world.now)
        .expect("option");
    let client = connect(&mut world, "10.0.2.2:80");
    world.settle();
    assert_eq!(world.near.engine.end(client), Some(Error::ConnectionRefused));
    let set = |world: &mut World, option| {
        let id = world.near.engine.open(Domain::V4, Kind::Stream);
        world.near.engine.set_option(id, option, world.now).expect("option");
        id
    };
    let id = set(&mut world, SocketOption::Device(Some(Path::Link)));
    let refused = world.near.engine.connect(id, address("127.0.0.1:80"), world.now);
    assert_eq!(refused, Err(Error::NetworkUnreachable));
    let addresses = vec!["10.0.2.15/24".parse().expect("a network")];
    let routes = ["0.0.0.0/0,10.0.2.2", "192.0.2.0/24", "192.0.2.128/25,10.0.2.2"];
    let routes = routes.map(|route| route.parse().expect("a route")).to_vec();
    world.near.engine.set_addressing(addresses, routes);
    for (to, expected) in [
        ("10.0.2.2:80", Ok(())),
        ("192.0.2.1:80", Ok(())),
        ("192.0.2.129:80", Err(Error::NetworkUnreachable)),
        ("198.51.100.1:80", Err(Error::NetworkUnreachable)),
    ] {
        let id = set(&mut world, SocketOption::OnlyNeighbours(true));
        assert_eq!(world.near.engine.connect(id, address(to), world.now), expected, "{to}");
    }
}

/// IP_MINTTL (RFC 5082): what has come too far is dropped.
#[test]
fn what_has_come_too_far_is_dropped() {
    let mut world = World::new();
    let (client, server) = world.connected(80);
    let hops = |limit| SocketOption::MinimumHops(Domain::V4, limit);
    world.far.engine.set_option(server, hops(65), world.now).expect("option");
    assert_eq!(write(&mut world.near.engine, client, b"far"), 3);
    world.settle();
    assert_eq!(world.far.engine.readable(server), 0);
    world.far.engine.set_option(server, hops(64), world.now).expect("option");
    world.pass(Duration::from_secs(2));
    assert_eq!(read(&mut world.far.engine, server, 10), b"far");
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
