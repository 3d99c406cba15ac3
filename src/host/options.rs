//! getsockopt(2) and setsockopt(2): what each option means here. An option is supported with effect, or it fails with
//! the errno of Linux for one that it does not know (ENOPROTOOPT), said once in the log.
//!
//! Kernel's: SO_RCVTIMEO, SO_SNDTIMEO, SO_RCVLOWAT, SO_PEEK_OFF, SO_COOKIE, SO_TIMESTAMP, SO_TIMESTAMPNS and SO_PRIORITY act
//! on the near end, natively. Those of IPPROTO_IP and IPPROTO_IPV6 are in `ip_options`.
//! Buffers: what SO_SNDBUF, SO_RCVBUF and TCP_WINDOW_CLAMP set bounds the stack's own; sizes are shown doubled, as Linux
//! shows them. The queue between near and far end comes on top: as much again, at most 208 KiB each way.
//! TCP_NOTSENT_LOWAT bounds what the stack holds unsent, not what waits in the near end.
#![forbid(unsafe_code)]

use super::{Inner, ip_options, kept_options, tcp_info, udp_options};
use crate::bridge::Role;
use crate::bridge::name::Identity;
use crate::bridge::options::Options;
use crate::engine::{Domain, Kind, Path, SocketOption, Timestamps};
use crate::error::{Error, Result};
use crate::observe::log;
use crate::sys::{self, unix};
use crate::tcp::{self, Algorithm};
use core::fmt;
use core::time::Duration;
use libc::{SOL_SOCKET, c_int};

/// Names of the options that programs use most, for people.
const NAMES: &[(c_int, c_int, &str)] = &[
    (SOL_SOCKET, libc::SO_REUSEADDR, "SO_REUSEADDR"),
    (SOL_SOCKET, libc::SO_REUSEPORT, "SO_REUSEPORT"),
    (SOL_SOCKET, libc::SO_KEEPALIVE, "SO_KEEPALIVE"),
    (SOL_SOCKET, libc::SO_BROADCAST, "SO_BROADCAST"),
    (SOL_SOCKET, libc::SO_LINGER, "SO_LINGER"),
    (SOL_SOCKET, libc::SO_SNDBUF, "SO_SNDBUF"),
    (SOL_SOCKET, libc::SO_RCVBUF, "SO_RCVBUF"),
    (SOL_SOCKET, libc::SO_TIMESTAMP, "SO_TIMESTAMP"),
    (SOL_SOCKET, libc::SO_BINDTODEVICE, "SO_BINDTODEVICE"),
    (SOL_SOCKET, libc::SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE"),
    (SOL_SOCKET, libc::SO_ZEROCOPY, "SO_ZEROCOPY"),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, "TCP_NODELAY"),
    (libc::IPPROTO_TCP, libc::TCP_CORK, "TCP_CORK"),
    (libc::IPPROTO_TCP, libc::TCP_INFO, "TCP_INFO"),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, "TCP_KEEPIDLE"),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, "TCP_KEEPINTVL"),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, "TCP_KEEPCNT"),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"),
    (libc::IPPROTO_TCP, libc::TCP_FASTOPEN, "TCP_FASTOPEN"),
    (libc::IPPROTO_TCP, libc::TCP_QUICKACK, "TCP_QUICKACK"),
    (libc::IPPROTO_TCP, libc::TCP_CONGESTION, "TCP_CONGESTION"),
    (libc::IPPROTO_TCP, libc::TCP_MAXSEG, "TCP_MAXSEG"),
    (libc::IPPROTO_TCP, libc::TCP_SYNCNT, "TCP_SYNCNT"),
    (libc::IPPROTO_TCP, libc::TCP_LINGER2, "TCP_LINGER2"),
    (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP"),
    (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT"),
    (libc::IPPROTO_TCP, libc::TCP_MD5SIG, "TCP_MD5SIG"),
    (libc::IPPROTO_TCP, libc::TCP_ULP, "TCP_ULP"),
    (libc::IPPROTO_IP, libc::IP_TOS, "IP_TOS"),
    (libc::IPPROTO_IP, libc::IP_TTL, "IP_TTL"),
    (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, "IP_MTU_DISCOVER"),
    (libc::IPPROTO_IP, libc::IP_RECVERR, "IP_RECVERR"),
    (libc::IPPROTO_IP, libc::IP_PKTINFO, "IP_PKTINFO"),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, "IPV6_V6ONLY"),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO"),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVERR, "IPV6_RECVERR"),
    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS, "IPV6_TCLASS"),
];

