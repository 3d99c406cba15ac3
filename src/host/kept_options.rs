//! Options of which there is nothing to do: flags that Linux keeps and shows, and which for this kind of socket change
//! nothing there either (they are about datagrams, or show what no packet of ours has); and options of which one value
//! says what is so anyway. Any other value of those is refused with the errno that Linux has for it.
#![forbid(unsafe_code)]

use super::Inner;
use super::ip_options::small;
use super::options::{Value, number, unknown};
use crate::bridge::name::Identity;
use crate::engine::{Domain, Kind};
use crate::error::{Error, Result};
use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET, c_int};

/// What an option does.
#[derive(Clone, Copy)]
enum Rule {
    /// On or off.
    Flag,
    /// 0 or 1.
    Bit,
    /// Taken and forgotten, as Linux does.
    Forgotten,
    /// Takes 0, or is this errno.
    Zero(c_int),
    /// Shows this, and cannot be set: that errno.
    Fixed(c_int, c_int),
}

/// Whose it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Streams,
    All,
}

struct Row {
    level: c_int,
    name: c_int,
    of: Of,
    rule: Rule,
    /// Bytes that it must come in, at level IPPROTO_IP.
    least: usize,
}

const fn row(level: c_int, name: c_int, of: Of, rule: Rule) -> Row {
    Row { level, name, of, rule, least: 0 }
}

const fn counted(name: c_int, least: usize, rule: Rule) -> Row {
    Row { level: IPPROTO_IP, name, of: Of::All, rule, least }
}

/// linux/in.h, linux/in6.h, linux/tcp.h and asm/socket.h, as far as libc does not name them.
const SO_SNDLOWAT: c_int = 19;
const SO_BSDCOMPAT: c_int = 14;
const TCP_TX_DELAY: c_int = 37;
const IP_RECVERR_RFC4884: c_int = 26;
const IPV6_RECVERR_RFC4884: c_int = 31;

/// A row's place is its bit in `Options::kept`: no more than 64.
const ROWS: &[Row] = &[
    row(SOL_SOCKET, libc::SO_DEBUG, Of::All, Rule::Zero(libc::EACCES)),
    row(SOL_SOCKET, libc::SO_MARK, Of::All, Rule::Zero(libc::EPERM)),
    row(SOL_SOCKET, libc::SO_LOCK_FILTER, Of::All, Rule::Zero(libc::ENOPROTOOPT)),
    row(SOL_SOCKET, SO_BSDCOMPAT, Of::All, Rule::Forgotten),
    row(SOL_SOCKET, SO_SNDLOWAT, Of::All, Rule::Fixed(1, libc::ENOPROTOOPT)),
    row(SOL_SOCKET, libc::SO_NO_CHECK, Of::Streams, Rule::Flag),
    row(SOL_SOCKET, libc::SO_RXQ_OVFL, Of::Streams, Rule::Flag),
    row(SOL_SOCKET, libc::SO_SELECT_ERR_QUEUE, Of::Streams, Rule::Flag),
    row(IPPROTO_TCP, libc::TCP_THIN_DUPACK, Of::Streams, Rule::Forgotten),
    row(IPPROTO_TCP, TCP_TX_DELAY, Of::Streams, Rule::Zero(libc::ENOPROTOOPT)),
    row(IPPROTO_IP, libc::IP_HDRINCL, Of::All, Rule::Fixed(0, libc::ENOPROTOOPT)),
    row(IPPROTO_IP, libc::IP_NODEFRAG, Of::All, Rule::Fixed(0, libc::ENOPROTOOPT)),
    row(IPPROTO_IP, libc::IP_RECVOPTS, Of::All, Rule::Flag),
    row(IPPROTO_IP, libc::IP_RECVORIGDSTADDR, Of::Streams, Rule::Flag),
    row(IPPROTO_IP, libc::IP_CHECKSUM, Of::Streams, Rule::Flag),
    row(IPPROTO_IP, libc::IP_RECVFRAGSIZE, Of::Streams, Rule::Fixed(0, libc::EINVAL)),
    row(IPPROTO_IP, IP_RECVERR_RFC4884, Of::Streams, Rule::Bit),
    counted(libc::IP_TRANSPARENT, 1, Rule::Zero(libc::EPERM)),
    counted(libc::IP_UNICAST_IF, 4, Rule::Zero(libc::EADDRNOTAVAIL)),
    row(IPPROTO_IPV6, libc::IPV6_TRANSPARENT, Of::All, Rule::Zero(libc::EPERM)),
    row(IPPROTO_IPV6, libc::IPV6_UNICAST_IF, Of::All, Rule::Zero(libc::EADDRNOTAVAIL)),
    row(IPPROTO_IPV6, libc::IPV6_2292PKTINFO, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, libc::IPV6_DONTFRAG, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, libc::IPV6_RECVPATHMTU, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, libc::IPV6_RECVRTHDR, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, libc::IPV6_RECVHOPOPTS, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, libc::IPV6_RECVDSTOPTS, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, libc::IPV6_RECVFRAGSIZE, Of::Streams, Rule::Flag),
    row(IPPROTO_IPV6, IPV6_RECVERR_RFC4884, Of::Streams, Rule::Bit),
];

