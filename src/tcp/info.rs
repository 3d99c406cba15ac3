//! TCP_INFO: what a connection knows of itself, in the fields of Linux's `struct tcp_info` (linux/tcp.h), and what it
//! counts for that.
#![forbid(unsafe_code)]

use super::recovery::Phase;
use super::{Connection, State};
use crate::time::Instant;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Linux's TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK, TCPI_OPT_WSCALE.
const OPTION_TIMESTAMPS: u8 = 1;
const OPTION_SACK: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 4;

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) segments_received: u32,
    pub(super) segments_sent: u32,
    pub(super) data_segments_received: u32,
    data_segments_sent: u32,
    bytes_sent: u64,
    bytes_retransmitted: u64,
    retransmissions: u32,
    pub(super) bytes_received: u64,
    pub(super) duplicates_reported: u32,
    pub(super) out_of_order: u32,
    pub(super) tail_probes: u32,
    pub(super) probes: u32,
    pub(super) last_data_received: Instant,
}

impl Tally {
    pub(super) fn retransmitted(&mut self, bytes: u32) {
        self.retransmissions += 1;
        self.bytes_retransmitted += u64::from(bytes);
    }

    pub(super) fn sent_data(&mut self, bytes: u32, segment: u32) {
        if bytes > 0 {
            self.data_segments_sent += if bytes <= segment { 1 } else { bytes.div_ceil(segment.max(1)) };
            self.bytes_sent += u64::from(bytes);
        }
    }
}

/// The fields of Linux's `struct tcp_info`, without their prefix. Times in microseconds, but for the four `last_`, in
/// milliseconds; windows and counts of segments in segments, where Linux has them so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Info {
    pub state: u8,
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub delivery_rate_app_limited: bool,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub fackets: u32,
    pub last_data_sent: u32,
    pub last_ack_sent: u32,
    pub last_data_recv: u32,
    pub last_ack_recv: u32,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    pub rehash: u32,
    pub total_rto: u16,
    pub total_rto_recoveries: u16,
    pub total_rto_time: u32,
}

impl Connection {
    /// TCP_INFO at `now`. What is not kept is 0: the times of limits and of acknowledgements sent, and ECN's.
    pub fn info(&self, now: Instant) -> Info {
        let mut info = Info::default();
        self.describe_state(&mut info);
        self.describe_sending(&mut info, now);
        self.describe_receiving(&mut info, now);
        info
    }

    fn describe_state(&self, info: &mut Info) {
        info.state = linux_state(self.state());
        info.ca_state = match self.recovery.phase {
            Phase::Open => u8::from(self.scoreboard.totals().sacked > 0),
            Phase::Fast => 3,
            Phase::Loss => 4,
        };
        let times = |times: u32| u8::try_from(times).unwrap_or(u8::MAX);
        info.retransmits = times(self.recovery.timeouts);
        info.probes = self.timers.window_probes.max(times(self.patience.probes()));
        info.backoff = self.rtt.backoff();
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        info.options = flag(self.agreed.timestamps, OPTION_TIMESTAMPS)
            | flag(self.agreed.sack, OPTION_SACK)
            | flag(self.agreed.shifts.is_some(), OPTION_WINDOW_SCALE);
        (info.snd_wscale, info.rcv_wscale) = self.agreed.shifts.unwrap_or_default();
        info.pmtu = self.path_mtu.mtu() as u32;
    }

    fn describe_sending(&self, info: &mut Info, now: Instant) {
        let mss = self.sending.mss.max(1);
        let segments = |bytes: u32| bytes.div_ceil(mss);
        let totals = self.scoreboard.totals();
        info.rto = micros(self.rtt.rto());
        info.snd_mss = mss;
        info.unacked = segments(self.flight());
        info.sacked = segments(totals.sacked);
        info.lost = segments(totals.lost);
        info.retrans = segments(totals.again);
        info.last_data_sent = milliseconds(now - self.sending.last_sent);
        info.last_ack_recv = milliseconds(now - self.patience.last_heard());
        info.rtt = self.rtt.smoothed().map_or(0, micros);
        info.rttvar = micros(self.rtt.variance());
        info.min_rtt = self.rtt.minimum().map_or(u32::MAX, micros);
        info.snd_cwnd = (self.window() / mss).max(1);
        let threshold = self.congestion.threshold();
        // Linux's TCP_INFINITE_SSTHRESH
        info.snd_ssthresh = if threshold == u32::MAX { 0x7fff_ffff } else { threshold / mss };
        info.reordering = 3;
        info.reord_seen = u32::from(self.scoreboard.rack.reordering_seen);
        info.total_retrans = self.tally.retransmissions;
        info.pacing_rate = self.pacing_rate().unwrap_or(u64::MAX);
        info.max_pacing_rate = self.options.max_pacing_rate.unwrap_or(u64::MAX);
        info.bytes_acked = self.sending.offset;
        info.notsent_bytes = u32::try_from(self.unsent()).unwrap_or(u32::MAX);
        info.delivery_rate = self.scoreboard.rate.latest();
        info.delivered = u32::try_from(self.scoreboard.rate.delivered() / u64::from(mss)).unwrap_or(u32::MAX);
        info.segs_out = self.tally.segments_sent;
        info.data_segs_out = self.tally.data_segments_sent;
        info.bytes_sent = self.tally.bytes_sent;
        info.bytes_retrans = self.tally.bytes_retransmitted;
        info.dsack_dups = self.tally.duplicates_reported;
        info.snd_wnd = self.sending.edge.distance(self.sending.unacknowledged);
        info.total_rto = u16::try_from(self.recovery.timeouts_ever).unwrap_or(u16::MAX);
    }

    fn describe_receiving(&self, info: &mut Info, now: Instant) {
        info.ato = micros(super::timers::DELAYED_ACKNOWLEDGEMENT);
        info.rcv_mss = self.receiving.segment;
        info.last_data_recv = milliseconds(now - self.tally.last_data_received);
        info.advmss = self.receiving.announced_mss;
        info.rcv_ssthresh = self.receiving.limit_bytes();
        info.rcv_space = self.receiving.limit_bytes();
        info.rcv_rtt = self.receiving.round_trip().map_or(0, micros);
        info.bytes_received = self.tally.bytes_received;
        info.segs_in = self.tally.segments_received;
        info.data_segs_in = self.tally.data_segments_received;
        info.rcv_ooopack = self.tally.out_of_order;
        info.rcv_wnd = self.receiving.edge.distance(self.receiving.next);
    }
}

/// Memory that a connection holds besides itself, in bytes. Limits: `docs/tcp.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What was written and is not acknowledged.
    pub send: usize,
    /// What was received and is not read, in order or not.
    pub receive: usize,
    /// The ranges that came out of order.
    pub reassembly: usize,
    /// One record for each transmission that is not acknowledged.
    pub records: usize,
}

impl Connection {
    /// What it holds now.
    pub fn memory(&self) -> Memory {
        Memory {
            send: self.sending.ring.capacity(),
            receive: self.receiving.ring.capacity(),
            reassembly: self.receiving.reassembly.memory(),
            records: self.scoreboard.memory(),
        }
    }
}

/// Linux's numbers of the states (net/tcp_states.h).
fn linux_state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
