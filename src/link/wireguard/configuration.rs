//! A configuration file as wg-quick(8) and wg(8) read it: their grammar, their keys, without regard to case. What
//! wg-quick does beyond the tunnel (commands, routing tables) is not done, and the names of such keys are kept, to be
//! told once. Anything else is an error with the line's number. No error quotes what may be a key.
#![forbid(unsafe_code)]

use super::key::Key;
use crate::addressing::{Addressing, Cidr, Route};
use core::num::NonZeroU16;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Keys of wg-quick(8) that mean nothing here.
const IGNORED: [&str; 7] = ["FwMark", "Table", "PreUp", "PostUp", "PreDown", "PostDown", "SaveConfig"];

/// Likewise, what DNS holds besides addresses.
const SEARCH: &str = "the domains of DNS";

/// Smallest MTU that is taken, what IPv4 asks of every link (RFC 791), and the largest whose packets, 32 bytes longer
/// when they are encrypted, fit into a datagram of UDP.
const MTU_MIN: usize = 68;
const MTU_MAX: usize = 65_507 - 32;

/// So many characters of base64 in a row may be a key, or half of one.
const SHORTEST_SECRET: usize = 20;

/// What a file says.
pub struct Configuration {
    /// Our private key.
    pub private_key: Key,
    /// Our addresses in the tunnel.
    pub addresses: Vec<Cidr>,
    /// Name servers, to be asked through the tunnel.
    pub name_servers: Vec<IpAddr>,
    /// Largest packet in the tunnel in bytes.
    pub mtu: Option<usize>,
    /// Port of UDP; 0 lets the kernel choose.
    pub listen_port: u16,
    /// The peers, in their order.
    pub peers: Vec<PeerConfiguration>,
    /// Names of keys that mean nothing here.
    pub ignored: Vec<&'static str>,
}

/// A `[Peer]` section.
pub struct PeerConfiguration {
    /// The line where it begins: how the log names it.
    pub line: usize,
    /// The peer's public key.
    pub public_key: Key,
    /// A key that both ends know beforehand.
    pub preshared_key: Option<Key>,
    /// Where it is, at first.
    pub endpoint: Option<Endpoint>,
    /// Which addresses are its.
    pub allowed: Vec<Cidr>,
    /// Seconds after which it hears of us though there is nothing to say.
    pub keepalive: Option<NonZeroU16>,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// An address.
    Address(SocketAddr),
    /// A name that the machine knows, and a port.
    Name(String, u16),
}

impl Configuration {
    /// Reads `text`. The error is a sentence for a person, with the number of the line before it.
    pub fn parse(text: &str) -> Result<Configuration, String> {
        // What some editors put before UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::default();
        let mut last = 1;
        for (index, line) in text.lines().enumerate() {
            last = index + 1;
            reader.line(last, line).map_err(|why| format!("{last}: {why}"))?;
        }
        reader.finish(last)
    }

    /// What the program is called in the tunnel, and the ways into it, which are wg-quick's.
    pub fn addressing(&self) -> Addressing {
        let allowed = self.peers.iter().flat_map(|peer| &peer.allowed);
        Addressing {
            addresses: self.addresses.clone(),
            routes: allowed.map(|network| Route { network: *network, gateway: None }).collect(),
            name_servers: self.name_servers.clone(),
        }
    }
}

/// Which section a line is in.
#[derive(Clone, Copy, Default)]
enum Section {
    #[default]
    None,
    Interface,
    Peer,
}

/// A file that is being read.
#[derive(Default)]
struct Reader {
    section: Section,
    private_key: Option<Key>,
    addresses: Vec<Cidr>,
    name_servers: Vec<IpAddr>,
    mtu: Option<usize>,
    listen_port: u16,
    peers: Vec<OpenPeer>,
    ignored: BTreeSet<&'static str>,
}