/// The most that SO_SNDBUF and SO_RCVBUF take, as net.core.wmem_max and rmem_max bound them.
const BUFFER_MAX: u32 = 4 << 20;
/// The smallest: half of Linux's SOCK_MIN_SNDBUF and SOCK_MIN_RCVBUF, which are shown.
const SEND_BUFFER_MIN: u32 = 2304;
const RECEIVE_BUFFER_MIN: u32 = 1152;
/// What getsockopt(2) shows while the stack chooses.
const SEND_BUFFER_SHOWN: u32 = 87_040;
const RECEIVE_BUFFER_SHOWN: u32 = 131_072;

/// Linux's TCP_MIN_MSS and MAX_TCP_WINDOW: what TCP_MAXSEG takes.
const SEGMENT_RANGE: core::ops::RangeInclusive<c_int> = 88..=32_767;
/// TCP_MAXSEG and TCP_SYNCNT of a socket that was told nothing (RFC 9293 3.7.1; net.ipv4.tcp_syn_retries).
const SEGMENT_DEFAULT: c_int = 536;
const SYN_RETRIES_DEFAULT: u8 = 6;
/// net.ipv4.tcp_fin_timeout, and the most that TCP_LINGER2 takes, in seconds.
const LINGER2_DEFAULT: c_int = 60;
const LINGER2_MAX: c_int = 120;

/// An option as a person knows it: its name, or level and number.
#[derive(Clone, Copy, Debug)]
pub struct Named(pub c_int, pub c_int);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(level, number, _)| (*level, *number) == (self.0, self.1)) {
            Some((_, _, name)) => f.write_str(name),
            None => write!(f, "option {} of level {}", self.1, self.0),
        }
    }
}

/// The value of an option.
pub(super) enum Value {
    /// An int.
    Number(c_int),
    /// An int, of which a program that has no room for four bytes gets one, if that is enough (ip_getsockopt).
    Small(c_int),
    /// A long where the program has room for one, else an int, at most u32::MAX.
    Long(u64),
    /// Something else, as its bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// It for a program that has room for so many bytes, all of them even where fewer fit.
    pub(super) fn bytes(self, room: usize) -> Vec<u8> {
        match self {
            Value::Small(number @ 0..=255) if (1..size_of::<c_int>()).contains(&room) => vec![number as u8],
            Value::Number(number) | Value::Small(number) => number.to_ne_bytes().to_vec(),
            Value::Long(number) if room >= size_of::<u64>() => number.to_ne_bytes().to_vec(),
            Value::Long(number) => u32::try_from(number).unwrap_or(u32::MAX).to_ne_bytes().to_vec(),
            Value::Bytes(bytes) => bytes,
        }
    }
}

/// Options that the near end has by itself.
pub fn is_kernels(level: c_int, name: c_int) -> bool {
    level == SOL_SOCKET
        && [
            libc::SO_RCVTIMEO,
            libc::SO_SNDTIMEO,
            libc::SO_RCVLOWAT,
            libc::SO_PEEK_OFF,
            libc::SO_COOKIE,
            libc::SO_TIMESTAMP,
            libc::SO_TIMESTAMPNS,
            libc::SO_PRIORITY,
        ]
        .contains(&name)
}

/// getsockopt(2)
pub(super) fn get(inner: &mut Inner, identity: &Identity, level: c_int, name: c_int) -> Result<Value> {
    if let Some(value) = kept_options::get(inner, identity, level, name) {
        return value;
    }
    match level {
        SOL_SOCKET => get_socket(inner, identity, name),
        libc::IPPROTO_TCP if identity.kind == Kind::Stream => get_tcp(inner, identity, name),
        libc::IPPROTO_IP | libc::IPPROTO_IPV6 => ip_options::get(inner, identity, level, name),
        libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE if udp_options::apply_to(identity.kind) => {
            udp_options::get(inner, identity, name)
        }
        // A level that a socket of the kind does not have: to set one there is ENOPROTOOPT all the same (ip_getsockopt).
        _ => Err(Error::NotSupported),
    }
}

pub(super) fn flag(set: bool) -> Value {
    Value::Number(c_int::from(set))
}

fn seconds(duration: Duration) -> Value {
    Value::Number(c_int::try_from(duration.as_secs()).unwrap_or(c_int::MAX))
}

