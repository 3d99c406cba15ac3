//! Node's net, http, dgram and cluster, as `node/main.js` puts them to use.

use crate::comparison::Suite;
use crate::run::{each_alone, turn};
use crate::support::command::Program;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/node/main.js");

#[test]
fn node_does_as_on_the_kernel() {
    let _turn = turn();
    let node = |argument: &str| Program::new("node").args([SCRIPT, argument]);
    let cases = node("--list").run().success().text();
    let cases: Vec<String> = cases.lines().map(str::to_owned).collect();
    let version = Program::new("node").arg("--version").run().success().text();
    let version = version.trim().trim_start_matches('v');
    let endings = each_alone(&cases, node);
    let failed: Vec<&String> =
        endings[0].iter().filter(|(_, ending)| ending.word != "ok").map(|(case, _)| case).collect();
    assert!(failed.is_empty(), "the script is wrong: on the kernel these cases fail: {failed:?}");
    Suite {
        name: "node",
        version,
        endings,
        row: |case| case.split('_').next().unwrap_or(case),
        again: &|cases| each_alone(cases, node),
    }
    .judge();
}
