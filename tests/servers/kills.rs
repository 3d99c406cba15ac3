//! kill -9 of a client, of a worker, of `tubesock run` itself: the peers see the end that they see on the kernel's stack,
//! whoever is left goes on or ends, nothing hangs, and no file or process is left over.

use crate::nginx;
use crate::postgres;
use crate::support::PYTHON;
use crate::world::{Job, Place, Scenario, World, on_kernel};

const CLIENT: Scenario = Scenario {
    program: "python",
    version: "/usr/bin/python3 --version",
    what: "kill -9 of a client: what it sent and end of file, or a reset when it left something unread",
};
const WORKER: Scenario = Scenario {
    program: "nginx",
    version: "nginx -v",
    what: "kill -9 of a worker: end of file for its client, and the others go on",
};
const BACKEND: Scenario = Scenario {
    program: "postgres",
    version: "postgres --version",
    what: "kill -9 of a backend: psql says so, and the server recovers",
};
const WRAPPER: Scenario = Scenario {
    program: "python",
    version: "/usr/bin/python3 --version",
    what: "kill -9 of tubesock run: peer and program see an end",
};
const WRAPPER_OF_NGINX: Scenario = Scenario {
    program: "nginx",
    version: "nginx -v",
    what: "kill -9 of tubesock run: clients see an end, and neither master nor worker is left",
};

const HOST_OF_NGINX: Scenario = Scenario {
    program: "nginx",
    version: "nginx -v",
    what: "kill -9 of the host behind tubesock run: clients see an end, and neither master nor worker is left",
};

const PORT: u16 = 7000;

fn witness(world: &World) -> Job<'_> {
    world.write("witness.py", include_str!("python/witness.py"));
    let server = world.serve(&["7000"], &format!("{PYTHON} /mnt/witness.py server {PORT}"));
    server.says("listening");
    server
}

/// A client that is connected, and waits.
fn waiting<'world>(world: &'world World, server: &Job, kind: &str) -> Job<'world> {
    let client = world.client(&format!(
        "{PYTHON} /mnt/witness.py client {} {} {kind}",
        world.host(),
        world.port(PORT)
    ));
    client.says("waiting");
    server.says(&format!("{kind} begins"));
    client
}

/// The process of the program: of one behind `tubesock run`, the child of its child, which is the host.
fn program(world: &World, job: &Job) -> u32 {
    let wrapped = match world.place() {
        Place::Published | Place::Client => !on_kernel(),
        Place::Inside(_) => false,
    };
    if wrapped { world.children(host(world, job))[0] } else { job.process() }
}

/// The host of a program behind `tubesock run`.
fn host(world: &World, job: &Job) -> u32 {
    world.children(job.process())[0]
}

fn of_a_client(place: Place) {
    let world = World::new(CLIENT, place);
    let server = witness(&world);
    for (kind, end) in [
        ("idle", "idle 0 and end of file"),
        ("sent", "sent 300000 and end of file"),
        ("unread", "unread ConnectionResetError"),
    ] {
        let client = waiting(&world, &server, kind);
        let process = if place == Place::Client { program(&world, &client) } else { client.process() };
        world.signal(process, "KILL");
        // `tubesock run` ends as its program did.
        assert_eq!(client.end().status, 137);
        server.says(end);
    }
    server.stop(&[143]);
    world.end();
}

#[test]
fn of_a_client_of_a_published_server() {
    of_a_client(Place::Published);
}

#[test]
fn of_a_client_inside() {
    of_a_client(Place::Inside("127.0.0.1"));
}

#[test]
fn of_a_client_alone() {
    of_a_client(Place::Client);
}

fn of_a_worker(place: Place) {
    let world = World::new(WORKER, place);
    let server = nginx::start(&world);
    world.write("worker.py", include_str!("python/worker.py"));
    let one = || {
        let client = world.client(&format!("{PYTHON} /mnt/worker.py {} {}", world.host(), world.port(8080)));
        client.says("X-Process: ");
        let answer = client.output();
        let process: u32 = answer.trim_start_matches("X-Process: ").trim().parse().expect("a process");
        (client, process)
    };
    let (killed, victim) = one();
    // Somebody else's client is not touched. The kernel chooses the worker: often the same.
    let mut clients = vec![one()];
    while clients.iter().all(|(_, process)| *process == victim) {
        assert!(clients.len() < 200, "one worker has all connections");
        clients.push(one());
    }
    world.signal(victim, "KILL");
    assert!(killed.success().ends_with("\nb''\n"));
    for (client, process) in clients {
        assert!(process == victim || !client.has_ended());
        if process != victim {
            client.signal("TERM");
        }
        client.end();
    }
    let master = nginx::master(&world);
    world.until("the new worker", || (world.children(master).len() == 4).then_some(()));
    for _ in 0..20 {
        assert_eq!(world.run(&format!("curl -sS {}small", nginx::url(&world))), "small\n");
    }
    server.stop(&[0]);
    world.end();
}

