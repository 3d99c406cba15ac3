//! Look-ups over a scripted name server. The expected outcomes and the names asked for are those of glibc 2.36 with the
//! same files and a server that answered the same (recorded in a network namespace), except where a test says so.

use super::message::RecordType;
use super::testing::{FakeMachine, FakeNetwork, name, question, reply};
use super::*;
use domain::base::iana::Rcode;
use domain::base::message_builder::AnswerBuilder;
use domain::rdata::{A, Aaaa, Cname, Ptr};
use libc::{
    AF_INET, AF_INET6, AF_UNSPEC, AI_ALL, AI_CANONNAME, AI_V4MAPPED, NI_NAMEREQD, NI_NOFQDN, SOCK_STREAM,
    c_int,
};

const HOSTS: &str = "127.0.0.1 localhost\n::1 ip6-localhost\nfd99::1 h6 h6alias\n10.9.9.9 dup.example dup # c\n\
    10.9.9.10 dup\nfd99::9 other dup\n10.1.1.1 dup2 DUP2\nbad dup\n";

fn machine() -> FakeMachine {
    FakeMachine::default()
        .file("/etc/hosts", HOSTS)
        .file("/etc/resolv.conf", "nameserver 192.0.2.53\nsearch t sub.t\noptions timeout:1 attempts:2\n")
        .file("/proc/sys/kernel/hostname", "vm.example.t\n")
}

fn add_a(answer: &mut AnswerBuilder<Vec<u8>>, owner: &str, last: u8) {
    answer.push((name(owner), 60, A::from_octets(203, 0, 113, last))).unwrap();
}

fn add_aaaa(answer: &mut AnswerBuilder<Vec<u8>>, owner: &str) {
    answer.push((name(owner), 60, Aaaa::new("2001:db8::7".parse().unwrap()))).unwrap();
}

fn add_cname(answer: &mut AnswerBuilder<Vec<u8>>, owner: &str, target: &str) {
    answer.push((name(owner), 60, Cname::new(name(target)))).unwrap();
}

/// The server: the first label says how it answers.
fn server(query: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (owner, kind) = question(query);
    let four = kind == RecordType::A;
    let six = kind == RecordType::AAAA;
    let answer = |add: &dyn Fn(&mut AnswerBuilder<Vec<u8>>)| Ok(vec![reply(query, Rcode::NOERROR, add)]);
    let refuse = |rcode| Ok(vec![reply(query, rcode, |_| {})]);
    match owner.split('.').next().unwrap() {
        "servfail" => refuse(Rcode::SERVFAIL),
        "refused" => refuse(Rcode::REFUSED),
        "formerr" => refuse(Rcode::FORMERR),
        "nodata" => answer(&|_| {}),
        "drop" => Ok(Vec::new()),
        "unreachable" => Err(Error::HostUnreachable),
        "nomemory" => Err(Error::OutOfMemory),
        "sfnd" if four => refuse(Rcode::SERVFAIL),
        "sfnd" => answer(&|_| {}),
        "v4sf" if six => refuse(Rcode::SERVFAIL),
        "v4drop" if six => Ok(Vec::new()),
        "v4" | "v4sf" | "v4drop" if four => answer(&|to| add_a(to, &owner, 7)),
        "v4" => answer(&|_| {}),
        "both" if four => answer(&|to| {
            add_a(to, &owner, 7);
            add_a(to, &owner, 8);
        }),
        "both" => answer(&|to| add_aaaa(to, &owner)),
        "cname" => answer(&|to| {
            add_cname(to, &owner, "c2.t");
            add_cname(to, "c2.t", "Final.t");
            four.then(|| add_a(to, "final.t", 9));
        }),
        "dangling" => answer(&|to| add_cname(to, &owner, "c2.t")),
        "loop" => answer(&|to| {
            add_cname(to, &owner, "l2.t");
            add_cname(to, "l2.t", &owner);
        }),
        "wrongowner" => answer(&|to| add_a(to, "other.t", 66)),
        "badcname" => answer(&|to| {
            add_cname(to, &owner, "a;b.t");
            add_a(to, "a;b.t", 9);
        }),
        "7" => answer(&|to| {
            to.push((name(&owner), 60, Ptr::new(name("host7.example.t")))).unwrap();
            to.push((name(&owner), 60, Ptr::new(name("alias7.t")))).unwrap();
        }),
        "8" => refuse(Rcode::SERVFAIL),
        "10" => answer(&|_| {}),
        "11" => answer(&|to| {
            add_cname(to, &owner, "x.t");
            to.push((name("x.t"), 60, Ptr::new(name("viacname.t")))).unwrap();
        }),
        "12" => answer(&|to| to.push((name(&owner), 60, Ptr::new(name("$(reboot)")))).unwrap()),
        _ => refuse(Rcode::NXDOMAIN),
    }
}

