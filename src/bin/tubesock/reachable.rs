//! Whether LD_PRELOAD reaches a program. ld.so(8) ignores it, in silence, for what it does not load or may not trust;
//! such a program would use the kernel's network as if nothing had been asked. So `tubesock run` refuses it.
//!
//! Looks at what the file says: its ELF header, its `#!` line, its mode and its capabilities. What the program will do
//! it cannot see (Go's own system calls, programs that it starts).

use crate::Failure;
use rustix::fs::{Mode, Stat};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Interpreters of interpreters that the kernel follows (fs/exec.c).
const SCRIPT_LEVELS: usize = 5;
/// Length of the `#!` line that the kernel reads (BINPRM_BUF_SIZE).
const HEAD_BYTES: usize = 256;

/// Fails with 126 and the reason when LD_PRELOAD would not reach the program.
pub(crate) fn check(program: &Path) -> Result<(), Failure> {
    let mut file = program.to_owned();
    for _ in 0..=SCRIPT_LEVELS {
        // What cannot be read cannot be judged; execve(2) has the last word.
        let Ok(image) = Image::read(&file) else { return Ok(()) };
        match image {
            Image::Script(interpreter) => file = interpreter,
            image => {
                return match image.obstacle().or_else(|| privilege(&file)) {
                    Some(obstacle) => Err(refusal(program, &file, &obstacle)),
                    None => Ok(()),
                };
            }
        }
    }
    Ok(())
}

fn refusal(program: &Path, file: &Path, obstacle: &str) -> Failure {
    let through =
        if program == file { String::new() } else { format!(" is run by {}, which", file.display()) };
    let message = format!(
        "{}{through} {obstacle}: LD_PRELOAD would not reach it, and it would use the kernel's network",
        program.display()
    );
    Failure::new(Failure::NOT_RUNNABLE, message)
}

/// What the kernel would do with a file.
#[derive(Debug, PartialEq, Eq)]
enum Image {
    /// `#!`
    Script(PathBuf),
    /// An ELF file of this machine, with its dynamic linker.
    Elf { linker: Option<Vec<u8>> },
    /// An ELF file of another machine or word size.
    Foreign,
    /// Neither; execvp(3) hands it to /bin/sh.
    Other,
}

impl Image {
    fn read(path: &Path) -> std::io::Result<Image> {
        let file = File::open(path)?;
        let mut head = [0; HEAD_BYTES];
        let length = file.read_at(&mut head, 0)?;
        let head = &head[..length];
        Ok(if let Some(line) = head.strip_prefix(b"#!") {
            interpreter(line).map_or(Image::Other, Image::Script)
        } else if head.starts_with(b"\x7fELF") {
            elf(head, &|buffer, offset| file.read_exact_at(buffer, offset).is_ok())
        } else {
            Image::Other
        })
    }

    fn obstacle(&self) -> Option<String> {
        match self {
            Image::Elf { linker: None } => Some("is statically linked".into()),
            Image::Elf { linker: Some(linker) } if contains(linker, b"ld-musl") => {
                Some("is linked to musl, and libtubesock_preload.so to glibc".into())
            }
            Image::Foreign => Some(format!("is not a 64-bit {} program", std::env::consts::ARCH)),
            Image::Elf { .. } | Image::Script(_) | Image::Other => None,
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The interpreter of a `#!` line: the first word.
fn interpreter(line: &[u8]) -> Option<PathBuf> {
    let line = line.split(|&byte| byte == b'\n').next()?;
    let word = line.split(|byte| b" \t\0".contains(byte)).find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(word)))
}

/// The parts of the ELF header that matter here (elf(5)), for ELFCLASS64 and little endian.
fn elf(head: &[u8], read: &dyn Fn(&mut [u8], u64) -> bool) -> Image {
    const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    const PROGRAM_HEADER_BYTES: usize = 56;
    const PT_INTERP: u32 = 3;
    const PATH_MAX: usize = 4096;
    if head.get(4..6) != Some(&[2, 1]) || number(head, 18, 2) != Some(u64::from(MACHINE)) {
        return Image::Foreign;
    }
    let (Some(start), Some(count)) = (number(head, 32, 8), number(head, 56, 2)) else { return Image::Other };
    let mut linker = None;
    for index in 0..count {
        let mut header = [0; PROGRAM_HEADER_BYTES];
        if !read(&mut header, start.saturating_add(index * PROGRAM_HEADER_BYTES as u64)) {
            return Image::Other;
        }
        if number(&header, 0, 4) == Some(u64::from(PT_INTERP)) {
            let (offset, length) = (number(&header, 8, 8), number(&header, 32, 8));
            let length = length.and_then(|length| usize::try_from(length).ok()).filter(|n| *n <= PATH_MAX);
            let (Some(offset), Some(length)) = (offset, length) else { return Image::Other };
            let mut name = vec![0; length];
            if !read(&mut name, offset) {
                return Image::Other;
            }
            linker = Some(name);
        }
    }
    Image::Elf { linker }
}

/// A little-endian number of `length` bytes, 8 at most.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let field = bytes.get(offset..offset.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Why the kernel would tell the dynamic linker not to trust the environment (AT_SECURE).
fn privilege(file: &Path) -> Option<String> {
    let stat = rustix::fs::stat(file).ok()?;
    let user = rustix::process::getuid();
    let group = rustix::process::getgid();
    if let Some(obstacle) = other_identity(&stat, user.as_raw(), group.as_raw()) {
        return Some(obstacle);
    }
    let mut value = [0u8; 64];
    let has_capabilities = rustix::fs::getxattr(file, "security.capability", &mut value).is_ok();
    (has_capabilities && !user.is_root()).then(|| "has file capabilities".into())
}

fn other_identity(stat: &Stat, user: u32, group: u32) -> Option<String> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(Mode::SUID) && stat.st_uid != user {
        return Some("is set-user-ID to another user".into());
    }
    // Without the group's execute bit it meant mandatory locking.
    if mode.contains(Mode::SGID | Mode::XGRP) && stat.st_gid != group {
        return Some("is set-group-ID to another group".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little-endian 64-bit ELF file with one program header of type `kind`.
    fn image(class: u8, machine: u16, kind: u32, linker: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, 1]);
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[32] = 64;
        file[56] = 1;
        file[64..68].copy_from_slice(&kind.to_le_bytes());
        file[72] = 120;
        file[96..104].copy_from_slice(&(linker.len() as u64).to_le_bytes());
        file.extend(linker);
        file
    }

