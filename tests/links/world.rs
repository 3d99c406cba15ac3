//! A namespace with a device in it, and programs on both sides.

use crate::namespace::Namespace;
use crate::support::command::{Program, Running};
use crate::support::http::HttpServer;
use crate::support::network::Directory;
use crate::support::stack::Stack;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's addresses.
pub(crate) const THEIRS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
/// The program's.
pub(crate) const OURS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 15)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15))];

pub(crate) struct World {
    pub(crate) namespace: Namespace,
    pub(crate) directory: Directory,
}

impl World {
    /// With a persistent TUN device called `tube`, of whoever `owner` says.
    pub(crate) fn with_tun(owner: &str) -> World {
        let world = World { namespace: Namespace::new(), directory: Directory::new() };
        world.namespace.ip(&format!("tuntap add dev tube mode tun vnet_hdr {owner}"));
        world.set_up("tube");
        world
    }

    /// Gives the kernel its addresses at `device`.
    pub(crate) fn set_up(&self, device: &str) {
        self.namespace.ip(&format!("address add 192.0.2.1/24 dev {device}"));
        // Not by `Namespace::ip`'s wait: there is no route before somebody holds the other end.
        self.namespace.ip(&format!("link set {device} up"));
        let words = ["-6", "address", "add", "2001:db8::1/64", "dev", device, "nodad"];
        self.kernels(Program::new("ip").args(words)).finish().success();
    }

    /// Starts a program on the kernel's stack.
    pub(crate) fn kernels(&self, program: Program) -> Running {
        self.namespace.run(|| program.spawn())
    }

    /// Starts a program on ours.
    pub(crate) fn ours(&self, program: Program, stack: &Stack) -> Running {
        self.namespace.run(|| program.on(stack).spawn())
    }

    /// Ours over the device `tube`, with both addresses.
    pub(crate) fn stack(&self) -> Stack {
        over("tun:tube", Stack::run())
    }

    /// An HTTP server of the kernel's.
    pub(crate) fn http(&self, address: IpAddr) -> HttpServer {
        self.namespace.run(|| HttpServer::at(SocketAddr::new(address, 0)))
    }
}

/// `stack` with `link` and both addresses.
pub(crate) fn over(link: &str, stack: Stack) -> Stack {
    stack.set("link", link).set("address", "192.0.2.15/24").set("address", "2001:db8::15/64")
}

/// As a URL has it.
pub(crate) fn url(address: IpAddr, port: u16, path: &str) -> String {
    format!("http://{}{path}", SocketAddr::new(address, port))
}
