//! The bridge joins what a program holds, the near end, to a socket of the engine, through an AF_UNIX socket that the
//! kernel keeps between them.
//!
//! ```text
//!   program ── near end ══ AF_UNIX ══ far end ── Stream, Datagram ── engine
//!              listening near end ◄─ connect ─── Listener ────────── engine
//! ```
//!
//! * Readiness, blocking, time-outs and signals of the near end are the kernel's. The far ends are in one epoll set,
//!   level-triggered, with the interest that fits: IN while the engine has room, OUT while the near end is full.
//! * A stream that is connecting holds a filler in the far end's queue, which keeps POLLOUT off the near end. It is
//!   read when the handshake is done; when the handshake fails the far end is closed with the filler unread, which
//!   gives the near end POLLERR and POLLHUP: TCP's own sequence. A connect(2) that blocks may need none.
//! * A near end with no far end (never connected, or listening) cannot tell that it was closed, nor can a datagram
//!   socket's. Those are asked, by binding another socket to their name: EADDRINUSE while they live.
//! * What the kernel cannot say of a connection that is over (its errno, its address) stays in the table as `Ended`
//!   while the program may hold the near end. Most close it first, and then nothing stays; of the others nobody can say
//!   when they do (an accepted near end has no name of its own to ask for), so the last `ENDED_KEPT` are kept.

pub mod datagram;
mod interest;
pub mod listener;
pub mod name;
pub mod options;
mod probes;
pub mod stream;

use crate::engine::{Domain, Engine, Kind, SocketId};
use crate::error::{Error, Result};
use crate::observe::log;
use crate::sys::descriptors::{Internal, Owned, internal};
use crate::sys::{self, unix};
use crate::time::Instant;
use core::time::Duration;
use datagram::{Datagram, LARGEST};
pub use interest::Interest;
use listener::Listener;
use name::{Encoded, Identity, Name, Role as NameRole, Token};
use options::Options;
use probes::Probes;
use rustix::event::epoll::EventFlags;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use stream::Stream;

/// Who waits for the end of one connection; of more, the last ones do not wait.
const WAITERS_MAX: usize = 16;
/// Connections whose end is remembered because the program may still hold the near end.
const ENDED_KEPT: usize = 8192;

/// One socket of the program.
#[derive(Debug)]
pub struct Socket {
    /// AF_INET or AF_INET6.
    pub domain: Domain,
    /// Stream or datagram.
    pub kind: Kind,
    /// The cookie of its near end; None of one that came out of a listener, which the kernel made.
    pub near: Option<u64>,
    /// What setsockopt set.
    pub options: Options,
    /// Where bind put it, for a stream whose first connect fails.
    pub bound: Option<SocketAddr>,
    /// The port that getsockname(2) goes on to show when the connection that it was chosen for never was, or was dissolved.
    pub last_port: u16,
    /// The error of a stream that is neither connected nor listening, which no call has reported yet.
    pub error: Option<Error>,
    /// What it is at the moment.
    pub role: Role,
}

impl Socket {
    fn new(domain: Domain, kind: Kind, options: Options, role: Role) -> Socket {
        Socket { domain, kind, near: None, options, bound: None, last_port: 0, error: None, role }
    }
}

/// What a socket is at the moment.
#[derive(Debug)]
pub enum Role {
    /// A stream socket neither connected nor listening.
    Idle,
    /// A listening stream socket.
    Listener(Listener),
    /// A connecting or connected stream socket.
    Stream(Stream),
    /// A datagram socket.
    Datagram(Datagram),
    /// A stream socket whose connection is over, or was never made.
    Ended(Ended),
}

/// What is left of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// The error that no call has reported yet.
    pub error: Option<Error>,
    /// Whether it ended before it was established: connect may be tried again.
    pub unconnected: bool,
    /// getsockname still answers.
    pub local: Option<SocketAddr>,
}

/// All sockets of a host.
#[derive(Debug)]
pub struct Bridge {
    token: Token,
    /// Makes names that nobody foresees.
    salts: RandomState,
    /// The users that this process was when it made far ends for listeners.
    users: Vec<u32>,
    interest: Interest,
    sockets: HashMap<SocketId, Socket>,
    /// How many of them are streams, or were: their near ends need no asking after.
    watched: usize,
    ended: VecDeque<SocketId>,
    /// Bytes that turn POLLOUT off at a near end, and the buffer that they are read back into.
    filler: Vec<u8>,
    /// What datagrams are read into.
    datagram: Vec<u8>,
    /// The program is ending.
    ending: bool,
    /// What is kept open for it until it has.
    lingering: Vec<Role>,
    /// Listeners with a connection that the near end's backlog did not take.
    stalled: Vec<SocketId>,
    /// Streams that end with a reset, once the engine has sent what it can of what the program wrote before.
    resetting: Vec<SocketId>,
    /// Who waits for the end of a connection that was closed.
    waiters: HashMap<SocketId, Vec<Owned>>,
    probes: Probes,
}

