//! One kernel UDP socket that talks to several peers of both families. Datagrams of equal length cross into the kernel
//! together, both ways (UDP_SEGMENT and UDP_GRO, udp(7)), which is where the throughput comes from.

use super::descriptors::Internal;
use super::net::{self, Control};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, IoSlice, Result};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, sockopt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes that the kernel may hold each way; without privileges it lowers this to net.core.rmem_max and wmem_max.
const BUFFER: usize = 4 << 20;

/// Datagrams that go into the kernel in one call: UDP_MAX_SEGMENTS of kernels before 6.9, and what a packet holds.
pub const DATAGRAMS_MAX: usize = 64;
/// Likewise, bytes.
pub const BYTES_MAX: usize = 65_000;

/// The socket.
pub struct Socket {
    fd: Internal,
    version_6: bool,
    /// What UDP_SEGMENT is set to; 0: nothing is cut.
    segment: u16,
    /// Whether the kernel, and the device to the peer, can cut.
    cuts: bool,
}

/// What arrived: one datagram, or several of one sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes in all.
    pub length: usize,
    /// Of each datagram but the last.
    pub segment: usize,
    /// Who sent them.
    pub from: SocketAddr,
}

impl Socket {
    /// A socket on `port` of every address; 0 lets the kernel choose. Without IPv6 it is one of IPv4 only.
    pub fn bind(port: u16) -> Result<Socket> {
        let v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let (fd, version_6) = match net::datagram_bound(v6) {
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => (net::datagram_bound(v4)?, false),
            bound => (bound?, true),
        };
        // More is better; whatever it is works.
        let _ = sockopt::set_socket_recv_buffer_size(&fd, BUFFER);
        let _ = sockopt::set_socket_send_buffer_size(&fd, BUFFER);
        let _ = net::set_number(&fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        Ok(Socket { fd, version_6, segment: 0, cuts: true })
    }

    /// The address that it is bound to.
    pub fn local(&self) -> Result<SocketAddr> {
        net::local(&self.fd)
    }

    /// Sends datagrams to `to`, all of one length but for the last, which may be shorter; within `DATAGRAMS_MAX` and
    /// `BYTES_MAX`.
    pub fn send(&mut self, to: SocketAddr, datagrams: &[&[u8]]) -> Result<()> {
        let Some(length) = datagrams.first().map(|datagram| datagram.len()) else { return Ok(()) };
        match self.send_together(to, datagrams, length) {
            // The kernel is too old, the device cannot, or a datagram does not fit into the path's MTU.
            Err(Errno::INVAL | Errno::IO | Errno::OPNOTSUPP | Errno::NOPROTOOPT) if self.cuts => {
                self.cuts = false;
                self.cut_at(0)?;
                self.send_together(to, datagrams, length)
            }
            result => result,
        }
    }

    fn send_together(&mut self, to: SocketAddr, datagrams: &[&[u8]], length: usize) -> Result<()> {
        if datagrams.len() > 1 && !self.cuts {
            // The first error is told, and the rest gets its chance.
            let results: Vec<_> = datagrams.iter().map(|datagram| self.send_parts(to, &[datagram])).collect();
            return results.into_iter().collect();
        }
        if datagrams.len() > 1 {
            self.cut_at(length as u16)?;
        } else if length > self.segment.into() {
            self.cut_at(0)?;
        }
        self.send_parts(to, datagrams)
    }

    fn send_parts(&self, to: SocketAddr, parts: &[&[u8]]) -> Result<()> {
        let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let to = self.as_sent(to);
        let mut control = SendAncillaryBuffer::default();
        rustix::net::sendmsg_addr(&self.fd, &to, &parts, &mut control, SendFlags::NOSIGNAL).map(|_| ())
    }

    /// Has the kernel cut what is longer into datagrams of this length.
    fn cut_at(&mut self, length: u16) -> Result<()> {
        if self.segment != length {
            net::set_number(&self.fd, libc::SOL_UDP, libc::UDP_SEGMENT, length.into())?;
            self.segment = length;
        }
        Ok(())
    }

    /// A socket of IPv6 speaks of IPv4 in IPv6's addresses.
    fn as_sent(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.version_6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => to,
        }
    }

    /// Takes what arrived next.
    pub fn receive(&self, into: &mut [u8]) -> Result<Received> {
        let mut control = Control::default();
        let (length, from) = net::receive_with(&self.fd, into, &mut control, RecvFlags::empty())?;
        let from = from.ok_or(Errno::AFNOSUPPORT)?;
        let mut segment = length;
        for (level, kind, data) in net::messages(&control.into_bytes()) {
            if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO)
                && let Some(size) = data.first_chunk::<4>()
            {
                segment = usize::try_from(i32::from_ne_bytes(*size)).unwrap_or(length);
            }
        }
        Ok(Received { length, segment, from: as_received(from) })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn as_received(from: SocketAddr) -> SocketAddr {
    match from {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => from,
        },
        SocketAddr::V4(_) => from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket and its address on the loopback of `like`.
    fn bound(like: IpAddr) -> (Socket, SocketAddr) {
        let socket = Socket::bind(0).expect("a port is free");
        let port = socket.local().expect("it is bound").port();
        (socket, SocketAddr::new(like, port))
    }

    /// What comes in `count` datagrams.
    fn take(socket: &Socket, count: usize) -> Vec<(Vec<u8>, SocketAddr)> {
        let (mut space, mut taken) = (vec![0; 65_536], Vec::new());
        while taken.len() < count {
            match socket.receive(&mut space) {
                Ok(Received { length, segment, from }) => {
                    let datagrams = space[..length].chunks(segment.max(1));
                    taken.extend(datagrams.map(|datagram| (datagram.to_vec(), from)));
                }
                Err(Errno::AGAIN) => std::thread::yield_now(),
                Err(errno) => panic!("{errno}"),
            }
        }
        taken
    }

    #[test]
    fn datagrams_arrive_as_they_were() {
        for host in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let ((mut one, source), (other, destination)) = (bound(host), bound(host));
            // Together, alone and longer than those before, alone and shorter, two and their end.
            let batches: [&[usize]; 4] = [&[1000; 40], &[5000], &[10], &[1452, 1452, 7]];
            for cuts in [true, false] {
                one.cuts = cuts;
                for lengths in batches {
                    let sent: Vec<Vec<u8>> = lengths
                        .iter()
                        .enumerate()
                        .map(|(index, length)| vec![index as u8; *length])
                        .collect();
                    let parts: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
                    one.send(destination, &parts).expect("the loopback takes it");
                    let expected: Vec<_> = sent.into_iter().map(|datagram| (datagram, source)).collect();
                    assert!(take(&other, lengths.len()) == expected, "{host} {cuts} {lengths:?}");
                }
            }
        }
    }
}
