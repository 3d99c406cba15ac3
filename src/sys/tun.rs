//! The kernel's TUN devices (Documentation/networking/tuntap.rst): a network interface whose cable ends at a descriptor
//! of ours. What is in the packets is no business of this file.

use super::descriptors::{self, Internal, internal};
use rustix::event::EventfdFlags;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, IoSlice, IoSliceMut, Result};
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Where TUN devices are made and attached.
pub const CLONE_DEVICE: &str = "/dev/net/tun";

/// Longest name of an interface in bytes.
pub const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// `struct ifreq` (netdevice(7)), of whose union only the leading integer is used: flags, or the MTU.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    value: i32,
    unused: [u8; 20],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

impl InterfaceRequest {
    fn new(name: &str, value: i32) -> Result<InterfaceRequest> {
        let mut request = InterfaceRequest { name: [0; libc::IFNAMSIZ], value, unused: [0; 20] };
        // The last byte stays zero.
        let place = request.name[..NAME_MAX].get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?;
        place.copy_from_slice(name.as_bytes());
        Ok(request)
    }

    fn name(&self) -> String {
        let length = self.name.iter().position(|&byte| byte == 0).unwrap_or(NAME_MAX);
        String::from_utf8_lossy(&self.name[..length]).into_owned()
    }
}

/// What a device carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IP packets
    Tun,
    /// Ethernet frames
    Tap,
}

/// A descriptor attached to a TUN device. The device goes with it, unless it was made to stay.
pub struct Device {
    fd: Internal,
    name: String,
}

/// Opens the clone device, which `attach` makes a device of.
pub fn open() -> Result<Internal> {
    rustix::fs::open(CLONE_DEVICE, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
        .map(internal)
}

impl Device {
    /// TUNSETIFF: attaches to the device called `name`, which is made when there is none, or to a new one with a name
    /// that the kernel picks when `name` is empty. `headers` puts a `struct virtio_net_hdr` before each packet.
    pub fn attach(clone: Internal, kind: Kind, name: &str, headers: bool) -> Result<Device> {
        let kind = match kind {
            Kind::Tun => libc::IFF_TUN,
            Kind::Tap => libc::IFF_TAP,
        };
        let headers = if headers { libc::IFF_VNET_HDR } else { 0 };
        let mut request = InterfaceRequest::new(name, kind | libc::IFF_NO_PI | headers)?;
        // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, and this has its size and layout.
        let attach = unsafe { Updater::<{ libc::TUNSETIFF as Opcode }, InterfaceRequest>::new(&mut request) };
        // SAFETY: the opcode and its type are declared above; it touches no memory but the request's.
        unsafe { ioctl(&clone, attach) }?;
        Ok(Device { fd: clone, name: request.name() })
    }

    /// TUNSETOFFLOAD: what the kernel may leave undone in packets that it hands to us (`TUN_F_*`).
    pub fn set_offload(&self, features: u32) -> Result<()> {
        // SAFETY: TUNSETOFFLOAD takes a number where others take a pointer.
        let set = unsafe { IntegerSetter::<{ libc::TUNSETOFFLOAD as Opcode }>::new_usize(features as usize) };
        // SAFETY: as above; it touches no memory of ours.
        unsafe { ioctl(&self.fd, set) }
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SIOCGIFMTU: the device's MTU in bytes, if it lies in this thread's network namespace.
    pub fn mtu(&self) -> Result<usize> {
        let flags = SocketFlags::CLOEXEC;
        let socket = internal(rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?);
        let mut request = InterfaceRequest::new(&self.name, 0)?;
        // SAFETY: SIOCGIFMTU reads and writes a `struct ifreq`, and this has its size and layout.
        let get = unsafe { Updater::<{ libc::SIOCGIFMTU as Opcode }, InterfaceRequest>::new(&mut request) };
        // SAFETY: the opcode and its type are declared above; it touches no memory but the request's.
        unsafe { ioctl(&socket, get) }?;
        usize::try_from(request.value).map_err(|_| Errno::INVAL)
    }

    /// Reads the next packet, with its header before it. EAGAIN when there is none.
    pub fn read(&self, into: &mut [u8]) -> Result<usize> {
        again(|| rustix::io::readv(&self.fd, &mut [IoSliceMut::new(into)]))
    }

    /// Writes one packet, gathered from its parts. EAGAIN when the device has no room for it.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> Result<()> {
        again(|| rustix::io::writev(&self.fd, parts)).map(|_| ())
    }

    /// Lets go of the device. The descriptor keeps its number and never polls ready again: who waits for a device that
    /// is gone would otherwise be woken for ever.
    pub fn detach(&self) {
        let silent = rustix::event::eventfd(0, EventfdFlags::CLOEXEC);
        // When no descriptor is to be had there is nothing better than to be woken.
        let _ = silent.map(|silent| descriptors::put_over(silent.into(), self.fd.as_fd(), true));
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Repeats a call that a signal interrupted.
fn again<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}
