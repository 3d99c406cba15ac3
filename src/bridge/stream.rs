//! The far end of a stream: moves bytes between the near end and the engine, and translates the ends of a connection.
//!
//! | at the far end | means | the engine is told |
//! |---|---|---|
//! | end of file, no HUP | the program shut down writing | FIN behind the data |
//! | end of file, HUP | the program closed, or shut down both ways | release: FIN, or RST if it left data unread |
//! | ECONNRESET | it closed with data unread at the near end | RST, and what it sent last is lost |
//!
//! | in the engine | the near end sees |
//! |---|---|
//! | FIN, all data handed on | end of file (the far end shuts down writing) |
//! | reset, timed out | the data, then the far end is gone; the errno is in `error` for the calls to fetch |
//! | the same, and the near end is full | a shut direction at once (whoever waits in a write wakes), the rest when there is room |
#![forbid(unsafe_code)]

use super::Interest;
use crate::engine::{Engine, SocketId, StreamState};
use crate::error::Error;
use crate::sys::descriptors::Internal;
use crate::sys::unix;
use crate::time::Instant;
use rustix::event::epoll::EventFlags;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// What is known of the far end's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// It was emptied; the set tells when there is something again.
    Empty,
    /// What is next in it is no urgent byte.
    Plain,
    /// Nobody has looked.
    Unknown,
}

/// A far end and what is known of its near end.
#[derive(Debug)]
pub struct Stream {
    far: Internal,
    /// Bytes at the head of the far end's queue that are not the program's; zero once connected.
    filler: usize,
    connecting: bool,
    /// A connect call has reported the success.
    pub announced: bool,
    registered: Option<EventFlags>,
    queue: Queue,
    /// The near end is full.
    full: bool,
    /// The program reads no more: what arrives is thrown away.
    discards: bool,
    /// The near end has sent all it will send.
    input_over: bool,
    /// The peer's FIN was passed on.
    output_over: bool,
    /// Both directions of the near end are shut.
    hung_up: bool,
    /// The program closed with data unread.
    unread: bool,
    /// The program called shutdown: both directions shut do not mean that it closed.
    pub shut: bool,
    /// The program is ending: what is in the queue now is all that it wrote.
    ending: bool,
    /// The connection in the engine has ended.
    ended: bool,
    /// Nothing is left to do.
    over: bool,
    error: Option<Error>,
}

impl Stream {
    /// Of a near end that is connecting.
    pub fn connecting(far: Internal) -> Stream {
        Stream { connecting: true, announced: false, ..Stream::accepted(far) }
    }

    /// Puts a filler into the far end's queue, by the near end, unless there is something.
    pub fn fill(&mut self, near: BorrowedFd<'_>, filler: &[u8]) -> Result<(), Errno> {
        if self.is_connecting() && !unix::holds_bytes(&self.far) {
            self.filler = unix::send(near, filler)?;
        }
        Ok(())
    }

    /// Of a connection that is established.
    pub fn accepted(far: Internal) -> Stream {
        unix::read_urgent_inline(&far, true);
        Stream {
            far,
            filler: 0,
            connecting: false,
            announced: true,
            registered: Some(EventFlags::empty()),
            queue: Queue::Unknown,
            full: false,
            discards: false,
            input_over: false,
            output_over: false,
            hung_up: false,
            unread: false,
            shut: false,
            ending: false,
            ended: false,
            over: false,
            error: None,
        }
    }

    /// Bounds what waits for the program in the near end's queue.
    pub fn bound_queue(&self, bytes: u32) {
        unix::bound_send_buffer(&self.far, bytes);
    }

    /// Whether the handshake is under way.
    pub fn is_connecting(&self) -> bool {
        self.connecting && !self.over
    }

    /// Whether it ended before it was established.
    pub fn was_connecting(&self) -> bool {
        self.connecting
    }

    /// Whether nothing is left to do: the far end may be closed.
    pub fn over(&self) -> bool {
        self.over
    }

