//! Settings. One list, `SETTINGS`, gives the flags of `tubesock run`, the `TUBESOCK_*` variables and the table in
//! `docs/configuration.md`; a test compares them. Nothing here opens a file or a socket: a value is checked as a
//! value, and whether a file can be written or a port is free shows when the host starts.
#![forbid(unsafe_code)]

mod bypass;
mod host_address;
mod trace;

pub use bypass::Bypass;
use core::fmt;
use core::str::FromStr;
pub use host_address::{HostAddress, Key, PROCESS_LENGTH};
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
pub use trace::Trace;

/// Which link carries the packets.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LinkChoice {
    /// The built-in network address translator.
    #[default]
    Nat,
}

/// How much the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What ends the work.
    Error,
    /// What a user should know: unsupported calls, each once.
    #[default]
    Warn,
    /// Start and end of a host, with its counters.
    Info,
    /// Every connection.
    Debug,
    /// Everything.
    Trace,
}

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

/// The settings of a host.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Config {
    /// TUBESOCK_LINK
    pub link: LinkChoice,
    /// TUBESOCK_CAPTURE
    pub capture: Option<PathBuf>,
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
}

/// Which field of `Config` a setting fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Link,
    Capture,
    Publish,
    Log,
    Trace,
    Strict,
    Bypass,
}

/// One setting, under its two names.
#[derive(Debug)]
pub struct Setting {
    /// The flag of `tubesock run`, dashes included.
    pub flag: &'static str,
    /// The variable that means the same.
    pub variable: &'static str,
    /// The form of the value; empty for a flag that has none, whose variable is 1 or 0.
    pub value: &'static str,
    /// What holds without it, as a person would write it.
    pub default: &'static str,
    /// Whether there can be several: the flag is repeated, the variable separated by commas.
    pub repeatable: bool,
    /// What it does, in one sentence.
    pub help: &'static str,
    field: Field,
}

/// Every setting.
pub const SETTINGS: [Setting; 7] = [
    Setting {
        flag: "--link",
        variable: "TUBESOCK_LINK",
        value: "LINK",
        default: "nat",
        repeatable: false,
        help: "Which link carries the packets: nat ends them at kernel sockets of this machine.",
        field: Field::Link,
    },
    Setting {
        flag: "--capture",
        variable: "TUBESOCK_CAPTURE",
        value: "FILE",
        default: "no capture",
        repeatable: false,
        help: "Write every packet on the link to FILE, as pcapng.",
        field: Field::Capture,
    },
    Setting {
        flag: "--publish",
        variable: "TUBESOCK_PUBLISH",
        value: "[ADDRESS:]HOSTPORT:PORT[/udp]",
        default: "nothing is published",
        repeatable: true,
        help: "Lead port HOSTPORT of the machine to the program's PORT; ADDRESS is 0.0.0.0 unless given, IPv6 in brackets.",
        field: Field::Publish,
    },
    Setting {
        flag: "--log",
        variable: "TUBESOCK_LOG",
        value: "LEVEL",
        default: "warn",
        repeatable: false,
        help: "How much to say on standard error: off, error, warn, info, debug or trace.",
        field: Field::Log,
    },
    Setting {
        flag: "--trace",
        variable: "TUBESOCK_TRACE",
        value: "FILE",
        default: "no trace",
        repeatable: false,
        help: "Write a line for every call and every packet to FILE; - draws them as a ladder on standard error.",
        field: Field::Trace,
    },
    Setting {
        flag: "--strict",
        variable: "TUBESOCK_STRICT",
        value: "",
        default: "off",
        repeatable: false,
        help: "Let nothing go round the stack: calls past the library that would, and io_uring, fail with EPERM and a line in the log.",
        field: Field::Strict,
    },
    Setting {
        flag: "--bypass",
        variable: "TUBESOCK_BYPASS",
        value: "CIDR[:PORT]",
        default: "nothing is bypassed",
        repeatable: true,
        help: "Let the kernel connect to what is in CIDR, an address or a network such as 127.0.0.0/8; IPv6 in brackets: [fd00::]/8:443.",
        field: Field::Bypass,
    },
];

