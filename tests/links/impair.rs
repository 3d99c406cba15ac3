//! `--impair` around any link, and `tubesock link`, which changes it while it runs.

use crate::support::PYTHON;
use crate::support::command::{Program, Running};
use crate::support::http::HttpServer;
use crate::support::network::Directory;
use crate::support::stack::Stack;
use crate::support::stream::{Digest, Stream};
use crate::world::{THEIRS, World};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::time::{Duration, Instant};

/// The quickest of ten handshakes takes what the delay is; each way has its own.
#[test]
fn delay_of_each_direction() {
    let world = World::with_tun("");
    let server = world.http(THEIRS[0]);
    let url = crate::world::url(THEIRS[0], server.port(), "/http10/[1-10]");
    for (words, milliseconds) in [("delay 20ms", 40.0), ("out delay 30ms", 30.0), ("in delay 30ms", 30.0)] {
        let stack = world.stack().set("impair", words);
        let curl = Program::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{time_connect}\n", &url]);
        let outcome = world.ours(curl, &stack).finish().success();
        let text = outcome.text();
        let times = text.lines().map(|line| line.parse::<f64>().expect("seconds") * 1000.0);
        let took = times.min_by(f64::total_cmp).expect("ten lines");
        assert!((milliseconds..milliseconds + 20.0).contains(&took), "{words}: {took} ms");
        assert!(!outcome.stderr.contains("seed"), "it decides nothing: {outcome}");
    }
}

/// A rate is kept, within 5 %, over the built-in link.
#[test]
fn rate() {
    const BYTES: usize = 2_500_000;
    let server = HttpServer::start();
    let stack = Stack::run().set("impair", "rate 20mbit seed 1").set("mtu", "1500");
    let url = format!("http://{}:{}/bytes/{BYTES}", stack.gateway(), server.port());
    let curl = Program::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{time_total}", &url]).on(&stack);
    let outcome = curl.run().success();
    assert!(!outcome.stderr.contains("seed"), "{outcome}");
    let seconds: f64 = outcome.text().parse().expect("seconds");
    // With the headers of so many packets.
    let expected = BYTES as f64 * 8.0 / 20e6 * 1500.0 / 1448.0;
    assert!((0.95..1.2).contains(&(seconds / expected)), "{seconds} s instead of {expected} s");
}

/// Large packets vanish each way, and nobody is told: TCP finds out at either end of nat.
#[test]
fn black_hole_of_each_direction() {
    let server = HttpServer::start();
    for direction in ["in", "out"] {
        let stack = Stack::run().set("impair", &format!("{direction} mtu 1000")).set("mtu", "1500");
        let url = |path| format!("http://{}:{}{path}", stack.gateway(), server.port());
        let curl = || Program::new("curl").args(["-sS", "-m", "60"]);
        let outcome = curl().arg(url("/bytes/100000")).on(&stack).run().success();
        assert_eq!(outcome.stdout.len(), 100_000, "{direction}");
        let upload =
            curl().args(["--upload-file", "-"]).arg(url("/digest")).input(&Stream::of(100_000).bytes());
        assert_eq!(upload.on(&stack).run().success().text(), Digest::of_stream(100_000), "{direction}");
    }
}

/// Answers each datagram with itself.
const ECHO: &str = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', 0))
print('port', s.getsockname()[1], flush=True)
while True:
    s.sendto(*s.recvfrom(2000))";

/// A hundred datagrams and their answers; then one, until its answer comes, which tells that no other is on its way.
const ASK: &str = "import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 4000))
s.connect(('10.0.2.2', int(sys.argv[1])))
s.settimeout(0.2)
for i in range(100):
    s.send(b'%03d ' % i * (1 + i % 40))
while True:
    s.send(b'end')
    try:
        while s.recv(2000) != b'end':
            pass
        break
    except TimeoutError:
        pass";

