//! One thing that was looked at before a run: how it stands, what that means, and what to do.
#![forbid(unsafe_code)]

use core::fmt;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing stands in the way.
    Ok,
    /// The program is served, and something will be other than it may expect.
    Warning,
    /// The program cannot be served.
    Problem,
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// What was looked at, in a word or two.
    pub(crate) subject: &'static str,
    /// How it is, and what that means.
    pub(crate) text: String,
    /// What to do about it; empty when there is nothing to be done.
    pub(crate) advice: String,
}

impl Finding {
    pub(crate) fn ok(subject: &'static str, text: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Ok, subject, text: text.into(), advice: String::new() }
    }

    pub(crate) fn warning(
        subject: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { verdict: Verdict::Warning, subject, text: text.into(), advice: advice.into() }
    }

    pub(crate) fn problem(
        subject: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding { verdict: Verdict::Problem, subject, text: text.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        };
        write!(f, "{verdict:8} {}: {}", self.subject, self.text)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}
