//! A host by its name or by its address: the files first, then what RFC 6761 settles, then DNS.
#![forbid(unsafe_code)]

use super::dns::domain_name;
use super::message::{self, Described, DomainName, RecordClass, RecordType};
use super::numeric::{self, Dotted};
use super::settings::Settings;
use super::{Failure, Family, Host, Resolver, files};
use crate::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a name is looked for.
#[derive(Clone, Copy)]
enum Source {
    Files,
    Rfc6761,
    Dns,
}

/// The first that knows the name decides.
const SOURCES: [Source; 3] = [Source::Files, Source::Rfc6761, Source::Dns];

/// What AI_V4MAPPED and AI_ALL ask for, when IPv6 is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// No IPv4 addresses.
    Never,
    /// IPv4 addresses, mapped, when there are no others.
    Otherwise,
    /// IPv4 addresses, mapped, as well.
    Always,
}

impl Resolver<'_> {
    /// gethostbyname2(3). A name that looks like an address is taken for one; nothing is asked for it.
    pub fn host_by_name(&self, name: &str, family: Family) -> Result<Host, Failure> {
        match numeric::dotted(name, family == Family::Inet6) {
            Dotted::Address(address) => {
                Ok(Host { name: name.to_owned(), aliases: Vec::new(), addresses: vec![address] })
            }
            Dotted::Malformed => Err(Failure::HostNotFound),
            Dotted::Name => self.look_up(name, family, Mapped::Never),
        }
    }

    /// gethostbyaddr(3).
    pub fn host_by_address(&self, address: IpAddr) -> Result<Host, Failure> {
        if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            return Err(Failure::HostNotFound);
        }
        let hosts = self.machine.text("/etc/hosts").unwrap_or_default();
        if let Some(host) = files::host_by_address(&hosts, address) {
            return Ok(host);
        }
        // A mapped address has no place of its own in ip6.arpa.
        let address = address.to_canonical();
        let name = DomainName::reverse_from_addr(address).expect("a reverse name has at most 73 octets");
        let reply = self.send(self.query(&name, RecordClass::IN, RecordType::PTR))?;
        message::verdict(&reply)?;
        let mut names = message::pointers(&reply).into_iter();
        let name = names.next().ok_or(Failure::Unrelated)?;
        Ok(Host { name, aliases: names.collect(), addresses: vec![address] })
    }

    /// The host of a name that is not numeric.
    pub(super) fn look_up(&self, name: &str, family: Family, mapped: Mapped) -> Result<Host, Failure> {
        let mut outcome = Err(Failure::HostNotFound);
        for source in SOURCES {
            let found = |family| match source {
                Source::Files => self.host_in_files(name, family),
                Source::Rfc6761 => host_of_rfc_6761(name, family),
                Source::Dns => self.host_in_dns(name, family),
            };
            outcome = found(family);
            let is_enough = outcome.is_ok() && mapped != Mapped::Always;
            if family == Family::Inet6 && mapped != Mapped::Never && !is_enough {
                outcome = add_mapped(outcome, found(Family::Inet));
            }
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    fn host_in_files(&self, name: &str, family: Family) -> Result<Host, Failure> {
        let hosts = self.machine.text("/etc/hosts").unwrap_or_default();
        files::host_by_name(&hosts, name, family).ok_or(Failure::HostNotFound)
    }

    fn host_in_dns(&self, name: &str, family: Family) -> Result<Host, Failure> {
        if name.is_empty() {
            return Err(Failure::NoRecovery);
        }
        if !message::is_host_name(name) || domain_name(name).is_err() {
            return Err(Failure::HostNotFound);
        }
        let settings = Settings::read(self.machine);
        let kinds: &[RecordType] = match family {
            Family::Inet => &[RecordType::A],
            Family::Inet6 => &[RecordType::AAAA],
            Family::Unspecified => &[RecordType::A, RecordType::AAAA],
        };
        self.search(&settings, name, &mut |name| {
            let queries: Vec<_> = kinds.iter().map(|kind| self.query(name, RecordClass::IN, *kind)).collect();
            let answers = self.exchange(&settings, &queries).into_iter().map(|reply| described(&reply?));
            merge(answers.collect())
        })
    }
}

fn described(reply: &[u8]) -> Result<Described, Failure> {
    message::verdict(reply)?;
    message::addresses(reply).ok_or(Failure::Unrelated)
}

/// RFC 6761 6.3: localhost and what lies under it is this machine, and is never asked for.
fn host_of_rfc_6761(name: &str, family: Family) -> Result<Host, Failure> {
    if !is_localhost(name) {
        return Err(Failure::HostNotFound);
    }
    let (four, six) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let addresses = match family {
        Family::Inet => vec![four],
        Family::Inet6 => vec![six],
        Family::Unspecified => vec![six, four],
    };
    Ok(Host { name: name.trim_end_matches('.').to_owned(), aliases: Vec::new(), addresses })
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last_label = name.rsplit('.').next().unwrap_or_default();
    last_label.eq_ignore_ascii_case("localhost")
}

/// One host from the answers for A and for AAAA: what one has is enough.
fn merge(answers: Vec<Result<Described, Failure>>) -> Result<Host, Failure> {
    let mut host: Option<Host> = None;
    let mut failures = Vec::new();
    for answer in answers {
        match (answer, &mut host) {
            (Ok(Described { addresses, .. }), Some(host)) => host.addresses.extend(addresses),
            (Ok(Described { name, aliases, addresses }), None) => {
                host = Some(Host { name, aliases, addresses })
            }
            (Err(failure), _) => failures.push(failure),
        }
    }
    host.ok_or_else(|| failures.into_iter().max_by_key(|failure| weight(*failure)).unwrap_or(Failure::NoData))
}

/// Which of two failures counts. One that may pass outweighs one that says no, but not when the server that gave it
/// (SERVFAIL) gave a proper answer to the other question: so glibc.
fn weight(failure: Failure) -> u8 {
    match failure {
        Failure::ServerFailed => 0,
        Failure::NoRecovery => 1,
        Failure::NoData => 2,
        Failure::Unrelated => 3,
        Failure::HostNotFound => 4,
        Failure::TimedOut => 5,
        Failure::System(_) => 6,
    }
}

/// The IPv6 host with the IPv4 addresses of `four` behind its own, mapped.
fn add_mapped(six: Result<Host, Failure>, four: Result<Host, Failure>) -> Result<Host, Failure> {
    let as_mapped = |mut host: Host| {
        for address in &mut host.addresses {
            if let IpAddr::V4(four) = *address {
                *address = four.to_ipv6_mapped().into();
            }
        }
        host
    };
    match (six, four.map(as_mapped)) {
        (Ok(mut six), Ok(four)) => {
            six.addresses.extend(four.addresses);
            Ok(six)
        }
        (Ok(host), Err(_)) | (Err(_), Ok(host)) => Ok(host),
        (Err(one), Err(other)) => Err(if weight(one) > weight(other) { one } else { other }),
    }
}

impl Failure {
    /// What errno says beside h_errno, where it says something.
    pub fn error(self) -> Option<Error> {
        match self {
            Failure::System(error) => Some(error),
            Failure::ServerFailed | Failure::TimedOut => Some(Error::TimedOut),
            Failure::HostNotFound | Failure::NoData | Failure::NoRecovery | Failure::Unrelated => None,
        }
    }
}
