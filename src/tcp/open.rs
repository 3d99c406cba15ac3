//! How connections begin: active, passive, simultaneous, and from a SYN cookie (RFC 9293 3.5, 3.10.7.3).
#![forbid(unsafe_code)]

use super::close::Fin;
use super::context::Context;
use super::cookie::Cookie;
use super::data::Receiving;
use super::info::Tally;
use super::mtu::PathMtu;
use super::options::{HeaderOptions, Timestamps};
use super::patience::Patience;
use super::recovery::Recovery;
use super::ring::Ring;
use super::rtt::RoundTrip;
use super::scoreboard::Scoreboard;
use super::segment::{Draft, Segment};
use super::sequence::Sequence;
use super::settings::Options;
use super::timers::Timers;
use super::transmit::{Duty, Reset};
use super::window::Space;
use super::{Agreed, Connection, Sending, State};
use crate::link::Outgoing;
use crate::time::Instant;
use std::net::SocketAddr;

/// RFC 9293 3.7.1: of a peer that announces none.
const PEER_MSS_V4: u32 = 536;
const PEER_MSS_V6: u32 = 1220;
/// Linux's TCP_MIN_SND_MSS: a peer that announces less would make a header of every byte.
const PEER_MSS_LEAST: u32 = 48;

impl Connection {
    fn new(
        context: &Context,
        (local, remote): (SocketAddr, SocketAddr),
        state: State,
        (initial_sent, timestamp_offset): (Sequence, u32),
        options: &Options,
        now: Instant,
    ) -> Connection {
        let announced = u32::from(context.announced_mss(local.ip(), options));
        let peer_mss = if remote.is_ipv4() { PEER_MSS_V4 } else { PEER_MSS_V6 };
        let space = Space::new(context.receive_limits(options), announced as usize, now);
        let next = initial_sent + 1;
        let mut connection = Connection {
            local,
            remote,
            state,
            outcome: None,
            soft_error: None,
            options: *options,
            agreed: Agreed::default(),
            timestamp_offset,
            initial_sent,
            initial_received: Sequence(0),
            sending: Sending {
                unacknowledged: initial_sent,
                next,
                offset: 0,
                edge: next,
                window_max: 0,
                window_sequence: Sequence(0),
                window_acknowledgement: Sequence(0),
                ring: Ring::default(),
                limit: 0,
                peer_mss,
                mss: 0,
                fin: Fin::NotAsked,
                urgent: None,
                small_end: next,
                last_sent: Instant::ZERO,
                pace: Instant::ZERO,
                limited_until: None,
                in_flight_max: 0,
                round_end: next,
            },
            receiving: Receiving::new(announced, space),
            scoreboard: Scoreboard::new(next),
            recovery: Recovery::new(next),
            rtt: RoundTrip::new(),
            congestion: context.controller(options, announced),
            path_mtu: PathMtu::new(context.mtu()),
            largest_segment: 0,
            timers: Timers::default(),
            patience: Patience::new(now),
            duty: Duty { syn: true, ..Duty::default() },
            own_shift: context.receive_shift(options),
            tally: Tally::default(),
        };
        // Of one that never received any, TCP_INFO counts from the beginning (Linux's lrcvtime).
        connection.tally.last_data_received = now;
        connection.fit_segments(context);
        connection.limit_sending(context);
        connection
    }

    /// A connection that sends a SYN with `sequence` as its initial sequence number (RFC 6528), and timestamps that
    /// count from `timestamp_offset` (RFC 7323 5.4).
    pub fn connect(
        context: &mut Context,
        local: SocketAddr,
        remote: SocketAddr,
        sequence: Sequence,
        timestamp_offset: u32,
        options: &Options,
        now: Instant,
    ) -> Connection {
        let numbers = (sequence, timestamp_offset);
        let mut connection = Connection::new(context, (local, remote), State::SynSent, numbers, options, now);
        connection.patience.active = true;
        connection
    }

    /// The connection that a SYN asks for, in SYN-RECEIVED.
    pub fn accept(
        context: &mut Context,
        segment: &Segment,
        sequence: Sequence,
        timestamp_offset: u32,
        options: &Options,
        now: Instant,
    ) -> Connection {
        let ends = (segment.destination, segment.source);
        let numbers = (sequence, timestamp_offset);
        let mut connection = Connection::new(context, ends, State::SynReceived, numbers, options, now);
        connection.take_syn(context, segment, now);
        connection
    }

