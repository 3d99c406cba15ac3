//! getaddrinfo's answers, ours beside libc's: the same names, the same files, the same name server. It takes a network
//! and a mount namespace of its own, because libc insists on /etc/hosts, /etc/resolv.conf and port 53.

#[path = "support/dns_server.rs"]
mod dns_server;

use dns_server::{DnsServer, KernelNetwork, Over, name, question, reply};
use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::base::message_builder::AnswerBuilder;
use domain::rdata::{A, Aaaa, Cname};
use std::ffi::{CStr, CString, c_char, c_int};
use std::net::{Ipv6Addr, SocketAddr};
use std::process::Command;
use std::ptr;
use tubesock::resolver::{Hints, LookupError, Resolver, SourceAddress, ThisMachine};

/// Addresses of every kind that the rules tell apart.
const KINDS: [&str; 25] = [
    "192.0.2.1",
    "192.0.2.77",
    "10.0.2.2",
    "10.0.2.14",
    "10.9.9.9",
    "127.0.0.1",
    "127.0.0.2",
    "169.254.1.1",
    "8.8.8.8",
    "224.0.0.1",
    "::1",
    "2001:db8::1",
    "2001:db8:ffff::77",
    "2001:db8:ffff:1::1",
    "2001::1",
    "2001:0:1::2",
    "2002:c000:201::1",
    "fd00::2",
    "fd00:1::1",
    "fdff::9",
    "fec0::2",
    "3ffe::1",
    "2a00:1450::1",
    "64:ff9b::1",
    "::192.0.2.9",
];
const SETS: u64 = 40;
const HOSTS: &str = "127.0.0.1 localhost\n::1 ip6-localhost\nfd99::1 h6 h6alias\n10.9.9.9 dup.example dup # c\n\
    10.9.9.10 dup\nfd99::9 other dup\n10.1.1.1 dup2 DUP2\nbad dup\n";
/// What the name server makes of the first label is in `answer`. No name here is silent: libc would wait.
const NAMES: [&str; 35] = [
    "nx.t",
    "nx.t.",
    "nx",
    "nodata.t",
    "nodata",
    "servfail.t",
    "lame.t",
    "refused.t",
    "formerr.t",
    "v4.t",
    "V4.T",
    "v4.t.",
    "v4",
    "v6.t",
    "v6",
    "both.t",
    "both",
    "cname.t",
    "cname",
    "dangling.t",
    "loop.t",
    "wrongowner.t",
    "v4servfail.t",
    "v4nx.t",
    "long.t",
    "h6",
    "h6alias",
    "dup",
    "DUP2",
    "ip6-localhost",
    "other",
    ".",
    "1.2.3.4.",
    "a..b",
    "x_y.t",
];

/// The stacks that the kernel plays: IPv4 alone, and with each kind of IPv6 address.
const OWN: [&str; 5] = [
    "192.0.2.2/24",
    "10.0.2.15/24 fd00::15/64",
    "10.0.2.15/24 2001:db8:ffff::15/64",
    "10.0.2.15/24 fec0::15/64",
    "10.0.2.15/24 2001:db8:ffff::15/64 fd00::15/64",
];

#[test]
fn getaddrinfo_answers_as_libc_does() {
    let program = std::env::current_exe().expect("a test has a program");
    for own in OWN {
        let mut namespace = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            namespace.arg("--map-root-user");
        }
        let output = namespace
            .args(["--net", "--mount", "--"])
            .arg(&program)
            .args(["--exact", "inside_a_namespace", "--ignored", "--nocapture"])
            .env("OWN_ADDRESSES", own)
            .output()
            .expect("unshare(1) of util-linux is there");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "with {own}:\n{}", String::from_utf8_lossy(&said));
    }
}

