//! Kernel sockets of `nat`: non-blocking, close-on-exec, and every descriptor of them an internal one.
//! Nothing here knows of packets, flows or addresses of the program's network.

use super::descriptors::{Internal, internal};
use crate::system_call;
use core::time::Duration;
use rustix::event::epoll;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSliceMut, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt,
};
use std::mem::MaybeUninit;
use std::net::SocketAddr;

pub use rustix::event::epoll::EventFlags;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Connections the kernel may hold for us on a published port; it lowers this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Most events fetched by one `Epoll::ready`.
pub const EVENTS: usize = 128;

/// An epoll descriptor that reports edges: what became ready since it was last asked.
pub struct Epoll(Internal);

impl Epoll {
    /// epoll_create1(2)
    pub fn new() -> Result<Epoll> {
        Ok(Epoll(internal(epoll::create(epoll::CreateFlags::CLOEXEC)?)))
    }

    /// Watches a socket until it is closed. `key` comes back with its events.
    pub fn watch(&self, socket: &Internal, key: u64) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.0, socket, epoll::EventData::new_u64(key), flags)
    }

    /// Replaces `events` by what is ready, each with its key, without waiting.
    pub fn ready(&self, events: &mut Vec<(u64, EventFlags)>) {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        let no_wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        events.clear();
        // With no time to wait there is nothing to interrupt, and the descriptor is an epoll of our own.
        if let Ok((ready, _)) = epoll::wait(&self.0, &mut space, Some(&no_wait)) {
            events.extend(ready.iter().map(|&epoll::Event { flags, data }| (data.u64(), flags)));
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(address: SocketAddr, kind: SocketType) -> Result<Internal> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(internal(rustix::net::socket_with(family, kind, FLAGS, None)?))
}

/// Until `finish`, the kernel's close is a reset: when the process dies the peer must not take what came so far for all.
fn unfinished(socket: &Internal) -> Result<()> {
    sockopt::set_socket_linger(socket, Some(Duration::ZERO))
}

/// Starts a TCP connection. `connected` tells how it went.
pub fn connect(to: SocketAddr) -> Result<Internal> {
    let socket = open(to, SocketType::STREAM)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    unfinished(&socket)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// The outcome of a connection that `connect` started, once there is one: a second connect(2) tells.
pub fn connected(socket: &Internal, to: SocketAddr) -> Option<Result<()>> {
    match rustix::net::connect(socket, &to) {
        Ok(()) | Err(Errno::ISCONN) => Some(Ok(())),
        Err(Errno::ALREADY | Errno::INPROGRESS) => None,
        Err(errno) => Some(Err(errno)),
    }
}

/// Ends a TCP connection by RST, at once and whoever else holds the socket. (A close with SO_LINGER 0 would
/// wait for the last holder, and a forked child may be one.)
pub fn reset(socket: Internal) {
    // Fails where there is nothing to reset.
    let _ = rustix::net::connect_unspec(&socket);
}

/// FIN behind what was sent.
pub fn finish(socket: &Internal) -> Result<()> {
    sockopt::set_socket_linger(socket, None)?;
    rustix::net::shutdown(socket, Shutdown::Write)
}

/// recv(2)
pub fn receive(socket: &Internal, into: &mut [u8]) -> Result<usize> {
    rustix::net::recv(socket, into, RecvFlags::empty()).map(|(count, _)| count)
}

/// send(2), without SIGPIPE.
pub fn send(socket: &Internal, bytes: &[u8]) -> Result<usize> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)
}

/// SO_ERROR, which clears it.
pub fn take_error(socket: &Internal) -> Result<()> {
    sockopt::socket_error(socket)?
}

