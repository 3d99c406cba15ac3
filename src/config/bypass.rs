//! Destinations that go to the kernel: `CIDR[:PORT]`, IPv6 in brackets.
#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, SocketAddr};

/// A network of destinations, or one port of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// An address of the network.
    pub address: IpAddr,
    /// How many of its leading bits count.
    pub bits: u32,
    /// Only this port; else all.
    pub port: Option<u16>,
}

impl Bypass {
    /// Whether it has a destination, which may be an IPv4 one in the form of IPv6.
    pub fn contains(&self, to: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == to.port())
            && match (self.address, to.ip().to_canonical()) {
                (IpAddr::V4(network), IpAddr::V4(to)) => {
                    let different = u32::from(network) ^ u32::from(to);
                    different.leading_zeros() >= self.bits
                }
                (IpAddr::V6(network), IpAddr::V6(to)) => {
                    let different = u128::from(network) ^ u128::from(to);
                    different.leading_zeros() >= self.bits
                }
                (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
            }
    }
}

impl FromStr for Bypass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('[') && text.bytes().filter(|byte| *byte == b':').count() > 1 {
            return Err(
                "IPv6 stands in brackets, as [::1], [fd00::]/8 or [::1]:80; and there is one port at most"
                    .into(),
            );
        }
        // The colons of an address in brackets are not the port's.
        let address_end = text.find(']').unwrap_or(0);
        let (network, port) = match text[address_end..].split_once(':') {
            Some((rest, port)) => (&text[..address_end + rest.len()], Some(port)),
            None => (text, None),
        };
        let (address, bits) = match network.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (network, None),
        };
        let address = super::ip_address(address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => {
                let number = bits.parse().ok().filter(|number| *number <= most && !bits.starts_with('+'));
                number.ok_or_else(|| {
                    format!("'{bits}' is no length of a network; write a number from 0 to {most}")
                })?
            }
        };
        let port = port.map(super::port_number).transpose()?;
        if port == Some(0) {
            return Err("nothing is at port 0; leave ':0' out to mean every port".into());
        }
        Ok(Bypass { address, bits, port })
    }
}

impl fmt::Display for Bypass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}/{}", self.bits)?,
            IpAddr::V6(address) => write!(f, "[{address}]/{}", self.bits)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(rule: &str, to: &str) -> bool {
        let rule: Bypass = rule.parse().expect("a good rule");
        rule.contains(to.parse().expect("an address in a test"))
    }

    #[test]
    fn what_a_rule_has() {
        assert!(contains("127.0.0.0/8", "127.255.0.1:80"));
        assert!(!contains("127.0.0.0/8", "128.0.0.1:80"));
        assert!(contains("127.0.0.0/8", "[::ffff:127.0.0.1]:80"));
        assert!(contains("192.0.2.7", "192.0.2.7:1") && !contains("192.0.2.7", "192.0.2.6:1"));
        assert!(contains("0.0.0.0/0:53", "192.0.2.1:53") && !contains("0.0.0.0/0:53", "192.0.2.1:54"));
        assert!(!contains("0.0.0.0/0", "[2001:db8::1]:53") && !contains("[::]/0", "192.0.2.1:53"));
        assert!(contains("[2001:db8::]/32:443", "[2001:db8:1::1]:443"));
        assert!(!contains("[2001:db8::]/32:443", "[2001:db9::1]:443"));
        assert!(contains("[::1]", "[::1]:9"));
    }

    #[test]
    fn rules_are_shown_as_they_are_written() {
        for rule in ["127.0.0.0/8", "10.0.0.1/32:80", "[::1]/128", "[fd00::]/8:443"] {
            assert_eq!(rule.parse::<Bypass>().expect("a good rule").to_string(), rule);
        }
    }

    #[test]
    fn what_is_no_rule() {
        let table = [
            ("", "'' is no address"),
            ("localhost", "'localhost' is no address"),
            ("::1", "IPv6 stands in brackets, as [::1]"),
            ("fd00::/8", "IPv6 stands in brackets"),
            ("[::1", "'[' is no address"),
            ("10.0.0.0/33", "'33' is no length of a network; write a number from 0 to 32"),
            ("[::]/129", "'129' is no length"),
            ("10.0.0.0/+8", "'+8' is no length"),
            ("10.0.0.0/8:", "'' is no port"),
            ("10.0.0.0/8:0", "nothing is at port 0; leave ':0' out"),
            ("10.0.0.0/8:http", "'http' is no port"),
            (
                "10.0.0.0/8:1:2",
                "IPv6 stands in brackets, as [::1], [fd00::]/8 or [::1]:80; and there is one port at most",
            ),
            ("[::1]:1:2", "'1:2' is no port"),
        ];
        for (text, expected) in table {
            let error = text.parse::<Bypass>().expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
