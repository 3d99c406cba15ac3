//! `--link tap:NAME` and `--link stream:PATH`: the kernel, passt, and other hosts of ours on one switch.

use crate::namespace::Namespace;
use crate::support::PYTHON;
use crate::support::capture::Capture;
use crate::support::command::{Program, Running};
use crate::support::network::Directory;
use crate::support::stack::Stack;
use crate::world::{OURS, THEIRS, World, over, url};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

fn with_tap() -> World {
    let world = World { namespace: Namespace::new(), directory: Directory::new() };
    world.namespace.ip("tuntap add dev tap mode tap");
    // Its address counts at once: nobody else has it.
    world.namespace.set("net.ipv6.conf.tap.accept_dad", "0");
    world.set_up("tap");
    world
}

/// The largest packet that the stack sent, and that it got.
fn largest(file: &Path) -> [usize; 2] {
    let bytes = std::fs::read(file).expect("the capture was written");
    let mut reader = PcapNgReader::new(&bytes[..]).expect("a section header");
    let mut largest = [0; 2];
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("a whole block") else { continue };
        let got = packet.options.contains(&EnhancedPacketOption::Flags(1));
        largest[usize::from(got)] = largest[usize::from(got)].max(packet.data.len());
    }
    largest
}

/// Packets of many segments cross the device whole, both ways, and what arrives is what was sent.
#[test]
fn offloads_of_tap() {
    let world = with_tap();
    let content: Vec<u8> = (0..3_000_000u32).map(|i| (i / 5 % 251) as u8).collect();
    let (one, other) = (world.directory.file("one"), world.directory.file("other"));
    std::fs::write(&one, &content).expect("the directory is ours");
    // Each end sends what it has, and writes down what it gets.
    let script = "import socket, sys, threading
data = open(sys.argv[4], 'rb').read()
family = socket.AF_INET6 if ':' in sys.argv[2] else socket.AF_INET
if sys.argv[1] == 'serve':
    listener = socket.socket(family)
    listener.bind((sys.argv[2], int(sys.argv[3])))
    listener.listen()
    print('listening', flush=True)
    s, _ = listener.accept()
else:
    s = socket.create_connection((sys.argv[2], int(sys.argv[3])))
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
got = b''.join(iter(lambda: s.recv(1 << 20), b''))
print(got == data)";
    for address in THEIRS {
        let end = |role: &str| {
            let place = [role, &address.to_string(), "7000"];
            Program::new(PYTHON).args(["-c", script]).args(place).arg(&one)
        };
        let server = world.kernels(end("serve"));
        server.line_with("listening");
        let stack = over("tap:tap", Stack::run()).capture(&other);
        assert_eq!(world.ours(end("connect"), &stack).finish().success().text(), "True\n");
        assert_eq!(server.finish().success().text(), "listening\nTrue\n");
        let [sent, got] = largest(&other);
        assert!(sent > 10_000 && got > 10_000, "{sent} {got}");
    }
}

/// Both ways, both families, with the kernel's ARP and neighbour discovery at the other end.
#[test]
fn tap() {
    let world = with_tap();
    for address in THEIRS {
        let server = world.http(address);
        let file = world.directory.file("tap.pcapng");
        let stack = over("tap:tap", Stack::run()).capture(&file);
        let curl = Program::new("curl").args(["-sS", &url(address, server.port(), "/bytes/300000")]);
        assert_eq!(world.ours(curl, &stack).finish().success().stdout.len(), 300_000);
        let capture = Capture::read(&file);
        assert_eq!(capture.to_port(server.port()).len(), 1, "{capture:?}");
    }
    std::fs::write(world.directory.file("content"), "over tap\n").expect("the directory is ours");
    let server = Program::new(PYTHON)
        .args(["-u", "-m", "http.server", "80", "--bind", "::"])
        .directory(world.directory.path());
    let server = world.ours(server, &over("tap:tap", Stack::run()));
    server.line_with("Serving HTTP on");
    for address in OURS {
        let curl = Program::new("curl").args(["-sS", &url(address, 80, "/content")]);
        assert_eq!(world.kernels(curl).finish().success().text(), "over tap\n");
    }
}

