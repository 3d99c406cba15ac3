//! Makes the C header from `src/abi/tube`. It goes to OUT_DIR, where `tests/header.rs` compares it with the one that is
//! checked in; `TUBESOCK_BLESS=1 cargo build` writes that one too.
//!
//! It gives the linker no arguments: they would reach the preload's shared object as well (cargo issue 9562).

use std::env;
use std::path::PathBuf;

/// In the header's order.
const SOURCES: [&str; 5] = ["settings", "sockets", "data", "readiness", "names"];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let header = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("tubesock.h");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=src/abi/tube");
    println!("cargo::rerun-if-env-changed=TUBESOCK_BLESS");

    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join("src/abi/tube").join(source).with_extension("rs"));
    }
    builder.generate().expect("src/abi/tube is what cbindgen can read").write_to_file(&header);

    if env::var_os("TUBESOCK_BLESS").is_some() {
        std::fs::copy(&header, root.join("include/tubesock.h")).expect("include/ is writable");
    }
}
