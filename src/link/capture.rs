//! A link around a link that writes every packet to a file: pcapng, link type RAW, nanoseconds, whole packets, with
//! the direction as the program sees it. Wireshark and tshark open it while it grows.
//!
//! Every host appends a section of its own (header and interface, which name the program), and several can share a
//! file. A packet belongs to the section header before it, so a host that finds that the file grew behind its back
//! writes its header again, together with the packet, in one write(2). Two hosts that write at the same instant can
//! still give one packet to the other's section; the file stays valid, because the sections differ only in the name.
//!
//! A call of the program's (`Link::comment`) is a comment of the next packet. Those that no packet bears, because none comes
//! before the end or before there are too many, are records of systemd's journal, which Wireshark shows among the packets.
//!
//! A write that fails (a full disk, a pipe whose reader has gone) ends the capture with a line in the log; the packets flow
//! on. A pipe that is full is waited for, five seconds at most, and all packets with it: none is missing from a capture that
//! goes on.

use crate::addressing::Addressing;
use crate::link::impair::Lanes;
use crate::link::{Capabilities, Link, Outgoing};
use crate::sys;
use crate::sys::append::Appender;
use crate::time::Instant;
use core::time::Duration;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::systemd_journal_export::SystemdJournalExportBlock;
use pcap_file::{DataLink, Endianness, PcapResult};
use rustix::fd::BorrowedFd;
use std::borrow::Cow;

/// Comments that wait for a packet.
const COMMENTS_MAX: usize = 64;

/// A link whose packets are captured.
pub struct Capture<L> {
    link: L,
    /// None when writing has failed.
    file: Option<File>,
    /// Where a packet that comes in parts is put together.
    scratch: Vec<u8>,
}

impl<L: Link> Capture<L> {
    /// Captures to what `out` appends to.
    pub fn new(link: L, out: Appender) -> std::io::Result<Capture<L>> {
        Ok(Capture { link, file: Some(File::new(out)?), scratch: Vec::new() })
    }
}

fn record(file: &mut Option<File>, packet: &[u8], direction: Direction, now: Instant) {
    attempt(file, |file| file.write(packet, direction, now));
}

fn attempt(file: &mut Option<File>, write: impl FnOnce(&mut File) -> std::io::Result<()>) {
    let Some(open) = file else { return };
    if let Err(error) = write(open) {
        tracing::error!("the capture ends here, without what follows: {error}");
        *file = None;
    }
}

impl<L: Link> Link for Capture<L> {
    fn capabilities(&self) -> Capabilities {
        self.link.capabilities()
    }

    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        let Capture { link, file, .. } = self;
        link.receive(now, &mut |packet| {
            record(file, packet, Direction::Inbound, now);
            take(packet);
        })
    }

    /// What the link is to cut is recorded before it is cut, as tcpdump(1) shows it above an interface that cuts.
    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant) {
        let Capture { link, file, scratch } = self;
        if file.is_some() {
            record(file, packet.in_one(scratch), Direction::Outbound, now);
        }
        link.transmit(packet, now);
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.link.wake()
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.link.deadline()
    }

    fn busy(&self) -> bool {
        self.link.busy()
    }

    fn progress(&self) -> u64 {
        self.link.progress()
    }

    fn addressing(&mut self) -> Option<Addressing> {
        self.link.addressing()
    }

    fn impairment(&mut self) -> Option<&mut Lanes> {
        self.link.impairment()
    }

    fn comment(&mut self, text: &str, now: Instant) {
        attempt(&mut self.file, |file| file.comment(text, now));
    }

    fn end(&mut self) {
        attempt(&mut self.file, File::write_comments);
    }
}

/// The two low bits of the option epb_flags (draft-ietf-opsawg-pcapng 4.3.1).
#[derive(Clone, Copy)]
enum Direction {
    Inbound = 1,
    Outbound = 2,
}

type Encoder = PcapNgWriter<Vec<u8>>;

/// The file, and how to write to it.
struct File {
    out: Appender,
    /// Header and interface of our section.
    section: Vec<u8>,
    /// Encodes; holds a record until it is written.
    encoder: Encoder,
    /// Where the file ends if nobody else writes to it.
    end: Option<u64>,
    /// The origin of `Instant` since the Unix epoch, taken once: a step of the clock must not reorder packets.
    epoch: Duration,
    /// For the next packet, with their times.
    comments: Vec<(Instant, String)>,
}

