//! One TCP segment as its header shows it (RFC 9293 3.1), and the headers that we write.
#![forbid(unsafe_code)]

use super::options::{HeaderOptions, OPTIONS_MAX};
use super::sequence::Sequence;
use crate::ip::{self, Fault, Header, Protocol, Treatment};
use crate::link::Packet;
use core::ops::Range;
use smoltcp::wire::TcpSeqNumber;
use std::net::SocketAddr;

/// A TCP header without options.
pub const TCP_HEADER: usize = 20;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

/// The most bytes that `Header` writes: IPv6, TCP, all options.
pub(super) const HEADERS_MAX: usize = 40 + TCP_HEADER + OPTIONS_MAX;

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
    /// PSH flag
    pub push: bool,
    /// The urgent pointer, when the URG flag is set.
    pub urgent: Option<u16>,
    /// The window field as it stands, not scaled.
    pub window: u16,
    /// Bytes of data.
    pub payload: usize,
    /// Where the data starts in the packet.
    pub payload_offset: usize,
    /// Options
    pub options: HeaderOptions,
}

impl Segment {
    /// Reads the segment in `packet`. Contradicting flags (SYN with FIN or RST) and port 0 are malformed.
    pub fn parse(packet: &[u8], header: &Header, verify: bool) -> Result<Segment, Fault> {
        let bytes = packet.get(header.payload.clone()).ok_or(Fault::Malformed)?;
        if verify && ip::transport_sum(header.source, header.destination, Protocol::Tcp, bytes) != u16::MAX {
            // Whatever else is wrong with it: its length is counted in the sum.
            return Err(Fault::Checksum);
        }
        Segment::parse_front(bytes, header)
    }

    /// `parse`, unverified, of a segment of which `bytes` is the beginning, with the whole header.
    #[inline(always)]
    pub fn parse_front(bytes: &[u8], header: &Header) -> Result<Segment, Fault> {
        let words = bytes.as_chunks().0.first_chunk().ok_or(Fault::Malformed)?;
        let [ports, number, acknowledged, control, urgent] = words.map(u32::from_be_bytes);
        let (header_length, flags) = ((control >> 28) as usize * 4, (control >> 16) as u8);
        let options = bytes.get(TCP_HEADER..header_length).ok_or(Fault::Malformed)?;
        let (source, destination) = ((ports >> 16) as u16, ports as u16);
        if (flags & (SYN | FIN | RST)).count_ones() > 1 || source == 0 || destination == 0 {
            return Err(Fault::Malformed);
        }
        let syn = flags & SYN != 0;
        Ok(Segment {
            source: SocketAddr::new(header.source, source),
            destination: SocketAddr::new(header.destination, destination),
            sequence: Sequence(number),
            acknowledgement: (flags & ACK != 0).then_some(Sequence(acknowledged)),
            syn,
            fin: flags & FIN != 0,
            rst: flags & RST != 0,
            push: flags & PSH != 0,
            urgent: (flags & URG != 0).then_some(urgent as u16),
            window: control as u16,
            payload: header.payload.len().saturating_sub(header_length),
            payload_offset: header.payload.start + header_length,
            options: HeaderOptions::parse(options, syn),
        })
    }

    /// Where the data lies in the packet.
    pub fn payload_range(&self) -> Range<usize> {
        self.payload_offset..self.payload_offset + self.payload
    }

    /// The data, in the packet that was parsed.
    pub fn payload_in<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(self.payload_range()).unwrap_or_default()
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
        let reset = Draft { rst: true, ..Draft::bare(sequence, acknowledgement, 0) };
        Some(reset.build(self.destination, self.source, Treatment::default(), checksums))
    }
}

/// A header that we write.
#[derive(Clone, Copy, Debug)]
pub struct Draft {
    /// SEG.SEQ
    pub sequence: Sequence,
    /// SEG.ACK; the ACK flag is set when there is one.
    pub acknowledgement: Option<Sequence>,
    /// The window field, scaled already.
    pub window: u16,
    /// SYN flag
    pub syn: bool,
    /// FIN flag
    pub fin: bool,
    /// RST flag
    pub rst: bool,
    /// PSH flag
    pub push: bool,
    /// The urgent pointer; the URG flag is set when there is one.
    pub urgent: Option<u16>,
    /// Options
    pub options: HeaderOptions,
}

impl Draft {
    /// A segment without data, flags or options.
    pub fn bare(sequence: Sequence, acknowledgement: Option<Sequence>, window: u16) -> Draft {
        Draft {
            sequence,
            acknowledgement,
            window,
            syn: false,
            fin: false,
            rst: false,
            push: false,
            urgent: None,
            options: HeaderOptions::default(),
        }
    }

    /// The packet that carries it without data.
    pub fn build(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        treatment: Treatment,
        checksums: bool,
    ) -> Packet {
        let mut headers = [0; HEADERS_MAX];
        let length = self.write(&mut headers, source, destination, treatment, [&[], &[]], checksums);
        headers[..length].to_vec()
    }

    /// Writes the IP and TCP headers in front of `payload`; returns their length.
    pub(super) fn write(
        &self,
        headers: &mut [u8; HEADERS_MAX],
        source: SocketAddr,
        destination: SocketAddr,
        treatment: Treatment,
        payload: [&[u8]; 2],
        checksums: bool,
    ) -> usize {
        let header_length = TCP_HEADER + self.options.length();
        let data = payload[0].len() + payload[1].len();
        let start = ip::write_header(
            headers,
            source.ip(),
            destination.ip(),
            Protocol::Tcp,
            treatment,
            header_length + data,
            checksums,
        );
        let end = start + header_length;
        let header = headers[start..end].first_chunk_mut().expect("there is room for the longest headers");
        self.write_fixed(header, source.port(), destination.port(), header_length);
        self.options.write(&mut headers[start + TCP_HEADER..end]);
        if checksums {
            let (header, [first, second]) = (&headers[start..end], payload);
            let pieces = [header, first, second];
            let sum = !ip::transport_sum_of(source.ip(), destination.ip(), Protocol::Tcp, &pieces);
            headers[start + 16..start + 18].copy_from_slice(&sum.to_be_bytes());
        }
        end
    }

    /// The header without options and checksum.
    fn write_fixed(&self, header: &mut [u8; TCP_HEADER], source: u16, destination: u16, length: usize) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.fin, FIN)
            | flag(self.syn, SYN)
            | flag(self.rst, RST)
            | flag(self.push, PSH)
            | flag(self.acknowledgement.is_some(), ACK)
            | flag(self.urgent.is_some(), URG);
        let ports = u32::from(source) << 16 | u32::from(destination);
        let control = (length as u32 / 4) << 28 | u32::from(flags) << 16 | u32::from(self.window);
        let acknowledgement = self.acknowledgement.unwrap_or_default().0;
        let urgent = self.urgent.unwrap_or_default().into();
        ip::write_words(header, [ports, self.sequence.0, acknowledgement, control, urgent]);
    }
}
