//! Scripts of what TCP does on the wire, in the style of packetdrill: at a time, a segment comes in, a call is made, or
//! a segment must come out. Each file `DIRECTORY/NAME.script` shows one behaviour; each directory is one test.
//!
//! ```text
//! cargo test --release --test scripts                      ours: the engine, in virtual time
//! SCRIPTS_ON=kernel cargo test --release --test scripts    the kernel's TCP, in real time (needs root)
//! SCRIPTS=rto/backoff cargo test ... -- --nocapture        only those whose name begins so, with what happened
//! ```
//!
//! The kernel says what is right: the expected column is what Linux does where Linux and the RFC agree, and every script
//! must pass on both. Where ours follows something else, the header says `differs:` and why. Lines for one stack only
//! are then marked `ours:` or `linux:`, and both are verified; a script that differs and has no such line must fail
//! on the kernel.
//!
//! # Grammar
//!
//! A script begins with a comment that says what it shows (`# …`; comments go to the end of the line). Settings
//! follow, then events, each on one line.
//!
//! ```text
//! setting  = begin: PRELUDE               the events of preludes/PRELUDE.script come first
//!          | mtu: N                       of the link; 1500
//!          | timestamps|sack|scaling: on|off    what the stack offers and accepts; on
//!          | cookies: on|off              whether every SYN is answered with a cookie; off
//!          | congestion: NAME             cubic
//!          | families: 4 6                run in each; 4
//!          | verify_data: on|off          whether bytes read are compared with the pattern; on
//!          | differs: REASON
//! event    = TIME [ours:|linux:] ACTION
//! TIME     = +S | S | +S~+S | S~S         seconds after the event before (`+`), which for a segment expected is when it
//!                                         came, or from the beginning. A range is for a segment expected.
//! ACTION   = < [@FLOW] [corrupt] SEGMENT  the peer sends it; `corrupt`: with a wrong checksum
//!          | < icmp [@FLOW] KIND [mtu N] about SEQ    a router reports on the stack's segment that begins at SEQ
//!          | < fill [@FLOW] N             the peer sends segments of N bytes until the window is shut, and takes the ACKs
//!          | > [@FLOW] SEGMENT            the stack sends it, and has sent nothing else meanwhile
//!          | >? [@FLOW] SEGMENT           the stack may have sent it by now, or not
//!          | > nothing                    the stack has sent nothing until now
//!          | [on SOCKET] CALL [= RESULT]  RESULT is a number, a range or an errno
//!          | expect error E|none          SO_ERROR
//!          | expect readable|unacknowledged N         FIONREAD, SIOCOUTQ
//!          | expect info NAME=N …         fields of TCP_INFO without `tcpi_`; `state` and `ca_state` by name
//!          | incarnation [@FLOW] AHEAD    a new connection on the same ports; the peer's numbers start AHEAD further on
//! SEGMENT  = FLAGS SEQ:END(LENGTH) [ack N] [win N] [urg N] [<OPTION,OPTION…>]
//!                                         LENGTH may be COUNT*N: so many segments of N bytes, one behind the other
//! FLAGS    = letters of S F R P U E W and `.` for ACK; `-` for none. A letter with `?` behind it may be there
//!            or not, and P always may unless it stands there.
//! OPTION   = mss N | wscale N | sackOK | sack A:B … | TS val N ecr N | nop | eol | raw HEX | *
//! N        = number | * | LOW..HIGH       ranges and `*` only in what is expected
//!          | ^ | ^+N | ^-N                what the peer sends next, for where a script cannot know it
//! CALL     = socket | listen [BACKLOG] | connect [@FLOW] | accept | read N | write N | shutdown wr | close
//!          | setsockopt NAME VALUE… | send_urgent N | read_urgent
//! ```
//!
//! * A socket is called `it` unless `on NAME` says otherwise; `listen` makes and binds `listener`, port 80, and `accept`
//!   takes from it. No call blocks. `read N` and `write N` transfer N bytes when no result is given; `connect` begins.
//! * Sequence numbers are relative to each side's SYN. The length counts data only, so `S 0:0(0)`. SACK blocks sent to
//!   the stack count as the stack's numbers do, and the other way round.
//! * `win` is as on the wire, not scaled; a segment injected without it repeats the last.
//! * Options are compared without regard to padding and order. With no `<…>`, or none about timestamps, timestamps
//!   may be there or not; nothing else may.
//! * Timestamps of the stack count from its first, in its ticks (milliseconds); those of the peer are as written. A
//!   `$name` instead of the stack's `val` keeps it, or compares it when it is known; `ecr $name` sends it back.
//! * `@2` is another connection: the peer's port is 4000 plus that number.
//! * Every stream carries the same pattern of bytes, which is verified in both directions.