/// A TCP listener. On `[::]` it takes IPv4 too.
pub fn listen(address: SocketAddr) -> Result<Internal> {
    let socket = open(address, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?; // What is accepted inherits it.
    bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next connection of a listener, and who made it.
pub fn accept(listener: &Internal) -> Result<(Internal, SocketAddr)> {
    let (socket, peer) = rustix::net::acceptfrom_with(listener, FLAGS)?;
    let (socket, peer) = (internal(socket), peer.ok_or(Errno::CONNABORTED)?.try_into()?);
    unfinished(&socket)?;
    Ok((socket, peer))
}

/// A UDP socket bound to `address`. On `[::]` it takes IPv4 too.
pub fn datagram_bound(address: SocketAddr) -> Result<Internal> {
    let socket = open(address, SocketType::DGRAM)?;
    bind(&socket, address)?;
    Ok(socket)
}

/// A UDP socket for destinations of the family of `to`, which reports ICMP errors by `take_report`.
pub fn datagram(to: SocketAddr) -> Result<Internal> {
    let socket = open(to, SocketType::DGRAM)?;
    match to {
        SocketAddr::V4(_) => set_flag(&socket, libc::IPPROTO_IP, libc::IP_RECVERR)?,
        SocketAddr::V6(_) => set_flag(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR)?,
    }
    Ok(socket)
}

fn bind(socket: &Internal, address: SocketAddr) -> Result<()> {
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(socket, false)?; // net.ipv6.bindv6only may say otherwise.
    }
    rustix::net::bind(socket, &address)
}

/// getsockname(2)
pub fn local(socket: &Internal) -> Result<SocketAddr> {
    rustix::net::getsockname(socket)?.try_into()
}

/// sendto(2)
pub fn send_to(socket: &Internal, bytes: &[u8], to: SocketAddr) -> Result<()> {
    rustix::net::sendto(socket, bytes, SendFlags::NOSIGNAL, &to).map(|_| ())
}

/// recvfrom(2)
pub fn receive_from(socket: &Internal, into: &mut [u8]) -> Result<(usize, SocketAddr)> {
    let (count, _, from) = rustix::net::recvfrom(socket, into, RecvFlags::empty())?;
    Ok((count, from.ok_or(Errno::AFNOSUPPORT)?.try_into()?))
}

/// An ICMP error that came back for a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the datagram was sent to, if the kernel says.
    pub to: Option<SocketAddr>,
    /// The error, as the kernel translates it.
    pub errno: Errno,
}

/// Room for one `IP_RECVERR` control message: a cmsghdr, a sock_extended_err and a sockaddr_in6.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 128]);

/// Where `ee_errno` lies in it: behind the cmsghdr, which ends with its level and type.
const LEVEL: usize = 8;
const EXTENDED_ERROR: usize = 16;

/// The next ICMP error of a socket that `datagram` made (`IP_RECVERR`, ip(7)).
pub fn take_report(socket: &Internal) -> Option<Report> {
    let mut control = Control([MaybeUninit::new(0); 128]);
    let mut messages = RecvAncillaryBuffer::new(&mut control.0);
    let mut no_payload = [IoSliceMut::new(&mut [])];
    let received = rustix::net::recvmsg(socket, &mut no_payload, &mut messages, RecvFlags::ERRQUEUE).ok()?;
    drop(messages);
    // SAFETY: the array began as zeros, and the kernel can only have written bytes over them.
    let control = control.0.map(|byte| unsafe { byte.assume_init() });
    let word =
        |at: usize| i32::from_ne_bytes([control[at], control[at + 1], control[at + 2], control[at + 3]]);
    let errno = match word(LEVEL) {
        libc::IPPROTO_IP | libc::IPPROTO_IPV6 => Errno::from_raw_os_error(word(EXTENDED_ERROR)),
        _ => Errno::IO,
    };
    Some(Report { to: received.address.and_then(|address| address.try_into().ok()), errno })
}

/// setsockopt(2) of an int, to 1: rustix has no name for these options, and libc's name would come back to us.
fn set_flag(socket: &Internal, level: i32, option: i32) -> Result<()> {
    let (fd, value) = (socket.as_raw_fd(), 1i32);
    let length = size_of::<i32>();
    // SAFETY: setsockopt(2) reads four bytes at `value`, which outlives the call.
    let result: i32 = unsafe { system_call!(SYS_setsockopt, fd, level, option, &raw const value, length) };
    if result < 0 { Err(Errno::INVAL) } else { Ok(()) }
}

/// What /etc/resolv.conf holds, its first 64 KiB.
pub fn resolver_configuration() -> Result<Vec<u8>> {
    let file =
        internal(rustix::fs::open("/etc/resolv.conf", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
    let mut text = Vec::with_capacity(64 * 1024);
    while text.len() < text.capacity() {
        if rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text))? == 0 {
            break;
        }
    }
    Ok(text)
}
