//! `tubesock ss`: the sockets of a host, in the columns and by the flags of ss(8).
//!
//! A host has the addresses, the states and its own queues (`host::table`). The rest is the kernel's: what waits in the
//! AF_UNIX sockets behind the descriptors, which descriptors those are, and which hosts there are (`kernel`).
#![forbid(unsafe_code)]

pub(crate) mod kernel;
mod report;
mod tcp;

use crate::{Failure, complain};
use clap::Args;
use kernel::Kernel;
use report::Report;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::thread::{self, ScopedJoinHandle};
use tubesock::bridge::name::Token;
use tubesock::config::Config;
use tubesock::engine::Kind;
use tubesock::engine::table::{Row, state};
use tubesock::error::Error;
use tubesock::host::{Table, table_at, table_of};
use tubesock::sys;

/// As ss(8) has them.
#[derive(Debug, Default, Args)]
pub(crate) struct Arguments {
    /// TCP sockets
    #[arg(short, long)]
    tcp: bool,
    /// UDP sockets
    #[arg(short, long)]
    udp: bool,
    /// Listening sockets only
    #[arg(short, long)]
    listening: bool,
    /// Listening and other sockets
    #[arg(short, long)]
    all: bool,
    /// Numbers, not the names of services
    #[arg(short, long)]
    numeric: bool,
    /// The processes that hold a socket
    #[arg(short, long)]
    processes: bool,
    /// TCP_INFO
    #[arg(short, long)]
    info: bool,
    /// No line of headings
    #[arg(short = 'H', long)]
    no_header: bool,
    /// The host that this process runs, or that its sockets are of, or its children's
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
}

impl Arguments {
    /// Neither -t nor -u is all.
    fn wants(&self, kind: Kind) -> bool {
        let all = !self.tcp && !self.udp;
        match kind {
            Kind::Stream => self.tcp || all,
            Kind::Datagram | Kind::Lite => self.udp || all,
            Kind::Echo => all,
        }
    }

    /// Whether a row is asked for: ss(8) shows by default neither what listens nor what is not connected any more.
    fn shows(&self, row: &Row) -> bool {
        let waits = matches!(row.state, state::LISTEN | state::CLOSE);
        let passing = matches!(row.state, state::TIME_WAIT | state::SYN_RECEIVED);
        self.wants(row.kind) && (self.all || if self.listening { waits } else { !waits && !passing })
    }
}

