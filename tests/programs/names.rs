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
