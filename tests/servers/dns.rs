//! dnsmasq, asked by dig: UDP, TCP (dnsmasq forks for each of those connections), and TCP after a truncated answer.

use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "dnsmasq",
    version: "dnsmasq --version",
    what: "dig: 100 questions over UDP, 20 over TCP, one that is truncated first",
};

fn questions(place: Place) {
    let world = World::new(SCENARIO, place);
    let text = "x".repeat(200);
    let records: String = (0..10).map(|number| format!("txt-record=long.test,{number}{text}\n")).collect();
    world.write("dnsmasq.conf", format!("{}{records}", include_str!("dnsmasq.conf")));
    let server = world.serve(&["5353", "5353/udp"], "dnsmasq -k -C /mnt/dnsmasq.conf --log-facility=-");
    let dig = format!("dig @{} -p {} +tries=1 +timeout=5", world.host(), world.port(5353));
    world.ready(&format!("{dig} +short known.test A"));

    for (transport, count) in [("+notcp", 100), ("+tcp", 20)] {
        world.write("questions", "known.test A\n".repeat(count));
        let answers = world.run(&format!("{dig} {transport} +short -f /mnt/questions"));
        assert_eq!(answers, "192.0.2.7\n".repeat(count), "{transport}");
    }
    let answer = world.run(&format!("{dig} +bufsize=512 +short long.test TXT"));
    assert_eq!(answer.matches(&text).count(), 10, "{answer}");
    let answer = world.run(&format!("{dig} unknown.test A"));
    assert!(answer.contains("status: NXDOMAIN"), "{answer}");
    server.stop(&[0]);
    world.end();
}

#[test]
fn published() {
    questions(Place::Published);
}

#[test]
fn inside() {
    questions(Place::Inside("127.0.0.1"));
}

#[test]
fn client() {
    questions(Place::Client);
}
