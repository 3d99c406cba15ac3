//! TCP connections, one value each. Sans-IO: segments, the time and the program's bytes go in, segments come out.
//!
//! ```text
//!                 receive.rs       acknowledgement.rs ──► scoreboard.rs ◄── rack.rs rate.rs
//!   segment ────► acceptable? ───► what has arrived ────► recovery.rs ────► congestion/
//!                 RFC 5961, PAWS   data.rs
//!                      └─────────► reassembly.rs ring.rs ──► read_with
//!
//!   write_with ─► ring.rs ─► transmit.rs: reset, SYN, retransmission, new data, FIN, acknowledgement ──► segment
//!                               ▲ how much: recovery.rs congestion/   ▲ when: timers.rs patience.rs
//! ```
//!
//! Theory of operation. A connection never decides what to send while it takes a segment: it changes its state, and
//! `transmit`, asked until it says no, makes one segment at a time of whatever the state calls for then. So what came
//! together is answered together, an acknowledgement rides on data whenever there is some, and whoever drives the
//! connection decides in whose turn it sends. Between two events the connection waits for exactly one moment, `deadline`.
//!
//! What happens seldom is marked `#[cold]`, so that the code which every segment runs through lies together: one end's and the
//! other's fill a first-level cache, and misses of it were a tenth of a round trip.
//!
//! Where Linux and the RFCs differ, and the limits with their reasons: `docs/tcp.md`.
#![forbid(unsafe_code)]

mod acknowledgement;
mod close;
pub mod congestion;
mod context;
pub mod cookie;
mod data;
mod info;
mod mtu;
mod open;
mod options;
mod patience;
mod rack;
mod rate;
mod reassembly;
mod receive;
mod recovery;
mod ring;
mod rtt;
mod scoreboard;
mod segment;
mod sequence;
mod settings;
#[cfg(test)]
mod tests;
mod timers;
mod transmit;
mod window;

pub use congestion::Algorithm;
pub use context::{Context, PathSettings};
pub use info::{Info, Memory};
pub use options::{HeaderOptions, SackBlocks, Timestamps};
pub use segment::{Draft, Segment, TCP_HEADER};
pub use sequence::Sequence;
pub use settings::{KeepAlive, Options, Settings};
pub use timers::clock;

use crate::error::Error;
use crate::time::Instant;
use close::Fin;
use congestion::Congestion;
use data::Receiving;
use info::Tally;
use mtu::PathMtu;
use patience::Patience;
use recovery::Recovery;
use ring::Ring;
use rtt::RoundTrip;
use scoreboard::Scoreboard;
use std::net::SocketAddr;
use timers::Timers;
use transmit::Duty;

/// Where a connection stands (RFC 9293 3.3.2). LISTEN is not a connection's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// SYN-SENT
    SynSent,
    /// SYN-RECEIVED
    SynReceived,
    /// ESTABLISHED
    Established,
    /// FIN-WAIT-1: entered when the FIN is asked for, as on Linux; it may still wait behind data.
    FinWait1,
    /// FIN-WAIT-2
    FinWait2,
    /// CLOSE-WAIT
    CloseWait,
    /// CLOSING
    Closing,
    /// LAST-ACK
    LastAck,
    /// TIME-WAIT: both FINs are acknowledged and ours was the first; `time_wait` has what must be remembered.
    TimeWait,
    /// Over; `end` has the reason.
    Closed,
}

impl State {
    /// Whether the handshake is done and the connection not over.
    pub const fn is_synchronized(self) -> bool {
        !matches!(self, State::SynSent | State::SynReceived | State::Closed)
    }
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
    /// With timestamps: the last one of the peer (TS.Recent), and what is added to our clock.
    pub timestamps: Option<(u32, u32)>,
}

/// What the two SYNs agreed on.
#[derive(Clone, Copy, Debug, Default)]
struct Agreed {
    timestamps: bool,
    sack: bool,
    /// Snd.Wind.Shift and Rcv.Wind.Shift (RFC 7323 2.3), when both offered it.
    shifts: Option<(u8, u8)>,
}

