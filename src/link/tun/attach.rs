//! Attaching to a TUN or TAP device, and what a person is told when that fails.
#![forbid(unsafe_code)]

use crate::sys::tun::{self, Device, Kind};
use rustix::io::Errno;

/// TUN_F_CSUM, TUN_F_TSO4 and TUN_F_TSO6: what the kernel may leave to us.
const FEATURES: u32 = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;

/// Attaches to the device called `name`, or makes one; with its MTU. `offload` puts a `struct virtio_net_hdr` before each
/// packet. The error is for people.
pub(crate) fn open(kind: Kind, name: &str, offload: bool) -> Result<(Device, usize), String> {
    let failed = |what: &str, errno, why| complaint(kind, name, what, errno, why);
    if !may_be_a_name(name) {
        let kind = word(kind);
        return Err(format!(
            "{kind}:{name}: no name of an interface: at most 15 bytes, without / : % and space, and not one of \
             . .. all default"
        ));
    }
    let clone = tun::open()
        .map_err(|errno| failed(&format!("cannot open {}", tun::CLONE_DEVICE), errno, why_not_open(errno)))?;
    let device = Device::attach(clone, kind, name, offload)
        .map_err(|errno| failed("cannot attach to the device", errno, why_not_attached(errno)))?;
    if offload {
        let why = "the kernel is too old for TUN_F_TSO6";
        device.set_offload(FEATURES).map_err(|errno| failed("cannot turn on offloads", errno, why))?;
    }
    let mtu = device.mtu().map_err(|errno| failed("cannot read the MTU", errno, "has the device gone?"))?;
    Ok((device, mtu))
}

/// Whether the kernel lets an interface be called so (dev_valid_name, and what /proc/sys/net has beside interfaces).
fn may_be_a_name(name: &str) -> bool {
    let is_apart =
        |letter: char| matches!(letter, '/' | ':' | '%') || letter.is_ascii_whitespace() || letter == '\x0b';
    name.len() <= tun::NAME_MAX && !name.contains(is_apart) && ![".", "..", "all", "default"].contains(&name)
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Tun => "tun",
        Kind::Tap => "tap",
    }
}

/// What is told: what failed, with the errno, and what to do.
fn complaint(kind: Kind, name: &str, what: &str, errno: Errno, why: &str) -> String {
    let kind = word(kind);
    let number = errno.raw_os_error();
    let errno = match errno {
        Errno::ACCESS => "EACCES".into(),
        Errno::PERM => "EPERM".into(),
        Errno::NOENT => "ENOENT".into(),
        Errno::NODEV => "ENODEV".into(),
        Errno::NXIO => "ENXIO".into(),
        Errno::BUSY => "EBUSY".into(),
        Errno::INVAL => "EINVAL".into(),
        _ => std::io::Error::from_raw_os_error(number).to_string(),
    };
    format!("{kind}:{name}: {what} ({errno}): {why}")
}

fn why_not_open(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS | Errno::PERM => {
            "its mode or this container forbids it, though it is usually open to all (mode 0666); make it so, or use --link nat"
        }
        Errno::NOENT | Errno::NODEV | Errno::NXIO => {
            "this machine or container has no TUN devices; try `modprobe tun`, give the container the device, or use --link nat"
        }
        _ => "the kernel gives no other reason",
    }
}

fn why_not_attached(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM | Errno::ACCESS => {
            "only root may make or take it; root can make one for you: `ip tuntap add NAME mode tun user YOU` (or tap)"
        }
        Errno::BUSY => "another process is attached to it",
        Errno::INVAL => {
            "there is an interface of that name which is no such device, or one with several queues"
        }
        _ => "the kernel gives no other reason",
    }
}
