//! The kernel's TCP as a stack to script: in real time, over a TUN device in a network namespace of its own, which is
//! gone when the thread that made it is. Needs root.

use crate::info::Info;
use crate::run::{Stack, Tolerance, addresses};
use crate::script::{Call, Family, Setup};
use crate::value::Micros;
use libc::{c_int, c_void, socklen_t};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DEVICE: &str = "tun0";

/// IFA_F_TENTATIVE (linux/if_addr.h).
const TENTATIVE: u8 = 0x40;

pub(crate) struct Kernel {
    tun: File,
    family: Family,
    congestion: String,
    sockets: BTreeMap<String, OwnedFd>,
    start: Instant,
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().expect("an errno")
}

fn outcome(result: impl Into<i64>) -> Result<i64, i32> {
    let result = result.into();
    if result < 0 { Err(errno()) } else { Ok(result) }
}

impl Kernel {
    /// A namespace for the calling thread, with a TUN device whose other side the script is.
    pub(crate) fn new(setup: &Setup, family: Family) -> Kernel {
        // SAFETY: no pointers; concerns the calling thread alone.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(unshared, 0, "a network namespace (root only): errno {}", errno());
        configure(setup);
        let tun = open_tun();
        bring_up(setup.mtu);
        let congestion = setup.congestion.clone();
        Kernel { tun, family, congestion, sockets: BTreeMap::new(), start: Instant::now() }
    }

    /// The script's time starts now.
    pub(crate) fn start(&mut self) {
        hurry();
        self.start = Instant::now();
    }

    fn now(&self) -> Micros {
        self.start.elapsed().as_micros() as Micros
    }

    fn descriptor(&self, socket: &str) -> Result<c_int, i32> {
        self.sockets.get(socket).map(AsRawFd::as_raw_fd).ok_or(libc::EBADF)
    }

    fn keep(&mut self, socket: &str, fd: c_int) -> Result<i64, i32> {
        outcome(fd)?;
        // SAFETY: just made, and nobody else's.
        self.sockets.insert(socket.into(), unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(0)
    }

    fn socket(&mut self, socket: &str) -> Result<i64, i32> {
        let domain = if self.family == Family::V4 { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(domain, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0) };
        self.keep(socket, fd)?;
        // Not by sysctl: a namespace of one's own may choose among fewer.
        set_option(fd, libc::SOL_TCP, libc::TCP_CONGESTION, self.congestion.as_bytes())
    }

    fn bind(&mut self, socket: &str, port: u16) -> Result<i64, i32> {
        let fd = self.descriptor(socket)?;
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32.to_ne_bytes())?;
        let [stack, ..] = addresses(self.family);
        let (address, length) = sockaddr(SocketAddr::new(stack, port));
        // SAFETY: an address and its length.
        outcome(unsafe { libc::bind(fd, (&raw const address).cast(), length) })
    }

    fn listen(&mut self, socket: &str, backlog: i32) -> Result<i64, i32> {
        if !self.sockets.contains_key(socket) {
            self.socket(socket)?;
        }
        let bound = self.bind(socket, crate::flow::LISTEN_PORT);
        assert!(matches!(bound, Ok(0) | Err(libc::EINVAL)), "bind: {bound:?}");
        let fd = self.descriptor(socket)?;
        // SAFETY: no pointers.
        outcome(unsafe { libc::listen(fd, backlog) })
    }

    fn connect(&mut self, socket: &str, flow: u16) -> Result<i64, i32> {
        let [_, peer, _] = addresses(self.family);
        let (address, length) = sockaddr(SocketAddr::new(peer, crate::flow::PEER_PORT + flow));
        let fd = self.descriptor(socket)?;
        // SAFETY: an address and its length.
        outcome(unsafe { libc::connect(fd, (&raw const address).cast(), length) })
    }

    fn accept(&mut self, socket: &str) -> Result<i64, i32> {
        let listener = self.descriptor("listener")?;
        let none = std::ptr::null_mut();
        // SAFETY: no address is asked for.
        let fd = unsafe { libc::accept4(listener, none, std::ptr::null_mut(), libc::SOCK_NONBLOCK) };
        self.keep(socket, fd)
    }

