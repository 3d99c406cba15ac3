//! `tubesock run`: checks everything that can be checked, becomes the host of the program and of all that descends from
//! it, and ends as the program ended, once the last of them has gone and what they sent is delivered.
//!
//! * The program has the terminal, process group, limits and signal mask that we were given. Writing to the terminal does not
//!   stop us (SIGTTOU is blocked). What the kernel sends to the group (interrupt from the terminal) the program gets
//!   by itself; what a process sends to us is passed on. When the program has ended both go to what it left, such as a
//!   daemon.
//! * Orphans of the program come to us (child subreaper), so that the last one is known.
//! * On a shared host it is the program itself, which `join` becomes.
//! * If we are killed, so is the program and all that descends from it (`guardian`); their peers see the end of a killed
//!   process, or a reset where something was on its way.

use crate::guardian::{self, Guardian, Part};
use crate::settings::{Files, SettingFlags};
use crate::strict::Confinement;
use crate::{Failure, host as shared_host, preload, program, reachable};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, WaitStatus};
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use tubesock::config::{Capture, Config, HostAddress};
use tubesock::host;
use tubesock::observe::trace;
use tubesock::sys::signals::{self, Awaited};
use tubesock::sys::{self, descriptors, processes};

/// Signals that a process sends to us when it means the program. Stops are the kernel's to do to both.
const PASSED_ON: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGWINCH,
];

/// Runs the program to its end, and that of its descendants.
pub(crate) fn run(
    settings: &SettingFlags,
    shared: Option<&Path>,
    command: &[OsString],
) -> Result<ExitCode, Failure> {
    let Settled { config, shared, files } = settle(settings, shared)?;
    let mut prepared = prepare(&config, command)?;
    if let Some(host) = shared {
        files.take()?;
        return Err(not_started(&command[0], &shared_host::join(host, config, prepared)));
    }
    // For as long as the process lives: the child that becomes the program needs it too.
    let blocked = [&PASSED_ON[..], &[libc::SIGCHLD, libc::SIGTTOU]].concat();
    let awaited: &Awaited = Box::leak(Box::new(Awaited::block(&blocked)));
    match guardian::split()? {
        Part::Guardian(host, others) => {
            // They are the host's.
            std::mem::forget(files);
            Ok(guardian::watch(host, &others, awaited))
        }
        Part::Host(guardian) => serve(guardian, awaited, config, files, &mut prepared, &command[0]),
    }
}

/// In the host: starts the program, and stays for as long as anything descends from it.
fn serve(
    guardian: Guardian,
    awaited: &'static Awaited,
    config: Config,
    files: Files,
    prepared: &mut Command,
    name: &OsStr,
) -> Result<ExitCode, Failure> {
    let confinement: Option<&Confinement> = match config.strict {
        true => Some(Box::leak(Box::new(Confinement::prepare(config.names.of("--strict"))?))),
        false => None,
    };
    let limits = descriptors::claim_process();
    // The network may be long in coming, and there is nothing to be put in order if it does not.
    let host = awaited.let_ends_through(|| {
        let link = host::open_link(&config).map_err(not_served)?;
        files.take()?;
        host::serve(&config, link).map_err(not_served)
    })?;
    if let Some(HostAddress::Tree(_)) = config.host {
        tracing::warn!(
            "this is within another 'tubesock run', and leaves its network: the link of this one is the machine's"
        );
    }
    guardian.leave_group()?;
    let Config { log, trace, bypass, capture_calls, .. } = config;
    let trace = trace::continued(trace);
    let told =
        Config { host: Some(host.address().clone()), log, trace, bypass, capture_calls, ..Config::default() };
    prepared.envs(told.variables());
    let program = start(prepared, guardian, awaited, limits, confinement);
    let program = program.map_err(|error| not_started(name, &error))?;
    release_streams();
    let status = wait(&program, awaited, guardian);
    awaited.restore();
    host::drain_at_exit();
    Ok(end_as(status))
}

/// The settings, as far as they can be looked at without starting anything.
pub(crate) struct Settled {
    pub(crate) config: Config,
    /// The host that there is already, if it is to be used.
    pub(crate) shared: Option<HostAddress>,
    pub(crate) files: Files,
}

/// What `tubesock run` refuses before it starts anything, but for the program.
pub(crate) fn settle(settings: &SettingFlags, shared: Option<&Path>) -> Result<Settled, Failure> {
    let config = settings.config()?;
    let shared = shared_host::shared(shared, &config)?;
    if shared.is_none() {
        config.check().map_err(|problem| Failure::new(Failure::SETTING, problem))?;
    }
    if config.strict {
        Confinement::prepare(config.names.of("--strict"))?;
    }
    let files = settings.open_files(&config)?;
    Ok(Settled { config, shared, files })
}

fn prepare(config: &Config, command: &[OsString]) -> Result<Command, Failure> {
    let (name, arguments) = command.split_first().expect("clap asks for a program");
    let library = preload::library()?;
    let file = program::find(name, std::env::var_os("PATH").as_deref())?;
    reachable::check(&file)?;
    let mut prepared = Command::new(file);
    prepared.arg0(name).args(arguments);
    add_library(&mut prepared, &library)?;
    if config.capture == Some(Capture::Output) {
        prepared.stdout(beside_the_capture(config.names.of("--capture"))?);
    }
    Ok(prepared)
}

