//! The sections of docs/compatibility.md that test runs make. A section lies between `<!-- NAME -->` and
//! `<!-- /NAME -->`. With `COMPATIBILITY=write` in the environment a run writes what it found; otherwise it requires
//! that the page says it already.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");

/// Whether this run writes the page.
pub(crate) fn writing() -> bool {
    std::env::var_os("COMPATIBILITY").is_some_and(|what| what == "write")
}

/// Puts what `edit` makes of the section's text in its place. Runs of several tests take turns.
#[track_caller]
pub(crate) fn section(name: &str, edit: impl FnOnce(&str) -> String) {
    let mut file = File::options().read(true).write(writing()).open(PAGE).expect(PAGE);
    flock(&file, FlockOperation::LockExclusive).expect("a file can be locked");
    let mut page = String::new();
    file.read_to_string(&mut page).expect("the page is text");
    let (before, rest) = split(&page, &format!("<!-- {name} -->\n"));
    let (old, _) = split(rest, &format!("<!-- /{name} -->\n"));
    let new = edit(old);
    if new == old {
        return;
    }
    assert!(
        writing(),
        "docs/compatibility.md says of {name}\n{old}\nbut the run found\n{new}\nCOMPATIBILITY=write has it written"
    );
    let page = format!("{before}<!-- {name} -->\n{new}{}", &rest[old.len()..]);
    file.rewind().and_then(|()| file.write_all(page.as_bytes())).expect("the page can be written");
    file.set_len(page.len() as u64).expect("the page can be written");
}

#[track_caller]
fn split<'a>(text: &'a str, marker: &str) -> (&'a str, &'a str) {
    text.split_once(marker).unwrap_or_else(|| panic!("docs/compatibility.md has no line {marker}"))
}
