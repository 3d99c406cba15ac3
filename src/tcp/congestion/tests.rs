//! The controllers over a model of a path, where only the outcome counts; and alone, against the figures of the RFCs.
#![forbid(unsafe_code)]

mod path;

use super::*;
use path::{MSS, Path, Simulation};

const SECOND: Duration = Duration::from_secs(1);

fn simulate(algorithm: Algorithm, path: Path, time: Duration) -> Simulation {
    let mut simulation = Simulation::new(path, 7).with(controller(algorithm, MSS), Duration::ZERO);
    simulation.run(time);
    let flow = &simulation.flows[0];
    println!(
        "{}: utilisation {:.3}, {} bytes lost, {} reductions, {} timeouts, RTT up to {:?}",
        flow.controller.name(),
        simulation.utilisation(),
        flow.lost,
        flow.reductions,
        flow.timeouts,
        flow.longest_round_trip,
    );
    simulation
}

/// A controller without a path: each call is one ACK, or one event.
struct Bench {
    controller: Box<dyn Congestion>,
    now: Instant,
    rtt: Duration,
    sent: u64,
    delivered: u64,
}

impl Bench {
    fn new(algorithm: Algorithm, rtt_ms: u64) -> Bench {
        let controller = controller(algorithm, MSS);
        let rtt = Duration::from_millis(rtt_ms);
        Bench { controller, now: Instant::from_micros(1_000_000), rtt, sent: 0, delivered: 0 }
    }

    /// What an ACK for `bytes` tells when the whole window is in flight and nothing goes wrong.
    fn ack(&mut self, bytes: u32) -> Acknowledgement {
        let window = self.controller.window();
        self.sent += u64::from(bytes);
        let prior_delivered = self.delivered;
        self.delivered += u64::from(bytes);
        Acknowledgement {
            now: self.now,
            acknowledged: bytes,
            delivered: bytes,
            lost: 0,
            in_flight: window.saturating_sub(bytes),
            prior_in_flight: window,
            rtt: Some(self.rtt),
            smoothed_rtt: self.rtt,
            minimum_rtt: self.rtt,
            window_limited: true,
            first_unacknowledged: self.sent,
            next_sent: self.sent + u64::from(window),
            recovering: false,
            fast_recovery: false,
            rate: Some(RateSample {
                delivered: u64::from(bytes),
                interval: self.rtt,
                prior_delivered,
                total_delivered: self.delivered,
                application_limited: false,
                retransmitted: false,
                in_flight_at_send: window,
            }),
        }
    }

    fn acknowledge(&mut self, bytes: u32) {
        let ack = self.ack(bytes);
        self.controller.on_acknowledgement(&ack);
    }

    /// One round trip in which the whole window is acknowledged, segment by segment.
    fn round(&mut self) {
        let segments = (self.controller.window() / MSS).max(1);
        for _ in 0..segments {
            self.now = self.now + self.rtt / segments;
            self.acknowledge(MSS);
        }
    }

    fn lose(&mut self) {
        self.controller.on_congestion(self.now, self.controller.window());
        self.controller.on_recovered(self.now);
    }

    /// Slow start to `segments`, and the threshold there.
    fn grow_to(&mut self, segments: u32) {
        self.acknowledge(segments * MSS - self.controller.window());
        assert_eq!(self.segments(), f64::from(segments));
    }

    fn segments(&self) -> f64 {
        f64::from(self.controller.window()) / f64::from(MSS)
    }
}

#[track_caller]
fn assert_near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value}, expected {expected} ± {tolerance}");
}

// CUBIC over a path

#[test]
fn cubic_fills_a_path_with_a_queue_of_its_product() {
    let path = Path::new(500, 20);
    let simulation = simulate(Algorithm::Cubic, path, 8 * SECOND);
    assert!(simulation.utilisation() > 0.95);
    let flow = &simulation.flows[0];
    assert_eq!(flow.timeouts, 0);
    assert!(flow.lost < path.product() * 3 / 2, "the overshoot of slow start is bounded");
}