/// The addresses of a look-up, joined, or its error; and what was asked, joined.
fn found(host: &str, family: c_int, flags: c_int) -> (String, String) {
    let (machine, mut network) = (machine(), FakeNetwork::new(server));
    // As in that namespace: the order is by precedence alone.
    network.addresses.clear();
    let hints = Hints { flags, family, socket_type: SOCK_STREAM, protocol: 0 };
    let list = network.resolver(&machine).address_list(Some(host), None, hints);
    let text = match list {
        Err(error) => format!("{error:?}"),
        Ok(list) => {
            let addresses = list.entries.iter().map(|entry| entry.address.ip().to_string());
            addresses.chain(list.canonical_name).collect::<Vec<_>>().join(" ")
        }
    };
    (text, network.take_asked().join(", "))
}

#[track_caller]
fn assert_found(host: &str, family: c_int, flags: c_int, expected: &str, asked: &str) {
    assert_eq!(
        found(host, family, flags),
        (expected.to_owned(), asked.to_owned()),
        "{host} {family} {flags}"
    );
}

#[test]
fn addresses_of_both_families_are_asked_for_at_once() {
    assert_found("v4.t", AF_UNSPEC, 0, "203.0.113.7", "v4.t A, v4.t AAAA");
    assert_found("v4.t", AF_INET, 0, "203.0.113.7", "v4.t A");
    assert_found("both.t", AF_UNSPEC, 0, "2001:db8::7 203.0.113.7 203.0.113.8", "both.t A, both.t AAAA");
    assert_found("both.t", AF_INET6, 0, "2001:db8::7", "both.t AAAA");
}

#[test]
fn aliases_lead_to_the_address_and_name_it() {
    assert_found("cname.t", AF_UNSPEC, AI_CANONNAME, "203.0.113.9 Final.t", "cname.t A, cname.t AAAA");
    assert_found("v4.t.", AF_INET, AI_CANONNAME, "203.0.113.7 v4.t", "v4.t A");
    assert_found("dangling.t", AF_INET, 0, "NoData", "dangling.t A");
    assert_found("dangling.t", AF_UNSPEC, 0, "NoName", "dangling.t A, dangling.t AAAA");
    assert_found("loop.t", AF_UNSPEC, 0, "NoName", "loop.t A, loop.t AAAA");
    assert_found("wrongowner.t", AF_INET6, 0, "NoName", "wrongowner.t AAAA");
    assert_found("badcname.t", AF_INET, AI_CANONNAME, "203.0.113.9 badcname.t", "badcname.t A");
}

