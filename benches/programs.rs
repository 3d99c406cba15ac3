//! The bench: an unmodified program over `nat` against the same program on the kernel's loopback.
//!
//! `cargo bench --bench programs` prints a table. Each figure is the median of the rounds; in every round the kernel's
//! and ours are measured one after the other, so that what the machine does meanwhile hits both, and the ratio is the
//! figure to look at. Both ends are pinned, as a hand-off between cores costs more than either stack: once on one
//! core and once on two. The last line is what the preload adds to the start of a program that opens no
//! socket, and the bench fails when that is more than half a millisecond.

#[path = "support/peer.rs"]
mod peer;

use peer::{Peer, Server, figure, median, preload, preload_library};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const STARTS: usize = 500;
const LIMIT: Duration = Duration::from_micros(500);

/// What is measured: the client's word and count, and how to call it.
const MEASURES: [(&str, &str, &str); 4] = [
    ("latency", "20000", "round trip of 64 bytes, µs (lower is better)"),
    ("up", "1000000000", "bulk up, Gbit/s"),
    ("down", "1000000000", "bulk down, Gbit/s"),
    ("connections", "3000", "connections per second"),
];

/// Which cores the client and the server are pinned to.
const PLACES: [(&str, &str, &str); 2] = [("one core", "0", "0"), ("two cores", "0", "1")];

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, with no wish for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let library = preload_library();
    let peer = Peer::compile();
    println!("| {:<46} | {:<9} | {:>9} | {:>9} | {:>5} |", "", "pinned to", "kernel", "tubesock", "ratio");
    println!(
        "|{}|{}|{}|{}|{}|",
        "-".repeat(48),
        "-".repeat(11),
        "-".repeat(11),
        "-".repeat(11),
        "-".repeat(7)
    );
    for (place, client_core, server_core) in PLACES {
        if server_core != "0" && std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
            continue;
        }
        let server = peer.serve("127.0.0.1", server_core);
        for (word, count, title) in MEASURES {
            let (kernel, ours) =
                alternate(|library| client(&peer, client_core, &server, word, count, library), &library);
            println!("| {title:<46} | {place:<9} | {kernel:>9.2} | {ours:>9.2} | {:>5.2} |", ours / kernel);
        }
    }
    drop(peer);
    start_of_a_program(&library)
}

/// The medians without and with the preload, measured in turns.
fn alternate(mut measure: impl FnMut(Option<&Path>) -> f64, library: &Path) -> (f64, f64) {
    let (kernel, ours) = (0..ROUNDS).map(|_| (measure(None), measure(Some(library)))).unzip();
    (median(kernel), median(ours))
}

fn client(peer: &Peer, core: &str, server: &Server, word: &str, count: &str, library: Option<&Path>) -> f64 {
    let host = if library.is_some() { "10.0.2.2" } else { "127.0.0.1" };
    let mut command = Command::new("taskset");
    command.args(["-c", core, "env"]);
    if let Some(library) = library {
        command.arg(preload(library));
    }
    command.arg(&peer.binary).args([word, host, &server.port, count]);
    figure(command)
}

fn start_of_a_program(library: &Path) -> ExitCode {
    let time = |preloaded: bool| {
        let mut command = Command::new("/bin/true");
        if preloaded {
            command.env("LD_PRELOAD", library);
        }
        let start = Instant::now();
        assert!(command.status().expect("/bin/true starts").success());
        start.elapsed().as_secs_f64() * 1e6
    };
    let (plain, preloaded) = (0..STARTS).map(|_| (time(false), time(true))).unzip();
    let (plain, preloaded) = (median(plain), median(preloaded));
    println!(
        "\nstart of a program that opens no socket, µs: {plain:.0} plain, {preloaded:.0} preloaded, {:.0} more (limit {})",
        preloaded - plain,
        LIMIT.as_micros()
    );
    if preloaded - plain > LIMIT.as_secs_f64() * 1e6 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
