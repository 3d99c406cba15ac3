//! The path MTU drops in mid-stream, two hops away: a router of the kernel's says so, and the stream goes on in smaller
//! packets (RFC 1191, RFC 8201).
//!
//! ```text
//!   engine ── tube0 ── router's namespace ── veth, 1500 and later 1300 bytes ── server's namespace
//! ```

use crate::namespace::Namespace;
use crate::ours::Ours;
use crate::script::{Step, bytes};
use crate::theirs;
use crate::world::{Mode, OUR_V4, OUR_V6, World};
use rustix::fd::{AsFd, AsRawFd};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use tubesock::tcp;

const ROUTER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 1));
const SERVER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 2));
const ROUTER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 1));
const SERVER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 2));
const PORT: u16 = 5001;

/// What the server's socket takes at most before its program reads.
const WINDOW: usize = 1 << 20;
/// At most each packet of a window is reported once.
const WINDOW_PACKETS: u64 = (WINDOW / 1000) as u64;
/// More than a window, twice: half is sent before the drop, and of the other not all.
const LENGTH: usize = 8 << 20;
const SMALLER: usize = 1300;
/// TCP's header with the timestamps that both sides use.
const TCP_HEADER: usize = 32;
/// What is left of a smaller packet for a segment, over IPv4 and IPv6.
const TOLD: [usize; 2] = [SMALLER - 20 - TCP_HEADER, SMALLER - 40 - TCP_HEADER];

/// What becomes of packets that are too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drop {
    /// The router says so.
    Told,
    /// The router sends them on, and the server's device drops them (RFC 8899 is for this).
    Silent,
}

#[test]
fn a_drop_is_followed_packet_by_packet() {
    let (smallest, reports) = drop_in_mid_stream(Mode::Plain, Drop::Told);
    assert_eq!(smallest, TOLD, "the segments that IPv4 and IPv6 came down to");
    assert!(reports.iter().all(|reports| (1..WINDOW_PACKETS).contains(reports)), "{reports:?} reports");
}

#[test]
fn a_drop_is_followed_with_super_packets() {
    let (smallest, reports) = drop_in_mid_stream(Mode::Offload, Drop::Told);
    assert_eq!(smallest, TOLD, "the segments that IPv4 and IPv6 came down to");
    assert!(reports.iter().all(|reports| (1..WINDOW_PACKETS).contains(reports)), "{reports:?} reports");
}

#[test]
fn a_drop_that_nobody_tells_of_is_found() {
    let (smallest, reports) = drop_in_mid_stream(Mode::Plain, Drop::Silent);
    assert!(smallest[0] <= TOLD[0] && smallest[1] <= TOLD[1], "came down to {smallest:?}");
    assert_eq!(reports, [0, 0], "it was told, after all");
}

/// The segments that IPv4 and IPv6 come down to, and the reports that the router sent for each.
fn drop_in_mid_stream(mode: Mode, drop: Drop) -> ([usize; 2], [u64; 2]) {
    let mut world = World::new(mode, tcp::Settings::default());
    let server = server_behind(&world.namespace);
    let data = bytes(4, LENGTH);
    let now = tubesock::sys::now();
    let addresses = [SERVER_V4, SERVER_V6].map(|address| SocketAddr::new(address, PORT));
    let listeners = addresses.map(|address| server.listen(address));
    let steps = [Step::Send, Step::Finish, Step::EndOfFile, Step::Over];
    let mut senders = addresses
        .map(|address| Ours::connect(&mut world.engine, address, &steps, [data.clone(), Vec::new()], now));
    let ids = senders.each_ref().map(|sender| sender.id().expect("connecting"));
    let World { namespace: router, engine, tun } = &mut world;
    let router = &*router;
    let mut smallest = [usize::MAX; 2];

    // The MTU is changed when both have received half, and both wait for it: so there is more to come, of both.
    let halfway = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let mut held = Vec::new();
        let mut threads = Vec::new();
        for listener in &listeners {
            let (go, going) = mpsc::channel::<()>();
            held.push(go);
            let (data, halfway) = (&data, &halfway);
            threads.push(scope.spawn(move || {
                let stream = theirs::accept(listener)?;
                theirs::play(&stream, &[Step::ReceiveHalf], [&[], data])?;
                halfway.fetch_add(1, Ordering::Relaxed);
                // Nothing is ever sent: the other end is dropped when the MTU has changed.
                let _ = going.recv_timeout(theirs::PATIENCE);
                let rest = &data[data.len() / 2..];
                theirs::play(&stream, &[Step::Receive, Step::EndOfFile, Step::Close], [&[], rest])
            }));
        }
        let end = now + theirs::PATIENCE;
        crate::drive::drive(engine, tun, |engine, at| {
            for (smallest, id) in smallest.iter_mut().zip(ids) {
                if engine.unacknowledged(id) > 0 {
                    *smallest = (*smallest).min(engine.mss(id));
                }
            }
            if !held.is_empty() && halfway.load(Ordering::Relaxed) == 2 {
                server.ip(&format!("link set far mtu {SMALLER}"));
                if drop == Drop::Told {
                    router.ip(&format!("link set near mtu {SMALLER}"));
                }
                held.clear();
            }
            let done = senders.iter_mut().map(|sender| sender.turn(engine, at).expect("an orderly end"));
            let done = done.filter(|done| *done).count();
            at < end && (done < 2 || !threads.iter().all(|thread| thread.is_finished()))
        });
        for (thread, sender) in threads.into_iter().zip(&senders) {
            assert_eq!(thread.join().expect("their side panicked"), Ok(()), "{}", sender.describe(engine));
        }
    });
    world.assert_intact();
    (smallest, ["IcmpOutDestUnreachs", "Icmp6OutPktTooBigs"].map(|counter| told(&world.namespace, counter)))
}

/// A namespace behind `router`, with a route to us.
fn server_behind(router: &Namespace) -> Namespace {
    let server = Namespace::new();
    // ip(8) takes a path for a namespace, and this one has no name.
    let path = format!("/proc/{}/fd/{}", std::process::id(), server.as_fd().as_raw_fd());
    router.ip(&format!("link add near type veth peer name far netns {path}"));
    router.ip("link set near up");
    server.ip("link set far up");
    for (namespace, device, v4, v6) in
        [(router, "near", ROUTER_V4, ROUTER_V6), (&server, "far", SERVER_V4, SERVER_V6)]
    {
        namespace.ip(&format!("address add {v4}/24 dev {device}"));
        namespace.ip(&format!("address add {v6}/64 dev {device} nodad"));
    }
    server.ip(&format!("route add {OUR_V4}/32 via {ROUTER_V4}"));
    server.ip(&format!("route add {OUR_V6}/128 via {ROUTER_V6}"));
    server.set("net.ipv4.tcp_rmem", &format!("4096 131072 {WINDOW}"));
    router.set("net.ipv4.ip_forward", "1");
    router.set("net.ipv6.conf.all.forwarding", "1");
    server
}

/// A counter of the namespace, as nstat(8) names it.
fn told(namespace: &Namespace, counter: &str) -> u64 {
    let output = namespace.run(|| std::process::Command::new("nstat").args(["-asz", counter]).output());
    let output = output.expect("nstat starts: is iproute2 installed?");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with(counter)).expect("the kernel has that counter");
    line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).expect("a number")
}
