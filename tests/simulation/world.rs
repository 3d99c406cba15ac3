//! Two hosts, the road between them, and a clock that only this moves.

use crate::coalesce::Coalescer;
use crate::dice::Content;
use crate::host::{Host, Ours};
use crate::judge::{self, Breach};
use crate::peer::Peer;
use crate::plan::{Changed, Far, Opener, Plan, Start};
use crate::program::{Left, Program};
use crate::trace::Trace;
use crate::wire::{self, Sabotage, Wire};
use crate::witness::{self, Witness};
use std::time::Duration;
use tubesock::error::Error;
use tubesock::link::impair::{Direction, Impair, Settings};
use tubesock::link::pair::{Pair, PairEnd};
use tubesock::link::{Capabilities, Link};
use tubesock::time::Instant;

type Road = Impair<Wire<PairEnd>>;

/// How a seed went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// What went wrong is smoltcp's fault.
    Inconclusive(String),
    Failed(String),
}

/// How ends of connections ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    /// Both ends have all bytes and left in order.
    pub(crate) orderly: u64,
    pub(crate) reset: u64,
    pub(crate) timed_out: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn and(self, other: Tally) -> Tally {
        Tally {
            connections: self.connections + other.connections,
            orderly: self.orderly + other.orderly,
            reset: self.reset + other.reset,
            timed_out: self.timed_out + other.timed_out,
            bytes: self.bytes + other.bytes,
        }
    }

    fn of(ends: &[Program; 2]) -> Tally {
        let ended = |error| ends.iter().any(|end| end.left == Some(Left::Ended(Some(error))));
        Tally {
            connections: 1,
            orderly: u64::from(ends.iter().all(Program::has_left_in_order)),
            reset: u64::from(ended(Error::ConnectionReset) || ended(Error::BrokenPipe)),
            timed_out: u64::from(ended(Error::TimedOut)),
            bytes: ends[0].read + ends[1].read,
        }
    }
}

/// One host, with its end of the road.
struct Side<'a> {
    host: Box<dyn Host + 'a>,
    road: Road,
    coalescer: Coalescer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Planned,
    Begun,
    /// It was to follow on a connection that left no order.
    Skipped,
}

pub(crate) struct World<'a> {
    plan: &'a Plan,
    now: Instant,
    began: Instant,
    sides: [Side<'a>; 2],
    programs: Vec<[Program; 2]>,
    stages: Vec<Stage>,
    /// When a connection whose ports were not free is tried again.
    retry_at: Vec<Instant>,
    witnesses: Vec<Witness>,
    pub(crate) trace: Trace,
    changed: usize,
    /// Steps of the clock, and those at which nothing happened.
    steps: u64,
    idle_steps: u64,
}

/// Packets that may move while the time stands still. More is a storm.
const PACKETS_AT_ONCE_MAX: u64 = 200_000;

/// Turns in which anything moves while the time stands still. More, with few packets, is a timer that is due for ever.
const TURNS_AT_ONCE_MAX: u64 = 50_000;

/// Packets of a whole simulation.
const PACKETS_MAX: u64 = 3_000_000;

/// Between two tries for a port that is not free.
const PORT_RETRY: Duration = Duration::from_secs(7);

impl<'a> World<'a> {
    pub(crate) fn new(plan: &'a Plan, seed: u64, sabotage: Sabotage, lines: bool) -> World<'a> {
        let now = Instant::ZERO + plan.began;
        let count = plan.connections.len();
        let far: Box<dyn Host + 'a> = match &plan.far {
            Far::Ours => Box::new(Ours::new(plan, 1, seed, now)),
            Far::Smoltcp(settings) => Box::new(Peer::new(plan, settings, seed, now)),
        };
        let [near_road, far_road] = roads(plan, seed, sabotage, now);
        World {
            plan,
            now,
            began: now,
            sides: [
                Side {
                    host: Box::new(Ours::new(plan, 0, seed, now)),
                    road: near_road,
                    coalescer: Coalescer::default(),
                },
                Side { host: far, road: far_road, coalescer: Coalescer::default() },
            ],
            programs: programs(plan, seed),
            stages: vec![Stage::Planned; count],
            retry_at: vec![Instant::ZERO; count],
            witnesses: vec![Witness::default(); count],
            trace: Trace::new(now, lines),
            changed: 0,
            steps: 0,
            idle_steps: 0,
        }
    }

