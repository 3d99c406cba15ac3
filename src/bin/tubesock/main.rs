//! The command line: what the flags are called and how a failure is told. The work is in `run`, `host`, `ss` and `demo`.

mod demo;
mod doctor;
mod finding;
mod guardian;
mod host;
mod image;
mod ladder;
mod link;
mod machine;
mod page;
mod preload;
mod program;
mod reachable;
mod run;
mod settings;
mod ss;
mod strict;
mod switch;

use clap::{Parser, Subcommand};
use core::fmt::Display;
use settings::SettingFlags;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Gives an unmodified program a TCP/IP stack of its own, in user space, without root.
#[derive(Parser)]
#[command(name = "tubesock", version = tubesock::host::VERSION, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a program on a stack of its own.
    ///
    /// The program is unmodified, and dynamically linked to glibc; libtubesock_preload.so is loaded into it and into what
    /// it starts. Every flag has a variable of the same meaning, TUBESOCK_LINK for --link and so on; the flag replaces it.
    ///
    /// Exit status: the program's own; 78 when a setting cannot be used, 126 when the program cannot be run so, 127 when
    /// there is no such program.
    #[command(
        override_usage = "tubesock run [OPTIONS] -- PROGRAM [ARGUMENTS]...",
        after_help = "Examples: tubesock run --capture curl.pcapng -- curl https://www.debian.org\n          tubesock run --capture - -- curl https://www.debian.org | wireshark -k -i -"
    )]
    Run {
        #[command(flatten)]
        settings: SettingFlags,
        /// Use the host that `tubesock host --listen PATH` runs, instead of one for this program alone [variable: TUBESOCK_HOST]
        #[arg(long, value_name = "PATH")]
        host: Option<PathBuf>,
        /// The program, found through PATH, and its arguments.
        #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Says whether a program can be served, and what to do when it cannot.
    ///
    /// A line for each thing that was looked at: ok, warning or problem; what it means, and what to do. 'tubesock run'
    /// refuses what is called a problem here. Without PROGRAM it looks at the machine only.
    ///
    /// Exit status: 0 when it can be served, 1 when not; 126 and 127 as of 'tubesock run', when there is no such program.
    Doctor {
        #[command(flatten)]
        settings: SettingFlags,
        /// Look at a run on the host that `tubesock host --listen PATH` runs [variable: TUBESOCK_HOST]
        #[arg(long, value_name = "PATH")]
        host: Option<PathBuf>,
        /// The program, found through PATH.
        program: Option<OsString>,
    },
    /// Shows the work: curl, unmodified, fetches a page through a stack of its own.
    ///
    /// Starts an HTTP server on the kernel's loopback, runs the system's curl against it, and draws the program's calls
    /// beside the segments that its stack sent for them.
    Demo {
        #[command(flatten)]
        settings: SettingFlags,
    },
    /// Runs a stack that several programs share, until it is interrupted.
    ///
    /// Programs use it by `tubesock run --host PATH`, or with TUBESOCK_HOST=PATH and LD_PRELOAD. Who may write to PATH, as the
    /// permissions of the file say, may use the stack; umask(2) sets them.
    #[command(
        after_help = "Example: tubesock host --listen /tmp/host & tubesock run --host /tmp/host -- curl http://127.0.0.1/"
    )]
    Host {
        #[command(flatten)]
        settings: SettingFlags,
        /// Where the host is found: a socket is made here, and removed at the end.
        #[arg(long, value_name = "PATH")]
        listen: PathBuf,
    },
    /// Shows the sockets of a host, as ss(8) shows the kernel's.
    ///
    /// The host that TUBESOCK_HOST names, or that of the process PID; else every host of yours in this network namespace, each
    /// with a line in front that names its process. A socket has no process where nobody holds it, or where only root may
    /// see who does.
    #[command(args_override_self = true, after_help = "Example: tubesock ss -tunap")]
    Ss(ss::Arguments),
    /// Shows and changes what a running host does to the packets of its link.
    ///
    /// WORDS are those of --impair, in the words of tc-netem(8); 'none' ends it. Without any it shows what is done, and what
    /// became of the packets. The host is the one that TUBESOCK_HOST names, or that of the process PID; else the only one of yours.
    #[command(
        override_usage = "tubesock link [--pid PID] [WORDS]...",
        after_help = "Example: tubesock link loss 100%\nExample: tubesock link out delay 20ms in down 5s\nExample: tubesock link none"
    )]
    Link(link::Arguments),
    /// Runs a switch: what connects to PATH forms a network.
    ///
    /// `tubesock run --link stream:PATH` does, with an --address for each; and QEMU's `-netdev stream`, and whatever else sends
    /// Ethernet frames, each behind its length in four bytes. Who may write to PATH may connect; umask(2) sets that.
    #[command(
        after_help = "Example: tubesock switch /tmp/switch & tubesock run --link stream:/tmp/switch --address 10.0.0.1/24 -- …"
    )]
    Switch {
        /// Where the switch is found: a socket is made here, and removed at the end.
        path: PathBuf,
    },
}

/// Why there is no result, as a sentence, and the exit status.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// EX_CONFIG of sysexits(3).
    const SETTING: u8 = 78;
    /// The command line makes no sense.
    const USAGE: u8 = 2;
    /// As a shell and env(1): found, and cannot be run.
    const NOT_RUNNABLE: u8 = 126;
    /// As a shell and env(1): not found.
    const NOT_FOUND: u8 = 127;

    fn new(status: u8, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }
}

/// Not `eprintln!`, which panics where standard error takes nothing; the status says it too.
fn complain(message: impl Display) {
    let _ = writeln!(std::io::stderr(), "tubesock: {message}");
}

fn main() -> ExitCode {
    let result = match CommandLine::parse().command {
        Command::Run { settings, host, command } => run::run(&settings, host.as_deref(), &command),
        Command::Host { settings, listen } => host::serve(&settings, &listen),
        Command::Doctor { settings, host, program } => {
            doctor::show(&settings, host.as_deref(), program.as_ref())
        }
        Command::Ss(arguments) => ss::show(&arguments),
        Command::Link(arguments) => link::change(&arguments),
        Command::Switch { path } => switch::serve(&path),
        Command::Demo { settings } => demo::show(&settings).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(status) => status,
        Err(failure) => {
            complain(&failure.message);
            ExitCode::from(failure.status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn arguments_of_the_program_are_its_own() {
        for line in ["tubesock run -- curl --log x", "tubesock run curl --log x"] {
            let parsed = CommandLine::try_parse_from(line.split(' ')).expect("a good command line");
            let Command::Run { command, .. } = parsed.command else { panic!("{line} is not run") };
            assert_eq!(command, ["curl", "--log", "x"]);
        }
    }

    #[test]
    fn help_lists_every_setting() {
        let mut line = CommandLine::command();
        let help = line.find_subcommand_mut("run").expect("run is there").render_long_help().to_string();
        for setting in &tubesock::config::SETTINGS {
            assert!(help.contains(setting.flag) && help.contains(setting.variable), "{help}");
        }
    }
}
