//! A peer made by hand: it sends any segment it likes to an engine, and reads what comes back.

use crate::world::{address, settings};
use smoltcp::wire::TcpPacket;
use std::net::SocketAddr;
use std::time::Duration;
use tubesock::engine::{Domain, Engine, Kind, SocketId, StreamState};
use tubesock::icmp::{self, Unreachable};
use tubesock::ip::{self, Protocol};
use tubesock::link::Packet;
use tubesock::tcp::{HeaderOptions, Segment, Sequence};
use tubesock::time::Instant;

pub(crate) const SYN: u8 = 2;
pub(crate) const FIN: u8 = 1;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// The peer is 10.0.2.99 port 4000, and offers a window scale of 0 unless told otherwise.
pub(crate) struct Peer {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    pub(crate) ours: SocketAddr,
    pub(crate) theirs: SocketAddr,
    /// Our next sequence number, and theirs.
    pub(crate) next: Sequence,
    pub(crate) acknowledged: Sequence,
    pub(crate) window: u16,
    /// The engine's window scale.
    pub(crate) shift: u8,
    /// The options of our SYNs, and of all else.
    pub(crate) offer: HeaderOptions,
    pub(crate) options: HeaderOptions,
}

impl Peer {
    pub(crate) fn new() -> Peer {
        let mut settings = settings("15", 9);
        settings.checksums = false;
        let now = Instant::from_micros(1_000_000);
        Peer {
            engine: Engine::new(settings, now),
            now,
            ours: address("10.0.2.99:4000"),
            theirs: address("10.0.2.15:80"),
            next: Sequence(u32::MAX - 1000),
            acknowledged: Sequence(0),
            window: 60_000,
            shift: 0,
            offer: HeaderOptions { mss: Some(1460), window_scale: Some(0), ..HeaderOptions::default() },
            options: HeaderOptions::default(),
        }
    }

    /// A segment from us, numbered and acknowledging as given.
    pub(crate) fn segment(
        &self,
        flags: u8,
        sequence: Sequence,
        acknowledged: Sequence,
        data: &[u8],
    ) -> Packet {
        let header_options = if flags & SYN == 0 { self.options } else { self.offer };
        let options = header_options.length();
        let length = 20 + options + data.len();
        let mut packet = ip::build(self.ours.ip(), self.theirs.ip(), Protocol::Tcp, length, false);
        let mut tcp = TcpPacket::new_unchecked(&mut packet[20..]);
        tcp.set_src_port(self.ours.port());
        tcp.set_dst_port(self.theirs.port());
        tcp.set_seq_number(sequence.into());
        tcp.set_ack_number(acknowledged.into());
        tcp.set_header_len((20 + options) as u8);
        tcp.set_window_len(self.window);
        tcp.set_syn(flags & SYN != 0);
        tcp.set_fin(flags & FIN != 0);
        tcp.set_rst(flags & RST != 0);
        tcp.set_ack(flags & ACK != 0);
        if options > 0 {
            header_options.write(tcp.options_mut());
        }
        tcp.payload_mut().copy_from_slice(data);
        packet
    }

    pub(crate) fn send(&mut self, flags: u8, sequence: Sequence, data: &[u8]) {
        let packet = self.segment(flags, sequence, self.acknowledged, data);
        self.engine.receive(&packet, self.now);
    }

    /// What the engine sends now. It must come to rest.
    pub(crate) fn answers(&mut self) -> Vec<Segment> {
        self.answers_with_data().into_iter().map(|(segment, _)| segment).collect()
    }

    /// The same, with the data of each.
    pub(crate) fn answers_with_data(&mut self) -> Vec<(Segment, Vec<u8>)> {
        let mut segments = Vec::new();
        while let Some(packet) = self.engine.transmit_packet(self.now) {
            let header = ip::parse(&packet, false).expect("an IP packet");
            if header.protocol == Protocol::Tcp {
                let segment = Segment::parse(&packet, &header, false).expect("a segment");
                if segment.syn {
                    self.shift = segment.options.window_scale.unwrap_or(0);
                }
                let data = packet[segment.payload_range()].to_vec();
                segments.push((segment, data));
            }
            assert!(segments.len() < 10_000, "the engine does not come to rest");
        }
        segments
    }

    /// The last number that `answer` permits, counted from `next`.
    pub(crate) fn edge(&self, answer: &Segment) -> u32 {
        let acknowledged = answer.acknowledgement.expect("an acknowledgement") - self.next;
        acknowledged + (u32::from(answer.window) << self.shift)
    }

    /// Lets time pass; what the engine sends meanwhile.
    pub(crate) fn pass(&mut self, duration: Duration) -> Vec<Segment> {
        let end = self.now + duration;
        let mut segments = self.answers();
        while let Some(deadline) = self.engine.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.engine.advance(self.now);
            segments.extend(self.answers());
        }
        self.now = end;
        segments
    }

    /// A connection that we opened to a listener of the engine, accepted.
    pub(crate) fn accepted(&mut self) -> SocketId {
        let listener = self.engine.open(Domain::V4, Kind::Stream);
        self.engine.bind(listener, address("0.0.0.0:80"), self.now).expect("bind");
        self.engine.listen(listener, 5, self.now).expect("listen");
        self.send(SYN, self.next, b"");
        let answer = self.answers().pop().expect("a SYN-ACK");
        assert!(answer.syn && answer.acknowledgement == Some(self.next + 1));
        self.next = self.next + 1;
        self.acknowledged = answer.sequence + 1;
        self.send(ACK, self.next, b"");
        let accepted = self.engine.accept(listener).expect("a connection waits");
        self.engine.release(listener, self.now);
        accepted
    }

    /// A connection that the engine opened to us.
    pub(crate) fn connecting(&mut self) -> SocketId {
        let id = self.engine.open(Domain::V4, Kind::Stream);
        self.engine.connect(id, self.ours, self.now).expect("connect");
        let syn = self.answers().pop().expect("a SYN");
        assert!(syn.syn && syn.acknowledgement.is_none());
        self.theirs = syn.source;
        self.acknowledged = syn.sequence + 1;
        id
    }

    pub(crate) fn connected(&mut self) -> SocketId {
        let id = self.connecting();
        self.send(SYN | ACK, self.next, b"");
        self.next = self.next + 1;
        assert_eq!(self.engine.state(id), Some(StreamState::Connected));
        self.answers();
        id
    }

    /// An ICMP error about the last segment that we got, from a router.
    pub(crate) fn complain(&mut self, reason: Unreachable, sequence: Sequence) {
        let (ours, theirs) = (self.ours, self.theirs);
        let quoted =
            Peer { ours: theirs, theirs: ours, ..Peer::new() }.segment(ACK, sequence, Sequence(0), b"");
        let header = ip::parse(&quoted, false).expect("built well");
        let router = address("10.0.2.1:0").ip();
        self.engine.receive(&icmp::unreachable(reason, router, &quoted, &header, false), self.now);
    }
}