    /// The whole simulation.
    pub(crate) fn run(&mut self) -> Verdict {
        match self.live().and_then(|()| self.end()) {
            Ok(()) => Verdict::Passed,
            Err(Breach { connection, what }) => match connection.and_then(|number| self.blame(number)) {
                Some(fault) => Verdict::Inconclusive(format!("{fault}; {what}")),
                None => Verdict::Failed(format!("{what}, at {:.6} s", self.seconds())),
            },
        }
    }

    /// A fault of smoltcp's own on connection `number`.
    fn blame(&mut self, number: usize) -> Option<&'static str> {
        self.sides[1].host.is_stuck_by_itself(number)
    }

    /// Virtual seconds that have passed.
    pub(crate) fn seconds(&self) -> f64 {
        (self.now - self.began).as_secs_f64()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.programs.iter().map(Tally::of).fold(Tally::default(), Tally::and)
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.trace.into_lines()
    }

    fn live(&mut self) -> Result<(), Breach> {
        loop {
            self.change();
            self.begin()?;
            self.settle()?;
            judge::progress(self.plan, &self.programs, &self.stages, &self.witnesses, self.now)?;
            if self.is_over() {
                return Ok(());
            }
            match self.next() {
                Some(next) => self.step(next)?,
                None if self.abandon() => {}
                None => return Ok(()),
            }
        }
    }

    /// Nothing will ever happen again. That is right where one end is gone and the other, with nothing to send,
    /// cannot know: its program gives up too. Whether there was one.
    fn abandon(&mut self) -> bool {
        let mut any = false;
        for (number, ends) in self.programs.iter_mut().enumerate() {
            let witness = &self.witnesses[self.plan.ports_of(number)];
            for (side, Side { host, .. }) in self.sides.iter_mut().enumerate() {
                if judge::is_half_open(self.plan, ends, side, witness, self.now)
                    && !host.has_outstanding(number)
                {
                    ends[side].abandon(host.as_mut(), self.now);
                    any = true;
                }
            }
        }
        any
    }

    /// Lets the clock go on.
    fn step(&mut self, next: Instant) -> Result<(), Breach> {
        self.now = next;
        self.steps += 1;
        self.run_timers();
        judge::steps(self.steps, self.idle_steps, self.trace.packets, self.seconds(), self.programs.len())?;
        if self.trace.packets > PACKETS_MAX {
            return Err(Breach::from("far too many packets"));
        }
        Ok(())
    }

    /// All programs have what they want, and our engines wait for nothing.
    fn is_over(&mut self) -> bool {
        let idle = |side: &mut Side| side.host.deadline().is_none();
        let ours = if self.plan.far == Far::Ours { 2 } else { 1 };
        let done = |(stage, ends): (&Stage, &[Program; 2])| match stage {
            Stage::Planned => false,
            Stage::Begun => ends.iter().all(|end| end.left.is_some()),
            Stage::Skipped => true,
        };
        let settled = |side: &mut Side| side.road.deadline().is_none();
        self.stages.iter().zip(&self.programs).all(done)
            && self.sides[..ours].iter_mut().all(idle)
            && (ours == 1 || self.sides.iter_mut().all(settled))
    }

    /// When something is to be done.
    fn next(&mut self) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut consider = |at: Option<Instant>| next = next.into_iter().chain(at).min();
        for side in &mut self.sides {
            consider(side.host.deadline().map(|at| at + self.plan.lateness));
            consider(side.road.deadline());
        }
        for program in self.programs.iter().flatten() {
            consider(program.deadline(self.now));
        }
        for number in 0..self.programs.len() {
            consider(self.start_of(number).filter(|_| self.stages[number] == Stage::Planned));
        }
        // An outage of a road that nobody uses any more is none.
        if next.is_some() {
            let change = self.plan.changes.get(self.changed);
            next = next.into_iter().chain(change.map(|change| self.began + change.at)).min();
        }
        next
    }

    /// When connection `number` is to begin, if that is known.
    fn start_of(&self, number: usize) -> Option<Instant> {
        let start = match self.plan.connections[number].start {
            Start::At(start) => self.began + start,
            Start::After(before, pause) => {
                let ends = &self.programs[before];
                let over = ends.iter().all(|end| end.left.is_some());
                over.then(|| ends[0].left_at.max(ends[1].left_at) + pause)?
            }
        };
        Some(start.max(self.retry_at[number]))
    }

    /// Changes of the road whose time has come.
    fn change(&mut self) {
        let World { plan, now, began, sides, .. } = self;
        while let Some(change) = plan.changes.get(self.changed).filter(|change| *began + change.at <= *now) {
            self.changed += 1;
            self.trace.note(*now, || format!("for {}: {:?}", change.side, change.to));
            match &change.to {
                Changed::Router(mtu) => sides[change.side].road.link_mut().settings.router = Some(*mtu),
                Changed::Road(road) => match change.side {
                    1 if plan.all_at_near => sides[0].road.set(Direction::Incoming, *road, *now),
                    side => sides[side].road.set(Direction::Outgoing, *road, *now),
                },
            }
        }
    }

    /// Connections whose time has come.
    fn begin(&mut self) -> Result<(), Breach> {
        for number in 0..self.programs.len() {
            let due = self.start_of(number).is_some_and(|start| start <= self.now);
            if self.stages[number] != Stage::Planned || !due {
                continue;
            }
            if let Start::After(before, _) = self.plan.connections[number].start
                && (self.stages[before] == Stage::Skipped
                    || !self.programs[before].iter().all(Program::has_left_in_order))
            {
                self.stages[number] = Stage::Skipped;
                continue;
            }
            self.begin_one(number)?;
        }
        Ok(())
    }

    fn begin_one(&mut self, number: usize) -> Result<(), Breach> {
        let World { plan, sides, now, .. } = self;
        for (side, Side { host, .. }) in sides.iter_mut().enumerate() {
            match plan.connections[number].opener {
                Opener::Side(opener) if opener != side => host.listen(number, *now),
                _ => {
                    if let Err(error) = host.connect(number, *now) {
                        judge::port(plan, &self.programs, number, error, *now)?;
                        self.retry_at[number] = *now + PORT_RETRY;
                        return Ok(());
                    }
                }
            }
        }
        self.stages[number] = Stage::Begun;
        self.programs[number].iter_mut().for_each(|program| program.begin(self.now));
        Ok(())
    }

    /// Moves packets, lets programs do what they can and runs timers until nothing moves.
    fn settle(&mut self) -> Result<(), Breach> {
        let before = self.trace.packets;
        let mut turns = 0;
        while self.carry() | self.run_programs()? | self.run_timers() {
            turns += 1;
            if self.trace.packets - before > PACKETS_AT_ONCE_MAX || turns > TURNS_AT_ONCE_MAX {
                return Err(Breach::from("things go on without end while the time stands still"));
            }
        }
        self.idle_steps += u64::from(turns == 0);
        if self.trace.is_verbose() {
            self.note_state();
        }
        Ok(())
    }

    /// Notes what sending depends on, where it changed.
    fn note_state(&mut self) {
        for (side, Side { host, .. }) in self.sides.iter_mut().enumerate() {
            for number in 0..self.programs.len() {
                if self.stages[number] == Stage::Begun && self.programs[number][side].left.is_none() {
                    self.trace.note_state(self.now, side, number, host.describe(number, self.now));
                }
            }
        }
    }

    fn run_timers(&mut self) -> bool {
        let mut due = false;
        for Side { host, .. } in &mut self.sides {
            if host.deadline().is_some_and(|deadline| deadline <= self.now) {
                host.advance(self.now);
                due = true;
            }
        }
        due
    }

    /// Moves packets once through each host.
    fn carry(&mut self) -> bool {
        let mut moved = false;
        let World { plan, sides, trace, witnesses, now, .. } = self;
        let now = *now;
        for (side, Side { host, road, coalescer }) in sides.iter_mut().enumerate() {
            let passed_on = road.progress();
            let mut take = |packet: &[u8]| {
                trace.received(now, side, packet);
                witness::received(witnesses, side, packet, now);
                host.receive(packet, now);
            };
            while road.receive(now, &mut |packet| match plan.coalesces[side] {
                true => coalescer.push(packet, plan.checksums, &mut take),
                false => take(packet),
            }) {
                moved = true;
            }
            coalescer.flush(plan.checksums, &mut take);
            while host.transmit(now, &mut |packet| {
                let bytes = packet.to_packet();
                trace.sent(now, side, &bytes, packet.segment);
                witness::sent(witnesses, side, &bytes);
                road.transmit(*packet, now);
            }) {
                moved = true;
            }
            moved |= road.progress() != passed_on;
        }
        moved
    }

    fn run_programs(&mut self) -> Result<bool, Breach> {
        let World { plan, sides, programs, now, stages, witnesses, trace, .. } = self;
        let mut moved = false;
        for (side, Side { host, .. }) in sides.iter_mut().enumerate() {
            host.settle(*now)?;
            for number in (0..programs.len()).filter(|number| stages[*number] == Stage::Begun) {
                let name = |what: String| Breach::of(number, format!("{}: {what}", ["near", "far"][side]));
                let did = programs[number][side].run(host.as_mut(), *now).map_err(name)?;
                moved |= did;
                if did {
                    if let Some(left) = programs[number][side].left {
                        trace.note(*now, || {
                            format!("{} leaves connection {number}: {left:?}", ["near", "far"][side])
                        });
                    }
                    let witness = &witnesses[plan.ports_of(number)];
                    judge::end(plan, &programs[number], side, witness, *now).map_err(name)?;
                }
            }
        }
        Ok(moved)
    }

    /// What must hold when all is over.
    fn end(&mut self) -> Result<(), Breach> {
        for (number, ends) in self.programs.iter().enumerate() {
            let breach = |what: String| Breach::of(number, what);
            match self.stages[number] {
                // The connection that it was to follow on never was over.
                Stage::Planned | Stage::Skipped => {}
                Stage::Begun => {
                    let witness = &self.witnesses[self.plan.ports_of(number)];
                    judge::finished(self.plan, ends, witness, self.now).map_err(breach)?;
                }
            }
            judge::repetitions(self.plan, &self.witnesses[number]).map_err(breach)?;
        }
        let now = self.now;
        self.sides.iter_mut().try_for_each(|side| side.host.rest(now).map_err(Breach::from))
    }
}

