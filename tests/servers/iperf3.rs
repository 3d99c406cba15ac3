//! iperf3: bulk in both directions, over several connections, and over UDP.

use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "iperf3",
    version: "iperf3 --version",
    what: "200 MB up, down and over 4 connections; 4 MB over UDP",
};

fn bulk(place: Place) {
    let world = World::new(SCENARIO, place);
    let server = world.serve(&["5201", "5201/udp"], "iperf3 -s -p 5201");
    let client = format!("iperf3 -J -c {} -p {}", world.host(), world.port(5201));
    // Between two tests the server is busy, or does not listen: a client is started until it has its turn. With -J it
    // ends with status 0 whatever happens.
    let in_turn = |options: &str| {
        world.ready(&format!(
            "sh -c '{client} {options} >/mnt/report && ! grep -q \\\"error\\\": /mnt/report'"
        ));
        world.read("report")
    };
    for direction in ["", "-R", "-P 4"] {
        let report = in_turn(&format!("-n 200M {direction}"));
        // The server stops counting when the client says that it is done, on another connection.
        assert!(received(&report) >= 150 * 1024 * 1024, "{direction} {report}");
    }
    let report = in_turn("-u -b 30M -n 4M -l 1400");
    // Bursts may outrun a busy receiver.
    assert!(number(&report, "\"lost_percent\":") < 20, "{report}");
    // How iperf3 ends on SIGTERM.
    server.stop(&[0, 1]);
    world.end();
}

/// The octets that arrived.
fn received(report: &str) -> u64 {
    let (_, sums) = report.split_once("\"sum_received\":").unwrap_or_else(|| panic!("{report}"));
    number(sums, "\"bytes\":")
}

/// The whole part of the last such number of the first object.
fn number(report: &str, name: &str) -> u64 {
    let (_, rest) = report.split_once(name).unwrap_or_else(|| panic!("no {name} in {report}"));
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number at {name}: {report}"))
}

#[test]
fn published() {
    bulk(Place::Published);
}

#[test]
fn inside() {
    bulk(Place::Inside("10.0.2.15"));
}

#[test]
fn client() {
    bulk(Place::Client);
}
