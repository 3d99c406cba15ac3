//! What ICMP says of what was sent: who is told, and what MSG_ERRQUEUE shows of it (IP_RECVERR, ip(7)).
//!
//! A connection hears of it and judges for itself (RFC 5927). Of datagram sockets the connected ones hear what is fatal, as
//! the error of their next call; those with IP_RECVERR hear everything, connected or not, and have it in full in a queue,
//! which the receive buffer bounds (Linux's __udp4_lib_err, ping_err).
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::{Engine, PathMtuDiscovery, SocketId, path_mtu};
use crate::error::Error;
use crate::icmp::Report;
use crate::ip::Protocol;
use crate::tcp::Sequence;
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Who found an error: ee_origin of sock_extended_err.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// We ourselves: SO_EE_ORIGIN_LOCAL.
    Local,
    /// SO_EE_ORIGIN_ICMP
    Icmp,
    /// SO_EE_ORIGIN_ICMP6
    Icmp6,
    /// SO_EE_ORIGIN_TIMESTAMPING: no error, but when a datagram left.
    Timestamping,
}

impl Origin {
    /// Whether the report is of an error that a call returns, too.
    fn is_icmp(self) -> bool {
        matches!(self, Origin::Icmp | Origin::Icmp6)
    }
}

/// Whether a socket wants to be told when its datagrams left (SOF_TIMESTAMPING_TX_SOFTWARE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// It wants to.
    pub on: bool,
    /// Without the datagram (SOF_TIMESTAMPING_OPT_TSONLY).
    pub only: bool,
    /// Numbered (SOF_TIMESTAMPING_OPT_ID).
    pub numbered: bool,
    /// The number of the next one.
    pub next: u32,
}

impl Timestamps {
    /// The count begins anew when it is switched on, and goes on otherwise (sock_set_timestamping).
    pub(super) fn set(&mut self, wanted: Timestamps) {
        let next = if self.numbered { self.next } else { 0 };
        *self = Timestamps { next, ..wanted };
    }
}

/// An error about a datagram that a socket sent, as recvmsg(2) shows it with MSG_ERRQUEUE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// ee_errno
    pub error: Error,
    /// ee_origin
    pub origin: Origin,
    /// ee_type: that of the ICMP message.
    pub kind: u8,
    /// ee_code
    pub code: u8,
    /// ee_info: the MTU when the datagram was too large, otherwise 0.
    pub info: u32,
    /// ee_data: the number of a datagram that left.
    pub data: u32,
    /// When it left, on the clock of the engine.
    pub sent_micros: Option<u64>,
    /// SO_EE_OFFENDER: who said so, in the form of the socket's domain.
    pub offender: Option<IpAddr>,
    /// Where the datagram was sent to (msg_name).
    pub to: SocketAddr,
    /// What is quoted of what was sent: of an echo request with its header.
    pub payload: Vec<u8>,
}

impl Engine {
    pub(super) fn take_report(&mut self, report: &Report, packet: &[u8], now: Instant) {
        let quoted = &report.quoted;
        let tuple = FourTuple { local: quoted.local, remote: quoted.remote };
        let found = match quoted.protocol {
            Protocol::Tcp => return self.fail_connection(&tuple, report, now),
            Protocol::Udp | Protocol::UdpLite => self.datagram_socket(quoted.protocol, &tuple),
            _ => self.echo_socket(quoted.local.port(), quoted.local.ip()),
        };
        if let Some(id) = found {
            let payload = packet.get(quoted.payload.clone()).unwrap_or_default();
            self.fail_datagrams(id, report, payload, now);
        }
    }

    fn fail_connection(&mut self, tuple: &FourTuple, report: &Report, now: Instant) {
        let Some(id) = self.connections.get(tuple).copied() else { return };
        let sequence = Sequence(report.quoted.sequence);
        match report.mtu {
            Some(claimed) => self.take_path_mtu(id, tuple, claimed, sequence, now),
            None => {
                if let Some(open) = self.sockets.connection_mut(id) {
                    open.connection.unreachable(report.error, sequence);
                    self.settle(id, now);
                }
            }
        }
    }

    /// A router says that the path takes no more than `claimed`. Only who has seen our segments is believed, and then for
    /// every connection to come.
    fn take_path_mtu(
        &mut self,
        id: SocketId,
        tuple: &FourTuple,
        claimed: u32,
        sequence: Sequence,
        now: Instant,
    ) {
        let Some(mtu) = path_mtu::believed(tuple.remote.ip(), claimed) else { return };
        let Engine { sockets, contexts, ready, path_mtus, .. } = self;
        let Some(socket) = sockets.find_mut(id) else { return };
        let Some(open) = socket.connection_mut() else { return };
        if open.connection.path_mtu(&contexts[open.path as usize], mtu, sequence) {
            path_mtus.lower(tuple.remote.ip(), mtu, now);
            socket.make_ready(ready);
        }
    }

