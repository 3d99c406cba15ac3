//! The ends of a connection: FIN, reset, and nobody there any more (RFC 9293 3.6, 3.10.4, 3.10.5).
#![forbid(unsafe_code)]

use super::congestion::Congestion;
use super::sequence::Sequence;
use super::transmit::Reset;
use super::{Connection, Remains, State};
use crate::error::{Error, Result};
use crate::time::Instant;

/// Our FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    NotAsked,
    /// Behind what was written.
    Waiting,
    /// The number behind it.
    Sent(Sequence),
}

impl Fin {
    pub(super) fn is_asked(self) -> bool {
        self != Fin::NotAsked
    }

    pub(super) fn is_waiting(self) -> bool {
        self == Fin::Waiting
    }

    pub(super) fn is_acknowledged_by(self, number: Sequence) -> bool {
        matches!(self, Fin::Sent(end) if !number.before(end))
    }
}

impl Connection {
    /// FIN behind what was written; before the handshake is done, once it is.
    pub fn close(&mut self) {
        if self.outcome.is_some() || self.sending.fin.is_asked() {
            return;
        }
        match self.state {
            State::Established => self.state = State::FinWait1,
            State::CloseWait => self.state = State::LastAck,
            State::SynSent | State::SynReceived => {}
            _ => return,
        }
        self.sending.fin = Fin::Waiting;
    }

    /// The handshake is done: what `close` asked for meanwhile happens.
    pub(super) fn close_if_asked(&mut self) {
        if self.sending.fin.is_waiting() && self.state == State::Established {
            self.state = State::FinWait1;
        }
    }

    /// Nobody reads any more, nor writes more than is on its way: limits on how long the rest may take.
    pub fn disown(&mut self, now: Instant) {
        self.patience.orphan(now);
    }

    /// RST, and over. The peer of a connection that it knows nothing of yet gets none.
    pub fn abort(&mut self) {
        if self.outcome.is_none() {
            self.reset_peer();
            self.finish(Err(Error::ConnectionAborted));
        }
    }

    /// The next segment is a reset (RFC 9293 3.10.5).
    pub(super) fn reset_peer(&mut self) {
        if self.state != State::SynSent {
            let (sequence, acknowledgement) = (self.sending.next, Some(self.receiving.next));
            self.duty.reset = Some(Reset { sequence, acknowledgement });
        }
    }

    /// It is over.
    pub(super) fn finish(&mut self, outcome: Result<()>) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
        }
    }

    /// A reset of the peer was believed (RFC 9293 3.10.7.4; what it is called, Linux's tcp_reset).
    pub(super) fn was_reset(&mut self) {
        let error = match self.state {
            State::SynSent => Error::ConnectionRefused,
            State::SynReceived if self.patience.active => Error::ConnectionRefused,
            State::CloseWait => Error::BrokenPipe,
            // Everything was said: as Linux, an orderly end.
            State::TimeWait => return self.finish(Ok(())),
            _ => Error::ConnectionReset,
        };
        self.finish(Err(error));
    }

    /// An ICMP error quoted a segment of this connection with `sequence`. It ends a connection that is being made,
    /// as on Linux; later it is only the reason to give if the connection times out (RFC 1122 4.2.3.9, RFC 5461).
    pub fn unreachable(&mut self, error: Error, sequence: Sequence) {
        if self.outcome.is_some() || !self.quotes(sequence) {
            return;
        }
        match self.state {
            State::SynSent => self.finish(Err(error)),
            _ => self.soft_error = Some(error),
        }
    }

    /// RFC 5927 4.1: whoever does not see our segments cannot guess their numbers.
    pub(super) fn quotes(&self, sequence: Sequence) -> bool {
        !sequence.before(self.sending.unacknowledged) && !sequence.after(self.sending.next)
    }

    /// What TIME-WAIT must remember.
    pub fn time_wait(&self) -> Option<Remains> {
        (self.state() == State::TimeWait).then(|| Remains {
            next_sent: self.sending.next,
            next_received: self.receiving.next,
            window: self.receiving.last_window,
            timestamps: self
                .agreed
                .timestamps
                .then_some((self.receiving.recent_stamp, self.timestamp_offset)),
        })
    }

    /// The connection has gone over to a TIME-WAIT entry: it is over in order, and what was received can be read.
    pub fn retire(&mut self) {
        self.finish(Ok(()));
        self.duty.reset = None;
    }

    /// The name of its congestion control (TCP_CONGESTION).
    pub fn congestion(&self) -> &dyn Congestion {
        &*self.congestion
    }
}
