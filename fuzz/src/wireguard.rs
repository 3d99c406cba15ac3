//! The target `wireguard`: two tunnels back to back, and everything that a network can do to their datagrams: cut, changed,
//! repeated, made up, from elsewhere. What arrives in a tunnel was sent into the other one, by who may; what is given up comes
//! back; memory is bounded.
//!
//! boringtun draws keys at random and reads the clock: an input does not do the same each time, but for what must hold.
#![forbid(unsafe_code)]

use super::bytes::Bytes;
use super::{memory, wire};
use std::net::SocketAddr;
use std::time::Duration;
use tubesock::link::wireguard::configuration::Configuration;
use tubesock::link::wireguard::tunnel::Tunnel;
use tubesock::time::Instant;

const STEPS_MAX: usize = 100;
/// Datagrams that are remembered, to be sent again.
const SEEN_MAX: usize = 64;
/// 128 packets that wait at each end, and what boringtun keeps.
const MEMORY_MAX: isize = 4 << 20;

/// Private keys, and the public ones that belong to them.
const KEYS: [[&str; 2]; 2] = [
    ["0Htl1HoqxwejU0o6ud0H4rK0nsaNQx8An44ahdENBk8=", "bjJmT1oZcgoi89L4PqSqvRcDAe4ue0W3VIhnT+x6C3g="],
    ["IGawQUYxiSQmCMOld/8LaRFoQCb482supeWtFNyuc3Y=", "DrKTD5f5AIXm1UtIWyeXNEM7+EZiebFw1npfnNi6Qyc="],
];
/// Where they are, and what they are called inside.
const PLACES: [&str; 2] = ["192.0.2.1:51820", "192.0.2.2:51820"];
const INSIDE: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

/// The body of the target.
pub fn wireguard(data: &[u8]) {
    let before = memory::live();
    let mut input = Bytes::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        let own: usize =
            world.sent.iter().flatten().chain(&world.seen).map(|bytes| bytes.capacity() + 32).sum();
        let grown = memory::live() - before - own as isize;
        assert!(grown < MEMORY_MAX, "{grown} bytes of memory are in use");
    }
}

struct World {
    ends: [Tunnel; 2],
    now: Instant,
    /// Packets that went into each end.
    sent: [Vec<Vec<u8>>; 2],
    /// Datagrams that left.
    seen: Vec<Vec<u8>>,
}

