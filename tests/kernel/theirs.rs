//! Their side of a connection: a script played against a socket of the kernel's, in a thread that blocks.

use crate::script::Step;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::AsRawFd;
use rustix::net::sockopt;
use std::io::{Error, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// How long the kernel's side waits for ours: far more than anything takes, and more than a window is held.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK and TCPI_OPT_WSCALE of linux/tcp.h.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WINDOW_SCALE: u8 = 4;

/// What both ends agreed on in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
    pub(crate) window_scale: bool,
}

/// What the kernel says was agreed on.
pub(crate) fn agreed(stream: &TcpStream) -> Agreed {
    Agreed::from_options(information(stream).tcpi_options)
}

/// The first connection of a listener. Fails when none comes.
pub(crate) fn accept(listener: &TcpListener) -> Result<TcpStream, String> {
    sockopt::set_socket_timeout(listener, sockopt::Timeout::Recv, Some(PATIENCE)).expect("a socket");
    let (stream, _) = listener.accept().map_err(|error| format!("accept: {error}"))?;
    Ok(stream)
}

/// Plays a script: sends `outgoing` and reads `expected` when it says so. After Reset and Close the caller must let go of
/// the stream.
pub(crate) fn play(
    stream: &TcpStream,
    steps: &[Step],
    [outgoing, expected]: [&[u8]; 2],
) -> Result<(), String> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("a duration above zero");
    for (index, step) in steps.iter().enumerate() {
        let failed = |error: String| format!("step {index}, {step:?}: {error}");
        perform(stream, *step, [outgoing, expected]).map_err(failed)?;
    }
    Ok(())
}

fn perform(mut stream: &TcpStream, step: Step, [outgoing, expected]: [&[u8]; 2]) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    match step {
        Step::Send => stream.write_all(outgoing).map_err(text),
        Step::Receive => receive(stream, expected),
        Step::ReceiveHalf => receive(stream, &expected[..expected.len() / 2]),
        Step::Arrived => {
            let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            let ready = rustix::event::poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&limit));
            if ready == Ok(1) { Ok(()) } else { Err("nothing came".into()) }
        }
        Step::Finish => stream.shutdown(Shutdown::Write).map_err(text),
        Step::EndOfFile => match stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("more bytes than were sent".into()),
            Err(error) => Err(error.to_string()),
        },
        Step::Over => match stream.take_error() {
            Ok(None) => Ok(()),
            other => Err(format!("SO_ERROR {other:?}")),
        },
        Step::Reset => {
            sockopt::set_socket_linger(stream, Some(Duration::ZERO)).map_err(|errno| errno.to_string())
        }
        Step::Close => Ok(()),
        Step::Fail(expected) => failed_with(stream.read(&mut [0]), expected),
        Step::SendUntil(expected) => loop {
            let written = stream.write(outgoing);
            if written.is_err() {
                break failed_with(written, expected);
            }
        },
    }
}

fn receive(mut stream: &TcpStream, expected: &[u8]) -> Result<(), String> {
    let mut received = vec![0; expected.len()];
    stream.read_exact(&mut received).map_err(|error| error.to_string())?;
    match received.iter().zip(expected).position(|(received, expected)| received != expected) {
        Some(at) => Err(format!("other bytes than were sent, from offset {at}")),
        None => Ok(()),
    }
}

fn failed_with(result: std::io::Result<usize>, expected: tubesock::error::Error) -> Result<(), String> {
    match result {
        Err(error) if error.raw_os_error() == Some(expected.errno()) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

impl Agreed {
    /// From `tcpi_options`.
    pub(crate) fn from_options(options: u8) -> Agreed {
        Agreed {
            timestamps: options & TIMESTAMPS != 0,
            sack: options & SACK != 0,
            window_scale: options & WINDOW_SCALE != 0,
        }
    }
}

/// TCP_INFO of the kernel's.
fn information(stream: &TcpStream) -> libc::tcp_info {
    // SAFETY: the structure has numbers only, for which zero is a value.
    let mut information: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let place = (&raw mut information).cast();
    // SAFETY: getsockopt(2) writes at most `length` bytes there, and the new length.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, place, &raw mut length)
    };
    assert_eq!(result, 0, "TCP_INFO of a TCP socket: {}", Error::last_os_error());
    information
}
