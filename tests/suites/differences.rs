//! The list of the tests of a suite that end differently on our stack: paragraphs of a reason and, indented below it, the tests
//! with how they end on the kernel's stack and on ours.
//!
//! ```text
//! No urgent data: send(2) with MSG_OOB gives EOPNOTSUPP
//!     test.test_ftplib.TestFTPClass.test_abort: ok, error
//! ```
//!
//! A reason that begins with `Sometimes:` is for tests that do not differ every time. `COMPATIBILITY=write` takes out what no
//! longer differs and puts what is new under `unexplained`, which the next run refuses until somebody has found the reason.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

const UNEXPLAINED: &str = "unexplained";

/// A test's name with how it ends on the kernel's stack and on ours, as `ok, error`.
pub(crate) type Differences = BTreeMap<String, String>;

/// The list of one suite.
pub(crate) struct List {
    file: PathBuf,
    pub(crate) reasons: Vec<Reason>,
}

/// A reason and its tests.
pub(crate) struct Reason {
    pub(crate) text: String,
    pub(crate) tests: Differences,
}

impl Reason {
    fn sometimes(&self) -> bool {
        self.text.starts_with("Sometimes:")
    }
}

impl List {
    pub(crate) fn read(suite: &str) -> List {
        let root = env!("CARGO_MANIFEST_DIR");
        let file = PathBuf::from(format!("{root}/tests/suites/differences/{suite}.txt"));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut reasons: Vec<Reason> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.strip_prefix("    ").map(|test| test.rsplit_once(": ")) {
                None => reasons.push(Reason { text: line.to_owned(), tests: Differences::new() }),
                Some(Some((test, pair))) if !reasons.is_empty() => {
                    let tests = &mut reasons.last_mut().expect("it is not empty").tests;
                    tests.insert(test.to_owned(), pair.to_owned());
                }
                Some(_) => panic!("{}: not a test under a reason: {line}", file.display()),
            }
        }
        List { file, reasons }
    }

    /// Whether a test is listed, however it ends.
    pub(crate) fn names(&self, test: &str) -> bool {
        self.reasons.iter().any(|reason| reason.tests.contains_key(test))
    }

    /// How many tests are listed.
    pub(crate) fn len(&self) -> usize {
        self.reasons.iter().map(|reason| reason.tests.len()).sum()
    }

    /// What is wrong with the list, seen what was found: a line each.
    pub(crate) fn faults(&self, found: &Differences) -> Vec<String> {
        let new = found.iter().filter(|(test, pair)| !self.has(test, pair));
        let mut faults: Vec<String> = new.map(|(test, pair)| format!("not listed: {test}: {pair}")).collect();
        for reason in &self.reasons {
            let gone = |test: &String| !reason.sometimes() && !found.contains_key(test);
            let gone = reason.tests.keys().filter(|test| gone(test));
            faults.extend(gone.map(|test| format!("listed, but differs no more: {test}")));
            if reason.text == UNEXPLAINED {
                faults.push(format!("{} tests have no reason", reason.tests.len()));
            }
        }
        faults
    }

    /// Brings the list in line with what was found.
    pub(crate) fn update(&mut self, found: &Differences) {
        let new = found.iter().filter(|(test, pair)| !self.has(test, pair));
        let new: Differences = new.map(|(test, pair)| (test.clone(), pair.clone())).collect();
        for reason in &mut self.reasons {
            let sometimes = reason.sometimes();
            reason.tests.retain(|test, pair| found.get(test).map_or(sometimes, |now| now == pair));
        }
        match self.reasons.iter_mut().find(|reason| reason.text == UNEXPLAINED) {
            Some(reason) => reason.tests.extend(new),
            None => self.reasons.push(Reason { text: UNEXPLAINED.to_owned(), tests: new }),
        }
        self.reasons.retain(|reason| !reason.tests.is_empty());
        std::fs::write(&self.file, self.text()).expect("the list can be written");
    }

    fn has(&self, test: &str, pair: &str) -> bool {
        self.reasons.iter().any(|reason| reason.tests.get(test).is_some_and(|listed| listed == pair))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for reason in &self.reasons {
            let blank = if text.is_empty() { "" } else { "\n" };
            writeln!(text, "{blank}{}", reason.text).expect("a string takes it all");
            for (test, pair) in &reason.tests {
                writeln!(text, "    {test}: {pair}").expect("a string takes it all");
            }
        }
        text
    }
}
