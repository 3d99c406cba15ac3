//! Packets that come in fragments, until all of one are there.
//!
//! Fragments that overlap make the whole packet worthless: nobody makes such but an attacker (RFC 5722 4, RFC 8200 4.5; Linux
//! for both versions). What has not come within the time is forgotten when the next fragment of any packet comes: there is no
//! timer, and no ICMP error, since a sender has no use for one.
//!
//! Limits: so many packets, fragments and bytes at once; then the oldest goes. The last fragment may come first.
#![forbid(unsafe_code)]

use super::fragment::Fragment;
use super::{Header, Protocol, header_length, write_header};
use crate::link::Packet;
use crate::time::Instant;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Linux's ipfrag_time; RFC 8200 4.5 would have IPv6's wait for 60 seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Packets in parts. A scan of so few costs less than a hash.
const PACKETS_MAX: usize = 64;

/// Fragments of one packet: more than the smallest MTU of IPv4's day makes of the largest. So they stay cheap to keep in order.
const PARTS_MAX: usize = 256;

/// Bytes of all their fragments: Linux's ipfrag_high_thresh is four times that, for a whole machine.
const BYTES_MAX: usize = 1024 * 1024;

/// Which packet a fragment is of (RFC 791 3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    identification: u32,
}

impl Key {
    fn of(fragment: &Fragment) -> Key {
        let Header { source, destination, protocol, .. } = fragment.header;
        Key { source, destination, protocol, identification: fragment.identification }
    }
}

struct Partial {
    key: Key,
    since: Instant,
    /// In order of offset, without overlap.
    parts: Vec<(Fragment, Box<[u8]>)>,
    /// Length of the payload, once the last fragment has come.
    total: Option<usize>,
    bytes: usize,
}

/// What a fragment makes of its packet.
enum Outcome {
    Waits,
    Complete,
    Spoilt,
}

impl Partial {
    fn add(&mut self, fragment: Fragment, payload: &[u8]) -> Outcome {
        let range = fragment.range();
        let place = self.parts.partition_point(|(other, _)| other.offset < range.start);
        let before = place.checked_sub(1).map(|before| self.parts[before].0.range());
        let after = self.parts.get(place).map(|(after, _)| after.range());
        if after.as_ref() == Some(&range) {
            // The same once more, which networks do: the first one counts.
            return Outcome::Waits;
        }
        let overlaps = before.is_some_and(|before| before.end > range.start)
            || after.is_some_and(|after| after.start < range.end);
        let end = if fragment.more { self.total } else { Some(range.end) };
        let beyond = end.is_some_and(|end| {
            range.end > end || self.total.is_some_and(|total| total != end) || self.reach() > end
        });
        if overlaps || beyond || self.parts.len() >= PARTS_MAX {
            return Outcome::Spoilt;
        }
        self.total = end;
        self.bytes += payload.len();
        self.parts.insert(place, (fragment, payload.into()));
        // Without overlaps, all bytes are there when they are enough.
        if self.total == Some(self.bytes) { Outcome::Complete } else { Outcome::Waits }
    }

    fn reach(&self) -> usize {
        self.parts.last().map_or(0, |(last, _)| last.range().end)
    }

    /// The packet, with a header as the first fragment had it.
    fn join(self) -> Option<Packet> {
        let first = &self.parts.first()?.0.header;
        let total = header_length(&first.source) + self.bytes;
        let mut packet = Packet::with_capacity(total);
        packet.resize(header_length(&first.source), 0);
        write_header(
            &mut packet,
            first.source,
            first.destination,
            first.protocol,
            first.treatment,
            self.bytes,
            true,
        );
        self.parts.iter().for_each(|(_, payload)| packet.extend_from_slice(payload));
        // IPv4 counts the header in.
        (!first.source.is_ipv4() || total <= usize::from(u16::MAX)).then_some(packet)
    }
}

/// All packets that are in parts, the oldest first.
#[derive(Default)]
pub(crate) struct Reassembly {
    partials: VecDeque<Partial>,
    bytes: usize,
}

impl Reassembly {
    /// Takes a fragment; the packet, when it is the last that was missing. False as the second when it, or what there was
    /// of its packet, or an older packet, was thrown away.
    pub(crate) fn take(
        &mut self,
        fragment: Fragment,
        payload: &[u8],
        now: Instant,
    ) -> (Option<Packet>, bool) {
        let mut kept = !self.expire(now);
        let key = Key::of(&fragment);
        let found = self.partials.iter().position(|partial| partial.key == key);
        let mut partial = match found.and_then(|index| self.remove(index)) {
            Some(partial) => partial,
            None => Partial { key, since: now, parts: Vec::new(), total: None, bytes: 0 },
        };
        let packet = match partial.add(fragment, payload) {
            Outcome::Complete => {
                let packet = partial.join();
                kept &= packet.is_some();
                packet
            }
            Outcome::Spoilt => {
                kept = false;
                None
            }
            Outcome::Waits => {
                self.bytes += partial.bytes;
                // In the order of their beginning, for `expire`.
                let place = self.partials.partition_point(|other| other.since <= partial.since);
                self.partials.insert(place, partial);
                None
            }
        };
        while self.partials.len() > PACKETS_MAX || self.bytes > BYTES_MAX {
            self.remove(0);
            kept = false;
        }
        (packet, kept)
    }

    fn remove(&mut self, index: usize) -> Option<Partial> {
        let partial = self.partials.remove(index)?;
        self.bytes -= partial.bytes;
        Some(partial)
    }

    /// Whether any had waited too long.
    fn expire(&mut self, now: Instant) -> bool {
        let before = self.partials.len();
        while self.partials.front().is_some_and(|oldest| now - oldest.since >= PATIENCE) {
            self.remove(0);
        }
        self.partials.len() < before
    }
}
