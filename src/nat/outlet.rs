//! A kernel socket through which datagrams of the program leave, of UDP or of ICMP. It is not connected, so errors come by
//! the error queue (`IP_RECVERR`), each with the destination that it is about; the program gets them as ICMP, from the
//! router that sent them where it was one. TTL and TOS are passed on, both ways.
#![forbid(unsafe_code)]

use super::work::Shared;
use crate::icmp::{Cause, Unreachable};
use crate::ip::Treatment;
use crate::sys::descriptors::Internal;
use crate::sys::net::{self, Received, Report};
use rustix::io::{Errno, Result};
use std::net::{IpAddr, SocketAddr};

/// The socket, and how what it sends is treated.
pub(super) struct Outlet {
    pub(super) socket: Internal,
    treatment: Treatment,
}

impl Outlet {
    /// `socket` must be new.
    pub(super) fn new(socket: Internal) -> Outlet {
        Outlet { socket, treatment: Treatment::default() }
    }

    pub(super) fn send(&mut self, payload: &[u8], target: SocketAddr, treatment: Treatment) -> Result<()> {
        if treatment != self.treatment {
            net::set_treatment(&self.socket, target, treatment.hop_limit, treatment.traffic_class)?;
            self.treatment = treatment;
        }
        match net::send_to(&self.socket, payload, target) {
            // An earlier datagram's error: it is in the queue, and reading it off the socket cleared it.
            Err(errno) if unreachable(errno).is_some() => net::send_to(&self.socket, payload, target),
            outcome => outcome,
        }
    }

    /// The next that came, in the scratch memory.
    pub(super) fn receive(&self, shared: &mut Shared) -> Result<(Received, Treatment)> {
        let received = net::receive_message(&self.socket, &mut shared.scratch)?;
        let Treatment { hop_limit, traffic_class } = Treatment::default();
        let treatment = Treatment {
            hop_limit: received.hop_limit.unwrap_or(hop_limit),
            traffic_class: received.traffic_class.unwrap_or(traffic_class),
        };
        Ok((received, treatment))
    }

    /// The next error, and in the scratch memory what it quotes.
    pub(super) fn report(&self, shared: &mut Shared) -> Option<Report> {
        net::take_report(&self.socket, &mut shared.scratch)
    }
}

/// What the program is told of an error about what it sent to `to`, and as from whom.
pub(super) fn retold(report: &Report, to: IpAddr, shared: &Shared) -> Option<(Cause, IpAddr)> {
    let reason = unreachable(report.errno)?.cause(to.is_ipv4());
    let seen = |ip| shared.addresses.inward(SocketAddr::new(ip, 0), to, false).map(|seen| seen.ip());
    // A name server of the other family speaks another ICMP.
    match (report.message, report.offender.and_then(seen)) {
        (Some((kind, code)), Some(offender)) => Some((Cause { kind, code, info: 0 }, offender)),
        _ => Some((reason, to)),
    }
}

/// What the program is told of an error. None: nothing, the datagram was lost, as datagrams are; one that was too large for
/// the path too, since the kernel will cut the next.
pub(super) fn unreachable(errno: Errno) -> Option<Unreachable> {
    match errno {
        Errno::CONNREFUSED => Some(Unreachable::Port),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(Unreachable::Host),
        Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => {
            Some(Unreachable::Network)
        }
        Errno::ACCESS | Errno::PERM => Some(Unreachable::Prohibited),
        _ => None,
    }
}
