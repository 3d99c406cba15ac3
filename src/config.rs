//! Settings. One list, `SETTINGS`, gives the flags of `tubesock run`, the `TUBESOCK_*` variables and the table in
//! `docs/configuration.md`; a test compares them. Nothing here opens a file, but that of `--config`, or a socket: a
//! value is checked as a value, and whether a file can be written or a port is free shows when the host starts.
#![forbid(unsafe_code)]

mod bypass;
mod capture;
mod file;
mod host_address;
mod impairment;
mod link_choice;
mod log_level;
mod names;
mod publish;
mod settings;
mod trace;

use crate::addressing::{Addressing, Cidr, MTU_V6, Route, address_of, is_unicast, subnet_broadcast};
pub use bypass::Bypass;
pub use capture::Capture;
use core::fmt;
pub use file::read_file;
pub use host_address::{HostAddress, Key, PROCESS_LENGTH};
pub use impairment::{Impairment, Impairments, Limit, Loss, Probability};
pub use link_choice::LinkChoice;
pub use log_level::LogLevel;
pub use names::Names;
pub use publish::Publish;
use publish::{ip_address, port_number};
use settings::Field;
pub use settings::{
    HOST_VARIABLE, OTHER_VARIABLES, PRELOAD_LIBRARY_VARIABLE, SETTINGS, Setting, TEST_VARIABLE_PREFIX,
};
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
pub use trace::Trace;

/// The least and the most of `--mtu`: what every IPv4 host takes (RFC 791 3.1), and what a length field holds.
const MTU: core::ops::RangeInclusive<usize> = 576..=65535;

/// The settings of a host.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// TUBESOCK_LINK
    pub link: LinkChoice,
    /// TUBESOCK_ADDRESS, comma-separated
    pub address: Vec<Cidr>,
    /// TUBESOCK_GATEWAY, comma-separated
    pub gateway: Vec<IpAddr>,
    /// TUBESOCK_DNS, comma-separated
    pub dns: Vec<IpAddr>,
    /// TUBESOCK_MTU
    pub mtu: Option<usize>,
    /// TUBESOCK_ROUTE, separated by spaces
    pub route: Vec<Route>,
    /// TUBESOCK_IMPAIR
    pub impair: Option<Impairments>,
    /// TUBESOCK_CAPTURE
    pub capture: Option<Capture>,
    /// TUBESOCK_CAPTURE_CALLS
    pub capture_calls: bool,
    /// TUBESOCK_PUBLISH, comma-separated
    pub publish: Vec<Publish>,
    /// TUBESOCK_BYPASS, comma-separated
    pub bypass: Vec<Bypass>,
    /// TUBESOCK_LOG
    pub log: LogLevel,
    /// TUBESOCK_TRACE
    pub trace: Option<Trace>,
    /// TUBESOCK_STRICT
    pub strict: bool,
    /// TUBESOCK_HOST: the host that makes the sockets, where it is another process's; all else is that host's affair.
    pub host: Option<HostAddress>,
    /// What each setting is called by who gave it.
    pub names: Names,
}

