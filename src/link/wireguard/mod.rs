//! A WireGuard tunnel as a link, over one UDP socket of the kernel's: no device and no rights are needed. The file is
//! wg-quick's (`configuration`), the protocol boringtun's (`peer`), what is between them ours (`tunnel`).
//!
//! What the engine hands over whole is cut here, encrypted packet by packet, and goes into the kernel together again.
//!
//! Out: the socket follows the machine's routes as they are, where wg-quick keeps its own routes apart with a mark; ours
//! are not the machine's. An endpoint that is a name is looked up once, at the start. Packets are not put together again
//! on arrival.
#![forbid(unsafe_code)]

mod allowed;
pub mod configuration;
pub mod key;
mod peer;
pub mod tunnel;

use super::segmentation::cut;
use super::{Capabilities, Link, Outgoing};
use crate::config;
use crate::icmp;
use crate::observe::log;
use crate::sys::udp::{BYTES_MAX, DATAGRAMS_MAX, Received, Socket};
use crate::sys::{self, machine_names};
use crate::time::Instant;
use configuration::{Configuration, Endpoint};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::path::Path;
use tunnel::Tunnel;
use zeroize::Zeroizing;

/// Most payload of a super-packet: IPv4's length field counts the headers too, of which TCP's can have 60 bytes.
const SEGMENTATION: usize = 65_535 - 20 - 60;
/// Longest configuration file that is read: thousands of peers.
const FILE_MAX: u64 = 4 << 20;

/// Reads the file at `path`, and says in the log what of it means nothing here. The error is for people.
pub fn read(path: &Path) -> Result<Configuration, String> {
    let shown = path.display();
    let text = text(path).map_err(|why| format!("wireguard:{shown}: {why}"))?;
    let configuration = Configuration::parse(&text).map_err(|why| format!("{shown}:{why}"))?;
    if !configuration.ignored.is_empty() {
        tracing::warn!(
            "wireguard:{shown}: keys of wg-quick(8) that have no meaning here, and are ignored: {}",
            configuration.ignored.join(", ")
        );
    }
    Ok(configuration)
}