/// The road, as each host has it before it.
fn roads(plan: &Plan, seed: u64, sabotage: Sabotage, now: Instant) -> [Road; 2] {
    let [outgoing, incoming] = plan.roads;
    let clear = Settings::default();
    let (at_near, at_far) = if plan.all_at_near { (incoming, clear) } else { (clear, incoming) };
    // The wire itself carries what either host may send, super-packets too.
    let checksums = plan.checksums;
    let wire = Capabilities { mtu: 65_535, segmentation: 0, checksums, in_memory: plan.in_memory };
    let (near, far) = Pair::new(wire, usize::MAX);
    let settings = |side: usize, sabotage| wire::Settings {
        capabilities: Capabilities { mtu: plan.mtu[side], segmentation: plan.segmentation[side], ..wire },
        cuts: side == 1 && plan.all_at_near && incoming != clear,
        router: plan.routers[side],
        replays: plan.replays,
        forgeries: plan.forgeries,
        sabotage,
    };
    let near = Wire::new(near, settings(0, sabotage), seed);
    let far = Wire::new(far, settings(1, Sabotage::None), !seed);
    [Impair::new(near, outgoing, at_near, seed, now), Impair::new(far, at_far, clear, !seed, now)]
}

fn programs(plan: &Plan, seed: u64) -> Vec<[Program; 2]> {
    let pair = |(number, connection): (usize, &crate::plan::Connection)| {
        let contents = [0, 1].map(|side| Content::new(seed ^ ((number as u64) << 8 | side)));
        [0, 1].map(|side| {
            let contents = [contents[side], contents[1 - side]];
            Program::new(number, connection.ends[side].clone(), contents, connection.ends[1 - side].bytes)
        })
    };
    plan.connections.iter().enumerate().map(pair).collect()
}
