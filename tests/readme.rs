//! The README promises nothing that a test does not show: every test that its table names exists.

use std::collections::BTreeSet;
use std::path::Path;

/// The functions of all Rust files below `directory`.
fn functions(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory of this package") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let tests = text.split("#[test]").skip(1);
            found.extend(tests.filter_map(|test| {
                let (_, name) = test.split_once("fn ")?;
                Some(name.split_once('(')?.0.to_owned())
            }));
        }
    }
}

#[test]
fn the_tests_that_the_readme_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    functions(&root.join("tests"), &mut known);
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let (_, table) = readme.split_once("## What is supported").expect("the table");
    let (table, _) = table.split_once("## Limits").expect("the end of the table");
    let is_name = |word: &str| {
        word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_' || letter.is_ascii_digit())
    };
    let rows = table.lines().filter(|line| line.starts_with('|'));
    let named: Vec<&str> = rows
        .filter_map(|row| row.rsplit('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|word| is_name(word))
        .collect();
    assert!(named.len() > 20, "the table names its tests: {named:?}");
    let missing: Vec<&&str> = named.iter().filter(|name| !known.contains(**name)).collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}
