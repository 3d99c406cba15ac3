//! What programs do with processes and descriptors while sockets are open.

use crate::support::PYTHON;
use crate::support::command::{Outcome, Program};
use crate::support::http::HttpServer;
use crate::support::network::{Directory, in_namespace};
use crate::support::stack::Stack;
use crate::support::stream::Stream;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Runs a script against the HTTP server on both stacks, and gives both outputs.
fn on_both(script: &str) -> [Outcome; 2] {
    let server = HttpServer::start();
    [Stack::kernel(), Stack::run()].map(|stack| {
        Program::new(PYTHON)
            .args(["-c", script, &stack.gateway().to_string(), &server.port().to_string()])
            .on(&stack)
            .run()
            .success()
    })
}

#[track_caller]
fn prints(script: &str, expected: &str) {
    for outcome in on_both(script) {
        assert_eq!(outcome.text(), expected, "{outcome}");
    }
}

#[test]
fn server_and_clients_in_one_process() {
    prints(include_str!("python/processes/own_loopback.py"), "10000000\n");
}

#[test]
fn subprocesses_while_a_connection_is_open() {
    prints(include_str!("python/processes/subprocesses.py"), "1000\n");
}

#[test]
fn closing_every_descriptor() {
    prints(include_str!("python/processes/close_everything.py"), "6000 True\n");
}

#[test]
fn duplicates() {
    prints(include_str!("python/processes/duplicates.py"), "1000\n1000 True\nb'' 1000\n");
}

/// A forked child has all of the socket that it inherited, whichever process the stack is in.
#[test]
fn forked_child_uses_what_it_inherited() {
    let server = HttpServer::start();
    let body = Stream::of(1000).bytes();
    let end: String = body[992..].iter().map(|byte| format!("{byte:02x}")).collect();
    for stack in [Stack::run(), Stack::preload()] {
        let outcome = Program::new(PYTHON)
            .args(["-c", include_str!("python/processes/forked.py"), &stack.gateway().to_string()])
            .args([&server.port().to_string(), &end])
            .on(&stack)
            .run()
            .success();
        let port = server.port();
        let expected = format!("child getpeername: {port}\nchild: 1000\nparent: 1000\n");
        assert_eq!(outcome.text(), expected, "{outcome}");
    }
}

/// A listener opened before fork is accepted from in every worker.
#[test]
fn workers_accept_from_one_listener() {
    for stack in [Stack::kernel(), Stack::run(), Stack::preload()] {
        let script = include_str!("python/processes/workers.py");
        let outcome = Program::new(PYTHON).args(["-c", script]).on(&stack).run().success();
        assert_eq!(outcome.text(), "30 answers, from workers [0, 1, 2]\n", "{outcome}");
    }
}

/// `tubesock run` is two processes: whichever is killed, or its whole group, nothing that descends from the program is left,
/// in whatever session.
#[test]
fn what_descends_from_the_program_ends_with_a_killed_wrapper() {
    let kill: [fn(Pid) -> rustix::io::Result<()>; 3] = [
        |wrapper| kill_process(wrapper, Signal::KILL),
        |wrapper| kill_process(children(wrapper)[0], Signal::KILL),
        |wrapper| kill_process_group(wrapper, Signal::KILL),
    ];
    for kill in kill {
        let script = "setsid sleep 60 & sleep 60 & echo started; wait";
        let wrapper = Program::new("sh").args(["-c", script]).on(&Stack::run()).spawn();
        wrapper.line_with("started");
        let begun = Instant::now();
        kill(Pid::from_raw(wrapper.id().cast_signed()).expect("a process")).expect("it runs");
        // Returns when nobody holds its output any more.
        wrapper.finish().signal(libc::SIGKILL);
        assert!(begun.elapsed() < Duration::from_secs(30), "it went on");
    }
}

/// What the program has left behind gets what is sent to the wrapper, or typed at its terminal.
#[test]
fn a_daemon_hears_signals_when_its_program_has_ended() {
    for by in ["terminal", "SIGTERM"] {
        let script = include_str!("python/processes/daemon.py");
        let command = Stack::run().command();
        let outcome = Program::new(PYTHON).args(["-c", script, by]).args(command).run().success();
        assert_eq!(outcome.text(), "ended with 3\n", "{by}: {outcome}");
    }
}

