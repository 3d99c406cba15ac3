//! `tubesock ss` beside ss(8): the same sockets, made by the same script on either stack, give the same table.

use crate::support::PYTHON;
use crate::support::command::{Outcome, Program};
use crate::support::network::{Directory, in_namespace, ordinary_user};
use crate::support::stack::Stack;

const TUBESOCK: &str = env!("CARGO_BIN_EXE_tubesock");

/// A script that makes sockets and then runs `command`, on `stack`; alone in its network namespace.
fn sockets(command: &[&str], stack: &Stack) -> Outcome {
    let script = include_str!("python/sockets.py");
    let program = Program::new(PYTHON).args(["-c", script]).args(command).on(stack);
    program.inside(in_namespace("ip link set lo up; exec \"$@\"")).run().success()
}

/// The lines in an order of their own, without what differs from one run to the next: numbers of processes, and ports that
/// nobody chose.
fn comparable(outcome: &Outcome) -> Vec<String> {
    let neutral = |word: &str| match word.rsplit_once(':') {
        Some((address, port)) if port.parse().is_ok_and(|port: u16| port > 9999) => format!("{address}:PORT"),
        _ => word.to_owned(),
    };
    // ss(8) has no space there when all ports are short.
    let text = outcome.text().replace("PortProcess", "Port Process");
    let lines = text.lines().map(|line| {
        let words = line.split_whitespace().map(|word| match word.split_once("pid=") {
            Some((program, process)) => {
                format!("{program}{}", process.trim_start_matches(|digit: char| digit.is_ascii_digit()))
            }
            None => neutral(word),
        });
        words.collect::<Vec<_>>().join(" ")
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// All that either stack shows; of the descriptors the numbers too.
#[test]
fn the_table_is_that_of_ss() {
    let theirs = sockets(&["ss", "-tunap"], &Stack::kernel());
    let ours = sockets(&[TUBESOCK, "ss", "-tunap"], &Stack::run());
    let lines = comparable(&theirs);
    assert_eq!(lines, comparable(&ours), "{theirs}\n{ours}");
    for part in
        ["LISTEN 1 5", "ESTAB 300 0", "ESTAB 100000 0", "TIME-WAIT", "CLOSE-WAIT", "*:85", "[::]:86", "fd="]
    {
        assert!(lines.iter().any(|line| line.contains(part)), "no {part}: {theirs}");
    }
}

/// By each choice of the flags the same sockets, in columns of the same names.
#[test]
fn the_flags_are_those_of_ss() {
    let script = "for flags in -tu -tua -tul -t -tl -tla -ta -ua -Htn; do echo \"flags $flags\"; \"$@\" -n $flags; done";
    let shown = |words: &[&str], stack: &Stack| {
        let command = [&["sh", "-ec", script, "sh"], words].concat();
        let outcome = sockets(&command, stack);
        comparable(&outcome)
    };
    let theirs = shown(&["ss"], &Stack::kernel());
    let ours = shown(&[TUBESOCK, "ss"], &Stack::run());
    assert!(theirs.len() > 40, "{theirs:?}");
    let differences: Vec<_> = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours).collect();
    assert!(differences.is_empty() && theirs.len() == ours.len(), "{differences:#?}");
}

/// TCP_INFO stands under the connections, in ss(8)'s words.
#[test]
fn tcp_info_is_in_the_words_of_ss() {
    let words = |outcome: &Outcome| -> Vec<String> {
        let text = outcome.text();
        let line = text.lines().find(|line| line.contains("bytes_sent:300")).expect("sent by the script");
        assert!(line.starts_with("\t "), "{outcome}");
        line.split_whitespace().filter_map(|word| Some(word.split_once(':')?.0.to_owned())).collect()
    };
    let theirs = sockets(&["ss", "-tni"], &Stack::kernel());
    let ours = sockets(&[TUBESOCK, "ss", "-tni"], &Stack::run());
    let (theirs, ours) = (words(&theirs), words(&ours));
    for word in
        ["wscale", "rto", "rtt", "mss", "pmtu", "cwnd", "bytes_acked", "segs_out", "rcv_space", "snd_wnd"]
    {
        assert!(theirs.iter().any(|known| known == word) && ours.iter().any(|known| known == word), "{word}");
    }
    // In the same order, as far as both have them.
    let common = |of: &[String], with: &[String]| -> Vec<String> {
        of.iter().filter(|word| with.contains(word)).cloned().collect()
    };
    assert_eq!(common(&theirs, &ours), common(&ours, &theirs));
}

/// A host in the program's own process, found by the program's number, and as the only one of the user.
#[test]
fn host_in_process() {
    for choice in ["", "--pid $PPID"] {
        let command = format!("unset LD_PRELOAD; exec {TUBESOCK} ss -tlnp {choice}");
        let outcome = sockets(&["sh", "-c", &command], &Stack::preload());
        let line = comparable(&outcome).into_iter().find(|line| line.contains("127.0.0.1:80 "));
        assert!(
            line.is_some_and(|line| line.contains("LISTEN 1 5") && line.contains("(\"python3")),
            "{outcome}"
        );
    }
}

/// The number that a shell has of `tubesock run` is not the host's own, which is its child.
#[test]
fn host_of_a_wrapper() {
    let parent = "set -- $(cat /proc/$4/stat)";
    let command = format!(
        "set -- $(cat /proc/$PPID/stat); {parent}; unset TUBESOCK_HOST; exec {TUBESOCK} ss -tlnp --pid $4"
    );
    let outcome = sockets(&["sh", "-c", &command], &Stack::run());
    assert!(outcome.text().contains("127.0.0.1:80 "), "{outcome}");
}

/// The table is for the host's own user, and for root.
#[test]
fn strangers_see_no_table() {
    let directory = Directory::new();
    let stack = Stack::run().copied_to(directory.path());
    let copy = directory.file("tubesock");
    let stranger = [&ordinary_user()[..], &[copy.to_str().expect("a plain name"), "ss"]].concat();
    let command = format!("{} || echo status $?", stranger.join(" "));
    let script = include_str!("python/sockets.py");
    let program = Program::new(PYTHON).args(["-c", script, "sh", "-c", &command]).on(&stack);
    let outcome = program.run().success();
    if ordinary_user().is_empty() {
        assert!(outcome.text().contains("ESTAB"), "{outcome}");
    } else {
        assert_eq!(outcome.text(), "status 1\n", "{outcome}");
        assert!(outcome.stderr.contains("the host is another user's"), "{outcome}");
    }
}

/// Breaks when a host that was stopped counts as none, or keeps who asks from the others.
#[test]
fn host_that_was_stopped() {
    let directory = Directory::new();
    let script = format!(
        "set -e; cd {}; trap 'kill -KILL $(jobs -p)' EXIT
         for host in one two; do
             mkfifo $host.told; {TUBESOCK} host --listen $PWD/$host > $host.told & read line < $host.told
         done
         kill -STOP $!; echo $!
         {TUBESOCK} link 2> link & link=$!
         {TUBESOCK} ss -l 2>&1; wait $link || echo \"status $?\"; cat link
         kill -KILL %1; wait %1 || {TUBESOCK} ss -l 2>&1 || echo \"status $?\"",
        directory.path().display()
    );
    let program = Program::new("bash").args(["-c", &script]);
    let outcome = program.inside(in_namespace("exec \"$@\"")).run().success();
    let text = outcome.text();
    let (process, lines) = text.split_once('\n').expect("the stopped one's number is first");
    let silent =
        format!("tubesock: process {process}: the host does not answer: it was stopped, or is very busy");
    let lines: Vec<&str> = lines.lines().collect();
    let [first, headings, "status 1", several, second, "status 1"] = lines[..] else { panic!("{outcome}") };
    assert!(several.contains("there are several hosts") && headings.starts_with("Netid"), "{outcome}");
    assert_eq!([first, second], [&silent; 2], "{outcome}");
}
