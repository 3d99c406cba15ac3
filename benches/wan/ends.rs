//! The kernel's end of a path: a namespace, a TUN device in it, and a thread that writes or reads one TCP stream.

use crate::namespace::Namespace;
use crate::precedence::pin;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tubesock::sys::tun::{self, Device, Kind};

/// Who sends and who receives, and where.
pub(crate) const SENDER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
pub(crate) const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
pub(crate) const PREFIX: u8 = 24;
pub(crate) const PORT: u16 = 5001;
/// Largest packet.
pub(crate) const MTU: usize = 1500;

/// What one read or write moves at most.
const CHUNK: usize = 128 * 1024;
/// How soon a thread that waits for its socket notices the end of a run.
const PATIENCE: Duration = Duration::from_millis(20);

/// The most that both stacks may keep of one connection: Linux's defaults, which ours has too.
const SEND_MEMORY: &str = "4096 16384 4194304";
const RECEIVE_MEMORY: &str = "4096 131072 6291456";

/// The kernel's end.
pub(crate) struct KernelEnd {
    namespace: Namespace,
    device: Device,
    algorithm: String,
}

impl KernelEnd {
    /// A namespace with one TUN device. Nothing of an earlier connection is remembered: it is new.
    pub(crate) fn new(address: Ipv4Addr, algorithm: &str) -> KernelEnd {
        let namespace = Namespace::new();
        let device = namespace.run(|| {
            let clone = tun::open().expect("/dev/net/tun: this needs root and the tun module");
            Device::attach(clone, Kind::Tun, "wan0", false).expect("a device in a namespace of our own")
        });
        namespace.set("net.ipv4.tcp_wmem", SEND_MEMORY);
        namespace.set("net.ipv4.tcp_rmem", RECEIVE_MEMORY);
        // The queue before the emulator, which drains it at once, must never be the one that overflows.
        namespace.ip(&format!("link set wan0 mtu {MTU} txqueuelen 20000 up"));
        namespace.ip(&format!("address add {address}/{PREFIX} dev wan0"));
        KernelEnd { namespace, device, algorithm: algorithm.to_owned() }
    }

    /// The end of the cable, for the emulator.
    pub(crate) fn cable(&self) -> OwnedFd {
        self.device.as_fd().try_clone_to_owned().expect("a descriptor")
    }

    /// A listener at `RECEIVER`.
    pub(crate) fn listen(&self) -> TcpListener {
        self.namespace.run(|| TcpListener::bind((RECEIVER, PORT))).expect("the address is this end's")
    }

    /// Connects to `RECEIVER` and writes until `over`.
    pub(crate) fn send(&self, over: &AtomicBool, core: usize) {
        self.namespace.run(|| {
            pin(core);
            let mut stream = connect(&self.algorithm).expect("a connection, whatever is lost of it");
            stream.set_write_timeout(Some(PATIENCE)).expect("a duration above zero");
            let bytes = vec![0x55; CHUNK];
            while !over.load(Ordering::Relaxed) {
                match stream.write(&bytes) {
                    Ok(_) => {}
                    Err(error) if is_impatience(&error) => {}
                    // The receiver has what it wants and closed.
                    Err(_) => return,
                }
            }
        });
    }
}

fn connect(algorithm: &str) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_tcp_congestion(&socket, algorithm)?;
    rustix::net::connect(&socket, &SocketAddr::from((RECEIVER, PORT)))?;
    Ok(TcpStream::from(socket))
}

/// Takes the first connection of a listener and counts what is read until `deadline`. The connection goes on.
pub(crate) fn receive(listener: &TcpListener, deadline: Instant, core: usize) -> (u64, TcpStream) {
    pin(core);
    let (mut stream, _) = listener.accept().expect("a connection, whatever is lost of it");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
    let mut bytes = vec![0; CHUNK];
    let mut received = 0;
    while Instant::now() < deadline {
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => received += length as u64,
            Err(error) if is_impatience(&error) => {}
            Err(error) => panic!("the receiver's connection: {error}"),
        }
    }
    (received, stream)
}

fn is_impatience(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
