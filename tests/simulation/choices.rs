//! How the dice fall on a plan. Each part draws from a series of its own.

use crate::dice::Dice;
use crate::plan::{
    Change, Changed, Close, Congestion, Connection, End, Far, Opener, Pace, Plan, Smoltcp, Start,
};
use crate::wire;
use std::num::NonZeroU64;
use std::time::Duration;
use tubesock::engine::{KeepAlive, SocketOption};
use tubesock::link::impair::{Limit, Loss, Probability, Settings};
use tubesock::tcp::{self, Algorithm};

/// The longest that a queue may take to drain.
pub(crate) const QUEUE_MAX: Duration = Duration::from_secs(1);

pub(crate) fn plan(dice: &mut Dice) -> Plan {
    let far = far(&mut dice.fork());
    let mtu = mtus(&mut dice.fork());
    let count = count(&mut dice.fork());
    let roads = roads(&mut dice.fork(), mtu, &far, count);
    let routers = routers(&mut dice.fork(), mtu, &far);
    let changes = changes(&mut dice.fork(), &roads, mtu, &far);
    let narrowest = narrowest(mtu, &roads, routers, &changes);
    let connections = connections(&mut dice.fork(), narrowest, &roads, count, &far);
    let mut rest = dice.fork();
    let mut plan = Plan {
        began: rest.spread_micros(1_000_000, 1 << 45),
        segmentation: [0, 1].map(|_| if rest.percent(30) { rest.between(1, 65_000) as usize } else { 0 }),
        coalesces: [0, 1].map(|_| rest.percent(30)),
        checksums: rest.percent(85),
        in_memory: false,
        tcp: [0, 1].map(|_| settings(&mut rest)),
        lateness: if rest.percent(30) { rest.spread_micros(1, 10_000) } else { Duration::ZERO },
        shared_backlog: rest.percent(30).then(|| rest.below(6) as usize),
        replays: if rest.percent(8) { rest.between(1, 30) } else { 0 },
        forgeries: 0,
        all_at_near: rest.percent(50),
        far,
        mtu,
        roads,
        routers,
        changes,
        connections,
    };
    if plan.replays > 0 {
        keep_the_past_apart(&mut plan);
    }
    if !plan.checksums {
        plan.roads.iter_mut().for_each(|road| road.corrupt = Probability::NEVER);
    }
    if plan.far == Far::Ours && rest.percent(5) {
        keep_in_memory(&mut plan);
    } else if plan.far == Far::Ours && rest.percent(8) {
        // smoltcp knows no RFC 5961.
        plan.forgeries = rest.between(1, 30);
    }
    plan
}

/// A packet of the past that carries a SYN cookie is as good as the first, and so may be one of the connection before,
/// whose TIME-WAIT a reset can end (RFC 1337).
fn keep_the_past_apart(plan: &mut Plan) {
    plan.shared_backlog = None;
    for connection in &mut plan.connections {
        if let Start::After(_, pause) = &mut connection.start {
            *pause += 2 * wire::REPLAYED_AGE_MAX;
        }
    }
}

/// Both hosts in one process: no road at all.
fn keep_in_memory(plan: &mut Plan) {
    (plan.in_memory, plan.checksums, plan.replays) = (true, false, 0);
    plan.roads = [Settings::default(); 2];
    plan.routers = [None; 2];
    plan.changes = Vec::new();
}

fn far(dice: &mut Dice) -> Far {
    if dice.percent(65) {
        return Far::Ours;
    }
    // 65536 and more let a peer panic it.
    let buffer = |dice: &mut Dice| dice.spread(1024, 65_535) as usize;
    Far::Smoltcp(Smoltcp {
        receive_buffer: buffer(dice),
        send_buffer: buffer(dice),
        congestion: dice.pick(&[Congestion::None, Congestion::Reno, Congestion::Cubic]),
        timestamps: dice.percent(50),
        delayed_acknowledgements: dice.percent(50),
    })
}

fn mtus(dice: &mut Dice) -> [usize; 2] {
    let one = |dice: &mut Dice| match dice.below(4) {
        0 => dice.between(576, 65_535) as usize,
        1 => dice.pick(&[576, 1280, 9000, 65_535]),
        _ => 1500,
    };
    let first = one(dice);
    if dice.percent(20) { [first, one(dice)] } else { [first; 2] }
}

/// What every path of IPv6 must carry (RFC 8200 5).
const MTU_LEAST_V6: usize = 1280;

