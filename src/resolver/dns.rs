//! Asking: which servers, how often, how long (res_send), and under which names (res_search).
//!
//! Queries of one exchange, as A and AAAA of one name, go out together from one socket, so that a look-up takes one
//! round trip and one timeout. A server that fails (SERVFAIL, REFUSED, NOTIMP, silence, an ICMP error) makes room for
//! the next one; an error of the stack itself ends the look-up.
#![forbid(unsafe_code)]

use super::message::{self, DomainName, RecordClass, RecordType};
use super::settings::Settings;
use super::{Failure, Resolver};
use crate::error::{Error, Result};
use std::net::SocketAddr;

/// A domain name as a program writes it, with or without the last dot.
pub fn domain_name(text: &str) -> Result<DomainName, Failure> {
    // Not "invalid argument": a name that cannot be asked for is NO_RECOVERY to libc.
    DomainName::vec_from_str(text).map_err(|_| Failure::NoRecovery)
}

/// The queries of one exchange, and what became of them so far.
struct Exchange<'a> {
    queries: &'a [Vec<u8>],
    outcomes: Vec<Result<Vec<u8>, Failure>>,
}

impl Exchange<'_> {
    /// Whether a query needs no further server.
    fn is_settled(&self, at: usize) -> bool {
        !matches!(self.outcomes[at], Err(Failure::TimedOut | Failure::ServerFailed))
    }

    fn unsettled(&self) -> Vec<usize> {
        (0..self.queries.len()).filter(|&at| !self.is_settled(at)).collect()
    }

    /// Takes a reply that answers the query at `at`.
    fn take(&mut self, at: usize, reply: Vec<u8>) {
        self.outcomes[at] = match message::server_failure(&reply) {
            Some(failure) => Err(failure),
            None => Ok(reply),
        };
    }

    /// The server could not be asked. Unless that is the network's doing, there is no use in asking others.
    fn fail(&mut self, error: Error) {
        if !is_of_the_network(error) {
            for at in self.unsettled() {
                self.outcomes[at] = Err(Failure::System(error));
            }
        }
    }
}

/// Whether an error speaks of the way to one server, and not of this process.
fn is_of_the_network(error: Error) -> bool {
    matches!(
        error,
        Error::TimedOut
            | Error::WouldBlock
            | Error::ConnectionRefused
            | Error::ConnectionReset
            | Error::ConnectionAborted
            | Error::BrokenPipe
            | Error::HostUnreachable
            | Error::NetworkUnreachable
            | Error::AddressNotAvailable
    )
}

