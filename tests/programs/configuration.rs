//! Settings that cannot be used: a clear message, and never a silent way round the stack. And what the log counts.

use crate::support::PYTHON;
use crate::support::command::Program;
use crate::support::http::HttpServer;
use crate::support::network::{Directory, free_port};
use crate::support::stack::Stack;
use std::net::TcpListener;

#[test]
fn bad_flag_ends_with_78() {
    let outcome = Program::new("true").on(&Stack::run().publish_as("nonsense")).run().status(78);
    assert!(outcome.stderr.contains("nonsense") && outcome.stderr.contains("--publish"), "{outcome}");
}

/// Good on the command line, and impossible when the host starts.
#[test]
fn port_in_use_ends_with_78() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    let port = taken.local_addr().expect("it is bound").port();
    let outcome = Program::new("true").on(&Stack::run().publish(port, 80)).run().status(78);
    assert!(outcome.stderr.contains(&port.to_string()), "{outcome}");
}

/// The other one's program is not reached at it, and ours would not be either.
#[test]
fn port_of_another_tubesock_ends_with_78() {
    let (port, directory) = (free_port(), Directory::new());
    let other = Program::new("sh").args(["-c", "echo published; exec sleep 60"]);
    let other = other.on(&Stack::run().publish(port, 80)).spawn();
    other.line_with("published");
    let path = directory.file("host");
    let publish = format!("127.0.0.1:{port}:81");
    let host = Program::new(env!("CARGO_BIN_EXE_tubesock")).args(["host", "--publish", &publish, "--listen"]);
    for program in [Program::new("true").on(&Stack::run().publish_as(&publish)), host.arg(&path)] {
        let outcome = program.run().status(78);
        assert!(
            outcome.stderr.contains(&format!("127.0.0.1:{port} (EADDRINUSE): another tubesock")),
            "{outcome}"
        );
    }
    assert!(path.symlink_metadata().is_err(), "the host has left nothing behind");
}

#[test]
fn port_that_is_published_twice_ends_with_78() {
    let port = free_port();
    let outcome = Program::new("true").on(&Stack::run().publish(port, 80).publish(port, 81)).run().status(78);
    assert!(outcome.stderr.contains(&format!("127.0.0.1:{port} is there twice")), "{outcome}");
}

#[test]
fn capture_that_cannot_be_written_ends_with_78() {
    let directory = Directory::new();
    let stack = Stack::run().capture(&directory.file("missing/file.pcapng"));
    let outcome = Program::new("curl").args(["-sS", "http://10.0.2.2/"]).on(&stack).run().status(78);
    assert!(outcome.stderr.contains("missing/file.pcapng"), "{outcome}");
}

/// A limit on the size of files, which kills a program that exceeds it, ends the files that are not its own.
#[test]
fn files_that_may_not_grow() {
    let server = HttpServer::start();
    for stack in [Stack::run(), Stack::preload()] {
        let directory = Directory::new();
        let (capture, trace) = (directory.file("capture.pcapng"), directory.file("trace"));
        let url = format!("http://{}:{}/bytes/1000000", stack.gateway(), server.port());
        let stack = stack.capture(&capture).set("trace", trace.to_str().expect("a plain name"));
        let limited = ["sh", "-c", "ulimit -f 4; exec \"$@\"", "sh"];
        let outcome = Program::new("curl").args(["-sS", &url]).on(&stack).inside(limited).run().success();
        assert_eq!(outcome.stdout.len(), 1_000_000, "{outcome}");
        for line in ["the capture ends here", "the trace ends here: File too large (os error 27)"] {
            assert_eq!(outcome.stderr.matches(line).count(), 1, "{outcome}");
        }
        for file in [capture, trace] {
            let size = std::fs::metadata(&file).expect("it was made").len();
            assert!((1..=4 * 1024).contains(&size), "{} has {size} bytes", file.display());
        }
    }
}

