//! A station on an Ethernet network: its addresses, and whom it knows. Sans-IO: frames and packets go in, frames and packets
//! come out.
#![forbid(unsafe_code)]

use super::arp;
use super::dhcp::{self, Client};
use super::duplicates::Duplicates;
use super::frame::{self, Frame, HEADER, Mac};
use super::ndp;
use super::neighbours::{Due, Neighbours};
use super::slaac::Advertised;
use crate::addressing::{Addressing, Cidr, Route, next_hop, subnet_broadcast};
use crate::icmp;
use crate::ip::{self, Protocol};
use crate::link::segmentation::cut;
use crate::link::{Outgoing, Packet};
use crate::time::Instant;
use crate::udp;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Changes of its addresses that are told at once, and the time between those beyond.
const CHANGES_AT_ONCE: u32 = 8;
const BETWEEN_CHANGES: Duration = Duration::from_secs(1);

/// A station.
#[derive(Debug)]
pub struct Station {
    mac: Mac,
    addressing: Addressing,
    /// Where its addresses come from, when they are not given.
    automatic: Option<Automatic>,
    /// Whether it speaks IPv6.
    v6: bool,
    /// The addressing is another one than was last asked for.
    changed: bool,
    /// That may be told now.
    tells: bool,
    /// Each change that was told pays for `BETWEEN_CHANGES`: until when that has been done.
    told_until: Instant,
    neighbours: Neighbours,
    duplicates: Duplicates,
    /// Frames that it has to send.
    frames: VecDeque<Vec<u8>>,
    /// Whether it looks at checksums; else nobody has made those of what it is given, and somebody has looked at what comes.
    pub(super) verifies: bool,
    /// Packets that it has for the engine.
    packets: VecDeque<Packet>,
}

/// DHCP for IPv4, routers' advertisements for IPv6.
#[derive(Debug)]
struct Automatic {
    dhcp: Client,
    advertised: Advertised,
    /// Routes and name servers that hold whatever is advertised.
    given: Addressing,
}

impl Automatic {
    fn addressing(&self) -> Addressing {
        let lease = self.dhcp.lease();
        let servers = lease.map(|lease| lease.name_servers.clone()).unwrap_or_default();
        let routers = lease.and_then(|lease| lease.router).map(|router| Route::by(router.into()));
        let or = |given: &Vec<IpAddr>, found| if given.is_empty() { found } else { given.clone() };
        let found = servers.into_iter().map(IpAddr::from).chain(self.advertised.name_servers()).collect();
        let routes = match self.given.routes.is_empty() {
            true => routers.into_iter().chain(self.advertised.routes()).collect(),
            false => self.given.routes.clone(),
        };
        Addressing {
            addresses: lease
                .map(|lease| lease.address)
                .into_iter()
                .chain(self.advertised.addresses())
                .collect(),
            routes,
            name_servers: or(&self.given.name_servers, found),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.advertised.deadline().into_iter().chain([self.dhcp.deadline()]).min()
    }
}

impl Station {
    /// A station that asks for its addresses, and for routes and name servers where none are `given`.
    pub fn automatic(mac: Mac, given: Addressing, transaction: u32, now: Instant) -> Station {
        let dhcp = Client::new(mac, transaction, now);
        let advertised = Advertised::new(link_local(mac), now);
        let mut station = Station::new(mac, Addressing::default());
        station.automatic = Some(Automatic { dhcp, advertised, given });
        station.readdress();
        station
    }

    /// A station with these addresses, and one of the link besides (RFC 4862 5.3).
    pub fn new(mac: Mac, mut addressing: Addressing) -> Station {
        let own = Cidr::new(link_local(mac).into(), 64);
        addressing.addresses.push(own);
        let mut duplicates = Duplicates::default();
        duplicates.look_for(&addressing.addresses, &[]);
        Station {
            mac,
            addressing,
            automatic: None,
            v6: true,
            changed: false,
            tells: false,
            told_until: Instant::ZERO,
            neighbours: Neighbours::default(),
            duplicates,
            frames: VecDeque::new(),
            verifies: true,
            packets: VecDeque::new(),
        }
    }

    /// The same without IPv6, for which its network's packets are too small (RFC 8200 5).
    pub fn without_v6(mut self) -> Station {
        self.v6 = false;
        self.addressing.drop_v6();
        self.duplicates = Duplicates::default();
        self.duplicates.look_for(&self.addressing.addresses, &[]);
        self
    }

    /// Its addresses, routes and name servers.
    pub fn addressing(&self) -> &Addressing {
        &self.addressing
    }

    /// The same, once whenever it has changed; of a network that never comes to rest, once a second.
    pub(super) fn changed(&mut self) -> Option<Addressing> {
        core::mem::take(&mut self.tells).then(|| self.addressing.clone())
    }

    /// Whoever pretends to be a router must not keep the engine and the log busy.
    fn admit_change(&mut self, now: Instant) {
        if self.changed && self.may_tell_at() <= now {
            self.told_until = self.told_until.max(now) + BETWEEN_CHANGES;
            (self.changed, self.tells) = (false, true);
        }
    }

