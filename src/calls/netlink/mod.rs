//! Sockets of NETLINK_ROUTE, by which programs such as ip(8) and dnsmasq ask for interfaces, addresses and routes: they are
//! shown the stack's. Every other protocol of netlink(7) is the kernel's.
//!
//! ```text
//!   program ── send ──► the shim: rtnetlink::answer ── send ──┐
//!           ◄─ receive ── AF_UNIX datagram socket ◄───────────┘ connected to itself
//! ```
//!
//! The socket is an AF_UNIX datagram socket that is its own peer. What the program sends is answered before the call returns,
//! as the kernel does it, and the answers wait in the socket's own queue, which nobody else can send to. So poll, time-outs,
//! MSG_PEEK, MSG_TRUNC and the rest are the kernel's, and nothing has to be kept, by this process or by the host, that dup,
//! fork and exec could make stale: the port of the socket (nl_pid) is in its name, which also makes it the only one with it.
//!
//! Limits: the socket has its port from the start, not from bind(2) on; a second bind to another port succeeds, as a new socket
//! without the answers that wait, and duplicates made before keep the old port. It may join groups, but getsockname(2) does not show
//! them, and changes of addresses are not told. SO_TYPE is SOCK_RAW. A process that did not make the socket, nor was forked from one
//! that made one, does not know it for ours: behind exec or SCM_RIGHTS it answers with the request itself.
//! NETLINK_GET_STRICT_CHK is not known, as before Linux 4.20: dumps show everything, and programs choose.

mod message;
mod rtnetlink;
mod tables;

use super::interfaces::View;
use super::put_in_place;
use crate::error::{Error, Result};
use crate::sys::descriptors::Owned;
use crate::sys::{self, unix};
use libc::c_int;
use rustix::fd::{BorrowedFd, IntoRawFd, RawFd};
use rustix::net::{SocketFlags, SocketType};
use std::sync::atomic::{AtomicBool, Ordering};

/// In front of the port, in the name of a socket.
const PREFIX: &[u8; 8] = b"tubelink";
/// sizeof(struct sockaddr_nl)
const ADDRESS: usize = 12;
/// Room for the answers to one request, as far as net.core.wmem_max lets the user have it: all routes there can be.
const ROOM: usize = 1 << 20;
/// Ports that are tried until one is free.
const TRIES: usize = 64;
/// The first of those that are of no process (netlink_autobind).
const NO_PROCESS: u32 = 0x8000_0000;

/// Whether this process has made any, or the one that it was forked from.
static MADE: AtomicBool = AtomicBool::new(false);

/// A socket of NETLINK_ROUTE.
#[derive(Clone, Copy, Debug)]
pub struct Socket {
    fd: RawFd,
    /// nl_pid
    port: u32,
}

/// socket(2): None when the kernel should make it.
pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> Option<Result<RawFd>> {
    let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let is_ours = domain == libc::AF_NETLINK
        && protocol == libc::NETLINK_ROUTE
        && matches!(kind & !flags, libc::SOCK_RAW | libc::SOCK_DGRAM);
    is_ours.then(|| {
        let socket = open(SocketFlags::from_bits_retain(flags.cast_unsigned()))?;
        MADE.store(true, Ordering::Relaxed);
        Ok(socket.into_raw_fd())
    })
}

/// With the process's number for its port, if no other has that.
fn open(flags: SocketFlags) -> Result<Owned> {
    let random = || u32::from_ne_bytes(sys::entropy()) | NO_PROCESS;
    let ports = core::iter::once(sys::process_id()).chain(core::iter::repeat_with(random));
    let mut made = Err(Error::AddressInUse);
    for port in ports.take(TRIES) {
        made = with_port(port, flags);
        if made.as_ref().err().map(|error| error.errno()) != Some(libc::EADDRINUSE) {
            break;
        }
    }
    made
}

/// EADDRINUSE when another socket has the port.
fn with_port(port: u32, flags: SocketFlags) -> Result<Owned> {
    let socket = unix::socket(SocketType::DGRAM, flags)?;
    unix::set_send_buffer(&socket, ROOM)?;
    let name = name(port);
    unix::bind(&socket, &name)?;
    unix::connect(&socket, &name)?;
    Ok(socket)
}

fn name(port: u32) -> Vec<u8> {
    [&PREFIX[..], &port.to_ne_bytes()].concat()
}

