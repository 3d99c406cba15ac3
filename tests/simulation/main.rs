//! Deterministic simulation: two hosts, a bad road between them, programs on both, in virtual time. One seed settles
//! everything; a seed that fails prints the command that replays it.
//!
//! ```text
//!   dice ──► plan ──► world ◄── judge (what must hold)      SIMULATION_SEEDS=7            only this one
//!                     │   │                                 SIMULATION_SEEDS=5000..9000   these
//!         program ──► host (ours; smoltcp's: peer)          SIMULATION_TRACE=1            a line for each packet
//!                     impair, wire, pair
//! ```
#![forbid(unsafe_code)]

mod choices;
mod coalesce;
mod dice;
mod host;
mod judge;
mod peer;
mod plan;
mod program;
mod trace;
mod wire;
mod witness;
mod world;

use plan::{Far, Plan};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::Sabotage;
use world::{Tally, Verdict, World};

/// What came of one seed.
struct Outcome {
    seed: u64,
    verdict: Verdict,
    hash: u64,
    packets: u64,
    seconds: f64,
    tally: Tally,
    lines: Vec<String>,
}

fn run(seed: u64, plan: &Plan, sabotage: Sabotage, lines: bool) -> Outcome {
    let mut world = World::new(plan, seed, sabotage, lines);
    let verdict = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        Verdict::Failed(format!("panicked: {text}"))
    });
    let (hash, packets, seconds) = (world.trace.hash, world.trace.packets, world.seconds());
    Outcome { seed, verdict, hash, packets, seconds, tally: world.tally(), lines: world.into_lines() }
}

fn run_seed(seed: u64, lines: bool) -> Outcome {
    run(seed, &Plan::new(seed), Sabotage::None, lines)
}

/// Runs seeds on all cores.
fn run_all(seeds: &Range<u64>, lines: bool) -> Vec<Outcome> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < seeds.end
        {
            let outcome = run_seed(seed, lines);
            outcomes.lock().expect("no thread panics with it").push(outcome);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no thread panics with it");
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

/// `SIMULATION_SEEDS`: a seed, or a range of them.
fn seeds_asked_for() -> Range<u64> {
    const DEFAULT: Range<u64> = 0..1000;
    let Ok(text) = std::env::var("SIMULATION_SEEDS") else { return DEFAULT };
    let number =
        |text: &str| text.trim().parse::<u64>().expect("SIMULATION_SEEDS is a number, or a range 5..9");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&text)..number(&text) + 1,
    }
}

fn report(outcome: &Outcome) {
    const COMMAND: &str = "SIMULATION_TRACE=1 cargo test --release --test simulation seeds -- --nocapture";
    let Outcome { seed, verdict, lines, .. } = outcome;
    lines.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}: {verdict:?}");
    println!("  replay: SIMULATION_SEEDS={seed} {COMMAND}");
    println!("  {:?}", Plan::new(*seed));
}

fn summarize(outcomes: &[Outcome]) -> Tally {
    let tally = outcomes.iter().map(|outcome| outcome.tally).fold(Tally::default(), Tally::and);
    println!(
        "{} seeds, {} packets, {:.0} s of virtual time; {tally:?}",
        outcomes.len(),
        outcomes.iter().map(|outcome| outcome.packets).sum::<u64>(),
        outcomes.iter().map(|outcome| outcome.seconds).sum::<f64>(),
    );
    tally
}

#[test]
fn seeds() {
    let seeds = seeds_asked_for();
    let outcomes = run_all(&seeds, std::env::var_os("SIMULATION_TRACE").is_some());
    let failed: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_))).collect();
    let inconclusive: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Inconclusive(_))).collect();
    match &outcomes[..] {
        [only] => report(only),
        _ => failed.iter().take(20).chain(&inconclusive).for_each(|outcome| report(outcome)),
    }
    let tally = summarize(&outcomes);
    let numbers: Vec<u64> = failed.iter().map(|outcome| outcome.seed).collect();
    assert!(failed.is_empty(), "{} of {seeds:?} failed: {numbers:?}", failed.len());
    assert!(inconclusive.len() <= outcomes.len() / 50 + 1, "too many seeds tell nothing");
    if outcomes.len() >= 1000 {
        // A simulation in which little happens shows little.
        let Tally { connections, orderly, reset, timed_out, .. } = tally;
        assert!(orderly > connections / 2 && reset > connections / 50 && timed_out > 0, "{tally:?}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    let mut peers = [0, 0];
    for seed in 0..60 {
        let [one, other] = [0, 1].map(|_| run_seed(seed, false));
        assert!(one.packets > 0);
        assert_eq!(
            (one.hash, one.packets, one.seconds),
            (other.hash, other.packets, other.seconds),
            "{seed}"
        );
        peers[usize::from(Plan::new(seed).far == Far::Ours)] += 1;
    }
    assert!(peers.iter().all(|count| *count > 10), "both kinds of peer: {peers:?}");
}

/// What comes of a world without any trouble but one that cannot be: it must be noticed.
#[track_caller]
fn assert_noticed(sabotage: Sabotage, checksums: bool, notice: &str) {
    let plan = Plan { checksums, ..Plan::plain(400_000) };
    assert_eq!(run(1, &plan, Sabotage::None, false).verdict, Verdict::Passed);
    match run(1, &plan, sabotage, false).verdict {
        Verdict::Failed(what) => assert!(what.contains(notice), "{what}"),
        other => panic!("{sabotage:?} was not noticed: {other:?}"),
    }
}

#[test]
fn bytes_that_are_not_those_that_were_written_are_noticed() {
    assert_noticed(Sabotage::FlipPayload, false, "wrong bytes");
}

#[test]
fn an_end_that_nobody_sent_is_noticed() {
    assert_noticed(Sabotage::EarlyFin, true, "end of file");
}

#[test]
fn a_connection_that_does_not_move_is_noticed() {
    assert_noticed(Sabotage::StaleAcknowledgements, true, "has not moved");
}
