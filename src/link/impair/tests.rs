//! Asked for against seen, in virtual time: within 5 % over so many packets that the seed hardly matters.

use super::*;
use crate::link::pair::{Pair, PairEnd};
use core::num::NonZeroU64;

const CHECKED: Capabilities = Capabilities { mtu: 2000, checksums: true, segmentation: 0, in_memory: false };
const PACKETS: u64 = 40_000;
/// Between two packets.
const SPACING: Duration = Duration::from_micros(100);

/// A packet as it arrived.
struct Arrival {
    index: u64,
    at: Instant,
    took: Duration,
    bits_flipped: u32,
}

struct Path {
    near: Impair<PairEnd>,
    far: PairEnd,
    now: Instant,
    sent_at: Vec<Instant>,
    arrivals: Vec<Arrival>,
}

impl Path {
    fn with(outgoing: Settings, seed: u64, capabilities: Capabilities) -> Path {
        let (near, far) = Pair::new(capabilities, 1 << 20);
        let now = Instant::from_micros(1_000_000);
        let near = Impair::new(near, outgoing, Settings::default(), seed, now);
        Path { near, far, now, sent_at: Vec::new(), arrivals: Vec::new() }
    }

    fn new(outgoing: Settings) -> Path {
        Path::with(outgoing, 7, CHECKED)
    }

    /// A path that `count` packets of `bytes` bytes went over, `spacing` apart.
    fn after(outgoing: Settings, count: u64, bytes: usize, spacing: Duration) -> Path {
        let mut path = Path::new(outgoing);
        for _ in 0..count {
            path.send(bytes);
            path.pass(spacing);
        }
        path.pass(Duration::from_secs(3600));
        path
    }

    fn send(&mut self, bytes: usize) {
        let mut packet = vec![0xff; bytes];
        for copy in packet.chunks_exact_mut(8).take(3) {
            copy.copy_from_slice(&(self.sent_at.len() as u64).to_be_bytes());
        }
        self.sent_at.push(self.now);
        self.near.transmit(packet.as_slice().into(), self.now);
        self.collect();
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(due) = self.near.deadline().filter(|due| *due <= end) {
            assert!(due >= self.now, "the deadline is past");
            self.now = due;
            self.near.receive(self.now, &mut |_| panic!("nothing comes in"));
            self.collect();
        }
        self.now = end;
    }

    fn collect(&mut self) {
        let Path { far, now, sent_at, arrivals, .. } = self;
        while far.receive(*now, &mut |packet| arrivals.push(Arrival::of(packet, *now, sent_at))) {}
    }

    fn counters(&self) -> Counters {
        self.near.counters(Direction::Outgoing)
    }

    fn share_arrived(&self) -> f64 {
        self.arrivals.len() as f64 / self.sent_at.len() as f64
    }

    /// Packets that arrived after one that was sent later.
    fn overtaken(&self) -> usize {
        let mut last = 0;
        let late = |arrival: &&Arrival| {
            let late = arrival.index < last;
            last = last.max(arrival.index);
            late
        };
        self.arrivals.iter().filter(late).count()
    }
}

impl Arrival {
    fn of(packet: &[u8], at: Instant, sent_at: &[Instant]) -> Arrival {
        let [one, two, three] =
            [0, 8, 16].map(|at| u64::from_be_bytes(packet[at..at + 8].try_into().expect("eight bytes")));
        // Whatever one bit did, two of the three are whole.
        let index = if one == two { one } else { three };
        let flipped = |bytes: &[u8]| bytes.iter().map(|byte| (byte ^ 0xff).count_ones()).sum::<u32>();
        let in_numbers: u32 = [one, two, three].iter().map(|copy| (copy ^ index).count_ones()).sum();
        let bits_flipped = in_numbers + flipped(&packet[24..]);
        Arrival { index, at, took: at - sent_at[index as usize], bits_flipped }
    }
}

fn percent(percent: f64) -> Probability {
    Probability::from_percent(percent)
}

/// Within 5 %.
#[track_caller]
fn assert_seen(seen: f64, asked: f64) {
    assert!((seen / asked - 1.0).abs() < 0.05, "asked for {asked}, seen {seen}");
}

