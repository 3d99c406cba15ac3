//! Ports that several sockets share: SO_REUSEADDR and SO_REUSEPORT.

use crate::world::{World, address, settings};
use tubesock::engine::{Domain, Engine, Kind, SocketId, SocketOption, StreamState};
use tubesock::error::Error;
use tubesock::time::Instant;
use tubesock::udp;

const NOW: Instant = Instant::from_micros(5_000_000);

/// SO_REUSEADDR and SO_REUSEPORT.
type Reuse = (bool, bool);

const NONE: Reuse = (false, false);
const ADDRESS: Reuse = (true, false);
const PORT: Reuse = (false, true);
const BOTH: Reuse = (true, true);

fn open(engine: &mut Engine, kind: Kind, domain: Domain, (reuse_address, reuse_port): Reuse) -> SocketId {
    let id = engine.open(domain, kind);
    engine.set_option(id, SocketOption::ReuseAddress(reuse_address), NOW).expect("option");
    engine.set_option(id, SocketOption::ReusePort(reuse_port), NOW).expect("option");
    id
}

fn bind(engine: &mut Engine, kind: Kind, to: &str, reuse: Reuse) -> Result<SocketId, Error> {
    let to = address(to);
    let id = open(engine, kind, if to.is_ipv4() { Domain::V4 } else { Domain::V6 }, reuse);
    engine.bind(id, to, NOW).map(|()| id)
}

/// Whether the second may be bound beside the first, and beside it when that listens: each row is what Linux 6.18 answered.
#[test]
fn who_shares_with_whom() {
    for (first, second, fits, fits_listener) in [
        (NONE, BOTH, false, false),
        (BOTH, NONE, false, false),
        (ADDRESS, ADDRESS, true, false),
        (ADDRESS, PORT, false, false),
        (ADDRESS, BOTH, true, false),
        (PORT, ADDRESS, false, false),
        (PORT, PORT, true, true),
        (PORT, BOTH, true, true),
        (BOTH, ADDRESS, true, false),
        (BOTH, PORT, true, true),
        (BOTH, BOTH, true, true),
    ] {
        for (kind, listens, expected) in
            [(Kind::Stream, false, fits), (Kind::Stream, true, fits_listener), (Kind::Datagram, false, fits)]
        {
            let mut engine = Engine::new(settings("15", 3), NOW);
            let id = bind(&mut engine, kind, "0.0.0.0:80", first).expect("the first");
            if listens {
                engine.listen(id, 1, NOW).expect("listen");
            }
            let outcome = bind(&mut engine, kind, "0.0.0.0:80", second);
            assert_eq!(
                outcome.is_ok(),
                expected,
                "{first:?} then {second:?}, {kind:?}, listening: {listens}"
            );
            if let (true, Ok(id)) = (listens, outcome) {
                engine.listen(id, 1, NOW).expect("both listen");
            }
        }
    }
}

/// A server that starts again while connections of the old one are left.
#[test]
fn connections_remember_with_whom_their_port_was_shared() {
    let mut world = World::new();
    let listener = bind(&mut world.far.engine, Kind::Stream, "0.0.0.0:80", PORT).expect("bind");
    world.far.engine.listen(listener, 5, world.now).expect("listen");
    let client = world.near.engine.open(Domain::V4, Kind::Stream);
    world.near.engine.connect(client, address("10.0.2.2:80"), world.now).expect("connect");
    world.settle();
    let server = world.far.engine.accept(listener).expect("a connection");
    world.far.engine.release(listener, world.now);
    let rebound = |world: &mut World, reuse| {
        let outcome = bind(&mut world.far.engine, Kind::Stream, "0.0.0.0:80", reuse);
        outcome.map(|id| world.far.engine.release(id, world.now))
    };
    for _ in 0..2 {
        assert_eq!(rebound(&mut world, PORT), Ok(()));
        assert_eq!(rebound(&mut world, ADDRESS), Err(Error::AddressInUse));
        assert_eq!(rebound(&mut world, NONE), Err(Error::AddressInUse));
        // The second time in TIME-WAIT.
        world.far.engine.release(server, world.now);
        world.near.engine.release(client, world.now);
        world.settle();
    }
}

