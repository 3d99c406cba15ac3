//! git daemon: a process for each connection, which executes git with the socket as its standard input and output.

use crate::support::stream::Stream;
use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "git daemon",
    version: "git --version",
    what: "git:// clones, 4 at a time, and a push; equal to the origin",
};

const REPOSITORY: &str = "
    export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=test
    export GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=test@example.invalid
    export GIT_CONFIG_KEY_2=init.defaultBranch GIT_CONFIG_VALUE_2=main
    set -e
    git init -q /mnt/work
    cd /mnt/work
    cp /mnt/content content
    git add content
    git commit -q -m content
    git clone -q --bare /mnt/work /mnt/repositories/repository.git";

const COMMIT: &str = "
    cd /mnt/clone0
    git -c user.name=test -c user.email=test@example.invalid commit -q --allow-empty -m more
    git rev-parse HEAD";

fn clones(place: Place) {
    let world = World::new(SCENARIO, place);
    let content = Stream::of(2_000_000).bytes();
    world.write("content", &content);
    world.script(REPOSITORY);
    let server = world.serve(
        &["9418"],
        "git daemon --base-path=/mnt/repositories --export-all --enable=receive-pack --reuseaddr --listen=0.0.0.0 \
         --port=9418 --informative-errors --verbose",
    );
    let url = format!("git://{}:{}/repository.git", world.host(), world.port(9418));
    world.ready(&format!("git ls-remote -q {url}"));
    let clones: Vec<_> =
        (0..4).map(|number| world.client(&format!("git clone -q {url} /mnt/clone{number}"))).collect();
    for (number, clone) in clones.into_iter().enumerate() {
        clone.success();
        let cloned = std::fs::read(world.file(&format!("clone{number}/content"))).expect("it was cloned");
        assert!(cloned == content, "clone {number}");
    }
    let commit = world.script(COMMIT);
    world.run("git -C /mnt/clone0 push -q origin HEAD:refs/heads/pushed");
    let pushed = world.run(&format!("git ls-remote -q {url} refs/heads/pushed"));
    assert_eq!(pushed.split_whitespace().next(), Some(commit.trim()), "{pushed}");
    server.stop(&[143]);
    world.end();
}

#[test]
fn published() {
    clones(Place::Published);
}

#[test]
fn inside() {
    clones(Place::Inside("10.0.2.15"));
}

#[test]
fn client() {
    clones(Place::Client);
}