#[test]
fn preloaded_program_gets_einval_and_the_log_a_line() {
    let server = HttpServer::start();
    let script = "import errno, socket\ntry:\n    socket.socket()\nexcept OSError as error:\n    print(errno.errorcode[error.errno])";
    let stack = Stack::preload().publish_as("nonsense");
    let outcome = Program::new(PYTHON).args(["-c", script]).on(&stack).run().success();
    assert_eq!(outcome.text(), "EINVAL\n", "{outcome}");
    assert!(outcome.stderr.contains("nonsense") && outcome.stderr.contains("TUBESOCK_PUBLISH"), "{outcome}");
    assert_eq!(server.connections(), 0);
}

/// As on an interface of Linux: no address, no route, and the loopback's own.
#[test]
fn an_mtu_that_is_too_small_for_ipv6() {
    let script = "import errno, socket
for to in ('fd00::2', '::1', '::ffff:10.0.2.2'):
    print(to, errno.errorcode[socket.socket(socket.AF_INET6).connect_ex((to, 9))])";
    for (stack, mtu) in [(Stack::run(), "576"), (Stack::preload(), "1279")] {
        let outcome = Program::new(PYTHON).args(["-c", script]).on(&stack.set("mtu", mtu)).run().success();
        let told = "fd00::2 ENETUNREACH\n::1 ECONNREFUSED\n::ffff:10.0.2.2 ECONNREFUSED\n";
        assert_eq!(outcome.text(), told, "{outcome}");
        assert_eq!(outcome.stderr.matches("there is no IPv6: the link carries").count(), 1, "{outcome}");
    }
    let published = Stack::run().set("mtu", "1279").set("publish", "[::1]:0:80");
    let refused = Program::new("true").on(&published).run().status(78);
    assert!(refused.stderr.contains("--mtu: IPv6 needs 1280 at least"), "{refused}");
}

#[test]
fn command_that_does_not_exist() {
    let outcome = Program::new("no-such-program").on(&Stack::run()).run().status(127);
    assert!(outcome.stderr.contains("no-such-program"), "{outcome}");
}

#[test]
fn exit_status_is_the_programs() {
    Program::new("sh").args(["-c", "exit 42"]).on(&Stack::run()).run().status(42);
}

/// The ladder while it happens: calls, each behind the number of its process, and segments.
#[test]
fn ladder_on_standard_error() {
    let server = HttpServer::start();
    for stack in [Stack::run(), Stack::preload()] {
        let url = format!("http://{}:{}/bytes/10", stack.gateway(), server.port());
        let curl = Program::new("curl").args(["-sS", "--output", "/dev/null", &url]);
        let outcome = curl.variable("TUBESOCK_TRACE", "-").on(&stack).run().success();
        let mut rest = outcome.stderr.as_str();
        for part in [
            "      ms  calls of the program",
            " socket(AF_INET, SOCK_STREAM) = ",
            "── SYN ──",
            "◄──────── SYN+ACK ────────",
            "── PSH+ACK, ",
            "─ FIN+",
        ] {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("no {part}: {outcome}")).1;
        }
        assert!(!rest.contains("calls of the program"), "{outcome}");
    }
}

/// The host's last line has `name=value` for each counter of its engine.
#[test]
fn counters_agree_with_what_happened() {
    let server = HttpServer::start();
    let stack = Stack::run().log("info");
    let url = format!("http://{}:{}/bytes/100000?[1-10]", stack.gateway(), server.port());
    let outcome =
        Program::new("curl").args(["-sS", "-H", "Connection: close", &url]).on(&stack).run().success();
    let counter = |name: &str| -> u64 {
        let line = outcome.stderr.lines().rev().find(|line| line.contains("connections_opened="));
        let line = line.unwrap_or_else(|| panic!("no line with counters: {outcome}"));
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
    };
    assert_eq!(counter("connections_opened"), 10);
    assert_eq!((counter("connections_refused"), counter("connections_reset")), (0, 0));
    assert_eq!((counter("malformed"), counter("bad_checksum"), counter("not_ours")), (0, 0, 0));
    assert!(counter("bytes_received") > 1_000_000, "{outcome}");
    assert!(counter("packets_received") >= 20 && counter("packets_sent") >= 20, "{outcome}");
}
