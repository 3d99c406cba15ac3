//! What must hold: at the ends of connections, and on the way there.

use crate::plan::{Far, Plan, Start};
use crate::program::{Left, Program};
use crate::witness::Witness;
use crate::world::Stage;
use std::time::Duration;
use tubesock::error::Error;
use tubesock::time::Instant;

/// What was broken, and on which connection if it was one.
#[derive(Clone, Debug)]
pub(crate) struct Breach {
    pub(crate) connection: Option<usize>,
    pub(crate) what: String,
}

impl Breach {
    pub(crate) fn of(number: usize, what: impl Into<String>) -> Breach {
        Breach { connection: Some(number), what: format!("connection {number}: {}", what.into()) }
    }
}

impl<T: Into<String>> From<T> for Breach {
    fn from(what: T) -> Breach {
        Breach { connection: None, what: what.into() }
    }
}

/// Whatever befell its packets, a connection has moved on or given up after this: Linux's fifteen retransmissions take
/// 924 s when the round trip is short, and up to two more minutes when it is long.
const PATIENCE: Duration = Duration::from_secs(1200);

/// With packets lost one by one: a dozen in a row are never lost, and that is how long eleven time-outs take. Unless there is
/// neither SACK nor timestamps: then a time-out that has grown to two minutes stays, however much of what was sent twice is
/// acknowledged (Karn; Linux 6.18 doubles it on), and four such in a row do get lost (seed 151171).
const PATIENCE_WITH_LOSS: Duration = Duration::from_secs(420);

/// When nothing is lost, only delayed acknowledgements, pacing and probes of a window are waited for.
const PATIENCE_WHEN_CALM: Duration = Duration::from_secs(5);

/// Every connection moves on.
pub(crate) fn progress(
    plan: &Plan,
    programs: &[[Program; 2]],
    stages: &[Stage],
    witnesses: &[Witness],
    now: Instant,
) -> Result<(), Breach> {
    // smoltcp probes a window that is open again when its next probe is due.
    let calm = plan.is_calm() && plan.far == Far::Ours;
    let patience = match (calm, plan.is_rough() || plan.is_blind()) {
        (true, _) => PATIENCE_WHEN_CALM + plan.round_trip() * 10,
        (false, false) => PATIENCE_WITH_LOSS,
        (false, true) => PATIENCE,
    };
    for (number, ends) in programs.iter().enumerate() {
        if stages[number] != Stage::Begun || ends.iter().all(|end| end.left.is_some()) {
            continue;
        }
        let witness = &witnesses[plan.ports_of(number)];
        let waits = ends.iter().any(|end| end.waits_until() > now)
            || is_half_open(plan, ends, 0, witness, now)
            || is_half_open(plan, ends, 1, witness, now);
        let last = ends[0].last_moved().max(ends[1].last_moved());
        if !waits && now - last > patience && !never_begun(plan, ends, witness, now) {
            return Err(Breach::of(number, format!("has not moved for {patience:?}: {}", describe(ends))));
        }
    }
    Ok(())
}

fn describe(ends: &[Program; 2]) -> String {
    format!("near {}, far {}", ends[0].describe(), ends[1].describe())
}

/// One end has given up, and the other never saw anything of it.
fn never_begun(plan: &Plan, ends: &[Program; 2], witness: &Witness, now: Instant) -> bool {
    let gone = |side: usize| {
        let end = &ends[side];
        end.is_rude() || end.left.is_some() && has_given_up(plan, ends, side, witness, now)
    };
    (ends[0].is_waiting() && gone(1)) || (ends[1].is_waiting() && gone(0))
}

/// The other end of `ends[side]` is gone, and it is not.
pub(crate) fn is_half_open(
    plan: &Plan,
    ends: &[Program; 2],
    side: usize,
    witness: &Witness,
    now: Instant,
) -> bool {
    let (this, other) = (&ends[side], &ends[1 - side]);
    let watches = this.watches() && (side == 0 || plan.far == Far::Ours);
    let gone = other.left.is_some() || other.is_waiting() && has_given_up(plan, ends, 1 - side, witness, now);
    this.left.is_none() && this.is_connected() && !watches && gone
}

