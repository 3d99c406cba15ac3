//! Makes the C header from `src/abi/tube`. It goes to OUT_DIR, where `tests/header.rs` compares it with the one that is
//! checked in; `TUBESOCK_BLESS=1 cargo build` writes that one too.
//!
//! And names the sources, as SOURCES_HASH: a host and the library in a program, which are two files, understand each
//! other when they are built from the same.
//!
//! It gives the linker no arguments: they would reach the preload's shared object as well (cargo issue 9562).

use std::env;
use std::path::{Path, PathBuf};

/// In the header's order.
const SOURCES: [&str; 5] = ["settings", "sockets", "data", "readiness", "names"];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let header = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("tubesock.h");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-env-changed=TUBESOCK_BLESS");

    // Cargo gives it to tests too: a name of TUBESOCK_ would be a setting to their programs.
    println!("cargo::rustc-env=SOURCES_HASH={:08x}", sources(&root));

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

/// A number for what stands in src; not for the command's part, which asks by the rest.
fn sources(root: &Path) -> u32 {
    let mut files = Vec::new();
    for entry in entries(&root.join("src")).filter(|entry| !entry.ends_with("bin")) {
        println!("cargo::rerun-if-changed={}", entry.display());
        collect(entry, &mut files);
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in files {
        let name = file.strip_prefix(root).expect("found there").to_string_lossy().into_owned();
        let text = std::fs::read(&file).expect("a source can be read");
        // FNV-1a
        for byte in name.bytes().chain([0]).chain(text).chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    (hash ^ hash >> 32) as u32
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory of sources can be read");
    entries.map(|entry| entry.expect("an entry of it").path())
}

fn collect(entry: PathBuf, files: &mut Vec<PathBuf>) {
    if entry.is_dir() {
        entries(&entry).for_each(|entry| collect(entry, files));
    } else {
        files.push(entry);
    }
}
