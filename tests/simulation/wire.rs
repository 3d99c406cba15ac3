//! One end of the wire behind a road: what happens there is not a matter of chance alone. A router with a smaller MTU that
//! says so, packets of the past that come once more, and sabotage, which breaks what TCP is built on to see that the
//! simulation notices.

use crate::dice::Dice;
use crate::trace::Segment;
use rustix::fd::BorrowedFd;
use smoltcp::wire::{Icmpv4Packet, Icmpv6Packet, Ipv4Packet, TcpPacket, TcpSeqNumber};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use tubesock::ip::{self, Protocol};
use tubesock::link::segmentation::cut;
use tubesock::link::{Capabilities, Link, Outgoing, Packet};
use tubesock::time::Instant;

/// What is done to the packets of one host against all rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    None,
    /// One bit of the payload of each hundredth segment is flipped, and the checksum, if any, set right.
    FlipPayload,
    /// Each hundredth segment says that it is the last.
    EarlyFin,
    /// From the hundredth segment on, acknowledgements stay as they were.
    StaleAcknowledgements,
}

/// How old a packet may be that comes once more: half of RFC 9293's MSL, what TIME-WAIT is there for.
pub(crate) const REPLAYED_AGE_MAX: Duration = Duration::from_secs(60);
const REPLAYED_FROM: usize = 50;

/// A header of TCP, or of IPv4, without options: the worlds that are sabotaged have no other of the latter.
const HEADER: usize = 20;

pub(crate) struct Wire<L> {
    link: L,
    pub(crate) settings: Settings,
    dice: Dice,
    /// What routers have to say.
    answers: VecDeque<Packet>,
    past: VecDeque<(Instant, Packet)>,
    /// For sabotage: segments with data or, for `StaleAcknowledgements`, any.
    seen: u32,
    stale: Option<TcpSeqNumber>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) capabilities: Capabilities,
    /// Super-packets leave it cut: the road is at its other end, where nobody knows any more how.
    pub(crate) cuts: bool,
    /// What the next router takes.
    pub(crate) router: Option<usize>,
    /// So many packets in a hundred are followed by one of the past.
    pub(crate) replays: u64,
    /// So many by one of somebody who knows all of the connection but its numbers.
    pub(crate) forgeries: u64,
    pub(crate) sabotage: Sabotage,
}

impl<L: Link> Wire<L> {
    pub(crate) fn new(link: L, settings: Settings, seed: u64) -> Wire<L> {
        let dice = Dice::new(seed);
        Wire { link, settings, dice, answers: VecDeque::new(), past: VecDeque::new(), seen: 0, stale: None }
    }

    fn pass(&mut self, mut packet: Packet, now: Instant) {
        if let Some(mtu) = self.settings.router.filter(|mtu| packet.len() > *mtu) {
            self.answers.extend(too_big(&packet, mtu));
            return;
        }
        if self.settings.sabotage != Sabotage::None && packet[0] == 0x45 {
            self.spoil(&mut packet);
        }
        self.link.transmit(packet.as_slice().into(), now);
        if self.dice.percent(self.settings.forgeries)
            && let Some(forged) = forge(&packet, &mut self.dice)
        {
            self.link.transmit(forged.as_slice().into(), now);
        }
        if self.settings.replays > 0 {
            self.replay(packet, now);
        }
    }

    fn replay(&mut self, packet: Packet, now: Instant) {
        self.past.push_back((now, packet));
        let old = |(at, _): &(Instant, Packet)| now - *at > REPLAYED_AGE_MAX;
        while self.past.len() > REPLAYED_FROM || self.past.front().is_some_and(old) {
            self.past.pop_front();
        }
        if self.dice.percent(self.settings.replays) {
            let index = self.dice.below(self.past.len() as u64) as usize;
            self.link.transmit(self.past[index].1.as_slice().into(), now);
        }
    }

