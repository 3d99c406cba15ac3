//! Packets out, and time; and what must hold of both.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::super::wire::{self, ICMP_V4, ICMP_V6, Part, TCP, UDP, UDP_LITE, Wire};
use super::{BUFFER_MAX, FLOWS_MAX, Flow, OURS, PACKETS_MAX, ROUNDS_MAX, World};
use std::net::IpAddr;
use std::time::Duration;
use tubesock::engine::{Refusal, Settings, StreamState};
use tubesock::link::Outgoing;

/// Longer than anything waits that has no owner: its retransmissions, and what TCP_LINGER2 may be set to here.
const LONGEST: Duration = Duration::from_secs(3 * 3600);

impl World {
    /// Lets the engine do all that is due now.
    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.drain();
            if self.engine.deadline().is_none_or(|deadline| deadline > self.now) {
                return self.look();
            }
            self.engine.advance(self.now);
        }
        panic!("the deadline stays in the past");
    }

    fn drain(&mut self) {
        for _ in 0..PACKETS_MAX {
            if self.next_packet().is_none() {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// The next packet that leaves, looked at and remembered.
    pub(super) fn next_packet(&mut self) -> Option<Vec<u8>> {
        let mut packets = Vec::new();
        let World { engine, settings, partial, .. } = self;
        let sent =
            engine.transmit(self.now, &mut |outgoing| packets.push(examined(outgoing, settings, partial)));
        assert_eq!(sent, packets.len() == 1, "one packet for each true");
        let packet = packets.pop()?;
        self.remember(&packet);
        self.last = packet.clone();
        Some(packet)
    }

    fn remember(&mut self, packet: &[u8]) {
        let part = Part::read(packet);
        if part.as_ref().is_none_or(|part| part.offset == 0) && !is_segment(packet) {
            self.last_datagram = packet.to_vec();
        }
        let Some(wire) = Wire::read(packet, false) else { return };
        let flow = Flow {
            local: wire.source,
            remote: wire.destination,
            next_sent: wire.sequence.wrapping_add(wire.length() as u32),
            next_received: wire.acknowledgement,
        };
        self.flows.retain(|known| (known.local, known.remote) != (flow.local, flow.remote));
        if self.flows.len() == FLOWS_MAX {
            self.flows.remove(0);
        }
        self.flows.push(flow);
    }

    /// The flow that showed itself last is the first choice.
    pub(super) fn flow(&self, input: &mut Bytes) -> Option<Flow> {
        let back = usize::from(input.u8()) % self.flows.len().max(1);
        self.flows.iter().rev().nth(back).copied()
    }

    /// What an owner would ask after a change: nothing may panic or contradict itself.
    pub(super) fn look(&mut self) {
        while self.engine.changed().is_some() {}
        for id in &self.sockets {
            let state = self.engine.state(*id);
            if state == Some(StreamState::Ended) {
                assert_eq!(self.engine.room(*id), 0, "nothing can be written to what has ended");
            }
            assert!(self.engine.readable(*id) <= 2 * BUFFER_MAX, "more to read than the buffer holds");
            self.engine.info(*id, self.now);
            self.engine.end(*id);
        }
    }

    /// Everybody lets go, and nobody answers any more: nothing stays.
    pub(super) fn end(&mut self) {
        for id in [&self.sockets[..], &self.datagrams, &self.listeners].concat() {
            self.engine.release(id, self.now);
        }
        self.sockets.clear();
        self.datagrams.clear();
        self.settle();
        while let Some(offer) = self.engine.incoming() {
            self.engine.refuse(offer.id, Refusal::Silence, self.now);
        }
        self.wait(LONGEST);
        assert_eq!((self.engine.sockets(), self.engine.deadline()), (0, None), "what nobody has stays");
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(deadline) = self.engine.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "settled");
            self.now = deadline;
            self.engine.advance(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }
}

fn is_segment(packet: &[u8]) -> bool {
    wire::payload(packet, false).is_some_and(|(_, _, protocol, _)| protocol == TCP)
}

/// The packet in `outgoing`, if it is one that may leave. `partial` is what left of a packet that leaves in fragments.
fn examined(outgoing: &Outgoing<'_>, settings: &Settings, partial: &mut Vec<u8>) -> Vec<u8> {
    let packet = [outgoing.headers, outgoing.payload[0], outgoing.payload[1]].concat();
    let longest = match outgoing.segment {
        Some(_) => settings.segmentation + 120,
        // A link of the largest MTU takes whatever the length field can say, and of IPv6 that leaves the header out.
        None if settings.mtu == 65_535 && packet[0] >> 4 == 6 => 40 + 65_535,
        None => settings.mtu,
    };
    assert!(packet.len() <= longest, "{} bytes leave over a link for {longest}", packet.len());
    let verify = settings.checksums && outgoing.segment.is_none();
    let (source, destination, protocol, payload) = wire::payload(&packet, verify).expect("a packet of IP");
    assert!(OURS.contains(&source) || settings.any_address, "it leaves in the name of {source}");
    if let Some(part) = Part::read(&packet) {
        if part.offset == 0 {
            partial.clear();
        }
        assert_eq!(
            part.offset,
            partial.len(),
            "the fragments of a packet leave in order, without others between"
        );
        assert!(!part.payload.is_empty() && (!part.more || part.payload.len() % 8 == 0), "a fragment");
        partial.extend(part.payload);
        if !part.more {
            check(source, destination, part.protocol, partial, verify);
        }
    } else if protocol == TCP {
        Wire::read(&packet, verify).expect("a segment");
    } else {
        check(source, destination, protocol, payload, verify);
    }
    packet
}

/// What leaves of no connection is a datagram or a message of ICMP.
fn check(source: IpAddr, destination: IpAddr, protocol: u8, bytes: &[u8], verify: bool) {
    assert!(bytes.len() >= 8, "a header of {protocol}");
    match protocol {
        UDP => assert_eq!(usize::from(u16::from_be_bytes([bytes[4], bytes[5]])), bytes.len(), "a length"),
        ICMP_V4 => return assert!(!verify || wire::sum(0, bytes) == u16::MAX, "a checksum"),
        UDP_LITE => {
            let sum = wire::lite_sum(source, destination, bytes).expect("a coverage");
            return assert!(!verify || sum == u16::MAX, "a checksum");
        }
        ICMP_V6 => {}
        _ => panic!("a packet of protocol {protocol} leaves"),
    }
    let sum = || wire::transport_sum(source, destination, protocol, bytes);
    assert!(!verify || sum() == u16::MAX, "a checksum");
}
