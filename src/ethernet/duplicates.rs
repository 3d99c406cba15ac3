//! Whether another station has an address of ours (RFC 4862 5.4, RFC 5227 2.1.1): each is asked for three times when it comes,
//! a second apart, by one who has no address yet. A network that has just come up may lose the first.
//!
//! An address is used from the start, as RFC 4429 would have it: no program waits a second for it. Who answers is told of in
//! the log, once for each address, and the address stays: which of the two has to go is for people to say, and a word from
//! the network takes nothing away.
#![forbid(unsafe_code)]

use super::frame::Mac;
use crate::addressing::Cidr;
use crate::time::Instant;
use core::time::Duration;
use std::net::IpAddr;

/// RFC 5227 1.1: PROBE_NUM, PROBE_MIN.
const PROBES: u32 = 3;
const INTERVAL: Duration = Duration::from_secs(1);

/// Addresses of which it is remembered that somebody was told.
const TOLD_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Duplicates {
    /// To be asked for: so often, and next then.
    asking: Vec<(IpAddr, u32, Instant)>,
    pub(super) told: Vec<IpAddr>,
}

impl Duplicates {
    /// Those of `addresses` that were not there `before` are to be asked for.
    pub(super) fn look_for(&mut self, addresses: &[Cidr], before: &[Cidr]) {
        let has = |own: &Cidr| before.iter().any(|other| other.address == own.address);
        for own in addresses.iter().filter(|own| !has(own)) {
            self.asking.retain(|(address, ..)| *address != own.address);
            self.asking.push((own.address, PROBES, Instant::ZERO));
        }
    }

    /// The next address that is to be asked for now.
    pub(super) fn due(&mut self, now: Instant) -> Option<IpAddr> {
        let index = self.asking.iter().position(|(_, _, at)| *at <= now)?;
        let (address, left, at) = &mut self.asking[index];
        let address = *address;
        (*left, *at) = (*left - 1, now + INTERVAL);
        if *left == 0 {
            self.asking.swap_remove(index);
        }
        Some(address)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asking.iter().map(|(_, _, at)| *at).min()
    }

    /// Another station says that an address of ours is its own.
    pub(super) fn claimed(&mut self, address: IpAddr, by: Mac) {
        if !self.told.contains(&address) && self.told.len() < TOLD_MAX {
            self.told.push(address);
            tracing::error!(
                "the address {address} is also that of {by} on the network: give one of the two another"
            );
        }
    }
}
