//! Whose an address is: the peers' AllowedIPs, of which the longest prefix counts.
#![forbid(unsafe_code)]

use super::configuration::masked;
use crate::addressing::Cidr;
use std::collections::HashMap;
use std::net::IpAddr;

/// AllowedIPs of all peers, which are known by their place.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    peers: HashMap<(IpAddr, u8), usize>,
    /// Lengths of prefixes that occur, the longest first: IPv4's and IPv6's.
    lengths: [Vec<u8>; 2],
}

impl Allowed {
    /// Gives a network to a peer. The last one keeps it, as with wg(8).
    pub(super) fn insert(&mut self, network: Cidr, peer: usize) {
        let Cidr { address, bits: length } = network;
        self.peers.insert((masked(address, length), length), peer);
        let lengths = &mut self.lengths[usize::from(address.is_ipv6())];
        if let Err(place) = lengths.binary_search_by(|other| length.cmp(other)) {
            lengths.insert(place, length);
        }
    }

    /// The peer that an address belongs to.
    pub(super) fn peer_of(&self, address: IpAddr) -> Option<usize> {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        lengths.iter().find_map(|&length| self.peers.get(&(masked(address, length), length)).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_counts() {
        let mut allowed = Allowed::default();
        for (network, length, peer) in [
            ("0.0.0.0", 0, 0),
            ("10.0.0.0", 8, 1),
            ("10.1.2.3", 32, 2),
            ("10.1.0.0", 16, 3),
            ("10.1.0.7", 16, 4), // the same network
            ("fd00::", 8, 5),
            ("fd00:1::", 32, 6),
        ] {
            allowed.insert(Cidr::new(network.parse().expect("an address"), length), peer);
        }
        for (address, peer) in [
            ("192.0.2.1", Some(0)),
            ("10.2.0.1", Some(1)),
            ("10.1.2.3", Some(2)),
            ("10.1.2.4", Some(4)),
            ("fd00:2::1", Some(5)),
            ("fd00:1::1", Some(6)),
            ("2001:db8::1", None),
            ("::ffff:10.1.2.3", None),
        ] {
            assert_eq!(allowed.peer_of(address.parse().expect("an address")), peer, "{address}");
        }
        assert_eq!(Allowed::default().peer_of(IpAddr::from([0; 4])), None);
    }
}
