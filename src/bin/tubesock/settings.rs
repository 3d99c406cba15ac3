//! The flags of `tubesock run`, made from the one list of settings.
#![forbid(unsafe_code)]

use crate::Failure;
use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use tubesock::config::{Capture, Config, SETTINGS, Setting, Trace};

/// The flags that were given, with their values.
#[derive(Debug, Default)]
pub(crate) struct SettingFlags(Vec<(&'static Setting, Vec<OsString>)>);

impl SettingFlags {
    /// What the variables say, replaced by what the flags say. File names are made absolute: the program may start
    /// others elsewhere.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        self.over(std::env::vars_os()).map_err(|message| Failure::new(Failure::SETTING, message))
    }

    fn over(&self, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Config, String> {
        let mut config = Config::with_flags(&self.0, environment)?;
        let capture = config.capture.as_mut().and_then(Capture::file_mut);
        let trace = config.trace.as_mut().and_then(Trace::file_mut);
        for file in capture.into_iter().chain(trace) {
            *file = std::path::absolute(&*file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(config)
    }

    /// Opens the files of the settings: a flag empties its file, a variable only appends to it, so that a `tubesock
    /// run` inside another one leaves the outer one's file alone.
    pub(crate) fn prepare_files(&self, config: &Config) -> Result<(), Failure> {
        let capture = config.capture.as_ref().and_then(Capture::file);
        let trace = config.trace.as_ref().and_then(Trace::file);
        if let (Some(capture), Some(trace)) = (capture, trace)
            && is_same(capture, trace)
        {
            let message =
                format!("--trace and --capture cannot share '{}': give each its own", trace.display());
            return Err(Failure::new(Failure::SETTING, message));
        }
        for (flag, variable, file) in
            [("--capture", "TUBESOCK_CAPTURE", capture), ("--trace", "TUBESOCK_TRACE", trace)]
        {
            let Some(file) = file else { continue };
            let given = self.0.iter().any(|(setting, _)| setting.flag == flag);
            let name = format!("{} '{}'", if given { flag } else { variable }, file.display());
            let prepared = if is_pipe(file) { hold_pipe(&name, file) } else { prepare_file(file, given) };
            prepared.map_err(|error| {
                Failure::new(Failure::SETTING, format!("{name}: {error}; give a file that can be written"))
            })?;
        }
        Ok(())
    }
}

/// Whether two names are of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |file: &Path| std::fs::metadata(file).map(|file| (file.dev(), file.ino(), file.is_file()));
    match (identity(one), identity(other)) {
        // What is no file, such as /dev/null, may well take both.
        (Ok(this), Ok(that)) => this == that && (this.2 || is_pipe(one)),
        _ => one == other,
    }
}

fn prepare_file(file: &Path, empty: bool) -> std::io::Result<()> {
    OpenOptions::new().create(true).write(true).append(!empty).truncate(empty).open(file).map(drop)
}

/// Whether a file is a pipe by its name (fifo(7)).
fn is_pipe(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|file| file.file_type().is_fifo())
}

/// Opens a pipe for as long as this process lives: a reader that saw nobody write any more, before the host opens it, would
/// take that for the end. Waits for the reader, and says so; a signal ends the wait and us.
fn hold_pipe(name: &str, file: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let held = options.write(true).custom_flags(libc::O_NONBLOCK).open(file);
    let held = match held {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            eprintln!("tubesock: {name}: waiting for who reads that pipe");
            options.custom_flags(0).open(file)?
        }
        held => held?,
    };
    std::mem::forget(held);
    Ok(())
}

fn flag(setting: &'static Setting) -> Arg {
    let help = format!("{} [default: {}] [variable: {}]", setting.help, setting.default, setting.variable);
    let argument = Arg::new(setting.flag)
        .long(setting.flag.trim_start_matches('-'))
        .help(help)
        .value_parser(OsStringValueParser::new())
        .action(if setting.separator.is_some() { ArgAction::Append } else { ArgAction::Set });
    match setting.value {
        "" => argument.num_args(0).default_missing_value("1"),
        value => argument.value_name(value),
    }
}

impl Args for SettingFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = SettingFlags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let given = |setting: &'static Setting| {
            let values = matches.get_many::<OsString>(setting.flag)?;
            Some((setting, values.cloned().collect()))
        };
        self.0 = SETTINGS.iter().filter_map(given).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> SettingFlags {
        let command = SettingFlags::augment_args(clap::Command::new("test").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).expect("good arguments");
        SettingFlags::from_arg_matches(&matches).expect("made from what was asked for")
    }

    #[test]
    fn flags_replace_variables() {
        let flags = parse(&["--log", "debug", "--publish", "1:2", "--publish", "3:4/udp"]);
        let environment = [("TUBESOCK_LOG", "off"), ("TUBESOCK_PUBLISH", "9:9"), ("TUBESOCK_CAPTURE", "/c")];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let config = flags.over(environment).expect("good values");
        assert_eq!(config.log, tubesock::config::LogLevel::Debug);
        assert_eq!(config.publish.iter().map(|p| p.port).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(config.capture, Some(Capture::File("/c".into())));
    }

    #[test]
    fn a_flag_without_a_value_is_on() {
        assert!(parse(&["--strict"]).over([]).expect("good values").strict);
        let off = parse(&[]).over([("TUBESOCK_STRICT".into(), "0".into())]);
        assert!(!off.expect("good values").strict);
    }

    #[test]
    fn files_become_absolute() {
        let config = parse(&["--capture", "x.pcapng"]).over([]).expect("good values");
        let file = config.capture.as_ref().and_then(Capture::file).expect("a file");
        assert!(file.is_absolute() && file.ends_with("x.pcapng"));
    }

    #[test]
    fn a_file_says_least() {
        let file = std::env::temp_dir().join(format!("tubesock-settings-{}.toml", std::process::id()));
        std::fs::write(&file, "mtu = 1400\nlog = 'debug'\ntrace = '/t'\n")
            .expect("a directory for temporary files");
        let name = file.to_str().expect("an ASCII name");
        let environment =
            [("TUBESOCK_MTU", "1300"), ("TUBESOCK_LOG", "off"), ("TUBESOCK_CONFIG", "/missing")];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let config = parse(&["--config", name, "--log", "info"]).over(environment).expect("good values");
        assert_eq!((config.mtu, config.log), (Some(1300), tubesock::config::LogLevel::Info));
        assert_eq!(config.trace, Some(tubesock::config::Trace::File("/t".into())));
        std::fs::remove_file(&file).expect("it is ours");
        let missing = parse(&["--config", name]).over([]).expect_err("it is gone");
        assert!(missing.starts_with("--config '") && missing.contains("No such file"), "{missing}");
    }

    #[test]
    fn an_error_names_the_flag() {
        let error = parse(&["--publish", "80"]).over([]).expect_err("one port is too few");
        assert!(error.starts_with("--publish '80': "), "{error}");
    }
}
