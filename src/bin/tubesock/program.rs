//! Finds a program as execvp(3) does, so that it can be looked at before it is run.
#![forbid(unsafe_code)]

use crate::Failure;
use crate::image::Image;
use rustix::fs::{Access, access};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where execvp(3) looks without PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file that `name` stands for.
pub(crate) fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    if name.as_encoded_bytes().starts_with(b"-") {
        let message =
            "no such option; options come first, then '--', then the program: see 'tubesock run --help'";
        return Err(Failure::new(Failure::USAGE, format!("{}: {message}", name.to_string_lossy())));
    }
    if name.is_empty() {
        return Err(Failure::new(Failure::NOT_FOUND, "the name of the program is empty; give one"));
    }
    if name.as_bytes().contains(&b'/') {
        return with_interpreter(PathBuf::from(name));
    }
    let mut not_runnable = None;
    for directory in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        // An empty element is the working directory; so is a join with an empty path.
        let file = Path::new(".").join(directory).join(name);
        if !file.is_file() {
            continue;
        }
        if access(&file, Access::EXEC_OK).is_ok() {
            return with_interpreter(file);
        }
        not_runnable.get_or_insert(file);
    }
    match not_runnable {
        Some(file) => Err(not_executable(&file)),
        None => Err(Failure::new(
            Failure::NOT_FOUND,
            format!("{}: there is no such program in PATH", name.to_string_lossy()),
        )),
    }
}

fn not_executable(file: &Path) -> Failure {
    Failure::new(Failure::NOT_RUNNABLE, format!("{}: it may not be executed", file.display()))
}

/// The kernel says of a script whose interpreter is missing that the script is.
fn with_interpreter(file: PathBuf) -> Result<PathBuf, Failure> {
    match Image::read(&file) {
        Ok(Image::Script(interpreter)) if !interpreter.exists() => {
            access(&file, Access::EXEC_OK).map_err(|_| not_executable(&file))?;
            let message = format!("{}: its interpreter {interpreter:?} is not there", file.display());
            Err(Failure::new(Failure::NOT_FOUND, message))
        }
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(result: Result<PathBuf, Failure>) -> Result<PathBuf, u8> {
        result.map_err(|failure| failure.status)
    }

    #[test]
    fn as_execvp_looks() {
        let path = Some(OsStr::new("/nowhere:/bin"));
        assert_eq!(status(find(OsStr::new("sh"), path)), Ok("/bin/sh".into()));
        assert_eq!(status(find(OsStr::new("sh"), None)), Ok("/bin/sh".into()));
        assert_eq!(status(find(OsStr::new("./x/y"), path)), Ok("./x/y".into()));
        assert_eq!(status(find(OsStr::new("sh"), Some(OsStr::new("/nowhere")))), Err(127));
        assert_eq!(status(find(OsStr::new(""), path)), Err(127));
        assert_eq!(status(find(OsStr::new("--captur"), path)), Err(2));
        // A directory is no program, and a file without the bit cannot be run.
        assert_eq!(status(find(OsStr::new("bin"), Some(OsStr::new("/usr")))), Err(127));
        assert_eq!(status(find(OsStr::new("passwd"), Some(OsStr::new("/etc")))), Err(126));
    }
}
