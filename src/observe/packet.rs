//! A packet in one line, for a person and for the ladder of `tubesock demo`:
//!
//! ```text
//! TCP 10.0.2.15:49152 10.0.2.2:80 SYN seq=7 ack=0 win=65535 len=0 <mss 1460,wscale 7,sackOK>
//! UDP 10.0.2.15:49152 10.0.2.3:53 len=31
//! ICMP 10.0.2.2 10.0.2.15 type=3 code=3 len=56
//! IP 10.0.2.15 10.0.2.2 protocol=47 len=20
//! malformed len=3
//! ```
//!
//! First the source, then the destination. `len` is the payload in bytes. TCP's flags are joined by `+`; a segment
//! without any shows `none`. Checksums are not verified, because links in memory carry none. Only the first header
//! behind IP is read: fragments and IPv6 extension headers show as `IP`.
#![forbid(unsafe_code)]

use core::fmt;
use smoltcp::wire::{
    IpAddress, IpProtocol, IpVersion, Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket, UdpPacket,
};
use std::net::{IpAddr, SocketAddr};

/// Shows a whole IP packet, whatever it holds.
pub struct Summary<'a>(pub &'a [u8]);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Datagram::parse(self.0) {
            Some(datagram) => write!(f, "{datagram}"),
            None => write!(f, "malformed len={}", self.0.len()),
        }
    }
}

/// What IP says.
struct Datagram<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    /// Whether `payload` starts with the header of `protocol`.
    whole: bool,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    fn parse(packet: &'a [u8]) -> Option<Datagram<'a>> {
        // `of_packet` looks at the first byte without asking for it.
        if packet.is_empty() {
            return None;
        }
        match IpVersion::of_packet(packet).ok()? {
            IpVersion::Ipv4 => {
                let packet = Ipv4Packet::new_checked(packet).ok()?;
                Some(Datagram {
                    source: IpAddress::Ipv4(packet.src_addr()).into(),
                    destination: IpAddress::Ipv4(packet.dst_addr()).into(),
                    protocol: packet.next_header(),
                    whole: !packet.more_frags() && packet.frag_offset() == 0,
                    payload: packet.payload(),
                })
            }
            IpVersion::Ipv6 => {
                let packet = Ipv6Packet::new_checked(packet).ok()?;
                Some(Datagram {
                    source: IpAddress::Ipv6(packet.src_addr()).into(),
                    destination: IpAddress::Ipv6(packet.dst_addr()).into(),
                    protocol: packet.next_header(),
                    whole: true,
                    payload: packet.payload(),
                })
            }
        }
    }

    fn other(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = u8::from(self.protocol);
        write!(f, "IP {} {} protocol={protocol} len={}", self.source, self.destination, self.payload.len())
    }

    fn tcp(&self, segment: &TcpPacket<&[u8]>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = SocketAddr::new(self.source, segment.src_port());
        let destination = SocketAddr::new(self.destination, segment.dst_port());
        write!(
            f,
            "TCP {source} {destination} {} seq={} ack={} win={} len={}",
            Flags(segment),
            segment.seq_number().0 as u32,
            segment.ack_number().0 as u32,
            segment.window_len(),
            segment.payload().len()
        )?;
        write!(f, "{}", Options(segment.options()))
    }

    fn udp(&self, datagram: &UdpPacket<&[u8]>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = SocketAddr::new(self.source, datagram.src_port());
        let destination = SocketAddr::new(self.destination, datagram.dst_port());
        write!(f, "UDP {source} {destination} len={}", datagram.payload().len())
    }

    fn icmp(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, code, _, _, rest @ ..] = self.payload else { return self.other(f) };
        write!(f, "ICMP {} {} type={kind} code={code} len={}", self.source, self.destination, rest.len())
    }
}

impl fmt::Display for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.whole {
            return self.other(f);
        }
        match self.protocol {
            IpProtocol::Tcp => match TcpPacket::new_checked(self.payload) {
                Ok(segment) => self.tcp(&segment, f),
                Err(_) => self.other(f),
            },
            IpProtocol::Udp => match UdpPacket::new_checked(self.payload) {
                Ok(datagram) => self.udp(&datagram, f),
                Err(_) => self.other(f),
            },
            IpProtocol::Icmp | IpProtocol::Icmpv6 => self.icmp(f),
            _ => self.other(f),
        }
    }
}

struct Flags<'a>(&'a TcpPacket<&'a [u8]>);