/// What a descriptor is, when it is one of these. Costs an atomic load while this process has none. Async-signal-safe.
pub fn identify(fd: RawFd) -> Option<Socket> {
    if fd < 0 || !MADE.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: the number is only passed to a system call, which answers EBADF when it is not open.
    let near = unsafe { BorrowedFd::borrow_raw(fd) };
    let port = unix::local_name(near, |name| name.strip_prefix(PREFIX)?.try_into().ok())?;
    Some(Socket { fd, port: u32::from_ne_bytes(port) })
}

/// struct sockaddr_nl
fn address(port: u32) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    bytes[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
    bytes[4..8].copy_from_slice(&port.to_ne_bytes());
    bytes
}

/// The kernel's address, from which answers come.
pub fn kernel() -> [u8; ADDRESS] {
    address(0)
}

/// The port and the groups of an address. EINVAL for one of another family, or too short a one.
fn parse(bytes: &[u8]) -> Result<(u32, u32)> {
    let bytes = bytes.first_chunk::<ADDRESS>().ok_or(Error::InvalidArgument)?;
    let number = |place: usize| u32::from_ne_bytes(core::array::from_fn(|at| bytes[place + at]));
    if bytes[..2] != (libc::AF_NETLINK as u16).to_ne_bytes() {
        return Err(Error::InvalidArgument);
    }
    Ok((number(4), number(8)))
}

impl Socket {
    fn near(&self) -> BorrowedFd<'_> {
        // SAFETY: as for `Identity::near`.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    /// getsockname(2)
    pub fn local(&self) -> [u8; ADDRESS] {
        address(self.port)
    }

    /// bind(2). Groups may be joined by anybody; another port means another socket under the same number.
    pub fn bind(&self, to: &[u8]) -> Result<()> {
        let (port, _) = parse(to)?;
        if port == 0 || port == self.port {
            return Ok(());
        }
        let flags =
            if super::is_nonblocking(self.near()) { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
        let fresh = with_port(port, flags | SocketFlags::CLOEXEC)?;
        unix::inherit(self.near(), &fresh);
        put_in_place(fresh, self.near())
    }

    /// connect(2), and where a message is sent to: only the kernel listens. EPERM for everybody else.
    pub fn check_destination(&self, to: &[u8]) -> Result<()> {
        match parse(to)? {
            (0, 0) => Ok(()),
            _ => Err(Error::Kernel(libc::EPERM)),
        }
    }

    /// sendmsg(2): the answers are in the queue when this returns. ENOBUFS when the program has left so many unread that there
    /// is no room for more.
    pub fn send(&self, requests: &[u8]) -> Result<()> {
        if requests.is_empty() {
            return Err(Error::Kernel(libc::ENODATA));
        }
        for datagram in rtnetlink::answer(requests, self.port, &View::now()) {
            unix::send(self.near(), &datagram).map_err(|_| Error::NoBuffers)?;
        }
        Ok(())
    }

    /// getsockopt(2): the number that an option has; None for those that the kernel has, of the near end.
    pub fn option(&self, level: c_int, name: c_int) -> Option<Result<c_int>> {
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_DOMAIN) => Some(Ok(libc::AF_NETLINK)),
            (libc::SOL_SOCKET, libc::SO_TYPE) => Some(Ok(libc::SOCK_RAW)),
            (libc::SOL_NETLINK, name) if is_known(name) => Some(Ok(0)),
            (libc::SOL_NETLINK, _) => Some(Err(Error::NoSuchOption)),
            _ => None,
        }
    }

    /// setsockopt(2), likewise. None of them would change anything; nor may the room for answers be made smaller, which is the
    /// send buffer's of the near end.
    pub fn set_option(&self, level: c_int, name: c_int) -> Option<Result<()>> {
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => Some(Ok(())),
            (libc::SOL_NETLINK, name) if is_known(name) => Some(Ok(())),
            (libc::SOL_NETLINK, _) => Some(Err(Error::NoSuchOption)),
            _ => None,
        }
    }
}

/// Options of netlink(7) that may be on and off without a difference.
fn is_known(name: c_int) -> bool {
    use libc::{
        NETLINK_ADD_MEMBERSHIP, NETLINK_BROADCAST_ERROR, NETLINK_CAP_ACK, NETLINK_DROP_MEMBERSHIP,
        NETLINK_EXT_ACK, NETLINK_NO_ENOBUFS, NETLINK_PKTINFO,
    };
    [
        NETLINK_ADD_MEMBERSHIP,
        NETLINK_DROP_MEMBERSHIP,
        NETLINK_PKTINFO,
        NETLINK_BROADCAST_ERROR,
        NETLINK_NO_ENOBUFS,
        NETLINK_CAP_ACK,
        NETLINK_EXT_ACK,
    ]
    .contains(&name)
}
