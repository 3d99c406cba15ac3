//! Every input that fuzzing found worth keeping (`fuzz/corpus/`), once more through the fuzz targets' own functions, on
//! the stable toolchain. What fuzzing itself needs is in docs/testing.md.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Runs `target` over its corpus; a failure names the file.
fn replay(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("the corpus is part of the package")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(files.len() > 20, "{} holds a corpus", directory.display());
    for file in files {
        let input = std::fs::read(&file).expect("a file of the corpus");
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        assert!(outcome.is_ok(), "{} fails", file.display());
    }
}

#[test]
fn packets() {
    replay("packets", fuzz::packets);
}

#[test]
fn connection() {
    replay("connection", fuzz::connection);
}

#[test]
fn arp() {
    replay("arp", fuzz::arp);
}

#[test]
fn dhcp() {
    replay("dhcp", fuzz::dhcp);
}

#[test]
fn ndp() {
    replay("ndp", fuzz::ndp);
}

#[test]
fn stream() {
    replay("stream", fuzz::stream);
}

#[test]
fn vnet() {
    replay("vnet", fuzz::vnet);
}

#[test]
fn wireguard() {
    replay("wireguard", fuzz::wireguard);
}

#[test]
fn wireguard_file() {
    replay("wireguard_file", fuzz::wireguard_file);
}
