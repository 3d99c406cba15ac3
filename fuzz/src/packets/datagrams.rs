//! Calls on datagram and echo sockets: ports that are shared, groups, errors that are wanted, datagrams treated as asked.
#![forbid(unsafe_code)]

use super::super::bytes::Bytes;
use super::super::wire;
use super::{OURS, SOCKETS_MAX, THEIRS, World};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tubesock::engine::{
    Control, Coverage, Domain, Kind, Path, PathMtuDiscovery, SocketId, SocketOption, Timestamps,
};
use tubesock::error::Error;

/// Ports of three sockets with SO_REUSEPORT, of three with SO_REUSEADDR, of who wants to see errors, of UDP-Lite; the
/// identifier of who pings.
pub(super) const SHARED: u16 = 7000;
pub(super) const MANY: u16 = 7001;
pub(super) const WATCHED: u16 = 7002;
pub(super) const LITE: u16 = 7003;
pub(super) const PINGED: u16 = 77;

pub(super) const GROUPS: [[IpAddr; 3]; 2] = [
    [
        IpAddr::V4(Ipv4Addr::new(239, 1, 1, 1)),
        IpAddr::V4(Ipv4Addr::new(239, 1, 1, 2)),
        IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    ],
    [
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x77)),
        IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x78)),
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    ],
];

pub(super) const BROADCASTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::BROADCAST), IpAddr::V4(Ipv4Addr::new(10, 0, 2, 255))];

const DOMAINS: [Domain; 3] = [Domain::V4, Domain::V6, Domain::V6];

impl World {
    pub(super) fn populate_datagrams(&mut self) {
        let now = self.now;
        for (port, option) in
            [(SHARED, SocketOption::ReusePort(true)), (MANY, SocketOption::ReuseAddress(true))]
        {
            for domain in DOMAINS {
                let id = self.add(domain, Kind::Datagram);
                self.engine.set_option(id, option, now).expect("an option");
                self.engine.set_option(id, SocketOption::Broadcast(true), now).expect("an option");
                self.engine.bind(id, SocketAddr::new(wildcard(domain), port), now).expect("bind");
                if port == MANY {
                    self.join(id, GROUPS[family(domain)][0], None, None);
                }
            }
        }
        for domain in [Domain::V4, Domain::V6] {
            let peer = SocketAddr::new(THEIRS[family(domain)], WATCHED);
            for (kind, port) in [(Kind::Datagram, WATCHED), (Kind::Echo, PINGED)] {
                let id = self.add(domain, kind);
                self.engine
                    .set_option(id, SocketOption::ReceiveErrors(domain, true), now)
                    .expect("an option");
                self.engine
                    .set_option(id, SocketOption::V6Only(domain == Domain::V6), now)
                    .expect("an option");
                self.engine.bind(id, SocketAddr::new(wildcard(domain), port), now).expect("bind");
                self.engine.connect(id, peer, now).expect("connect");
            }
        }
        let id = self.add(Domain::V6, Kind::Lite);
        self.engine.bind(id, SocketAddr::new(wildcard(Domain::V6), LITE), now).expect("bind");
    }

    fn add(&mut self, domain: Domain, kind: Kind) -> SocketId {
        let id = self.engine.open(domain, kind);
        self.datagrams.push(id);
        id
    }

    fn datagram_socket(&self, input: &mut Bytes) -> SocketId {
        self.datagrams[usize::from(input.u8()) % self.datagrams.len()]
    }

    /// Sends, and looks whether it leaves as it was asked to.
    pub(super) fn send(&mut self, input: &mut Bytes) {
        let id = self.datagram_socket(input);
        let to = target(input);
        let to = (!input.u8().is_multiple_of(4)).then_some(to);
        let control = control(input);
        // What waits for more goes as the first of it was to go.
        let plain = self.engine.sends_plainly(id, to) && !control.more;
        let length = usize::from(input.pick(&[0, 8, 100, 1472, 1473, 4000, 65_507, 65_527, 65_535_u16]));
        let mut payload = vec![3; length];
        let asks = if self.engine.local(id).is_some_and(|local| local.is_ipv4()) { 8 } else { 128 };
        payload.iter_mut().zip([asks, 0]).for_each(|(byte, value)| *byte = value);
        let sent = self.engine.send_with(id, to, &control, &payload, self.now);
        // Whatever waits for the link, datagrams come before segments, and before this one nothing waited.
        let Some(packet) = self.next_packet() else { return };
        if plain && sent.is_ok() && is_sent(&packet) {
            let (hop_limit, class) = wire::treatment(&packet);
            assert!(control.hop_limit.is_none_or(|asked| asked == hop_limit), "TTL {hop_limit}: {control:?}");
            assert!(control.traffic_class.is_none_or(|asked| asked == class), "TOS {class}: {control:?}");
        }
    }