/// The kernel has the addresses that were given, and says so when it is asked.
#[test]
fn an_address_that_another_has_is_told_of() {
    let world = with_tap();
    let [v4, v6] = THEIRS.map(|address| address.to_string());
    let stack = Stack::run().set("link", "tap:tap");
    let stack = stack.set("address", &format!("{v4}/24")).set("address", &format!("{v6}/64"));
    let running = world.ours(Program::new("sleep").arg("60"), &stack);
    for address in [v4, v6] {
        running.line_with(&format!("the address {address} is also that of "));
    }
}

/// ARP and neighbour discovery that nobody answers; the kernel needs as long for it.
#[test]
fn neighbours_that_do_not_answer_are_unreachable() {
    let world = with_tap();
    let script = "import errno, socket, sys
for family, to in (socket.AF_INET, '192.0.2.77'), (socket.AF_INET6, '2001:db8::77'), (socket.AF_INET, '203.0.113.1'):
    s = socket.socket(family)
    print(errno.errorcode[s.connect_ex((to, 9))])";
    let outcome =
        world.ours(Program::new(PYTHON).args(["-c", script]), &over("tap:tap", Stack::run())).finish();
    assert_eq!(outcome.success().text(), "EHOSTUNREACH\nEHOSTUNREACH\nENETUNREACH\n");
}

/// A namespace as passt wants one: an interface with a default route of each family, whose addresses it gives on. The
/// gateway's address is for it the namespace's loopback.
fn with_passt() -> (World, Running) {
    let world = World { namespace: Namespace::new(), directory: Directory::new() };
    for line in [
        "link add outer type veth peer name inner",
        "link set inner up",
        "link set outer up",
        "address add 198.51.100.2/24 dev outer",
        "-6 address add 2001:db8:1::2/64 dev outer nodad",
        "route add default via 198.51.100.1",
        "-6 route add default via 2001:db8:1::1",
    ] {
        world.namespace.ip(line);
    }
    // It gives up its rights, and must be able to make the socket all the same.
    let path = world.directory.open_to_all("sockets").join("passt");
    let passt = world.kernels(Program::new("passt").args(["-f", "-s"]).arg(&path));
    passt.line_with("UNIX domain socket bound at");
    (world, passt)
}

fn over_passt(world: &World) -> Stack {
    let link = format!("stream:{}", world.directory.file("sockets/passt").display());
    Stack::run().set("link", &link)
}

/// passt as it stands between QEMU and the host, with an address that we say.
#[test]
fn passt() {
    let (world, _passt) = with_passt();
    let server = world.http([127, 0, 0, 1].into());
    let stack = || over_passt(&world).set("address", "198.51.100.2/24").set("gateway", "198.51.100.1");
    let url = url([198, 51, 100, 1].into(), server.port(), "/bytes/3000000");
    let outcome = world.ours(Program::new("curl").args(["-sS", &url]), &stack()).finish().success();
    assert_eq!(outcome.stdout.len(), 3_000_000);
    for options in [&[][..], &["-R"]] {
        let server = world.kernels(Program::new("iperf3").args(["-s", "-1", "-p", "5201", "--forceflush"]));
        server.line_with("Server listening");
        let client = Program::new("iperf3").args(["-J", "-t", "1", "-p", "5201", "-c", "198.51.100.1"]);
        let report = world.ours(client.args(options), &stack()).finish().success().text();
        server.finish().success();
        assert!(report.contains("\"sum_received\"") && !report.contains("\"error\""), "{report}");
    }
}

/// No address is given: DHCP and the router's advertisements, of passt.
#[test]
fn addresses_of_the_network() {
    let (world, _passt) = with_passt();
    let server = world.http([127, 0, 0, 1].into());
    let port = server.port();
    let script = format!(
        "import socket, urllib.request
print(len(urllib.request.urlopen('http://198.51.100.1:{port}/bytes/5').read()))
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.connect(('2001:db8:1::1', 9))
print(s.getsockname()[0][:12])"
    );
    let stack = over_passt(&world).log("info");
    let outcome = world.ours(Program::new(PYTHON).args(["-c", &script]), &stack).finish().success();
    assert_eq!(outcome.text(), "5\n2001:db8:1:0\n", "{outcome}");
}