    fn parsed(file: &[u8]) -> Image {
        elf(&file[..file.len().min(HEAD_BYTES)], &|buffer, offset| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let source = start.checked_add(buffer.len()).and_then(|end| file.get(start..end));
            source.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
        })
    }

    #[test]
    fn elf_headers() {
        let linker = b"/lib64/ld-linux-x86-64.so.2\0".to_vec();
        assert_eq!(parsed(&image(2, 62, 3, &linker)), Image::Elf { linker: Some(linker.clone()) });
        assert_eq!(parsed(&image(2, 62, 1, b"")), Image::Elf { linker: None });
        assert_eq!(parsed(&image(1, 62, 3, &linker)), Image::Foreign);
        assert_eq!(parsed(&image(2, 40, 3, &linker)), Image::Foreign);
        let whole = image(2, 62, 3, &linker);
        for length in 4..whole.len() {
            let cut = parsed(&whole[..length]);
            assert!(matches!(cut, Image::Foreign | Image::Other), "{length} bytes: {cut:?}");
        }
    }

    #[test]
    fn obstacles() {
        assert_eq!(Image::Elf { linker: Some(b"/lib64/ld-linux-x86-64.so.2\0".to_vec()) }.obstacle(), None);
        assert!(Image::Elf { linker: None }.obstacle().is_some_and(|text| text.contains("statically")));
        let musl = Image::Elf { linker: Some(b"/lib/ld-musl-x86_64.so.1\0".to_vec()) };
        assert!(musl.obstacle().is_some_and(|text| text.contains("musl")));
        assert!(Image::Foreign.obstacle().is_some());
        assert_eq!(Image::Other.obstacle(), None);
    }

    #[test]
    fn script_lines() {
        let table: [(&[u8], Option<&str>); 5] = [
            (b"/bin/sh\n", Some("/bin/sh")),
            (b" \t/usr/bin/env python3\nrest", Some("/usr/bin/env")),
            (b"/bin/sh", Some("/bin/sh")),
            (b"\n/bin/sh", None),
            (b"", None),
        ];
        for (line, expected) in table {
            assert_eq!(interpreter(line), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn identities() {
        let stat = |mode: u32| {
            let mut stat = rustix::fs::stat("/").expect("there is a root");
            (stat.st_mode, stat.st_uid, stat.st_gid) = (mode, 0, 50);
            stat
        };
        assert_eq!(other_identity(&stat(0o100755), 1000, 1000), None);
        assert!(other_identity(&stat(0o104755), 1000, 1000).is_some_and(|text| text.contains("user")));
        assert_eq!(other_identity(&stat(0o104755), 0, 0), None);
        assert!(other_identity(&stat(0o102755), 0, 0).is_some_and(|text| text.contains("group")));
        assert_eq!(other_identity(&stat(0o102755), 1000, 50), None);
        assert_eq!(other_identity(&stat(0o102745), 1000, 1000), None);
    }

    #[test]
    fn this_program_is_reachable() {
        let exe = std::env::current_exe().expect("a running program has a file");
        assert_eq!(check(&exe), Ok(()));
        assert_eq!(check(Path::new("/nowhere/at/all")), Ok(()));
    }
}