/// The largest packet that passes everywhere at any time.
fn narrowest(
    mtu: [usize; 2],
    roads: &[Settings; 2],
    routers: [Option<usize>; 2],
    changes: &[Change],
) -> usize {
    let later = changes.iter().filter_map(|change| match change.to {
        Changed::Router(mtu) => Some(mtu),
        Changed::Road(_) => None,
    });
    let on_the_way = roads.iter().filter_map(|road| road.mtu).chain(routers.into_iter().flatten());
    mtu.into_iter().chain(on_the_way).chain(later).min().unwrap_or(0)
}

fn count(dice: &mut Dice) -> u64 {
    match dice.below(10) {
        0..5 => 1,
        5..8 => dice.between(2, 5),
        _ => dice.between(6, 20),
    }
}

// ---- the road

fn roads(dice: &mut Dice, mtu: [usize; 2], far: &Far, count: u64) -> [Settings; 2] {
    let one = road(dice, mtu, count);
    let mut roads = if dice.percent(60) { [one, one] } else { [one, road(dice, mtu, count)] };
    if dice.percent(8) {
        roads[limited_side(dice, far)].mtu = Some(limit(dice, mtu));
    }
    roads
}

/// smoltcp knows no path MTU: what it sends must fit.
fn limited_side(dice: &mut Dice, far: &Far) -> usize {
    if *far == Far::Ours { dice.below(2) as usize } else { 0 }
}

fn limit(dice: &mut Dice, mtu: [usize; 2]) -> usize {
    dice.between(576, mtu[0].min(mtu[1]) as u64) as usize
}

fn routers(dice: &mut Dice, mtu: [usize; 2], far: &Far) -> [Option<usize>; 2] {
    let mut routers = [None; 2];
    if dice.percent(10) {
        routers[limited_side(dice, far)] = Some(limit(dice, mtu));
    }
    routers
}

fn road(dice: &mut Dice, mtu: [usize; 2], count: u64) -> Settings {
    let delay = match dice.percent(20) {
        true => Duration::ZERO,
        false => dice.spread_micros(50, 200_000),
    };
    let jitter = if dice.percent(30) { delay / dice.between(2, 50) as u32 } else { Duration::ZERO };
    let (rate, limit) = rate(dice, mtu[0].max(mtu[1]) as u64, count);
    let rarely = |dice: &mut Dice, often: u64, hundredths_max: u64| match dice.percent(often) {
        true => hundredths(dice.spread(1, hundredths_max)),
        false => Probability::NEVER,
    };
    Settings {
        delay,
        jitter,
        rate,
        limit,
        loss: loss(dice),
        duplicate: rarely(dice, 20, 1000),
        corrupt: rarely(dice, 15, 500),
        reorder: rarely(dice, 20, 2000),
        gap: dice.between(0, 10) as u32,
        ..Settings::default()
    }
}

/// So many hundredths of a percent.
fn hundredths(hundredths: u64) -> Probability {
    Probability::from_percent(hundredths as f64 / 100.0)
}

/// A rate whose queue holds a packet of every connection at least: retransmissions come at the same time, to the
/// microsecond, and a connection whose packet is always the last would never get one through.
fn rate(dice: &mut Dice, mtu: u64, count: u64) -> (Option<NonZeroU64>, Option<Limit>) {
    if dice.percent(50) {
        return (None, None);
    }
    let least = 2 * count.max(2);
    let slowest = least * mtu * 8 * 2 / QUEUE_MAX.as_secs();
    let rate = dice.spread(slowest, slowest.max(1_000_000_000));
    let most = rate / 8 * QUEUE_MAX.as_secs();
    let limit = match dice.percent(50) {
        true => Limit::Packets(dice.spread(least, (most / mtu).min(1000)) as usize),
        false => Limit::Bytes(dice.spread(least * mtu, most) as usize),
    };
    (NonZeroU64::new(rate), Some(limit))
}

fn loss(dice: &mut Dice) -> Loss {
    match dice.below(100) {
        0..45 => Loss::None,
        45..80 => Loss::Random(hundredths(dice.spread(5, 1000))),
        _ => Loss::Gilbert {
            turns_bad: hundredths(dice.spread(5, 500)),
            turns_good: hundredths(dice.between(2000, 8000)),
            lost_when_bad: hundredths(dice.between(3000, 10_000)),
            lost_when_good: hundredths(dice.below(100)),
        },
    }
}

