//! What the host does for each request, under the lock.
#![forbid(unsafe_code)]

use super::{Inner, bypass, ip_options};
use crate::bridge::name::{self, Identity};
use crate::bridge::options::Options;
use crate::bridge::{Ended, Role, Socket};
use crate::engine::{Control, Domain, ErrorReport, Kind, SocketId, SocketOption};
use crate::error::{Error, Result};
use crate::sys;
use crate::sys::descriptors::Owned;
use crate::tcp::Info;
use crate::time::Instant;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::SocketFlags;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Opened sockets between two sweeps for near ends that went unseen.
const SWEEP_EVERY: u32 = 64;
/// Turns of what comes by the near end before a request about its socket is served: a sender that does not stop would
/// keep it waiting.
const FORWARDED_MOST: u32 = 4;

/// What has become of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connect {
    /// The handshake is under way.
    Pending,
    /// Done: now or, first told now, before.
    Done,
    /// Not this descriptor any more: the near end has to be replaced first.
    Again,
    /// Not the stack's affair: the kernel's socket that comes along takes the near end's place, and is connected there.
    Kernels,
    /// It failed. A near end comes along that is as before the attempt, if there could be one.
    Failed(Error),
}

impl Inner {
    /// socket(2)
    pub fn open(&mut self, domain: Domain, kind: Kind, flags: SocketFlags) -> Result<Owned> {
        if self.broken {
            return Err(Error::Broken);
        }
        self.opened += 1;
        if self.opened.is_multiple_of(SWEEP_EVERY) {
            self.bridge.sweep(&mut self.engine, sys::now());
        }
        let id = self.engine.open(domain, kind);
        let mut options = Options::default();
        // What Linux's sockets of IPv6 begin with.
        options.ip.v4.multicast_own = domain == Domain::V6;
        let opened = self.bridge.open(id, domain, kind, options, flags);
        if opened.is_err() {
            self.engine.release(id, sys::now());
        }
        opened
    }

    /// The socket, if the host still knows it.
    pub fn socket(&mut self, id: SocketId) -> Result<&mut Socket> {
        self.bridge.socket(id).ok_or(Error::Broken)
    }

    /// bind(2)
    pub fn bind(&mut self, id: SocketId, address: SocketAddr) -> Result<()> {
        let mut bound = self.engine.bind(id, address, sys::now());
        if bound == Err(Error::AddressInUse) {
            // Perhaps the one that used it was closed where the shim could not see it.
            self.bridge.sweep(&mut self.engine, sys::now());
            bound = self.engine.bind(id, address, sys::now());
        }
        bound?;
        self.socket(id)?.bound = Some(address);
        Ok(())
    }

    /// listen(2), of the engine's socket and of the near end.
    pub fn listen(&mut self, id: SocketId, near: BorrowedFd<'_>, backlog: u16) -> Result<()> {
        if !matches!(self.socket(id)?.role, Role::Idle | Role::Listener(_)) {
            return Err(Error::InvalidArgument);
        }
        self.engine.listen(id, backlog.into(), sys::now())?;
        sys::unix::listen(near, backlog.into())?;
        self.bridge.listening(id, near, backlog.into())?;
        self.engine.guard_requests(id);
        self.step();
        Ok(())
    }

    /// A connection was taken from the near end of a listener: there is room in its backlog.
    pub fn accepted(&mut self, listener: SocketId) {
        self.bridge.accepted(listener);
        if self.stalled.is_some() {
            self.stalled = Some(Instant::ZERO);
            self.step();
        }
    }

