//! What setsockopt(2) set on a socket and getsockopt(2) gives back; `calls::options` holds their meaning.
#![forbid(unsafe_code)]

use crate::engine::{Coverage, KeepAlive, Path, PathMtuDiscovery};
use crate::ip::Versions;
use crate::tcp::Algorithm;
use core::time::Duration;

/// The options of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// SO_REUSEADDR
    pub reuse_address: bool,
    /// SO_REUSEPORT
    pub reuse_port: bool,
    /// SO_BROADCAST
    pub broadcast: bool,
    /// SO_KEEPALIVE
    pub keep_alive: bool,
    /// TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT
    pub keep_alive_times: KeepAlive,
    /// SO_OOBINLINE
    pub urgent_inline: bool,
    /// SO_LINGER's seconds when it is on.
    pub linger: Option<u32>,
    /// Its seconds when it was on last: what is shown.
    pub linger_shown: u32,
    /// SO_SNDBUF in bytes, as the program asked for it; None lets the stack choose.
    pub send_buffer: Option<u32>,
    /// SO_RCVBUF, likewise.
    pub receive_buffer: Option<u32>,
    /// SO_MAX_PACING_RATE in bytes a second.
    pub max_pacing_rate: Option<u64>,
    /// IPV6_V6ONLY
    pub v6_only: bool,
    /// SO_TIMESTAMPING: the flags of a datagram socket.
    pub timestamping: u32,
    /// SO_RXQ_OVFL
    pub shows_drops: bool,
    /// Those of IPPROTO_UDP and IPPROTO_UDPLITE
    pub udp: UdpOptions,
    /// Those of IPPROTO_IP and IPPROTO_IPV6
    pub ip: Versions<IpOptions>,
    /// SO_BINDTODEVICE
    pub device: Option<Path>,
    /// SO_DONTROUTE
    pub only_neighbours: bool,
    /// IP_FREEBIND, IPV6_FREEBIND
    pub any_address: bool,
    /// IP_BIND_ADDRESS_NO_PORT
    pub port_later: bool,
    /// Flags without an effect (`host::kept_options`).
    pub kept: u64,
    /// TCP_NODELAY
    pub no_delay: bool,
    /// TCP_CORK, UDP_CORK
    pub cork: bool,
    /// TCP_QUICKACK, as it was set last.
    pub quick_ack: bool,
    /// TCP_USER_TIMEOUT; zero is the default of the stack.
    pub user_timeout: Duration,
    /// TCP_CONGESTION; None is the default of the stack.
    pub congestion: Option<Algorithm>,
    /// TCP_MAXSEG; None is what the MTU allows.
    pub maximum_segment: Option<u16>,
    /// TCP_SYNCNT; None is the default of the stack.
    pub syn_retries: Option<u8>,
    /// TCP_LINGER2: zero is not at all, None the default of the stack.
    pub linger2: Option<Duration>,
    /// TCP_WINDOW_CLAMP in bytes; zero is none.
    pub window_clamp: u32,
    /// TCP_NOTSENT_LOWAT in bytes; zero is none.
    pub not_sent_low_water: u32,
    /// TCP_DEFER_ACCEPT; zero is not at all.
    pub defer_accept: Duration,
}

impl Default for Options {
    /// Linux's defaults: tcp(7), socket(7).
    fn default() -> Options {
        Options {
            reuse_address: false,
            reuse_port: false,
            broadcast: false,
            keep_alive: false,
            keep_alive_times: KeepAlive {
                idle: Duration::from_secs(7200),
                interval: Duration::from_secs(75),
                count: 9,
            },
            urgent_inline: false,
            linger: None,
            linger_shown: 0,
            send_buffer: None,
            receive_buffer: None,
            max_pacing_rate: None,
            v6_only: false,
            timestamping: 0,
            shows_drops: false,
            udp: UdpOptions::default(),
            ip: Versions::default(),
            device: None,
            only_neighbours: false,
            any_address: false,
            port_later: false,
            kept: 0,
            no_delay: false,
            cork: false,
            quick_ack: true,
            user_timeout: Duration::ZERO,
            congestion: None,
            maximum_segment: None,
            syn_retries: None,
            linger2: None,
            window_clamp: 0,
            not_sent_low_water: 0,
            defer_accept: Duration::ZERO,
        }
    }
}

impl Options {
    /// Whether a close throws away what was not sent (SO_LINGER with a time of 0).
    pub fn is_abortive(&self) -> bool {
        self.linger == Some(0)
    }

    /// Whether SO_TIMESTAMPING wants to know when a datagram came.
    pub fn shows_times(&self) -> bool {
        let wanted = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        self.timestamping & wanted == wanted
    }
}

/// The options of a socket of UDP or UDP-Lite (udp(7), udplite(7)).
#[derive(Clone, Copy, Debug, Default)]
pub struct UdpOptions {
    /// UDP_SEGMENT, in bytes; 0 is off.
    pub segment: u16,
    /// UDP_GRO: several datagrams may be received as one. None ever are.
    pub coalesce: bool,
    /// UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX: without effect, as tunnels have it.
    pub no_check: [bool; 2],
    /// UDPLITE_SEND_CSCOV, UDPLITE_RECV_CSCOV
    pub coverage: Coverage,
}

/// The options of a socket for one version of IP.
#[derive(Clone, Copy, Debug)]
pub struct IpOptions {
    /// IP_TTL, IPV6_UNICAST_HOPS; None is the default of the stack.
    pub hops: Option<u8>,
    /// IP_TOS, IPV6_TCLASS
    pub traffic_class: u8,
    /// IP_MINTTL, IPV6_MINHOPCOUNT
    pub minimum_hops: u8,
    /// IP_RECVTTL, IPV6_RECVHOPLIMIT
    pub shows_hops: bool,
    /// IP_RECVTOS, IPV6_RECVTCLASS
    pub shows_class: bool,
    /// IP_PKTINFO, IPV6_RECVPKTINFO
    pub shows_destination: bool,
    /// IP_RETOPTS, which shows the options of a header: ours never has any.
    pub shows_options: bool,
    /// IP_RECVERR, IPV6_RECVERR
    pub reports: bool,
    /// IP_MTU_DISCOVER, IPV6_MTU_DISCOVER
    pub discovery: PathMtuDiscovery,
    /// IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS; None is the default: one.
    pub multicast_hops: Option<u8>,
    /// Not IP_MULTICAST_LOOP, IPV6_MULTICAST_LOOP
    pub multicast_quiet: bool,
    /// IP_MULTICAST_IF, IPV6_MULTICAST_IF; None is the link.
    pub multicast_path: Option<Path>,
    /// Not IP_MULTICAST_ALL, IPV6_MULTICAST_ALL
    pub multicast_own: bool,
}

impl Default for IpOptions {
    /// ip(7), ipv6(7)
    fn default() -> IpOptions {
        IpOptions {
            hops: None,
            traffic_class: 0,
            minimum_hops: 0,
            shows_hops: false,
            shows_class: false,
            shows_destination: false,
            shows_options: false,
            reports: false,
            discovery: PathMtuDiscovery::Want,
            multicast_hops: None,
            multicast_quiet: false,
            multicast_path: None,
            multicast_own: false,
        }
    }
}