/// The patience of a host of ours with a handshake that another one began, with what nobody owns any more, and with old
/// segments: Linux's tcp_synack_retries and tcp_orphan_retries, and TIME-WAIT. A little less, for time under way.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(60);
const ORPHAN_PATIENCE: Duration = Duration::from_secs(100);
const TIME_WAIT: Duration = Duration::from_secs(59);

/// smoltcp's TIME-WAIT.
const TIME_WAIT_OF_SMOLTCP: Duration = Duration::from_secs(9);

/// `ends[side]` may be gone without its program's doing: what it waited for did not come for as long as its host waits.
fn has_given_up(plan: &Plan, ends: &[Program; 2], side: usize, witness: &Witness, now: Instant) -> bool {
    let (this, other) = (&ends[side], &ends[1 - side]);
    let time_wait = if side == 1 && plan.far != Far::Ours { TIME_WAIT_OF_SMOLTCP } else { TIME_WAIT };
    let heard = &witness.heard[side];
    let unasked = witness.asked[1 - side].silence(this.left_at, now);
    let old = heard.silence(this.left_at, now).max(unasked) >= time_wait;
    match this.left {
        // Or a SYN cookie: data that overtakes the acknowledgement with it finds no connection, as on Linux.
        None if this.is_waiting() => {
            let unanswered = witness.answered[side].silence(other.started_at(), now);
            resets_by_cookie(plan) || unanswered >= HANDSHAKE_PATIENCE
        }
        None => false,
        Some(Left::Released) => {
            let silence = heard.silence_beyond(this.left_at, now);
            let unanswered = witness.answered[side].silence_beyond(this.left_at, now);
            let fin_missed = witness.asked[side].silence(this.left_at, now) >= this.plan.lingers();
            let dead = this.plan.keeps_alive().is_some_and(|limit| silence >= limit);
            old || fin_missed || dead || unanswered.max(other.slowness()) >= ORPHAN_PATIENCE
        }
        Some(Left::Ended(None)) => old,
        Some(Left::Ended(Some(_)) | Left::Early | Left::Aborted | Left::Abandoned) => true,
    }
}

/// The engines do not run in circles.
pub(crate) fn steps(
    steps: u64,
    idle: u64,
    packets: u64,
    seconds: f64,
    connections: usize,
) -> Result<(), String> {
    // A timer that moved away may still come up once for each round-trip timeout, of which there are five a second.
    let connections_seconds = seconds * connections as f64;
    let bound = 1000 + packets + (connections_seconds * 10.0) as u64;
    if idle > bound {
        return Err(format!("{idle} of {steps} steps of the clock did nothing, with {packets} packets"));
    }
    Ok(())
}

/// `ends[side]` has just done something.
pub(crate) fn end(
    plan: &Plan,
    ends: &[Program; 2],
    side: usize,
    witness: &Witness,
    now: Instant,
) -> Result<(), String> {
    let (this, other) = (&ends[side], &ends[1 - side]);
    if this.read > other.written {
        return Err(format!("read {} bytes of {}", this.read, other.written));
    }
    if this.eof && !other.shut {
        return Err("an end of file that nobody sent".into());
    }
    if this.eof && this.read != other.written {
        return Err(format!("the end of file after {} bytes of {}", this.read, other.written));
    }
    match this.left {
        None | Some(Left::Aborted | Left::Early | Left::Released | Left::Abandoned) => Ok(()),
        Some(Left::Ended(None)) if this.eof && this.written == this.plan.bytes => Ok(()),
        Some(Left::Ended(None)) => Err("ended in order before the end".into()),
        Some(Left::Ended(Some(error))) => reason(plan, ends, side, error, witness, now)
            .map_err(|why| format!("ended with {error:?}, but {why}: {}", describe(ends))),
    }
}

/// Whether an error is the truth.
fn reason(
    plan: &Plan,
    ends: &[Program; 2],
    side: usize,
    error: Error,
    witness: &Witness,
    now: Instant,
) -> Result<(), &'static str> {
    let (this, other) = (&ends[side], &ends[1 - side]);
    match error {
        Error::ConnectionReset | Error::BrokenPipe | Error::ConnectionRefused => {
            let excused = has_given_up(plan, ends, 1 - side, witness, now) || resets_by_cookie(plan);
            if other.is_rude() || excused { Ok(()) } else { Err("nobody reset it") }
        }
        Error::TimedOut => {
            let silence = witness.silent_now(side, this.started_at(), now);
            // Forged segments count as heard, and broken ones.
            let blurred = (plan.forgeries > 0 || plan.corrupts()) && !plan.is_calm();
            // A peer that answers and keeps its window shut is one that does not read.
            let unanswered = witness.unanswered(side, this.started_at(), now).max(other.slowness());
            let limited = this.plan.user_timeout().is_some_and(|limit| limit <= unanswered);
            let never_opened = !this.was_connected() && unanswered >= patience(this);
            if limited || blurred || never_opened || silence >= patience(this) {
                Ok(())
            } else {
                Err("both ends were heard of")
            }
        }
        _ => Err("that cannot be"),
    }
}

