//! A network namespace of a test's own. It lives as long as something in it or a `Namespace` does, so nothing is left
//! behind, whatever becomes of the test. Making one needs root (CAP_SYS_ADMIN).

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::fs::File;
use std::process::Command;

/// A network namespace.
pub(crate) struct Namespace(OwnedFd);

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Namespace {
    /// An empty one, but for its loopback, which is up.
    pub(crate) fn new() -> Namespace {
        let made = std::thread::spawn(|| {
            // SAFETY: this thread's view of the network has no bearing on memory or descriptors.
            let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) };
            unshared.expect(
                "a network namespace: this needs root, or `unshare --map-root-user` before the command",
            );
            OwnedFd::from(File::open("/proc/thread-self/ns/net").expect("/proc is mounted"))
        });
        let namespace = Namespace(made.join().expect("the thread has no other reason to end"));
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `inside` in a thread that is in the namespace. Sockets and devices made there stay there.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("who could make the namespace may enter it");
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// ip(8) with these arguments, in the namespace.
    pub(crate) fn ip(&self, arguments: &str) {
        let output = self.run(|| Command::new("ip").args(arguments.split_whitespace()).output());
        let output = output.expect("ip starts: is iproute2 installed?");
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        if arguments.contains("nodad") {
            self.await_addresses();
        }
    }

    /// Waits until the addresses of IPv6 count: a worker of the kernel makes their routes, and what comes before is lost.
    fn await_addresses(&self) {
        let read = |table| {
            std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).expect("/proc is mounted")
        };
        let ready = || {
            let (addresses, routes) = (read("if_inet6"), read("ipv6_route"));
            let mut addresses = addresses.lines().filter_map(|line| line.split_whitespace().next());
            // Both in 32 digits; a route's prefix length too is in hexadecimal.
            addresses.all(|address| routes.contains(&format!("{address} 80 ")))
        };
        let begin = std::time::Instant::now();
        self.run(|| {
            while !ready() {
                assert!(begin.elapsed().as_secs() < 20, "an address of IPv6 gets no route");
                std::thread::yield_now();
            }
        });
    }

    /// Sets a kernel parameter of the namespace, named as in sysctl(8).
    pub(crate) fn set(&self, parameter: &str, value: &str) {
        let path = format!("/proc/sys/{}", parameter.replace('.', "/"));
        let written = self.run(|| std::fs::write(&path, value));
        written.unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
    }
}
