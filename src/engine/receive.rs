//! What arrives: whose is it? Bad packets are dropped and counted, here and nowhere else.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::socket::{Body, Stream};
use super::time_wait::Answer;
use super::{Engine, Path, SocketId};
use crate::icmp::{self, Message, Report};
use crate::ip::{self, Fault, Header, Protocol};
use crate::link::Packet;
use crate::tcp::{Segment, Sequence};
use crate::time::Instant;
use crate::udp;

impl Engine {
    /// Takes a packet from the link. Never panics, whatever it holds.
    pub fn receive(&mut self, packet: Packet, now: Instant) {
        self.counters.packets_received += 1;
        self.counters.bytes_received += packet.len() as u64;
        self.take(packet, Path::Link, now);
    }

    pub(super) fn take(&mut self, packet: Packet, path: Path, now: Instant) {
        let verify = path == Path::Link && self.settings.checksums;
        let header = match ip::parse(&packet, verify) {
            Ok(header) => header,
            Err(fault) => return self.count_fault(fault),
        };
        if !self.is_ours(&header, path) {
            self.counters.not_ours += 1;
            return;
        }
        let taken = match header.protocol {
            Protocol::Tcp => self.take_segment(packet, &header, path, verify, now),
            Protocol::Udp => self.take_datagram(packet, &header, verify, now),
            Protocol::Icmp => self.take_message(packet, &header, verify, now),
            Protocol::Other(_) => {
                self.counters.dropped += 1;
                Ok(())
            }
        };
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

    fn take_segment(
        &mut self,
        packet: Packet,
        header: &Header,
        path: Path,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        let segment = Segment::parse(&packet, header, verify)?;
        if self.is_broadcast(header.destination) {
            // RFC 9293 3.9.2.3: TCP is between two.
            self.counters.not_ours += 1;
            return Ok(());
        }
        let tuple = FourTuple { local: segment.destination, remote: segment.source };
        if let Some(id) = self.connections.get(&tuple).copied() {
            self.take_segment_for(id, packet, &segment, now);
            return Ok(());
        }
        match self.time_waits.answer(&tuple, &segment, now) {
            Some(Answer::Nothing) => {}
            Some(Answer::Acknowledge(bare)) => {
                let checksums = self.settings.checksums;
                self.reply(bare.build(tuple.local, tuple.remote, checksums), tuple.remote.ip());
            }
            Some(Answer::End(entry)) => self.vacate(&tuple, entry.reuse),
            Some(Answer::Reopen(entry)) => {
                self.vacate(&tuple, entry.reuse);
                self.take_request(packet, segment, path, Some(entry), now);
            }
            None if segment.syn && segment.acknowledgement.is_none() => {
                self.take_request(packet, segment, path, None, now);
            }
            None => self.refuse_segment(&segment),
        }
        Ok(())
    }

    /// RFC 9293 3.10.7.1
    pub(super) fn refuse_segment(&mut self, segment: &Segment) {
        if let Some(reset) = segment.refusal(self.settings.checksums) {
            self.reply(reset, segment.source.ip());
        }
    }

    fn take_segment_for(&mut self, id: SocketId, packet: Packet, segment: &Segment, now: Instant) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        match &mut socket.body {
            Body::Stream(Stream::Open(open)) => {
                open.connection.receive(&mut self.contexts[open.path as usize], packet, segment, now);
                self.make_ready(id);
                self.settle(id, now);
            }
            Body::Stream(Stream::Offered(offer)) => {
                // Whoever asked has changed its mind; its SYN once more is nothing new.
                if segment.rst && segment.sequence == offer.segment.end() {
                    self.withdraw(id);
                }
            }
            Body::Stream(Stream::Fresh | Stream::Listening(_) | Stream::Withdrawn) | Body::Datagram(_) => {}
        }
    }

    fn take_message(
        &mut self,
        packet: Packet,
        header: &Header,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        match icmp::parse(&packet, header, verify)? {
            Some(Message::Echo) if self.is_local(header.destination) => {
                let reply = icmp::echo_reply(&packet, header, self.settings.checksums);
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
        if let Some(open) = self.sockets.connection_mut(id) {
            open.connection.unreachable(report.error, Sequence(report.sequence));
            self.settle(id, now);
        }
    }

    fn take_datagram(
        &mut self,
        packet: Packet,
        header: &Header,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        let arrived = udp::parse(&packet, header, verify)?;
        self.counters.datagrams_received += 1;
        let delivered = if self.is_broadcast(header.destination) {
            self.deliver_to_all(&packet, &arrived)
        } else {
            self.deliver_to_one(&packet, &arrived)
        };
        if !delivered {
            self.counters.dropped += 1;
            self.send_unreachable(icmp::Unreachable::Port, &packet, header, now);
        }
        Ok(())
    }
}
