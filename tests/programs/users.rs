//! As an ordinary user: uid 65534, no groups, no capabilities.

use crate::support::PYTHON;
use crate::support::capture::Capture;
use crate::support::command::Program;
use crate::support::http::HttpServer;
use crate::support::network::{Directory, free_port, in_namespace, ordinary_user};
use crate::support::stack::Stack;

/// Runs `program` on a copy of the binaries that the user can read, both ways.
fn as_user(program: impl Fn(&Stack) -> Program, directory: &Directory) -> [Program; 2] {
    [Stack::run(), Stack::preload()]
        .map(|stack| program(&stack).on(&stack.copied_to(directory.path())).inside(ordinary_user()))
}

#[test]
fn curl_and_its_capture() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    let file = directory.open_to_all("captures").join("user.pcapng");
    let stack = Stack::run().copied_to(directory.path()).capture(&file);
    let url = format!("http://{}:{}/bytes/10000", stack.gateway(), server.port());
    let outcome = Program::new("curl").args(["-sS", &url]).on(&stack).inside(ordinary_user()).run().success();
    assert_eq!(outcome.stdout.len(), 10_000);
    Capture::read(&file).proves_connections(server.port(), 1);
}

#[test]
fn python() {
    let (server, directory) = (HttpServer::start(), Directory::new());
    for program in as_user(
        |stack| {
            Program::new(PYTHON)
                .args(["-c", include_str!("python/clients.py"), "asyncio", &stack.gateway().to_string()])
                .arg(server.port().to_string())
        },
        &directory,
    ) {
        assert_eq!(program.run().success().text(), "100000\n");
    }
}

#[test]
fn published_server() {
    let (directory, outside) = (Directory::new(), free_port());
    std::fs::write(directory.file("content"), "by an ordinary user\n").expect("the directory is ours");
    let server = Program::new(PYTHON)
        // Port 80 is the program's own: in our stack no capability guards it.
        .args(["-u", "-m", "http.server", "80"])
        .directory(directory.path())
        .on(&Stack::run().publish(outside, 80).copied_to(directory.path()))
        .inside(ordinary_user())
        .spawn();
    server.line_with("Serving HTTP on");
    let url = format!("http://127.0.0.1:{outside}/content");
    assert_eq!(Program::new("curl").args(["-sS", &url]).run().success().text(), "by an ordinary user\n");
}

/// Whoever bears the name of a socket and does not hold it is refused, whatever its user; and who holds one by fork is not.
#[test]
fn a_name_is_no_right_to_a_socket() {
    let (directory, alone) = (Directory::new(), in_namespace("exec \"$@\""));
    for stack in [Stack::run(), Stack::preload()] {
        let program = Program::new(PYTHON).args(["-c", include_str!("python/strangers.py")]);
        let program = program.on(&stack.copied_to(directory.path())).inside(&alone).inside(ordinary_user());
        let expected = "a: Bad file descriptor\nd: Bad file descriptor\ns: Bad file descriptor\n\
                        is of protocol 17\nis of protocol 6\n";
        assert_eq!(program.run().success().text(), expected);
    }
}

/// A server that becomes another user between listen(2) and accept(2), with the stack in its own process.
#[test]
fn rights_are_given_up() {
    if ordinary_user().is_empty() {
        return;
    }
    let program = Program::new(PYTHON).args(["-c", include_str!("python/dropped_rights.py")]);
    assert_eq!(program.on(&Stack::preload()).run().success().text(), "to nobody\n0 127.0.0.1\n0\n");
}

/// One that becomes another user by its mode, which makes the dynamic linker ignore LD_PRELOAD.
#[test]
fn set_user_id_program_is_refused() {
    let directory = Directory::new();
    let stack = Stack::run().copied_to(directory.path());
    let refused = Program::new("passwd").on(&stack).inside(ordinary_user()).run().status(126);
    assert!(refused.stderr.contains("passwd is set-user-ID to another user"), "{refused}");
    assert!(refused.stderr.contains("'tubesock doctor "), "{refused}");
    let doctor = Program::new(directory.file("tubesock")).args(["doctor", "passwd"]).inside(ordinary_user());
    let told = doctor.run().status(1);
    assert!(told.text().contains("\nproblem  rights: is set-user-ID to another user"), "{told}");
}