/// With the queue of a listener full, SYN cookies answer; data that overtakes the acknowledgement with the cookie then
/// finds no connection, as on Linux.
fn resets_by_cookie(plan: &Plan) -> bool {
    plan.shared_backlog.is_some() && !plan.is_pristine()
}

/// How much silence it takes to give up.
fn patience(end: &Program) -> Duration {
    let own = match end.was_connected() {
        true => Duration::from_secs(100),
        false if end.plan.gives_up_on_syn() => Duration::from_secs(1),
        false => Duration::from_secs(30),
    };
    end.plan.keeps_alive().map_or(own, |limit| limit.min(own))
}

/// How a connection must have ended.
pub(crate) fn finished(
    plan: &Plan,
    ends: &[Program; 2],
    witness: &Witness,
    now: Instant,
) -> Result<(), String> {
    if never_begun(plan, ends, witness, now) {
        return Ok(());
    }
    if ends.iter().any(|end| end.left.is_none()) {
        return Err(format!("nothing will ever happen again: {}", describe(ends)));
    }
    // The silence after all was over explains nothing.
    let now = ends[0].left_at.max(ends[1].left_at);
    let orderly = ends.iter().all(Program::has_left_in_order);
    if orderly && !ends.iter().all(|end| end.written == end.plan.bytes && end.has_all()) {
        return Err(format!("ended in order without all its bytes: {}", describe(ends)));
    }
    let explains = |side: usize| match ends[side].left {
        // Of a reset the other end must know.
        Some(Left::Early | Left::Aborted | Left::Ended(Some(Error::TimedOut))) => true,
        Some(Left::Released | Left::Ended(None)) => has_given_up(plan, ends, side, witness, now),
        _ => false,
    };
    let excused = explains(0) || explains(1) || resets_by_cookie(plan);
    if !orderly && !excused {
        return Err(format!("did not end in order: {}", describe(ends)));
    }
    Ok(())
}

/// Hardly anything is sent twice where nothing is lost: RFC 8985's probe of a tail whose acknowledgement is delayed.
pub(crate) fn repetitions(plan: &Plan, witness: &Witness) -> Result<(), String> {
    // smoltcp delays its acknowledgement of a super-packet.
    // And one who writes or reads little at a time has small flights, each with a tail.
    let bulk = plan
        .connections
        .iter()
        .flat_map(|connection| &connection.ends)
        .all(|end| end.write.pause.is_zero() && end.read.pause.is_zero() && end.stall.is_none());
    let strict = plan.is_pristine() && plan.far == Far::Ours && bulk;
    for side in (0..2).filter(|_| strict) {
        let (sent, repeated) = (witness.sent[side], witness.repeated[side]);
        if repeated > sent / 50 + plan.mtu[side] as u64 {
            return Err(format!("{} sent {repeated} of {sent} bytes again", ["near", "far"][side]));
        }
    }
    Ok(())
}

/// The port of a connection that is to follow on another is not free: TIME-WAIT is over in a minute, and what comes
/// before it in a few.
pub(crate) fn port(
    plan: &Plan,
    programs: &[[Program; 2]],
    number: usize,
    error: Error,
    now: Instant,
) -> Result<(), Breach> {
    let Start::After(before, pause) = plan.connections[number].start else {
        return Err(Breach::of(number, format!("cannot connect: {error:?}")));
    };
    let over = programs[before].iter().map(|end| end.left_at).max().unwrap_or(now) + pause;
    match error {
        Error::AddressInUse | Error::AddressNotAvailable if now - over < PATIENCE => Ok(()),
        _ => Err(Breach::of(number, format!("cannot connect between used ports: {error:?}"))),
    }
}
