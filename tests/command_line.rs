//! `tubesock run` from outside: what it refuses and how it says so, and what it gives to the program. Programs here open no
//! socket.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory of this test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("tubesock-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("a writable temporary directory");
        Scratch(path)
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a writable temporary directory");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our own file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tubesock() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tubesock"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"TUBESOCK_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    tubesock().arg("run").args(arguments).output().expect("tubesock was built")
}

/// Standard error and the exit status.
fn told(output: &Output) -> (String, Option<i32>) {
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

fn assert_told(output: &Output, text: &str, status: i32) {
    let (message, code) = told(output);
    assert!(message.contains(text) && code == Some(status), "exit {code:?}: {message}");
}

#[test]
fn a_setting_that_cannot_be_used_is_78() {
    assert_told(
        &run(&["--log", "loud", "--", "true"]),
        "tubesock: --log 'loud': not a level; use one of off",
        78,
    );
    assert_told(
        &run(&["--publish", "80", "--", "true"]),
        "tubesock: --publish '80': two ports are needed",
        78,
    );
    assert_told(&run(&["--capture", "/nowhere/x", "--", "true"]), "tubesock: --capture '/nowhere/x': ", 78);
    let output = tubesock().args(["run", "true"]).env("TUBESOCK_LINK", "tun").output().expect("it was built");
    assert_told(&output, "tubesock: TUBESOCK_LINK 'tun': the name of a device is missing", 78);
    let output = tubesock().args(["run", "true"]).env("TUBESOCK_LGO", "info").output().expect("it was built");
    assert_told(&output, "tubesock: TUBESOCK_LGO: there is no such setting", 78);
    let output = tubesock().args(["run", "true"]).env("TUBESOCK_PRELOAD_LIBRARY", "/nowhere/x.so").output();
    assert_told(&output.expect("it was built"), "TUBESOCK_PRELOAD_LIBRARY '/nowhere/x.so': ", 78);
    // The dynamic linker would start the program without it.
    let output = tubesock().args(["run", "true"]).env("TUBESOCK_PRELOAD_LIBRARY", "/bin/true").output();
    assert_told(&output.expect("it was built"), "true: this is not libtubesock_preload.so", 78);
}

#[test]
fn a_program_that_cannot_be_run_is_126_or_127() {
    let scratch = Scratch::new("missing");
    let capture = scratch.0.join("capture");
    let flags = ["--capture", capture.to_str().expect("a temporary directory in UTF-8"), "--"];
    let missing = run(&[&flags[..], &["no-such-program-at-all"]].concat());
    assert_told(&missing, "no-such-program-at-all: there is no such program", 127);
    assert!(!capture.exists(), "nothing was captured");
    assert_told(&run(&["--", ""]), "tubesock: the name of the program is empty", 127);
    for (line, told) in [("#!/nowhere/sh", "\"/nowhere/sh\""), ("#!/bin/sh\r", "\"/bin/sh\\r\"")] {
        let script = scratch.file("script", format!("{line}\n").as_bytes(), 0o755);
        let script = script.to_str().expect("a temporary directory in UTF-8");
        let told = format!("{script}: its interpreter {told} is not there");
        assert_told(&run(&["--", script]), &told, 127);
        assert_eq!(doctor(&[script]), (String::new(), Some(127)));
    }
    let script = scratch.file("text", b"#!/nowhere/sh\n", 0o644);
    let script = script.to_str().expect("a temporary directory in UTF-8");
    assert_told(&run(&["--", script]), &format!("{script}: it may not be executed"), 126);
    assert_told(&run(&["--", "/nowhere/at/all"]), "/nowhere/at/all: No such file", 127);
    assert_told(&run(&["--", "/etc/passwd"]), "/etc/passwd: Permission denied", 126);
    assert_eq!(run(&[]).status.code(), Some(2));
}

#[test]
fn a_program_that_the_preload_cannot_reach_is_126() {
    let scratch = Scratch::new("unreachable");
    let program = &build(&scratch, "static", "int main(void) { return 0; }\n", "-static");
    assert_told(
        &run(&["--", program]),
        &format!("{program} is statically linked: LD_PRELOAD would not reach"),
        126,
    );

    let script = scratch.file("script", format!("#!{program} -x\n").as_bytes(), 0o755);
    let script = script.to_str().expect("a temporary directory in UTF-8");
    assert_told(
        &run(&["--", script]),
        &format!("{script} is run by {program}, which is statically linked"),
        126,
    );

    let outer = scratch.file("outer", format!("#!{script}\n").as_bytes(), 0o755);
    let outer = outer.to_str().expect("a temporary directory in UTF-8");
    assert_told(
        &run(&["--", outer]),
        &format!("{outer} is run by {program}, which is statically linked"),
        126,
    );
}

/// Builds a C program that does nothing.
fn build(scratch: &Scratch, name: &str, source: &str, option: &str) -> String {
    let source = scratch.file(&format!("{name}.c"), source.as_bytes(), 0o644);
    let program = scratch.0.join(name);
    let built = Command::new("cc").arg(option).arg("-o").arg(&program).arg(&source).status();
    assert!(built.expect("cc is missing: apt-get install gcc libc6-dev").success());
    program.to_str().expect("a temporary directory in UTF-8").to_owned()
}

fn doctor(arguments: &[&str]) -> (String, Option<i32>) {
    let output = tubesock().arg("doctor").args(arguments).output().expect("tubesock was built");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn doctor_has_a_line_for_each_check() {
    for arguments in [&[][..], &["true"]] {
        let (told, status) = doctor(arguments);
        let (checks, end) = told.trim_end().rsplit_once('\n').expect("several lines");
        assert!(end.starts_with("tubesock run can serve ") && status == Some(0), "{told}");
        for line in checks.lines() {
            let verdict = line.split(' ').next().expect("a line has words");
            assert!(["ok", "warning"].contains(&verdict), "{line}");
        }
        for subject in ["library", "settings", "kernel", "AF_UNIX", "seccomp", "ping", "RLIMIT_NOFILE"] {
            assert!(checks.contains(&format!(" {subject}: ")), "nothing of {subject}:\n{told}");
        }
    }
}

/// What doctor calls a problem, run refuses, with the same words.
#[track_caller]
fn assert_problem(program: &str, text: &str) {
    let (told, status) = doctor(&[program]);
    assert!(told.contains(text) && status == Some(1), "{told}");
    assert!(told.lines().any(|line| line.starts_with("problem ") && line.contains(text)), "{told}");
    assert!(told.ends_with(&format!("tubesock run cannot serve {program}.\n")), "{told}");
    let refused = run(&["--", program]);
    assert_told(&refused, text, 126);
    assert_told(&refused, &format!("'tubesock doctor {program}'"), 126);
}

#[test]
fn doctor_calls_a_problem_what_run_refuses() {
    const NOTHING: &str = "int main(void) { return 0; }\n";
    const GO: &str = "__attribute__((section(\".go.buildinfo\"), used)) static char info[16];\n";
    let scratch = Scratch::new("doctor");
    assert_problem(&build(&scratch, "static", NOTHING, "-static"), "is statically linked: LD_PRELOAD");
    let go = build(&scratch, "go", &format!("{GO}{NOTHING}"), "-O1");
    assert_problem(&go, "is a Go program, which makes its system calls itself");
    let script = scratch.file("script", format!("#!{go}\n").as_bytes(), 0o755);
    assert_problem(script.to_str().expect("a temporary directory in UTF-8"), "is a Go program");
}

#[test]
fn doctor_without_a_program_to_look_at() {
    for (name, status) in
        [("no-such-program-at-all", 127), ("/nowhere/at/all", 127), ("/etc/passwd", 126), ("/etc", 126)]
    {
        assert_eq!(doctor(&[name]), (String::new(), Some(status)), "{name}");
    }
}

/// Flags with which doctor and run say the same.
#[track_caller]
fn assert_refused(flags: &[&str], text: &str) {
    let ran = run(&[flags, &["--", "true"]].concat());
    assert_told(&ran, text, 78);
    let (message, _) = told(&ran);
    let reason = message.trim_start_matches("tubesock: ").trim_end();
    let reason = reason.trim_end_matches("; 'tubesock doctor' tells what this machine gives");
    let (examined, status) = doctor(flags);
    let problem = examined.lines().find(|line| line.starts_with("problem "));
    assert!(problem.is_some_and(|line| line.ends_with(reason)), "{reason}\n{examined}");
    assert_eq!(status, Some(1), "{examined}");
}

#[test]
fn doctor_refuses_the_flags_that_run_refuses() {
    let scratch = Scratch::new("flags");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
    let taken = format!("{}:80", listener.local_addr().expect("it is bound"));
    let file = scratch.file("file", b"content", 0o644);
    let [file, directory] = [&file, &scratch.0].map(|path| path.to_str().expect("a directory in UTF-8"));
    for (flags, text) in [
        (&["--capture", "/nowhere/x"][..], "--capture '/nowhere/x': No such file"),
        (&["--trace", directory], ": Is a directory (os error 21); give a file that can be written"),
        (&["--capture-calls"], "--capture-calls: there is no capture"),
        (&["--trace", file, "--capture", file], "--trace and --capture cannot share a file"),
        (&["--publish", "80"], "--publish '80': two ports are needed"),
        (&["--publish", &taken], "(EADDRINUSE): something listens there already"),
        (&["--publish", "192.0.2.77:0:80"], "(EADDRNOTAVAIL): the machine has no such address"),
        (&["--link", &format!("stream:{file}")], "(ECONNREFUSED): this is no socket"),
        (&["--link", "tun:x", "--capture", file], "--link tun:x: the program has no address there"),
        (&["--link", "wireguard:/nowhere"], "--link wireguard:/nowhere: cannot read the file: No such file"),
    ] {
        assert_refused(flags, text);
    }
    assert_refused(
        &["--link", "stream:/nowhere", "--address", "192.0.2.1/24", "--capture", file],
        "(ENOENT): nothing listens there",
    );
    assert_eq!(std::fs::read(file).expect("it is there"), b"content", "nothing was run");
    let new = scratch.0.join("new");
    let name = new.to_str().expect("a directory in UTF-8");
    assert_refused(&["--publish", "192.0.2.77:0:80", "--capture", name], "(EADDRNOTAVAIL)");
    assert!(!new.exists(), "nothing was captured");
    let (capture, trace) = (scratch.0.join("capture"), scratch.0.join("trace"));
    let names = [&capture, &trace].map(|path| path.to_str().expect("a directory in UTF-8"));
    assert_eq!(
        doctor(&["--capture", names[0], "--trace", names[1], "--publish", "127.0.0.1:0:80"]).1,
        Some(0)
    );
    assert!(!capture.exists() && !trace.exists(), "doctor leaves nothing behind");
}

#[test]
fn doctor_sees_what_stands_in_the_environment() {
    let output = tubesock().arg("doctor").env("TUBESOCK_LGO", "info").output().expect("tubesock was built");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("\nproblem  settings: TUBESOCK_LGO: there is no such setting"), "{told}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn the_program_gets_the_library_its_host_and_its_arguments() {
    let scratch = Scratch::new("environment");
    let script = "echo \"$LD_PRELOAD\"; env | grep ^TUBESOCK_ | sort; echo \"$0 $*\"; exit 7";
    let output = tubesock()
        .current_dir(&scratch.0)
        .args([
            "run",
            "--capture",
            "c.pcapng",
            "--publish",
            "127.0.0.1:0:2",
            "--publish",
            "127.0.0.1:0:4/udp",
        ])
        .args(["--log", "off", "--", "sh", "-c", script, "name", "--log"])
        .env("TUBESOCK_LOG", "info")
        .env("TUBESOCK_LINK", "nat")
        .env("LD_PRELOAD", "")
        .output()
        .expect("tubesock was built");
    let told = String::from_utf8_lossy(&output.stdout);
    let (library, rest) = told.split_once('\n').expect("the script writes several lines");
    assert!(library.starts_with('/') && library.ends_with("/libtubesock_preload.so"), "{library}");
    // The other settings are the host's, and no affair of the program.
    let (host, rest) = rest.split_once('\n').expect("the script writes several lines");
    let key = host.strip_prefix("TUBESOCK_HOST=").expect("first in order");
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    assert_eq!((rest, output.status.code()), ("TUBESOCK_LOG=off\nname --log\n", Some(7)));
    assert!(scratch.0.join("c.pcapng").exists());
}

#[test]
fn a_flag_empties_its_file_and_a_variable_does_not() {
    let scratch = Scratch::new("files");
    let capture = scratch.file("capture", b"old", 0o644);
    let trace = scratch.file("trace", b"old\n", 0o644);
    let output = tubesock()
        .arg("run")
        .arg("--capture")
        .arg(&capture)
        .args(["--", "true"])
        .env("TUBESOCK_TRACE", &trace)
        .output()
        .expect("tubesock was built");
    assert_eq!(told(&output), (String::new(), Some(0)));
    let capture = std::fs::read(&capture).expect("still there");
    assert!(!capture.starts_with(b"old"), "the flag empties it");
    let trace = std::fs::read(&trace).expect("still there");
    assert!(trace.starts_with(b"old\n"), "the variable appends to it");
}

/// By whatever names.
#[test]
fn trace_and_capture_do_not_share_a_file() {
    let scratch = Scratch::new("shared");
    let file = scratch.file("file", b"content", 0o644);
    let at = |name: &str| scratch.0.join(name);
    std::fs::hard_link(&file, at("hard")).expect("our own directory");
    std::os::unix::fs::symlink("target", at("dangling")).expect("our own directory");
    std::fs::create_dir(at("inner")).expect("our own directory");
    for (one, other) in
        [("file", "hard"), ("file", "inner/../file"), ("new", "./inner/../new"), ("dangling", "target")]
    {
        let mut both = tubesock();
        both.current_dir(&scratch.0)
            .args(["run", "--trace", one, "--", "true"])
            .env("TUBESOCK_CAPTURE", other);
        let refused = both.output().expect("tubesock was built");
        assert_told(&refused, "--trace and TUBESOCK_CAPTURE cannot share a file: give each its own", 78);
    }
    assert_eq!(std::fs::read(&file).expect("it is there"), b"content");
    assert!(!at("new").exists() && !at("target").exists(), "what was made for it is gone again");
}

/// Stands in for the library: sends what goes to 10.0.2.2 to the kernel's loopback, and with TRACED says that it was a
/// stack of its own that did it.
const STAND_IN: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int connect(int fd, const struct sockaddr *address, socklen_t length) {
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    struct sockaddr_in to;
    if (address->sa_family != AF_INET) return next(fd, address, length);
    memcpy(&to, address, sizeof to);
    if (to.sin_addr.s_addr != inet_addr("10.0.2.2")) return next(fd, address, length);
#ifdef TRACED
    int port = ntohs(to.sin_port);
    FILE *trace = fopen(getenv("TUBESOCK_TRACE"), "a");
    fprintf(trace, "1 2 call %d connect(%d, 10.0.2.2:%d) = 0\n", fd, fd, port);
    fprintf(trace, "2 2 > TCP 10.0.2.15:49152 10.0.2.2:%d SYN seq=7 ack=0 win=1 len=0\n", port);
    fprintf(trace, "3 2 < TCP 10.0.2.2:%d 10.0.2.15:49152 SYN+ACK seq=9 ack=8 win=1 len=0\n", port);
    fprintf(trace, "4 2 > TCP 10.0.2.15:49152 10.0.2.2:%d ACK seq=8 ack=10 win=1 len=0\n", port);
    fclose(trace);
#endif
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return next(fd, (struct sockaddr *)&to, sizeof to);
}

/* By which tubesock run knows its library. */
int tube_connect(int fd, const struct sockaddr *address, socklen_t length) { return connect(fd, address, length); }
"#;

fn demo_with_a_stand_in(scratch: &Scratch, option: &str) -> Output {
    let source = scratch.file("stand_in.c", STAND_IN.as_bytes(), 0o644);
    let library = scratch.0.join("stand_in.so");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", option, "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("cc is missing: apt-get install gcc libc6-dev").success());
    let mut demo = tubesock();
    demo.arg("demo").env("TUBESOCK_PRELOAD_LIBRARY", &library).env("TMPDIR", &scratch.0);
    demo.output().expect("tubesock was built")
}

#[test]
fn demo_shows_the_transfer_and_the_ladder() {
    let scratch = Scratch::new("demo");
    let output = demo_with_a_stand_in(&scratch, "-DTRACED");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told(&output), (String::new(), Some(0)), "{shown}");
    for part in ["HTTP/1.1 200 OK", "GET / HTTP/1.1", "── 2 connect ──", "49152 ────────── SYN ──────────► "]
    {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let left = std::fs::read_dir(&scratch.0).expect("it is there").flatten().map(|entry| entry.file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".trace")));
}