/// Where the host is; an empty one may be in the environment of every program that is preloaded.
pub const HOST_VARIABLE: &str = "TUBESOCK_HOST";
/// Names the shared object that `tubesock run` preloads.
pub const PRELOAD_LIBRARY_VARIABLE: &str = "TUBESOCK_PRELOAD_LIBRARY";

/// How the variables of this project's own tests begin; a host does not look at them.
pub const TEST_VARIABLE_PREFIX: &str = "TUBESOCK_TEST_";

/// The variables that are not settings of a host, with what they are for.
pub const OTHER_VARIABLES: [(&str, &str); 2] = [
    (
        HOST_VARIABLE,
        "The host that makes the sockets: the absolute PATH of a `tubesock host --listen PATH`. Set by `tubesock run` for the \
         programs under it, with the key to theirs.",
    ),
    (PRELOAD_LIBRARY_VARIABLE, "The libtubesock_preload.so that `tubesock run` and `tubesock demo` load."),
];

impl Config {
    /// Reads the variables. The error is a sentence for a person: what is wrong, where, what to do. An empty
    /// variable counts as not set.
    pub fn from_variables(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, String> {
        let given = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut config = Config::default();
        if let Some(value) = given(HOST_VARIABLE) {
            let host = HostAddress::parse(&value);
            config.host = Some(host.map_err(|reason| format!("{HOST_VARIABLE}: {reason}"))?);
        }
        for setting in &SETTINGS {
            if let Some(value) = given(setting.variable) {
                config.apply(setting, setting.variable, &[value])?;
            }
        }
        Ok(config)
    }

    /// As `from_variables`, over a whole environment; a `TUBESOCK_*` variable that nobody knows is an error,
    /// because a setting misspelt is a setting ignored.
    pub fn from_environment(
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
        Config::from_variables(&|wanted| {
            ours.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
        })
    }

    /// Takes the values of a flag of `tubesock run`; they replace what the variable said.
    pub fn apply_flag(&mut self, setting: &Setting, values: &[OsString]) -> Result<(), String> {
        self.apply(setting, setting.flag, values)
    }

    /// `name` is the flag or the variable, as the person wrote it.
    fn apply(&mut self, setting: &Setting, name: &str, values: &[OsString]) -> Result<(), String> {
        match setting.field {
            Field::Publish => self.publish.clear(),
            Field::Bypass => self.bypass.clear(),
            Field::Link | Field::Capture | Field::Log | Field::Trace | Field::Strict => {}
        }
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
            Field::Link => self.link = text(value)?.parse()?,
            Field::Capture => self.capture = Some(file(value)?),
            Field::Publish => self.publish.push(text(value)?.parse()?),
            Field::Log => self.log = text(value)?.parse()?,
            Field::Trace => self.trace = Some(Trace::parse(value)?),
            Field::Strict => self.strict = switch(value)?,
            Field::Bypass => self.bypass.push(text(value)?.parse()?),
        }
        Ok(())
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
            Field::Link => (self.link != LinkChoice::default()).then(|| self.link.to_string().into()),
            Field::Capture => self.capture.clone().map(PathBuf::into_os_string),
            Field::Publish => list(&self.publish),
            Field::Bypass => list(&self.bypass),
            Field::Log => Some(self.log.to_string().into()),
            Field::Trace => self.trace.as_ref().map(Trace::value),
            Field::Strict => self.strict.then(|| "1".into()),
        }
    }
}

/// Several values of one variable; None without any.
fn list(items: &[impl fmt::Display]) -> Option<OsString> {
    let items: Vec<String> = items.iter().map(|item| item.to_string()).collect();
    (!items.is_empty()).then(|| items.join(",").into())
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

/// The values in `value`: several, separated by commas, where the setting can be given several times.
fn items<'a>(setting: &Setting, value: &'a OsStr) -> Vec<&'a OsStr> {
    match value.to_str() {
        Some(text) if setting.repeatable => text.split(',').map(|item| OsStr::new(item.trim())).collect(),
        _ => vec![value],
    }
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

fn file(value: &OsStr) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("the name of a file is missing; give one".into());
    }
    Ok(PathBuf::from(value))
}