mod faults;
mod flow;
mod info;
mod kernel;
mod ours;
mod pool;
mod run;
mod script;
mod segment;
mod value;
mod wire;

use script::{Backend, Family, Script};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// There are at least so many scripts.
const SCRIPTS_MIN: usize = 120;

/// Ours runs each script twice: packet by packet, and with super-packets that the link cuts.
const SEGMENTATION: [usize; 2] = [0, 65_535];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

fn backend() -> Backend {
    match std::env::var("SCRIPTS_ON").as_deref() {
        Err(_) | Ok("ours") => Backend::Ours,
        Ok("kernel") => Backend::Linux,
        Ok(other) => panic!("SCRIPTS_ON={other}: neither ours nor kernel"),
    }
}

/// The names of all scripts, by directory.
fn scripts() -> BTreeMap<String, Vec<String>> {
    let entries = |path: &Path| {
        let read = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        read.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let name = |path: &Path| path.file_stem().expect("a name").to_str().expect("UTF-8").to_string();
    let mut all = BTreeMap::new();
    for directory in entries(&root()).into_iter().filter(|path| path.is_dir()) {
        let group = name(&directory);
        let mut names: Vec<_> =
            entries(&directory).iter().map(|path| format!("{group}/{}", name(path))).collect();
        names.sort();
        all.insert(group, names);
    }
    all.remove("preludes");
    all
}

/// What became of a script on one family: what happened, or what went wrong.
type Verdict = Result<String, String>;

fn run_on(backend: Backend, script: &Script, family: Family) -> Verdict {
    match backend {
        Backend::Ours => SEGMENTATION.into_iter().try_fold(String::new(), |_, segmentation| {
            let mut ours = ours::Ours::new(&script.setup, family, segmentation);
            run::run(script, family, backend, &mut ours)
        }),
        Backend::Linux => pool::on_kernel(script, family),
    }
}

/// A script that differs as a whole must not pass on the kernel.
fn invert(script: &Script, verdict: Verdict) -> Verdict {
    let whole = script.events.iter().all(|event| event.only.is_none());
    match (&script.setup.differs, verdict) {
        (Some(_), Ok(_)) if whole => {
            Err(format!("{}: passes on the kernel, so it does not differ", script.name))
        }
        (Some(_), Err(message)) if whole => Ok(message),
        (None, _) if !whole => Err(format!("{}: lines for one stack only, and no `differs:`", script.name)),
        (_, verdict) => verdict,
    }
}

/// The verdicts on all scripts that `SCRIPTS` selects: on the kernel all at once, since most of the time they wait.
fn verdicts() -> &'static BTreeMap<String, Verdict> {
    static VERDICTS: OnceLock<BTreeMap<String, Verdict>> = OnceLock::new();
    VERDICTS.get_or_init(|| {
        let wanted = std::env::var("SCRIPTS").unwrap_or_default();
        let names = scripts().into_values().flatten().filter(|name| name.starts_with(&wanted));
        pool::run_all(backend(), names.collect())
    })
}

fn check(directory: &str) {
    let prefix = format!("{directory}/");
    let verdicts = verdicts().iter().filter(|(name, _)| name.starts_with(&prefix));
    let mut failures = Vec::new();
    for (name, verdict) in verdicts {
        match verdict {
            Ok(trace) if std::env::var("SCRIPTS").is_ok() => println!("{name}\n{trace}"),
            Ok(_) => {}
            Err(message) => failures.push(message.as_str()),
        }
    }
    assert!(failures.is_empty(), "{} scripts fail\n\n{}\n", failures.len(), failures.join("\n\n"));
}

macro_rules! directories {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*

        #[test]
        fn every_directory_is_a_test() {
            let scripts = scripts();
            let names: Vec<_> = scripts.keys().map(String::as_str).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            let count = scripts.values().map(Vec::len).sum::<usize>();
            assert!(count >= SCRIPTS_MIN, "{count} scripts");
        }
    };
}

directories! {
    close congestion cookies delayed_ack handshake icmp keepalive nagle options persist pmtu rack
    retransmission rfc5961 rto sack simultaneous_open tcp_info time_wait tlp urgent user_timeout window
}