#[test]
fn cubic_fills_a_path_whose_receiver_coalesces() {
    let path = Path { stretch: 45, ..Path::new(200, 20) };
    let simulation = simulate(Algorithm::Cubic, path, 4 * SECOND);
    assert!(simulation.utilisation() > 0.9);
}

#[test]
fn slow_start_ends_in_a_deep_queue_without_loss() {
    let path = Path::new(200, 20);
    let path = Path { queue: 16 * path.product(), ..path };
    let simulation = simulate(Algorithm::Cubic, path, SECOND);
    let flow = &simulation.flows[0];
    assert_eq!(flow.lost, 0);
    // The round trips of a round tell of the one before, and five rounds add a quarter each: up to 4 x 3.05.
    let threshold = u64::from(flow.controller.threshold());
    assert!(threshold > path.product() && threshold < 12 * path.product(), "{threshold}");
}

#[test]
fn jitter_does_not_end_slow_start_early() {
    let path = Path { jitter: Duration::from_millis(10), ..Path::new(200, 20) };
    let simulation = simulate(Algorithm::Cubic, path, 2 * SECOND);
    assert!(simulation.utilisation() > 0.85);
}

#[test]
fn two_cubic_flows_share_a_path() {
    let path = Path::new(50, 20);
    let mut simulation = Simulation::new(path, 3)
        .with(controller(Algorithm::Cubic, MSS), Duration::ZERO)
        .with(controller(Algorithm::Cubic, MSS), 2 * SECOND);
    simulation.run(20 * SECOND);
    let before: Vec<u64> = simulation.flows.iter().map(|flow| flow.useful).collect();
    simulation.run(60 * SECOND);
    let shares = simulation.flows.iter().zip(before).map(|(flow, before)| (flow.useful - before) as f64);
    let (sum, squares) =
        shares.fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    let jain = sum * sum / (2.0 * squares);
    assert!(jain > 0.9, "Jain's index {jain}");
}

// CUBIC against RFC 9438

#[test]
fn the_window_follows_the_cubic_function() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    bench.grow_to(200);
    bench.lose();
    let start = bench.now;
    let plateau = (60.0_f64 / 0.4).cbrt();
    for _ in 0..100 {
        bench.round();
        let time = (bench.now - start).as_secs_f64();
        assert_near(bench.segments(), 200.0 + 0.4 * (time - plateau).powi(3), 4.0);
    }
}

/// RFC 9438 5.1, equation 6: with one loss in 1/p packets the average window is 1.054 (RTT/p)^0.75, or Reno's
/// sqrt(1.5/p) (RFC 9438 4.3) where that is larger. Fast convergence is not in the equations.
#[test]
fn the_average_window_is_that_of_rfc_9438() {
    for (rtt_ms, packets) in [(100, 10_000), (100, 100_000), (10, 1_000_000)] {
        let mut bench = Bench::new(Algorithm::Cubic, rtt_ms);
        let (mut sum, mut rounds, mut left) = (0.0, 0.0, f64::from(packets));
        for epoch in 0..60 {
            while left > 0.0 {
                let window = bench.segments();
                bench.now = bench.now + bench.rtt;
                bench.acknowledge(bench.controller.window());
                left -= window;
                if epoch >= 40 {
                    sum += window;
                    rounds += 1.0;
                }
            }
            bench.lose();
            left += f64::from(packets);
        }
        let cubic = 1.054 * (rtt_ms as f64 / 1000.0 * f64::from(packets)).powf(0.75);
        let expected = cubic.max((1.5 * f64::from(packets)).sqrt());
        assert_near(sum / rounds, expected, expected * 0.1);
    }
}

/// RFC 9438 4.3: as Reno with the same average, and as Reno from the old window on.
#[test]
fn a_small_window_grows_as_renos() {
    let mut bench = Bench::new(Algorithm::Cubic, 10);
    bench.grow_to(20);
    bench.lose();
    assert_near(bench.segments(), 14.0, 0.01);
    for _ in 0..10 {
        bench.round();
    }
    assert_near(bench.segments(), 14.0 + 10.0 * 0.529, 0.5);
    while bench.segments() < 20.0 {
        bench.round();
    }
    let before = bench.segments();
    for _ in 0..10 {
        bench.round();
    }
    assert_near(bench.segments(), before + 10.0, 0.6);
}

