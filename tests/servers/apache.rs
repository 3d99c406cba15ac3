//! Apache with the prefork module: children that accept in turns, replaced while requests come in.

use crate::load;
use crate::support::stream::{Digest, Stream};
use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "apache",
    version: "apache2 -v",
    what: "prefork, 10,000 requests, graceful restarts meanwhile, none failed; 5 MB intact",
};
const LENGTH: u64 = 5_000_000;

fn prefork(place: Place) {
    let world = World::new(SCENARIO, place);
    world.write("root/file", Stream::of(LENGTH).bytes());
    world.write("root/small", "small\n");
    world.write("apache.conf", include_str!("apache.conf"));
    let server = world.serve(&["8082"], "apache2 -f /mnt/apache.conf -DFOREGROUND");
    let url = format!("http://{}:{}/", world.host(), world.port(8082));
    world.ready(&format!("curl -sSf -o /mnt/received {url}file"));
    let sum = world.script("sha256sum /mnt/received");
    assert_eq!(sum.split(' ').next(), Some(Digest::of_stream(LENGTH).as_str()));
    let parent: u32 = world.read("apache.pid").trim().parse().expect("apache writes its process number");
    let restarts = load::disturbed(&world, &format!("{url}small"), || {
        let before = restarts(&world);
        world.signal(parent, "USR1");
        world.until("the restart", || (restarts(&world) > before).then_some(()));
    });
    assert!(restarts >= 2, "{restarts} restarts");
    assert!(load::processes(&world, "access.log") > 4);
    server.stop(&[0]);
    world.end();
}

/// How often apache said that it goes on after a restart.
fn restarts(world: &World) -> usize {
    world.read("apache.err").matches("resuming normal operations").count()
}

#[test]
fn published() {
    prefork(Place::Published);
}

#[test]
fn inside() {
    prefork(Place::Inside("10.0.2.15"));
}
