//! `--link tun:NAME`: curl, iperf3 and ping both ways, fragments, names, routes, a device that goes down.

use crate::support::PYTHON;
use crate::support::capture::Capture;
use crate::support::command::{Outcome, Program};
use crate::support::stack::Stack;
use crate::world::{OURS, THEIRS, World, over, url};
use std::net::IpAddr;

/// `tubesock run` and a plain LD_PRELOAD, both families, each with its packets in the capture.
#[test]
fn curl() {
    let world = World::with_tun("");
    for (number, address) in THEIRS.into_iter().enumerate() {
        let server = world.http(address);
        for (name, stack) in [("run", Stack::run()), ("preload", Stack::preload())] {
            let file = world.directory.file(&format!("{name}-{number}.pcapng"));
            let curl = Program::new("curl").args(["-sS", &url(address, server.port(), "/bytes/300000")]);
            let outcome = world.ours(curl, &over("tun:tube", stack).capture(&file)).finish().success();
            assert_eq!(outcome.stdout.len(), 300_000);
            let capture = Capture::read(&file);
            let [connection] = capture.to_port(server.port())[..] else { panic!("{capture:?}") };
            assert!(connection.fin_from_client && connection.received_bytes > 300_000, "{connection:?}");
        }
    }
}

/// What the program serves, the kernel's side reaches at the program's own address: no `--publish`.
#[test]
fn server() {
    let world = World::with_tun("");
    std::fs::write(world.directory.file("content"), "over tun\n").expect("the directory is ours");
    let server = Program::new(PYTHON)
        .args(["-u", "-m", "http.server", "80", "--bind", "::"])
        .directory(world.directory.path());
    let server = world.ours(server, &world.stack());
    server.line_with("Serving HTTP on");
    for address in OURS {
        let curl = Program::new("curl").args(["-sS", "--retry-connrefused", &url(address, 80, "/content")]);
        assert_eq!(world.kernels(curl).finish().success().text(), "over tun\n");
    }
}

/// The octets that arrived, of the sums of iperf3's report.
fn received(report: &str) -> u64 {
    let sums = report.split_once("\"sum_received\":").or_else(|| report.split_once("\"sum\":"));
    let (_, sums) = sums.unwrap_or_else(|| panic!("{report}"));
    number(sums, "\"bytes\":")
}

/// The whole part of a number.
fn number(report: &str, name: &str) -> u64 {
    let (_, rest) = report.split_once(name).unwrap_or_else(|| panic!("no {name} in {report}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number at {name}: {report}"))
}

/// Up and down, and datagrams in fragments both ways.
#[test]
fn iperf3() {
    let world = World::with_tun("");
    for address in THEIRS {
        for options in
            [&[][..], &["-R"], &["-u", "-l", "8000", "-b", "50M"], &["-u", "-R", "-l", "8000", "-b", "50M"]]
        {
            let server =
                world.kernels(Program::new("iperf3").args(["-s", "-1", "-p", "5201", "--forceflush"]));
            server.line_with("Server listening");
            let client =
                Program::new("iperf3").args(["-J", "-t", "1", "-p", "5201", "-c", &address.to_string()]);
            let report = world.ours(client.args(options), &world.stack()).finish().success().text();
            server.finish().success();
            assert!(received(&report) > 2_000_000, "{options:?} {report}");
            if options.contains(&"-u") {
                let (_, sums) = report.split_once("\"end\":").expect("a report has an end");
                assert!(number(sums, "\"lost_percent\":") < 20, "{options:?} {report}");
            }
        }
    }
}

/// Also in fragments: 4000 bytes do not fit.
#[test]
fn ping_both_ways() {
    // The kernel may still be bringing the device up when the first is answered: it drops such an answer.
    let answered = |outcome: &Outcome| {
        ["icmp_seq=2 ", "icmp_seq=3 "].iter().all(|answer| outcome.text().contains(answer))
    };
    for (theirs, ours) in THEIRS.into_iter().zip(OURS) {
        for size in ["56", "4000"] {
            // A device of its own: the one before is held until the host before has ended.
            let world = World::with_tun("");
            // The machine's own has file capabilities, which switch LD_PRELOAD off; a copy has none.
            let copy = world.directory.file("ping");
            std::fs::copy("/usr/bin/ping", &copy).expect("ping is missing: apt-get install iputils-ping");
            let ping = |to: IpAddr, size: &str| {
                Program::new(&copy).args(["-c", "3", "-i", "0.2", "-s", size, &to.to_string()])
            };
            let outcome = world.ours(ping(theirs, size), &world.stack()).finish().success();
            assert!(answered(&outcome), "{outcome}");
            let idle =
                world.ours(Program::new("sh").args(["-c", "echo ready; exec sleep 60"]), &world.stack());
            idle.line_with("ready");
            let outcome = world.kernels(ping(ours, size)).finish().success();
            assert!(answered(&outcome), "{outcome}");
        }
    }
}

