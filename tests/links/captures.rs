//! `--capture` beyond a file: standard output, a pipe by its name; and what cannot be.

use crate::support::PYTHON;
use crate::support::command::{Outcome, Program};
use crate::support::http::HttpServer;
use crate::support::network::Directory;
use crate::support::stack::Stack;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The packets of a capture, which is whole.
fn packets(bytes: &[u8]) -> usize {
    let mut reader = PcapNgReader::new(bytes).expect("a section header");
    let mut packets = 0;
    while let Some(block) = reader.next_block() {
        packets += usize::from(matches!(block.expect("a whole block"), Block::EnhancedPacket(_)));
    }
    packets
}

fn curl(server: &HttpServer) -> Program {
    Program::new("curl").args(["-sS", &format!("http://10.0.2.2:{}/bytes/9", server.port())])
}

fn capturing(to: &str) -> Stack {
    Stack::run().set("capture", to)
}

/// The capture has standard output to itself; what the program writes there goes where messages go.
#[test]
fn to_standard_output() {
    let server = HttpServer::start();
    let script = format!("curl -sS http://10.0.2.2:{}/bytes/9 | wc -c", server.port());
    let outcome = Program::new("sh").args(["-c", &script]).on(&capturing("-")).run().success();
    assert!(packets(&outcome.stdout) > 6);
    assert_eq!(outcome.stderr, "9\n");
}

fn pipe(directory: &Directory) -> PathBuf {
    let pipe = directory.file("pipe");
    Program::new("mkfifo").arg(&pipe).run().success();
    pipe
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("an ASCII name")
}

/// It says what it waits for; the reader gets all of it, and its end.
#[test]
fn to_a_pipe_by_its_name() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let pipe = pipe(&directory);
    let running = curl(&server).on(&capturing(shown(&pipe))).spawn();
    running.line_with("waiting for who reads that pipe");
    let mut bytes = Vec::new();
    std::fs::File::open(&pipe).and_then(|mut pipe| pipe.read_to_end(&mut bytes)).expect("somebody writes");
    let outcome = running.finish().success();
    assert!(packets(&bytes) > 6 && outcome.stdout.len() == 9, "{outcome}");
}

/// Who waits for a reader can be interrupted, and the program has not been started.
#[test]
fn to_a_pipe_that_nobody_reads() {
    let directory = Directory::new();
    let pipe = pipe(&directory);
    let running = Program::new("echo").arg("started").on(&capturing(shown(&pipe))).spawn();
    running.line_with("waiting for who reads that pipe");
    assert_eq!(running.interrupt().signal(2).text(), "");
    // In process nothing is waited for: the program would hang.
    let script = "import errno, socket\ntry:\n    socket.socket()\nexcept OSError as error:\n    print(errno.errorcode[error.errno])";
    let outcome =
        Program::new(PYTHON).args(["-c", script]).on(&Stack::preload().capture(&pipe)).run().success();
    assert_eq!(outcome.text(), "EINVAL\n");
    assert!(outcome.stderr.contains("nobody reads that pipe: start its reader first"), "{outcome}");
}

/// What tshark shows of a capture, a line for each packet and record: comments, flags of TCP, record of the journal.
fn commented(file: &Path) -> Vec<String> {
    let fields = ["-e", "frame.comment", "-e", "tcp.flags", "-e", "systemd_journal.message"];
    let tshark = Program::new("tshark").args(["-n", "-T", "fields", "-r"]).arg(file).args(fields);
    tshark.run().success().text().lines().map(str::to_owned).collect()
}

/// A call is at the first packet behind its result, in either way to load the library; the last ones at none.
#[test]
fn calls_are_comments() {
    let server = HttpServer::start();
    for stack in [Stack::run(), Stack::preload()] {
        let directory = Directory::new();
        let file = directory.file("calls.pcapng");
        let stack = stack.capture(&file).set("capture-calls", "");
        let outcome = curl(&server).on(&stack).run().success();
        assert_eq!(outcome.stdout.len(), 9, "{outcome}");
        let lines = commented(&file);
        let at = |call: &str| lines.iter().position(|line| line.contains(call));
        let syn = lines.iter().position(|line| line.contains("\t0x0002\t")).expect("a SYN");
        assert_eq!(at("]: socket(AF_INET, SOCK_STREAM) = "), Some(syn), "{lines:#?}");
        assert!(lines[syn].starts_with("curl["), "{lines:#?}");
        let connect = at(&format!("10.0.2.2:{}) = -1 EINPROGRESS", server.port())).expect("a connect");
        let [sent, got, closed] = ["]: send", "]: recv", "]: close("].map(|call| at(call).expect(call));
        assert!(syn <= connect && connect <= sent && sent <= got && got <= closed, "{lines:#?}");
    }
}