    /// Why it ended, when not in order, if no call has reported it.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// Whether the near end is closed for certain: hung up, and not by shutdown.
    pub fn is_closed(&self) -> bool {
        self.hung_up && !self.shut
    }

    /// Whether the end is a reset: the program closed with data unread, or as `abortive` says (`run`).
    pub fn resets(&self, abortive: bool) -> bool {
        self.unread || self.is_closed() && abortive
    }

    /// The far end is ready.
    pub fn ready(&mut self, flags: EventFlags, interest: &Interest) {
        if flags.contains(EventFlags::OUT) {
            self.full = false;
        }
        if flags.contains(EventFlags::IN) {
            // No PRI: an urgent byte that is written from now on has this before it.
            self.queue = if flags.contains(EventFlags::PRI) { Queue::Unknown } else { Queue::Plain };
        }
        if flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            self.hang_up(interest);
        }
    }

    /// A hang-up is for good and would be reported for ever: it is noted, and the far end leaves the set. Whether data was left
    /// unread is asked here, for the next receive, which would say so too, may have to wait until the engine has room.
    fn hang_up(&mut self, interest: &Interest) {
        self.hung_up = true;
        self.queue = Queue::Unknown;
        self.unread |= unix::take_error(&self.far) == Some(Errno::CONNRESET);
        if self.registered.take().is_some() {
            interest.remove(&self.far);
        }
    }

    /// Looks for what the set has not told yet.
    pub fn look(&mut self) {
        self.queue = Queue::Unknown;
    }

    /// The program ends: as if it had closed the near end now.
    pub fn close_near(&mut self, interest: &Interest) {
        self.unread |= unix::unread_by_peer(&self.far);
        self.ending = true;
        self.hang_up(interest);
    }

    /// Moves what can move. `abortive`: as `Options::is_abortive` says.
    pub fn run(
        &mut self,
        id: SocketId,
        engine: &mut Engine,
        interest: &Interest,
        abortive: bool,
        scratch: &mut [u8],
        now: Instant,
    ) {
        match engine.state(id) {
            Some(StreamState::Connecting) => {
                self.over = self.hung_up;
                return;
            }
            Some(StreamState::Connected) => {
                self.established(scratch);
                self.feed_engine(id, engine, now);
                self.feed_near(id, engine);
                let unread = self.is_closed() && engine.readable(id) > 0;
                self.over |= self.hung_up && (self.input_over || unread || self.resets(abortive));
                if self.hung_up && !self.over {
                    engine.disown(id, now);
                }
            }
            Some(StreamState::Ended) | None => {
                if !self.ended {
                    self.ended = true;
                    self.error = engine.end(id);
                }
                self.feed_near(id, engine);
                self.over = engine.readable(id) == 0 || self.hung_up;
                if !self.over {
                    self.stop_input(scratch);
                }
            }
            Some(StreamState::Fresh | StreamState::Listening) => {}
        }
        self.watch(id, engine, interest);
    }

    /// Takes the filler out: POLLOUT comes on at the near end.
    fn established(&mut self, scratch: &mut [u8]) {
        self.connecting = false;
        while self.filler > 0 {
            let length = self.filler.min(scratch.len());
            match unix::receive(&self.far, &mut scratch[..length]) {
                Ok(taken) if taken > 0 => self.filler -= taken,
                // The near end closed with something unread: the next receive says so again.
                Ok(_) | Err(_) => self.filler = 0,
            }
        }
    }

    /// The engine takes no more: who waits for room in a write, or asks whether there is any, learns of it now.
    fn stop_input(&mut self, scratch: &mut [u8]) {
        if !core::mem::replace(&mut self.input_over, true) {
            unix::shutdown_read(&self.far);
            while unix::receive(&self.far, scratch).is_ok_and(|taken| taken > 0) {}
        }
    }

    fn feed_engine(&mut self, id: SocketId, engine: &mut Engine, now: Instant) {
        if self.input_over || self.queue == Queue::Empty {
            return;
        }
        let (mut over, mut unread, mut mark) = (false, false, true);
        while mark && !over {
            mark = false;
            engine.write_with(id, &mut |space| {
                mark = self.queue == Queue::Unknown && unix::is_at_mark(&self.far);
                if mark {
                    return 0;
                }
                let taken = unix::receive(&self.far, space);
                self.queue = match taken {
                    // Nothing tells any more that there is an end behind what was taken.
                    _ if self.hung_up => Queue::Unknown,
                    Ok(taken) if taken > 0 && taken < space.len() => Queue::Empty,
                    Err(Errno::AGAIN) => Queue::Empty,
                    _ => Queue::Unknown,
                };
                match taken {
                    Ok(0) => {
                        over = true;
                        0
                    }
                    Ok(taken) => taken,
                    Err(Errno::INTR) => 0,
                    Err(Errno::AGAIN) => {
                        over = self.ending;
                        0
                    }
                    Err(_) => {
                        (over, unread) = (true, true);
                        0
                    }
                }
            });
            mark = mark && self.feed_urgent(id, engine);
        }
        self.unread |= unread;
        if over {
            self.input_over = true;
            // A hang-up is the release's to answer: it knows of data that nobody read.
            if !self.hung_up && !self.unread {
                self.hung_up = self.polls_hang_up();
                if !self.hung_up {
                    engine.shutdown_write(id, now);
                }
            }
            self.hung_up |= self.unread;
        }
    }

    /// Passes the byte of urgent data on that is next at the far end. False when the engine has no room for it.
    fn feed_urgent(&self, id: SocketId, engine: &mut Engine) -> bool {
        let mut byte = [0];
        engine.room(id) > 0
            && unix::receive(&self.far, &mut byte) == Ok(1)
            && engine.write_urgent(id, byte[0])
    }

    fn feed_near(&mut self, id: SocketId, engine: &mut Engine) {
        if self.hung_up || self.full && !self.discards {
            return;
        }
        self.full = false;
        let mut sent = Ok(());
        while sent.is_ok() {
            if let Some(byte) = engine.urgent_at_mark(id).filter(|_| !self.discards) {
                sent = unix::send_urgent(&self.far, byte);
                if sent.is_err() {
                    break;
                }
                engine.read_urgent(id);
            }
            engine.read_with(id, &mut |bytes| {
                if self.discards { bytes.len() } else { self.hand_on(bytes, &mut sent) }
            });
            if engine.urgent_at_mark(id).is_none() {
                break;
            }
        }
        match sent {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::INTR) => self.full = true,
            Err(_) => {
                // SHUT_RD, unless the near end has gone, which leaves the data unread for the release to see.
                self.hung_up = self.polls_hang_up();
                self.discards = !self.hung_up;
            }
        }
        if engine.at_eof(id) && !self.output_over && !self.hung_up {
            self.output_over = true;
            unix::shutdown_write(&self.far);
        }
    }

    /// Bytes that the near end takes. A part of what was offered means that it is full: `sent` says so, or why it failed.
    fn hand_on(&self, bytes: &[u8], sent: &mut Result<(), Errno>) -> usize {
        let taken = unix::send(&self.far, bytes);
        *sent = match taken {
            Ok(taken) if taken < bytes.len() => Err(Errno::AGAIN),
            taken => taken.map(drop),
        };
        taken.unwrap_or(0)
    }

    /// Whether nobody holds the near end any more, or it is shut both ways.
    pub fn polls_hang_up(&self) -> bool {
        unix::hangs_up(&self.far)
    }

    /// Registers the interest that fits.
    fn watch(&mut self, id: SocketId, engine: &Engine, interest: &Interest) {
        let Some(registered) = self.registered else { return };
        let mut wanted = EventFlags::empty();
        if !self.connecting && !self.input_over && engine.room(id) > 0 {
            wanted |= EventFlags::IN | EventFlags::PRI;
        }
        if self.full {
            wanted |= EventFlags::OUT;
        }
        if wanted != registered {
            interest.change(&self.far, id, wanted);
            self.registered = Some(wanted);
        }
    }
}
