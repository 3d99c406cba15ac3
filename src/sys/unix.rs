//! AF_UNIX sockets in the abstract namespace: what near ends, far ends and listeners of a host are made of.

use crate::error::Result;
use crate::sys;
use crate::sys::descriptors::{Internal, Owned, internal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
    sockopt,
};
use std::mem::MaybeUninit;
use std::path::Path;

/// A new, unconnected socket.
pub fn socket(kind: SocketType, flags: SocketFlags) -> Result<Owned> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?.into())
}

/// Takes a name for as long as the result lives; None when somebody has it.
pub fn claim(name: &[u8]) -> Option<Internal> {
    let claim = socket(SocketType::DGRAM, SocketFlags::CLOEXEC).ok()?;
    bind(&claim, name).ok()?;
    Some(internal(claim))
}

/// Two datagram sockets, connected to each other.
pub fn datagram_pair(flags: SocketFlags) -> Result<(Owned, Owned)> {
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    Ok((one.into(), other.into()))
}

/// No peer any more. What waits unread at a datagram socket is thrown away, and its sender, if that is the peer, has
/// ECONNRESET from its next call and POLLERR until then.
pub fn disconnect(fd: impl AsFd) -> Result<(), Errno> {
    rustix::net::connect_unspec(fd)
}

/// Gives the socket a name that the kernel chooses, if it has none.
pub fn bind_unnamed(fd: impl AsFd) -> Result<(), Errno> {
    rustix::net::bind(fd, &SocketAddrUnix::new_unnamed())
}

/// An empty datagram to itself; it has a name and no peer.
pub fn send_to_itself(fd: impl AsFd) -> Result<(), Errno> {
    let own = SocketAddrUnix::try_from(rustix::net::getsockname(&fd)?)?;
    rustix::net::sendto(&fd, &[], SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &own).map(drop)
}

/// The error that the socket's next call would fail with, cleared (SO_ERROR).
pub fn take_error(fd: impl AsFd) -> Option<Errno> {
    sockopt::socket_error(fd).ok()?.err()
}

/// Two connected sockets that keep the bounds of messages, and say when the other end has gone.
pub fn message_pair() -> Result<(Owned, Owned)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (one, other) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
    Ok((one.into(), other.into()))
}

/// Descriptors that one message may carry.
pub const DESCRIPTORS: usize = 3;

/// Sends a message in two parts, with descriptors (SCM_RIGHTS), to `to` or to the peer; without SIGPIPE.
pub fn send_message(
    fd: impl AsFd,
    to: Option<&SocketAddrUnix>,
    parts: [&[u8]; 2],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let parts = parts.map(IoSlice::new);
    let flags = flags | SendFlags::NOSIGNAL;
    match to {
        Some(to) => rustix::net::sendmsg_addr(fd, to, &parts, &mut control, flags),
        None => rustix::net::sendmsg(fd, &parts, &mut control, flags),
    }
    .map(drop)
}

/// The most that a message can carry: Linux's SCM_MAX_FD.
const CARRIED: usize = 253;

