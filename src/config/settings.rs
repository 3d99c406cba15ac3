//! The list of settings.
#![forbid(unsafe_code)]

/// Which field of `Config` a setting fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Config,
    Link,
    Address,
    Gateway,
    Dns,
    Mtu,
    Route,
    Impair,
    Capture,
    CaptureCalls,
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
    /// What separates several values in the variable, where there can be several; the flag is repeated.
    pub separator: Option<char>,
    /// What it does, in one sentence.
    pub help: &'static str,
    pub(super) field: Field,
}

/// Every setting.
pub const SETTINGS: [Setting; 15] = [
    // First: what the others say stands in place of what it says.
    Setting {
        flag: "--config",
        variable: "TUBESOCK_CONFIG",
        value: "FILE",
        default: "no file",
        separator: None,
        help: "Settings from a file in TOML, by the names of the flags; variables and flags replace them.",
        field: Field::Config,
    },
    Setting {
        flag: "--link",
        variable: "TUBESOCK_LINK",
        value: "LINK",
        default: "nat",
        separator: None,
        help: "Which link carries the packets: nat ends them at kernel sockets of this machine; tun:NAME and tap:NAME are devices of it, stream:PATH is a unix socket, wireguard:FILE a tunnel by a file of wg-quick(8).",
        field: Field::Link,
    },
    Setting {
        flag: "--address",
        variable: "TUBESOCK_ADDRESS",
        value: "CIDR",
        default: "the link's",
        separator: Some(','),
        help: "An address of the program's, with its network: 192.0.2.15/24 or 2001:db8::15/64.",
        field: Field::Address,
    },
    Setting {
        flag: "--gateway",
        variable: "TUBESOCK_GATEWAY",
        value: "ADDRESS",
        default: "the link's",
        separator: Some(','),
        help: "Who passes on what is for other networks; one for IPv4 and one for IPv6.",
        field: Field::Gateway,
    },
    Setting {
        flag: "--dns",
        variable: "TUBESOCK_DNS",
        value: "ADDRESS",
        default: "the link's",
        separator: Some(','),
        help: "A name server, which is asked over the link.",
        field: Field::Dns,
    },
    Setting {
        flag: "--mtu",
        variable: "TUBESOCK_MTU",
        value: "BYTES",
        default: "the link's",
        separator: None,
        help: "The largest packet for the link, if that is to be less than it carries; 576 at least, and below 1280 there is no IPv6.",
        field: Field::Mtu,
    },
    Setting {
        flag: "--route",
        variable: "TUBESOCK_ROUTE",
        value: "CIDR[,GATEWAY]",
        default: "by the gateways",
        separator: Some(' '),
        help: "A network that is behind GATEWAY; without one, on the link.",
        field: Field::Route,
    },
    Setting {
        flag: "--impair",
        variable: "TUBESOCK_IMPAIR",
        value: "WORDS",
        default: "nothing",
        separator: None,
        help: "What is done to packets on the link, in the words of tc-netem(8): 'delay 20ms 2ms loss 1% out rate 10mbit'.",
        field: Field::Impair,
    },
    Setting {
        flag: "--capture",
        variable: "TUBESOCK_CAPTURE",
        value: "FILE",
        default: "no capture",
        separator: None,
        help: "Write every packet on the link to FILE, as pcapng; - is standard output, and the program's goes to standard error then.",
        field: Field::Capture,
    },
    Setting {
        flag: "--capture-calls",
        variable: "TUBESOCK_CAPTURE_CALLS",
        value: "",
        default: "off",
        separator: None,
        help: "Give the packets of the capture the program's calls as comments: each stands at the next packet behind its result.",
        field: Field::CaptureCalls,
    },
    Setting {
        flag: "--publish",
        variable: "TUBESOCK_PUBLISH",
        value: "[ADDRESS:]HOSTPORT:PORT[/udp]",
        default: "nothing is published",
        separator: Some(','),
        help: "Lead port HOSTPORT of the machine to the program's PORT; ADDRESS is 0.0.0.0 unless given, IPv6 in brackets.",
        field: Field::Publish,
    },
    Setting {
        flag: "--log",
        variable: "TUBESOCK_LOG",
        value: "LEVEL",
        default: "warn",
        separator: None,
        help: "How much to say on standard error: off, error, warn, info, debug or trace.",
        field: Field::Log,
    },
    Setting {
        flag: "--trace",
        variable: "TUBESOCK_TRACE",
        value: "FILE",
        default: "no trace",
        separator: None,
        help: "Write a line for every call and every packet to FILE; - draws them as a ladder on standard error.",
        field: Field::Trace,
    },
    Setting {
        flag: "--strict",
        variable: "TUBESOCK_STRICT",
        value: "",
        default: "off",
        separator: None,
        help: "Let nothing go round the stack: calls past the library that would, and io_uring, fail with EPERM and a line in the log.",
        field: Field::Strict,
    },
    Setting {
        flag: "--bypass",
        variable: "TUBESOCK_BYPASS",
        value: "CIDR[:PORT]",
        default: "nothing is bypassed",
        separator: Some(','),
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
