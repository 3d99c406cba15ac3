//! What a call asks of the host of its descriptor: the one set of requests. In the process of the host they are function
//! calls under the lock; from another process they are messages to the control socket.
#![forbid(unsafe_code)]

use super::requests::Connect;
use super::{Inner, Network, options};
use crate::bridge::name::Identity;
use crate::engine::{Control, ErrorReport};
use crate::error::{Error, Result};
use crate::sys::descriptors::Owned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A request about a socket. What it acts on besides, bytes of an option or of a datagram, goes beside it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Request {
    /// bind(2)
    Bind(SocketAddr),
    /// listen(2), of the near end too
    Listen(u16),
    /// connect(2) of a stream: begins, or tells what has become of it
    Connect(SocketAddr),
    /// What has become of a connect that was begun
    Connected,
    /// connect(2) of a stream to AF_UNSPEC: answered with the near end that takes the place of this one
    Disconnect,
    /// A new near end for a stream socket whose connect failed
    Replacement,
    /// connect(2) of a datagram socket; None dissolves
    ConnectDatagram(Option<SocketAddr>),
    /// sendmsg(2) of a datagram socket
    SendDatagram(Option<SocketAddr>, Control),
    /// recvmsg(2) of a datagram socket that was shut for reading, when the near end has no more: answered by one with its header
    NextDatagram {
        /// It is only looked at.
        peek: bool,
    },
    /// recvmsg(2) with MSG_ERRQUEUE
    NextReport,
    /// getsockname(2)
    Local,
    /// getpeername(2)
    Peer,
    /// shutdown(2), the part before the kernel's own call on the near end, or before another takes its place
    Shutdown {
        /// The program will read no more.
        reading: bool,
        /// It will write no more.
        writing: bool,
    },
    /// Why the kernel gave no bytes of a stream: Done is a true end of file.
    ExplainRead,
    /// The error that no call has reported yet, cleared
    TakeError,
    /// POLLERR, if the error queue of a datagram socket holds something
    ShowErrors,
    /// getsockopt(2)
    GetOption {
        /// SOL_SOCKET and its like
        level: i32,
        /// The option.
        name: i32,
        /// Bytes that the program has room for.
        room: usize,
    },
    /// setsockopt(2)
    SetOption {
        /// SOL_SOCKET and its like
        level: i32,
        /// The option.
        name: i32,
    },
    /// SIOCOUTQ
    Unacknowledged,
    /// Seconds that close(2) is to wait (SO_LINGER), zero where it is not; answered by a number, for which nobody allocates.
    LingerTime,
    /// A connection was taken from the near end of this listener.
    Accepted,
    /// The holder of the near end needs it no more.
    Discard,
}

/// What the host answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// What has become of a connect.
    Connect(Connect),
    /// A datagram was sent.
    Sent {
        /// The next one of its kind to the same address can be sent by the near end.
        plain: bool,
    },
    /// An address.
    Address(SocketAddr),
    /// A number.
    Number(u64),
    /// The bytes of an option.
    Bytes(Vec<u8>),
    /// An error to report, if there is one.
    Reported(Option<Error>),
    /// What ICMP said of a datagram.
    Report(Box<ErrorReport>),
    /// The network that the stack is in.
    Network(Box<Network>),
}

/// An answer, and the near end that comes with it.
pub type Answered = (Answer, Option<Owned>);

impl Inner {
    /// Does what was asked for the socket of a near end that is open in this process. EBADF for one that is not what its name
    /// tells.
    pub fn perform(&mut self, identity: &Identity, request: Request, bytes: &[u8]) -> Result<Answered> {
        self.admit(identity)?;
        self.forward(identity.id);
        if let Request::Connect(to) | Request::ConnectDatagram(Some(to)) = request
            && let Some(socket) = self.bypass(identity, to)?
        {
            return Ok((Answer::Connect(Connect::Kernels), Some(socket)));
        }
        self.answer(identity, request, bytes)
    }

    fn admit(&self, identity: &Identity) -> Result<()> {
        if self.broken {
            return Err(Error::Broken);
        }
        if !self.bridge.is_true(identity) {
            // Closed by another thread meanwhile; or a stranger's, with a name like one of ours.
            return Err(Error::BadDescriptor);
        }
        Ok(())
    }

    fn answer(&mut self, identity: &Identity, request: Request, bytes: &[u8]) -> Result<Answered> {
        let id = identity.id;
        let answer = match request {
            Request::Bind(address) => self.bind(id, address).map(|()| Answer::Done),
            Request::Listen(backlog) => self.listen(id, identity.near(), backlog).map(|()| Answer::Done),
            Request::Connect(_) | Request::Connected => {
                let connect = match request {
                    Request::Connect(to) => self.connect(id, identity.near(), to)?,
                    _ => self.connected(id)?,
                };
                let (connect, near) = self.outcome(id, identity.near(), connect);
                return Ok((Answer::Connect(connect), near));
            }
            Request::Disconnect => return Ok((Answer::Done, self.disconnect(id, identity.near())?)),
            Request::Replacement => {
                return Ok((Answer::Done, Some(self.replacement(id, identity.near())?)));
            }
            Request::ConnectDatagram(to) => {
                self.connect_datagram(id, to).map(|()| Answer::Connect(Connect::Done))
            }
            Request::SendDatagram(to, control) => {
                self.send_datagram(identity, to, &control, bytes).map(|plain| Answer::Sent { plain })
            }
            Request::NextDatagram { peek } => self.next_datagram(id, peek).map(Answer::Bytes),
            Request::NextReport => {
                self.next_report(id, identity.near()).map(|report| Answer::Report(Box::new(report)))
            }
            Request::Local => self.local(id).map(Answer::Address),
            Request::Peer => self.peer(id).map(Answer::Address),
            Request::Shutdown { reading, writing } => {
                return Ok((Answer::Done, self.shutdown(id, identity.near(), reading, writing)?));
            }
            Request::ExplainRead => self.explain_read(identity).map(|()| Answer::Done),
            Request::TakeError => {
                let error = self.take_error(identity);
                if error.is_some() {
                    self.show_errors(id);
                }
                Ok(Answer::Reported(error))
            }
            Request::ShowErrors => {
                self.show_errors(id);
                Ok(Answer::Done)
            }
            Request::GetOption { level, name, room } => {
                options::get(self, identity, level, name).map(|value| Answer::Bytes(value.bytes(room)))
            }
            Request::SetOption { level, name } => {
                options::set(self, identity, level, name, bytes).map(|()| Answer::Done)
            }
            Request::Unacknowledged => self.unacknowledged(id).map(|bytes| Answer::Number(bytes as u64)),
            Request::LingerTime => Ok(Answer::Number(self.socket(id)?.options.linger.unwrap_or(0).into())),
            Request::Accepted => {
                self.accepted(id);
                Ok(Answer::Done)
            }
            Request::Discard => {
                self.discard(id);
                Ok(Answer::Done)
            }
        };
        answer.map(|answer| (answer, None))
    }
}