/// A TAP device behind which there are a DHCP server and a router, both dnsmasq, which gives its address after three seconds only.
#[test]
fn addresses_on_a_tap_device() {
    let world = with_tap();
    let leases = world.directory.open_to_all("leases");
    let options = "--keep-in-foreground --log-facility=- --conf-file=/dev/null --port=0 --interface=tap --bind-interfaces \
                   --dhcp-range=192.0.2.100,192.0.2.110,255.255.255.0,1h --dhcp-option=option:dns-server,192.0.2.53 \
                   --dhcp-range=2001:db8::,ra-only --enable-ra --user=root";
    let dnsmasq = Program::new("dnsmasq").args(options.split_whitespace());
    let dnsmasq = dnsmasq.arg(format!("--dhcp-leasefile={}", leases.join("leases").display()));
    let dnsmasq = world.kernels(dnsmasq.arg(format!("--pid-file={}", leases.join("pid").display())));
    dnsmasq.line_with("started");
    let script = "import socket
for to in '192.0.2.1', '2001:db8::1':
    s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((to, 9))
    print(s.getsockname()[0])";
    let stack = Stack::run().set("link", "tap:tap");
    let told = world.ours(Program::new(PYTHON).args(["-c", script]), &stack).finish().success();
    let lines: Vec<_> = told.text().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("192.0.2.1") && lines[0].len() == 11, "{told}");
    assert!(lines[1].starts_with("2001:db8::") && lines[1].len() > 12, "{told}");
}

/// Nobody answers: the program is not started, and the message says what to do.
#[test]
fn no_address_to_be_had() {
    let world = with_tap();
    let refused = world.ours(Program::new("true"), &Stack::run().set("link", "tap:tap")).finish().status(78);
    assert!(refused.stderr.contains("--link tap:tap: no address is to be had there by DHCP"), "{refused}");
}

fn switch(directory: &Directory) -> Running {
    let path = directory.file("switch");
    let switch = Program::new(env!("CARGO_BIN_EXE_tubesock")).arg("switch").arg(&path).spawn();
    switch.line_with("switch at ");
    switch
}

fn on_switch(path: &Path, number: u32) -> Stack {
    let link = format!("stream:{}", path.display());
    Stack::run()
        .set("link", &link)
        .set("address", &format!("10.9.0.{number}/24"))
        .set("address", &format!("fd09::{number}/64"))
}

/// Two hosts of ours, no rights, no device; the file is gone with the switch.
#[test]
fn hosts_on_one_switch() {
    let directory = Directory::new();
    let switch = switch(&directory);
    let path = directory.file("switch");
    std::fs::write(directory.file("content"), "over a switch\n").expect("the directory is ours");
    let server = Program::new(PYTHON)
        .args(["-u", "-m", "http.server", "80", "--bind", "::"])
        .directory(directory.path())
        .on(&on_switch(&path, 1))
        .spawn();
    server.line_with("Serving HTTP on");
    for address in ["10.9.0.1", "fd09::1"] {
        let url = url(address.parse().expect("an address"), 80, "/content");
        let curl = Program::new("curl").args(["-sS", &url]).on(&on_switch(&path, 2));
        assert_eq!(curl.run().success().text(), "over a switch\n");
    }
    drop(server);
    switch.interrupt().success();
    assert!(!path.exists());
    let refused = Program::new("true").on(&on_switch(&path, 1)).run().status(78);
    assert!(refused.stderr.contains("cannot connect (ENOENT): nothing listens there"), "{refused}");
    std::fs::write(&path, "").expect("the directory is ours");
    let refused = Program::new("true").on(&on_switch(&path, 1)).run().status(78);
    assert!(refused.stderr.contains("cannot connect (ECONNREFUSED): this is no socket"), "{refused}");
}

/// Says what connects to the neighbour of the address that it is given end with, until that is the one awaited.
const CONNECTS: &str = "import errno, socket, sys
print('ready', flush=True)
while True:
    s = socket.socket()
    s.settimeout(0.2)
    name = errno.errorcode.get(s.connect_ex((sys.argv[1], 9)))
    s.close()
    if name == 'ENETUNREACH':
        print(name, flush=True)
        break";

/// There is no network any more then, and the program is told so at once.
#[test]
fn a_device_that_has_gone() {
    let connects = || Program::new(PYTHON).args(["-c", CONNECTS, "10.9.0.2"]);
    for device in ["tap", "tun"] {
        let world = World { namespace: Namespace::new(), directory: Directory::new() };
        world.namespace.ip(&format!("tuntap add dev {device} mode {device}"));
        let stack = Stack::run().set("link", &format!("{device}:{device}")).set("address", "10.9.0.1/24");
        let program = world.ours(connects(), &stack);
        program.line_with("ready");
        world.namespace.ip(&format!("link delete {device}"));
        program.line_with("ENETUNREACH");
    }
}