fn find(identity: &Identity, level: c_int, name: c_int) -> Option<(usize, &'static Row)> {
    let fits = |row: &Row| {
        (row.level, row.name) == (level, name)
            && (row.of == Of::All || identity.kind == Kind::Stream)
            && (level != IPPROTO_IPV6 || identity.domain == Domain::V6)
    };
    ROWS.iter().enumerate().find(|(_, row)| fits(row))
}

/// getsockopt(2); None when it is another's.
pub(super) fn get(
    inner: &mut Inner,
    identity: &Identity,
    level: c_int,
    name: c_int,
) -> Option<Result<Value>> {
    let (place, row) = find(identity, level, name)?;
    let shown = |kept: u64| match row.rule {
        Rule::Flag | Rule::Bit => c_int::from(kept >> place & 1 != 0),
        Rule::Forgotten | Rule::Zero(_) => 0,
        Rule::Fixed(value, _) => value,
    };
    let value = inner.socket(identity.id).map(|socket| shown(socket.options.kept));
    Some(value.map(|value| if level == IPPROTO_IP { Value::Small(value) } else { Value::Number(value) }))
}

/// setsockopt(2); None when it is another's.
pub(super) fn set(
    inner: &mut Inner,
    identity: &Identity,
    level: c_int,
    name: c_int,
    value: &[u8],
) -> Option<Result<()>> {
    let (place, row) = find(identity, level, name)?;
    Some(set_row(inner, identity, (place, row), value))
}

fn set_row(inner: &mut Inner, identity: &Identity, (place, row): (usize, &Row), value: &[u8]) -> Result<()> {
    let number = match row.level {
        IPPROTO_IP if value.len() < row.least => return Err(Error::InvalidArgument),
        IPPROTO_IP => small(value),
        _ => number(value)?,
    };
    match row.rule {
        Rule::Bit if !(0..=1).contains(&number) => return Err(Error::InvalidArgument),
        Rule::Forgotten if row.level == IPPROTO_TCP && !(0..=1).contains(&number) => {
            return Err(Error::InvalidArgument);
        }
        Rule::Zero(libc::ENOPROTOOPT) if number != 0 => return Err(unknown(row.level, row.name)),
        Rule::Zero(errno) if number != 0 => return Err(Error::Kernel(errno)),
        Rule::Fixed(_, libc::ENOPROTOOPT) => return Err(Error::NoSuchOption),
        Rule::Fixed(_, errno) => return Err(Error::Kernel(errno)),
        Rule::Flag | Rule::Bit | Rule::Forgotten | Rule::Zero(_) => {}
    }
    let kept = &mut inner.socket(identity.id)?.options.kept;
    *kept = *kept & !(1 << place) | u64::from(number != 0) << place;
    Ok(())
}
