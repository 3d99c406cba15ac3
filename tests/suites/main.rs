//! Whole test suites of others, on the kernel's stack and on ours in the same run: CPython's own tests, tokio's, and a script for
//! Node. A suite that agrees with the kernel test by test proves more than cases that we thought of ourselves.
//!
//! Each side has namespaces of its own. The kernel's side has a loopback; on ours it is down, so that what reaches 127.0.0.1
//! went through our stack. Every test that ends differently stands in `differences/`, with the reason, and the comparison
//! fails on one that does not stand there, on one that no longer differs, and when more than one in a hundred differ. What was
//! found makes the sections of docs/compatibility.md.

mod comparison;
#[path = "../support/compatibility.rs"]
mod compatibility;
mod cpython;
mod differences;
mod node;
mod run;
#[allow(dead_code)] // made for more tests than these
#[path = "../programs/support/mod.rs"]
mod support;
mod tokio;
