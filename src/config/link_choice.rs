//! Which link carries the packets: `nat`, or a kind and what it is attached to.
#![forbid(unsafe_code)]

use core::fmt;
use core::str::FromStr;

/// Which link carries the packets.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LinkChoice {
    /// The built-in network address translator.
    #[default]
    Nat,
    /// A TUN device of the kernel's, by its name.
    Tun(String),
}

impl LinkChoice {
    /// How each is written, for messages.
    const FORMS: &str = "nat or tun:NAME";
}

impl FromStr for LinkChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, what) = text.split_once(':').unwrap_or((text, ""));
        match (kind, what) {
            ("nat", "") => Ok(LinkChoice::Nat),
            ("tun", "") => Err("the name of a device is missing; write tun:NAME".into()),
            ("tun", name) => Ok(LinkChoice::Tun(name.into())),
            _ => Err(format!("there is no such link; use {}", LinkChoice::FORMS)),
        }
    }
}

impl fmt::Display for LinkChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkChoice::Nat => f.write_str("nat"),
            LinkChoice::Tun(name) => write!(f, "tun:{name}"),
        }
    }
}