/// The file's text; what is no UTF-8 can only be in a comment, or an error.
fn text(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = Zeroizing::new(config::read_file(path, FILE_MAX)?);
    Ok(Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The link.
pub struct Wireguard {
    name: String,
    tunnel: Tunnel,
    socket: Socket,
    mtu: usize,
    arrived: Arrived,
    /// Datagrams with data sent: what the progress of a host that exits is measured by.
    sent: u64,
}

/// What the last read brought, and how far it has been looked at.
struct Arrived {
    bytes: Vec<u8>,
    done: usize,
    received: Option<Received>,
}

impl Wireguard {
    /// Opens the socket and finds the peers. `path` is where the configuration came from, for messages. The error is for
    /// people.
    pub fn open(path: &Path, configuration: &Configuration) -> Result<Wireguard, String> {
        let file = path.display().to_string();
        let endpoints = endpoints(&file, configuration)?;
        let port = configuration.listen_port;
        let socket = Socket::bind(port).map_err(|errno| {
            format!("wireguard:{file}: UDP port {port} cannot be had (ListenPort): {errno}")
        })?;
        let tunnel = Tunnel::new(configuration, &endpoints, &file, u32::from_ne_bytes(sys::entropy()));
        let mtu = configuration.mtu.unwrap_or(tunnel::MTU);
        if let Ok(local) = socket.local() {
            tracing::info!("wireguard:{file}: UDP port {}", local.port());
        }
        let arrived = Arrived { bytes: vec![0; 1 << 16], done: 0, received: None };
        Ok(Wireguard { name: file, tunnel, socket, mtu, arrived, sent: 0 })
    }

    /// Sends what the tunnel made, as much in one call as can be.
    fn flush(&mut self) {
        let Wireguard { name, tunnel, socket, sent, .. } = self;
        let datagrams: Vec<(SocketAddr, Vec<u8>)> = tunnel.out.datagrams.drain(..).collect();
        let mut rest = &datagrams[..];
        while let Some((to, _)) = rest.first() {
            let (batch, after) = rest.split_at(together(rest));
            let parts: Vec<&[u8]> = batch.iter().map(|(_, datagram)| datagram.as_slice()).collect();
            match socket.send(*to, &parts) {
                // Full: dropped, as networks do.
                Ok(()) | Err(Errno::AGAIN | Errno::NOBUFS) => {}
                Err(errno) if log::first_time("wireguard", errno.raw_os_error().into()) => {
                    tracing::warn!("wireguard:{name}: cannot send to {to}: {errno}");
                }
                Err(_) => {}
            }
            // Handshakes go to a peer that is not there for long.
            let data = batch.iter().filter(|(_, datagram)| datagram.first() == Some(&peer::DATA));
            *sent = sent.wrapping_add(data.count() as u64);
            rest = after;
        }
    }
}

/// How many of the datagrams go in one call: to one peer, of one length but for the last, which may be shorter.
fn together(datagrams: &[(SocketAddr, Vec<u8>)]) -> usize {
    let Some((to, first)) = datagrams.first() else { return 0 };
    let (length, mut count, mut bytes) = (first.len(), 0, 0);
    for (other, datagram) in datagrams.iter().take(DATAGRAMS_MAX) {
        bytes += datagram.len();
        if other != to || datagram.len() > length || (bytes > BYTES_MAX && count > 0) {
            break;
        }
        count += 1;
        if datagram.len() < length {
            break;
        }
    }
    count
}

/// Where each peer is, as far as the file says.
fn endpoints(file: &str, configuration: &Configuration) -> Result<Vec<Option<SocketAddr>>, String> {
    let find = |peer: &configuration::PeerConfiguration| match &peer.endpoint {
        None => Ok(None),
        Some(Endpoint::Address(address)) => Ok(Some(*address)),
        Some(Endpoint::Name(name, port)) => machine_names::first(name, *port).map(Some).map_err(|why| {
            format!("{file}:{}: Endpoint: the machine does not know '{name}': {why}", peer.line)
        }),
    };
    configuration.peers.iter().map(find).collect()
}

impl Arrived {
    /// Where the next datagram lies, and who sent it.
    fn next(&mut self, socket: &Socket) -> Option<(core::ops::Range<usize>, SocketAddr)> {
        let received = match self.received.filter(|received| self.done < received.length) {
            Some(received) => received,
            None => {
                let received = socket.receive(&mut self.bytes).ok()?;
                self.done = 0;
                *self.received.insert(received)
            }
        };
        let start = self.done;
        let end = received.length.min(start.saturating_add(received.segment.max(1)));
        self.done = end;
        Some((start..end, received.from))
    }
}

impl Link for Wireguard {
    fn capabilities(&self) -> Capabilities {
        Capabilities { mtu: self.mtu, checksums: true, segmentation: SEGMENTATION, in_memory: false }
    }

    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        self.tunnel.advance(now);
        if let Some(packet) = self.tunnel.out.refused.pop_front() {
            if let Some(refusal) = icmp::undeliverable(&packet, None) {
                take(&refusal);
            }
            return true;
        }
        let arrived = self.arrived.next(&self.socket);
        if let Some((place, from)) = arrived.clone() {
            let datagram = self.arrived.bytes.get(place).unwrap_or_default();
            if let Some(packet) = self.tunnel.receive(datagram, from, now) {
                take(packet);
            }
        }
        self.flush();
        arrived.is_some() || !self.tunnel.out.refused.is_empty()
    }

    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant) {
        cut(packet, true, &mut |packet| self.tunnel.send(packet, now));
        self.flush();
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.tunnel.deadline()
    }

    fn busy(&self) -> bool {
        self.tunnel.has_waiting()
    }

    fn progress(&self) -> u64 {
        self.sent
    }
}

#[cfg(test)]
mod tests;
