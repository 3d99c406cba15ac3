//! The target `arp`. Who asks for our address is answered, once, and nobody else; a packet for who answered goes where he said
//! that he is.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::{ARP, BROADCAST, OURS, THEIRS, World, packet, spoilt, time, v4};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use tubesock::addressing::{Addressing, Cidr};
use tubesock::ethernet::Station;

const OWN: Ipv4Addr = v4(15);

/// The body of the target.
pub fn arp(data: &[u8]) {
    let addresses = vec![Cidr::new(OWN.into(), 24)];
    let routes = vec![tubesock::addressing::Route::by(v4(1).into())];
    let addressing = Addressing { addresses, routes, name_servers: Vec::new() };
    let mut world = World::new(|mac, _| Station::new(mac, addressing));
    // Where neighbours said they are, as far as it was heard.
    let mut heard = HashMap::new();
    world.run(&mut Bytes::new(data), |world, input| match input.u8() % 8 {
        0 => {
            let length = input.u8().into();
            let payload = input.take(length).to_vec();
            arrives(world, &mut heard, BROADCAST, THEIRS, &payload);
        }
        1..=4 => {
            let message = message(input);
            let (message, to, from) = (spoilt(input, message), destination(input), mac(input));
            arrives(world, &mut heard, to, from, &message);
        }
        5 | 6 => send(world, &heard, input),
        _ => world.pass(time(input)),
    });
}

fn mac(input: &mut Bytes) -> [u8; 6] {
    let other = input.u8();
    input.pick(&[THEIRS, [2, 0, 0, 0, 1, other], [2, 0, 0, 0, 1, other], [3, 0, 0, 0, 0, 1], BROADCAST, OURS])
}

fn destination(input: &mut Bytes) -> [u8; 6] {
    input.pick(&[OURS, OURS, BROADCAST, BROADCAST, THEIRS, [3, 0, 0, 0, 0, 9]])
}

fn address(input: &mut Bytes) -> Ipv4Addr {
    let other = input.u8();
    let everybody = Ipv4Addr::BROADCAST;
    input.pick(&[
        OWN,
        v4(1),
        v4(2),
        v4(3),
        v4(other),
        Ipv4Addr::UNSPECIFIED,
        everybody,
        Ipv4Addr::from([224, 0, 0, 1]),
    ])
}

fn message(input: &mut Bytes) -> Vec<u8> {
    let operation = input.pick(&[1, 2, 2, 1, 3, 0]);
    let (from, target_mac) = (mac(input), mac(input));
    let (own, target) = (address(input), input.pick(&[OWN, OWN, v4(2), v4(0), Ipv4Addr::UNSPECIFIED]));
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &from, &own.octets(), &target_mac, &target.octets()].concat()
}

/// Hands over a message, and looks at what it does by a reading of its own.
fn arrives(
    world: &mut World,
    heard: &mut HashMap<Ipv4Addr, [u8; 6]>,
    to: [u8; 6],
    from: [u8; 6],
    payload: &[u8],
) {
    world.deliver(to, from, ARP, payload);
    let replies: Vec<_> =
        world.sent.iter().filter(|sent| sent.kind == ARP && sent.payload[7] == 2).cloned().collect();
    assert!(world.arrived.is_empty(), "nothing of ARP is the engine's");
    // What is missing of a short frame is zero.
    let mut payload = payload.to_vec();
    payload.resize(payload.len().max(46), 0);
    let operation = u16::from_be_bytes([payload[6], payload[7]]);
    let sender: [u8; 6] = payload[8..14].try_into().expect("six");
    let reaches = (to == OURS || to[0] & 1 != 0) && from[0] & 1 == 0 && from != OURS;
    let sound = payload[..6] == [0, 1, 8, 0, 6, 4] && (1..=2).contains(&operation) && sender[0] & 1 == 0;
    let address = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&payload[at..at + 4]).expect("four"));
    let (own, target) = (address(14), address(24));
    let asked = reaches && sound && operation == 1 && target == OWN;
    assert_eq!(replies.len(), usize::from(asked), "answers");
    if let [reply] = &replies[..] {
        assert_eq!((reply.to, &reply.payload[14..18]), (sender, &OWN.octets()[..]));
        assert_eq!((&reply.payload[18..24], &reply.payload[24..28]), (&sender[..], &own.octets()[..]));
    }
    if reaches && sound && own != OWN {
        heard.insert(own, sender);
    }
}

/// A packet for a neighbour: to where he was last heard, or not at all.
fn send(world: &mut World, heard: &HashMap<Ipv4Addr, [u8; 6]>, input: &mut Bytes) {
    let other = input.u8();
    let to = input.pick(&[
        v4(1),
        v4(2),
        v4(3),
        v4(other),
        Ipv4Addr::new(203, 0, 113, 9),
        v4(255),
        Ipv4Addr::BROADCAST,
    ]);
    let length = usize::from(input.u8()) * 5;
    world.hand(&packet(OWN.into(), IpAddr::V4(to), length));
    let hop = if to.octets()[..3] == [192, 0, 2] { to } else { v4(1) };
    for sent in world.sent.iter().filter(|sent| sent.kind != ARP) {
        match to {
            to if to == v4(255) || to.is_broadcast() => assert_eq!(sent.to, BROADCAST),
            _ => assert_eq!(Some(&sent.to), heard.get(&hop), "where {hop} is"),
        }
    }
}
