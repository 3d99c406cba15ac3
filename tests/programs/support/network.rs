//! Places to run in: a temporary directory, a free port, namespaces of the test's own, an ordinary user.

pub(crate) use super::ports::free_port;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A directory that anyone may enter, gone with this value.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tubesock-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("the name has our process in it");
        set_mode(&path, 0o755);
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A directory in it that any user may write to.
    pub(crate) fn open_to_all(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir(&path).expect("made once");
        set_mode(&path, 0o777);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the directory is ours");
}

/// Waits until a server takes connections on `port` of the loopback.
pub(crate) fn wait_until_connectable(port: u16) {
    let until = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The words that run a command as an ordinary user without capabilities: none when we are one.
pub(crate) fn ordinary_user() -> Vec<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    vec![
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]
}

/// The words that run a command in a network and a mount namespace of its own, behind a shell script. `"$@"` in
/// the script is the command.
pub(crate) fn in_namespace(script: &str) -> Vec<String> {
    let words = ["unshare", "--map-root-user", "--net", "--mount", "sh", "-ec", script, "sh"];
    words.into_iter().map(str::to_owned).collect()
}

/// A script for `in_namespace`: 192.0.2.99 swallows all that is sent to it, as a host behind a firewall does.
pub(crate) const BLACK_HOLE: &str = "\
    ip link set lo up
    ip link add near type veth peer name far
    ip link set far up
    ip link set near up
    ip address add 192.0.2.1/24 dev near
    ip neighbour add 192.0.2.99 lladdr 02:00:00:00:00:99 dev near nud permanent
    exec \"$@\"";
