//! rtnetlink(7), as much of it as tells of interfaces, addresses and routes: what the kernel would answer if the stack were
//! its own. What would change something is not permitted, and whatever else can be asked is not supported.

use super::message::{Message, Request};
use super::tables;
use crate::calls::interfaces::View;
use libc::{
    IFLA_ALT_IFNAME, IFLA_IFNAME, NLM_F_ACK, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_MULTI, NLM_F_REQUEST, RTA_DST,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Messages of one dump that go together: programs read with a page. With its overhead the kernel counts a little more than a
/// page for it; of a little more than this, two.
const DATAGRAM: usize = 3700;
/// linux/netlink.h: what is below belongs to netlink itself.
const NLMSG_MIN_TYPE: u16 = 16;
/// linux/rtnetlink.h
const RTM_MAX: u16 = 123;
/// sizeof(struct ifinfomsg), sizeof(struct rtmsg)
const LINK: usize = 16;
const ROUTE: usize = 12;

/// What a request is answered with.
enum Reply {
    /// Nothing, but that it was done.
    Nothing,
    /// One message.
    One(Message),
    /// All that there are.
    Dump(Vec<Message>),
}

/// The datagrams that answer one with requests, to the socket with this port.
pub(super) fn answer(bytes: &[u8], port: u32, view: &View) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut rest = bytes;
    while let Some((request, behind)) = Request::first(rest) {
        answer_one(&request, port, view, &mut datagrams);
        rest = behind;
    }
    datagrams
}

/// netlink_rcv_skb
fn answer_one(request: &Request<'_>, port: u32, view: &View, datagrams: &mut Vec<Vec<u8>>) {
    let has = |flag: i32| i32::from(request.flags) & flag != 0;
    let asks = has(NLM_F_REQUEST) && request.kind >= NLMSG_MIN_TYPE;
    let errno = match if asks { reply(request, has(NLM_F_DUMP), view) } else { Ok(Reply::Nothing) } {
        Ok(Reply::Dump(messages)) => return dump(&messages, request, port, datagrams),
        Ok(Reply::One(message)) => {
            datagrams.push(message.encode(0, request, port));
            0
        }
        Ok(Reply::Nothing) => 0,
        Err(errno) => errno,
    };
    if errno != 0 || has(NLM_F_ACK) {
        // struct nlmsgerr: with the whole request only when it failed.
        let (told, flags) = if errno == 0 { (request.header(), NLM_F_CAPPED) } else { (request.whole, 0) };
        let body = [&(-errno).to_ne_bytes(), told].concat();
        datagrams.push(Message::new(libc::NLMSG_ERROR as u16, &body).encode(flags as u16, request, port));
    }
}

/// Several messages in each datagram, and at last NLMSG_DONE.
fn dump(messages: &[Message], request: &Request<'_>, port: u32, datagrams: &mut Vec<Vec<u8>>) {
    let mut datagram = Vec::new();
    for message in messages {
        let bytes = message.encode(NLM_F_MULTI as u16, request, port);
        if !datagram.is_empty() && datagram.len() + bytes.len() > DATAGRAM {
            datagrams.push(core::mem::take(&mut datagram));
        }
        datagram.extend(bytes);
    }
    if !datagram.is_empty() {
        datagrams.push(datagram);
    }
    let done = Message::new(libc::NLMSG_DONE as u16, &0_i32.to_ne_bytes());
    datagrams.push(done.encode(NLM_F_MULTI as u16, request, port));
}

/// rtnetlink_rcv_msg. The error is an errno.
fn reply(request: &Request<'_>, dumps: bool, view: &View) -> Result<Reply, i32> {
    if request.kind > RTM_MAX {
        return Err(libc::EOPNOTSUPP);
    }
    let Some(&family) = request.body().first() else { return Ok(Reply::Nothing) };
    // rtnl_msgtype_kind: new, delete, get and set, in turn.
    if request.kind % 4 != libc::RTM_GETLINK % 4 {
        return Err(libc::EPERM);
    }
    match (request.kind, dumps) {
        (libc::RTM_GETLINK, true) if i32::from(family) == libc::AF_BRIDGE => Ok(Reply::Dump(Vec::new())),
        (libc::RTM_GETLINK, true) => Ok(Reply::Dump(view.interfaces.iter().map(tables::link).collect())),
        (libc::RTM_GETADDR, true) => Ok(Reply::Dump(tables::addresses(view, family))),
        // Those of a cache, which there is none of.
        (libc::RTM_GETROUTE, true) if wants_cached(request) => Ok(Reply::Dump(Vec::new())),
        (libc::RTM_GETROUTE, true) => Ok(Reply::Dump(tables::routes(view, family))),
        (libc::RTM_GETNEIGH, true) => Ok(Reply::Dump(Vec::new())),
        (libc::RTM_GETLINK, false) => link(request, view).map(Reply::One),
        (libc::RTM_GETROUTE, false) => way(request, view).map(Reply::One),
        _ => Err(libc::EOPNOTSUPP),
    }
}

