//! Clients other than curl over `nat`: wget, Python, nc, git, ab, wrk; and curl where TLS and HTTP/2 come in.

use crate::support::PYTHON;
use crate::support::capture::Capture;
use crate::support::command::Program;
use crate::support::http::HttpServer;
use crate::support::network::{Directory, free_port, wait_until_connectable};
use crate::support::nginx::{FILE_LENGTH, Nginx};
use crate::support::stack::Stack;
use crate::support::stream::Stream;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

fn python(which: &str, stack: &Stack, port: u16) -> Program {
    Program::new(PYTHON)
        .args([
            "-c",
            include_str!("python/clients.py"),
            which,
            &stack.gateway().to_string(),
            &port.to_string(),
        ])
        .on(stack)
}

#[test]
fn wget() {
    let (server, stack) = (HttpServer::start(), Stack::run());
    let url = format!("http://{}:{}", stack.gateway(), server.port());
    for path in ["bytes/100000", "chunked/100000", "http10/100000"] {
        let outcome = Program::new("wget")
            .args(["-q", "-O", "-", "--tries=1"])
            .arg(format!("{url}/{path}"))
            .on(&stack)
            .run()
            .success();
        assert!(outcome.stdout == Stream::of(100_000).bytes(), "{path}: {outcome}");
    }
}

#[test]
fn python_urllib() {
    let (server, stack) = (HttpServer::start(), Stack::run());
    assert_eq!(python("urllib", &stack, server.port()).run().success().text(), "100000\n");
}

#[test]
fn python_http_client_keeps_one_connection() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("http_client.pcapng");
    let stack = Stack::preload().capture(&file);
    assert_eq!(python("http.client", &stack, server.port()).run().success().text(), "100000\n");
    Capture::read(&file).proves_connections(server.port(), 1);
}

#[test]
fn python_asyncio_with_fifty_connections() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.file("asyncio.pcapng");
    let stack = Stack::run().capture(&file);
    assert_eq!(python("asyncio", &stack, server.port()).run().success().text(), "100000\n");
    Capture::read(&file).proves_connections(server.port(), 50);
}

#[test]
fn python_ssl() {
    let (nginx, stack) = (Nginx::start(), Stack::run());
    let outcome = python("ssl", &stack, nginx.secure_port).arg(nginx.certificate()).run().success();
    assert_eq!(outcome.text(), format!("{FILE_LENGTH}\n"));
}

/// curl prints the protocol's version behind the last of the bodies.
#[track_caller]
fn over_tls(arguments: &[&str], path: &str, count: u64, version: &str, connections: usize) {
    let (nginx, directory) = (Nginx::start(), Directory::new());
    let file = directory.file("tls.pcapng");
    let stack = Stack::run().capture(&file);
    let outcome = Program::new("curl")
        .args(["-sS", "--cacert"])
        .arg(nginx.certificate())
        .args(["-o", "/dev/null", "-w", "%{http_version} %{size_download}\\n"])
        .args(arguments)
        .arg(format!("https://{}:{}{path}", stack.gateway(), nginx.secure_port))
        .on(&stack)
        .run()
        .success();
    let lines = format!("{version} {FILE_LENGTH}\n").repeat(usize::try_from(count).expect("small"));
    assert_eq!(outcome.text(), lines);
    Capture::read(&file).proves_connections(nginx.secure_port, connections);
}

#[test]
fn curl_https() {
    over_tls(&["--http1.1"], "/file", 1, "1.1", 1);
}

#[test]
fn curl_http2_with_fifty_streams_on_one_connection() {
    over_tls(&["--http2", "-Z", "--parallel-max", "50"], "/file?[1-50]", 50, "2", 1);
}

#[test]
fn nc_both_ways_and_half_close() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    let port = listener.local_addr().expect("it is bound").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("nc connects");
        let mut received = Vec::new();
        // The end comes by half-close only; what is sent after it must still arrive.
        stream.read_to_end(&mut received).expect("nc ends in order");
        stream.write_all(b"after your end\n").expect("nc still reads");
        received
    });
    let stack = Stack::run();
    let outcome = Program::new("nc")
        .args(["-N", &stack.gateway().to_string(), &port.to_string()])
        .on(&stack)
        .input(&Stream::of(500_000).bytes())
        .run()
        .success();
    assert_eq!(outcome.text(), "after your end\n");
    assert!(server.join().expect("the server did not panic") == Stream::of(500_000).bytes());
}

