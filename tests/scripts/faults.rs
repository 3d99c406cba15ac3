//! The runner finds what is wrong: one script for each thing that it compares, which must fail there.
#![forbid(unsafe_code)]

use crate::ours::Ours;
use crate::script::{self, Backend, Family};
use crate::{root, run};

/// What the runner says of the script `text` on ours.
fn verdict(text: &str) -> Result<String, String> {
    let text = format!("# A fault.\nbegin: accepted\n{text}");
    let script = script::parse(&root(), "faults/inline", &text)?;
    run::run(&script, Family::V4, Backend::Ours, &mut Ours::new(&script.setup, Family::V4, 0))
}

#[track_caller]
fn finds(fault: &str, text: &str) {
    match verdict(text) {
        Ok(trace) => panic!("not found: {fault}\n{text}\n{trace}"),
        Err(message) => assert!(message.contains(fault), "{message}\ninstead of: {fault}"),
    }
}

#[test]
fn a_right_script_passes() {
    let trace =
        verdict("+0 write 100\n+0 > P. 1:101(100) ack 1\n+0.05 < . 1:1(0) ack 101").expect("nothing wrong");
    assert!(trace.contains("0.050         > P. 1:101(100) ack 1 win"), "{trace}");
}

#[test]
fn wrong_segments_are_found() {
    let write = |expected: &str| format!("+0 write 100\n{expected}");
    finds("wrong:   flags", &write("+0 > FP. 1:101(100) ack 1"));
    finds("wrong:   sequence number", &write("+0 > P. 2:102(100) ack 1"));
    finds("wrong:   length", &write("+0 > P. 1:100(99) ack 1"));
    finds("wrong:   acknowledgement", &write("+0 > P. 1:101(100) ack 2"));
    finds("wrong:   window", &write("+0 > P. 1:101(100) ack 1 win 7"));
    finds("wrong:   urgent pointer", &write("+0 > P. 1:101(100) ack 1 urg 7"));
    finds("wrong:   options", &write("+0 > P. 1:101(100) ack 1 <sack 5:6>"));
    finds("wrong:   connection", &write("+0 > @2 P. 1:101(100) ack 1"));
    finds("wrong:   time", &write("+0.02 > P. 1:101(100) ack 1"));
    finds("got      nothing", "+0 > P. 1:101(100) ack 1");
}

#[test]
fn what_is_left_over_is_found() {
    finds("at its end", "+0 write 100");
    finds("expected nothing", "+0 write 100\n+0.01 > nothing");
}

#[test]
fn wrong_results_are_found() {
    finds("got      EAGAIN", "+0 read 10");
    finds("got      0", "+0 < F. 1:1(0) ack 1\n+0.05 >? . 1:1(0) ack 2\n+0 read 10");
    finds("expected EPIPE", "+0 write 10 = EPIPE");
    finds("expected ECONNRESET", "+0 expect error ECONNRESET");
    finds("state: expected SYN_SENT, got ESTABLISHED", "+0 expect info state=SYN_SENT");
    finds("no such field", "+0 expect info nonsense=1");
}

#[test]
fn wrong_scripts_are_refused() {
    finds("do not add up", "+0 > . 1:5(5) ack 1");
    finds("go together", "+0 > . 1:1(0)");
    finds("not one number", "+0 < . *:*(5) ack 1");
    finds("is no call", "+0 dance");
    finds("is no flag", "+0 > X 1:1(0)");
    finds("an event begins with its time", "+0 write 10\nwrite 10");
    finds("is no option", "+0 > . 1:1(0) ack 1 <magic>");
}
