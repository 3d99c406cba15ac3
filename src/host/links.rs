//! From the settings to a link, with what wraps it and with the addresses that it brings. A new link is an arm of `attach`
//! and a file of its own.
//!
//! ```text
//!   engine ── capture ── impair ── the link
//! ```
//!
//! So the capture shows what the stack sent and got, as tcpdump(1) on a host shows it whose network is bad.
#![forbid(unsafe_code)]

use super::start::Serves;
use crate::addressing::{Addressing, Cidr, MTU_V6, is_link_local};
use crate::config::{self, Config, Impairment, LinkChoice};
use crate::ethernet::joined::Joined;
use crate::ethernet::stream;
use crate::ethernet::tap::Tap;
use crate::ethernet::{Ethernet, Frames, Mac, Station, UNTAGGED_MTU};
use crate::link::Link;
use crate::link::capture::Capture;
use crate::link::impair::Impair;
use crate::link::tun::Tun;
use crate::link::wireguard::{self, Wireguard};
use crate::nat::{self, Nat, Taken, Way};
use crate::sys;
use crate::sys::append::Appender;
use crate::time::Instant;
use core::fmt::Display;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::IpAddr;
use std::path::Path;

/// A link that was opened, and what the stack is called on it.
pub struct Attached {
    pub(super) link: Box<dyn Link>,
    pub(super) addressing: Addressing,
    /// Largest packet that the stack sends.
    pub(super) mtu: usize,
}

/// Opens the link of `config`. The error is a sentence for a person.
pub(super) fn open(config: &Config, serves: &Serves<'_>, now: Instant) -> Result<Attached, String> {
    let Attached { mut link, mut addressing, mtu } = attach(config, serves.taken(), now)?;
    if is_to_be_given(config) {
        await_address(&mut *link, &mut addressing, mtu >= MTU_V6, serves).ok_or_else(|| {
            let link = &config.link;
            named(
                config,
                format!(
                    "{link}: no address is to be had there by DHCP or from a router; give --address CIDR"
                ),
            )
        })?;
    }
    Ok(Attached { link: Box::new(impaired(link, config, now)), addressing, mtu })
}

/// The link with the capture of `config`, if there is to be one.
pub(super) fn captured(link: Box<dyn Link>, config: &Config) -> Result<Box<dyn Link>, String> {
    let Some(to) = &config.capture else { return Ok(link) };
    let (out, name) = match to {
        config::Capture::File(path) => (Appender::open(path), path.display().to_string()),
        config::Capture::Output => (Appender::standard_output(), "standard output".into()),
    };
    let capture = out.map_err(std::io::Error::from).and_then(|out| Capture::new(link, out));
    Ok(Box::new(capture.map_err(|error| unwritable(config.names.of("--capture"), &name, &error))?))
}

/// Why a capture or a trace cannot be written.
pub(super) fn unwritable(setting: &str, name: &str, error: &std::io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::ENXIO) => "; nobody reads that pipe: start its reader first",
        _ => "",
    };
    format!("{setting} '{name}': {error}{hint}")
}

/// The link itself, and the addresses, routes and name servers on it: those of the settings, and its own where they name
/// none. What the settings ask of the link it can do.
fn attach(config: &Config, taken: Taken, now: Instant) -> Result<Attached, String> {
    config.check()?;
    let (link, mut addressing) = attach_to(config, taken, now)?;
    let most = link.capabilities().mtu;
    let mtu = config.mtu.unwrap_or(most);
    if mtu > most {
        let (setting, link) = (config.names.of("--mtu"), &config.link);
        return Err(format!("{setting} {mtu}: the link {link} carries {most}; give no more than that"));
    }
    if mtu < MTU_V6 && addressing.has_v6() {
        let one_of_link = |own: &Cidr| own.address.is_ipv4() || is_link_local(own.address);
        let expected = is_to_be_given(config) || !addressing.addresses.iter().all(one_of_link);
        addressing.drop_v6();
        if addressing.addresses.is_empty() && !is_to_be_given(config) {
            let link = &config.link;
            let problem =
                format!("{link}: it carries {mtu} bytes, and IPv6 needs {MTU_V6}; give an address of IPv4");
            return Err(named(config, problem));
        }
        if expected {
            tracing::warn!(
                "there is no IPv6: the link carries {mtu} bytes, and it needs {MTU_V6} (RFC 8200)"
            );
        }
    }
    Ok(Attached { link, addressing, mtu })
}

fn attach_to(config: &Config, taken: Taken, now: Instant) -> Result<(Box<dyn Link>, Addressing), String> {
    let named = |problem| named(config, problem);
    match &config.link {
        LinkChoice::Nat => {
            let mtu = config.mtu.unwrap_or(nat::MTU);
            let way = Way { mtu, in_memory: !impairs(config) };
            let nat = Nat::new(&config.publish, taken, way, sys::entropy(), now)?;
            Ok((Box::new(nat), config.addressing(nat::addressing())))
        }
        LinkChoice::Tun(name) => {
            let mut addressing = config.addressing(Addressing::default());
            addressing.route_everything();
            Ok((Box::new(Tun::open(name).map_err(named)?), addressing))
        }
        LinkChoice::Tap(name) => Ok(station(config, Tap::open(name).map_err(named)?)),
        LinkChoice::Stream(path) => {
            let mtu = config.mtu.unwrap_or(UNTAGGED_MTU).min(stream::MTU_MAX);
            Ok(station(config, Joined::connect(path, mtu).map_err(named)?))
        }
        LinkChoice::Wireguard(file) => tunnel(config, file),
    }
}

