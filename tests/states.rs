//! One table: every state of a connection's life, on the kernel's TCP and on ours, must look the same to the program:
//! the events that poll(2) reports, SO_ERROR, and what read(2) and write(2) return.
//!
//! The peer is always a kernel socket of this test, over loopback; ours reaches it through `nat`, as 10.0.2.2, and is
//! reached through a published port. Where ours differs by design the row says so, with the reason.

// Both ways of each call stand side by side, with one comment for the pair.
#![allow(clippy::undocumented_unsafe_blocks)]

#[path = "support/ports.rs"]
mod ports;

use libc::{c_int, c_short, c_void, pollfd, sockaddr, sockaddr_in, socklen_t};
use ports::free_port;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tubesock::abi::direct::Direct;
use tubesock::abi::sockets;

/// How long a state may take to show.
const PATIENCE: Duration = Duration::from_secs(10);
const ALL: c_short = libc::POLLIN | libc::POLLPRI | libc::POLLOUT | libc::POLLRDHUP;

/// Whose TCP a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stack {
    Kernel,
    Ours,
}

/// What a program sees of a socket.
#[derive(Debug, PartialEq, Eq)]
struct View {
    events: String,
    so_error: c_int,
    /// What read returned, or the errno.
    read: Result<isize, c_int>,
    /// What write of one byte returned, or the errno.
    write: Result<isize, c_int>,
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().expect("an errno")
}

fn outcome(result: isize) -> Result<isize, c_int> {
    if result < 0 { Err(errno()) } else { Ok(result) }
}

fn address(ip: Ipv4Addr, port: u16) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
        sin_zero: [0; 8],
    }
}

const ADDRESS_LENGTH: socklen_t = size_of::<sockaddr_in>() as socklen_t;

impl Stack {
    /// The machine's loopback, as this stack's program knows it.
    fn machine(self) -> Ipv4Addr {
        match self {
            Stack::Kernel => Ipv4Addr::LOCALHOST,
            Stack::Ours => Ipv4Addr::new(10, 0, 2, 2),
        }
    }

    fn socket(self) -> c_int {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers.
        let fd = match self {
            Stack::Kernel => unsafe { libc::socket(libc::AF_INET, kind, 0) },
            Stack::Ours => unsafe { sockets::socket::<Direct>(libc::AF_INET, kind, 0) },
        };
        assert!(fd >= 0, "{self:?} socket: errno {}", errno());
        fd
    }

    fn connect(self, fd: c_int, port: u16) -> Result<isize, c_int> {
        let to = address(self.machine(), port);
        let to: *const sockaddr = (&raw const to).cast();
        // SAFETY: an address of its length.
        outcome(match self {
            Stack::Kernel => unsafe { libc::connect(fd, to, ADDRESS_LENGTH) },
            Stack::Ours => unsafe { sockets::connect::<Direct>(fd, to, ADDRESS_LENGTH) },
        } as isize)
    }

    fn bind_listen(self, fd: c_int, port: u16, backlog: c_int) {
        let any = address(Ipv4Addr::UNSPECIFIED, port);
        let any: *const sockaddr = (&raw const any).cast();
        // SAFETY: an address of its length.
        let bound = match self {
            Stack::Kernel => unsafe { libc::bind(fd, any, ADDRESS_LENGTH) },
            Stack::Ours => unsafe { sockets::bind::<Direct>(fd, any, ADDRESS_LENGTH) },
        };
        assert_eq!(bound, 0, "{self:?} bind: errno {}", errno());
        // SAFETY: no pointers.
        let listening = match self {
            Stack::Kernel => unsafe { libc::listen(fd, backlog) },
            Stack::Ours => unsafe { sockets::listen::<Direct>(fd, backlog) },
        };
        assert_eq!(listening, 0, "{self:?} listen: errno {}", errno());
    }

    fn shutdown(self, fd: c_int, how: c_int) {
        // SAFETY: no pointers.
        let result = match self {
            Stack::Kernel => unsafe { libc::shutdown(fd, how) },
            Stack::Ours => unsafe { sockets::shutdown::<Direct>(fd, how) },
        };
        assert_eq!(result, 0, "{self:?} shutdown: errno {}", errno());
    }

