//! The path MTU: what ICMP says of it (RFC 1191, RFC 8201), and what silence says (RFC 4821, RFC 8899).
//!
//! A black hole shows in full segments that time out again and again while ICMP says nothing: after the fourth time-out in
//! a row segments shrink, as Linux's do with tcp_mtu_probing=1, to 1024 bytes and then, with each, by half. Loss that has nothing to do
//! with size looks the same, so once data gets through again larger segments are tried, one at a time, of real data: the
//! old size first, then between what is known to pass and what did not. A probe that arrives raises the size; one that is
//! lost costs a retransmission, and no window (RFC 4821 7.5). The search ends within 32 bytes and is taken up again after
//! ten minutes (RFC 8899 5.1.1, PMTU_RAISE_TIMER).
//!
//! Not done: a search above what the link's MTU and ICMP allow, and one without a suspicion: ICMP is heard in most places,
//! and a probe that is lost delays real data.
#![forbid(unsafe_code)]

use super::Connection;
use super::context::Context;
use super::options::TIMESTAMPS_LENGTH;
use super::recovery::Phase;
use super::segment::TCP_HEADER;
use super::sequence::Sequence;
use crate::ip;
use crate::time::Instant;
use core::time::Duration;
use std::net::IpAddr;

/// The size of segments in a suspected black hole: Linux's tcp_base_mss.
const BASE: u32 = 1024;
/// No smaller: what every host takes (RFC 9293 3.7.1).
const FLOOR: u32 = 536;
/// Time-outs in a row of full segments that make a black hole of a path.
const SUSPICIOUS: u32 = 4;
/// A search that is as near as this is over.
const NEAR: u32 = 32;
/// When a search that is over is taken up again.
const RAISE_AFTER: Duration = Duration::from_secs(600);

/// What is known of the path.
#[derive(Debug)]
pub(super) struct PathMtu {
    /// Largest packet in bytes, as far as the link and ICMP say.
    mtu: usize,
    search: Option<Box<Search>>,
}

/// A search after a suspicion, in bytes of data.
#[derive(Debug)]
struct Search {
    /// Segments of this size are sent.
    size: u32,
    /// None of this size or more is believed to pass; u32::MAX: not known.
    too_large: u32,
    /// Something of `size` has arrived.
    confirmed: bool,
    /// The probe that is in flight: its first number, and the one behind it.
    probe: Option<(Sequence, Sequence)>,
    resume_at: Instant,
}

impl PathMtu {
    pub(super) fn new(mtu: usize) -> PathMtu {
        PathMtu { mtu, search: None }
    }

    /// Largest packet in bytes.
    pub(super) fn mtu(&self) -> usize {
        self.mtu
    }

    pub(super) fn is_searching(&self) -> bool {
        self.search.is_some()
    }
}

impl Connection {
    /// ICMP "fragmentation needed" or "packet too big" (RFC 1191, RFC 8201): the path takes `mtu` bytes. `sequence` is that
    /// of the segment quoted. Whether it was believed.
    pub fn path_mtu(&mut self, context: &Context, mtu: usize, sequence: Sequence) -> bool {
        if self.outcome.is_some() || !self.quotes(sequence) {
            return false;
        }
        if self.lower_path_mtu(mtu) {
            self.fit_segments(context);
            self.resend_oversized();
        }
        true
    }

    /// What the engine remembers of the path from other connections.
    pub fn known_path_mtu(&mut self, context: &Context, mtu: usize) {
        if self.lower_path_mtu(mtu) {
            self.fit_segments(context);
        }
    }

    fn lower_path_mtu(&mut self, mtu: usize) -> bool {
        let mtu = mtu.max(ip::least_path_mtu(&self.remote.ip()));
        let lower = mtu < self.path_mtu.mtu;
        if lower {
            self.path_mtu.mtu = mtu;
        }
        lower
    }

