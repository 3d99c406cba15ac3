//! A DHCP client (RFC 2131, options of RFC 2132): an address of IPv4 with its network, the router and the name servers.
//! Sans-IO: the payloads of port 67 go out, those of port 68 come in.
//!
//! ```text
//!   discovering ──offer──► requesting ──acknowledged──► bound ──half of the lease──► requests again, keeping its address
//!        ▲                     │ refused, no answer        │ the lease is over
//!        └─────────────────────┴───────────────────────────┘
//! ```
//!
//! Everything is sent to everybody: a renewal finds its server so too. No address is looked for on the network before it is
//! used, nor given back at the end.
//!
//! Servers are not trusted with our time: whatever they answer, there is at most one round of messages a second, and a lease
//! of less than `LEASE_MIN`, or of an address that no host can have, is none. Nobody but the server that gave an address
//! refuses it.
#![forbid(unsafe_code)]

use super::frame::Mac;
use crate::addressing::{Cidr, is_unicast, subnet_broadcast};
use crate::time::Instant;
use core::time::Duration;
use std::net::Ipv4Addr;

/// Ports of the server and of the client.
pub(super) const SERVER: u16 = 67;
pub(super) const CLIENT: u16 = 68;

/// Where fields lie (RFC 2131 2), and the four bytes before the options.
const TRANSACTION: usize = 4;
const FLAGS: usize = 10;
const CLIENT_ADDRESS: usize = 12;
const YOUR_ADDRESS: usize = 16;
const HARDWARE: usize = 28;
const COOKIE: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// What BOOTP's relays expect at the least.
const LENGTH: usize = 300;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGED: u8 = 5;
const REFUSED: u8 = 6;

/// How long the first answer is waited for; each time twice as long, up to a limit.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// Requests for what was offered, before it begins again.
const REQUESTS: u32 = 4;
/// Between two requests for a lease that runs out.
const RENEWAL_WAIT: Duration = Duration::from_secs(60);
/// Shorter leases are none: they would have to be asked for all the time.
const LEASE_MIN: Duration = Duration::from_secs(10);
/// As good as for ever.
const LEASE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) address: Cidr,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) name_servers: Vec<Ipv4Addr>,
}

#[derive(Debug)]
enum State {
    Discovering,
    Requesting { address: Ipv4Addr, server: Ipv4Addr },
    Bound { lease: Lease, server: Ipv4Addr, until: Instant },
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    mac: Mac,
    transaction: u32,
    state: State,
    tries: u32,
    /// When the next message is due.
    due: Instant,
}

impl Client {
    pub(super) fn new(mac: Mac, transaction: u32, now: Instant) -> Client {
        Client { mac, transaction, state: State::Discovering, tries: 0, due: now }
    }

    /// What it has.
    pub(super) fn lease(&self) -> Option<&Lease> {
        if let State::Bound { lease, .. } = &self.state { Some(lease) } else { None }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.due
    }

    fn begin(&mut self, now: Instant) {
        (self.state, self.tries, self.due) = (State::Discovering, 0, now);
        self.transaction = self.transaction.wrapping_add(1);
    }