/// Outages, and changes of route.
fn changes(dice: &mut Dice, roads: &[Settings; 2], mtu: [usize; 2], far: &Far) -> Vec<Change> {
    let sides = dice.pick(&[&[0][..], &[1], &[0, 1]]);
    let at = dice.spread_micros(1000, 30_000_000);
    let all = |road: &dyn Fn(Settings) -> Settings| {
        let change = |side: &usize| Change { at, side: *side, to: Changed::Road(road(roads[*side])) };
        sides.iter().map(change).collect()
    };
    match dice.below(100) {
        0..12 => {
            // smoltcp never gives up, and need not: only ours are made to.
            let longest = if *far == Far::Ours && dice.percent(15) { 1_500_000_000 } else { 30_000_000 };
            let down = dice.spread_micros(50_000, longest);
            all(&|road| Settings { down, ..road })
        }
        12..22 => {
            let delay = dice.spread_micros(50, 2_000_000);
            all(&|road| Settings { delay, ..road })
        }
        22..26 => {
            let router = Changed::Router(limit(dice, mtu));
            vec![Change { at, side: limited_side(dice, far), to: router }]
        }
        _ => Vec::new(),
    }
}

// ---- the hosts

fn settings(dice: &mut Dice) -> tcp::Settings {
    let receive_max = if dice.percent(30) { dice.spread(4096, 6 << 20) as usize } else { 6 << 20 };
    tcp::Settings {
        timestamps: dice.percent(70),
        sack: dice.percent(75),
        window_scale: dice.percent(75),
        congestion: dice.pick(&[Algorithm::Cubic, Algorithm::Cubic, Algorithm::Bbr]),
        send_max: if dice.percent(30) { dice.spread(4096, 4 << 20) as usize } else { 4 << 20 },
        receive_initial: receive_max.min(if dice.percent(30) {
            dice.spread(4096, 1 << 20) as usize
        } else {
            64 << 10
        }),
        receive_max,
    }
}

// ---- the programs

fn connections(
    dice: &mut Dice,
    narrowest: usize,
    roads: &[Settings; 2],
    count: u64,
    far: &Far,
) -> Vec<Connection> {
    let mut budget = [0, 1].map(|side| budget(dice, &roads[side]));
    let mut connections = Vec::new();
    for _ in 0..count {
        let version_4 = narrowest < MTU_LEAST_V6 || dice.percent(60);
        let bytes = [0, 1].map(|side| match dice.percent(12) {
            true => 0,
            false if budget[side] > 4_000_000 && count < 3 => budget[side] / 2,
            false => dice.spread(1, budget[side].clamp(1, 1_000_000)),
        });
        budget[0] -= bytes[0].min(budget[0]);
        budget[1] -= bytes[1].min(budget[1]);
        let start = if dice.percent(50) { Duration::ZERO } else { dice.spread_micros(100, 5_000_000) };
        connections.push(connection(dice, version_4, Start::At(start), bytes));
    }
    let before = dice.below(count) as usize;
    if *far == Far::Ours && connections[before].opener != Opener::Both && dice.percent(20) {
        let pause = if dice.percent(50) { Duration::ZERO } else { dice.spread_micros(1000, 100_000_000) };
        let mut again =
            connection(dice, connections[before].version_4, Start::After(before, pause), [1000; 2]);
        again.opener = connections[before].opener;
        // No patience of its own: its SYN may look old at first.
        for end in &mut again.ends {
            (end.urgent, end.options) = (false, Vec::new());
        }
        connections.push(again);
    }
    connections
}

/// The most that few connections send, now and then: windows and scoreboards grow large.
const BULK: u64 = 20_000_000;

/// What all connections together send: little enough for the rate, and for the patience of whoever runs this.
fn budget(dice: &mut Dice, road: &Settings) -> u64 {
    const SECONDS: u64 = 100;
    let carried = road.rate.map_or(u64::MAX, |rate| rate.get() / 8 * SECONDS);
    let wanted = if dice.percent(4) { dice.spread(4_000_000, BULK) } else { dice.spread(1000, 4_000_000) };
    wanted.min(carried)
}

