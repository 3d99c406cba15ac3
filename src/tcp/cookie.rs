//! SYN cookies (RFC 4987 3.6): under a flood of SYNs a listener keeps nothing and puts what it must remember into the
//! initial sequence number and the timestamp of its SYN-ACK, which an honest peer sends back.
//!
//! ```text
//!   sequence number = hash(4-tuple) + the peer's + (minute << 24)
//!                     + ((hash(4-tuple, minute, the peer's) + class) mod 2^24)       class: index into a table of MSS
//!   timestamp       = our clock, the low five bits of which are   [S W W W W]   S: SACK, W: window scale, 15 is none
//! ```
//!
//! Theory of operation. The layout is Linux's (`net/ipv4/syncookies.c`), but for the peer's number in the second hash.
//! Who acknowledges such a number has seen our SYN-ACK: it is right only for its 4-tuple, only for the peer's own initial
//! number, and for no longer than two minutes. Of the 2^32 numbers that somebody may guess, four times two are good, and
//! guesses are taken only while cookies are being sent (`engine/listener.rs`). The price is paid by peers without
//! timestamps: they get neither window scaling nor SACK, and everybody gets the MSS of a table. A clock that is up to 32 ms
//! slow does no harm.
//!
//! Not here: when to send cookies, and what becomes of a connection (`Connection::restore`).
#![forbid(unsafe_code)]

use super::options::SHIFT_MAX;
use super::{Context, Draft, HeaderOptions, Options, Segment, Sequence, Timestamps, timers};
use crate::link::Packet;
use crate::time::Instant;
use core::hash::{Hash, Hasher};
use siphasher::sip::SipHasher13;
use std::net::{IpAddr, SocketAddr};

/// What the peer's SYN said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its MSS, rounded down to one of the table.
    pub mss: u16,
    /// Its window scale, when both offered one.
    pub window_scale: Option<u8>,
    /// Both permit SACK.
    pub sack: bool,
    /// Both offered timestamps.
    pub timestamps: bool,
}

/// The MSS values that most peers have: Linux's tables, with one more for jumbo frames over IPv6.
const MSS_V4: [u16; 4] = [536, 1300, 1440, 1460];
const MSS_V6: [u16; 4] = [1220, 1420, 1440, 8940];

/// Cookies of this minute and of the last are good.
const MINUTES: u32 = 2;

/// Bits of a sequence number below the minute.
const LOW: u32 = 0x00ff_ffff;

/// Bits of a timestamp that hold options.
const OPTION_BITS: u32 = 0x1f;
const SACK_BIT: u32 = 0x10;
const NO_SCALE: u32 = 0x0f;

/// Makes cookies, and knows its own.
#[derive(Debug)]
pub struct Jar {
    key: SipHasher13,
}

impl Jar {
    /// Cookies under a secret key.
    pub fn new(key: [u64; 2]) -> Jar {
        Jar { key: SipHasher13::new_with_keys(key[0], key[1]) }
    }

    /// Our initial sequence number in the answer to `syn`.
    pub fn sequence(&self, syn: &Segment, now: Instant) -> Sequence {
        let table = table(syn.source);
        let offered = syn.options.mss.unwrap_or(table[0]);
        let class = table.iter().rposition(|mss| *mss <= offered).unwrap_or(0) as u32;
        let minute = minute(now);
        let low = self.hash(syn, Some((minute, syn.sequence))).wrapping_add(class) & LOW;
        Sequence(self.base(syn, syn.sequence).wrapping_add(minute << 24).wrapping_add(low))
    }

    /// What the cookie says that `segment` acknowledges; None when that is no cookie of ours, or an old one. `offset` is
    /// what was added to our clock for this 4-tuple.
    pub fn open(&self, segment: &Segment, offset: u32, now: Instant) -> Option<Cookie> {
        let (ours, theirs) = (segment.acknowledgement?.minus_one(), segment.sequence.minus_one());
        let cookie = ours.0.wrapping_sub(self.base(segment, theirs));
        let age = minute(now).wrapping_sub(cookie >> 24) & 0xff;
        if age >= MINUTES {
            return None;
        }
        let baked = self.hash(segment, Some((minute(now).wrapping_sub(age), theirs)));
        let class = cookie.wrapping_sub(baked) & LOW;
        let mss = *table(segment.source).get(usize::try_from(class).ok()?)?;
        let plain = Cookie { mss, window_scale: None, sack: false, timestamps: false };
        match segment.options.timestamps {
            None => Some(plain),
            Some(Timestamps { echo, .. }) => unpack(plain, echo.wrapping_sub(offset)),
        }
    }

