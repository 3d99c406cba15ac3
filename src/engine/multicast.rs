//! Multicast groups: who is a member of which, on which interface.
//!
//! What arrives for a group is taken when some socket has joined it on that interface, and goes to every socket that is
//! bound to the port and is a member, or never said that it wants its own groups only (IP_MULTICAST_ALL, ip(7)).
//!
//! Limits: routers are not told (no IGMP, no MLD): the network must bring a group's packets unasked, as a point-to-point
//! link does.
#![forbid(unsafe_code)]

use super::datagram::Datagrams;
use super::{Engine, Path, SocketId};
use crate::error::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Groups of one socket: Linux's igmp_max_memberships, and what its optmem_max amounts to for IPv6.
const MEMBERSHIPS_MAX_V4: usize = 20;
const MEMBERSHIPS_MAX_V6: usize = 256;

/// Sources of one membership: Linux's igmp_max_msf.
const SOURCES_MAX: usize = 10;

/// A socket's membership of a group.
pub(super) struct Membership {
    group: IpAddr,
    path: Path,
    sources: Sources,
}

/// Whom a member wants to hear (RFC 3376 2).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sources {
    /// INCLUDE
    Only(Vec<IpAddr>),
    /// EXCLUDE; of nobody, it is everybody.
    AllBut(Vec<IpAddr>),
}

impl Sources {
    fn admits(&self, source: IpAddr) -> bool {
        match self {
            Sources::Only(sources) => sources.contains(&source),
            Sources::AllBut(sources) => !sources.contains(&source),
        }
    }

    /// Those listed, of a list of that kind; an empty one of the other kind becomes one (ip_mc_source). EINVAL.
    fn listed(&mut self, only: bool) -> Result<&mut Vec<IpAddr>> {
        let (Sources::Only(sources) | Sources::AllBut(sources)) = self;
        if sources.is_empty() {
            *self = if only { Sources::Only(Vec::new()) } else { Sources::AllBut(Vec::new()) };
        }
        match (self, only) {
            (Sources::Only(sources), true) | (Sources::AllBut(sources), false) => Ok(sources),
            _ => Err(Error::InvalidArgument),
        }
    }
}

impl Datagrams {
    fn membership(&self, group: IpAddr, path: Path) -> Option<usize> {
        self.memberships.iter().position(|one| (one.group, one.path) == (group, path))
    }

    /// Whether the socket takes what `source` sent to `group` (ip_mc_sf_allow).
    pub(super) fn admits(&self, group: IpAddr, source: IpAddr, path: Path) -> bool {
        match self.membership(group, path).map(|index| &self.memberships[index]) {
            Some(membership) => membership.sources.admits(source),
            None => self.options.of(group).multicast_all,
        }
    }

    /// One more that it wants to hear only, or not to hear. EADDRNOTAVAIL for one twice, ENOBUFS.
    fn add_source(&mut self, index: usize, source: IpAddr, only: bool) -> Result<()> {
        let sources = self.memberships[index].sources.listed(only)?;
        if sources.contains(&source) {
            return Err(Error::AddressNotAvailable);
        }
        if sources.len() >= SOURCES_MAX {
            return Err(Error::NoBuffers);
        }
        sources.push(source);
        Ok(())
    }

    /// Whether none is left.
    fn remove_source(&mut self, index: usize, source: IpAddr, only: bool) -> Result<bool> {
        let sources = self.memberships[index].sources.listed(only)?;
        let place = sources.iter().position(|one| *one == source).ok_or(Error::AddressNotAvailable)?;
        sources.swap_remove(place);
        Ok(sources.is_empty())
    }

    fn has_room_for(&self, group: IpAddr) -> Result<()> {
        let count = self.memberships.iter().filter(|one| one.group.is_ipv4() == group.is_ipv4()).count();
        match group {
            IpAddr::V4(_) if count >= MEMBERSHIPS_MAX_V4 => Err(Error::NoBuffers),
            IpAddr::V6(_) if count >= MEMBERSHIPS_MAX_V6 => Err(Error::OutOfMemory),
            _ => Ok(()),
        }
    }
}

