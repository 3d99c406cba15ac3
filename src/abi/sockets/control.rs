//! Control messages of datagram sockets (cmsg(3)): what ip(7) and ipv6(7) show of a datagram that arrived or of an error,
//! and what they take with one that is sent. Written and cut off as Linux's put_cmsg does, read as its ip_cmsg_send and
//! ip6_datagram_send_ctl do, and udp_cmsg_send: messages of another level are not looked at.

use crate::bridge::datagram::Arrival;
use crate::calls::address;
use crate::engine::{Control, Domain, ErrorReport, Kind, Origin, Path};
use crate::error::{Error, Result};
use crate::sys;
use core::mem::size_of;
use libc::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOL_SOCKET, c_int, cmsghdr, msghdr};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HEADER: usize = size_of::<cmsghdr>();
/// linux/errqueue.h
const SO_EE_ORIGIN_TIMESTAMPING: u8 = 4;

/// Where control messages are written: the program's buffer.
pub(super) struct Writer<'a> {
    room: &'a mut [u8],
    written: usize,
    /// Not all of it fitted (MSG_CTRUNC).
    pub(super) cut: bool,
}

impl<'a> Writer<'a> {
    /// Behind what the kernel has written of its own.
    pub(super) fn new(room: &'a mut [u8], written: usize) -> Writer<'a> {
        Writer { room, written, cut: false }
    }

    /// Bytes of the buffer that are used (msg_controllen).
    pub(super) fn written(&self) -> usize {
        self.written
    }

    fn put(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let left = &mut self.room[self.written..];
        if left.len() < HEADER {
            self.cut = true;
            return;
        }
        let whole = HEADER + data.len();
        let length = whole.min(left.len());
        self.cut |= length < whole;
        left[..8].copy_from_slice(&length.to_ne_bytes());
        left[8..12].copy_from_slice(&level.to_ne_bytes());
        left[12..16].copy_from_slice(&kind.to_ne_bytes());
        left[HEADER..length].copy_from_slice(&data[..length - HEADER]);
        self.written += whole.next_multiple_of(size_of::<usize>()).min(left.len());
    }

    /// What the options of the socket show of a datagram.
    pub(super) fn put_arrival(&mut self, domain: Domain, arrival: &Arrival) {
        if arrival.shows_time {
            self.put_times(arrival.wall_nanos);
        }
        // sock_recv_drops
        if arrival.shows_drops && arrival.dropped > 0 {
            self.put(SOL_SOCKET, libc::SO_RXQ_OVFL, &arrival.dropped.to_ne_bytes());
        }
        let over_v4 = arrival.to.ip().to_canonical().is_ipv4();
        let (hops, class) = (c_int::from(arrival.hop_limit), arrival.traffic_class);
        if arrival.shows_info_v6 && domain == Domain::V6 {
            let IpAddr::V6(to) = as_v6(arrival.to.ip()) else { return };
            let info = [&to.octets()[..], &arrival.interface.to_ne_bytes()].concat();
            self.put(IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        if arrival.shows_info_v4 {
            let addresses = [arrival.local, arrival.to.ip()].map(|address| match address.to_canonical() {
                IpAddr::V4(v4) => v4.octets(),
                IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.octets(),
            });
            let info = [arrival.interface.to_ne_bytes(), addresses[0], addresses[1]].concat();
            self.put(IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        if arrival.shows_hops {
            let (level, kind) =
                if over_v4 { (IPPROTO_IP, libc::IP_TTL) } else { (IPPROTO_IPV6, libc::IPV6_HOPLIMIT) };
            self.put(level, kind, &hops.to_ne_bytes());
        }
        match (arrival.shows_class, over_v4) {
            (true, true) => self.put(IPPROTO_IP, libc::IP_TOS, &[class]),
            (true, false) => {
                self.put(IPPROTO_IPV6, libc::IPV6_TCLASS, &c_int::from(class).to_ne_bytes());
            }
            (false, _) => {}
        }
    }

    /// struct scm_timestamping: by software; the other two are of hardware.
    fn put_times(&mut self, wall_nanos: u64) {
        let (seconds, nanos) = (wall_nanos / 1_000_000_000, wall_nanos % 1_000_000_000);
        let data = [seconds.to_ne_bytes(), nanos.to_ne_bytes(), [0; 8], [0; 8], [0; 8], [0; 8]].concat();
        self.put(SOL_SOCKET, libc::SO_TIMESTAMPING, &data);
    }

    /// struct sock_extended_err, and the address of who found the error.
    pub(super) fn put_report(&mut self, domain: Domain, report: &ErrorReport) {
        let origin = match report.origin {
            Origin::Local => libc::SO_EE_ORIGIN_LOCAL,
            Origin::Icmp => libc::SO_EE_ORIGIN_ICMP,
            Origin::Icmp6 => libc::SO_EE_ORIGIN_ICMP6,
            Origin::Timestamping => SO_EE_ORIGIN_TIMESTAMPING,
        };
        if let Some(micros) = report.sent_micros {
            self.put_times(sys::epoch_offset_nanos() + micros * 1000);
        }
        let errno = report.error.errno().to_ne_bytes();
        let (level, kind, empty) = match domain {
            Domain::V4 => (IPPROTO_IP, libc::IP_RECVERR, size_of::<libc::sockaddr_in>()),
            Domain::V6 => (IPPROTO_IPV6, libc::IPV6_RECVERR, size_of::<libc::sockaddr_in6>()),
        };
        let mut data = errno.to_vec();
        data.extend([origin, report.kind, report.code, 0]);
        data.extend(report.info.to_ne_bytes());
        data.extend(report.data.to_ne_bytes());
        match report.offender {
            Some(offender) => {
                let (bytes, count) = address::format(SocketAddr::new(offender, 0));
                data.extend(&bytes[..count]);
            }
            None => data.resize(data.len() + empty, 0),
        }
        self.put(level, kind, &data);
    }
}

fn as_v6(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
        v6 => v6,
    }
}

/// The bytes of a message's control buffer.
///
/// # Safety
/// `msg_control` is null or has `msg_controllen` bytes, which stay the program's.
pub(super) unsafe fn bytes<'a>(message: &msghdr) -> &'a mut [u8] {
    if message.msg_control.is_null() {
        return &mut [];
    }
    // SAFETY: as the caller's.
    unsafe { core::slice::from_raw_parts_mut(message.msg_control.cast(), message.msg_controllen) }
}

/// The descriptors that came with a message (SCM_RIGHTS).
pub(super) fn descriptors(bytes: &[u8]) -> impl Iterator<Item = c_int> {
    let rights =
        messages(bytes).filter(|message| (message.level, message.kind) == (SOL_SOCKET, libc::SCM_RIGHTS));
    rights.flat_map(|message| message.data.as_chunks().0.iter().map(|bytes| c_int::from_ne_bytes(*bytes)))
}

/// One control message.
struct One<'a> {
    level: c_int,
    kind: c_int,
    data: &'a [u8],
}

/// Those in a buffer, up to the first that is longer than the buffer, or shorter than its header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = One<'_>> {
    core::iter::from_fn(move || {
        let header: &[u8; HEADER] = bytes.first_chunk()?;
        let [length, names] = *header.as_chunks::<8>().0 else { return None };
        let [level, kind] = *names.as_chunks::<4>().0 else { return None };
        let length = usize::from_ne_bytes(length);
        let data = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(size_of::<usize>())..).unwrap_or_default();
        Some(One { level: c_int::from_ne_bytes(level), kind: c_int::from_ne_bytes(kind), data })
    })
}

/// What the control messages of sendmsg(2) ask for. EINVAL for one that makes no sense.
pub(super) fn read(bytes: &[u8], domain: Domain, own_kind: Kind) -> Result<Control> {
    let mut control = Control::default();
    let mut read = 0;
    for One { level, kind, data } in messages(bytes) {
        match (level, kind, domain) {
            (SOL_SOCKET, libc::SCM_RIGHTS | libc::SCM_CREDENTIALS, _) => {}
            (SOL_SOCKET, _, _) => return Err(Error::InvalidArgument),
            (IPPROTO_UDP, libc::UDP_SEGMENT, _) if own_kind != Kind::Echo => {
                let size = data.try_into().map_err(|_| Error::InvalidArgument)?;
                control.segment = Some(u16::from_ne_bytes(size));
            }
            (IPPROTO_UDP, _, _) if own_kind != Kind::Echo => return Err(Error::InvalidArgument),
            (IPPROTO_IP, kind, Domain::V4) => read_v4(kind, data, &mut control)?,
            (IPPROTO_IPV6, kind, Domain::V6) => read_v6(kind, data, &mut control)?,
            _ => {}
        }
        read += (HEADER + data.len()).next_multiple_of(size_of::<usize>());
    }
    // What is left and would hold another one is none that makes sense.
    if bytes.len().saturating_sub(read) >= HEADER { Err(Error::InvalidArgument) } else { Ok(control) }
}

fn read_v4(kind: c_int, data: &[u8], control: &mut Control) -> Result<()> {
    match kind {
        libc::IP_PKTINFO => {
            let info: [u8; 12] = data.try_into().map_err(|_| Error::InvalidArgument)?;
            let [interface, source, _] = *info.as_chunks::<4>().0 else { return Err(Error::InvalidArgument) };
            control.path = path(u32::from_ne_bytes(interface))?;
            control.source = Some(Ipv4Addr::from(source).into());
        }
        libc::IP_TTL => {
            let ttl = within(int(data)?, 1)?;
            control.hop_limit = Some(ttl);
        }
        libc::IP_TOS => {
            let class = if let [class] = data { c_int::from(*class) } else { int(data)? };
            control.traffic_class = Some(within(class, 0)?);
        }
        _ => return Err(Error::InvalidArgument),
    }
    Ok(())
}

fn read_v6(kind: c_int, data: &[u8], control: &mut Control) -> Result<()> {
    match kind {
        libc::IPV6_PKTINFO => {
            let (source, interface) = data.split_first_chunk::<16>().ok_or(Error::InvalidArgument)?;
            let interface = interface.first_chunk().ok_or(Error::InvalidArgument)?;
            control.path = path(u32::from_ne_bytes(*interface))?;
            control.source = Some(Ipv6Addr::from(*source).into());
        }
        // -1 is the socket's own.
        libc::IPV6_HOPLIMIT if int(data)? == -1 => {}
        libc::IPV6_HOPLIMIT => control.hop_limit = Some(within(int(data)?, 0)?),
        libc::IPV6_TCLASS if int(data)? == -1 => {}
        libc::IPV6_TCLASS => control.traffic_class = Some(within(int(data)?, 0)?),
        _ => return Err(Error::InvalidArgument),
    }
    Ok(())
}

fn int(data: &[u8]) -> Result<c_int> {
    data.try_into().map(c_int::from_ne_bytes).map_err(|_| Error::InvalidArgument)
}

fn within(number: c_int, least: c_int) -> Result<u8> {
    if (least..=255).contains(&number) { Ok(number as u8) } else { Err(Error::InvalidArgument) }
}

/// None for no interface in particular.
fn path(index: u32) -> Result<Option<Path>> {
    match index {
        0 => Ok(None),
        index => Path::with_index(index).map(Some).ok_or(Error::Kernel(libc::ENODEV)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        Arrival {
            from: "10.0.2.2:9".parse().expect("an address"),
            to: "10.0.2.15:7".parse().expect("an address"),
            local: Ipv4Addr::new(10, 0, 2, 15).into(),
            hop_limit: 63,
            traffic_class: 8,
            interface: 2,
            shows_info_v4: true,
            shows_info_v6: false,
            shows_hops: true,
            shows_class: true,
            shows_time: false,
            shows_drops: true,
            wall_nanos: 0,
            dropped: 0,
        }
    }

    /// What is written is read back, as a program that answers by what it was shown would do.
    #[test]
    fn written_and_read() {
        let mut room = [0; 128];
        let mut writer = Writer::new(&mut room, 0);
        writer.put_arrival(Domain::V4, &arrival());
        let written = writer.written();
        assert!(!writer.cut);
        let control =
            read(&room[..written], Domain::V4, Kind::Datagram).expect("what was written makes sense");
        let expected = Control {
            source: Some(Ipv4Addr::new(10, 0, 2, 15).into()),
            path: Some(Path::Link),
            hop_limit: Some(63),
            traffic_class: Some(8),
            ..Control::default()
        };
        assert_eq!(control, expected);
    }

    /// However small the buffer is, nothing is written behind it, and the program is told.
    #[test]
    fn cut_off_at_every_length() {
        let mut whole = [0; 128];
        let mut writer = Writer::new(&mut whole, 0);
        writer.put_arrival(Domain::V4, &arrival());
        let needed = writer.written() - 7;
        for length in 0..needed {
            let mut room = vec![0; length];
            let mut writer = Writer::new(&mut room, 0);
            writer.put_arrival(Domain::V4, &arrival());
            assert!(writer.cut && writer.written() <= length, "{length}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut message = [0u8; 24];
        message[..8].copy_from_slice(&20usize.to_ne_bytes());
        message[12..16].copy_from_slice(&libc::IP_TTL.to_ne_bytes());
        assert_eq!(read(&message, Domain::V4, Kind::Datagram), Err(Error::InvalidArgument), "a TTL of zero");
        message[16] = 7;
        assert_eq!(read(&message, Domain::V4, Kind::Datagram).map(|control| control.hop_limit), Ok(Some(7)));
        message[..8].copy_from_slice(&1000usize.to_ne_bytes());
        assert_eq!(
            read(&message, Domain::V4, Kind::Datagram),
            Err(Error::InvalidArgument),
            "longer than the buffer"
        );
        message[..8].copy_from_slice(&0usize.to_ne_bytes());
        assert_eq!(
            read(&message, Domain::V4, Kind::Datagram),
            Err(Error::InvalidArgument),
            "shorter than its header"
        );
    }
}
