//! openssl's own server and client: blocking calls, one connection after the other.

use crate::support::stream::{Digest, Stream};
use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "openssl",
    version: "openssl version",
    what: "s_server -WWW with s_client, and with curl where the client is outside; 5 MB intact",
};
const LENGTH: u64 = 5_000_000;

fn files(place: Place) {
    let world = World::new(SCENARIO, place);
    world.write("file", Stream::of(LENGTH).bytes());
    world.write("request", "GET /file HTTP/1.0\r\n\r\n");
    world.script(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
         -keyout /mnt/key.pem -out /mnt/certificate.pem",
    );
    let server = world
        .serve(&["4433"], "openssl s_server -accept 4433 -WWW -cert /mnt/certificate.pem -key /mnt/key.pem");
    let at = format!("{}:{}", world.host(), world.port(4433));
    world.ready(&format!("curl -sSk -o /mnt/by_curl https://{at}/file"));
    let sum = Digest::of_stream(LENGTH);
    assert!(world.script("sha256sum </mnt/by_curl").starts_with(&sum));
    for _ in 0..5 {
        world.run(&format!(
            "openssl s_client -quiet -verify_return_error -CAfile /mnt/certificate.pem -connect {at} \
             </mnt/request >/mnt/by_s_client"
        ));
        assert!(world.script("tail -c 5000000 /mnt/by_s_client | sha256sum").starts_with(&sum));
    }
    server.stop(&[143]);
    world.end();
}

#[test]
fn published() {
    files(Place::Published);
}

#[test]
fn inside() {
    files(Place::Inside("127.0.0.1"));
}

#[test]
fn client() {
    files(Place::Client);
}
