//! What stands between smoltcp's TCP and the network, in both directions.
//!
//! smoltcp 0.14 can be panicked, sent into an endless loop, or wedged by segments that any peer may send
//! (`facts/smoltcp.md` 7, with the measurements). Each filter here removes one of these triggers:
//!
//! - F1: data beyond the window we really advertised is not delivered but acknowledged. (The window of a SYN is not
//!   scaled, smoltcp scales it later, and writes beyond its ring.)
//! - F2: when the peer acknowledges our FIN, its window is shown as open: a zero-window probe timer that is left
//!   on in FIN-WAIT-2 sends for ever.
//! - F3: the device always takes a packet (`context.rs`).
//! - F4: one unit of the scaled window is held back: rounding can never take back what was promised.
//! - F5: a segment without data carries SND.NXT as it was before a retransmission rewound it: else both ends
//!   may drop each other's acknowledgements for ever.
//! - F6: no duplicate acknowledgements while only our FIN is under way, and a connection that waits for the peer with
//!   no timer running is shown the peer's last acknowledgement again, which starts one.
//!
//! Besides, SYN and RST are judged here by RFC 5961, before smoltcp, which would take any in the window.
//! And every packet gets its checksums here, after the last change to it.
#![forbid(unsafe_code)]

use super::segment::{Bare, Segment, Sequence};
use super::{Connection, Context};
use crate::error::Error;
use crate::ip;
use crate::link::Packet;
use crate::time::Instant;
use core::time::Duration;
use smoltcp::socket::tcp::State as Inner;
use smoltcp::wire::{TcpOption, TcpPacket};
use std::net::SocketAddr;

/// At most one challenge in this time for a connection (RFC 5961 7; Linux's tcp_invalid_ratelimit).
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// The peer's maximum segment size when it does not say (RFC 9293 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// What to do with a segment.
pub(super) enum Verdict {
    /// Give it to smoltcp.
    Deliver,
    /// Nothing.
    Drop,
    /// Drop it and say where we are.
    Acknowledge,
    /// The connection is over.
    End(Error),
}

/// What is known of both sequence spaces from the headers that went by.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// ISS
    first_sent: Sequence,
    /// SND.MAX
    highest_sent: Sequence,
    fin_sent: bool,
    /// IRS, once known.
    first_received: Option<Sequence>,
    written: u32,
    read: u32,
    /// The right edge of the window, the furthest we ever advertised.
    edge: Sequence,
    /// The acknowledgement and window of the last segment that left.
    acknowledged: Option<Sequence>,
    window: u16,
    /// The shift of the windows that we send, as our SYN offered it; 0 when the peer's SYN had none.
    scale: u8,
    mss: u16,
    /// The acknowledgement and window field of the last segment that was delivered.
    peer: Option<(Sequence, u16)>,
    challenged: Option<Instant>,
    bare_segments: u32,
}

impl Numbers {
    pub(super) fn highest_sent(&self) -> Sequence {
        self.highest_sent
    }

    pub(super) fn window(&self) -> u16 {
        self.window
    }

    pub(super) fn peer_mss(&self) -> usize {
        self.mss.into()
    }

    /// How many segments without data, SYN or FIN have left.
    pub(super) fn bare_segments(&self) -> u32 {
        self.bare_segments
    }

    pub(super) fn read(&mut self, length: usize) {
        self.read = self.read.wrapping_add(length as u32);
    }

    pub(super) fn wrote(&mut self, length: usize) {
        self.written = self.written.wrapping_add(length as u32);
    }

    pub(super) fn next_received(&self, readable: usize, fin: bool) -> Sequence {
        self.first_received.unwrap_or_default()
            + 1u32.wrapping_add(self.read).wrapping_add(readable as u32).wrapping_add(fin.into())
    }

    pub(super) fn first_unacknowledged(&self, queued: usize, syn: bool, fin: bool) -> Sequence {
        self.first_sent
            + self.written.wrapping_sub(queued as u32).wrapping_add(syn.into()).wrapping_add(fin.into())
    }

