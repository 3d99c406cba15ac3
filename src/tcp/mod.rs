//! TCP connections, one value each. Sans-IO: segments and the time go in, packets come out.
//!
//! ```text
//!              segment                                     packet
//!   engine ──► receive ─► examine ─► smoltcp ─► reshape ─► transmit ──► engine
//!                         (armour)   socket     (armour)
//! ```
//!
//! smoltcp 0.14 is the state machine inside, one `SocketSet` with one socket for each connection; nothing of it
//! shows outside of this room. Around it lies the *armour* (`armour.rs`): what a peer could break or wedge it with
//! is kept from it, and what it gets wrong is set right on the way out. Everything that has to do with the end of
//! a connection is ours: resets (RFC 5961), retransmission limits, keep-alive, user timeout, ICMP errors, TIME-WAIT.
//!
//! Limits, all smoltcp's: one SACK block sent and none used, a retransmission timeout of at least one second, no
//! path MTU discovery, urgent data ignored, buffers of a fixed size, no silly window avoidance. On a lossy path it
//! sends far slower than the kernel (`facts/smoltcp.md` 6).
#![forbid(unsafe_code)]

mod armour;
mod context;
mod segment;
#[cfg(test)]
mod tests;
mod timers;

pub use context::Context;
pub use segment::{Bare, Segment, Sequence};
pub use timers::KeepAlive;

use crate::error::Error;
use crate::link::Packet;
use crate::time::Instant;
use armour::{Numbers, Verdict};
use context::{Spare, smoltcp_time};
use core::time::Duration;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State as Inner};
use smoltcp::wire::IpEndpoint;
use std::collections::VecDeque;
use std::net::SocketAddr;
use timers::Timers;

/// Bytes of the receive and of the send buffer. Four packets of 64 KiB fill a path in memory, and a larger ring falls
/// out of the cache: 1 MiB costs a third of the throughput (`facts/smoltcp.md` 4). The pages are the system's
/// zero page until they are first written.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// Segments without data in one second with nothing heard and nothing asked: more is a loop inside smoltcp (F2).
const BARE_SEGMENTS_PER_SECOND: u32 = 200;

/// What a program may set of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// TCP_NODELAY
    pub no_delay: bool,
    /// SO_KEEPALIVE and its parameters
    pub keep_alive: Option<KeepAlive>,
    /// TCP_USER_TIMEOUT
    pub user_timeout: Option<Duration>,
}

/// Where a connection stands, as far as its owner must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// SYN-SENT
    SynSent,
    /// SYN-RECEIVED
    SynReceived,
    /// ESTABLISHED to LAST-ACK.
    Open,
    /// Both FINs are acknowledged and ours was the first: `time_wait` has what must be remembered.
    TimeWait,
    /// Over; `end` has the reason.
    Closed,
}

/// What remains of a connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    /// SND.NXT
    pub next_sent: Sequence,
    /// RCV.NXT
    pub next_received: Sequence,
    /// The window field last sent.
    pub window: u16,
}

/// One TCP connection.
pub struct Connection {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    local: SocketAddr,
    remote: SocketAddr,
    options: Options,
    numbers: Numbers,
    timers: Timers,
    /// Packets that wait to go out before anything smoltcp has to send.
    replies: VecDeque<Packet>,
    /// FIN asked for before the handshake was done.
    close_pending: bool,
    /// How it ended. smoltcp's socket is not polled from then on; what was received can still be read.
    outcome: Option<Result<(), Error>>,
    /// The last ICMP error that did not end it: the reason to give if it times out.
    soft_error: Option<Error>,
    poll_at: Option<Instant>,
    bare_sent: u32,
    bare_since: Instant,
}

impl Connection {
    fn new(
        context: &mut Context,
        local: SocketAddr,
        remote: SocketAddr,
        options: Options,
        now: Instant,
    ) -> Connection {
        let (mut sockets, handle) = context.spare().unwrap_or_else(|| {
            let ring = || SocketBuffer::new(vec![0; BUFFER_BYTES]);
            let mut sockets = SocketSet::new(Vec::with_capacity(1));
            let handle = sockets.add(Socket::new(ring(), ring()));
            (sockets, handle)
        });
        let socket = sockets.get_mut::<Socket>(handle);
        socket.set_nagle_enabled(!options.no_delay);
        // smoltcp's delay holds the acknowledgement of a single large segment back for its whole length. Without
        // it one acknowledgement answers whatever came since the last `transmit`.
        socket.set_ack_delay(None);
        // A path without checksums is memory: nobody shares it, and a congestion window would only add round trips.
        socket.set_congestion_control(match context.checksums() {
            true => CongestionControl::Cubic,
            false => CongestionControl::None,
        });
        Connection {
            sockets,
            handle,
            local,
            remote,
            options,
            numbers: Numbers::default(),
            timers: Timers::new(now),
            replies: VecDeque::new(),
            close_pending: false,
            outcome: None,
            soft_error: None,
            poll_at: Some(now),
            bare_sent: 0,
            bare_since: now,
        }
    }