#[test]
fn listeners_of_a_port_share_its_connections() {
    let mut world = World::new();
    let listeners: Vec<SocketId> = (0..4)
        .map(|_| {
            let id = bind(&mut world.far.engine, Kind::Stream, "0.0.0.0:80", PORT).expect("bind");
            world.far.engine.listen(id, 1000, world.now).expect("listen");
            id
        })
        .collect();
    let clients: Vec<SocketId> = (0..400)
        .map(|_| {
            let id = world.near.engine.open(Domain::V4, Kind::Stream);
            world.near.engine.connect(id, address("10.0.2.2:80"), world.now).expect("connect");
            id
        })
        .collect();
    world.settle();
    let engine = &mut world.far.engine;
    let mut taken = listeners.iter().map(|id| std::iter::from_fn(|| engine.accept(*id)).count());
    let taken: Vec<usize> = taken.by_ref().collect();
    assert_eq!(taken.iter().sum::<usize>(), 400);
    assert!(taken.iter().all(|count| (60..140).contains(count)), "{taken:?}");
    for client in &clients {
        assert_eq!(world.near.engine.state(*client), Some(StreamState::Connected));
    }
    // One that goes takes its share with it, and the others have all from then on.
    world.far.engine.release(listeners[0], world.now);
    let again = world.near.engine.open(Domain::V4, Kind::Stream);
    world.near.engine.connect(again, address("10.0.2.2:80"), world.now).expect("connect");
    world.settle();
    assert_eq!(world.near.engine.state(again), Some(StreamState::Connected));
}

fn received(engine: &mut Engine, id: SocketId) -> usize {
    std::iter::from_fn(|| engine.receive_from(id)).count()
}

#[test]
fn sockets_of_a_port_share_its_datagrams_by_sender() {
    let mut engine = Engine::new(settings("2", 3), NOW);
    let ids: Vec<SocketId> =
        (0..4).map(|_| bind(&mut engine, Kind::Datagram, "0.0.0.0:53", PORT).expect("bind")).collect();
    for port in 1..=400 {
        for _ in 0..2 {
            let from = format!("10.0.2.15:{port}");
            engine.receive(&udp::build(address(&from), address("10.0.2.2:53"), b"x", true), NOW);
        }
    }
    let counts: Vec<usize> = ids.iter().map(|id| received(&mut engine, *id)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 800);
    // Always both of one sender.
    assert!(counts.iter().all(|count| count % 2 == 0 && (120..280).contains(count)), "{counts:?}");
}

/// As on Linux 6.18: of several with SO_REUSEADDR the last has the unicasts, one that is for the very address comes first,
/// and one of IPv4 before one of both families.
#[test]
fn without_reuse_port_the_best_and_the_newest_wins() {
    let mut engine = Engine::new(settings("2", 3), NOW);
    let mut winner_of = |more: &[(&str, Reuse)]| {
        let mut ids = vec![];
        for (to, reuse) in more {
            ids.push(bind(&mut engine, Kind::Datagram, to, *reuse).expect("bind"));
        }
        engine.receive(&udp::build(address("10.0.2.15:1"), address("10.0.2.2:53"), b"x", true), NOW);
        let winner = ids.iter().position(|id| received(&mut engine, *id) == 1);
        ids.into_iter().for_each(|id| engine.release(id, NOW));
        winner
    };
    let any = "0.0.0.0:53";
    assert_eq!(winner_of(&[(any, ADDRESS), (any, ADDRESS), (any, ADDRESS)]), Some(2));
    assert_eq!(winner_of(&[("10.0.2.2:53", ADDRESS), (any, ADDRESS)]), Some(0));
    assert_eq!(winner_of(&[("[::]:53", ADDRESS), (any, ADDRESS), ("[::]:53", ADDRESS)]), Some(1));
    assert_eq!(winner_of(&[(any, BOTH), (any, BOTH), (any, ADDRESS)]), Some(2));
}

#[test]
fn of_two_with_the_same_peer_the_second_hears_it_and_then_the_first() {
    let mut engine = Engine::new(settings("2", 3), NOW);
    let ids = [0, 1].map(|_| {
        let id = bind(&mut engine, Kind::Datagram, "10.0.2.2:53", ADDRESS).expect("bind");
        engine.connect(id, address("10.0.2.15:1"), NOW).expect("connect");
        id
    });
    let packet = udp::build(address("10.0.2.15:1"), address("10.0.2.2:53"), b"x", true);
    engine.receive(&packet, NOW);
    assert_eq!(ids.map(|id| received(&mut engine, id)), [0, 1]);
    engine.release(ids[1], NOW);
    engine.receive(&packet, NOW);
    assert_eq!(received(&mut engine, ids[0]), 1);
}

/// Who asks for any port does not get one that is shared.
#[test]
fn an_ephemeral_port_is_its_own() {
    let mut engine = Engine::new(settings("2", 3), NOW);
    for _ in 0..28232 {
        bind(&mut engine, Kind::Datagram, "0.0.0.0:0", BOTH).expect("bind");
    }
    assert_eq!(bind(&mut engine, Kind::Datagram, "0.0.0.0:0", BOTH), Err(Error::AddressInUse));
}
