//! What happened, as a hash always and as a line for each segment on demand.

use crate::dice::mix;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use tubesock::observe::packet::Summary;
use tubesock::time::Instant;

const HOSTS: [&str; 2] = ["near", "far "];

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// A host gave it to its link.
    Sent,
    /// A host got it from its link.
    Received,
}

pub(crate) struct Trace {
    began: Instant,
    pub(crate) hash: u64,
    pub(crate) packets: u64,
    lines: Option<Vec<String>>,
    /// The last state of each end that was noted.
    states: HashMap<(usize, usize), String>,
    verbose: bool,
}

impl Trace {
    pub(crate) fn new(began: Instant, lines: bool) -> Trace {
        let verbose = lines && std::env::var("SIMULATION_TRACE").is_ok_and(|level| level == "2");
        Trace { began, hash: 0, packets: 0, lines: lines.then(Vec::new), states: HashMap::new(), verbose }
    }

    pub(crate) fn sent(&mut self, now: Instant, side: usize, packet: &[u8], segment: Option<NonZeroU16>) {
        self.packet(now, side, Moment::Sent, packet);
        if let Some(segment) = segment {
            self.note(now, || format!("{} > in packets of {segment}", HOSTS[side]));
        }
    }

    pub(crate) fn received(&mut self, now: Instant, side: usize, packet: &[u8]) {
        self.packet(now, side, Moment::Received, packet);
    }

    fn packet(&mut self, now: Instant, side: usize, moment: Moment, packet: &[u8]) {
        self.packets += 1;
        self.absorb(now.micros());
        self.absorb((side * 2 + usize::from(moment == Moment::Sent)) as u64);
        for chunk in packet.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash =
                (self.hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let sign = if moment == Moment::Sent { '>' } else { '<' };
        self.note(now, || format!("{} {sign} {}", HOSTS[side], Summary(packet)));
    }

    /// Whether the state of connections is wanted too.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    pub(crate) fn note_state(&mut self, now: Instant, side: usize, number: usize, state: Option<String>) {
        let Some(state) = state else { return };
        if self.states.get(&(side, number)) != Some(&state) {
            self.note(now, || format!("{} : connection {number} {state}", HOSTS[side]));
            self.states.insert((side, number), state);
        }
    }

    /// A line about something that is no packet.
    pub(crate) fn note(&mut self, now: Instant, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6} {}", (now - self.began).as_secs_f64(), line()));
        }
    }

    /// Takes part in the hash.
    pub(crate) fn absorb(&mut self, number: u64) {
        self.hash = mix(self.hash ^ number);
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// What the simulation must know of a segment.
pub(crate) struct Segment {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: Option<u32>,
    /// Where the TCP header lies.
    pub(crate) header: usize,
    pub(crate) flags: u8,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    /// Bytes of data.
    pub(crate) data: u32,
}

impl Segment {
    /// None for what is no TCP segment.
    pub(crate) fn of(packet: &[u8]) -> Option<Segment> {
        const TCP: u8 = 6;
        let (source, destination, header): (IpAddr, IpAddr, usize) = match packet.first()? >> 4 {
            4 if packet.get(9) == Some(&TCP) => (
                part::<4>(packet, 12)?.into(),
                part::<4>(packet, 16)?.into(),
                usize::from(packet[0] & 15) * 4,
            ),
            6 if packet.get(6) == Some(&TCP) => {
                (part::<16>(packet, 8)?.into(), part::<16>(packet, 24)?.into(), 40)
            }
            _ => return None,
        };
        let tcp = packet.get(header..).filter(|tcp| tcp.len() >= 20)?;
        let port = |at| part::<2>(tcp, at).map(u16::from_be_bytes);
        Some(Segment {
            source: SocketAddr::new(source, port(0)?),
            destination: SocketAddr::new(destination, port(2)?),
            sequence: u32::from_be_bytes(part(tcp, 4)?),
            acknowledgement: part(tcp, 8).map(u32::from_be_bytes).filter(|_| tcp[13] & 16 != 0),
            header,
            flags: tcp[13],
            syn: tcp[13] & 2 != 0,
            fin: tcp[13] & 1 != 0,
            data: tcp.len().saturating_sub(usize::from(tcp[12] >> 4) * 4) as u32,
        })
    }

    pub(crate) fn ports(&self) -> [u16; 2] {
        [self.source.port(), self.destination.port()]
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
