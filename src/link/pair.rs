//! Two ends in memory: what one transmits the other receives. For tests, and where two engines of one process talk.
//!
//! It neither delays nor reorders; a packet for which the queue has no room is lost.
#![forbid(unsafe_code)]

use super::{Capabilities, Link, Packet};
use crate::time::Instant;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// A queue of packets in one direction.
type Queue = Arc<Mutex<VecDeque<Packet>>>;

/// One end of a pair.
pub struct PairEnd {
    capabilities: Capabilities,
    room: usize,
    incoming: Queue,
    outgoing: Queue,
}

/// Makes pairs.
pub struct Pair;

impl Pair {
    /// Two ends joined by a queue of at most `queue` packets in each direction.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(capabilities: Capabilities, queue: usize) -> (PairEnd, PairEnd) {
        let (one, other) = (Queue::default(), Queue::default());
        let end = |incoming: &Queue, outgoing: &Queue| PairEnd {
            capabilities,
            room: queue,
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
        };
        (end(&one, &other), end(&other, &one))
    }
}

impl Link for PairEnd {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<Packet> {
        // A queue that a panicking thread left is whole: each change to it is one call.
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn transmit(&mut self, packet: Packet, _: Instant) {
        let mut queue = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        if packet.len() <= self.capabilities.mtu && queue.len() < self.room {
            queue.push_back(packet);
        }
    }

    fn busy(&self) -> bool {
        !self.outgoing.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}
