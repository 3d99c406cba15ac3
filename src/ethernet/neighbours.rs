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
use std::collections::{BTreeSet, HashMap};
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

impl Entry {
    fn unknown(now: Instant) -> Entry {
        Entry { state: State::Incomplete(Vec::new()), asking: Some((0, now)) }
    }

    /// Since when it is known, or when its turn to be asked comes: the least goes first.
    fn age(&self) -> Instant {
        match (&self.state, self.asking) {
            (State::Known(_, since), _) => *since,
            (State::Incomplete(_), asking) => asking.map_or(Instant::ZERO, |(_, due)| due),
        }
    }

    fn has_waiting(&self) -> bool {
        matches!(&self.state, State::Incomplete(waiting) if !waiting.is_empty())
    }
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
pub(super) struct Neighbours {
    entries: HashMap<IpAddr, Entry>,
    /// Who is being asked, by when that is due.
    asked: BTreeSet<(Instant, IpAddr)>,
    /// All, by age.
    aged: BTreeSet<(Instant, IpAddr)>,
    /// Those that packets wait for.
    awaited: usize,
}

impl Neighbours {
    /// Where `address` is. None: it is asked for, and the packet may wait.
    pub(super) fn find(&mut self, address: IpAddr, now: Instant) -> Option<Mac> {
        let Some(entry) = self.entries.get_mut(&address) else {
            self.make_room();
            self.put(address, Entry::unknown(now));
            return None;
        };
        let State::Known(mac, since) = entry.state else { return None };
        if now - since > REACHABLE && entry.asking.is_none() {
            entry.asking = Some((0, now));
            self.asked.insert((now, address));
        }
        Some(mac)
    }

    /// Lets a packet wait for `address`.
    pub(super) fn hold(&mut self, address: IpAddr, packet: Packet) {
        if let Some(Entry { state: State::Incomplete(waiting), .. }) = self.entries.get_mut(&address) {
            self.awaited += usize::from(waiting.is_empty());
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
        let before = self.take(address);
        if before.is_none() && !unasked {
            return Vec::new();
        }
        self.make_room();
        self.put(address, Entry { state: State::Known(mac, now), asking: None });
        match before.map(|entry| entry.state) {
            Some(State::Incomplete(waiting)) => waiting,
            Some(State::Known(..)) | None => Vec::new(),
        }
    }

    /// Forgets the one that was known longest, or asked for first, when there is no room for another.
    fn make_room(&mut self) {
        if self.entries.len() >= ENTRIES_MAX
            && let Some((_, oldest)) = self.aged.first()
        {
            self.take(*oldest);
        }
    }

    fn put(&mut self, address: IpAddr, entry: Entry) {
        self.asked.extend(entry.asking.map(|(_, due)| (due, address)));
        self.aged.insert((entry.age(), address));
        self.awaited += usize::from(entry.has_waiting());
        self.entries.insert(address, entry);
    }

    fn take(&mut self, address: IpAddr) -> Option<Entry> {
        let entry = self.entries.remove(&address)?;
        if let Some((_, due)) = entry.asking {
            self.asked.remove(&(due, address));
        }
        self.aged.remove(&(entry.age(), address));
        self.awaited -= usize::from(entry.has_waiting());
        Some(entry)
    }

    /// The next thing that is due, if any.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Due> {
        let (_, address) = *self.asked.first().filter(|(due, _)| *due <= now)?;
        let Entry { state, asking } = self.take(address)?;
        let (tries, _) = asking?;
        if tries < TRIES {
            let last = if let State::Known(mac, _) = state { Some(mac) } else { None };
            self.put(address, Entry { state, asking: Some((tries + 1, now + RETRANSMIT)) });
            return Some(Due::Ask(address, last));
        }
        match state {
            State::Incomplete(waiting) => Some(Due::Failed(address, waiting)),
            State::Known(..) => Some(Due::Failed(address, Vec::new())),
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asked.first().map(|(due, _)| *due)
    }

    /// Whether packets wait.
    pub(super) fn waits(&self) -> bool {
        self.awaited > 0
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
        let failed = (80..90).any(|second| matches!(neighbours.expire(at(second)), Some(Due::Failed(..))));
        assert!(failed);
        assert_eq!(neighbours.find(address(1), at(90)), None);
    }

    #[test]
    fn what_nobody_asked_for_is_forgotten_and_all_is_bounded() {
        let mut neighbours = Neighbours::default();
        neighbours.learn(address(1), MAC, false, at(0));
        assert!(neighbours.entries.is_empty());
        for number in 0..2000u32 {
            neighbours.learn(IpAddr::V4((0x0a00_0000 + number).into()), MAC, true, at(number.into()));
        }
        assert_eq!(neighbours.entries.len(), ENTRIES_MAX);
        for number in 0..100 {
            neighbours.find(address(1), at(5000));
            neighbours.hold(address(1), vec![number]);
        }
        assert_eq!(neighbours.learn(address(1), MAC, false, at(5000)).len(), WAITING_MAX);
    }

    /// What `asked`, `aged` and `awaited` say is what a look at every entry gives, whatever happens.
    #[test]
    fn nothing_needs_a_look_at_all() {
        let mut neighbours = Neighbours::default();
        let (mut random, mut second, mut failed) = (1u32, 0, 0);
        for _ in 0..50_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let address = IpAddr::V4((0x0a00_0000 + (random >> 8) % 1200).into());
            match random >> 28 {
                0..9 if neighbours.find(address, at(second)).is_none() => neighbours.hold(address, vec![1]),
                0..9 => {}
                9..14 => drop(neighbours.learn(address, MAC, random & 0x1000 == 0, at(second))),
                14 => failed += usize::from(matches!(neighbours.expire(at(second)), Some(Due::Failed(..)))),
                _ => second += u64::from(random & 0x1000 == 0),
            }
            let entries = neighbours.entries.values();
            let due = entries.clone().filter_map(|entry| entry.asking.map(|(_, due)| due)).min();
            assert_eq!(
                (neighbours.deadline(), neighbours.waits()),
                (due, entries.clone().any(Entry::has_waiting))
            );
            assert_eq!(neighbours.aged.first().map(|(age, _)| *age), entries.map(Entry::age).min());
            assert!(
                neighbours.entries.len() <= ENTRIES_MAX && neighbours.aged.len() == neighbours.entries.len()
            );
        }
        assert!(failed > 0 && neighbours.entries.len() > 500, "{failed} {}", neighbours.entries.len());
    }
}
