//! Two ends in memory: what one transmits the other receives. For tests, and where two engines of one process talk.
//!
//! It neither delays nor reorders; a packet for which the queue has no room is lost. A packet that was received is kept
//! for its memory, and a steady flow allocates nothing.
#![forbid(unsafe_code)]

use super::{Capabilities, Link, Outgoing, Packet};
use crate::time::Instant;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Packets kept for their memory in each direction.
const SPARE_MAX: usize = 256;

/// One direction.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Packet>,
    /// Packets that were received.
    spare: Vec<Packet>,
}

/// One end of a pair.
pub struct PairEnd {
    capabilities: Capabilities,
    room: usize,
    incoming: Arc<Mutex<Lane>>,
    outgoing: Arc<Mutex<Lane>>,
}

/// Makes pairs.
pub struct Pair;

impl Pair {
    /// Two ends joined by a queue of at most `queue` packets in each direction.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(capabilities: Capabilities, queue: usize) -> (PairEnd, PairEnd) {
        let (one, other) = (Arc::default(), Arc::default());
        let end = |incoming: &Arc<Mutex<Lane>>, outgoing: &Arc<Mutex<Lane>>| PairEnd {
            capabilities,
            room: queue,
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
        };
        (end(&one, &other), end(&other, &one))
    }
}

/// A lane that a panicking thread left is whole: each change to it is one call.
fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PairEnd {
    /// The largest packet that passes: the MTU, or what the headers and a payload that is to be cut later come to.
    fn longest(&self) -> usize {
        match self.capabilities.segmentation {
            0 => self.capabilities.mtu,
            payload => payload + HEADERS_MAX,
        }
    }
}

/// IPv6 and TCP headers with all options.
const HEADERS_MAX: usize = 40 + 60;

impl Link for PairEnd {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn receive(&mut self, _: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        let Some(packet) = lock(&self.incoming).queue.pop_front() else { return false };
        // Not under the lock: whoever takes it may want to transmit.
        take(&packet);
        let mut lane = lock(&self.incoming);
        if lane.spare.len() < SPARE_MAX {
            lane.spare.push(packet);
        }
        true
    }

    /// A payload that is to be cut passes whole: it is received as coalesced.
    fn transmit(&mut self, packet: Outgoing<'_>, _: Instant) {
        let mut lane = lock(&self.outgoing);
        if packet.length() > self.longest() || lane.queue.len() >= self.room {
            return;
        }
        let mut copy = lane.spare.pop().unwrap_or_default();
        copy.clear();
        packet.append_to(&mut copy);
        lane.queue.push_back(copy);
    }

    fn busy(&self) -> bool {
        !lock(&self.outgoing).queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_allocates_nothing() {
        let capabilities = Capabilities { mtu: 1500, checksums: false, segmentation: 0, in_memory: true };
        let (mut near, mut far) = Pair::new(capabilities, 8);
        let mut places = std::collections::HashSet::new();
        for turn in 0..100u8 {
            let payload: [&[u8]; 2] = [&[turn; 500], &[turn; 980]];
            near.transmit(Outgoing { headers: &[0x45; 20], payload, segment: None }, Instant::ZERO);
            assert!(near.busy());
            let received = far.receive(Instant::ZERO, &mut |packet| {
                assert_eq!((packet.len(), packet[19], packet[20]), (1500, 0x45, turn));
                places.insert(packet.as_ptr());
            });
            assert!(received && !near.busy());
        }
        assert_eq!(places.len(), 1);
        assert!(!far.receive(Instant::ZERO, &mut |_| panic!("there is none")));
    }

    #[test]
    fn what_is_too_large_or_too_much_is_lost() {
        let capabilities = Capabilities { mtu: 100, checksums: false, segmentation: 0, in_memory: true };
        let (mut near, mut far) = Pair::new(capabilities, 2);
        for length in [101, 100, 99, 98] {
            near.transmit(vec![0; length].as_slice().into(), Instant::ZERO);
        }
        let mut lengths = Vec::new();
        while far.receive(Instant::ZERO, &mut |packet| lengths.push(packet.len())) {}
        assert_eq!(lengths, [100, 99]);
    }
}