/// A problem with the link of the settings, which says which link that is.
fn named(config: &Config, problem: impl Display) -> String {
    format!("{} {problem}", config.names.of("--link"))
}

/// A tunnel, whose file brings what the settings do not say.
fn tunnel(config: &Config, file: &Path) -> Result<(Box<dyn Link>, Addressing), String> {
    let named = |problem| named(config, problem);
    let configuration = wireguard::read(file).map_err(named)?;
    let mut addressing = config.addressing(configuration.addressing());
    if addressing.addresses.is_empty() {
        let link = &config.link;
        return Err(named(format!(
            "{link}: the program has no address there; give Address in the file, or --address CIDR"
        )));
    }
    addressing.route_everything();
    Ok((Box::new(Wireguard::open(file, &configuration).map_err(named)?), addressing))
}

/// A station on a network of frames, which asks for an address unless there is one.
fn station(config: &Config, frames: impl Frames + 'static) -> (Box<dyn Link>, Addressing) {
    let (mac, given) = (Mac::random(sys::entropy()), config.addressing(Addressing::default()));
    let has_v6 = config.mtu.unwrap_or(usize::MAX).min(frames.mtu()) >= MTU_V6;
    let station = match given.addresses.is_empty() {
        true => Station::automatic(mac, given, u32::from_ne_bytes(sys::entropy()), sys::now()),
        false => Station::new(mac, given),
    };
    // With IPv6 in any case: what is missing is told of when the link is there.
    let addressing = station.addressing().clone();
    let station = if has_v6 { station } else { station.without_v6() };
    (Box::new(Ethernet::new(frames, station)), addressing)
}

/// Whether the addresses are to come from the network.
fn is_to_be_given(config: &Config) -> bool {
    config.address.is_empty() && matches!(config.link, LinkChoice::Tap(_) | LinkChoice::Stream(_))
}

/// How long the network may take to give an address.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(10);
/// How long IPv6 is waited for when IPv4 has an address: a first question that is lost is asked again after a second.
const ROUTER_PATIENCE: Duration = Duration::from_secs(2);
/// The other way round: a server may look first whether anybody has the address (RFC 2131 2.2), as dnsmasq does for
/// three seconds.
const LEASE_PATIENCE: Duration = Duration::from_secs(4);

/// How long an interrupt of a program may go unseen that waits for its first socket.
const TURN: Duration = Duration::from_millis(50);

/// Waits until the network has given an address: what the program does first would fail without.
fn await_address(
    link: &mut dyn Link,
    addressing: &mut Addressing,
    has_v6: bool,
    serves: &Serves<'_>,
) -> Option<()> {
    let mut until = sys::now() + ADDRESS_PATIENCE;
    loop {
        let now = sys::now();
        if serves.is_interrupted() {
            return None;
        }
        while sys::now() < until && link.receive(now, &mut |_| {}) {}
        if let Some(changed) = link.addressing() {
            *addressing = changed;
        }
        let has = |wanted: fn(&IpAddr) -> bool| addressing.addresses.iter().any(|own| wanted(&own.address));
        let (v4, v6) = (has(IpAddr::is_ipv4), has(|own| own.is_ipv6() && !is_link_local(*own)));
        if v4 && (v6 || !has_v6) || now >= until {
            if v4 != v6 && has_v6 {
                tracing::info!("no address of IPv{} so far", if v4 { 6 } else { 4 });
            }
            return (v4 || v6).then_some(());
        }
        if v4 || v6 {
            until = until.min(now + if v4 { ROUTER_PATIENCE } else { LEASE_PATIENCE });
        }
        let until = if serves.may_be_interrupted() { until.min(now + TURN) } else { until };
        wait(link, until);
    }
}

/// Until the link has something to do.
fn wait(link: &mut dyn Link, until: Instant) {
    let until = link.deadline().map_or(until, |deadline| deadline.min(until));
    let left = until - sys::now();
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    let wake = link.wake();
    let mut wake: Vec<_> = wake.iter().map(|wake| PollFd::from_borrowed_fd(*wake, PollFlags::IN)).collect();
    // EINTR only means to look again.
    let _ = poll(&mut wake, Some(&left));
}

/// Whether anything is done to packets from the start: then they cross a network, as far as TCP goes.
fn impairs(config: &Config) -> bool {
    let asked = config.impair.unwrap_or_default();
    [asked.outgoing, asked.incoming].into_iter().flatten().any(|one| one != Impairment::default())
}

/// The link with what is to be done to its packets, which may change while it runs.
fn impaired(link: Box<dyn Link>, config: &Config, now: Instant) -> Impair<Box<dyn Link>> {
    let asked = config.impair.unwrap_or_default();
    let seed = asked.seed.unwrap_or_else(|| u64::from_ne_bytes(sys::entropy()));
    if asked.is_random() && asked.seed.is_none() {
        let setting = config.names.of("--impair");
        tracing::warn!("{setting}: seed {seed}; give it to have the same decisions again");
    }
    let [outgoing, incoming] = [asked.outgoing, asked.incoming].map(Option::unwrap_or_default);
    Impair::new(link, outgoing, incoming, seed, now)
}

/// Whether the link of `config` can be had, and what is published on it: it is opened, and let go of.
pub fn try_link(config: &Config) -> Result<(), String> {
    attach(config, Taken::Refused, sys::now()).map(|_| ())
}