    /// connect(2) of a stream: begins, or tells what has become of it.
    pub fn connect(&mut self, id: SocketId, near: BorrowedFd<'_>, to: SocketAddr) -> Result<Connect> {
        match &mut self.socket(id)?.role {
            Role::Idle => {}
            Role::Stream(stream) if stream.is_connecting() => return Err(Error::AlreadyInProgress),
            Role::Stream(stream) if !stream.announced => {
                stream.announced = true;
                return Ok(Connect::Done);
            }
            Role::Ended(Ended { error, unconnected: true, .. }) => {
                return Ok(error.take().map_or(Connect::Again, Connect::Failed));
            }
            Role::Stream(_) | Role::Listener(_) | Role::Ended(_) | Role::Datagram(_) => {
                return Err(Error::AlreadyConnected);
            }
        }
        self.engine.connect(id, to, sys::now())?;
        let begun = self.bridge.connecting(id, near).and_then(|blocks| {
            self.step();
            self.bridge.follow(id, &mut self.engine, sys::now());
            self.bridge.fill(id, near)?;
            Ok(blocks)
        });
        match begun {
            // Who would wait need not, where the handshake is over at once.
            Ok(true) => self.connected(id),
            // EINPROGRESS though it may be over, as Linux says of its loopback.
            Ok(false) => Ok(Connect::Pending),
            Err(error) => {
                // Out of descriptors, most likely. The near end may be connected already: the program has to begin anew.
                self.engine.abort(id, sys::now());
                self.bridge.end(id, &mut self.engine, sys::now());
                Err(error)
            }
        }
    }

    /// What has become of a connect that was begun.
    pub fn connected(&mut self, id: SocketId) -> Result<Connect> {
        // Closed by another thread meanwhile.
        match &mut self.bridge.socket(id).ok_or(Error::BadDescriptor)?.role {
            Role::Stream(stream) if stream.is_connecting() => Ok(Connect::Pending),
            Role::Stream(stream) => {
                stream.announced = true;
                Ok(Connect::Done)
            }
            Role::Ended(ended) => match ended.error.take() {
                Some(error) if ended.unconnected => Ok(Connect::Failed(error)),
                error => error.map_or(Ok(Connect::Done), Err),
            },
            Role::Idle | Role::Listener(_) | Role::Datagram(_) => Err(Error::NotConnected),
        }
    }

    /// What has become of a connect; after a failure with a near end that is as before (tcp_disconnect).
    pub fn outcome(
        &mut self,
        id: SocketId,
        near: BorrowedFd<'_>,
        connect: Connect,
    ) -> (Connect, Option<Owned>) {
        let failed = matches!(connect, Connect::Failed(_));
        (connect, failed.then(|| self.replacement(id, near).ok()).flatten())
    }

    /// connect(2) of a stream to AF_UNSPEC, and shutdown(2) of a listener: a near end that is neither connected nor
    /// listening, of a socket with the options and the address of this one; None for one that is neither.
    pub fn disconnect(&mut self, id: SocketId, near: BorrowedFd<'_>) -> Result<Option<Owned>> {
        let socket = self.socket(id)?;
        if matches!(socket.role, Role::Idle) {
            socket.error = None;
            return Ok(None);
        }
        let connected = matches!(socket.role, Role::Stream(_));
        // What was written before has gone out.
        self.bridge.run(id, &mut self.engine, sys::now());
        self.step();
        self.engine.abort(id, sys::now());
        self.bridge.end(id, &mut self.engine, sys::now());
        self.step();
        let fresh = self.replacement(id, near)?;
        if connected && let Some(id) = name::identify(fresh.as_fd().as_raw_fd()).map(|fresh| fresh.id) {
            // tcp_disconnect
            self.socket(id)?.error = Some(Error::ConnectionReset);
        }
        Ok(Some(fresh))
    }

    /// A new near end for a stream socket that is no more what `near` can show, with the options and the address of the old
    /// one, and as blocking or not.
    pub fn replacement(&mut self, id: SocketId, near: BorrowedFd<'_>) -> Result<Owned> {
        let last_port = self.local(id).map_or(0, |local| local.port());
        let nonblocking = fcntl_getfl(near)?.contains(OFlags::NONBLOCK);
        let flags = if nonblocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
        let flags = flags | SocketFlags::CLOEXEC;
        let socket = self.socket(id)?;
        let (domain, kind, options, bound) = (socket.domain, socket.kind, socket.options, socket.bound);
        let id = self.engine.open(domain, kind);
        let near = match self.bridge.open(id, domain, kind, options, flags) {
            Ok(near) => near,
            Err(error) => {
                self.engine.release(id, sys::now());
                return Err(error);
            }
        };
        let made = self.apply(id, &options);
        let made = made.and_then(|()| ip_options::apply(self, id, Domain::V4));
        let made = made.and_then(|()| ip_options::apply(self, id, Domain::V6));
        let made = made.and_then(|()| bound.map_or(Ok(()), |bound| self.engine.bind_in_place(id, bound)));
        if let Err(error) = made {
            self.bridge.close(id, &mut self.engine, sys::now());
            return Err(error);
        }
        let socket = self.socket(id)?;
        (socket.bound, socket.last_port) = (bound, last_port);
        Ok(near)
    }