#[test]
fn nothing_asked_nothing_done() {
    let path = Path::after(Settings::default(), 1000, 1500, SPACING);
    assert_eq!((path.arrivals.len(), path.overtaken()), (1000, 0));
    assert!(path.arrivals.iter().all(|arrival| arrival.took == Duration::ZERO && arrival.bits_flipped == 0));
}

#[test]
fn delay() {
    let delay = Duration::from_millis(25);
    let path = Path::after(Settings { delay, ..Settings::default() }, 1000, 1500, SPACING);
    assert_eq!((path.arrivals.len(), path.overtaken()), (1000, 0));
    assert!(path.arrivals.iter().all(|arrival| arrival.took == delay));
}

#[test]
fn jitter_spreads_evenly_and_reorders() {
    let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(5));
    let path = Path::after(Settings { delay, jitter, ..Settings::default() }, PACKETS, 100, SPACING);
    let took: Vec<f64> = path.arrivals.iter().map(|arrival| arrival.took.as_secs_f64() * 1000.0).collect();
    let mean = took.iter().sum::<f64>() / took.len() as f64;
    let deviation = (took.iter().map(|took| (took - mean).powi(2)).sum::<f64>() / took.len() as f64).sqrt();
    assert_seen(mean, 20.0);
    // Of an even distribution: half its width by the root of three.
    assert_seen(deviation, 5.0 / 3.0f64.sqrt());
    assert!(took.iter().all(|took| (15.0..=25.0).contains(took)));
    assert!(path.overtaken() > took.len() / 2);
}

#[test]
fn jitter_beyond_the_delay_is_never_negative() {
    let (delay, jitter) = (Duration::from_millis(1), Duration::from_millis(10));
    let path = Path::after(Settings { delay, jitter, ..Settings::default() }, 1000, 100, SPACING);
    assert!(path.arrivals.iter().any(|arrival| arrival.took == Duration::ZERO));
    let absurd = Settings { delay: Duration::MAX, jitter: Duration::MAX, ..Settings::default() };
    assert_eq!(Path::after(absurd, 10, 100, SPACING).arrivals.len(), 0);
}

#[test]
fn random_loss() {
    for asked in [1.0, 10.0] {
        let loss = Loss::Random(percent(asked));
        let path = Path::after(Settings { loss, ..Settings::default() }, 4 * PACKETS, 100, SPACING);
        assert_seen((1.0 - path.share_arrived()) * 100.0, asked);
        assert_eq!(path.counters().lost as usize, path.sent_at.len() - path.arrivals.len());
    }
}

#[test]
fn bursts_of_loss() {
    let loss = Loss::Gilbert {
        turns_bad: percent(1.0),
        turns_good: percent(20.0),
        lost_when_bad: percent(90.0),
        lost_when_good: percent(0.1),
    };
    let path = Path::after(Settings { loss, ..Settings::default() }, 8 * PACKETS, 100, SPACING);
    let bad = 1.0 / (1.0 + 20.0);
    assert_seen(1.0 - path.share_arrived(), bad * 0.9 + (1.0 - bad) * 0.001);

    let simple = Loss::Gilbert {
        turns_bad: percent(1.0),
        turns_good: percent(20.0),
        lost_when_bad: Probability::ALWAYS,
        lost_when_good: Probability::NEVER,
    };
    let path = Path::after(Settings { loss: simple, ..Settings::default() }, 8 * PACKETS, 100, SPACING);
    let steps = path.arrivals.windows(2).map(|pair| pair[1].index - pair[0].index - 1);
    let bursts: Vec<u64> = steps.filter(|lost| *lost > 0).collect();
    assert_seen(bursts.iter().sum::<u64>() as f64 / bursts.len() as f64, 1.0 / 0.2);
}

#[test]
fn rate() {
    let rate = NonZeroU64::new(100_000_000);
    let limit = Some(Limit::Packets(10));
    // Twice what it can.
    let path =
        Path::after(Settings { rate, limit, ..Settings::default() }, 10_000, 1250, Duration::from_micros(50));
    let bits = path.arrivals.len() as f64 * 1250.0 * 8.0;
    let last = path.arrivals.last().expect("some arrive");
    assert_seen(bits / (last.at - path.sent_at[0]).as_secs_f64(), 100e6);
    assert_eq!(path.overtaken(), 0);
    // One packet takes 100 us.
    let longest = path.arrivals.iter().map(|arrival| arrival.took).max();
    assert_eq!(longest, Some(Duration::from_micros(1000)));
    assert_eq!(path.counters().overflowed as usize, 10_000 - path.arrivals.len());
}

