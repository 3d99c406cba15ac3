//! Our engine as a stack to script, in virtual time. What POSIX says of each call is kept as small as scripts need it:
//! the engine's answer, and an error that is reported once.
#![forbid(unsafe_code)]

use crate::flow::{LISTEN_PORT, PEER_PORT};
use crate::info::Info;
use crate::run::{Stack, Tolerance, addresses};
use crate::script::{Call, Family, Setup};
use crate::segment::SYN;
use crate::value::Micros;
use crate::wire::{self, Raw};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tubesock::addressing::Cidr;
use tubesock::engine::{Domain, Engine, KeepAlive, Kind, Settings, SocketId, SocketOption, StreamState};
use tubesock::error::Error;
use tubesock::link::segmentation::cut;
use tubesock::tcp;
use tubesock::time::Instant;

/// When a script begins, on the engine's clock.
const START: u64 = 1_000_000_000;

/// More packets at one moment mean that the engine does not come to rest.
const BURST_MAX: usize = 10_000;

/// SYNs that fill every queue of a listener.
const FLOOD: u16 = 1000;

/// Where they come from.
fn flooder(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([10, 0, 2, 99]),
        Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0x99]),
    }
}

pub(crate) struct Ours {
    engine: Engine,
    family: Family,
    segmentation: usize,
    now: Micros,
    sockets: BTreeMap<String, Socket>,
    sent: VecDeque<Vec<u8>>,
    /// A listener is flooded, so that it answers with cookies.
    cookies: bool,
}

struct Socket {
    id: SocketId,
    /// The error that ended it has been told.
    reported: bool,
    shut: bool,
    /// SO_LINGER with a time of zero: close resets.
    abortive: bool,
    keeps_alive: bool,
    keep_alive: KeepAlive,
}

fn settings(setup: &Setup, segmentation: usize) -> Settings {
    let local = |family, prefix| Cidr::new(addresses(family)[0], prefix);
    Settings {
        mtu: setup.mtu,
        addresses: vec![local(Family::V4, 24), local(Family::V6, 64)],
        any_address: false,
        offer_incoming: false,
        checksums: true,
        segmentation,
        in_memory: false,
        tcp: tcp::Settings {
            timestamps: setup.timestamps,
            sack: setup.sack,
            window_scale: setup.scaling,
            congestion: algorithm(&setup.congestion),
            ..tcp::Settings::default()
        },
        seed: [7; 16],
    }
}

