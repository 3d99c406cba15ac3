//! rsync's daemon: a process for each connection, and a second one when it receives; the client forks too.

use crate::support::stream::Stream;
use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "rsync daemon",
    version: "rsync --version",
    what: "a tree of 200 files and one of 5 MB up, changed, and down 4 at a time; trees equal",
};

fn trees(place: Place) {
    let world = World::new(SCENARIO, place);
    for number in 0..200_u32 {
        world.write(&format!("tree/{}/{number}", number % 7), format!("{number}\n").repeat(number as usize));
    }
    world.write("tree/large", Stream::of(5_000_000).bytes());
    world.write("module/gone", "not in the tree\n");
    world.write("rsyncd.conf", include_str!("rsyncd.conf"));
    let server = world.serve(&["8730"], "rsync --daemon --no-detach --config=/mnt/rsyncd.conf --port=8730");
    let url = format!("rsync://{}:{}/files/", world.host(), world.port(8730));
    world.ready(&format!("rsync -q {url}"));
    world.run(&format!("rsync -a --delete /mnt/tree/ {url}"));
    world.script("diff -r /mnt/tree /mnt/module");
    // The second time only the change goes over, by checksums of both sides.
    world.script("echo more >>/mnt/tree/large; rm -r /mnt/tree/3");
    let report = world.run(&format!("rsync -a --delete --no-whole-file --stats /mnt/tree/ {url}"));
    assert!(report.contains("Matched data: 5,0") || report.contains("Matched data: 4,9"), "{report}");
    let pulls: Vec<_> =
        (0..4).map(|number| world.client(&format!("rsync -a {url} /mnt/pull{number}"))).collect();
    for (number, pull) in pulls.into_iter().enumerate() {
        pull.success();
        world.script(&format!("diff -r /mnt/tree /mnt/pull{number}"));
    }
    server.stop(&[0]);
    world.end();
}

#[test]
fn published() {
    trees(Place::Published);
}

#[test]
fn inside() {
    trees(Place::Inside("127.0.0.1"));
}

#[test]
fn client() {
    trees(Place::Client);
}
