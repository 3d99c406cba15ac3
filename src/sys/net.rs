//! Kernel sockets of `nat`: non-blocking, close-on-exec, and every descriptor of them an internal one.
//! Nothing here knows of packets, flows or addresses of the program's network.

use super::descriptors::{Internal, internal};
use super::raw::errno;
use crate::system_call;
use core::time::Duration;
use rustix::event::epoll;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSliceMut, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto,
    sockopt,
};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};

pub use rustix::event::epoll::EventFlags;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// Connections the kernel may hold for us on a published port; it lowers this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Most events fetched by one `Epoll::ready`.
pub const EVENTS: usize = 128;

/// An epoll descriptor that reports edges: what became ready since it was last asked.
pub struct Epoll(Internal);

/// Edge-triggered.
const FOR_INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

impl Epoll {
    /// epoll_create1(2)
    pub fn new() -> Result<Epoll> {
        Ok(Epoll(internal(epoll::create(epoll::CreateFlags::CLOEXEC)?)))
    }

    /// Watches a socket until it is closed. `key` comes back with its events.
    pub fn watch(&self, socket: &Internal, key: u64) -> Result<()> {
        epoll::add(&self.0, socket, epoll::EventData::new_u64(key), FOR_INPUT | EventFlags::OUT)
    }

    /// Watches it for what comes in only: a socket with room is an event for `watch`.
    pub fn watch_input(&self, socket: &Internal, key: u64) -> Result<()> {
        epoll::add(&self.0, socket, epoll::EventData::new_u64(key), FOR_INPUT)
    }

    /// From now on for room too, of which there may be some by now.
    pub fn watch_room(&self, socket: &Internal, key: u64) -> Result<()> {
        epoll::modify(&self.0, socket, epoll::EventData::new_u64(key), FOR_INPUT | EventFlags::OUT)
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
    told_all(open(to, SocketType::DGRAM)?, to)
}

/// A socket for echo requests to the family of `to`, likewise (icmp(7)). EACCES where the administrator does not let this
/// user have one (net.ipv4.ping_group_range).
pub fn echo(to: SocketAddr) -> Result<Internal> {
    let (family, protocol) = match to {
        SocketAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        SocketAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, FLAGS, Some(protocol))?;
    told_all(internal(socket), to)
}

/// Asks for errors, hop limit and traffic class.
fn told_all(socket: Internal, to: SocketAddr) -> Result<Internal> {
    let (level, options) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, [libc::IP_RECVERR, libc::IP_RECVTTL, libc::IP_RECVTOS]),
        SocketAddr::V6(_) => {
            (libc::IPPROTO_IPV6, [libc::IPV6_RECVERR, libc::IPV6_RECVHOPLIMIT, libc::IPV6_RECVTCLASS])
        }
    };
    for option in options {
        set_number(&socket, level, option, 1)?;
    }
    Ok(socket)
}

/// Sets the hop limit and traffic class of what a socket sends to the family of `to`.
pub fn set_treatment(socket: &Internal, to: SocketAddr, hop_limit: u8, traffic_class: u8) -> Result<()> {
    let (level, options) = match to {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, [libc::IP_TTL, libc::IP_TOS]),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, [libc::IPV6_UNICAST_HOPS, libc::IPV6_TCLASS]),
    };
    set_number(socket, level, options[0], hop_limit.into())?;
    set_number(socket, level, options[1], traffic_class.into())
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

/// A datagram that came to a socket of `datagram` or `echo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes of its payload.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// TTL or hop limit, where the kernel says.
    pub hop_limit: Option<u8>,
    /// TOS or traffic class, likewise.
    pub traffic_class: Option<u8>,
}

/// recvmsg(2)
pub fn receive_message(socket: &Internal, into: &mut [u8]) -> Result<Received> {
    let mut control = Control::default();
    let (length, from) = receive_with(socket, into, &mut control, RecvFlags::empty())?;
    let mut received =
        Received { length, from: from.ok_or(Errno::AFNOSUPPORT)?, hop_limit: None, traffic_class: None };
    for (level, kind, data) in messages(&control.into_bytes()) {
        let byte = data.first().copied();
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                received.hop_limit = byte;
            }
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                received.traffic_class = byte;
            }
            _ => {}
        }
    }
    Ok(received)
}

/// An error of the queue that came of a datagram (`IP_RECVERR`, ip(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where the datagram was sent to, if the kernel says.
    pub to: Option<SocketAddr>,
    /// The error, as the kernel translates it.
    pub errno: Errno,
    /// Type and code of the ICMP message that said so; None for an error of the machine itself.
    pub message: Option<(u8, u8)>,
    /// Who sent that.
    pub offender: Option<IpAddr>,
    /// Bytes that it quotes of what was sent.
    pub length: usize,
}

