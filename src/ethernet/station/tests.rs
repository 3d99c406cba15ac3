use super::*;
use crate::ip::Protocol;

/// Two stations, and the frames between them.
struct Network {
    stations: [Station; 2],
    arrived: [Vec<Packet>; 2],
}

fn addressing(addresses: &[&str], routes: &[&str]) -> Addressing {
    Addressing {
        addresses: addresses.iter().map(|own| own.parse().expect("an address")).collect(),
        routes: routes.iter().map(|route| route.parse().expect("a route")).collect(),
        name_servers: Vec::new(),
    }
}

impl Network {
    fn new() -> Network {
        let one = addressing(&["192.0.2.1/24", "2001:db8::1/64"], &[]);
        let two = addressing(&["192.0.2.2/24", "2001:db8::2/64"], &["0.0.0.0/0,192.0.2.1"]);
        let stations =
            [Station::new(Mac([2, 0, 0, 0, 0, 1]), one), Station::new(Mac([2, 0, 0, 0, 0, 2]), two)];
        Network { stations, arrived: [Vec::new(), Vec::new()] }
    }

    fn send(&mut self, from: usize, to: &str, now: Instant) {
        let to: IpAddr = to.parse().expect("an address");
        let own = self.stations[from].addressing.addresses.iter();
        let source = own.map(|own| own.address).find(|own| own.is_ipv4() == to.is_ipv4()).expect("both");
        let packet = ip::build(source, to, Protocol::Udp, 8, true);
        if let Some(header) = self.stations[from].transmit(&packet[..].into(), now) {
            self.carry(1 - from, &[&header[..], &packet].concat(), now);
        }
        self.step(now);
    }

    fn carry(&mut self, to: usize, frame: &[u8], now: Instant) {
        let mut padded = frame.to_vec();
        padded.resize(frame.len().max(60), 0);
        let Network { stations, arrived } = self;
        stations[to].receive(&padded, now, &mut |packet| arrived[to].push(packet.to_vec()));
    }

    fn step(&mut self, now: Instant) {
        for _ in 0..8 {
            for from in 0..2 {
                self.stations[from].expire(now);
                while let Some(frame) = self.stations[from].frame() {
                    self.carry(1 - from, &frame, now);
                }
            }
        }
    }
}

const NOW: Instant = Instant::from_micros(1_000_000);

/// Neither asks nor answers by it, nor takes an address.
#[test]
fn without_ipv6() {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let mut given = Station::new(mac, addressing(&["192.0.2.2/24", "2001:db8::2/64"], &[])).without_v6();
    let mut automatic = Station::automatic(mac, Addressing::default(), 7, NOW).without_v6();
    let [own, other] = ["2001:db8::2", "2001:db8::9"].map(|text| text.parse().expect("an address"));
    let asked = ndp::solicitation((Mac([2, 0, 0, 0, 0, 2]), other), own, None);
    for (station, addresses) in [(&mut given, 1), (&mut automatic, 0)] {
        station.receive(&asked, NOW, &mut |packet| panic!("{packet:?} is for nobody"));
        for seconds in 0..20 {
            station.expire(NOW + Duration::from_secs(seconds));
            while let Some(bytes) = station.frame() {
                assert_ne!(frame::open(&bytes).expect("a frame").kind, frame::IPV6);
            }
        }
        assert_eq!(station.addressing().addresses.len(), addresses, "{:?}", station.addressing());
    }
}

#[test]
fn packets_find_their_way() {
    for to in ["192.0.2.1", "2001:db8::1", "203.0.113.9", "192.0.2.255", "224.0.0.1", "ff02::1"] {
        let mut network = Network::new();
        network.send(1, to, NOW);
        network.send(1, to, NOW);
        assert_eq!(network.arrived[0].len(), 2, "{to}");
        assert!(network.arrived[0].iter().all(|packet| ip::parse(packet, true).is_ok()), "{to}");
        assert!(network.arrived[1].is_empty());
    }
}

/// A super-packet without checksums waits as the packets that it is, with theirs.
#[test]
fn what_waits_is_complete() {
    let segment = core::num::NonZeroU16::new(100);
    for (to, headers) in [("192.0.2.1", 40), ("2001:db8::1", 60)] {
        for (payload, count) in [(&[7; 250][..], 3), (&[7; 50], 1)] {
            let mut network = Network::new();
            network.stations[1].verifies = false;
            let to: IpAddr = to.parse().expect("an address");
            let source = network.stations[1].addressing.addresses[usize::from(to.is_ipv6())].address;
            let mut packet = ip::build(source, to, Protocol::Tcp, 20 + payload.len(), false);
            packet.truncate(headers);
            packet[headers - 20 + 12] = 5 << 4;
            let outgoing = Outgoing { headers: &packet, payload: [payload, &[]], segment };
            assert!(network.stations[1].transmit(&outgoing, NOW).is_none());
            network.step(NOW);
            assert_eq!(network.arrived[0].len(), count);
            for packet in &network.arrived[0] {
                let header = ip::parse(packet, true).expect("a good packet");
                let sum = ip::transport_sum(source, to, Protocol::Tcp, &packet[header.payload.clone()]);
                assert_eq!(sum, u16::MAX, "{payload:?}");
            }
        }
    }
}

#[test]
fn who_was_asked_knows_who_asked() {
    let mut network = Network::new();
    network.send(1, "192.0.2.1", NOW);
    let answer = ip::build([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), Protocol::Udp, 8, true);
    assert!(network.stations[0].transmit(&answer[..].into(), NOW).is_some());
}