    /// The message that is due, if any.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Vec<u8>> {
        if now < self.due {
            return None;
        }
        match &self.state {
            State::Bound { until, .. } if *until <= now => {
                tracing::error!("the lease of the address from DHCP has run out");
                self.begin(now);
            }
            State::Requesting { .. } if self.tries >= REQUESTS => self.begin(now),
            State::Discovering | State::Requesting { .. } | State::Bound { .. } => {}
        }
        let wait = FIRST_WAIT * 2u32.saturating_pow(self.tries.min(8));
        self.tries += 1;
        self.due = now + wait.min(LONGEST_WAIT);
        Some(match &self.state {
            State::Discovering => self.message(DISCOVER, Ipv4Addr::UNSPECIFIED, &[]),
            State::Requesting { address, server } => {
                let asked = [&[50, 4][..], &address.octets(), &[54, 4], &server.octets()].concat();
                self.message(REQUEST, Ipv4Addr::UNSPECIFIED, &asked)
            }
            State::Bound { lease, until, .. } => {
                let std::net::IpAddr::V4(own) = lease.address.address else { return None };
                let due = (now + RENEWAL_WAIT).min(*until);
                let message = self.message(REQUEST, own, &[]);
                self.due = due;
                message
            }
        })
    }

    fn message(&self, kind: u8, own: Ipv4Addr, options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; COOKIE];
        // A request, over Ethernet, with addresses of six bytes.
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[TRANSACTION..TRANSACTION + 4].copy_from_slice(&self.transaction.to_be_bytes());
        // The answer is to be sent to everybody: this address is nobody's yet.
        message[FLAGS] = if own.is_unspecified() { 0x80 } else { 0 };
        message[CLIENT_ADDRESS..CLIENT_ADDRESS + 4].copy_from_slice(&own.octets());
        message[HARDWARE..HARDWARE + 6].copy_from_slice(&self.mac.0);
        message.extend(MAGIC);
        message.extend([53, 1, kind, 61, 7, 1]);
        message.extend(self.mac.0);
        // The mask, the routers, the name servers, and the times.
        message.extend([55, 6, 1, 3, 6, 51, 58, 59]);
        message.extend(options);
        message.push(255);
        message.resize(message.len().max(LENGTH), 0);
        message
    }

    /// Takes a message of a server. Whether the lease is another one now.
    pub(super) fn take(&mut self, message: &[u8], now: Instant) -> bool {
        let transaction = message.get(TRANSACTION..TRANSACTION + 4) == Some(&self.transaction.to_be_bytes());
        let ours = message.get(HARDWARE..HARDWARE + 6) == Some(&self.mac.0);
        if message.first() != Some(&2) || !transaction || !ours {
            return false;
        }
        let Some(options) = message.get(COOKIE..).and_then(|rest| rest.strip_prefix(&MAGIC)) else {
            return false;
        };
        let Some(from) = option(options, 54).and_then(|server| address_in(server, 0)) else { return false };
        let given = address_in(message, YOUR_ADDRESS).filter(|address| is_a_hosts(*address));
        match (option(options, 53), &self.state, given) {
            (Some([OFFER]), State::Discovering, Some(address)) => {
                (self.state, self.tries, self.due) = (State::Requesting { address, server: from }, 0, now);
                false
            }
            (Some([ACKNOWLEDGED]), State::Requesting { server, .. }, Some(address)) if *server == from => {
                self.bind(address, from, options, now)
            }
            // Any server may renew it, when it is asked for.
            (Some([ACKNOWLEDGED]), State::Bound { lease, .. }, Some(address))
                if self.tries > 0 && lease.address.address == address =>
            {
                self.bind(address, from, options, now)
            }
            (Some([REFUSED]), State::Requesting { server, .. }, _) if *server == from => {
                self.begin(now + FIRST_WAIT);
                false
            }
            (Some([REFUSED]), State::Bound { server, .. }, _) if *server == from && self.tries > 0 => {
                self.begin(now + FIRST_WAIT);
                true
            }
            _ => false,
        }
    }

    fn bind(&mut self, address: Ipv4Addr, server: Ipv4Addr, options: &[u8], now: Instant) -> bool {
        let seconds = |kind| {
            let bytes = option(options, kind)?.first_chunk::<4>()?;
            Some(Duration::from_secs(u32::from_be_bytes(*bytes).into()).min(LEASE_MAX))
        };
        let mask = option(options, 1).and_then(|mask| address_in(mask, 0)).unwrap_or(Ipv4Addr::BROADCAST);
        let bits = mask.to_bits().leading_ones() as u8;
        let length = seconds(51).unwrap_or(LEASE_MAX);
        if length < LEASE_MIN || subnet_broadcast(address.into(), bits) == Some(address) {
            return false;
        }
        let servers = option(options, 6).unwrap_or_default();
        let servers = (0..servers.len()).step_by(4).filter_map(|at| address_in(servers, at));
        let router = option(options, 3).and_then(|routers| address_in(routers, 0));
        let lease = Lease {
            address: Cidr::new(address.into(), bits),
            router: router.filter(|router| is_a_hosts(*router)),
            name_servers: servers.filter(|server| is_a_hosts(*server)).collect(),
        };
        // RFC 2131 4.4.5: half of the lease, unless the server has another time before its end.
        let renewal = seconds(58).filter(|renewal| *renewal < length).unwrap_or(length / 2);
        let changed = self.lease() != Some(&lease);
        (self.tries, self.due) = (0, now + renewal.max(LEASE_MIN / 2));
        self.state = State::Bound { lease, server, until: now + length };
        changed
    }
}

