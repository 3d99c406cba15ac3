//! The bench of links: an unmodified program over `tun` against the kernel's TCP over a veth pair, and over `nat` against
//! slirp4netns and pasta, all of them to a server on the kernel's stack.
//!
//! `cargo bench --bench links` prints two tables; it needs root, and slirp4netns and passt of the distribution. Each figure is
//! the median of the rounds. In every round all are measured one after the other, so that what the machine does meanwhile hits
//! all, and the ratios are the figures to look at. Programs are pinned: once all to one core, and once the client to one and
//! the server to the other; then the daemons of slirp4netns and pasta have both, while our stack, which lives in the client,
//! has the client's. What pasta splices without packets, for ports of a namespace's loopback, is left out: Debian 12's stands still
//! there in a bulk transfer up. `-- tun` or `-- nat` measures one table, `-- rounds=N` as often.
//!
//! Everything happens in network namespaces of the bench's own:
//!
//! ```text
//!   machine: server at 127.0.0.1, 192.0.2.1, 198.51.100.1      guest: the kernel's client at the veth's other end
//!     tube ── our client, by the device                        slirp, pasta: namespaces with what they make of the
//!     lo ──── our client, by nat                                 machine's loopback
//! ```

mod contenders;
#[allow(dead_code)] // shared with the tests, which call the rest
#[path = "../../tests/support/namespace.rs"]
mod namespace;
#[path = "../support/peer.rs"]
mod peer;

use contenders::{Contender, World};
use peer::{Peer, Server, median};
use std::process::ExitCode;

/// What is measured: the client's word, and what it is.
const MEASURES: [(&str, &str); 4] = [
    ("latency", "round trip of 64 bytes, µs"),
    ("up", "bulk up, Gbit/s"),
    ("down", "bulk down, Gbit/s"),
    ("connections", "connections per second"),
];

/// Pinned to what: the client, the server, and what is neither.
const PLACES: [(&str, [&str; 3]); 2] = [("one core", ["0", "0", "0"]), ("two cores", ["0", "1", "0,1"])];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, with no wish for figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let rounds =
        arguments.iter().find_map(|argument| argument.strip_prefix("rounds=")?.parse().ok()).unwrap_or(5);
    let named = |table: &str| arguments.iter().any(|argument| argument == table);
    let (peer, world) = (Peer::compile(), World::new());
    let tables =
        [("tun", &contenders::TUN[..], &MEASURES[..3]), ("nat", &contenders::NAT[..], &MEASURES[..])];
    for (name, contenders, measures) in tables {
        if named(name) || !(named("tun") || named("nat")) {
            table(&peer, &world, contenders, measures, rounds);
        }
    }
    ExitCode::SUCCESS
}

/// One line for each measure and place; the first contender is ours, and the ratios are its to each of the others.
fn table(peer: &Peer, world: &World, contenders: &[Contender], measures: &[(&str, &str)], rounds: usize) {
    let names: Vec<String> = contenders.iter().map(|contender| format!("{:>20}", contender.name)).collect();
    let ratios: Vec<String> =
        contenders[1..].iter().map(|other| format!("{:>20}", format!("to {}", other.name))).collect();
    println!("\n| {:<26} | {:<9} | {} | {} |", "", "pinned to", names.join(" | "), ratios.join(" | "));
    println!(
        "|{}|{}|{}",
        "-".repeat(28),
        "-".repeat(11),
        format!("{}|", "-".repeat(22)).repeat(names.len() + ratios.len())
    );
    for (place, cores) in PLACES {
        let servers: Vec<Server> =
            contenders.iter().map(|contender| world.serve(peer, contender, cores[1])).collect();
        let _daemons: Vec<_> =
            contenders.iter().map(|contender| world.attach(peer, contender, cores[2])).collect();
        for (word, title) in measures {
            let mut figures = vec![Vec::new(); contenders.len()];
            for _ in 0..rounds {
                for ((contender, server), figures) in contenders.iter().zip(&servers).zip(&mut figures) {
                    figures.push(world.measure(peer, contender, server, cores[0], word));
                }
            }
            let medians: Vec<f64> = figures.into_iter().map(median).collect();
            let shown: Vec<String> = medians.iter().map(|median| format!("{median:>20.2}")).collect();
            let ratios: Vec<String> =
                medians[1..].iter().map(|other| format!("{:>20.2}", medians[0] / other)).collect();
            println!("| {title:<26} | {place:<9} | {} | {} |", shown.join(" | "), ratios.join(" | "));
        }
    }
}