#[test]
fn of_a_worker_of_a_published_server() {
    of_a_worker(Place::Published);
}

#[test]
fn of_a_worker_inside() {
    of_a_worker(Place::Inside("10.0.2.15"));
}

fn of_a_backend(place: Place) {
    let world = World::new(BACKEND, place);
    let server = postgres::start(&world);
    let psql = format!("psql -At {} postgres", postgres::client(&world));
    let sleeping = world.client(&format!("{psql} -c 'select pg_sleep(600)'"));
    let backend: u32 = world.until("the query", || {
        let query = "select pid from pg_stat_activity where query ~ '^select pg_sleep' and state = 'active'";
        world.write("query.sql", query);
        world.run(&format!("{psql} -f /mnt/query.sql")).trim().parse().ok()
    });
    world.signal(backend, "KILL");
    let ended = sleeping.end();
    assert!(
        ended.status == 2 && ended.errors.contains("server closed the connection unexpectedly"),
        "{ended}"
    );
    assert_eq!(world.ready(&format!("{psql} -c 'select 1'")), "1\n");
    server.stop(&[0]);
    world.end();
}

#[test]
fn of_a_backend_of_a_published_server() {
    of_a_backend(Place::Published);
}

#[test]
fn of_a_backend_inside() {
    of_a_backend(Place::Inside("127.0.0.1"));
}

/// The last line that a client prints: the end that it sees.
fn is_an_end(line: &str) -> bool {
    ["b''", "ConnectionResetError"].contains(&line)
}

/// Waits until a process that the world's first process inherited has ended.
fn gone(world: &World, process: u32) {
    let state = format!("cut -d' ' -f3 /proc/{process}/stat 2>/dev/null || echo Z");
    world.until("the end of the program", || (world.script(&state).trim() == "Z").then_some(()));
}

#[test]
fn of_the_wrapper_of_a_server() {
    let world = World::new(WRAPPER, Place::Published);
    let server = witness(&world);
    let client = waiting(&world, &server, "idle");
    let process = program(&world, &server);
    server.signal("KILL");
    assert!(is_an_end(client.success().lines().last().expect("it prints its end")));
    gone(&world, process);
    assert_eq!(server.end().status, 137);
    world.end();
}

#[test]
fn of_the_wrapper_of_a_client() {
    let world = World::new(WRAPPER, Place::Client);
    let server = witness(&world);
    let client = waiting(&world, &server, "endless");
    let process = program(&world, &client);
    client.signal("KILL");
    assert_eq!(client.end().status, 137);
    world.until("the end at the server", || {
        let ends = ["endless ConnectionResetError", "endless BrokenPipeError"];
        ends.iter().any(|end| server.output().contains(end)).then_some(())
    });
    gone(&world, process);
    server.stop(&[143]);
    world.end();
}

/// `tubesock run` is two processes: whichever is killed, the other sees to the rest.
fn of_nginx(scenario: Scenario, victim: impl FnOnce(&World, &Job) -> u32) {
    let world = World::new(scenario, Place::Published);
    let server = nginx::start(&world);
    let master = nginx::master(&world);
    world.write("worker.py", include_str!("python/worker.py"));
    let client = world.client(&format!("{PYTHON} /mnt/worker.py {} {}", world.host(), world.port(8080)));
    client.says("X-Process: ");
    if on_kernel() {
        // There is no wrapper.
        server.stop(&[0]);
    } else {
        world.signal(victim(&world, &server), "KILL");
        assert_eq!(server.end().status, 137);
    }
    assert!(is_an_end(client.success().lines().last().expect("it prints its end")));
    gone(&world, master);
    world.end();
}

#[test]
fn of_the_wrapper_of_nginx() {
    of_nginx(WRAPPER_OF_NGINX, |_, server| server.process());
}

#[test]
fn of_the_host_of_nginx() {
    of_nginx(HOST_OF_NGINX, host);
}
