//! Who may have a device: root a new one, its owner a persistent one, in a user namespace of one's own anybody; and what the
//! others are told.

use crate::support::command::Program;
use crate::support::network::{Directory, ordinary_user};
use crate::support::stack::Stack;
use crate::world::{THEIRS, World, over, url};
use std::path::Path;

/// Opens the clone device to all, as most machines have it, for the command behind.
const OPEN_TO_ALL: &str = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$@\"";

/// The same for a command in the mount namespace of its own.
fn with_devices_for_all() -> [&'static str; 6] {
    ["unshare", "--mount", "sh", "-ec", OPEN_TO_ALL, "sh"]
}

/// A device that there was not is made, and gone with the stack.
#[test]
fn new_device() {
    let world = World { namespace: crate::namespace::Namespace::new(), directory: Directory::new() };
    let script = "echo up; read line; exec curl -sS \"$0\"";
    world.namespace.ip("address add 192.0.2.1/32 dev lo");
    let other = world.http(THEIRS[0]);
    let (read, write) = std::io::pipe().expect("a pipe");
    let program = Program::new("sh").args(["-c", script, &url(THEIRS[0], other.port(), "/bytes/7")]).fed_by(
        move |input| {
            let mut line = [0; 1];
            std::io::Read::read_exact(&mut &read, &mut line)?;
            std::io::Write::write_all(input, b"\n")
        },
    );
    let running = world.ours(program, &over("tun:fresh", Stack::run()));
    running.line_with("up");
    world.namespace.ip("link set fresh up");
    world.namespace.ip("route add 192.0.2.15/32 dev fresh");
    std::io::Write::write_all(&mut &write, b"x").expect("it is read");
    assert_eq!(running.finish().success().stdout.len(), "up\n".len() + 7);
    let gone = world.kernels(Program::new("ip").args(["link", "show", "fresh"])).finish().status(1);
    assert!(gone.stderr.contains("does not exist"), "{gone}");
}

fn curl_as_user(world: &World, stack: Stack) -> Program {
    let server = world.http(THEIRS[0]);
    let curl = Program::new("curl").args(["-sS", &url(THEIRS[0], server.port(), "/bytes/100000")]);
    curl.on(&stack.copied_to(world.directory.path())).inside(ordinary_user())
}

#[test]
fn owner_of_a_persistent_device() {
    let world = World::with_tun("user 65534");
    for stack in [Stack::run(), Stack::preload()] {
        let curl = curl_as_user(&world, over("tun:tube", stack)).inside(with_devices_for_all());
        assert_eq!(world.kernels(curl).finish().success().stdout.len(), 100_000);
    }
}

/// `unshare --map-root-user --net` as an ordinary user: all of it without root.
#[test]
fn in_a_user_namespace() {
    let world = World { namespace: crate::namespace::Namespace::new(), directory: Directory::new() };
    let script = "ip tuntap add dev tube mode tun vnet_hdr
        ip address add 192.0.2.1/24 dev tube
        ip link set tube up
        ip link set lo up
/usr/bin/python3 -m http.server 80 --bind 192.0.2.1 >/dev/null 2>&1 &
        until curl -s -o /dev/null http://192.0.2.1/; do :; done
        # Not its parent, or it would wait for it.
        \"$@\" && kill $!";
    let stack = over("tun:tube", Stack::run()).strict().copied_to(world.directory.path());
    let curl =
        Program::new("curl").args(["-sS", "-o", "/dev/null", "-w", "%{http_code}\n", "http://192.0.2.1/"]);
    let curl = curl
        .on(&stack)
        .inside(["unshare", "--map-root-user", "--net", "sh", "-ec", script, "sh"])
        .inside(ordinary_user())
        .inside(with_devices_for_all())
        .directory(Path::new("/"));
    assert_eq!(world.kernels(curl).finish().success().text(), "200\n");
}

/// `run` refuses, and `doctor` says the same before.
#[test]
fn without_rights() {
    let world = World::with_tun("user 0");
    let stack = over("tun:tube", Stack::run()).copied_to(world.directory.path());
    let command = world.directory.file("tubesock");
    let cases = [
        (vec![], "--link tun:tube: cannot open /dev/net/tun (EACCES): its mode or this container forbids it"),
        (
            with_devices_for_all().to_vec(),
            "--link tun:tube: cannot attach to the device (EPERM): only root may",
        ),
    ];
    std::fs::create_dir_all("/dev/net").expect("root may");
    for (devices, expected) in cases {
        let closed = [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            "mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200; exec \"$@\"",
            "sh",
        ];
        let outer = if devices.is_empty() { closed.to_vec() } else { devices };
        let run = Program::new("true").on(&stack).inside(ordinary_user()).inside(&outer);
        let refused = world.kernels(run).finish().status(78);
        assert!(refused.stderr.contains(expected), "{refused}");
        assert!(refused.stderr.contains("'tubesock doctor'"), "{refused}");
        let doctor =
            Program::new(&command).args(["doctor", "--link", "tun:tube", "--address", "192.0.2.15/24"]);
        let told = world.kernels(doctor.inside(ordinary_user()).inside(&outer)).finish().status(1);
        assert!(told.text().contains(&format!("problem  link: {expected}")), "{told}");
    }
}

#[test]
fn without_an_address() {
    let world = World::with_tun("");
    let stack = Stack::run().set("link", "tun:tube");
    let refused = world.ours(Program::new("true"), &stack).finish().status(78);
    assert!(
        refused.stderr.contains("--link tun:tube: the program has no address there; give --address CIDR")
    );
}
