//! The link over real sockets, two of ours on the loopback; and what goes into the kernel together.

use super::*;
use crate::udp;
use std::net::IpAddr;

const PRIVATE: [&str; 2] =
    ["yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="];

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn public(private: &str) -> String {
    use base64::Engine as _;
    let key = key::Key::parse(private).expect("a key").public();
    base64::engine::general_purpose::STANDARD.encode(key.bytes())
}

/// A link with the private key of this number, to the other one at `endpoint`.
fn link(number: usize, endpoint: Option<SocketAddr>) -> Wireguard {
    let endpoint = endpoint.map(|endpoint| format!("Endpoint={endpoint}")).unwrap_or_default();
    let text = format!(
        "[Interface]\nPrivateKey={}\n[Peer]\nPublicKey={}\nAllowedIPs=10.0.0.0/8,fd00::/8\n{endpoint}",
        PRIVATE[number],
        public(PRIVATE[1 - number])
    );
    let configuration = Configuration::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    Wireguard::open(Path::new("test.conf"), &configuration).unwrap_or_else(|error| panic!("{error}"))
}

/// Moves packets between the two until the second has got `count`.
fn carry(one: &mut Wireguard, two: &mut Wireguard, count: usize) -> Vec<Vec<u8>> {
    let mut arrived = Vec::new();
    while arrived.len() < count {
        let now = sys::now();
        one.receive(now, &mut |_| {});
        two.receive(now, &mut |packet| arrived.push(packet.to_vec()));
    }
    arrived
}

#[test]
fn super_packets_cross_the_loopback_in_pieces() {
    for host in ["127.0.0.1", "::1"] {
        let mut two = link(1, None);
        let port = two.socket.local().expect("it is bound").port();
        let host: IpAddr = host.parse().expect("an address");
        let mut one = link(0, Some(SocketAddr::new(host, port)));
        let payload: Vec<u8> = (0..60_000u32).map(|index| index as u8).collect();
        let mut template = udp::build(at("10.0.0.1:1"), at("10.0.0.2:2"), &[0; 12], true);
        // A header of TCP, without options.
        template[9] = 6;
        template[32] = 5 << 4;
        let packet = Outgoing {
            headers: &template,
            payload: [&payload, &[]],
            segment: core::num::NonZeroU16::new(1380),
        };
        for _ in 0..3 {
            one.transmit(packet, sys::now());
            let arrived = carry(&mut one, &mut two, payload.len().div_ceil(1380));
            let together: Vec<u8> = arrived.iter().flat_map(|packet| packet[40..].to_vec()).collect();
            assert!(together == payload, "{host}");
        }
        assert_eq!([one.tunnel.counters, two.tunnel.counters], [tunnel::Counters::default(); 2]);
    }
}

#[test]
fn who_cannot_be_reached_is_an_error_for_the_program() {
    let mut one = link(0, None);
    one.transmit(udp::build(at("10.0.0.1:1"), at("10.0.0.2:2"), b"x", true).as_slice().into(), sys::now());
    let mut refusals = 0;
    while one.receive(sys::now(), &mut |packet| {
        refusals += usize::from(packet[9] == 1 && packet[20..22] == [3, 1])
    }) {}
    assert_eq!(refusals, 1);
}

#[test]
fn what_goes_together() {
    let (here, there) = (at("127.0.0.1:1"), at("127.0.0.1:2"));
    for (datagrams, expected) in [
        (vec![], 0),
        (vec![(here, 10)], 1),
        (vec![(here, 10), (here, 10), (here, 4), (here, 4)], 3),
        (vec![(here, 10), (here, 11)], 1),
        (vec![(here, 10), (there, 10)], 1),
        (vec![(here, 1452); 64], 44),
        (vec![(here, 100); 70], 64),
        (vec![(here, 65_507); 2], 1),
    ] {
        let datagrams: Vec<_> = datagrams.into_iter().map(|(to, length)| (to, vec![0; length])).collect();
        assert_eq!(together(&datagrams), expected);
    }
}

#[test]
fn a_file_that_cannot_be_used() {
    let path = std::env::temp_dir().join(format!("tubesock-wireguard-{}.conf", sys::process_id()));
    let error = read(&path).err().expect("there is none");
    assert!(error.starts_with(&format!("wireguard:{}: cannot read the file: ", path.display())), "{error}");
    std::fs::write(&path, b"# \xff\n[Interface]\nPrivatKey=x\n").expect("a writable temporary directory");
    let error = read(&path).err();
    std::fs::remove_file(&path).expect("just written");
    let expected = format!("{}:3: PrivatKey: [Interface] has no such key in wg-quick(8)", path.display());
    assert_eq!(error, Some(expected));
}
