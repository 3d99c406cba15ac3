//! `tubesock host --listen PATH`: several programs on one stack.

use crate::support::PYTHON;
use crate::support::command::{Program, Running};
use crate::support::http::HttpServer;
use crate::support::network::{Directory, in_namespace, ordinary_user};
use crate::support::stack::Stack;
use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A host, with copies of the binaries that any user can read.
struct Host {
    directory: Directory,
    path: PathBuf,
    running: Running,
}

impl Host {
    fn start(outer: &[&str]) -> Host {
        let directory = Directory::new();
        // The copies that `Stack` makes are those that are run below.
        for stack in [Stack::run(), Stack::preload()] {
            stack.copied_to(directory.path());
        }
        let path = directory.open_to_all("shared").join("host");
        let running = listen(&directory.file("tubesock"), &path).inside(outer).spawn();
        running.line_with(&format!("TUBESOCK_HOST={}", path.display()));
        Host { directory, path, running }
    }

    /// A program on it, by `tubesock run`.
    fn run(&self, program: Program) -> Program {
        let words = [self.directory.file("tubesock"), "run".into(), "--host".into(), self.path.clone()];
        program.inside(words.iter().map(|word| word.as_os_str()).chain(["--".as_ref()]))
    }

    /// A program on it, by LD_PRELOAD.
    fn preload(&self, program: Program) -> Program {
        let library = self.directory.file("libtubesock_preload.so");
        program.variable("LD_PRELOAD", library).variable("TUBESOCK_HOST", &self.path)
    }
}

fn listen(tubesock: &Path, path: &Path) -> Program {
    Program::new(tubesock).args(["host", "--listen"]).arg(path)
}

fn tubesock() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tubesock"))
}

/// One serves on port 80, the others fetch from it, all as an ordinary user; and the end of the host leaves nothing.
#[test]
fn programs_that_share_a_host() {
    let host = Host::start(&ordinary_user());
    std::fs::write(host.directory.file("content"), "of another program\n").expect("the directory is ours");
    let server =
        Program::new(PYTHON).args(["-u", "-m", "http.server", "80"]).directory(host.directory.path());
    let server = host.run(server).inside(ordinary_user()).spawn();
    server.line_with("Serving HTTP on");
    let curl = || Program::new("curl").args(["-sS", "http://127.0.0.1/content"]);
    for client in [host.run(curl()), host.preload(curl())] {
        assert_eq!(client.inside(ordinary_user()).run().success().text(), "of another program\n");
    }
    let table = Program::new(host.directory.file("tubesock")).args(["ss", "-tlnp"]);
    let table = table.variable("TUBESOCK_HOST", &host.path).inside(ordinary_user()).run().success();
    assert!(table.text().contains(":80") && table.text().contains("(\"python3\""), "{table}");

    assert!(host.path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket()));
    host.running.interrupt().success();
    assert!(host.path.symlink_metadata().is_err(), "the host has removed its socket");
}

/// Its network is that of any other host.
#[test]
fn way_out_of_a_shared_host() {
    let (host, server) = (Host::start(&[]), HttpServer::start());
    let url = format!("http://10.0.2.2:{}/bytes/10000", server.port());
    let outcome = host.run(Program::new("curl").args(["-sS", &url])).run().success();
    assert_eq!(outcome.stdout.len(), 10_000);
}

/// A living host keeps its path, a dead one does not, and what is no socket is left alone.
#[test]
fn path_of_a_host() {
    let host = Host::start(&[]);
    let second = listen(tubesock(), &host.path).run().status(78);
    assert!(second.stderr.contains("somebody listens there already"), "{second}");
    let Host { directory, path, running } = host;
    drop(running);
    assert!(path.symlink_metadata().is_ok(), "killed, it leaves its socket behind");
    let curl = Program::new("curl").arg("http://127.0.0.1/").inside([
        tubesock().as_os_str(),
        "run".as_ref(),
        "--host".as_ref(),
        path.as_ref(),
        "--".as_ref(),
    ]);
    let late = curl.run().status(78);
    assert!(late.stderr.contains("no host listens there; start 'tubesock host --listen"), "{late}");
    let third = listen(tubesock(), &path).spawn();
    third.line_with("TUBESOCK_HOST=");
    third.interrupt().success();

    let file = directory.file("file");
    std::fs::write(&file, "mine").expect("the directory is ours");
    let refused = listen(tubesock(), &file).run().status(78);
    assert!(refused.stderr.contains("no socket"), "{refused}");
    assert_eq!(std::fs::read(&file).expect("it is still there"), b"mine");
}

/// The permissions of the file are the key.
#[test]
fn permissions_of_the_path() {
    if ordinary_user().is_empty() {
        return;
    }
    let host = Host::start(&[]);
    let program = || Program::new(PYTHON).args(["-c", "import socket; socket.socket()"]);
    let stranger = host.run(program()).inside(ordinary_user()).run().status(78);
    assert!(stranger.stderr.contains("you may not write to that socket"), "{stranger}");
    let stranger = host.preload(program()).inside(ordinary_user()).run().status(1);
    assert!(
        stranger.stderr.contains("Permission denied")
            && stranger.stderr.contains("does not let this user in"),
        "{stranger}"
    );
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&host.path, everybody).expect("the file is ours");
    host.run(program()).inside(ordinary_user()).run().success();
    host.preload(program()).inside(ordinary_user()).run().success();
}

