//! `differences.txt`: the facts that are known to differ, each with what ours prints, under the reason.
//!
//! ```text
//! [PROGRAM ENVIRONMENT] REASON       ENVIRONMENT is `preload`, `run` or `both`
//! CASE LABEL: VALUE                  what ours prints, or `(nothing)`
//! ```
//!
//! A `*` at the end of a label or a value stands for any rest. Lines that begin with # are comments.

use crate::environment::Environment;
use crate::program::Fact;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

/// In the place of a value: one side did not print the label.
const NOTHING: &str = "(nothing)";

/// A line of the list.
struct Listed {
    program: &'static str,
    environment: &'static str,
    label: &'static str,
    value: &'static str,
}

/// The list.
pub(crate) struct Differences(Vec<Listed>);

/// One fact, on both stacks.
struct Difference<'a> {
    label: &'a str,
    kernel: &'a str,
    ours: &'a str,
}

pub(crate) fn known() -> &'static Differences {
    static KNOWN: LazyLock<Differences> = LazyLock::new(|| parse(include_str!("differences.txt")));
    &KNOWN
}

fn parse(text: &'static str) -> Differences {
    let mut listed = Vec::new();
    let mut section = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix('[') {
            section = Some(section_of(head).unwrap_or_else(|| panic!("differences.txt: {line}")));
            continue;
        }
        let (program, environment) = section.unwrap_or_else(|| panic!("differences.txt: no section: {line}"));
        let (label, value) = line.split_once(": ").unwrap_or_else(|| panic!("differences.txt: {line}"));
        listed.push(Listed { program, environment, label, value });
    }
    Differences(listed)
}

/// Program and environment of a section, which must have a reason.
fn section_of(head: &str) -> Option<(&str, &str)> {
    let (names, reason) = head.split_once("] ")?;
    let (program, environment) = names.split_once(' ')?;
    let is_known = ["preload", "run", "both"].contains(&environment) && !reason.trim().is_empty();
    is_known.then_some((program, environment))
}

fn matches(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |beginning| text.starts_with(beginning))
}

impl Listed {
    fn is_of(&self, program: &str, environment: Environment) -> bool {
        let name = match environment {
            Environment::Preload => "preload",
            Environment::Run => "run",
            Environment::Kernel | Environment::Dark => return false,
        };
        self.program == program && [name, "both"].contains(&self.environment)
    }

    fn is(&self, difference: &Difference<'_>) -> bool {
        matches(self.label, difference.label) && matches(self.value, difference.ours)
    }
}

impl Differences {
    pub(crate) fn programs(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|listed| listed.program)
    }

    /// Whether what differs is what is listed; else what is wrong, for people.
    pub(crate) fn judge(
        &self,
        program: &str,
        environment: Environment,
        kernel: &[Fact],
        ours: &[Fact],
    ) -> Result<(), String> {
        let listed: Vec<_> = self.0.iter().filter(|listed| listed.is_of(program, environment)).collect();
        let differences = compare(kernel, ours);
        let mut verdict = String::new();
        for difference in differences.iter().filter(|each| !listed.iter().any(|listed| listed.is(each))) {
            let Difference { label, kernel, ours } = difference;
            let _ = writeln!(verdict, "{label}: {ours}\n    kernel: {kernel}");
        }
        for listed in listed.iter().filter(|listed| !differences.iter().any(|each| listed.is(each))) {
            let _ = writeln!(verdict, "no longer so: {}: {}", listed.label, listed.value);
        }
        if verdict.is_empty() { Ok(()) } else { Err(verdict) }
    }
}

/// What differs, in the kernel's order, then what only ours printed.
fn compare<'a>(kernel: &'a [Fact], ours: &'a [Fact]) -> Vec<Difference<'a>> {
    fn by_label(facts: &[Fact]) -> BTreeMap<&str, &str> {
        facts.iter().map(|fact| (&fact.label[..], &fact.value[..])).collect()
    }
    let (on_kernel, on_ours) = (by_label(kernel), by_label(ours));
    let labels = kernel.iter().chain(ours.iter().filter(|fact| !on_kernel.contains_key(&fact.label[..])));
    let both = labels.map(|fact| Difference {
        label: &fact.label,
        kernel: on_kernel.get(&fact.label[..]).copied().unwrap_or(NOTHING),
        ours: on_ours.get(&fact.label[..]).copied().unwrap_or(NOTHING),
    });
    both.filter(|difference| difference.kernel != difference.ours).collect()
}