#[test]
fn a_loss_costs_three_tenths_and_fast_convergence_gives_up_more() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    bench.grow_to(1000);
    bench.lose();
    assert_near(bench.segments(), 700.0, 0.01);
    assert_eq!(bench.controller.threshold(), bench.controller.window());
    // Lost again before W_max was reached: the plateau is at 700 (1 + 0.7) / 2 and not at 700.
    bench.lose();
    assert_near(bench.segments(), 490.0, 0.01);
    let plateau = ((595.0_f64 - 490.0) / 0.4).cbrt();
    let start = bench.now;
    while (bench.now - start).as_secs_f64() < plateau {
        bench.round();
    }
    assert_near(bench.segments(), 595.0, 1.0);
}

/// RFC 5681: a segment more in each round trip, half after a loss, and all of it again when nothing was lost.
#[test]
fn reno_grows_by_a_segment_and_halves() {
    let mut bench = Bench::new(Algorithm::Reno, 100);
    bench.round();
    assert_near(bench.segments(), 20.0, 0.01);
    bench.grow_to(40);
    bench.lose();
    assert_near(bench.segments(), 20.0, 0.01);
    for _ in 0..10 {
        bench.round();
    }
    assert_near(bench.segments(), 30.0, 1.0);
    let (now, window) = (bench.now, bench.controller.window());
    bench.controller.on_timeout(now, window);
    assert_eq!(bench.controller.window(), MSS);
    assert_eq!(bench.controller.threshold(), window / 2);
    bench.controller.on_spurious(now);
    assert_eq!(bench.controller.window(), window);
}

#[test]
fn the_window_does_not_fall_below_two_segments() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    for _ in 0..20 {
        bench.lose();
    }
    assert_eq!(bench.controller.window(), 2 * MSS);
    assert_eq!(bench.controller.threshold(), 2 * MSS);
}

#[test]
fn coalesced_acks_grow_the_window_as_single_ones_do() {
    let grown = |segments_an_ack: u32| {
        let mut bench = Bench::new(Algorithm::Cubic, 20);
        bench.grow_to(160);
        bench.lose();
        for _ in 0..4480 / segments_an_ack {
            bench.now = bench.now + Duration::from_micros(200) * segments_an_ack;
            bench.acknowledge(segments_an_ack * MSS);
        }
        bench.segments()
    };
    assert_near(grown(40), grown(1), 1.0);
}

// CUBIC's events

#[test]
fn a_spurious_reduction_is_undone() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    bench.grow_to(100);
    bench.lose();
    for _ in 0..20 {
        bench.round();
    }
    let (window, threshold) = (bench.controller.window(), bench.controller.threshold());
    let undisturbed = {
        let ack = bench.ack(MSS);
        bench.controller.on_congestion(bench.now, window);
        bench.controller.on_timeout(bench.now, 0);
        bench.controller.on_spurious(bench.now);
        assert_eq!((bench.controller.window(), bench.controller.threshold()), (window, threshold));
        ack
    };
    bench.controller.on_acknowledgement(&undisturbed);
    let growth = bench.controller.window() - window;
    assert!(growth > 0 && growth < MSS / 4, "the plateau is where it was: {growth}");
    let after = bench.controller.window();
    bench.controller.on_spurious(bench.now);
    assert_eq!(bench.controller.window(), after, "nothing is left to undo");
}

