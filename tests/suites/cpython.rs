//! CPython's own tests of its network modules, from the distribution's Python.

use crate::comparison::Suite;
use crate::run::{Ending, Endings, Side, on_both, turn};
use crate::support::PYTHON;
use crate::support::command::Program;
use crate::support::network::Directory;
use std::path::Path;
use std::time::Duration;

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/python/run.py");

/// Longest first. Those of asyncio are added one by one.
const MODULES: [&str; 15] = [
    "test_ssl",
    "test_socket",
    "test_imaplib",
    "test_xmlrpc",
    "test_selectors",
    "test_poll",
    "test_ftplib",
    "test_poplib",
    "test_socketserver",
    "test_httpservers",
    "test_httplib",
    "test_smtplib",
    "test_urllib2_localnet",
    "test_select",
    "test_epoll",
];

/// How long one test may take, in seconds, before it counts as hanging, and a whole module.
const PATIENCE: &str = "40";
/// Behind both stands a deadline for what even cannot be killed in time.
const DEADLINE: Duration = Duration::from_secs(620);
const MODULE_PATIENCE: u32 = 600;

#[test]
fn cpythons_tests_end_as_on_the_kernel() {
    let _turn = turn();
    Suite {
        name: "cpython",
        version: &python("import platform; print(platform.python_version())"),
        endings: on_both(&modules(), endings),
        row: |test| test.split('.').nth(1).unwrap_or(test),
        again: &|tests| {
            let tests: Vec<String> = tests.iter().map(|test| test.replacen("test.", "", 1)).collect();
            on_both(&tests, endings)
        },
    }
    .judge();
}

/// The line that a Python program prints.
fn python(program: &str) -> String {
    Program::new(PYTHON).args(["-c", program]).run().success().text().trim().to_owned()
}

fn modules() -> Vec<String> {
    let directory = python("import test; print(test.__path__[0])");
    let directory = Path::new(&directory);
    assert!(
        directory.join("test_socket.py").exists(),
        "Python's own tests are missing: ./check installs the package libpython3.*-testsuite"
    );
    let entries = std::fs::read_dir(directory.join("test_asyncio")).expect("they are there");
    let files = entries.map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII"));
    let tests = files.filter_map(|file| file.strip_suffix(".py").map(str::to_owned));
    let mut asyncio: Vec<String> = tests.filter(|name| name.starts_with("test_")).collect();
    asyncio.sort();
    let asyncio = asyncio.iter().map(|name| format!("test_asyncio.{name}"));
    MODULES.into_iter().map(str::to_owned).chain(asyncio).collect()
}

/// Runs a module, or one test of it, again and again until it has got past every test that ends the process.
fn endings(side: Side, module: &str) -> Endings {
    let directory = Directory::new();
    let record = directory.file("record");
    let mut endings = Endings::new();
    loop {
        let known = endings.len();
        let program = Program::new(PYTHON).args(["-B", RUN, module]).arg(&record).arg(PATIENCE);
        let outcome = side.program(program.deadline(DEADLINE), MODULE_PATIENCE).run();
        let lines = std::fs::read_to_string(&record).unwrap_or_default();
        for line in lines.lines() {
            take(line, &mut endings);
        }
        if endings.remove(module).is_some() {
            return endings;
        }
        assert!(endings.len() > known, "{module} on {side:?} makes no progress\n{outcome}");
        let cause = if outcome.stderr.contains("Timeout (") { "hang" } else { "crash" };
        for ending in endings.values_mut().filter(|ending| ending.word == "start") {
            *ending = Ending { word: cause.to_owned(), told: outcome.stderr.clone() };
        }
    }
}

/// Takes a line of the record. The end of a test replaces its start; a test that ended the process has an end already.
fn take(line: &str, endings: &mut Endings) {
    let mut fields = line.splitn(3, '\t').map(str::to_owned);
    let (Some(word), Some(test)) = (fields.next(), fields.next()) else { return };
    if word == "start" && endings.contains_key(&test) {
        return;
    }
    endings.insert(test, Ending { word, told: fields.next().unwrap_or_default() });
}
