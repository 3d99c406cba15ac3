//! What `tshark` makes of a capture: both directions, decoded, without a complaint, over two sections.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};
use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use tubesock::link::capture::Capture;
use tubesock::link::{Capabilities, Link, Outgoing, Packet};
use tubesock::sys::append::Appender;
use tubesock::time::Instant;

const US: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const PEER: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);

/// A network that has its answers ready.
struct Answers(VecDeque<Packet>);

impl Link for Answers {
    fn capabilities(&self) -> Capabilities {
        Capabilities { mtu: 65535, checksums: true, segmentation: 0, in_memory: false }
    }
    fn receive(&mut self, _now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        self.0.pop_front().map(|packet| take(&packet)).is_some()
    }
    fn transmit(&mut self, _packet: Outgoing<'_>, _now: Instant) {}
}

fn segment(ours: bool, control: TcpControl, seq: i32, ack: Option<i32>, payload: &[u8]) -> Packet {
    let (source, destination) = if ours { (US, PEER) } else { (PEER, US) };
    let (src_port, dst_port) = if ours { (49152, 8000) } else { (8000, 49152) };
    let tcp = TcpRepr {
        src_port,
        dst_port,
        control,
        seq_number: TcpSeqNumber(seq),
        ack_number: ack.map(TcpSeqNumber),
        window_len: 65535,
        window_scale: None,
        max_seg_size: (control == TcpControl::Syn).then_some(65495),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let checksums = ChecksumCapabilities::default();
    let mut packet = vec![0; ip.buffer_len() + tcp.buffer_len()];
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &checksums);
    let (source, destination) = (IpAddress::Ipv4(source), IpAddress::Ipv4(destination));
    tcp.emit(&mut TcpPacket::new_unchecked(&mut packet[20..]), &source, &destination, &checksums);
    packet
}

/// A handshake and the largest packet there is.
fn converse(path: &Path) {
    let largest = vec![b'x'; 65535 - 40];
    let answers = [
        segment(false, TcpControl::Syn, 900, Some(1001), b""),
        segment(false, TcpControl::Psh, 901, Some(1001), &largest),
    ];
    let out = Appender::open(path).expect("a writable temporary directory");
    let mut link = Capture::new(Answers(answers.into()), out).expect("room on the disk");
    let now = tubesock::sys::now();
    let received = |link: &mut dyn Link| link.receive(now, &mut |_| {});
    link.transmit(segment(true, TcpControl::Syn, 1000, None, b"").as_slice().into(), now);
    assert!(received(&mut link));
    link.transmit(segment(true, TcpControl::None, 1001, Some(901), b"").as_slice().into(), now);
    assert!(received(&mut link));
    assert!(!received(&mut link));
}

fn tshark(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(path)
        .args(["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"])
        .args(arguments)
        .output()
        .expect("tshark is missing: apt-get install tshark");
    let complaints = String::from_utf8_lossy(&output.stderr);
    // As root it warns of being root, whatever it reads.
    let complaints: Vec<&str> =
        complaints.lines().filter(|line| !line.contains("Running as user") && !line.is_empty()).collect();
    assert!(output.status.success() && complaints.is_empty(), "{complaints:?}");
    String::from_utf8(output.stdout).expect("tshark writes UTF-8")
}

#[test]
fn tshark_opens_it_without_complaint() {
    let path = std::env::temp_dir().join(format!("tubesock-tshark-{}.pcapng", std::process::id()));
    converse(&path);
    converse(&path);
    let fields = ["-T", "fields", "-E", "separator=/s"];
    let names = ["frame.len", "ip.src", "tcp.flags", "frame.packet_flags_direction", "frame.interface_name"];
    let fields: Vec<&str> =
        fields.into_iter().chain(names.into_iter().flat_map(|name| ["-e", name])).collect();
    let decoded = tshark(&path, &fields);
    let suspect =
        tshark(&path, &["-Y", "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0"]);
    std::fs::remove_file(&path).expect("it was there a moment ago");

    assert_eq!(suspect, "");
    let once = "\
44 10.0.2.15 0x0002 0x00000002 tubesock
44 10.0.2.2 0x0012 0x00000001 tubesock
40 10.0.2.15 0x0010 0x00000002 tubesock
65535 10.0.2.2 0x0018 0x00000001 tubesock
";
    assert_eq!(decoded, once.repeat(2));
}