#[test]
fn a_rate_of_a_packet_in_less_than_a_microsecond() {
    let rate = NonZeroU64::new(40_000_000_000);
    let mut path =
        Path::new(Settings { rate, limit: Some(Limit::Packets(usize::MAX)), ..Settings::default() });
    for _ in 0..10_000 {
        path.send(1500);
    }
    path.pass(Duration::from_secs(1));
    let last = path.arrivals.last().expect("all arrive");
    assert_eq!((path.arrivals.len(), last.took), (10_000, Duration::from_micros(3000)));
}

#[test]
fn a_queue_of_bytes() {
    let (rate, limit) = (NonZeroU64::new(8_000_000), Some(Limit::Bytes(10_000)));
    let mut path = Path::new(Settings { rate, limit, ..Settings::default() });
    for _ in 0..100 {
        path.send(1000);
    }
    path.pass(Duration::from_secs(1));
    assert_eq!(path.arrivals.len(), 10);
    assert_eq!(path.arrivals.last().map(|last| last.took), Some(Duration::from_millis(10)));

    let mut narrow = Path::new(Settings { rate, limit: Some(Limit::Bytes(10)), ..Settings::default() });
    narrow.send(1000);
    narrow.pass(Duration::from_secs(1));
    assert_eq!(narrow.arrivals.len(), 1, "one always may");
}

/// What is under way counts where there is no rate, and what has arrived does not, whenever it is fetched.
#[test]
fn a_limit_of_a_delay() {
    let delay = Duration::from_millis(10);
    for (limit, most) in [(Limit::Packets(10), 10), (Limit::Bytes(2500), 2), (Limit::Bytes(10), 1)] {
        let mut path = Path::new(Settings { delay, limit: Some(limit), ..Settings::default() });
        for _ in 0..3 {
            for _ in 0..100 {
                path.near.transmit([0; 1000].as_slice().into(), path.now);
            }
            path.now = path.now + delay;
        }
        assert_eq!((path.counters().seen, path.counters().overflowed), (300, 300 - 3 * most), "{limit:?}");
    }
    // Nothing is held without a delay.
    let limit = Some(Limit::Packets(1));
    let path =
        Path::after(Settings { limit, mtu: Some(1500), ..Settings::default() }, 100, 1000, Duration::ZERO);
    assert_eq!(path.arrivals.len(), 100);
}

/// The rest of an outage is told, and the seed; from both the same comes again.
#[test]
fn what_is_told_can_be_given_again() {
    let text = "out delay 20ms 2ms loss 1% limit 5 down 1s in rate 1mbit seed 7";
    let asked: Impairments = text.parse().expect("good words");
    let [outgoing, incoming] = [asked.outgoing, asked.incoming].map(Option::unwrap_or_default);
    let start = Instant::from_micros(1);
    let impair = Impair::new(Pair::new(CHECKED, 1).0, outgoing, incoming, 7, start);
    assert_eq!(impair.lanes.settings(start), asked);
    let told = impair.lanes.settings(start + Duration::from_micros(400_900)).to_string();
    assert_eq!(told, text.replace("1s", "600ms"));
    let told = impair.lanes.settings(start + Duration::from_secs(2)).to_string();
    assert_eq!(told, text.replace(" down 1s", ""));
}

#[test]
fn reorder() {
    let asked = Settings { delay: Duration::from_millis(10), reorder: percent(20.0), ..Settings::default() };
    let path = Path::after(asked, PACKETS, 100, Duration::from_millis(1));
    let at_once = path.arrivals.iter().filter(|arrival| arrival.took == Duration::ZERO).count();
    assert_seen(at_once as f64 / PACKETS as f64, 0.2);
    assert_eq!((at_once as u64, path.arrivals.len() as u64), (path.counters().reordered, PACKETS));
    assert!(path.arrivals.iter().all(|arrival| [0, 10].contains(&arrival.took.as_millis())));
    assert!(path.overtaken() > at_once);
}

