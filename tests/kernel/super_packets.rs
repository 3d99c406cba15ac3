//! Bulk both ways, with the device's offloads and without: the same bytes, in packets of 64 KB or of the network's size.

use crate::ours::Ours;
use crate::script::{Step, bytes};
use crate::theirs;
use crate::world::{Mode, OUR_V4, OUR_V6, THEIR_V4, THEIR_V6, World};
use std::net::SocketAddr;
use tubesock::tcp;

const LENGTH: usize = 8 << 20;
const PORT: u16 = 5001;
/// A packet of the network, and so much on average that there must have been many larger ones.
const MTU: u64 = 1500;
const LARGE: u64 = 2 * MTU;

#[test]
fn with_offloads_packets_are_larger_than_the_network_has_them() {
    for (address, name) in [(THEIR_V4, "IPv4"), (THEIR_V6, "IPv6")] {
        let sent = send(Mode::Offload, SocketAddr::new(address, PORT));
        assert!(sent > LARGE, "{name}: we sent packets of {sent} bytes on average");
    }
    for (address, name) in [(OUR_V4, "IPv4"), (OUR_V6, "IPv6")] {
        let received = receive(Mode::Offload, SocketAddr::new(address, PORT));
        assert!(received > LARGE, "{name}: we received packets of {received} bytes on average");
    }
}

#[test]
fn without_offloads_every_packet_is_the_networks() {
    for address in [THEIR_V4, THEIR_V6] {
        let sent = send(Mode::Plain, SocketAddr::new(address, PORT));
        assert!((MTU / 2..=MTU).contains(&sent), "we sent packets of {sent} bytes on average");
    }
    for address in [OUR_V4, OUR_V6] {
        let received = receive(Mode::Plain, SocketAddr::new(address, PORT));
        assert!((MTU / 2..=MTU).contains(&received), "we received packets of {received} bytes on average");
    }
}

/// We send to the kernel's listener. The average length of a packet of ours.
fn send(mode: Mode, address: SocketAddr) -> u64 {
    let mut world = World::new(mode, tcp::Settings::default());
    let data = bytes(1, LENGTH);
    let listener = world.namespace.listen(address);
    let steps = [Step::Send, Step::Finish, Step::EndOfFile, Step::Over];
    let now = tubesock::sys::now();
    let mut ours = Ours::connect(&mut world.engine, address, &steps, [data.clone(), Vec::new()], now);
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            let stream = theirs::accept(&listener)?;
            theirs::play(&stream, &[Step::Receive, Step::EndOfFile, Step::Close], [&[], &data])
        });
        finish(&mut world, &mut ours, theirs);
    });
    let counters = world.engine.counters();
    counters.bytes_sent / counters.packets_sent
}

/// The kernel sends to our listener. The average length of a packet of theirs.
fn receive(mode: Mode, address: SocketAddr) -> u64 {
    let mut world = World::new(mode, tcp::Settings::default());
    let data = bytes(2, LENGTH);
    let steps = [Step::Receive, Step::EndOfFile, Step::Finish, Step::Over];
    let now = tubesock::sys::now();
    let mut ours = Ours::listen(&mut world.engine, address, &steps, [Vec::new(), data.clone()], now);
    let stream = world.namespace.socket(address);
    std::thread::scope(|scope| {
        let theirs = scope.spawn(|| {
            let stream = stream.connect()?;
            theirs::play(&stream, &[Step::Send, Step::Finish, Step::EndOfFile, Step::Close], [&data, &[]])
        });
        finish(&mut world, &mut ours, theirs);
    });
    let counters = world.engine.counters();
    counters.bytes_received / counters.packets_received
}

fn finish(world: &mut World, ours: &mut Ours, theirs: std::thread::ScopedJoinHandle<'_, Result<(), String>>) {
    let mut result = Ok(false);
    let in_time = world.drive(theirs::PATIENCE, |engine, now| {
        result = ours.turn(engine, now);
        result == Ok(false) || (result == Ok(true) && !theirs.is_finished())
    });
    let theirs = theirs.join().expect("their side panicked");
    assert_eq!((in_time, result, theirs), (Ok(()), Ok(true), Ok(())), "{}", ours.describe(&world.engine));
    world.assert_intact();
}