#[test]
fn demo_fails_when_the_stack_did_not_make_the_connection() {
    let scratch = Scratch::new("demo-untraced");
    let output = demo_with_a_stand_in(&scratch, "-DUNTRACED");
    assert_told(&output, "the trace shows no handshake", 1);
}

#[test]
fn demo_refuses_what_it_cannot_show() {
    for flags in [&["--strict"][..], &["--link", "tun:x", "--address", "192.0.2.1/24"], &["--capture", "-"]] {
        let output = tubesock().arg("demo").args(flags).output().expect("tubesock was built");
        assert_told(&output, &format!("tubesock: {}", flags[0]), 78);
    }
    let output = tubesock().arg("demo").env("TUBESOCK_CAPTURE", "-").output().expect("tubesock was built");
    assert_told(&output, "tubesock: TUBESOCK_CAPTURE -: the demo cannot show that", 78);
}

/// The status is the same.
#[test]
fn standard_error_that_takes_nothing() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it");
    let status = tubesock().args(["run", "--log", "loud", "true"]).stderr(full).status();
    assert_eq!(status.expect("tubesock was built").code(), Some(78));
}

#[test]
fn help_and_version() {
    let version = tubesock().arg("--version").output().expect("tubesock was built");
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("tubesock {}\n", tubesock::host::VERSION));
    let help = tubesock().arg("--help").output().expect("tubesock was built");
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("run") && help.contains("demo"), "{help}");
}
