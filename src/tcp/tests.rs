//! What only the inside of the room can show; the rest is in `tests/`.

use super::*;
use crate::ip;
use crate::link::Packet;
use core::time::Duration;
use std::collections::VecDeque;

/// Two connections and what is on its way between them.
struct Wire {
    context: Context,
    ends: [Option<Connection>; 2],
    flying: VecDeque<(Instant, usize, Packet)>,
    now: Instant,
    delay: Duration,
    /// Whether a packet from this side, of this many bytes, is lost.
    lose: Box<dyn FnMut(usize, usize) -> bool>,
}

fn addresses() -> [SocketAddr; 2] {
    ["10.0.0.1:4000".parse().expect("an address"), "10.0.0.2:80".parse().expect("an address")]
}

impl Wire {
    fn new(delay: Duration, segmentation: usize, lose: Box<dyn FnMut(usize, usize) -> bool>) -> Wire {
        let path = PathSettings {
            mtu: 1500,
            checksums: true,
            segmentation,
            in_memory: false,
            tcp: Settings::default(),
        };
        let mut context = Context::new(path);
        let [local, remote] = addresses();
        let now = Instant::from_micros(5_000_000);
        let options = Options::default();
        let first =
            Connection::connect(&mut context, local, remote, Sequence(u32::MAX - 9), 77, &options, now);
        Wire { context, ends: [Some(first), None], flying: VecDeque::new(), now, delay, lose }
    }

    fn transmit(&mut self) {
        for side in 0..2 {
            let Some(connection) = &mut self.ends[side] else { continue };
            for turn in 0.. {
                assert!(turn < 20_000, "never comes to rest: {connection:?}");
                let (flying, lose) = (&mut self.flying, &mut self.lose);
                let due = self.now + self.delay;
                let sent = connection.transmit(&mut self.context, self.now, &mut |outgoing| {
                    if !lose(side, outgoing.length()) {
                        flying.push_back((due, 1 - side, outgoing.to_packet()));
                    }
                });
                if !sent {
                    break;
                }
            }
        }
    }

    fn deliver(&mut self, side: usize, packet: &[u8]) {
        let header = ip::parse(packet, true).expect("an IP packet");
        let segment = Segment::parse(packet, &header, packet.len() <= 1500).expect("a segment");
        let payload = &packet[segment.payload_range()];
        match &mut self.ends[side] {
            Some(connection) => connection.receive(&mut self.context, &segment, payload, self.now),
            None => {
                let options = Options::default();
                self.ends[side] = Some(Connection::accept(
                    &mut self.context,
                    &segment,
                    Sequence(100),
                    5,
                    &options,
                    self.now,
                ));
            }
        }
    }

    /// The next thing happens. False when nothing ever will.
    fn step(&mut self) -> bool {
        self.transmit();
        let flight = self.flying.front().map(|(at, ..)| *at);
        let timers = self.ends.iter().flatten().filter_map(Connection::deadline).min();
        let Some(next) = flight.into_iter().chain(timers).min() else { return false };
        self.now = self.now.max(next);
        while self.flying.front().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, side, packet) = self.flying.pop_front().expect("looked at");
            self.deliver(side, &packet);
        }
        for connection in self.ends.iter_mut().flatten() {
            if connection.deadline().is_some_and(|at| at <= self.now) {
                connection.advance(&mut self.context, self.now);
            }
        }
        true
    }

    /// Moves `total` bytes from one end to the other, and closes; how long it took.
    fn transfer(&mut self, total: usize) -> Duration {
        let start = self.now;
        let byte = |at: usize| (at % 251) as u8 ^ (at >> 13) as u8;
        let (mut written, mut read) = (0, 0);
        for _ in 0..10_000_000 {
            let Wire { context, ends: [first, second], now, .. } = self;
            let first = first.as_mut().expect("made");
            first.write_with(context, &mut |room| {
                let length = room.len().min(total - written);
                room[..length].iter_mut().enumerate().for_each(|(at, place)| *place = byte(written + at));
                written += length;
                length
            });
            if written == total {
                first.close();
            }
            if let Some(second) = second {
                second.read_with(context, *now, &mut |bytes| {
                    assert!(bytes.iter().enumerate().all(|(at, value)| *value == byte(read + at)));
                    read += bytes.len();
                    bytes.len()
                });
                if second.fin_received() && second.readable() == 0 {
                    second.close();
                }
            }
            let over = |end: &Option<Connection>| {
                end.as_ref().is_some_and(|end| matches!(end.state(), State::Closed | State::TimeWait))
            };
            if over(&self.ends[0]) && over(&self.ends[1]) {
                break;
            }
            assert!(self.step(), "wedged: {:?}", self.ends);
            assert!(self.now - start < Duration::from_secs(3000), "too slow {read} {:?}", self.ends);
        }
        assert_eq!(read, total);
        self.now - start
    }
}

fn chance(seed: u64, per_mille: u64) -> Box<dyn FnMut(usize, usize) -> bool> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    Box::new(move |_, _| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % 1000 < per_mille
    })
}

#[test]
fn a_clean_path_carries_everything() {
    for segmentation in [0, 65_535] {
        let mut wire = Wire::new(Duration::from_millis(10), segmentation, Box::new(|_, _| false));
        let took = wire.transfer(5_000_000);
        assert!(took < Duration::from_millis(600), "{took:?}");
        let sender = wire.ends[0].as_ref().expect("made").info(wire.now);
        assert_eq!((sender.total_retrans, sender.bytes_acked), (0, 5_000_001), "{sender:?}");
    }
}

#[test]
fn a_lossy_path_carries_everything() {
    for seed in 1..60 {
        for (per_mille, total) in [(10, 300_000), (100, 300_000), (300, 30_000)] {
            let mut wire = Wire::new(Duration::from_millis(10), 0, chance(seed, per_mille));
            wire.transfer(total);
        }
    }
}

/// RFC 4821, RFC 8899: no ICMP tells of it.
#[test]
fn a_black_hole_is_found_and_its_edge_searched() {
    for largest in [600, 1100, 1300, 1480] {
        let mut wire = Wire::new(Duration::from_millis(10), 0, Box::new(move |_, length| length > largest));
        let took = wire.transfer(3_000_000);
        let sender = wire.ends[0].as_ref().expect("made").info(wire.now);
        assert!(took < Duration::from_secs(30), "{largest}: {took:?}");
        let most = largest as u32 - 52;
        assert!(sender.snd_mss <= most && sender.snd_mss + 40 >= most.clamp(536, 1448), "{sender:?}");
    }
}

#[test]
fn loss_that_looked_like_a_black_hole_is_forgotten() {
    let mut lost = 0;
    let lose = move |side: usize, length: usize| {
        let hit = side == 0 && length > 1400 && lost < 12;
        lost += usize::from(hit);
        hit
    };
    let mut wire = Wire::new(Duration::from_millis(10), 0, Box::new(lose));
    wire.transfer(3_000_000);
    let sender = wire.ends[0].as_ref().expect("made").info(wire.now);
    assert_eq!(sender.snd_mss, 1448, "{sender:?}");
}
