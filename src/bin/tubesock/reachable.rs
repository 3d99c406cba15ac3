//! Whether a program can be served, as far as its file tells. ld.so(8) ignores LD_PRELOAD, in silence, for what it does
//! not load or may not trust; and what makes its system calls itself passes the library by. Such a program would use the
//! kernel's network as if nothing had been asked. So `tubesock run` refuses it, and `tubesock doctor` says all of it.
//!
//! It cannot see what the program starts, or whether it has system calls of its own somewhere; `--strict` does.
#![forbid(unsafe_code)]

use crate::Failure;
use crate::finding::{Finding, Verdict};
use crate::image::{Elf, Image};
use rustix::fs::{Mode, Stat};
use std::path::{Path, PathBuf};

/// Interpreters of interpreters that the kernel follows (fs/exec.c).
const SCRIPT_LEVELS: usize = 5;

/// Programs with a seccomp filter of their own that their files do not show, and what to do.
const SANDBOXED: [(&str, &str); 6] = [
    ("sshd", "no setting turns it off: where it drops its clients before they log in, that is why"),
    ("chromium", "--no-sandbox turns it off"),
    ("chrome", "--no-sandbox turns it off"),
    ("vsftpd", "seccomp_sandbox=NO in its configuration turns it off"),
    ("chronyd", "without -F it has none"),
    ("tor", "Sandbox 0 in its configuration turns it off"),
];

/// Fails with 126 and the reason when the program cannot be served.
pub(crate) fn check(program: &Path) -> Result<(), Failure> {
    let (file, findings) = examine(program);
    match findings.into_iter().find(|finding| finding.verdict == Verdict::Problem) {
        Some(obstacle) => Err(refusal(program, &file, &obstacle)),
        None => Ok(()),
    }
}

fn refusal(program: &Path, file: &Path, obstacle: &Finding) -> Failure {
    let program = program.display();
    let through = match program.to_string() == file.display().to_string() {
        true => String::new(),
        false => format!(" is run by {}, which", file.display()),
    };
    let message = format!(
        "{program}{through} {}, and it would use the kernel's network; {}; 'tubesock doctor {program}' looks at the rest, too",
        obstacle.text, obstacle.advice
    );
    Failure::new(Failure::NOT_RUNNABLE, message)
}

/// The file that the kernel would load for the program, itself or an interpreter, and what it says. The text of a problem
/// follows the name of that file.
pub(crate) fn examine(program: &Path) -> (PathBuf, Vec<Finding>) {
    let mut file = program.to_owned();
    for _ in 0..=SCRIPT_LEVELS {
        match Image::read(&file) {
            Ok(Image::Script(interpreter)) => file = interpreter,
            Ok(image) => {
                let findings = of_image(&file, &image);
                return (file, findings);
            }
            // What cannot be read cannot be judged; execve(2) has the last word.
            Err(error) => {
                let finding =
                    Finding::warning("linking", format!("not known, the file cannot be read: {error}"), "");
                return (file, vec![finding]);
            }
        }
    }
    (file, Vec::new())
}

fn of_image(file: &Path, image: &Image) -> Vec<Finding> {
    let mut findings = vec![linking(image), rights(file)];
    if let Image::Elf(elf) = image {
        findings.extend([system_calls(elf), sandbox(file, elf)]);
    }
    findings
}

fn linking(image: &Image) -> Finding {
    const SUBJECT: &str = "linking";
    match image {
        Image::Elf(Elf { linker: None, .. }) => Finding::problem(
            SUBJECT,
            "is statically linked: LD_PRELOAD would not reach it",
            "install or build it dynamically linked",
        ),
        Image::Elf(Elf { linker: Some(linker), .. }) if linker.to_string_lossy().contains("ld-musl") => {
            Finding::problem(
                SUBJECT,
                "is linked to musl, and libtubesock_preload.so to glibc: it could not be loaded",
                "install or build it for glibc",
            )
        }
        Image::Elf(Elf { linker: Some(linker), .. }) => {
            Finding::ok(SUBJECT, format!("dynamically, by {}, which heeds LD_PRELOAD", linker.display()))
        }
        Image::Foreign => Finding::problem(
            SUBJECT,
            format!(
                "is not a 64-bit {} program: the library is, and could not be loaded",
                std::env::consts::ARCH
            ),
            "install or build it for this machine",
        ),
        Image::Script(_) | Image::Other => {
            Finding::ok(SUBJECT, "neither an ELF file nor a script with #!: /bin/sh would run it")
        }
    }
}

