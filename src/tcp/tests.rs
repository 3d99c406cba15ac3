//! What only the inside of the room can show; the rest is in `tests/engine`.

use super::*;
use crate::ip;

fn ends() -> (SocketAddr, SocketAddr) {
    ("10.0.0.1:4000".parse().expect("an address"), "10.0.0.2:80".parse().expect("an address"))
}

fn segment(packet: &[u8], verify: bool) -> Segment {
    let header = ip::parse(packet, verify).expect("an IP packet");
    Segment::parse(packet, &header, verify).expect("a segment")
}

/// The seed trick of `context.rs`: it depends on smoltcp's generator.
#[test]
fn initial_sequence_numbers_are_the_ones_asked_for() {
    let (local, remote) = ends();
    let mut context = Context::new(1500, true);
    let now = Instant::from_micros(1);
    for sequence in [0, 1, 0x1234_5678, 0x8000_0000, u32::MAX].map(Sequence) {
        let mut near = Connection::connect(&mut context, local, remote, sequence, Options::default(), now);
        let packet = near.transmit(&mut context, now).expect("a SYN");
        let syn = segment(&packet, true);
        assert_eq!(syn.sequence, sequence);
        let options = Options::default();
        let mut far = Connection::accept(&mut context, packet, &syn, sequence + 7, options, now);
        let answer = far.transmit(&mut context, now).expect("a SYN-ACK");
        assert_eq!(segment(&answer, true).sequence, sequence + 7);
    }
}

/// A socket with its buffers may serve again: nothing of the first connection shows in the second.
#[test]
fn a_reclaimed_socket_is_as_good_as_new() {
    let (local, remote) = ends();
    let mut context = Context::new(1500, false);
    let now = Instant::from_micros(1);
    for round in 0..3u8 {
        let options = Options { no_delay: round == 0, ..Options::default() };
        let mut near = Connection::connect(&mut context, local, remote, Sequence(1), options, now);
        let syn = near.transmit(&mut context, now).expect("a SYN");
        let request = segment(&syn, false);
        let mut far = Connection::accept(&mut context, syn, &request, Sequence(9), options, now);
        run(&mut near, &mut far, &mut context, now);
        assert_eq!(near.unacknowledged() + near.readable() + far.readable(), 0);
        near.write_with(&mut |room| {
            room[..3].fill(round);
            3
        });
        near.close();
        far.close();
        run(&mut near, &mut far, &mut context, now);
        let mut read = Vec::new();
        far.read_with(&mut |bytes| {
            read.extend_from_slice(bytes);
            bytes.len()
        });
        assert_eq!(read, [round; 3]);
        for mut connection in [near, far] {
            assert!(matches!(connection.state(), State::TimeWait | State::Closed));
            connection.retire();
            context.reclaim(connection);
        }
    }
    assert!(context.spare().is_some());
}

fn run(near: &mut Connection, far: &mut Connection, context: &mut Context, now: Instant) {
    loop {
        let there = near.transmit(context, now);
        let back = far.transmit(context, now);
        if there.is_none() && back.is_none() {
            return;
        }
        if let Some(packet) = there {
            let segment = segment(&packet, false);
            far.receive(context, packet, &segment, now);
        }
        if let Some(packet) = back {
            let segment = segment(&packet, false);
            near.receive(context, packet, &segment, now);
        }
    }
}
