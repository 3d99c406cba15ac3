//! A window that is held at zero for twenty seconds, by either side, survives, and then everything arrives.

use crate::ours::Ours;
use crate::script::{Step, bytes};
use crate::theirs;
use crate::world::{Mode, OUR_V4, OUR_V6, THEIR_V4, THEIR_V6, World};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;
use tubesock::tcp;
use tubesock::time::Instant;

const HELD: Duration = Duration::from_secs(20);
/// More than both buffers take before anybody reads.
const LENGTH: usize = 12 << 20;
const PORT: u16 = 5001;
/// Packets of ours in the second half of the time, of four connections: Linux probes, and answers, some five times each
/// by then, a storm would be thousands, and silence is what a lost window update makes eternal.
const PACKETS: std::ops::Range<u64> = 4..200;

#[test]
fn a_window_held_at_zero_survives_and_drains() {
    let mut world = World::new(Mode::Offload, tcp::Settings::default());
    let now = tubesock::sys::now();
    let data = bytes(3, LENGTH);
    // They do not read what we send.
    let steps = [Step::Send, Step::Finish, Step::EndOfFile, Step::Over];
    let to_them = [THEIR_V4, THEIR_V6].map(|address| SocketAddr::new(address, PORT));
    let listeners = to_them.map(|address| world.namespace.listen(address));
    let mut senders = to_them
        .map(|address| Ours::connect(&mut world.engine, address, &steps, [data.clone(), Vec::new()], now));
    // We do not read what they send.
    let steps = [Step::Receive, Step::EndOfFile, Step::Finish, Step::Over];
    let to_us = [OUR_V4, OUR_V6].map(|address| SocketAddr::new(address, PORT));
    let mut receivers = to_us
        .map(|address| Ours::listen(&mut world.engine, address, &steps, [Vec::new(), data.clone()], now));
    let sockets = to_us.map(|address| world.namespace.socket(address));

    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut held = Vec::new();
        for listener in &listeners {
            let (go, going) = mpsc::channel::<()>();
            held.push(go);
            let data = &data;
            threads.push(scope.spawn(move || {
                let stream = theirs::accept(listener)?;
                // Nothing is ever sent: the other end is dropped when the time has come.
                let _ = going.recv();
                theirs::play(&stream, &[Step::Receive, Step::EndOfFile, Step::Close], [&[], data])
            }));
        }
        for socket in sockets {
            let data = &data;
            threads.push(scope.spawn(move || {
                let steps = [Step::Send, Step::Finish, Step::EndOfFile, Step::Over, Step::Close];
                theirs::play(&socket.connect()?, &steps, [data, &[]])
            }));
        }

        hold(&mut world, &mut senders, now);
        assert!(threads.iter().all(|thread| !thread.is_finished()), "the window was not held");
        held.clear();
        let drained = world.drive(theirs::PATIENCE, |engine, at| {
            let sides = senders.iter_mut().chain(&mut receivers);
            let done = sides.map(|side| side.turn(engine, at).expect("an orderly end")).filter(|done| *done);
            done.count() < 4 || !threads.iter().all(|thread| thread.is_finished())
        });
        for side in senders.iter().chain(&receivers) {
            assert_eq!(drained, Ok(()), "{}", side.describe(&world.engine));
        }
        for thread in threads {
            assert_eq!(thread.join().expect("their side panicked"), Ok(()));
        }
    });
    world.assert_intact();
}

/// Lets the time pass while nobody reads. What sends stays connected, and neither storms nor goes silent.
fn hold(world: &mut World, senders: &mut [Ours], begin: Instant) {
    let mut half = None;
    let survived = world.drive(HELD * 2, |engine, at| {
        for sender in &mut *senders {
            assert_eq!(sender.turn(engine, at), Ok(false), "{}", sender.describe(engine));
        }
        if at > begin + HELD / 2 {
            half.get_or_insert_with(|| engine.counters());
        }
        at < begin + HELD
    });
    assert_eq!(survived, Ok(()));
    let packets = world.engine.counters().packets_sent - half.expect("half the time").packets_sent;
    assert!(PACKETS.contains(&packets), "{packets} packets while nobody could send");
    for sender in senders {
        let id = sender.id().expect("connected");
        assert!(world.engine.unacknowledged(id) > 0, "the window was not held");
    }
}
