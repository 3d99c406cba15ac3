//! The settings of a file (`--config`), in TOML: each by its flag without the dashes, several as an array.
//!
//! ```toml
//! link = "tun:tube"
//! address = ["192.0.2.15/24", "2001:db8::15/64"]
//! mtu = 1400
//! strict = true
//! ```
#![forbid(unsafe_code)]

use super::settings::Field;
use super::{Config, SETTINGS, Setting};
use core::fmt;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use toml::{Table, Value};

/// A file of settings is no longer.
const FILE_MAX: u64 = 1 << 20;

/// The bytes of a regular file of at most `longest`: neither a device without end nor a pipe that nobody writes to.
pub fn read_file(path: &Path, longest: u64) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read the file: {error}");
    // Looked at before it is opened: to open a pipe waits for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("it is no regular file".into());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(longest + 1).read_to_end(&mut bytes)).map_err(failed)?;
    match bytes.len() as u64 > longest {
        true => Err(format!("a file of more than {longest} bytes is no configuration")),
        false => Ok(bytes),
    }
}

impl Config {
    /// Takes the settings of the file at `path`.
    pub(super) fn apply_file(&mut self, path: &OsStr) -> Result<(), String> {
        let bytes = read_file(Path::new(path), FILE_MAX)?;
        self.apply_text(&String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?)
    }

    fn apply_text(&mut self, text: &str) -> Result<(), String> {
        let table: Table = text.parse().map_err(|error| in_line(text, &error))?;
        for (name, value) in table {
            let named = |setting: &&Setting| setting.flag.strip_prefix("--") == Some(&name);
            let setting = SETTINGS.iter().find(named).filter(|setting| setting.field != Field::Config);
            let setting = setting.ok_or_else(|| match value {
                Value::Table(_) => format!("[{name}]: there is no such table; settings stand without one"),
                _ => format!(
                    "'{name}': there is no such setting; a key is a flag of 'tubesock run' without its dashes"
                ),
            })?;
            let values = values(setting, &value).map_err(|problem| format!("'{name}' {problem}"))?;
            self.apply(setting, &name, &values)?;
        }
        Ok(())
    }
}

/// What is wrong, and where. The line itself is not shown: a file given by mistake may hold keys.
fn in_line(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

/// As the flag would have them. The error says what stands there instead.
fn values(setting: &Setting, value: &Value) -> Result<Vec<OsString>, String> {
    let several = setting.separator.is_some();
    let one = |value: &Value| match (setting.form(), value) {
        (Form::Switch, Value::Boolean(on)) => Ok(if *on { "1" } else { "0" }.into()),
        (Form::Number, Value::Integer(number)) => Ok(number.to_string().into()),
        (Form::Text, Value::String(text)) => Ok(text.into()),
        (form, other) => {
            let array = if several { ", or an array of such" } else { "" };
            Err(format!("has a value of type {}; write {form}{array}", other.type_str()))
        }
    };
    match value {
        Value::Array(items) if several => items.iter().map(one).collect(),
        value => one(value).map(|value| vec![value]),
    }
}

/// What a value is in TOML.
enum Form {
    Switch,
    Number,
    Text,
}

impl Setting {
    fn form(&self) -> Form {
        match self.field {
            Field::Mtu => Form::Number,
            _ if self.value.is_empty() => Form::Switch,
            _ => Form::Text,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Switch => "true or false, without quotes",
            Form::Number => "a whole number, without quotes",
            Form::Text => "a string in quotes",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LinkChoice;

    fn read(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        config.apply_text(text).map(|()| config)
    }

    #[test]
    fn settings_by_the_names_of_their_flags() {
        let text = "# shared\nlink = 'tun:tube'\naddress = ['192.0.2.15/24', '2001:db8::15/64']\nmtu = 1400\n\
                    strict = true\nroute = '10.0.0.0/8,192.0.2.1'\n";
        let config = read(text).expect("good values");
        assert_eq!(config.link, LinkChoice::Tun("tube".into()));
        assert_eq!(
            (config.address.len(), config.mtu, config.strict, config.route.len()),
            (2, Some(1400), true, 1)
        );
    }

    #[test]
    fn what_is_no_file_of_settings() {
        for (text, expected) in [
            ("lnik = 'nat'", "'lnik': there is no such setting"),
            ("config = 'other'", "'config': there is no such setting"),
            ("[run]\nmtu = 1500", "[run]: there is no such table; settings stand without one"),
            ("mtu = 1.5", "'mtu' has a value of type float; write a whole number, without quotes"),
            ("mtu = '1400'", "'mtu' has a value of type string; write a whole number, without quotes"),
            ("mtu = [1500]", "'mtu' has a value of type array; write a whole number"),
            ("strict = 'true'", "'strict' has a value of type string; write true or false, without quotes"),
            ("capture-calls = 1", "'capture-calls' has a value of type integer; write true or false"),
            ("log = true", "'log' has a value of type boolean; write a string in quotes"),
            (
                "publish = 8080",
                "'publish' has a value of type integer; write a string in quotes, or an array of such",
            ),
            (
                "address = ['192.0.2.1', 5]",
                "'address' has a value of type integer; write a string in quotes, or an array",
            ),
            ("log = 'loud'", "log 'loud': not a level"),
            ("mtu = 9", "mtu '9': no size of a packet"),
            ("mtu", "line 1: "),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
