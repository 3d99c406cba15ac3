//! `tubesock doctor`: says before a run whether it can be served, and what to do: the program's file, the library, the
//! settings, the machine, a line for each. What it calls a problem `tubesock run` refuses.
#![forbid(unsafe_code)]

use crate::finding::{Finding, Verdict};
use crate::settings::SettingFlags;
use crate::{Failure, machine, preload, program, reachable, run};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use tubesock::config::Config;
use tubesock::host;

/// Prints what was found, and returns 1 when there is a problem.
pub(crate) fn show(
    flags: &SettingFlags,
    shared: Option<&Path>,
    name: Option<&OsString>,
) -> Result<ExitCode, Failure> {
    let mut findings = match name {
        Some(name) => of_program(name)?,
        None => Vec::new(),
    };
    findings.push(library());
    findings.extend(settings(flags, shared));
    findings.extend(machine::examine());
    let problems = findings.iter().filter(|finding| finding.verdict == Verdict::Problem).count();
    let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    let program = name.map_or("programs".into(), |name| name.to_string_lossy());
    text.push_str(&match problems {
        0 => format!("tubesock run can serve {program}.\n"),
        _ => format!("tubesock run cannot serve {program}.\n"),
    });
    // Not `print!`, which panics when the reader has gone; the status says it too.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::from(u8::from(problems > 0)))
}

/// Fails with 127 or 126, as `tubesock run`, when there is no such program.
fn of_program(name: &OsStr) -> Result<Vec<Finding>, Failure> {
    let program = program::find(name, std::env::var_os("PATH").as_deref())?;
    let runnable =
        access(&program, Access::EXEC_OK).and(if program.is_dir() { Err(Errno::ACCESS) } else { Ok(()) });
    runnable.map_err(|errno| run::not_started(name, &errno.into()))?;
    let (file, findings) = reachable::examine(&program);
    let text = match file == program {
        true => program.display().to_string(),
        false => format!("{}, run by {}, which is looked at here", program.display(), file.display()),
    };
    Ok([Finding::ok("program", text)].into_iter().chain(findings).collect())
}

/// What is loaded into the program.
fn library() -> Finding {
    const SUBJECT: &str = "library";
    let listed = preload::library().and_then(|library| {
        preload::list(&library, None)?;
        Ok(library)
    });
    match listed {
        Ok(library) => Finding::ok(SUBJECT, library.display().to_string()),
        Err(failure) => Finding::problem(SUBJECT, failure.message, ""),
    }
}

/// Those of the command line and of the environment, and whether the link that they name can be had, with what is
/// published.
fn settings(flags: &SettingFlags, shared: Option<&Path>) -> Vec<Finding> {
    const SUBJECT: &str = "settings";
    // The files that this makes it removes again.
    let run::Settled { config, shared, .. } = match run::settle(flags, shared) {
        Ok(settled) => settled,
        Err(failure) => return vec![Finding::problem(SUBJECT, failure.message, "")],
    };
    let settings = Finding::ok(SUBJECT, "the flags and the TUBESOCK_ variables, if any is set, can be used");
    // Of a shared host the link is there.
    [settings].into_iter().chain(shared.is_none().then(|| link(&config))).collect()
}

/// Opened, and let go of.
fn link(config: &Config) -> Finding {
    const SUBJECT: &str = "link";
    match host::try_link(config) {
        Ok(()) => Finding::ok(SUBJECT, format!("{} can be used", config.link)),
        Err(problem) => Finding::problem(SUBJECT, problem, ""),
    }
}