impl fmt::Display for Flags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segment = self.0;
        let flags = [
            (segment.syn(), "SYN"),
            (segment.fin(), "FIN"),
            (segment.rst(), "RST"),
            (segment.psh(), "PSH"),
            (segment.ack(), "ACK"),
            (segment.urg(), "URG"),
            (segment.ece(), "ECE"),
            (segment.cwr(), "CWR"),
        ];
        let mut separator = "";
        for (_, name) in flags.iter().filter(|(set, _)| *set) {
            write!(f, "{separator}{name}")?;
            separator = "+";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

struct Options<'a>(&'a [u8]);

impl fmt::Display for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = " <";
        while !rest.is_empty() {
            let Ok((next, option)) = TcpOption::parse(rest) else {
                write!(f, "{separator}malformed")?;
                separator = ",";
                break;
            };
            rest = next;
            match option {
                TcpOption::EndOfList => break,
                TcpOption::NoOperation => continue,
                TcpOption::MaxSegmentSize(size) => write!(f, "{separator}mss {size}")?,
                TcpOption::WindowScale(shift) => write!(f, "{separator}wscale {shift}")?,
                TcpOption::SackPermitted => write!(f, "{separator}sackOK")?,
                TcpOption::SackRange(ranges) => {
                    write!(f, "{separator}sack")?;
                    for (left, right) in ranges.into_iter().flatten() {
                        write!(f, " {left}-{right}")?;
                    }
                }
                TcpOption::TimeStamp { tsval, tsecr } => write!(f, "{separator}TS {tsval} {tsecr}")?,
                TcpOption::Unknown { kind, .. } => write!(f, "{separator}option {kind}")?,
            }
            separator = ",";
        }
        if separator == "," { f.write_str(">") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv4 header for `payload`, without a checksum.
    fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend((20 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
        packet.extend(payload);
        packet
    }

    fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([protocol, 64]);
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x15]);
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut segment = vec![0xc0, 0, 0, 80, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9];
        segment.extend([((5 + options.len() / 4) << 4) as u8, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment.extend(payload);
        segment
    }

    #[test]
    fn packets_read_back() {
        let syn_options =
            [2, 4, 0x05, 0xb4, 4, 2, 1, 3, 3, 7, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 254, 4, 1, 2, 0, 0, 0, 0];
        let sack = [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 5];
        let table = [
            (
                ipv4(6, 0, &tcp(0x02, &syn_options, b"")),
                "TCP 10.0.2.15:49152 10.0.2.2:80 SYN seq=4294967295 ack=9 win=65535 len=0 \
                 <mss 1460,sackOK,wscale 7,TS 1 0,option 254>",
            ),
            (
                ipv6(6, &tcp(0x19, &sack, b"hello")),
                "TCP [fd00::15]:49152 [fd00::2]:80 FIN+PSH+ACK seq=4294967295 ack=9 win=65535 len=5 <sack 1-5>",
            ),
            (
                ipv4(6, 0, &tcp(0, &[2, 40, 0, 0], b"")),
                "TCP 10.0.2.15:49152 10.0.2.2:80 none seq=4294967295 ack=9 win=65535 len=0 <malformed>",
            ),
            (ipv4(17, 0, &[0, 53, 0, 54, 0, 10, 0, 0, 1, 2]), "UDP 10.0.2.15:53 10.0.2.2:54 len=2"),
            (ipv4(1, 0, &[3, 1, 0, 0, 9, 9, 9, 9]), "ICMP 10.0.2.15 10.0.2.2 type=3 code=1 len=4"),
            (ipv6(58, &[128, 0, 0, 0]), "ICMP fd00::15 fd00::2 type=128 code=0 len=0"),
            (ipv4(17, 1, &[0; 8]), "IP 10.0.2.15 10.0.2.2 protocol=17 len=8"),
            (ipv4(6, 0, &[0; 8]), "IP 10.0.2.15 10.0.2.2 protocol=6 len=8"),
            (vec![0x45, 0, 0], "malformed len=3"),
            (vec![], "malformed len=0"),
        ];
        for (packet, text) in table {
            assert_eq!(Summary(&packet).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(protocol in prop::sample::select(vec![1u8, 6, 17, 58]), bytes: Vec<u8>, flips: u8) {
            let mut packet = if flips & 1 == 0 { ipv4(protocol, 0, &bytes) } else { ipv6(protocol, &bytes) };
            let place = usize::from(flips) % packet.len();
            packet[place] ^= flips;
            let one_line = |text: String| !text.contains('\n');
            prop_assert!(one_line(Summary(&packet).to_string()));
            prop_assert!(one_line(Summary(&bytes).to_string()));
            let options = tcp(0x10, &[&bytes[..], &[0; 40]].concat()[..40], b"");
            prop_assert!(one_line(Summary(&ipv4(6, 0, &options)).to_string()));
        }
    }
}