impl Resolver<'_> {
    /// A query of our own for one question.
    pub fn query(&self, name: &DomainName, class: RecordClass, kind: RecordType) -> Vec<u8> {
        message::query(self.machine.random(), name, class, kind)
    }

    /// Sends a query that is ready, res_send(3): the answer of the first server that has one, whatever it says.
    pub fn send(&self, query: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let mut outcomes = self.exchange(&Settings::read(self.machine), &[query]);
        outcomes.pop().expect("an exchange has an outcome for each query")
    }

    /// res_search(3) for one kind of record: the first answer with records.
    pub fn search_record(
        &self,
        name: &str,
        class: RecordClass,
        kind: RecordType,
    ) -> Result<Vec<u8>, Failure> {
        let settings = Settings::read(self.machine);
        self.search(&settings, name, &mut |name| {
            let query = self.query(name, class, kind);
            let reply = self.exchange(&settings, &[query]).pop().expect("an outcome for each query")?;
            message::verdict(&reply).map(|()| reply)
        })
    }

    /// Asks `queries` of the servers in turn, until each has an outcome.
    pub(super) fn exchange(&self, settings: &Settings, queries: &[Vec<u8>]) -> Vec<Result<Vec<u8>, Failure>> {
        let mut exchange = Exchange { queries, outcomes: vec![Err(Failure::TimedOut); queries.len()] };
        let mut servers = self.network.name_servers();
        if settings.rotate && !servers.is_empty() {
            let first = usize::from(self.machine.random()) % servers.len();
            servers.rotate_left(first);
        }
        for _ in 0..settings.attempts {
            for &server in &servers {
                if settings.use_stream {
                    self.ask_by_stream(
                        &mut exchange,
                        settings,
                        server,
                        &(0..queries.len()).collect::<Vec<_>>(),
                    );
                } else {
                    self.ask_by_datagram(&mut exchange, settings, server);
                }
                if exchange.unsettled().is_empty() {
                    return exchange.outcomes;
                }
            }
        }
        exchange.outcomes
    }

    fn ask_by_datagram(&self, exchange: &mut Exchange, settings: &Settings, server: SocketAddr) {
        let asked = exchange.unsettled();
        let queries: Vec<&[u8]> = asked.iter().map(|&at| exchange.queries[at].as_slice()).collect();
        let mut waiting = asked.clone();
        let mut truncated = Vec::new();
        let result = self.network.exchange_datagrams(server, &queries, settings.timeout, &mut |datagram| {
            let answered = waiting.iter().position(|&at| message::answers(datagram, &exchange.queries[at]));
            if let Some(position) = answered {
                let at = waiting.swap_remove(position);
                if message::is_truncated(datagram) {
                    truncated.push(at);
                } else {
                    exchange.take(at, datagram.to_vec());
                }
            }
            waiting.is_empty()
        });
        // RFC 7766 5: what is truncated is asked for over TCP, of the same server.
        self.ask_by_stream(exchange, settings, server, &truncated);
        if let Err(error) = result {
            exchange.fail(error);
        }
    }

    fn ask_by_stream(
        &self,
        exchange: &mut Exchange,
        settings: &Settings,
        server: SocketAddr,
        asked: &[usize],
    ) {
        for &at in asked {
            if exchange.is_settled(at) {
                continue;
            }
            let query = &exchange.queries[at];
            match self.stream_reply(server, query, settings) {
                Ok(reply) if message::answers(&reply, query) => exchange.take(at, reply),
                Ok(_) => {}
                Err(error) => exchange.fail(error),
            }
        }
    }

    /// One message each way, each behind its length (RFC 1035 4.2.2).
    fn stream_reply(&self, server: SocketAddr, query: &[u8], settings: &Settings) -> Result<Vec<u8>> {
        let length = u16::try_from(query.len()).map_err(|_| Error::MessageTooLong)?;
        let request = [&length.to_be_bytes(), query].concat();
        let received = self.network.exchange_stream(server, &request, settings.timeout, &mut |received| {
            whole_message(received).is_some()
        })?;
        whole_message(&received).map(<[u8]>::to_vec).ok_or(Error::ConnectionReset)
    }

    /// Tries `name` as it stands and in the domains of the search list, in the order of resolv.conf(5), until `ask`
    /// succeeds. The failure is that of the name as it stands when it was tried first.
    pub(super) fn search<T>(
        &self,
        settings: &Settings,
        name: &str,
        ask: &mut dyn FnMut(&DomainName) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut attempt = |name: &str| ask(&domain_name(name)?);
        let dots = name.bytes().filter(|&octet| octet == b'.').count();
        let is_absolute = name.ends_with('.');
        let first_as_is = is_absolute || dots >= settings.ndots;
        let mut failures = Vec::new();
        if first_as_is {
            match attempt(name) {
                Err(failure) if !is_absolute && !is_final(failure) => failures.push(failure),
                outcome => return outcome,
            }
        }
        for domain in &settings.search {
            match attempt(&format!("{name}.{domain}")) {
                Err(failure) if !is_final(failure) => failures.push(failure),
                outcome => return outcome,
            }
            if matches!(failures.last(), Some(Failure::TimedOut | Failure::NoRecovery)) {
                // The next domain would fare no better, and each takes its timeouts.
                break;
            }
        }
        if first_as_is {
            return Err(failures.swap_remove(0));
        }
        let last = match attempt(name) {
            Err(failure) if !is_final(failure) => failure,
            outcome => return outcome,
        };
        let met = |failure: Failure| failures.contains(&failure).then_some(failure);
        Err(met(Failure::NoData).or_else(|| met(Failure::ServerFailed)).unwrap_or(last))
    }
}

/// Whether no other name is worth a try: an answer came that had records, or the stack itself fails.
fn is_final(failure: Failure) -> bool {
    matches!(failure, Failure::Unrelated | Failure::System(_))
}

/// The message behind its length, when all of it is there.
fn whole_message(received: &[u8]) -> Option<&[u8]> {
    let (length, rest) = received.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}