    /// The connection that the acknowledgement of a SYN cookie completes, in ESTABLISHED once `receive` has had the same
    /// segment.
    pub fn restore(
        context: &mut Context,
        segment: &Segment,
        cookie: &Cookie,
        timestamp_offset: u32,
        options: &Options,
        now: Instant,
    ) -> Connection {
        let sequence = segment.acknowledgement.unwrap_or_default().minus_one();
        let syn = Segment {
            sequence: segment.sequence.minus_one(),
            options: HeaderOptions {
                mss: Some(cookie.mss),
                window_scale: cookie.window_scale,
                sack_permitted: cookie.sack,
                timestamps: segment.options.timestamps.filter(|_| cookie.timestamps),
                ..HeaderOptions::default()
            },
            ..segment.clone()
        };
        let mut connection = Connection::accept(context, &syn, sequence, timestamp_offset, options, now);
        connection.duty.syn = false;
        // When the SYN-ACK left is forgotten, and so is the round trip.
        connection.recovery.timeouts = 1;
        // What the SYN-ACK of a cookie announced.
        connection.receiving.advertise_unscaled();
        connection.receiving.last_acknowledged = connection.receiving.next;
        connection
    }

    /// The peer's SYN: its numbers and its options (RFC 9293 3.10.7.2, 3.10.7.3).
    fn take_syn(&mut self, context: &Context, segment: &Segment, now: Instant) {
        let settings = context.settings();
        let offered = segment.options;
        self.initial_received = segment.sequence;
        self.agreed = Agreed {
            timestamps: settings.timestamps && offered.timestamps.is_some(),
            sack: settings.sack && offered.sack_permitted,
            shifts: offered
                .window_scale
                .filter(|_| settings.window_scale)
                .map(|theirs| (theirs, self.own_shift)),
        };
        if let Some(mss) = offered.mss {
            self.sending.peer_mss = u32::from(mss).max(PEER_MSS_LEAST);
        }
        let receiving = &mut self.receiving;
        receiving.next = segment.sequence + 1;
        receiving.edge = receiving.next;
        receiving.last_acknowledged = receiving.next;
        receiving.recent_stamp = offered.timestamps.map_or(0, |stamps| stamps.value);
        receiving.recent_stamp_at = now;
        let window = u32::from(segment.window);
        self.sending.edge = self.sending.next + window;
        self.sending.window_max = window;
        self.sending.window_sequence = segment.sequence;
        self.sending.window_acknowledgement = segment.acknowledgement.unwrap_or(self.initial_sent);
        self.fit_segments(context);
        self.congestion = context.controller(&self.options, self.sending.mss);
        self.limit_sending(context);
    }

    // ---- the SYN and the SYN-ACK go out

