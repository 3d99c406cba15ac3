//! The packets that `nat` reads and writes itself: UDP, echo, and the ICMP errors of both. TCP is the engine's. The
//! link is in memory, so checksums are neither checked nor, except for ICMP, filled in.
#![forbid(unsafe_code)]

use crate::icmp::{self, Message};
use crate::ip::{self, Fault, Header, Treatment};
use crate::link::Packet;
use crate::udp;
use std::net::{IpAddr, SocketAddr};

/// Largest packet, header included: what 16 bits of length can say for IPv4.
pub const MTU: usize = 65535;

/// An IP packet, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened<'a> {
    pub(super) header: Header,
    pub(super) packet: &'a [u8],
}

impl<'a> Opened<'a> {
    pub(super) fn payload(&self) -> &'a [u8] {
        &self.packet[self.header.payload.clone()]
    }
}

/// Opens a packet that is whole.
pub(super) fn open(packet: &[u8]) -> Result<Opened<'_>, Fault> {
    Ok(Opened { header: ip::parse(packet, false)?, packet })
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) treatment: Treatment,
    pub(super) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the datagram in a packet.
    pub(super) fn parse(opened: &Opened<'a>) -> Option<Datagram<'a>> {
        let arrived = udp::parse(opened.packet, &opened.header, false).ok()?;
        Some(Datagram {
            from: arrived.source,
            to: arrived.destination,
            treatment: opened.header.treatment,
            payload: &opened.packet[arrived.payload],
        })
    }

    /// The packet that carries it. None when it is too long, or its two addresses are of different families.
    pub(super) fn emit(&self) -> Option<Packet> {
        let Datagram { from, to, treatment, payload } = *self;
        let fits = udp::HEADER_LENGTH + payload.len() <= ip::payload_max(from.ip());
        let sound = fits && from.is_ipv4() == to.is_ipv4();
        sound.then(|| udp::build_treated(from, to, treatment, payload, false))
    }
}

/// The answer to a packet, when that is an echo request (RFC 792, RFC 4443 4.1).
pub(super) fn echo_reply(opened: &Opened<'_>) -> Option<Packet> {
    let request = icmp::parse(opened.packet, &opened.header, false) == Ok(Some(Message::Echo));
    request.then(|| icmp::echo_reply(opened.packet, &opened.header, true))
}

/// An error for the program about `quoted`, a packet of its own.
pub(super) fn error(cause: icmp::Cause, offender: IpAddr, quoted: &[u8]) -> Option<Packet> {
    let program = open(quoted).ok()?.header.source;
    let sound = program.is_ipv4() == offender.is_ipv4();
    sound.then(|| icmp::error(cause, offender, program, quoted, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::icmp::{Cause, Unreachable};
    use proptest::prelude::*;

    const TREATMENT: Treatment = Treatment { hop_limit: 7, traffic_class: 0xb8 };

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_datagram_survives_the_packet() {
        for (from, to) in [("10.0.2.15:40000", "192.0.2.1:53"), ("[fd00::15]:40000", "[2001:db8::1]:53")] {
            for length in [0, 1, 1472, 65507] {
                let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
                let datagram =
                    Datagram { from: at(from), to: at(to), treatment: TREATMENT, payload: &payload };
                let packet = datagram.emit().unwrap();
                assert_eq!(Datagram::parse(&open(&packet).unwrap()), Some(datagram));
            }
        }
    }

    #[test]
    fn a_datagram_that_no_packet_can_carry_is_none() {
        let payload = [0; MTU];
        for (from, to, longest) in
            [("10.0.2.15:1", "10.0.2.2:1", 65_507), ("[fd00::15]:1", "[fd00::2]:1", 65_527)]
        {
            let fits = |length| {
                let payload = &payload[..length];
                Datagram { from: at(from), to: at(to), treatment: TREATMENT, payload }.emit().is_some()
            };
            assert!(fits(longest) && !fits(longest + 1));
        }
        let (from, to) = (at("10.0.2.15:1"), at("[fd00::2]:1"));
        assert_eq!(Datagram { from, to, treatment: TREATMENT, payload: &[] }.emit(), None);
    }

    #[test]
    fn an_error_quotes_the_packet() {
        for (from, to, offender, cause) in [
            ("10.0.2.15:40000", "192.0.2.1:99", "192.0.2.9", Unreachable::Port.cause(true)),
            ("10.0.2.15:40000", "192.0.2.1:99", "192.0.2.9", Cause { kind: 11, code: 0, info: 0 }),
            ("[fd00::15]:40000", "[2001:db8::1]:99", "2001:db8::9", Unreachable::Network.cause(false)),
        ] {
            let payload = b"what was sent";
            let datagram = Datagram { from: at(from), to: at(to), treatment: TREATMENT, payload };
            let packet = error(cause, offender.parse().unwrap(), &datagram.emit().unwrap()).unwrap();
            let opened = open(&packet).unwrap();
            assert_eq!(opened.header.destination, at(from).ip());
            let Ok(Some(Message::Error(report))) = icmp::parse(&packet, &opened.header, true) else {
                panic!()
            };
            assert_eq!((report.kind, report.code), (cause.kind, cause.code));
            assert_eq!((report.quoted.local, report.quoted.remote), (at(from), at(to)));
            assert_eq!(
                (&packet[report.quoted.payload], report.offender.to_string()),
                (&payload[..], offender.into())
            );
        }
        let datagram =
            Datagram { from: at("10.0.2.15:1"), to: at("192.0.2.1:99"), treatment: TREATMENT, payload: &[] };
        let cause = Unreachable::Port.cause(false);
        assert_eq!(error(cause, at("[fd00::2]:1").ip(), &datagram.emit().unwrap()), None);
        assert_eq!(error(cause, at("[fd00::2]:1").ip(), b"no packet"), None);
    }

    #[test]
    fn an_echo_request_is_answered_and_nothing_else() {
        let message = [8, 0, 0, 0, 0x12, 0x34, 0, 1, b'h', b'i'];
        let [guest, gateway] = ["10.0.2.15:0", "10.0.2.2:0"].map(|text| at(text).ip());
        let request = icmp::echo(guest, gateway, TREATMENT, 0x1234, &message).unwrap();
        let packet = echo_reply(&open(&request).unwrap()).unwrap();
        let reply = open(&packet).unwrap();
        assert_eq!((reply.header.source, reply.header.destination), (gateway, guest));
        assert_eq!((reply.payload()[0], &reply.payload()[4..]), (0, &message[4..]));
        assert!(icmp::parse(&packet, &reply.header, true).is_ok(), "the checksum is right");
        assert_eq!(echo_reply(&reply), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(version in prop_oneof![Just(0x45_u8), Just(0x60), Just(0x4f), any::<u8>()],
                          mut bytes in proptest::collection::vec(any::<u8>(), 1..128),
                          protocol in prop_oneof![Just(1_u8), Just(17), Just(58)]) {
            bytes[0] = version;
            let length = bytes.len() as u16;
            for (index, value) in [(2, (length >> 8) as u8), (3, length as u8), (4, 0), (5, length.saturating_sub(40) as u8), (6, protocol), (9, protocol)] {
                if let Some(byte) = bytes.get_mut(index) {
                    *byte = value;
                }
            }
            if let Ok(opened) = open(&bytes) {
                let _ = echo_reply(&opened);
                let _ = Datagram::parse(&opened);
            }
        }
    }
}