/// What a run's capture has, each way, but for what `ASK` repeats.
fn captured(server: u16, words: &str) -> [Vec<Vec<u8>>; 2] {
    let directory = Directory::new();
    let file = directory.file("run.pcapng");
    let stack = Stack::run().set("impair", words).capture(&file);
    Program::new(PYTHON).args(["-c", ASK, &server.to_string()]).on(&stack).run().success();
    let bytes = std::fs::read(&file).expect("the capture was written");
    let mut reader = PcapNgReader::new(&bytes[..]).expect("a section header");
    let mut ways = [Vec::new(), Vec::new()];
    while let Some(block) = reader.next_block() {
        let Block::EnhancedPacket(packet) = block.expect("a whole block") else { continue };
        let out = packet.options.contains(&EnhancedPacketOption::Flags(2));
        if !packet.data.ends_with(b"end") {
            ways[usize::from(!out)].push(packet.data.to_vec());
        }
    }
    ways
}

/// Two runs with one seed have the same packets each way, in the same order; with another seed other ones are lost.
#[test]
fn one_seed_gives_the_same_capture() {
    let server = Program::new(PYTHON).args(["-c", ECHO]).spawn();
    let line = server.line_with("port ");
    let port = line.trim_start_matches("port ").parse().expect("a number");
    let run = |seed| captured(port, &format!("delay 5ms loss 10% duplicate 5% corrupt 5% seed {seed}"));
    let (first, second, other) = (run(7), run(7), run(8));
    assert_eq!(first[0].len(), 100, "the capture is outside of the impairment");
    assert!((60..100).contains(&first[1].len()), "{} answers", first[1].len());
    assert_eq!(first, second);
    assert_ne!(first[1], other[1]);
}

/// A seed that was not given is told, where it decides anything.
#[test]
fn seed_is_told() {
    let outcome = Program::new("true").on(&Stack::run().set("impair", "loss 1%")).run().success();
    assert!(outcome.stderr.contains("warn: --impair: seed "), "{outcome}");
    let outcome = Program::new("true").on(&Stack::run().set("impair", "loss 1% seed 5")).run().success();
    assert_eq!(outcome.stderr, "");
}

fn link(program: &Running, words: &str) -> String {
    let command =
        Program::new(env!("CARGO_BIN_EXE_tubesock")).args(["link", "--pid", &program.id().to_string()]);
    command.args(words.split_whitespace()).run().success().text()
}

/// Everything is lost, and comes when the link has healed; the counters tell.
#[test]
fn changed_while_it_runs() {
    let server = HttpServer::start();
    let stack = Stack::run();
    let url = format!("http://{}:{}/bytes/9", stack.gateway(), server.port());
    let script = format!("echo ready; read line; curl -sS -m 50 {url}");
    let (begin, wait) = std::sync::mpsc::channel();
    let program = Program::new("sh").args(["-c", &script]).on(&stack).fed_by(move |input| {
        let _asked = wait.recv();
        std::io::Write::write_all(input, b"\n")
    });
    let program = program.spawn();
    program.line_with("ready");
    assert!(link(&program, "").starts_with("none seed "));
    assert!(link(&program, "loss 100%").starts_with("loss 100% seed "));
    begin.send(()).expect("it waits");
    let lost = |report: &str| -> u32 {
        let (_, rest) = report.split_once("lost ").expect("a counter");
        rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let until = Instant::now() + Duration::from_secs(30);
    while lost(&link(&program, "")) == 0 {
        assert!(Instant::now() < until, "nothing is lost");
    }
    assert!(link(&program, "out down 60s").starts_with("out down 60s in loss 100% seed "));
    let report = link(&program, "none");
    assert!(report.starts_with("none seed ") && lost(&report) > 0, "{report}");
    assert_eq!(program.finish().success().stdout.len(), "ready\n".len() + 9);
}

#[test]
fn words_that_are_none() {
    let refused =
        Program::new(env!("CARGO_BIN_EXE_tubesock")).args(["link", "jitter", "1ms"]).run().status(2);
    assert!(refused.stderr.contains("'jitter' is none of its words"), "{refused}");
    let refused = Program::new("true").on(&Stack::run().set("impair", "loss 200%")).run().status(78);
    assert!(refused.stderr.contains("--impair 'loss 200%': '200%' after 'loss' is none"), "{refused}");
}
