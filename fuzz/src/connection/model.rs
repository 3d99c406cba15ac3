//! The reference model: what must hold of one connection whatever its peer and its owner do.
//!
//! It does not predict what the connection does, it bounds it. Of what came in it remembers the most that may be taken
//! as true (which bytes lay in the window, the furthest right edge offered, every FIN, every timestamp), and holds what
//! goes out and what is read against that:
//!
//! - What is acknowledged and what is read was sent, within the window; bytes are those of the peer's stream.
//! - ACK and the right edge of the window never go back (RFC 9293 3.8.6); the window is no larger than the buffer.
//! - What is sent was written, is the same each time, and lies within the furthest window that the peer offered.
//! - Options are those agreed on; SACK blocks report what came; timestamps never go back, and echo what came.
//! - State changes follow the arrows of RFC 9293 3.3.2, and only for their reasons.
//! - An end has its reason: a reset for RST only, and none only when both sides closed.
#![forbid(unsafe_code)]

use super::stream::{Stream, unwrapped};
use super::{ACK, FIN, RST, SYN};
use super::{Intervals, Options, Wire};
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use tubesock::error::Error;
use tubesock::link::Outgoing;
use tubesock::tcp::{self, Info, State};

/// Linux sends no smaller segments, whatever the peer asks for (tcp_min_snd_mss, after CVE-2019-11477).
const SMALLEST_MSS: i64 = 48;

/// The peer's maximum segment size when it does not say (RFC 9293 3.7.1).
const DEFAULT_MSS_V4: i64 = 536;
const DEFAULT_MSS_V6: i64 = 1220;

/// No path MTU below is believed: Linux's net.ipv4.route.min_pmtu, and RFC 8200 5.
const LEAST_MTU_V4: usize = 552;
const LEAST_MTU_V6: usize = 1280;

/// What does not change while a connection lives.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) mtu: usize,
    pub(super) segmentation: usize,
    pub(super) checksums: bool,
    pub(super) tcp: tcp::Settings,
    /// Initial sequence numbers: ours and theirs.
    pub(super) iss: u32,
    pub(super) irs: u32,
    /// What the peer's SYN offers.
    pub(super) offer: Options,
}

/// What may have ended a connection.
#[derive(Clone, Copy)]
pub(super) enum Cause<'a> {
    Segment(&'a Wire),
    /// An ICMP error, and which number of ours it quoted.
    Report(Error, i64),
    Time,
    Call,
}

/// What has happened.
pub(super) struct Model {
    pub(super) terms: Terms,
    /// What our SYN offered.
    pub(super) ours: Option<Options>,

    // ---- what we send, as offsets from our SYN
    /// Bytes that the owner wrote, and whether it will write more.
    pub(super) written: i64,
    pub(super) closed: bool,
    pub(super) orphaned: bool,
    /// SND.NXT, the furthest acknowledgement of it that came, and the furthest right edge offered with one.
    pub(super) sent: i64,
    pub(super) acknowledged_by_peer: i64,
    pub(super) edge: i64,
    /// Largest packet, as far as the link and ICMP said.
    mtu: usize,
    last_timestamp: Option<u32>,
    /// TSecr that we sent last: TS.Recent.
    pub(super) last_echo: u32,

    // ---- what we receive, as offsets from the peer's SYN
    /// Bytes that came within the window, and all numbers that came at all.
    in_window: Intervals,
    came: Intervals,
    fins: BTreeSet<i64>,
    /// Where the data of each segment ended.
    ends: HashSet<i64>,
    /// The acknowledgement that we sent last, and the furthest right edge with one.
    pub(super) acknowledged: i64,
    pub(super) advertised: i64,
    /// All right edges that there were: what came may have been cut there.
    edges: HashSet<i64>,
    pub(super) read: i64,
    /// The largest receive buffer that there may be.
    pub(super) receive_max: usize,
    timestamps: HashSet<u32>,
    /// Urgent data is taken out of the stream, whose bytes then do not stand where they stood.
    pub(super) urgent_apart: bool,
    /// Acknowledgement numbers that came since the last packet: where a reset may stand.
    acknowledgements: Vec<u32>,

    /// Errors that ICMP reported: reasons for a time-out.
    pub(super) reported: Vec<Error>,
    pub(super) state: State,
}

