//! The stack as the resolver needs it: queries travel by sockets of the host, on near ends that the program never sees.
#![forbid(unsafe_code)]

use super::interfaces;
use crate::bridge::datagram::{HEADER, decode};
use crate::bridge::name::Identity;
use crate::engine::{Control, Domain, Kind};
use crate::error::{Error, Result};
use crate::host::{self, Request};
use crate::resolver::{Network, SourceAddress};
use crate::sys::descriptors::{Internal, internal};
use crate::sys::{self, unix};
use crate::time::Instant;
use core::time::Duration;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsRawFd;
use rustix::net::SocketFlags;
use std::net::SocketAddr;

/// The port of DNS.
const DOMAIN: u16 = 53;

/// The stack of this process.
#[derive(Clone, Copy, Debug)]
pub struct Stack;

impl Network for Stack {
    fn addresses(&self) -> Vec<SourceAddress> {
        let addresses = host::network().addresses.into_iter();
        addresses.map(|own| SourceAddress { address: own.address, prefix_length: own.bits }).collect()
    }

    fn name_servers(&self) -> Vec<SocketAddr> {
        host::network().name_servers.into_iter().map(|server| SocketAddr::new(server, DOMAIN)).collect()
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        interfaces::by_name(name.as_bytes()).map(|interface| interface.index)
    }

    fn interface_name(&self, index: u32) -> Option<String> {
        interfaces::by_index(index).map(|interface| interface.name.to_owned())
    }

    fn exchange_datagrams(
        &self,
        server: SocketAddr,
        queries: &[&[u8]],
        timeout: Duration,
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let deadline = sys::now() + timeout;
        let socket = Private::open(server, Kind::Datagram)?;
        let identity = socket.identity()?;
        // As glibc's resolver: a server that a router knows to be out of reach is not waited for.
        let (level, name) = match server {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVERR),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
        };
        super::set_option(&identity, level, name, &1i32.to_ne_bytes())?;
        super::demand(&identity, "connect", Request::ConnectDatagram(Some(server)))?;
        for query in queries {
            host::ask(&identity, "sendto", Request::SendDatagram(None, Control::default()), query)?;
        }
        let mut buffer = vec![0; HEADER + 65_535];
        loop {
            let received =
                socket.wait(deadline, PollFlags::IN, || Ok(unix::receive(&socket.near, &mut buffer)?));
            let length = match received {
                // It stands for what ICMP said.
                Err(Error::ConnectionReset) => match super::explain_datagram(&identity)? {
                    Some(error) => return Err(error),
                    None => continue,
                },
                received => received?,
            };
            let Some((header, datagram)) = buffer[..length].split_first_chunk() else { continue };
            if decode(header).is_some() && accept(datagram) {
                return Ok(());
            }
        }
    }

    fn exchange_stream(
        &self,
        server: SocketAddr,
        request: &[u8],
        timeout: Duration,
        complete: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let deadline = sys::now() + timeout;
        let socket = Private::open(server, Kind::Stream)?;
        let identity = socket.identity()?;
        super::demand(&identity, "connect", Request::Connect(server))?;
        socket.wait(deadline, PollFlags::OUT, || {
            super::connected(&identity).unwrap_or(Err(Error::WouldBlock))
        })?;
        let mut rest = request;
        while !rest.is_empty() {
            let sent = socket.wait(deadline, PollFlags::OUT, || Ok(unix::send(&socket.near, rest)?))?;
            rest = &rest[sent..];
        }
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        while !complete(&answer) {
            match socket.wait(deadline, PollFlags::IN, || Ok(unix::receive(&socket.near, &mut buffer)?))? {
                0 => return Err(Error::ConnectionReset),
                length => answer.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(answer)
    }
}

/// A socket of the stack on a descriptor of our own, non-blocking.
struct Private {
    near: Internal,
}

impl Private {
    fn open(server: SocketAddr, kind: Kind) -> Result<Private> {
        let domain = if server.is_ipv4() { Domain::V4 } else { Domain::V6 };
        let near = host::open(domain, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        Ok(Private { near: internal(near) })
    }

    fn identity(&self) -> Result<Identity> {
        super::identify(self.near.as_raw_fd()).ok_or(Error::Broken)
    }

    /// Tries until it is not EAGAIN, waiting for `readiness` in between. TimedOut at the deadline.
    fn wait<T>(
        &self,
        deadline: Instant,
        readiness: PollFlags,
        mut attempt: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        loop {
            match attempt() {
                Err(Error::WouldBlock) => {}
                result => return result,
            }
            let left = deadline - sys::now();
            if left.is_zero() {
                return Err(Error::TimedOut);
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            // EINTR only means to look again.
            let _ = poll(&mut [PollFd::new(&self.near, readiness)], Some(&left));
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // A stream's far end sees the near end go. A datagram socket has nobody who would.
        let _ = self.identity().and_then(|identity| super::demand(&identity, "close", Request::Discard));
    }
}
