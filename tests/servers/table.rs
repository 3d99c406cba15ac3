//! The table of docs/compatibility.md: a row for each scenario in each place, made by the test that plays it.

use crate::compatibility;
use crate::world::{Place, Scenario, on_kernel};
use std::process::Command;

const HEAD: &str = "| Program | Version | On our stack | What it does | Result |\n|---|---|---|---|---|\n";

/// A row that is to come.
pub(crate) struct Row {
    scenario: Scenario,
    place: Place,
    result: &'static str,
}

impl Row {
    pub(crate) fn new(scenario: Scenario, place: Place) -> Row {
        Row { scenario, place, result: "fails" }
    }

    /// The scenario was played to its end.
    pub(crate) fn works(mut self) {
        self.result = "works";
        if !on_kernel() {
            self.settle();
        }
    }

    fn settle(&self) {
        let Scenario { program, version, what } = self.scenario;
        let role = match self.place {
            Place::Published => "server, published",
            Place::Inside(_) => "server and client",
            Place::Client => "client",
        };
        compatibility::section("servers", |old| {
            let mut rows: Vec<String> =
                old.strip_prefix(HEAD).unwrap_or("").lines().map(str::to_owned).collect();
            let place = rows.iter().position(|row| key(row) == (program, role, what));
            let known = place.map(|place| rows.remove(place));
            // What counts is the result; another machine has another version.
            let version = match known.as_deref().map(cells) {
                Some([_, version, ..]) if !compatibility::writing() => version.to_owned(),
                _ => installed(version),
            };
            rows.push(format!("| {program} | {version} | {role} | {what} | {} |", self.result));
            rows.sort_by(|one, other| key(one).cmp(&key(other)));
            format!("{HEAD}{}\n", rows.join("\n"))
        });
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        if self.result == "fails" && compatibility::writing() && !on_kernel() {
            self.settle();
        }
    }
}

fn cells(row: &str) -> [&str; 5] {
    let mut cells = row.trim_matches('|').split('|').map(str::trim);
    [(); 5].map(|()| cells.next().unwrap_or(""))
}

/// What tells rows apart.
fn key(row: &str) -> (&str, &str, &str) {
    let [program, _, role, what, _] = cells(row);
    (program, role, what)
}

/// The first word with digits and a dot that the command prints.
fn installed(command: &str) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let script = format!("PATH=$PATH:$(echo /usr/lib/postgresql/*/bin); {command} 2>&1");
    let output =
        Command::new("sh").args(["-c", &script]).env("PATH", path).output().expect("there is a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_version = |word: &&str| word.contains('.') && word.chars().any(|letter| letter.is_ascii_digit());
    let word = text.split([' ', '\n', '\t', ',', '/', '"', '=', '_']).find(is_version);
    word.unwrap_or_else(|| panic!("`{command}` tells no version: {text}")).to_owned()
}
