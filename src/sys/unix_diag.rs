//! The kernel's table of the AF_UNIX sockets of this network namespace: sock_diag(7), open to every user.
//!
//! `/proc/net/unix` has it too, but shows the bytes of abstract names as they are, with `@` for zero: ours cannot be read
//! back from it. Nor does it know peers and queues.

use super::descriptors::Owned;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

/// A socket of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixSocket {
    /// What `/proc/PID/fd` calls it; 0 for one that no descriptor stands for yet.
    pub inode: u32,
    /// Whether it listens.
    pub listening: bool,
    /// The name as bind(2) was given it; an abstract one begins with a zero.
    pub name: Vec<u8>,
    /// The inode of the peer; 0 for none.
    pub peer: u32,
    /// Bytes to read, of a stream exactly; of a listener, connections to accept.
    pub unread: u32,
    /// Bytes that the peer has not read, in the kernel's accounting.
    pub unread_by_peer: u32,
    /// Who made it.
    pub user: u32,
}

/// linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UDIAG_SHOW_RQLEN: u32 = 0x10;
const UDIAG_SHOW_UID: u32 = 0x40;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_UID: u16 = 7;
/// net/tcp_states.h
const TCP_LISTEN: u8 = 10;

/// struct nlmsghdr
const HEADER: usize = 16;
/// struct unix_diag_msg
const ABOUT: usize = 16;
/// More than the kernel puts into one message.
const BUFFER: usize = 32 * 1024;

/// All of them. ENOENT where the kernel has no such table.
pub fn sockets() -> Result<Vec<UnixSocket>, Errno> {
    let socket = netlink_socket()?;
    rustix::net::send(&socket, &request(None), SendFlags::empty())?;
    let (mut found, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let (_, length) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for (kind, message) in messages(&buffer[..length]) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(found),
                libc::NLMSG_ERROR => {
                    return Err(Errno::from_raw_os_error(-number(message, 0).cast_signed()));
                }
                _ => found.extend(parse(message)),
            }
        }
    }
}

/// The one of an inode. ENOENT when it has gone. The kernel looks through all of them for it.
pub fn socket(inode: u32) -> Result<UnixSocket, Errno> {
    let socket = netlink_socket()?;
    rustix::net::send(&socket, &request(Some(inode)), SendFlags::empty())?;
    let mut buffer = [0; 512];
    let (_, length) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
    let (kind, message) = messages(&buffer[..length]).next().ok_or(Errno::BADMSG)?;
    match i32::from(kind) {
        libc::NLMSG_ERROR => Err(Errno::from_raw_os_error(-number(message, 0).cast_signed())),
        _ => parse(message).ok_or(Errno::BADMSG),
    }
}

fn netlink_socket() -> Result<Owned, Errno> {
    let (family, protocol) = (AddressFamily::NETLINK, Some(netlink::SOCK_DIAG));
    rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, protocol).map(Owned::from)
}

/// struct nlmsghdr and struct unix_diag_req: of one socket, or of all in whatever state.
fn request(inode: Option<u32>) -> [u8; 40] {
    let mut request = [0; 40];
    let dump = if inode.is_none() { libc::NLM_F_DUMP } else { 0 };
    let flags = (libc::NLM_F_REQUEST | dump) as u16;
    let show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN | UDIAG_SHOW_UID;
    request[..4].copy_from_slice(&40u32.to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&flags.to_ne_bytes());
    request[HEADER] = libc::AF_UNIX as u8;
    request[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    request[24..28].copy_from_slice(&inode.unwrap_or(0).to_ne_bytes());
    request[28..32].copy_from_slice(&show.to_ne_bytes());
    // INET_DIAG_NOCOOKIE
    request[32..].fill(0xff);
    request
}

/// The messages in a datagram of the kernel's: type and contents.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let length = number(datagram.get(..HEADER)?, 0) as usize;
        let message = datagram.get(..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((half(message, 4), message.get(HEADER..)?))
    })
}

fn parse(message: &[u8]) -> Option<UnixSocket> {
    let (about, mut rest) = message.split_at_checked(ABOUT)?;
    let mut socket =
        UnixSocket { listening: about[2] == TCP_LISTEN, inode: number(about, 4), ..UnixSocket::default() };
    // struct rtattr
    while let Some(header) = rest.get(..4) {
        let length = usize::from(half(header, 0));
        let value = rest.get(4..length)?;
        match half(header, 2) {
            UNIX_DIAG_NAME => socket.name = value.to_vec(),
            UNIX_DIAG_PEER => socket.peer = number(value, 0),
            UNIX_DIAG_RQLEN => (socket.unread, socket.unread_by_peer) = (number(value, 0), number(value, 4)),
            UNIX_DIAG_UID => socket.user = number(value, 0),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(socket)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_ne_bytes(bytes.try_into().expect("two bytes")))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::unix;
    use rustix::fd::AsFd;

    fn inode(fd: impl AsFd) -> u32 {
        rustix::fs::fstat(fd).expect("an open descriptor").st_ino as u32
    }

    #[test]
    fn names_peers_and_queues() {
        let name = [&b"tubesock-diag-\n\0"[..], &super::super::entropy::<8>()].concat();
        let socket = || unix::socket(SocketType::STREAM, SocketFlags::CLOEXEC).expect("a socket");
        let (listener, client) = (socket(), socket());
        unix::bind(&listener, &name).expect("a free name");
        unix::listen(&listener, 5).expect("it is bound");
        unix::connect(&client, &name).expect("it listens");
        let found = |all: &[UnixSocket], inode| all.iter().find(|socket| socket.inode == inode).cloned();
        let all = sockets().expect("the kernel has the table");
        let shown = found(&all, inode(&listener)).expect("it is open");
        assert_eq!((shown.listening, &shown.name[1..], shown.unread), (true, &name[..], 1));
        assert_eq!(shown.user, super::super::user_id());
        assert_eq!(super::socket(inode(&listener)), Ok(shown));
        assert_eq!(super::socket(u32::MAX), Err(Errno::NOENT));
        let server = unix::accept(&listener).expect("one waits");
        unix::send(&client, b"seven b").expect("there is room");
        let all = sockets().expect("the kernel has the table");
        let shown = found(&all, inode(&server)).expect("it is open");
        assert_eq!((shown.peer, shown.unread, shown.listening), (inode(&client), 7, false));
        let shown = found(&all, inode(&client)).expect("it is open");
        assert_eq!((shown.peer, shown.unread), (inode(&server), 0));
        assert!(shown.unread_by_peer >= 7);
    }

    #[test]
    fn what_is_cut_short_is_no_panic() {
        let whole = request(None);
        for length in 0..whole.len() {
            let parsed = messages(&whole[..length]).filter_map(|(_, message)| parse(message)).count();
            assert_eq!(parsed, 0);
            parse(&whole[length..]);
        }
        // An attribute that says that it is shorter than its own head.
        assert_eq!(parse(&[0; 20]), None);
    }
}