/// Why the kernel would tell the dynamic linker not to trust the environment (AT_SECURE).
fn rights(file: &Path) -> Finding {
    const SUBJECT: &str = "rights";
    let obstacle = rustix::fs::stat(file).ok().and_then(|stat| {
        let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
        other_identity(&stat, user.as_raw(), group.as_raw())
    });
    let obstacle = obstacle.or_else(|| {
        let mut value = [0u8; 64];
        let has_capabilities = rustix::fs::getxattr(file, "security.capability", &mut value).is_ok();
        (has_capabilities && !rustix::process::getuid().is_root()).then_some("has file capabilities")
    });
    match obstacle {
        None => Finding::ok(SUBJECT, "those of whoever starts it"),
        Some(obstacle) => Finding::problem(
            SUBJECT,
            format!("{obstacle}: LD_PRELOAD would not reach it"),
            "a copy of the file (cp) has no such rights and can be served, if it can do without them",
        ),
    }
}

fn other_identity(stat: &Stat, user: u32, group: u32) -> Option<&'static str> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(Mode::SUID) && stat.st_uid != user {
        return Some("is set-user-ID to another user");
    }
    // Without the group's execute bit it meant mandatory locking.
    if mode.contains(Mode::SGID | Mode::XGRP) && stat.st_gid != group {
        return Some("is set-group-ID to another group");
    }
    None
}

/// Who makes its system calls.
fn system_calls(elf: &Elf) -> Finding {
    const SUBJECT: &str = "system calls";
    if elf.go {
        return Finding::problem(
            SUBJECT,
            "is a Go program, which makes its system calls itself: the library would not see them",
            "use a program of the same purpose that calls libc",
        );
    }
    if links(elf, "liburing.so") {
        return Finding::warning(
            SUBJECT,
            "it links liburing, which makes its system calls itself: what it does through a ring passes the library by",
            "turn io_uring off in its settings; or run it with --strict, under which there are no rings, and it falls back if it can",
        );
    }
    Finding::ok(
        SUBJECT,
        "by libc, as far as its file tells; io_uring, asked for through libc, is denied (ENOSYS)",
    )
}

/// Whether it forbids itself the calls that the library needs.
fn sandbox(file: &Path, elf: &Elf) -> Finding {
    const SUBJECT: &str = "sandbox";
    let name = file.file_name().unwrap_or_default();
    let known = SANDBOXED.iter().find(|(known, _)| name == *known);
    if known.is_none() && !links(elf, "libseccomp.so") {
        return Finding::ok(SUBJECT, "no seccomp filter of its own is known");
    }
    Finding::warning(
        SUBJECT,
        "it has a seccomp filter of its own: where that forbids socket(AF_UNIX), socketpair, sendmsg, recvmsg, getsockname, \
         getpeername, fcntl or dup, calls on sockets fail or it is killed",
        known.map_or("look for a setting that turns it off", |(_, advice)| advice),
    )
}

fn links(elf: &Elf, library: &str) -> bool {
    elf.libraries.iter().any(|name| name.starts_with(library))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(linker: Option<&str>) -> Elf {
        Elf { linker: linker.map(PathBuf::from), ..Elf::default() }
    }

    fn problem(finding: &Finding) -> Option<&str> {
        (finding.verdict == Verdict::Problem).then_some(&finding.text)
    }

    #[test]
    fn linkings() {
        let linked = |linker| linking(&Image::Elf(elf(linker)));
        assert_eq!(problem(&linked(Some("/lib64/ld-linux-x86-64.so.2"))), None);
        assert!(problem(&linked(None)).is_some_and(|text| text.contains("statically")));
        assert!(problem(&linked(Some("/lib/ld-musl-x86_64.so.1"))).is_some_and(|text| text.contains("musl")));
        assert!(problem(&linking(&Image::Foreign)).is_some());
        assert_eq!(problem(&linking(&Image::Other)), None);
    }

    #[test]
    fn who_makes_the_calls() {
        assert_eq!(system_calls(&elf(None)).verdict, Verdict::Ok);
        let go = Elf { go: true, ..elf(None) };
        assert!(problem(&system_calls(&go)).is_some_and(|text| text.contains("Go")));
        let ring = Elf { libraries: vec!["liburing.so.2".into()], ..elf(None) };
        assert_eq!(system_calls(&ring).verdict, Verdict::Warning);
    }

    #[test]
    fn sandboxes() {
        let plain = elf(None);
        assert_eq!(sandbox(Path::new("/bin/cat"), &plain).verdict, Verdict::Ok);
        assert_eq!(sandbox(Path::new("/usr/sbin/vsftpd"), &plain).advice, SANDBOXED[3].1);
        let filtered = Elf { libraries: vec!["libseccomp.so.2".into()], ..plain };
        assert_eq!(sandbox(Path::new("/bin/cat"), &filtered).verdict, Verdict::Warning);
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