impl Bridge {
    /// A bridge whose near ends bear `token`.
    pub fn new(token: Token) -> Result<Bridge> {
        let any = unix::socket(SocketType::STREAM, SocketFlags::CLOEXEC)?;
        // A near end is writable while four times what it queued fits into its send buffer.
        let filler = vec![0; unix::send_buffer(&any)? / 4 + 1];
        Ok(Bridge {
            token,
            salts: RandomState::new(),
            users: Vec::new(),
            interest: Interest::new()?,
            sockets: HashMap::new(),
            watched: 0,
            ended: VecDeque::new(),
            filler,
            datagram: vec![0; LARGEST],
            ending: false,
            lingering: Vec::new(),
            stalled: Vec::new(),
            resetting: Vec::new(),
            waiters: HashMap::new(),
            probes: Probes::default(),
        })
    }

    /// The epoll set that the host waits on.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// The socket of an id.
    pub fn socket(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.sockets.get_mut(&id)
    }

    /// Whether a near end is that of the socket which its name tells: then whoever shows it holds the socket. A name proves
    /// nothing. The kernel's cookie does; and of what came out of a listener, who made the end at the other side, and so named it.
    pub fn is_true(&self, identity: &Identity) -> bool {
        let near = identity.near();
        if identity.accepted.is_some() {
            // Another process may have had the number of this one before it, but not its user.
            return unix::peer(near)
                .is_some_and(|maker| maker.is_this_process() && self.users.contains(&maker.user));
        }
        let known = self.sockets.get(&identity.id).map(|socket| socket.near);
        // Of one that is forgotten nothing can be asked.
        known.is_none_or(|cookie| cookie.is_some() && unix::cookie(near).ok() == cookie)
    }

    /// A near end for `id`, as socket(2) makes it, and its socket.
    pub fn open(
        &mut self,
        id: SocketId,
        domain: Domain,
        kind: Kind,
        options: Options,
        flags: SocketFlags,
    ) -> Result<Owned> {
        let (near, role) = match kind {
            Kind::Stream => {
                let near = unix::socket(SocketType::STREAM, flags)?;
                unix::bind(&near, &self.near_name(id, domain, kind))?;
                (near, Role::Idle)
            }
            Kind::Datagram | Kind::Lite | Kind::Echo => {
                let name = self.near_name(id, domain, kind);
                let (near, datagram) = Datagram::open(self.token, name, flags)?;
                self.interest.add(datagram.far(), id.0, EventFlags::IN)?;
                (near, Role::Datagram(datagram))
            }
        };
        let cookie = unix::cookie(&near)?;
        self.sockets.insert(id, Socket { near: Some(cookie), ..Socket::new(domain, kind, options, role) });
        Ok(near)
    }

    /// Joins the near end of an idle stream socket, whose connect the engine has begun, to a far end. Whether it is a blocking one.
    pub fn connecting(&mut self, id: SocketId, near: BorrowedFd<'_>) -> Result<bool> {
        let (far, blocks) = self.meet(id, near)?;
        self.interest.add(&far, id.0, EventFlags::empty())?;
        if let Some(socket) = self.sockets.get_mut(&id) {
            socket.role = Role::Stream(Stream::connecting(far));
            self.watched += 1;
        }
        self.bound_queue(id);
        // Who waits in a connect(2) does not poll meanwhile, and a handshake may be over at once.
        if !blocks {
            self.fill(id, near)?;
        }
        Ok(blocks)
    }

    /// Keeps POLLOUT off a near end that is still connecting.
    pub fn fill(&mut self, id: SocketId, near: BorrowedFd<'_>) -> Result<()> {
        let Some(Socket { role: Role::Stream(stream), .. }) = self.sockets.get_mut(&id) else {
            return Ok(());
        };
        Ok(stream.fill(near, &self.filler)?)
    }