impl Model {
    pub(super) fn new(terms: Terms, state: State) -> Model {
        Model {
            ours: None,
            written: 0,
            closed: false,
            orphaned: false,
            sent: 0,
            acknowledged_by_peer: 0,
            edge: 1,
            mtu: terms.mtu,
            last_timestamp: None,
            last_echo: 0,
            in_window: Intervals::default(),
            came: Intervals::default(),
            fins: BTreeSet::new(),
            ends: HashSet::new(),
            acknowledged: 0,
            advertised: 0,
            edges: HashSet::new(),
            read: 0,
            receive_max: terms.tcp.receive_max,
            timestamps: HashSet::from([0]),
            urgent_apart: false,
            acknowledgements: Vec::new(),
            reported: Vec::new(),
            state,
            terms,
        }
    }

    pub(super) fn timestamps_agreed(&self) -> bool {
        self.agreed(|options| options.timestamps.is_some())
    }

    pub(super) fn sack_agreed(&self) -> bool {
        self.agreed(|options| options.sack_permitted)
    }

    /// The shifts of our windows and of the peer's.
    pub(super) fn shifts(&self) -> (u8, u8) {
        let scale = |options: &Options| options.scale.unwrap_or(0).min(14);
        match &self.ours {
            Some(ours) if self.agreed(|options| options.scale.is_some()) => {
                (scale(ours), scale(&self.terms.offer))
            }
            _ => (0, 0),
        }
    }

    fn agreed(&self, by: impl Fn(&Options) -> bool) -> bool {
        self.ours.as_ref().is_some_and(&by) && by(&self.terms.offer)
    }

    // ---- what comes in

    /// A segment of the peer is about to be taken.
    pub(super) fn arrives(&mut self, wire: &Wire) {
        let first = self.their_offset(wire) + i64::from(wire.has(SYN));
        let end = first + wire.payload.len() as i64;
        // The buffer may be larger than what the scaled window field could say, and than the window of a SYN.
        let slack = 1 << self.shifts().0;
        let limit = self.advertised.max(1 + i64::from(u16::MAX)) + slack;
        if !wire.has(RST) {
            self.in_window.insert(first.max(1)..end.min(limit));
        }
        let start = self.anywhere(wire.sequence);
        self.came.insert(start..start + wire.length());
        self.ends.insert(end);
        if wire.has(FIN) {
            self.fins.insert(end);
        }
        if let Some((value, _)) = Options::read(&wire.options).and_then(|options| options.timestamps) {
            self.timestamps.insert(value);
        }
        if wire.has(ACK) {
            self.is_acknowledged(wire);
        }
    }

    fn is_acknowledged(&mut self, wire: &Wire) {
        let offset = unwrapped(wire.acknowledgement, self.terms.iss, self.acknowledged_by_peer);
        self.acknowledgements.push(wire.acknowledgement);
        if offset > self.sent {
            return;
        }
        self.acknowledged_by_peer = self.acknowledged_by_peer.max(offset);
        let shift = if wire.has(SYN) { 0 } else { self.shifts().1 };
        self.edge = self.edge.max(offset + (i64::from(wire.window) << shift));
    }

    pub(super) fn their_offset(&self, wire: &Wire) -> i64 {
        unwrapped(wire.sequence, self.terms.irs, self.acknowledged)
    }

    /// The place of a number of the peer's that may be far from where its stream is.
    fn anywhere(&self, number: u32) -> i64 {
        unwrapped(number, self.terms.irs, 0)
    }

    /// The owner read `bytes`.
    pub(super) fn is_read(&mut self, bytes: &[u8]) {
        let start = 1 + self.read;
        assert!(
            self.urgent_apart || Stream::Theirs.has(start, bytes),
            "other bytes are read at {start} than were sent"
        );
        self.read += bytes.len() as i64;
        assert!(
            self.read < self.contiguous(),
            "{} bytes are read, {} came",
            self.read,
            self.contiguous() - 1
        );
    }

    /// How far what came in the window reaches without a gap.
    pub(super) fn contiguous(&self) -> i64 {
        self.in_window.end_of(1)
    }

    fn has_fin_at(&self, offset: i64) -> bool {
        self.fins.contains(&offset)
    }

    /// The number behind the peer's FIN, which is acknowledged, or about to be.
    pub(super) fn check_fin_received(&self, next: u32) {
        let offset = unwrapped(next, self.terms.irs, self.acknowledged);
        assert!(self.has_fin_at(offset - 1), "RCV.NXT at {offset}: no FIN stood before it");
    }

    /// The end of file stands where a FIN came.
    pub(super) fn check_end_of_file(&self) {
        assert!(
            self.urgent_apart || self.has_fin_at(1 + self.read),
            "the end of file after {} bytes: no FIN stood there",
            self.read
        );
    }