    /// Its socket, to be opened anew; None when it did not end in order.
    fn into_spare(mut self) -> Option<Spare> {
        self.socket_mut().abort();
        (self.outcome == Some(Ok(()))).then_some((self.sockets, self.handle))
    }

    /// A connection that sends a SYN with `sequence` as its initial sequence number.
    pub fn connect(
        context: &mut Context,
        local: SocketAddr,
        remote: SocketAddr,
        sequence: Sequence,
        options: Options,
        now: Instant,
    ) -> Connection {
        let mut connection = Connection::new(context, local, remote, options, now);
        let Connection { sockets, handle, .. } = &mut connection;
        let socket = sockets.get_mut::<Socket>(*handle);
        let opened = context.drawing(sequence, |interface, _| {
            socket.connect(interface.context(), IpEndpoint::from(remote), IpEndpoint::from(local))
        });
        if !matches!(opened, Some(Ok(()))) {
            connection.outcome = Some(Err(Error::Broken));
        }
        connection
    }

    /// The connection that a SYN asks for, in SYN-RECEIVED.
    pub fn accept(
        context: &mut Context,
        packet: Packet,
        segment: &Segment,
        sequence: Sequence,
        options: Options,
        now: Instant,
    ) -> Connection {
        let mut connection = Connection::new(context, segment.destination, segment.source, options, now);
        let Connection { sockets, handle, .. } = &mut connection;
        let listening = sockets.get_mut::<Socket>(*handle).listen(segment.destination.port());
        let taken = context.drawing(sequence, |interface, device| {
            device.put(packet);
            interface.poll_ingress_single(smoltcp_time(now), device, sockets);
        });
        connection.collect(context);
        if listening.is_err() || taken.is_none() || connection.inner() != Inner::SynReceived {
            connection.outcome = Some(Err(Error::Broken));
        }
        connection.numbers.learn_peer(segment);
        connection
    }

    // ---- segments and time

    /// Takes a segment of this connection, whose packet it is in.
    pub fn receive(&mut self, context: &mut Context, mut packet: Packet, segment: &Segment, now: Instant) {
        if self.outcome.is_some() {
            return context.recycle(packet);
        }
        self.timers.heard(now);
        self.bare_sent = 0;
        match self.examine(segment, now) {
            Verdict::Deliver => {}
            Verdict::Drop => return context.recycle(packet),
            Verdict::Acknowledge => {
                self.acknowledge(context.checksums());
                return context.recycle(packet);
            }
            Verdict::End(error) => {
                self.end_with(error);
                return context.recycle(packet);
            }
        }
        self.reshape_incoming(&mut packet, segment);
        self.deliver(context, packet, segment, now);
    }

    fn deliver(&mut self, context: &mut Context, packet: Packet, segment: &Segment, now: Instant) {
        let was = self.inner();
        let acknowledged = self.first_unacknowledged();
        if !context.deliver(&mut self.sockets, packet, now) {
            return self.broken(context);
        }
        self.collect(context);
        if was == Inner::SynSent && self.inner() != Inner::SynSent {
            self.numbers.learn_peer(segment);
        }
        self.timers.answered(
            self.first_unacknowledged() != acknowledged || segment.window == 0,
            self.outstanding(),
            now,
        );
        if self.inner() == Inner::Closed {
            self.outcome = Some(if was == Inner::LastAck { Ok(()) } else { Err(Error::Broken) });
        }
    }

    /// The next packet to send; None when there is none until something happens or `deadline` comes.
    pub fn transmit(&mut self, context: &mut Context, now: Instant) -> Option<Packet> {
        if let Some(packet) = self.replies.pop_front() {
            return Some(packet);
        }
        if self.outcome.is_some() {
            return None;
        }
        if self.close_pending && self.socket().may_send() {
            self.close_pending = false;
            self.socket_mut().close();
        }
        self.dispatch(context, now);
        if let Some(packet) = self.replies.pop_front() {
            return Some(packet);
        }
        if self.outcome.is_none() {
            self.rest(context, now);
        }
        None
    }

