//! A program of `programs/`: built once, run case by case, and its facts.

use crate::environment::Environment;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// What all programs are linked with.
pub(crate) const COMMON: &str = "parity";

/// As programs in a distribution are built: fortified, and with off_t of 64 bits (so fcntl64).
const FLAGS: [&str; 10] = [
    "-std=gnu99",
    "-D_GNU_SOURCE",
    "-D_FILE_OFFSET_BITS=64",
    "-D_FORTIFY_SOURCE=2",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-pthread",
];

/// Longer than any case waits for what does not come.
const DEADLINE: Duration = Duration::from_secs(15);

/// So many cases of a program run at a time: most of what they do is wait.
const CASES_AT_ONCE: usize = 8;

/// A line that a case printed. Its label begins with the name of the case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) label: String,
    pub(crate) value: String,
}

pub(crate) struct Program {
    name: &'static str,
    file: OnceLock<PathBuf>,
    on_the_kernel: OnceLock<Vec<Fact>>,
}

impl Program {
    pub(crate) const fn new(name: &'static str) -> Program {
        Program { name, file: OnceLock::new(), on_the_kernel: OnceLock::new() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn on_the_kernel(&self) -> &[Fact] {
        self.on_the_kernel.get_or_init(|| self.facts(Environment::Kernel))
    }

    /// Runs all cases. The facts are in the order of the cases.
    pub(crate) fn facts(&self, environment: Environment) -> Vec<Fact> {
        let file = self.file.get_or_init(|| build(self.name));
        let cases = cases(file);
        let results: Vec<OnceLock<Vec<Fact>>> = cases.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(index) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < cases.len()) {
                let facts = run_case(environment, file, &cases[index]);
                results[index].set(facts).expect("each case is run by one worker");
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..CASES_AT_ONCE {
                scope.spawn(|| environment.namespace().run(work));
            }
        });
        let mut facts: Vec<Fact> = results.into_iter().filter_map(OnceLock::into_inner).flatten().collect();
        make_unique(self.name, &mut facts);
        facts
    }
}

pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/programs")
}

/// Where programs are built.
static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parity");
    std::fs::create_dir_all(&directory).expect("cargo's own directory for tests");
    directory
});

/// The object file that all programs are linked with.
static COMMON_OBJECT: LazyLock<PathBuf> = LazyLock::new(|| {
    let object = BUILT.join(format!("{COMMON}.o"));
    compile(Command::new("cc").args(FLAGS).arg("-c").arg(source(COMMON)).arg("-o").arg(&object));
    object
});

fn source(name: &str) -> PathBuf {
    sources().join(name).with_extension("c")
}

/// Two tests may build the control's program at once: what each has built, it moves into place.
fn build(name: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock();
    let (new, file) = (BUILT.join(format!("{name}.new")), BUILT.join(name));
    compile(Command::new("cc").args(FLAGS).arg(source(name)).arg(&*COMMON_OBJECT).arg("-o").arg(&new));
    std::fs::rename(new, &file).expect("the same directory");
    file
}

fn compile(command: &mut Command) {
    let output = command.output().expect("cc is missing: apt-get install gcc libc6-dev");
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn cases(file: &Path) -> Vec<String> {
    let output = Command::new(file).output().expect("it was built");
    let list = String::from_utf8(output.stdout).expect("names of cases are ASCII");
    assert!(output.status.success() && !list.is_empty(), "{} lists its cases", file.display());
    list.lines().map(str::to_owned).collect()
}

/// Labels say which fact is which, so none may stand for two. Several children may say the same.
fn make_unique(program: &str, facts: &mut Vec<Fact>) {
    let mut seen = BTreeMap::new();
    facts.retain(|fact| match seen.insert(fact.label.clone(), fact.value.clone()) {
        None => true,
        Some(before) => {
            assert_eq!(before, fact.value, "{program} prints this label twice: {}", fact.label);
            false
        }
    });
}

/// Runs a case, to its end or the deadline, in the namespace of this thread. How it ended is the last fact.
fn run_case(environment: Environment, file: &Path, case: &str) -> Vec<Fact> {
    let output = File::from(memfd_create("facts", MemfdFlags::CLOEXEC).expect("a memory file"));
    // The kernel does not lock the position of a memory file: without this two processes write over each other.
    fcntl_setfl(&output, OFlags::APPEND).expect("a flag that every file can have");
    let mut command = environment.command(file);
    command.arg(case).process_group(0).stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(output.try_clone().expect("descriptors are not short"));
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let end = end_in_time(&mut child);
    let mut facts: Vec<Fact> = text_of(output).lines().map(|line| fact(case, line)).collect();
    facts.push(Fact { label: format!("{case} ends"), value: end });
    facts
}

fn fact(case: &str, line: &str) -> Fact {
    let (label, value) = line.split_once(": ").unwrap_or((line, ""));
    Fact { label: format!("{case} {label}"), value: value.to_owned() }
}

fn text_of(mut output: File) -> String {
    let mut bytes = Vec::new();
    output.rewind().expect("a memory file");
    output.read_to_end(&mut bytes).expect("a memory file");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for the end of the program, and sees to the end of its process group.
fn end_in_time(child: &mut Child) -> String {
    let in_time = ended_before(child, Instant::now() + DEADLINE);
    // Not waited for yet: the number cannot be anybody else's.
    let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
    let status = child.wait().expect("the child is ours");
    match status.code() {
        _ if !in_time => "hangs".to_owned(),
        Some(code) => format!("exit {code}"),
        None => format!("signal {}", status.signal().expect("neither exit nor signal")),
    }
}

fn ended_before(child: &Child, until: Instant) -> bool {
    let descriptor = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("not yet waited for");
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("seconds");
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return ready == 1,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}
