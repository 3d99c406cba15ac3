//! The shim under a program that has nothing to do with our stack: it must be as if it were not there. And its names:
//! each must be one that libc has, since looking up a missing one allocates.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn shim() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    test.with_file_name("libtubesock_preload.so")
}

fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output.stdout
}

/// The compiled probe; its plugin lies in a directory that only its RUNPATH names.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preload");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload");
        std::fs::create_dir_all(target.join("plugins")).expect("the directory can be made");
        let compiler = || {
            let mut command = Command::new("cc");
            command.args(["-std=gnu99", "-Wall", "-Wextra", "-Werror"]);
            command
        };
        let plugin = target.join("plugins/libplugin.so");
        succeed(compiler().args(["-shared", "-fPIC"]).arg(sources.join("plugin.c")).arg("-o").arg(plugin));
        let probe = target.join("probe");
        succeed(
            compiler()
                .args(["-pthread", "-Wl,-rpath,$ORIGIN/plugins,--enable-new-dtags"])
                .arg(sources.join("probe.c"))
                .args(["-ldl", "-o"])
                .arg(&probe),
        );
        probe
    })
}

fn holds(what: &str) {
    succeed(Command::new(probe()).arg(what).env("LD_PRELOAD", shim()));
}

#[test]
fn dlopen_keeps_the_callers_search_path_and_clears_deepbind() {
    holds("dlopen");
}

#[test]
fn a_wait_that_passes_through_can_be_cancelled() {
    holds("cancel");
}

#[test]
fn calls_by_number_are_the_calls_by_name() {
    holds("syscall");
}

#[test]
fn ranges_of_descriptors_close() {
    holds("close");
}

#[test]
fn a_vfork_child_ends_alone() {
    holds("vfork");
}

/// The functions that a shared object gives to others, without versions.
fn exported(library: &Path) -> Vec<String> {
    let listing = succeed(Command::new("nm").args(["--dynamic", "--defined-only"]).arg(library));
    let listing = String::from_utf8(listing).expect("nm writes ASCII");
    let names = listing.lines().filter_map(|line| line.split_whitespace().nth(2));
    names.map(|name| name.split('@').next().unwrap_or(name).to_owned()).collect()
}

#[test]
fn every_name_is_one_of_libcs() {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("proc is mounted");
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let libc = path.map(Path::new).find(|path| path.ends_with("libc.so.6")).expect("this test uses libc");
    let libc = exported(libc);
    let ours = exported(&shim());
    assert!(ours.iter().any(|name| name == "connect"), "the shim is what nm read");
    let unknown: Vec<_> =
        ours.iter().filter(|name| !name.starts_with("tube_") && !libc.contains(name)).collect();
    assert!(unknown.is_empty(), "not in libc: {unknown:?}");
}
