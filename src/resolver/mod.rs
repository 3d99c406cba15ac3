//! Names and addresses: the rules of getaddrinfo(3) and its family, and DNS (RFC 1034, 1035) over the stack's own
//! UDP and TCP. Safe values only; pointers, malloc and h_errno are the business of `abi::names`.
//!
//! ```text
//!   addrinfo  nameinfo           the rules of getaddrinfo and getnameinfo
//!      │  └─ order               RFC 6724: which address first
//!   hosts                        a host by name or by address: files, then localhost, then DNS
//!      ├─ files                  /etc/hosts, /etc/services
//!      └─ dns ── message         search list, servers, attempts, TCP after truncation; the messages
//!           └─ settings          /etc/resolv.conf
//!   numeric                      what inet_aton(3) and inet_pton(3) accept, scopes, port numbers
//! ```
//!
//! Where glibc defines the answer, ours is the same: the tests hold lists that glibc 2.36 gave, or ask it.
//! What it does that we do not, on purpose:
//! - The order of sources is "files dns", whatever /etc/nsswitch.conf says; other modules and nscd are not asked.
//! - `localhost` and `*.localhost` never leave the machine (RFC 6761 6.3); glibc's nss_dns would ask the server.
//! - The name servers are those of the link, not those of /etc/resolv.conf, which are the kernel's to reach.
//! - /etc/gai.conf is not read: the order of addresses is RFC 6724 with the policy table that glibc has built in.
//! - No IDN: AI_IDN with a name that is not ASCII is EAI_IDN_ENCODE, as in a glibc without libidn2.
//! - No EDNS0, no `HOSTALIASES`, no `sortlist`, no `multi off` of /etc/host.conf.
#![forbid(unsafe_code)]

mod addrinfo;
mod dns;
mod files;
mod hosts;
mod message;
mod nameinfo;
mod numeric;
mod order;
mod settings;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use addrinfo::{AddressList, Entry, Hints};
pub use dns::domain_name;
pub use message::{DomainName, NameOctets, RecordClass, RecordType, verdict};
pub use nameinfo::NameAndService;

use crate::error::{Error, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The stack, as far as the resolver needs it. The first four are known from the settings and start nothing; the
/// first exchange starts the host.
pub trait Network: Sync {
    /// The stack's own addresses, without loopback: what AI_ADDRCONFIG and the order of addresses go by.
    fn addresses(&self) -> Vec<SourceAddress>;

    /// The name servers, in the order in which to ask them.
    fn name_servers(&self) -> Vec<SocketAddr>;

    /// The number of the interface of this name, for `fe80::1%eth0`.
    fn interface_index(&self, name: &str) -> Option<u32>;

    /// The name of the interface of this number.
    fn interface_name(&self, index: u32) -> Option<String>;

    /// Sends each of `queries` as one datagram from one fresh UDP socket, connected to `server` and of random port
    /// (RFC 5452), and hands every datagram that comes back to `accept`, until that says true: enough. What a
    /// stranger sends is not handed over. TimedOut when `timeout` passes first; what was accepted until then counts.
    fn exchange_datagrams(
        &self,
        server: SocketAddr,
        queries: &[&[u8]],
        timeout: Duration,
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<()>;

    /// Connects to `server` by TCP, sends `request`, and reads until `complete` is true of all that was received;
    /// returns that. ConnectionReset when the peer ends earlier, TimedOut when all of it together takes longer than
    /// `timeout`.
    fn exchange_stream(
        &self,
        server: SocketAddr,
        request: &[u8],
        timeout: Duration,
        complete: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>>;
}

/// What the resolver takes from the machine.
pub trait Machine {
    /// The text of the file at `path`, None when it cannot be read.
    fn text(&self, path: &str) -> Option<String>;

    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;

    /// A number that nobody can guess, for the id of a query.
    fn random(&self) -> u16;
}

/// The machine that the process runs on.
#[derive(Clone, Copy, Debug)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn text(&self, path: &str) -> Option<String> {
        // Comments in old encodings must not hide the names beside them.
        std::fs::read(path).ok().map(|octets| String::from_utf8_lossy(&octets).into_owned())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn random(&self) -> u16 {
        u16::from_ne_bytes(crate::sys::entropy())
    }
}

/// An address of the stack, with the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network's prefix.
    pub prefix_length: u8,
}

/// Which addresses of a host are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// Both.
    Unspecified,
}

/// A host: its official name, the others, and its addresses (one at least).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The official name.
    pub name: String,
    /// The other names, in the order in which they were met.
    pub aliases: Vec<String>,
    /// The addresses, in the order of the source.
    pub addresses: Vec<IpAddr>,
}

/// Why a host or a record was not found, in the words of h_errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// HOST_NOT_FOUND: there is no such name.
    HostNotFound,
    /// NO_DATA: the name exists without such a record.
    NoData,
    /// NO_RECOVERY: the server or the name is beyond repair.
    NoRecovery,
    /// NO_RECOVERY to gethostbyname(3): the answer has records, but none that leads from the name to an address.
    Unrelated,
    /// TRY_AGAIN: every server failed (SERVFAIL); another name may fare better.
    ServerFailed,
    /// TRY_AGAIN: no server answered, or none would.
    TimedOut,
    /// NETDB_INTERNAL, with its errno.
    System(Error),
}

/// Why getaddrinfo(3) or getnameinfo(3) has no result, in the words of netdb.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// EAI_ADDRFAMILY: the numeric address is of another family.
    AddressFamily,
    /// EAI_AGAIN
    Again,
    /// EAI_BADFLAGS
    BadFlags,
    /// EAI_FAMILY
    Family,
    /// EAI_IDN_ENCODE
    IdnEncode,
    /// EAI_NODATA
    NoData,
    /// EAI_NONAME
    NoName,
    /// EAI_SERVICE
    Service,
    /// EAI_SOCKTYPE
    SocketType,
    /// EAI_SYSTEM, with its errno.
    System(Error),
}

/// The resolver: a value without state, made for each call, so that any number of threads may use it at once.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    /// Files, environment, randomness.
    pub machine: &'a dyn Machine,
    /// The way to the name servers.
    pub network: &'a dyn Network,
}
