//! The table of sockets, as netstat(8) and ss(8) have it of the kernel.
//!
//! As there, a stream that is neither connected nor listening is not in it, nor a datagram socket without a port.
#![forbid(unsafe_code)]

use super::address::FourTuple;
use super::socket::{Body, Open, Socket, Stream};
use super::{Domain, Engine, Kind, SocketId};
use crate::ip::Protocol;
use crate::tcp::{Algorithm, Info};
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Numbers of states (net/tcp_states.h).
pub mod state {
    /// ESTABLISHED; a datagram socket with a peer
    pub const ESTABLISHED: u8 = 1;
    /// SYN-SENT
    pub const SYN_SENT: u8 = 2;
    /// SYN-RECEIVED
    pub const SYN_RECEIVED: u8 = 3;
    /// TIME-WAIT
    pub const TIME_WAIT: u8 = 6;
    /// CLOSED; a datagram socket without a peer
    pub const CLOSE: u8 = 7;
    /// LISTEN
    pub const LISTEN: u8 = 10;
}

/// A socket in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// None in TIME-WAIT, which is no socket any more.
    pub id: Option<SocketId>,
    /// Of which protocol.
    pub kind: Kind,
    /// One of `state`, or another of Linux's.
    pub state: u8,
    /// Whether an unspecified local address stands for those of IPv4 and of IPv6.
    pub dual: bool,
    /// Its own address.
    pub local: SocketAddr,
    /// The peer's.
    pub peer: Option<SocketAddr>,
    /// Bytes received and not read; of a listener, connections not accepted.
    pub receive_queue: usize,
    /// Bytes written and not acknowledged; of a listener, its backlog.
    pub send_queue: usize,
    /// Congestion control of a stream.
    pub congestion: Option<Algorithm>,
    /// TCP_INFO of a connection.
    pub info: Option<Info>,
}

impl Engine {
    /// All sockets, those included that nobody holds any more, and TIME-WAIT.
    pub fn table(&self, now: Instant) -> Vec<Row> {
        let sockets = self.sockets.iter().filter_map(|socket| self.row(socket, now));
        let waits = self.time_waits.tuples(now).map(time_wait);
        sockets.chain(waits).collect()
    }

    fn row(&self, socket: &Socket, now: Instant) -> Option<Row> {
        match &socket.body {
            Body::Stream(Stream::Open(open)) if open.attached => Some(self.connection_row(socket, open, now)),
            Body::Stream(Stream::Listening(listener)) => Some(Row {
                state: state::LISTEN,
                receive_queue: listener.queue.len(),
                send_queue: listener.backlog,
                congestion: Some(self.algorithm(socket)),
                ..plain(socket)
            }),
            Body::Stream(_) => None,
            Body::Datagram(datagrams) => {
                let connected = datagrams.tuple.is_some();
                let state = if connected { state::ESTABLISHED } else { state::CLOSE };
                let receive_queue = datagrams.queued_bytes();
                socket.bound.filter(|bound| bound.port != 0).map(|_| Row {
                    state,
                    receive_queue,
                    ..plain(socket)
                })
            }
        }
    }

    fn connection_row(&self, socket: &Socket, open: &Open, now: Instant) -> Row {
        let info = open.connection.info(now);
        Row {
            state: info.state,
            receive_queue: open.connection.readable(),
            send_queue: open.connection.unacknowledged(),
            congestion: Some(self.algorithm(socket)),
            info: Some(info),
            ..plain(socket)
        }
    }

    fn algorithm(&self, socket: &Socket) -> Algorithm {
        socket.options().congestion.unwrap_or(self.settings.tcp.congestion)
    }
}

fn plain(socket: &Socket) -> Row {
    Row {
        id: Some(socket.id()),
        kind: match &socket.body {
            Body::Stream(_) => Kind::Stream,
            Body::Datagram(datagrams) if datagrams.is_echo() => Kind::Echo,
            Body::Datagram(datagrams) if datagrams.protocol == Protocol::UdpLite => Kind::Lite,
            Body::Datagram(_) => Kind::Datagram,
        },
        state: state::CLOSE,
        dual: socket.domain == Domain::V6 && !socket.v6_only,
        local: socket.present(socket.local()),
        peer: socket.peer().map(|peer| socket.present(peer)),
        receive_queue: 0,
        send_queue: 0,
        congestion: None,
        info: None,
    }
}

fn time_wait(tuple: &FourTuple) -> Row {
    Row {
        id: None,
        kind: Kind::Stream,
        state: state::TIME_WAIT,
        dual: false,
        local: tuple.local,
        peer: Some(tuple.remote),
        receive_queue: 0,
        send_queue: 0,
        congestion: None,
        info: None,
    }
}