#[test]
fn a_timeout_leaves_one_segment_and_reduces_the_threshold_once_a_loss() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    bench.grow_to(100);
    bench.controller.on_timeout(bench.now, 0);
    bench.controller.on_timeout(bench.now, 0);
    assert_eq!(bench.controller.window(), MSS);
    assert_near(f64::from(bench.controller.threshold()), f64::from(70 * MSS), 1.0);
    // Slow start to the threshold, and on from there: the bytes beyond it count as congestion avoidance.
    bench.acknowledge(MSS);
    assert_eq!(bench.controller.window(), 2 * MSS);
    bench.acknowledge(100 * MSS);
    assert!(bench.segments() > 70.0 && bench.segments() < 80.0);
    // Something was acknowledged since: another timeout is another loss.
    bench.controller.on_timeout(bench.now, 0);
    assert!(bench.controller.threshold() < 60 * MSS);
}

#[test]
fn a_timeout_in_fast_recovery_reduces_the_threshold_no_further() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    bench.grow_to(100);
    bench.controller.on_congestion(bench.now, 0);
    bench.controller.on_timeout(bench.now, 0);
    assert_eq!(bench.controller.window(), MSS);
    assert_near(f64::from(bench.controller.threshold()), f64::from(70 * MSS), 1.0);
}

#[test]
fn fast_recovery_and_duplicate_acks_do_not_grow_the_window() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    let window = bench.controller.window();
    let ack = bench.ack(MSS);
    bench.controller.on_acknowledgement(&Acknowledgement { fast_recovery: true, recovering: true, ..ack });
    bench.controller.on_acknowledgement(&Acknowledgement { acknowledged: 0, ..ack });
    bench.controller.on_acknowledgement(&Acknowledgement {
        window_limited: false,
        prior_in_flight: window / 2,
        ..ack
    });
    assert_eq!(bench.controller.window(), window);
    bench.controller.on_acknowledgement(&Acknowledgement {
        window_limited: false,
        prior_in_flight: window / 2 + 1,
        ..ack
    });
    assert_eq!(bench.controller.window(), window + MSS, "half of it used is enough in slow start");
}

#[test]
fn idle_time_halves_the_window_down_to_the_initial_one() {
    let rto = Duration::from_millis(200);
    let after = |idle: Duration| {
        let mut bench = Bench::new(Algorithm::Cubic, 100);
        bench.grow_to(160);
        bench.controller.on_restart(bench.now, idle, rto);
        bench.segments()
    };
    assert_eq!(after(rto), 160.0);
    assert_eq!(after(2 * rto), 80.0);
    assert_eq!(after(3 * rto), 40.0);
    assert_eq!(after(3600 * SECOND), 10.0);
}

/// RFC 9438 5.8: the cubic function does not run while the program has nothing to send.
#[test]
fn time_in_which_the_program_is_the_limit_does_not_count() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    bench.grow_to(100);
    bench.lose();
    bench.round();
    let before = bench.segments();
    for _ in 0..200 {
        bench.now = bench.now + bench.rtt;
        let ack = bench.ack(MSS);
        let ack = Acknowledgement { window_limited: false, prior_in_flight: 2 * MSS, ..ack };
        bench.controller.on_acknowledgement(&ack);
    }
    bench.round();
    assert!(bench.segments() - before < 3.0, "{before} to {}", bench.segments());
}

#[test]
fn the_initial_window_follows_the_mss_and_a_later_one_only_down() {
    let mut bench = Bench::new(Algorithm::Cubic, 100);
    bench.controller.set_mss(9000);
    assert_eq!(bench.controller.window(), 90_000);
    bench.controller.set_mss(MSS);
    bench.grow_to(20);
    bench.controller.set_mss(MSS * 2);
    assert_eq!(bench.controller.window(), 20 * MSS);
    bench.controller.set_mss(MSS);
    assert_eq!(bench.controller.window(), 10 * MSS);
}

// BBR

#[test]
fn bbr_fills_a_path_that_loses_three_percent() {
    let simulation = simulate(Algorithm::Bbr, Path { loss: 30_000, ..Path::new(500, 20) }, 8 * SECOND);
    assert!(simulation.utilisation() > 0.88);
}

