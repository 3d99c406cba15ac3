//! DNS messages (RFC 1035 4): made, matched with their query, and read. The `domain` crate knows the format; what an
//! answer means to a stub resolver is decided here. Any octets may come in.
#![forbid(unsafe_code)]

use super::Failure;
use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, ParsedName, Rtype};
use domain::rdata::{A, Aaaa, Cname, Ptr};
use std::net::IpAddr;

/// The octets of a domain name.
pub type NameOctets = Vec<u8>;
/// An absolute domain name.
pub type DomainName = Name<NameOctets>;
/// The TYPE of a record (RFC 1035 3.2.2).
pub type RecordType = Rtype;
/// The CLASS of a record (RFC 1035 3.2.4).
pub type RecordClass = Class;

/// A longer chain of CNAMEs is a loop or an attack; BIND and Unbound stop at 11.
const CNAME_CHAIN_MAX: usize = 16;

/// A query with recursion desired, for one question.
pub(super) fn query(id: u16, name: &DomainName, class: Class, kind: Rtype) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((name, kind, class)).expect("one question of at most 259 octets fits in a message");
    question.finish()
}

/// Whether `reply` answers `query`: id, response bit and question are right (RFC 5452 9.1). Anything else is somebody
/// else's answer, or a forger's, and the wait goes on.
pub(super) fn answers(reply: &[u8], query: &[u8]) -> bool {
    match (Message::from_slice(reply), Message::from_slice(query)) {
        (Ok(reply), Ok(query)) => {
            reply.is_answer(query) && reply.header().opcode() == query.header().opcode()
        }
        _ => false,
    }
}

/// Whether the answer was cut off, so that it must be asked for over TCP.
pub(super) fn is_truncated(reply: &[u8]) -> bool {
    Message::from_slice(reply).is_ok_and(|reply| reply.header().tc())
}

/// Why this server's answer is none, so that the next one is asked.
pub(super) fn server_failure(reply: &[u8]) -> Option<Failure> {
    match rcode(reply) {
        Rcode::SERVFAIL => Some(Failure::ServerFailed),
        Rcode::NOTIMP | Rcode::REFUSED => Some(Failure::TimedOut),
        Rcode::NOERROR if is_lame(reply) => Some(Failure::TimedOut),
        _ => None,
    }
}

/// A server that neither recurses nor knows, and has nothing to say: its "no data" is not the domain's.
fn is_lame(reply: &[u8]) -> bool {
    Message::from_slice(reply).is_ok_and(|reply| {
        let (header, counts) = (reply.header(), reply.header_counts());
        !header.aa() && !header.ra() && counts.ancount() == 0 && counts.arcount() == 0
    })
}

/// What an answer says of its question as a whole: Ok when it has records.
pub fn verdict(reply: &[u8]) -> Result<(), Failure> {
    let records = Message::from_slice(reply).map_or(0, |reply| reply.header_counts().ancount());
    match rcode(reply) {
        Rcode::NOERROR if records > 0 => Ok(()),
        Rcode::NOERROR => Err(Failure::NoData),
        Rcode::NXDOMAIN => Err(Failure::HostNotFound),
        Rcode::SERVFAIL => Err(Failure::ServerFailed),
        _ => Err(Failure::NoRecovery),
    }
}

fn rcode(reply: &[u8]) -> Rcode {
    Message::from_slice(reply).map_or(Rcode::FORMERR, |reply| reply.header().rcode())
}

/// Where the CNAMEs of an answer lead.
struct Chain<'a> {
    canonical: ParsedName<&'a [u8]>,
    /// The names passed on the way, the question's first.
    aliases: Vec<String>,
}

fn follow_aliases(reply: &Message<[u8]>) -> Option<Chain<'_>> {
    let mut canonical = reply.first_question()?.into_qname();
    let mut aliases = Vec::new();
    let records = reply.answer().ok()?.limit_to::<Cname<_>>();
    while let Some(alias) = records.clone().flatten().find(|record| *record.owner() == canonical) {
        if aliases.len() == CNAME_CHAIN_MAX {
            return None;
        }
        aliases.push(canonical.to_string());
        canonical = alias.into_data().into_cname();
    }
    Some(Chain { canonical, aliases })
}

/// The host that an answer to an A, AAAA or PTR question describes.
pub(super) struct Described {
    pub name: String,
    pub aliases: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

/// The addresses at the end of the question's chain of CNAMEs.
pub(super) fn addresses(reply: &[u8]) -> Option<Described> {
    let reply = Message::from_slice(reply).ok()?;
    let chain = follow_aliases(reply)?;
    let answer = reply.answer().ok()?;
    let four = answer.limit_to::<A>().flatten().map(|record| (*record.owner(), record.data().addr().into()));
    let six =
        answer.limit_to::<Aaaa>().flatten().map(|record| (*record.owner(), record.data().addr().into()));
    let addresses: Vec<IpAddr> =
        four.chain(six).filter(|(owner, _)| *owner == chain.canonical).map(|(_, address)| address).collect();
    let mut aliases = chain.aliases;
    let mut name = chain.canonical.to_string();
    if !is_host_name(&name) {
        // A name that no program should be shown; the one it asked for is safe.
        name = aliases.drain(..).next()?;
    }
    aliases.retain(|alias| is_host_name(alias));
    (!addresses.is_empty()).then_some(Described { name, aliases, addresses })
}

/// The names that PTR records give, after the CNAMEs of RFC 2317.
pub(super) fn pointers(reply: &[u8]) -> Vec<String> {
    let Ok(reply) = Message::from_slice(reply) else { return Vec::new() };
    let (Some(chain), Ok(answer)) = (follow_aliases(reply), reply.answer()) else { return Vec::new() };
    answer
        .limit_to::<Ptr<_>>()
        .flatten()
        .filter(|record| *record.owner() == chain.canonical)
        .map(|record| record.data().ptrdname().to_string())
        .filter(|name| is_host_name(name))
        .collect()
}

/// Whether a name may be a host's: what glibc's res_hnok lets through. Others are neither asked for nor shown to the
/// program, which may put them in a shell command.
pub(super) fn is_host_name(name: &str) -> bool {
    !name.starts_with('-')
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'))
}