#[test]
#[ignore = "run by the test above, in a namespace"]
fn inside_a_namespace() {
    let own = std::env::var("OWN_ADDRESSES").expect("run by the other test");
    set_up(&own);
    let _server = DnsServer::start_at_port_53(answer);
    let addresses = own.split(' ').map(source_address).collect();
    let network = KernelNetwork { server: SocketAddr::from(([127, 0, 0, 1], 53)), addresses };
    let resolver = Resolver { machine: &ThisMachine, network: &network };
    let sets: Vec<String> = (0..SETS).map(|number| format!("set{number}")).collect();
    let names = NAMES.iter().copied().chain(sets.iter().map(String::as_str));
    let mut differences = Vec::new();
    for host in names {
        for family in [libc::AF_UNSPEC, libc::AF_INET, libc::AF_INET6] {
            for flags in [0, libc::AI_CANONNAME, libc::AI_V4MAPPED, libc::AI_V4MAPPED | libc::AI_ALL] {
                let (expected, given) = (by_libc(host, family, flags), by_us(&resolver, host, family, flags));
                if expected != given {
                    differences.push(format!("{host} {family} {flags:#x}: libc {expected}, we {given}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

fn source_address(text: &str) -> SourceAddress {
    let (address, length) = text.split_once('/').expect("an address with the length of its prefix");
    SourceAddress {
        address: address.parse().expect("an address"),
        prefix_length: length.parse().expect("a length"),
    }
}

/// Interfaces, routes, and the two files.
fn set_up(own: &str) {
    let mut script = String::from(
        "set -e\nip link set lo up\nip link add d0 type veth peer name d1\nip link set d0 addrgenmode none\n\
         ip link set d1 up\nip link set d0 up\nip route add default dev d0\n",
    );
    for address in own.split(' ') {
        let no_check = if address.contains(':') { "nodad" } else { "" };
        script += &format!("ip address add {address} dev d0 {no_check}\n");
    }
    if own.contains(':') {
        script += "ip -6 route add default dev d0\n";
    }
    let directory = std::env::temp_dir().join(format!("tubesock-resolver-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory of our own");
    let resolv_conf = "nameserver 127.0.0.1\nsearch t sub.t\noptions timeout:5 attempts:1\n";
    for (file, text) in [("resolv.conf", resolv_conf.to_owned()), ("hosts", hosts())] {
        let path = directory.join(file);
        std::fs::write(&path, text).expect("a file of our own");
        script += &format!("mount --bind {} /etc/{file}\n", path.display());
    }
    let done = Command::new("sh").args(["-c", &script]).status().expect("there is a shell");
    // The mounts keep the files.
    std::fs::remove_dir_all(&directory).expect("our own directory");
    assert!(done.success(), "{script}");
}

/// The hosts of the table, and sets of addresses in all sorts of orders.
fn hosts() -> String {
    let mut text = HOSTS.to_owned();
    let mut state = 1u64;
    for set in 0..SETS {
        let mut kinds = KINDS.to_vec();
        let size = [2, 3, 5, 12, 25][(set % 5) as usize];
        for _ in 0..size {
            // Knuth's MMIX generator: the same sets each time.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let kind = kinds.swap_remove((state >> 33) as usize % kinds.len());
            text += &format!("{kind} set{set}\n");
        }
    }
    text
}

fn answer(query: &[u8], over: Over) -> Option<Vec<u8>> {
    let (owner, kind) = question(query);
    let owner = owner.to_ascii_lowercase();
    let (four, six) = (kind == Rtype::A, kind == Rtype::AAAA);
    let refuse = |rcode| Some(reply(query, rcode, |_| {}));
    let records = |add: &dyn Fn(&mut AnswerBuilder<Vec<u8>>)| Some(reply(query, Rcode::NOERROR, add));
    let a = |to: &mut AnswerBuilder<Vec<u8>>, owner: &str, last| {
        to.push((name(owner), 60, A::from_octets(203, 0, 113, last))).expect("a reply has room");
    };
    let cname = |to: &mut AnswerBuilder<Vec<u8>>, owner: &str, target: &str| {
        to.push((name(owner), 60, Cname::new(name(target)))).expect("a reply has room");
    };
    let aaaa = |to: &mut AnswerBuilder<Vec<u8>>| {
        let address = Aaaa::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));
        to.push((name(&owner), 60, address)).expect("a reply has room");
    };
    match owner.split('.').next()? {
        "servfail" => refuse(Rcode::SERVFAIL),
        "refused" => refuse(Rcode::REFUSED),
        "formerr" => refuse(Rcode::FORMERR),
        "v4servfail" if six => refuse(Rcode::SERVFAIL),
        "v4nx" if six => refuse(Rcode::NXDOMAIN),
        "v4" | "v4servfail" | "v4nx" | "both" if four => records(&|to| a(to, &owner, 7)),
        "v6" | "both" if six => records(&aaaa),
        "lame" => records(&|to| to.header_mut().set_ra(false)),
        "nodata" | "v4" | "v6" => records(&|_| {}),
        "cname" => records(&|to| {
            cname(to, &owner, "c2.t");
            cname(to, "c2.t", "Final.t");
            if four {
                a(to, "final.t", 9);
            }
        }),
        "dangling" => records(&|to| cname(to, &owner, "c2.t")),
        "loop" => records(&|to| {
            cname(to, &owner, "l2.t");
            cname(to, "l2.t", &owner);
        }),
        "wrongowner" => records(&|to| a(to, "other.t", 66)),
        "long" if over == Over::Udp => {
            let mut cut = reply(query, Rcode::NOERROR, |_| {});
            cut[2] |= 0x02; // TC
            Some(cut)
        }
        "long" if four => records(&|to| (0..=99).for_each(|last| a(to, &owner, last))),
        "long" => records(&|_| {}),
        _ => refuse(Rcode::NXDOMAIN),
    }
}

fn by_us(resolver: &Resolver, host: &str, family: c_int, flags: c_int) -> String {
    let hints = Hints { flags, family, socket_type: libc::SOCK_STREAM, protocol: 0 };
    match resolver.address_list(Some(host), None, hints) {
        Ok(list) => {
            let addresses = list.entries.iter().map(|entry| entry.address.ip().to_string());
            addresses.chain(list.canonical_name).collect::<Vec<_>>().join(" ")
        }
        Err(LookupError::NoName) => libc::EAI_NONAME.to_string(),
        Err(LookupError::NoData) => libc::EAI_NODATA.to_string(),
        Err(LookupError::Again) => libc::EAI_AGAIN.to_string(),
        Err(error) => format!("{error:?}"),
    }
}

fn by_libc(host: &str, family: c_int, flags: c_int) -> String {
    let host = CString::new(host).expect("a name without NUL");
    // SAFETY: a structure of integers and pointers, for which zero is good.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    (hints.ai_family, hints.ai_flags, hints.ai_socktype) = (family, flags, libc::SOCK_STREAM);
    let mut list = ptr::null_mut();
    // SAFETY: a string that ends, valid hints, a place for the result.
    let code = unsafe { libc::getaddrinfo(host.as_ptr(), ptr::null(), &hints, &mut list) };
    if code != 0 {
        return code.to_string();
    }
    let mut shown = Vec::new();
    let mut canonical_name = None;
    let mut next = list;
    // SAFETY: the elements of libc's list, one after the other.
    while let Some(info) = unsafe { next.as_ref() } {
        shown.push(address_of(info));
        if !info.ai_canonname.is_null() {
            // SAFETY: a string that ends.
            canonical_name =
                Some(unsafe { CStr::from_ptr(info.ai_canonname) }.to_string_lossy().into_owned());
        }
        next = info.ai_next;
    }
    // SAFETY: libc's list, not used any more.
    unsafe { libc::freeaddrinfo(list) };
    shown.into_iter().chain(canonical_name).collect::<Vec<_>>().join(" ")
}

/// The address of an element, written as Rust writes it.
fn address_of(info: &libc::addrinfo) -> String {
    let mut text = [0 as c_char; 64];
    // SAFETY: the element's address, and a buffer of the length that is said.
    let code = unsafe {
        libc::getnameinfo(
            info.ai_addr,
            info.ai_addrlen,
            text.as_mut_ptr(),
            text.len() as libc::socklen_t,
            ptr::null_mut(),
            0,
            libc::NI_NUMERICHOST,
        )
    };
    assert_eq!(code, 0, "a numeric address can always be written");
    // SAFETY: filled with a string by the call above.
    let text = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy();
    text.parse::<std::net::IpAddr>().expect("a numeric address").to_string()
}
