//! What the kernel knows of a host's sockets: the AF_UNIX sockets behind the descriptors, their queues, and the processes
//! that hold them, whoever opened them.
#![forbid(unsafe_code)]

use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use tubesock::bridge::name::{Name, Role, Token};
use tubesock::engine::{Kind, SocketId};
use tubesock::sys::processes;
use tubesock::sys::unix_diag::{self, UnixSocket};

/// The AF_UNIX sockets of the network namespace that are of tubesock hosts, and their peers.
pub(crate) struct Kernel(HashMap<u32, UnixSocket>);

/// A near end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NearEnd {
    /// For `Holders`.
    pub(crate) inode: u32,
    /// What the program has not read; of a listener, connections that it has not accepted.
    pub(crate) unread: u32,
    /// What the program wrote and the engine has not taken.
    pub(crate) untaken: u32,
}

/// A descriptor of a process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) program: String,
    pub(crate) process: u32,
    pub(crate) descriptor: i32,
}

impl Kernel {
    pub(crate) fn read() -> Result<Kernel, Errno> {
        let sockets = unix_diag::sockets()?;
        Ok(Kernel(sockets.into_iter().map(|socket| (socket.inode, socket)).collect()))
    }

    /// The hosts of `user`; for root all that there are.
    pub(crate) fn hosts(&self, user: u32) -> Vec<Token> {
        let sockets = self.0.values().filter(|socket| user == 0 || socket.user == user);
        let names = sockets.filter_map(name).filter(|name| name.role == Role::Control);
        names.map(|name| name.token).collect()
    }

    /// The process that runs a host, where this user may look at it.
    pub(crate) fn process_of(&self, host: Token) -> Option<u32> {
        let is_its = |socket: &&UnixSocket| {
            name(socket).is_some_and(|name| name.role == Role::Control && name.token == host)
        };
        let inode = self.0.values().find(is_its)?.inode;
        holders().get(&inode)?.first().map(|holder| holder.process)
    }

    /// The hosts that a process runs, or whose sockets it has; if it has none, those of its children, of which the host is
    /// one when the process is `tubesock run`.
    pub(crate) fn hosts_of(&self, process: u32) -> std::io::Result<BTreeSet<Token>> {
        let hosts = self.hosts_among(descriptors(process)?);
        if !hosts.is_empty() {
            return Ok(hosts);
        }
        let children = processes::children(process).into_iter().filter_map(|child| descriptors(child).ok());
        Ok(self.hosts_among(children.flatten()))
    }

    fn hosts_among(&self, sockets: impl Iterator<Item = (i32, u32)>) -> BTreeSet<Token> {
        let names = sockets.filter_map(|(_, inode)| self.0.get(&inode)).filter_map(name);
        names.filter(|name| name.role != Role::Rendezvous).map(|name| name.token).collect()
    }

    /// The near ends of a host.
    pub(crate) fn near_ends(&self, host: Token) -> HashMap<SocketId, NearEnd> {
        self.0.values().filter_map(|socket| self.near_end(socket, host)).collect()
    }

    /// As `bridge::name::identify` tells it: an accepted one bears its listener's name, and its peer has its own.
    fn near_end(&self, socket: &UnixSocket, host: Token) -> Option<(SocketId, NearEnd)> {
        let own = name(socket).filter(|name| name.token == host)?;
        let Role::Near(_, kind) = own.role else { return None };
        let far = self.0.get(&socket.peer);
        let accepted = far.and_then(name).filter(|name| matches!(name.role, Role::Accepted { .. }));
        let end = match kind {
            Kind::Stream => NearEnd {
                inode: socket.inode,
                unread: socket.unread,
                untaken: far.map_or(0, |far| far.unread),
            },
            // Of datagrams the kernel counts those that wait only with what they cost, as Linux's UDP does.
            Kind::Datagram | Kind::Lite | Kind::Echo => NearEnd {
                inode: socket.inode,
                unread: far.map_or(0, |far| far.unread_by_peer),
                untaken: socket.unread_by_peer,
            },
        };
        Some((accepted.map_or(own.id, |name| name.id), end))
    }
}

