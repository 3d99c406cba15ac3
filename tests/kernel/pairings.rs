//! Every pairing of options, openers, endings and families: bytes equal both ways, the right end on both sides.

use crate::namespace::Namespace;
use crate::ours::{self, Ours};
use crate::script::{STORIES, Story, bytes};
use crate::theirs::{self, Agreed};
use crate::world::{Mode, OUR_V4, OUR_V6, THEIR_V4, THEIR_V6, World};
use rustix::io::Errno;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tubesock::engine::{Engine, StreamState};
use tubesock::error::Error;
use tubesock::tcp;
use tubesock::time::Instant;

/// Worlds at a time: they wait more than they work.
const AT_ONCE: usize = 4;
/// Bytes that a side sends, about.
const LENGTH: usize = 100_000;
/// The first port.
const PORTS: u16 = 20_000;
/// A port that nobody listens at.
const CLOSED_PORT: u16 = 9;

/// What one side's TCP may use.
#[derive(Clone, Copy, Debug)]
struct Options {
    timestamps: bool,
    sack: bool,
    window_scale: bool,
}

impl Options {
    /// The eight, by number.
    fn numbered(number: usize) -> Options {
        Options { timestamps: number & 1 == 0, sack: number & 2 == 0, window_scale: number & 4 == 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opener {
    Us,
    Them,
}

/// One connection to be.
struct Case {
    name: String,
    story: &'static Story,
    opener: Opener,
    /// Of whoever listens.
    address: SocketAddr,
    /// Of us and of them.
    data: [Vec<u8>; 2],
}

#[test]
fn every_pairing() {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let number @ 0..64 = next.fetch_add(1, Ordering::Relaxed) {
                    pair(Options::numbered(number / 8), Options::numbered(number % 8), number as u64);
                }
            });
        }
    });
}

/// All stories with these options on our side and on theirs.
fn pair(ours: Options, theirs: Options, seed: u64) {
    let mode = if seed.count_ones().is_multiple_of(2) { Mode::Offload } else { Mode::Plain };
    let tcp = tcp::Settings {
        timestamps: ours.timestamps,
        sack: ours.sack,
        window_scale: ours.window_scale,
        ..tcp::Settings::default()
    };
    let mut world = World::new(mode, tcp);
    for (parameter, on) in
        [("timestamps", theirs.timestamps), ("sack", theirs.sack), ("window_scaling", theirs.window_scale)]
    {
        world.namespace.set(&format!("net.ipv4.tcp_{parameter}"), if on { "1" } else { "0" });
    }
    let agreed = Agreed {
        timestamps: ours.timestamps && theirs.timestamps,
        sack: ours.sack && theirs.sack,
        window_scale: ours.window_scale && theirs.window_scale,
    };
    let complaints = play(&mut world, &cases(seed), agreed);
    let counters = world.engine.counters();
    assert!(
        complaints.is_empty(),
        "{mode:?}, we have {ours:?}, they have {theirs:?}, seed {seed}:\n  {}\n{counters}\n{:?}",
        complaints.join("\n  "),
        world.tun.counters()
    );
    world.assert_intact();
    let stories = STORIES.len() as u64;
    assert!(counters.connections_opened >= 2 * stories, "{counters}");
    assert_eq!((counters.connections_accepted, counters.connections_refused), (2 * stories, 2), "{counters}");
}

fn cases(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for story in &STORIES {
        for opener in [Opener::Us, Opener::Them] {
            for (our, their) in [(OUR_V4, THEIR_V4), (OUR_V6, THEIR_V6)] {
                let number = cases.len();
                let listener = if opener == Opener::Us { their } else { our };
                let length = LENGTH + 37 * number;
                let data_seed = (seed << 16) + 2 * number as u64;
                cases.push(Case {
                    name: format!("{}, opened by {opener:?}, {listener}", story.name),
                    story,
                    opener,
                    address: SocketAddr::new(listener, PORTS + number as u16),
                    data: [bytes(data_seed, length), bytes(data_seed + 1, length)],
                });
            }
        }
    }
    cases
}

