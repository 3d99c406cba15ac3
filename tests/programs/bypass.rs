//! `--bypass`: destinations that the kernel connects to; the witness is a server on the machine's loopback, which 127.0.0.1 is
//! not in our stack.

use crate::support::PYTHON;
use crate::support::command::{Outcome, Program};
use crate::support::http::HttpServer;
use crate::support::network::{Directory, free_port, ordinary_user};
use crate::support::stack::Stack;
use std::net::UdpSocket;

fn curl(port: u16) -> Program {
    Program::new("curl").args(["-sS", "--noproxy", "*"]).arg(format!("http://127.0.0.1:{port}/bytes/100000"))
}

#[track_caller]
fn bypassed(outcome: &Outcome) {
    assert_eq!(outcome.stdout.len(), 100_000, "{outcome}");
    let counters = outcome.stderr.lines().find(|line| line.contains("packets_sent="));
    let counters = counters.unwrap_or_else(|| panic!("no line with counters: {outcome}"));
    assert!(counters.contains("packets_received=0 packets_sent=0 "), "{counters}");
    assert!(counters.contains(" connections_opened=0 "), "{counters}");
}

#[test]
fn bypassed_server_is_reached_and_the_stack_is_still() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    for stack in [Stack::run(), Stack::run().strict(), Stack::preload()] {
        let stack = stack.bypass("127.0.0.0/8").log("info").copied_to(directory.path());
        bypassed(&curl(server.port()).on(&stack).inside(ordinary_user()).run().success());
    }
    assert_eq!(server.connections(), 3);
    // Another port of it is the program's own loopback, where nobody listens.
    let stack = Stack::run().bypass(&format!("127.0.0.1:{}", free_port()));
    curl(server.port()).on(&stack).run().status(7);
    assert_eq!(server.connections(), 3);
}

const EXPECTED: &str = r#"peer True 127.0.0.1
domain True
options 1 True 33 7
flags False False
reply b'HTTP/1.1 200'
begun EINPROGRESS
epoll [(True, 4)]
connected 0
refused ECONNREFUSED None b'HTTP/1.1 200'
others 127.0.0.1 ::ffff:127.0.0.1 b'HTTP/1.1 200'
inside 10.0.2.15 b'HTTP/1.1 200'
listener ECONNREFUSED
elsewhere ENETUNREACH
sendto ENOTSUP
echo b'connected' 127.0.0.1
sendto 2 b'to'
sendto ENETUNREACH
sendmsg ENETUNREACH
connect ENETUNREACH
"#;

#[test]
fn what_goes_to_the_kernel_and_what_stays() {
    let (server, closed) = (HttpServer::start(), free_port());
    let echo = UdpSocket::bind("127.0.0.1:0").expect("the loopback has free ports");
    let port = echo.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let mut datagram = [0; 100];
        while let Ok((length, from)) = echo.recv_from(&mut datagram) {
            let _gone = echo.send_to(&datagram[..length], from);
        }
    });
    for stack in [Stack::run(), Stack::run().strict(), Stack::preload()] {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/python/bypass.py");
        let program =
            Program::new(PYTHON).arg(script).args([server.port(), port, closed].map(|n| n.to_string()));
        let outcome = program.on(&stack.bypass("127.0.0.0/8")).run().success();
        assert_eq!(outcome.text(), EXPECTED, "{outcome}");
        assert!(outcome.stderr.contains("--bypass leads a datagram socket there only when"), "{outcome}");
        assert!(!outcome.stderr.contains("--strict"), "{outcome}");
    }
}
