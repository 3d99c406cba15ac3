//! A socket in the file system: the control socket of a shared host (`tubesock host --listen PATH`), the ports of a switch.
//! Its file is its process's for as long as that lives: one that a dead one left behind is taken over, that of a living one
//! is not.
#![forbid(unsafe_code)]

use super::client;
use crate::config::HostAddress;
use crate::error::{Error, Result};
use crate::sys::descriptors::{Internal, Owned, duplicate, internal};
use crate::sys::unix;
use rustix::fd::AsFd;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat, flock, lstat, open, unlink};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect};
use std::path::{Path, PathBuf};

/// The socket and its file, which goes with it.
#[derive(Debug)]
pub struct Entrance {
    path: PathBuf,
    socket: Internal,
    /// Of the file as it was made: whatever takes its place is not ours to remove.
    made: (u64, u64),
}

impl Entrance {
    /// Makes the socket, with the permissions that umask(2) leaves. The error is a sentence for a person.
    pub fn make(path: &Path, kind: SocketType) -> Result<Entrance, String> {
        let problem = |errno: Errno| format!("'{}': {}", path.display(), std::io::Error::from(errno));
        let address = SocketAddrUnix::new(path).map_err(problem)?;
        // Of two that find the same stale file, one would remove the other's new one.
        let _alone = lock_directory_of(path).map_err(problem)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None);
        let socket = Owned::from(socket.map_err(problem)?);
        if bind(&socket, &address) == Err(Errno::ADDRINUSE) {
            remove_stale(path, &address, kind)?;
            bind(&socket, &address).map_err(problem)?;
        }
        let made = identity(&lstat(path).map_err(problem)?);
        Ok(Entrance { path: path.to_owned(), socket: internal(socket), made })
    }

    /// The socket, not listening yet.
    pub fn socket(&self) -> Result<Internal> {
        Ok(duplicate(self.socket.as_fd())?)
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        if lstat(&self.path).is_ok_and(|file| identity(&file) == self.made) {
            // Gone meanwhile: as well.
            let _ = unlink(&self.path);
        }
    }
}

fn identity(file: &Stat) -> (u64, u64) {
    (file.st_dev, file.st_ino)
}

/// Held while the result lives. No file is left behind by it.
fn lock_directory_of(path: &Path) -> Result<Owned, Errno> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent.unwrap_or(Path::new("/")),
    };
    let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory.into())
}

/// Removes what stands at `path`, if it is a socket that nobody has.
fn remove_stale(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> Result<(), String> {
    let shown = path.display();
    let socket = lstat(path).is_ok_and(|file| FileType::from_raw_mode(file.st_mode) == FileType::Socket);
    if !socket {
        return Err(format!("'{shown}': there is a file already, and no socket; give another path"));
    }
    match reach(address, kind) {
        Err(Error::ConnectionRefused) => {
            unlink(path).map_err(|errno| format!("'{shown}': left behind, and cannot be removed: {errno}"))
        }
        Ok(()) => Err(format!("'{shown}': somebody listens there already; use that, or give another path")),
        Err(_) => Err(format!("'{shown}': somebody has that socket; give another path")),
    }
}

/// Whether a socket is somebody's.
fn reach(address: &SocketAddrUnix, kind: SocketType) -> Result<()> {
    let probe = unix::socket(kind, SocketFlags::CLOEXEC)?;
    Ok(connect(&probe, address)?)
}

/// Whether a host lets this process in. The error is a sentence for a person.
pub fn can_enter(at: &HostAddress) -> Result<(), String> {
    let HostAddress::Path(path) = at else { return Ok(()) };
    client::address(at).and_then(|address| reach(&address, SocketType::DGRAM)).map_err(|error| {
        let reason = match error.errno() {
            libc::ENOENT | libc::ECONNREFUSED => {
                format!("no host listens there; start 'tubesock host --listen {}'", path.display())
            }
            libc::EACCES => "you may not write to that socket; its owner can change that".into(),
            _ => error.to_string(),
        };
        format!("'{}': {reason}", path.display())
    })
}
