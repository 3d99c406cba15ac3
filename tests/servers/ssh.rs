//! sshd and ssh, scp. sshd executes itself with the accepted socket, forks an unprivileged child that a seccomp filter
//! confines, and clears the environment of the sessions.

use crate::support::stream::{Digest, Stream};
use crate::world::{Place, Scenario, World};

const SCENARIO: Scenario = Scenario {
    program: "ssh",
    version: "ssh -V",
    what: "sshd with ssh and scp: exit status, 8 sessions at a time, 5 MB each way intact",
};
const LENGTH: u64 = 5_000_000;

fn sessions(place: Place) {
    let world = World::new(SCENARIO, place);
    world.write("file", Stream::of(LENGTH).bytes());
    world.write("sshd.conf", include_str!("sshd.conf"));
    world.script(
        "ssh-keygen -q -t ed25519 -N '' -f /mnt/host_key && ssh-keygen -q -t ed25519 -N '' -f /mnt/key",
    );
    let server = world.serve(&["2222"], "/usr/sbin/sshd -D -e -f /mnt/sshd.conf");
    let options = "-F /dev/null -i /mnt/key -o BatchMode=yes -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR";
    let ssh = format!("ssh {options} -p {} tester@{}", world.port(2222), world.host());
    world.ready(&format!("{ssh} true"));

    assert_eq!(world.client(&format!("{ssh} 'echo out; exit 7'")).end().status, 7);
    let sum = Digest::of_stream(LENGTH);
    let sessions: Vec<_> = (0..8).map(|_| world.client(&format!("{ssh} sha256sum </mnt/file"))).collect();
    for session in sessions {
        assert_eq!(session.success(), format!("{sum}  -\n"));
    }
    let scp = format!("scp {options} -q -P {}", world.port(2222));
    let remote = format!("tester@{}:/mnt", world.host());
    world.run(&format!("{scp} /mnt/file {remote}/up"));
    world.run(&format!("{scp} {remote}/up /mnt/down"));
    world.run(&format!("{scp} -O {remote}/up /mnt/old_protocol"));
    let sums = world.script("cd /mnt && sha256sum up down old_protocol");
    assert_eq!(sums.matches(&sum).count(), 3, "{sums}");
    // Killed by it on the kernel, too.
    server.stop(&[0, 143, 255]);
    world.end();
}

#[test]
fn sshd_published() {
    sessions(Place::Published);
}

#[test]
fn both_inside() {
    sessions(Place::Inside("127.0.0.1"));
}

#[test]
fn ssh_and_scp() {
    sessions(Place::Client);
}
