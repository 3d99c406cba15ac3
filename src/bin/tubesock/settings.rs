//! The flags of `tubesock run`, made from the one list of settings.

use crate::Failure;
use clap::builder::OsStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};
use std::ffi::OsString;
use tubesock::config::{Config, SETTINGS, Setting, Trace};

const CONFIG_VARIABLE: &str = "TUBESOCK_CONFIG";

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
        // The file says least, whoever names it.
        let (file, flags): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|(setting, _)| setting.variable == CONFIG_VARIABLE);
        let file: Vec<_> = file.iter().flat_map(|(_, values)| values).cloned().collect();
        let replaced = !file.is_empty();
        let rest = environment.into_iter().filter(|(name, _)| !replaced || name != CONFIG_VARIABLE);
        let named = file.into_iter().map(|file| (CONFIG_VARIABLE.into(), file));
        let mut config = Config::from_environment(rest.chain(named))?;
        for (setting, values) in flags {
            config.apply_flag(setting, values)?;
        }
        let trace = config.trace.as_mut().and_then(Trace::file_mut);
        for file in config.capture.as_mut().into_iter().chain(trace) {
            *file = std::path::absolute(&*file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        Ok(config)
    }

    /// Opens the files of the settings: a flag empties its file, a variable only appends to it, so that a `tubesock
    /// run` inside another one leaves the outer one's file alone.
    pub(crate) fn prepare_files(&self, config: &Config) -> Result<(), Failure> {
        let trace = config.trace.as_ref().and_then(Trace::file);
        for (name, file) in [("--capture", config.capture.as_ref()), ("--trace", trace)] {
            let Some(file) = file else { continue };
            let flag = self.0.iter().any(|(setting, _)| setting.flag == name);
            let mut options = std::fs::OpenOptions::new();
            options.create(true).write(true).append(!flag).truncate(flag);
            options.open(file).map_err(|error| {
                let message =
                    format!("{name} '{}': {error}; give a file that can be written", file.display());
                Failure::new(Failure::SETTING, message)
            })?;
        }
        Ok(())
    }
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
        assert_eq!(config.capture, Some("/c".into()));
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
        assert!(config.capture.is_some_and(|file| file.is_absolute() && file.ends_with("x.pcapng")));
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
        assert!(missing.starts_with("TUBESOCK_CONFIG '") && missing.contains("No such file"), "{missing}");
    }

    #[test]
    fn an_error_names_the_flag() {
        let error = parse(&["--publish", "80"]).over([]).expect_err("one port is too few");
        assert!(error.starts_with("--publish '80': "), "{error}");
    }
}
