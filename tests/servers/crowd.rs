//! Ten thousand connections at once, and requests over all of them: neither descriptors nor memory may grow from one half
//! of the requests to the other, and what the connections took is given back.
//!
//! A hundred thousand requests here; a million with
//!
//!     SERVERS_REQUESTS=1000000 cargo test --release --test servers crowd -- --nocapture
//!
//! A published connection takes two descriptors of the host, so that ten thousand need a hard limit of more than 20,000.
//! Where it is lower there are as many connections as it allows.

use crate::nginx;
use crate::support::command::Program;
use crate::world::{Job, Place, Scenario, World};
use rustix::process::{Resource, getrlimit};
use std::time::Duration;

const NGINX: Scenario = Scenario {
    program: "nginx",
    version: "nginx -v",
    what: "10,000 connections at once (9,750 where a process may have 20,000 descriptors) over 4 workers, 100,000 \
        requests, no growth of memory or descriptors",
};
const EPOLL: Scenario = Scenario {
    program: "epoll server in C",
    version: "gcc -dumpfullversion",
    what: "10,000 connections at once (9,750 where a process may have 20,000 descriptors), 100,000 requests, no growth \
        of memory or descriptors",
};

const CONNECTIONS: usize = 10_000;
const REQUESTS: usize = 100_000;
/// Descriptors of the host that are not connections.
const OTHERS: u64 = 500;
/// What the second half of the requests may add, in KiB: less than one for each connection, since not all have been at
/// work at the same time in the first.
const GROWTH_KIB: usize = 8192;
/// Descriptors that may be open at one look and not at the other: a log, a timer.
const DESCRIPTORS: usize = 16;

/// Descriptors and resident KiB.
type Use = (usize, usize);

/// What a process and all that it started use.
fn use_of(world: &World, job: &Job) -> Use {
    let report = world.script(&format!(
        "tree() {{ echo $1; for child in $(cat /proc/$1/task/*/children); do tree $child; done; }}
         for process in $(tree {}); do
             ls /proc/$process/fd | wc -l; sed -n 's/^VmRSS:\\s*\\([0-9]*\\).*/\\1/p' /proc/$process/status
         done",
        job.process()
    ));
    let numbers: Vec<usize> = report.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    numbers.chunks_exact(2).fold((0, 0), |sum, process| (sum.0 + process[0], sum.1 + process[1]))
}

fn compile(world: &World, name: &str) {
    let source = format!("{}/tests/servers/c/{name}.c", env!("CARGO_MANIFEST_DIR"));
    Program::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-o"])
        .arg(world.file(name))
        .arg(source)
        .run()
        .success();
}

fn crowd(world: &World, server: &Job, port: u16) {
    compile(world, "crowd");
    let (connections, requests) = (CONNECTIONS.min(possible()), wanted("SERVERS_REQUESTS", REQUESTS));
    let before = use_of(world, server);
    let crowd =
        world.client(&format!("/mnt/crowd {} {} {connections} {requests}", world.host(), world.port(port)));
    let until = |line: &str| {
        crowd.says(line);
        use_of(world, server)
    };
    let (half, done) = (until("half"), until("done"));
    let took = format!("before {before:?}, half {half:?}, done {done:?}");
    assert!(half.0 >= before.0 + connections, "all are open: {took}");
    assert!(done.0 <= half.0 + DESCRIPTORS, "descriptors: {took}");
    assert!(done.1 <= half.1 + GROWTH_KIB, "memory: {took}");
    println!("{took}");
    crowd.stop(&[0]);
    world.until("closing", || (use_of(world, server).0 <= before.0 + DESCRIPTORS).then_some(()));
}

/// The connections that a host has descriptors for.
fn possible() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    (limit.saturating_sub(OTHERS) / 2).try_into().expect("a count")
}

/// What the environment wants, if it says.
fn wanted(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

fn world(scenario: Scenario) -> World {
    World::with_deadline(scenario, Place::Published, Duration::from_secs(600))
}

#[test]
fn of_nginx() {
    let world = world(NGINX);
    let server = nginx::start(&world);
    crowd(&world, &server, 8080);
    server.stop(&[0]);
    world.end();
}

#[test]
fn of_an_epoll_server() {
    let world = world(EPOLL);
    compile(&world, "epoll_server");
    let server = world.serve(&["8000"], "/mnt/epoll_server 8000");
    server.says("listening");
    crowd(&world, &server, 8000);
    server.stop(&[143]);
    world.end();
}
