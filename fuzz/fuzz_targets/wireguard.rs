//! `cargo +nightly fuzz run wireguard`: docs/testing.md. The body is in `src/`, where the tests replay the corpus through it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tubesock_fuzz::wireguard(data));