fn wants_cached(request: &Request<'_>) -> bool {
    request.number(ROUTE - 4).is_some_and(|flags| flags & libc::RTM_F_CLONED != 0)
}

/// One interface, by its number or its name (rtnl_getlink).
fn link(request: &Request<'_>, view: &View) -> Result<Message, i32> {
    let (Some(index), true) = (request.number(4), request.body().len() >= LINK) else {
        return Err(libc::EINVAL);
    };
    let name = [IFLA_IFNAME, IFLA_ALT_IFNAME].into_iter().find_map(|name| request.attribute(LINK, name));
    let name = name.map(|name| name.split(|&byte| byte == 0).next().unwrap_or_default());
    if index == 0 && name.is_none() {
        return Err(libc::EINVAL);
    }
    let found = view.interfaces.iter().find(|(interface, _)| match index {
        0 => name == Some(interface.name.as_bytes()),
        index => interface.index == index,
    });
    found.map(tables::link).ok_or(libc::ENODEV)
}

/// Which way to a destination (inet_rtm_getroute, inet6_rtm_getroute).
fn way(request: &Request<'_>, view: &View) -> Result<Message, i32> {
    let family = request.body().first().copied().map_or(0, i32::from);
    if request.body().len() < ROUTE {
        return Err(libc::EINVAL);
    }
    let to = request.attribute(ROUTE, RTA_DST);
    let to: Option<IpAddr> = match (family, to) {
        (libc::AF_INET, None) => Some(Ipv4Addr::UNSPECIFIED.into()),
        (libc::AF_INET6, None) => Some(Ipv6Addr::UNSPECIFIED.into()),
        (libc::AF_INET, Some(to)) => to.first_chunk::<4>().map(|to| (*to).into()),
        (libc::AF_INET6, Some(to)) => to.first_chunk::<16>().map(|to| (*to).into()),
        _ => return Err(libc::EOPNOTSUPP),
    };
    tables::way(view, to.ok_or(libc::EINVAL)?).ok_or(libc::ENETUNREACH)
}

#[cfg(test)]
mod tests {
    use super::super::message::HEADER;
    use super::*;
    use crate::addressing::Route;
    use crate::calls::interfaces::{INTERFACES, State};
    use proptest::prelude::*;

    const PORT: u32 = 77;

    fn view(addresses: &[&str], routes: &[&str]) -> View {
        let state = |addresses: &[&str]| State {
            addresses: addresses.iter().map(|own| own.parse().expect("an address")).collect(),
            mtu: 1500,
        };
        let [loopback, link] = INTERFACES;
        View {
            interfaces: [(loopback, state(&["127.0.0.1/8", "::1/128"])), (link, state(addresses))],
            routes: routes.iter().map(|route| route.parse().expect("a route")).collect(),
        }
    }

    fn small() -> View {
        view(&["10.0.2.15/24", "fd00::15/64"], &["0.0.0.0/0,10.0.2.2", "::/0,fd00::2"])
    }

