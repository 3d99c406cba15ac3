//! `--strict`: nothing goes round the stack. A seccomp filter, put on the child before it becomes the program, and so on
//! all that descends from it, stops the calls by which a process would get at the kernel's network:
//!
//! * socket(2) of any family but AF_UNIX, which the library makes its descriptors of, AF_NETLINK and AF_ALG, which lead to
//!   the kernel only;
//! * io_uring_setup(2), because a ring makes sockets without a system call;
//! * the same by the other entries of x86_64: numbers of the x32 ABI, and the 32-bit entry (int 0x80, 32-bit programs), where
//!   socketcall(2) hides its arguments and so makes no socket at all.
//!
//! The library makes none of these calls in the program's process, and `nat`'s sockets are in ours, which has no filter. What
//! is stopped waits at a listener, which the child sends us before it becomes the program; a thread here says once for each
//! process which it was, and answers EPERM. Where there can be no listener the filter answers EPERM by itself.
//!
//! Limits: it is for programs that do not know of us, not for hostile ones. Sockets that the program was started with, or is
//! given by others (SCM_RIGHTS, pidfd_getfd), are not looked at, nor what it asks other processes to do.
#![forbid(unsafe_code)]

use crate::Failure;
use libc::{seccomp_data, sock_filter};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::BTreeSet;
use std::mem::offset_of;
use std::path::PathBuf;
use tubesock::sys::descriptors::Owned;
use tubesock::sys::seccomp::{self, Support};
use tubesock::sys::signals::Blocked;
use tubesock::sys::unix;

/// AUDIT_ARCH_X86_64 and AUDIT_ARCH_I386 (linux/audit.h): by which entry a call came.
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
/// What the numbers of the x32 ABI have beside (__X32_SYSCALL_BIT).
const X32_BIT: u32 = 0x4000_0000;
/// Of the 32-bit entry (asm/unistd_32.h).
const I386_SOCKET: u32 = 359;
const I386_SOCKETCALL: u32 = 102;
/// SYS_SOCKET of socketcall(2).
const SOCKETCALL_SOCKET: u32 = 1;
/// Of both entries.
const RING_SETUP: u32 = libc::SYS_io_uring_setup as u32;
/// Of x86_64 and x32.
const SOCKET: u32 = libc::SYS_socket as u32;

/// Processes that are remembered, so that each is named once.
const REMEMBERED: usize = 4096;

const LENGTH: usize = 20;

/// The filter, in classic BPF over `struct seccomp_data` (seccomp(2)); `stopped` is the answer for what it stops. The
/// arguments in question are ints: their lower halves count.
fn filter(stopped: u32) -> [sock_filter; LENGTH] {
    const OTHER_ENTRY: usize = 7;
    const FAMILY: usize = 14;
    const STOP: usize = 18;
    const ALLOW: usize = 19;
    [
        load(offset_of!(seccomp_data, arch)),
        equal(1, X86_64, 2, OTHER_ENTRY),
        load(offset_of!(seccomp_data, nr)),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, !X32_BIT),
        equal(4, SOCKET, FAMILY, 5),
        equal(5, RING_SETUP, STOP, 6),
        answer(libc::SECCOMP_RET_ALLOW),
        // There is no third entry; if there were one, nothing would be known of it.
        equal(OTHER_ENTRY, I386, 8, STOP),
        load(offset_of!(seccomp_data, nr)),
        equal(9, I386_SOCKET, FAMILY, 10),
        equal(10, RING_SETUP, STOP, 11),
        equal(11, I386_SOCKETCALL, 12, ALLOW),
        load(offset_of!(seccomp_data, args)),
        equal(13, SOCKETCALL_SOCKET, STOP, ALLOW),
        load(offset_of!(seccomp_data, args)),
        equal(15, libc::AF_UNIX as u32, ALLOW, 16),
        equal(16, libc::AF_NETLINK as u32, ALLOW, 17),
        equal(17, libc::AF_ALG as u32, ALLOW, STOP),
        answer(stopped),
        answer(libc::SECCOMP_RET_ALLOW),
    ]
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn load(offset: usize) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32)
}

