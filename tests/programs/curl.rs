//! curl as a client over `nat`: every shape of an HTTP transfer, and what the capture says of each.

use crate::support::capture::Capture;
use crate::support::command::{Outcome, Program};
use crate::support::http::HttpServer;
use crate::support::network::Directory;
use crate::support::stack::Stack;
use crate::support::stream::{Digest, Stream};
use std::time::Duration;

const GIBIBYTE: u64 = 1 << 30;

/// curl without a progress meter, with messages for errors.
fn curl(stack: &Stack) -> Program {
    Program::new("curl").arg("-sS").on(stack)
}

fn url(stack: &Stack, server: &HttpServer, path: &str) -> String {
    format!("http://{}:{}{path}", stack.gateway(), server.port())
}

#[track_caller]
fn assert_same_bytes(outcome: &Outcome, expected: &[u8]) {
    assert_eq!(outcome.stdout.len(), expected.len(), "{}", outcome.stderr);
    assert!(outcome.stdout == expected, "the bytes differ");
}

#[test]
fn one_request_and_its_capture() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("curl.pcapng");
    let stack = Stack::run().capture(&file);
    let outcome = curl(&stack).arg(url(&stack, &server, "/bytes/100000")).run().success();
    assert_same_bytes(&outcome, &Stream::of(100_000).bytes());
    let capture = Capture::read(&file);
    capture.proves_connections(server.port(), 1);
    let connection = &capture.connections[0];
    assert!(!connection.reset, "{connection:?}");
    assert!(connection.received_bytes > 100_000 && connection.sent_bytes > 50, "{connection:?}");
}

#[test]
fn preload_alone_is_enough() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("preload.pcapng");
    let stack = Stack::preload().capture(&file);
    let outcome = curl(&stack).arg(url(&stack, &server, "/bytes/5000")).run().success();
    assert_same_bytes(&outcome, &Stream::of(5000).bytes());
    Capture::read(&file).proves_connections(server.port(), 1);

    let outcome = curl(&Stack::preload()).arg(url(&stack, &server, "/bytes/5000")).run().success();
    assert_same_bytes(&outcome, &Stream::of(5000).bytes());
    assert_eq!(outcome.stderr, "", "a preloaded program is not to hear of us");
}

#[test]
fn ipv6() {
    let server = HttpServer::on_ipv6();
    let url = format!("http://[fd00::2]:{}/bytes/100000", server.port());
    let outcome = curl(&Stack::run()).arg(url).run().success();
    assert_same_bytes(&outcome, &Stream::of(100_000).bytes());
}

#[test]
fn server_that_closes_first() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("http10.pcapng");
    let stack = Stack::run().capture(&file);
    let outcome = curl(&stack).arg(url(&stack, &server, "/http10/300000")).run().success();
    assert_same_bytes(&outcome, &Stream::of(300_000).bytes());
    let capture = Capture::read(&file);
    capture.proves_connections(server.port(), 1);
    assert!(capture.connections[0].fin_from_server);
}

#[test]
fn hundred_requests_on_one_connection() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("keep-alive.pcapng");
    let stack = Stack::run().capture(&file);
    let outcome = curl(&stack).arg(url(&stack, &server, "/bytes/1000?[1-100]")).run().success();
    assert_same_bytes(&outcome, &Stream::of(1000).bytes().repeat(100));
    assert_eq!((server.connections(), server.requests()), (1, 100));
    Capture::read(&file).proves_connections(server.port(), 1);
}

#[test]
fn chunked_download_and_upload() {
    let server = HttpServer::start();
    let stack = Stack::run();
    let outcome = curl(&stack).arg(url(&stack, &server, "/chunked/200000")).run().success();
    assert_same_bytes(&outcome, &Stream::of(200_000).bytes());

    // Standard input has no length: curl sends it chunked.
    let outcome = curl(&stack)
        .args(["--upload-file", "-"])
        .arg(url(&stack, &server, "/digest"))
        .input(&Stream::of(200_000).bytes())
        .run()
        .success();
    assert_eq!(outcome.text(), Digest::of_stream(200_000));
}

#[test]
fn hundred_transfers_in_parallel() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("parallel.pcapng");
    let stack = Stack::run().capture(&file);
    // No answer comes before all hundred requests are there: they are in flight at the same time or never.
    let outcome = curl(&stack)
        .args(["-Z", "--parallel-immediate", "--parallel-max", "100"])
        .arg(url(&stack, &server, "/together/100?[1-100]"))
        .run()
        .success();
    assert_eq!(outcome.text(), "together\n".repeat(100));
    Capture::read(&file).proves_connections(server.port(), 100);
}

#[test]
fn gibibyte_down() {
    let server = HttpServer::start();
    let stack = Stack::run();
    let outcome = curl(&stack)
        .arg(url(&stack, &server, &format!("/bytes/{GIBIBYTE}")))
        .inside(["bash", "-o", "pipefail", "-c", r#""$@" | sha256sum"#, "bash"])
        .deadline(Duration::from_secs(300))
        .run()
        .success();
    assert_eq!(outcome.text().split_whitespace().next(), Some(Digest::of_stream(GIBIBYTE).as_str()));
}

#[test]
fn gibibyte_up() {
    let server = HttpServer::start();
    let stack = Stack::run();
    let outcome = curl(&stack)
        .args(["--upload-file", "-"])
        .arg(url(&stack, &server, "/digest"))
        .fed_by(|input| Stream::of(GIBIBYTE).write_to(input))
        .deadline(Duration::from_secs(300))
        .run()
        .success();
    assert_eq!(outcome.text(), Digest::of_stream(GIBIBYTE));
}