#[test]
fn reorder_with_a_gap() {
    let asked = Settings {
        delay: Duration::from_millis(10),
        reorder: Probability::ALWAYS,
        gap: 5,
        ..Settings::default()
    };
    let path = Path::after(asked, 100, 100, Duration::from_millis(1));
    let mut at_once: Vec<u64> = path
        .arrivals
        .iter()
        .filter(|arrival| arrival.took == Duration::ZERO)
        .map(|arrival| arrival.index)
        .collect();
    at_once.sort_unstable();
    assert_eq!(at_once, (4..100).step_by(5).collect::<Vec<u64>>());
}

#[test]
fn duplicate() {
    let asked = Settings { duplicate: percent(5.0), ..Settings::default() };
    let path = Path::after(asked, PACKETS, 100, SPACING);
    assert_seen(path.share_arrived(), 1.05);
    assert_seen(path.counters().duplicated as f64 / PACKETS as f64, 0.05);
}

#[test]
fn corrupt_flips_one_bit() {
    let asked = Settings { corrupt: percent(5.0), ..Settings::default() };
    let path = Path::after(asked, PACKETS, 100, SPACING);
    let flipped = path.arrivals.iter().filter(|arrival| arrival.bits_flipped > 0).count();
    assert_seen(flipped as f64 / PACKETS as f64, 0.05);
    assert!(path.arrivals.iter().all(|arrival| arrival.bits_flipped <= 1));
}

#[test]
fn corrupt_is_lost_where_nobody_would_see_it() {
    let asked = Settings { corrupt: percent(5.0), ..Settings::default() };
    let mut path = Path::with(asked, 7, Capabilities { checksums: false, ..CHECKED });
    for _ in 0..PACKETS {
        path.send(100);
    }
    assert_seen(1.0 - path.share_arrived(), 0.05);
    assert!(path.arrivals.iter().all(|arrival| arrival.bits_flipped == 0));
}