/// Linux counts its own overhead too, and shows twice what was asked for (socket(7)).
fn shown(buffer: Option<u32>, default: u32) -> Value {
    Value::Number(buffer.map_or(default, |bytes| 2 * bytes) as c_int)
}

fn get_socket(inner: &mut Inner, identity: &Identity, name: c_int) -> Result<Value> {
    if name == libc::SO_ERROR {
        let error = inner.take_error(identity);
        inner.show_errors(identity.id);
        return Ok(Value::Number(error.map_or(0, Error::errno)));
    }
    let socket = inner.socket(identity.id)?;
    let options = &socket.options;
    Ok(match (name, identity.kind) {
        (libc::SO_TYPE, Kind::Stream) => Value::Number(libc::SOCK_STREAM),
        (libc::SO_TYPE, Kind::Datagram | Kind::Lite | Kind::Echo) => Value::Number(libc::SOCK_DGRAM),
        (libc::SO_PROTOCOL, Kind::Stream) => Value::Number(libc::IPPROTO_TCP),
        (libc::SO_PROTOCOL, Kind::Datagram) => Value::Number(libc::IPPROTO_UDP),
        (libc::SO_PROTOCOL, Kind::Lite) => Value::Number(libc::IPPROTO_UDPLITE),
        (libc::SO_PROTOCOL, Kind::Echo) => Value::Number(match identity.domain {
            Domain::V4 => libc::IPPROTO_ICMP,
            Domain::V6 => libc::IPPROTO_ICMPV6,
        }),
        (libc::SO_DOMAIN, _) => Value::Number(match socket.domain {
            Domain::V4 => libc::AF_INET,
            Domain::V6 => libc::AF_INET6,
        }),
        (libc::SO_ACCEPTCONN, _) => flag(matches!(socket.role, Role::Listener(_))),
        (libc::SO_REUSEADDR, _) => flag(options.reuse_address),
        (libc::SO_REUSEPORT, _) => flag(options.reuse_port),
        (libc::SO_BROADCAST, _) => flag(options.broadcast),
        (libc::SO_KEEPALIVE, _) => flag(options.keep_alive),
        (libc::SO_OOBINLINE, _) => flag(options.urgent_inline),
        (libc::SO_SNDBUF, _) => shown(options.send_buffer, SEND_BUFFER_SHOWN),
        (libc::SO_RCVBUF, _) => shown(options.receive_buffer, RECEIVE_BUFFER_SHOWN),
        (libc::SO_MAX_PACING_RATE, _) => Value::Long(options.max_pacing_rate.unwrap_or(u64::MAX)),
        (libc::SO_RXQ_OVFL, kind) if kind.is_datagram() => flag(options.shows_drops),
        (libc::SO_TIMESTAMPING, kind) if kind.is_datagram() => {
            // struct so_timestamping, of which the clock is none of ours.
            Value::Bytes([options.timestamping.to_ne_bytes(), [0; 4]].concat())
        }
        (libc::SO_DONTROUTE, Kind::Stream) => flag(options.only_neighbours),
        (libc::SO_BINDTODEVICE, _) => {
            let name = options.device.map(|path| [path.name().as_bytes(), &[0]].concat());
            return Ok(Value::Bytes(name.unwrap_or_default()));
        }
        (libc::SO_LINGER, _) => {
            let on = c_int::from(options.linger.is_some()).to_ne_bytes();
            Value::Bytes([on, options.linger_shown.to_ne_bytes()].concat())
        }
        // Of a peer that is no process of the machine's.
        (libc::SO_PEERCRED, _) => Value::Bytes([0, -1, -1].map(c_int::to_ne_bytes).concat()),
        _ => return Err(unknown(SOL_SOCKET, name)),
    })
}