fn answer(action: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

/// Instruction number `at`: goes on at `then` when the number that was loaded is `k`, else at `otherwise`.
fn equal(at: usize, k: u32, then: usize, otherwise: usize) -> sock_filter {
    let jump = |target: usize| (target - at - 1) as u8;
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    sock_filter { code, jt: jump(then), jf: jump(otherwise), k }
}

/// The way by which the listener comes from the child that becomes the program.
pub(crate) struct Confinement {
    child: Owned,
    parent: Owned,
    /// As the person wrote it.
    setting: String,
}

impl Confinement {
    /// Fails where the kernel has no filters.
    pub(crate) fn prepare(setting: &str) -> Result<Confinement, Failure> {
        let failed = |reason: String| Failure::new(Failure::SETTING, format!("{setting}: {reason}"));
        if seccomp::support() == Support::None {
            return Err(failed("there are no seccomp filters here; 'tubesock doctor' says more".into()));
        }
        let (child, parent) = unix::message_pair().map_err(|error| failed(error.to_string()))?;
        Ok(Confinement { child, parent, setting: setting.to_owned() })
    }

    /// In the child, as the last thing before exec. Async-signal-safe.
    pub(crate) fn enter(&self) -> rustix::io::Result<()> {
        let listener = match seccomp::install_with_listener(&filter(libc::SECCOMP_RET_USER_NOTIF)) {
            Ok(listener) => Some(listener),
            Err(Errno::INVAL | Errno::BUSY) => {
                seccomp::install(&filter(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32))?;
                None
            }
            Err(errno) => return Err(errno),
        };
        let descriptor = listener.as_ref().map(AsFd::as_fd);
        unix::send_message(&self.child, None, [&[0], &[]], descriptor.as_slice(), SendFlags::empty())
    }

    /// In the parent, once the child has become the program.
    pub(crate) fn watch(&self) {
        let mut descriptors = [const { None }; unix::DESCRIPTORS];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = unix::receive_message(&self.parent, &mut [0], &mut descriptors, flags);
        let [listener, ..] = descriptors;
        let started = listener.filter(|_| received.is_ok()).map(|listener| {
            std::thread::Builder::new().name("strict".into()).spawn(move || answer_all(&listener))
        });
        // When the thread cannot start, its end of the listener is closed, and the kernel answers ENOSYS.
        if !matches!(started, Some(Ok(_))) {
            tracing::warn!(
                "{}: what goes round the stack is stopped, but not told here: this kernel, or another filter, lets \
                 nobody listen",
                self.setting
            );
        }
    }
}

/// Answers every call that the filter stopped, until no process is left that has it.
fn answer_all(listener: &Owned) {
    let _signals = Blocked::all();
    let mut told = BTreeSet::new();
    while let Some(call) = seccomp::receive(listener) {
        let caller = Caller::read(call.pid);
        let what = describe(&call.data);
        // Once it does not wait any more, the number of its process may be another's.
        if !seccomp::is_waiting(listener, &call) {
            continue;
        }
        if told.len() == REMEMBERED {
            told.clear();
        }
        // Before the answer, after which it may end, and we with it.
        if told.insert((caller.process, caller.executable.clone(), call.data.nr)) {
            tracing::warn!("{caller} called {what} past the library: EPERM, by --strict; told once");
        }
        seccomp::refuse(listener, &call, Errno::PERM);
    }
}

/// Who made a call, as /proc tells.
struct Caller {
    process: u32,
    name: String,
    executable: PathBuf,
}

impl Caller {
    fn read(thread: u32) -> Caller {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        let field = |name| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            value.trim_start_matches(':').trim()
        };
        Caller {
            process: field("Tgid").parse().unwrap_or(thread),
            name: field("Name").to_owned(),
            executable: std::fs::read_link(format!("/proc/{thread}/exe")).unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A process gives itself its name, a file system its files theirs: neither may break the line.
        let (name, executable) = (self.name.escape_debug(), self.executable.to_string_lossy());
        write!(f, "process {} ({name}, {})", self.process, executable.escape_debug())
    }
}

/// A call that the filter stops.
fn describe(call: &seccomp_data) -> String {
    let number = call.nr as u32 & if call.arch == X86_64 { !X32_BIT } else { u32::MAX };
    let entry = match call.arch {
        X86_64 if number == call.nr as u32 => "",
        X86_64 => ", by the x32 ABI,",
        _ => ", by the 32-bit entry,",
    };
    let what = match (call.arch, number) {
        (_, RING_SETUP) => "io_uring_setup".to_owned(),
        (X86_64, SOCKET) | (I386, I386_SOCKET) => {
            format!("socket({}, {})", family(call.args[0] as i32), kind(call.args[1] as i32))
        }
        (I386, I386_SOCKETCALL) => "socketcall(SYS_SOCKET)".to_owned(),
        _ => format!("system call {number}"),
    };
    what + entry
}

fn family(family: i32) -> String {
    match family {
        libc::AF_INET => "AF_INET".into(),
        libc::AF_INET6 => "AF_INET6".into(),
        libc::AF_PACKET => "AF_PACKET".into(),
        _ => format!("address family {family}"),
    }
}

fn kind(kind: i32) -> String {
    match kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
        libc::SOCK_STREAM => "SOCK_STREAM".into(),
        libc::SOCK_DGRAM => "SOCK_DGRAM".into(),
        libc::SOCK_RAW => "SOCK_RAW".into(),
        other => format!("type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOPPED: u32 = libc::SECCOMP_RET_USER_NOTIF;

    /// The kernel's interpreter, as far as the filter goes.
    fn run(filter: &[sock_filter], call: &seccomp_data) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let instruction = &filter[at];
            let (code, k) = (u32::from(instruction.code), instruction.k);
            at += 1;
            if code == libc::BPF_RET | libc::BPF_K {
                return k;
            } else if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                loaded = match k {
                    0 => call.nr as u32,
                    4 => call.arch,
                    16 => call.args[0] as u32,
                    other => panic!("offset {other} is not one that it needs"),
                };
            } else if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K {
                loaded &= k;
            } else {
                assert_eq!(code, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
                at += usize::from(if loaded == k { instruction.jt } else { instruction.jf });
            }
        }
    }

    fn call(arch: u32, number: u32, first: u64, second: u64) -> seccomp_data {
        seccomp_data { nr: number as i32, arch, instruction_pointer: 0, args: [first, second, 0, 0, 0, 0] }
    }

    #[test]
    fn what_is_stopped_and_what_it_is_called() {
        let table = [
            (call(X86_64, SOCKET, 2, 1), "socket(AF_INET, SOCK_STREAM)"),
            (call(X86_64, SOCKET, 10, 2 | 0o2004000), "socket(AF_INET6, SOCK_DGRAM)"),
            // The kernel takes the lower half of the register.
            (call(X86_64, SOCKET, 0xffff_ffff_0000_0002, 1), "socket(AF_INET, SOCK_STREAM)"),
            (call(X86_64, SOCKET, 17, 3), "socket(AF_PACKET, SOCK_RAW)"),
            (call(X86_64, SOCKET, 43, 1), "socket(address family 43, SOCK_STREAM)"),
            (call(X86_64, SOCKET | X32_BIT, 2, 1), "socket(AF_INET, SOCK_STREAM), by the x32 ABI,"),
            (call(X86_64, RING_SETUP, 8, 0), "io_uring_setup"),
            (call(X86_64, RING_SETUP | X32_BIT, 8, 0), "io_uring_setup, by the x32 ABI,"),
            (call(I386, I386_SOCKET, 2, 1), "socket(AF_INET, SOCK_STREAM), by the 32-bit entry,"),
            (call(I386, I386_SOCKETCALL, 1, 0), "socketcall(SYS_SOCKET), by the 32-bit entry,"),
            (call(I386, RING_SETUP, 8, 0), "io_uring_setup, by the 32-bit entry,"),
            (call(0xc000_00b7, 198, 2, 1), "system call 198, by the 32-bit entry,"),
        ];
        for (call, described) in table {
            assert_eq!((run(&filter(STOPPED), &call), describe(&call).as_str()), (STOPPED, described));
        }
    }

    #[test]
    fn what_is_let_through() {
        let local = [libc::AF_UNIX, libc::AF_NETLINK, libc::AF_ALG].map(|family| family as u64);
        let allowed = local.iter().flat_map(|&family| {
            [
                call(X86_64, SOCKET, family, 1),
                call(X86_64, SOCKET | X32_BIT, family, 1),
                call(I386, I386_SOCKET, family, 1),
            ]
        });
        // SYS_CONNECT, and the numbers that mean socket(2) by another entry.
        let others = [
            call(I386, I386_SOCKETCALL, 3, 0),
            call(I386, SOCKET, 2, 1),
            call(X86_64, I386_SOCKET, 2, 1),
            call(X86_64, libc::SYS_read as u32, 2, 1),
        ];
        for call in allowed.chain(others) {
            let answer = run(&filter(STOPPED), &call);
            assert_eq!(answer, libc::SECCOMP_RET_ALLOW, "{:#x} {}", call.arch, call.nr);
        }
    }

    #[test]
    fn this_process_is_named() {
        let caller = Caller::read(std::process::id()).to_string();
        let exe = std::env::current_exe().expect("a running program has a file");
        assert!(caller.starts_with(&format!("process {} (", std::process::id())), "{caller}");
        assert!(caller.contains(&*exe.to_string_lossy()), "{caller}");
    }
}
