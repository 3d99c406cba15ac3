//! Finds libtubesock_preload.so, and puts it into LD_PRELOAD.
#![forbid(unsafe_code)]

use crate::Failure;
use object::endian::LittleEndian;
use object::read::elf::ElfFile64;
use object::read::{Object, ObjectSymbol, ReadCache};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tubesock::config::PRELOAD_LIBRARY_VARIABLE;

const NAME: &str = "libtubesock_preload.so";

/// Where it can be, from the directory of the executable. `deps` first: `cargo test` renews that one, and leaves an older
/// one beside the executable.
const PLACES: [&str; 4] = ["deps", "", "../lib", "../lib/tubesock"];

/// The library, absolute: what TUBESOCK_PRELOAD_LIBRARY says, or what was built or installed with this executable. It is one
/// that the dynamic linker can load for this user: with a bad one it would start the program all the same, without.
pub(crate) fn library() -> Result<PathBuf, Failure> {
    let library = named()?;
    let problem = match File::open(&library).map(ReadCache::new) {
        Ok(file) if is_ours(&file) => return Ok(library),
        Ok(_) => format!("this is not {NAME}"),
        Err(error) => error.to_string(),
    };
    Err(Failure::new(Failure::SETTING, format!("{}: {problem}", library.display())))
}

/// Whether a file is a shared object with the calls of libc's and ours.
fn is_ours(file: &ReadCache<File>) -> bool {
    let Ok(elf) = ElfFile64::<LittleEndian, _>::parse(file) else { return false };
    let defines =
        |name: &str| elf.dynamic_symbols().any(|symbol| symbol.is_definition() && symbol.name() == Ok(name));
    defines("connect") && defines("tube_connect")
}

fn named() -> Result<PathBuf, Failure> {
    if let Some(file) = std::env::var_os(PRELOAD_LIBRARY_VARIABLE).filter(|file| !file.is_empty()) {
        return chosen(Path::new(&file));
    }
    let directory = directory()?;
    find(&directory).ok_or_else(|| {
        let message = format!(
            "{NAME} is not there: I looked beside {0}, in deps, ../lib and ../lib/tubesock from there; build it by `cargo \
             build --release`, or name it in {PRELOAD_LIBRARY_VARIABLE}",
            directory.join("tubesock").display()
        );
        Failure::new(Failure::SETTING, message)
    })
}

/// As `library`; and if it is not there, and Cargo runs us, has Cargo build it: `cargo run` builds only the executable.
pub(crate) fn library_or_build() -> Result<PathBuf, Failure> {
    let variable = std::env::var_os;
    library().or_else(|failure| match (variable("CARGO"), variable("CARGO_MANIFEST_DIR")) {
        (Some(cargo), Some(manifest)) if variable(PRELOAD_LIBRARY_VARIABLE).is_none() => {
            build(&cargo, Path::new(&manifest), &directory()?)?;
            library()
        }
        _ => Err(failure),
    })
}

fn chosen(file: &Path) -> Result<PathBuf, Failure> {
    file.canonicalize().map_err(|error| {
        Failure::new(Failure::SETTING, format!("{PRELOAD_LIBRARY_VARIABLE} '{}': {error}", file.display()))
    })
}

fn directory() -> Result<PathBuf, Failure> {
    let executable = std::env::current_exe().and_then(|file| file.canonicalize());
    match executable {
        Ok(file) => Ok(file.parent().expect("a file is in a directory").to_owned()),
        Err(error) => {
            Err(Failure::new(Failure::SETTING, format!("my own executable is not to be found: {error}")))
        }
    }
}

fn find(directory: &Path) -> Option<PathBuf> {
    PLACES.iter().find_map(|place| directory.join(place).join(NAME).canonicalize().ok())
}

/// Builds with the profile that the executable was built with, which names its directory.
fn build(cargo: &OsStr, manifest: &Path, directory: &Path) -> Result<(), Failure> {
    let profile = match directory.file_name() {
        Some(name) if name != "debug" => name,
        _ => OsStr::new("dev"),
    };
    let status = Command::new(cargo)
        .args(["build", "--package", "tubesock-preload", "--profile"])
        .arg(profile)
        .current_dir(manifest)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => {
            Err(Failure::new(Failure::SETTING, format!("{NAME} could not be built: Cargo says why, above")))
        }
        Err(error) => Err(Failure::new(Failure::SETTING, format!("{}: {error}", cargo.to_string_lossy()))),
    }
}

/// LD_PRELOAD with the library first, and once, before what is there.
pub(crate) fn list(library: &Path, present: Option<&OsStr>) -> Result<OsString, Failure> {
    const SEPARATORS: [u8; 2] = *b" :";
    let library = library.as_os_str();
    if library.as_bytes().iter().any(|byte| SEPARATORS.contains(byte)) {
        let message = format!(
            "{}: a path with a space or a colon cannot stand in LD_PRELOAD; move the library, or name another in \
             {PRELOAD_LIBRARY_VARIABLE}",
            library.to_string_lossy()
        );
        return Err(Failure::new(Failure::SETTING, message));
    }
    let mut list = library.to_owned();
    let present = present.unwrap_or_default().as_bytes();
    for entry in present.split(|byte| SEPARATORS.contains(byte)) {
        if !entry.is_empty() && entry != library.as_bytes() {
            list.push(":");
            list.push(OsStr::from_bytes(entry));
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_first_and_once() {
        let table = [
            (None, "/l.so"),
            (Some(""), "/l.so"),
            (Some("/a.so /b.so"), "/l.so:/a.so:/b.so"),
            (Some("/a.so:/l.so::/b.so"), "/l.so:/a.so:/b.so"),
        ];
        for (present, expected) in table {
            assert_eq!(list(Path::new("/l.so"), present.map(OsStr::new)), Ok(expected.into()));
        }
        assert_eq!(list(Path::new("/a b/l.so"), None).map_err(|failure| failure.status), Err(78));
    }
}