    fn so_error(self, fd: c_int) -> c_int {
        let (mut value, mut length) = (0 as c_int, size_of::<c_int>() as socklen_t);
        let place: *mut c_void = (&raw mut value).cast();
        // SAFETY: an int and its length.
        let result = match self {
            Stack::Kernel => unsafe {
                libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, place, &raw mut length)
            },
            Stack::Ours => unsafe {
                sockets::getsockopt::<Direct>(fd, libc::SOL_SOCKET, libc::SO_ERROR, place, &raw mut length)
            },
        };
        assert_eq!(result, 0, "{self:?} SO_ERROR: errno {}", errno());
        value
    }

    fn read(self, fd: c_int) -> Result<isize, c_int> {
        let mut buffer = [0u8; 16];
        let place: *mut c_void = buffer.as_mut_ptr().cast();
        // SAFETY: a buffer of its length.
        outcome(match self {
            Stack::Kernel => unsafe { libc::read(fd, place, buffer.len()) },
            Stack::Ours => unsafe { sockets::read::<Direct>(fd, place, buffer.len()) },
        })
    }

    fn write(self, fd: c_int, bytes: &[u8]) -> Result<isize, c_int> {
        // SAFETY: a buffer of its length; MSG_NOSIGNAL spares the test a SIGPIPE.
        outcome(match self {
            Stack::Kernel => unsafe {
                libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
            },
            Stack::Ours => unsafe {
                let (buffer, length) = (bytes.as_ptr().cast(), bytes.len());
                sockets::sendto::<Direct>(fd, buffer, length, libc::MSG_NOSIGNAL, core::ptr::null(), 0)
            },
        })
    }

    fn close(self, fd: c_int) {
        // SAFETY: a descriptor of this test.
        match self {
            Stack::Kernel => unsafe { libc::close(fd) },
            Stack::Ours => unsafe { sockets::close::<Direct>(fd) },
        };
    }

    /// The events now. The near end is a kernel descriptor: poll(2) is the kernel's for both.
    fn poll(self, fd: c_int, patience: Duration) -> c_short {
        let mut wanted = pollfd { fd, events: ALL, revents: 0 };
        // SAFETY: one pollfd.
        unsafe { libc::poll(&raw mut wanted, 1, patience.as_millis() as c_int) };
        wanted.revents
    }

    /// Looks at the socket as a program would, in an order that lets each answer be seen: SO_ERROR last, since it
    /// clears what read and write would report, unless `error_first`.
    fn view(self, fd: c_int, error_first: bool) -> View {
        let events = named(self.poll(fd, Duration::ZERO));
        let early = error_first.then(|| self.so_error(fd));
        let read = self.read(fd);
        let write = self.write(fd, b"x");
        View { events, so_error: early.unwrap_or_else(|| self.so_error(fd)), read, write }
    }
}