    /// Tells the engine the options that it acts on.
    fn apply(&mut self, id: SocketId, options: &Options) -> Result<()> {
        let now = sys::now();
        let keep_alive = options.keep_alive.then_some(options.keep_alive_times);
        let timeout = (!options.user_timeout.is_zero()).then_some(options.user_timeout);
        let clamp = (options.window_clamp > 0).then_some(options.window_clamp);
        let receive_buffer = options.receive_buffer.into_iter().chain(clamp).min();
        let low_water = options.not_sent_low_water;
        for option in [
            SocketOption::ReuseAddress(options.reuse_address),
            SocketOption::ReusePort(options.reuse_port),
            SocketOption::V6Only(options.v6_only),
            SocketOption::NoDelay(options.no_delay),
            SocketOption::KeepAlive(keep_alive),
            SocketOption::UserTimeout(timeout),
            SocketOption::Broadcast(options.broadcast),
            SocketOption::Cork(options.cork),
            SocketOption::Congestion(options.congestion),
            SocketOption::MaximumSegment(options.maximum_segment),
            SocketOption::SendBuffer(options.send_buffer.map(|bytes| bytes as usize)),
            SocketOption::ReceiveBuffer(receive_buffer.map(|bytes| bytes as usize)),
            SocketOption::SynRetries(options.syn_retries),
            SocketOption::Linger2(options.linger2),
            SocketOption::MaxPacingRate(options.max_pacing_rate),
            SocketOption::NotSentLowWater((low_water > 0).then_some(low_water as usize)),
            SocketOption::Segment(options.udp.segment),
            SocketOption::ChecksumCoverage(options.udp.coverage),
            SocketOption::DeferAccept((!options.defer_accept.is_zero()).then_some(options.defer_accept)),
            SocketOption::Device(options.device),
            SocketOption::OnlyNeighbours(options.only_neighbours),
            SocketOption::AnyAddress(options.any_address),
            SocketOption::PortLater(options.port_later),
        ] {
            self.engine.set_option(id, option, now)?;
        }
        Ok(())
    }

    /// Changes the options of a socket.
    pub fn set_options(&mut self, id: SocketId, change: impl FnOnce(&mut Options)) -> Result<()> {
        let socket = self.socket(id)?;
        let mut options = socket.options;
        change(&mut options);
        let over = matches!(socket.role, Role::Ended(_));
        if matches!(socket.role, Role::Stream(_)) {
            // What was written before goes by the options of before: a cork that is pulled lets it all out.
            self.bridge.run(id, &mut self.engine, sys::now());
            self.step();
        }
        if !over {
            self.apply(id, &options)?;
        }
        self.socket(id)?.options = options;
        self.bridge.bound_queue(id);
        self.step();
        Ok(())
    }

    /// getsockname(2)
    pub fn local(&mut self, id: SocketId) -> Result<SocketAddr> {
        let socket = self.bridge.socket(id).ok_or(Error::Broken)?;
        if let Role::Ended(Ended { local: Some(local), .. }) = socket.role {
            return Ok(local);
        }
        let last_port = socket.last_port;
        let mut local = self.engine.local(id).ok_or(Error::InvalidArgument)?;
        if local.port() == 0 {
            local.set_port(last_port);
        }
        Ok(local)
    }