impl Engine {
    /// Joins a group on an interface; of `source` only, or once more of another (IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP,
    /// IP_ADD_SOURCE_MEMBERSHIP). No interface is the link. EINVAL, EADDRINUSE, ENOBUFS or ENOMEM.
    pub fn join_group(
        &mut self,
        id: SocketId,
        group: IpAddr,
        source: Option<IpAddr>,
        path: Option<Path>,
    ) -> Result<()> {
        let path = path.unwrap_or(Path::Link);
        let datagrams = self.sockets.datagrams_mut(id).ok_or(Error::NotSupported)?;
        if !group.is_multicast() {
            return Err(Error::InvalidArgument);
        }
        match (datagrams.membership(group, path), source) {
            (Some(index), Some(source)) => return datagrams.add_source(index, source, true),
            (Some(_), None) => return Err(Error::AddressInUse),
            (None, _) => {}
        }
        datagrams.has_room_for(group)?;
        let sources = source.map_or(Sources::AllBut(Vec::new()), |source| Sources::Only(vec![source]));
        datagrams.memberships.push(Membership { group, path, sources });
        *self.groups.entry((group, path)).or_default() += 1;
        Ok(())
    }

    /// Leaves a group, or no longer wants to hear `source` (IP_DROP_MEMBERSHIP, IPV6_LEAVE_GROUP,
    /// IP_DROP_SOURCE_MEMBERSHIP). EADDRNOTAVAIL, EINVAL.
    pub fn leave_group(
        &mut self,
        id: SocketId,
        group: IpAddr,
        source: Option<IpAddr>,
        path: Option<Path>,
    ) -> Result<()> {
        let path = path.unwrap_or(Path::Link);
        let datagrams = self.sockets.datagrams_mut(id).ok_or(Error::NotSupported)?;
        let found = datagrams.membership(group, path);
        let none = if source.is_some() { Error::InvalidArgument } else { Error::AddressNotAvailable };
        let index = found.ok_or(none)?;
        if let Some(source) = source
            && !datagrams.remove_source(index, source, true)?
        {
            return Ok(());
        }
        let membership = datagrams.memberships.remove(index);
        self.forget_membership(&membership);
        Ok(())
    }

    /// Does not want to hear `source` of a group that it has joined, or does again (IP_BLOCK_SOURCE, IP_UNBLOCK_SOURCE).
    /// EINVAL, EADDRNOTAVAIL, ENOBUFS.
    pub fn block_source(
        &mut self,
        id: SocketId,
        group: IpAddr,
        source: IpAddr,
        path: Option<Path>,
        blocked: bool,
    ) -> Result<()> {
        let datagrams = self.sockets.datagrams_mut(id).ok_or(Error::NotSupported)?;
        let index = datagrams.membership(group, path.unwrap_or(Path::Link)).ok_or(Error::InvalidArgument)?;
        match blocked {
            true => datagrams.add_source(index, source, false),
            false => datagrams.remove_source(index, source, false).map(drop),
        }
    }

    /// Leaves all of its groups.
    pub(super) fn leave_groups(&mut self, id: SocketId) {
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        for membership in core::mem::take(&mut datagrams.memberships) {
            self.forget_membership(&membership);
        }
    }

    fn forget_membership(&mut self, membership: &Membership) {
        let key = (membership.group, membership.path);
        if let Some(count) = self.groups.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&key);
            }
        }
    }

    /// Whether packets to `group` on that interface are for us. All hosts is everybody's (RFC 1112 4, RFC 4291 2.7.1).
    pub(super) fn is_joined(&self, group: IpAddr, path: Path) -> bool {
        const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let everybody = group == Ipv4Addr::new(224, 0, 0, 1) || group == ALL_NODES;
        group.is_multicast() && (everybody || self.groups.contains_key(&(group, path)))
    }
}
