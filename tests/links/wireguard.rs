//! `--link wireguard:FILE` against wireguard-go, as an ordinary user.
//!
//! Two namespaces and a cable between them: the user's machine, 192.0.2.2 and 2001:db8::2, and the peer's, 192.0.2.1 and
//! 2001:db8::1, where wireguard-go has a device with 10.9.0.1 and fd09::1. The program is 10.9.0.2 and fd09::2. The user's
//! kernel has no way to 10.9.0.0/24 or fd09::/64 but through us.

use crate::namespace::Namespace;
use crate::support::PYTHON;
use crate::support::command::{Outcome, Program, Running};
use crate::support::http::HttpServer;
use crate::support::network::{Directory, ordinary_user};
use crate::support::stack::Stack;
use crate::support::stream::{Digest, Stream};
use crate::world::url;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Of wg(8): a private key and its public one.
type Pair = [&'static str; 2];
const OURS: Pair =
    ["0Htl1HoqxwejU0o6ud0H4rK0nsaNQx8An44ahdENBk8=", "bjJmT1oZcgoi89L4PqSqvRcDAe4ue0W3VIhnT+x6C3g="];
const THEIRS: Pair =
    ["IGawQUYxiSQmCMOld/8LaRFoQCb482supeWtFNyuc3Y=", "DrKTD5f5AIXm1UtIWyeXNEM7+EZiebFw1npfnNi6Qyc="];
const NOBODYS: Pair =
    ["sHpMxJRCLDoShTM31HTxMQxsPGgL9lx3pdCnvgvnKGw=", "K5RJ3RFtj1ci+ZgxL8tl5uhVkevL0TzN6RYP8ZhrlB4="];
const PRESHARED: &str = "KLy4IPsarMARXawvdx9lQ/2OzrlPavAWIv2STMZInCA=";

/// The peer's addresses inside, and the program's.
const INSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1))];
const PROGRAMS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2))];
/// Where it is.
const ENDPOINT: &str = "192.0.2.1:51820";

struct World {
    machine: Namespace,
    peer: Namespace,
    directory: Directory,
    device: String,
    /// wireguard-go
    _daemon: Running,
}

impl World {
    fn new() -> World {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // wireguard-go listens at a path of this name.
        let device = format!("wg{:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (machine, peer) = (Namespace::new(), Namespace::new());
        let daemon = Program::new("wireguard-go").args(["-f", &device]).variable("LOG_LEVEL", "verbose");
        let daemon = peer.run(|| daemon.deadline(Duration::from_secs(600)).spawn());
        daemon.line_with("UAPI listener started");
        let world = World { machine, peer, directory: Directory::new(), device, _daemon: daemon };
        world.connect();
        world.set_peer(&format!("PresharedKey = {PRESHARED}"));
        world
    }

    /// The cable, and the addresses outside and inside.
    fn connect(&self) {
        let peer = self._daemon.id();
        self.machine.ip(&format!("link add near type veth peer name far netns {peer}"));
        self.machine.ip("link set near up");
        self.peer.ip("link set far up");
        self.peer.ip(&format!("link set {} up mtu 1420", self.device));
        for (namespace, device, host) in [(&self.machine, "near", 2), (&self.peer, "far", 1)] {
            namespace.ip(&format!("address add 192.0.2.{host}/24 dev {device}"));
            namespace.ip(&format!("-6 address add 2001:db8::{host}/64 dev {device} nodad"));
        }
        self.peer.ip(&format!("address add 10.9.0.1/24 dev {}", self.device));
        self.peer.ip(&format!("-6 address add fd09::1/64 dev {} nodad", self.device));
    }

    /// Tells wireguard-go of us; `more` ends the section.
    fn set_peer(&self, more: &str) {
        let file = self.directory.file("peer.conf");
        let text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = 51820\n[Peer]\nPublicKey = {}\nAllowedIPs = 10.9.0.2/32, fd09::2/128\n{more}\n",
            THEIRS[0], OURS[1]
        );
        std::fs::write(&file, text).expect("the directory is ours");
        self.wg(&["setconf", &self.device, &file.display().to_string()]);
    }

    /// wg(8)
    fn wg(&self, arguments: &[&str]) -> Outcome {
        Program::new("wg").args(arguments).run().success()
    }

