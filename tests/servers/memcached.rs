//! memcached: one process whose threads take connections from the one that accepts.

use crate::support::PYTHON;
use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "memcached",
    version: "memcached -V",
    what: "4 threads, 16 connections of Python's, 8,000 values set and read back",
};

fn values(place: Place) {
    let world = World::new(SCENARIO, place);
    world.write("client.py", include_str!("python/memcached.py"));
    let server = world.serve(&["11211"], "memcached -p 11211 -U 0 -t 4 -l 0.0.0.0");
    let client = format!("{PYTHON} /mnt/client.py {} {}", world.host(), world.port(11211));
    world.ready(&format!("{client} 1 1"));
    assert_eq!(world.run(&format!("{client} 16 500")), "8000\n");
    server.stop(&[0]);
    world.end();
}

#[test]
fn published() {
    values(Place::Published);
}

#[test]
fn inside() {
    values(Place::Inside("127.0.0.1"));
}
