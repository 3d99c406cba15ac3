//! `tubesock link`: shows and changes what a running host does to the packets of its link.
#![forbid(unsafe_code)]

use crate::Failure;
use crate::ss::kernel::Kernel;
use crate::ss::{own, problem};
use clap::Args;
use std::io::Write;
use std::process::ExitCode;
use tubesock::bridge::name::Token;
use tubesock::config::{Config, Impairments};
use tubesock::host::{impair_at, impair_of};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The host that this process runs, or that its sockets are of
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// What is to be done from now on, as of --impair; a direction that is not named stays as it is
    #[arg(value_name = "WORDS", trailing_var_arg = true)]
    words: Vec<String>,
}

pub(crate) fn change(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let words = arguments.words.join(" ");
    if !words.is_empty() {
        let asked: Result<Impairments, String> = words.parse();
        let asked = asked.map_err(|reason| Failure::new(Failure::USAGE, format!("'{words}': {reason}")))?;
        if asked.seed.is_some() {
            let message = "'seed' is settled when a host starts; give it to --impair";
            return Err(Failure::new(Failure::USAGE, message));
        }
    }
    let told = Config::from_environment(std::env::vars_os());
    let told = told.map_err(|problem| Failure::new(Failure::SETTING, problem))?.host;
    let report = match (arguments.pid, told) {
        (None, Some(host)) => impair_at(&host, &words),
        (process, _) => impair_of(the_one(process)?, &words),
    };
    let report = report.map_err(|error| failure(problem(error)))?;
    // Whoever read may have had enough; what was asked for is done.
    let _ = std::io::stdout().lock().write_all(report.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::new(1, message)
}

/// The host of a process; else the only one of this user.
fn the_one(process: Option<u32>) -> Result<Token, Failure> {
    let kernel =
        Kernel::read().map_err(|errno| failure(format!("the kernel's table of sockets: {errno}")))?;
    let hosts: Vec<Token> = match process {
        Some(process) => {
            let hosts = kernel.hosts_of(process);
            hosts.map_err(|error| failure(format!("process {process}: {error}")))?.into_iter().collect()
        }
        None => own(&kernel).into_iter().map(|(host, _)| host).collect(),
    };
    match (hosts[..].as_ref(), process) {
        ([host], _) => Ok(*host),
        ([], Some(process)) => Err(failure(format!("process {process} has no socket of a tubesock host"))),
        ([], None) => Err(failure("no tubesock host of yours runs in this network namespace")),
        _ => Err(failure("there are several hosts ('tubesock ss' lists them); say which by --pid PID")),
    }
}