    /// Full segments time out: is it their size?
    pub(super) fn suspect_path(&mut self, context: &Context, now: Instant) {
        let full = self.scoreboard.front().is_some_and(|sent| sent.end - sent.start > FLOOR);
        if self.recovery.timeouts < SUSPICIOUS || !full || context.is_in_memory() {
            return;
        }
        let size = self.sending.mss;
        // With the options, the packet is to be no larger than IPv4's least datagram.
        let floor = if self.agreed.timestamps { FLOOR - TIMESTAMPS_LENGTH as u32 } else { FLOOR };
        let smaller = if size > BASE { BASE } else { (size / 2).max(floor) };
        if smaller < size {
            let search =
                Search { size: smaller, too_large: u32::MAX, confirmed: false, probe: None, resume_at: now };
            self.path_mtu.search = Some(Box::new(search));
            self.fit_segments(context);
        }
    }

    /// The size of a segment that may be sent as a probe now.
    #[cold]
    pub(super) fn probe_size(&self, now: Instant) -> Option<u32> {
        let search = self.path_mtu.search.as_deref()?;
        if !search.confirmed
            || search.probe.is_some()
            || now < search.resume_at
            || self.recovery.phase != Phase::Open
        {
            return None;
        }
        let most = self.largest_segment;
        let size = match search.too_large {
            u32::MAX => most,
            too_large => search.size + (too_large - search.size) / 2,
        }
        .min(most);
        let room = self.sending.edge.distance(self.sending.next);
        let window = self.window().saturating_sub(self.scoreboard.in_flight());
        // Enough behind it that its loss is noticed without a time-out.
        let enough = self.unsent() as u32 >= size + 4 * search.size;
        (size > search.size && enough && room >= size && window >= size).then_some(size)
    }

    /// A probe of `size` bytes leaves.
    #[cold]
    pub(super) fn probe_left(&mut self, start: Sequence, end: Sequence) {
        if let Some(search) = &mut self.path_mtu.search {
            search.probe = Some((start, end));
        }
    }

    /// Something was acknowledged or lost: what it says of the probe. Whether the probe is what was lost.
    #[cold]
    pub(super) fn judge_probe(&mut self, context: &Context, now: Instant) -> bool {
        let Some(search) = &mut self.path_mtu.search else { return false };
        let acknowledged = self.sending.unacknowledged;
        search.confirmed |= self.recovery.timeouts == 0;
        let Some((start, end)) = search.probe else { return false };
        let size = end - start;
        if !acknowledged.before(end) {
            search.probe = None;
            search.size = size;
            if size >= self.largest_segment {
                self.path_mtu.search = None;
            }
        } else if self.scoreboard.is_lost(start) {
            search.probe = None;
            search.too_large = size;
        } else {
            return false;
        }
        let lost = acknowledged.before(end);
        if let Some(search) = &mut self.path_mtu.search
            && search.too_large != u32::MAX
            && search.too_large - search.size < NEAR
        {
            (search.too_large, search.resume_at) = (u32::MAX, now + RAISE_AFTER);
        }
        self.fit_segments(context);
        lost
    }

    /// Eff.snd.MSS (RFC 9293 3.7.1): what the peer takes and the path takes, less what options take.
    pub(super) fn fit_segments(&mut self, context: &Context) {
        let path = self.path_mtu.mtu.min(context.mtu());
        let fits = path.saturating_sub(headers(self.local.ip())) as u32;
        let own = self.options.maximum_segment.map_or(u32::MAX, u32::from);
        let options = if self.agreed.timestamps { TIMESTAMPS_LENGTH as u32 } else { 0 };
        let whole = self.sending.peer_mss.min(fits).min(own);
        self.largest_segment = whole.saturating_sub(options).max(1);
        let searched = self.path_mtu.search.as_deref().map_or(u32::MAX, |search| search.size);
        let mss = self.largest_segment.min(searched);
        if mss != self.sending.mss {
            self.sending.mss = mss;
            self.congestion.set_mss(mss);
        }
    }
}

fn headers(address: IpAddr) -> usize {
    ip::header_length(&address) + TCP_HEADER
}