fn get_tcp(inner: &mut Inner, identity: &Identity, name: c_int) -> Result<Value> {
    match name {
        libc::TCP_INFO => return Ok(Value::Bytes(info(inner, identity)?)),
        libc::TCP_MAXSEG => return segment_size(inner, identity),
        _ => {}
    }
    let options = &inner.socket(identity.id)?.options;
    Ok(match name {
        libc::TCP_NODELAY => flag(options.no_delay),
        libc::TCP_CORK => flag(options.cork),
        libc::TCP_QUICKACK => flag(options.quick_ack),
        libc::TCP_KEEPIDLE => seconds(options.keep_alive_times.idle),
        libc::TCP_KEEPINTVL => seconds(options.keep_alive_times.interval),
        libc::TCP_KEEPCNT => Value::Number(options.keep_alive_times.count as c_int),
        libc::TCP_USER_TIMEOUT => Value::Number(options.user_timeout.as_millis() as c_int),
        libc::TCP_CONGESTION => {
            // TCP_CA_NAME_MAX
            let mut name = algorithm_of(options.congestion).name().as_bytes().to_vec();
            name.resize(16, 0);
            Value::Bytes(name)
        }
        libc::TCP_SYNCNT => Value::Number(options.syn_retries.unwrap_or(SYN_RETRIES_DEFAULT).into()),
        libc::TCP_LINGER2 => match options.linger2 {
            None => Value::Number(LINGER2_DEFAULT),
            Some(Duration::ZERO) => Value::Number(-1),
            Some(limit) => seconds(limit),
        },
        libc::TCP_WINDOW_CLAMP => Value::Number(options.window_clamp as c_int),
        libc::TCP_NOTSENT_LOWAT => Value::Number(options.not_sent_low_water as c_int),
        libc::TCP_DEFER_ACCEPT => seconds(options.defer_accept),
        libc::TCP_QUEUE_SEQ => return Err(Error::InvalidArgument),
        _ => return Err(unknown(libc::IPPROTO_TCP, name)),
    })
}

/// TCP_INFO, of a socket without a connection too.
fn info(inner: &mut Inner, identity: &Identity) -> Result<Vec<u8>> {
    let listening = matches!(inner.socket(identity.id)?.role, Role::Listener(_));
    let info = match inner.info(identity.id) {
        Some(info) => info,
        None => tcp_info::unconnected(listening),
    };
    Ok(tcp_info::bytes(&info))
}

/// TCP_MAXSEG: of a connection its segments' size, else what was set.
fn segment_size(inner: &mut Inner, identity: &Identity) -> Result<Value> {
    let socket = inner.socket(identity.id)?;
    let wanted = socket.options.maximum_segment.map_or(SEGMENT_DEFAULT, c_int::from);
    let connected = matches!(socket.role, Role::Stream(_));
    Ok(Value::Number(if connected { inner.segment_size(identity.id) as c_int } else { wanted }))
}

fn algorithm_of(chosen: Option<Algorithm>) -> Algorithm {
    chosen.unwrap_or(tcp::Settings::default().congestion)
}

/// setsockopt(2)
pub(super) fn set(
    inner: &mut Inner,
    identity: &Identity,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> Result<()> {
    if let Some(set) = kept_options::set(inner, identity, level, name, value) {
        return set;
    }
    match (level, name) {
        (SOL_SOCKET, libc::SO_BINDTODEVICE) => match (device(value)?, identity.kind) {
            (device, Kind::Stream) => inner.set_options(identity.id, |options| options.device = device),
            // To no device, as it is: programs take back what they did not set.
            (None, _) => Ok(()),
            (Some(_), _) => Err(unknown(level, name)),
        },
        (SOL_SOCKET, _) => set_socket(inner, identity, name, value),
        (libc::IPPROTO_TCP, libc::TCP_CONGESTION) if identity.kind == Kind::Stream => {
            let algorithm = congestion(value)?;
            inner.set_options(identity.id, |options| options.congestion = Some(algorithm))
        }
        // There is none, whatever its name.
        (libc::IPPROTO_TCP, libc::TCP_ULP) if identity.kind == Kind::Stream => {
            Err(Error::Kernel(libc::ENOENT))
        }
        (libc::IPPROTO_TCP, _) if identity.kind == Kind::Stream => {
            set_tcp(inner, identity, name, number(value)?)
        }
        (libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE, _) if udp_options::apply_to(identity.kind) => {
            udp_options::set(inner, identity, name, number(value)?)
        }
        (libc::IPPROTO_IP | libc::IPPROTO_IPV6, _) => ip_options::set(inner, identity, level, name, value),
        _ => Err(unknown(level, name)),
    }
}

/// SO_BINDTODEVICE: the interface of a name, which a zero ends; none takes it back.
fn device(value: &[u8]) -> Result<Option<Path>> {
    let name = value.split(|&byte| byte == 0).next().unwrap_or_default();
    match [Path::Link, Path::Loopback].into_iter().find(|path| path.name().as_bytes() == name) {
        None if !name.is_empty() => Err(Error::Kernel(libc::ENODEV)),
        path => Ok(path),
    }
}

/// The algorithm of a name, which a zero ends.
fn congestion(value: &[u8]) -> Result<Algorithm> {
    let name = value.split(|&byte| byte == 0).next().unwrap_or_default();
    match core::str::from_utf8(name).ok().and_then(Algorithm::named) {
        _ if value.is_empty() => Err(Error::InvalidArgument),
        Some(algorithm) => Ok(algorithm),
        None => Err(Error::Kernel(libc::ENOENT)),
    }
}

pub(super) fn number(value: &[u8]) -> Result<c_int> {
    value.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes)).ok_or(Error::InvalidArgument)
}

