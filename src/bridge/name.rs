//! Names: how a descriptor says which socket of which engine it is. They are abstract AF_UNIX addresses, so that
//! the kernel keeps them with the open file through dup, fork, exec and SCM_RIGHTS, and answers in about 0.1 µs.
//!
//! ```text
//!   "tubesock" token(16) role(1) id(8) salt(8) [local(18) peer(18)]
//!   near end, stream     's'  the id of the engine's socket; 'S' of AF_INET6
//!   near end, datagram   'd'  likewise; 'D' of AF_INET6
//!   near end, UDP-Lite   'l'  likewise; 'L' of AF_INET6
//!   near end, echo       'e'  likewise; 'E' of AF_INET6
//!   far end, accepted    'a'  of one that it accepted, with both addresses: a process that only inherited the
//!                             listener can accept and knows the peer
//!   a rendezvous         'h'  where a near end and its far end meet, for a moment (a random token)
//!   control socket       'c'  where other processes ask the host (`host::control`)
//! ```
//!
//! A near end that `accept` returned bears its listener's name; its peer's name, role 'a', says which it is.
//! The abstract namespace lets anyone connect, so names prove nothing: an accepted end is believed only when the
//! kernel says that the process which made it is the one that listens (`SO_PEERCRED`), and `Bridge::is_true` says what the host
//! believes. Nobody can take a name before its time, for nobody foresees the salt. What is left to a stranger of
//! the same network namespace is to fill a listener's backlog until the program's next `accept`.

use crate::engine::{Domain, Kind, SocketId};
use crate::sys::unix;
use core::ops::Deref;
use rustix::fd::{AsFd, BorrowedFd, RawFd};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const PREFIX: &[u8; 8] = b"tubesock";
const SHORT: usize = PREFIX.len() + 16 + 1 + 8 + 8;
const LONG: usize = SHORT + 2 * 18;

/// Which host: 128 random bits.
pub type Token = [u8; 16];

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Where a near end and its far end meet.
    Rendezvous,
    /// The control socket of a host.
    Control,
    /// The near end of a socket.
    Near(Domain, Kind),
    /// The far end of a connection that the program accepted.
    Accepted {
        /// The program's address.
        local: SocketAddr,
        /// The peer's.
        peer: SocketAddr,
    },
}

/// A name, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The host.
    pub token: Token,
    /// What it stands for.
    pub role: Role,
    /// The engine's socket.
    pub id: SocketId,
    /// What cannot be foreseen of it, and tells nothing; zero where the token is for this one name, or known to whoever looks.
    pub salt: u64,
}

/// A name as the kernel has it: the bytes of an abstract address.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    bytes: [u8; LONG],
    length: usize,
}

impl Encoded {
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.length..self.length + part.len()].copy_from_slice(part);
        self.length += part.len();
    }
}

impl Deref for Encoded {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Name {
    /// The bytes of the abstract address. Allocates nothing.
    pub fn encode(&self) -> Encoded {
        let mut encoded = Encoded { bytes: [0; LONG], length: 0 };
        encoded.put(PREFIX);
        encoded.put(&self.token);
        encoded.put(&[match self.role {
            Role::Rendezvous => b'h',
            Role::Control => b'c',
            Role::Near(Domain::V4, Kind::Stream) => b's',
            Role::Near(Domain::V6, Kind::Stream) => b'S',
            Role::Near(Domain::V4, Kind::Datagram) => b'd',
            Role::Near(Domain::V6, Kind::Datagram) => b'D',
            Role::Near(Domain::V4, Kind::Lite) => b'l',
            Role::Near(Domain::V6, Kind::Lite) => b'L',
            Role::Near(Domain::V4, Kind::Echo) => b'e',
            Role::Near(Domain::V6, Kind::Echo) => b'E',
            Role::Accepted { .. } => b'a',
        }]);
        encoded.put(&self.id.0.to_le_bytes());
        encoded.put(&self.salt.to_le_bytes());
        if let Role::Accepted { local, peer } = self.role {
            encoded.put(&encode_address(local));
            encoded.put(&encode_address(peer));
        }
        encoded
    }