/// The sending side.
#[derive(Debug)]
struct Sending {
    /// SND.UNA
    unacknowledged: Sequence,
    /// SND.NXT; never goes back.
    next: Sequence,
    /// SND.UNA as an offset in the stream that never wraps.
    offset: u64,
    /// SND.UNA + SND.WND
    edge: Sequence,
    /// The largest window that the peer ever offered (Max.SND.WND).
    window_max: u32,
    /// SND.WL1
    window_sequence: Sequence,
    /// SND.WL2
    window_acknowledgement: Sequence,
    /// Data from SND.UNA on.
    ring: Ring,
    /// The most bytes that the ring may hold.
    limit: usize,
    /// The MSS that the peer announced.
    peer_mss: u32,
    /// Bytes of data of a full segment now: Eff.snd.MSS (RFC 9293 3.7.1).
    mss: u32,
    fin: Fin,
    /// Behind the urgent data (SND.UP).
    urgent: Option<Sequence>,
    /// The end of the last segment sent that was not full.
    small_end: Sequence,
    last_sent: Instant,
    /// When the next segment may go, where the controller paces.
    pace: Instant,
    /// The congestion window held data back until this is acknowledged.
    limited_until: Option<Sequence>,
    /// The most bytes in flight since the last round began.
    in_flight_max: u32,
    round_end: Sequence,
}

/// One TCP connection.
#[derive(Debug)]
pub struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    state: State,
    /// How it ended. What was received can still be read.
    outcome: Option<Result<(), Error>>,
    /// The last ICMP error that did not end it: the reason to give if it times out.
    soft_error: Option<Error>,
    options: Options,
    agreed: Agreed,
    /// What is added to the clock to make our timestamps.
    timestamp_offset: u32,
    /// ISS and IRS
    initial_sent: Sequence,
    initial_received: Sequence,
    sending: Sending,
    receiving: Receiving,
    scoreboard: Scoreboard,
    recovery: Recovery,
    rtt: RoundTrip,
    congestion: Box<dyn Congestion>,
    path_mtu: PathMtu,
    /// Bytes of data of a full segment, were it not for a search of the path MTU.
    largest_segment: u32,
    timers: Timers,
    patience: Patience,
    /// What is to be sent besides data.
    duty: Duty,
    /// The window shift that our SYN offers.
    own_shift: u8,
    tally: Tally,
}

