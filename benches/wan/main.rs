//! The bench over a long path: our TCP against the kernel's, over the same link emulator.
//!
//! `cargo bench --bench wan` prints a table. In each round a cell is measured with the kernel at both ends, with ours as
//! sender to the kernel's receiver, and with ours as receiver of the kernel's sender, one after the other, so that what the
//! machine does meanwhile hits all three; the figures are medians, and the ratio is the one to look at. Each run is a new
//! connection in new namespaces, and the same packets are lost in all runs of a round. The goodput is what the receiving
//! program had read after so many seconds from the connect, slow start and all. Each ratio stands beside its limit; the exit code
//! is 1 when one is missed.
//!
//! The emulator has one core to itself and both ends share the other. Needs root, two cores and iproute2.

mod cable;
mod cells;
#[path = "../../tests/support/drive.rs"]
mod drive;
mod emulator;
mod ends;
#[path = "../../tests/support/namespace.rs"]
mod namespace;
mod ours;
mod precedence;

use cells::{Cell, cells};
use clap::{Parser, ValueEnum};
use emulator::{Emulator, Report};
use ends::{KernelEnd, RECEIVER, SENDER};
use ours::OurEnd;
use rustix::fd::OwnedFd;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tubesock::tcp::Algorithm;

/// Where the emulator runs, and where the ends do.
const EMULATOR_CORE: usize = 0;
const ENDS_CORE: usize = 1;

/// TCP over an emulated path: ours against the kernel's. The exit code is 1 when a ratio is below its limit, 0 when all hold.
#[derive(Parser)]
struct Arguments {
    /// Only these cells, by name
    #[arg(long = "cell", value_parser = clap::builder::PossibleValuesParser::new(cells().map(|cell| cell.name)))]
    cells: Vec<String>,
    /// Only this congestion control of the sender
    #[arg(long)]
    algorithm: Option<Control>,
    /// Only as sender, or only as receiver
    #[arg(long)]
    role: Option<Role>,
    /// Measure ours alone, without the kernel's figure to compare with
    #[arg(long)]
    alone: bool,
    /// Rounds; the figures are their medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// 5 rounds of 8 seconds
    #[arg(long)]
    full: bool,
    /// The first round's seed; each further round has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print each run, with what the emulator and our engine counted
    #[arg(long, short)]
    verbose: bool,
    /// What cargo says to a bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// The sender's congestion control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Control {
    Cubic,
    Bbr,
}

impl Control {
    /// The kernel's name for it.
    fn name(self) -> &'static str {
        match self {
            Control::Cubic => "cubic",
            Control::Bbr => "bbr",
        }
    }

    fn ours(self) -> Algorithm {
        match self {
            Control::Cubic => Algorithm::Cubic,
            Control::Bbr => Algorithm::Bbr,
        }
    }
}

/// What ours is; the other end is the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Sender,
    Receiver,
}

/// The least ratio of our figure to the kernel's.
fn limit(control: Control, role: Role) -> f64 {
    match (role, control) {
        (Role::Sender, Control::Bbr) => 0.9,
        (Role::Sender, Control::Cubic) | (Role::Receiver, _) => 0.95,
    }
}

/// One measurement.
#[derive(Clone, Copy)]
struct Run {
    cell: Cell,
    control: Control,
    /// None: the kernel at both ends.
    ours: Option<Role>,
    duration: Duration,
    seed: u64,
}