impl Config {
    /// Reads the variables, and in place of some the values of flags. The error is a sentence for a person: what is
    /// wrong, where, what to do. An empty variable counts as not set.
    fn from_sources(
        flags: &[(&Setting, Vec<OsString>)],
        lookup: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Config, String> {
        let given = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut config = Config::default();
        if let Some(value) = given(HOST_VARIABLE) {
            let host = HostAddress::parse(&value);
            config.host = Some(host.map_err(|reason| format!("{HOST_VARIABLE}: {reason}"))?);
        }
        // The file of settings comes first: whoever names it, it says least.
        for setting in &SETTINGS {
            match flags.iter().find(|(flag, _)| flag.field == setting.field) {
                Some((_, values)) => config.apply(setting, setting.flag, values)?,
                None => {
                    if let Some(value) = given(setting.variable) {
                        config.apply(setting, setting.variable, &[value])?;
                    }
                }
            }
        }
        Ok(config)
    }

    /// The settings of an environment. A `TUBESOCK_*` variable that nobody knows is an error, because a setting misspelt is
    /// a setting ignored.
    pub fn from_environment(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, String> {
        Config::with_flags(&[], environment)
    }

    /// Likewise, and the values of the flags of `tubesock run`, which replace what their variables say.
    pub fn with_flags(
        flags: &[(&Setting, Vec<OsString>)],
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, String> {
        let mut ours = Vec::new();
        for (name, value) in environment {
            let bytes = name.as_encoded_bytes();
            if bytes.starts_with(b"TUBESOCK_") && !bytes.starts_with(TEST_VARIABLE_PREFIX.as_bytes()) {
                if !is_known(&name) {
                    return Err(unknown_variable(&name));
                }
                ours.push((name, value));
            }
        }
        Config::from_sources(flags, &|wanted| {
            ours.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        })
    }

    /// `name` is the flag or the variable, as the person wrote it.
    fn apply(&mut self, setting: &Setting, name: &str, values: &[OsString]) -> Result<(), String> {
        match setting.field {
            Field::Publish => self.publish.clear(),
            Field::Bypass => self.bypass.clear(),
            Field::Address => self.address.clear(),
            Field::Gateway => self.gateway.clear(),
            Field::Dns => self.dns.clear(),
            Field::Route => self.route.clear(),
            Field::Config
            | Field::Link
            | Field::Mtu
            | Field::Impair
            | Field::Capture
            | Field::CaptureCalls
            | Field::Log
            | Field::Trace
            | Field::Strict => {}
        }
        self.names.remember(setting.flag, name);
        for value in values {
            for item in items(setting, value) {
                self.take(setting.field, item)
                    .map_err(|reason| format!("{name} '{}': {reason}", item.to_string_lossy()))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, field: Field, value: &OsStr) -> Result<(), String> {
        match field {
            Field::Config => self.apply_file(value)?,
            Field::Link => self.link = text(value)?.parse()?,
            Field::Address => self.address.push(own_address(text(value)?)?),
            Field::Gateway => self.add_gateway(address_of(text(value)?)?)?,
            Field::Dns => self.dns.push(name_server(text(value)?)?),
            Field::Mtu => self.mtu = Some(mtu(text(value)?)?),
            Field::Route => self.route.push(text(value)?.parse()?),
            Field::Impair => self.impair = Some(text(value)?.parse()?),
            Field::Capture => self.capture = Some(Capture::parse(value)?),
            Field::CaptureCalls => self.capture_calls = switch(value)?,
            Field::Publish => self.publish.push(text(value)?.parse()?),
            Field::Log => self.log = text(value)?.parse()?,
            Field::Trace => self.trace = Some(Trace::parse(value)?),
            Field::Strict => self.strict = switch(value)?,
            Field::Bypass => self.bypass.push(text(value)?.parse()?),
        }
        Ok(())
    }

    fn add_gateway(&mut self, gateway: IpAddr) -> Result<(), String> {
        if !is_of_a_host(gateway) {
            return Err("no router has this address; give that of one on the program's network".into());
        }
        if self.gateway.iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
            return Err("there is one of its family already; give one for IPv4 and one for IPv6".into());
        }
        self.gateway.push(gateway);
        Ok(())
    }

    /// What the settings say in place of `link`, what the link brings.
    pub fn addressing(&self, link: Addressing) -> Addressing {
        let said = |ours: &[Cidr], theirs| if ours.is_empty() { theirs } else { ours.to_vec() };
        let mut routes = self.route.clone();
        routes.extend(self.gateway.iter().map(|gateway| Route::by(*gateway)));
        Addressing {
            addresses: said(&self.address, link.addresses),
            routes: if routes.is_empty() { link.routes } else { routes },
            name_servers: if self.dns.is_empty() { link.name_servers } else { self.dns.clone() },
        }
    }

    /// Fails where settings do not go with each other. The error is a sentence for a person.
    pub fn check(&self) -> Result<(), String> {
        let name = |flag| self.names.of(flag);
        let without = |flag: &'static str, given: bool| match given {
            true => {
                let (one, other) = (name(flag), name("--link"));
                Err(format!("{one} does not go with {other} {}: leave one of them out", self.link))
            }
            false => Ok(()),
        };
        let trace = self.trace.as_ref().and_then(Trace::file);
        if trace.is_some() && trace == self.capture.as_ref().and_then(Capture::file) {
            return Err(self.names.sharing());
        }
        // Within another 'tubesock run' it is that one's, which has the capture.
        if self.capture_calls && self.capture.is_none() && self.host.is_none() {
            let calls = name("--capture-calls");
            return Err(format!("{calls}: there is no capture to put calls into; give --capture FILE"));
        }
        if self.mtu.is_some_and(|mtu| mtu < MTU_V6) && self.names_v6() {
            let mtu = name("--mtu");
            return Err(format!("{mtu}: IPv6 needs {MTU_V6} at least; give more, or nothing of IPv6"));
        }
        if self.link == LinkChoice::Nat {
            // It has addresses of its own, and no other way.
            without("--address", !self.address.is_empty())?;
            without("--gateway", !self.gateway.is_empty())?;
            without("--route", !self.route.is_empty())?;
            return publish::each_once(&self.publish).map_err(|why| format!("{}: {why}", name("--publish")));
        }
        if matches!(self.link, LinkChoice::Tun(_)) && self.address.is_empty() {
            let link = name("--link");
            return Err(format!(
                "{link} {}: the program has no address there; give --address CIDR",
                self.link
            ));
        }
        without("--publish", !self.publish.is_empty())
    }

    /// Whether something of IPv6 is asked for.
    fn names_v6(&self) -> bool {
        let addresses = self.address.iter().map(|own| own.address).chain(self.gateway.iter().copied());
        let networks = self.route.iter().map(|route| route.network.address);
        let published = self.publish.iter().map(|publish| publish.listen.ip());
        addresses.chain(networks).chain(published).any(|address| address.is_ipv6())
    }

    /// The variables that give this configuration to another process.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let mut variables: Vec<_> = SETTINGS
            .iter()
            .filter_map(|setting| Some((setting.variable, self.variable_value(setting.field)?)))
            .collect();
        if let Some(host) = &self.host {
            variables.push((HOST_VARIABLE, host.variable_value()));
        }
        variables
    }

    fn variable_value(&self, field: Field) -> Option<OsString> {
        match field {
            // What it says is among the others.
            Field::Config => None,
            Field::Link => (self.link != LinkChoice::default()).then(|| self.link.to_string().into()),
            Field::Address => list(&self.address, ','),
            Field::Gateway => list(&self.gateway, ','),
            Field::Dns => list(&self.dns, ','),
            Field::Mtu => self.mtu.map(|mtu| mtu.to_string().into()),
            Field::Route => list(&self.route, ' '),
            Field::Impair => self.impair.map(|impair| impair.to_string().into()),
            Field::Capture => self.capture.as_ref().map(Capture::value),
            Field::CaptureCalls => self.capture_calls.then(|| "1".into()),
            Field::Publish => list(&self.publish, ','),
            Field::Bypass => list(&self.bypass, ','),
            Field::Log => Some(self.log.to_string().into()),
            Field::Trace => self.trace.as_ref().map(Trace::value),
            Field::Strict => self.strict.then(|| "1".into()),
        }
    }
}

/// Several values of one variable; None without any.
fn list(items: &[impl fmt::Display], separator: char) -> Option<OsString> {
    let items: Vec<String> = items.iter().map(|item| item.to_string()).collect();
    (!items.is_empty()).then(|| items.join(&separator.to_string()).into())
}

fn is_known(name: &OsStr) -> bool {
    SETTINGS
        .iter()
        .map(|setting| setting.variable)
        .chain(OTHER_VARIABLES.map(|(name, _)| name))
        .any(|n| n == name)
}

fn unknown_variable(name: &OsStr) -> String {
    let known: Vec<&str> = SETTINGS.iter().map(|setting| setting.variable).collect();
    format!(
        "{}: there is no such setting; there are {}: correct the name, or unset it",
        name.to_string_lossy(),
        known.join(", ")
    )
}

/// The values in `value`: several, where the setting can be given several times.
fn items<'a>(setting: &Setting, value: &'a OsStr) -> Vec<&'a OsStr> {
    match (value.to_str(), setting.separator) {
        (Some(text), Some(separator)) => {
            let items = text.split(separator).map(str::trim);
            items.filter(|item| separator != ' ' || !item.is_empty()).map(OsStr::new).collect()
        }
        _ => vec![value],
    }
}