#[test]
fn git_clone_over_http() {
    let directory = Directory::new();
    let repository = directory.file("repository.git");
    let git = |arguments: &[&str]| {
        Program::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.invalid"])
            .args(arguments)
            .directory(directory.path())
            .run()
            .success()
    };
    git(&["init", "-q", "work"]);
    std::fs::write(directory.file("work/content"), Stream::of(400_000).bytes())
        .expect("the directory is ours");
    git(&["-C", "work", "add", "content"]);
    git(&["-C", "work", "commit", "-q", "-m", "content"]);
    git(&["clone", "-q", "--bare", "work", "repository.git"]);
    let port = free_port();
    let _server = git_server(&directory, port);

    let stack = Stack::run();
    Program::new("git")
        .args(["clone", "-q"])
        .arg(format!("http://{}:{port}/cgi-bin/git/repository.git", stack.gateway()))
        .arg("clone")
        .on(&stack)
        .directory(directory.path())
        .run()
        .success();
    let content = std::fs::read(directory.file("clone/content")).expect("it was cloned");
    assert!(repository.exists() && content == Stream::of(400_000).bytes());
}

/// Python's server, which runs git's own program for every request.
fn git_server(directory: &Directory, port: u16) -> crate::support::command::Running {
    use std::os::unix::fs::PermissionsExt;
    let script = directory.open_to_all("cgi-bin").join("git");
    std::fs::write(&script, "#!/bin/sh\nexec git http-backend\n").expect("the directory is ours");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let server = Program::new(PYTHON)
        .args(["-u", "-m", "http.server", "--cgi", "--bind", "127.0.0.1", &port.to_string()])
        .directory(directory.path())
        .variable("GIT_PROJECT_ROOT", directory.path())
        .variable("GIT_HTTP_EXPORT_ALL", "1")
        // The server runs scripts as another user when it is root.
        .variable("GIT_CONFIG_COUNT", "1")
        .variable("GIT_CONFIG_KEY_0", "safe.directory")
        .variable("GIT_CONFIG_VALUE_0", "*")
        .spawn();
    wait_until_connectable(port);
    server
}

/// Descriptors and resident KiB of a process.
fn use_of(process: u32) -> (usize, usize) {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    (descriptors, resident.trim().trim_end_matches(" kB").parse().expect("proc(5)"))
}

/// What the second 5,000 connections may add to a program, in KiB. By then the tables that remember connections, of
/// TIME-WAIT and of ends, are full; 100 bytes lost with each connection would show.
const GROWTH_KIB: usize = 480;

/// Descriptors of the last connections that may still be on their way to being closed.
const CLOSING: usize = 8;

#[test]
fn ab_ten_thousand_requests_without_growth() {
    let process: Arc<OnceLock<u32>> = Arc::default();
    let uses: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
    let server = HttpServer::observed({
        let (process, uses) = (process.clone(), uses.clone());
        move |number| {
            if number == 5000 || number == 9999 {
                uses.lock().expect("nobody panics with it").push(use_of(*process.wait()));
            }
        }
    });
    let stack = Stack::run();
    let running = Program::new("ab")
        .args(["-q", "-n", "10000", "-c", "1"])
        .arg(format!("http://{}:{}/bytes/64", stack.gateway(), server.port()))
        .on(&stack)
        .deadline(Duration::from_secs(120))
        .spawn();
    process.set(running.id()).expect("set once");
    let report = running.finish().success().text();
    let value = |name: &str| {
        let line = report.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{report}"));
        line.split_whitespace().nth(2).expect("ab prints a number").to_owned()
    };
    assert_eq!(
        (value("Complete requests"), value("Failed requests")),
        ("10000".into(), "0".into()),
        "{report}"
    );
    assert_eq!(server.connections(), 10_000);
    let uses = uses.lock().expect("nobody panics with it");
    let [(descriptors_before, before), (descriptors_after, after)] = uses[..] else { panic!("{uses:?}") };
    assert!(descriptors_after <= descriptors_before + CLOSING, "descriptors: {uses:?}");
    assert!(after <= before + GROWTH_KIB, "memory in KiB: {uses:?}");
}

#[test]
fn python_ten_thousand_connections_without_growth() {
    let (server, stack) = (HttpServer::start(), Stack::run());
    let outcome = Program::new(PYTHON)
        .args(["-c", include_str!("python/many.py"), &stack.gateway().to_string()])
        .args([&server.port().to_string(), "10000"])
        .on(&stack)
        .deadline(Duration::from_secs(180))
        .run()
        .success();
    let numbers: Vec<usize> =
        outcome.text().split_whitespace().map(|word| word.parse().expect("it prints numbers")).collect();
    let &[descriptors_before, before, descriptors_after, after] = numbers.as_slice() else {
        panic!("{outcome}")
    };
    assert!(descriptors_after <= descriptors_before + CLOSING, "descriptors: {numbers:?}");
    assert!(after <= before + GROWTH_KIB, "memory in KiB: {numbers:?}");
}

#[test]
fn wrk_with_fifty_connections() {
    let (server, stack) = (HttpServer::start(), Stack::run());
    let outcome = Program::new("wrk")
        .args(["-t", "2", "-c", "50", "-d", "2s"])
        .arg(format!("http://{}:{}/bytes/1000", stack.gateway(), server.port()))
        .on(&stack)
        .run()
        .success();
    let report = outcome.text();
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    // One more than asked for: wrk looks first whether the server is there.
    assert!(server.requests() > 1000 && server.connections() == 51, "{report}");
}