    fn request(kind: u16, flags: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(((NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        bytes.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    /// All messages of some datagrams: kind and body.
    fn messages(datagrams: &[Vec<u8>]) -> Vec<(u16, Vec<u8>)> {
        let mut found = Vec::new();
        for datagram in datagrams {
            let mut rest = &datagram[..];
            while let Some((message, behind)) = Request::first(rest) {
                assert_eq!(message.whole[12..HEADER], PORT.to_ne_bytes());
                found.push((message.kind, message.body().to_vec()));
                rest = behind;
            }
            assert_eq!(rest, b"", "whole messages only");
        }
        found
    }

    fn errno(datagrams: &[Vec<u8>]) -> i32 {
        match &messages(datagrams)[..] {
            [(kind, body)] if i32::from(*kind) == libc::NLMSG_ERROR => {
                -i32::from_ne_bytes(*body.first_chunk().expect("an error"))
            }
            _ => 0,
        }
    }

    #[test]
    fn changes_are_not_permitted_and_the_rest_not_supported() {
        let body = [0; 16];
        for (kind, flags, expected) in [
            (libc::RTM_NEWLINK, 0, libc::EPERM),
            (libc::RTM_DELADDR, 0, libc::EPERM),
            (libc::RTM_NEWROUTE, 0, libc::EPERM),
            (libc::RTM_SETLINK, NLM_F_ACK, libc::EPERM),
            (libc::RTM_GETRULE, NLM_F_DUMP, libc::EOPNOTSUPP),
            (libc::RTM_GETQDISC, NLM_F_DUMP, libc::EOPNOTSUPP),
            (4711, 0, libc::EOPNOTSUPP),
        ] {
            let asked = request(kind, flags, &body);
            let answered = answer(&asked, PORT, &small());
            assert_eq!(errno(&answered), expected, "{kind}");
            assert_eq!(messages(&answered)[0].1[4..], asked, "the request comes back");
        }
    }

    #[test]
    fn a_long_dump_comes_in_datagrams_of_a_page_and_has_an_end() {
        let routes: Vec<Route> =
            (0..500).map(|n| format!("10.{}.{}.0/24", n / 250, n % 250).parse().expect("a route")).collect();
        let long = View { routes, ..small() };
        let answered = answer(&request(libc::RTM_GETROUTE, NLM_F_DUMP, &[2]), PORT, &long);
        assert!(answered.len() > 2 && answered.iter().all(|datagram| datagram.len() <= DATAGRAM));
        let messages = messages(&answered);
        let (last, routes) = messages.split_last().expect("an end");
        assert_eq!(*last, (libc::NLMSG_DONE as u16, vec![0; 4]));
        assert_eq!(routes.len(), 501, "and the network of the address");
        assert!(routes.iter().all(|(kind, _)| *kind == libc::RTM_NEWROUTE));
    }

    /// An interface, the gateway if there is one, and the address of ours.
    type Way = (u32, Option<Vec<u8>>, Vec<u8>);

    /// What `ip route get` asks.
    fn way_to(view: &View, to: &str) -> Result<Way, i32> {
        let to: IpAddr = to.parse().expect("an address");
        let (family, octets) = match to {
            IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
        };
        let mut body = [0; ROUTE].to_vec();
        body[0] = family as u8;
        body.extend(((octets.len() + 4) as u16).to_ne_bytes());
        body.extend(RTA_DST.to_ne_bytes());
        body.extend(octets);
        let answered = answer(&request(libc::RTM_GETROUTE, 0, &body), PORT, view);
        if errno(&answered) != 0 {
            return Err(errno(&answered));
        }
        let (found, _) = Request::first(&answered[0]).expect("a route");
        let value = |kind| found.attribute(ROUTE, kind).map(<[u8]>::to_vec);
        let out = value(libc::RTA_OIF).expect("an interface");
        let out = u32::from_ne_bytes(out.try_into().expect("a number"));
        Ok((out, value(libc::RTA_GATEWAY), value(libc::RTA_PREFSRC).expect("an address")))
    }

    #[test]
    fn ways() {
        let own = vec![10, 0, 2, 15];
        let view = small();
        assert_eq!(way_to(&view, "10.0.2.15"), Ok((1, None, own.clone())));
        assert_eq!(way_to(&view, "10.0.2.77"), Ok((2, None, own.clone())));
        assert_eq!(way_to(&view, "10.0.2.255"), Ok((2, None, own.clone())));
        assert_eq!(way_to(&view, "192.0.2.1"), Ok((2, Some(vec![10, 0, 2, 2]), own)));
        assert!(way_to(&view, "2001:db8::1").is_ok_and(|(out, gateway, _)| out == 2 && gateway.is_some()));
        let near = super::tests::view(&["10.0.2.15/24"], &[]);
        assert_eq!(way_to(&near, "192.0.2.1"), Err(libc::ENETUNREACH));
        assert_eq!(way_to(&near, "2001:db8::1"), Err(libc::ENETUNREACH));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_the_answer_is_whole(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            kind in 0_u16..130,
        ) {
            if let Some(place) = bytes.get_mut(4..6) {
                place.copy_from_slice(&kind.to_ne_bytes());
            }
            let length = bytes.len() as u32;
            if let Some(place) = bytes.get_mut(..4) {
                place.copy_from_slice(&length.to_ne_bytes());
            }
            messages(&answer(&bytes, PORT, &small()));
        }
    }
}
