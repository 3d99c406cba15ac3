//! haproxy: a master and a worker with two threads. A reload executes the master anew, which hands the listeners on.

use crate::load;
use crate::world::{Place, Scenario, World};
use std::time::{Duration, Instant};

const SCENARIO: Scenario = Scenario {
    program: "haproxy",
    version: "haproxy -v",
    what: "master and worker in front of nginx, 10,000 requests, reloads with USR2 meanwhile, none failed",
};

fn reloads(place: Place) {
    let world = World::new(SCENARIO, place);
    world.write("root/small", "small\n");
    world.write("nginx.conf", include_str!("nginx.conf"));
    // Behind a published haproxy it is on the machine's stack, so that haproxy is server and client.
    let backend = world.client("nginx -e /mnt/nginx.err -c /mnt/nginx.conf");
    world.write("haproxy.conf", include_str!("haproxy.conf").replace("MACHINE", world.machine()));
    let server = world.serve(&["8081"], "haproxy -W -f /mnt/haproxy.conf -p /mnt/haproxy.pid");
    let url = format!("http://{}:{}/small", world.host(), world.port(8081));
    world.ready(&format!("curl -sSf -o /dev/null {url}"));
    let master: u32 =
        world.read("haproxy.pid").lines().next().and_then(|line| line.parse().ok()).expect("a process");
    let reloads = load::disturbed(&world, &url, || {
        let (before, mut signalled) = (replaced(&server.errors()), None::<Instant>);
        world.until("the reload", || {
            // While it executes itself anew, the master loses signals: on the kernel's stack too.
            let lost = signalled.is_none_or(|at| at.elapsed() > Duration::from_secs(1));
            if lost {
                world.signal(master, "USR2");
                signalled = Some(Instant::now());
            }
            (replaced(&server.errors()) > before).then_some(())
        });
    });
    assert!(reloads >= 2, "{reloads} reloads");
    server.stop(&[0]);
    backend.stop(&[0]);
    world.end();
}

/// How many workers have ended. Before that the master takes no other signal.
fn replaced(log: &str) -> usize {
    log.matches("Former worker").count()
}

#[test]
fn published() {
    reloads(Place::Published);
}

#[test]
fn inside() {
    reloads(Place::Inside("127.0.0.1"));
}
