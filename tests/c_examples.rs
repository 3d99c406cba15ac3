//! `c-examples/` and `include/tubesock.h`, as a C programmer uses them: compiled with every warning an error, linked
//! with the shared and the static library, under ASan and UBSan, against a server or clients of the kernel's
//! over `nat`.

#[path = "support/ports.rs"]
mod ports;

use ports::free_port;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How an example is linked, and with what checks.
#[derive(Clone, Copy, Debug)]
enum Build {
    Shared,
    Static,
    Sanitized,
}

const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];
/// What `rustc --print native-static-libs` asks for with the static library.
const STATIC_NEEDS: [&str; 5] = ["-lgcc_s", "-lrt", "-lpthread", "-lm", "-ldl"];
const SANITIZERS: [&str; 3] = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
/// More than any buffer on the way holds.
const BULK: usize = 4 << 20;
/// In `nat`, the machine's own loopback.
const LOOPBACK: &str = "10.0.2.2";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo has put the libraries: next to this test.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    test.parent().expect("an executable lies in a directory").to_owned()
}

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

fn compile(example: &str, build: Build) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{example}-{build:?}"));
    let libraries = libraries();
    let mut compiler = Command::new("cc");
    compiler.arg("-std=gnu99").args(WARNINGS).arg("-I").arg(root().join("include")).arg("-o").arg(&program);
    if let Build::Sanitized = build {
        compiler.args(SANITIZERS);
    }
    compiler.arg(root().join("c-examples").join(example).with_extension("c"));
    match build {
        Build::Static => compiler.arg(libraries.join("libtubesock.a")).args(STATIC_NEEDS),
        Build::Shared | Build::Sanitized => compiler
            .arg(libraries.join("libtubesock.so"))
            .args(["-Xlinker", "-rpath", "-Xlinker"])
            .arg(&libraries),
    };
    succeed(&mut compiler);
    program
}

/// The program with no settings of ours, killed after a minute.
fn bounded(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60"]).arg(program);
    without_settings(command)
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"TUBESOCK_") {
            command.env_remove(name);
        }
    }
    command
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// A server of the kernel's for one connection; its port.
fn serve_once<F: FnOnce(TcpStream) + Send + 'static>(serve: F) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (port, thread::spawn(move || serve(listener.accept().expect("a client comes").0)))
}

fn echo_client(build: Build) {
    let (port, server) = serve_once(|stream| {
        std::io::copy(&mut &stream, &mut &stream).expect("the client takes what it sent");
    });
    let mut client = bounded(&compile("echo_client", build))
        .args([LOOPBACK, &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("timeout(1) is there");
    let mut input = client.stdin.take().expect("piped");
    let writer = thread::spawn(move || input.write_all(&pattern(BULK)));
    let output = client.wait_with_output().expect("it can be waited for");
    assert!(output.status.success(), "{}", output.status);
    assert!(output.stdout == pattern(BULK), "{} bytes came back, of {BULK}", output.stdout.len());
    writer.join().expect("no panic").expect("the client reads all its input");
    server.join().expect("no panic");
}

fn http_client(build: Build) {
    let (port, server) = serve_once(|mut stream| {
        let request =
            BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let request: Vec<_> = request.collect();
        assert_eq!(request.first().map(String::as_str), Some("GET /index.html HTTP/1.0"));
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").expect("the client listens");
        stream.write_all(&pattern(BULK)).expect("the client listens");
    });
    let output =
        succeed(bounded(&compile("http_client", build)).args([LOOPBACK, &port.to_string(), "/index.html"]));
    let body = output.stdout.strip_prefix(b"HTTP/1.0 200 OK\r\n\r\n").expect("the head comes first");
    assert!(body == pattern(BULK), "{} bytes came, of {BULK}", body.len());
    server.join().expect("no panic");
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn echo_server(build: Build) {
    const CLIENTS: usize = 20;
    let port = free_port();
    let mut server = without_settings(Command::new(compile("echo_server", build)))
        .args(["7", &CLIENTS.to_string()])
        .env("TUBESOCK_PUBLISH", format!("127.0.0.1:{port}:7"))
        .stdout(Stdio::piped())
        .spawn()
        .map(Killed)
        .expect("it was just compiled");
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().expect("piped")).read_line(&mut line).expect("it says a line");
    assert_eq!(line, "listening\n");
    let clients: Vec<_> = (0..CLIENTS).map(|i| thread::spawn(move || echoed(port, i * 10_007))).collect();
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    let status = server.0.wait().expect("it can be waited for");
    assert!(status.success(), "{status}");
}

/// Sends `length` bytes and reads them back.
fn echoed(port: u16, length: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server is published");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("not zero");
    let mut sender = stream.try_clone().expect("a descriptor is free");
    let sending = thread::spawn(move || {
        sender.write_all(&pattern(length))?;
        sender.shutdown(Shutdown::Write)
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("the server answers");
    assert!(received == pattern(length), "{} bytes came back, of {length}", received.len());
    sending.join().expect("no panic").expect("the server takes it all");
}

/// Compiles a file that only includes the header, twice.
fn include_header(compiler: &str, language: &str, standard: &[&str]) {
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("include.{language}"));
    std::fs::write(
        &source,
        "#include \"tubesock.h\"\n#include \"tubesock.h\"\nint main(void) { return tube_close(-1) + 1; }\n",
    )
    .expect("the directory is there");
    let mut command = Command::new(compiler);
    command
        .args(standard)
        .args(WARNINGS)
        .arg("-I")
        .arg(root().join("include"))
        .arg("-fsyntax-only")
        .arg(&source);
    succeed(&mut command);
}

#[test]
fn the_header_stands_alone_in_c() {
    include_header("cc", "c", &["-std=c99", "-D_POSIX_C_SOURCE=200809L"]);
}

#[test]
fn the_header_stands_alone_in_cpp() {
    include_header("c++", "cc", &["-std=c++11"]);
}

#[test]
fn echo_client_shared() {
    echo_client(Build::Shared);
}

#[test]
fn echo_client_static() {
    echo_client(Build::Static);
}

#[test]
fn echo_client_sanitized() {
    echo_client(Build::Sanitized);
}

#[test]
fn http_client_shared() {
    http_client(Build::Shared);
}

#[test]
fn http_client_static() {
    http_client(Build::Static);
}

#[test]
fn http_client_sanitized() {
    http_client(Build::Sanitized);
}

#[test]
fn echo_server_shared() {
    echo_server(Build::Shared);
}

#[test]
fn echo_server_static() {
    echo_server(Build::Static);
}

#[test]
fn echo_server_sanitized() {
    echo_server(Build::Sanitized);
}