    /// ICMP said that the path takes packets of `mtu` bytes, quoting a segment at `quoted`.
    pub(super) fn is_too_big(&mut self, mtu: usize, quoted: i64, believed: bool) {
        let sent = (0..=self.sent).contains(&quoted);
        assert!(sent || !believed, "the path MTU by a guess: {quoted}");
        if believed {
            let least = if self.terms.local.is_ipv4() { LEAST_MTU_V4 } else { LEAST_MTU_V6 };
            self.mtu = self.mtu.min(mtu.max(least));
        }
    }

    // ---- what goes out

    /// A segment of ours leaves; it, as a whole.
    pub(super) fn leaves(&mut self, outgoing: &Outgoing<'_>) -> Wire {
        let packet = outgoing.to_packet();
        let verify = self.terms.checksums && outgoing.segment.is_none();
        let wire = Wire::read(&packet, verify).expect("what leaves is a segment with its checksum");
        assert_eq!((wire.source, wire.destination), (self.terms.local, self.terms.remote));
        let options = Options::read(&wire.options).expect("options of ours are well-formed");
        if wire.has(RST) {
            self.check_reset(&wire);
            return wire;
        }
        if wire.has(SYN) && self.ours.is_none() {
            self.ours = Some(options.clone());
        }
        self.check_size(&wire, &options, outgoing);
        self.check_data(&wire);
        if wire.has(ACK) {
            self.check_acknowledgement(&wire);
            self.acknowledgements.clear();
        } else {
            assert!(wire.has(SYN), "only a SYN of ours has no ACK");
        }
        self.check_options(&wire, &options);
        wire
    }

    /// RFC 9293 3.10.7.1, 3.5.2
    fn check_reset(&self, wire: &Wire) {
        assert!(wire.payload.is_empty() && !wire.has(SYN) && !wire.has(FIN), "a reset is nothing else");
        let offset = unwrapped(wire.sequence, self.terms.iss, self.acknowledged_by_peer);
        let within = (0..=self.sent + 1).contains(&offset);
        let answers = self.acknowledgements.contains(&wire.sequence);
        assert!(within || answers, "a reset at {offset}, of {}..{}", self.acknowledged_by_peer, self.sent);
    }

    fn check_size(&self, wire: &Wire, options: &Options, outgoing: &Outgoing<'_>) {
        let header = outgoing.headers.len() as i64;
        let (length, option_bytes) = (wire.payload.len() as i64, wire.options.len() as i64);
        let segment = match outgoing.segment {
            Some(size) => {
                assert!(length <= self.terms.segmentation as i64, "{length} bytes to be cut by the link");
                assert!(length > i64::from(size.get()), "what fits one packet is not to be cut");
                i64::from(size.get())
            }
            None => length,
        };
        assert!(header + segment <= self.mtu as i64, "a packet of {} bytes", header + segment);
        // RFC 9293 3.7.1: options count; RFC 6691.
        let default = if self.terms.remote.is_ipv4() { DEFAULT_MSS_V4 } else { DEFAULT_MSS_V6 };
        let peer = self.terms.offer.mss.map_or(default, i64::from).max(SMALLEST_MSS);
        assert!(
            segment == 0 || segment + option_bytes <= peer.max(SMALLEST_MSS + option_bytes),
            "a segment of {segment} bytes and {option_bytes} of options for a peer that takes {peer}; {options:?}"
        );
    }

    fn check_data(&mut self, wire: &Wire) {
        let near = self.sent;
        let start = unwrapped(wire.sequence, self.terms.iss, near);
        let first = start + i64::from(wire.has(SYN));
        let end = first + wire.payload.len() as i64;
        assert_eq!(
            wire.has(SYN),
            start == 0 && wire.length() > 0,
            "the SYN is the first, and nothing else is"
        );
        assert!(Stream::Ours.has(first, &wire.payload), "other bytes are sent at {first} than were written");
        assert!(
            wire.payload.is_empty() || end <= 1 + self.written,
            "bytes are sent up to {end} that were never written"
        );
        if wire.has(FIN) {
            assert!(self.closed && end == 1 + self.written, "a FIN before the end");
        }
        let past = end + i64::from(wire.has(FIN));
        if wire.length() == 0 {
            // An acknowledgement stands at SND.NXT, a probe left of SND.UNA (RFC 9293 3.8.4).
            let least = self.acknowledged_by_peer.min(near) - 1;
            assert!((least..=near).contains(&start), "an empty segment at {start}, sent up to {near}");
        } else {
            assert!(start <= near, "a gap from {near} to {start}");
        }
        if past > near {
            // A zero-window probe may be one byte or the FIN alone (RFC 9293 3.8.6.1).
            let probe = past - start == 1;
            assert!(
                past <= self.edge + i64::from(probe) || wire.has(SYN),
                "sent to {past}, beyond {}",
                self.edge
            );
            self.sent = past;
        }
    }