/// Writes the tables.
pub(crate) fn show(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let kernel = Kernel::read().map_err(|errno| {
        failure(format!("the kernel does not show its AF_UNIX sockets (unix_diag): {errno}"))
    })?;
    let tables = tables(arguments, &kernel)?;
    let several = tables.len() > 1;
    let mut output = String::new();
    for table in tables {
        if several {
            let process = table.process;
            output += &format!("host: {}, process {process}\n", kernel::program_of(process));
        }
        output += &Report::new(arguments, &kernel, table).to_string();
    }
    match std::io::stdout().lock().write_all(output.as_bytes()) {
        // Whoever read had enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(failure(format!("standard output: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn failure(message: String) -> Failure {
    Failure::new(1, message)
}

/// The tables of the hosts that are asked for.
fn tables(arguments: &Arguments, kernel: &Kernel) -> Result<Vec<Table>, Failure> {
    let told = Config::from_environment(std::env::vars_os());
    let told = told.map_err(|problem| Failure::new(Failure::SETTING, problem))?.host;
    match (arguments.pid, told) {
        (Some(process), _) => {
            let hosts =
                kernel.hosts_of(process).map_err(|error| failure(format!("process {process}: {error}")))?;
            if hosts.is_empty() {
                return Err(failure(format!("process {process} has no socket of a tubesock host")));
            }
            hosts.into_iter().map(|host| table_of(host).map_err(|error| failure(problem(error)))).collect()
        }
        (None, Some(host)) => {
            let table = table_at(&host);
            table
                .map(|table| vec![table])
                .map_err(|error| failure(format!("TUBESOCK_HOST: {}", problem(error))))
        }
        (None, None) => all(kernel),
    }
}

/// The tables of all hosts of this user.
fn all(kernel: &Kernel) -> Result<Vec<Table>, Failure> {
    let mut tables = Vec::new();
    let mut silent = Vec::new();
    for (host, answer) in own(kernel) {
        match answer {
            Ok(table) => tables.push(table),
            Err(error) => {
                let process = kernel.process_of(host).map(|process| format!("process {process}: "));
                silent.push(process.unwrap_or_default() + &problem(error));
            }
        }
    }
    if tables.is_empty() && silent.is_empty() {
        return Err(failure("no tubesock host of yours runs in this network namespace".into()));
    }
    if tables.is_empty() {
        return Err(failure(silent.join("; ")));
    }
    silent.iter().for_each(complain);
    tables.sort_by_key(|table| table.process);
    Ok(tables)
}

/// What the hosts of this user answer, who are asked at once: one that was stopped keeps nobody waiting for the others.
/// Another's may have a name that looks like it, and some may have ended just now.
pub(crate) fn own(kernel: &Kernel) -> Vec<(Token, Result<Table, Error>)> {
    let gone = |error| matches!(error, Error::PermissionDenied | Error::Kernel(libc::ENETDOWN));
    let hosts = kernel.hosts(sys::user_id());
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = |&host| thread::Builder::new().spawn_scoped(scope, move || table_of(host));
        let asked: Vec<_> = hosts.iter().map(ask).collect();
        // Where no more threads are to be had the rest is asked one by one.
        let answer = |(host, asked): (&Token, std::io::Result<ScopedJoinHandle<'_, _>>)| match asked {
            Ok(asked) => (*host, asked.join().unwrap_or(Err(Error::Broken))),
            Err(_) => (*host, table_of(*host)),
        };
        hosts.iter().zip(asked).map(answer).collect()
    });
    answers.into_iter().filter(|(_, answer)| !answer.as_ref().is_err_and(|&error| gone(error))).collect()
}

pub(crate) fn problem(error: Error) -> String {
    match error {
        Error::PermissionDenied => "the host is another user's".into(),
        Error::Kernel(libc::ENETDOWN) => "the host has ended, or runs in another network namespace".into(),
        Error::WouldBlock => "the host does not answer: it was stopped, or is very busy".into(),
        error => format!("the host's answer: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tubesock::engine::SocketId;

    fn row(kind: Kind, state: u8) -> Row {
        Row {
            id: Some(SocketId(1)),
            kind,
            state,
            dual: false,
            local: "10.0.2.15:80".parse().expect("an address"),
            peer: None,
            receive_queue: 0,
            send_queue: 0,
            congestion: None,
            info: None,
        }
    }

    /// Which of LISTEN, ESTABLISHED, TIME-WAIT, unconnected UDP and connected UDP are shown: as ss(8) chose them.
    #[test]
    fn what_the_flags_choose() {
        let rows = [
            row(Kind::Stream, state::LISTEN),
            row(Kind::Stream, state::ESTABLISHED),
            row(Kind::Stream, state::TIME_WAIT),
            row(Kind::Datagram, state::CLOSE),
            row(Kind::Datagram, state::ESTABLISHED),
        ];
        let with = Arguments::default;
        let table = [
            (with(), [false, true, false, false, true]),
            (Arguments { all: true, ..with() }, [true; 5]),
            (Arguments { listening: true, ..with() }, [true, false, false, true, false]),
            (Arguments { tcp: true, ..with() }, [false, true, false, false, false]),
            (Arguments { udp: true, all: true, ..with() }, [false, false, false, true, true]),
            (
                Arguments { tcp: true, udp: true, listening: true, ..with() },
                [true, false, false, true, false],
            ),
        ];
        for (arguments, expected) in table {
            assert_eq!(rows.each_ref().map(|row| arguments.shows(row)), expected, "{arguments:?}");
        }
    }
}