/// A `[Peer]` section that is being read.
#[derive(Default)]
struct OpenPeer {
    line: usize,
    public_key: Option<Key>,
    preshared_key: Option<Key>,
    endpoint: Option<Endpoint>,
    allowed: Vec<Cidr>,
    keepalive: Option<NonZeroU16>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            return Ok(());
        }
        if line.starts_with('[') {
            return self.open(number, line);
        }
        // Without '=' the line may be half of a key.
        let (key, value) = line.split_once('=').ok_or("neither a section nor KEY = VALUE")?;
        let (key, value) = (key.trim_end(), value.trim_start());
        match self.section {
            Section::None => {
                Err("a key before any section; [Interface] or [Peer] must stand before it".into())
            }
            Section::Interface => self.interface(key, value),
            Section::Peer => self.peers.last_mut().map_or(Ok(()), |peer| peer.field(key, value)),
        }
        .map_err(|why| if printable(key) { format!("{key}: {why}") } else { why })
    }

    fn open(&mut self, number: usize, line: &str) -> Result<(), String> {
        if line.eq_ignore_ascii_case("[Interface]") {
            self.section = Section::Interface;
        } else if line.eq_ignore_ascii_case("[Peer]") {
            self.section = Section::Peer;
            self.peers.push(OpenPeer { line: number, ..OpenPeer::default() });
        } else {
            return Err(format!("{} is no section; there are [Interface] and [Peer]", shown(line)));
        }
        Ok(())
    }

    fn interface(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key.to_ascii_lowercase().as_str() {
            "privatekey" => self.private_key = Some(secret(value)?),
            "address" => self.addresses.extend(collect(value, own)?),
            "dns" => self.dns(value),
            "mtu" => self.mtu = Some(mtu(value)?),
            "listenport" => self.listen_port = number(value, "port")?,
            key => match IGNORED.iter().find(|ignored| ignored.eq_ignore_ascii_case(key)) {
                Some(ignored) => drop(self.ignored.insert(ignored)),
                None => return Err(unknown("[Interface]")),
            },
        }
        Ok(())
    }

    /// What is no address is a domain to search, which is the affair of /etc/resolv.conf here.
    fn dns(&mut self, value: &str) {
        for word in words(value) {
            match word.parse() {
                Ok(address) => self.name_servers.push(address),
                Err(_) => drop(self.ignored.insert(SEARCH)),
            }
        }
    }

    fn finish(self, last: usize) -> Result<Configuration, String> {
        let private_key = self.private_key.ok_or(format!("{last}: [Interface] has no PrivateKey"))?;
        let own = private_key.public();
        let mut peers: Vec<PeerConfiguration> = Vec::with_capacity(self.peers.len());
        for peer in self.peers {
            let line = peer.line;
            let peer = peer.finish(&own).map_err(|why| format!("{line}: {why}"))?;
            if let Some(first) = peers.iter().find(|other| other.public_key == peer.public_key) {
                return Err(format!("{line}: the peer of line {} has the same PublicKey", first.line));
            }
            peers.push(peer);
        }
        if peers.is_empty() {
            return Err(format!("{last}: there is no [Peer]"));
        }
        Ok(Configuration {
            private_key,
            addresses: self.addresses,
            name_servers: self.name_servers,
            mtu: self.mtu,
            listen_port: self.listen_port,
            peers,
            ignored: self.ignored.into_iter().collect(),
        })
    }
}

impl OpenPeer {
    fn field(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key.to_ascii_lowercase().as_str() {
            "publickey" => self.public_key = Some(secret(value)?),
            // wg(8) writes zeros where there is none.
            "presharedkey" => self.preshared_key = Some(any_key(value)?).filter(|key| !key.is_zero()),
            "endpoint" => self.endpoint = Some(endpoint(value)?),
            "allowedips" => self.allowed.extend(collect(value, allowed)?),
            "persistentkeepalive" => self.keepalive = keepalive(value)?,
            _ => return Err(unknown("[Peer]")),
        }
        Ok(())
    }