    /// Something came of what the datagram socket `id` sent.
    fn fail_datagrams(&mut self, id: SocketId, report: &Report, payload: &[u8], now: Instant) {
        let remote = report.quoted.remote;
        let Some(datagrams) = self.sockets.datagrams(id) else { return };
        let (connected, options) = (datagrams.tuple.is_some(), *datagrams.options.of(remote.ip()));
        if let Some(claimed) = report.mtu {
            if let Some(mtu) = path_mtu::believed(remote.ip(), claimed) {
                self.path_mtus.lower(remote.ip(), mtu, now);
            }
            if options.discovery == PathMtuDiscovery::Dont {
                return;
            }
        }
        if options.reports {
            let origin = if remote.is_ipv4() { Origin::Icmp } else { Origin::Icmp6 };
            self.queue_report(
                id,
                ErrorReport {
                    error: report.error,
                    origin,
                    kind: report.kind,
                    code: report.code,
                    info: report.mtu.unwrap_or(0),
                    data: 0,
                    sent_micros: None,
                    offender: Some(report.offender),
                    to: remote,
                    payload: payload.to_vec(),
                },
            );
        } else if !connected || !report.fatal {
            return;
        }
        if let Some(socket) = self.sockets.find_mut(id) {
            socket.error = Some(report.error);
            self.announce(id);
        }
    }

    /// A datagram was larger than it may be (ip_local_error, which knows the port of a connected socket only).
    pub(super) fn report_too_long(&mut self, id: SocketId, to: SocketAddr, mtu: usize) {
        let Some(datagrams) = self.sockets.datagrams(id) else { return };
        let port = datagrams.tuple.map_or(0, |tuple| tuple.remote.port());
        if datagrams.options.of(to.ip()).reports {
            self.queue_report(
                id,
                ErrorReport {
                    error: Error::MessageTooLong,
                    origin: Origin::Local,
                    kind: 0,
                    code: 0,
                    info: u32::try_from(mtu).unwrap_or(u32::MAX),
                    data: 0,
                    sent_micros: None,
                    offender: None,
                    to: SocketAddr::new(to.ip(), port),
                    payload: Vec::new(),
                },
            );
            self.announce(id);
        }
    }

    /// What a socket is told of a datagram that leaves now, in `packet`, if it wants to know when one does (skb_tstamp_tx). With
    /// the packet comes an Ethernet header, as Linux's loopback has one.
    pub(super) fn stamp(
        &self,
        id: SocketId,
        to: SocketAddr,
        packet: &[u8],
        now: Instant,
    ) -> Option<ErrorReport> {
        let wanted = self.sockets.datagrams(id)?.timestamps;
        let kind: [u8; 2] = if to.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] };
        let frame = || [&[0; 12], &kind[..], packet].concat();
        wanted.on.then(|| ErrorReport {
            error: Error::Kernel(libc::ENOMSG),
            origin: Origin::Timestamping,
            kind: 0,
            code: 0,
            // SCM_TSTAMP_SND
            info: 0,
            data: wanted.next,
            sent_micros: Some(now.micros()),
            offender: None,
            to,
            payload: if wanted.only { Vec::new() } else { frame() },
        })
    }

    /// It has left.
    pub(super) fn stamp_sent(&mut self, id: SocketId, stamp: Option<ErrorReport>) {
        let (Some(stamp), Some(datagrams)) = (stamp, self.sockets.datagrams_mut(id)) else { return };
        let wanted = &mut datagrams.timestamps;
        wanted.next = wanted.next.wrapping_add(u32::from(wanted.numbered));
        self.queue_report(id, stamp);
        self.announce(id);
    }

    fn queue_report(&mut self, id: SocketId, mut report: ErrorReport) {
        let Some(socket) = self.sockets.find_mut(id) else { return };
        report.to = socket.present(report.to);
        report.offender = report.offender.map(|ip| socket.present(SocketAddr::new(ip, 0)).ip());
        let Some(datagrams) = self.sockets.datagrams_mut(id) else { return };
        if datagrams.reserve(report.payload.len()) {
            datagrams.reports.push_back(report);
        } else {
            self.counters.dropped += 1;
        }
    }

    /// The next report of the error queue. The pending error becomes that of the one behind it (sock_dequeue_err_skb).
    pub fn next_report(&mut self, id: SocketId) -> Option<ErrorReport> {
        let datagrams = self.sockets.datagrams_mut(id)?;
        let report = datagrams.reports.pop_front()?;
        datagrams.free(report.payload.len());
        let behind = datagrams.reports.front().filter(|next| next.origin.is_icmp());
        let behind = behind.map(|next| next.error);
        if behind.is_some() || report.origin.is_icmp() {
            self.sockets.find_mut(id)?.error = behind;
        }
        Some(report)
    }

    /// Whether the error queue holds something: POLLERR.
    pub fn has_reports(&self, id: SocketId) -> bool {
        self.sockets.datagrams(id).is_some_and(|datagrams| !datagrams.reports.is_empty())
    }
}
