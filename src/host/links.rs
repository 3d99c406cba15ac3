//! From the settings to a link, with what wraps it and with the addresses that it brings. A new link is an arm of `attach`
//! and a file of its own.

use crate::addressing::Addressing;
use crate::config::{Config, LinkChoice};
use crate::link::Link;
use crate::link::capture::Capture;
use crate::link::tun::Tun;
use crate::nat::{self, Nat};
use crate::sys;
use crate::time::Instant;

/// A link, and what the stack is called on it.
pub(super) struct Attached {
    pub(super) link: Box<dyn Link>,
    pub(super) addressing: Addressing,
    /// Largest packet that the stack sends.
    pub(super) mtu: usize,
}

/// Opens the link of `config`. The error is a sentence for a person.
pub(super) fn open(config: &Config, now: Instant) -> Result<Attached, String> {
    config.check()?;
    let (mut link, brought) = attach(config, now)?;
    let mut addressing = config.addressing(brought);
    if addressing.addresses.is_empty() {
        return Err(format!("--link {}: the program has no address there; give --address CIDR", config.link));
    }
    addressing.route_everything();
    if let Some(path) = &config.capture {
        let capture = Capture::new(link, path);
        link = Box::new(
            capture.map_err(|error| format!("TUBESOCK_CAPTURE: cannot open {}: {error}", path.display()))?,
        );
    }
    let most = link.capabilities().mtu;
    let mtu = config.mtu.unwrap_or(most);
    if mtu > most {
        return Err(format!("--mtu {mtu}: the link {} carries {most}; give no more than that", config.link));
    }
    Ok(Attached { link, addressing, mtu })
}

/// The link itself, and the addresses, routes and name servers that hold where the settings name none.
fn attach(config: &Config, now: Instant) -> Result<(Box<dyn Link>, Addressing), String> {
    Ok(match &config.link {
        LinkChoice::Nat => (Box::new(Nat::new(&config.publish, sys::entropy(), now)?), nat::addressing()),
        LinkChoice::Tun(name) => (Box::new(Tun::open(name)?), Addressing::default()),
    })
}

/// Whether the link of `config` can be had: it is opened, and let go of.
pub fn try_link(config: &Config) -> Result<(), String> {
    attach(config, sys::now()).map(|_| ())
}