#[test]
fn who_has_our_address_is_told_of_once() {
    let mut network = Network::new();
    let same = network.stations[1].addressing.clone();
    network.stations[0] =
        Station::new(Mac([2, 0, 0, 0, 0, 1]), addressing(&["192.0.2.2/24", "2001:db8::2/64"], &[]));
    network.step(NOW);
    let shared: Vec<IpAddr> = same.addresses[..2].iter().map(|own| own.address).collect();
    assert_eq!(network.stations[1].duplicates.told, shared, "each once, and none that is nobody else's");
    // The first question may be lost.
    let mut alone = Station::new(Mac([2, 0, 0, 0, 0, 2]), addressing(&["192.0.2.2/24"], &[]));
    let mut asked = Vec::new();
    while let Some(due) = alone.deadline() {
        alone.expire(due);
        asked.push(core::iter::from_fn(|| alone.frame()).count());
    }
    assert_eq!(asked, [2, 2, 2], "its address, and the one of the link");
}

#[test]
fn silence_is_an_error_of_the_hosts() {
    for to in ["192.0.2.77", "2001:db8::77"] {
        let mut network = Network::new();
        for second in 0..4 {
            let now = Instant::from_micros(1_000_000 * (second + 1));
            if second == 0 {
                network.send(1, to, now);
            }
            assert!(network.stations[1].packet().is_none(), "{second}");
            network.step(now);
        }
        let packet = network.stations[1].packet().expect("an error");
        let header = ip::parse(&packet, true).expect("a good packet");
        let message = icmp::parse(&packet, &header, true).expect("a good message");
        let Some(icmp::Message::Error(report)) = message else { panic!("{message:?}") };
        assert_eq!(report.error, crate::error::Error::HostUnreachable);
        assert_eq!(report.quoted.remote.ip(), to.parse::<IpAddr>().expect("an address"));
    }
}

/// The frame of a router that has just come, or goes.
fn router(number: u8, lifetime: u16) -> Vec<u8> {
    let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number.into());
    let [high, low] = lifetime.to_be_bytes();
    let message = [134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut packet = ip::build(from.into(), Ipv6Addr::LOCALHOST.into(), Protocol::Icmp, 16, true);
    packet[40..].copy_from_slice(&message);
    packet[7] = 255;
    ip::fill_transport_checksum(&mut packet);
    [&frame::header(Mac::BROADCAST, Mac([2, 0, 0, 0, 0, number]), frame::IPV6)[..], &packet].concat()
}

#[test]
fn a_router_that_comes_and_goes_is_told_of_once_a_second() {
    let mut station = Station::automatic(Mac([2, 0, 0, 0, 0, 1]), Addressing::default(), 7, NOW);
    let mut told = 0;
    for tenth in 0..100 {
        let now = NOW + Duration::from_millis(100) * tenth;
        let lifetime = if tenth % 2 == 0 { 1800 } else { 0 };
        station.receive(&router(7, lifetime), now, &mut |_| panic!("not the engine's"));
        station.expire(now);
        told += u32::from(station.changed().is_some());
    }
    assert_eq!(told, CHANGES_AT_ONCE + 10);
    let last = (0..10).find_map(|_| {
        while station.frame().is_some() {}
        let due = station.deadline().expect("the client of DHCP asks for ever");
        station.expire(due);
        station.changed()
    });
    let routes = last.map(|addressing| addressing.routes);
    assert_eq!(routes, Some(Vec::new()), "the router has gone, and that is told, too");
}

#[test]
fn what_is_for_the_port_of_dhcp_and_spoilt_is_nobodys() {
    let mut station = Station::automatic(Mac([2, 0, 0, 0, 0, 1]), Addressing::default(), 7, NOW);
    for (port, spoilt, arrives) in
        [(68, false, false), (68, true, false), (69, false, true), (69, true, true)]
    {
        let to = SocketAddr::new([255; 4].into(), port);
        let mut packet = udp::build(SocketAddr::new([192, 0, 2, 1].into(), 67), to, b"not a lease", true);
        *packet.last_mut().expect("not empty") ^= u8::from(spoilt);
        let frame =
            [&frame::header(Mac::BROADCAST, Mac([2, 0, 0, 0, 0, 2]), frame::IPV4)[..], &packet].concat();
        let mut arrived = false;
        station.receive(&frame, NOW, &mut |_| arrived = true);
        assert_eq!(arrived, arrives, "{port} {spoilt}");
    }
}

#[test]
fn what_has_no_way_is_dropped() {
    let mut network = Network::new();
    network.send(0, "203.0.113.9", NOW);
    assert!(network.arrived[1].is_empty() && network.stations[0].neighbours.deadline().is_none());
}

#[test]
fn no_frame_makes_it_panic() {
    let mut station = Network::new().stations.into_iter().next().expect("two");
    let mut random = 1u64;
    for _ in 0..20_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut bytes = vec![0; (random >> 58) as usize + 20];
        for byte in &mut bytes {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (random >> 60) as u8;
        }
        bytes[..6].fill(0xff);
        let kind = [frame::ARP, frame::IPV4, frame::IPV6][(random >> 33) as usize % 3];
        bytes[12..14].copy_from_slice(&kind.to_be_bytes());
        if kind == frame::IPV6 {
            bytes[14] = 0x60;
        }
        station.receive(&bytes, NOW, &mut |_| {});
        while station.frame().is_some() {}
    }
}
