//! What the connections of one path share: the path's properties, the settings, and memory.
#![forbid(unsafe_code)]

use super::congestion::{self, Algorithm, Congestion};
use super::options::SHIFT_MAX;
use super::ring::Pool;
use super::scoreboard::RecordPool;
use super::segment::TCP_HEADER;
use super::settings::{Options, Settings};
use crate::ip;
use std::net::IpAddr;

/// Bytes of a buffer on a path in memory. Four packets of 64 KiB fill such a path, and a larger ring falls out of the
/// cache: 1 MiB costs a third of the throughput (`facts/smoltcp.md` 4).
const IN_MEMORY_BUFFER: usize = 256 * 1024;

/// Bytes of a send buffer at first; it grows with the congestion window.
const SEND_INITIAL: usize = 128 * 1024;

/// A path.
#[derive(Clone, Debug)]
pub struct PathSettings {
    /// Largest packet in bytes.
    pub mtu: usize,
    /// Whether what leaves must carry checksums.
    pub checksums: bool,
    /// The most payload bytes of one packet given away; 0: as the MTU allows.
    pub segmentation: usize,
    /// The far end is in this process: no congestion control.
    pub in_memory: bool,
    /// What holds for every connection.
    pub tcp: Settings,
}

/// The path that connections share.
#[derive(Debug)]
pub struct Context {
    path: PathSettings,
    pub(super) pool: Pool,
    pub(super) records: RecordPool,
}

impl Context {
    /// What the connections of `path` share.
    pub fn new(path: PathSettings) -> Context {
        Context { path, pool: Pool::default(), records: RecordPool::default() }
    }

    /// Largest packet in bytes.
    pub fn mtu(&self) -> usize {
        self.path.mtu
    }

    /// Whether what leaves must carry checksums.
    pub fn checksums(&self) -> bool {
        self.path.checksums
    }

    pub(super) fn is_in_memory(&self) -> bool {
        self.path.in_memory
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.path.tcp
    }

    pub(super) fn segmentation(&self) -> usize {
        self.path.segmentation
    }

    /// The MSS that we announce for connections of `address`: what fits the MTU (RFC 9293 3.7.1), and the program's
    /// own limit.
    pub(super) fn announced_mss(&self, address: IpAddr, options: &Options) -> u16 {
        let fits = self.path.mtu.saturating_sub(ip::header_length(&address) + TCP_HEADER).min(65_535) as u16;
        options.maximum_segment.map_or(fits, |limit| limit.min(fits))
    }

    pub(super) fn controller(&self, options: &Options, mss: u32) -> Box<dyn Congestion> {
        match self.path.in_memory {
            true => congestion::in_memory(mss),
            false => congestion::controller(self.algorithm(options), mss),
        }
    }

    fn algorithm(&self, options: &Options) -> Algorithm {
        options.congestion.unwrap_or(self.path.tcp.congestion)
    }

    /// Bytes of the receive buffer at first, and at the most: of full segments, what Linux's buffer of as much holds, which
    /// counts their overhead. More than Linux offers does harm: a sender that it allows to send all that it has takes the
    /// program for what limits, and its BBR does not leave its start then.
    pub(super) fn receive_limits(&self, options: &Options) -> (usize, usize) {
        let settings = &self.path.tcp;
        match options.receive_buffer {
            Some(fixed) => (fixed, fixed),
            None if self.path.in_memory => {
                let bytes = IN_MEMORY_BUFFER.min(settings.receive_max);
                (bytes, bytes)
            }
            None => (settings.receive_initial, settings.receive_max / 8 * 5),
        }
    }

    /// The window shift that lets the largest receive buffer show (RFC 7323 2.3).
    pub(super) fn receive_shift(&self, options: &Options) -> u8 {
        let max = options.receive_buffer.unwrap_or(self.path.tcp.receive_max);
        (0..SHIFT_MAX).find(|shift| max >> shift <= usize::from(u16::MAX)).unwrap_or(SHIFT_MAX)
    }

    /// The window of a SYN, which is never scaled (RFC 7323 2.2).
    pub(super) fn first_window(&self, options: &Options) -> u16 {
        let (first, _) = self.receive_limits(options);
        u16::try_from(first).unwrap_or(u16::MAX)
    }

    /// The most bytes that the send buffer of a connection with this congestion window may hold: three windows, so that
    /// one can be in flight, one wait behind a hole, and one be written (Linux's sndbuf auto-tuning comes to so much).
    pub(super) fn send_limit(&self, options: &Options, window: u32) -> usize {
        match options.send_buffer {
            Some(fixed) => fixed,
            None if self.path.in_memory => IN_MEMORY_BUFFER.min(self.path.tcp.send_max),
            None => (3 * window as usize).clamp(SEND_INITIAL, SEND_INITIAL.max(self.path.tcp.send_max)),
        }
        .min(self.send_ceiling())
    }

    fn send_ceiling(&self) -> usize {
        self.path.tcp.send_max
    }
}