/// Receives a message and its descriptors; of more than there is room for, the rest is closed. Closing any of them does not wait:
/// a stranger may send a connection with something to deliver and SO_LINGER on it.
pub fn receive_message(
    fd: impl AsFd,
    buffer: &mut [u8],
    descriptors: &mut [Option<Owned>; DESCRIPTORS],
    flags: RecvFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CARRIED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(fd, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let mut places = descriptors.iter_mut();
    for descriptor in rights.flatten().map(Owned::from) {
        if sockopt::socket_domain(&descriptor).is_ok_and(|domain| domain != AddressFamily::UNIX) {
            let _ = sockopt::set_socket_linger(&descriptor, None);
        }
        if let Some(place) = places.next() {
            *place = Some(descriptor);
        }
    }
    Ok(received.bytes)
}

/// The user who made the pair of sockets of which this is one (SO_PEERCRED). None for the end of a connection: of that the
/// kernel says who listened, whoever it is that shows it.
pub fn pair_user(fd: impl AsFd) -> Option<u32> {
    let is_empty = |bytes: Option<&[u8]>| bytes.is_none_or(<[u8]>::is_empty);
    let nameless = |address: SocketAddrAny| {
        let address = SocketAddrUnix::try_from(address);
        address.is_ok_and(|address| is_empty(address.path_bytes()) && is_empty(address.abstract_name()))
    };
    let (own, peer) = (rustix::net::getsockname(&fd).ok()?, rustix::net::getpeername(&fd).ok()?);
    let is_pair = nameless(own) && peer.is_none_or(nameless);
    peer_credentials(fd).filter(|_| is_pair).map(|credentials| credentials.uid)
}

/// Binds to an abstract name of at most 107 bytes.
pub fn bind(fd: impl AsFd, name: &[u8]) -> Result<()> {
    Ok(rustix::net::bind(fd, &SocketAddrUnix::new_abstract_name(name)?)?)
}

/// Connects to an abstract name. EAGAIN when the listener's backlog is full.
pub fn connect(fd: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    rustix::net::connect(fd, &SocketAddrUnix::new_abstract_name(name)?)
}

/// A stream socket that is connected to the one at `path`.
pub fn connect_path(path: &Path, flags: SocketFlags) -> Result<Owned, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = flags | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// Connects to an abstract name without ever waiting, also when the socket is a blocking one: whether it is.
pub fn connect_at_once(fd: impl AsFd, name: &[u8]) -> Result<bool> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    if flags.contains(OFlags::NONBLOCK) {
        connect(fd, name)?;
        return Ok(false);
    }
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    let connected = connect(&fd, name);
    rustix::fs::fcntl_setfl(&fd, flags)?;
    connected?;
    Ok(true)
}

/// Listens.
pub fn listen(fd: impl AsFd, backlog: i32) -> Result<()> {
    Ok(rustix::net::listen(fd, backlog)?)
}

/// Accepts, without waiting: the listener is non-blocking.
pub fn accept(fd: impl AsFd) -> Result<Owned, Errno> {
    rustix::net::accept_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).map(Owned::from)
}

/// The abstract name that a socket is bound to, given to `look`.
pub fn local_name<T>(fd: impl AsFd, look: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let address = SocketAddrUnix::try_from(rustix::net::getsockname(fd).ok()?).ok()?;
    look(address.abstract_name()?)
}

/// The abstract name of the peer, given to `look`.
pub fn peer_name<T>(fd: impl AsFd, look: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    let address = SocketAddrUnix::try_from(rustix::net::getpeername(fd).ok()??).ok()?;
    look(address.abstract_name()?)
}

/// A process as the kernel names it to another one (SO_PEERCRED).
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// None for a process that this one's pid namespace does not show: then its user and group have to do.
    pub process: Option<u32>,
    /// Its effective user then.
    pub user: u32,
    group: u32,
}

impl Peer {
    /// Whether the two are one process: by its number where it has one, for a process may become another user.
    pub fn is_same(&self, other: &Peer) -> bool {
        match (self.process, other.process) {
            (None, None) => (self.user, self.group) == (other.user, other.group),
            (one, other) => one == other,
        }
    }

    /// Whether it is this one, or one that had its number before.
    pub fn is_this_process(&self) -> bool {
        self.process == Some(sys::process_id())
    }
}

/// The process at the other end, as the kernel recorded it when they connected; of a listener, the one that made it
/// listen.
pub fn peer(fd: impl AsFd) -> Option<Peer> {
    let libc::ucred { pid, uid, gid } = peer_credentials(fd)?;
    Some(Peer { process: u32::try_from(pid).ok().filter(|&process| process != 0), user: uid, group: gid })
}

fn peer_credentials(fd: impl AsFd) -> Option<libc::ucred> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>();
    let (fd, place) = (fd.as_fd().as_raw_fd(), &raw mut credentials);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: a ucred and its length, both ours.
    let result: i32 = unsafe { crate::system_call!(SYS_getsockopt, fd, level, name, place, &raw mut length) };
    (result == 0).then_some(credentials)
}

/// Receives without waiting.
pub fn receive(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    rustix::net::recv(fd, buffer, RecvFlags::DONTWAIT).map(|(_, length)| length)
}

/// Receives a datagram without waiting; whether it came from the socket of that abstract name.
pub fn receive_from(fd: impl AsFd, buffer: &mut [u8], name: &[u8]) -> Result<(usize, bool), Errno> {
    let (_, length, from) = rustix::net::recvfrom(fd, buffer, RecvFlags::DONTWAIT)?;
    let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
    Ok((length, from.is_some_and(|from| from.abstract_name() == Some(name))))
}

