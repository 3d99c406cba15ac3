//! A machine and a network of their own for the tests: files as text, a name server as a function.
#![forbid(unsafe_code)]

use super::message::{RecordClass, RecordType};
use super::{Machine, Network, Resolver, SourceAddress};
use crate::error::{Error, Result};
use domain::base::iana::Rcode;
use domain::base::message_builder::AnswerBuilder;
use domain::base::{Message, MessageBuilder, Name};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct FakeMachine {
    files: HashMap<&'static str, String>,
    variables: HashMap<&'static str, String>,
    random: AtomicU16,
}

impl FakeMachine {
    pub(crate) fn file(mut self, path: &'static str, text: &str) -> Self {
        self.files.insert(path, text.to_owned());
        self
    }

    pub(crate) fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.insert(name, value.to_owned());
        self
    }
}

impl Machine for FakeMachine {
    fn text(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
    fn random(&self) -> u16 {
        self.random.fetch_add(1, Ordering::Relaxed)
    }
}

/// How a server answers a datagram: with these, in this order.
pub(crate) type Answer = dyn Fn(&[u8]) -> Result<Vec<Vec<u8>>> + Send + Sync;

/// A network with one name server, and a log of what was asked: name, type, and whether over TCP.
pub(crate) struct FakeNetwork {
    pub(crate) addresses: Vec<SourceAddress>,
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) answer: Box<Answer>,
    pub(crate) stream_answer: Box<Answer>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl FakeNetwork {
    pub(crate) fn new(answer: impl Fn(&[u8]) -> Result<Vec<Vec<u8>>> + Send + Sync + 'static) -> Self {
        FakeNetwork {
            addresses: vec![
                SourceAddress { address: "10.0.2.15".parse().unwrap(), prefix_length: 24 },
                SourceAddress { address: "2001:db8:ffff::15".parse().unwrap(), prefix_length: 64 },
            ],
            servers: vec!["10.0.2.3:53".parse().unwrap()],
            answer: Box::new(answer),
            stream_answer: Box::new(|_| Err(Error::ConnectionRefused)),
            asked: Mutex::default(),
        }
    }

    /// One that nobody may ask.
    pub(crate) fn silent() -> Self {
        FakeNetwork::new(|query| panic!("asked for {}", described(query)))
    }

    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub(crate) fn resolver<'a>(&'a self, machine: &'a FakeMachine) -> Resolver<'a> {
        Resolver { machine, network: self }
    }
}

fn described(query: &[u8]) -> String {
    let question = Message::from_slice(query).unwrap().sole_question().unwrap();
    format!("{} {}", question.qname(), question.qtype())
}

impl Network for FakeNetwork {
    fn addresses(&self) -> Vec<SourceAddress> {
        self.addresses.clone()
    }
    fn name_servers(&self) -> Vec<SocketAddr> {
        self.servers.clone()
    }
    fn interface_index(&self, name: &str) -> Option<u32> {
        (name == "lo").then_some(1)
    }
    fn interface_name(&self, index: u32) -> Option<String> {
        (index == 1).then(|| "lo".to_owned())
    }

    fn exchange_datagrams(
        &self,
        _server: SocketAddr,
        queries: &[&[u8]],
        _timeout: Duration,
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        self.asked.lock().unwrap().extend(queries.iter().map(|query| described(query)));
        for query in queries {
            for datagram in (self.answer)(query)? {
                if accept(&datagram) {
                    return Ok(());
                }
            }
        }
        Err(Error::TimedOut)
    }

    fn exchange_stream(
        &self,
        _server: SocketAddr,
        request: &[u8],
        _timeout: Duration,
        complete: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let query = &request[2..];
        self.asked.lock().unwrap().push(format!("{} tcp", described(query)));
        let mut received = Vec::new();
        for message in (self.stream_answer)(query)? {
            let length = u16::try_from(message.len()).unwrap();
            // One octet at a time, as TCP may.
            for octet in length.to_be_bytes().into_iter().chain(message) {
                received.push(octet);
                if complete(&received) {
                    return Ok(received);
                }
            }
        }
        Err(Error::ConnectionReset)
    }
}

/// A reply to `query` with the records that `add` pushes.
pub(crate) fn reply(query: &[u8], rcode: Rcode, add: impl FnOnce(&mut AnswerBuilder<Vec<u8>>)) -> Vec<u8> {
    let query = Message::from_slice(query).unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(query, rcode).unwrap();
    answer.header_mut().set_ra(true);
    add(&mut answer);
    answer.finish()
}

pub(crate) fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).unwrap()
}

/// The name, without the last dot, and the type that a query asks for.
pub(crate) fn question(query: &[u8]) -> (String, RecordType) {
    let question = Message::from_slice(query).unwrap().sole_question().unwrap();
    assert_eq!(question.qclass(), RecordClass::IN);
    (question.qname().to_string().to_ascii_lowercase(), question.qtype())
}
