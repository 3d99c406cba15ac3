//! What this machine, and whoever asks, gives to a run. Each is tried, not looked up, where trying changes nothing.

use crate::finding::Finding;
use rustix::fs::{Mode, OFlags};
use rustix::io::Result;
use rustix::net::{AddressFamily, SocketType, ipproto};
use rustix::process::Resource;
use rustix::thread::{CapabilitySet, UnshareFlags};
use tubesock::sys::seccomp::{self, Support};
use tubesock::sys::{entropy, unix};

/// Descriptors of `tubesock run` that a connection through nat takes.
const DESCRIPTORS_A_CONNECTION: u64 = 2;
/// With less than this a browser's start page is too much.
const FEW_CONNECTIONS: u64 = 256;

/// Everything about the machine. The last one gives up rights of this process to see whether that is allowed: nothing but
/// the answer may come after it.
pub(crate) fn examine() -> Vec<Finding> {
    vec![kernel(), sockets(), filters(), echo(), descriptors(), tun(), user_namespaces()]
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    let [system, release, machine] =
        [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy());
    Finding::ok("kernel", format!("{system} {release}, {machine}"))
}

/// What a descriptor of ours is made of.
fn sockets() -> Finding {
    const SUBJECT: &str = "AF_UNIX";
    let name = [&b"tubesock-doctor-"[..], &entropy::<16>()].concat();
    let tried = unix::socket(SocketType::STREAM, rustix::net::SocketFlags::CLOEXEC)
        .and_then(|socket| unix::bind(&socket, &name).and_then(|()| unix::listen(&socket, 1)));
    match tried {
        Ok(()) => {
            Finding::ok(SUBJECT, "sockets with abstract names can be made: every descriptor of ours is one")
        }
        Err(error) => Finding::problem(
            SUBJECT,
            format!("none with abstract names can be made, and every descriptor of ours is one: {error}"),
            "run it where a sandbox does not forbid them",
        ),
    }
}

fn filters() -> Finding {
    const SUBJECT: &str = "seccomp";
    match seccomp::support() {
        Support::Notification => Finding::ok(
            SUBJECT,
            "filters with user notification: --strict can be used, and logs what it stops",
        ),
        Support::Filters => Finding::warning(
            SUBJECT,
            "filters, without user notification: --strict can be used, and has no line for what it stops",
            "Linux 5.0 and later have it",
        ),
        Support::None => Finding::warning(
            SUBJECT,
            "no filters: --strict cannot be used",
            "Linux 3.17 and later have them, unless a sandbox forbids them",
        ),
    }
}

/// What nat sends the program's pings with.
fn echo() -> Finding {
    const SUBJECT: &str = "ping";
    match rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)) {
        Ok(_socket) => {
            Finding::ok(SUBJECT, "the kernel's echo sockets may be used, by which nat passes pings on")
        }
        Err(errno) => {
            let range = std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap_or_default();
            let range: Vec<&str> = range.split_whitespace().collect();
            Finding::warning(
                SUBJECT,
                format!(
                    "the kernel's echo sockets may not be used, with net.ipv4.ping_group_range at '{}' ({errno}): the link nat \
                     passes no pings on beyond the machine",
                    range.join(" ")
                ),
                "if pings matter, as root: sysctl -w net.ipv4.ping_group_range='0 2147483647'",
            )
        }
    }
}

fn descriptors() -> Finding {
    const SUBJECT: &str = "RLIMIT_NOFILE";
    let limits = rustix::process::getrlimit(Resource::Nofile);
    let shown = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let connections = limits.maximum.map(|limit| limit / DESCRIPTORS_A_CONNECTION);
    let text = format!(
        "{} for the program, {} for the stack: {} connections at a time through nat",
        shown(limits.current),
        shown(limits.maximum),
        shown(connections)
    );
    match connections {
        Some(connections) if connections < FEW_CONNECTIONS => Finding::warning(
            SUBJECT,
            text,
            "raise the hard limit (ulimit -Hn, limits.conf(5)) if that is too few",
        ),
        _ => Finding::ok(SUBJECT, text),
    }
}

/// Never in the way of a run: nat, the link of `tubesock run`, needs no device.
fn tun() -> Finding {
    let device = rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let text = match (device, may_administer_the_network()) {
        (Ok(_), true) => "can be opened, and devices be made".to_owned(),
        (Ok(_), false) => {
            "can be opened; devices only be used that root made for this user (ip tuntap add … user …)"
                .to_owned()
        }
        (Err(errno), _) => format!("cannot be opened ({errno})"),
    };
    Finding::ok("/dev/net/tun", format!("{text}; the link nat needs none"))
}

fn may_administer_the_network() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Never in the way of a run: it needs none.
fn user_namespaces() -> Finding {
    let text = match enter_user_namespace() {
        Ok(()) => "may be made (unshare --map-root-user --net gives a program an empty network)".to_owned(),
        Err(errno) => format!("may not be made ({errno})"),
    };
    Finding::ok("user namespaces", format!("{text}; the link nat needs none"))
}

fn enter_user_namespace() -> Result<()> {
    // SAFETY: of what can be given up, only the user namespace is; memory and descriptors stay.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }
}
