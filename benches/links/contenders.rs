//! Who is measured: which server each has, what must run besides, and how its client is called.

use crate::namespace::Namespace;
use crate::peer::{Peer, Server, figure, preload, preload_library};
use rustix::fd::{AsFd, AsRawFd};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A way from the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Our stack over the device.
    Tun,
    /// The kernel's over a veth pair.
    Veth,
    /// Our stack over the built-in link.
    Nat,
    /// The kernel's in a namespace, whose packets slirp4netns ends at sockets.
    Slirp,
    /// Likewise pasta.
    Pasta,
}

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    way: Way,
}

const fn contender(name: &'static str, way: Way) -> Contender {
    Contender { name, way }
}

pub(crate) const TUN: [Contender; 2] =
    [contender("tubesock tun", Way::Tun), contender("kernel veth", Way::Veth)];
pub(crate) const NAT: [Contender; 3] = [
    contender("tubesock nat", Way::Nat),
    contender("slirp4netns", Way::Slirp),
    contender("pasta", Way::Pasta),
];

/// Mounts $1 at $0 for the command behind, which is all that sees it.
const MOUNT: &str = ": > \"$0\"; mount --bind \"$1\" \"$0\"; shift; exec \"$@\"";

pub(crate) struct World {
    machine: Namespace,
    /// The other end of the veth pair, and what slirp4netns and pasta serve.
    guests: [(Way, Namespace); 3],
    library: PathBuf,
}

/// A daemon that runs for as long as this lives.
pub(crate) struct Daemon(Option<Child>);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _gone = child.kill();
            let _status = child.wait();
        }
    }
}

impl World {
    pub(crate) fn new() -> World {
        let (machine, guests) = (Namespace::new(), [Way::Veth, Way::Slirp, Way::Pasta]);
        let guests = guests.map(|way| (way, Namespace::new()));
        let world = World { machine, guests, library: preload_library() };
        let guest = world.guest(Way::Veth);
        // ip(8) knows a namespace by a process in it.
        let mut inside = guest.run(|| Command::new("cat").stdin(Stdio::piped()).spawn()).expect("cat starts");
        world.machine.ip(&format!("link add near type veth peer name far netns {}", inside.id()));
        drop(inside.stdin.take());
        let _status = inside.wait();
        for line in [
            "tuntap add dev tube mode tun vnet_hdr",
            "address add 192.0.2.1/24 dev tube",
            "link set tube up",
            "address add 198.51.100.1/24 dev near",
            "link set near up",
            // pasta takes the addresses of who has the default route.
            "link add outer type veth peer name inner",
            "address add 203.0.113.2/24 dev outer",
            "link set outer up",
            "link set inner up",
            "route add default via 203.0.113.1",
        ] {
            world.machine.ip(line);
        }
        guest.ip("address add 198.51.100.2/24 dev far");
        guest.ip("link set far up");
        world
    }

    fn guest(&self, way: Way) -> &Namespace {
        self.guests.iter().find(|(of, _)| *of == way).map_or(&self.machine, |(_, namespace)| namespace)
    }

    /// The server of a contender.
    pub(crate) fn serve(&self, peer: &Peer, contender: &Contender, cores: &str) -> Server {
        let address = match contender.way {
            Way::Tun => "192.0.2.1",
            Way::Veth => "198.51.100.1",
            _ => "127.0.0.1",
        };
        self.machine.run(|| peer.serve(address, cores))
    }

    /// Starts what must run besides, and waits until the client's namespace has a way out.
    pub(crate) fn attach(&self, peer: &Peer, contender: &Contender, cores: &str) -> Daemon {
        // A name of the namespace for others; pasta, which gives up its rights, needs one in the file system.
        let path =
            format!("/proc/{}/fd/{}", std::process::id(), self.guest(contender.way).as_fd().as_raw_fd());
        let mut command = Command::new("taskset");
        command.args(["-c", cores]);
        match contender.way {
            Way::Tun | Way::Veth | Way::Nat => return Daemon(None),
            Way::Slirp => {
                let words = ["slirp4netns", "--configure", "--mtu=65520", "--netns-type=path", &path, "tap0"];
                command.args(words);
            }
            Way::Pasta => {
                let place = peer.directory.join(format!("{:?}", contender.way));
                let log = place.with_extension("log");
                command.args(["unshare", "--mount", "sh", "-ec", MOUNT]).arg(&place).arg(&path);
                command.args(["pasta", "--foreground", "--config-net", "--netns-only", "--runas", "0"]);
                command.args(["-t", "none", "-u", "none", "-U", "none", "-T", "none", "--log-file"]).arg(log);
                command.arg("--netns").arg(&place);
            }
        }
        let child = self.machine.run(|| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn());
        let daemon = Daemon(Some(child.expect("taskset starts")));
        self.guest(contender.way).run(|| {
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let ready = || {
                let routes =
                    std::fs::read_to_string("/proc/thread-self/net/route").expect("/proc is mounted");
                routes.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000"))
            };
            while !ready() {
                assert!(std::time::Instant::now() < until, "{} gives no way out", contender.name);
                std::thread::yield_now();
            }
        });
        daemon
    }

    pub(crate) fn measure(
        &self,
        peer: &Peer,
        contender: &Contender,
        server: &Server,
        cores: &str,
        word: &str,
    ) -> f64 {
        let mut command = Command::new("taskset");
        command.args(["-c", cores, "env"]);
        command.args(self.settings(contender.way)).arg(&peer.binary);
        let (host, bytes) = match contender.way {
            Way::Tun => ("192.0.2.1", "2000000000"),
            Way::Veth => ("198.51.100.1", "2000000000"),
            Way::Nat | Way::Slirp => ("10.0.2.2", "500000000"),
            Way::Pasta => ("203.0.113.1", "500000000"),
        };
        let count = match word {
            "latency" => "10000",
            "connections" => "1000",
            _ => bytes,
        };
        command.args([word, host, &server.port, count]);
        self.guest(contender.way).run(|| figure(command))
    }

    /// What makes a program ours.
    fn settings(&self, way: Way) -> Vec<OsString> {
        match way {
            Way::Tun => vec![
                preload(&self.library),
                "TUBESOCK_LINK=tun:tube".into(),
                "TUBESOCK_ADDRESS=192.0.2.15/24".into(),
            ],
            Way::Nat => vec![preload(&self.library)],
            Way::Veth | Way::Slirp | Way::Pasta => Vec::new(),
        }
    }
}
