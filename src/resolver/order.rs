//! RFC 6724: the order in which a program should try the addresses of a host.
//!
//! The policy table is the one that glibc has built in (RFC 3484's, with its own labels for site-local and unique
//! local addresses), for the order to be what Linux programs know. The source address is chosen among the stack's own
//! by scope, label and prefix; the rules about home, deprecated and tunnelled addresses (3, 4, 7) have nothing to say
//! here. Loopback is always reachable, from itself.
#![forbid(unsafe_code)]

use super::SourceAddress;
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One line of the policy table: prefix, its length, precedence, label.
type Policy = (Ipv6Addr, u32, u8, u8);

/// Longest prefixes first, so that the first match is the best.
const POLICY_TABLE: [Policy; 8] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 10, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 20, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 40, 7),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 40, 5),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 40, 6),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

/// Scopes as RFC 4007 numbers them; 14 is global.
const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

/// Sorts destinations, the best first; those that are equal keep their order (rule 10).
pub(super) fn sort<T>(destinations: &mut [T], address: impl Fn(&T) -> IpAddr, sources: &[SourceAddress]) {
    destinations.sort_by_cached_key(|destination| rank(address(destination), sources));
}

/// The rules, in order: what is smaller is better.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Rule 1: avoid what cannot be reached.
    unreachable: bool,
    /// Rule 2: prefer a source of the same scope.
    other_scope: bool,
    /// Rule 5: prefer a source of the same label.
    other_label: bool,
    /// Rule 6.
    precedence: Reverse<u8>,
    /// Rule 8: prefer the smaller scope.
    scope: u8,
    /// Rule 9. Rule 6 has parted the families.
    common_prefix: Reverse<u32>,
}

fn rank(destination: IpAddr, sources: &[SourceAddress]) -> Rank {
    let source = source_for(destination, sources);
    let address = source.map(|source| source.address);
    Rank {
        unreachable: source.is_none(),
        other_scope: address.map(scope) != Some(scope(destination)),
        other_label: address.map(label) != Some(label(destination)),
        precedence: Reverse(policy(destination).2),
        scope: scope(destination),
        common_prefix: Reverse(source.map_or(0, |source| common_prefix(destination, source))),
    }
}

/// The address that the stack would send from (RFC 6724 5, as far as it has a choice).
fn source_for(destination: IpAddr, sources: &[SourceAddress]) -> Option<SourceAddress> {
    match destination {
        // Reached over IPv4, and compared as IPv6.
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            let source = source_for(destination.to_canonical(), sources)?;
            return Some(SourceAddress { address: as_ipv6(source.address).into(), ..source });
        }
        IpAddr::V4(four) if four.is_loopback() || four.is_unspecified() => {
            return Some(SourceAddress { address: Ipv4Addr::LOCALHOST.into(), prefix_length: 8 });
        }
        IpAddr::V6(six) if six.is_loopback() || six.is_unspecified() => {
            return Some(SourceAddress { address: Ipv6Addr::LOCALHOST.into(), prefix_length: 128 });
        }
        _ => {}
    }
    sources.iter().copied().filter(|source| source.address.is_ipv4() == destination.is_ipv4()).max_by_key(
        |source| {
            (
                scope(source.address) == scope(destination),
                label(source.address) == label(destination),
                common_prefix(destination, *source),
            )
        },
    )
}

/// How many leading bits destination and source share. Between IPv4 addresses that says something only within one
/// network.
fn common_prefix(destination: IpAddr, source: SourceAddress) -> u32 {
    match (destination, source.address) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let bits = (one.to_bits() ^ other.to_bits()).leading_zeros();
            if bits >= u32::from(source.prefix_length) { bits } else { 0 }
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}

fn policy(address: IpAddr) -> Policy {
    let bits = as_ipv6(address).to_bits();
    let matches = |(prefix, length, ..): &Policy| {
        let differing = prefix.to_bits() ^ bits;
        differing.leading_zeros() >= *length
    };
    POLICY_TABLE.into_iter().find(matches).expect("the last prefix, of length 0, matches everything")
}

fn label(address: IpAddr) -> u8 {
    policy(address).3
}

fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(four) if four.is_loopback() || four.is_link_local() => LINK_LOCAL,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(six) => match six.octets() {
            [0xff, flags_and_scope, ..] => flags_and_scope & 0x0f,
            [0xfe, second, ..] if second & 0xc0 == 0x80 => LINK_LOCAL,
            [0xfe, second, ..] if second & 0xc0 == 0xc0 => SITE_LOCAL,
            // RFC 4291 2.5.3 treats loopback as link-local.
            _ if six.is_loopback() => LINK_LOCAL,
            _ => GLOBAL,
        },
    }
}

fn as_ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(destinations: &[&str], sources: &[(&str, u8)]) -> Vec<String> {
        let sources: Vec<_> = sources
            .iter()
            .map(|&(address, prefix_length)| SourceAddress {
                address: address.parse().unwrap(),
                prefix_length,
            })
            .collect();
        let mut destinations: Vec<IpAddr> = destinations.iter().map(|text| text.parse().unwrap()).collect();
        sort(&mut destinations, |address| *address, &sources);
        destinations.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn ipv6_comes_first_only_when_it_can_be_reached_from_a_like_address() {
        let both = ["192.0.2.1", "2001:db8::1"];
        assert_eq!(sorted(&both, &[("10.0.2.15", 24), ("2001:db8:1::15", 64)]), ["2001:db8::1", "192.0.2.1"]);
        // Rule 1.
        assert_eq!(sorted(&both, &[("10.0.2.15", 24)]), ["192.0.2.1", "2001:db8::1"]);
        // Rule 2: slirp's site-local address reaches a global one only by luck.
        assert_eq!(sorted(&both, &[("10.0.2.15", 24), ("fec0::15", 64)]), ["192.0.2.1", "2001:db8::1"]);
        // Rule 5: the same for a unique local address, by its label.
        assert_eq!(sorted(&both, &[("10.0.2.15", 24), ("fd00::15", 64)]), ["192.0.2.1", "2001:db8::1"]);
        assert_eq!(
            sorted(&["10.0.2.2", "fd00::2"], &[("10.0.2.15", 24), ("fd00::15", 64)]),
            ["fd00::2", "10.0.2.2"]
        );
    }

    #[test]
    fn loopback_and_unspecified_as_linux_orders_them() {
        assert_eq!(sorted(&["127.0.0.1", "::1"], &[]), ["::1", "127.0.0.1"]);
        assert_eq!(sorted(&["::", "0.0.0.0"], &[]), ["0.0.0.0", "::"]);
    }

    /// Lists that glibc 2.36 gave in a namespace with these addresses.
    #[test]
    fn mixed_lists_as_linux_orders_them() {
        let sources = [("10.0.2.15", 24), ("2001:db8:ffff::15", 64), ("fd00::15", 64)];
        let shuffled =
            ["fec0:1::1", "::ffff:192.0.2.1", "2001:db8::1", "::ffff:10.0.2.2", "2001:db8:ffff:1::1"];
        assert_eq!(
            sorted(&shuffled, &sources),
            ["2001:db8:ffff:1::1", "2001:db8::1", "::ffff:10.0.2.2", "::ffff:192.0.2.1", "fec0:1::1"]
        );
        let shuffled = ["2001::1", "::ffff:10.9.9.9", "2001:db8:ffff:1::1", "::ffff:127.0.0.1"];
        assert_eq!(
            sorted(&shuffled, &sources),
            ["2001:db8:ffff:1::1", "::ffff:127.0.0.1", "::ffff:10.9.9.9", "2001::1"]
        );
    }

    #[test]
    fn the_longest_common_prefix_counts_for_ipv4_only_within_the_network() {
        let sources = [("10.0.2.15", 24)];
        assert_eq!(
            sorted(&["10.9.0.1", "10.0.2.2", "10.0.2.14"], &sources),
            ["10.0.2.14", "10.0.2.2", "10.9.0.1"]
        );
        assert_eq!(sorted(&["192.0.2.1", "10.9.0.1"], &sources), ["192.0.2.1", "10.9.0.1"]);
    }
}
