//! A namespace with a TUN device: the kernel's stack on one side of it, an engine of ours on the other.

use crate::drive::drive;
use crate::namespace::Namespace;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;
use tubesock::addressing::Cidr;
use tubesock::engine::{Engine, Settings};
use tubesock::link::Link;
use tubesock::link::tun::Tun;
use tubesock::sys;
use tubesock::tcp;
use tubesock::time::Instant;

/// The kernel's addresses, and ours.
pub(crate) const THEIR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1));
pub(crate) const OUR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
pub(crate) const THEIR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1));
pub(crate) const OUR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2));

/// Whether packets may be larger than the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Offload,
}

/// Both stacks, and what is between them.
pub(crate) struct World {
    pub(crate) namespace: Namespace,
    pub(crate) tun: Tun,
    pub(crate) engine: Engine,
}

/// Attaches to a device called `name` in `namespace`, and brings it up with the kernel's addresses.
pub(crate) fn attach(namespace: &Namespace, name: &str, mode: Mode) -> Tun {
    let tun = namespace.run(|| match mode {
        Mode::Plain => Tun::open_plain(name),
        Mode::Offload => Tun::open(name),
    });
    let tun = tun.expect("root may make a device in a namespace of its own");
    namespace.ip(&format!("link set {} txqueuelen 10000 up", tun.name()));
    tun
}

impl World {
    /// A new one. `tcp` is what our TCP may use.
    pub(crate) fn new(mode: Mode, tcp: tcp::Settings) -> World {
        let namespace = Namespace::new();
        let tun = attach(&namespace, "tube0", mode);
        namespace.ip(&format!("address add {THEIR_V4}/24 dev tube0"));
        // No duplicate address detection: there is nobody to answer, and it takes a second.
        namespace.ip(&format!("address add {THEIR_V6}/64 dev tube0 nodad"));
        let capabilities = tun.capabilities();
        let settings = Settings {
            mtu: capabilities.mtu,
            addresses: vec![Cidr::new(OUR_V4, 24), Cidr::new(OUR_V6, 64)],
            any_address: false,
            offer_incoming: false,
            checksums: capabilities.checksums,
            segmentation: capabilities.segmentation,
            in_memory: capabilities.in_memory,
            tcp,
            seed: sys::entropy(),
        };
        World { namespace, tun, engine: Engine::new(settings, sys::now()) }
    }

    /// Drives our side until `work` says false. Fails with what `work` says then if that takes longer than `limit`.
    pub(crate) fn drive(
        &mut self,
        limit: Duration,
        mut work: impl FnMut(&mut Engine, Instant) -> bool,
    ) -> Result<(), &'static str> {
        let end = sys::now() + limit;
        let mut result = Ok(());
        drive(&mut self.engine, &mut self.tun, |engine, now| {
            if now > end {
                result = Err("it takes too long");
            }
            result.is_ok() && work(engine, now)
        });
        result
    }

    /// Whether nothing was lost or broken on the way.
    pub(crate) fn assert_intact(&self) {
        let (engine, link) = (self.engine.counters(), self.tun.counters());
        assert_eq!((engine.malformed, engine.bad_checksum), (0, 0), "{engine}");
        assert_eq!((link.no_room, link.refused, link.bad_checksum), (0, 0, 0), "{link:?}");
    }
}

impl Namespace {
    /// A listener in the namespace.
    pub(crate) fn listen(&self, address: SocketAddr) -> TcpListener {
        self.run(|| TcpListener::bind(address)).expect("a free port of the kernel's own address")
    }

    /// A socket in the namespace that is going to connect to `address`.
    pub(crate) fn socket(&self, address: SocketAddr) -> Unconnected {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = self.run(|| rustix::net::socket(family, SocketType::STREAM, None));
        Unconnected { socket: socket.expect("a descriptor"), address }
    }

    /// The kernel's TCP sockets in the namespace that still have something to do: all but those in TIME-WAIT and LISTEN,
    /// as /proc/net/tcp has them.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        const TIME_WAIT: &str = "06";
        const LISTEN: &str = "0A";
        let tables = self.run(|| {
            ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")))
        });
        let tables = tables.map(|table| table.expect("/proc is mounted"));
        let lines = tables.iter().flat_map(|table| table.lines().skip(1));
        let busy = lines.filter(|line| !matches!(line.split_whitespace().nth(3), Some(TIME_WAIT | LISTEN)));
        busy.map(str::to_owned).collect()
    }
}

/// A socket of the kernel's, and where it is going to connect to.
pub(crate) struct Unconnected {
    socket: OwnedFd,
    address: SocketAddr,
}

impl Unconnected {
    /// connect(2)
    pub(crate) fn connect(self) -> Result<TcpStream, String> {
        rustix::net::connect(&self.socket, &self.address).map_err(|errno| format!("connect: {errno}"))?;
        Ok(TcpStream::from(self.socket))
    }
}
