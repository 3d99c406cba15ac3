//! SYN cookies sent, and connections made of those that come back.
//!
//! A cookie that comes back is an established connection, and goes into the accept queue at once. When that has become
//! full meanwhile, the answer is kept until there is room, since its client takes itself for connected: Linux drops it, and a
//! client that waits for the server to speak first then waits in vain. Of what the client sends until then nothing is
//! taken or refused; it comes again.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::socket::{Listener, Owner, Returned};
use super::{Engine, Path, SocketId};
use crate::tcp::cookie::{self, Cookie};
use crate::tcp::{Connection, Segment};
use crate::time::Instant;
use core::time::Duration;

/// How long after the last cookie answers to cookies are looked at (Linux's TCP_SYNCOOKIE_VALID).
const VALID: Duration = Duration::from_secs(120);

/// How long after the last cookie data without a cookie is taken for data that came too early.
const OVERTAKEN: Duration = Duration::from_secs(60);

/// Answers that wait for room in the accept queue of one listener.
const RETURNED_MAX: usize = 256;

impl Listener {
    /// Whether a cookie of ours may still come back.
    fn expects_cookies(&self, now: Instant) -> bool {
        self.cookie_sent.is_some_and(|sent| now - sent < VALID)
    }

    /// Whether a client may still be sending its first data behind a cookie.
    fn sent_cookies_lately(&self, now: Instant) -> bool {
        self.cookie_sent.is_some_and(|sent| now - sent < OVERTAKEN)
    }

    /// Whether an answer to a cookie waits from the same client.
    fn awaits(&self, tuple: &FourTuple) -> bool {
        self.returned.iter().any(|returned| FourTuple::of(&returned.segment) == *tuple)
    }
}

impl Engine {
    /// Answers a SYN for the listener `id`, and forgets it.
    pub(super) fn send_cookie(&mut self, id: SocketId, segment: &Segment, path: Path, now: Instant) {
        let tuple = FourTuple::of(segment);
        let offset = self.random.timestamp_offset(&tuple);
        let sequence = self.cookies.sequence(segment, now);
        let Some(socket) = self.sockets.find(id) else { return };
        let context = &self.contexts[path as usize];
        let answer = cookie::answer(context, segment, sequence, offset, &socket.options(), now);
        self.reply(answer, tuple.remote.ip());
        self.counters.cookies_sent += 1;
        if let Some(listener) = self.sockets.listener_mut(id) {
            listener.cookie_sent = Some(now);
        }
    }

    /// A segment that is for no connection. Whether it answers a cookie of ours.
    pub(super) fn take_cookie(&mut self, packet: &[u8], segment: &Segment, path: Path, now: Instant) -> bool {
        if segment.syn || segment.rst || segment.acknowledgement.is_none() {
            return false;
        }
        let tuple = FourTuple::of(segment);
        let Some(id) = self.listener(&tuple, path) else { return false };
        let offset = self.random.timestamp_offset(&tuple);
        let Engine { sockets, cookies, .. } = self;
        let Some(listener) = sockets.listener_mut(id).filter(|listener| listener.expects_cookies(now)) else {
            return false;
        };
        if listener.awaits(&tuple) {
            return true;
        }
        let Some(cookie) = cookies.open(segment, offset, now) else {
            // It may be data that has overtaken the first segment of a client with a good cookie, to whom a reset would be
            // the end: Linux resets it.
            return segment.payload > 0 && listener.sent_cookies_lately(now);
        };
        if listener.has_room() {
            self.restore(id, segment, segment.payload_in(packet), &cookie, path, now);
        } else if listener.returned.len() < RETURNED_MAX {
            listener.returned.push_back(Returned { segment: segment.clone(), cookie, path });
        } else {
            self.counters.listen_overflows += 1;
            self.counters.dropped += 1;
        }
        true
    }

    /// Takes the answers to cookies for which there is room now.
    pub(super) fn answer_returned(&mut self, id: SocketId, now: Instant) {
        while let Some(listener) = self.sockets.listener_mut(id)
            && listener.has_room()
            && let Some(Returned { mut segment, cookie, path }) = listener.returned.pop_front()
        {
            // Its data is gone; the client sends it again.
            (segment.payload, segment.fin) = (0, false);
            if !self.connections.contains(&FourTuple::of(&segment)) {
                self.restore(id, &segment, &[], &cookie, path, now);
            }
        }
    }

    /// The connection that answers a cookie of the listener `id`.
    fn restore(
        &mut self,
        id: SocketId,
        segment: &Segment,
        payload: &[u8],
        cookie: &Cookie,
        path: Path,
        now: Instant,
    ) {
        let tuple = FourTuple::of(segment);
        let offset = self.random.timestamp_offset(&tuple);
        let Some(embryo) = self.conceive(id) else { return };
        let Some(socket) = self.sockets.find(embryo) else { return };
        let context = &mut self.contexts[path as usize];
        let mut connection = Connection::restore(context, segment, cookie, offset, &socket.options(), now);
        connection.receive(context, segment, payload, now);
        self.counters.cookies_accepted += 1;
        self.begin(embryo, connection, tuple, path, Owner::Queue(id), now);
    }
}