    fn set(&mut self, socket: &str, option: &str, values: &[String]) -> Result<i64, i32> {
        let fd = self.descriptor(socket)?;
        let (level, name) = option_number(option);
        // Two values are a struct linger.
        let bytes: Vec<u8> =
            values.iter().flat_map(|value| value.parse::<i32>().expect("a number").to_ne_bytes()).collect();
        set_option(fd, level, name, &bytes)
    }
}

impl Stack for Kernel {
    fn name(&self) -> &'static str {
        "Linux"
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance { early: 10_000, late: 30_000, late_share: 130 }
    }

    fn next(&mut self, until: Micros) -> Option<(Micros, Vec<u8>)> {
        let mut packet = vec![0; 65_536];
        loop {
            if let Ok(length) = self.tun.read(&mut packet) {
                packet.truncate(length);
                return Some((self.now(), packet));
            }
            let left = until - self.now();
            if left <= 0 {
                return None;
            }
            wait_readable(self.tun.as_raw_fd(), Duration::from_micros(left as u64));
        }
    }

    fn inject(&mut self, packet: &[u8]) {
        let written = self.tun.write(packet).expect("the TUN device takes a packet");
        assert_eq!(written, packet.len());
    }

    fn read(&mut self, socket: &str, length: usize) -> Result<Vec<u8>, i32> {
        let fd = self.descriptor(socket)?;
        let mut data = vec![0u8; length];
        // SAFETY: a buffer and its length.
        let got = outcome(unsafe { libc::read(fd, data.as_mut_ptr().cast(), length) } as i64)?;
        data.truncate(got as usize);
        Ok(data)
    }

    fn write(&mut self, socket: &str, data: &[u8], urgent: bool) -> Result<i64, i32> {
        let fd = self.descriptor(socket)?;
        let flags = libc::MSG_NOSIGNAL | if urgent { libc::MSG_OOB } else { 0 };
        // SAFETY: a buffer and its length.
        outcome(unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) } as i64)
    }

    fn call(&mut self, socket: &str, call: &Call) -> Result<i64, i32> {
        match call {
            Call::Socket => self.socket(socket),
            Call::Listen(backlog) => self.listen(socket, *backlog),
            Call::Connect(flow) => self.connect(socket, *flow),
            Call::Accept => self.accept(socket),
            Call::Read(_) | Call::Write(_) | Call::SendUrgent(_) => unreachable!("calls of their own"),
            Call::ReadUrgent => {
                let (fd, mut byte) = (self.descriptor(socket)?, 0u8);
                // SAFETY: a buffer of one byte.
                outcome(unsafe { libc::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_OOB) } as i64)
            }
            // SAFETY: no pointers.
            Call::Shutdown => outcome(unsafe { libc::shutdown(self.descriptor(socket)?, libc::SHUT_WR) }),
            Call::Close => self.sockets.remove(socket).map(|_| 0).ok_or(libc::EBADF),
            Call::SetOption(option, values) => self.set(socket, option, values),
            Call::Readable => queue_length(self.descriptor(socket)?, libc::FIONREAD),
            Call::Unacknowledged => queue_length(self.descriptor(socket)?, libc::TIOCOUTQ),
            Call::Error => get_option(self.descriptor(socket)?, libc::SOL_SOCKET, libc::SO_ERROR),
        }
    }

    fn info(&mut self, socket: &str) -> Result<Info, i32> {
        let fd = self.descriptor(socket)?;
        let mut bytes = [0u8; 512];
        let mut length = bytes.len() as socklen_t;
        // SAFETY: a buffer and its length.
        outcome(unsafe {
            libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, bytes.as_mut_ptr().cast(), &mut length)
        })?;
        Ok(read_info(&bytes))
    }
}

/// Real-time priority for the calling thread, which mostly waits: a busy machine must not make it late.
fn hurry() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: one sched_param; concerns the calling thread alone.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &parameters) };
    if set != 0 {
        eprintln!("no real-time priority (errno {}): scripts may be late", errno());
    }
}