/// What it gave.
struct Outcome {
    mbits: f64,
    emulator: Report,
    engine: Option<ours::Ended>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    // `cargo test --benches` runs this too, with no wish for figures.
    if !arguments.bench {
        return ExitCode::SUCCESS;
    }
    if arguments.full {
        (arguments.runs, arguments.seconds) = (5, 8.0);
    }
    precedence::take();
    print_head();
    let (mut late, mut held) = ((0, 0), true);
    for control in [Control::Cubic, Control::Bbr] {
        for cell in cells() {
            let named = arguments.cells.is_empty() || arguments.cells.iter().any(|name| name == cell.name);
            if named && arguments.algorithm.is_none_or(|only| only == control) {
                held &= measure_cell(&arguments, cell, control, &mut late);
            }
        }
    }
    println!(
        "\nThe emulator delivered packets late by {} µs at most in 99 of 100 cases, by {} µs at worst.",
        late.0, late.1
    );
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All rounds of a cell, and its lines of the table. Whether its limits hold.
fn measure_cell(arguments: &Arguments, cell: Cell, control: Control, late: &mut (u64, u64)) -> bool {
    let roles = [Role::Sender, Role::Receiver];
    let roles = roles.into_iter().filter(|role| arguments.role.is_none_or(|only| only == *role));
    let ours = roles.map(Some);
    let who: Vec<Option<Role>> =
        if arguments.alone { ours.collect() } else { core::iter::once(None).chain(ours).collect() };
    let mut figures = vec![Vec::new(); who.len()];
    for round in 0..arguments.runs.max(1) as u64 {
        for (ours, figures) in who.iter().zip(&mut figures) {
            let duration = Duration::from_secs_f64(arguments.seconds);
            let run = Run { cell, control, ours: *ours, duration, seed: arguments.seed + round };
            let outcome = run.measure();
            figures.push(outcome.mbits);
            late.0 = late.0.max(outcome.emulator.late_p99_us);
            late.1 = late.1.max(outcome.emulator.late_max_us);
            report(&run, &outcome, arguments.verbose);
        }
    }
    let figures: Vec<Figure> = figures.into_iter().map(Figure::of).collect();
    let kernel = (!arguments.alone).then(|| figures[0]);
    let mut held = true;
    for (ours, figure) in who.iter().zip(&figures) {
        if let Some(role) = ours {
            held &= print_line(&cell, control, *role, kernel, *figure);
        }
    }
    held
}

impl Run {
    fn measure(&self) -> Outcome {
        let over = AtomicBool::new(false);
        match self.ours {
            None => {
                let sender = KernelEnd::new(SENDER, self.control.name());
                let receiver = KernelEnd::new(RECEIVER, self.control.name());
                let emulator = self.emulator([sender.cable(), receiver.cable()]);
                let bytes = self.until_deadline(&over, &receiver, || sender.send(&over, ENDS_CORE)).0;
                self.outcome(bytes, emulator, None)
            }
            Some(Role::Sender) => {
                let (sender, cable) = self.our_end(SENDER);
                let receiver = KernelEnd::new(RECEIVER, self.control.name());
                let emulator = self.emulator([cable, receiver.cable()]);
                let (bytes, engine) = self.until_deadline(&over, &receiver, || sender.send(&over, ENDS_CORE));
                self.outcome(bytes, emulator, Some(engine))
            }
            Some(Role::Receiver) => {
                let sender = KernelEnd::new(SENDER, self.control.name());
                let (mut receiver, cable) = self.our_end(RECEIVER);
                let emulator = self.emulator([sender.cable(), cable]);
                let listener = receiver.listen();
                let deadline = tubesock::sys::now() + self.duration;
                let (bytes, engine) = std::thread::scope(|scope| {
                    scope.spawn(|| sender.send(&over, ENDS_CORE));
                    // In a thread of its own: what starts later must not have its place and its precedence.
                    let receiving = scope.spawn(|| receiver.receive(listener, deadline, ENDS_CORE));
                    let received = receiving.join();
                    over.store(true, Ordering::Relaxed);
                    received.expect("our end does not panic")
                });
                self.outcome(bytes, emulator, Some(engine))
            }
        }
    }

    /// Runs `send` against the kernel's receiver until that has had its time.
    fn until_deadline<T: Send>(
        &self,
        over: &AtomicBool,
        receiver: &KernelEnd,
        send: impl FnOnce() -> T + Send,
    ) -> (u64, T) {
        let listener = receiver.listen();
        let deadline = Instant::now() + self.duration;
        std::thread::scope(|scope| {
            let sender = scope.spawn(send);
            let received = scope.spawn(|| ends::receive(&listener, deadline, ENDS_CORE)).join();
            over.store(true, Ordering::Relaxed);
            // The receiver's connection is open until the sender has ended: a reset would be counted as a failure.
            let (Ok((received, _open)), Ok(sent)) = (received, sender.join()) else {
                panic!("an end of the path failed")
            };
            (received, sent)
        })
    }

    fn our_end(&self, address: Ipv4Addr) -> (OurEnd, OwnedFd) {
        OurEnd::new(address, self.control.ours(), self.seed, self.cell.path.rate.is_some())
    }

    fn emulator(&self, ends: [OwnedFd; 2]) -> Emulator {
        Emulator::start(ends, self.cell.path, self.seed, EMULATOR_CORE)
    }

