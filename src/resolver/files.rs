//! /etc/hosts (hosts(5)) and /etc/services (services(5)), searched line by line at each call as libc does: a change is
//! seen at once, and nothing is kept that threads would have to share.
#![forbid(unsafe_code)]

use super::{Family, Host};
use std::net::{IpAddr, Ipv4Addr};

/// The fields of each line, without comments.
fn records(text: &str) -> impl Iterator<Item = std::str::SplitAsciiWhitespace<'_>> {
    text.lines().map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace())
}

/// The address of a line of /etc/hosts as `family` sees it. To IPv4, `::1` stands for 127.0.0.1 and a mapped address
/// for itself, as in glibc.
fn seen_as(address: IpAddr, family: Family) -> Option<IpAddr> {
    match (address, family) {
        (_, Family::Unspecified) | (IpAddr::V4(_), Family::Inet) | (IpAddr::V6(_), Family::Inet6) => {
            Some(address)
        }
        (IpAddr::V6(six), Family::Inet) if six.is_loopback() => Some(Ipv4Addr::LOCALHOST.into()),
        (IpAddr::V6(six), Family::Inet) => six.to_ipv4_mapped().map(IpAddr::V4),
        (IpAddr::V4(_), Family::Inet6) => None,
    }
}

/// All lines of /etc/hosts that have `name`, as one host. The first names it.
pub(super) fn host_by_name(hosts: &str, name: &str, family: Family) -> Option<Host> {
    let mut found: Option<Host> = None;
    for mut fields in records(hosts) {
        let Some(address) = fields.next().and_then(|field| field.parse().ok()) else { continue };
        let Some(address) = seen_as(address, family) else { continue };
        if !fields.clone().any(|field| field.eq_ignore_ascii_case(name)) {
            continue;
        }
        let mut names = fields.map(str::to_owned);
        match &mut found {
            None => {
                let name = names.next().expect("a line that has the name has one");
                found = Some(Host { name, aliases: names.collect(), addresses: vec![address] });
            }
            Some(host) => {
                host.aliases.extend(names);
                host.addresses.push(address);
            }
        }
    }
    found
}

/// The first line of /etc/hosts of this address.
pub(super) fn host_by_address(hosts: &str, address: IpAddr) -> Option<Host> {
    records(hosts).find_map(|mut fields| {
        let written: IpAddr = fields.next()?.parse().ok()?;
        let family = if address.is_ipv4() { Family::Inet } else { Family::Inet6 };
        if seen_as(written, family) != Some(address) {
            return None;
        }
        let name = fields.next()?.to_owned();
        Some(Host { name, aliases: fields.map(str::to_owned).collect(), addresses: vec![address] })
    })
}

/// A line of /etc/services.
struct Service<'a> {
    name: &'a str,
    port: u16,
    protocol: &'a str,
    aliases: std::str::SplitAsciiWhitespace<'a>,
}

fn services(text: &str) -> impl Iterator<Item = Service<'_>> {
    records(text).filter_map(|mut fields| {
        let name = fields.next()?;
        let (port, protocol) = fields.next()?.split_once('/')?;
        Some(Service { name, port: port.parse().ok()?, protocol, aliases: fields })
    })
}

/// The port of a service over a protocol, getservbyname(3).
pub(super) fn service_by_name(text: &str, name: &str, protocol: &str) -> Option<u16> {
    services(text)
        .find(|service| {
            service.protocol == protocol
                && (service.name == name || service.aliases.clone().any(|alias| alias == name))
        })
        .map(|service| service.port)
}

/// The name of the service at a port, getservbyport(3).
pub(super) fn service_by_port(text: &str, port: u16, protocol: &str) -> Option<String> {
    services(text)
        .find(|service| service.port == port && service.protocol == protocol)
        .map(|service| service.name.to_owned())
}