    fn check_acknowledgement(&mut self, wire: &Wire) {
        let offset = unwrapped(wire.acknowledgement, self.terms.irs, self.acknowledged);
        assert!(offset >= self.acknowledged, "ACK goes back from {} to {offset}", self.acknowledged);
        let contiguous = self.contiguous();
        let with_fin = i64::from(self.has_fin_at(offset - 1));
        assert!(offset <= contiguous + with_fin, "{offset} is acknowledged, {contiguous} came");
        self.acknowledged = offset;
        let shift = if wire.has(SYN) { 0 } else { self.shifts().0 };
        let edge = offset + (i64::from(wire.window) << shift);
        // RFC 7323 2.4: rounding may take back less than one unit, and a SYN that is sent again cannot say more than
        // 64 KiB. What was promised before is taken all the same.
        let unit = 1 << shift;
        assert!(
            edge + unit > self.advertised || wire.has(SYN),
            "the right edge goes back from {} to {edge}",
            self.advertised
        );
        let buffered = edge - 1 - self.read;
        let most = 2 * self.receive_max as i64 + 1;
        assert!(buffered <= most, "a window for {buffered} bytes of a buffer for {most}");
        self.advertised = self.advertised.max(edge);
        self.edges.insert(edge);
    }

    fn check_options(&mut self, wire: &Wire, options: &Options) {
        let Options { mss, scale, sack_permitted, timestamps, sack } = options;
        let settings = &self.terms.tcp;
        if wire.has(SYN) {
            assert!(mss.is_some(), "a SYN says the MSS (RFC 9293 MUST-5)");
            assert!(scale.is_none_or(|shift| settings.window_scale && shift <= 14));
            assert!(!*sack_permitted || settings.sack);
            assert!(sack.is_empty());
        } else {
            assert_eq!((*mss, *scale, *sack_permitted), (None, None, false), "options of a SYN");
            assert_eq!(timestamps.is_some(), self.timestamps_agreed(), "RFC 7323 3.2: in all or in none");
            assert!(sack.is_empty() || self.sack_agreed(), "SACK was not agreed on");
        }
        self.check_sack(sack);
        if let Some((value, echo)) = *timestamps {
            let back = self.last_timestamp.is_some_and(|last| (value.wrapping_sub(last) as i32) < 0);
            assert!(!back, "the timestamp goes back");
            (self.last_timestamp, self.last_echo) = (Some(value), echo);
            assert!(self.timestamps.contains(&echo), "{echo} is echoed and never came");
        }
    }

    /// RFC 2018 4 and RFC 2883 4
    fn check_sack(&self, blocks: &[(u32, u32)]) {
        let range = |&(left, right): &(u32, u32)| {
            let start = self.anywhere(left);
            start..start + i64::from(right.wrapping_sub(left) as i32)
        };
        let blocks: Vec<_> = blocks.iter().map(range).collect();
        for (index, block) in blocks.iter().enumerate() {
            assert!(!block.is_empty(), "an empty block");
            let around =
                blocks.iter().skip(1).any(|other| other.start <= block.start && block.end <= other.end);
            // What is half the number space away is before as much as behind.
            let old = block.end <= self.acknowledged || block.start > self.advertised;
            let duplicate = index == 0 && (old || around);
            if duplicate {
                assert!(self.came.contains(block.clone()), "{block:?} never came");
                continue;
            }
            assert!(block.start > self.acknowledged, "{block:?} is acknowledged to {}", self.acknowledged);
            assert!(self.in_window.contains(block.clone()), "{block:?} never came within the window");
            let others = blocks.iter().skip(index + 1);
            assert!(
                others.clone().all(|other| other.end < block.start || block.end < other.start),
                "{blocks:?}"
            );
        }
    }

    // ---- TCP_INFO