fn named(events: c_short) -> String {
    let names = [
        (libc::POLLIN, "IN"),
        (libc::POLLPRI, "PRI"),
        (libc::POLLOUT, "OUT"),
        (libc::POLLRDHUP, "RDHUP"),
        (libc::POLLHUP, "HUP"),
        (libc::POLLERR, "ERR"),
        (libc::POLLNVAL, "NVAL"),
    ];
    names.iter().filter(|(bit, _)| events & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

/// Waits until poll shows all of `events`.
fn await_events(stack: Stack, fd: c_int, events: c_short) {
    let deadline = Instant::now() + PATIENCE;
    while stack.poll(fd, Duration::ZERO) & events != events {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "{stack:?}: no {} within {PATIENCE:?}, but {}",
            named(events),
            named(stack.poll(fd, Duration::ZERO))
        );
        // What is not there yet arrives by a change of the descriptor; what is there already would not wake, so
        // the wait is for the missing events alone.
        let missing = events & !stack.poll(fd, Duration::ZERO);
        let mut wanted = pollfd { fd, events: missing, revents: 0 };
        // SAFETY: one pollfd.
        unsafe { libc::poll(&raw mut wanted, 1, 10.min(left.as_millis() as c_int)) };
    }
}

/// A connection to a kernel peer.
fn connected(stack: Stack) -> (c_int, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let fd = stack.socket();
    let begun = stack.connect(fd, listener.local_addr().expect("bound").port());
    assert_eq!(begun, Err(libc::EINPROGRESS), "{stack:?}");
    let (peer, _) = listener.accept().expect("the connection");
    await_events(stack, fd, libc::POLLOUT);
    (fd, peer)
}

fn reset(peer: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (value, length) = ((&raw const linger).cast(), size_of::<libc::linger>() as socklen_t);
    // SAFETY: a linger of its length.
    unsafe { libc::setsockopt(peer.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, length) };
}

fn fresh(stack: Stack) -> View {
    let fd = stack.socket();
    let view = stack.view(fd, false);
    stack.close(fd);
    view
}

/// A listener whose backlog is full answers no SYN.
fn connecting(stack: Stack) -> View {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("bound");
    // SAFETY: no pointers: the backlog becomes 0, which admits one.
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let _first = TcpStream::connect(at).expect("the one that is admitted");
    let fd = stack.socket();
    assert_eq!(stack.connect(fd, at.port()), Err(libc::EINPROGRESS), "{stack:?}");
    assert_eq!(stack.connect(fd, at.port()), Err(libc::EALREADY), "{stack:?}");
    let events = named(stack.poll(fd, Duration::ZERO));
    // Writing is left out: see the README's table (bytes written before the handshake is done are taken).
    let view = View { events, so_error: stack.so_error(fd), read: stack.read(fd), write: Ok(0) };
    stack.close(fd);
    view
}

fn refused(stack: Stack, error_first: bool) -> View {
    let port = free_port();
    let fd = stack.socket();
    assert_eq!(stack.connect(fd, port), Err(libc::EINPROGRESS), "{stack:?}");
    await_events(stack, fd, libc::POLLERR);
    let view = stack.view(fd, error_first);
    stack.close(fd);
    view
}

fn idle(stack: Stack) -> View {
    let (fd, _peer) = connected(stack);
    let view = stack.view(fd, false);
    stack.close(fd);
    view
}

fn data(stack: Stack) -> View {
    let (fd, mut peer) = connected(stack);
    peer.write_all(b"12345").expect("sent");
    await_events(stack, fd, libc::POLLIN);
    let view = stack.view(fd, false);
    stack.close(fd);
    view
}

/// Fills until EAGAIN, and until nothing moves any more.
fn fill(stack: Stack, fd: c_int) {
    let block = vec![0u8; 65_536];
    loop {
        while stack.write(fd, &block).is_ok() {}
        while stack.write(fd, b"x").is_ok() {}
        let mut wanted = pollfd { fd, events: libc::POLLOUT, revents: 0 };
        // SAFETY: one pollfd.
        if unsafe { libc::poll(&raw mut wanted, 1, 300) } == 0 && stack.write(fd, b"x").is_err() {
            return;
        }
    }
}

fn full(stack: Stack, with_data: bool, with_fin: bool) -> View {
    let (fd, mut peer) = connected(stack);
    fill(stack, fd);
    if with_data {
        peer.write_all(b"12345").expect("sent");
        await_events(stack, fd, libc::POLLIN);
    }
    if with_fin {
        peer.shutdown(Shutdown::Write).expect("shut down");
        await_events(stack, fd, libc::POLLRDHUP);
    }
    // What came from the peer may have made room for a little more.
    fill(stack, fd);
    let view = stack.view(fd, false);
    stack.close(fd);
    view
}

fn peer_fin(stack: Stack) -> View {
    let (fd, peer) = connected(stack);
    peer.shutdown(Shutdown::Write).expect("shut down");
    await_events(stack, fd, libc::POLLRDHUP);
    let view = stack.view(fd, false);
    stack.close(fd);
    view
}

fn half_closed(stack: Stack, how: c_int) -> View {
    let (fd, mut peer) = connected(stack);
    stack.shutdown(fd, how);
    if how != libc::SHUT_RD {
        assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
    }
    let view = stack.view(fd, false);
    stack.close(fd);
    view
}

fn closed_both(stack: Stack) -> View {
    let (fd, mut peer) = connected(stack);
    stack.shutdown(fd, libc::SHUT_WR);
    assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
    peer.shutdown(Shutdown::Write).expect("shut down");
    await_events(stack, fd, libc::POLLHUP);
    let view = stack.view(fd, false);
    stack.close(fd);
    view
}

fn peer_reset(stack: Stack, error_first: bool) -> View {
    let (fd, peer) = connected(stack);
    reset(peer);
    await_events(stack, fd, libc::POLLHUP);
    let view = stack.view(fd, error_first);
    stack.close(fd);
    view
}

fn data_then_reset(stack: Stack) -> (Result<isize, c_int>, View) {
    let (fd, mut peer) = connected(stack);
    peer.write_all(b"12345").expect("sent");
    await_events(stack, fd, libc::POLLIN);
    reset(peer);
    await_events(stack, fd, libc::POLLHUP);
    let first = stack.read(fd);
    let view = stack.view(fd, false);
    stack.close(fd);
    (first, view)
}

/// The published port leads to the listener's.
fn listening(stack: Stack, published: u16, pending: bool) -> (View, bool) {
    let fd = stack.socket();
    let (port, reached_at) = match stack {
        Stack::Ours => (LISTENS_AT, published),
        Stack::Kernel => {
            let port = free_port();
            (port, port)
        }
    };
    stack.bind_listen(fd, port, 4);
    let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, reached_at);
    let client = pending.then(|| TcpStream::connect(at).expect("taken"));
    if pending {
        await_events(stack, fd, libc::POLLIN);
    }
    let view = stack.view(fd, false);
    // SAFETY: null addresses.
    let accepted = match stack {
        Stack::Kernel => unsafe { libc::accept4(fd, core::ptr::null_mut(), core::ptr::null_mut(), 0) },
        Stack::Ours => unsafe {
            sockets::accept4::<Direct>(fd, core::ptr::null_mut(), core::ptr::null_mut(), 0)
        },
    };
    if accepted >= 0 {
        stack.close(accepted);
    }
    stack.close(fd);
    drop(client);
    (view, accepted >= 0)
}