#[test]
fn what_the_server_refuses_becomes_the_error_that_glibc_gives() {
    assert_found("nx.t", AF_INET, 0, "NoName", "nx.t A, nx.t.t A, nx.t.sub.t A");
    assert_found("nodata.t", AF_INET6, 0, "NoData", "nodata.t AAAA, nodata.t.t AAAA, nodata.t.sub.t AAAA");
    assert_found("formerr.t", AF_INET, 0, "NoName", "formerr.t A, formerr.t.t A");
    assert_found(
        "servfail.t",
        AF_INET,
        0,
        "Again",
        "servfail.t A, servfail.t A, servfail.t.t A, servfail.t.t A, servfail.t.sub.t A, servfail.t.sub.t A",
    );
    assert_found("refused.t", AF_INET, 0, "Again", "refused.t A, refused.t A, refused.t.t A, refused.t.t A");
    assert_found("drop.t", AF_INET, 0, "Again", "drop.t A, drop.t A, drop.t.t A, drop.t.t A");
    assert_eq!(found("unreachable.t.", AF_INET, 0).0, "Again");
    assert_eq!(found("sfnd.t", AF_UNSPEC, 0).0, "NoData");
    assert_eq!(found("v4nx.t", AF_INET6, 0).0, "NoName");
}

#[test]
fn an_answer_for_one_family_is_enough() {
    assert_found("v4sf.t", AF_UNSPEC, 0, "203.0.113.7", "v4sf.t A, v4sf.t AAAA, v4sf.t AAAA");
    assert_found("v4drop.t", AF_UNSPEC, 0, "203.0.113.7", "v4drop.t A, v4drop.t AAAA, v4drop.t AAAA");
}

#[test]
fn an_error_of_the_stack_ends_the_search() {
    assert_found("nomemory.t", AF_INET, 0, "System(OutOfMemory)", "nomemory.t A");
}

#[test]
fn the_search_list_comes_first_for_a_name_with_few_dots() {
    assert_found("v4", AF_INET, 0, "203.0.113.7", "v4.t A");
    assert_found("v4", AF_INET6, 0, "NoData", "v4.t AAAA, v4.sub.t AAAA, v4 AAAA");
    assert_found("h6a", AF_INET, 0, "NoName", "h6a.t A, h6a.sub.t A, h6a A");
}

#[test]
fn names_that_no_host_has_are_not_asked_for() {
    for host in ["a..b", "foo bar.t", "-x.t", "1.2.3.4 ", "", "$(reboot).t", "é.t"] {
        assert_found(host, AF_UNSPEC, 0, "NoName", "");
    }
    assert_found(&"a".repeat(64), AF_UNSPEC, 0, "NoName", "");
    assert_found(&"a.".repeat(200), AF_UNSPEC, 0, "NoName", "");
}

#[test]
fn the_hosts_file_is_asked_first_and_starts_nothing() {
    assert_found("ip6-localhost", AF_UNSPEC, 0, "::1", "");
    assert_found("ip6-localhost", AF_INET, 0, "127.0.0.1", "");
    assert_found("LOCALHOST", AF_INET, AI_CANONNAME, "127.0.0.1 localhost", "");
    assert_found("Dup2", AF_UNSPEC, 0, "10.1.1.1", "");
    assert_found("dup", AF_INET, AI_CANONNAME, "10.9.9.9 10.9.9.10 dup.example", "");
    assert_found("dup", AF_INET6, AI_CANONNAME, "fd99::9 other", "");
    assert_found("dup", AF_INET6, AI_V4MAPPED | AI_ALL, "fd99::9 ::ffff:10.9.9.9 ::ffff:10.9.9.10", "");
    assert_found("localhost", AF_INET6, AI_V4MAPPED, "::ffff:127.0.0.1", "");
    assert_found("h6", AF_INET, 0, "NoName", "h6.t A, h6.sub.t A, h6 A");
}

/// Here glibc asks the server instead.
#[test]
fn localhost_is_never_asked_for() {
    assert_found("localhost", AF_INET6, 0, "::1", "");
    assert_found("app.localhost", AF_UNSPEC, AI_CANONNAME, "::1 127.0.0.1 app.localhost", "");
    assert_found("Localhost.", AF_INET, 0, "127.0.0.1", "");
}

#[test]
fn mapped_addresses_stand_in_or_are_added() {
    assert_eq!(found("v4.t", AF_INET6, AI_V4MAPPED).0, "::ffff:203.0.113.7");
    assert_found("both.t", AF_INET6, AI_V4MAPPED, "2001:db8::7", "both.t AAAA");
    assert_eq!(
        found("both.t", AF_INET6, AI_V4MAPPED | AI_ALL).0,
        "2001:db8::7 ::ffff:203.0.113.7 ::ffff:203.0.113.8"
    );
    assert_eq!(found("v4.t", AF_INET6, AI_ALL).0, "NoData");
}

