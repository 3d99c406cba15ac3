//! Commands that wait for their network, and are ended while they do.

use crate::support::PYTHON;
use crate::support::command::Program;
use crate::support::network::{Directory, in_namespace, ordinary_user};
use crate::support::stack::Stack;
use rustix::process::Signal;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Less than an address is waited for, or a name.
const PROMPTLY: Duration = Duration::from_secs(8);

/// `tubesock run` and `tubesock host` with these settings, by copies in `directory`.
fn commands(directory: &Directory, settings: &[&str]) -> [Vec<OsString>; 2] {
    let run = Stack::run().copied_to(directory.path()).command();
    let tubesock = run[0].clone();
    let with = |words: &[&str], more: &[&str]| -> Vec<OsString> {
        let words = words.iter().chain(settings).chain(more).map(OsString::from);
        [tubesock.clone()].into_iter().chain(words).collect()
    };
    let path = directory.file("host");
    let path = path.to_str().expect("a plain name");
    [with(&["run"], &["--", "true"]), with(&["host", "--listen", path], &[])]
}

/// How `command` ends, in python's words: a signal as a negative number.
fn end_of(what: &str, path: &Path, by: &str, command: &[OsString]) -> Program {
    let script = include_str!("python/waiting.py");
    Program::new(PYTHON).args(["-c", script, what]).arg(path).arg(by).args(command).deadline(PROMPTLY)
}

#[test]
fn for_an_address() {
    for by in [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].map(Signal::as_raw) {
        let directory = Directory::new();
        let network = directory.open_to_all("network");
        let link = format!("stream:{}", network.join("run").display());
        let [run, _] = commands(&directory, &["--link", &link]);
        let ended = end_of("address", &network.join("run"), &by.to_string(), &run);
        assert_eq!(ended.inside(ordinary_user()).run().success().text(), format!("-{by}\n"));

        let link = format!("stream:{}", network.join("host").display());
        let [_, host] = commands(&directory, &["--link", &link]);
        let ended = end_of("address", &network.join("host"), &by.to_string(), &host);
        assert_eq!(ended.inside(ordinary_user()).run().success().text(), format!("-{by}\n"));
        assert!(directory.file("host").symlink_metadata().is_err(), "it has left nothing behind");
    }
}

/// The key reaches the whole process group, in which the host is until there is a program.
#[test]
fn for_an_address_at_a_terminal() {
    let directory = Directory::new();
    let path = directory.file("network");
    let [run, host] = commands(&directory, &["--link", &format!("stream:{}", path.display())]);
    for command in [run, host] {
        assert_eq!(end_of("address", &path, "terminal", &command).run().success().text(), "-2\n");
        std::fs::remove_file(&path).expect("the script has made it");
    }
}

/// A program with a stack of its own waits in socket(2): the signal ends it, or its handler is called.
#[test]
fn for_an_address_in_a_program() {
    let directory = Directory::new();
    let path = directory.file("network");
    let stack = Stack::preload().set("link", &format!("stream:{}", path.display()));
    let script = "\
import errno, signal, socket
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append('handled'))
try:
    socket.socket()
except OSError as error:
    seen.append(errno.errorcode[error.errno])
print(*sorted(seen))";
    for (by, expected) in [(Signal::TERM, "-15\n"), (Signal::INT, "EINTR handled\n0\n")] {
        let command: Vec<OsString> =
            stack.command().into_iter().chain([PYTHON, "-c", script].map(OsString::from)).collect();
        let ended = end_of("address", &path, &by.as_raw().to_string(), &command).run().success();
        assert_eq!(ended.text(), expected, "{ended}");
        std::fs::remove_file(&path).expect("the script has made it");
    }
}

#[test]
fn for_the_name_of_an_endpoint() {
    let directory = Directory::new();
    let (file, servers) = (directory.file("tunnel.conf"), directory.file("resolv.conf"));
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=";
    let text = format!(
        "[Interface]\nPrivateKey = {key}\nAddress = 192.0.2.2/32\n[Peer]\nPublicKey = {key}\nAllowedIPs = 0.0.0.0/0\n\
         Endpoint = vpn.example:51820\n"
    );
    std::fs::write(&file, text).expect("the directory is ours");
    std::fs::write(&servers, "nameserver 127.0.0.1\n").expect("the directory is ours");
    let place =
        format!("ip link set lo up; mount --bind {} /etc/resolv.conf; exec \"$@\"", servers.display());
    let link = format!("wireguard:{}", file.display());
    for command in commands(&directory, &["--link", &link]) {
        let ended = end_of("name", Path::new("-"), "15", &command).inside(in_namespace(&place));
        assert_eq!(ended.run().success().text(), "-15\n");
    }
}