    /// getpeername(2)
    pub fn peer(&mut self, id: SocketId) -> Result<SocketAddr> {
        let peer = match &self.socket(id)?.role {
            Role::Stream(stream) if stream.is_connecting() => None,
            Role::Stream(_) => self.engine.peer(id),
            // inet_getname
            Role::Datagram(_) => self.engine.peer(id).filter(|peer| peer.port() != 0),
            // Shut down both ways, and still there for the peer.
            Role::Ended(_) => self.engine.peer_of_released(id),
            Role::Idle | Role::Listener(_) => None,
        };
        peer.ok_or(Error::NotConnected)
    }

    /// The error that no call has reported yet, cleared (SO_ERROR).
    pub fn take_error(&mut self, identity: &Identity) -> Option<Error> {
        let socket = self.bridge.socket(identity.id)?;
        match &mut socket.role {
            Role::Ended(ended) => ended.error.take(),
            Role::Datagram(datagram) => datagram.take_error(identity.near()),
            Role::Stream(stream) => stream.take_error(),
            Role::Idle | Role::Listener(_) => socket.error.take(),
        }
    }

    /// Why a read gave nothing, when the kernel gave end of file, ECONNRESET, or EINVAL for a near end that is not
    /// connected. Ok is a true end of file: of a connection that is over, and be it so long ago that the host has
    /// forgotten it.
    pub fn explain_read(&mut self, identity: &Identity) -> Result<()> {
        if let Some(Socket { role: Role::Ended(Ended { error: Some(Error::BrokenPipe), .. }), .. }) =
            self.bridge.socket(identity.id)
        {
            // A reset behind the peer's end is a write's to report: a read has seen the end (SOCK_DONE).
            return Ok(());
        }
        if let Some(error) = self.take_error(identity) {
            return Err(error);
        }
        match self.bridge.socket(identity.id).map(|socket| &socket.role) {
            Some(Role::Idle | Role::Listener(_)) => Err(Error::NotConnected),
            Some(Role::Stream(_) | Role::Ended(_) | Role::Datagram(_)) | None => Ok(()),
        }
    }

    /// POLLERR, while there is an error to report.
    pub fn show_errors(&mut self, id: SocketId) {
        let Inner { bridge, engine, .. } = self;
        if let Some(Socket { role: Role::Datagram(datagram), .. }) = bridge.socket(id) {
            datagram.show_errors(id, engine);
        }
    }

    /// shutdown(2), the engine's part; the near end's is the kernel's call, after. ENOTCONN. `reading` is whether the
    /// program will read no more, and a listener then listens no more, and gets another near end; `writing` whether it will
    /// write no more. A datagram socket without a peer is shut all the same (inet_shutdown).
    pub fn shutdown(
        &mut self,
        id: SocketId,
        near: BorrowedFd<'_>,
        reading: bool,
        writing: bool,
    ) -> Result<Option<Owned>> {
        let has_peer = self.engine.peer(id).is_some();
        let ends = self.engine.peer_of_released(id).is_some();
        if let Role::Datagram(datagram) = &mut self.socket(id)?.role {
            datagram.shut_write |= writing;
            datagram.shut_read |= reading;
        }
        match &mut self.socket(id)?.role {
            Role::Stream(stream) if has_peer => {
                stream.shut = true;
                Ok(None)
            }
            Role::Datagram(_) if has_peer => Ok(None),
            Role::Listener(_) if reading => self.disconnect(id, near),
            Role::Listener(_) => Ok(None),
            Role::Ended(_) if ends => Ok(None),
            Role::Stream(_) | Role::Datagram(_) | Role::Idle | Role::Ended(_) => Err(Error::NotConnected),
        }
    }

    /// connect(2) of a datagram socket; None dissolves.
    pub fn connect_datagram(&mut self, id: SocketId, to: Option<SocketAddr>) -> Result<()> {
        match to {
            Some(to) => self.engine.connect(id, to, sys::now()),
            None => self.engine.disconnect(id),
        }
    }

    /// What the program sent by the near end of a datagram socket goes before what is asked now.
    pub fn forward(&mut self, id: SocketId) {
        for _ in 0..FORWARDED_MOST {
            if !self.bridge.forward(id, &mut self.engine, sys::now()) {
                return;
            }
            self.step();
        }
    }