    /// The peer's SYN was taken.
    pub(super) fn learn_peer(&mut self, syn: &Segment) {
        self.first_received = Some(syn.sequence);
        self.mss = syn.mss.filter(|mss| *mss > 0).unwrap_or(DEFAULT_MSS);
        if syn.window_scale.is_none() {
            self.scale = 0;
        }
        // The window of our SYN counts from here and is not scaled.
        self.edge = syn.sequence + 1 + u32::from(self.window);
    }

    /// Sets right what smoltcp sends, and remembers it.
    pub(super) fn reshape_outgoing(
        &mut self,
        packet: &mut Packet,
        local: SocketAddr,
        remote: SocketAddr,
        checksums: bool,
    ) {
        let offset = ip::header_length(&local.ip());
        let mut tcp = TcpPacket::new_unchecked(&mut packet[offset..]);
        let sequence = Sequence::from(tcp.seq_number());
        let payload = tcp.payload_mut().len() as u32;
        if tcp.syn() {
            self.first_sent = sequence;
            self.highest_sent = sequence + 1;
            self.scale = offered_scale(tcp.options_mut());
            self.window = tcp.window_len();
            if tcp.ack() {
                let acknowledged = Sequence::from(tcp.ack_number());
                self.acknowledged = Some(acknowledged);
                self.edge = acknowledged + u32::from(self.window);
            }
        } else if !tcp.rst() {
            if payload == 0 && !tcp.fin() {
                self.bare_segments = self.bare_segments.wrapping_add(1);
                tcp.set_seq_number(self.highest_sent.later(sequence).into()); // F5
            } else {
                self.highest_sent = self.highest_sent.later(sequence + payload + u32::from(tcp.fin()));
                self.fin_sent |= tcp.fin();
            }
            if self.scale > 0 {
                tcp.set_window_len(tcp.window_len().saturating_sub(1)); // F4
            }
            self.advertise(tcp.ack_number().into(), tcp.window_len());
        }
        if checksums {
            tcp.fill_checksum(&local.ip().into(), &remote.ip().into());
            ip::fill_checksum(packet);
        }
    }

    fn advertise(&mut self, acknowledged: Sequence, window: u16) {
        self.acknowledged = Some(acknowledged);
        self.window = window;
        self.edge = self.edge.later(acknowledged + (u32::from(window) << self.scale));
    }

    /// Where we are, as the last segment said it: SND.NXT, RCV.NXT and the window.
    fn position(&self, next_received: Sequence) -> Bare {
        Bare {
            rst: false,
            sequence: self.highest_sent,
            acknowledgement: Some(self.acknowledged.unwrap_or(next_received)),
            window: self.window,
        }
    }
}

fn offered_scale(mut options: &[u8]) -> u8 {
    while let Ok((rest, option)) = TcpOption::parse(options) {
        match option {
            TcpOption::WindowScale(shift) => return shift,
            TcpOption::EndOfList => break,
            _ => options = rest,
        }
    }
    0
}

impl Connection {
    /// Judges a segment before smoltcp sees it.
    pub(super) fn examine(&mut self, segment: &Segment, now: Instant) -> Verdict {
        if self.inner() == Inner::SynSent {
            return match (segment.rst, segment.acknowledgement == Some(self.numbers.highest_sent)) {
                (false, _) => Verdict::Deliver,
                (true, true) => Verdict::End(Error::ConnectionRefused),
                (true, false) => Verdict::Drop,
            };
        }
        if segment.rst {
            return self.examine_reset(segment, now);
        }
        if segment.syn {
            let repeated =
                self.inner() == Inner::SynReceived && self.numbers.first_received == Some(segment.sequence);
            return match (repeated, segment.acknowledgement) {
                // Answered by the retransmission of our SYN-ACK.
                (true, None) => Verdict::Drop,
                // Two SYNs crossed: smoltcp would wait for an acknowledgement without a SYN for ever.
                (true, Some(_)) => Verdict::Acknowledge,
                // RFC 5961 4.2
                (false, _) => self.challenge(now),
            };
        }
        let Some(acknowledged) = segment.acknowledgement else { return Verdict::Drop };
        let beyond = (segment.sequence + segment.payload as u32).after(self.numbers.edge);
        if segment.payload > 0 && beyond {
            return Verdict::Acknowledge; // F1
        }
        let previous = self.numbers.peer.replace((acknowledged, segment.window));
        let fin_alone = self.numbers.fin_sent && acknowledged + 1 == self.numbers.highest_sent;
        let repeated = previous.is_some_and(|(before, _)| before == acknowledged);
        if fin_alone && repeated && segment.payload == 0 && !segment.fin {
            return Verdict::Drop; // F6
        }
        Verdict::Deliver
    }