impl File {
    fn new(out: Appender) -> std::io::Result<File> {
        let mut encoder = encoder().expect("writing to memory does not fail");
        let section = core::mem::take(encoder.get_mut());
        out.append(&section)?;
        let end = out.size();
        let epoch = Duration::from_nanos(sys::epoch_offset_nanos());
        Ok(File { out, section, encoder, end, epoch, comments: Vec::new() })
    }

    fn write(&mut self, packet: &[u8], direction: Direction, now: Instant) -> std::io::Result<()> {
        let comments = self.comments.drain(..).map(|(_, text)| EnhancedPacketOption::Comment(text.into()));
        let mut options: Vec<_> = comments.collect();
        options.push(EnhancedPacketOption::Flags(direction as u32));
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: self.epoch + Duration::from_micros(now.micros()),
            original_len: packet.len() as u32,
            data: Cow::Borrowed(packet),
            options,
        };
        self.append(|encoder| encoder.write_pcapng_block(block))
    }

    fn comment(&mut self, text: &str, now: Instant) -> std::io::Result<()> {
        if self.comments.len() >= COMMENTS_MAX {
            self.write_comments()?;
        }
        self.comments.push((now, text.to_owned()));
        Ok(())
    }

    /// Writes the comments that no packet bears (systemd.journal-fields(7), in the export format).
    fn write_comments(&mut self) -> std::io::Result<()> {
        for (time, text) in core::mem::take(&mut self.comments) {
            let micros = (self.epoch + Duration::from_micros(time.micros())).as_micros();
            let entry = format!("__REALTIME_TIMESTAMP={micros}\nMESSAGE={text}\n");
            let block = SystemdJournalExportBlock { journal_entry: entry.into_bytes().into() };
            self.append(|encoder| encoder.write_pcapng_block(block))?;
        }
        Ok(())
    }

    /// Appends a block, behind our section's header if others have written.
    fn append(&mut self, encode: impl FnOnce(&mut Encoder) -> PcapResult<usize>) -> std::io::Result<()> {
        let size = self.out.size();
        let record = self.encoder.get_mut();
        record.clear();
        if size != self.end {
            record.extend_from_slice(&self.section);
        }
        encode(&mut self.encoder).expect("interface 0 is described, and memory takes all");
        let record = self.encoder.get_ref();
        self.out.append(record)?;
        self.end = size.map(|size| size + record.len() as u64);
        Ok(())
    }
}

