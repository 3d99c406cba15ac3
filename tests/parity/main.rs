//! Parity: C programs, one for each family of calls, run on the kernel's stack and under the shim, and must print the same.
//!
//! Each program is client and server at once, over its own loopback. It is built once and run in three environments: on
//! the kernel, in a network namespace whose loopback is up; under `LD_PRELOAD` alone; and by `tubesock run`. The last two
//! are in a namespace whose loopback is down, so that only our stack can carry what arrives.
//!
//! `programs/parity.h` says what a program is: cases, run one by one in processes of their own, that print facts as "label:
//! value". What the kernel prints is right. `differences.txt` lists each fact that is known to differ, with what ours
//! prints and the reason; a difference that is not listed fails the test, and so does a listed one that is gone.
//!
//! ```text
//! cargo test --release --test parity                       all programs, in both ways to load the shim
//! cargo test --release --test parity epoll::preload        one of them
//! target/tmp/parity/epoll edge_triggered                   one case by hand, on the kernel
//! ```

mod differences;
mod environment;
#[path = "../support/namespace.rs"]
mod namespace;
mod program;

use environment::Environment;
use program::Program;

/// Makes a module with a test in each of our environments for each program.
macro_rules! programs {
    ($($name:ident)*) => {
        /// In `programs/`, without `.c`.
        const PROGRAMS: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            use super::{Environment, Program, must_agree};

            static PROGRAM: Program = Program::new(stringify!($name));

            #[test]
            fn preload() {
                must_agree(&PROGRAM, Environment::Preload);
            }

            #[test]
            fn run() {
                must_agree(&PROGRAM, Environment::Run);
            }
        })*
    };
}

programs! {
    states errors options datagrams batches control_messages multicast ipv6 forks executed passing epolls polls signals
    timeouts threads shutdowns streams transfers duplicates flags urgent corks udp_lite reuse lingering interfaces lookups numbers
    echoes deferrals netlink namespaces
}

fn must_agree(program: &'static Program, environment: Environment) {
    let kernel = program.on_the_kernel();
    let ours = program.facts(environment);
    if let Err(verdict) = differences::known().judge(program.name(), environment, kernel, &ours) {
        panic!("{} differs under {environment:?}\n{verdict}", program.name());
    }
}

#[test]
fn every_program_has_its_tests() {
    let files = std::fs::read_dir(program::sources()).expect("the programs");
    let names = files.map(|file| file.expect("readable").path());
    let programs = names.filter(|path| path.extension().is_some_and(|extension| extension == "c"));
    let mut found: Vec<_> = programs
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .filter(|name| name != program::COMMON)
        .collect();
    let mut tested = PROGRAMS.to_vec();
    found.sort_unstable();
    tested.sort_unstable();
    assert_eq!(found, tested);
}

#[test]
fn every_difference_is_of_a_program() {
    let unknown: Vec<_> = differences::known().programs().filter(|name| !PROGRAMS.contains(name)).collect();
    assert!(unknown.is_empty(), "differences.txt names programs that are not there: {unknown:?}");
}

/// What makes agreement mean something: in the namespace of our environments the kernel carries nothing.
#[test]
fn nothing_is_carried_without_the_shim() {
    static CONTROL: Program = Program::new("states");
    let without = CONTROL.facts(Environment::Dark);
    let ends = without.iter().filter(|fact| fact.label == "connected ends");
    let ends: Vec<_> = ends.map(|fact| &fact.value[..]).collect();
    assert_eq!(ends, ["exit 1"], "{without:?}");
}