impl FromStr for LinkChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nat" => Ok(LinkChoice::Nat),
            _ => Err("there is no such link; use nat, the only one in this version".into()),
        }
    }
}

impl fmt::Display for LinkChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkChoice::Nat => f.write_str("nat"),
        }
    }
}

impl LogLevel {
    const ALL: [(LogLevel, &'static str); 6] = [
        (LogLevel::Off, "off"),
        (LogLevel::Error, "error"),
        (LogLevel::Warn, "warn"),
        (LogLevel::Info, "info"),
        (LogLevel::Debug, "debug"),
        (LogLevel::Trace, "trace"),
    ];
}

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = LogLevel::ALL.iter().find(|(_, name)| *name == text);
        level.map(|(level, _)| *level).ok_or_else(|| {
            format!("not a level; use one of {}", LogLevel::ALL.map(|(_, name)| name).join(", "))
        })
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LogLevel::ALL[*self as usize].1)
    }
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

fn ip_address(text: &str) -> Result<IpAddr, String> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse().map(IpAddr::V6).ok(),
        None => text.parse().map(IpAddr::V4).ok(),
    };
    address.ok_or_else(|| {
        format!("'{text}' is no address; write IPv4 as 127.0.0.1 and IPv6 in brackets, as [::1]")
    })
}