/// Linux's defaults, whatever this machine has made of them, and what the script asks for.
fn configure(setup: &Setup) {
    let switch = |on: bool| if on { "1" } else { "0" };
    let settings = [
        ("ipv4/tcp_timestamps", switch(setup.timestamps)),
        ("ipv4/tcp_sack", switch(setup.sack)),
        ("ipv4/tcp_window_scaling", switch(setup.scaling)),
        ("ipv4/tcp_syncookies", if setup.cookies { "2" } else { "1" }),
        ("ipv4/tcp_rmem", "4096 131072 6291456"),
        ("ipv4/tcp_wmem", "4096 16384 4194304"),
        // What one script's connection learnt is nothing to the next.
        ("ipv4/tcp_no_metrics_save", "1"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ];
    for (name, value) in settings {
        std::fs::write(format!("/proc/sys/net/{name}"), value)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn open_tun() -> File {
    let file = File::options().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun");
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: TUNSETIFF takes an ifreq.
    let attached = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(attached, 0, "TUNSETIFF: errno {}", errno());
    // SAFETY: no pointers.
    let nonblocking = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(nonblocking, 0, "O_NONBLOCK: errno {}", errno());
    file
}

/// ip(8) inherits the namespace of the thread that starts it.
fn bring_up(mtu: usize) {
    let [v4, ..] = addresses(Family::V4);
    let [v6, ..] = addresses(Family::V6);
    let commands = format!(
        "address add {v4}/24 dev {DEVICE}\naddress add {v6}/64 dev {DEVICE} nodad\n\
         link set dev {DEVICE} mtu {mtu} up\nlink set dev lo up\n"
    );
    let mut ip =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip(8) starts");
    ip.stdin.take().expect("piped").write_all(commands.as_bytes()).expect("ip(8) reads");
    assert!(ip.wait().expect("ip(8) ends").success(), "ip(8) failed");
    while has_tentative_address() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// IPv6 takes a moment to settle on an address, even without duplicate address detection.
fn has_tentative_address() -> bool {
    let addresses = std::fs::read_to_string("/proc/thread-self/net/if_inet6").expect("IPv6");
    let flags = addresses.lines().filter_map(|line| line.split_whitespace().nth(4));
    flags.filter_map(|flags| u8::from_str_radix(flags, 16).ok()).any(|flags| flags & TENTATIVE != 0)
}

fn wait_readable(fd: c_int, timeout: Duration) {
    let mut wanted = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let timeout =
        libc::timespec { tv_sec: timeout.as_secs() as libc::time_t, tv_nsec: timeout.subsec_nanos().into() };
    // SAFETY: one pollfd, a timeout, and no signal mask.
    unsafe { libc::ppoll(&mut wanted, 1, &timeout, std::ptr::null()) };
}

/// A socket address in a buffer large enough for either family.
fn sockaddr(address: SocketAddr) -> (libc::sockaddr_in6, socklen_t) {
    // SAFETY: all zero is a valid sockaddr_in6.
    let mut buffer: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    match address.ip() {
        IpAddr::V6(ip) => {
            buffer.sin6_family = libc::AF_INET6 as u16;
            buffer.sin6_port = address.port().to_be();
            buffer.sin6_addr.s6_addr = ip.octets();
            (buffer, size_of::<libc::sockaddr_in6>() as socklen_t)
        }
        IpAddr::V4(ip) => {
            // A sockaddr_in has its address where the other has its flow label.
            buffer.sin6_family = libc::AF_INET as u16;
            buffer.sin6_port = address.port().to_be();
            buffer.sin6_flowinfo = u32::from_ne_bytes(ip.octets());
            (buffer, size_of::<libc::sockaddr_in>() as socklen_t)
        }
    }
}

fn set_option(fd: c_int, level: c_int, name: c_int, value: &[u8]) -> Result<i64, i32> {
    let length = value.len() as socklen_t;
    // SAFETY: a value and its length.
    outcome(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) })
}

fn get_option(fd: c_int, level: c_int, name: c_int) -> Result<i64, i32> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    // SAFETY: a value and its length.
    outcome(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast::<c_void>(), &mut length) })?;
    Ok(value.into())
}

fn queue_length(fd: c_int, request: libc::Ioctl) -> Result<i64, i32> {
    let mut length: c_int = 0;
    // SAFETY: the request stores one int.
    outcome(unsafe { libc::ioctl(fd, request, &raw mut length) })?;
    Ok(length.into())
}