#[test]
fn bbr_fills_a_path_and_keeps_the_queue_short() {
    let path = Path::new(200, 20);
    let mut simulation =
        simulate(Algorithm::Bbr, Path { queue: 20 * path.product(), ..path }, Duration::from_secs(2));
    simulation.flows[0].longest_round_trip = Duration::ZERO;
    simulation.run(4 * SECOND);
    assert!(simulation.utilisation() > 0.93);
    assert!(simulation.flows[0].longest_round_trip < Duration::from_millis(35), "a quarter is probing");
}

#[test]
fn bbr_leaves_probe_rtt_with_its_model() {
    let mut simulation = simulate(Algorithm::Bbr, Path::new(20, 10), Duration::from_millis(9_900));
    let (mut least, mut pacing_least) = (u32::MAX, u64::MAX);
    for step in 0..100 {
        simulation.run(Duration::from_millis(9_900 + step * 10));
        least = least.min(simulation.flows[0].controller.window());
        pacing_least = pacing_least.min(simulation.flows[0].controller.pacing_rate().unwrap());
    }
    assert_eq!(least, 4 * MSS, "ProbeRtt was entered");
    assert!(
        pacing_least > 20 * 125_000 * 7 / 10,
        "what it measured in between does not count: {pacing_least}"
    );
    assert!(simulation.flows[0].controller.window() > 10 * MSS, "the window came back");
    assert!(simulation.utilisation() > 0.93);
}

#[test]
fn bbr_is_paced_by_a_guess_and_then_by_the_round_trip() {
    let mut bench = Bench::new(Algorithm::Bbr, 100);
    let initial = f64::from(10 * MSS) * 2.885;
    assert_near(bench.controller.pacing_rate().unwrap() as f64, initial * 1000.0, 1.0);
    bench.acknowledge(MSS);
    let rate = bench.controller.pacing_rate().unwrap() as f64;
    assert_near(rate, initial * 10.0, 1.0);
}

#[test]
fn a_rate_that_the_program_limits_does_not_lower_bbrs() {
    let mut bench = settled_bbr();
    let before = bench.controller.window();
    for _ in 0..100 {
        bench.now = bench.now + bench.rtt;
        let mut ack = bench.ack(MSS);
        ack.rate.as_mut().unwrap().application_limited = true;
        bench.controller.on_acknowledgement(&ack);
    }
    assert!(bench.controller.window() >= before * 9 / 10);
    for _ in 0..100 {
        bench.now = bench.now + bench.rtt;
        bench.acknowledge(MSS);
    }
    assert!(bench.controller.window() < before / 2, "a rate that it does not limit does");
}

#[test]
fn bbr_conserves_packets_for_a_round_and_then_restores_the_window() {
    let mut bench = settled_bbr();
    let before = bench.controller.window();
    bench.controller.on_congestion(Instant::from_micros(1_000_001), 20 * MSS);
    assert_eq!(bench.controller.window(), 21 * MSS);
    bench.controller.on_recovered(Instant::from_micros(1_000_002));
    bench.acknowledge(0);
    assert_eq!(bench.controller.window(), before);
    let mut controller = bench.controller;
    controller.on_timeout(Instant::from_micros(1_000_003), 0);
    assert_eq!(controller.window(), MSS);
    controller.on_spurious(Instant::from_micros(1_000_004));
    assert_eq!(controller.window(), before);
    controller.on_restart(Instant::from_micros(9_000_000), 8 * SECOND, SECOND);
    assert_eq!(controller.window(), before, "the model outlives idle time");
}

/// On Linux too: with packets lost in every round there would be nothing but first rounds.
#[test]
fn a_recovery_that_begins_with_the_ack_that_ends_another_goes_on_with_it() {
    let mut bench = settled_bbr();
    let before = bench.controller.window();
    bench.controller.on_congestion(bench.now, 20 * MSS);
    bench.controller.on_recovered(bench.now);
    bench.controller.on_congestion(bench.now, 5 * MSS);
    bench.acknowledge(0);
    assert_eq!(bench.controller.window(), 21 * MSS, "neither reduced again nor restored");
    bench.controller.on_recovered(bench.now);
    bench.acknowledge(0);
    assert_eq!(bench.controller.window(), before);
}