    fn dispatch(&mut self, context: &mut Context, now: Instant) {
        if !context.dispatch(&mut self.sockets, now) {
            return self.broken(context);
        }
        let before = self.numbers.bare_segments();
        self.collect(context);
        self.bare_sent += self.numbers.bare_segments() - before;
        if now - self.bare_since > Duration::from_secs(1) {
            self.bare_since = now;
            self.bare_sent = 0;
        }
        if self.bare_sent > BARE_SEGMENTS_PER_SECOND {
            self.broken(context);
        }
    }

    /// Nothing more to send: settles when smoltcp is to be polled again.
    fn rest(&mut self, context: &mut Context, now: Instant) {
        self.timers.waits(self.outstanding(), self.inner() == Inner::FinWait2, now);
        self.poll_at = match context.poll_at(&self.sockets, now) {
            Ok(at) => at,
            Err(_) => return self.broken(context),
        };
        if self.poll_at.is_none() && self.outstanding() {
            self.revive(context, now);
        }
        // What smoltcp wants at once and then does not do must not turn the caller's loop into a spin.
        self.poll_at = self.poll_at.map(|at| if at <= now { now + Duration::from_millis(10) } else { at });
    }

    /// When `transmit` and `advance` must be called though nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        [self.poll_at, self.timers.deadline(self.phase(), &self.options)].into_iter().flatten().min()
    }

    /// Runs our own timers: what has waited long enough ends here.
    pub fn advance(&mut self, context: &mut Context, now: Instant) {
        if self.outcome.is_some() {
            return;
        }
        match self.timers.expire(self.phase(), &self.options, now) {
            timers::Expiry::None => {}
            timers::Expiry::Probe => self.probe(context.checksums()),
            timers::Expiry::TimedOut { reset } => {
                if reset {
                    self.send_reset(context.checksums());
                }
                self.end_with(self.soft_error.unwrap_or(Error::TimedOut));
            }
            timers::Expiry::Forgotten => self.outcome = Some(Ok(())),
        }
    }

    // ---- what the owner asks

    /// Where it stands.
    pub fn state(&self) -> State {
        match (self.outcome, self.inner()) {
            (Some(_), _) | (None, Inner::Closed | Inner::Listen) => State::Closed,
            (None, Inner::SynSent) => State::SynSent,
            (None, Inner::SynReceived) => State::SynReceived,
            (None, Inner::TimeWait) => State::TimeWait,
            (None, _) => State::Open,
        }
    }

    /// Why a Closed connection ended; None for an orderly end.
    pub fn end(&self) -> Option<Error> {
        self.outcome.and_then(Result::err)
    }

    /// What TIME-WAIT must remember.
    pub fn time_wait(&self) -> Option<Remains> {
        (self.state() == State::TimeWait).then(|| Remains {
            next_sent: self.numbers.highest_sent(),
            next_received: self.next_received(),
            window: self.numbers.window(),
        })
    }

    /// The connection has gone over to a TIME-WAIT entry: it is over in order, and what was received can be read.
    pub fn retire(&mut self) {
        self.outcome = Some(Ok(()));
        self.replies.clear();
    }

    /// Bytes received and not read.
    pub fn readable(&self) -> usize {
        self.socket().recv_queue()
    }

    /// Whether the peer's FIN has come, whatever is still to be read before it.
    pub fn fin_received(&self) -> bool {
        matches!(self.inner(), Inner::CloseWait | Inner::Closing | Inner::LastAck | Inner::TimeWait)
            || self.outcome == Some(Ok(()))
    }

    /// Free bytes of the send buffer; 0 when nothing can be written any more, or not yet.
    pub fn room(&self) -> usize {
        let socket = self.socket();
        match self.outcome.is_none() && !self.close_pending && socket.may_send() {
            true => socket.send_capacity() - socket.send_queue(),
            false => 0,
        }
    }

    /// Bytes written and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.socket().send_queue()
    }

    /// Whether data or a FIN of ours waits for the peer, or soon will.
    pub fn outstanding(&self) -> bool {
        self.outcome.is_none()
            && (self.close_pending
                || self.socket().send_queue() > 0
                || matches!(
                    self.inner(),
                    Inner::SynSent | Inner::SynReceived | Inner::FinWait1 | Inner::Closing | Inner::LastAck
                ))
    }

    /// Effective maximum segment size in bytes on `context`.
    pub fn mss(&self, context: &Context) -> usize {
        const TCP_HEADER: usize = 20;
        let ours = context.mtu() - crate::ip::header_length(&self.local.ip()) - TCP_HEADER;
        ours.min(self.numbers.peer_mss())
    }

    /// Offers received bytes to `take`, in slices, until it takes fewer than offered or none are left.
    pub fn read_with(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let mut total = 0;
        loop {
            let taken = self.socket_mut().recv(|bytes| {
                let taken = if bytes.is_empty() { 0 } else { take(bytes).min(bytes.len()) };
                (taken, (taken, taken < bytes.len() || bytes.is_empty()))
            });
            let Ok((taken, done)) = taken else { break };
            total += taken;
            if done {
                break;
            }
        }
        self.numbers.read(total);
        self.bare_sent = 0;
        total
    }

    /// Offers free space of the send buffer to `fill`, in slices, until it fills less than offered or none is left.
    pub fn write_with(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let mut total = 0;
        while self.room() > 0 {
            let filled = self.socket_mut().send(|bytes| {
                let filled = fill(bytes).min(bytes.len());
                (filled, (filled, filled < bytes.len()))
            });
            let Ok((filled, done)) = filled else { break };
            total += filled;
            if done {
                break;
            }
        }
        self.numbers.wrote(total);
        self.bare_sent = 0;
        total
    }

    /// FIN behind what was written; before the handshake is done, once it is: smoltcp's own `close` then either
    /// forgets the connection or never sends the FIN.
    pub fn close(&mut self) {
        if self.outcome.is_none() {
            self.close_pending =
                self.socket().may_send() || matches!(self.state(), State::SynSent | State::SynReceived);
        }
    }

    /// Nobody reads or writes any more: `close`, and limits on how long the rest may take.
    pub fn orphan(&mut self, now: Instant) {
        self.timers.orphan(now);
        self.close();
    }

    /// RST, and over. The peer of a connection that it knows nothing of yet gets none.
    pub fn abort(&mut self, checksums: bool) {
        if self.outcome.is_none() {
            self.send_reset(checksums);
            self.end_with(Error::ConnectionAborted);
        }
    }

    /// An ICMP error quoted a segment of this connection with `sequence`. It ends a connection that is being made,
    /// as on Linux; later it is only the reason to give if the connection times out (RFC 5461).
    pub fn unreachable(&mut self, error: Error, sequence: Sequence) {
        let sent = self.first_unacknowledged()..self.numbers.highest_sent();
        // RFC 5927 4.1: whoever does not see our segments cannot guess their numbers.
        if self.outcome.is_some() || sequence.before(sent.start) || sequence.after(sent.end) {
            return;
        }
        match self.state() {
            State::SynSent => self.end_with(error),
            _ => self.soft_error = Some(error),
        }
    }

    /// Changes what the program may set.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
        self.socket_mut().set_nagle_enabled(!options.no_delay);
    }

    // ---- the socket inside

    fn socket(&self) -> &Socket<'static> {
        self.sockets.get::<Socket>(self.handle)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut::<Socket>(self.handle)
    }

    fn inner(&self) -> Inner {
        self.socket().state()
    }

    fn phase(&self) -> timers::Phase {
        match self.inner() {
            Inner::SynSent => timers::Phase::SynSent,
            Inner::SynReceived => timers::Phase::SynReceived,
            _ => timers::Phase::Open,
        }
    }

    /// RCV.NXT, counted: smoltcp does not tell.
    fn next_received(&self) -> Sequence {
        self.numbers.next_received(self.readable(), self.fin_received())
    }

    /// SND.UNA, counted: smoltcp does not tell.
    fn first_unacknowledged(&self) -> Sequence {
        let syn = !matches!(self.inner(), Inner::SynSent | Inner::SynReceived);
        let fin = matches!(self.inner(), Inner::FinWait2 | Inner::TimeWait);
        self.numbers.first_unacknowledged(self.socket().send_queue(), syn, fin)
    }

    /// Takes over what smoltcp sent, through the armour.
    fn collect(&mut self, context: &mut Context) {
        while let Some(mut packet) = context.sent() {
            self.numbers.reshape_outgoing(&mut packet, self.local, self.remote, context.checksums());
            self.replies.push_back(packet);
        }
    }

    fn end_with(&mut self, error: Error) {
        self.outcome = Some(Err(error));
    }

    /// smoltcp panicked or runs in circles: this connection dies, and nothing else.
    fn broken(&mut self, context: &Context) {
        self.replies.clear();
        self.send_reset(context.checksums());
        self.end_with(Error::Broken);
    }
}
