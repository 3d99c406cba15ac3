//! The table of a host's sockets, for `tubesock ss`: made by the host, for its own user and for root, and asked for by
//! whoever finds the host. It goes in a memfd, since it is longer than a message.
#![forbid(unsafe_code)]

use super::control::Message;
use super::{Address, Inner, PATIENCE, Token, client, is_owner, tcp_info};
use crate::engine::table::{Row, state};
use crate::error::{Error, Result};
use crate::sys;
use crate::sys::descriptors::Owned;
use rustix::fd::AsFd;
use rustix::fs::MemfdFlags;
use rustix::net::SocketAddrUnix;
use serde::{Deserialize, Serialize};

/// The longest table: of a million sockets.
const LONGEST: u64 = 512 << 20;

/// The sockets of a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Which host: every near end of its bears this in its name.
    pub token: Token,
    /// The process that the host runs in.
    pub process: u32,
    /// In no order.
    pub rows: Vec<Row>,
}

impl Inner {
    /// The table, for `user`, without the sockets of processes that were killed.
    pub(super) fn table(&mut self, token: Token, user: Option<u32>) -> Result<Owned> {
        if !is_owner(user) {
            return Err(Error::PermissionDenied);
        }
        self.closed_some();
        let mut rows = self.engine.table(sys::now());
        for row in rows.iter_mut().filter(|row| row.state == state::LISTEN) {
            row.info = Some(tcp_info::unconnected(true));
        }
        let table = Table { token, process: sys::process_id(), rows };
        let bytes = postcard::to_stdvec(&table).map_err(|_| Error::Broken)?;
        let file = Owned::from(rustix::fs::memfd_create("tubesock-table", MemfdFlags::CLOEXEC)?);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        Ok(file)
    }
}

/// Asks the host of `token` for its table. EACCES for other users than its own and root, ENETDOWN when there is no such
/// host, EAGAIN when it does not answer.
pub fn table_of(token: Token) -> Result<Table> {
    ask(&client::name(token)?)
}

/// As `table_of`, of the host at an address.
pub fn table_at(address: &Address) -> Result<Table> {
    ask(&client::address(address)?)
}

fn ask(host: &SocketAddrUnix) -> Result<Table> {
    let (_, file) = client::exchange(core::slice::from_ref(host), Message::Table, &[], None, Some(PATIENCE))?;
    let bytes = contents(&file.ok_or(Error::Broken)?)?;
    postcard::from_bytes(&bytes).map_err(|_| Error::Broken)
}

fn contents(file: impl AsFd) -> Result<Vec<u8>> {
    let length = rustix::fs::fstat(&file)?.st_size.cast_unsigned();
    if length > LONGEST {
        return Err(Error::Broken);
    }
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(&file, &mut bytes[filled..], filled as u64)? {
            0 => return Err(Error::Broken),
            count => filled += count,
        }
    }
    Ok(bytes)
}