    fn spoil(&mut self, packet: &mut Packet) {
        let header = Ipv4Packet::new_unchecked(&packet[..]);
        let (source, destination) = (header.src_addr().into(), header.dst_addr().into());
        let mut tcp = TcpPacket::new_unchecked(&mut packet[HEADER..]);
        let data = tcp.payload_mut();
        let has_data = !data.is_empty();
        self.seen += u32::from(has_data || self.settings.sabotage == Sabotage::StaleAcknowledgements);
        match self.settings.sabotage {
            Sabotage::FlipPayload if has_data && self.seen.is_multiple_of(100) => data[0] ^= 1,
            Sabotage::EarlyFin if has_data && self.seen.is_multiple_of(100) => tcp.set_fin(true),
            Sabotage::StaleAcknowledgements if self.seen >= 100 && tcp.ack() => {
                let stale = *self.stale.get_or_insert(tcp.ack_number());
                tcp.set_ack_number(stale);
            }
            _ => return,
        }
        if tcp.checksum() != 0 {
            tcp.fill_checksum(&source, &destination);
        }
    }
}

/// RFC 5961: a reset, a SYN-ACK, a FIN or data between the ports of `packet`, with numbers that are guessed. A SYN is left
/// out: in TIME-WAIT it opens the connection anew.
fn forge(packet: &[u8], dice: &mut Dice) -> Option<Packet> {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    let segment = Segment::of(packet)?;
    let data = dice.below(100) as usize;
    let header = ip::parse(packet, false).ok()?;
    let length = HEADER + data;
    let mut forged = ip::build(header.source, header.destination, Protocol::Tcp, length, true);
    let start = forged.len() - length;
    let mut tcp = TcpPacket::new_unchecked(&mut forged[start..]);
    tcp.set_src_port(segment.source.port());
    tcp.set_dst_port(segment.destination.port());
    tcp.set_seq_number(TcpSeqNumber(dice.next() as i32));
    tcp.set_ack_number(TcpSeqNumber(dice.next() as i32));
    tcp.set_window_len(dice.next() as u16);
    tcp.set_header_len(HEADER as u8);
    let flags = dice.pick(&[RST, RST | ACK, SYN | ACK, FIN | ACK, ACK]);
    forged[start + 13] = flags;
    let (source, destination) = (header.source.into(), header.destination.into());
    TcpPacket::new_unchecked(&mut forged[start..]).fill_checksum(&source, &destination);
    Some(forged)
}

/// RFC 1191: destination unreachable, fragmentation needed; RFC 8201: packet too big.
fn too_big(packet: &[u8], mtu: usize) -> Option<Packet> {
    const QUOTE: usize = 128;
    const ICMP_HEADER: usize = 8;
    let header = ip::parse(packet, false).ok()?;
    let quote = &packet[..packet.len().min(QUOTE)];
    let router: IpAddr =
        if header.source.is_ipv4() { [10, 0, 2, 1].into() } else { [0xfd00, 0, 0, 0, 0, 0, 0, 1].into() };
    let mut answer = ip::build(router, header.source, Protocol::Icmp, ICMP_HEADER + quote.len(), true);
    let start = answer.len() - ICMP_HEADER - quote.len();
    let message = &mut answer[start..];
    message[ICMP_HEADER..].copy_from_slice(quote);
    message[4..8].copy_from_slice(&(mtu as u32).to_be_bytes());
    match (router, header.source) {
        (IpAddr::V6(router), IpAddr::V6(source)) => {
            message[0] = 2;
            Icmpv6Packet::new_unchecked(message).fill_checksum(&router, &source);
        }
        _ => {
            (message[0], message[1]) = (3, 4);
            Icmpv4Packet::new_unchecked(message).fill_checksum();
        }
    }
    Some(answer)
}

impl<L: Link> Link for Wire<L> {
    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities
    }

    fn receive(&mut self, now: Instant, take: &mut dyn FnMut(&[u8])) -> bool {
        match self.answers.pop_front() {
            Some(answer) => {
                take(&answer);
                true
            }
            None => self.link.receive(now, take),
        }
    }

    fn transmit(&mut self, packet: Outgoing<'_>, now: Instant) {
        let Settings { capabilities, cuts, router, replays, forgeries, sabotage } = self.settings;
        if !cuts && router.is_none() && replays + forgeries == 0 && sabotage == Sabotage::None {
            return self.link.transmit(packet, now);
        }
        cut(packet, capabilities.checksums, &mut |packet| self.pass(packet, now));
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        self.link.wake()
    }

    fn deadline(&mut self) -> Option<Instant> {
        self.link.deadline()
    }
}