    pub(super) fn check_info(&self, info: &Info) {
        assert!(info.snd_mss > 0 && info.snd_cwnd > 0);
        let fin = i64::from(self.closed && self.sent == self.written + 2);
        let sent_once = (info.bytes_sent - info.bytes_retrans) as i64;
        assert_eq!(sent_once, (self.sent - 1 - fin).max(0), "bytes sent, and sent again");
        assert!(info.bytes_acked as i64 <= self.acknowledged_by_peer, "acknowledged: {}", info.bytes_acked);
        assert!((info.bytes_received as i64) < self.contiguous(), "received: {}", info.bytes_received);
    }

    // ---- states

    /// The state after an event; `aborted` by the owner, any end is right.
    pub(super) fn check_state(&mut self, state: State, end: Option<Error>, cause: Cause<'_>, aborted: bool) {
        let before = core::mem::replace(&mut self.state, state);
        if state == before {
            return;
        }
        assert!(reaches(before, state), "{before:?} turns into {state:?}");
        use State::{CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, TimeWait};
        if matches!(state, FinWait1 | FinWait2 | Closing | LastAck | TimeWait) {
            assert!(self.closed, "{state:?}: nobody closed");
        }
        if matches!(state, CloseWait | Closing | LastAck | TimeWait) {
            assert!(!self.fins.is_empty(), "{state:?}: no FIN came");
        }
        if matches!(state, FinWait2 | TimeWait) {
            assert!(self.fin_acknowledged(), "{state:?}: our FIN was not acknowledged");
        }
        if matches!(state, Established | CloseWait) {
            assert!(self.acknowledged_by_peer >= 1, "{state:?}: our SYN was not acknowledged");
        }
        match (end, cause) {
            _ if state != Closed || aborted => {}
            (None, _) => self.check_orderly(before),
            (Some(error), cause) => self.check_error(before, error, cause),
        }
    }

    fn check_orderly(&self, before: State) {
        let never_begun = before == State::SynSent && self.closed;
        let forgotten = self.orphaned && before == State::FinWait2;
        assert!(self.fin_acknowledged() || never_begun, "an orderly end before our FIN arrived");
        assert!(!self.fins.is_empty() || forgotten || never_begun, "an orderly end before a FIN came");
    }

    fn check_error(&self, before: State, error: Error, cause: Cause<'_>) {
        match cause {
            // Data that nobody will read (RFC 9293 3.6.1).
            _ if self.orphaned => {}
            Cause::Segment(wire) => {
                assert!(wire.has(RST), "{error:?} by what is no reset");
                assert!(self.is_exact(before, wire), "reset in {before:?} by a guess");
            }
            Cause::Report(reported, quoted) => {
                assert_eq!(error, reported);
                assert!(
                    matches!(before, State::SynSent | State::SynReceived),
                    "a hard error in {before:?} (RFC 5927)"
                );
                assert!((0..=self.sent).contains(&quoted), "by a guess: {quoted}");
            }
            Cause::Time => {
                assert!(error == Error::TimedOut || self.reported.contains(&error), "{error:?} by time")
            }
            Cause::Call => panic!("{error:?} by a call"),
        }
    }

    pub(super) fn fin_acknowledged(&self) -> bool {
        self.closed && self.acknowledged_by_peer == self.written + 2
    }

    /// RFC 5961 3.2: RST counts at RCV.NXT. Linux takes it at the end of the last out-of-order block too.
    fn is_exact(&self, before: State, wire: &Wire) -> bool {
        if before == State::SynSent {
            return wire.has(ACK);
        }
        let offset = self.their_offset(wire);
        let held = self
            .in_window
            .behind(self.acknowledged)
            .find(|range| (range.start..=range.end).contains(&offset));
        (self.acknowledged..=self.contiguous() + 1).contains(&offset)
            || held.is_some_and(|range| range.end == offset || self.may_end_at(offset))
    }

    /// What came ended where its segment did, or was cut where the window or the stream ended; what came behind that may
    /// have been dropped.
    fn may_end_at(&self, offset: i64) -> bool {
        self.ends.contains(&offset) || self.edges.contains(&offset) || self.has_fin_at(offset)
    }
}

/// Whether the arrows of RFC 9293 3.3.2 lead from `from` to `to`; one event may take several.
fn reaches(from: State, to: State) -> bool {
    use State::*;
    let next: &[State] = match from {
        SynSent => &[SynReceived, Established],
        SynReceived => &[Established, FinWait1],
        Established => &[FinWait1, CloseWait],
        FinWait1 => &[FinWait2, Closing],
        FinWait2 | Closing => &[TimeWait],
        CloseWait => &[LastAck],
        LastAck | TimeWait => &[],
        Closed => return false,
    };
    to == Closed || next.iter().any(|step| *step == to || reaches(*step, to))
}