    /// RFC 5961 3: only a reset that hits RCV.NXT exactly is one.
    fn examine_reset(&mut self, segment: &Segment, now: Instant) -> Verdict {
        let next = self.next_received();
        if segment.sequence == next {
            // Linux's tcp_reset: a program that has seen the end of file gets EPIPE.
            return Verdict::End(match self.inner() {
                Inner::CloseWait => Error::BrokenPipe,
                _ => Error::ConnectionReset,
            });
        }
        let in_window = segment.sequence.after(next) && segment.sequence.before(self.numbers.edge);
        if in_window { self.challenge(now) } else { Verdict::Drop }
    }

    fn challenge(&mut self, now: Instant) -> Verdict {
        if self.numbers.challenged.is_some_and(|last| now - last < CHALLENGE_INTERVAL) {
            return Verdict::Drop;
        }
        self.numbers.challenged = Some(now);
        Verdict::Acknowledge
    }

    /// Changes what smoltcp must not see as it is.
    pub(super) fn reshape_incoming(&self, packet: &mut Packet, segment: &Segment) {
        let fin_acknowledged =
            self.numbers.fin_sent && segment.acknowledgement == Some(self.numbers.highest_sent);
        if fin_acknowledged && segment.window == 0 {
            TcpPacket::new_unchecked(&mut packet[segment.offset..]).set_window_len(1); // F2
        }
    }

    /// F6: shows smoltcp the peer's last acknowledgement again. With data waiting and the window closed this starts
    /// the zero-window probe timer that a retransmission timeout switched off.
    pub(super) fn revive(&mut self, context: &mut Context, now: Instant) {
        let Some((_, window)) = self.numbers.peer else { return };
        let again = Bare {
            rst: false,
            sequence: self.next_received(),
            acknowledgement: Some(self.first_unacknowledged()),
            window,
        };
        let packet = again.build(self.remote, self.local, false);
        if !context.deliver(&mut self.sockets, packet, now) {
            return self.broken(context);
        }
        self.collect(context);
        match context.poll_at(&self.sockets, now) {
            Ok(at) => self.poll_at = at,
            Err(_) => self.broken(context),
        }
    }

    /// An acknowledgement of our own making.
    pub(super) fn acknowledge(&mut self, checksums: bool) {
        let position = self.numbers.position(self.next_received());
        self.replies.push_back(position.build(self.local, self.remote, checksums));
    }

    /// A keep-alive probe: a segment just left of the window, which the peer must answer (RFC 9293 3.8.4).
    pub(super) fn probe(&mut self, checksums: bool) {
        let mut probe = self.numbers.position(self.next_received());
        probe.sequence = probe.sequence.minus_one();
        self.replies.push_back(probe.build(self.local, self.remote, checksums));
    }

    /// A reset, where the peer knows of the connection.
    pub(super) fn send_reset(&mut self, checksums: bool) {
        if self.numbers.first_received.is_some() {
            let reset = Bare {
                rst: true,
                acknowledgement: Some(self.next_received()),
                ..self.numbers.position(self.next_received())
            };
            self.replies.push_back(reset.build(self.local, self.remote, checksums));
        }
    }
}
