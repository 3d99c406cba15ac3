//! `struct sockaddr` as bytes: sockaddr_in and sockaddr_in6, with Linux's checks of length and family.
#![forbid(unsafe_code)]

use crate::engine::Domain;
use crate::error::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// sizeof(struct sockaddr_in)
const V4_LENGTH: usize = 16;
/// sizeof(struct sockaddr_in6)
const V6_LENGTH: usize = 28;
/// Without sin6_scope_id, as RFC 2133 had it: Linux takes it.
const V6_SHORT: usize = 24;

/// What a program gave as an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// AF_UNSPEC
    Unspecified,
    /// An address, in the form of the socket's domain.
    Address(SocketAddr),
}

/// Reads an address for bind(2), which is stricter: only the very family will do, but that an IPv4 socket takes AF_UNSPEC with
/// the wildcard (inet_bind), and an address of a link must say which (inet6_bind).
pub fn parse_to_bind(bytes: &[u8], domain: Domain) -> Result<SocketAddr> {
    let shortest = match domain {
        Domain::V4 => V4_LENGTH,
        Domain::V6 => V6_SHORT,
    };
    let family =
        bytes.first_chunk::<2>().filter(|_| bytes.len() >= shortest).ok_or(Error::InvalidArgument)?;
    match (i32::from(u16::from_ne_bytes(*family)), domain) {
        (libc::AF_UNSPEC, Domain::V4) if bytes[4..8] == [0; 4] => {
            return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port(bytes))));
        }
        (libc::AF_INET, Domain::V4) | (libc::AF_INET6, Domain::V6) => {}
        _ => return Err(Error::AddressFamilyNotSupported),
    }
    match parse(bytes, domain)? {
        Given::Address(SocketAddr::V6(v6)) if is_of_a_link(v6.ip()) && v6.scope_id() == 0 => {
            Err(Error::InvalidArgument)
        }
        Given::Address(address) => Ok(address),
        Given::Unspecified => Err(Error::AddressFamilyNotSupported),
    }
}

/// fe80::/10, and groups of a link's scope.
fn is_of_a_link(address: &Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_multicast() && address.segments()[0] & 0xf == 2
}

/// Reads an address for a socket of `domain`. EINVAL for too short a one, EAFNOSUPPORT for another family.
pub fn parse(bytes: &[u8], domain: Domain) -> Result<Given> {
    let family = bytes.first_chunk::<2>().ok_or(Error::InvalidArgument)?;
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_UNSPEC => Ok(Given::Unspecified),
        libc::AF_INET => {
            let bytes = bytes.first_chunk::<V4_LENGTH>().ok_or(Error::InvalidArgument)?;
            let v4 = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
            let ip = match domain {
                Domain::V4 => IpAddr::V4(v4),
                Domain::V6 => IpAddr::V6(v4.to_ipv6_mapped()),
            };
            Ok(Given::Address(SocketAddr::new(ip, port(bytes))))
        }
        libc::AF_INET6 if domain == Domain::V6 => {
            let short = bytes.first_chunk::<V6_SHORT>().ok_or(Error::InvalidArgument)?;
            let octets: [u8; 16] = short[8..24].try_into().expect("sixteen bytes");
            let scope = bytes
                .get(24..28)
                .map_or(0, |scope| u32::from_ne_bytes(scope.try_into().expect("four bytes")));
            Ok(Given::Address(SocketAddrV6::new(Ipv6Addr::from(octets), port(short), 0, scope).into()))
        }
        _ => Err(Error::AddressFamilyNotSupported),
    }
}

fn port(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[2], bytes[3]])
}

/// An address as a program receives it: the bytes, and how many of them count.
pub fn format(address: SocketAddr) -> ([u8; V6_LENGTH], usize) {
    let mut bytes = [0; V6_LENGTH];
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v4.ip().octets());
            (bytes, V4_LENGTH)
        }
        SocketAddr::V6(v6) => {
            bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
            bytes[8..24].copy_from_slice(&v6.ip().octets());
            bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            (bytes, V6_LENGTH)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for (text, domain) in
            [("10.0.2.2:80", Domain::V4), ("[fd00::2]:443", Domain::V6), ("[::ffff:10.0.2.2]:1", Domain::V6)]
        {
            let address: SocketAddr = text.parse().expect("valid");
            let (bytes, length) = format(address);
            assert_eq!(parse(&bytes[..length], domain), Ok(Given::Address(address)), "{text}");
        }
    }

    #[test]
    fn linux_checks_length_and_family() {
        let (v4, length) = format("10.0.2.2:80".parse().expect("valid"));
        assert_eq!(parse(&v4[..length - 1], Domain::V4), Err(Error::InvalidArgument));
        assert_eq!(parse(&v4[..1], Domain::V4), Err(Error::InvalidArgument));
        let mapped = Given::Address("[::ffff:10.0.2.2]:80".parse().expect("valid"));
        assert_eq!(parse(&v4[..length], Domain::V6), Ok(mapped));
        let (v6, length) = format("[fd00::2]:80".parse().expect("valid"));
        assert_eq!(parse(&v6[..length], Domain::V4), Err(Error::AddressFamilyNotSupported));
        assert!(matches!(parse(&v6[..V6_SHORT], Domain::V6), Ok(Given::Address(_))));
        assert_eq!(parse_to_bind(&v4[..V4_LENGTH], Domain::V6), Err(Error::InvalidArgument));
        assert_eq!(parse_to_bind(&v6, Domain::V4), Err(Error::AddressFamilyNotSupported));
        let (link, length) = format("[ff02::1]:80".parse().expect("valid"));
        assert_eq!(parse_to_bind(&link[..length], Domain::V6), Err(Error::InvalidArgument));
    }
}
