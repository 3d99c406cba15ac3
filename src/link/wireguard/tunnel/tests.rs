//! Tunnels of ours back to back in memory. Time is stepped for what is ours; boringtun's own timers read the clock.

use super::*;
use crate::udp;
use proptest::prelude::*;

const START: Instant = Instant::from_micros(1_000_000);

/// A private key out of nothing; and its public one in base64, as files have it.
fn key(number: u8) -> String {
    base64(&[number; 32])
}

fn public(number: u8) -> String {
    let key = Key::parse(&key(number)).expect("just made").public();
    base64(key.bytes())
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// An end of a tunnel, and where it is.
struct End {
    tunnel: Tunnel,
    at: SocketAddr,
}

impl End {
    /// With the private key `number`, and a `[Peer]` for each of `peers`: its key's number and the rest of its section.
    fn new(number: u8, peers: &[(u8, &str)]) -> End {
        let mut text = format!("[Interface]\nPrivateKey={}\n", key(number));
        for (peer, section) in peers {
            text += &format!("[Peer]\nPublicKey={}\n{section}\n", public(*peer));
        }
        let configuration = Configuration::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let endpoints: Vec<_> = configuration
            .peers
            .iter()
            .map(|peer| match &peer.endpoint {
                Some(Endpoint::Address(address)) => Some(*address),
                _ => None,
            })
            .collect();
        let tunnel = Tunnel::new(&configuration, &endpoints, "test.conf", 0xffff_fe00 | u32::from(number));
        End { tunnel, at: at(&format!("192.0.2.{number}:51820")) }
    }

    fn send(&mut self, from: &str, to: &str, payload: &[u8], now: Instant) {
        self.tunnel.send(udp::build(at(from), at(to), payload, true), now);
    }
}

use super::super::configuration::Endpoint;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Carries datagrams until there are no more; gives what arrived inside, with the number of the end that got it.
fn carry(ends: &mut [&mut End], now: Instant) -> Vec<(usize, Packet)> {
    let mut arrived = Vec::new();
    loop {
        let under_way: Vec<_> = ends
            .iter_mut()
            .flat_map(|end| end.tunnel.out.datagrams.drain(..).map(|sent| (end.at, sent)).collect::<Vec<_>>())
            .collect();
        if under_way.is_empty() {
            return arrived;
        }
        for (from, (to, datagram)) in under_way {
            if let Some(place) = ends.iter().position(|end| end.at == to)
                && let Some(packet) = ends[place].tunnel.receive(&datagram, from, now)
            {
                arrived.push((place, packet.to_vec()));
            }
        }
    }
}

/// Two ends, of which the first knows where the second is.
fn pair(first: &str, second: &str) -> (End, End) {
    let first = format!("Endpoint=192.0.2.2:51820\nAllowedIPs=10.0.0.2,fd00::2\n{first}");
    let second = format!("AllowedIPs=10.0.0.1/32,fd00::1/128\n{second}");
    (End::new(1, &[(2, &first)]), End::new(2, &[(1, &second)]))
}

#[test]
fn what_waited_for_the_handshake_arrives_in_order_and_the_peer_can_answer() {
    let (mut one, mut two) = pair("", "");
    for index in 0..10 {
        one.send("10.0.0.1:1", "10.0.0.2:2", &[index; 7], START);
    }
    assert!(one.tunnel.has_waiting());
    let arrived = carry(&mut [&mut one, &mut two], START);
    let expected: Vec<_> =
        (0..10).map(|index| (1, udp::build(at("10.0.0.1:1"), at("10.0.0.2:2"), &[index; 7], true))).collect();
    assert!(arrived == expected && !one.tunnel.has_waiting());
    for (from, to) in [("10.0.0.2:2", "10.0.0.1:1"), ("[fd00::2]:2", "[fd00::1]:1")] {
        two.send(from, to, &[1; 1300], START);
        let packet = udp::build(at(from), at(to), &[1; 1300], true);
        assert_eq!(carry(&mut [&mut one, &mut two], START), [(0, packet)]);
    }
    assert_eq!([one.tunnel.counters, two.tunnel.counters], [Counters::default(); 2]);
}

#[test]
fn packets_are_padded_up_to_the_mtu() {
    let (mut one, mut two) = pair("", "");
    one.send("10.0.0.1:1", "10.0.0.2:2", b"", START);
    carry(&mut [&mut one, &mut two], START);
    for (length, padded) in
        [(0, 32), (4, 32), (5, 48), (1372, 1408), (1380, 1408), (1381, 1420), (1392, 1420), (1393, 1421)]
    {
        one.send("10.0.0.1:1", "10.0.0.2:2", &vec![0; length], START);
        let lengths: Vec<_> =
            one.tunnel.out.datagrams.drain(..).map(|(_, datagram)| datagram.len()).collect();
        assert_eq!(lengths, [padded + 32], "{length}");
    }
}

#[test]
fn a_preshared_key_must_be_the_same() {
    let same = format!("PresharedKey={}", key(9));
    let other = format!("PresharedKey={}", key(8));
    for (first, second, works) in
        [(&same, &same, true), (&same, &other, false), (&same, &String::new(), false)]
    {
        let (mut one, mut two) = pair(first, second);
        one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
        assert_eq!(carry(&mut [&mut one, &mut two], START).len(), usize::from(works));
        assert_eq!(one.tunnel.counters.unauthentic, u64::from(!works));
    }
}

#[test]
fn a_peer_that_does_not_answer_is_told_of_and_its_packets_come_back() {
    // The peer has another key than the file says.
    let mut one = End::new(1, &[(3, "Endpoint=192.0.2.2:51820\nAllowedIPs=10.0.0.2,fd00::2")]);
    let mut two = End::new(2, &[(1, "AllowedIPs=10.0.0.1")]);
    one.send("10.0.0.1:1", "10.0.0.2:2", b"first", START);
    assert_eq!(carry(&mut [&mut one, &mut two], START), []);
    assert_eq!(two.tunnel.counters.foreign, 1, "its mac1 is for somebody else");
    one.tunnel.advance(START + Duration::from_secs(19));
    assert!(one.tunnel.out.refused.is_empty() && one.tunnel.has_waiting());
    let late = START + Duration::from_secs(20);
    one.tunnel.advance(late);
    let first = udp::build(at("10.0.0.1:1"), at("10.0.0.2:2"), b"first", true);
    assert!(one.tunnel.out.refused == [first] && !one.tunnel.has_waiting());
    one.send("10.0.0.1:1", "10.0.0.2:2", b"second", late);
    assert_eq!(one.tunnel.out.refused.len(), 2, "at once");
    assert!(one.tunnel.deadline().is_some_and(|deadline| deadline > late), "tries go on");
}

#[test]
fn a_late_answer_still_counts() {
    let (mut one, mut two) = pair("", "");
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    let late = START + Duration::from_secs(30);
    one.tunnel.advance(late);
    assert_eq!(one.tunnel.out.refused.len(), 1);
    assert_eq!(carry(&mut [&mut one, &mut two], late), []);
    one.send("10.0.0.1:1", "10.0.0.2:2", b"y", late);
    assert_eq!(carry(&mut [&mut one, &mut two], late).len(), 1);
}

#[test]
fn what_nobody_takes_comes_back() {
    let mut one = End::new(
        1,
        &[(2, "Endpoint=192.0.2.2:51820\nAllowedIPs=10.0.0.0/24"), (3, "AllowedIPs=10.0.1.0/24")],
    );
    for (to, unroutable) in [("10.0.2.1:1", 1), ("10.0.1.1:1", 1)] {
        one.send("10.0.0.1:1", to, b"x", START);
        assert_eq!(one.tunnel.counters.unroutable, unroutable);
        assert!(one.tunnel.out.refused.pop_front().is_some() && one.tunnel.out.datagrams.is_empty(), "{to}");
    }
    one.tunnel.send(vec![0x45; 19], START);
    assert_eq!(one.tunnel.counters.unroutable, 2);
}

#[test]
fn a_source_that_is_not_the_peers_is_dropped() {
    let (mut one, mut two) = pair("", "");
    one.send("10.0.0.9:1", "10.0.0.2:2", b"x", START);
    one.send("10.0.0.1:1", "10.0.0.2:2", b"y", START);
    assert_eq!(carry(&mut [&mut one, &mut two], START).len(), 1);
    assert_eq!(two.tunnel.counters, Counters { not_allowed: 1, ..Counters::default() });
}

#[test]
fn a_peer_is_where_it_was_last_heard() {
    let (mut one, mut two) = pair("", "");
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    carry(&mut [&mut one, &mut two], START);
    for place in ["198.51.100.7:1", "[2001:db8::7]:9"] {
        one.at = at(place);
        one.send("10.0.0.1:1", "10.0.0.2:2", b"moved", START);
        assert_eq!(carry(&mut [&mut one, &mut two], START).len(), 1);
        two.send("10.0.0.2:2", "10.0.0.1:1", b"found", START);
        assert_eq!(two.tunnel.out.datagrams.front().map(|(to, _)| *to), Some(at(place)));
        assert_eq!(carry(&mut [&mut one, &mut two], START).len(), 1);
    }
    // Who only repeats what was said is not believed.
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    let (_, datagram) = one.tunnel.out.datagrams.pop_front().expect("it has a session");
    assert!(two.tunnel.receive(&datagram, one.at, START).is_some());
    assert!(two.tunnel.receive(&datagram, at("203.0.113.1:1"), START).is_none());
    two.send("10.0.0.2:2", "10.0.0.1:1", b"x", START);
    assert_eq!(two.tunnel.out.datagrams.front().map(|(to, _)| *to), Some(one.at));
}

#[test]
fn a_peer_that_falls_silent_is_asked_for_a_handshake() {
    let (mut one, mut two) = pair("", "");
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    carry(&mut [&mut one, &mut two], START);
    two.send("10.0.0.2:1", "10.0.0.1:2", b"last", START);
    carry(&mut [&mut one, &mut two], START);
    one.send("10.0.0.1:1", "10.0.0.2:2", b"lost", START);
    one.tunnel.out.datagrams.clear();
    one.tunnel.advance(START + Duration::from_secs(14));
    assert!(one.tunnel.out.datagrams.is_empty());
    one.tunnel.advance(START + Duration::from_secs(15));
    let kinds: Vec<_> = one.tunnel.out.datagrams.iter().map(|(_, datagram)| datagram[0]).collect();
    assert_eq!(kinds, [1]);
    assert_eq!(carry(&mut [&mut one, &mut two], START), []);
    one.send("10.0.0.1:1", "10.0.0.2:2", b"found", START + Duration::from_secs(16));
    assert_eq!(carry(&mut [&mut one, &mut two], START + Duration::from_secs(16)).len(), 1);
}

#[test]
fn several_peers_are_told_apart() {
    let mut hub =
        End::new(3, &[(1, "AllowedIPs=10.0.0.1"), (2, "AllowedIPs=10.0.0.2\nPersistentKeepalive=25")]);
    let to_hub = "Endpoint=192.0.2.3:51820\nAllowedIPs=10.0.0.0/24";
    let (mut one, mut two) = (End::new(1, &[(3, to_hub)]), End::new(2, &[(3, to_hub)]));
    one.send("10.0.0.1:1", "10.0.0.3:1", b"one", START);
    two.send("10.0.0.2:1", "10.0.0.3:1", b"two", START);
    assert_eq!(carry(&mut [&mut one, &mut two, &mut hub], START).len(), 2);
    hub.send("10.0.0.3:1", "10.0.0.2:1", b"for two", START);
    hub.send("10.0.0.3:1", "10.0.0.1:1", b"for one", START);
    let mut arrived = carry(&mut [&mut one, &mut two, &mut hub], START);
    arrived.sort();
    let packet = |to, payload| udp::build(at("10.0.0.3:1"), at(to), payload, true);
    assert_eq!(arrived, [(0, packet("10.0.0.1:1", b"for one")), (1, packet("10.0.0.2:1", b"for two"))]);
}

#[test]
fn a_persistent_keepalive_opens_the_tunnel_before_there_is_anything_to_say() {
    let (mut one, mut two) = pair("PersistentKeepalive=25", "");
    one.tunnel.advance(START);
    carry(&mut [&mut one, &mut two], START);
    two.send("10.0.0.2:1", "10.0.0.1:1", b"to a server inside", START);
    assert_eq!(carry(&mut [&mut one, &mut two], START).len(), 1);
    assert!(one.tunnel.deadline().is_some());
}

#[test]
fn without_traffic_there_is_no_timer() {
    let (mut one, mut two) = pair("", "");
    one.tunnel.advance(START);
    assert_eq!(one.tunnel.deadline(), None);
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    carry(&mut [&mut one, &mut two], START);
    assert!(one.tunnel.deadline().is_some());
    // Answered by a handshake: by boringtun's clock no time passes in which a keepalive would be due.
    one.tunnel.advance(START + Duration::from_secs(15));
    carry(&mut [&mut one, &mut two], START + Duration::from_secs(15));
    for end in [&mut one, &mut two] {
        end.tunnel.advance(START + Duration::from_secs(300));
        assert_eq!(end.tunnel.deadline(), None);
    }
}

#[test]
fn a_flood_of_handshakes_is_asked_for_cookies() {
    let (mut one, mut two) = pair("", "");
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    let (_, initiation) = one.tunnel.out.datagrams.pop_front().expect("an initiation");
    let stranger = at("203.0.113.1:1");
    for _ in 0..HANDSHAKES {
        two.tunnel.receive(&initiation, stranger, START);
    }
    let cookies =
        two.tunnel.out.datagrams.drain(..).filter(|(to, datagram)| *to == stranger && datagram[0] == 3);
    assert!(cookies.count() > 10);
}

#[test]
fn a_counter_that_no_session_reaches_is_dropped() {
    let (mut one, mut two) = pair("", "");
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    carry(&mut [&mut one, &mut two], START);
    one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
    let (_, mut datagram) = one.tunnel.out.datagrams.pop_front().expect("it has a session");
    datagram[8..16].fill(0xff);
    assert_eq!(two.tunnel.receive(&datagram, one.at, START), None);
    assert_eq!(two.tunnel.counters.foreign, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Real messages, damaged, cut, repeated or made up, and packets of the program's that are none.
    #[test]
    fn nothing_from_outside_makes_it_panic(
        steps in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4u8,
             prop::collection::vec(any::<u8>(), 0..200)),
            1..40,
        )
    ) {
        let (mut one, mut two) = pair("PersistentKeepalive=1", "");
        one.send("10.0.0.1:1", "10.0.0.2:2", b"x", START);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for (which, place, value, what, bytes) in steps {
            for (_, datagram) in one.tunnel.out.datagrams.drain(..) {
                two.tunnel.receive(&datagram, one.at, START);
                seen.push(datagram);
            }
            for (_, datagram) in two.tunnel.out.datagrams.drain(..) {
                one.tunnel.receive(&datagram, two.at, START);
                seen.push(datagram);
            }
            let mut datagram = which.get(&seen).clone();
            match what {
                0 => { let place = place.index(datagram.len()); datagram[place] = value; }
                1 => datagram.truncate(place.index(datagram.len() + 1)),
                2 => { let kind = value % 6; datagram = bytes.clone(); if let Some(first) = datagram.first_mut() { *first = kind; } }
                _ => {}
            }
            for end in [&mut one, &mut two] {
                end.tunnel.receive(&datagram, at("203.0.113.1:1"), START);
                end.tunnel.send(bytes.clone(), START);
            }
        }
    }
}