#[test]
fn a_stranger_s_answer_is_passed_over() {
    let (machine, network) = (
        machine(),
        FakeNetwork::new(|query| {
            let good = reply(query, Rcode::NOERROR, |to| add_a(to, "v4.t", 7));
            let mut other_id = reply(query, Rcode::NOERROR, |to| add_a(to, "v4.t", 66));
            other_id[0] ^= 1;
            let mut no_response = reply(query, Rcode::NOERROR, |to| add_a(to, "v4.t", 66));
            no_response[2] &= 0x7f;
            let mut other_question = query.to_vec();
            other_question[13] ^= 1;
            let other_question = reply(&other_question, Rcode::NXDOMAIN, |_| {});
            Ok(vec![other_id, no_response, other_question, vec![], query[..11].to_vec(), good])
        }),
    );
    let host = network.resolver(&machine).host_by_name("v4.t", Family::Inet).unwrap();
    assert_eq!(host.addresses, ["203.0.113.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(network.take_asked().len(), 1);
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let truncated = |query: &[u8]| {
        let mut cut = reply(query, Rcode::NOERROR, |_| {});
        cut[2] |= 0x02;
        Ok(vec![cut])
    };
    let (machine, mut network) = (machine(), FakeNetwork::new(truncated));
    network.stream_answer = Box::new(|query| {
        let many = |to: &mut AnswerBuilder<Vec<u8>>| (0..=255).for_each(|last| add_a(to, "many.t", last));
        Ok(vec![reply(query, Rcode::NOERROR, many)])
    });
    let host = network.resolver(&machine).host_by_name("many.t", Family::Inet).unwrap();
    assert_eq!(host.addresses.len(), 256);
    assert_eq!(network.take_asked(), ["many.t A", "many.t A tcp"]);

    network.stream_answer = Box::new(|_| Err(Error::ConnectionRefused));
    let failure = network.resolver(&machine).host_by_name("many.t.", Family::Inet).unwrap_err();
    assert_eq!(failure, Failure::TimedOut);
    assert_eq!(network.take_asked(), ["many.t A", "many.t A tcp", "many.t A", "many.t A tcp"]);
}

#[test]
fn use_vc_asks_over_tcp_at_once() {
    let machine = FakeMachine::default().file("/etc/resolv.conf", "options use-vc\n");
    let mut network = FakeNetwork::silent();
    network.stream_answer = Box::new(server);
    let host = network.resolver(&machine).host_by_name("v4.t", Family::Inet).unwrap();
    assert_eq!((host.addresses.len(), network.take_asked()), (1, vec!["v4.t A tcp".to_owned()]));
}

#[test]
fn without_a_server_the_lookup_may_be_tried_again() {
    let (machine, mut network) = (machine(), FakeNetwork::silent());
    network.servers.clear();
    assert_eq!(network.resolver(&machine).host_by_name("v4.t", Family::Inet).unwrap_err(), Failure::TimedOut);
}

#[test]
fn gethostbyname_gives_the_aliases_on_the_way() {
    let (machine, network) = (machine(), FakeNetwork::new(server));
    let resolver = network.resolver(&machine);
    let host = resolver.host_by_name("cname.t", Family::Inet).unwrap();
    assert_eq!(
        (host.name.as_str(), host.aliases),
        ("Final.t", vec!["cname.t".to_owned(), "c2.t".to_owned()])
    );
    assert_eq!(resolver.host_by_name("cname.t", Family::Inet6).unwrap_err(), Failure::Unrelated);
    network.take_asked();
    let host = resolver.host_by_name("dup", Family::Inet).unwrap();
    assert_eq!((host.name.as_str(), host.aliases), ("dup.example", vec!["dup".to_owned(), "dup".to_owned()]));
    for odd in ["1.2.3.4.5", "::1", "a:b"] {
        assert_eq!(resolver.host_by_name(odd, Family::Inet).unwrap_err(), Failure::HostNotFound);
    }
    assert_eq!(resolver.host_by_name("", Family::Inet).unwrap_err(), Failure::NoRecovery);
    assert_eq!(network.take_asked(), [""; 0]);
}

#[test]
fn an_address_is_named_by_the_hosts_file_or_by_its_pointers() {
    let (machine, network) = (machine(), FakeNetwork::new(server));
    let named = |address: &str, flags: c_int| {
        let address = SocketAddr::new(address.parse().unwrap(), 80);
        let answer = network.resolver(&machine).name_and_service(address, true, false, flags);
        answer.map_or_else(|error| format!("{error:?}"), |answer| answer.host.unwrap())
    };
    for (address, flags, expected) in [
        ("203.0.113.7", 0, "host7.example.t"),
        ("203.0.113.7", NI_NOFQDN, "host7"),
        ("203.0.113.8", 0, "Again"),
        ("203.0.113.9", 0, "203.0.113.9"),
        ("203.0.113.9", NI_NAMEREQD, "NoName"),
        ("203.0.113.10", NI_NAMEREQD, "NoName"),
        ("203.0.113.11", NI_NAMEREQD, "viacname.t"),
        ("203.0.113.12", NI_NAMEREQD, "NoName"),
        ("10.9.9.9", 0, "dup.example"),
        ("127.0.0.1", 0, "localhost"),
        ("::1", 0, "ip6-localhost"),
        ("::ffff:203.0.113.7", 0, "host7.example.t"),
        ("::ffff:10.9.9.9", 0, "::ffff:10.9.9.9"),
        ("::", 0, "::"),
        ("2001:db8::9", 0, "2001:db8::9"),
    ] {
        assert_eq!(named(address, flags), expected, "{address} {flags}");
    }
    let asked = network.take_asked();
    assert!(asked.contains(&"7.113.0.203.in-addr.arpa PTR".to_owned()), "{asked:?}");
}

#[test]
fn addrconfig_leaves_out_the_family_that_the_stack_has_no_address_of() {
    let (machine, mut network) = (machine(), FakeNetwork::new(server));
    network.addresses.truncate(1);
    let list = network.resolver(&machine).address_list(Some("both.t"), None, Hints::default()).unwrap();
    assert!(list.entries.iter().all(|entry| entry.address.is_ipv4()));
    assert_eq!(network.take_asked(), ["both.t A"]);
    let hints = Hints { family: AF_INET6, ..Hints::default() };
    let refused = network.resolver(&machine).address_list(Some("::1"), None, hints);
    assert_eq!(refused.unwrap_err(), LookupError::NoName);
}

proptest::proptest! {
    /// Whatever a server sends: an outcome, and no panic. The octets come bare, behind a header that is right, and as
    /// a good answer with some of its octets changed.
    #[test]
    fn no_answer_makes_us_panic(
        octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        changes in proptest::collection::vec((0usize..200, proptest::prelude::any::<u8>()), 0..8),
        host in proptest::sample::select(vec!["cname.t", "both.t", "7.t"]),
    ) {
        let machine = machine();
        let network = FakeNetwork::new(move |query| {
            let mut behind_header = reply(query, Rcode::NOERROR, |_| {});
            behind_header[7] = 9;
            behind_header.extend(&octets);
            let mut changed = server(query)?.remove(0);
            for (at, octet) in &changes {
                if let Some(place) = changed.get_mut(*at) {
                    *place = *octet;
                }
            }
            Ok(if changes.is_empty() { vec![octets.clone(), behind_header] } else { vec![changed] })
        });
        let resolver = network.resolver(&machine);
        let hints = Hints { flags: AI_CANONNAME, ..Hints::default() };
        let _ = resolver.address_list(Some(host), None, hints);
        let _ = resolver.host_by_address("203.0.113.7".parse().unwrap());
    }
}
