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

/// With packets lost one by one: a dozen in a row are never lost, and that is how long eleven time-outs take.
const PATIENCE_WITH_LOSS: Duration = Duration::from_secs(420);

/// When nothing is lost, only delayed acknowledgements, pacing and probes of a window are waited for.
const PATIENCE_WHEN_CALM: Duration = Duration::from_secs(5);

/// Every connection moves on.
pub(crate) fn progress(
    plan: &Plan,
    programs: &[[Program; 2]],
    stages: &[Stage],
    now: Instant,
) -> Result<(), Breach> {
    // smoltcp probes a window that is open again when its next probe is due.
    let calm = plan.is_calm() && plan.far == Far::Ours;
    let patience = match (calm, plan.is_rough()) {
        (true, _) => PATIENCE_WHEN_CALM + plan.round_trip() * 10,
        (false, false) => PATIENCE_WITH_LOSS,
        (false, true) => PATIENCE,
    };
    for (number, ends) in programs.iter().enumerate() {
        if stages[number] != Stage::Begun || ends.iter().all(|end| end.left.is_some()) {
            continue;
        }
        let waits = ends.iter().any(|end| end.waits_until() > now)
            || is_half_open(plan, ends, 0)
            || is_half_open(plan, ends, 1);
        let last = ends[0].last_moved().max(ends[1].last_moved());
        if !waits && now - last > patience && !never_begun(plan, ends) {
            return Err(Breach::of(number, format!("has not moved for {patience:?}: {}", describe(ends))));
        }
    }
    Ok(())
}

fn describe(ends: &[Program; 2]) -> String {
    format!("near {}, far {}", ends[0].describe(), ends[1].describe())
}

/// One end has given up, and the other never saw anything of it.
fn never_begun(plan: &Plan, ends: &[Program; 2]) -> bool {
    let gives_up = plan.is_rough() || resets_by_cookie(plan);
    let gone = |end: &Program| end.is_rude() || (gives_up && end.left.is_some());
    (ends[0].is_waiting() && gone(&ends[1])) || (ends[1].is_waiting() && gone(&ends[0]))
}

/// The other end of `ends[side]` is gone, and it is not.
pub(crate) fn is_half_open(plan: &Plan, ends: &[Program; 2], side: usize) -> bool {
    let (this, other) = (&ends[side], &ends[1 - side]);
    let watches = this.watches() && (side == 0 || plan.far == Far::Ours);
    // Or it has given up on the handshake; after a SYN cookie, at once.
    let gives_up = plan.is_rough() || resets_by_cookie(plan);
    let gone = other.left.is_some() || (gives_up && other.is_waiting());
    this.left.is_none() && this.is_connected() && !watches && gone
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
    let smoltcp = side == 1 && plan.far != Far::Ours;
    match this.left {
        None | Some(Left::Aborted | Left::Early | Left::Released | Left::Abandoned) => Ok(()),
        Some(Left::Ended(None)) if this.eof && this.written == this.plan.bytes => Ok(()),
        // It cannot say why.
        Some(Left::Ended(_)) if smoltcp => Ok(()),
        Some(Left::Ended(None)) => Err("ended in order before the end".into()),
        Some(Left::Ended(Some(error))) => reason(plan, [this, other], side, error, witness, now)
            .map_err(|why| format!("ended with {error:?}, but {why}: {}", describe(ends))),
    }
}

/// Whether an error is the truth.
fn reason(
    plan: &Plan,
    [this, other]: [&Program; 2],
    side: usize,
    error: Error,
    witness: &Witness,
    now: Instant,
) -> Result<(), &'static str> {
    match error {
        Error::ConnectionReset | Error::BrokenPipe | Error::ConnectionRefused => {
            let gone = other.left.is_some() && (plan.is_rough() || outlasts(plan, this, other));
            let gone = gone || starves(plan, other);
            // An end that never was accepted has given up on the handshake.
            let never = other.is_waiting() && !plan.is_calm();
            // smoltcp's TIME-WAIT is short, and what comes after it is reset.
            let forgotten = side == 0 && plan.far != Far::Ours && other.left.is_some() && !plan.is_calm();
            let excused = gone || never || forgotten || resets_by_cookie(plan);
            if other.is_rude() || excused { Ok(()) } else { Err("nobody reset it") }
        }
        Error::TimedOut => {
            let since = |heard: Instant| now - heard.max(this.started_at());
            let silence = since(witness.heard[side]).max(since(witness.heard_asking[1 - side]));
            // Forged segments count as heard.
            let blurred = plan.forgeries > 0 && !plan.is_calm();
            let limited =
                this.plan.user_timeout().is_some_and(|limit| limit <= other.slowness() || !plan.is_calm());
            if limited || blurred || silence >= patience(this) {
                Ok(())
            } else {
                Err("both ends were heard of")
            }
        }
        _ => Err("that cannot be"),
    }
}

/// `this` lets `other` wait for its FIN for longer than FIN-WAIT-2 and the patience with orphans last.
fn outlasts(plan: &Plan, this: &Program, other: &Program) -> bool {
    this.slowness() + plan.round_trip() >= other.plan.lingers().min(Duration::from_secs(20))
}

/// Data that nobody has any more is given up after 102 s (Linux's tcp_orphan_retries), and where neither SACK nor
/// timestamps tell more, a retransmission timeout grows larger than that.
fn starves(plan: &Plan, end: &Program) -> bool {
    let blind = plan.far != Far::Ours || plan.tcp.iter().any(|tcp| !tcp.sack);
    end.left == Some(Left::Released) && blind && !plan.is_calm()
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
pub(crate) fn finished(plan: &Plan, ends: &[Program; 2]) -> Result<(), String> {
    if never_begun(plan, ends) {
        return Ok(());
    }
    if ends.iter().any(|end| end.left.is_none()) {
        return Err(format!("nothing will ever happen again: {}", describe(ends)));
    }
    let orderly = ends.iter().all(Program::has_left_in_order);
    if orderly && !ends.iter().all(|end| end.written == end.plan.bytes && end.has_all()) {
        return Err(format!("ended in order without all its bytes: {}", describe(ends)));
    }
    let rude = |end: &Program| matches!(end.left, Some(Left::Early | Left::Aborted));
    let impatient =
        |end: &Program| end.plan.user_timeout().is_some() || (end.plan.gives_up_on_syn() && !plan.is_calm());
    let slow = outlasts(plan, &ends[0], &ends[1]) || outlasts(plan, &ends[1], &ends[0]);
    let excused = plan.is_rough() || plan.far != Far::Ours || slow || resets_by_cookie(plan);
    let excused = excused || ends.iter().any(|end| rude(end) || impatient(end) || starves(plan, end));
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