    fn finish(self, own: &Key) -> Result<PeerConfiguration, String> {
        let public_key = self.public_key.ok_or("[Peer] has no PublicKey")?;
        if public_key == *own {
            return Err("PublicKey is our own; it must be the other end's".into());
        }
        Ok(PeerConfiguration {
            line: self.line,
            public_key,
            preshared_key: self.preshared_key,
            endpoint: self.endpoint,
            allowed: self.allowed,
            keepalive: self.keepalive,
        })
    }
}

/// Whether the name of a key may be shown: base64 that lost its name may not.
fn printable(key: &str) -> bool {
    key.len() <= "PersistentKeepalive".len() && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What stands in the file, for an error; unless it may be a key that came to the wrong place.
fn shown(text: &str) -> String {
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let longest = text.as_bytes().split(|byte| !base64(byte)).map(<[u8]>::len).max().unwrap_or(0);
    if longest < SHORTEST_SECRET { format!("'{text}'") } else { "what stands there".into() }
}

fn unknown(section: &str) -> String {
    format!("{section} has no such key in wg-quick(8)")
}

fn any_key(value: &str) -> Result<Key, String> {
    Key::parse(value).ok_or_else(|| "no key; wg(8) makes keys of 44 characters, the last of them '='".into())
}

fn secret(value: &str) -> Result<Key, String> {
    let key = any_key(value)?;
    if key.is_zero() { Err("no key but zeros".into()) } else { Ok(key) }
}

/// The parts of a list, separated by commas or space.
fn words(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ' ', '\t']).filter(|word| !word.is_empty())
}

fn collect<T>(value: &str, read: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    words(value).map(read).collect()
}

/// `ADDRESS[/LENGTH]`; without a length it is one address.
fn network(word: &str) -> Result<Cidr, String> {
    let (address, length) = word.split_once('/').map_or((word, None), |(left, right)| (left, Some(right)));
    let address: IpAddr = address.parse().map_err(|_| format!("{} is no address", shown(address)))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(most), |length| number(length, "length of a prefix"))?;
    if length > most {
        return Err(format!("{address}/{length}: a prefix of this address has at most {most} bits"));
    }
    Ok(Cidr::new(address, length))
}

/// An address of ours, with its network.
fn own(word: &str) -> Result<Cidr, String> {
    let own = network(word)?;
    let address = own.address;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(format!("{address}: no host has this address"));
    }
    Ok(own)
}

/// A network, without the bits behind its prefix.
fn allowed(word: &str) -> Result<Cidr, String> {
    let Cidr { address, bits } = network(word)?;
    Ok(Cidr::new(masked(address, bits), bits))
}

/// The first address of a network.
pub(super) fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

fn mtu(value: &str) -> Result<usize, String> {
    let mtu = usize::from(number::<u16>(value, "MTU")?);
    if (MTU_MIN..=MTU_MAX).contains(&mtu) {
        Ok(mtu)
    } else {
        Err(format!("{mtu} is no MTU; it lies between {MTU_MIN} and {MTU_MAX}"))
    }
}

fn keepalive(value: &str) -> Result<Option<NonZeroU16>, String> {
    if value.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    number(value, "number of seconds").map(NonZeroU16::new)
}

fn endpoint(value: &str) -> Result<Endpoint, String> {
    let form = || format!("{} is no endpoint; write HOST:PORT, an IPv6 address in brackets", shown(value));
    let (host, port) = value.rsplit_once(':').ok_or_else(form)?;
    let port = number(port, "port")?;
    if port == 0 {
        return Err("0 is no port of a peer".into());
    }
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.strip_suffix(']').and_then(|inner| inner.parse().ok()).ok_or_else(form)?;
        return Ok(Endpoint::Address(SocketAddr::new(IpAddr::V6(address), port)));
    }
    if host.is_empty() || host.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
        return Err(form());
    }
    Ok(match host.parse() {
        Ok(address) => Endpoint::Address(SocketAddr::new(address, port)),
        Err(_) => Endpoint::Name(host.to_owned(), port),
    })
}

/// A number of digits only: `parse` would take a sign.
fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| format!("{} is no {what}", shown(text)))
}

#[cfg(test)]
mod tests;
