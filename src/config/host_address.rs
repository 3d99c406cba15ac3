//! TUBESOCK_HOST: where a host is that makes the sockets of other processes.
#![forbid(unsafe_code)]

use core::fmt;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// sockaddr_un's sun_path, without the zero behind it.
const PATH_MAX: usize = 107;

/// How the variable begins for a host in a program's own process; the digits of its key follow.
const PROCESS: &str = "process-";
/// Bytes of the variable for such a host.
pub const PROCESS_LENGTH: usize = PROCESS.len() + 64;

/// Where a host is, and what opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAddress {
    /// The host of `tubesock run`, for what descends from it.
    Tree(Key),
    /// The host in a program's own process, for what descends from that: who finds it ended has a stack of its own.
    Process(Key),
    /// A host that is shared: whoever may write to this socket may use it.
    Path(PathBuf),
}

/// The name of a host, and what proves that it may be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// What every near end of its bears.
    pub token: [u8; 16],
    /// Random bits that only its own know.
    pub secret: [u8; 16],
}

impl fmt::Display for Key {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Hex(&self.token), Hex(&self.secret))
    }
}

impl fmt::Debug for Key {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", Hex(&self.token))
    }
}

impl HostAddress {
    /// From the variable. The error is a sentence for a person.
    pub fn parse(value: &OsStr) -> Result<HostAddress, String> {
        if value.as_bytes().starts_with(b"/") {
            return HostAddress::at(value.into());
        }
        let text = value.to_str().unwrap_or_default();
        let host = match text.strip_prefix(PROCESS) {
            Some(digits) => key(digits).map(HostAddress::Process),
            None => key(text).map(HostAddress::Tree),
        };
        let wrong =
            "not the address of a host; give the absolute path that 'tubesock host --listen' was given";
        host.ok_or_else(|| wrong.into())
    }

    /// Of a host that listens at `path`, which is absolute.
    pub fn at(path: PathBuf) -> Result<HostAddress, String> {
        match path.as_os_str().len() {
            ..=PATH_MAX => Ok(HostAddress::Path(path)),
            _ => Err(format!(
                "'{}': too long for a socket; give a path of {PATH_MAX} bytes at most",
                path.display()
            )),
        }
    }

    /// As the variable has it.
    pub fn variable_value(&self) -> OsString {
        match self {
            HostAddress::Tree(key) => key.to_string().into(),
            HostAddress::Process(key) => format!("{PROCESS}{key}").into(),
            HostAddress::Path(path) => path.clone().into_os_string(),
        }
    }
}

/// From 64 hexadecimal digits.
fn key(text: &str) -> Option<Key> {
    let number = |part: &str| {
        let digits = part.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(part, 16).ok().filter(|_| digits).map(u128::to_be_bytes)
    };
    let (token, secret) = text.split_at_checked(32).filter(|(_, secret)| secret.len() == 32)?;
    Some(Key { token: number(token)?, secret: number(secret)? })
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "000102030405060708090a0b0c0d0e0ff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

    fn example() -> Key {
        let number = |first: u8| core::array::from_fn(|place| first + place as u8);
        Key { token: number(0), secret: number(0xf0) }
    }

    #[test]
    fn addresses() {
        let long = format!("/{}", "x".repeat(PATH_MAX));
        let sign = format!("+{}", &DIGITS[1..]);
        let process = format!("process-{DIGITS}");
        assert_eq!(process.len(), PROCESS_LENGTH);
        let table = [
            (DIGITS, Ok(HostAddress::Tree(example()))),
            (&process, Ok(HostAddress::Process(example()))),
            ("/run/h", Ok(HostAddress::Path("/run/h".into()))),
            (&long, Err("too long")),
            (&sign, Err("not the address")),
            (&DIGITS[1..], Err("not the address")),
            ("run/h", Err("not the address")),
            ("\u{e9}", Err("not the address")),
        ];
        for (text, expected) in table {
            match (HostAddress::parse(text.as_ref()), expected) {
                (Ok(address), Ok(expected)) => {
                    assert_eq!(address, expected);
                    assert_eq!(address.variable_value(), text);
                }
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_secret_is_not_shown_by_mistake() {
        assert_eq!(
            format!("{:?}", HostAddress::Tree(example())),
            "Tree(Key(000102030405060708090a0b0c0d0e0f))"
        );
    }
}
