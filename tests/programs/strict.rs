//! `--strict`: what goes round the library is stopped and told, and nothing else is disturbed.

use crate::support::PYTHON;
use crate::support::capture::Capture;
use crate::support::command::{Outcome, Program};
use crate::support::http::HttpServer;
use crate::support::network::{Directory, ordinary_user};
use crate::support::stack::Stack;
use std::path::PathBuf;

/// Builds a program of `c/`.
fn build(directory: &Directory, name: &str, option: &str) -> PathBuf {
    let program = directory.file(name);
    let source = format!("{}/tests/programs/c/{name}.c", env!("CARGO_MANIFEST_DIR"));
    let compiler = Program::new("cc").args(["-Wall", "-Wextra", "-Werror", "-O1", option, "-o"]);
    compiler.arg(&program).arg(source).run().success();
    program
}

/// What `c/bypass.c` prints when all that leads to a network is EPERM.
const STOPPED: &str = "inet -1\nagain -1\ninet6 -1\npacket -1\nx32 -1\nring -1\ninterrupt -1\nsocketcall -1\nunix ok\nnetlink ok\n";

/// A line for each kind of call, which names the process, and no second one.
#[track_caller]
fn told(outcome: &Outcome, program: &str) {
    for call in [
        "socket(AF_INET, SOCK_STREAM) past",
        "socket(AF_INET, SOCK_STREAM), by the x32 ABI, past",
        "io_uring_setup past",
    ] {
        let lines: Vec<_> = outcome.stderr.lines().filter(|line| line.contains(call)).collect();
        let [line] = lines[..] else { panic!("not one line with {call}: {outcome}") };
        assert!(line.contains(": warn: process ") && line.contains("EPERM, by --strict"), "{line}");
        assert!(line.contains(&format!(" (bypass, {program}) called ")), "{line}");
    }
}

#[test]
fn static_program_that_a_shell_starts_is_stopped() {
    let directory = Directory::new();
    let program = build(&directory, "bypass", "-static").display().to_string();
    let script = format!("{program}; exit 3");
    let stopped = Program::new("sh").args(["-c", &script]).on(&Stack::run().strict()).run().status(3);
    assert_eq!(stopped.text(), STOPPED, "{stopped}");
    told(&stopped, &program);
    // The same goes through without.
    let free = Program::new("sh").args(["-c", &script]).on(&Stack::run()).run().status(3);
    assert!(free.text().starts_with("inet ok\nagain ok\ninet6 ok\n"), "{free}");
}

#[test]
fn system_calls_of_its_own_are_stopped_and_libcs_are_not() {
    let directory = Directory::new();
    let program = build(&directory, "bypass", "-O2");
    let stopped = Program::new(&program).arg("libc").on(&Stack::run().strict()).run().success();
    assert_eq!(stopped.text(), format!("{STOPPED}libc ok\n"), "{stopped}");
    told(&stopped, &program.display().to_string());
}

#[test]
fn programs_work_as_without() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("strict.pcapng");
    let stack = Stack::run().strict().capture(&file);
    let url = format!("http://{}:{}/bytes/100000", stack.gateway(), server.port());
    let curl = Program::new("curl").args(["-sS", &url]).on(&stack).run().success();
    assert_eq!((curl.stdout.len(), curl.stderr.as_str()), (100_000, ""));
    Capture::read(&file).proves_connections(server.port(), 1);
    let script = format!("import urllib.request\nprint(len(urllib.request.urlopen('{url}').read()))");
    let python = Program::new(PYTHON).args(["-c", &script]).on(&Stack::run().strict()).run().success();
    assert_eq!((python.text().as_str(), python.stderr.as_str()), ("100000\n", ""));
}

#[test]
fn strict_as_an_ordinary_user() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let program = build(&directory, "bypass", "-static").display().to_string();
    let stack = Stack::run().strict().copied_to(directory.path());
    let url = format!("http://{}:{}/bytes/10", stack.gateway(), server.port());
    let script = format!("{program}; curl -sS {url} | wc -c");
    let outcome = Program::new("sh").args(["-c", &script]).on(&stack).inside(ordinary_user()).run().success();
    assert_eq!(outcome.text(), format!("{STOPPED}10\n"), "{outcome}");
    told(&outcome, &program);
}

#[test]
fn program_with_a_filter_of_its_own() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let stack = Stack::run().strict();
    let program = Program::new(build(&directory, "own_filter", "-O2"));
    let arguments = [stack.gateway().to_string(), server.port().to_string()];
    let outcome = program.args(arguments).on(&stack).run().success();
    assert_eq!((outcome.text().as_str(), outcome.stderr.as_str()), ("HTTP/1.1 200\n", ""));
}

/// A process has one listener at most, so the inner one has none: what it stops it cannot tell, and says so at the start.
#[test]
fn strict_where_nobody_may_listen() {
    let directory = Directory::new();
    let program = build(&directory, "bypass", "-static");
    let script = program.display().to_string();
    let inner = Program::new("sh").args(["-c", &script]).on(&Stack::run().strict());
    let outcome = inner.inside(Stack::run().strict().command()).run().success();
    assert_eq!(outcome.text(), STOPPED, "{outcome}");
    assert_eq!(
        outcome.stderr.matches("--strict: what goes round the stack is stopped, but not told").count(),
        1
    );
}

/// The program cannot be held to it from inside.
#[test]
fn strict_needs_tubesock_run() {
    let script = "import socket\ntry:\n    socket.socket()\nexcept OSError as error:\n    print(error.errno)";
    let program = Program::new(PYTHON).args(["-c", script]).variable("TUBESOCK_STRICT", "1");
    let outcome = program.on(&Stack::preload()).run().success();
    assert_eq!(outcome.text(), format!("{}\n", libc::EINVAL));
    assert!(
        outcome.stderr.contains("error: TUBESOCK_STRICT: only 'tubesock run' can see to that"),
        "{outcome}"
    );
}