/// Sends without waiting and without SIGPIPE.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}

/// Sends what stands in several parts, likewise.
pub fn send_parts(fd: impl AsFd, parts: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::net::sendmsg(fd, parts, &mut SendAncillaryBuffer::default(), flags)
}

/// Sends a byte of urgent data (MSG_OOB), likewise.
pub fn send_urgent(fd: impl AsFd, byte: u8) -> Result<(), Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL | SendFlags::OOB;
    rustix::net::send(fd, &[byte], flags).map(drop)
}

/// Urgent data is read in its place, between the rest; a read stops before it (SO_OOBINLINE).
pub fn read_urgent_inline(fd: impl AsFd, inline: bool) {
    // Fails only on kernels before 5.15, whose AF_UNIX has no urgent data: then none can be sent.
    let _ = sockopt::set_socket_oobinline(fd, inline);
}

/// Whether the next byte to be read is urgent (SIOCATMARK).
pub fn is_at_mark(fd: impl AsFd) -> bool {
    const SIOCATMARK: rustix::ioctl::Opcode = 0x8905;
    // SAFETY: SIOCATMARK of sockets writes one int.
    let request = unsafe { rustix::ioctl::Getter::<SIOCATMARK, core::ffi::c_int>::new() };
    // SAFETY: the request and its type fit, as above.
    unsafe { rustix::ioctl::ioctl(fd, request) }.is_ok_and(|mark| mark != 0)
}

/// No more bytes from this end.
pub fn shutdown_write(fd: impl AsFd) {
    // Fails only when the other end is gone, which the next event reports.
    let _ = rustix::net::shutdown(fd, Shutdown::Write);
}

/// What is queued can still be received. The other end can send no more, and whoever waits there for room wakes up.
pub fn shutdown_read(fd: impl AsFd) {
    // Fails only when the other end is gone, which the next event reports.
    let _ = rustix::net::shutdown(fd, Shutdown::Read);
}

/// Whether the other end has gone, both directions are shut, or an error waits (POLLHUP, POLLERR).
pub fn hangs_up(fd: impl AsFd) -> bool {
    polled(fd, PollFlags::empty()).intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Whether shutdown(2) has shut it for reading (POLLRDHUP).
pub fn is_shut_for_reading(fd: impl AsFd) -> bool {
    polled(fd, PollFlags::RDHUP).contains(PollFlags::RDHUP)
}

/// The events of `wanted` that are so now, and those that poll(2) tells unasked.
fn polled(fd: impl AsFd, wanted: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(&fd, wanted)];
    let _ = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    fds[0].revents()
}

/// Whether there is something to read (FIONREAD).
pub fn holds_bytes(fd: impl AsFd) -> bool {
    rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0)
}

/// Whether the other end has something of ours that it has not read (SIOCOUTQ).
pub fn unread_by_peer(fd: impl AsFd) -> bool {
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: SIOCOUTQ of sockets writes one int.
    let request = unsafe { rustix::ioctl::Getter::<SIOCOUTQ, core::ffi::c_int>::new() };
    // SAFETY: the request and its type fit, as above.
    unsafe { rustix::ioctl::ioctl(fd, request) }.is_ok_and(|unread| unread > 0)
}

/// Makes the send buffer as large as the user may have it, at most `bytes`.
pub fn set_send_buffer(fd: impl AsFd, bytes: usize) -> Result<()> {
    Ok(sockopt::set_socket_send_buffer_size(fd, bytes)?)
}

/// Bounds the send buffer to `bytes`, which the kernel doubles for its own accounting; it is never made larger than it
/// is. Fails for nothing but a socket that has gone.
pub fn bound_send_buffer(fd: impl AsFd, bytes: u32) {
    if sockopt::socket_send_buffer_size(&fd).is_ok_and(|size| size / 2 > bytes as usize) {
        let _ = sockopt::set_socket_send_buffer_size(&fd, bytes as usize);
    }
}

