//! postgres: a process for each session, forked with the accepted socket.

use crate::world::{Job, Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "postgres",
    version: "postgres --version",
    what: "pgbench, 8 sessions in 2 threads, 800 transactions; the books balance",
};

/// Starts a new cluster on port 5432.
pub(crate) fn start(world: &World) -> Job<'_> {
    world.script(
        "initdb -D /mnt/cluster -U tester -A trust -N --no-locale -E UTF8 >/mnt/initdb.out &&
         echo 'host all all 0.0.0.0/0 trust' >>/mnt/cluster/pg_hba.conf",
    );
    let server = world.serve(
        &["5432"],
        "postgres -D /mnt/cluster -p 5432 -c listen_addresses=0.0.0.0 -c unix_socket_directories= -c fsync=off",
    );
    world.ready(&format!("pg_isready -t 5 {}", client(world)));
    server
}

/// How a client of it is told where it is.
pub(crate) fn client(world: &World) -> String {
    format!("-h {} -p {}", world.host(), world.port(5432))
}

fn pgbench(place: Place) {
    let world = World::new(SCENARIO, place);
    let server = start(&world);
    let client = client(&world);
    world.run(&format!("pgbench {client} -i -q postgres"));
    let report = world.run(&format!("pgbench {client} -n -c 8 -j 2 -t 100 postgres"));
    assert!(report.contains("actually processed: 800/800"), "{report}");
    assert!(report.contains("number of failed transactions: 0"), "{report}");
    let query = "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts), \
        sum(delta) = (select sum(bbalance) from pgbench_branches) from pgbench_history";
    assert_eq!(world.run(&format!("psql {client} -At -c '{query}' postgres")), "800|t|t\n");
    // Every connection has a process of its own, and none is left.
    server.stop(&[0]);
    world.end();
}

#[test]
fn published() {
    pgbench(Place::Published);
}

#[test]
fn inside() {
    pgbench(Place::Inside("127.0.0.1"));
}

#[test]
fn client_alone() {
    pgbench(Place::Client);
}