    fn outcome(&self, bytes: u64, emulator: Emulator, engine: Option<ours::Ended>) -> Outcome {
        let mbits = bytes as f64 * 8.0 / 1e6 / self.duration.as_secs_f64();
        Outcome { mbits, emulator: emulator.stop(), engine }
    }
}

/// The median of several runs, and their extremes.
#[derive(Clone, Copy)]
struct Figure {
    median: f64,
    least: f64,
    most: f64,
}

impl Figure {
    fn of(mut runs: Vec<f64>) -> Figure {
        runs.sort_by(f64::total_cmp);
        Figure { median: runs[runs.len() / 2], least: runs[0], most: runs[runs.len() - 1] }
    }
}

const HEADS: [&str; 9] = [
    "path",
    "control",
    "ours is",
    "kernel Mbit/s",
    "ours Mbit/s",
    "ratio",
    "limit",
    "",
    "min-max kernel; ours",
];
const WIDTHS: [usize; 9] = [15, 7, 8, 13, 11, 5, 7, 6, 30];

fn print_head() {
    print_row(HEADS.map(str::to_owned));
    println!("|{}|", WIDTHS.map(|width| "-".repeat(width + 2)).join("|"));
}

fn print_row(columns: [String; 9]) {
    let row: Vec<String> =
        columns.iter().zip(WIDTHS).map(|(text, width)| format!(" {text:<width$} ")).collect();
    println!("|{}|", row.join("|"));
}

/// Whether the limit holds. Without the kernel's figure there is none.
fn print_line(cell: &Cell, control: Control, role: Role, kernel: Option<Figure>, ours: Figure) -> bool {
    let limit = limit(control, role);
    let ratio = kernel.map(|kernel| ours.median / kernel.median);
    let held = ratio.is_none_or(|ratio| ratio >= limit);
    let none = String::from("-");
    let range = |figure: Figure| format!("{:.1}-{:.1}", figure.least, figure.most);
    print_row([
        cell.name.to_owned(),
        control.name().to_owned(),
        format!("{role:?}").to_lowercase(),
        kernel.map_or(none.clone(), |kernel| format!("{:.1}", kernel.median)),
        format!("{:.1}", ours.median),
        ratio.map_or(none.clone(), |ratio| format!("{ratio:.3}")),
        format!(">= {limit}"),
        if held { "holds" } else { "MISSED" }.to_owned(),
        format!("{}; {}", kernel.map_or(none, range), range(ours)),
    ]);
    held
}

/// Faults of the bench itself are always told.
fn report(run: &Run, outcome: &Outcome, verbose: bool) {
    let refused = outcome.emulator.refused + outcome.engine.as_ref().map_or(0, |engine| engine.refused);
    if refused > 0 {
        println!("  {}: {refused} packets lost outside the emulator", run.cell.name);
    }
    if !verbose {
        return;
    }
    let who = run.ours.map_or("kernel".to_owned(), |role| format!("our {role:?}").to_lowercase());
    let [there, back] = outcome.emulator.directions.map(|direction| {
        format!("{} packets, {} lost, {} overflowed", direction.seen, direction.lost, direction.overflowed)
    });
    println!(
        "  {} {who} {}: {:.1} Mbit/s; there {there}; back {back}; late {} µs, {} µs at worst",
        run.cell.name,
        run.control.name(),
        outcome.mbits,
        outcome.emulator.late_p99_us,
        outcome.emulator.late_max_us
    );
    if let Some(engine) = &outcome.engine {
        println!("    {}", engine.counters);
        let info = &engine.info;
        println!(
            "    congestion window {} segments of {} bytes, threshold {}, {} µs round trip (least {}), deviation {}, \
             pacing {}, {} retransmitted, {} of it for nothing, {} time-outs; window offered {}, theirs {}",
            info.snd_cwnd,
            info.snd_mss,
            info.snd_ssthresh,
            info.rtt,
            info.min_rtt,
            info.rttvar,
            pacing(info.pacing_rate),
            info.total_retrans,
            info.dsack_dups,
            info.total_rto,
            info.rcv_wnd,
            info.snd_wnd
        );
    }
}

/// Linux's way to say "none" is the largest number.
fn pacing(bytes_per_second: u64) -> String {
    match bytes_per_second {
        u64::MAX => "off".into(),
        rate => format!("{} Mbit/s", rate / 125_000),
    }
}