/// What a second on a path has made of a controller, without the path.
fn settled_bbr() -> Bench {
    let mut simulation = simulate(Algorithm::Bbr, Path::new(50, 20), SECOND);
    let mut bench = Bench::new(Algorithm::Bbr, 20);
    (bench.now, bench.delivered) = (Instant::from_micros(1_000_000), 1 << 30);
    core::mem::swap(&mut bench.controller, &mut simulation.flows[0].controller);
    bench
}

// All of them

#[test]
fn a_path_in_memory_has_no_window() {
    let mut controller = in_memory(MSS);
    controller.on_timeout(Instant::ZERO, 0);
    controller.on_congestion(Instant::ZERO, 0);
    assert_eq!(controller.window(), WINDOW_MAX);
    assert_eq!(controller.pacing_rate(), None);
}

/// Every connection has one, idle or not.
#[test]
fn a_controller_takes_no_more_than_384_bytes() {
    assert!(size_of::<cubic::Cubic>() <= 384 && size_of::<bbr::Bbr>() <= 384);
}

#[test]
fn algorithms_have_linuxs_names() {
    for algorithm in [Algorithm::Cubic, Algorithm::Bbr, Algorithm::Reno] {
        assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        assert_eq!(controller(algorithm, MSS).name(), algorithm.name());
    }
    assert_eq!(Algorithm::named("vegas"), None);
}

/// Whatever the numbers, nothing overflows and the window stays within its limits.
#[test]
fn absurd_numbers_keep_the_window_within_its_limits() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let algorithm = [Algorithm::Cubic, Algorithm::Bbr, Algorithm::Reno][(seed % 3) as usize];
        let mut controller = controller(algorithm, random.number() as u32);
        let mut now = Instant::ZERO;
        for _ in 0..300 {
            now = now + Duration::from_micros(random.number() >> 8);
            match random.number() % 16 {
                0 => controller.on_congestion(now, random.number() as u32),
                1 => controller.on_timeout(now, random.number() as u32),
                2 => controller.on_recovered(now),
                3 => controller.on_spurious(now),
                4 => controller.on_restart(now, random.duration(), random.duration()),
                5 => controller.set_mss(random.number() as u32),
                _ => controller.on_acknowledgement(&random.acknowledgement(now)),
            }
            assert!((1..=WINDOW_MAX).contains(&controller.window()), "seed {seed}: {controller:?}");
            assert!(controller.threshold() >= 2, "seed {seed}: {controller:?}");
            assert!(controller.pacing_rate() != Some(0), "seed {seed}: {controller:?}");
        }
    }
}

struct Random(u64);

impl Random {
    /// Of any magnitude: a shift as random as the bits.
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed >> (mixed & 63)
    }

    fn duration(&mut self) -> Duration {
        if self.number().is_multiple_of(32) { Duration::MAX } else { Duration::from_nanos(self.number()) }
    }

    fn acknowledgement(&mut self, now: Instant) -> Acknowledgement {
        let flag = |number: u64| number.is_multiple_of(2);
        Acknowledgement {
            now,
            acknowledged: self.number() as u32,
            delivered: self.number() as u32,
            lost: self.number() as u32,
            in_flight: self.number() as u32,
            prior_in_flight: self.number() as u32,
            rtt: flag(self.number()).then(|| self.duration()),
            smoothed_rtt: self.duration(),
            minimum_rtt: self.duration(),
            window_limited: flag(self.number()),
            first_unacknowledged: self.number(),
            next_sent: self.number(),
            recovering: flag(self.number()),
            fast_recovery: flag(self.number()),
            rate: flag(self.number()).then(|| RateSample {
                delivered: self.number(),
                interval: self.duration(),
                prior_delivered: self.number(),
                total_delivered: self.number(),
                application_limited: flag(self.number()),
                retransmitted: flag(self.number()),
                in_flight_at_send: self.number() as u32,
            }),
        }
    }
}