fn option_number(name: &str) -> (c_int, c_int) {
    let socket = |number| (libc::SOL_SOCKET, number);
    let tcp = |number| (libc::SOL_TCP, number);
    match name {
        "SO_KEEPALIVE" => socket(libc::SO_KEEPALIVE),
        "SO_LINGER" => socket(libc::SO_LINGER),
        "SO_OOBINLINE" => socket(libc::SO_OOBINLINE),
        "SO_RCVBUF" => socket(libc::SO_RCVBUF),
        "SO_SNDBUF" => socket(libc::SO_SNDBUF),
        "TCP_CORK" => tcp(libc::TCP_CORK),
        "TCP_KEEPCNT" => tcp(libc::TCP_KEEPCNT),
        "TCP_KEEPIDLE" => tcp(libc::TCP_KEEPIDLE),
        "TCP_KEEPINTVL" => tcp(libc::TCP_KEEPINTVL),
        "TCP_LINGER2" => tcp(libc::TCP_LINGER2),
        "TCP_MAXSEG" => tcp(libc::TCP_MAXSEG),
        "TCP_NODELAY" => tcp(libc::TCP_NODELAY),
        "TCP_QUICKACK" => tcp(libc::TCP_QUICKACK),
        "TCP_SYNCNT" => tcp(libc::TCP_SYNCNT),
        "TCP_USER_TIMEOUT" => tcp(libc::TCP_USER_TIMEOUT),
        other => panic!("{other}: not an option that scripts know"),
    }
}

/// The fields of struct tcp_info (linux/tcp.h) that scripts ask for: name, offset, bytes.
const FIELDS: [(&str, usize, usize); 46] = [
    ("state", 0, 1),
    ("ca_state", 1, 1),
    ("retransmits", 2, 1),
    ("probes", 3, 1),
    ("backoff", 4, 1),
    ("options", 5, 1),
    ("rto", 8, 4),
    ("ato", 12, 4),
    ("snd_mss", 16, 4),
    ("rcv_mss", 20, 4),
    ("unacked", 24, 4),
    ("sacked", 28, 4),
    ("lost", 32, 4),
    ("retrans", 36, 4),
    ("last_data_sent", 44, 4),
    ("last_data_recv", 52, 4),
    ("last_ack_recv", 56, 4),
    ("pmtu", 60, 4),
    ("rcv_ssthresh", 64, 4),
    ("rtt", 68, 4),
    ("rttvar", 72, 4),
    ("snd_ssthresh", 76, 4),
    ("snd_cwnd", 80, 4),
    ("advmss", 84, 4),
    ("reordering", 88, 4),
    ("rcv_rtt", 92, 4),
    ("rcv_space", 96, 4),
    ("total_retrans", 100, 4),
    ("bytes_acked", 120, 8),
    ("bytes_received", 128, 8),
    ("segs_out", 136, 4),
    ("segs_in", 140, 4),
    ("notsent_bytes", 144, 4),
    ("min_rtt", 148, 4),
    ("data_segs_in", 152, 4),
    ("data_segs_out", 156, 4),
    ("delivery_rate", 160, 8),
    ("busy_time", 168, 8),
    ("rwnd_limited", 176, 8),
    ("sndbuf_limited", 184, 8),
    ("delivered", 192, 4),
    ("bytes_sent", 200, 8),
    ("bytes_retrans", 208, 8),
    ("dsack_dups", 216, 4),
    ("reord_seen", 220, 4),
    ("rcv_ooopack", 224, 4),
];

fn read_info(bytes: &[u8]) -> Info {
    let number = |at: usize, length: usize| {
        let mut wide = [0u8; 8];
        wide[..length].copy_from_slice(&bytes[at..at + length]);
        u64::from_le_bytes(wide) as i64
    };
    let mut info: Info = FIELDS.iter().map(|(name, at, length)| (*name, number(*at, *length))).collect();
    info.insert("snd_wscale", i64::from(bytes[6] & 15));
    info.insert("rcv_wscale", i64::from(bytes[6] >> 4));
    info.insert("snd_wnd", number(228, 4));
    info.insert("rcv_wnd", number(232, 4));
    info
}