impl Ours {
    /// `segmentation`: most bytes of a super-packet, which is cut as a link would; 0: none are made.
    pub(crate) fn new(setup: &Setup, family: Family, segmentation: usize) -> Ours {
        Ours {
            engine: Engine::new(settings(setup, segmentation), Instant::from_micros(START)),
            family,
            segmentation,
            now: 0,
            sockets: BTreeMap::new(),
            sent: VecDeque::new(),
            cookies: setup.cookies,
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_micros(START + self.now as u64)
    }

    fn id(&self, socket: &str) -> Result<SocketId, i32> {
        self.sockets.get(socket).map(|socket| socket.id).ok_or(libc::EBADF)
    }

    fn keep(&mut self, socket: &str, id: SocketId) {
        let keep_alive =
            KeepAlive { idle: Duration::from_secs(7200), interval: Duration::from_secs(75), count: 9 };
        let socket_of =
            Socket { id, reported: false, shut: false, abortive: false, keeps_alive: false, keep_alive };
        self.sockets.insert(socket.into(), socket_of);
    }

    fn socket(&mut self, socket: &str) {
        let domain = if self.family == Family::V4 { Domain::V4 } else { Domain::V6 };
        let id = self.engine.open(domain, Kind::Stream);
        self.keep(socket, id);
    }

    fn bind(&mut self, socket: &str, port: u16) -> Result<i64, i32> {
        let (id, now) = (self.id(socket)?, self.instant());
        let [stack, ..] = addresses(self.family);
        let reuse = self.engine.set_option(id, SocketOption::ReuseAddress(true), now);
        let bound = reuse.and_then(|()| self.engine.bind(id, SocketAddr::new(stack, port), now));
        bound.map(|()| 0).map_err(Error::errno)
    }

    fn listen(&mut self, socket: &str, backlog: i32) -> Result<i64, i32> {
        if !self.sockets.contains_key(socket) {
            self.socket(socket);
        }
        let bound = self.bind(socket, LISTEN_PORT);
        assert!(matches!(bound, Ok(0) | Err(libc::EINVAL)), "bind: {bound:?}");
        let (id, now) = (self.id(socket)?, self.instant());
        self.engine.listen(id, backlog as usize, now).map_err(Error::errno)?;
        if self.cookies {
            self.flood();
        }
        Ok(0)
    }

    /// SYNs of somebody else, until the queues are full.
    fn flood(&mut self) {
        let [stack, ..] = addresses(self.family);
        for source_port in 1..=FLOOD {
            let syn = Raw {
                source_port,
                destination_port: LISTEN_PORT,
                sequence: 1,
                flags: SYN,
                window: u16::MAX,
                ..Raw::default()
            };
            self.inject(&wire::tcp_packet(flooder(self.family), stack, &syn, false));
        }
    }

    fn connect(&mut self, socket: &str, flow: u16) -> Result<i64, i32> {
        let [_, peer, _] = addresses(self.family);
        let (id, now) = (self.id(socket)?, self.instant());
        let connected = self.engine.connect(id, SocketAddr::new(peer, PEER_PORT + flow), now);
        connected.map_err(Error::errno)?;
        Err(libc::EINPROGRESS)
    }

    /// The error that ended the connection, once.
    fn take_error(&mut self, socket: &str) -> Result<i32, i32> {
        let known = self.sockets.get_mut(socket).ok_or(libc::EBADF)?;
        let ended = self.engine.state(known.id) == Some(StreamState::Ended);
        let error = if ended && !known.reported { self.engine.end(known.id) } else { None };
        known.reported |= error.is_some();
        Ok(error.map_or(0, Error::errno))
    }

    fn close(&mut self, socket: &str) -> Result<i64, i32> {
        let now = self.instant();
        let closed = self.sockets.remove(socket).ok_or(libc::EBADF)?;
        if closed.abortive {
            self.engine.abort(closed.id, now);
        }
        self.engine.release(closed.id, now);
        Ok(0)
    }

    fn set(&mut self, socket: &str, option: &str, values: &[String]) -> Result<i64, i32> {
        let now = self.instant();
        let known = self.sockets.get_mut(socket).ok_or(libc::EBADF)?;
        let value: u32 = values[0].parse().map_err(|_| libc::EINVAL)?;
        match option {
            "SO_LINGER" => {
                known.abortive = value != 0 && values[1] == "0";
                return Ok(0);
            }
            "SO_KEEPALIVE" => known.keeps_alive = value != 0,
            "TCP_KEEPIDLE" => known.keep_alive.idle = Duration::from_secs(value.into()),
            "TCP_KEEPINTVL" => known.keep_alive.interval = Duration::from_secs(value.into()),
            "TCP_KEEPCNT" => known.keep_alive.count = value,
            _ => {}
        }
        let keep_alive = known.keeps_alive.then_some(known.keep_alive);
        let option = socket_option(option, value, keep_alive)?;
        self.engine.set_option(known.id, option, now).map(|()| 0).map_err(Error::errno)
    }

    /// What a call returns that moved no bytes.
    fn nothing_moved(&mut self, socket: &str, over: Result<i64, i32>) -> Result<i64, i32> {
        match self.engine.state(self.id(socket)?) {
            Some(StreamState::Fresh | StreamState::Listening) => Err(libc::ENOTCONN),
            Some(StreamState::Ended) => match self.take_error(socket)? {
                0 => over,
                errno => Err(errno),
            },
            _ => Err(libc::EAGAIN),
        }
    }
}

/// What the engine calls an option that scripts set.
fn socket_option(name: &str, value: u32, keep_alive: Option<KeepAlive>) -> Result<SocketOption, i32> {
    let on = value != 0;
    let bytes = on.then_some(value as usize);
    Ok(match name {
        "SO_KEEPALIVE" | "TCP_KEEPIDLE" | "TCP_KEEPINTVL" | "TCP_KEEPCNT" => {
            SocketOption::KeepAlive(keep_alive)
        }
        "SO_OOBINLINE" => SocketOption::UrgentInline(on),
        "SO_RCVBUF" => SocketOption::ReceiveBuffer(bytes),
        "SO_SNDBUF" => SocketOption::SendBuffer(bytes),
        "TCP_CORK" => SocketOption::Cork(on),
        "TCP_LINGER2" => SocketOption::Linger2(Some(Duration::from_secs(value.into()))),
        "TCP_MAXSEG" => SocketOption::MaximumSegment(on.then_some(value as u16)),
        "TCP_NODELAY" => SocketOption::NoDelay(on),
        "TCP_QUICKACK" => SocketOption::QuickAcknowledgement(on),
        "TCP_SYNCNT" => SocketOption::SynRetries(Some(value as u8)),
        "TCP_USER_TIMEOUT" => SocketOption::UserTimeout(on.then_some(Duration::from_millis(value.into()))),
        _ => return Err(libc::ENOPROTOOPT),
    })
}

fn algorithm(name: &str) -> tcp::Algorithm {
    match name {
        "bbr" => tcp::Algorithm::Bbr,
        "cubic" => tcp::Algorithm::Cubic,
        other => panic!("{other}: no congestion control of ours"),
    }
}

impl Stack for Ours {
    fn name(&self) -> &'static str {
        if self.segmentation == 0 { "ours" } else { "ours, with super-packets" }
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance { early: 2_000, late: 12_000, late_share: 0 }
    }