fn set_socket(inner: &mut Inner, identity: &Identity, name: c_int, value: &[u8]) -> Result<()> {
    let number = number(value)?;
    let on = number != 0;
    // A negative size is a very large one (sock_setsockopt).
    let buffer = |smallest: u32| Some((number as u32).min(BUFFER_MAX).max(smallest));
    let change: &dyn Fn(&mut Options) = match name {
        libc::SO_REUSEADDR => &|options| options.reuse_address = on,
        libc::SO_REUSEPORT => &|options| options.reuse_port = on,
        libc::SO_BROADCAST => &|options| options.broadcast = on,
        libc::SO_KEEPALIVE => &|options| options.keep_alive = on,
        libc::SO_OOBINLINE => &|options| options.urgent_inline = on,
        libc::SO_DONTROUTE if identity.kind == Kind::Stream => &|options| options.only_neighbours = on,
        // There is no filter.
        libc::SO_DETACH_FILTER => return Err(Error::Kernel(libc::ENOENT)),
        libc::SO_SNDBUF => &|options| options.send_buffer = buffer(SEND_BUFFER_MIN),
        libc::SO_RCVBUF => &|options| options.receive_buffer = buffer(RECEIVE_BUFFER_MIN),
        libc::SO_MAX_PACING_RATE => {
            let rate = match value.first_chunk() {
                Some(bytes) => u64::from_ne_bytes(*bytes),
                None if number == -1 => u64::MAX,
                None => u64::from(number as u32),
            };
            &move |options| options.max_pacing_rate = (rate != u64::MAX).then_some(rate)
        }
        libc::SO_LINGER => {
            let seconds = value.get(4..8).ok_or(Error::InvalidArgument)?;
            let seconds = u32::from_ne_bytes(seconds.try_into().expect("four bytes"));
            &move |options| {
                options.linger = on.then_some(seconds);
                options.linger_shown = options.linger.unwrap_or(options.linger_shown);
            }
        }
        libc::SO_RXQ_OVFL if identity.kind.is_datagram() => &|options| options.shows_drops = on,
        libc::SO_TIMESTAMPING if identity.kind.is_datagram() => {
            return set_timestamping(inner, identity, number as u32);
        }
        libc::SO_TYPE | libc::SO_PROTOCOL | libc::SO_DOMAIN | libc::SO_ERROR | libc::SO_ACCEPTCONN => {
            return Err(Error::NoSuchOption);
        }
        _ => return Err(unknown(SOL_SOCKET, name)),
    };
    inner.set_options(identity.id, change)?;
    let options = inner.socket(identity.id)?.options;
    match (name, options.send_buffer) {
        (libc::SO_SNDBUF, Some(bytes)) => unix::bound_send_buffer(identity.near(), bytes),
        (libc::SO_OOBINLINE, _) => unix::read_urgent_inline(identity.near(), options.urgent_inline),
        _ => {}
    }
    Ok(())
}

/// SO_TIMESTAMPING: software's, of what arrives and of what is sent. There is no hardware to ask.
fn set_timestamping(inner: &mut Inner, identity: &Identity, flags: u32) -> Result<()> {
    // SOF_TIMESTAMPING_MASK
    if flags >= 1 << 19 {
        return Err(Error::InvalidArgument);
    }
    inner.set_options(identity.id, |options| options.timestamping = flags)?;
    let wanted = Timestamps {
        on: flags & libc::SOF_TIMESTAMPING_TX_SOFTWARE != 0,
        only: flags & libc::SOF_TIMESTAMPING_OPT_TSONLY != 0,
        numbered: flags & libc::SOF_TIMESTAMPING_OPT_ID != 0,
        next: 0,
    };
    inner.engine.set_option(identity.id, SocketOption::Timestamps(wanted), sys::now())
}