fn own_address(text: &str) -> Result<Cidr, String> {
    let own: Cidr = text.parse()?;
    let address = own.address;
    if !is_of_a_host(address) {
        return Err("no host has this address; give that of the program on its network".into());
    }
    // Of two addresses (RFC 3021) and of one, each is a host's.
    let Some(everybody) = subnet_broadcast(address, own.bits) else { return Ok(own) };
    let network = Cidr::new(own.first(), own.bits);
    let what = match address {
        _ if address == everybody => "its broadcast address",
        _ if address == network.address => "the network itself",
        _ => return Ok(own),
    };
    Err(format!("in {network} this is {what}, and no host's; give another address of it"))
}

/// Whether a host can be called so on a link.
fn is_of_a_host(address: IpAddr) -> bool {
    is_unicast(address) && !address.is_loopback() && address.to_canonical() == address
}

fn name_server(text: &str) -> Result<IpAddr, String> {
    match address_of(text)? {
        server if is_unicast(server) => Ok(server),
        _ => Err("nobody answers at this address; give that of one server".into()),
    }
}

fn mtu(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|bytes| MTU.contains(bytes) && !text.starts_with('+'));
    number.ok_or_else(|| format!("no size of a packet; write a number from {} to {}", MTU.start(), MTU.end()))
}

fn text(value: &OsStr) -> Result<&str, String> {
    value.to_str().ok_or_else(|| "not UTF-8; write it in ASCII".into())
}

fn switch(value: &OsStr) -> Result<bool, String> {
    match text(value)? {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err("neither on nor off; write 1 or 0".into()),
    }
}

#[cfg(test)]
mod tests;
