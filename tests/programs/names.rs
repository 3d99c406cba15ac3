//! Names: every test has a network namespace with a name server of its own behind /etc/resolv.conf.

use crate::support::PYTHON;
use crate::support::command::{Outcome, Program};
use crate::support::network::{Directory, in_namespace};
use crate::support::stack::Stack;

/// The name server takes 127.0.0.1: it is the machine's, and not one of the stack's.
const RESOLV_CONF: &str = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n";

/// Runs `program` in a world where `known.test` is the gateway of `stack`.
fn with_names(program: Program, stack: &Stack) -> Outcome {
    let directory = Directory::new();
    let file = directory.file("resolv.conf");
    std::fs::write(&file, RESOLV_CONF).expect("the directory is ours");
    let script = format!("ip link set lo up; mount --bind {} /etc/resolv.conf; exec \"$@\"", file.display());
    program
        .on(stack)
        .inside([PYTHON, "-c", include_str!("python/names.py"), &stack.gateway().to_string()])
        .inside(in_namespace(&script))
        .run()
}

fn on_both(program: impl Fn() -> Program) -> [Outcome; 2] {
    [Stack::kernel(), Stack::run()].map(|stack| with_names(program(), &stack))
}

#[test]
fn curl_reaches_a_known_name() {
    for outcome in on_both(|| Program::new("curl").args(["-sS", "http://known.test/"])) {
        assert_eq!(outcome.success().text(), "reached by name\n");
    }
}

#[test]
fn curl_with_an_unknown_name() {
    for outcome in on_both(|| Program::new("curl").args(["-sS", "http://unknown.test/"])) {
        outcome.status(6);
    }
}

#[test]
fn answer_that_fits_into_tcp_only() {
    for outcome in on_both(|| Program::new("curl").args(["-sS", "http://long.test/"])) {
        assert_eq!(outcome.success().text(), "reached by name\n");
    }
}

#[test]
fn wget_and_python_and_getent() {
    for outcome in on_both(|| Program::new("wget").args(["-q", "-O", "-", "--tries=1", "http://known.test/"]))
    {
        assert_eq!(outcome.success().text(), "reached by name\n");
    }
    let script = "import socket; print(socket.gethostbyname('known.test'), \
        socket.getaddrinfo('known.test', 'http', type=socket.SOCK_STREAM)[0][4])";
    let [kernel, ours] = on_both(|| Program::new(PYTHON).args(["-c", script]));
    assert_eq!(kernel.success().text(), "127.0.0.1 ('127.0.0.1', 80)\n");
    assert_eq!(ours.success().text(), "10.0.2.2 ('10.0.2.2', 80)\n");
    for outcome in on_both(|| Program::new("getent").args(["ahosts", "unknown.test"])) {
        outcome.status(2);
    }
}

#[test]
fn dig_asks_the_stacks_name_server() {
    let stack = Stack::run();
    let outcome =
        with_names(Program::new("dig").args(["+short", "+tries=1", "@10.0.2.3", "known.test", "A"]), &stack);
    assert_eq!(outcome.success().text(), "10.0.2.2\n");
    let outcome =
        with_names(Program::new("dig").args(["+short", "+tcp", "@10.0.2.3", "known.test", "A"]), &stack);
    assert_eq!(outcome.success().text(), "10.0.2.2\n");
}

/// By getifaddrs, if_nameindex and ioctl: the stack's interfaces, and none of the machine's.
#[test]
fn interfaces_are_the_stacks() {
    let directory = Directory::new();
    let program = directory.file("interfaces");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/interfaces.c");
    let warnings = ["-Wall", "-Wextra", "-Werror", "-o"];
    Program::new("cc").args(warnings).arg(&program).arg(source).run().success();
    let outcome = Program::new(&program).on(&Stack::run()).run().success();
    let expected = "\
lo link - - up
tube0 link - link up
lo 127.0.0.1 255.0.0.0 - up
tube0 10.0.2.15 255.255.255.0 10.0.2.255 up
lo ::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff - up
tube0 fd00::15 ffff:ffff:ffff:ffff:: - up
1 lo 1 lo
2 tube0 2 tube0
0 No such device
lo 127.0.0.1 255.0.0.0 mtu 65536
tube0 10.0.2.15 255.255.255.0 mtu 65535
-1 Operation not permitted
";
    assert_eq!(outcome.text(), expected, "{outcome}");
}

/// By netlink(7): the command of iproute2, in a namespace that has a loopback only, which is down.
#[test]
fn ip_shows_the_stacks_interfaces_addresses_and_routes() {
    let ip = |arguments: &str| {
        let program = Program::new("ip").args(arguments.split_whitespace()).on(&Stack::run());
        program.inside(in_namespace("exec \"$@\"")).run().success().text().to_owned()
    };
    let expected = "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host \n       valid_lft forever preferred_lft forever
2: tube0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 65535 qdisc noqueue state UP group default qlen 1000
    link/none \n    inet 10.0.2.15/24 brd 10.0.2.255 scope global tube0
       valid_lft forever preferred_lft forever
    inet6 fd00::15/64 scope global \n       valid_lft forever preferred_lft forever
";
    assert_eq!(ip("addr"), expected);
    assert_eq!(
        ip("-br link show dev tube0"),
        "tube0            UP             <BROADCAST,MULTICAST,UP,LOWER_UP> \n"
    );
    assert_eq!(ip("-br -6 addr show tube0"), "tube0            UP             fd00::15/64 \n");
    let expected =
        "default via 10.0.2.2 dev tube0 \n10.0.2.0/24 dev tube0 proto kernel scope link src 10.0.2.15 \n";
    assert_eq!(ip("route"), expected);
    let expected = "\
default via fd00::2 dev tube0 metric 1024 pref medium
fd00::/64 dev tube0 proto kernel metric 256 pref medium
";
    assert_eq!(ip("-6 route"), expected);
    let way = "198.51.100.1 via 10.0.2.2 dev tube0 src 10.0.2.15 \n    cache \n";
    assert_eq!(ip("route get 198.51.100.1"), way);
    assert!(ip("-j addr").starts_with(r#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"]"#));
}

/// Python's sockets know the family from the number that they were made with, and getsockname(2) has to agree.
#[test]
fn netlink_by_python() {
    let script = "import socket, struct
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
netlink.bind((0, 0x11))
netlink.sendto(struct.pack('=IHHII4x', 20, 18, 0x301, 1, 0), (0, 0))
names, done = [], False
while not done:
    data, source = netlink.recvfrom(65536)
    assert source == (0, 0), source
    while data:
        length, kind = struct.unpack_from('=IH', data)
        done = done or kind == 3
        rest = data[32:length] if kind == 16 else b''
        while rest:
            size, attribute = struct.unpack_from('=HH', rest)
            names += [rest[4:size - 1].decode()] if attribute == 3 else []
            rest = rest[(size + 3) & ~3:]
        data = data[(length + 3) & ~3:]
print(*names)";
    let outcome = Program::new(PYTHON).args(["-c", script]).on(&Stack::run()).run();
    assert_eq!(outcome.success().text(), "lo tube0\n");
}