fn set_tcp(inner: &mut Inner, identity: &Identity, name: c_int, number: c_int) -> Result<()> {
    // tcp(7): seconds from 1 to 32767, probes from 1 to 127.
    let within = |largest: c_int| {
        if (1..=largest).contains(&number) { Ok(number as u32) } else { Err(Error::InvalidArgument) }
    };
    let milliseconds =
        || u64::try_from(number).map(Duration::from_millis).map_err(|_| Error::InvalidArgument);
    let on = number != 0;
    let change: &dyn Fn(&mut Options) = match name {
        libc::TCP_NODELAY => &|options| options.no_delay = on,
        libc::TCP_CORK => &|options| options.cork = on,
        libc::TCP_QUICKACK => return inner.acknowledge_quickly(identity.id, on),
        libc::TCP_KEEPIDLE => {
            let idle = Duration::from_secs(within(32_767)?.into());
            &move |options| options.keep_alive_times.idle = idle
        }
        libc::TCP_KEEPINTVL => {
            let interval = Duration::from_secs(within(32_767)?.into());
            &move |options| options.keep_alive_times.interval = interval
        }
        libc::TCP_KEEPCNT => {
            let count = within(127)?;
            &move |options| options.keep_alive_times.count = count
        }
        libc::TCP_USER_TIMEOUT => {
            let limit = milliseconds()?;
            &move |options| options.user_timeout = limit
        }
        libc::TCP_MAXSEG => {
            let size = maximum_segment(number)?;
            &move |options| options.maximum_segment = size
        }
        libc::TCP_SYNCNT => {
            let retries = within(127)? as u8;
            &move |options| options.syn_retries = Some(retries)
        }
        libc::TCP_LINGER2 => &|options| options.linger2 = linger2(number),
        libc::TCP_WINDOW_CLAMP => {
            let clamp = window_clamp(inner, identity, number)?;
            &move |options| options.window_clamp = clamp
        }
        libc::TCP_NOTSENT_LOWAT => &|options| options.not_sent_low_water = number as u32,
        libc::TCP_DEFER_ACCEPT => &|options| options.defer_accept = deferral(number),
        // Both are for connections under repair, which none is.
        libc::TCP_TIMESTAMP => return Err(Error::Kernel(libc::EPERM)),
        libc::TCP_QUEUE_SEQ => return Err(Error::InvalidArgument),
        _ => return Err(unknown(libc::IPPROTO_TCP, name)),
    };
    inner.set_options(identity.id, change)
}

/// TCP_MAXSEG: zero takes the limit away.
fn maximum_segment(number: c_int) -> Result<Option<u16>> {
    match number {
        0 => Ok(None),
        size if SEGMENT_RANGE.contains(&size) => Ok(Some(size as u16)),
        _ => Err(Error::InvalidArgument),
    }
}

/// TCP_LINGER2: a negative one is no time at all, zero the default.
fn linger2(number: c_int) -> Option<Duration> {
    match number {
        0 => None,
        ..0 => Some(Duration::ZERO),
        seconds => Some(Duration::from_secs(seconds.min(LINGER2_MAX) as u64)),
    }
}

/// TCP_DEFER_ACCEPT: the time of so many SYN-ACKs, as each waits twice as long as the one before, that it is at least
/// `seconds` (secs_to_retrans).
fn deferral(seconds: c_int) -> Duration {
    const LONGEST: c_int = 120;
    let (mut timeout, mut period) = (1, c_int::from(seconds > 0));
    for _ in 1..u8::MAX {
        if period >= seconds {
            break;
        }
        timeout = LONGEST.min(2 * timeout);
        period += timeout;
    }
    Duration::from_secs(period as u64)
}

/// TCP_WINDOW_CLAMP: a connection cannot be without any more (tcp_set_window_clamp).
fn window_clamp(inner: &mut Inner, identity: &Identity, number: c_int) -> Result<u32> {
    let idle = matches!(inner.socket(identity.id)?.role, Role::Idle);
    match number {
        0 if !idle => Err(Error::InvalidArgument),
        0 => Ok(0),
        bytes => Ok(bytes.max(RECEIVE_BUFFER_MIN as c_int) as u32),
    }
}

pub(super) fn unknown(level: c_int, name: c_int) -> Error {
    if log::first_time("socket option", i64::from(level) << 32 | i64::from(name)) {
        tracing::warn!("{}: not supported, ENOPROTOOPT", Named(level, name));
    }
    Error::NoSuchOption
}