    /// Connects a near end to a listener that lives for this moment only, under a name of 128 random bits, and returns
    /// the end that came out there, and whether the near end is a blocking one. A listener that stood longer could be
    /// found in /proc/net/unix, and its backlog filled by strangers.
    fn meet(&mut self, id: SocketId, near: BorrowedFd<'_>) -> Result<(Internal, bool)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let rendezvous = unix::socket(SocketType::STREAM, flags)?;
        let name = Name { token: sys::entropy(), role: NameRole::Rendezvous, id, salt: 0 }.encode();
        unix::bind(&rendezvous, &name)?;
        unix::listen(&rendezvous, 1)?;
        let blocks = unix::connect_at_once(near, &name)?;
        let far = unix::accept(&rendezvous).map_err(Error::from)?;
        let met = unix::peer_name(&far, Name::decode).ok_or(Error::ConnectionAborted)?;
        let is_near = matches!(met.role, NameRole::Near(_, Kind::Stream));
        let is_this = is_near && (met.token, met.id) == (self.token, id);
        if is_this { Ok((internal(far), blocks)) } else { Err(Error::ConnectionAborted) }
    }

    /// What waits for the program between the stack and its near end counts as received (SO_RCVBUF).
    pub fn bound_queue(&self, id: SocketId) {
        if let Some(Socket { role: Role::Stream(stream), options, .. }) = self.sockets.get(&id)
            && let Some(bytes) = options.receive_buffer
        {
            stream.bound_queue(bytes);
        }
    }

    /// The socket listens; its near end does, natively.
    pub fn listening(&mut self, id: SocketId, near: BorrowedFd<'_>, backlog: u32) -> Result<()> {
        let inode = unix::inode(near)?;
        let Some(socket) = self.sockets.get(&id) else { return Ok(()) };
        let name = self.near_name(id, socket.domain, Kind::Stream);
        match self.sockets.get_mut(&id).map(|socket| &mut socket.role) {
            Some(Role::Listener(listener)) => listener.set_backlog(backlog),
            Some(role @ Role::Idle) => *role = Role::Listener(Listener::new(name, inode, backlog)),
            _ => {}
        }
        Ok(())
    }

    /// The program took a connection from a listener.
    pub fn accepted(&mut self, id: SocketId) {
        if let Some(Socket { role: Role::Listener(listener), .. }) = self.sockets.get_mut(&id) {
            listener.accepted();
        }
    }

    /// A descriptor of the set is ready.
    pub fn ready(&mut self, id: SocketId, flags: EventFlags, engine: &mut Engine, now: Instant) {
        match self.sockets.get_mut(&id).map(|socket| &mut socket.role) {
            Some(Role::Stream(stream)) => stream.ready(flags, &self.interest),
            Some(Role::Datagram(datagram)) if flags.contains(EventFlags::IN) => {
                datagram.forward(id, engine, &mut self.datagram, now);
            }
            Some(Role::Datagram(_)) => {}
            Some(Role::Idle | Role::Listener(_) | Role::Ended(_)) | None => return,
        }
        self.follow(id, engine, now);
    }

    /// Sends what the program sent by the near end of a datagram socket. Whether there was anything.
    pub fn forward(&mut self, id: SocketId, engine: &mut Engine, now: Instant) -> bool {
        match self.sockets.get_mut(&id).map(|socket| &mut socket.role) {
            Some(Role::Datagram(datagram)) => datagram.forward(id, engine, &mut self.datagram, now),
            _ => false,
        }
    }

    /// Moves what can move, for a call: behind what the program wrote before it.
    pub fn run(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        if let Some(Socket { role: Role::Stream(stream), .. }) = self.sockets.get_mut(&id) {
            stream.look();
        }
        self.follow(id, engine, now);
    }

    /// The engine's socket changed, or the near end's readiness did: moves what can move.
    pub fn follow(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        match &mut socket.role {
            Role::Stream(stream) => {
                let abortive = socket.options.is_abortive();
                stream.run(id, engine, &self.interest, abortive, &mut self.filler, now);
                if !stream.over() {
                    return;
                }
                if stream.resets(abortive) && !self.resetting.contains(&id) {
                    self.resetting.push(id);
                } else {
                    self.finish(id, engine, now);
                }
            }
            Role::Datagram(datagram) => {
                datagram.run(id, engine, &socket.options, &self.interest, &mut self.datagram, now);
            }
            Role::Listener(_) => self.accept(id, engine, now),
            Role::Idle | Role::Ended(_) => {}
        }
    }

    /// Resets what was to be reset when the engine had sent what it can. Whether there was anything.
    pub fn reset_the_rest(&mut self, engine: &mut Engine, now: Instant) -> bool {
        let resetting = std::mem::take(&mut self.resetting);
        for &id in &resetting {
            self.finish(id, engine, now);
        }
        !resetting.is_empty()
    }

