//! What descends by exec from a program under a plain LD_PRELOAD, which runs the stack itself.

use crate::support::PYTHON;
use crate::support::command::{Outcome, Program};
use crate::support::stack::Stack;

fn python(script: &str) -> Outcome {
    Program::new(PYTHON).args(["-c", script]).on(&Stack::preload()).run().success()
}

/// It uses the stack of the program, by a variable that was empty until there was one; who has an environment of before does
/// not.
#[test]
fn programs_find_the_stack_of_the_one_that_started_them() {
    let outcome = python(include_str!("python/processes/descendants.py"));
    let refused = "ConnectionRefusedError: [Errno 111] Connection refused";
    let expected = format!(
        "exec: from here\nshell: from here\ngrandchild: from here\nenvironment of before: {refused}\nno environment: \
         {refused}\n"
    );
    assert_eq!(outcome.text(), expected, "{outcome}");
}

#[test]
fn program_that_outlives_the_stack_has_its_own() {
    let outcome = python(include_str!("python/processes/successor.py"));
    let expected = "accept: ENETDOWN\nrecv: ECONNRESET\ndescendant: from here\n";
    assert_eq!(outcome.text(), expected, "{outcome}");
    assert!(outcome.stderr.contains("has ended: ENETDOWN"), "{outcome}");
}

/// The same program, run in its own place: a new stack.
#[test]
fn program_that_is_replaced_has_a_new_stack() {
    let script = "import os, socket, sys\n\
                  s = socket.create_server(('127.0.0.1', 80))\n\
                  os.set_inheritable(s.fileno(), True)\n\
                  after = 'import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, int(sys.argv[1])); new = socket.create_server((\"127.0.0.1\", 80)); \
                  print(\"new\", new.getsockname()); s.accept()'\n\
                  os.execv(sys.executable, [sys.executable, '-c', after, str(s.fileno())])";
    let outcome = Program::new(PYTHON).args(["-c", script]).on(&Stack::preload()).run().status(1);
    assert_eq!(outcome.text(), "new ('127.0.0.1', 80)\n", "{outcome}");
    assert!(outcome.stderr.contains("Network is down"), "{outcome}");
}

/// What a shell starts shares nothing, since the shell has no sockets.
#[test]
fn siblings_have_a_stack_each() {
    let server = "import socket, sys; s = socket.create_server(('127.0.0.1', 80)); print('listens', flush=True); sys.stdin.read()";
    let client = "import socket; print(socket.socket().connect_ex(('127.0.0.1', 80)))";
    let script = format!(
        "coproc {{ {PYTHON} -c \"$1\"; }}; read -r line <&${{COPROC[0]}}; echo $line; {PYTHON} -c \"$2\""
    );
    let program = Program::new("bash").args(["-ec", &script, "bash", server, client]).on(&Stack::preload());
    assert_eq!(program.run().success().text(), "listens\n111\n");
}

/// A program that prints its environment shows one variable more, empty; under `tubesock run`, with its value.
#[test]
fn environment_that_programs_see() {
    let with = |stack: &Stack, program: Program| program.on(stack).run().success().text();
    let env = || Program::new("env").args(["-i", "A=1", "env"]);
    assert_eq!(with(&Stack::preload(), env()), "A=1\n", "cleared is cleared");
    let text = with(&Stack::preload(), Program::new("env"));
    let ours: Vec<&str> = text.lines().filter(|line| line.starts_with("TUBESOCK_")).collect();
    assert_eq!(ours, ["TUBESOCK_HOST="]);
    let count = |name: &str| Program::new("printenv").arg(name);
    assert_eq!(with(&Stack::run(), count("TUBESOCK_HOST")).trim_end().len(), 64);
}