    fn may_tell_at(&self) -> Instant {
        let burst = BETWEEN_CHANGES * CHANGES_AT_ONCE;
        Instant::from_micros(self.told_until.micros().saturating_sub(burst.as_micros() as u64))
    }

    /// Takes over what was found out.
    fn readdress(&mut self) {
        if let Some(automatic) = &self.automatic {
            let before = core::mem::replace(&mut self.addressing, automatic.addressing());
            self.addressing.addresses.push(Cidr::new(link_local(self.mac).into(), 64));
            if !self.v6 {
                self.addressing.drop_v6();
            }
            self.duplicates.look_for(&self.addressing.addresses, &before.addresses);
            self.changed = true;
        }
    }

    /// The next frame that it has to send.
    pub(super) fn frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// The next packet that it made for the engine.
    pub(super) fn packet(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    /// Whether packets wait for their neighbours to answer.
    pub(super) fn waits(&self) -> bool {
        self.neighbours.waits()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let pending = !self.frames.is_empty() || !self.packets.is_empty();
        let automatic = self.automatic.as_ref().and_then(Automatic::deadline);
        if pending {
            Some(Instant::ZERO)
        } else {
            let change = self.changed.then(|| self.may_tell_at());
            let duplicates = self.duplicates.deadline();
            self.neighbours.deadline().into_iter().chain(duplicates).chain(automatic).chain(change).min()
        }
    }

    /// The header of the frame in which a packet goes; None when it waits until its neighbour is known, or has no way to go.
    pub(super) fn transmit(&mut self, packet: &Outgoing<'_>, now: Instant) -> Option<[u8; HEADER]> {
        let to = destination(packet.headers)?;
        let kind = if to.is_ipv4() { frame::IPV4 } else { frame::IPV6 };
        let header = |mac| Some(frame::header(mac, self.mac, kind));
        if to.is_multicast() {
            return header(Mac::of_group(to));
        }
        if self.is_broadcast(to) {
            return header(Mac::BROADCAST);
        }
        let hop = next_hop(&self.addressing.addresses, &self.addressing.routes, to)?;
        match self.neighbours.find(hop, now) {
            Some(mac) => header(mac),
            None => {
                // What waits goes as a frame of the station's, in which nothing is left to be done.
                cut(*packet, true, &mut |mut packet| {
                    if !self.verifies {
                        ip::fill_checksum(&mut packet);
                        ip::fill_transport_checksum(&mut packet);
                    }
                    self.neighbours.hold(hop, packet);
                });
                None
            }
        }
    }

    fn is_broadcast(&self, to: IpAddr) -> bool {
        let IpAddr::V4(to) = to else { return false };
        let mut own = self.addressing.addresses.iter();
        to.is_broadcast() || own.any(|own| subnet_broadcast(own.address, own.bits) == Some(to))
    }

    /// Takes a frame; gives the packet in it to `take` if there is one for the engine.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Instant, take: &mut dyn FnMut(&[u8])) {
        let Some(frame) = frame::open(bytes) else { return };
        if (frame.to != self.mac && !frame.to.is_group()) || frame.from.is_group() || frame.from == self.mac {
            return;
        }
        match frame.kind {
            frame::ARP => self.take_arp(&frame, now),
            frame::IPV6 if !self.v6 => {}
            frame::IPV6 if ndp::is_one(frame.payload) => self.take_ndp(&frame, now),
            frame::IPV4 if self.take_dhcp(frame::without_padding(frame.payload), now) => {}
            frame::IPV4 | frame::IPV6 => take(frame::without_padding(frame.payload)),
            _ => {}
        }
    }

    /// RFC 826: who is known is noted, and who asks for us is answered, and noted.
    fn take_arp(&mut self, frame: &Frame<'_>, now: Instant) {
        let Some(message) = arp::parse(frame.payload) else { return };
        let (mac, address) = message.from;
        let for_us = self.has(message.target.into());
        // One without an address of its own only looks whether ours is taken (RFC 5227).
        if self.has(address.into()) {
            self.duplicates.claimed(address.into(), mac);
        } else if !address.is_unspecified() {
            self.learn(address.into(), mac, for_us, now);
        }
        if message.asks && for_us {
            self.frames.push_back(arp::reply((self.mac, message.target), (mac, address)));
        }
    }

    fn take_ndp(&mut self, frame: &Frame<'_>, now: Instant) {
        match ndp::parse(frame::without_padding(frame.payload)) {
            Some(ndp::Message::Solicitation { from, mac, target }) if self.has(target.into()) => {
                if let Some(mac) = mac {
                    self.learn(from.into(), mac, true, now);
                }
                let to = (mac.unwrap_or(frame.from), from);
                self.frames.push_back(ndp::advertisement(self.mac, target, to));
            }
            Some(ndp::Message::Advertisement { target, mac }) => {
                let mac = mac.unwrap_or(frame.from);
                if self.has(target.into()) {
                    self.duplicates.claimed(target.into(), mac);
                } else {
                    self.learn(target.into(), mac, false, now);
                }
            }
            Some(ndp::Message::Router(advertisement)) => {
                self.learn(advertisement.from.into(), advertisement.mac.unwrap_or(frame.from), true, now);
                let automatic = self.automatic.as_mut();
                if automatic.is_some_and(|automatic| automatic.advertised.take(&advertisement, now)) {
                    self.readdress();
                }
            }
            Some(ndp::Message::Solicitation { .. }) | None => {}
        }
    }

