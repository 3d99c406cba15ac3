//! Echo sockets: SOCK_DGRAM of IPPROTO_ICMP or IPPROTO_ICMPV6, with which ping(8) works for everybody (icmp(7)).
//!
//! The identifier is the port: bind(2) chooses it, or the first send does. What is sent must be an echo request; the stack
//! fills identifier and checksum in. A reply goes to the socket that has its identifier, whoever sent it, as on Linux.
//! Errors go the way that those of UDP go (`reports.rs`).
#![forbid(unsafe_code)]

use super::datagram::Delivery;
use super::{Domain, Engine, Path, SocketId};
use crate::icmp::{self, Message};
use crate::ip::{Fault, Header};
use crate::time::Instant;
use std::net::{IpAddr, SocketAddr};

impl Engine {
    pub(super) fn take_message(
        &mut self,
        packet: &[u8],
        header: &Header,
        verify: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        match icmp::parse(packet, header, verify)? {
            Some(Message::Echo) if self.is_local(header.destination) => {
                let reply = icmp::echo_reply(packet, header, self.settings.checksums);
                self.reply_in_pieces(reply, header.source, now);
            }
            Some(Message::EchoReply(identifier)) => self.take_reply(identifier, packet, header),
            Some(Message::Error(report)) => self.take_report(&report, packet, now),
            Some(Message::Echo) | None => self.counters.dropped += 1,
        }
        Ok(())
    }

    fn take_reply(&mut self, identifier: u16, packet: &[u8], header: &Header) {
        let Some(id) = self.echo_socket(identifier, header.destination) else {
            self.counters.dropped += 1;
            return;
        };
        let delivery = Delivery {
            protocol: header.protocol,
            covered: None,
            source: SocketAddr::new(header.source, 0),
            destination: SocketAddr::new(header.destination, identifier),
            path: Path::of(header.destination),
            treatment: header.treatment,
            payload: &packet[header.payload.clone()],
        };
        self.queue_datagram(id, &delivery);
    }

    /// The socket that has this identifier at an address of ours (ping_lookup).
    pub(super) fn echo_socket(&self, identifier: u16, address: IpAddr) -> Option<SocketId> {
        let domain = if address.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let fits = |id| {
            let socket = self.sockets.find(id).filter(|socket| socket.domain == domain);
            let bound = socket.and_then(|socket| socket.bound);
            bound.is_some_and(|bound| bound.address.is_none_or(|own| own == address))
        };
        self.echo_ports.lookup(identifier, address, |claim| fits(claim.id), || 0)
    }
}