fn children(process: Pid) -> Vec<Pid> {
    let list = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).expect("proc(5)");
    list.split_whitespace().filter_map(|number| Pid::from_raw(number.parse().ok()?)).collect()
}

/// Who goes on to another network namespace lets go of the one before, and who comes back of all: the host keeps no
/// descriptors for them. New sockets are for the host's own namespace.
#[test]
fn sockets_in_other_network_namespaces() {
    let script = include_str!("python/processes/namespaces.py");
    let program = Program::new(PYTHON).args(["-c", script]).on(&Stack::run());
    let outcome = program.inside(in_namespace("exec \"$@\"")).run().success();
    assert_eq!(outcome.text(), "EACCES 2\nEACCES 2\na socket 0\n", "{outcome}");
}

/// There the kernel does not say which process the host is.
#[test]
fn accepting_in_another_pid_namespace() {
    let script = "import socket; s = socket.create_server(('127.0.0.1', 80)); s.settimeout(5); \
                  c = socket.create_connection(('127.0.0.1', 80)); print(s.accept()[1][0])";
    let inner = ["--map-root-user", "--pid", "--fork", PYTHON, "-c", script];
    let outcome = Program::new("unshare").args(inner).on(&Stack::run()).run().success();
    assert_eq!(outcome.text(), "127.0.0.1\n", "{outcome}");
}

/// The stack of a plain LD_PRELOAD ends with the process that ran it: then its children get an error that says so.
#[test]
fn child_that_outlives_the_stack_gets_an_error() {
    let stack = Stack::preload();
    let script = include_str!("python/processes/orphan.py");
    let outcome = Program::new(PYTHON).args(["-c", script]).on(&stack).run().success();
    assert_eq!(outcome.text(), "accept: ENETDOWN\nsetsockopt: ENETDOWN\nnew socket: ok\n", "{outcome}");
    assert!(
        outcome.stderr.contains("has ended: ENETDOWN") && outcome.stderr.contains("tubesock run"),
        "{outcome}"
    );
}

/// What a process wrote arrives though it was killed: `tubesock run` has it.
#[test]
fn what_was_sent_before_a_kill_arrives() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the program connects");
        stream.read_to_end(&mut Vec::new()).expect("the end is in order")
    });
    let stack = Stack::run();
    Program::new(PYTHON)
        .args(["-c", include_str!("python/processes/exit_at_once.py"), &stack.gateway().to_string()])
        .args([&port.to_string(), "kill"])
        .on(&stack)
        .run()
        .signal(libc::SIGKILL);
    assert_eq!(server.join().expect("the server did not panic"), 1_000_000);
}

/// What was sent before the process ended arrives whole, however it ended.
#[test]
fn what_was_sent_before_the_end_arrives() {
    let ways = ["_exit", "exit", "return"].into_iter();
    for (how, stack) in ways.flat_map(|how| [(how, Stack::run()), (how, Stack::preload())]) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the program connects");
            let mut received = Vec::new();
            stream.read_to_end(&mut received).expect("the end is in order");
            received.len()
        });
        Program::new(PYTHON)
            .args(["-c", include_str!("python/processes/exit_at_once.py"), &stack.gateway().to_string()])
            .args([&port.to_string(), how])
            .on(&stack)
            .run()
            .status(if how == "return" { 0 } else { 7 });
        assert_eq!(server.join().expect("the server did not panic"), 1_000_000, "{how}");
    }
}

#[test]
fn exit_in_a_signal_handler_delivers_and_ends() {
    let directory = Directory::new();
    let program = directory.file("exit_in_handler");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/exit_in_handler.c");
    Program::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .arg(&program)
        .arg(source)
        .run()
        .success();
    let stack = Stack::preload();
    // The handler meets malloc at work in nearly every run.
    for _ in 0..20 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the program connects");
            stream.read_to_end(&mut Vec::new()).expect("the end is in order")
        });
        let arguments = [stack.gateway().to_string(), port.to_string()];
        // At level info the driver formats a line at the end, too.
        Program::new(&program).args(&arguments).variable("TUBESOCK_LOG", "info").on(&stack).run().status(3);
        assert_eq!(server.join().expect("the server did not panic"), 100_000);
    }
}
