//! The resolver against a name server on loopback, over real sockets and with the files of this machine.

#[path = "support/dns_server.rs"]
mod dns_server;

use dns_server::{DnsServer, KernelNetwork, Over, name, question, reply};
use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::rdata::{A, Aaaa, Ptr};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use tubesock::resolver::{Failure, Family, Hints, LookupError, Machine, Resolver, ThisMachine};

/// This machine, without a search list, and quick to give up.
struct Impatient;

impl Machine for Impatient {
    fn text(&self, path: &str) -> Option<String> {
        if path == "/etc/resolv.conf" { None } else { ThisMachine.text(path) }
    }
    fn variable(&self, name: &str) -> Option<String> {
        (name == "RES_OPTIONS").then(|| "timeout:1 attempts:1".to_owned())
    }
    fn random(&self) -> u16 {
        ThisMachine.random()
    }
}

fn network_to(server: SocketAddr) -> KernelNetwork {
    KernelNetwork { server, addresses: Vec::new() }
}

fn answer(query: &[u8], over: Over) -> Option<Vec<u8>> {
    let (owner, kind) = question(query);
    let label = owner.split('.').next()?;
    if label == "silent" {
        return None;
    }
    if label == "long" && over == Over::Udp {
        let mut cut = reply(query, Rcode::NOERROR, |_| {});
        cut[2] |= 0x02; // TC
        return Some(cut);
    }
    Some(reply(query, Rcode::NOERROR, |to| match (label, kind) {
        ("long", Rtype::A) => {
            for last in 0..=255 {
                to.push((name(&owner), 60, A::from_octets(192, 0, 2, last))).expect("a reply has room");
            }
        }
        ("long", _) => {}
        (_, Rtype::A) => to.push((name(&owner), 60, A::from_octets(192, 0, 2, 1))).expect("a reply has room"),
        (_, Rtype::AAAA) => {
            let six = "2001:db8::1".parse().expect("an address");
            to.push((name(&owner), 60, Aaaa::new(six))).expect("a reply has room");
        }
        (_, Rtype::PTR) => {
            to.push((name(&owner), 60, Ptr::new(name("host.test")))).expect("a reply has room");
        }
        _ => {}
    }))
}

#[test]
fn both_families_from_one_socket() {
    let server = DnsServer::start(answer);
    let network = network_to(server.address());
    let resolver = Resolver { machine: &Impatient, network: &network };
    let host = resolver.host_by_name("host.test", Family::Unspecified).expect("an answer");
    assert_eq!(
        host.addresses,
        ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().expect("an address"))
    );
    let host = resolver.host_by_address(Ipv4Addr::new(192, 0, 2, 1).into()).expect("an answer");
    assert_eq!(host.name, "host.test");
}

#[test]
fn a_truncated_answer_comes_over_tcp() {
    let server = DnsServer::start(answer);
    let network = network_to(server.address());
    let resolver = Resolver { machine: &Impatient, network: &network };
    let host = resolver.host_by_name("long.test", Family::Inet).expect("an answer");
    assert_eq!(host.addresses.len(), 256);
}

#[test]
fn silence_and_a_closed_port_may_be_tried_again() {
    let server = DnsServer::start(answer);
    let network = network_to(server.address());
    let resolver = Resolver { machine: &Impatient, network: &network };
    assert_eq!(resolver.host_by_name("silent.test", Family::Inet), Err(Failure::TimedOut));

    // A port that was just given back.
    let unused =
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let network = network_to(unused);
    let resolver = Resolver { machine: &Impatient, network: &network };
    let hints = Hints { flags: 0, ..Hints::default() };
    assert_eq!(resolver.address_list(Some("host.test"), None, hints), Err(LookupError::Again));
}

#[test]
fn many_threads_ask_at_once() {
    let asked: &'static AtomicUsize = Box::leak(Box::default());
    let server = DnsServer::start(move |query, over| {
        asked.fetch_add(1, Ordering::Relaxed);
        answer(query, over)
    });
    let network = network_to(server.address());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let network = &network;
            scope.spawn(move || {
                let resolver = Resolver { machine: &Impatient, network };
                for round in 0..25 {
                    let host = format!("host{thread}-{round}.test");
                    assert_eq!(resolver.host_by_name(&host, Family::Inet).map(|found| found.name), Ok(host));
                }
            });
        }
    });
    assert!(asked.load(Ordering::Relaxed) >= 200);
}