    /// Writes a file for us, which it returns: with our key, and what `peer` says of the peer besides its AllowedIPs.
    fn file(&self, interface: &str, peer: &str) -> PathBuf {
        let file = self.directory.file("ours.conf");
        let text = format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.9.0.2/24, fd09::2/64\n{interface}\n\
             [Peer]\nAllowedIPs = 10.9.0.0/16, fd09::/64\n{peer}\n",
            OURS[0]
        );
        std::fs::write(&file, text).expect("the directory is ours");
        file
    }

    /// `stack` over the tunnel, for an ordinary user, with the peer at `endpoint`.
    fn over_at(&self, endpoint: &str, stack: Stack) -> Stack {
        let peer = format!("PublicKey = {}\nPresharedKey = {PRESHARED}\nEndpoint = {endpoint}", THEIRS[1]);
        self.over(&self.file("DNS = 10.9.0.1", &peer), stack)
    }

    fn over(&self, file: &std::path::Path, stack: Stack) -> Stack {
        stack.copied_to(self.directory.path()).set("link", &format!("wireguard:{}", file.display()))
    }

    fn stack(&self) -> Stack {
        self.over_at(ENDPOINT, Stack::run())
    }

    /// Starts a program of the user's.
    fn ours(&self, program: Program, stack: &Stack) -> Running {
        let program = program.on(stack).inside(ordinary_user());
        self.machine.run(|| program.spawn())
    }

    /// Starts a program behind the peer.
    fn theirs(&self, program: Program) -> Running {
        self.peer.run(|| program.spawn())
    }

    fn http(&self, address: IpAddr) -> HttpServer {
        self.peer.run(|| HttpServer::at(SocketAddr::new(address, 0)))
    }

    /// curl of `bytes` bytes, by a server behind the peer.
    fn curl(&self, server: &HttpServer, address: IpAddr, bytes: u64) -> Program {
        Program::new("curl").args(["-sS", &url(address, server.port(), &format!("/bytes/{bytes}"))])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What wireguard-go would remove if it were not killed.
        let _gone = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.device));
    }
}

/// `tubesock run` and a plain LD_PRELOAD, both families inside.
#[test]
fn curl() {
    let world = World::new();
    for address in INSIDE {
        let server = world.http(address);
        for stack in [Stack::run(), Stack::preload()] {
            let stack = world.over_at(ENDPOINT, stack);
            let outcome = world.ours(world.curl(&server, address, 300_000), &stack).finish().success();
            assert_eq!(outcome.stdout, Stream::of(300_000).bytes());
            assert_eq!(outcome.stderr, "");
        }
    }
}

#[test]
fn peer_at_an_address_of_ipv6() {
    let world = World::new();
    let server = world.http(INSIDE[0]);
    let stack = world.over_at("[2001:db8::1]:51820", Stack::run());
    let outcome = world.ours(world.curl(&server, INSIDE[0], 100_000), &stack).finish().success();
    assert_eq!(outcome.stdout.len(), 100_000);
    let endpoints = world.wg(&["show", &world.device, "endpoints"]).text();
    assert!(endpoints.contains("[2001:db8::2]:"), "{endpoints}");
}

/// The machine's name, of its /etc/hosts, also in a program that is preloaded: not one of the stack's.
#[test]
fn peer_by_its_name() {
    let world = World::new();
    let server = world.http(INSIDE[0]);
    let hosts = world.directory.file("hosts");
    std::fs::write(&hosts, "192.0.2.1 vpn.example.test\n").expect("the directory is ours");
    let script = format!("mount --bind {} /etc/hosts; exec \"$@\"", hosts.display());
    for stack in [Stack::run(), Stack::preload()] {
        let stack = world.over_at("vpn.example.test:51820", stack);
        let curl = world.curl(&server, INSIDE[0], 1000).on(&stack).inside(ordinary_user());
        let curl = curl.inside(["unshare", "--mount", "sh", "-ec", &script, "sh"]);
        assert_eq!(world.machine.run(|| curl.run()).success().stdout.len(), 1000);
    }
}

