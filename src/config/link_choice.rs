//! Which link carries the packets: `nat`, or a kind and what it is attached to.
#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;
use std::path::PathBuf;

/// Which link carries the packets.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LinkChoice {
    /// The built-in network address translator.
    #[default]
    Nat,
    /// A TUN device of the kernel's, by its name.
    Tun(String),
    /// A TAP device of the kernel's, by its name.
    Tap(String),
    /// Frames over a unix socket, by its path.
    Stream(PathBuf),
    /// A WireGuard tunnel, by its configuration file.
    Wireguard(PathBuf),
}

impl LinkChoice {
    /// How each is written, for messages.
    const FORMS: &str = "nat, tun:NAME, tap:NAME, stream:PATH or wireguard:FILE";
}

impl FromStr for LinkChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, what) = text.split_once(':').unwrap_or((text, ""));
        match (kind, what) {
            ("nat", "") => Ok(LinkChoice::Nat),
            ("tun" | "tap", "") => Err(format!("the name of a device is missing; write {kind}:NAME")),
            ("tun", name) => Ok(LinkChoice::Tun(name.into())),
            ("tap", name) => Ok(LinkChoice::Tap(name.into())),
            ("stream", "") => Err("the path of a socket is missing; write stream:PATH".into()),
            ("stream", path) => Ok(LinkChoice::Stream(path.into())),
            ("wireguard", "") => Err("the name of a file is missing; write wireguard:FILE".into()),
            ("wireguard", file) => Ok(LinkChoice::Wireguard(file.into())),
            _ => Err(format!("there is no such link; use {}", LinkChoice::FORMS)),
        }
    }
}

impl fmt::Display for LinkChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkChoice::Nat => f.write_str("nat"),
            LinkChoice::Tun(name) => write!(f, "tun:{name}"),
            LinkChoice::Tap(name) => write!(f, "tap:{name}"),
            LinkChoice::Stream(path) => write!(f, "stream:{}", path.display()),
            LinkChoice::Wireguard(file) => write!(f, "wireguard:{}", file.display()),
        }
    }
}