/// Answers every query of an address with 192.0.2.1, in the shortest way.
const NAME_SERVER: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('192.0.2.1', 53))
print('bound', flush=True)
while True:
    q, peer = s.recvfrom(512)
    end = q.index(b'\\0', 12) + 5
    a = q[end - 4:end - 2] == b'\\0\\1'
    answer = b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\1\\0\\4\\xc0\\0\\2\\1' if a else b''
    s.sendto(q[:2] + b'\\x81\\x80\\0\\1\\0' + bytes([a]) + b'\\0\\0\\0\\0' + q[12:end] + answer, peer)";

#[test]
fn names_are_asked_for_over_the_link() {
    let world = World::with_tun("");
    let name_server = world.kernels(Program::new(PYTHON).args(["-c", NAME_SERVER]));
    name_server.line_with("bound");
    let server = world.http(THEIRS[0]);
    let url = format!("http://host.example.test:{}/bytes/9", server.port());
    for stack in [Stack::run(), Stack::preload()] {
        let stack = over("tun:tube", stack).set("dns", "192.0.2.1");
        let outcome = world.ours(Program::new("curl").args(["-sS", &url]), &stack).finish().success();
        assert_eq!(outcome.stdout.len(), 9);
    }
    assert_eq!(server.connections(), 2);
}

/// The program's interface is the link's.
#[test]
fn interface_has_the_addresses_and_the_mtu() {
    let world = World::with_tun("");
    let script = "import fcntl, socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def ask(request):
    return fcntl.ioctl(s, request, struct.pack('256s', b'tube0'))
print(socket.inet_ntoa(ask(0x8915)[20:24]), struct.unpack('i', ask(0x8921)[16:20])[0])
print(sorted(a[4][0] for a in socket.getaddrinfo('192.0.2.1', 80, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)))";
    for stack in [Stack::run(), Stack::preload()] {
        let stack = over("tun:tube", stack).set("mtu", "1400");
        let outcome = world.ours(Program::new(PYTHON).args(["-c", script]), &stack).finish().success();
        assert_eq!(outcome.text(), "192.0.2.15 1400\n['192.0.2.1']\n", "{outcome}");
    }
}

/// What no route leads to is ENETUNREACH at once, and what one leads to is sent.
#[test]
fn routes() {
    let world = World::with_tun("");
    world.namespace.ip("address add 198.51.100.1/32 dev lo");
    let server = world.http([198, 51, 100, 1].into());
    let stack = || world.stack().set("route", "198.51.100.0/24,192.0.2.1");
    let curl = |address: [u8; 4]| {
        Program::new("curl").args(["-sS", "-m", "20", &url(address.into(), server.port(), "/bytes/5")])
    };
    let outcome = world.ours(curl([198, 51, 100, 1]), &stack()).finish().success();
    assert_eq!(outcome.stdout.len(), 5);
    let outcome = world.ours(curl([203, 0, 113, 1]), &stack()).finish().status(7);
    let script = "import errno, socket
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    s = socket.socket(socket.AF_INET, kind)
    print(errno.errorcode[s.connect_ex(('203.0.113.1', 9))])";
    let told = world.ours(Program::new(PYTHON).args(["-c", script]), &stack()).finish().success();
    assert_eq!(told.text(), "ENETUNREACH\nENETUNREACH\n", "{outcome}{told}");
}

/// A transfer goes on when the device is up again.
#[test]
fn device_that_goes_down_and_comes_back() {
    let world = World::with_tun("");
    let server = world.http(THEIRS[0]);
    let url = url(THEIRS[0], server.port(), "/bytes/4000000");
    let script = format!("curl -sS --limit-rate 2M {url} | (head -c 1000000 | wc -c; wc -c)");
    let transfer = world.ours(Program::new("sh").args(["-c", &script]), &world.stack().strict());
    transfer.line_with("1000000");
    world.namespace.ip("link set tube down");
    world.namespace.ip("link set tube up");
    assert_eq!(transfer.finish().success().text(), "1000000\n3000000\n");
}