/// The name server of the file is asked through the tunnel: it is nowhere else.
#[test]
fn names_through_the_tunnel() {
    let world = World::new();
    let dnsmasq = Program::new("dnsmasq").args([
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
        "--no-hosts",
        "--no-resolv",
        "--user=root",
        "--pid-file=",
        "--bind-interfaces",
        "--listen-address=10.9.0.1",
        "--address=/host.example.test/10.9.0.1",
    ]);
    let dnsmasq = world.theirs(dnsmasq);
    dnsmasq.line_with("started, version");
    let server = world.http(INSIDE[0]);
    let target = format!("http://host.example.test:{}/bytes/9", server.port());
    for stack in [Stack::run(), Stack::preload()] {
        let stack = world.over_at(ENDPOINT, stack);
        let outcome = world.ours(Program::new("curl").args(["-sS", &target]), &stack).finish().success();
        assert_eq!(outcome.stdout.len(), 9);
    }
    let dig = Program::new("dig").args(["+short", "@10.9.0.1", "host.example.test", "A"]);
    assert_eq!(world.ours(dig, &world.stack()).finish().success().text(), "10.9.0.1\n");
    let unknown = Program::new("curl").args(["-sS", "http://unknown.example.org/"]);
    world.ours(unknown, &world.stack()).finish().status(6);
}

/// Down, then up; the sums are equal.
fn transfer(bytes: u64, deadline: Duration) {
    let world = World::new();
    let server = world.http(INSIDE[0]);
    let digest = Digest::of_stream(bytes);
    let down = world.curl(&server, INSIDE[0], bytes).on(&world.stack());
    let down =
        down.inside(["bash", "-o", "pipefail", "-c", r#""$@" | sha256sum"#, "bash"]).inside(ordinary_user());
    let outcome = world.machine.run(|| down.deadline(deadline).run()).success();
    assert_eq!(outcome.text().split_whitespace().next(), Some(digest.as_str()));
    let up =
        Program::new("curl").args(["-sS", "--upload-file", "-", &url(INSIDE[0], server.port(), "/digest")]);
    let up = up.fed_by(move |input| Stream::of(bytes).write_to(input)).deadline(deadline);
    assert_eq!(world.ours(up, &world.stack()).finish().success().text(), digest);
}

#[test]
fn hundred_mebibytes_each_way() {
    transfer(100 << 20, Duration::from_secs(120));
}

/// A minute or two.
#[test]
#[ignore = "takes minutes: docs/testing.md has the command"]
fn gibibyte_each_way() {
    transfer(1 << 30, Duration::from_secs(600));
}

/// What the program serves is there for the peer, at the program's address, from the first moment on.
#[test]
fn server_in_the_tunnel() {
    let world = World::new();
    std::fs::write(world.directory.file("content"), "in the tunnel\n").expect("the directory is ours");
    let peer = format!(
        "PublicKey = {}\nPresharedKey = {PRESHARED}\nEndpoint = {ENDPOINT}\nPersistentKeepalive = 25",
        THEIRS[1]
    );
    let stack = world.over(&world.file("", &peer), Stack::run());
    let server = Program::new(PYTHON).args(["-u", "-m", "http.server", "80", "--bind", "::"]);
    let server = world.ours(server.directory(world.directory.path()), &stack);
    server.line_with("Serving HTTP on");
    for address in PROGRAMS {
        let curl = Program::new("curl").args(["-sS", &url(address, 80, "/content")]);
        assert_eq!(world.theirs(curl).finish().success().text(), "in the tunnel\n");
    }
}

/// The other way round: the peer, who knows where we are, begins.
#[test]
fn peer_that_begins() {
    let world = World::new();
    let peer = format!("PublicKey = {}\nPresharedKey = {PRESHARED}", THEIRS[1]);
    let stack = world.over(&world.file("ListenPort = 7000", &peer), Stack::run());
    let server = Program::new(PYTHON).args(["-u", "-m", "http.server", "80"]);
    let server = world.ours(server.directory(world.directory.path()), &stack);
    server.line_with("Serving HTTP on");
    world.wg(&["set", &world.device, "peer", OURS[1], "endpoint", "192.0.2.2:7000"]);
    let curl =
        Program::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "http://10.9.0.2/"]);
    assert_eq!(world.theirs(curl).finish().success().text(), "200");
}

