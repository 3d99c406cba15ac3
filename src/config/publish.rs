//! Published ports: `[ADDRESS:]HOSTPORT:PORT[/udp]`; and addresses and ports as they are written where a port follows.
#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// One port of the machine that leads to a port of the program: `[ADDRESS:]HOSTPORT:PORT[/udp]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where the machine listens; port 0 lets the kernel choose. Without an address, 0.0.0.0.
    pub listen: SocketAddr,
    /// The program's port.
    pub port: u16,
    /// UDP instead of TCP.
    pub datagram: bool,
}

/// Fails where two would listen at the same port.
pub(super) fn each_once(publish: &[Publish]) -> Result<(), String> {
    let place = |publish: &Publish| (publish.listen, publish.datagram);
    let again = publish.iter().enumerate().find(|(index, one)| {
        one.listen.port() != 0 && publish[..*index].iter().any(|other| place(other) == place(one))
    });
    again.map_or(Ok(()), |(_, one)| {
        let (listen, protocol) = (one.listen, if one.datagram { "/udp" } else { "" });
        Err(format!(
            "{listen}{protocol} is there twice, and can lead to one port only; leave one of them out"
        ))
    })
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, datagram) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), false),
            Some((ports, "udp")) => (ports, true),
            Some((_, protocol)) => {
                return Err(format!("'{protocol}' is no protocol; write /udp, or nothing for TCP"));
            }
        };
        let (host, port) = ports
            .rsplit_once(':')
            .ok_or("two ports are needed, the machine's and the program's; write for example 8080:80")?;
        let (address, host_port) = match host.rsplit_once(':') {
            Some((address, host_port)) => (ip_address(address)?, host_port),
            None => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), host),
        };
        let port = port_number(port)?;
        if port == 0 {
            return Err("0 is no port of a program; write the port that the program listens on".into());
        }
        Ok(Publish { listen: SocketAddr::new(address, port_number(host_port)?), port, datagram })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.listen, self.port, if self.datagram { "/udp" } else { "" })
    }
}

pub(super) fn ip_address(text: &str) -> Result<IpAddr, String> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    };
    address.ok_or_else(|| {
        format!("'{text}' is no address; write IPv4 as 127.0.0.1 and IPv6 in brackets, as [::1]")
    })
}

pub(super) fn port_number(text: &str) -> Result<u16, String> {
    // `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("'{text}' is no port; write a number from 0 to 65535"))
}
