//! What an address of the program's network stands for on the machine, and back. No sockets, no packets.
#![forbid(unsafe_code)]

use super::{GATEWAY_V4, GATEWAY_V6, GUEST_V4, GUEST_V6, RESOLVER_V4, RESOLVER_V6};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of DNS.
pub(super) const DNS: u16 = 53;

/// Why a destination is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// The resolver's address has the DNS port only.
    Port,
    /// An address that this network has no way to: multicast, broadcast, loopback, unspecified, a link's own.
    Network,
}

/// The translation. The gateway is the machine's loopback and the resolver its name server; every other address
/// stays as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// Where queries to the resolver's addresses go.
    pub(super) name_server: SocketAddr,
}

impl Addresses {
    /// Where the machine sends what the program sends to `to`.
    pub(super) fn outward(&self, to: SocketAddr) -> Result<SocketAddr, Unreachable> {
        let ip = match to.ip() {
            ip if is_resolver(ip) => {
                return if to.port() == DNS { Ok(self.name_server) } else { Err(Unreachable::Port) };
            }
            IpAddr::V4(GATEWAY_V4) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(GATEWAY_V6) => Ipv6Addr::LOCALHOST.into(),
            ip if !is_passed_on(ip) => return Err(Unreachable::Network),
            ip => ip,
        };
        Ok(SocketAddr::new(ip, to.port()))
    }

    /// Whom the program sees when the machine hears from `from`. `guest` is the program's address. The name
    /// server shows as the resolver to who `asked_resolver`. None for a peer that `guest` cannot see.
    pub(super) fn inward(&self, from: SocketAddr, guest: IpAddr, asked_resolver: bool) -> Option<SocketAddr> {
        if asked_resolver && from.port() == self.name_server.port() && from.ip() == self.name_server.ip() {
            let resolver = if guest.is_ipv4() { RESOLVER_V4.into() } else { RESOLVER_V6.into() };
            return Some(SocketAddr::new(resolver, DNS));
        }
        match (from.ip(), guest) {
            (IpAddr::V4(ip), IpAddr::V4(_)) if ip.is_loopback() => Some((GATEWAY_V4, from.port()).into()),
            (IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V6(_)) => Some((GATEWAY_V6, from.port()).into()),
            (ip @ IpAddr::V4(_), IpAddr::V4(_)) | (ip @ IpAddr::V6(_), IpAddr::V6(_)) => {
                Some((ip, from.port()).into())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }
}

/// Whether `ip` is the program's.
pub(super) fn is_guest(ip: IpAddr) -> bool {
    ip == GUEST_V4 || ip == GUEST_V6
}

/// Whether `ip` is the gateway's.
pub(super) fn is_gateway(ip: IpAddr) -> bool {
    ip == GATEWAY_V4 || ip == GATEWAY_V6
}

/// Whether `ip` is the resolver's.
pub(super) fn is_resolver(ip: IpAddr) -> bool {
    ip == RESOLVER_V4 || ip == RESOLVER_V6
}

/// The gateway and the program, in the family of `peer`: between whom a visitor of a published port is shown.
pub(super) fn gateway_and_guest(peer: IpAddr) -> (IpAddr, IpAddr) {
    match peer.to_canonical() {
        IpAddr::V4(_) => (GATEWAY_V4.into(), GUEST_V4.into()),
        IpAddr::V6(_) => (GATEWAY_V6.into(), GUEST_V6.into()),
    }
}

/// Whether the machine sends what the program sends there.
pub(super) fn is_passed_on(ip: IpAddr) -> bool {
    if is_guest(ip) || ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() {
        return false;
    }
    match ip {
        IpAddr::V4(ip) => !ip.is_broadcast() && ip.octets()[0] != 0,
        // A link-local address means nothing without the link; a mapped one does not belong on the wire.
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && ip.to_ipv4_mapped().is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn addresses() -> Addresses {
        Addresses { name_server: at("192.0.2.53:53") }
    }

    #[test]
    fn the_gateway_is_the_loopback_and_the_rest_is_unchanged() {
        for (to, machine) in [
            ("10.0.2.2:80", "127.0.0.1:80"),
            ("[fd00::2]:80", "[::1]:80"),
            ("10.0.2.3:53", "192.0.2.53:53"),
            ("[fd00::3]:53", "192.0.2.53:53"),
            ("198.51.100.7:443", "198.51.100.7:443"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(addresses().outward(at(to)), Ok(at(machine)), "{to}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for to in [
            "127.0.0.1:80",
            "127.9.9.9:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "255.255.255.255:67",
            "224.0.0.251:5353",
            "10.0.2.15:80",
            "[::1]:80",
            "[::]:80",
            "[ff02::fb]:5353",
            "[fe80::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[fd00::15]:80",
        ] {
            assert_eq!(addresses().outward(at(to)), Err(Unreachable::Network), "{to}");
        }
        assert_eq!(addresses().outward(at("10.0.2.3:80")), Err(Unreachable::Port));
        assert_eq!(addresses().outward(at("[fd00::3]:54")), Err(Unreachable::Port));
    }

    #[test]
    fn replies_come_from_where_the_program_sent() {
        let v4: IpAddr = GUEST_V4.into();
        let v6: IpAddr = GUEST_V6.into();
        for (from, guest, asked, seen) in [
            ("127.0.0.1:80", v4, false, Some("10.0.2.2:80")),
            ("[::1]:80", v6, false, Some("[fd00::2]:80")),
            ("192.0.2.53:53", v4, true, Some("10.0.2.3:53")),
            ("192.0.2.53:53", v6, true, Some("[fd00::3]:53")),
            ("192.0.2.53:53", v4, false, Some("192.0.2.53:53")),
            ("192.0.2.53:53", v6, false, None),
            ("198.51.100.7:443", v4, true, Some("198.51.100.7:443")),
            ("[2001:db8::1]:9", v4, true, None),
        ] {
            assert_eq!(addresses().inward(at(from), guest, asked), seen.map(at), "{from} for {guest}");
        }
    }
}
