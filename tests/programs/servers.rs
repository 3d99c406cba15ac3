//! Servers on our stack, reached from the kernel's through `--publish`.

use crate::support::PYTHON;
use crate::support::capture::Capture;
use crate::support::command::{Program, Running};
use crate::support::network::{Directory, free_port, wait_until_connectable};
use crate::support::nginx::{FILE_LENGTH, Nginx};
use crate::support::stack::Stack;
use crate::support::stream::Stream;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

/// A hundred clients of the kernel's at the same time; every body must be `expected`.
#[track_caller]
fn hundred_curls(url: &str, expected: &[u8], directory: &Directory) {
    let bodies = directory.open_to_all("bodies");
    Program::new("curl")
        .args(["-sS", "-Z", "--parallel-immediate", "--parallel-max", "100", "-o"])
        .arg(bodies.join("#1"))
        .arg(format!("{url}?[1-100]"))
        .run()
        .success();
    for number in 1..=100 {
        let body = std::fs::read(bodies.join(number.to_string())).expect("curl wrote it");
        assert!(body == expected, "body {number} has {} bytes", body.len());
    }
}

/// `python3 -m http.server 8000` with a backlog for a hundred clients at once: its own is five, and on the kernel's stack
/// too most of them then wait for a minute.
const PYTHON_SERVER: &str = "from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer, test
ThreadingHTTPServer.request_queue_size = 128
test(SimpleHTTPRequestHandler, ThreadingHTTPServer, port=8000)";

fn python_server(stack: &Stack, directory: &Path) -> Running {
    let server =
        Program::new(PYTHON).args(["-u", "-c", PYTHON_SERVER]).directory(directory).on(stack).spawn();
    server.line_with("Serving HTTP on");
    server
}

#[test]
fn python_http_server() {
    let (directory, outside) = (Directory::new(), free_port());
    let content = Stream::of(50_000).bytes();
    std::fs::write(directory.file("content"), &content).expect("the directory is ours");
    let _server = python_server(&Stack::run().publish(outside, 8000), directory.path());
    hundred_curls(&format!("http://127.0.0.1:{outside}/content"), &content, &directory);
}

#[test]
fn python_http_server_under_preload_with_a_capture() {
    let (directory, outside) = (Directory::new(), free_port());
    let file = directory.file("server.pcapng");
    std::fs::write(directory.file("content"), "served\n").expect("the directory is ours");
    let server = python_server(&Stack::preload().publish(outside, 8000).capture(&file), directory.path());
    let url = format!("http://127.0.0.1:{outside}/content");
    assert_eq!(Program::new("curl").args(["-sS", &url]).run().success().text(), "served\n");
    // SIGINT is how a person stops it; Python then ends in order, and the capture is whole.
    server.interrupt();
    let capture = Capture::read(&file);
    let connections = capture.to_port(8000);
    assert_eq!(connections.len(), 1, "{capture:?}");
    assert!(connections[0].whole_handshake() && connections[0].fin_from_server, "{capture:?}");
}

#[test]
fn nginx() {
    let (directory, outside) = (Directory::new(), free_port());
    let nginx = Nginx::on(&Stack::run().publish(outside, 8080), "0.0.0.0", 8080, 8443);
    // The published port is open before nginx listens: the first answer says that it does.
    let url = format!("http://127.0.0.1:{outside}/file");
    Program::new("curl")
        .args(["-sS", "-o", "/dev/null", "--retry", "100", "--retry-delay", "1", "--retry-all-errors", &url])
        .run()
        .success();
    hundred_curls(&url, &Stream::of(FILE_LENGTH).bytes(), &directory);
    drop(nginx);
}

#[test]
fn nc_listening() {
    let outside = free_port();
    let server = Program::new("nc")
        .args(["-l", "-v", "-N", "9000"])
        .on(&Stack::run().publish(outside, 9000))
        .input(b"from nc\n")
        .spawn();
    server.line_with("Listening on");
    let mut client = TcpStream::connect(("127.0.0.1", outside)).expect("the port is published");
    client.write_all(&Stream::of(100_000).bytes()).expect("nc reads");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("nc ends in order");
    assert_eq!(answer, "from nc\n");
    assert!(server.finish().success().stdout == Stream::of(100_000).bytes());
}

#[test]
fn echo_server_in_c_with_a_hundred_clients() {
    let (directory, outside) = (Directory::new(), free_port());
    let binary = directory.file("echo_server");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/c/echo_server.c");
    Program::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-o"])
        .arg(&binary)
        .arg(source)
        .run()
        .success();
    let server = Program::new(&binary).args(["7", "100"]).on(&Stack::run().publish(outside, 7)).spawn();
    server.line_with("listening");
    std::thread::scope(|scope| {
        for number in 0..100_u8 {
            scope.spawn(move || echoes(outside, &[number; 200_000]));
        }
    });
    server.finish().success();
}

/// Sends and reads at the same time, as the server does not buffer.
#[track_caller]
fn echoes(port: u16, payload: &[u8]) {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is published");
    let mut answer = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(payload).expect("the server reads");
            stream.shutdown(Shutdown::Write).expect("it is connected");
        });
        (&stream).read_to_end(&mut answer).expect("the server ends in order");
    });
    assert!(answer == payload, "{} bytes of {}", answer.len(), payload.len());
}

#[test]
fn published_port_without_a_server_is_an_end_and_no_hang() {
    let outside = free_port();
    let stack = Stack::run().publish(outside, 8000);
    // A socket, so that a host runs; nobody listens on port 8000.
    let program = "import socket, sys; socket.socket(); print('up', flush=True); sys.stdin.read()";
    let idle = Program::new(PYTHON).args(["-c", program]).on(&stack).fed_by(|input| {
        // Held open until the program is killed.
        use std::os::fd::AsFd;
        let _gone = rustix::event::poll(
            &mut [rustix::event::PollFd::from_borrowed_fd(input.as_fd(), rustix::event::PollFlags::ERR)],
            None,
        );
        Ok(())
    });
    let idle = idle.spawn();
    idle.line_with("up");
    wait_until_connectable(outside);
    let outcome =
        Program::new("curl").args(["-sS", "--max-time", "10", &format!("http://127.0.0.1:{outside}/")]).run();
    // Refused, reset, or an empty reply: it depends on when the reset comes.
    assert!(matches!(outcome.code(), Some(7 | 52 | 56)), "{outcome}");
}