/// Echoes what comes to port 7.
const ECHOES: &str = "import socket
s = socket.create_server(('', 7))
print('ready', flush=True)
c, _ = s.accept()
while data := c.recv(99):
    c.sendall(data)";

/// Sends each line to the neighbour's port 7, and prints what comes back.
const TALKS: &str = "import socket, sys
s = socket.create_connection((sys.argv[1], 7))
for line in sys.stdin:
    s.sendall(line.encode())
    print(s.recv(99).decode(), end='', flush=True)";

/// Without a switch there is no network, and the program is told so at once. With the next one there is, and what was connected
/// goes on.
#[test]
fn a_switch_that_has_gone_and_comes_back() {
    let directory = Directory::new();
    let path = directory.file("switch");
    let first = switch(&directory);
    let echoes = Program::new(PYTHON).args(["-c", ECHOES]).on(&on_switch(&path, 2)).spawn();
    echoes.line_with("ready");
    let (say, said) = std::sync::mpsc::channel::<&str>();
    let talks = Program::new(PYTHON).args(["-c", TALKS, "10.9.0.2"]).on(&on_switch(&path, 1));
    let talks = talks.fed_by(move |input| said.iter().try_for_each(|line| input.write_all(line.as_bytes())));
    let talks = talks.spawn();
    say.send("before\n").expect("it is fed");
    talks.line_with("before");

    let connects = Program::new(PYTHON).args(["-c", CONNECTS, "10.9.0.2"]).on(&on_switch(&path, 3)).spawn();
    connects.line_with("ready");
    first.interrupt().success();
    connects.line_with("ENETUNREACH");
    say.send("while there is none\n").expect("it is fed");
    let _second = switch(&directory);
    talks.line_with("while there is none");
    drop(say);
    let outcome = talks.finish().success();
    assert!(outcome.stderr.contains("switch: joined again"), "{outcome}");
}

/// Asks until the answer has `part`.
fn await_answer(ask: impl Fn() -> String, part: &str) {
    let until = Instant::now() + Duration::from_secs(40);
    loop {
        let answer = ask();
        if answer.contains(part) {
            return;
        }
        assert!(Instant::now() < until, "no {part} in {answer}");
    }
}

/// Three hosts, a replicated store: one replica is cut off, misses a write, and has it when the link has healed.
#[test]
fn redis_with_a_partition() {
    let directory = Directory::new();
    let _switch = switch(&directory);
    let path = directory.file("switch");
    let server = |number: u32, more: &str| {
        let place = directory.open_to_all(&format!("redis-{number}"));
        let options = format!(
            "--port 6379 --bind 0.0.0.0 --protected-mode no --save '' --repl-timeout 5 --repl-ping-replica-period 1 \
             --unixsocket {} {more}",
            place.join("socket").display()
        );
        let script = format!("exec redis-server {options}");
        let running =
            Program::new("sh").args(["-c", &script]).directory(&place).on(&on_switch(&path, number)).spawn();
        running.line_with("eady to accept connections");
        running
    };
    let command = |number: u32, words: &str| {
        let socket = directory.file(&format!("redis-{number}/socket"));
        let cli = Program::new("redis-cli").arg("-s").arg(&socket).args(words.split(' '));
        cli.run().success().text()
    };
    let _first = server(1, "");
    let replicas = [2, 3].map(|number| server(number, "--replicaof 10.9.0.1 6379"));
    await_answer(|| command(1, "info replication"), "connected_slaves:2");
    command(1, "set before 1");
    await_answer(|| command(3, "get before"), "1");
    let link = |words: &str| {
        let id = replicas[1].id().to_string();
        let link = Program::new(env!("CARGO_BIN_EXE_tubesock")).args(["link", "--pid", &id]);
        link.args(words.split(' ')).run().success()
    };
    link("loss 100%");
    command(1, "set during 2");
    await_answer(|| command(2, "get during"), "2");
    await_answer(|| command(1, "info replication"), "connected_slaves:1");
    assert_eq!(command(3, "get during"), "\n");
    link("none");
    await_answer(|| command(3, "get during"), "2");
    await_answer(|| command(1, "info replication"), "connected_slaves:2");
}
