//! Values of a script: times, numbers that may be ranges, and the names of errors.
#![forbid(unsafe_code)]

use std::fmt;

/// Microseconds since the script began.
pub(crate) type Micros = i64;

/// What `^` stands for until the flow tells: the number behind all that the peer has sent.
const NEXT: i64 = 1 << 40;

/// A number as a script writes it: `7`, `*`, `5..9`, `5..`, `..9`, `^`, `^+7`, `^-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Bound {
    pub(crate) const ANY: Bound = Bound { low: i64::MIN, high: i64::MAX };

    pub(crate) const fn exactly(value: i64) -> Bound {
        Bound { low: value, high: value }
    }

    pub(crate) fn parse(text: &str) -> Result<Bound, String> {
        let number = |text: &str, otherwise: i64| match text {
            "" => Ok(otherwise),
            "^" => Ok(NEXT),
            text => {
                let (base, rest) = text.strip_prefix('^').map_or((0, text), |rest| (NEXT, rest));
                let number = rest.parse::<i64>().map_err(|_| format!("`{text}` is no number"))?;
                Ok(base + number)
            }
        };
        match text.split_once("..") {
            _ if text == "*" => Ok(Bound::ANY),
            Some((low, high)) => Ok(Bound { low: number(low, i64::MIN)?, high: number(high, i64::MAX)? }),
            None if text.is_empty() => Err("a number is missing".into()),
            None => number(text, 0).map(Bound::exactly),
        }
    }

    /// With `next` for `^`.
    pub(crate) fn resolved(self, next: i64) -> Bound {
        let resolve = |number: i64| match number {
            number if number > NEXT / 2 && number < NEXT * 2 => number - NEXT + next,
            number => number,
        };
        Bound { low: resolve(self.low), high: resolve(self.high) }
    }

    pub(crate) fn holds(self, value: i64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The one number it stands for, which is what an injected field needs.
    pub(crate) fn single(self) -> Result<i64, String> {
        if self.low == self.high { Ok(self.low) } else { Err(format!("`{self}` is not one number")) }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (i64::MIN, i64::MAX) => write!(out, "*"),
            (low, high) if low == high => write!(out, "{low}"),
            (i64::MIN, high) => write!(out, "..{high}"),
            (low, i64::MAX) => write!(out, "{low}.."),
            (low, high) => write!(out, "{low}..{high}"),
        }
    }
}

/// Seconds with a fraction, such as `0.25`.
pub(crate) fn parse_seconds(text: &str) -> Result<Micros, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no time"))?;
    Ok((seconds * 1e6).round() as Micros)
}

/// A time as scripts write it.
pub(crate) fn show_seconds(time: Micros) -> String {
    format!("{:.3}", time as f64 / 1e6)
}

macro_rules! errors {
    ($($name:ident)*) => {
        /// The number of an error that a script names.
        pub(crate) fn errno_named(name: &str) -> Option<i32> {
            match name { $(stringify!($name) => Some(libc::$name),)* _ => None }
        }

        /// The name of an error, for a report.
        pub(crate) fn errno_name(errno: i32) -> String {
            match errno { $(libc::$name => stringify!($name).into(),)* other => format!("errno {other}") }
        }
    };
}

errors! {
    EACCES EADDRINUSE EADDRNOTAVAIL EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED ECONNRESET EDESTADDRREQ
    EFAULT EHOSTUNREACH EHOSTDOWN EINPROGRESS EINTR EINVAL EISCONN EMSGSIZE ENETDOWN ENETUNREACH ENOBUFS ENOMEM ENONET
    ENOPROTOOPT ENOTCONN EOPNOTSUPP EPERM EPIPE EPROTO ETIMEDOUT
}
