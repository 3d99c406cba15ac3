//! `benches/peer.c`, compiled and started: both ends of what the benches of programs measure.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A directory of the bench's own with the program in it.
pub(crate) struct Peer {
    pub(crate) directory: PathBuf,
    pub(crate) binary: PathBuf,
}

impl Peer {
    pub(crate) fn compile() -> Peer {
        let directory = std::env::temp_dir().join(format!("tubesock-bench-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("the name has our process in it");
        let binary = directory.join("peer");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peer.c");
        let status = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&binary)
            .arg(source)
            .status();
        assert!(status.expect("cc starts").success(), "benches/peer.c does not compile");
        Peer { directory, binary }
    }

    /// The server, on the kernel's stack, at `address`, pinned to `cores`.
    pub(crate) fn serve(&self, address: &str, cores: &str) -> Server {
        let mut child = Command::new("taskset")
            .args(["-c", cores])
            .arg(&self.binary)
            .args(["server", address])
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset starts");
        let mut port = String::new();
        let output = child.stdout.take().expect("standard output is a pipe");
        BufReader::new(output).read_line(&mut port).expect("the server prints its port");
        Server { child, port: port.trim().to_owned() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) struct Server {
    child: Child,
    pub(crate) port: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What a client printed.
pub(crate) fn figure(mut command: Command) -> f64 {
    let output = command.output().expect("taskset starts");
    let (status, errors) = (output.status, String::from_utf8_lossy(&output.stderr));
    assert!(status.success(), "{command:?}: {status}: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("the client prints a number")
}

pub(crate) fn preload(library: &Path) -> OsString {
    let mut assignment = OsString::from("LD_PRELOAD=");
    assignment.push(library);
    assignment
}

/// Cargo puts the library beside this bench, because the package has it as a development dependency.
pub(crate) fn preload_library() -> PathBuf {
    std::env::current_exe().expect("a bench knows its own file").with_file_name("libtubesock_preload.so")
}