    /// The far end of a stream that is over is closed, and what is known of its end is kept.
    fn finish(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        let Some(socket) = self.sockets.get_mut(&id) else { return };
        let Role::Stream(stream) = &mut socket.role else { return };
        let ended = Ended {
            error: stream.take_error(),
            unconnected: stream.was_connecting(),
            local: engine.local(id),
        };
        let closed = stream.is_closed();
        if stream.resets(socket.options.is_abortive()) {
            engine.abort(id, now);
        }
        engine.release(id, now);
        let role = core::mem::replace(&mut socket.role, Role::Ended(ended));
        if self.ending {
            // A handler that still writes finds an open socket, as it would have, and not SIGPIPE.
            self.lingering.push(role);
        }
        if closed {
            self.sockets.remove(&id);
            self.watched -= 1;
        } else {
            self.remember(id);
        }
    }

    /// Keeps an ended socket, and lets the oldest go that has been kept long enough.
    fn remember(&mut self, id: SocketId) {
        self.ended.push_back(id);
        if self.ended.len() > ENDED_KEPT
            && let Some(oldest) = self.ended.pop_front()
            && self.sockets.remove(&oldest).is_some()
        {
            self.watched -= 1;
        }
    }

    /// Hands the accept queue of the engine's listener to the near end's backlog, and has it answer who waits.
    fn accept(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        if engine.requests_wait(id) && self.sockets.get(&id).is_some_and(|socket| self.is_gone(id, socket)) {
            return self.close(id, engine, now);
        }
        loop {
            let Some(Socket { role: Role::Listener(listener), domain, options, .. }) =
                self.sockets.get_mut(&id)
            else {
                return;
            };
            let Some(connection) = listener.next(id, engine) else {
                if !self.stalled.contains(&id) {
                    engine.hold_accepting(id, false);
                }
                return;
            };
            let user = sys::user_id();
            if !self.users.contains(&user) {
                self.users.push(user);
            }
            // A connection has none (inet_csk_clone_lock).
            let (domain, options) = (*domain, Options { defer_accept: Duration::ZERO, ..*options });
            match listener.offer(connection, self.token, self.salts.hash_one(connection), engine) {
                Ok(far) => {
                    let room = listener.has_room();
                    if self.interest.add(&far, connection.0, EventFlags::empty()).is_err() {
                        reset(connection, engine, now);
                        continue;
                    }
                    let role = Role::Stream(Stream::accepted(far));
                    self.watched += 1;
                    self.sockets.insert(connection, Socket::new(domain, Kind::Stream, options, role));
                    self.bound_queue(connection);
                    self.run(connection, engine, now);
                    if !room {
                        return self.stall(id, engine);
                    }
                }
                // The backlog is full, or there is no descriptor: it waits.
                Err(errno @ (Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
                    if errno != Errno::AGAIN && log::first_time("accept without a descriptor", 0) {
                        tracing::warn!(
                            "a listener's connections wait: {errno}; raise the limit of descriptors (ulimit -n)"
                        );
                    }
                    return self.stall(id, engine);
                }
                Err(errno) => {
                    tracing::debug!(socket = id.0, %errno, "the listener's near end is gone");
                    reset(connection, engine, now);
                    self.close(id, engine, now);
                    return;
                }
            }
        }
    }

    /// The near end's queue is full: nobody else is let in until `retry_stalled` finds room.
    fn stall(&mut self, id: SocketId, engine: &mut Engine) {
        engine.hold_accepting(id, true);
        if !self.stalled.contains(&id) {
            self.stalled.push(id);
        }
    }

    /// Whether a listener's near end is full.
    pub fn is_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Looks whether near ends that were full have room.
    pub fn retry_stalled(&mut self, engine: &mut Engine, now: Instant) {
        for id in std::mem::take(&mut self.stalled) {
            let Some(Socket { role: Role::Listener(listener), .. }) = self.sockets.get_mut(&id) else {
                continue;
            };
            if listener.has_room() {
                self.accept(id, engine, now);
            } else {
                self.stalled.push(id);
            }
        }
    }

    /// Lets go of a socket that no far end watches over.
    pub fn close(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        self.forward(id, engine, now);
        let Some(socket) = self.sockets.remove(&id) else { return };
        match socket.role {
            Role::Listener(listener) => {
                if let Some(connection) = listener.waiting() {
                    reset(connection, engine, now);
                }
            }
            Role::Stream(_) | Role::Ended(_) => self.watched -= 1,
            Role::Idle | Role::Datagram(_) => {}
        }
        engine.release(id, now);
    }

    /// Closes the sockets without a far end, and the datagram sockets, whose near end has gone.
    pub fn sweep(&mut self, engine: &mut Engine, now: Instant) {
        let gone = |(&id, socket): (&SocketId, &Socket)| self.is_gone(id, socket).then_some(id);
        let gone: Vec<SocketId> = self.sockets.iter().filter_map(gone).collect();
        for id in gone {
            self.close(id, engine, now);
        }
    }

    /// Whether nobody holds the near end of a socket without a far end to tell: then its name is free.
    fn is_gone(&self, id: SocketId, socket: &Socket) -> bool {
        let kind = match (&socket.role, socket.kind) {
            (Role::Stream(_) | Role::Ended(_), _) => return false,
            (_, Kind::Stream) => SocketType::STREAM,
            (_, Kind::Datagram | Kind::Lite | Kind::Echo) => SocketType::DGRAM,
        };
        self.probes.is_free(kind, &self.near_name(id, socket.domain, socket.kind))
    }

    /// Closes one socket if it has no far end and its near end has gone.
    pub fn close_if_gone(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        if self.sockets.get(&id).is_some_and(|socket| self.is_gone(id, socket)) {
            self.close(id, engine, now);
        }
    }

    /// Ends a socket whose near end goes on: a listener that listens no more, a connect that could not begin. getsockname
    /// still answers.
    pub fn end(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        let local = engine.local(id);
        let Some(Socket { domain, near, options, bound, .. }) = self.sockets.get(&id) else { return };
        let (domain, near, options, bound) = (*domain, *near, *options, *bound);
        self.close(id, engine, now);
        let role = Role::Ended(Ended { error: None, unconnected: true, local });
        self.sockets.insert(id, Socket { near, bound, ..Socket::new(domain, Kind::Stream, options, role) });
        self.watched += 1;
        self.remember(id);
    }

    /// The engine works no more: whoever waits at a near end is woken, and finds EIO.
    pub fn break_all(&mut self) {
        for socket in self.sockets.values_mut() {
            match &mut socket.role {
                Role::Stream(stream) => {
                    let unconnected = stream.was_connecting();
                    socket.role = Role::Ended(Ended { error: Some(Error::Broken), unconnected, local: None });
                }
                Role::Datagram(datagram) => datagram.fail(Error::Broken),
                Role::Idle | Role::Listener(_) | Role::Ended(_) => {}
            }
        }
    }

    /// The program is about to end: every stream is treated as closed by it, behind what it wrote.
    pub fn close_all(&mut self, engine: &mut Engine, now: Instant) {
        self.ending = true;
        let ids: Vec<SocketId> = self.sockets.keys().copied().collect();
        for id in ids {
            match self.sockets.get_mut(&id).map(|socket| &mut socket.role) {
                Some(Role::Stream(stream)) => {
                    stream.close_near(&self.interest);
                    self.run(id, engine, now);
                }
                Some(Role::Listener(_)) => self.close(id, engine, now),
                Some(Role::Datagram(_)) => {
                    self.forward(id, engine, now);
                }
                Some(Role::Idle | Role::Ended(_)) | None => {}
            }
        }
    }

    /// Keeps `waiter` until what a connection sent is delivered that was closed; or was not, since others hold it.
    pub fn await_delivery(&mut self, id: SocketId, waiter: Owned, engine: &mut Engine, now: Instant) {
        self.run(id, engine, now);
        let waiters = self.waiters.entry(id).or_default();
        // Anybody may ask, and each is a descriptor.
        if waiters.len() < WAITERS_MAX {
            waiters.push(waiter);
        }
    }

    /// Lets go of those whose time has come.
    pub fn release_waiters(&mut self, engine: &Engine) {
        let Bridge { waiters, sockets, .. } = self;
        waiters.retain(|id, _| match sockets.get(id).map(|socket| &socket.role) {
            Some(Role::Stream(stream)) => stream.polls_hang_up(),
            _ => engine.is_delivering(*id),
        });
    }

    /// Sockets that no far end watches over.
    pub fn unwatched(&self) -> usize {
        self.sockets.len() - self.watched
    }

    /// Streams that the bridge still moves bytes for.
    pub fn streams(&self) -> usize {
        self.sockets.values().filter(|socket| matches!(socket.role, Role::Stream(_))).count()
    }

    fn near_name(&self, id: SocketId, domain: Domain, kind: Kind) -> Encoded {
        let salt = self.salts.hash_one(id);
        Name { token: self.token, role: NameRole::Near(domain, kind), id, salt }.encode()
    }
}

/// Lets go of a connection that no program holds yet: its peer sees a reset.
fn reset(connection: SocketId, engine: &mut Engine, now: Instant) {
    engine.abort(connection, now);
    engine.release(connection, now);
}