    /// What a program reads of a datagram socket.
    pub(super) fn take(&mut self, input: &mut Bytes) {
        let id = self.datagram_socket(input);
        match input.u8() % 4 {
            0 => while self.engine.receive_from(id).is_some() {},
            1 => {
                let known = self.engine.local(id).expect("it is open");
                while let Some(report) = self.engine.next_report(id) {
                    assert_eq!(report.to.is_ipv4(), known.is_ipv4(), "in the form of the socket's domain");
                }
                assert!(!self.engine.has_reports(id), "all of them were taken");
            }
            2 => drop(self.engine.take_error(id)),
            _ => {
                let mtu = self.engine.path_mtu(id, self.now);
                assert!(mtu.is_ok_and(|mtu| mtu <= 65_535) || mtu == Err(Error::NotConnected), "{mtu:?}");
            }
        }
    }

    /// Any of it may fail.
    pub(super) fn arrange_datagrams(&mut self, input: &mut Bytes) {
        let now = self.now;
        let action = input.u8() % 10;
        if action == 0 && self.datagrams.len() < SOCKETS_MAX {
            let domain = input.pick(&[Domain::V4, Domain::V6]);
            let id = self.add(domain, input.pick(&[Kind::Datagram, Kind::Lite, Kind::Echo]));
            let option = input.pick(&[SocketOption::ReusePort(true), SocketOption::ReuseAddress(true)]);
            self.engine.set_option(id, option, now).expect("an option");
            let port = input.pick(&[SHARED, MANY, WATCHED, PINGED, 0, LITE]);
            let _ = self.engine.bind(id, SocketAddr::new(wildcard(domain), port), now);
            return;
        }
        let id = self.datagram_socket(input);
        match action {
            0 | 1 => drop(self.engine.bind(id, target(input), now)),
            2 => drop(self.engine.connect(id, target(input), now)),
            3 => drop(self.engine.disconnect(id)),
            4 => {
                let (group, source, path) = membership(input);
                self.join(id, group, source, path);
            }
            5 => {
                let (group, source, path) = membership(input);
                let left = self.engine.leave_group(id, group, source, path);
                if left.is_ok() && source.is_none() {
                    let path = path.unwrap_or(Path::Link);
                    self.members.retain(|member| *member != (id, group, path));
                }
            }
            9 => {
                let (group, source, path) = membership(input);
                let source = source.unwrap_or(THEIRS[usize::from(group.is_ipv6())]);
                let _ = self.engine.block_source(id, group, source, path, input.u8().is_multiple_of(2));
            }
            6 if self.datagrams.len() > 1 => {
                self.engine.release(id, now);
                self.datagrams.retain(|socket| *socket != id);
                self.members.retain(|(member, ..)| *member != id);
            }
            _ => drop(self.engine.set_option(id, option(input), now)),
        }
    }

    fn join(&mut self, id: SocketId, group: IpAddr, source: Option<IpAddr>, path: Option<Path>) {
        let joined = self.engine.join_group(id, group, source, path);
        let member = (id, group, path.unwrap_or(Path::Link));
        if joined.is_ok() && !self.members.contains(&member) {
            self.members.push(member);
        }
    }
}

/// Whether a program sent it: of what leaves by itself nothing is a datagram or an echo request.
fn is_sent(packet: &[u8]) -> bool {
    let Some((_, _, protocol, payload)) = wire::payload(packet, false) else { return false };
    match protocol {
        wire::UDP | wire::UDP_LITE | wire::FRAGMENT_V6 => true,
        wire::ICMP_V4 | wire::ICMP_V6 => matches!(payload[0], 8 | 128),
        _ => false,
    }
}

