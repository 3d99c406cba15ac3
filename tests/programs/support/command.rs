//! A command with a deadline. Each runs in a process group of its own, which is killed when the command ends, when
//! the deadline passes and when the test is over, so that nothing a test started can outlive it.

use super::stack::Stack;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Long enough for a busy machine with two cores: it is reached only by what hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Variables that would lead a client past the server of its test.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

type Feed = Box<dyn FnOnce(&mut ChildStdin) -> std::io::Result<()> + Send>;

/// A command to run.
pub(crate) struct Program {
    outer: Vec<OsString>,
    program: Vec<OsString>,
    directory: Option<PathBuf>,
    variables: Vec<(OsString, OsString)>,
    feed: Option<Feed>,
    deadline: Duration,
}

/// A shell has these ignored by what it starts in the background, and whatever that starts inherits it.
fn hear_the_keyboard() -> std::io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: no handler.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    Ok(())
}

impl Program {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Program {
        Program {
            outer: Vec::new(),
            program: vec![program.as_ref().to_owned()],
            directory: None,
            variables: Vec::new(),
            feed: None,
            deadline: DEADLINE,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.program.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.program.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Runs the program on `stack`. Later calls of `inside` go round that.
    pub(crate) fn on(self, stack: &Stack) -> Program {
        self.inside(stack.command())
    }

    /// Lets another command start this one: its arguments come behind the other's.
    pub(crate) fn inside<A: AsRef<OsStr>>(mut self, outer: impl IntoIterator<Item = A>) -> Program {
        let mut words: Vec<OsString> = outer.into_iter().map(|word| word.as_ref().to_owned()).collect();
        words.append(&mut self.outer);
        self.outer = words;
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Program {
        self.directory = Some(directory.to_owned());
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Program {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Gives `bytes` on standard input, then end of file. Without this it is /dev/null.
    pub(crate) fn input(self, bytes: &[u8]) -> Program {
        let bytes = bytes.to_vec();
        self.fed_by(move |input| input.write_all(&bytes))
    }

    /// Lets `feed` write standard input.
    pub(crate) fn fed_by(
        mut self,
        feed: impl FnOnce(&mut ChildStdin) -> std::io::Result<()> + Send + 'static,
    ) -> Program {
        self.feed = Some(Box::new(feed));
        self
    }

    pub(crate) fn deadline(mut self, deadline: Duration) -> Program {
        self.deadline = deadline;
        self
    }

    /// Runs the command to its end.
    pub(crate) fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// Starts the command.
    pub(crate) fn spawn(self) -> Running {
        let words: Vec<OsString> = self.outer.into_iter().chain(self.program).collect();
        let line = words.iter().map(|word| shown(word)).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("LC_ALL", "C.UTF-8").process_group(0);
        for proxy in PROXIES {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command.envs(self.variables);
        command.stdin(if self.feed.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(directory) = self.directory {
            command.current_dir(directory);
        }
        // SAFETY: between fork and exec only signal(2) is called, which may be.
        unsafe { command.pre_exec(hear_the_keyboard) };
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let stderr = child.stderr.take().expect("standard error is a pipe");
        let readers = [
            collect(stdout, &output, |text| &mut text.stdout),
            collect(stderr, &output, |text| &mut text.stderr),
        ];
        if let Some(feed) = self.feed {
            let mut input = child.stdin.take().expect("standard input is a pipe");
            // A program that stops reading is judged by its exit status and output, not by its input.
            thread::spawn(move || drop(feed(&mut input)));
        }
        Running { child, line, output, readers: Some(readers), until: Instant::now() + self.deadline }
    }
}

/// A word of a command line for messages: a whole script by its first line.
fn shown(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    word.split_once('\n').map_or_else(|| word.clone().into_owned(), |(first, _)| format!("'{first} …'"))
}

/// What a command has printed so far.
#[derive(Default)]
struct Output {
    text: Mutex<Text>,
    changed: Condvar,
}

#[derive(Default)]
struct Text {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    ended: usize,
}

/// Reads one of the two streams to its end.
fn collect(
    mut stream: impl Read + Send + 'static,
    output: &Arc<Output>,
    which: fn(&mut Text) -> &mut Vec<u8>,
) -> JoinHandle<()> {
    let output = output.clone();
    thread::spawn(move || {
        let mut chunk = vec![0; 65536];
        loop {
            let count = stream.read(&mut chunk).unwrap_or(0);
            let mut text = output.text.lock().expect("no reader panics");
            which(&mut text).extend_from_slice(&chunk[..count]);
            text.ended += usize::from(count == 0);
            output.changed.notify_all();
            if count == 0 {
                return;
            }
        }
    })
}

/// A command that runs. Dropping it kills its process group.
pub(crate) struct Running {
    child: Child,
    line: String,
    output: Arc<Output>,
    readers: Option<[JoinHandle<()>; 2]>,
    until: Instant,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds `part`, on standard output or standard error, and returns it.
    pub(crate) fn line_with(&self, part: &str) -> String {
        let mut text = self.output.text.lock().expect("no reader panics");
        loop {
            let found = [&text.stdout, &text.stderr].into_iter().find_map(|bytes| {
                let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                let lines = String::from_utf8_lossy(&bytes[..whole]);
                lines.lines().find(|line| line.contains(part)).map(str::to_owned)
            });
            if let Some(line) = found {
                return line;
            }
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() || text.ended == 2 {
                let (stdout, stderr) =
                    (String::from_utf8_lossy(&text.stdout), String::from_utf8_lossy(&text.stderr));
                panic!("`{}` did not print {part:?}\nstdout: {stdout}\nstderr: {stderr}", self.line);
            }
            text = self.output.changed.wait_timeout(text, left).expect("no reader panics").0;
        }
    }

    /// Waits for the end. Panics when the deadline passes first.
    pub(crate) fn finish(mut self) -> Outcome {
        let in_time = self.ended_before(self.until);
        self.kill_group();
        let status = self.child.wait().expect("the child is ours");
        for reader in self.readers.take().expect("taken here only") {
            reader.join().expect("no reader panics");
        }
        let text = std::mem::take(&mut *self.output.text.lock().expect("no reader panics"));
        let outcome = Outcome {
            line: self.line.clone(),
            status,
            stdout: text.stdout,
            stderr: String::from_utf8_lossy(&text.stderr).into_owned(),
        };
        assert!(in_time, "the deadline passed\n{outcome}");
        outcome
    }

    /// Sends what Ctrl-C sends, and waits for the end.
    pub(crate) fn interrupt(self) -> Outcome {
        let _gone = rustix::process::kill_process(self.pid(), Signal::INT);
        self.finish()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn ended_before(&self, until: Instant) -> bool {
        let descriptor =
            pidfd_open(self.pid(), PidfdFlags::empty()).expect("the child is not yet waited for");
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).expect("a deadline is minutes away at most");
            match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return false,
                Ok(_) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
        }
    }

    /// The leader is not waited for yet, so that the number cannot be anybody else's.
    fn kill_group(&self) {
        let _gone = kill_process_group(self.pid(), Signal::KILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.readers.is_some() {
            self.kill_group();
            let _status = self.child.wait();
        }
    }
}

/// How a command ended.
pub(crate) struct Outcome {
    line: String,
    status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The exit status, or None after a signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The outcome of a command that ended with status 0.
    #[track_caller]
    pub(crate) fn success(self) -> Outcome {
        self.status(0)
    }

    /// The outcome of a command that ended with `code`.
    #[track_caller]
    pub(crate) fn status(self, code: i32) -> Outcome {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// The outcome of a command that a signal ended.
    #[track_caller]
    pub(crate) fn signal(self, signal: i32) -> Outcome {
        assert_eq!(self.status.signal(), Some(signal), "{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = std::str::from_utf8(&self.stdout).unwrap_or("not text");
        let shown: String = text.chars().take(4000).collect();
        writeln!(formatter, "`{}` ended with {}", self.line, self.status)?;
        write!(formatter, "stdout ({} bytes): {shown}\nstderr: {}", self.stdout.len(), self.stderr)
    }
}
