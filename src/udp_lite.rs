//! UDP-Lite datagrams (RFC 3828): those of UDP, but that the checksum may cover the front only, so that what was damaged
//! behind it is delivered all the same. The field that says how much stands where UDP has the length.
#![forbid(unsafe_code)]

use crate::ip::{self, Fault, Header, Packet, Protocol, Treatment};
use crate::udp::{self, Arrived, HEADER_LENGTH};
use smoltcp::wire::checksum;
use std::net::{IpAddr, SocketAddr};

/// Reads the datagram in `packet`; how much of it the checksum covers, if not all.
pub fn parse(packet: &[u8], header: &Header, verify: bool) -> Result<(Arrived, Option<u16>), Fault> {
    let bytes = packet.get(header.payload.clone()).ok_or(Fault::Malformed)?;
    let ([a, b, c, d, e, f, sum @ ..], _) =
        bytes.split_first_chunk::<HEADER_LENGTH>().ok_or(Fault::Malformed)?;
    let destination = u16::from_be_bytes([*c, *d]);
    let coverage = match usize::from(u16::from_be_bytes([*e, *f])) {
        0 => bytes.len(),
        // RFC 3828 3.1: the header is always covered.
        coverage if coverage < HEADER_LENGTH || coverage > bytes.len() => return Err(Fault::Malformed),
        coverage => coverage,
    };
    if destination == 0 {
        return Err(Fault::Malformed);
    }
    // There is no going without.
    if verify
        && (*sum == [0, 0] || covered_sum(header.source, header.destination, bytes, coverage) != u16::MAX)
    {
        return Err(Fault::Checksum);
    }
    let arrived = Arrived {
        source: SocketAddr::new(header.source, u16::from_be_bytes([*a, *b])),
        destination: SocketAddr::new(header.destination, destination),
        payload: header.payload.start + HEADER_LENGTH..header.payload.end,
    };
    Ok((arrived, (coverage < bytes.len()).then_some(coverage as u16)))
}

/// The packet that carries `payload`, of which with its header `coverage` bytes are covered by the checksum; 0 is all of it.
pub fn build(
    source: SocketAddr,
    destination: SocketAddr,
    treatment: Treatment,
    payload: &[u8],
    coverage: u16,
    checksums: bool,
) -> Packet {
    let length = HEADER_LENGTH + payload.len();
    let covered = if coverage == 0 { length } else { length.min(coverage.into()) };
    let mut packet = udp::build_treated(source, destination, treatment, payload, false);
    let start = ip::header_length(&source.ip());
    ip::write_header(
        &mut packet,
        source.ip(),
        destination.ip(),
        Protocol::UdpLite,
        treatment,
        length,
        checksums,
    );
    packet[start + 4..start + 6].copy_from_slice(&(covered as u16).to_be_bytes());
    // No device knows how to, and there is no datagram without (RFC 3828 3.1).
    let sum = !covered_sum(source.ip(), destination.ip(), &packet[start..], covered);
    // A sum of zero is sent as its other form (RFC 3828 3.1).
    let sum = if sum == 0 { u16::MAX } else { sum };
    packet[start + 6..start + 8].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The sum of the pseudo header, which has the length of the whole, and of what is covered.
fn covered_sum(source: IpAddr, destination: IpAddr, bytes: &[u8], coverage: usize) -> u16 {
    let sum = ip::transport_sum(source, destination, Protocol::UdpLite, &bytes[..coverage]);
    checksum::combine(&[sum, (bytes.len() - coverage) as u16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// Damage is seen where the checksum covers it, and nowhere else.
    #[test]
    fn coverage() {
        for (from, to) in [("10.0.0.1:4000", "10.0.0.2:53"), ("[fd00::1]:4000", "[fd00::2]:53")] {
            let start = ip::header_length(&at(from).ip());
            for (asked, covered) in
                [(0, None), (8, Some(8)), (11, Some(11)), (12, Some(12)), (13, None), (99, None)]
            {
                let packet = build(at(from), at(to), Treatment::default(), b"hello", asked, true);
                let header = ip::parse(&packet, true).expect("an IP packet");
                assert_eq!(header.protocol, Protocol::UdpLite);
                let (arrived, told) = parse(&packet, &header, true).expect("undamaged");
                assert_eq!((arrived.source, arrived.destination), (at(from), at(to)));
                assert_eq!((&packet[arrived.payload], told), (b"hello".as_slice(), covered));
                for place in start..packet.len() {
                    let mut damaged = packet.clone();
                    damaged[place] ^= 0x10;
                    let seen = parse(&damaged, &header, true).is_err();
                    assert_eq!(seen, place - start < usize::from(covered.unwrap_or(13)), "{asked}, {place}");
                }
            }
        }
    }
}