#[test]
fn black_hole() {
    let mut path = Path::new(Settings { mtu: Some(1280), ..Settings::default() });
    for bytes in [1281, 1280, 1500, 40] {
        path.send(bytes);
    }
    assert_eq!(path.arrivals.iter().map(|arrival| arrival.index).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(path.counters().too_large, 2);
}

#[test]
fn down_for_a_time() {
    let delay = Duration::from_millis(50);
    let mut path = Path::new(Settings { delay, ..Settings::default() });
    path.send(100);
    let down = Settings { delay, down: Duration::from_millis(10), ..Settings::default() };
    path.near.set(Direction::Outgoing, down, path.now);
    for _ in 0..20 {
        path.send(100);
        path.pass(Duration::from_millis(1));
    }
    path.pass(Duration::from_secs(1));
    let arrived: Vec<u64> = path.arrivals.iter().map(|arrival| arrival.index).collect();
    assert_eq!(arrived, [0].into_iter().chain(11..=20).collect::<Vec<u64>>());
    assert_eq!(path.counters().down, 10);
}

#[test]
fn memory_is_bounded() {
    let mut path = Path::new(Settings { delay: Duration::from_secs(1), ..Settings::default() });
    for _ in 0..HELD_BYTES_MAX / 2000 + 1000 {
        path.near.transmit([0; 2000].as_slice().into(), path.now);
    }
    assert!(path.near.lanes.outgoing.held_bytes <= HELD_BYTES_MAX);
    assert!(path.counters().overflowed >= 999);
}

#[test]
fn what_finds_no_room_takes_no_time_of_the_rate() {
    let delay = Duration::from_secs(1000);
    let rate = NonZeroU64::new(1_000_000_000);
    let limit = Some(Limit::Packets(usize::MAX));
    let mut path = Path::new(Settings { delay, rate, limit, ..Settings::default() });
    let mut send = |count| {
        for _ in 0..count {
            path.near.transmit([0; 2000].as_slice().into(), path.now);
        }
        let lane = &path.near.lanes.outgoing;
        (lane.bottleneck.free_at, lane.held.len())
    };
    let full = send(HELD_BYTES_MAX / 2000);
    assert_eq!(send(1000), full);
}

/// Everything at once.
fn bad() -> Settings {
    Settings {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(3),
        loss: Loss::Gilbert {
            turns_bad: percent(2.0),
            turns_good: percent(30.0),
            lost_when_bad: percent(80.0),
            lost_when_good: percent(1.0),
        },
        duplicate: percent(3.0),
        corrupt: percent(3.0),
        reorder: percent(3.0),
        ..Settings::default()
    }
}

#[test]
fn the_same_seed_decides_the_same_whenever_the_packets_come() {
    let decided = |seed, spacing| {
        let mut path = Path::with(bad(), seed, CHECKED);
        for _ in 0..5000 {
            path.send(100);
            path.pass(spacing);
        }
        path.pass(Duration::from_secs(1));
        let fate = |arrival: &Arrival| (arrival.index, arrival.took, arrival.bits_flipped);
        let mut fates: Vec<_> = path.arrivals.iter().map(fate).collect();
        fates.sort_unstable();
        (fates, path.counters())
    };
    let once = decided(1, SPACING);
    assert!(once == decided(1, SPACING), "the same seed");
    assert!(once == decided(1, Duration::from_millis(20)), "the same seed, at other times");
    assert!(once != decided(2, SPACING), "another seed");
}

#[test]
fn settings_of_one_kind_do_not_shift_the_decisions_of_another() {
    let lost = |corrupt| {
        let settings = Settings { loss: Loss::Random(percent(10.0)), corrupt, ..Settings::default() };
        let path = Path::after(settings, 1000, 100, SPACING);
        path.arrivals.iter().map(|arrival| arrival.index).collect::<Vec<_>>()
    };
    assert!(lost(Probability::NEVER) == lost(percent(50.0)));
}

#[test]
fn directions_are_apart_and_links_nest() {
    let (near, mut far) = Pair::new(CHECKED, 100);
    let now = Instant::from_micros(5);
    let delay = |millis| Settings { delay: Duration::from_millis(millis), ..Settings::default() };
    let inner = Impair::new(near, delay(10), delay(1), 1, now);
    let mut link = Impair::new(inner, delay(20), Settings::default(), 1, now);
    link.transmit([0x45; 40].as_slice().into(), now);
    far.transmit([0x46; 40].as_slice().into(), now);
    let (mut came_in, mut went_out) = (None, None);
    assert!(link.busy());
    // The incoming one is not seen before somebody looks.
    assert!(!link.receive(now, &mut |_| panic!("it is under way")));
    while let Some(due) = link.deadline() {
        while link.receive(due, &mut |packet| came_in = Some((due - now, packet[0]))) {}
        while far.receive(due, &mut |packet| went_out = Some((due - now, packet[0]))) {}
    }
    assert_eq!(came_in, Some((Duration::from_millis(1), 0x46)));
    assert_eq!(went_out, Some((Duration::from_millis(30), 0x45)));
    assert!(!link.busy() && link.progress() == 2);
}

#[test]
fn a_super_packet_is_impaired_as_the_packets_that_it_is() {
    let capabilities = Capabilities { segmentation: 65_000, ..CHECKED };
    let (near, mut far) = Pair::new(capabilities, 100);
    let slow = Settings { delay: Duration::from_millis(1), mtu: Some(1500), ..Settings::default() };
    let mut link = Impair::new(near, slow, Settings { mtu: None, ..slow }, 1, Instant::ZERO);
    // IPv4 and TCP headers of 20 bytes.
    let mut headers = [0; 40];
    (headers[0], headers[9], headers[32]) = (0x45, 6, 0x50);
    let payload: [&[u8]; 2] = [&[1; 3000], &[2; 2000]];
    let whole = Outgoing { headers: &headers, payload, segment: core::num::NonZeroU16::new(1460) };
    link.transmit(whole, Instant::ZERO);
    let due = link.deadline().expect("it is under way");
    link.receive(due, &mut |_| {});
    let mut lengths = Vec::new();
    while far.receive(due, &mut |packet| lengths.push(packet.len())) {}
    assert_eq!(lengths, [1500, 1500, 1500, 40 + 620]);

    let mut coalesced = whole.to_packet();
    coalesced[32] = 0x50;
    far.transmit(coalesced.as_slice().into(), due);
    link.receive(due, &mut |_| {});
    let mut count = 0;
    while link
        .receive(due + Duration::from_millis(1), &mut |packet| count += usize::from(packet.len() <= 2000))
    {
    }
    assert_eq!(count, 3, "cut by the MTU of the link, which is 2000");
}
