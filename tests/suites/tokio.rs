//! tokio's own tests of its network, from its package, built once and run on both stacks. (The packages of mio and socket2
//! carry no tests.)

use crate::comparison::Suite;
use crate::run::{each_alone, turn};
use crate::support::command::Program;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const VERSION: &str = "1.54.1";

/// The files of tests that use sockets of the Internet.
const FILES: [&str; 19] = [
    "io_async_fd",
    "io_driver",
    "io_driver_drop",
    "net_bind_resource",
    "net_lookup_host",
    "net_panic",
    "net_quickack",
    "tcp_accept",
    "tcp_accept_ready",
    "tcp_connect",
    "tcp_echo",
    "tcp_into_split",
    "tcp_into_std",
    "tcp_peek",
    "tcp_shutdown",
    "tcp_socket",
    "tcp_split",
    "tcp_stream",
    "udp",
];

/// A package is fetched and built in minutes, on a busy machine.
const BUILD: Duration = Duration::from_secs(900);

#[test]
fn tokios_tests_end_as_on_the_kernel() {
    let _turn = turn();
    let programs = build(&package());
    let tests: Vec<String> = programs
        .iter()
        .flat_map(|(file, program)| {
            let list = Program::new(program).args(["--list", "--format=terse"]).run().success().text();
            let names = list.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned));
            names.map(|name| format!("{file}::{name}")).collect::<Vec<_>>()
        })
        .collect();
    let play = |tests: &[String]| {
        each_alone(tests, |test| {
            let (file, name) = test.split_once("::").expect("put together above");
            Program::new(&programs[file]).args(["--exact", name, "--test-threads=1"])
        })
    };
    Suite {
        name: "tokio",
        version: VERSION,
        endings: play(&tests),
        row: |test| test.split("::").next().unwrap_or(test),
        again: &play,
    }
    .judge();
}

fn cargo() -> Program {
    Program::new(std::env::var_os("CARGO").expect("cargo starts this test")).deadline(BUILD)
}

/// What is fetched and built is kept where cargo keeps the rest.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("suites")
}

/// A copy of the package's source. It is no member of the workspace around it.
fn package() -> PathBuf {
    let copy = target().join(format!("tokio-{VERSION}"));
    if copy.exists() {
        return copy;
    }
    let partial = target().join("partial");
    let _left_over = std::fs::remove_dir_all(&partial);
    let source = fetched();
    Program::new("cp").arg("--recursive").arg(source).arg(&partial).run().success();
    let manifest = File::options().append(true).open(partial.join("Cargo.toml"));
    manifest.and_then(|mut file| file.write_all(b"\n[workspace]\n")).expect("a package has a manifest");
    std::fs::rename(&partial, &copy).expect("the target directory is ours");
    copy
}

/// Where cargo keeps the package's source for a package that depends on it.
fn fetched() -> PathBuf {
    let dependent = target().join("dependent");
    let manifest = format!(
        "[package]\nname = \"dependent\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n\
         [dependencies]\ntokio = \"={VERSION}\"\n[workspace]\n"
    );
    std::fs::create_dir_all(&dependent).expect("the target directory is ours");
    for (file, text) in [("Cargo.toml", &*manifest), ("lib.rs", "")] {
        std::fs::write(dependent.join(file), text).expect("the target directory is ours");
    }
    let metadata = cargo().args(["metadata", "--format-version=1"]).directory(&dependent).run().success();
    let metadata = metadata.text();
    let manifests = metadata.split("\"manifest_path\":\"").filter_map(|rest| rest.split('"').next());
    let mut sources = manifests.filter_map(|manifest| Path::new(manifest).parent());
    let name = format!("tokio-{VERSION}");
    sources.find(|source| source.ends_with(&name)).expect("a dependency is in the metadata").to_owned()
}

/// Builds the tests, and finds the program of each file in what cargo says.
fn build(package: &Path) -> BTreeMap<String, PathBuf> {
    let tests = FILES.into_iter().flat_map(|file| ["--test", file]);
    let outcome = cargo()
        .args(["test", "--no-run", "--locked", "--features=full,test-util", "--target-dir"])
        .arg(target().join("tokio"))
        .args(tests)
        .directory(package)
        .run()
        .success();
    let built = outcome.stderr.lines().filter_map(|line| {
        let (file, rest) = line.trim().strip_prefix("Executable tests/")?.split_once(".rs (")?;
        Some((file.to_owned(), PathBuf::from(rest.strip_suffix(')')?)))
    });
    let programs: BTreeMap<String, PathBuf> = built.collect();
    assert_eq!(programs.len(), FILES.len(), "cargo built {programs:?}");
    programs
}