/// What accept(2) takes over from a listener and the kernel keeps with a near end.
pub fn inherit(listener: impl AsFd, accepted: impl AsFd) {
    const INHERITED: [i32; 5] =
        [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, libc::SO_RCVLOWAT, libc::SO_OOBINLINE, libc::SO_SNDBUF];
    for name in INHERITED {
        let (wanted, have) = (option(&listener, name), option(&accepted, name));
        if let (Some(wanted), Some(have)) = (wanted, have)
            && wanted != have
        {
            set_option(&accepted, name, wanted);
        }
    }
}

/// An option of SOL_SOCKET, as its bytes: a timeval or an int, behind which are zeros.
fn option(fd: impl AsFd, name: i32) -> Option<[u8; 16]> {
    let mut value = [0; 16];
    let mut length = size_of_val(&value) as u32;
    let (fd, place) = (fd.as_fd().as_raw_fd(), value.as_mut_ptr());
    // SAFETY: a place and its length, both ours.
    let result: i32 =
        unsafe { crate::system_call!(SYS_getsockopt, fd, libc::SOL_SOCKET, name, place, &raw mut length) };
    (result == 0).then_some(value)
}

fn set_option(fd: impl AsFd, name: i32, mut value: [u8; 16]) {
    if name == libc::SO_SNDBUF {
        // The kernel doubles what it is given, and shows that.
        let [a, b, c, d, ..] = value;
        value[..4].copy_from_slice(&(u32::from_ne_bytes([a, b, c, d]) / 2).to_ne_bytes());
    }
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: sixteen readable bytes. A value that the kernel showed it takes.
    let _: i32 = unsafe {
        crate::system_call!(SYS_setsockopt, fd, libc::SOL_SOCKET, name, value.as_ptr(), value.len())
    };
}

/// What the kernel knows a socket by, and never another, in whatever network namespace (SO_COOKIE; Linux 5.4).
pub fn cookie(fd: impl AsFd) -> Result<u64> {
    Ok(sockopt::socket_cookie(fd)?)
}

/// What the kernel knows the network namespace of a socket by (SO_NETNS_COOKIE; Linux 5.14).
pub fn namespace(fd: impl AsFd) -> Option<u64> {
    let mut cookie = 0u64;
    let mut length = size_of_val(&cookie) as u32;
    let (fd, place) = (fd.as_fd().as_raw_fd(), &raw mut cookie);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_NETNS_COOKIE);
    // SAFETY: a place and its length, both ours.
    let result: i32 = unsafe { crate::system_call!(SYS_getsockopt, fd, level, name, place, &raw mut length) };
    (result == 0).then_some(cookie)
}

/// What sock_diag(7) knows a socket by.
pub fn inode(fd: impl AsFd) -> Result<u32> {
    Ok(rustix::fs::fstat(fd)?.st_ino as u32)
}

/// The size of the send buffer in the kernel's accounting (SO_SNDBUF).
pub fn send_buffer(fd: impl AsFd) -> Result<usize> {
    Ok(sockopt::socket_send_buffer_size(fd)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    fn only_a_pair_tells_who_made_it() {
        let (one, _other) = message_pair().expect("a pair");
        assert_eq!(pair_user(&one), Some(sys::user_id()));
        let name: [u8; 16] = sys::entropy();
        let listener = socket(SocketType::STREAM, SocketFlags::CLOEXEC).expect("a socket");
        bind(&listener, &name).and_then(|()| listen(&listener, 1)).expect("a listener");
        let connected = socket(SocketType::STREAM, SocketFlags::CLOEXEC).expect("a socket");
        connect(&connected, &name).expect("there it is");
        let accepted = accept(&listener).expect("it has just connected");
        assert_eq!((pair_user(&connected), pair_user(&accepted), pair_user(&listener)), (None, None, None));
        assert!(peer_credentials(&connected).is_some(), "it would tell who listened");
    }

    #[test]
    fn what_comes_with_a_message_is_closed_without_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        sockopt::set_socket_linger(&stream, Some(Duration::from_secs(40))).expect("an option");
        let (from, to) = message_pair().expect("a pair");
        send_message(&from, None, [b"x", b""], &[stream.as_fd()], SendFlags::empty()).expect("it has a peer");
        let mut descriptors = [const { None }; DESCRIPTORS];
        receive_message(&to, &mut [0], &mut descriptors, RecvFlags::empty()).expect("it was sent");
        assert!(descriptors[0].is_some());
        assert_eq!(sockopt::socket_linger(&stream), Ok(None));
    }
}