/// A download goes on when the peer has another port, and another address.
#[test]
fn peer_that_moves() {
    let world = World::new();
    let server = world.http(INSIDE[0]);
    let target = url(INSIDE[0], server.port(), "/bytes/8000000");
    let script = format!(
        "curl -sS --limit-rate 2M {target} | \
         (for part in 1 2; do head -c 2000000 | wc -c | sed s/^/$part:/; done; wc -c)"
    );
    let transfer = Program::new("sh").args(["-c", &script]).deadline(Duration::from_secs(120));
    let transfer = world.ours(transfer, &world.stack());
    transfer.line_with("1:2000000");
    world.wg(&["set", &world.device, "listen-port", "51821"]);
    transfer.line_with("2:2000000");
    world.peer.ip("address del 192.0.2.1/24 dev far");
    world.peer.ip("address add 192.0.2.8/24 dev far");
    // wireguard-go goes on to send from the address that it had, unless it is told again where we are.
    let endpoints = world.wg(&["show", &world.device, "endpoints"]).text();
    let ours = endpoints.split_whitespace().last().expect("one peer");
    world.wg(&["set", &world.device, "peer", OURS[1], "endpoint", ours]);
    let outcome = transfer.finish().success();
    assert!(outcome.text().ends_with("\n4000000\n"), "{outcome}");
}

/// An upload goes on when we have another address.
#[test]
fn program_that_moves() {
    let world = World::new();
    let server = world.http(INSIDE[0]);
    let (moved, wait) = std::sync::mpsc::channel::<()>();
    let up = Program::new("curl").args(["-sS", "-T", "-", &url(INSIDE[0], server.port(), "/digest")]);
    let up = up.fed_by(move |input| {
        let bytes = Stream::of(4_000_000).bytes();
        input.write_all(&bytes[..2_000_000])?;
        wait.recv().expect("the test says so");
        input.write_all(&bytes[2_000_000..])
    });
    let up = world.ours(up, &world.stack());
    while server.connections() == 0 {
        std::thread::yield_now();
    }
    world.machine.ip("address del 192.0.2.2/24 dev near");
    world.machine.ip("address add 192.0.2.9/24 dev near");
    moved.send(()).expect("curl is fed");
    assert_eq!(up.finish().success().text(), Digest::of_stream(4_000_000));
    let endpoints = world.wg(&["show", &world.device, "endpoints"]).text();
    assert!(endpoints.contains("192.0.2.9:"), "{endpoints}");
}

/// The error is the program's, the reason in the log, and there is no key in it.
fn refused(peer: &str, reason: [&str; 2]) {
    let world = World::new();
    let server = world.http(INSIDE[0]);
    let file = world.file("", peer);
    let stack = world.over(&file, Stack::run()).log("debug");
    let curl = world.curl(&server, INSIDE[0], 1).arg("-v");
    let outcome = world.ours(curl, &stack).finish().status(7);
    let expected = format!("wireguard:{}: the peer of line 5, {ENDPOINT}{}", file.display(), reason[0]);
    assert!(outcome.stderr.contains(&expected) && outcome.stderr.contains(reason[1]), "{outcome}");
    assert!(outcome.stderr.contains("No route to host"), "{outcome}");
    for key in [OURS, THEIRS, NOBODYS].into_iter().flatten().chain([PRESHARED]) {
        assert!(!outcome.stderr.contains(&key[..20]), "{outcome}");
    }
}

#[test]
fn wrong_public_key() {
    let peer = format!("PublicKey = {}\nPresharedKey = {PRESHARED}\nEndpoint = {ENDPOINT}", NOBODYS[1]);
    refused(&peer, [", does not answer the handshake (", " tries in 20 s): check Endpoint and PublicKey"]);
}

#[test]
fn wrong_preshared_key() {
    for preshared in [String::new(), format!("PresharedKey = {}", NOBODYS[0])] {
        let peer = format!("PublicKey = {}\nEndpoint = {ENDPOINT}\n{preshared}", THEIRS[1]);
        refused(&peer, [": its answer to the handshake cannot be decrypted", ": check PresharedKey"]);
    }
}

/// A datagram whose program does not stay for the handshake.
#[test]
fn last_words_wait_for_the_handshake() {
    let world = World::new();
    let script = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('10.9.0.1', 7))
