//! What goes wrong is seen as on the kernel's stack. Every case runs on both in the same test, and must end alike.

use crate::support::PYTHON;
use crate::support::command::{Outcome, Program};
use crate::support::http::HttpServer;
use crate::support::network::{BLACK_HOLE, free_port, in_namespace};
use crate::support::stack::Stack;

/// Runs `program` on both stacks; it makes the program for one.
fn on_both(program: impl Fn(&Stack) -> Program) -> [Outcome; 2] {
    [Stack::kernel(), Stack::run()].map(|stack| program(&stack).run())
}

#[track_caller]
fn curl_ends_with(code: i32, url: impl Fn(&Stack) -> String, arguments: &[&str]) {
    for outcome in on_both(|stack| Program::new("curl").arg("-sS").args(arguments).arg(url(stack)).on(stack))
    {
        assert_eq!(outcome.code(), Some(code), "{outcome}");
    }
}

fn url(stack: &Stack, port: u16, path: &str) -> String {
    format!("http://{}:{port}{path}", stack.gateway())
}

#[test]
fn refused() {
    let port = free_port();
    curl_ends_with(7, |stack| url(stack, port, "/"), &[]);
}

#[test]
fn no_answer_in_time() {
    let server = HttpServer::start();
    curl_ends_with(28, |stack| url(stack, server.port(), "/never"), &["--max-time", "1"]);
}

/// Several times, since it takes luck to see a reset that comes out as an orderly end.
#[test]
fn reset_in_mid_transfer() {
    let server = HttpServer::start();
    for _ in 0..20 {
        curl_ends_with(56, |stack| url(stack, server.port(), "/reset"), &["-o", "/dev/null"]);
    }
}

#[test]
fn short_body() {
    let server = HttpServer::start();
    curl_ends_with(18, |stack| url(stack, server.port(), "/short"), &["-o", "/dev/null"]);
}

#[test]
fn connect_into_a_black_hole() {
    let [kernel, ours] = on_both(|stack| {
        Program::new("curl")
            .args(["-sS", "--connect-timeout", "1", "http://192.0.2.99/"])
            .on(stack)
            .inside(in_namespace(BLACK_HOLE))
    });
    kernel.status(28);
    ours.status(28);
}

#[test]
fn no_route() {
    let [kernel, ours] = on_both(|stack| {
        Program::new("curl")
            .args(["-sS", "http://198.51.100.1/"])
            .on(stack)
            .inside(in_namespace("ip link set lo up; exec \"$@\""))
    });
    kernel.status(7);
    ours.status(7);
}

/// A Python script that must print the same lines on the kernel's stack and on ours.
fn prints_the_same(script: &str) {
    let (server, closed) = (HttpServer::start(), free_port());
    let [kernel, ours] = on_both(|stack| {
        Program::new(PYTHON)
            .args(["-c", script, &stack.gateway().to_string()])
            .args([server.port().to_string(), closed.to_string()])
            .on(stack)
    });
    let (kernel, ours) = (kernel.success().text(), ours.success().text());
    let differences: Vec<(&str, &str)> =
        kernel.lines().zip(ours.lines()).filter(|(kernel, ours)| kernel != ours).collect();
    assert!(differences.is_empty() && kernel.lines().count() == ours.lines().count(), "{differences:#?}");
}

#[test]
fn errors_and_events_of_python_sockets() {
    prints_the_same(include_str!("python/errors.py"));
}

#[test]
fn what_once_differed() {
    prints_the_same(include_str!("python/regressions.py"));
}

/// TCP_INFO among them.
#[test]
fn options_of_tcp() {
    prints_the_same(include_str!("python/options.py"));
}

#[test]
fn urgent_data() {
    prints_the_same(include_str!("python/urgent.py"));
}