/// A program without packets: its calls are records of their own.
#[test]
fn calls_without_packets() {
    let directory = Directory::new();
    let file = directory.file("calls.pcapng");
    let script = "import socket\nfor _ in range(100):\n    socket.socket().close()";
    let stack = Stack::run().capture(&file).set("capture-calls", "");
    Program::new(PYTHON).args(["-c", script]).on(&stack).run().success();
    let lines = commented(&file);
    let of = |call: &str| lines.iter().filter(|line| line.starts_with('\t') && line.contains(call)).count();
    assert_eq!((lines.len(), of("]: socket("), of("]: close(")), (200, 100, 100), "{lines:#?}");
}

/// A `tubesock run` of the program's own has no capture, and need not.
#[test]
fn calls_of_a_run_within() {
    let directory = Directory::new();
    let stack = Stack::run().capture(&directory.file("calls.pcapng")).set("capture-calls", "");
    let within = Program::new(env!("CARGO_BIN_EXE_tubesock")).args(["run", "--", "echo", "ran"]);
    let outcome = within.on(&stack).run().success();
    assert_eq!(outcome.text(), "ran\n");
    assert!(outcome.stderr.contains("within another 'tubesock run'"), "{outcome}");
}

/// A reader that goes ends the capture, and nothing else: in process too, where SIGPIPE would end the program.
#[test]
fn to_a_pipe_whose_reader_goes() {
    for stack in [Stack::run(), Stack::preload()] {
        let (server, directory) = (HttpServer::start(), Directory::new());
        let pipe = pipe(&directory);
        let head = Program::new("head").args(["-c", "10"]).arg(&pipe).spawn();
        let url = format!("http://10.0.2.2:{}/bytes/9", server.port());
        // The first socket opens the pipe.
        let script = "import signal, socket, sys, urllib.request
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
first = socket.socket()
print('open', flush=True)
sys.stdin.readline()
print(len(urllib.request.urlopen(sys.argv[1]).read()))";
        let (gone, wait) = std::sync::mpsc::channel::<()>();
        let program = Program::new(PYTHON).args(["-c", script, &url]).on(&stack.capture(&pipe));
        let program = program.fed_by(move |input| {
            let _asked = wait.recv();
            std::io::Write::write_all(input, b"\n")
        });
        let program = program.spawn();
        program.line_with("open");
        head.finish().success();
        gone.send(()).expect("it waits");
        let outcome = program.finish().success();
        assert_eq!(outcome.text(), "open\n9\n");
        assert!(outcome.stderr.contains("the capture ends here"), "{outcome}");
    }
}

fn refused(outcome: Outcome, reason: &str) {
    let outcome = outcome.status(78);
    assert!(outcome.stderr.contains(reason) && outcome.stdout.is_empty(), "{outcome}");
}

#[test]
fn what_cannot_be() {
    let directory = Directory::new();
    let (one, other) = (directory.file("one"), directory.file("other"));
    std::fs::write(&one, "kept").expect("the directory is ours");
    std::os::unix::fs::symlink(&one, &other).expect("the directory is ours");
    for trace in [&one, &other] {
        let stack = capturing(shown(&one)).set("trace", shown(trace));
        refused(Program::new("true").on(&stack).run(), "--trace and --capture cannot share");
    }
    assert_eq!(std::fs::read(&one).expect("it is there"), b"kept");
    let host = Program::new(env!("CARGO_BIN_EXE_tubesock")).args(["host", "--capture", "-", "--listen"]);
    refused(host.arg(directory.file("host")).run(), "--capture -: ");
    let terminal = format!("{} run --capture - -- echo started", env!("CARGO_BIN_EXE_tubesock"));
    let terminal = Program::new("script").args(["-qec", &terminal, "/dev/null"]).run().status(78);
    assert!(terminal.text().contains("standard output is a terminal"), "{terminal}");
}

/// `-` is for the one who starts the program: in process it would be the program's own.
#[test]
fn to_the_programs_own_standard_output() {
    let script = "import socket\ntry:\n    socket.socket()\nexcept OSError:\n    print('none')";
    let stack = Stack::preload().set("capture", "-");
    let outcome = Program::new(PYTHON).args(["-c", script]).on(&stack).run().success();
    assert_eq!(outcome.text(), "none\n");
    assert!(outcome.stderr.contains("TUBESOCK_CAPTURE '-': standard output is the program's"), "{outcome}");
}