    /// None for a name that is not one of ours. Allocates nothing.
    pub fn decode(bytes: &[u8]) -> Option<Name> {
        let rest = bytes.strip_prefix(PREFIX)?;
        let (token, rest) = rest.split_first_chunk::<16>()?;
        let (&role, rest) = rest.split_first()?;
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let (salt, rest) = rest.split_first_chunk::<8>()?;
        let role = match (role, rest.len()) {
            (b'h', 0) => Role::Rendezvous,
            (b'c', 0) => Role::Control,
            (b's', 0) => Role::Near(Domain::V4, Kind::Stream),
            (b'S', 0) => Role::Near(Domain::V6, Kind::Stream),
            (b'd', 0) => Role::Near(Domain::V4, Kind::Datagram),
            (b'D', 0) => Role::Near(Domain::V6, Kind::Datagram),
            (b'l', 0) => Role::Near(Domain::V4, Kind::Lite),
            (b'L', 0) => Role::Near(Domain::V6, Kind::Lite),
            (b'e', 0) => Role::Near(Domain::V4, Kind::Echo),
            (b'E', 0) => Role::Near(Domain::V6, Kind::Echo),
            (b'a', 36) => Role::Accepted {
                local: decode_address(rest.first_chunk()?),
                peer: decode_address(rest.last_chunk()?),
            },
            _ => return None,
        };
        let (id, salt) = (SocketId(u64::from_le_bytes(*id)), u64::from_le_bytes(*salt));
        Some(Name { token: *token, role, id, salt })
    }
}

/// Port, then the address; an IPv4 address in its v4-mapped form, which a socket of AF_INET unmaps.
fn encode_address(address: SocketAddr) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&address.port().to_be_bytes());
    let octets = match address.ip() {
        // 0.0.0.0 to 255.255.255.255 as ::ffff:a.b.c.d; a mapped address of an AF_INET6 socket would read the
        // same, so its first byte, always zero, tells them apart.
        IpAddr::V4(v4) => {
            let mut mapped = v4.to_ipv6_mapped().octets();
            mapped[0] = 1;
            mapped
        }
        IpAddr::V6(v6) => v6.octets(),
    };
    bytes[2..].copy_from_slice(&octets);
    bytes
}

fn decode_address(bytes: &[u8; 18]) -> SocketAddr {
    let port = u16::from_be_bytes([bytes[0], bytes[1]]);
    let mut octets: [u8; 16] = bytes[2..].try_into().expect("18 - 2 bytes");
    if octets[0] == 1 && octets[1..10] == [0; 9] && octets[10..12] == [0xff; 2] {
        octets[0] = 0;
        if let Some(v4) = Ipv6Addr::from(octets).to_ipv4_mapped() {
            return SocketAddr::new(IpAddr::V4(v4), port);
        }
    }
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)), port)
}

/// What a descriptor of the program is, when it is one of a tubesock host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The descriptor.
    pub fd: RawFd,
    /// The host.
    pub token: Token,
    /// AF_INET or AF_INET6.
    pub domain: Domain,
    /// Stream or datagram.
    pub kind: Kind,
    /// The engine's socket.
    pub id: SocketId,
    /// Whether it has a far end, which sees it go.
    pub watched: bool,
    /// Local address and peer, known without asking for accepted connections.
    pub accepted: Option<(SocketAddr, SocketAddr)>,
}

impl Identity {
    /// The near end, for calls of our own.
    pub fn near(&self) -> BorrowedFd<'_> {
        // SAFETY: the program keeps it open during the call that it was identified for; if it does not, our calls fail
        // with EBADF or act on the number's new open file, as the kernel's own would. Never -1.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// Asks the kernel whether `fd` is one of ours: one system call when it is not, two when it is. Async-signal-safe;
/// takes no lock and allocates nothing.
pub fn identify(fd: RawFd) -> Option<Identity> {
    if fd < 0 {
        return None;
    }
    // SAFETY: the number is only passed to system calls, which answer EBADF when it is not open.
    let near = unsafe { BorrowedFd::borrow_raw(fd) };
    let name = unix::local_name(near, Name::decode)?;
    let Role::Near(domain, kind) = name.role else { return None };
    let mut identity =
        Identity { fd, token: name.token, domain, kind, id: name.id, watched: false, accepted: None };
    if kind == Kind::Stream
        && let Some(far) = unix::peer_name(near, Name::decode)
    {
        identity.watched = true;
        if let Role::Accepted { local, peer } = far.role
            && far.token == name.token
        {
            identity.id = far.id;
            identity.accepted = Some((local, peer));
        }
    }
    Some(identity)
}

/// The process in which the engine of a socket of ours runs: the one that listened, or that connected to it. None when it is
/// in a pid namespace that this one does not show.
pub fn host_process(fd: impl AsFd) -> Option<u32> {
    unix::peer(fd)?.process
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_round_trip() {
        let addresses = ["10.0.2.15:80", "[fd00::15]:1", "[::ffff:10.0.2.2]:65535", "0.0.0.0:0", "[::]:9"];
        for local in addresses {
            for peer in addresses {
                let role = Role::Accepted {
                    local: local.parse().expect("valid"),
                    peer: peer.parse().expect("valid"),
                };
                let name = Name { token: [7; 16], role, id: SocketId(u64::MAX - 3), salt: 1 << 63 };
                assert_eq!(Name::decode(&name.encode()), Some(name), "{local} {peer}");
            }
        }
        let role = Role::Near(Domain::V6, Kind::Stream);
        let name = Name { token: [9; 16], role, id: SocketId(1), salt: 2 };
        assert_eq!(Name::decode(&name.encode()), Some(name));
        assert_eq!(Name::decode(&name.encode()[..20]), None);
        assert_eq!(Name::decode(b"something else"), None);
    }
}
