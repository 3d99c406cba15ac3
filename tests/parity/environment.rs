//! Where a program runs: its network namespace, and what is loaded into it.

use crate::namespace::Namespace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// What carries a program's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Environment {
    /// The kernel's loopback.
    Kernel,
    /// Ours, by LD_PRELOAD and nothing else.
    Preload,
    /// Ours, by `tubesock run`.
    Run,
    /// Nothing: what ours run in, without the shim.
    Dark,
}

/// With the loopback, which takes multicast, and where anyone may have an ICMP echo socket.
static LIT: LazyLock<Namespace> = LazyLock::new(|| {
    let namespace = Namespace::new();
    namespace.ip("-6 route add multicast ff00::/8 dev lo table local");
    // By the first one alone a datagram leaves, and does not arrive: the kernel finds no neighbour for it (Ip6OutNoRoutes).
    namespace.ip("-6 route add multicast ff01::/16 dev lo table local");
    namespace.set("net.ipv4.ping_group_range", "0 2147483647");
    namespace
});

static DARK: LazyLock<Namespace> = LazyLock::new(|| {
    let namespace = Namespace::new();
    namespace.ip("link set lo down");
    // Its addresses stay else, as local ones that lead nowhere.
    namespace.ip("address flush dev lo");
    namespace
});

impl Environment {
    pub(crate) fn namespace(self) -> &'static Namespace {
        match self {
            Environment::Kernel => &LIT,
            Environment::Preload | Environment::Run | Environment::Dark => &DARK,
        }
    }

    /// The command that runs `program` here, in the namespace of the thread that spawns it.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = match self {
            Environment::Kernel | Environment::Preload | Environment::Dark => Command::new(program),
            Environment::Run => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_tubesock"));
                command.args(["run", "--"]).arg(program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"TUBESOCK_") {
                command.env_remove(name);
            }
        }
        if self == Environment::Preload {
            command.env("LD_PRELOAD", preload_library());
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// Cargo puts the library beside this test, because the package has it as a development dependency.
fn preload_library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let library = test.with_file_name("libtubesock_preload.so");
    assert!(library.exists(), "{} is missing: run `cargo test`, which builds it", library.display());
    library
}