/// Plays all cases at once, and tells what went wrong.
fn play(world: &mut World, cases: &[Case], agreed: Agreed) -> Vec<String> {
    let now = tubesock::sys::now();
    let mut sides: Vec<Side> = cases.iter().map(|case| Side::new(&mut world.engine, case, now)).collect();
    let refused = [THEIR_V4, THEIR_V6]
        .map(|address| ours::connect(&mut world.engine, SocketAddr::new(address, CLOSED_PORT), now));
    let complaints = Mutex::new(Vec::new());
    let complain = |text: String| complaints.lock().expect("nobody panics with it").push(text);
    let World { namespace, engine, tun } = world;
    let namespace = &*namespace;
    std::thread::scope(|scope| {
        let complain = &complain;
        let mut threads = vec![scope.spawn(move || knock(namespace).unwrap_or_else(complain))];
        for case in cases {
            let listener = (case.opener == Opener::Us).then(|| namespace.listen(case.address));
            threads.push(scope.spawn(move || {
                let played = their_side(namespace, case, listener, agreed);
                played.unwrap_or_else(|error| complain(format!("{}: their {error}", case.name)));
            }));
        }
        let end = now + theirs::PATIENCE;
        crate::drive::drive(engine, tun, |engine, now| {
            for side in &mut sides {
                side.turn(engine, agreed, now).unwrap_or_else(complain);
            }
            let busy = sides.iter().any(|side| !side.done)
                || !refused.iter().all(|id| engine.state(*id) == Some(StreamState::Ended))
                || !threads.iter().all(|thread| thread.is_finished())
                || !left_over(engine, namespace).is_empty();
            busy && now < end
        });
    });
    for side in sides.iter().filter(|side| !side.done) {
        complain(format!("{}: we are {}", side.case.name, side.ours.describe(engine)));
    }
    for end in refused.map(|id| engine.end(id)) {
        if end != Some(Error::ConnectionRefused) {
            complain(format!("our connect to a closed port of theirs ended with {end:?}"));
        }
    }
    left_over(engine, namespace).into_iter().for_each(complain);
    complaints.into_inner().expect("nobody panics with it")
}

/// Our side of a case.
struct Side<'a> {
    case: &'a Case,
    ours: Ours,
    done: bool,
}

impl<'a> Side<'a> {
    fn new(engine: &mut Engine, case: &'a Case, now: Instant) -> Side<'a> {
        let begin = if case.opener == Opener::Us { Ours::connect } else { Ours::listen };
        let ours = begin(engine, case.address, case.story.ours, case.data.clone(), now);
        Side { case, ours, done: false }
    }

    /// Goes as far as it can. What failed is done, too.
    fn turn(&mut self, engine: &mut Engine, agreed: Agreed, now: Instant) -> Result<(), String> {
        if self.done {
            return Ok(());
        }
        let result = match self.ours.agreed(engine, now) {
            Some(really) if really != agreed => Err(format!("TCP_INFO says {really:?}")),
            _ => self.ours.turn(engine, now),
        };
        self.done = *result.as_ref().unwrap_or(&true);
        result.map(drop).map_err(|error| format!("{}: our {error}", self.case.name))
    }
}

/// The kernel connects to closed ports of ours.
fn knock(namespace: &Namespace) -> Result<(), String> {
    for address in [OUR_V4, OUR_V6] {
        let connected = namespace.socket(SocketAddr::new(address, CLOSED_PORT)).connect();
        if connected.as_ref().err() != Some(&format!("connect: {}", Errno::CONNREFUSED)) {
            return Err(format!("a connect to a closed port of ours gives {connected:?}"));
        }
    }
    Ok(())
}

/// What has not come to its end, on either side.
fn left_over(engine: &Engine, namespace: &Namespace) -> Vec<String> {
    match engine.orphans() {
        0 => {
            namespace.unfinished().iter().map(|socket| format!("left over in the kernel: {socket}")).collect()
        }
        orphans => vec![format!("left over in the engine: {orphans} orphans")],
    }
}

/// Their side of a case.
fn their_side(
    namespace: &Namespace,
    case: &Case,
    listener: Option<TcpListener>,
    agreed: Agreed,
) -> Result<(), String> {
    let stream = match listener {
        Some(listener) => theirs::accept(&listener)?,
        None => namespace.socket(case.address).connect()?,
    };
    let really = theirs::agreed(&stream);
    if really != agreed {
        return Err(format!("handshake agreed on {really:?} instead of {agreed:?}"));
    }
    let [ours, theirs] = &case.data;
    theirs::play(&stream, case.story.theirs, [theirs, ours])
}