/// Where the program's standard output goes when the capture takes ours: where messages go.
fn beside_the_capture(setting: &str) -> Result<Stdio, Failure> {
    let refused = |problem: String| Failure::new(Failure::SETTING, format!("{setting} -: {problem}"));
    if std::io::stdout().is_terminal() {
        let problem =
            "standard output is a terminal; send it on, as with '| wireshark -k -i -', or give a file";
        return Err(refused(problem.into()));
    }
    let other = std::io::stderr().as_fd().try_clone_to_owned();
    let other =
        other.map_err(|error| refused(format!("the program needs a standard error to write to: {error}")))?;
    Ok(other.into())
}

/// Gives a command the library, and none of the settings that are for us.
pub(crate) fn add_library(command: &mut Command, library: &Path) -> Result<(), Failure> {
    command.env("LD_PRELOAD", preload::list(library, std::env::var_os("LD_PRELOAD").as_deref())?);
    for setting in &tubesock::config::SETTINGS {
        command.env_remove(setting.variable);
    }
    Ok(())
}

/// Starts the program, with the limits, the process group and the signal mask that we were given, confined if it is to be.
fn start(
    prepared: &mut Command,
    guardian: Guardian,
    awaited: &'static Awaited,
    limits: Rlimit,
    confinement: Option<&'static Confinement>,
) -> std::io::Result<Child> {
    let become_program = move || {
        awaited.restore();
        if guardian.group.is_some() {
            rustix::process::setpgid(None, guardian.group)?;
        }
        rustix::process::setrlimit(Resource::Nofile, limits)?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        Ok(confinement.map_or(Ok(()), Confinement::enter)?)
    };
    // SAFETY: system calls only, between fork and exec.
    let program = unsafe { prepared.pre_exec(become_program) }.spawn()?;
    if let Some(confinement) = confinement {
        confinement.watch();
    }
    Ok(program)
}

/// Whoever reads what the program writes must see its end when it ends, and not when we do.
pub(crate) fn release_streams() {
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Passes signals on until the program and all its descendants have gone; the program's status.
fn wait(program: &Child, awaited: &Awaited, guardian: Guardian) -> Option<WaitStatus> {
    let program = Pid::from_raw(program.id().cast_signed()).expect("a child has a number");
    let (mut status, mut alone) = (None, false);
    loop {
        let came = awaited.wait();
        if came.signal != libc::SIGCHLD {
            // Others do not mean us: they know the guardian.
            if came.sender == Some(guardian.process) {
                match status {
                    // What was typed at the terminal it has got by itself.
                    None if !came.typed => pass_on(came.signal, program),
                    None => {}
                    Some(_) => pass_on_to_the_rest(came.signal),
                }
            }
            continue;
        }
        if guardian.is_gone() {
            processes::end_descendants(&[]);
            sys::end_process(128 + libc::SIGKILL);
        }
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((ended, how))) if ended == program => status = Some(how),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return status,
            }
            // What the dead held without a far end shows when it is looked for.
            host::closed_some();
        }
        if status.is_some() && !alone {
            alone = true;
            tracing::info!(
                "the program has ended; others that it started have not, and the stack stays for them"
            );
        }
    }
}

/// Sends one of `PASSED_ON` to a child that was not waited for yet, if it may be.
pub(crate) fn pass_on(signal: i32, child: Pid) {
    let signal = Signal::from_named_raw(signal).expect("one of PASSED_ON");
    let _ = rustix::process::kill_process(child, signal);
}

/// Sends one of `PASSED_ON` to those that came to us when the program ended: to a daemon, not to what it started.
fn pass_on_to_the_rest(signal: i32) {
    let rest = processes::children(sys::process_id());
    rest.into_iter()
        .filter_map(|left| Pid::from_raw(left.cast_signed()))
        .for_each(|left| pass_on(signal, left));
}

/// As the program ended: by its status, or by its signal.
pub(crate) fn end_as(status: Option<WaitStatus>) -> ExitCode {
    let Some(status) = status else { return ExitCode::FAILURE };
    if let Some(signal) = status.terminating_signal() {
        signals::die_of(signal);
        return ExitCode::from(128 + signal as u8);
    }
    ExitCode::from(status.exit_status().unwrap_or(1) as u8)
}

/// Why there is no host.
fn not_served(problem: String) -> Failure {
    Failure::new(Failure::SETTING, format!("{problem}; 'tubesock doctor' tells what this machine gives"))
}

/// Why there was no program to run.
pub(crate) fn not_started(name: &OsStr, error: &std::io::Error) -> Failure {
    let status = match error.kind() {
        ErrorKind::NotFound => Failure::NOT_FOUND,
        _ => Failure::NOT_RUNNABLE,
    };
    Failure::new(status, format!("{}: {error}", name.to_string_lossy()))
}
