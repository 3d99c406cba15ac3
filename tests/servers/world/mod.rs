//! A small world for one test: network, mount and process namespaces of its own, an ordinary user in them, and programs
//! on our stack or on the kernel's.
//!
//! ```text
//!   test ── lines ──► agent.sh, in the namespaces ──► job: a program, `tubesock run` in front of it or not
//!        ◄─ "@7 pid 12", "@7 end 0" ─┘                     └─ /mnt/jobs/7.{sh,out,err}
//! ```
//!
//! When the test ends, however it ends, process 1 of the namespace is killed, and with it all that the test
//! started. When a test ends well, `World::end` requires that no process and no file is left over.
//!
//! With `SERVERS_ON_KERNEL=1` in the environment nothing runs on our stack: what fails then is the test's own fault.

use crate::support::command::{Program, Running};
use crate::support::network::Directory;
use crate::table::Row;
use std::cell::{Cell, OnceCell};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// What a scenario may take on a busy machine with two cores.
const DEADLINE: Duration = Duration::from_secs(120);
/// What a server may take of that to be ready: one in this many.
const PATIENCE: u32 = 4;
/// Between two looks at something that has not happened yet.
const LOOK: Duration = Duration::from_millis(20);
/// Where a published port is seen from outside.
const OUTSIDE: u16 = 10_000;
const TUBESOCK: &str = "/srv/tubesock run";

/// Who is on our stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The server; its clients are on the kernel's stack, and come through `--publish`.
    Published,
    /// Server and client, under one `tubesock run -- sh`; the client takes this address. The kernel's loopback is down.
    Inside(&'static str),
    /// The client; the server is on the kernel's stack.
    Client,
}

/// Whether this run checks the tests themselves.
pub(crate) fn on_kernel() -> bool {
    std::env::var_os("SERVERS_ON_KERNEL").is_some()
}

/// What a test is about: a row of docs/compatibility.md for each place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// The program, and which of its versions this machine has: a command.
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
    /// What it is made to do.
    pub(crate) what: &'static str,
}