/// Whether a host on a network can have it.
fn is_a_hosts(address: Ipv4Addr) -> bool {
    is_unicast(address.into()) && !address.is_loopback()
}

fn address_in(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

/// The value of an option.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return None,
            [kind, length, rest @ ..] => {
                let (value, rest) = rest.split_at_checked((*length).into())?;
                if *kind == wanted {
                    return Some(value);
                }
                options = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn answer(message: &[u8], kind: u8, options: &[u8]) -> Vec<u8> {
        let mut answer = message[..COOKIE].to_vec();
        answer[0] = 2;
        answer[YOUR_ADDRESS..YOUR_ADDRESS + 4].copy_from_slice(&[192, 0, 2, 77]);
        answer.extend(MAGIC);
        answer.extend([53, 1, kind, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 0, 100]);
        answer.extend(options);
        answer.push(255);
        answer
    }

    /// Takes an acknowledgement that says this besides, in place of the one of `bound`.
    fn acknowledged(options: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Client {
        let mut client = Client::new(MAC, 7, at(0));
        let discover = client.expire(at(0)).expect("it is due");
        client.take(&answer(&discover, OFFER, &OPTIONS), at(0));
        let request = client.expire(at(0)).expect("it is due");
        let mut message = answer(&request, ACKNOWLEDGED, &[&OPTIONS, options].concat());
        change(&mut message);
        client.take(&message, at(0));
        client
    }

    /// Where the value of the option 51 lies in what `answer` makes.
    const LENGTH_OF_LEASE: core::ops::Range<usize> = COOKIE + 4 + 11..COOKIE + 4 + 15;

    #[test]
    fn a_lease_that_would_have_to_be_asked_for_all_the_time_is_none() {
        for (seconds, taken) in [(0u32, false), (9, false), (10, true), (u32::MAX, true)] {
            let length =
                |message: &mut Vec<u8>| message[LENGTH_OF_LEASE].copy_from_slice(&seconds.to_be_bytes());
            assert_eq!(acknowledged(&[], length).lease().is_some(), taken, "{seconds} s");
        }
        for (renewal, expected) in [(0u32, 5), (7, 7), (99, 99), (100, 50), (u32::MAX, 50)] {
            let [a, b, c, d] = renewal.to_be_bytes();
            let client = acknowledged(&[58, 4, a, b, c, d], |_| {});
            assert_eq!(client.deadline(), at(expected), "{renewal}");
        }
    }

    #[test]
    fn an_address_that_no_host_has_is_none() {
        for address in [[127, 0, 0, 2], [0; 4], [255; 4], [224, 0, 0, 5], [240, 0, 0, 1], [192, 0, 2, 255]] {
            let other =
                |message: &mut Vec<u8>| message[YOUR_ADDRESS..YOUR_ADDRESS + 4].copy_from_slice(&address);
            assert_eq!(acknowledged(&[], other).lease(), None, "{address:?}");
        }
    }

    #[test]
    fn nobody_but_the_server_refuses() {
        let (mut client, _) = bound();
        let renewal = client.expire(at(50)).expect("it is due");
        let mut other = answer(&renewal, REFUSED, &[]);
        // The last byte of the server's address.
        other[COOKIE + 4 + 8] ^= 1;
        assert!(!client.take(&other, at(50)) && client.lease().is_some());
        assert!(client.take(&answer(&renewal, REFUSED, &[]), at(50)) && client.lease().is_none());
        assert_eq!(client.deadline(), at(51), "not at once");
        // Nor does anybody who was not asked.
        let (mut client, request) = bound();
        assert!(!client.take(&answer(&request, REFUSED, &[]), at(1)));
        assert!(!client.take(&answer(&request, ACKNOWLEDGED, &OPTIONS[6..]), at(1)));
        assert_eq!(client.deadline(), at(50));
    }

    const OPTIONS: [u8; 24] =
        [1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1, 6, 8, 192, 0, 2, 53, 192, 0, 2, 54, 0, 0];

    fn bound() -> (Client, Vec<u8>) {
        let mut client = Client::new(MAC, 7, at(0));
        let discover = client.expire(at(0)).expect("it is due");
        assert_eq!(option(&discover[COOKIE + 4..], 53), Some(&[DISCOVER][..]));
        assert!(!client.take(&answer(&discover, OFFER, &OPTIONS), at(0)));
        let request = client.expire(at(0)).expect("it is due");
        assert_eq!(option(&request[COOKIE + 4..], 50), Some(&[192, 0, 2, 77][..]));
        assert!(client.take(&answer(&request, ACKNOWLEDGED, &OPTIONS), at(0)));
        (client, request)
    }

    #[test]
    fn an_address_is_asked_for_and_kept() {
        let (mut client, _) = bound();
        let lease = client.lease().expect("it is bound").clone();
        assert_eq!(lease.address.to_string(), "192.0.2.77/24");
        assert_eq!(lease.router, Some([192, 0, 2, 1].into()));
        assert_eq!(lease.name_servers, [Ipv4Addr::from([192, 0, 2, 53]), [192, 0, 2, 54].into()]);
        assert_eq!(client.deadline(), at(50));
        let renewal = client.expire(at(50)).expect("it is due");
        assert_eq!(address_in(&renewal, CLIENT_ADDRESS), Some([192, 0, 2, 77].into()));
        assert!(!client.take(&answer(&renewal, ACKNOWLEDGED, &OPTIONS), at(51)));
        assert_eq!(client.deadline(), at(101));
    }

    #[test]
    fn a_lease_ends() {
        let (mut client, _) = bound();
        client.expire(at(50));
        client.expire(at(100));
        assert_eq!(client.lease(), None);
        let (mut client, _) = bound();
        let renewal = client.expire(at(50)).expect("it is due");
        assert!(client.take(&answer(&renewal, REFUSED, &[]), at(50)));
        assert_eq!(client.lease(), None);
    }

    #[test]
    fn silence_is_asked_again_ever_less_often() {
        let mut client = Client::new(MAC, 7, at(0));
        let mut times = Vec::new();
        for _ in 0..7 {
            times.push(client.deadline());
            assert!(client.expire(client.deadline()).is_some());
        }
        assert_eq!(times, [0, 1, 3, 7, 15, 31, 47].map(at));
    }

    #[test]
    fn others_answers_and_cut_ones_are_not_taken() {
        let mut client = Client::new(MAC, 7, at(0));
        let discover = client.expire(at(0)).expect("it is due");
        let offer = answer(&discover, OFFER, &OPTIONS);
        for place in [0, TRANSACTION, HARDWARE, COOKIE] {
            let mut other = offer.clone();
            other[place] ^= 1;
            client.take(&other, at(0));
            assert!(matches!(client.state, State::Discovering), "{place}");
        }
        for length in 0..offer.len() {
            let _never_a_panic = client.take(&offer[..length], at(0));
        }
    }
}
