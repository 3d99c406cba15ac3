//! Load on an HTTP server while something is done to it: ab, with a connection for each request.

use crate::world::{Job, World};

/// Requests of one load.
const REQUESTS: &str = "10000";

/// Starts 50 clients at once.
pub(crate) fn start<'world>(world: &'world World, url: &str) -> Job<'world> {
    world.client(&format!("ab -q -n {REQUESTS} -c 50 {url}"))
}

/// Waits for the end; every request must have had its answer.
#[track_caller]
pub(crate) fn finish(load: Job) {
    let report = load.success();
    let value = |name: &str| {
        let line = report.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{report}"));
        line.split_whitespace().nth(2).expect("ab prints a number").to_owned()
    };
    assert_eq!(
        (value("Complete requests"), value("Failed requests")),
        (REQUESTS.into(), "0".into()),
        "{report}"
    );
    assert!(!report.contains("Non-2xx"), "{report}");
}

/// Starts a load, calls `disturb` again and again until it is over, and says how often.
#[track_caller]
pub(crate) fn disturbed(world: &World, url: &str, mut disturb: impl FnMut()) -> u32 {
    let load = start(world, url);
    let mut times = 0;
    while !load.has_ended() {
        disturb();
        times += 1;
    }
    finish(load);
    times
}

/// The number of different lines in a log in which every request leaves the process that served it.
pub(crate) fn processes(world: &World, log: &str) -> usize {
    world.read(log).lines().collect::<std::collections::BTreeSet<_>>().len()
}
