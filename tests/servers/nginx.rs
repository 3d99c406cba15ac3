//! nginx: a master and four workers, which accept from the listener that they inherited.

use crate::load;
use crate::support::stream::{Digest, Stream};
use crate::world::{Job, Place, Scenario, World};
use std::collections::BTreeSet;

const SCENARIO: Scenario = Scenario {
    program: "nginx",
    version: "nginx -v",
    what: "master and 4 workers, 10,000 requests, reloads with HUP meanwhile, none failed; 5 MB intact",
};
const LENGTH: u64 = 5_000_000;
const WORKERS: usize = 4;

/// Starts nginx on port 8080. /small tells in a header which process served it.
pub(crate) fn start(world: &World) -> Job<'_> {
    std::fs::create_dir(world.file("root")).expect("the directory is ours");
    world.write("root/file", Stream::of(LENGTH).bytes());
    world.write("root/small", "small\n");
    world.write("nginx.conf", include_str!("nginx.conf"));
    let server = world.serve(&["8080"], "nginx -e /mnt/nginx.err -c /mnt/nginx.conf");
    world.ready(&format!("curl -sS -o /dev/null {}small", url(world)));
    server
}

/// Where its clients find it.
pub(crate) fn url(world: &World) -> String {
    format!("http://{}:{}/", world.host(), world.port(8080))
}

/// The process of the master.
pub(crate) fn master(world: &World) -> u32 {
    world.read("nginx.pid").trim().parse().expect("nginx writes its process number")
}

fn reloads(place: Place) {
    let world = World::new(SCENARIO, place);
    let server = start(&world);
    let (url, master) = (url(&world), master(&world));
    world.run(&format!("curl -sS -o /mnt/received {url}file"));
    let sum = world.script("sha256sum /mnt/received");
    assert_eq!(sum.split(' ').next(), Some(Digest::of_stream(LENGTH).as_str()));
    let reloads = load::disturbed(&world, &format!("{url}small"), || reload(&world, master));
    assert!(reloads >= 2, "{reloads} reloads");
    assert!(load::processes(&world, "access.log") > WORKERS, "{}", world.read("nginx.err"));
    server.stop(&[0]);
    world.end();
}

/// HUP; done when there are as many workers as before, all of them new. The old ones may still be at work.
fn reload(world: &World, master: u32) {
    let old: BTreeSet<u32> = world.children(master).into_iter().collect();
    world.signal(master, "HUP");
    world.until("the reload", || {
        let new = world.children(master).into_iter().filter(|process| !old.contains(process)).count();
        (new == WORKERS).then_some(())
    });
}

#[test]
fn published() {
    reloads(Place::Published);
}

#[test]
fn inside() {
    reloads(Place::Inside("127.0.0.1"));
}