/// Its name, if it is one of ours.
fn name(socket: &UnixSocket) -> Option<Name> {
    Name::decode(socket.name.strip_prefix(&[0])?)
}

/// The descriptors of all processes that this user may look at, by inode.
pub(crate) fn holders() -> HashMap<u32, Vec<Holder>> {
    let mut holders: HashMap<u32, Vec<Holder>> = HashMap::new();
    for process in numbers("/proc") {
        // Gone meanwhile, or another user's.
        let Ok(descriptors) = descriptors(process) else { continue };
        let program = program_of(process);
        for (descriptor, inode) in descriptors {
            let holder = Holder { program: program.clone(), process, descriptor };
            holders.entry(inode).or_default().push(holder);
        }
    }
    holders.values_mut().for_each(|holders| holders.sort());
    holders
}

/// The sockets that a process has: descriptor and inode.
fn descriptors(process: u32) -> std::io::Result<impl Iterator<Item = (i32, u32)>> {
    let entries = std::fs::read_dir(format!("/proc/{process}/fd"))?;
    Ok(entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some((entry.file_name().to_str()?.parse().ok()?, inode.parse().ok()?))
    }))
}

/// The entries of a directory that are numbers.
fn numbers(directory: impl AsRef<Path>) -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What the kernel calls the program of a process (proc(5), comm), fit for a terminal.
pub(crate) fn program_of(process: u32) -> String {
    let name = std::fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
    let name = String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned();
    name.replace(|letter: char| letter.is_control(), "?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tubesock::engine::Domain;

    const HOST: Token = [7; 16];

    fn socket(inode: u32, peer: u32, unread: u32, role: Option<Role>, id: u64) -> UnixSocket {
        let name = role.map(|role| Name { token: HOST, role, id: SocketId(id), salt: 5 }.encode());
        let name = name.map_or(Vec::new(), |name| [&[0], &name[..]].concat());
        UnixSocket {
            inode,
            name,
            peer,
            unread,
            unread_by_peer: 10 * unread,
            user: 1000,
            ..UnixSocket::default()
        }
    }

    #[test]
    fn ends_find_their_sockets() {
        let near = |kind| Some(Role::Near(Domain::V4, kind));
        let address = "10.0.2.15:80".parse().expect("an address");
        let accepted = Some(Role::Accepted { local: address, peer: address });
        let rendezvous = Some(Role::Rendezvous);
        let sockets = [
            socket(1, 0, 3, near(Kind::Stream), 100),
            socket(2, 3, 5, near(Kind::Stream), 100),
            socket(3, 2, 6, accepted, 101),
            socket(4, 5, 0, near(Kind::Stream), 102),
            socket(5, 4, 9, rendezvous, 102),
            socket(6, 7, 0, near(Kind::Datagram), 103),
            socket(7, 6, 2, None, 0),
            socket(8, 0, 0, Some(Role::Control), 0),
        ];
        let kernel = Kernel(sockets.into_iter().map(|socket| (socket.inode, socket)).collect());
        assert_eq!([1000, 0, 1001].map(|user| kernel.hosts(user).len()), [1, 1, 0]);
        assert_eq!(kernel.near_ends([8; 16]), HashMap::new());
        let ends = kernel.near_ends(HOST);
        let end = |inode, unread, untaken| NearEnd { inode, unread, untaken };
        let expected = [
            (SocketId(100), end(1, 3, 0)),
            (SocketId(101), end(2, 5, 6)),
            (SocketId(102), end(4, 0, 9)),
            (SocketId(103), end(6, 20, 0)),
        ];
        assert_eq!(ends, HashMap::from(expected));
    }
}