/// The namespaces, the agent in them and its files.
pub(crate) struct World {
    place: Place,
    row: Row,
    patience: Duration,
    directory: Directory,
    agent: Running,
    lines: Sender<String>,
    jobs: Cell<u32>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, place: Place) -> World {
        World::with_deadline(scenario, place, DEADLINE)
    }

    /// A world whose programs may take longer.
    pub(crate) fn with_deadline(scenario: Scenario, place: Place, deadline: Duration) -> World {
        let directory = Directory::new();
        furnish(directory.path());
        let (lines, orders) = channel::<String>();
        let inside = matches!(place, Place::Inside(_)) && !on_kernel();
        let loopback = if inside { "down" } else { "up" };
        let agent = Program::new("unshare")
            .args(["--user", "--map-user=1000", "--map-group=1000", "--keep-caps"])
            .args(["--net", "--mount", "--ipc", "--pid", "--mount-proc", "--fork", "--kill-child", "sh"])
            .arg(directory.file("setup.sh"))
            .arg(directory.path())
            .arg(binaries())
            .arg(loopback)
            .args(if inside { ["/srv/tubesock", "run", "--"].as_slice() } else { &[] })
            .fed_by(move |input| {
                orders.iter().try_for_each(|line| writeln!(input, "{line}").and_then(|()| input.flush()))
            })
            .deadline(deadline)
            .spawn();
        World {
            place,
            row: Row::new(scenario, place),
            patience: deadline / PATIENCE,
            directory,
            agent,
            lines,
            jobs: Cell::new(0),
        }
    }

    /// Who is on our stack.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The server's address as its clients see it.
    pub(crate) fn host(&self) -> &'static str {
        match self.place {
            Place::Inside(address) => address,
            Place::Client if !on_kernel() => "10.0.2.2",
            Place::Client | Place::Published => "127.0.0.1",
        }
    }

    /// The server's port as its clients see it.
    pub(crate) fn port(&self, port: u16) -> u16 {
        if self.place == Place::Published && !on_kernel() { port + OUTSIDE } else { port }
    }

    /// The machine's loopback as the server's side sees it; not for `Place::Inside`, where it is down.
    pub(crate) fn machine(&self) -> &'static str {
        if self.place == Place::Published && !on_kernel() { "10.0.2.2" } else { "127.0.0.1" }
    }

    /// A file of the world; its programs see the directory as /mnt.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.file(name)
    }

    /// Writes a file of the world.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.file(name);
        let parent = path.parent().expect("it is in the directory");
        std::fs::create_dir_all(parent).expect("the directory is ours");
        std::fs::write(path, content).expect("the directory is ours");
    }

    /// Reads a file of the world.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.file(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts a server that listens on `ports`, "53/udp" or "80". `command` is one simple command. It has a process
    /// group of its own, the wrapper in it, as behind an interactive shell: apache, for one, signals its whole group.
    pub(crate) fn serve(&self, ports: &[&str], command: &str) -> Job<'_> {
        if self.place != Place::Published || on_kernel() {
            return self.job(&format!("exec setsid {command}"));
        }
        let publish: String = ports.iter().map(|port| format!("--publish {} ", outside(port))).collect();
        self.job(&format!("exec setsid {TUBESOCK} {publish}-- {command}"))
    }

    /// Starts a client. `command` is one simple command.
    pub(crate) fn client(&self, command: &str) -> Job<'_> {
        if self.place == Place::Client && !on_kernel() {
            return self.job(&format!("exec {TUBESOCK} -- {command}"));
        }
        self.job(&format!("exec {command}"))
    }

    /// What a client prints; it must succeed.
    #[track_caller]
    pub(crate) fn run(&self, command: &str) -> String {
        self.client(command).success()
    }

    /// What a script prints that has nothing to do with the network; it must succeed.
    #[track_caller]
    pub(crate) fn script(&self, script: &str) -> String {
        self.job(script).success()
    }

    /// Sends a signal, named as in kill(1), to a process.
    pub(crate) fn signal(&self, process: u32, signal: &str) {
        self.order(format!("kill -{signal} {process}"));
    }

    /// The processes that `process` started itself and that are left.
    pub(crate) fn children(&self, process: u32) -> Vec<u32> {
        let list = self.script(&format!("cat /proc/{process}/task/*/children"));
        list.split_whitespace().map(|number| number.parse().expect("proc(5)")).collect()
    }

    /// Starts a client again and again until it succeeds, and returns what it printed.
    #[track_caller]
    pub(crate) fn ready(&self, command: &str) -> String {
        let until = Instant::now() + self.patience;
        loop {
            let ended = self.client(command).end();
            if ended.status == 0 {
                return ended.output;
            }
            assert!(Instant::now() < until, "not ready: {ended}\n{}", self.errors());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `happened` gives a value.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(value) = happened() {
                return value;
            }
            assert!(Instant::now() < until, "{what} did not happen\n{}", self.errors());
            std::thread::sleep(LOOK);
        }
    }

    /// All servers have ended; requires that nothing is left, neither of theirs nor of ours.
    #[track_caller]
    pub(crate) fn end(self) {
        drop(self.lines);
        let outcome = self.agent.finish().success();
        let text = outcome.text();
        let left: Vec<&str> = text.lines().filter(|line| line.starts_with("@left")).collect();
        assert!(left.is_empty() && text.contains("@agent 0\n") && text.ends_with("@end\n"), "{outcome}");
        self.row.works();
    }

    fn job(&self, script: &str) -> Job<'_> {
        let number = self.jobs.get();
        self.jobs.set(number + 1);
        self.write(&format!("jobs/{number}.sh"), format!("{script}\n"));
        self.order(format!("job {number}"));
        Job { world: self, number, script: script.to_owned(), process: OnceCell::new() }
    }

    fn order(&self, line: String) {
        // An agent that has ended is found by whoever waits for its line.
        let _ended = self.lines.send(line);
    }

    /// What all jobs said on standard error, for messages.
    fn errors(&self) -> String {
        let jobs = 0..self.jobs.get();
        let said = jobs.map(|job| (job, self.read_or_nothing(&format!("jobs/{job}.err"))));
        said.filter(|(_, text)| !text.is_empty()).map(|(job, text)| format!("job {job}: {text}")).collect()
    }

    fn read_or_nothing(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.file(name)).unwrap_or_default()).into_owned()
    }
}

