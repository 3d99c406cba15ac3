//! Which name server the machine uses. It forwards nothing itself: a query is a datagram or a stream like any
//! other, with a destination that `addresses` replaces.
#![forbid(unsafe_code)]

use super::addresses::DNS;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The first name server of a resolv.conf(5), or the machine itself when it names none, as resolv.conf(5) says.
/// A link-local address with a scope is passed over: it takes the link's number to use it.
pub(super) fn name_server(configuration: &[u8]) -> SocketAddr {
    let ip = configuration.split(|&byte| byte == b'\n').find_map(|line| {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    SocketAddr::new(ip.unwrap_or(Ipv4Addr::LOCALHOST.into()), DNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_usable_name_server_counts() {
        for (text, expected) in [
            ("nameserver 192.0.2.1\nnameserver 192.0.2.2\n", "192.0.2.1:53"),
            ("# nameserver 192.0.2.9\nsearch a b\n  nameserver\t192.0.2.1 # it\n", "192.0.2.1:53"),
            ("nameserver 2001:db8::53", "[2001:db8::53]:53"),
            ("nameserver fe80::1%eth0\nnameserver 192.0.2.2", "192.0.2.2:53"),
            ("nameserver\nnameservers 192.0.2.3\nnameserver nonsense\n", "127.0.0.1:53"),
            ("", "127.0.0.1:53"),
        ] {
            assert_eq!(name_server(text.as_bytes()), expected.parse().unwrap(), "{text:?}");
        }
        assert_eq!(name_server(b"\xff\xfe\nnameserver 192.0.2.1"), "192.0.2.1:53".parse().unwrap());
    }
}
