//! `docs/tcp.md` answers every numbered clause of RFC 9293 once, and everything it names exists: files (`tcp/close.rs`),
//! functions and constants (`tcp::close::abort`), scripts (`close/half`) and tests (`connect_errors`).
//!
//! That what is named does what is said of it, no test can tell.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What RFC 9293 numbers, as its appendix B lists them.
const CLAUSES: [(&str, u32); 4] = [("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document() -> String {
    read(&root().join("docs/tcp.md"))
}

/// The Rust files below `directory`.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory of this package") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all tests.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let mut names = BTreeSet::new();
    for text in files.iter().map(|file| read(file)) {
        let tests = text.split("#[test]").skip(1);
        names.extend(tests.filter_map(|test| Some(test.split_once("fn ")?.1.split_once('(')?.0.to_owned())));
    }
    names
}

/// Whether `text` defines `name`.
fn defines(text: &str, name: &str) -> bool {
    let definitions = ["fn ", "const ", "struct ", "enum ", "trait "];
    definitions.iter().any(|keyword| {
        let definition = format!("{keyword}{name}");
        text.match_indices(&definition).any(|(at, found)| {
            !text[at + found.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_')
        })
    })
}

/// Whether `path`, as `room::file::name`, names something defined in `src`.
fn is_defined(path: &str) -> bool {
    let Some((module, name)) = path.rsplit_once("::") else { return false };
    let file = root().join("src").join(module.replace("::", "/"));
    let files = [file.with_extension("rs"), file.join("mod.rs")];
    files.iter().any(|file| file.exists() && defines(&read(file), name))
}

/// Whether a file `path` exists, counted from the root or from `src`.
fn is_file(path: &str) -> bool {
    [root().join(path), root().join("src").join(path)].iter().any(|path| path.exists())
}

fn is_script(path: &str) -> bool {
    root().join("tests/scripts").join(path).with_extension("script").exists()
}

/// The code spans of `text`.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the tables of clauses: number and what shows it.
fn rows(document: &str) -> Vec<(&str, &str)> {
    let is_clause = |cell: &str| CLAUSES.iter().any(|(kind, _)| cell.starts_with(&format!("{kind}-")));
    let cells =
        document.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    cells
        .filter(|(first, _)| is_clause(first))
        .filter_map(|(first, rest)| Some((first, rest.rsplit_once(" | ")?.1)))
        .collect()
}

#[test]
fn every_clause_is_answered_once_and_in_order() {
    let document = document();
    let rows = rows(&document);
    for (kind, count) in CLAUSES {
        let expected: Vec<String> = (1..=count).map(|number| format!("{kind}-{number}")).collect();
        let prefix = format!("{kind}-");
        let answered: Vec<&str> =
            rows.iter().map(|(clause, _)| *clause).filter(|clause| clause.starts_with(&prefix)).collect();
        assert_eq!(answered, expected);
    }
    for (clause, shown) in rows {
        let excused = shown.starts_with("not") || shown.starts_with("partly");
        assert!(excused || spans(shown).next().is_some(), "{clause} is shown by nothing");
    }
}

#[test]
fn everything_that_the_tables_name_exists() {
    let (document, tests) = (document(), tests());
    let exists = |name: &str| is_file(name) || is_script(name) || is_defined(name) || tests.contains(name);
    let rows = rows(&document);
    let named = rows.iter().flat_map(|(clause, shown)| spans(shown).map(move |name| (*clause, name)));
    let missing: Vec<_> = named.filter(|(_, name)| !exists(name)).collect();
    assert!(missing.is_empty(), "no such thing: {missing:?}");
}

#[test]
fn everything_that_the_text_names_exists() {
    let (document, tests) = (document(), tests());
    let text: String = document.split("```").step_by(2).collect();
    let mut missing = Vec::new();
    for name in spans(&text) {
        let exists = match name {
            _ if name.contains(' ') => true,
            _ if name.contains("::") => is_defined(name),
            _ if name.contains('/') || name.ends_with(".rs") => is_file(name) || is_script(name),
            _ if name.contains('_') && !name.contains(char::is_uppercase) => tests.contains(name),
            _ => true,
        };
        if !exists {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "no such thing: {missing:?}");
}