/// An encoder whose buffer holds our section header and interface description.
fn encoder() -> PcapResult<Encoder> {
    let program = format!("{}[{}]", sys::program_name(), sys::process_id());
    let application = format!("tubesock {} in {program}", env!("CARGO_PKG_VERSION"));
    let section = SectionHeaderBlock {
        endianness: Endianness::native(),
        options: vec![
            SectionHeaderOption::Hardware(Cow::Borrowed(std::env::consts::ARCH)),
            SectionHeaderOption::OS(Cow::Borrowed("Linux")),
            SectionHeaderOption::UserApplication(Cow::Owned(application)),
        ],
        ..SectionHeaderBlock::default()
    };
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::RAW,
        // No limit.
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed("tubesock")),
            InterfaceDescriptionOption::IfDescription(Cow::Owned(program)),
            // 10^-9 seconds: `pcap_file` writes nanoseconds, whatever this says.
            InterfaceDescriptionOption::IfTsResol(9),
        ],
    };
    let mut encoder = PcapNgWriter::with_section_header(Vec::new(), section)?;
    encoder.write_pcapng_block(interface)?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Packet;
    use pcap_file::pcapng::{Block, PcapNgReader};
    use std::collections::VecDeque;
    use std::path::{Path, PathBuf};

    /// Gives back what it was handed.
    #[derive(Default)]
    struct Echo(VecDeque<Packet>);

    impl Link for Echo {
        fn capabilities(&self) -> Capabilities {
            Capabilities { mtu: 1500, checksums: false, segmentation: 0, in_memory: true }
        }
        fn receive(&mut self, _now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
            self.0.pop_front().map(|packet| take(&packet)).is_some()
        }
        fn transmit(&mut self, packet: Outgoing<'_>, _now: Instant) {
            self.0.push_back(packet.to_packet());
        }
    }

    fn send(link: &mut dyn Link, packet: &[u8], now: Instant) {
        link.transmit(packet.into(), now);
    }

    fn received(link: &mut dyn Link, now: Instant) -> Option<Packet> {
        let mut received = None;
        link.receive(now, &mut |packet| received = Some(packet.to_vec()));
        received
    }

    /// A file name of this test's own; the file is removed at the end.
    struct Scratch(PathBuf);

    fn appender(path: &str) -> Appender {
        Appender::open(Path::new(path)).expect("it can be opened")
    }

    impl Scratch {
        fn new(name: &str) -> Scratch {
            Scratch(std::env::temp_dir().join(format!("tubesock-capture-{name}-{}", sys::process_id())))
        }

        fn capture(&self) -> Capture<Echo> {
            let out = Appender::open(&self.0).expect("a writable temporary directory");
            Capture::new(Echo::default(), out).expect("room on the disk")
        }

        fn blocks(&self) -> Vec<Block<'static>> {
            let bytes = std::fs::read(&self.0).expect("the capture was written");
            let mut reader = PcapNgReader::new(&bytes[..]).expect("a section header");
            // The reader keeps the first header for itself.
            let mut blocks = vec![Block::SectionHeader(reader.section().clone())];
            while let Some(block) = reader.next_block() {
                blocks.push(block.expect("a whole block").into_owned());
            }
            blocks
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    fn packets(blocks: &[Block<'static>]) -> Vec<(Vec<u8>, Vec<EnhancedPacketOption<'static>>)> {
        blocks
            .iter()
            .filter_map(|block| match block {
                Block::EnhancedPacket(packet) => Some((packet.data.to_vec(), packet.options.clone())),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn both_directions_with_their_times() {
        let scratch = Scratch::new("directions");
        let mut link = scratch.capture();
        let now = sys::now();
        link.transmit(Outgoing { headers: &[0x45], payload: [&[1], &[2]], segment: None }, now);
        assert_eq!(received(&mut link, now + Duration::from_micros(7)), Some(vec![0x45, 1, 2]));
        assert_eq!(received(&mut link, now), None);

        let blocks = scratch.blocks();
        let data = vec![0x45, 1, 2];
        assert_eq!(
            packets(&blocks),
            [
                (data.clone(), vec![EnhancedPacketOption::Flags(2)]),
                (data, vec![EnhancedPacketOption::Flags(1)])
            ]
        );
        let times: Vec<Duration> =
            blocks.iter().filter_map(|block| Some(block.clone().into_enhanced_packet()?.timestamp)).collect();
        assert_eq!(times[1] - times[0], Duration::from_micros(7));
        let age = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").abs_diff(times[0]);
        assert!(age < Duration::from_secs(60), "dated {age:?} from now");
    }

    #[test]
    fn a_section_names_the_program() {
        let scratch = Scratch::new("section");
        drop(scratch.capture());
        let program = format!("{}[{}]", sys::program_name(), sys::process_id());
        let blocks = scratch.blocks();
        let [Block::SectionHeader(section), Block::InterfaceDescription(interface)] = &blocks[..] else {
            panic!("{blocks:?}")
        };
        let named = |option: &SectionHeaderOption| matches!(option, SectionHeaderOption::UserApplication(name) if name.ends_with(&program));
        assert!(section.options.iter().any(named), "{section:?}");
        assert_eq!((interface.linktype, interface.snaplen), (DataLink::RAW, 0));
        assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
    }

    #[test]
    fn two_hosts_in_one_file_keep_their_packets_apart() {
        let scratch = Scratch::new("two");
        let now = sys::now();
        let mut first = scratch.capture();
        let mut second = scratch.capture();
        send(&mut first, &[1], now);
        send(&mut first, &[2], now);
        send(&mut second, &[3], now);
        let kinds: Vec<String> = scratch
            .blocks()
            .iter()
            .map(|block| match block {
                Block::SectionHeader(_) => "header".into(),
                Block::InterfaceDescription(_) => "interface".into(),
                Block::EnhancedPacket(packet) => format!("{:?}", packet.data),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = "header interface header interface header interface [1] [2] header interface [3]";
        assert_eq!(kinds.join(" "), expected);
    }

    #[test]
    fn a_full_disk_does_not_stop_the_packets() {
        let mut link =
            Capture::new(Echo::default(), appender("/dev/null")).expect("/dev/null can be written");
        let full = appender("/dev/full");
        link.file.as_mut().expect("it has just been opened").out = full;
        send(&mut link, &[0x45], Instant::ZERO);
        assert!(link.file.is_none());
        assert_eq!(received(&mut link, Instant::ZERO), Some(vec![0x45]));
    }
}
