//! Ethernet II frames (IEEE 802.3 3.2): destination, source, type.
#![forbid(unsafe_code)]

use core::fmt;
use std::net::IpAddr;

/// Bytes before the payload.
pub(super) const HEADER: usize = 14;
/// What a frame carries unless both ends agree on more.
pub const UNTAGGED_MTU: usize = 1500;

/// What a frame carries.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV6: u16 = 0x86dd;

/// A station's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// Nobody's yet: one station, locally administered, made of random bytes.
    pub fn random(bytes: [u8; 6]) -> Mac {
        let [first, rest @ ..] = bytes;
        let [a, b, c, d, e] = rest;
        Mac([first & !1 | 2, a, b, c, d, e])
    }

    /// Whether it is not one station's.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// That of a multicast group (RFC 1112 6.4, RFC 2464 7).
    pub(super) fn of_group(group: IpAddr) -> Mac {
        match group {
            IpAddr::V4(group) => {
                let [_, b, c, d] = group.octets();
                Mac([0x01, 0x00, 0x5e, b & 0x7f, c, d])
            }
            IpAddr::V6(group) => {
                let [.., a, b, c, d] = group.octets();
                Mac([0x33, 0x33, a, b, c, d])
            }
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The header of a frame.
pub(super) fn header(to: Mac, from: Mac, kind: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..6].copy_from_slice(&to.0);
    header[6..12].copy_from_slice(&from.0);
    header[12..].copy_from_slice(&kind.to_be_bytes());
    header
}

/// A frame, opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) to: Mac,
    pub(super) from: Mac,
    pub(super) kind: u16,
    pub(super) payload: &'a [u8],
}

/// Opens a frame; None for what is too short for one.
pub(super) fn open(frame: &[u8]) -> Option<Frame<'_>> {
    let (header, payload) = frame.split_first_chunk::<HEADER>()?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, kind @ ..] = *header;
    let (to, from) = (Mac([a, b, c, d, e, f]), Mac([g, h, i, j, k, l]));
    Some(Frame { to, from, kind: u16::from_be_bytes(kind), payload })
}

/// An IP packet without what Ethernet puts behind short ones (RFC 1042; the least frame has 60 bytes).
pub(super) fn without_padding(packet: &[u8]) -> &[u8] {
    let length = match *packet {
        [first, _, high, low, ..] if first >> 4 == 4 => u16::from_be_bytes([high, low]).into(),
        [first, _, _, _, high, low, ..] if first >> 4 == 6 => {
            40 + usize::from(u16::from_be_bytes([high, low]))
        }
        _ => packet.len(),
    };
    packet.get(..length).unwrap_or(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let (to, from) = (Mac([2, 0, 0, 0, 0, 1]), Mac::random([0xff; 6]));
        assert!(!from.is_group() && Mac::BROADCAST.is_group());
        assert_eq!(from.to_string(), "fe:ff:ff:ff:ff:ff");
        let bytes = [&header(to, from, IPV6)[..], b"payload"].concat();
        assert_eq!(open(&bytes), Some(Frame { to, from, kind: IPV6, payload: b"payload" }));
        assert_eq!(open(&bytes[..13]), None);
    }

    #[test]
    fn groups() {
        for (group, mac) in [("224.129.2.3", "01:00:5e:01:02:03"), ("ff02::1:ff28:9c5a", "33:33:ff:28:9c:5a")]
        {
            assert_eq!(Mac::of_group(group.parse().expect("an address")).to_string(), mac);
        }
    }

    #[test]
    fn padding_is_not_the_packets() {
        let mut packet = vec![0x45, 0, 0, 28];
        packet.resize(46, 0);
        assert_eq!(without_padding(&packet).len(), 28);
        let mut packet = vec![0x60, 0, 0, 0, 0, 4];
        packet.resize(60, 0);
        assert_eq!(without_padding(&packet).len(), 44);
        assert_eq!(without_padding(&[0x45, 0, 0xff, 0xff]).len(), 4);
    }
}
