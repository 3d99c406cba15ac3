//! Who is where on the network, by IP address: what ARP and neighbour discovery keep (RFC 4861 7.3, the states of which
//! Linux's `ip neighbour` shows). It says when somebody is to be asked, and what could not be delivered.
//!
//! ```text
//!   nobody known ──► asked, up to 3 times, a second apart; packets wait ──► failed: they come back
//!                         │ answered                            ▲
//!                         ▼                                     │ 3 times no answer
//!                      known for 30 s ──► used later: asked again, while packets flow on
//! ```
#![forbid(unsafe_code)]

use super::frame::Mac;
use crate::link::Packet;
use crate::time::Instant;
use core::time::Duration;
use std::collections::HashMap;
use std::net::IpAddr;

/// RFC 4861 10: RETRANS_TIMER, MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT, REACHABLE_TIME.
const RETRANSMIT: Duration = Duration::from_secs(1);
const TRIES: u32 = 3;
const REACHABLE: Duration = Duration::from_secs(30);

/// Neighbours remembered. A network with more of them is asked more often.
const ENTRIES_MAX: usize = 1024;
/// Packets that wait for one neighbour.
const WAITING_MAX: usize = 64;

/// What is known of one neighbour.
#[derive(Debug)]
enum State {
    /// Asked for.
    Incomplete(Vec<Packet>),
    /// Known since.
    Known(Mac, Instant),
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// How often was asked, and when that is due again; None when nobody is being asked.
    asking: Option<(u32, Instant)>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask for this address: everybody, or the one who had it last.
    Ask(IpAddr, Option<Mac>),
    /// It does not answer, and these packets were for it.
    Failed(IpAddr, Vec<Packet>),
}

#[derive(Debug, Default)]
pub(super) struct Neighbours(HashMap<IpAddr, Entry>);

impl Neighbours {
    /// Where `address` is. None: it is asked for, and the packet may wait.
    pub(super) fn find(&mut self, address: IpAddr, now: Instant) -> Option<Mac> {
        if !self.0.contains_key(&address) {
            self.make_room();
        }
        let unknown = || Entry { state: State::Incomplete(Vec::new()), asking: Some((0, now)) };
        let entry = self.0.entry(address).or_insert_with(unknown);
        match entry.state {
            State::Known(mac, since) => {
                if now - since > REACHABLE && entry.asking.is_none() {
                    entry.asking = Some((0, now));
                }
                Some(mac)
            }
            State::Incomplete(_) => None,
        }
    }

    /// Lets a packet wait for `address`.
    pub(super) fn hold(&mut self, address: IpAddr, packet: Packet) {
        if let Some(Entry { state: State::Incomplete(waiting), .. }) = self.0.get_mut(&address) {
            // The newest counts, as on Linux.
            if waiting.len() >= WAITING_MAX {
                waiting.remove(0);
            }
            waiting.push(packet);
        }
    }

    /// Notes where `address` is, if it matters to anybody or `unasked` is to be remembered too; returns the packets that
    /// waited.
    pub(super) fn learn(&mut self, address: IpAddr, mac: Mac, unasked: bool, now: Instant) -> Vec<Packet> {
        let new = Entry { state: State::Known(mac, now), asking: None };
        match self.0.get_mut(&address) {
            Some(entry) => match core::mem::replace(entry, new).state {
                State::Incomplete(waiting) => return waiting,
                State::Known(..) => {}
            },
            None if unasked => {
                self.make_room();
                self.0.insert(address, new);
            }
            None => {}
        }
        Vec::new()
    }

    /// Forgets the one that was known longest, or asked for first, when there is no room for another.
    fn make_room(&mut self) {
        if self.0.len() < ENTRIES_MAX {
            return;
        }
        let age = |entry: &Entry| match (&entry.state, entry.asking) {
            (State::Known(_, since), _) => *since,
            (State::Incomplete(_), asking) => asking.map_or(Instant::ZERO, |(_, due)| due),
        };
        let oldest = self.0.iter().min_by_key(|(_, entry)| age(entry)).map(|(address, _)| *address);
        self.0.remove(&oldest.expect("it is full"));
    }

    /// The next thing that is due, if any.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Due> {
        let mut entries = self.0.iter_mut();
        let (address, entry) = entries.find(|(_, entry)| entry.asking.is_some_and(|(_, due)| due <= now))?;
        let address = *address;
        let (tries, _) = entry.asking?;
        if tries < TRIES {
            entry.asking = Some((tries + 1, now + RETRANSMIT));
            let last = if let State::Known(mac, _) = entry.state { Some(mac) } else { None };
            return Some(Due::Ask(address, last));
        }
        match self.0.remove(&address)?.state {
            State::Incomplete(waiting) => Some(Due::Failed(address, waiting)),
            State::Known(..) => Some(Due::Failed(address, Vec::new())),
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|entry| entry.asking.map(|(_, due)| due)).min()
    }

    /// Whether packets wait.
    pub(super) fn waits(&self) -> bool {
        self.0.values().any(|entry| matches!(&entry.state, State::Incomplete(waiting) if !waiting.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000 + 1)
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn who_does_not_answer_is_asked_three_times() {
        let mut neighbours = Neighbours::default();
        assert_eq!(neighbours.find(address(1), at(0)), None);
        neighbours.hold(address(1), vec![1]);
        for second in 0..3 {
            assert_eq!(neighbours.expire(at(second)), Some(Due::Ask(address(1), None)));
            assert_eq!(neighbours.expire(at(second)), None);
            assert_eq!(neighbours.deadline(), Some(at(second + 1)));
        }
        assert!(neighbours.waits());
        assert_eq!(neighbours.expire(at(3)), Some(Due::Failed(address(1), vec![vec![1]])));
        assert_eq!((neighbours.deadline(), neighbours.waits()), (None, false));
    }

    #[test]
    fn who_answered_is_asked_again_when_he_is_needed_later() {
        let mut neighbours = Neighbours::default();
        assert_eq!(neighbours.find(address(1), at(0)), None);
        neighbours.hold(address(1), vec![1]);
        assert_eq!(neighbours.learn(address(1), MAC, false, at(0)), [vec![1]]);
        assert_eq!(neighbours.find(address(1), at(20)), Some(MAC));
        assert_eq!(neighbours.deadline(), None);
        assert_eq!(neighbours.find(address(1), at(40)), Some(MAC));
        assert_eq!(neighbours.expire(at(40)), Some(Due::Ask(address(1), Some(MAC))));
        neighbours.learn(address(1), MAC, false, at(40));
        assert_eq!(neighbours.deadline(), None);
        // And one that has gone is looked for anew.
        neighbours.find(address(1), at(80));
        while !matches!(neighbours.expire(at(90)), Some(Due::Failed(..))) {
            neighbours.0.values_mut().for_each(|entry| entry.asking = entry.asking.map(|(n, _)| (n, at(90))));
        }
        assert_eq!(neighbours.find(address(1), at(90)), None);
    }

    #[test]
    fn what_nobody_asked_for_is_forgotten_and_all_is_bounded() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(address(1), MAC, false, at(0));
        assert!(neighbours.0.is_empty());
        for number in 0..2000u32 {
            neighbours.learn(IpAddr::V4((0x0a00_0000 + number).into()), MAC, true, at(number.into()));
        }
        assert_eq!(neighbours.0.len(), ENTRIES_MAX);
        for number in 0..100 {
            neighbours.find(address(1), at(5000));
            neighbours.hold(address(1), vec![number]);
        }
        assert_eq!(neighbours.learn(address(1), MAC, false, at(5000)).len(), WAITING_MAX);
    }
}
