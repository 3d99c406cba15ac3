//! The header that is checked in is the one that the source says.

#[test]
fn the_header_is_not_stale() {
    let checked_in = include_str!("../include/tubesock.h");
    let generated = include_str!(concat!(env!("OUT_DIR"), "/tubesock.h"));
    assert!(checked_in == generated, "include/tubesock.h is stale: run TUBESOCK_BLESS=1 cargo build");
}
