//! What arrives: whose is it? Bad packets are dropped and counted, here and nowhere else.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::socket::{Body, Stream};
use super::time_wait::Answer;
use super::{Engine, Path, SocketId};
use crate::addressing::is_unicast;
use crate::ip::{self, Fault, Header, Protocol, Treatment, fragment};
use crate::link::Outgoing;
use crate::tcp::Segment;
use crate::time::Instant;

impl Engine {
    /// Takes a packet from the link. Never panics, whatever it holds.
    pub fn receive(&mut self, packet: &[u8], now: Instant) {
        self.now = now;
        self.counters.packets_received += 1;
        self.counters.bytes_received += packet.len() as u64;
        self.take(packet, Path::Link, now);
    }

    /// Takes a packet of another engine in this process as it leaves there, in parts, if it is data of a connection that
    /// there is: `receive` without a copy. False for any other, which is for `receive`.
    pub fn receive_parts(&mut self, packet: &Outgoing<'_>, now: Instant) -> bool {
        let taken = match packet.payload {
            [payload, []] if !payload.is_empty() && !self.settings.checksums => {
                self.take_parts(packet.headers, payload, now)
            }
            _ => false,
        };
        if taken {
            self.now = now;
            self.counters.packets_received += 1;
            self.counters.bytes_received += packet.length() as u64;
        }
        taken
    }

    /// Whether it was data of a connection that there is.
    fn take_parts(&mut self, headers: &[u8], payload: &[u8], now: Instant) -> bool {
        // Both are looked at where they are, as in `take_segment`.
        let parsed = ip::parse_front(headers, headers.len() + payload.len(), false);
        let Ok(header) = &parsed else { return false };
        let Some(front) = headers.get(header.payload.start..).filter(|_| header.protocol == Protocol::Tcp)
        else {
            return false;
        };
        let parsed = Segment::parse_front(front, header);
        let Ok(segment) = &parsed else { return false };
        if segment.payload_offset != headers.len() || segment.payload != payload.len() {
            return false;
        }
        let found = self.connections.get(&FourTuple::of(segment)).copied();
        found.is_some_and(|id| self.take_segment_for(id, payload, segment, (Path::Link, header), now))
    }

    pub(super) fn take(&mut self, packet: &[u8], path: Path, now: Instant) {
        self.take_packet(packet, path, path == Path::Link && self.settings.checksums, now);
    }

    /// Whether nobody else verifies a checksum that comes by `path`, where no device can: of fragments, of UDP-Lite.
    fn verifies_alone(&self, path: Path) -> bool {
        path == Path::Link && !self.settings.in_memory
    }

    fn take_packet(&mut self, packet: &[u8], path: Path, verify: bool, now: Instant) {
        let taken = ip::parse(packet, verify).and_then(|header| match header.protocol {
            Protocol::Tcp => self.take_segment(packet, &header, path, verify, now),
            _ if !self.is_ours(&header, path) => {
                self.counters.not_ours += 1;
                Ok(())
            }
            Protocol::Udp => self.take_datagram(packet, &header, verify, now),
            Protocol::UdpLite => self.take_datagram(packet, &header, self.verifies_alone(path), now),
            Protocol::Icmp => self.take_message(packet, &header, verify, now),
            Protocol::Other(_) => {
                self.counters.dropped += 1;
                Ok(())
            }
        });
        match taken {
            Ok(()) => {}
            Err(Fault::Fragment) => self.take_fragment(packet, path, verify, now),
            Err(fault) => self.count_fault(fault),
        }
    }

