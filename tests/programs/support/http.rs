//! An HTTP/1.1 server on the kernel's loopback that answers well, and badly on request. One thread a connection;
//! it lives until the test process ends. It parses what curl, wget, ab, wrk and Python send, and no more.
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N` | the first N bytes of the stream, with Content-Length |
//! | `/chunked/N` | the same in chunks |
//! | `/http10/N` | the same as HTTP/1.0 without a length: the server closes first |
//! | `/together/N` | a line, to each of N requests once all N are there |
//! | `/digest` | SHA-256 of the body that was sent |
//! | `/short` | half of the promised body, then the end |
//! | `/reset` | half of the promised body, then a reset |
//! | `/never` | nothing, until the client goes |

use super::stream::{Digest, Stream};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write, copy};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What `/short` and `/reset` promise, and half of it.
const PROMISED: usize = 200_000;

/// A running server.
pub(crate) struct HttpServer {
    address: SocketAddr,
    state: Arc<State>,
}

type Observer = Box<dyn Fn(u64) + Send + Sync>;

struct State {
    connections: AtomicUsize,
    requests: AtomicU64,
    observer: Observer,
    /// How many requests for `/together` are there.
    together: Mutex<usize>,
    arrived: Condvar,
}

struct Request {
    path: String,
    headers: HashMap<String, String>,
    stays: bool,
}

impl HttpServer {
    pub(crate) fn start() -> HttpServer {
        HttpServer::observed(|_| {})
    }

    /// A server that calls `observer` with the number of each request, from 1, before it answers.
    pub(crate) fn observed(observer: impl Fn(u64) + Send + Sync + 'static) -> HttpServer {
        HttpServer::bound("127.0.0.1:0", Box::new(observer))
    }

    /// A server on ::1.
    pub(crate) fn on_ipv6() -> HttpServer {
        HttpServer::bound("[::1]:0", Box::new(|_| {}))
    }

    /// A server on an address of this thread's network namespace.
    pub(crate) fn at(address: SocketAddr) -> HttpServer {
        HttpServer::bound(&address.to_string(), Box::new(|_| {}))
    }

    fn bound(address: &str, observer: Observer) -> HttpServer {
        let listener = TcpListener::bind(address).expect("the loopback has free ports");
        rustix::net::listen(&listener, 1024).expect("a listener may change its backlog");
        let state = Arc::new(State {
            connections: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            observer,
            together: Mutex::new(0),
            arrived: Condvar::new(),
        });
        let address = listener.local_addr().expect("it is bound");
        let server = HttpServer { address, state: state.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                state.connections.fetch_add(1, Ordering::SeqCst);
                let state = state.clone();
                // A client that breaks off is part of many tests.
                std::thread::spawn(move || drop(serve(&state, &stream)));
            }
        });
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The connections taken so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }
}

fn serve(state: &State, stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    while let Some(request) = read_request(&mut input)? {
        let number = state.requests.fetch_add(1, Ordering::SeqCst) + 1;
        (state.observer)(number);
        if !answer(state, &request, &mut input, stream)? {
            break;
        }
    }
    Ok(())
}

/// None at the end of the connection.
fn read_request(input: &mut impl BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[_method, path, version] = words.as_slice() else { return Err(ErrorKind::InvalidData.into()) };
    let path = path.split('?').next().expect("split gives one part at least").to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        input.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let connection = headers.get("connection").map(|value| value.to_ascii_lowercase());
    let stays = match connection.as_deref() {
        Some(value) if value.contains("close") => false,
        Some(value) if value.contains("keep-alive") => true,
        _ => version == "HTTP/1.1",
    };
    Ok(Some(Request { path, headers, stays }))
}

/// Whether the connection stays open.
fn answer(
    state: &State,
    request: &Request,
    input: &mut impl BufRead,
    mut stream: &TcpStream,
) -> Result<bool> {
    let (_, rest) = request.path.split_once('/').ok_or(ErrorKind::InvalidData)?;
    let (name, number) = rest.split_once('/').unwrap_or((rest, "0"));
    let number: u64 = number.parse().map_err(|_| Error::from(ErrorKind::InvalidData))?;
    let connection = if request.stays { "keep-alive" } else { "close" };
    let head = |length: u64| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n")
    };
    match name {
        "bytes" => {
            stream.write_all(head(number).as_bytes())?;
            Stream::of(number).write_to(&mut stream)?;
        }
        "chunked" => {
            let head =
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: {connection}\r\n\r\n");
            stream.write_all(head.as_bytes())?;
            for chunk in Stream::of(number).bytes().chunks(1000) {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        "http10" => {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n")?;
            Stream::of(number).write_to(&mut stream)?;
            return Ok(false);
        }
        "together" => {
            wait_for_all(state, number);
            stream.write_all(head(9).as_bytes())?;
            stream.write_all(b"together\n")?;
        }
        "digest" => {
            let digest = digest_of_body(request, input, stream)?;
            stream.write_all(head(digest.len() as u64).as_bytes())?;
            stream.write_all(digest.as_bytes())?;
        }
        "short" => {
            stream.write_all(head(PROMISED as u64).as_bytes())?;
            stream.write_all(&[b's'; PROMISED / 2])?;
            return Ok(false);
        }
        "reset" => {
            stream.write_all(head(PROMISED as u64).as_bytes())?;
            stream.write_all(&[b'r'; PROMISED / 2])?;
            rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
            return Ok(false);
        }
        "never" => {
            let _ended = input.read(&mut [0])?;
            return Ok(false);
        }
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
    }
    Ok(request.stays)
}

/// Holds an answer until `count` requests are there at the same time. A client that sends fewer meets its deadline.
fn wait_for_all(state: &State, count: u64) {
    let mut together = state.together.lock().expect("no thread panics with it");
    *together += 1;
    state.arrived.notify_all();
    while (*together as u64) < count {
        together = state.arrived.wait(together).expect("no thread panics with it");
    }
}

fn digest_of_body(request: &Request, input: &mut impl BufRead, mut stream: &TcpStream) -> Result<String> {
    if request.headers.get("expect").is_some_and(|value| value == "100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut digest = Digest::new();
    if let Some(length) = request.headers.get("content-length") {
        let length = length.parse().map_err(|_| Error::from(ErrorKind::InvalidData))?;
        if copy(&mut input.take(length), &mut digest)? != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        return Ok(digest.finish());
    }
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(|_| Error::from(ErrorKind::InvalidData))?;
        if copy(&mut input.take(length), &mut digest)? != length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        input.read_line(&mut line)?;
        if length == 0 {
            return Ok(digest.finish());
        }
    }
}