pub(super) fn family(domain: Domain) -> usize {
    usize::from(domain == Domain::V6)
}

fn wildcard(domain: Domain) -> IpAddr {
    match domain {
        Domain::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Domain::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Where a socket may send to: as it is, or mapped.
fn target(input: &mut Bytes) -> SocketAddr {
    let choice = input.u8();
    let all =
        [THEIRS, OURS, GROUPS[0][..2].try_into().expect("two"), GROUPS[1][..2].try_into().expect("two")];
    let others = [BROADCASTS[0], BROADCASTS[1], wildcard(Domain::V4), wildcard(Domain::V6)];
    let loopbacks = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let choices: Vec<IpAddr> = all.into_iter().flatten().chain(others).chain(loopbacks).collect();
    let address = match choices[usize::from(choice & 0x7f) % choices.len()] {
        IpAddr::V4(address) if choice & 0x80 != 0 => address.to_ipv6_mapped().into(),
        address => address,
    };
    SocketAddr::new(address, input.pick(&[WATCHED, SHARED, MANY, 0, LITE]))
}

fn control(input: &mut Bytes) -> Control {
    let bits = input.u8();
    let mut asked = |bit: u8| (bits & 1 << bit != 0).then(|| input.u8());
    let sources = [OURS[0], OURS[1], THEIRS[0], Ipv4Addr::LOCALHOST.into(), GROUPS[0][0], GROUPS[1][0]];
    Control {
        hop_limit: asked(0),
        traffic_class: asked(1),
        source: asked(2).map(|choice| sources[usize::from(choice) % sources.len()]),
        path: asked(3).map(|choice| if choice % 2 == 0 { Path::Link } else { Path::Loopback }),
        segment: asked(4).map(|choice| u16::from(choice) * 16),
        more: bits & 0x20 != 0,
    }
}

fn membership(input: &mut Bytes) -> (IpAddr, Option<IpAddr>, Option<Path>) {
    let bits = input.u8();
    let family = usize::from(bits & 1);
    // A group for each number, to come to the limits.
    let group = match GROUPS[family][usize::from(bits >> 1 & 3) % 3] {
        IpAddr::V4(_) if bits & 8 != 0 => IpAddr::V4(Ipv4Addr::new(239, 2, 2, input.u8())),
        group => group,
    };
    let source = (bits & 16 != 0).then(|| input.pick(&[THEIRS[family], OURS[family]]));
    let path = [None, None, Some(Path::Link), Some(Path::Loopback)][usize::from(bits >> 6)];
    (group, source, path)
}

fn option(input: &mut Bytes) -> SocketOption {
    use PathMtuDiscovery::{Do, Dont, Interface, Omit, Probe, Want};
    let domain = input.pick(&[Domain::V4, Domain::V6]);
    let number = input.u8();
    let on = number.is_multiple_of(2);
    match input.u8() % 17 {
        0 => SocketOption::ReuseAddress(on),
        1 => SocketOption::ReusePort(on),
        2 => SocketOption::Broadcast(on),
        3 => SocketOption::HopLimit(domain, on.then_some(number)),
        4 => SocketOption::TrafficClass(domain, number),
        5 => SocketOption::MulticastHops(domain, number),
        6 => SocketOption::MulticastLoop(domain, on),
        7 => SocketOption::MulticastPath(domain, on.then_some(input.pick(&[Path::Link, Path::Loopback]))),
        8 => SocketOption::MulticastAll(domain, on),
        9 => SocketOption::ReceiveErrors(domain, on),
        10 => SocketOption::ReceiveBuffer(on.then_some(usize::from(number) * 512)),
        11 => SocketOption::V6Only(on),
        12 => SocketOption::Cork(on),
        13 => SocketOption::Segment(u16::from(number) * 16),
        14 => SocketOption::Timestamps(Timestamps {
            on,
            only: number & 2 != 0,
            numbered: number & 4 != 0,
            next: 0,
        }),
        15 => SocketOption::ChecksumCoverage(Coverage {
            send: if on { 0 } else { u16::from(number).max(8) },
            receive: (number & 2 != 0).then_some(u16::from(number)),
        }),
        _ => SocketOption::PathMtuDiscovery(domain, input.pick(&[Dont, Want, Do, Probe, Interface, Omit])),
    }
}
