//! What arrives: whose is it? Bad packets are dropped and counted, here and nowhere else.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::socket::{Body, Stream};
use super::time_wait::Answer;
use super::{Engine, Path, SocketId, path_mtu};
use crate::icmp::{self, Message, Report};
use crate::ip::{self, Fault, Header, Protocol};
use crate::link::Outgoing;
use crate::tcp::{Segment, Sequence};
use crate::time::Instant;
use crate::udp;

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
        found.is_some_and(|id| self.take_segment_for(id, payload, segment, Path::Link, now))
    }

    pub(super) fn take(&mut self, packet: &[u8], path: Path, now: Instant) {
        let verify = path == Path::Link && self.settings.checksums;
        let taken = ip::parse(packet, verify).and_then(|header| match header.protocol {
            Protocol::Tcp => self.take_segment(packet, &header, path, verify, now),
            _ if !self.is_ours(&header, path) => {
                self.counters.not_ours += 1;
                Ok(())
            }
            Protocol::Udp => self.take_datagram(packet, &header, verify, now),
            Protocol::Icmp => self.take_message(packet, &header, verify, now),
            Protocol::Other(_) => {
                self.counters.dropped += 1;
                Ok(())
            }
        });
        if let Err(fault) = taken {
            self.count_fault(fault);
        }
    }

    fn count_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Malformed => self.counters.malformed += 1,
            Fault::Checksum => self.counters.bad_checksum += 1,
            Fault::Fragment => self.counters.dropped += 1,
        }
    }

    fn is_ours(&self, header: &Header, path: Path) -> bool {
        if !ip::is_unicast(header.source) || self.is_broadcast(header.source) {
            return false;
        }
        if path == Path::Link && (self.is_local(header.source) || header.destination.is_loopback()) {
            // RFC 1122 3.2.1.3 (g), and nobody on the link has our address.
            return false;
        }
        self.is_local(header.destination)
            || self.is_broadcast(header.destination)
            || (self.settings.any_address && ip::is_unicast(header.destination))
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
            && self.take_segment_for(id, segment.payload_in(packet), segment, path, now)
        {
            return Ok(());
        }
        // RFC 9293 3.9.2.3: TCP is between two.
        if !self.is_ours(header, path) || self.is_broadcast(header.destination) {
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
            None if segment.acknowledgement.is_none() && self.listens(segment.destination) => {}
            None => self.refuse_segment(&segment),
        }
    }

    fn listens(&self, to: std::net::SocketAddr) -> bool {
        self.stream_ports.lookup(to.port(), to.ip(), |claim| claim.listening).is_some()
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
                let checksums = self.settings.checksums;
                self.reply(draft.build(tuple.local, tuple.remote, checksums), tuple.remote.ip());
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
        path: Path,
        now: Instant,
    ) -> bool {
        let Engine { sockets, contexts, ready, changes, .. } = self;
        sockets.prefetch(id);
        let Some(socket) = sockets.find_mut(id) else { return true };
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

    fn take_message(
        &mut self,
        packet: &[u8],
        header: &Header,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        match icmp::parse(packet, header, verify)? {
            Some(Message::Echo) if self.is_local(header.destination) => {
                let reply = icmp::echo_reply(packet, header, self.settings.checksums);
                self.reply(reply, header.source);
            }
            Some(Message::Error(report)) => self.take_report(&report, now),
            Some(Message::Echo) | None => self.counters.dropped += 1,
        }
        Ok(())
    }

    fn take_report(&mut self, report: &Report, now: Instant) {
        let tuple = FourTuple { local: report.local, remote: report.remote };
        if report.protocol == Protocol::Udp {
            return self.fail_association(&tuple, report);
        }
        let Some(id) = self.connections.get(&tuple).copied() else { return };
        let sequence = Sequence(report.sequence);
        match report.mtu {
            Some(claimed) => self.take_path_mtu(id, &tuple, claimed, sequence, now),
            None => {
                if let Some(open) = self.sockets.connection_mut(id) {
                    open.connection.unreachable(report.error, sequence);
                    self.settle(id, now);
                }
            }
        }
    }

    /// A router says that the path takes no more than `claimed`. Only who has seen our segments is believed, and then for
    /// every connection to come.
    fn take_path_mtu(
        &mut self,
        id: SocketId,
        tuple: &FourTuple,
        claimed: u32,
        sequence: Sequence,
        now: Instant,
    ) {
        let Some(mtu) = path_mtu::believed(tuple.remote.ip(), claimed) else { return };
        let Engine { sockets, contexts, ready, path_mtus, .. } = self;
        let Some(socket) = sockets.find_mut(id) else { return };
        let Some(open) = socket.connection_mut() else { return };
        if open.connection.path_mtu(&contexts[open.path as usize], mtu, sequence) {
            path_mtus.lower(tuple.remote.ip(), mtu, now);
            socket.make_ready(ready);
        }
    }

    fn take_datagram(
        &mut self,
        packet: &[u8],
        header: &Header,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        let arrived = udp::parse(packet, header, verify)?;
        self.counters.datagrams_received += 1;
        let delivered = if self.is_broadcast(header.destination) {
            self.deliver_to_all(packet, &arrived)
        } else {
            self.deliver_to_one(packet, &arrived)
        };
        if !delivered {
            self.counters.dropped += 1;
            self.send_unreachable(icmp::Unreachable::Port, packet, header, now);
        }
        Ok(())
    }
}