    /// The part of a cookie that has no time in it.
    fn base(&self, segment: &Segment, theirs: Sequence) -> u32 {
        self.hash(segment, None).wrapping_add(theirs.0)
    }

    fn hash(&self, segment: &Segment, moment: Option<(u32, Sequence)>) -> u32 {
        let mut hasher = self.key;
        (segment.source, segment.destination, moment).hash(&mut hasher);
        hasher.finish() as u32
    }
}

/// The SYN-ACK with `sequence`, a cookie, that answers `syn`. `offset` is added to our clock. `options` are the listener's.
pub fn answer(
    context: &Context,
    syn: &Segment,
    sequence: Sequence,
    offset: u32,
    options: &Options,
    now: Instant,
) -> Packet {
    let settings = context.settings();
    let theirs = &syn.options;
    let offered = theirs.timestamps.filter(|_| settings.timestamps);
    // What cannot be remembered must not be promised.
    let remembered = offered.is_some();
    let scale = theirs.window_scale.filter(|_| remembered && settings.window_scale);
    let sack = theirs.sack_permitted && remembered && settings.sack;
    let timestamps = offered.map(|Timestamps { value, .. }| Timestamps {
        value: pack(timers::clock(now), scale, sack).wrapping_add(offset),
        echo: value,
    });
    let draft = Draft {
        syn: true,
        options: HeaderOptions {
            mss: Some(context.announced_mss(syn.destination.ip(), options)),
            window_scale: scale.map(|_| context.receive_shift(options)),
            sack_permitted: sack,
            timestamps,
            ..HeaderOptions::default()
        },
        ..Draft::bare(sequence, Some(syn.end()), context.first_window(options))
    };
    let treatment = *options.treatment.of(syn.source.ip());
    draft.build(syn.destination, syn.source, treatment, context.checksums())
}

/// Minutes since the origin of the clock.
fn minute(now: Instant) -> u32 {
    (now.micros() / 60_000_000) as u32
}

fn table(address: SocketAddr) -> &'static [u16; 4] {
    match address.ip() {
        IpAddr::V4(_) => &MSS_V4,
        IpAddr::V6(_) => &MSS_V6,
    }
}

/// The clock with the options in its low bits, and not ahead of itself: timestamps never go back (RFC 7323 5.4).
fn pack(clock: u32, window_scale: Option<u8>, sack: bool) -> u32 {
    let scale = window_scale.map_or(NO_SCALE, |shift| u32::from(shift.min(SHIFT_MAX)));
    let packed = (clock & !OPTION_BITS) | scale | if sack { SACK_BIT } else { 0 };
    if packed > clock { packed.wrapping_sub(OPTION_BITS + 1) } else { packed }
}