    /// Whether it was for the client of DHCP, whose port no program has. No other packet is summed for it.
    fn take_dhcp(&mut self, packet: &[u8], now: Instant) -> bool {
        let Some(automatic) = &mut self.automatic else { return false };
        let datagram = |verify| {
            let header = ip::parse(packet, verify).ok().filter(|header| header.protocol == Protocol::Udp)?;
            let datagram = udp::parse(packet, &header, verify).ok()?;
            (datagram.destination.port() == dhcp::CLIENT).then_some(datagram.payload)
        };
        if datagram(false).is_none() {
            return false;
        }
        let message = datagram(self.verifies).and_then(|payload| packet.get(payload));
        if message.is_some_and(|message| automatic.dhcp.take(message, now)) {
            self.readdress();
        }
        true
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addressing.addresses.iter().any(|own| own.address == address)
    }

    fn learn(&mut self, address: IpAddr, mac: Mac, unasked: bool, now: Instant) {
        let kind = if address.is_ipv4() { frame::IPV4 } else { frame::IPV6 };
        for packet in self.neighbours.learn(address, mac, unasked, now) {
            self.frames.push_back([&frame::header(mac, self.mac, kind)[..], &packet].concat());
        }
    }

    /// Does what is due.
    pub(super) fn expire(&mut self, now: Instant) {
        self.expire_automatic(now);
        self.admit_change(now);
        while let Some(address) = self.duplicates.due(now) {
            self.frames.push_back(match address {
                IpAddr::V4(own) => arp::request((self.mac, Ipv4Addr::UNSPECIFIED), own, None),
                IpAddr::V6(own) => ndp::solicitation((self.mac, Ipv6Addr::UNSPECIFIED), own, None),
            });
        }
        while let Some(due) = self.neighbours.expire(now) {
            match due {
                Due::Ask(address, last) => self.ask(address, last),
                Due::Failed(address, packets) => {
                    packets.iter().for_each(|packet| self.fail(address, packet));
                }
            }
        }
    }

    fn expire_automatic(&mut self, now: Instant) {
        let (mac, own) = (self.mac, link_local(self.mac));
        let Some(automatic) = &mut self.automatic else { return };
        if automatic.advertised.must_solicit(now) && self.v6 {
            self.frames.push_back(ndp::router_solicitation((mac, own)));
        }
        let leased = automatic.dhcp.lease().is_some();
        if let Some(message) = automatic.dhcp.expire(now) {
            let source = match automatic.dhcp.lease().map(|lease| lease.address.address) {
                Some(IpAddr::V4(own)) => own,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let from = SocketAddr::new(source.into(), dhcp::CLIENT);
            let to = SocketAddr::new(Ipv4Addr::BROADCAST.into(), dhcp::SERVER);
            let packet = udp::build(from, to, &message, true);
            self.frames.push_back([&frame::header(Mac::BROADCAST, mac, frame::IPV4)[..], &packet].concat());
        }
        let ended = leased && automatic.dhcp.lease().is_none();
        if automatic.advertised.expire(now) || ended {
            self.readdress();
        }
    }

    fn ask(&mut self, address: IpAddr, last: Option<Mac>) {
        let frame = match address {
            IpAddr::V4(target) => match self.source_v4(target) {
                Some(own) => arp::request((self.mac, own), target, last),
                None => return,
            },
            IpAddr::V6(target) => ndp::solicitation((self.mac, self.source_v6(target)), target, last),
        };
        self.frames.push_back(frame);
    }

    /// Our address on the network of `target`, or any.
    fn source_v4(&self, target: Ipv4Addr) -> Option<Ipv4Addr> {
        let own = self.addressing.addresses.iter().filter(|own| own.address.is_ipv4());
        let best = own.max_by_key(|own| own.contains(target.into()))?;
        if let IpAddr::V4(address) = best.address { Some(address) } else { None }
    }

    fn source_v6(&self, target: Ipv6Addr) -> Ipv6Addr {
        let near = self.addressing.addresses.iter().find(|own| own.contains(target.into()));
        match near.map(|own| own.address) {
            Some(IpAddr::V6(address)) => address,
            _ => link_local(self.mac),
        }
    }

    /// What Linux tells its own sockets: the host cannot be reached, says the place where it should have been.
    fn fail(&mut self, hop: IpAddr, packet: &[u8]) {
        self.packets.extend(icmp::undeliverable(packet, Some(hop)));
    }
}

/// fe80:: and the station's address (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let [high, middle, low] = [[a ^ 2, b], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, high, u16::from_be_bytes([c, 0xff]), middle, low)
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?)),
        6 => Some(IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