/// A program that was started in a world.
pub(crate) struct Job<'world> {
    world: &'world World,
    number: u32,
    script: String,
    process: OnceCell<u32>,
}

impl Job<'_> {
    /// Its number in the world. Of a program behind `tubesock run`, the command's.
    pub(crate) fn process(&self) -> u32 {
        *self.process.get_or_init(|| self.report("pid"))
    }

    /// Sends it a signal, named as in kill(1).
    pub(crate) fn signal(&self, signal: &str) {
        self.world.signal(self.process(), signal);
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        self.world.read_or_nothing(&format!("jobs/{}.out", self.number))
    }

    /// What it has said on standard error so far.
    pub(crate) fn errors(&self) -> String {
        self.world.read_or_nothing(&format!("jobs/{}.err", self.number))
    }

    /// Waits until it has printed `text`, on either stream.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        let said = || {
            let ended = self.has_ended();
            let said = self.output().contains(text) || self.errors().contains(text);
            assert!(said || !ended, "`{}` ended:\n{}", self.script, self.world.errors());
            said.then_some(())
        };
        self.world.until(&format!("`{}` saying {text:?}", self.script), said);
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.world.file(&format!("jobs/{}.end", self.number)).exists()
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        let status = self.report("end");
        Ended { status, output: self.output(), errors: self.errors(), script: self.script }
    }

    /// Waits for the end, which must be with status 0, and returns what it printed.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        let world = self.world;
        let ended = self.end();
        assert!(ended.status == 0, "{ended}\nall of standard error:\n{}", world.errors());
        ended.output
    }

    /// Sends SIGTERM and waits for the end, which must be with one of `statuses`.
    #[track_caller]
    pub(crate) fn stop(self, statuses: &[u32]) -> Ended {
        self.signal("TERM");
        let ended = self.end();
        assert!(statuses.contains(&ended.status), "{ended}");
        ended
    }

    /// What the agent says of it.
    #[track_caller]
    fn report(&self, what: &str) -> u32 {
        let line = self.world.agent.line_with(&format!("@{} {what} ", self.number));
        let number = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        number.expect("the agent prints a number")
    }
}

/// How a job ended.
pub(crate) struct Ended {
    /// As the shell counts: 128 more than the signal, if it was one.
    pub(crate) status: u32,
    pub(crate) output: String,
    pub(crate) errors: String,
    script: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (output, errors) = (shortened(&self.output), shortened(&self.errors));
        write!(formatter, "`{}` ended with {}\nstdout: {output}\nstderr: {errors}", self.script, self.status)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(4000).collect()
}

/// The files that a world begins with.
fn furnish(directory: &Path) {
    let write = |name: &str, text: &str| {
        std::fs::write(directory.join(name), text).expect("the directory is ours");
    };
    write("setup.sh", include_str!("setup.sh"));
    write("init.sh", include_str!("init.sh"));
    write("agent.sh", include_str!("agent.sh"));
    write("passwd", "root:x:0:0::/root:/bin/sh\ntester:x:1000:1000::/mnt/home:/bin/sh\n");
    for name in ["home", "jobs"] {
        std::fs::create_dir(directory.join(name)).expect("the directory is ours");
    }
}

/// The directory of `tubesock`.
fn binaries() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tubesock")).parent().expect("it is in a directory")
}

/// `--publish` of a port, "80" or "53/udp".
fn outside(port: &str) -> String {
    let number: u16 = port.trim_end_matches("/udp").parse().expect("a port");
    format!("127.0.0.1:{}:{port}", number + OUTSIDE)
}
