//! The flags of `tubesock run`, made from the one list of settings.
#![forbid(unsafe_code)]

use crate::{Failure, complain};
use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};
use rustix::fs::{Access, access};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tubesock::config::{Capture, Config, SETTINGS, Setting, Trace};

/// The flags that were given, with their values.
#[derive(Debug, Default)]
pub(crate) struct SettingFlags(Vec<(&'static Setting, Vec<OsString>)>);

impl SettingFlags {
    /// What the variables say, replaced by what the flags say, each by itself. File names are made absolute: the
    /// program may start others elsewhere.
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

    /// Opens the files of the settings, and changes nothing in them.
    pub(crate) fn open_files(&self, config: &Config) -> Result<Files, Failure> {
        let capture = config.capture.as_ref().and_then(Capture::file);
        let trace = config.trace.as_ref().and_then(Trace::file);
        let mut files = Files(Vec::new());
        for (flag, path) in [("--capture", capture), ("--trace", trace)] {
            let Some(path) = path else { continue };
            let name = format!("{} '{}'", config.names.of(flag), path.display());
            let empties = self.0.iter().any(|(setting, _)| setting.flag == flag);
            files.0.push(Opened::open(path, name, empties)?);
        }
        match &files.0[..] {
            [one, other] if one.is(other) => Err(Failure::new(Failure::SETTING, config.names.sharing())),
            _ => Ok(files),
        }
    }
}

/// The files of the settings. Those that were made are removed with this, unless they are taken.
#[derive(Debug)]
pub(crate) struct Files(Vec<Opened>);

impl Files {
    /// Leaves the files as the host needs them: a flag empties its file, a variable only appends to it, so that a
    /// `tubesock run` inside another one leaves the outer one's file alone. Waits for who reads a pipe.
    pub(crate) fn take(mut self) -> Result<(), Failure> {
        self.0.iter_mut().try_for_each(Opened::take)
    }
}

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// As the person wrote it, with the setting.
    name: String,
    empties: bool,
    /// None of a pipe, of which the reader may have to be waited for.
    file: Option<File>,
    /// Whether this made it, and nobody else.
    made: bool,
}

impl Opened {
    fn open(path: &Path, name: String, empties: bool) -> Result<Opened, Failure> {
        // A dangling symbolic link is there already, for O_EXCL, and the file behind it is not.
        let dangling = path.read_link().ok().filter(|_| !path.exists());
        let path = &dangling.map_or(path.to_owned(), |to| path.with_file_name(to));
        let opened = match is_pipe(path) {
            true => access(path, Access::WRITE_OK).map(|()| (None, false)).map_err(Error::from),
            false => match OpenOptions::new().append(true).create_new(true).open(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    OpenOptions::new().append(true).create(true).open(path).map(|file| (Some(file), false))
                }
                made => made.map(|file| (Some(file), true)),
            },
        };
        match opened {
            Ok((file, made)) => Ok(Opened { path: path.to_owned(), name, empties, file, made }),
            Err(error) => Err(unusable(&name, &error)),
        }
    }

    /// Whether both are one file, by whatever names. What is neither file nor pipe, such as /dev/null, may well take
    /// both.
    fn is(&self, other: &Opened) -> bool {
        let identity = |opened: &Opened| {
            let of_path = std::fs::metadata(&opened.path).ok()?;
            (of_path.is_file() || of_path.file_type().is_fifo()).then(|| (of_path.dev(), of_path.ino()))
        };
        identity(self).is_some_and(|this| identity(other) == Some(this))
    }

    fn take(&mut self) -> Result<(), Failure> {
        self.made = false;
        let taken = match &self.file {
            None => hold_pipe(&self.name, &self.path),
            Some(file) if self.empties && file.metadata().is_ok_and(|file| file.is_file()) => file.set_len(0),
            Some(_) => Ok(()),
        };
        taken.map_err(|error| unusable(&self.name, &error))
    }
}

impl Drop for Opened {
    /// Another tubesock may have been given the file meanwhile, or have removed it and made its own.
    fn drop(&mut self) {
        let Some(file) = self.file.as_ref().filter(|_| self.made) else { return };
        if let (Ok(made), Ok(there)) = (file.metadata(), std::fs::symlink_metadata(&self.path))
            && (made.dev(), made.ino(), made.len()) == (there.dev(), there.ino(), 0)
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn unusable(name: &str, error: &Error) -> Failure {
    Failure::new(Failure::SETTING, format!("{name}: {error}; give a file that can be written"))
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
            complain(format_args!("{name}: waiting for who reads that pipe"));
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
    fn what_was_made_is_removed_unless_it_became_anothers() {
        let path = std::env::temp_dir().join(format!("tubesock-made-{}", std::process::id()));
        let open = || Opened::open(&path, String::new(), true).expect("a directory for temporary files");
        drop(open());
        assert!(!path.exists(), "it was made for nothing");
        let (made, found) = (open(), open());
        drop(found);
        assert!(path.exists(), "it was there already");
        std::fs::write(&path, "a capture").expect("it is ours");
        drop(made);
        assert!(path.exists(), "another one has written to it");
        std::fs::remove_file(&path).expect("it is there");
        let made = open();
        std::fs::remove_file(&path).expect("it is there");
        // While the first one is open its inode is not given again.
        let another = open();
        drop(made);
        assert!(path.exists(), "it is another one's");
        drop(another);
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
