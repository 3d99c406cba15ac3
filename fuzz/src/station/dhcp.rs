//! The target `dhcp`. Whatever servers say, the client asks no more than four times a second, has only an address that a
//! host can have, and loses it by nobody's word but its server's; and no message of theirs is the engine's.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::super::wire;
use super::{BROADCAST, IPV4, OURS, THEIRS, World, spoilt, time};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tubesock::addressing::Addressing;
use tubesock::ethernet::Station;
use tubesock::time::Instant;

const SERVER: Ipv4Addr = super::v4(1);
const COOKIE: usize = 236;

/// The body of the target.
pub fn dhcp(data: &[u8]) {
    let mut world = World::new(|mac, now| Station::automatic(mac, Addressing::default(), 7, now));
    let mut client =
        Client { asked: Vec::new(), messages: 0, start: world.now, servers: Vec::new(), guess: false };
    client.look(&world);
    world.run(&mut Bytes::new(data), |world, input| {
        match input.u8() % 8 {
            0 => {
                let length = input.u16() % 700;
                let bytes = input.take(length.into()).to_vec();
                client.arrives(world, input, &bytes, None);
            }
            1..=5 => {
                let (message, server, kind) = client.answer(input);
                let bytes = spoilt(input, message.clone());
                let heard = (bytes == message).then_some((server, kind));
                client.arrives(world, input, &bytes, heard);
            }
            _ => {
                world.pass(time(input));
                client.look(world);
            }
        }
        client.check(world);
    });
}

struct Client {
    /// Its last message.
    asked: Vec<u8>,
    messages: u64,
    start: Instant,
    /// Who acknowledged anything; or anybody, by a message that was changed on its way.
    servers: Vec<Ipv4Addr>,
    guess: bool,
}

impl Client {
    /// Looks at what left.
    fn look(&mut self, world: &World) {
        for sent in world.sent.iter().filter(|sent| sent.kind == IPV4) {
            let (source, destination, protocol, udp) =
                wire::payload(&sent.payload, true).expect("looked at already");
            assert_eq!((protocol, sent.to, destination), (17, BROADCAST, IpAddr::V4(Ipv4Addr::BROADCAST)));
            assert_eq!(wire::transport_sum(source, destination, protocol, udp), u16::MAX);
            assert_eq!(udp[..4], [0, 68, 0, 67]);
            let message = &udp[8..];
            assert!(message.len() >= 300 && message[..3] == [1, 1, 6] && message[28..34] == OURS);
            assert_eq!(message[COOKIE..COOKIE + 6], [99, 130, 83, 99, 53, 1]);
            self.asked = message.to_vec();
            self.messages += 1;
        }
    }

    fn check(&self, world: &World) {
        let seconds = (world.now - self.start).as_secs();
        assert!(self.messages <= 8 + 4 * seconds, "{} messages in {seconds} s", self.messages);
        for own in &world.addressing.addresses {
            let IpAddr::V4(own) = own.address else { continue };
            let nobodys =
                own.is_unspecified() || own.is_multicast() || own.is_loopback() || own.octets()[0] >= 240;
            assert!(!nobodys, "{own} is nobody's");
        }
    }

    /// An answer to the last message, or nearly; who says it, and what.
    fn answer(&self, input: &mut Bytes) -> (Vec<u8>, Ipv4Addr, u8) {
        let mut message = self.asked[..COOKIE].to_vec();
        message[0] = 2;
        let other = input.u8();
        let given = input.pick(&[
            super::v4(77),
            super::v4(77),
            super::v4(other),
            Ipv4Addr::new(127, 0, 0, other),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::BROADCAST,
            Ipv4Addr::new(224, 0, 0, other),
            Ipv4Addr::new(250, 0, 0, other),
        ]);
        message[16..20].copy_from_slice(&given.octets());
        let kind = input.pick(&[2, 5, 5, 6, 2, 1, 3, 9]);
        let server = input.pick(&[SERVER, SERVER, SERVER, super::v4(2)]);
        message.extend([99, 130, 83, 99, 53, 1, kind, 54, 4]);
        message.extend(server.octets());
        for _ in 0..input.u8() % 8 {
            let kind = input.pick(&[51, 58, 1, 3, 6, 0, 59, 61, 255]);
            message.push(kind);
            match kind {
                0 | 255 => {}
                51 | 58 | 59 => {
                    let short = input.u8().into();
                    message.push(4);
                    message.extend(input.pick(&[0u32, 1, 60, 3600, u32::MAX, short]).to_be_bytes());
                }
                _ => {
                    let length = input.u8() % 16;
                    message.push(length);
                    let mut value = input.take(length.into()).to_vec();
                    value.resize(length.into(), 255);
                    message.extend(value);
                }
            }
        }
        message.push(255);
        (message, server, kind)
    }

    /// Hands over a message; `heard` is who says what in it, where that is known.
    fn arrives(
        &mut self,
        world: &mut World,
        input: &mut Bytes,
        message: &[u8],
        heard: Option<(Ipv4Addr, u8)>,
    ) {
        let (from, to) =
            (SocketAddr::new(SERVER.into(), 67), SocketAddr::new(Ipv4Addr::BROADCAST.into(), 68));
        let mut packet = wire::datagram(from, to, (8 + message.len()) as u16, message);
        let wrong = input.u8().is_multiple_of(16);
        if wrong {
            packet[20 + 6] ^= 0x55;
        }
        let before = leased(world);
        world.deliver(input.pick(&[OURS, BROADCAST]), THEIRS, IPV4, &packet);
        self.look(world);
        assert!(wrong || world.arrived.is_empty(), "the engine gets none of it");
        let now = leased(world);
        match heard.filter(|_| !wrong) {
            Some((server, kind)) => {
                let refused = kind == 6 && (self.guess || self.servers.contains(&server));
                assert!(before.is_none() || now.is_some() || refused, "the address is lost");
                if kind == 5 {
                    self.servers.push(server);
                }
            }
            None => self.guess |= !wrong,
        }
        if wrong {
            assert_eq!(now, before, "its checksum is wrong");
        }
    }
}

fn leased(world: &World) -> Option<IpAddr> {
    world.addressing.addresses.iter().map(|own| own.address).find(IpAddr::is_ipv4)
}
