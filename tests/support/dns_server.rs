//! A name server on loopback, over UDP and TCP on one port, that answers as a function says; and the resolver's network
//! over the kernel's sockets, to ask it.

use domain::base::iana::Rcode;
use domain::base::message_builder::AnswerBuilder;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tubesock::error::{Error, Result};
use tubesock::resolver::{Network, SourceAddress};

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Udp,
    Tcp,
}

type Answer = dyn Fn(&[u8], Over) -> Option<Vec<u8>> + Send + Sync;

/// The server; it ends when it is dropped.
pub(crate) struct DnsServer {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl DnsServer {
    /// Listens on some port. `answer` gives the reply to a query, None for silence.
    #[allow(dead_code)] // not every test that has this module calls it
    pub(crate) fn start(
        answer: impl Fn(&[u8], Over) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> DnsServer {
        let sockets = (0..100).find_map(|_| sockets_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
        DnsServer::serve(sockets.expect("some port is free for both UDP and TCP"), answer)
    }

    /// Listens on port 53, in a namespace of one's own.
    #[allow(dead_code)] // not every test that has this module calls it
    pub(crate) fn start_at_port_53(
        answer: impl Fn(&[u8], Over) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> DnsServer {
        let sockets = sockets_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
        DnsServer::serve(sockets.expect("port 53 is free"), answer)
    }

    fn serve(
        (udp, tcp): (UdpSocket, TcpListener),
        answer: impl Fn(&[u8], Over) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> DnsServer {
        let address = udp.local_addr().expect("a bound socket has an address");
        let ending = Arc::new(AtomicBool::new(false));
        let answer: Arc<Answer> = Arc::new(answer);
        let (end, answer_udp) = (ending.clone(), answer.clone());
        let over_udp = std::thread::spawn(move || serve_udp(&udp, &end, &*answer_udp));
        let end = ending.clone();
        let over_tcp = std::thread::spawn(move || serve_tcp(&tcp, &end, &*answer));
        DnsServer { address, ending, threads: vec![over_udp, over_tcp] }
    }

    /// Where it listens.
    #[allow(dead_code)] // not every test that has this module calls it
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // Wakes both threads.
        let waker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is up");
        waker.send_to(&[], self.address).expect("the socket still listens");
        drop(TcpStream::connect(self.address));
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(std::thread::panicking() || ended.is_ok(), "the name server failed");
        }
    }
}

/// Two sockets of one port; None when it is taken.
fn sockets_at(address: SocketAddr) -> Option<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind(address).ok()?;
    let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
    Some((udp, tcp))
}

fn serve_udp(socket: &UdpSocket, ending: &AtomicBool, answer: &Answer) {
    let mut buffer = [0; 65535];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        if ending.load(Ordering::Acquire) {
            return;
        }
        if let Some(reply) = answer(&buffer[..length], Over::Udp) {
            // The asker may be gone.
            let _ = socket.send_to(&reply, peer);
        }
    }
}

fn serve_tcp(listener: &TcpListener, ending: &AtomicBool, answer: &Answer) {
    while let Ok((mut stream, _)) = listener.accept() {
        if ending.load(Ordering::Acquire) {
            return;
        }
        // One query after the other, until the peer ends.
        while serve_stream(&mut stream, answer).is_ok() {}
    }
}

fn serve_stream(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    if let Some(reply) = answer(&query, Over::Tcp) {
        let length = u16::try_from(reply.len()).expect("a DNS message has at most 65,535 octets");
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&reply)?;
    }
    Ok(())
}

/// The name and the type that a query asks for.
pub(crate) fn question(query: &[u8]) -> (String, Rtype) {
    let question = Message::from_slice(query).expect("a message").sole_question().expect("one question");
    (question.qname().to_string(), question.qtype())
}

/// A reply of a recursive server, with the records that `add` pushes.
pub(crate) fn reply(query: &[u8], rcode: Rcode, add: impl FnOnce(&mut AnswerBuilder<Vec<u8>>)) -> Vec<u8> {
    let query = Message::from_slice(query).expect("a message");
    let mut answer = MessageBuilder::new_vec().start_answer(query, rcode).expect("a reply fits");
    answer.header_mut().set_ra(true);
    add(&mut answer);
    answer.finish()
}

/// A domain name.
pub(crate) fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).expect("a domain name")
}

/// The resolver's network over the kernel's sockets.
pub(crate) struct KernelNetwork {
    /// The one name server.
    pub(crate) server: SocketAddr,
    /// What the order of addresses goes by.
    pub(crate) addresses: Vec<SourceAddress>,
}

impl Network for KernelNetwork {
    fn addresses(&self) -> Vec<SourceAddress> {
        self.addresses.clone()
    }

    fn name_servers(&self) -> Vec<SocketAddr> {
        vec![self.server]
    }

    fn interface_index(&self, _name: &str) -> Option<u32> {
        None
    }

    fn interface_name(&self, _index: u32) -> Option<String> {
        None
    }

    fn exchange_datagrams(
        &self,
        server: SocketAddr,
        queries: &[&[u8]],
        timeout: Duration,
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(error_of)?;
        socket.connect(server).map_err(error_of)?;
        for query in queries {
            socket.send(query).map_err(error_of)?;
        }
        let deadline = Instant::now() + timeout;
        let mut buffer = [0; 65535];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::TimedOut);
            }
            socket.set_read_timeout(Some(left)).map_err(error_of)?;
            let length = socket.recv(&mut buffer).map_err(error_of)?;
            if accept(&buffer[..length]) {
                return Ok(());
            }
        }
    }

    fn exchange_stream(
        &self,
        server: SocketAddr,
        request: &[u8],
        timeout: Duration,
        complete: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&server, timeout).map_err(error_of)?;
        stream.set_read_timeout(Some(timeout)).map_err(error_of)?;
        stream.write_all(request).map_err(error_of)?;
        let mut received = Vec::new();
        let mut buffer = [0; 4096];
        while !complete(&received) {
            match stream.read(&mut buffer).map_err(error_of)? {
                0 => return Err(Error::ConnectionReset),
                length => received.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(received)
    }
}

fn error_of(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Error::TimedOut,
        std::io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        std::io::ErrorKind::ConnectionReset => Error::ConnectionReset,
        _ => Error::Kernel(error.raw_os_error().unwrap_or(libc::EIO)),
    }
}
