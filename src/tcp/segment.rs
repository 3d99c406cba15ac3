//! One TCP segment as its header shows it, and sequence numbers (RFC 9293 3.1, 3.4).
#![forbid(unsafe_code)]

use crate::ip::{self, Fault, Header, Protocol};
use crate::link::Packet;
use core::ops::{Add, Sub};
use smoltcp::wire::{TcpOption, TcpPacket, TcpSeqNumber};
use std::net::SocketAddr;

/// A sequence number: modulo 2^32, compared by the shorter way round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// Whether `self` comes before `other`.
    pub const fn before(self, other: Sequence) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether `self` comes after `other`.
    pub const fn after(self, other: Sequence) -> bool {
        other.before(self)
    }

    /// The number before.
    pub const fn minus_one(self) -> Sequence {
        Sequence(self.0.wrapping_sub(1))
    }

    /// The later of the two.
    pub const fn later(self, other: Sequence) -> Sequence {
        if self.before(other) { other } else { self }
    }
}

impl Add<u32> for Sequence {
    type Output = Sequence;
    fn add(self, length: u32) -> Sequence {
        Sequence(self.0.wrapping_add(length))
    }
}

impl Sub for Sequence {
    type Output = u32;
    fn sub(self, earlier: Sequence) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

impl From<TcpSeqNumber> for Sequence {
    fn from(number: TcpSeqNumber) -> Sequence {
        Sequence(number.0 as u32)
    }
}

impl From<Sequence> for TcpSeqNumber {
    fn from(number: Sequence) -> TcpSeqNumber {
        TcpSeqNumber(number.0 as i32)
    }
}

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
    /// SEG.SEQ
    pub sequence: Sequence,
    /// SEG.ACK, when the ACK flag is set.
    pub acknowledgement: Option<Sequence>,
    /// SYN flag
    pub syn: bool,
    /// FIN flag
    pub fin: bool,
    /// RST flag
    pub rst: bool,
    /// The window field as it stands, not scaled.
    pub window: u16,
    /// Window scale option, read on a SYN only.
    pub window_scale: Option<u8>,
    /// Maximum segment size option, read on a SYN only.
    pub mss: Option<u16>,
    /// Bytes of data.
    pub payload: usize,
    /// Where the TCP header starts in the packet.
    pub offset: usize,
}

impl Segment {
    /// Reads the segment in `packet`. Contradicting flags (SYN with FIN or RST) and port 0 are malformed.
    pub fn parse(packet: &[u8], header: &Header, verify: bool) -> Result<Segment, Fault> {
        let bytes = packet.get(header.payload.clone()).ok_or(Fault::Malformed)?;
        let tcp = TcpPacket::new_checked(bytes).map_err(|_| Fault::Malformed)?;
        if verify && ip::transport_sum(header.source, header.destination, Protocol::Tcp, bytes) != u16::MAX {
            return Err(Fault::Checksum);
        }
        let flags = [tcp.syn(), tcp.fin(), tcp.rst()];
        if flags.iter().filter(|flag| **flag).count() > 1 || tcp.src_port() == 0 || tcp.dst_port() == 0 {
            return Err(Fault::Malformed);
        }
        let mut segment = Segment {
            source: SocketAddr::new(header.source, tcp.src_port()),
            destination: SocketAddr::new(header.destination, tcp.dst_port()),
            sequence: tcp.seq_number().into(),
            acknowledgement: tcp.ack().then(|| tcp.ack_number().into()),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            window: tcp.window_len(),
            window_scale: None,
            mss: None,
            payload: bytes.len() - usize::from(tcp.header_len()),
            offset: header.payload.start,
        };
        if segment.syn {
            segment.read_options(tcp.options());
        }
        Ok(segment)
    }

    fn read_options(&mut self, mut options: &[u8]) {
        while let Ok((rest, option)) = TcpOption::parse(options) {
            match option {
                TcpOption::EndOfList => return,
                TcpOption::WindowScale(shift) => self.window_scale = Some(shift.min(14)),
                TcpOption::MaxSegmentSize(size) => self.mss = Some(size),
                _ => {}
            }
            options = rest;
        }
    }

    /// SEG.LEN: the sequence numbers it occupies, SYN and FIN counted.
    pub fn length(&self) -> u32 {
        // A packet is at most 64 KiB long.
        self.payload as u32 + u32::from(self.syn) + u32::from(self.fin)
    }

    /// The sequence number behind it.
    pub fn end(&self) -> Sequence {
        self.sequence + self.length()
    }

    /// The reset that answers it where no connection is (RFC 9293 3.10.7.1); None for a reset.
    pub fn refusal(&self, checksums: bool) -> Option<Packet> {
        if self.rst {
            return None;
        }
        let (sequence, acknowledgement) = match self.acknowledgement {
            Some(acknowledged) => (acknowledged, None),
            None => (Sequence(0), Some(self.end())),
        };
        let reset = Bare { rst: true, sequence, acknowledgement, window: 0 };
        Some(reset.build(self.destination, self.source, checksums))
    }
}

/// A segment without data or options that we make ourselves: an acknowledgement or a reset.
#[derive(Clone, Copy, Debug)]
pub struct Bare {
    /// RST flag
    pub rst: bool,
    /// SEG.SEQ
    pub sequence: Sequence,
    /// SEG.ACK; the ACK flag is set when there is one.
    pub acknowledgement: Option<Sequence>,
    /// The window field, scaled already.
    pub window: u16,
}

impl Bare {
    /// The packet that carries it.
    pub fn build(&self, source: SocketAddr, destination: SocketAddr, checksums: bool) -> Packet {
        const LENGTH: usize = 20;
        let mut packet = ip::build(source.ip(), destination.ip(), Protocol::Tcp, LENGTH, checksums);
        let offset = packet.len() - LENGTH;
        let mut tcp = TcpPacket::new_unchecked(&mut packet[offset..]);
        tcp.set_src_port(source.port());
        tcp.set_dst_port(destination.port());
        tcp.set_seq_number(self.sequence.into());
        tcp.set_header_len(LENGTH as u8);
        tcp.set_rst(self.rst);
        tcp.set_window_len(self.window);
        if let Some(acknowledged) = self.acknowledgement {
            tcp.set_ack(true);
            tcp.set_ack_number(acknowledged.into());
        }
        if checksums {
            tcp.fill_checksum(&source.ip().into(), &destination.ip().into());
        }
        packet
    }
}
