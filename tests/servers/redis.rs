//! redis: one process that forks for a background save while it serves.

use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "redis",
    version: "redis-server --version",
    what: "redis-benchmark with 50 connections, a background save meanwhile; 1 MB intact",
};

fn saves(place: Place) {
    let world = World::new(SCENARIO, place);
    // A published client is a stranger to redis.
    let server = world.serve(
        &["6379"],
        "redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save '' --dir /mnt --dbfilename saved.rdb",
    );
    let client = format!("-h {} -p {}", world.host(), world.port(6379));
    world.ready(&format!("redis-cli {client} ping"));
    let value: String = (0..180_000).map(|number| number.to_string()).collect();
    world.write("value", &value);
    assert_eq!(world.run(&format!("redis-cli {client} -x set big </mnt/value")), "OK\n");

    let load =
        world.client(&format!("redis-benchmark {client} -t set,get,lpush -n 20000 -c 50 -r 10000 -d 100 -q"));
    world.until("keys", || (number(&world.run(&format!("redis-cli {client} dbsize"))) > 100).then_some(()));
    world.run(&format!("redis-cli {client} bgsave"));
    world.until("the background save", || {
        let state = world.run(&format!("redis-cli {client} info persistence"));
        (state.contains("rdb_bgsave_in_progress:0")
            && state.contains("rdb_saves:1")
            && state.contains("rdb_last_bgsave_status:ok"))
        .then_some(())
    });
    let report = load.success();
    assert!(report.contains("SET") && report.contains("LPUSH") && !report.contains("Error"), "{report}");
    assert!(world.run(&format!("redis-cli {client} get big")).trim_end() == value);
    assert!(world.script("redis-check-rdb /mnt/saved.rdb").contains("RDB looks OK"));
    server.stop(&[0]);
    world.end();
}

fn number(text: &str) -> u32 {
    text.trim().parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn published() {
    saves(Place::Published);
}

#[test]
fn inside() {
    saves(Place::Inside("10.0.2.15"));
}

#[test]
fn client() {
    saves(Place::Client);
}