    #[cold]
    pub(super) fn transmit_handshake(
        &mut self,
        context: &mut Context,
        now: Instant,
        send: &mut dyn FnMut(&Outgoing<'_>),
    ) -> bool {
        if !core::mem::take(&mut self.duty.syn) {
            if self.state == State::SynReceived && self.receiving.is_acknowledgement_due() {
                let draft = self.draft(self.sending.next, 0, now);
                self.emit(context, &draft, None, send);
                return true;
            }
            return false;
        }
        let draft = self.syn(context, now);
        if self.sending.last_sent == Instant::ZERO {
            self.arm_retransmission(now);
            self.sending.last_sent = now;
        }
        self.emit(context, &draft, None, send);
        true
    }

    fn syn(&mut self, context: &Context, now: Instant) -> Draft {
        let settings = context.settings();
        let answers = self.state == State::SynReceived;
        let own = |offer: bool, agreed: bool| if answers { agreed } else { offer };
        let echo = if answers { self.receiving.recent_stamp } else { 0 };
        let stamps = Timestamps { value: self.clock(now), echo };
        let scale = own(settings.window_scale, self.agreed.shifts.is_some());
        let options = HeaderOptions {
            mss: Some(self.receiving.announced_mss as u16),
            window_scale: scale.then_some(self.own_shift),
            sack_permitted: own(settings.sack, self.agreed.sack),
            timestamps: own(settings.timestamps, self.agreed.timestamps).then_some(stamps),
            ..HeaderOptions::default()
        };
        let acknowledgement = answers.then_some(self.receiving.next);
        let window = self.receiving.advertise_unscaled();
        Draft { syn: true, options, ..Draft::bare(self.initial_sent, acknowledgement, window) }
    }

    // ---- SYN-SENT

    /// RFC 9293 3.10.7.3
    #[cold]
    pub(super) fn receive_in_syn_sent(&mut self, context: &mut Context, segment: &Segment, now: Instant) {
        let acceptable = segment.acknowledgement.map(|number| number == self.sending.next);
        if acceptable == Some(false) {
            if let Some(number) = segment.acknowledgement.filter(|_| !segment.rst) {
                self.duty.reset = Some(Reset { sequence: number, acknowledgement: None });
            }
            return;
        }
        if segment.rst {
            if acceptable == Some(true) {
                self.was_reset();
            }
            return;
        }
        if !segment.syn {
            return;
        }
        self.patience.heard(now);
        self.take_syn(context, segment, now);
        match segment.acknowledgement {
            Some(number) => {
                self.measure_handshake(now);
                self.open(context, number, now);
                self.receiving.acknowledge();
            }
            // RFC 9293 3.5: both ends open at once.
            None => {
                self.state = State::SynReceived;
                self.duty.syn = true;
            }
        }
        self.receiving.edge = self.receiving.next;
        self.receiving.advertise_unscaled();
    }

    // ---- SYN-RECEIVED

    pub(super) fn is_syn_again(&self, segment: &Segment) -> bool {
        segment.syn && segment.acknowledgement.is_none() && segment.sequence == self.initial_received
    }

    pub(super) fn is_crossed_syn(&self, segment: &Segment) -> bool {
        segment.syn
            && segment.acknowledgement == Some(self.sending.next)
            && segment.sequence == self.initial_received
            && segment.payload == 0
    }

    /// Our SYN-ACK was lost, or is late: once more. The peer's clock has moved on.
    #[cold]
    pub(super) fn answer_syn_again(&mut self, segment: &Segment, now: Instant) {
        if let Some(stamps) = segment.options.timestamps.filter(|_| self.agreed.timestamps) {
            self.receiving.recent_stamp = stamps.value;
            self.receiving.recent_stamp_at = now;
        }
        // The same answer twice is no round trip to measure (Karn).
        self.recovery.timeouts = self.recovery.timeouts.max(1);
        self.duty.syn = true;
    }

    /// RFC 9293 3.10.7.4, fifth step in SYN-RECEIVED. False when `number` acknowledges something else.
    #[cold]
    pub(super) fn establish(
        &mut self,
        context: &mut Context,
        segment: &Segment,
        number: Sequence,
        now: Instant,
    ) -> bool {
        if number != self.sending.next {
            self.duty.reset = Some(Reset { sequence: number, acknowledgement: None });
            return false;
        }
        self.measure_handshake(now);
        self.sending.window_sequence = segment.sequence;
        self.sending.window_acknowledgement = number;
        let window = self.window_of(segment);
        self.sending.edge = number + window;
        self.sending.window_max = window;
        self.open(context, number, now);
        true
    }

    fn measure_handshake(&mut self, now: Instant) {
        if self.recovery.timeouts == 0 {
            let rtt = now - self.sending.last_sent;
            self.rtt.sample(rtt, rtt, now);
        } else {
            self.rtt.distrust();
        }
        self.rtt.end_back_off();
        self.recovery.timeouts = 0;
    }

    /// ESTABLISHED; what `close` asked for meanwhile follows.
    fn open(&mut self, context: &Context, number: Sequence, now: Instant) {
        self.sending.unacknowledged = number;
        self.sending.window_max = self.sending.window_max.max(1);
        self.state = State::Established;
        self.timers.clear_loss();
        self.duty.syn = false;
        self.sending.last_sent = now;
        self.soft_error = None;
        self.patience.answered(true, false, now);
        self.limit_sending(context);
        self.close_if_asked();
    }
}