    fn next(&mut self, until: Micros) -> Option<(Micros, Vec<u8>)> {
        loop {
            let now = self.instant();
            let (sent, family) = (&mut self.sent, self.family);
            let mut keep = |packet: Vec<u8>| {
                if wire::destination(&packet) != flooder(family) {
                    sent.push_back(packet);
                }
                assert!(sent.len() < BURST_MAX, "the engine does not come to rest");
            };
            while self.engine.transmit(now, &mut |outgoing| cut(*outgoing, true, &mut keep)) {}
            if let Some(packet) = self.sent.pop_front() {
                return Some((self.now, packet));
            }
            let deadline = self.engine.deadline().map(|deadline| deadline.micros() as i64 - START as i64);
            match deadline.filter(|deadline| *deadline <= until) {
                Some(deadline) => {
                    self.now = self.now.max(deadline);
                    let now = self.instant();
                    self.engine.advance(now);
                }
                None if self.now < until => self.now = until,
                None => return None,
            }
        }
    }

    fn inject(&mut self, packet: &[u8]) {
        let now = self.instant();
        self.engine.receive(packet, now);
    }

    fn read(&mut self, socket: &str, length: usize) -> Result<Vec<u8>, i32> {
        let id = self.id(socket)?;
        let mut data = Vec::new();
        self.engine.read_with(id, &mut |bytes| {
            let taken = bytes.len().min(length - data.len());
            data.extend_from_slice(&bytes[..taken]);
            taken
        });
        if data.is_empty() && length > 0 && !self.engine.at_eof(id) {
            self.nothing_moved(socket, Ok(0))?;
        }
        Ok(data)
    }

    /// Of urgent data the last byte is.
    fn write(&mut self, socket: &str, data: &[u8], urgent: bool) -> Result<i64, i32> {
        let id = self.id(socket)?;
        if let ([before @ .., last], true) = (data, urgent) {
            let written = if before.is_empty() { 0 } else { self.write(socket, before, false)? };
            assert_eq!(written, before.len() as i64, "room for urgent data");
            return if self.engine.write_urgent(id, *last) {
                Ok(data.len() as i64)
            } else {
                Err(libc::EAGAIN)
            };
        }
        let mut rest = data;
        let written = self.engine.write_with(id, &mut |room| {
            let length = room.len().min(rest.len());
            room[..length].copy_from_slice(&rest[..length]);
            rest = &rest[length..];
            length
        });
        match self.sockets.get(socket).is_some_and(|socket| socket.shut) {
            true => Err(libc::EPIPE),
            false if written == 0 => self.nothing_moved(socket, Err(libc::EPIPE)),
            false => Ok(written as i64),
        }
    }

    fn call(&mut self, socket: &str, call: &Call) -> Result<i64, i32> {
        let now = self.instant();
        match call {
            Call::Socket => self.socket(socket),
            Call::Listen(backlog) => return self.listen(socket, *backlog),
            Call::Connect(flow) => return self.connect(socket, *flow),
            Call::Accept => {
                let listener = self.id("listener")?;
                let id = self.engine.accept(listener).ok_or(libc::EAGAIN)?;
                self.keep(socket, id);
            }
            Call::Read(_) | Call::Write(_) | Call::SendUrgent(_) => unreachable!("calls of their own"),
            Call::Shutdown => {
                self.engine.shutdown_write(self.id(socket)?, now);
                self.sockets.get_mut(socket).ok_or(libc::EBADF)?.shut = true;
            }
            Call::Close => return self.close(socket),
            Call::SetOption(option, values) => return self.set(socket, option, values),
            Call::Readable => return Ok(self.engine.readable(self.id(socket)?) as i64),
            Call::Unacknowledged => return Ok(self.engine.unacknowledged(self.id(socket)?) as i64),
            Call::Error => return self.take_error(socket).map(i64::from),
            Call::ReadUrgent => {
                let byte = self.engine.read_urgent(self.id(socket)?);
                return byte.map(|_| 1).ok_or(libc::EINVAL);
            }
        }
        Ok(0)
    }

    fn info(&mut self, socket: &str) -> Result<Info, i32> {
        let info = self.engine.info(self.id(socket)?, self.instant()).ok_or(libc::ENOTCONN)?;
        Ok(fields(&info))
    }
}

macro_rules! fields {
    ($info:ident: $($name:ident)*) => { Info::from([$((stringify!($name), $info.$name as i64)),*]) };
}

fn fields(info: &tcp::Info) -> Info {
    fields! { info:
        state ca_state retransmits probes backoff options snd_wscale rcv_wscale rto ato snd_mss rcv_mss unacked sacked
        lost retrans last_data_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd
        advmss reordering rcv_rtt rcv_space total_retrans bytes_acked bytes_received segs_out segs_in notsent_bytes
        min_rtt data_segs_in data_segs_out delivery_rate busy_time rwnd_limited sndbuf_limited delivered bytes_sent
        bytes_retrans dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd
    }
}