/// Where ours listens, behind the published port.
const LISTENS_AT: u16 = 7777;

/// The machine's port for it. One host serves all tests of this file: whoever comes first configures it.
static PUBLISHED: LazyLock<u16> = LazyLock::new(|| {
    let published = free_port();
    let publish = format!("127.0.0.1:{published}:{LISTENS_AT}");
    tubesock::host::configure("TUBESOCK_PUBLISH", &publish).expect("before the first socket");
    published
});

#[test]
fn every_state_looks_as_on_the_kernel() {
    let published = *PUBLISHED;
    let mut wrong = Vec::new();
    let mut row = |name: &str, state: &dyn Fn(Stack) -> String| {
        let (kernel, ours) = (state(Stack::Kernel), state(Stack::Ours));
        println!(
            "{:7} {name}\n    kernel {kernel}\n    ours   {ours}",
            if kernel == ours { "same" } else { "DIFFERS" }
        );
        if kernel != ours {
            wrong.push(name.to_owned());
        }
    };
    row("fresh", &|stack| format!("{:?}", fresh(stack)));
    row("connecting", &|stack| format!("{:?}", connecting(stack)));
    row("refused", &|stack| format!("{:?}", refused(stack, false)));
    row("refused, SO_ERROR read first", &|stack| format!("{:?}", refused(stack, true)));
    row("connected", &|stack| format!("{:?}", idle(stack)));
    row("data", &|stack| format!("{:?}", data(stack)));
    row("buffer full", &|stack| format!("{:?}", full(stack, false, false)));
    row("data, buffer full", &|stack| format!("{:?}", full(stack, true, false)));
    row("buffer full, peer FIN", &|stack| format!("{:?}", full(stack, false, true)));
    row("peer FIN", &|stack| format!("{:?}", peer_fin(stack)));
    row("SHUT_WR", &|stack| format!("{:?}", half_closed(stack, libc::SHUT_WR)));
    row("SHUT_RD", &|stack| format!("{:?}", half_closed(stack, libc::SHUT_RD)));
    row("SHUT_RDWR", &|stack| format!("{:?}", half_closed(stack, libc::SHUT_RDWR)));
    row("FIN both ways", &|stack| format!("{:?}", closed_both(stack)));
    row("reset", &|stack| without_err(peer_reset(stack, false)));
    row("reset, SO_ERROR read first", &|stack| without_err(peer_reset(stack, true)));
    row("data then reset", &|stack| {
        let (first, view) = data_then_reset(stack);
        format!("{first:?} {}", without_err(view))
    });
    row("listener", &|stack| format!("{:?}", listening(stack, published, false)));
    row("listener, one pending", &|stack| format!("{:?}", listening(stack, published, true)));
    assert!(wrong.is_empty(), "these states differ: {wrong:?}");
}