impl Connection {
    /// Its own address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        if self.outcome.is_some() { State::Closed } else { self.state }
    }

    /// Why a Closed connection ended; None for an orderly end.
    pub fn end(&self) -> Option<Error> {
        self.outcome.and_then(Result::err)
    }

    /// Bytes received and not read.
    pub fn readable(&self) -> usize {
        self.receiving.ring.length()
    }

    /// Whether the peer's FIN has come, whatever is still to be read before it.
    pub fn fin_received(&self) -> bool {
        self.receiving.finished
    }

    /// Free bytes of the send buffer; 0 when nothing can be written any more, or not yet.
    pub fn room(&self) -> usize {
        let open = matches!(self.state, State::Established | State::CloseWait);
        if self.outcome.is_some() || !open || self.sending.fin.is_asked() {
            return 0;
        }
        let free = self.sending.limit.saturating_sub(self.sending.ring.length());
        match self.options.not_sent_low_water {
            Some(low_water) => free.min(low_water.saturating_sub(self.unsent())),
            None => free,
        }
    }

    /// Whether there is more room once something has left, not only once it has arrived (TCP_NOTSENT_LOWAT).
    pub fn has_room_by_sending(&self) -> bool {
        self.options.not_sent_low_water.is_some()
    }

    /// Bytes written and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.sending.ring.length()
    }

    /// Whether data or a FIN of ours waits for the peer, or soon will.
    pub fn outstanding(&self) -> bool {
        self.outcome.is_none()
            && (self.sending.ring.length() > 0
                || self.sending.fin.is_asked() && !matches!(self.state, State::FinWait2 | State::TimeWait)
                || matches!(self.state, State::SynSent | State::SynReceived))
    }

    /// Effective maximum segment size in bytes: data of a full segment.
    pub fn mss(&self) -> usize {
        self.sending.mss as usize
    }

    /// Bytes written and never sent.
    fn unsent(&self) -> usize {
        let sent = self.sending.next.distance(self.sending.unacknowledged) as usize;
        self.sending.ring.length().saturating_sub(sent)
    }

    /// Offers received bytes to `take`, in slices, until it takes fewer than offered or none are left. Reading opens
    /// the window.
    pub fn read_with(
        &mut self,
        context: &mut Context,
        now: Instant,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> usize {
        let mut total = 0;
        while self.receiving.ring.length() > 0 {
            let [first, _] = self.receiving.readable(self.options.urgent_inline);
            let offered = first.len();
            let taken = if offered > 0 { take(first).min(offered) } else { 0 };
            self.receiving.consume(taken);
            total += taken;
            // A read that has something stops at the mark (tcp(7)).
            let stepped = offered == 0 && total == 0 && self.receiving.skip_urgent();
            if taken < offered || offered == 0 && !stepped || total > 0 && self.receiving.is_at_mark() {
                break;
            }
        }
        if total > 0 {
            self.was_read(context, total, now);
        }
        total
    }

    /// Offers free space of the send buffer to `fill`, in slices, until it fills less than offered or none is left.
    pub fn write_with(&mut self, context: &mut Context, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let mut total = 0;
        loop {
            let room = self.room();
            if room == 0 {
                break;
            }
            let ring = &mut self.sending.ring;
            if ring.length() == ring.capacity() {
                ring.reserve(&mut context.pool, ring.length() + 1);
            }
            let free = ring.free();
            let offered = free.len().min(room);
            let filled = fill(&mut free[..offered]).min(offered);
            ring.extend(filled);
            total += filled;
            if filled < offered {
                break;
            }
        }
        if self.sending.ring.length() == 0 {
            self.sending.ring.clear(&mut context.pool);
        }
        total
    }

    /// Writes the one byte of urgent data (send(2), MSG_OOB), behind what was written. False when there is no room.
    pub fn write_urgent(&mut self, context: &mut Context, byte: u8) -> bool {
        let mut bytes = Some(byte);
        let written = self.write_with(context, &mut |room| match (bytes.take(), room.first_mut()) {
            (Some(byte), Some(place)) => {
                *place = byte;
                1
            }
            _ => 0,
        });
        if written > 0 {
            let end = self.sending.unacknowledged + self.sending.ring.length() as u32;
            self.sending.urgent = Some(end);
        }
        written > 0
    }

    /// The byte of urgent data, when it is the next to be read, out of line, and nobody has taken it.
    pub fn urgent_at_mark(&self) -> Option<u8> {
        self.receiving.urgent_byte.filter(|_| self.receiving.is_at_mark())
    }

    /// The byte of urgent data that the peer sent last, taken out of line; once.
    pub fn read_urgent(&mut self) -> Option<u8> {
        self.receiving.urgent_byte.take()
    }

    /// Changes what the program may set.
    pub fn set_options(&mut self, context: &Context, options: Options, now: Instant) {
        let before = core::mem::replace(&mut self.options, options);
        if options.keep_alive != before.keep_alive {
            self.patience.keep_alive_is_set(now);
        }
        if options.congestion != before.congestion {
            self.congestion = context.controller(&options, self.sending.mss);
        }
        if options.quick_ack && !before.quick_ack {
            self.receiving.acknowledge_quickly();
        }
        if options.max_pacing_rate != before.max_pacing_rate {
            // What the old limit put off, perhaps for minutes, goes by the new one.
            self.sending.pace = self.sending.pace.min(now);
        }
        if options.receive_buffer != before.receive_buffer {
            self.receiving.set_limits(context.receive_limits(&options));
        }
        self.sending.limit = 0;
        self.limit_sending(context);
        self.fit_segments(context);
    }

    /// Gives the memory of its buffers back for others to use.
    pub fn recycle(&mut self, context: &mut Context) {
        self.sending.ring.clear(&mut context.pool);
        self.receiving.ring.clear(&mut context.pool);
        self.scoreboard.release(&mut context.records);
    }

    /// How much the send buffer may hold: as much as it ever might. A recovery that makes the window small is just when
    /// there must be room for what is new, beside what has arrived behind a hole.
    fn limit_sending(&mut self, context: &Context) {
        let limit = context.send_limit(&self.options, self.congestion.window());
        self.sending.limit = self.sending.limit.max(limit);
    }
}
