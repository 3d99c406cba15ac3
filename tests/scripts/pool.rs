//! Many scripts at once.
//!
//! On the kernel they wait most of the time: each gets a thread, which is how a network namespace comes and goes, and
//! a bounded number runs at once. A machine that was busy elsewhere can make a script fail; what fails is tried again.
#![forbid(unsafe_code)]

use crate::kernel::Kernel;
use crate::script::{self, Backend, Family, Script};
use crate::{Verdict, invert, root, run, run_on};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Scripts on the kernel at once.
const AT_ONCE: usize = 32;

/// Attempts at a script on the kernel.
const ATTEMPTS: usize = 3;

/// Runs the scripts named, each in its families.
pub(crate) fn run_all(backend: Backend, names: Vec<String>) -> BTreeMap<String, Verdict> {
    let mut scripts: Vec<_> = names.into_iter().map(|name| (script::read(&root(), &name), name)).collect();
    // The longest last, since they are taken from the end.
    scripts.sort_by_key(|(script, _)| script.as_ref().map_or(0, duration));
    let (waiting, verdicts) = (Mutex::new(scripts), Mutex::new(BTreeMap::new()));
    let threads = if backend == Backend::Linux { AT_ONCE } else { 1 };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((script, name)) = waiting.lock().expect("no panic").pop() else { return };
                    let verdict = script.and_then(|script| run_script(backend, &script));
                    verdicts.lock().expect("no panic").insert(name, verdict);
                }
            });
        }
    });
    verdicts.into_inner().expect("no panic")
}

/// How long a script takes, from its times.
fn duration(script: &Script) -> i64 {
    let mut time = 0;
    for event in &script.events {
        time = if event.when.relative { time + event.when.high } else { event.when.high };
    }
    time
}

fn run_script(backend: Backend, script: &Script) -> Verdict {
    let mut traces = String::new();
    for family in &script.setup.families {
        let verdict = run_on(backend, script, *family);
        let verdict = if backend == Backend::Linux { invert(script, verdict) } else { verdict };
        traces += &verdict?;
    }
    Ok(traces)
}

pub(crate) fn on_kernel(script: &Script, family: Family) -> Verdict {
    let attempt = || {
        // A thread takes its namespace with it when it ends.
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut kernel = Kernel::new(&script.setup, family);
                kernel.start();
                run::run(script, family, Backend::Linux, &mut kernel)
            });
            thread.join().unwrap_or_else(|_| Err(format!("{}: panicked", script.name)))
        })
    };
    (1..ATTEMPTS).fold(attempt(), |verdict, _| verdict.or_else(|_| attempt()))
}
