//! What routers said of the paths to destinations that take only small packets (RFC 1191, RFC 8201): where new connections
//! start. What is believed is checked before it gets here: the connection whose segment the router quotes had sent it
//! (RFC 5927 7). There is no entry for a path that takes what the link takes.
#![forbid(unsafe_code)]

use super::tuples::Keyed;
use crate::ip;
use crate::time::Instant;
use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Linux's mtu_expires, RFC 1191 6.3: the path may have become better.
const EXPIRY: Duration = Duration::from_secs(600);

/// Destinations remembered; the oldest goes early. A process that talks to more narrow destinations at once learns again.
const ENTRIES_MAX: usize = 1024;

/// What a path to `destination` carries when a router says `claimed`. None: no path of IPv6 can be so narrow, and the
/// message must be dropped (RFC 8201 4).
pub(super) fn believed(destination: IpAddr, claimed: u32) -> Option<usize> {
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
    let least = ip::least_path_mtu(&destination);
    match destination {
        IpAddr::V4(_) => Some(claimed.max(least)),
        IpAddr::V6(_) => (claimed >= least).then_some(claimed),
    }
}

/// A path, and when it was said to be so narrow.
#[derive(Clone, Copy)]
struct Path {
    mtu: usize,
    since: Instant,
}

pub(super) struct PathMtus {
    paths: HashMap<IpAddr, Path, Keyed>,
    /// In the order in which they came; the mention of one that was renewed since is void.
    order: VecDeque<(Instant, IpAddr)>,
}

impl PathMtus {
    pub(super) fn new(keyed: &Keyed) -> PathMtus {
        PathMtus { paths: HashMap::with_hasher(keyed.clone()), order: VecDeque::new() }
    }

    /// What the path to `destination` carries, if that is known to be less than the link does.
    pub(super) fn of(&self, destination: IpAddr, now: Instant) -> Option<usize> {
        let path = self.paths.get(&destination)?;
        (now - path.since < EXPIRY).then_some(path.mtu)
    }

    /// Remembers that the path to `destination` carries `mtu`. It never grows before it is forgotten (RFC 1191 3).
    pub(super) fn lower(&mut self, destination: IpAddr, mtu: usize, now: Instant) {
        let mtu = self.of(destination, now).map_or(mtu, |known| known.min(mtu));
        self.paths.insert(destination, Path { mtu, since: now });
        self.order.push_back((now, destination));
        self.forget(now);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, destination)) = self.order.front().copied() {
            let current = self.paths.get(&destination).is_some_and(|path| path.since == since);
            if current && now - since < EXPIRY && self.paths.len() <= ENTRIES_MAX {
                // A destination complained about over and over is mentioned that often.
                if self.order.len() <= 4 * ENTRIES_MAX {
                    return;
                }
                self.order.retain(|(since, destination)| {
                    self.paths.get(destination).is_some_and(|path| path.since == *since)
                });
                return;
            }
            self.order.pop_front();
            if current {
                self.paths.remove(&destination);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_micros(1_000_000);

    fn address(number: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number).into())
    }

    fn table() -> PathMtus {
        PathMtus::new(&Keyed::new([1, 2]))
    }

    #[test]
    fn a_path_is_remembered_for_ten_minutes_and_never_grows_meanwhile() {
        let mut table = table();
        table.lower(address(1), 1400, NOW);
        table.lower(address(1), 1450, NOW + Duration::from_secs(1));
        let end = NOW + Duration::from_secs(601);
        assert_eq!(table.of(address(1), end + Duration::from_secs(0)), None);
        assert_eq!(table.of(address(1), NOW + Duration::from_secs(600)), Some(1400));
        assert_eq!(table.of(address(2), NOW), None);
        table.lower(address(1), 1450, end);
        assert_eq!(table.of(address(1), end), Some(1450));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut table = table();
        for number in 0..5000 {
            table.lower(address(number), 1400, NOW);
        }
        assert_eq!(table.paths.len(), ENTRIES_MAX);
        assert_eq!((table.of(address(0), NOW), table.of(address(4999), NOW)), (None, Some(1400)));
        for turn in 0..100_000 {
            table.lower(address(4999), 1400, NOW + Duration::from_micros(turn));
        }
        assert!(table.order.len() <= 4 * ENTRIES_MAX + 1, "{}", table.order.len());
    }

    #[test]
    fn absurd_claims_are_not_believed() {
        let (v4, v6) = (address(1), "fd00::1".parse().expect("an address"));
        assert_eq!(
            (believed(v4, 0), believed(v4, 68), believed(v4, 1400)),
            (Some(552), Some(552), Some(1400))
        );
        assert_eq!((believed(v6, 1279), believed(v6, 1280)), (None, Some(1280)));
    }
}