/// The next error of a socket of `datagram` or `echo`, with what it quotes.
pub fn take_report(socket: &Internal, quoted: &mut [u8]) -> Option<Report> {
    let mut control = Control::default();
    let (length, to) = receive_with(socket, quoted, &mut control, RecvFlags::ERRQUEUE).ok()?;
    let mut report = Report { to, errno: Errno::IO, message: None, offender: None, length };
    for (level, kind, data) in messages(&control.into_bytes()) {
        let of_ip = (level, kind) == (libc::IPPROTO_IP, libc::IP_RECVERR)
            || (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
        // struct sock_extended_err, then the sockaddr of the offender.
        let Some(([e0, e1, e2, e3, origin, kind, code, _], rest)) =
            data.split_first_chunk().filter(|_| of_ip)
        else {
            continue;
        };
        report.errno = Errno::from_raw_os_error(i32::from_ne_bytes([*e0, *e1, *e2, *e3]));
        let of_icmp = [libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6].contains(origin);
        report.message = of_icmp.then_some((*kind, *code));
        report.offender = rest.get(8..).and_then(ip_of);
    }
    Some(report)
}

/// The address of a sockaddr_in or sockaddr_in6.
fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    let (family, rest) = bytes.split_first_chunk()?;
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => rest.get(2..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        libc::AF_INET6 => rest.get(6..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

pub(super) fn receive_with(
    socket: &Internal,
    into: &mut [u8],
    control: &mut Control,
    flags: RecvFlags,
) -> Result<(usize, Option<SocketAddr>)> {
    let mut messages = RecvAncillaryBuffer::new(&mut control.0);
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(into)], &mut messages, flags)?;
    Ok((received.bytes, received.address.and_then(|address| address.try_into().ok())))
}

/// Room for the control messages that `told_all` and `udp` ask for: each a cmsghdr and at most a sock_extended_err and a
/// sockaddr_in6.
#[repr(C, align(8))]
pub(super) struct Control([MaybeUninit<u8>; 256]);

impl Default for Control {
    fn default() -> Control {
        Control([MaybeUninit::new(0); 256])
    }
}

impl Control {
    pub(super) fn into_bytes(self) -> [u8; 256] {
        // SAFETY: the array began as zeros, and the kernel can only have written bytes over them.
        self.0.map(|byte| unsafe { byte.assume_init() })
    }
}

/// Level, type and data of each control message (cmsg(3)): rustix reads only those that it knows.
pub(super) fn messages(mut control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let ([length, ..], words) =
            (control.first_chunk::<16>()?.as_chunks::<8>().0, control.as_chunks::<4>().0)
        else {
            return None;
        };
        let data = control.get(16..usize::from_ne_bytes(*length))?;
        let message = (i32::from_ne_bytes(words[2]), i32::from_ne_bytes(words[3]), data);
        control = control.get((16 + data.len()).next_multiple_of(8)..).unwrap_or_default();
        Some(message)
    })
}

/// setsockopt(2) of an int.
pub(super) fn set_number(socket: &Internal, level: i32, option: i32, value: i32) -> Result<()> {
    set_option(socket, level, option, &value.to_ne_bytes())
}

/// setsockopt(2): rustix has no name for many options, and libc's name would come back to us.
pub fn set_option(socket: impl AsFd, level: i32, option: i32, value: &[u8]) -> Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let (place, length) = (value.as_ptr(), value.len());
    // SAFETY: setsockopt(2) reads `length` bytes at `value`, which outlives the call.
    let result: i32 = unsafe { system_call!(SYS_setsockopt, fd, level, option, place, length) };
    if result < 0 { Err(Errno::from_raw_os_error(errno())) } else { Ok(()) }
}

/// getsockopt(2) of an option of at most 16 bytes.
pub fn option(socket: impl AsFd, level: i32, option: i32) -> Result<Vec<u8>> {
    let fd = socket.as_fd().as_raw_fd();
    let mut value = [0u8; 16];
    let mut length = value.len() as u32;
    let (place, size) = (value.as_mut_ptr(), &raw mut length);
    // SAFETY: getsockopt(2) writes at most `length` bytes at `value`, and the length.
    let result: i32 = unsafe { system_call!(SYS_getsockopt, fd, level, option, place, size) };
    if result < 0 { Err(Errno::from_raw_os_error(errno())) } else { Ok(value[..length as usize].to_vec()) }
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