fn unpack(plain: Cookie, timestamp: u32) -> Option<Cookie> {
    let window_scale = match timestamp & NO_SCALE {
        NO_SCALE => None,
        shift if shift <= u32::from(SHIFT_MAX) => Some(shift as u8),
        _ => return None,
    };
    Some(Cookie { window_scale, sack: timestamp & SACK_BIT != 0, timestamps: true, ..plain })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const NOW: Instant = Instant::from_micros(90_000_000_000);
    const OFFSET: u32 = 0xfedc_ba98;

    fn jar() -> Jar {
        Jar::new([1, 2])
    }

    fn syn(source: &str, destination: &str, mss: Option<u16>) -> Segment {
        Segment {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            sequence: Sequence(u32::MAX),
            acknowledgement: None,
            syn: true,
            fin: false,
            rst: false,
            push: false,
            urgent: None,
            window: 65535,
            payload: 0,
            payload_offset: 40,
            options: HeaderOptions { mss, ..HeaderOptions::default() },
        }
    }

    /// The ACK of a SYN-ACK with `sequence`, echoing `timestamp`.
    fn ack(syn: &Segment, sequence: Sequence, timestamp: Option<u32>) -> Segment {
        let timestamps = timestamp.map(|echo| Timestamps { value: 77, echo });
        Segment {
            syn: false,
            sequence: syn.sequence + 1,
            acknowledgement: Some(sequence + 1),
            options: HeaderOptions { timestamps, ..HeaderOptions::default() },
            ..syn.clone()
        }
    }

    #[test]
    fn a_cookie_remembers_the_mss_for_two_minutes() {
        for (source, destination, offered, remembered) in [
            ("10.0.0.1:4000", "10.0.0.2:80", Some(1460), 1460),
            ("10.0.0.1:4000", "10.0.0.2:80", Some(65_495), 1460),
            ("10.0.0.1:4000", "10.0.0.2:80", Some(1439), 1300),
            ("10.0.0.1:4000", "10.0.0.2:80", Some(1), 536),
            ("10.0.0.1:4000", "10.0.0.2:80", None, 536),
            ("[fd00::1]:4000", "[fd00::2]:80", Some(9000), 8940),
            ("[fd00::1]:4000", "[fd00::2]:80", None, 1220),
        ] {
            let syn = syn(source, destination, offered);
            for start in [NOW, Instant::ZERO, Instant::from_micros(255 * 60_000_000)] {
                let ack = ack(&syn, jar().sequence(&syn, start), None);
                let mss = |seconds| {
                    let opened = jar().open(&ack, OFFSET, start + Duration::from_secs(seconds));
                    opened.map(|cookie| cookie.mss)
                };
                assert_eq!((mss(0), mss(60), mss(120)), (Some(remembered), Some(remembered), None));
            }
        }
    }

    #[test]
    fn a_cookie_is_good_for_its_own_connection_only() {
        let syn = syn("10.0.0.1:4000", "10.0.0.2:80", Some(1460));
        let sequence = jar().sequence(&syn, NOW);
        let right = ack(&syn, sequence, None);
        assert!(jar().open(&right, OFFSET, NOW).is_some());
        let port = Segment { source: "10.0.0.1:4001".parse().expect("an address"), ..right.clone() };
        let theirs = Segment { sequence: right.sequence + 1, ..right.clone() };
        let none = Segment { acknowledgement: None, ..right.clone() };
        for wrong in [port, theirs, none] {
            assert_eq!(jar().open(&wrong, OFFSET, NOW), None);
        }
        assert_eq!(Jar::new([1, 3]).open(&right, OFFSET, NOW), None);
    }

    /// Of numbers that somebody guesses, few are taken.
    #[test]
    fn guesses_are_not_taken() {
        let syn = syn("10.0.0.1:4000", "10.0.0.2:80", Some(1460));
        let guess = |number: u32| ack(&syn, Sequence(number.wrapping_mul(0x9e37_79b1)), None);
        let taken = (0..1_000_000).filter(|number| jar().open(&guess(*number), OFFSET, NOW).is_some());
        // 2 minutes of 256, 4 classes of 2^24: one in 500 million.
        assert!(taken.count() <= 1);
    }

    #[test]
    fn timestamps_remember_the_rest_and_never_run_ahead() {
        let syn = syn("10.0.0.1:4000", "10.0.0.2:80", Some(1460));
        let sequence = jar().sequence(&syn, NOW);
        for scale in (0..=14).map(Some).chain([None]) {
            for sack in [false, true] {
                for clock in [1_000_000, 1_000_031, 5, u32::MAX] {
                    let packed = pack(clock, scale, sack);
                    assert!(clock.wrapping_sub(packed) <= 32);
                    let ack = ack(&syn, sequence, Some(packed.wrapping_add(OFFSET)));
                    let expected = Cookie { mss: 1460, window_scale: scale, sack, timestamps: true };
                    assert_eq!(jar().open(&ack, OFFSET, NOW), Some(expected));
                }
            }
        }
    }
}