/// How a connection ends for the peer: what its reads return until they fail or end.
fn seen_by_peer(stack: Stack, end: &dyn Fn(c_int, &mut TcpStream)) -> String {
    let (fd, mut peer) = connected(stack);
    end(fd, &mut peer);
    let mut received = Vec::new();
    match peer.read_to_end(&mut received) {
        Ok(_) => format!("{} bytes, then the end", received.len()),
        Err(error) => format!("{} bytes, then {:?}", received.len(), error.kind()),
    }
}

fn linger(stack: Stack, fd: c_int, seconds: c_int) {
    let linger = libc::linger { l_onoff: 1, l_linger: seconds };
    let (value, length) = ((&raw const linger).cast(), size_of::<libc::linger>() as socklen_t);
    let set = match stack {
        // SAFETY: a linger of its length.
        Stack::Kernel => unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, length) },
        // SAFETY: the same.
        Stack::Ours => unsafe {
            sockets::setsockopt::<Direct>(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, length)
        },
    };
    assert_eq!(set, 0, "{stack:?} SO_LINGER: errno {}", errno());
}

#[test]
fn every_end_looks_to_the_peer_as_the_kernels() {
    LazyLock::force(&PUBLISHED);
    for stack in [Stack::Kernel, Stack::Ours] {
        let check = |name: &str, expected: &str, end: &dyn Fn(c_int, &mut TcpStream)| {
            assert_eq!(seen_by_peer(stack, end), expected, "{stack:?}: {name}");
        };
        check("close", "0 bytes, then the end", &|fd, _| stack.close(fd));
        check("write, close", "5 bytes, then the end", &|fd, _| {
            assert_eq!(stack.write(fd, b"12345"), Ok(5));
            stack.close(fd);
        });
        check("SHUT_WR", "5 bytes, then the end", &|fd, _| {
            assert_eq!(stack.write(fd, b"12345"), Ok(5));
            stack.shutdown(fd, libc::SHUT_WR);
        });
        check("close with unread data", "0 bytes, then ConnectionReset", &|fd, peer| {
            peer.write_all(b"unread").expect("sent");
            await_events(stack, fd, libc::POLLIN);
            stack.close(fd);
        });
        check("SO_LINGER 0", "0 bytes, then ConnectionReset", &|fd, _| {
            linger(stack, fd, 0);
            stack.close(fd);
        });
        check("the last of two descriptors closed", "0 bytes, then the end", &|fd, _| {
            // SAFETY: a descriptor of this test.
            let other = unsafe { libc::dup(fd) };
            stack.close(fd);
            assert_eq!(stack.read(other), Err(libc::EAGAIN), "still open");
            stack.close(other);
        });
    }
}

/// A reset on a connection whose program has nothing unsent shows no POLLERR at the near end: AF_UNIX has no way to
/// give it (`bridge::stream`). Everything else of the row is compared, the errno of read included.
fn without_err(mut view: View) -> String {
    view.events = view.events.replace(" ERR", "");
    format!("{view:?}")
}