print('bound', flush=True)
print(s.recv(100))";
    let server = world.theirs(Program::new(PYTHON).args(["-c", script]));
    server.line_with("bound");
    let script = "import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'goodbye', ('10.9.0.1', 7))";
    world.ours(Program::new(PYTHON).args(["-c", script]), &world.stack()).finish().success();
    assert_eq!(server.finish().success().text(), "bound\nb'goodbye'\n");
}

/// Addresses and MTU are the file's; what is no peer's is ENETUNREACH; flags outrank the file.
#[test]
fn what_the_file_says() {
    let world = World::new();
    let script = "import errno, fcntl, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def ask(request):
    return fcntl.ioctl(s, request, struct.pack('256s', b'tube0'))
print(socket.inet_ntoa(ask(0x8915)[20:24]), struct.unpack('i', ask(0x8921)[16:20])[0])
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    s = socket.socket(socket.AF_INET, kind)
    print(errno.errorcode.get(s.connect_ex(('203.0.113.1', 9))))";
    let peer = format!("PublicKey = {}\nEndpoint = {ENDPOINT}", THEIRS[1]);
    let file = world.file("MTU = 1300\nTable = off\nPostUp = true", &peer);
    let outcome =
        world.ours(Program::new(PYTHON).args(["-c", script]), &world.over(&file, Stack::run())).finish();
    let outcome = outcome.success();
    assert_eq!(outcome.text(), "10.9.0.2 1300\nENETUNREACH\nENETUNREACH\n");
    let ignored = "keys of wg-quick(8) that have no meaning here, and are ignored: PostUp, Table\n";
    assert_eq!(outcome.stderr.matches(ignored).count(), 1, "{outcome}");
    let stack = world.over(&file, Stack::run()).set("address", "10.9.0.7/24").set("mtu", "1280");
    let outcome = world.ours(Program::new(PYTHON).args(["-c", script]), &stack).finish().success();
    assert!(outcome.text().starts_with("10.9.0.7 1280\n"), "{outcome}");
}

/// In a route but nobody's: EHOSTUNREACH, which Linux's WireGuard says, too.
#[test]
fn an_address_that_is_no_peers() {
    let world = World::new();
    let script = "import errno, socket
s = socket.socket()
print(errno.errorcode[s.connect_ex(('203.0.113.1', 9))])";
    let stack = world.stack().set("route", "0.0.0.0/0");
    let outcome = world.ours(Program::new(PYTHON).args(["-c", script]), &stack).finish().success();
    assert_eq!(outcome.text(), "EHOSTUNREACH\n");
}

/// `run` refuses with the line, and `doctor` says the same before.
#[test]
fn file_that_cannot_be_used() {
    let world = World::new();
    let peer = format!("PublicKey = {}\nEndpont = {ENDPOINT}", THEIRS[1]);
    let file = world.file("", &peer);
    let expected = format!("{}:8: Endpont: [Peer] has no such key in wg-quick(8)", file.display());
    let refused = world.ours(Program::new("true"), &world.over(&file, Stack::run())).finish().status(78);
    assert!(refused.stderr.contains(&expected), "{refused}");
    let link = format!("wireguard:{}", file.display());
    let doctor = Program::new(world.directory.file("tubesock")).args(["doctor", "--link", &link]);
    let told = world.machine.run(|| doctor.run());
    assert!(told.text().contains(&expected), "{told}");
}

/// Four minutes, longer than a session may last: another one replaces it, and nothing is lost on the way.
#[test]
#[ignore = "takes minutes: docs/testing.md has the command"]
fn keys_are_renewed_after_two_minutes() {
    let world = World::new();
    let server = world.http(INSIDE[0]);
    let bytes = 50_000_000;
    let curl = world.curl(&server, INSIDE[0], bytes).args(["--limit-rate", "200K"]);
    let transfer = world.ours(curl.deadline(Duration::from_secs(300)), &world.stack());
    let handshake = || world.wg(&["show", &world.device, "latest-handshakes"]).text();
    let first = loop {
        let shown = handshake();
        if !shown.ends_with("\t0\n") {
            break shown;
        }
        std::thread::yield_now();
    };
    let outcome = transfer.finish().success();
    assert!(outcome.stdout == Stream::of(bytes).bytes());
    assert_ne!(handshake(), first);
}
