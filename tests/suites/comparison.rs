//! Compares what a suite gave on the two stacks, test by test, with the list of known differences and with its section of
//! docs/compatibility.md.

use crate::compatibility;
use crate::differences::{Differences, List};
use crate::run::{Ending, Endings, differing};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The most tests of a suite, in a hundred, that may differ.
const PERCENT: usize = 1;
/// The most differences that may be an accident.
const DOUBTFUL: usize = 20;
const HEAD: &str =
    "| Tests of | Version | Tests | Not run by either | The same | Different |\n|---|---|---|---|---|---|\n";

/// A suite that has run.
pub(crate) struct Suite<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    /// On the kernel's stack and on ours.
    pub(crate) endings: [Endings; 2],
    /// The row of the table that a test counts in.
    pub(crate) row: fn(&str) -> &str,
    /// Plays some of the tests again.
    pub(crate) again: &'a dyn Fn(&[String]) -> [Endings; 2],
}

#[derive(Default)]
struct Row {
    tests: usize,
    not_run: usize,
    different: usize,
}

impl Suite<'_> {
    /// Fails unless the two stacks differ as the list says and as the page says.
    #[track_caller]
    pub(crate) fn judge(mut self) {
        let mut list = List::read(self.name);
        self.look_again(&list);
        let found = self.differences();
        if compatibility::writing() {
            list.update(&found);
        }
        let faults = list.faults(&found);
        assert!(faults.is_empty(), "{}:\n{}\n{}", self.name, faults.join("\n"), self.told(&list, &found));
        compatibility::section(self.name, |old| self.section(&list, old));
        let [kernel, _] = &self.endings;
        assert!(
            list.len() * 100 <= kernel.len() * PERCENT,
            "{} of {} tests differ, which is more than {PERCENT} %",
            list.len(),
            kernel.len()
        );
    }

    /// Plays tests that are new among the differences again, twice: what load did to a test that counts seconds it does
    /// not do time and again, nor to one on its own. When there are many, load is not what it is.
    fn look_again(&mut self, list: &List) {
        let doubtful: Vec<String> =
            differing(&self.endings).into_iter().filter(|test| !list.names(test)).collect();
        if doubtful.is_empty() || doubtful.len() > DOUBTFUL {
            return;
        }
        let rounds = [(self.again)(&doubtful), (self.again)(&doubtful)];
        let agree = |test: &String| {
            let words = rounds.iter().flatten().map(|side| side.get(test).map(|ending| &ending.word));
            let words: BTreeSet<Option<&String>> = words.collect();
            words.len() == 1 && !words.contains(&None)
        };
        for test in doubtful.into_iter().filter(agree) {
            println!("{}: {test} ended differently once, and alike twice", self.name);
            for (side, again) in self.endings.iter_mut().zip(&rounds[0]) {
                side.insert(test.clone(), again[&test].clone());
            }
        }
    }

    fn differences(&self) -> Differences {
        let word = |side: &Endings, test: &str| {
            side.get(test).map_or("absent".to_owned(), |ending| ending.word.clone())
        };
        let pair = |test: String| {
            let pair = self.endings.each_ref().map(|side| word(side, &test)).join(", ");
            (test, pair)
        };
        differing(&self.endings).into_iter().map(pair).collect()
    }

    /// What the tests that are new among the differences said on our stack, a few of them.
    fn told(&self, list: &List, found: &Differences) -> String {
        let new = found.keys().filter(|test| !list.names(test)).take(5);
        let endings = &self.endings;
        let told = new.flat_map(|test| {
            let both = endings.iter().filter_map(move |side| side.get(test));
            both.map(move |ending| format!("{test}: {}\n{}\n", ending.word, ending.told))
        });
        told.collect()
    }

    /// The section as it should be; the versions of another machine stay.
    fn section(&self, list: &List, old: &str) -> String {
        let version = match old.lines().nth(2).and_then(|row| row.split(" | ").nth(1)) {
            Some(version) if !compatibility::writing() => version,
            _ => self.version,
        };
        let mut text = HEAD.to_owned();
        for (name, Row { tests, not_run, different }) in self.rows(list) {
            let same = tests - different;
            writeln!(text, "| {name} | {version} | {tests} | {not_run} | {same} | {different} |")
                .expect("a string takes it all");
        }
        for reason in &list.reasons {
            let (count, names) = (reason.tests.len(), grouped(&reason.tests));
            write!(text, "\n- {} ({count}):\n  {names}\n", reason.text).expect("a string takes it all");
        }
        text
    }

    fn rows<'a>(&'a self, list: &'a List) -> BTreeMap<&'a str, Row> {
        let [kernel, ours] = &self.endings;
        let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
        for (test, ending) in kernel {
            let row = rows.entry((self.row)(test)).or_default();
            row.tests += 1;
            let skipped = |ending: &Ending| ending.word == "skipped";
            row.not_run += usize::from(skipped(ending) && ours.get(test).is_some_and(skipped));
        }
        for test in list.reasons.iter().flat_map(|reason| reason.tests.keys()) {
            rows.entry((self.row)(test)).or_default().different += 1;
        }
        rows
    }
}

/// Names of tests, several of a class as `test_socket.SomeTest` (3).
fn grouped(tests: &Differences) -> String {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for test in tests.keys() {
        groups.entry(test.rsplit_once('.').map_or(test, |(class, _)| class)).or_default().push(test);
    }
    let shown = groups.iter().map(|(class, tests)| match &tests[..] {
        [test] => format!("`{test}`"),
        _ => format!("`{class}` ({})", tests.len()),
    });
    shown.collect::<Vec<_>>().join(", ")
}