fn port_number(text: &str) -> Result<u16, String> {
    // `parse` would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| format!("'{text}' is no port; write a number from 0 to 65535"))
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.listen, self.port, if self.datagram { "/udp" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Config, String> {
        Config::from_environment(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn published(listen: &str, port: u16, datagram: bool) -> Publish {
        Publish { listen: listen.parse().expect("an address in a test"), port, datagram }
    }

    fn bypassed(rule: &str) -> Bypass {
        rule.parse().expect("a rule in a test")
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(from(&[("PATH", "/bin"), ("TUBESOCK_LOG", "")]), Ok(Config::default()));
    }

    #[test]
    fn every_variable_is_read() {
        let config = from(&[
            ("TUBESOCK_LINK", "nat"),
            ("TUBESOCK_CAPTURE", "c.pcapng"),
            ("TUBESOCK_PUBLISH", "8080:80, [::1]:0:53/udp"),
            ("TUBESOCK_LOG", "debug"),
            ("TUBESOCK_TRACE", "/t"),
            ("TUBESOCK_STRICT", "1"),
            ("TUBESOCK_BYPASS", "127.0.0.0/8, [::1]:80"),
            ("TUBESOCK_HOST", "/run/h"),
        ]);
        let expected = Config {
            link: LinkChoice::Nat,
            capture: Some("c.pcapng".into()),
            publish: vec![published("0.0.0.0:8080", 80, false), published("[::1]:0", 53, true)],
            log: LogLevel::Debug,
            trace: Some(Trace::File("/t".into())),
            strict: true,
            bypass: vec![bypassed("127.0.0.0/8"), bypassed("[::1]/128:80")],
            host: Some(HostAddress::Path("/run/h".into())),
        };
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn published_ports() {
        let table = [
            ("8080:80", Ok(published("0.0.0.0:8080", 80, false))),
            ("8080:80/tcp", Ok(published("0.0.0.0:8080", 80, false))),
            ("53:53/udp", Ok(published("0.0.0.0:53", 53, true))),
            ("127.0.0.1:0:65535", Ok(published("127.0.0.1:0", 65535, false))),
            ("[fd00::1]:1:2/udp", Ok(published("[fd00::1]:1", 2, true))),
            ("80", Err("two ports are needed")),
            ("", Err("two ports are needed")),
            ("1:2/sctp", Err("'sctp' is no protocol")),
            ("1:2/tcp/tcp", Err("'tcp/tcp' is no protocol")),
            ("1:0", Err("0 is no port of a program")),
            ("65536:1", Err("'65536' is no port")),
            ("+1:1", Err("'+1' is no port")),
            (":1", Err("'' is no port")),
            ("::1:1:2", Err("'::1' is no address")),
            ("[127.0.0.1]:1:2", Err("'[127.0.0.1]' is no address")),
            ("localhost:1:2", Err("'localhost' is no address")),
        ];
        for (text, expected) in table {
            match (text.parse::<Publish>(), expected) {
                (Ok(publish), Ok(expected)) => assert_eq!(publish, expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{text}: {error}"),
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn an_error_names_what_the_person_wrote() {
        let table = [
            (
                "TUBESOCK_LOG",
                "loud",
                "TUBESOCK_LOG 'loud': not a level; use one of off, error, warn, info, debug, trace",
            ),
            (
                "TUBESOCK_LINK",
                "tun",
                "TUBESOCK_LINK 'tun': there is no such link; use nat, the only one in this version",
            ),
            ("TUBESOCK_STRICT", "yes", "TUBESOCK_STRICT 'yes': neither on nor off; write 1 or 0"),
            (
                "TUBESOCK_PUBLISH",
                "1:2,80",
                "TUBESOCK_PUBLISH '80': two ports are needed, the machine's and the program's; write for example 8080:80",
            ),
        ];
        for (name, value, message) in table {
            assert_eq!(from(&[(name, value)]), Err(message.into()));
        }
        let flag = Config::default().apply_flag(&SETTINGS[3], &["loud".into()]);
        assert!(flag.is_err_and(|error| error.starts_with("--log 'loud': ")));
        let flag = Config::default().apply_flag(&SETTINGS[1], &["".into()]);
        assert_eq!(flag, Err("--capture '': the name of a file is missing; give one".into()));
    }

    #[test]
    fn a_misspelt_variable_is_an_error() {
        let error = from(&[("TUBESOCK_CAPTRUE", "x")]).expect_err("the name is wrong");
        assert!(error.starts_with("TUBESOCK_CAPTRUE: there is no such setting"), "{error}");
        let others = [("TUBESOCK_PRELOAD_LIBRARY", "/x.so"), ("TUBESOCK_TEST_SEED", "7")];
        assert_eq!(from(&others), Ok(Config::default()));
    }

    #[test]
    fn a_flag_replaces_the_variable() {
        let mut config = from(&[("TUBESOCK_PUBLISH", "1:1,2:2")]).expect("good values");
        config.apply_flag(&SETTINGS[2], &["3:3".into(), "4:4/udp".into()]).expect("good values");
        assert_eq!(config.publish, [published("0.0.0.0:3", 3, false), published("0.0.0.0:4", 4, true)]);
    }

    #[test]
    fn variables_give_the_configuration_back() {
        let config = Config {
            link: LinkChoice::Nat,
            capture: Some("/c d".into()),
            publish: vec![published("[::]:8080", 80, false), published("127.0.0.1:53", 53, true)],
            log: LogLevel::Off,
            trace: Some(Trace::Ladder(Some(7))),
            strict: true,
            bypass: vec![bypassed("127.0.0.0/8"), bypassed("[::1]/128:80")],
            host: Some(HostAddress::Path("/run/h".into())),
        };
        let variables = config.variables().into_iter().map(|(name, value)| (name.into(), value));
        assert_eq!(Config::from_environment(variables), Ok(config));
    }

    #[test]
    fn levels_in_order() {
        for (place, (level, name)) in LogLevel::ALL.into_iter().enumerate() {
            assert_eq!(
                (level as usize, level.to_string(), name.parse()),
                (place, name.to_string(), Ok(level))
            );
        }
    }

    #[test]
    fn the_document_has_every_entry() {
        let document = include_str!("../docs/configuration.md");
        for setting in &SETTINGS {
            let row = format!(
                "| `{}` | `{}` | {} | {}{} |",
                format!("{} {}", setting.flag, setting.value).trim_end(),
                setting.variable,
                setting.default,
                setting.help,
                if setting.repeatable { " Repeatable; in the variable, comma-separated." } else { "" }
            );
            assert!(document.contains(&row), "docs/configuration.md lacks this row:\n{row}");
        }
        for (name, help) in OTHER_VARIABLES {
            let row = format!("| `{name}` | {help} |");
            assert!(document.contains(&row), "docs/configuration.md lacks this row:\n{row}");
        }
        assert!(document.contains(TEST_VARIABLE_PREFIX));
    }
}