fn connection(dice: &mut Dice, version_4: bool, start: Start, bytes: [u64; 2]) -> Connection {
    let opener = match dice.below(10) {
        0 => Opener::Both,
        other => Opener::Side((other % 2) as usize),
    };
    let closes = closes(dice, bytes);
    let mut ends = [0, 1].map(|side| end(dice, bytes[side], bytes[1 - side], closes[side]));
    if dice.fork().percent(5) {
        for end in &mut ends {
            end.urgent = true;
            end.options.insert(0, (0, SocketOption::UrgentInline(true)));
        }
    }
    Connection { version_4, opener, start, ends }
}

fn end(dice: &mut Dice, writes: u64, reads: u64, close: Close) -> End {
    End {
        bytes: writes,
        write: pace(dice, writes, 30),
        read: pace(dice, reads, 25),
        stall: dice.percent(12).then(|| (dice.below(reads + 1), dice.spread_micros(50_000, 120_000_000))),
        close,
        urgent: false,
        options: options(dice, writes + reads),
    }
}

fn pace(dice: &mut Dice, bytes: u64, often: u64) -> Pace {
    const PAUSES_MAX: u64 = 300;
    const PAUSED_MICROS_MAX: u64 = 20_000_000;
    let chunk = dice.spread(1, 65_536).max(bytes / PAUSES_MAX);
    let pauses = bytes / chunk + 1;
    let pause = match dice.percent(often) {
        true => dice.spread_micros(10, (PAUSED_MICROS_MAX / pauses).min(2_000_000)),
        false => Duration::ZERO,
    };
    Pace { chunk, pause }
}

fn closes(dice: &mut Dice, bytes: [u64; 2]) -> [Close; 2] {
    let first = dice.below(2) as usize;
    let pair = |one: Close, other: Close| if first == 0 { [one, other] } else { [other, one] };
    let total = bytes[0] + bytes[1];
    match dice.below(100) {
        0..25 => [Close::AfterWriting; 2],
        25..50 => pair(Close::AfterWriting, Close::AfterEof),
        50..70 => pair(Close::AfterReading, Close::AfterEof),
        70..78 => [Close::AfterReading; 2],
        78..85 => pair(Close::Early, dice.pick(&[Close::AfterWriting, Close::AfterEof, Close::Early])),
        85..95 => {
            pair(Close::Abort(dice.below(total + 1)), dice.pick(&[Close::AfterWriting, Close::AfterEof]))
        }
        _ => pair(Close::Impatient(dice.spread_micros(10, 3_000_000)), Close::AfterEof),
    }
}

/// Some from the start, some on the way.
fn options(dice: &mut Dice, total: u64) -> Vec<(u64, SocketOption)> {
    let mut options = vec![(0, SocketOption::NoDelay(dice.percent(50)))];
    while dice.percent(45) {
        let at = if dice.percent(70) { 0 } else { dice.below(total + 1) };
        options.push((at, option(dice)));
    }
    options.sort_by_key(|(at, _)| *at);
    options
}

fn option(dice: &mut Dice) -> SocketOption {
    let seconds = |dice: &mut Dice, most: u64| Duration::from_secs(dice.spread(1, most));
    match dice.below(14) {
        0 => SocketOption::NoDelay(dice.percent(50)),
        1 => SocketOption::Cork(dice.percent(70)),
        2 => SocketOption::QuickAcknowledgement(dice.percent(50)),
        3 | 4 => SocketOption::KeepAlive(dice.percent(90).then(|| KeepAlive {
            idle: seconds(dice, 60),
            interval: seconds(dice, 30),
            count: dice.between(5, 9) as u32,
        })),
        5 => SocketOption::UserTimeout(dice.percent(80).then(|| seconds(dice, 120))),
        6 => SocketOption::Congestion(Some(dice.pick(&[Algorithm::Cubic, Algorithm::Bbr]))),
        7 => SocketOption::MaximumSegment(Some(dice.spread(88, 9000) as u16)),
        8 => SocketOption::SendBuffer(Some(dice.spread(2048, 1 << 20) as usize)),
        9 => SocketOption::ReceiveBuffer(Some(dice.spread(256, 1 << 20) as usize)),
        10 => SocketOption::SynRetries(Some(dice.between(1, 8) as u8)),
        11 => SocketOption::Linger2(Some(Duration::from_secs(dice.between(5, 60)))),
        12 => SocketOption::MaxPacingRate(Some(dice.spread(50_000, 100_000_000))),
        _ => SocketOption::NotSentLowWater(Some(dice.spread(1024, 1 << 20) as usize)),
    }
}
