//! Java's HttpServer and HttpClient: selectors in one thread, work in others.

use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "java",
    version: "java -version",
    what: "HttpServer with 8 threads; 200 requests of HttpClient, 10 at a time; 1,000 of ab",
};

fn requests(place: Place) {
    let world = World::new(SCENARIO, place);
    world.write("Http.java", include_str!("java/Http.java"));
    world.script("javac -J-XX:-UsePerfData -d /mnt /mnt/Http.java");
    let java = "java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData -cp /mnt Http";
    let server = world.serve(&["8000"], &format!("{java} server 8000"));
    let url = format!("http://{}:{}/", world.host(), world.port(8000));
    server.says("serving");
    world.ready(&format!("curl -sS -o /dev/null {url}"));
    assert_eq!(world.run(&format!("{java} client {url}")), "200\n");
    let report = world.run(&format!("ab -q -n 1000 -c 20 {url}"));
    assert!(report.contains("Failed requests:        0"), "{report}");
    // How Java ends on SIGTERM.
    server.stop(&[143]);
    world.end();
}

#[test]
fn published() {
    requests(Place::Published);
}

#[test]
fn inside() {
    requests(Place::Inside("127.0.0.1"));
}

#[test]
fn client() {
    requests(Place::Client);
}