    fn count_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Malformed => self.counters.malformed += 1,
            Fault::Checksum => self.counters.bad_checksum += 1,
            Fault::Fragment => self.counters.dropped += 1,
        }
    }

    /// Takes the packet of which this is the last fragment that was missing.
    fn take_fragment(&mut self, packet: &[u8], path: Path, verify: bool, now: Instant) {
        let fragment = match fragment::parse(packet, verify) {
            Ok(fragment) if self.is_ours(&fragment.header, path) => fragment,
            Ok(_) => {
                self.counters.not_ours += 1;
                return;
            }
            Err(fault) => return self.count_fault(fault),
        };
        let payload = &packet[fragment.header.payload.clone()];
        let (whole, kept) = self.reassembly.take(fragment, payload, now);
        self.counters.dropped += u64::from(!kept);
        if let Some(whole) = whole {
            self.take_packet(&whole, path, self.verifies_alone(path), now);
        }
    }

    fn is_ours(&self, header: &Header, path: Path) -> bool {
        if !is_unicast(header.source) || self.is_broadcast(header.source) {
            return false;
        }
        if path == Path::Link && (self.is_local(header.source) || header.destination.is_loopback()) {
            // RFC 1122 3.2.1.3 (g), and nobody on the link has our address.
            return false;
        }
        self.is_local(header.destination)
            || self.is_broadcast(header.destination)
            || self.is_joined(header.destination, path)
            || (self.settings.any_address && is_unicast(header.destination))
    }

    /// The 4-tuple of a connection on this path says that the packet is ours; only without one do the addresses matter.
    fn take_segment(
        &mut self,
        packet: &[u8],
        header: &Header,
        path: Path,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        // Looked at where it is: it is large, and to move it costs as much as to read it.
        let parsed = Segment::parse(packet, header, verify);
        let segment = parsed.as_ref().map_err(|fault| *fault)?;
        let tuple = FourTuple::of(segment);
        if let Some(id) = self.connections.get(&tuple).copied()
            && self.take_segment_for(id, segment.payload_in(packet), segment, (path, header), now)
        {
            return Ok(());
        }
        // RFC 9293 3.9.2.3: TCP is between two.
        if !self.is_ours(header, path) || self.is_for_many(header.destination) {
            self.counters.not_ours += 1;
            return Ok(());
        }
        self.expire_time_waits(now);
        self.take_stray_segment(packet, segment.clone(), path, now);
        Ok(())
    }

    /// A segment for us, of no connection.
    fn take_stray_segment(&mut self, packet: &[u8], segment: Segment, path: Path, now: Instant) {
        match self.time_waits.answer(&FourTuple::of(&segment), &segment, now) {
            Some(answer) => self.take_late_segment(answer, packet, segment, path, now),
            None if segment.syn && segment.acknowledgement.is_none() => {
                self.take_request(packet, segment, path, None, now);
            }
            None if self.take_cookie(packet, &segment, path, now) => {}
            // RFC 9293 3.10.7.2: nothing that a listener answers.
            None if segment.acknowledgement.is_none()
                && self.listener(&FourTuple::of(&segment), path).is_some() => {}
            None => self.refuse_segment(&segment),
        }
    }

    /// What TIME-WAIT makes of a segment.
    fn take_late_segment(
        &mut self,
        answer: Answer,
        packet: &[u8],
        segment: Segment,
        path: Path,
        now: Instant,
    ) {
        let tuple = FourTuple::of(&segment);
        match answer {
            Answer::Nothing => {}
            Answer::Acknowledge(draft) => {
                let (treatment, checksums) = (Treatment::default(), self.settings.checksums);
                self.reply(draft.build(tuple.local, tuple.remote, treatment, checksums), tuple.remote.ip());
            }
            Answer::End(entry) => self.vacate(&tuple, entry.reuse),
            Answer::Reopen(entry) => {
                self.vacate(&tuple, entry.reuse);
                self.take_request(packet, segment, path, Some(entry), now);
            }
        }
    }

    /// RFC 9293 3.10.7.1
    pub(super) fn refuse_segment(&mut self, segment: &Segment) {
        if let Some(reset) = segment.refusal(self.settings.checksums) {
            self.reply(reset, segment.source.ip());
        }
    }

    /// A segment for a 4-tuple that `id` has. False when it came over another path than that goes.
    fn take_segment_for(
        &mut self,
        id: SocketId,
        payload: &[u8],
        segment: &Segment,
        (path, header): (Path, &Header),
        now: Instant,
    ) -> bool {
        let Engine { sockets, contexts, ready, changes, .. } = self;
        sockets.prefetch(id);
        let Some(socket) = sockets.find_mut(id) else { return true };
        let minimum = &socket.reach.minimum_hops;
        let minimum = if header.source.is_ipv4() { minimum.v4 } else { minimum.v6 };
        if header.treatment.hop_limit < minimum {
            self.counters.dropped += 1;
            return true;
        }
        match &mut socket.body {
            Body::Stream(Stream::Open(open)) => {
                if open.path != path {
                    return false;
                }
                open.connection.receive(&mut contexts[path as usize], segment, payload, now);
                socket.make_ready(ready);
                if !socket.settle_steady(changes) {
                    self.settle(id, now);
                }
            }
            Body::Stream(Stream::Offered(offer)) => {
                if offer.path != path {
                    return false;
                }
                // Whoever asked has changed its mind; its SYN once more is nothing new.
                if segment.rst && segment.sequence == offer.segment.end() {
                    self.withdraw(id);
                }
            }
            Body::Stream(Stream::Fresh | Stream::Listening(_) | Stream::Withdrawn) | Body::Datagram(_) => {}
        }
        true
    }
}