/// The path leads to the host from another network namespace, where its names do not.
#[test]
fn from_another_network_namespace() {
    let host = Host::start(&[]);
    let script = "import socket; s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); \
                  a, p = s.accept(); c.sendall(b'through'); a.setsockopt(6, 1, 1); print(a.recv(9), p == c.getsockname())";
    let program = Program::new(PYTHON).args(["-c", script]);
    let outcome = host.run(program).inside(in_namespace("exec \"$@\"")).run().success();
    assert_eq!(outcome.text(), "b'through' True\n");
}

/// SO_LINGER waits there, too: for a peer that reads nothing, as long as it says.
#[test]
fn closing_waits_from_another_network_namespace() {
    let host = Host::start(&[]);
    let script = "\
import select, socket, struct, time
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
accepted, _ = listener.accept()
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 1))
client.setblocking(False)
while select.select([], [client], [], 0.5)[1]:
    client.send(bytes(65536))
begun = time.monotonic()
client.close()
print(0.9 < time.monotonic() - begun < 5)";
    let program = Program::new(PYTHON).args(["-c", script]);
    let outcome = host.run(program).inside(in_namespace("exec \"$@\"")).run().success();
    assert_eq!(outcome.text(), "True\n");
}

/// A program's library and its host of two builds do not understand each other, and say so, naming both.
#[test]
fn another_build() {
    let host = Host::start(&[]);
    let script = "\
import os, socket, subprocess, sys
path, real, *command = sys.argv[1:]
fake = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
fake.bind(path)
child = subprocess.Popen(command, env=os.environ | {'TUBESOCK_HOST': path})
message, descriptors, _, _ = socket.recv_fds(fake, 1 << 16, 2)
socket.socket(fileno=descriptors[0]).send(b'\\xff9.9.9 (deadbeef)')
child.wait()
asker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
asker.connect(real)
answers, reply = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
socket.send_fds(asker, [b'00000000' + message[8:]], [reply.fileno()])
print(answers.recv(100))";
    let library = format!("LD_PRELOAD={}", host.directory.file("libtubesock_preload.so").display());
    let asking = "import socket; socket.socket()";
    let program = Program::new(PYTHON).args(["-c", script]).arg(host.directory.file("fake")).arg(&host.path);
    let outcome = program.args(["env", &library, PYTHON, "-c", asking]).run().success();
    let version = tubesock::host::VERSION;
    assert_eq!(outcome.text(), format!("b'\\xff{version}'\n"), "{outcome}");
    let told = format!("tubesock 9.9.9 (deadbeef), and this process asks it as {version} does: EPROTO");
    assert!(outcome.stderr.contains(&told) && outcome.stderr.contains("Protocol error"), "{outcome}");
}

/// Breaks when a program that waits for a host which was stopped hears no SIGTERM; for its answer, or to be heard at all.
#[test]
fn host_that_is_silent() {
    let directory = Directory::new();
    let script = "\
import os, signal, socket, subprocess, sys
def fields(process):
    return dict(line.split(':\\t', 1) for line in open(f'/proc/{process}/status').read().splitlines())
def ended(stopped):
    child = subprocess.Popen(sys.argv[2:], env=os.environ | {'TUBESOCK_HOST': sys.argv[1]})
    def waits():
        while int(fields(child.pid)['SigBlk'], 16) >> signal.SIGTERM - 1 & 1 == 0 or fields(child.pid)['State'][0] != 'S':
            assert child.poll() is None, child.returncode
    waits()
    if stopped:
        for number, seen in (signal.SIGSTOP, os.WUNTRACED), (signal.SIGCONT, os.WCONTINUED):
            child.send_signal(number)
            os.waitpid(child.pid, seen)
        waits()
    child.terminate()
    return child.wait(30)
host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
host.bind(sys.argv[1])
print(ended(True), ended(False))
asker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
asker.connect(sys.argv[1])
try:
    while asker.send(b'', socket.MSG_DONTWAIT) == 0: pass
except BlockingIOError:
    print(ended(True), ended(False))";
    let asking = [PYTHON, "-c", "import socket; socket.socket()"].map(OsString::from);
    let command = Stack::preload().command().into_iter().chain(asking);
    let program = Program::new(PYTHON).args(["-c", script]).arg(directory.file("host")).args(command);
    assert_eq!(program.run().success().text(), "-15 -15\n-15 -15\n");
}

/// Nothing goes another way when the host has ended.
#[test]
fn end_of_a_shared_host() {
    let Host { path, directory, running } = Host::start(&[]);
    let script = "import socket, sys; s = socket.socket(); print('one', flush=True); sys.stdin.readline(); socket.socket()";
    let (tell, told) = std::sync::mpsc::channel();
    let program = Program::new(PYTHON).args(["-c", script]).fed_by(move |input| {
        told.recv().expect("the test goes on");
        std::io::Write::write_all(input, b"\n")
    });
    let words = [directory.file("tubesock"), "run".into(), "--host".into(), path, "--".into()];
    let program = program.inside(words).spawn();
    program.line_with("one");
    running.interrupt().success();
    tell.send(()).expect("the feeder waits");
    let outcome = program.finish().status(1);
    assert!(
        outcome.stderr.contains("Network is down") && outcome.stderr.contains("(TUBESOCK_HOST)"),
        "{outcome}"
    );
}

/// A host that runs has its own settings.
#[test]
fn settings_of_a_shared_host() {
    let host = Host::start(&[]);
    let words = ["run", "--publish", "0:80", "--host"];
    let program = Program::new(tubesock()).args(words).arg(&host.path).args(["--", "true"]);
    let outcome = program.run().status(78);
    assert!(
        outcome.stderr.contains("only --log, --trace and --capture-calls go with a host that runs already"),
        "{outcome}"
    );
}