fn place(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

impl World {
    fn new(input: &mut Bytes) -> World {
        let keepalive = if input.u8().is_multiple_of(2) { "" } else { "PersistentKeepalive = 1" };
        let end = |own: usize| {
            let other = 1 - own;
            let text = format!(
                "[Interface]\nPrivateKey = {}\n[Peer]\nPublicKey = {}\nEndpoint = {}\nAllowedIPs = {}/32\n{keepalive}\n",
                KEYS[own][0], KEYS[other][1], PLACES[other], INSIDE[other]
            );
            let configuration = Configuration::parse(&text).expect("a good file");
            Tunnel::new(&configuration, &[Some(place(PLACES[other]))], "fuzz.conf", 0xffff_ff00 | own as u32)
        };
        let now = Instant::from_micros(1_000_000);
        World { ends: [end(0), end(1)], now, sent: [Vec::new(), Vec::new()], seen: Vec::new() }
    }

    fn step(&mut self, input: &mut Bytes) {
        let which = usize::from(input.u8() % 2);
        match input.u8() % 10 {
            0 | 1 => self.send(which, input),
            2 => {
                let length = input.u8().into();
                self.hand(which, input.take(length).to_vec());
            }
            3 | 4 => self.carry(input),
            5 | 6 => self.again(which, input),
            7 => {
                let length = input.u8().into();
                let mut datagram = input.take(length).to_vec();
                if let Some(kind) = datagram.first_mut() {
                    *kind %= 6;
                }
                self.arrives(which, &datagram, input);
            }
            _ => {
                let milliseconds = input.pick(&[0, 249, 250, 1000, 5000, 15_000, 20_000, 200_000]);
                self.now = self.now + Duration::from_millis(milliseconds);
                for end in &mut self.ends {
                    end.advance(self.now);
                    assert!(end.deadline().is_none_or(|due| due > self.now), "it is due again");
                }
                self.look();
            }
        }
    }

    /// A packet that may be sent, or nearly.
    fn send(&mut self, which: usize, input: &mut Bytes) {
        let from = input.pick(&[INSIDE[which], INSIDE[which], INSIDE[which], "10.0.0.9"]);
        let to = input.pick(&[INSIDE[1 - which], INSIDE[1 - which], INSIDE[1 - which], "10.0.0.8"]);
        let [from, to] = [from, to].map(|address| place(&format!("{address}:9")));
        let length = usize::from(input.u8()) * 5;
        self.hand(which, wire::datagram(from, to, (8 + length) as u16, &vec![input.u8(); length]));
    }

    fn hand(&mut self, which: usize, packet: Vec<u8>) {
        self.sent[which].push(packet.clone());
        self.ends[which].send(packet, self.now);
        self.look();
    }

    /// Carries what is under way, or loses a part of it.
    fn carry(&mut self, input: &mut Bytes) {
        let loses = input.u8();
        for round in 0..8 {
            for from in 0..2 {
                let under_way: Vec<_> = self.ends[from].out.datagrams.drain(..).collect();
                for (index, (to, datagram)) in under_way.into_iter().enumerate() {
                    self.remember(&datagram);
                    let lost = loses & 1 << ((index + round) % 8) != 0 && loses < 128;
                    if to == place(PLACES[1 - from]) && !lost {
                        self.take(1 - from, &datagram, place(PLACES[from]));
                    }
                }
            }
        }
    }

    fn remember(&mut self, datagram: &[u8]) {
        if self.seen.len() == SEEN_MAX {
            self.seen.remove(0);
        }
        self.seen.push(datagram.to_vec());
    }

    /// A datagram that left once, changed or not.
    fn again(&mut self, which: usize, input: &mut Bytes) {
        if self.seen.is_empty() {
            return;
        }
        let mut datagram = self.seen[usize::from(input.u8()) % self.seen.len()].clone();
        for _ in 0..input.u8() % 3 {
            let (at, value) = (usize::from(input.u16()) % datagram.len(), input.u8());
            datagram[at] = value;
        }
        if input.u8().is_multiple_of(4) {
            datagram.truncate(input.u8().into());
        }
        self.arrives(which, &datagram, input);
    }

    fn arrives(&mut self, which: usize, datagram: &[u8], input: &mut Bytes) {
        let from = input.pick(&[PLACES[1 - which], "203.0.113.1:1", "[2001:db8::1]:1"]);
        self.take(which, datagram, place(from));
    }

    fn take(&mut self, which: usize, datagram: &[u8], from: SocketAddr) {
        let Some(packet) = self.ends[which].receive(datagram, from, self.now) else { return self.look() };
        // It is as long as its header says: what was sent behind that stays behind, and where that is longer than what was sent,
        // the padding to a multiple of sixteen comes with it (as with the kernel's).
        let was_sent = self.sent[1 - which].iter().any(|sent| {
            let mut padded = sent.clone();
            padded.resize(sent.len().next_multiple_of(16), 0);
            padded.starts_with(packet)
        });
        assert!(was_sent, "nobody sent {packet:?}");
        let source: SocketAddr = place(&format!("{}:9", INSIDE[1 - which]));
        let octets = match source.ip() {
            std::net::IpAddr::V4(source) => source.octets(),
            std::net::IpAddr::V6(_) => unreachable!("they are of IPv4"),
        };
        // One that says that it is shorter than its header the engine drops.
        let said = packet.get(12..16);
        assert!(said.is_none_or(|said| *said == octets), "its source is none of the peer's");
        self.look();
    }

    /// What came back was sent, and is more than a datagram may bring.
    fn look(&mut self) {
        for (end, sent) in self.ends.iter_mut().zip(&self.sent) {
            for refused in end.out.refused.drain(..) {
                assert!(sent.contains(&refused), "nobody sent {refused:?}");
            }
            assert!(end.out.datagrams.len() < 4 * 128 + 16, "{} datagrams", end.out.datagrams.len());
            end.out.datagrams.truncate(4 * 128);
        }
    }
}
