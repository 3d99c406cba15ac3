//! `tubesock run`: checks everything that can be checked, then becomes the program. Nothing of this process stays: the
//! host lives in the program. Two things are not handed on as they were, because Rust's runtime sets them: the program
//! starts with SIGPIPE at its default and with no signal blocked.

use crate::settings::SettingFlags;
use crate::{Failure, preload, program, reachable};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use tubesock::config::Config;

/// Returns only when the program could not be started.
pub(crate) fn replace_this_process(settings: &SettingFlags, command: &[OsString]) -> Failure {
    match prepare(settings, command) {
        Ok(mut prepared) => not_started(&command[0], &prepared.exec()),
        Err(failure) => failure,
    }
}

fn prepare(settings: &SettingFlags, command: &[OsString]) -> Result<Command, Failure> {
    let (name, arguments) = command.split_first().expect("clap asks for a program");
    let config = settings.config()?;
    let library = preload::library()?;
    let file = program::find(name, std::env::var_os("PATH").as_deref())?;
    reachable::check(&file)?;
    settings.prepare_files(&config)?;
    let mut prepared = Command::new(file);
    prepared.arg0(name).args(arguments);
    add_environment(&mut prepared, &library, config)?;
    Ok(prepared)
}

/// Gives a command the library and the settings.
pub(crate) fn add_environment(command: &mut Command, library: &Path, config: Config) -> Result<(), Failure> {
    let config = Config { run: true, ..config };
    command.env("LD_PRELOAD", preload::list(library, std::env::var_os("LD_PRELOAD").as_deref())?);
    command.envs(config.variables());
    Ok(())
}

fn not_started(name: &OsStr, error: &std::io::Error) -> Failure {
    let status = match error.kind() {
        ErrorKind::NotFound => Failure::NOT_FOUND,
        _ => Failure::NOT_RUNNABLE,
    };
    Failure::new(status, format!("{}: {error}", name.to_string_lossy()))
}
