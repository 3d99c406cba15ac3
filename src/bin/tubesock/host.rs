//! `tubesock host`: a host that several commands share, and how `tubesock run` puts a program on it.

use crate::Failure;
use crate::settings::SettingFlags;
use rustix::net::SocketType;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tubesock::config::{Capture, Config, HOST_VARIABLE, HostAddress};
use tubesock::host::{self, Entrance};
use tubesock::sys::descriptors;
use tubesock::sys::signals::Awaited;

/// What ends it.
const ENDS: [i32; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

fn setting(problem: String) -> Failure {
    Failure::new(Failure::SETTING, problem)
}

/// Serves whoever comes by `path`, until a signal ends it.
pub(crate) fn serve(settings: &SettingFlags, path: &Path) -> Result<ExitCode, Failure> {
    let config = settings.config()?;
    let path = absolute(path)?;
    let name = |flag| config.names.of(flag);
    if config.capture == Some(Capture::Output) {
        let capture = name("--capture");
        return Err(setting(format!(
            "{capture} -: what this host is called comes on standard output; give a file, or a pipe by its name"
        )));
    }
    if config.strict || !config.bypass.is_empty() {
        // A program sees to these itself, or the one that starts it: it would have to be told.
        let [strict, bypass] = ["--strict", "--bypass"].map(name);
        return Err(setting(format!(
            "{strict} and {bypass} are for one program; give them to a 'tubesock run' with a host of its own"
        )));
    }
    // Within a 'tubesock run' it is that one's.
    if config.capture_calls && config.host.is_none() {
        let calls = name("--capture-calls");
        return Err(setting(format!(
            "{calls}: programs tell of their calls; give it to each 'tubesock run --host' that is to"
        )));
    }
    config.check().map_err(setting)?;
    let files = settings.open_files(&config)?;
    descriptors::claim_process();
    let awaited = Awaited::block(&ENDS);
    // The network may be long in coming, and there is nothing to be put in order if it does not.
    let host = awaited.let_ends_through(|| {
        let link = host::open_link(&config).map_err(setting)?;
        files.take()?;
        host::serve(&config, link).map_err(setting)
    })?;
    let entrance =
        Entrance::make(&path, SocketType::DGRAM).map_err(|problem| setting(format!("--listen {problem}")))?;
    host.open_entrance(&entrance)
        .map_err(|error| Failure::new(1, format!("the host cannot listen: {error}")))?;
    // Whoever started it waits for this line; if nobody reads it, nobody does.
    let _ = writeln!(std::io::stdout(), "{HOST_VARIABLE}={}", path.display());
    awaited.wait();
    // No more come in while what was sent is delivered.
    drop(entrance);
    host::drain_at_exit();
    Ok(ExitCode::SUCCESS)
}

/// Programs may start others elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| setting(format!("'{}': {error}", path.display())))
}

/// The shared host that a program is to use: the one of `--host`, or of the variable. What the settings ask of a host
/// that is not started is an error.
pub(crate) fn shared(flag: Option<&Path>, config: &Config) -> Result<Option<HostAddress>, Failure> {
    let named = flag.map(|path| HostAddress::at(absolute(path)?).map_err(setting)).transpose()?;
    let told = config.host.clone().filter(|host| matches!(host, HostAddress::Path(_)));
    let Some(host) = named.or(told) else { return Ok(None) };
    let its_own = Config {
        log: config.log,
        trace: config.trace.clone(),
        capture_calls: config.capture_calls,
        host: config.host.clone(),
        ..Config::default()
    };
    if *config != its_own {
        let message = "only --log, --trace and --capture-calls go with a host that runs already; give link, capture \
                       and publish to 'tubesock host', or leave --host and TUBESOCK_HOST out";
        return Err(setting(message.into()));
    }
    let name = if flag.is_some() { "--host" } else { HOST_VARIABLE };
    host::can_enter(&host).map_err(|problem| setting(format!("{name} {problem}")))?;
    Ok(Some(host))
}

/// Becomes the program; returns only when that fails.
pub(crate) fn join(host: HostAddress, config: Config, mut program: Command) -> std::io::Error {
    let Config { log, trace, capture_calls, .. } = config;
    let told = Config { host: Some(host), log, trace, capture_calls, ..Config::default() };
    program.envs(told.variables());
    // The signal mask is the program's affair; exec of the standard library would clear it.
    let mask = Awaited::block(&[]);
    let keep_mask = move || {
        mask.restore();
        Ok(())
    };
    // SAFETY: one system call, in this process.
    unsafe { program.pre_exec(keep_mask) }.exec()
}
