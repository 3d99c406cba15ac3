//! Where a suite runs, twice, and how its tests are started.

use crate::support::command::{Outcome, Program};
use crate::support::stack::Stack;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Enough to keep two cores busy with what mostly waits, and few enough for tests that count seconds.
const AT_ONCE: usize = 4;

/// How long a test that is started alone may take, in seconds.
const PATIENCE: u32 = 20;
/// 128 and SIGKILL: how timeout(1) and the shell report what had to be killed.
const KILLED: i32 = 137;

/// How a test ended.
#[derive(Clone)]
pub(crate) struct Ending {
    /// In one word: `ok`, `skipped`, `failed`, `hang` and the like.
    pub(crate) word: String,
    /// What it said about it.
    pub(crate) told: String,
}

/// How each test of a suite ended, by name.
pub(crate) type Endings = BTreeMap<String, Ending>;

/// The two stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Kernel,
    Ours,
}

impl Side {
    /// The program in namespaces of its own, which take with them whatever it leaves behind. It is killed after so many
    /// seconds.
    pub(crate) fn program(self, program: Program, patience: u32) -> Program {
        let (stack, script) = match self {
            Side::Kernel => (Stack::kernel(), "ip link set lo up; \"$@\"; exit"),
            Side::Ours => (Stack::run(), "\"$@\"; exit"),
        };
        let namespaces =
            ["--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
        let program = program.on(&stack).inside(["timeout", "--signal=KILL", &patience.to_string()]);
        program.inside(["sh", "-ec", script, "sh"]).inside(namespaces).inside(["unshare"])
    }
}

/// The suites take turns: each fills the machine.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What each part ends with on each side, several at a time, in the order of `parts`.
pub(crate) fn on_both(parts: &[String], ending: impl Fn(Side, &str) -> Endings + Sync) -> [Endings; 2] {
    let both = parts.iter().flat_map(|part| [(Side::Kernel, part), (Side::Ours, part)]);
    let (jobs, endings) = (Mutex::new(both), Mutex::new([Endings::new(), Endings::new()]));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let next = || jobs.lock().expect("nothing panics in here").next();
                while let Some((side, part)) = next() {
                    let found = ending(side, part);
                    endings.lock().expect("nothing panics in here")[side as usize].extend(found);
                }
            });
        }
    });
    endings.into_inner().expect("nothing panics in here")
}

/// The names of the tests that did not end alike.
pub(crate) fn differing([kernel, ours]: &[Endings; 2]) -> Vec<String> {
    let word = |ending: Option<&Ending>| ending.map(|ending| ending.word.clone());
    let tests: BTreeSet<&String> = kernel.keys().chain(ours.keys()).collect();
    let differing = tests.into_iter().filter(|&test| word(kernel.get(test)) != word(ours.get(test)));
    differing.cloned().collect()
}

/// What each test ends with when `program` plays it alone and says by its status whether all was well.
pub(crate) fn each_alone(tests: &[String], program: impl Fn(&str) -> Program + Sync) -> [Endings; 2] {
    on_both(tests, |side, test| {
        let outcome = side.program(program(test), PATIENCE).run();
        let word = match outcome.code() {
            Some(0) => "ok",
            Some(KILLED) => "hang",
            Some(1 | 101) => "failed",
            _ => "crash",
        };
        Endings::from([(test.to_owned(), Ending { word: word.to_owned(), told: complaint(&outcome) })])
    })
}

/// What is worth repeating of a failure.
fn complaint(outcome: &Outcome) -> String {
    let text = format!("{}\n{}", outcome.text(), outcome.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