    /// sendto(2) of a datagram socket. An ICMP error that came meanwhile is reported first. Whether the next one to the same
    /// address can come by the near end.
    pub fn send_datagram(
        &mut self,
        identity: &Identity,
        to: Option<SocketAddr>,
        control: &Control,
        payload: &[u8],
    ) -> Result<bool> {
        let id = identity.id;
        match &mut self.socket(id)?.role {
            Role::Datagram(datagram) if datagram.shut_write => return Err(Error::BrokenPipe),
            _ => {}
        }
        if let Some(error) = self.take_error(identity) {
            self.show_errors(id);
            return Err(error);
        }
        to.map_or(Ok(()), bypass::refuse_unconnected)?;
        self.engine.send_with(id, to, control, payload, sys::now())?;
        self.step();
        Ok(!bypass::is_on() && *control == Control::default() && self.engine.sends_plainly(id, to))
    }

    /// A datagram that the near end of a socket does not take any more. EAGAIN.
    pub fn next_datagram(&mut self, id: SocketId, peek: bool) -> Result<Vec<u8>> {
        let Inner { bridge, engine, .. } = self;
        match bridge.socket(id) {
            Some(Socket { role: Role::Datagram(datagram), options, .. }) if datagram.shut_read => {
                datagram.take(id, engine, options, peek).ok_or(Error::WouldBlock)
            }
            _ => Err(Error::WouldBlock),
        }
    }

    /// What ICMP said of a datagram, once; the pending error is that of the next (sock_dequeue_err_skb).
    pub fn next_report(&mut self, id: SocketId, near: BorrowedFd<'_>) -> Result<ErrorReport> {
        let report = self.engine.next_report(id).ok_or(Error::WouldBlock)?;
        let pending = self.engine.take_error(id);
        if let Role::Datagram(datagram) = &mut self.socket(id)?.role {
            datagram.replace_error(pending, near);
        }
        self.show_errors(id);
        Ok(report)
    }

    /// Bytes written and not acknowledged by the peer (SIOCOUTQ), beside those in the near end's queue.
    pub fn unacknowledged(&mut self, id: SocketId) -> Result<usize> {
        self.socket(id)?;
        Ok(self.engine.unacknowledged(id))
    }

    /// TCP_QUICKACK: acknowledges at once from now on, for a while. Asked for again it counts again.
    pub fn acknowledge_quickly(&mut self, id: SocketId, on: bool) -> Result<()> {
        let socket = self.socket(id)?;
        socket.options.quick_ack = on;
        if !matches!(socket.role, Role::Ended(_)) {
            for on in [false, on] {
                self.engine.set_option(id, SocketOption::QuickAcknowledgement(on), sys::now())?;
            }
            self.step();
        }
        Ok(())
    }

    /// TCP_INFO of a connection; None for a socket that has none.
    pub fn info(&self, id: SocketId) -> Option<Info> {
        self.engine.info(id, sys::now())
    }

    /// Maximum segment size of a connection (TCP_MAXSEG).
    pub fn segment_size(&mut self, id: SocketId) -> usize {
        self.engine.mss(id)
    }

    /// A descriptor of this socket was closed: perhaps the last.
    pub fn closed(&mut self, id: SocketId) {
        self.bridge.close_if_gone(id, &mut self.engine, sys::now());
        self.step();
    }

    /// Lets go of `waiter` when all is delivered that a connection sent which was closed (SO_LINGER).
    pub(super) fn await_delivery(&mut self, id: SocketId, waiter: Owned) {
        self.bridge.await_delivery(id, waiter, &mut self.engine, sys::now());
        self.step();
    }

    /// The holder of the near end needs it no more.
    pub fn discard(&mut self, id: SocketId) {
        if matches!(self.bridge.socket(id), Some(Socket { role: Role::Idle | Role::Datagram(_), .. })) {
            self.bridge.close(id, &mut self.engine, sys::now());
        }
        self.step();
    }

    /// Descriptors were closed that nobody looked at.
    pub fn closed_some(&mut self) {
        self.bridge.sweep(&mut self.engine, sys::now());
        self.step();
    }
}
