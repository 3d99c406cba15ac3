//! Interfaces in C's terms: getifaddrs(3), the if_ family (if_nametoindex(3)) and the SIOCGIF requests of netdevice(7).
//! What is shown is the stack's (`calls::interfaces`), in the order in which the kernel's netlink gives it: all
//! AF_PACKET entries, then IPv4, then IPv6. No statistics: `ifa_data` is null.

use crate::addressing::Cidr;
use crate::calls::address;
use crate::calls::interfaces::{self, INTERFACES, Interface};
use crate::error::{Error, Result};
use crate::sys::raw::fail;
use core::mem::{offset_of, zeroed};
use core::ptr::null_mut;
use libc::{c_char, c_int, c_uint, c_ulong, c_void, ifaddrs, sockaddr, sockaddr_ll, sockaddr_storage};
use std::net::{IpAddr, SocketAddr};

/// One entry of getifaddrs's list, with all that it points to.
#[repr(C)]
struct Entry {
    /// First: a pointer to it is one to the entry.
    shown: ifaddrs,
    name: [c_char; libc::IFNAMSIZ],
    address: sockaddr_storage,
    mask: sockaddr_storage,
    broadcast: sockaddr_storage,
}

/// getifaddrs(3)
///
/// # Safety
/// `list` is null or writable.
pub unsafe fn getifaddrs(list: *mut *mut ifaddrs) -> c_int {
    if list.is_null() {
        return fail(libc::EFAULT);
    }
    let links = INTERFACES.iter().map(|interface| (interface, None));
    let mut addresses: Vec<_> = INTERFACES
        .iter()
        .flat_map(|interface| interface.state().addresses.into_iter().map(move |own| (interface, Some(own))))
        .collect();
    addresses.sort_by_key(|(_, own)| own.is_some_and(|own| own.address.is_ipv6()));
    let mut first = null_mut();
    let entries: Vec<_> = links.chain(addresses).collect();
    for (interface, address) in entries.into_iter().rev() {
        let mut entry = entry(interface, address);
        entry.shown.ifa_next = first;
        first = Box::into_raw(entry).cast();
    }
    // SAFETY: not null, and as the caller's.
    unsafe { *list = first };
    0
}

/// freeifaddrs(3)
///
/// # Safety
/// `list` is null or what `getifaddrs` gave.
pub unsafe fn freeifaddrs(mut list: *mut ifaddrs) {
    while !list.is_null() {
        // SAFETY: an entry of ours, that nobody uses any more.
        let entry = unsafe { Box::from_raw(list.cast::<Entry>()) };
        list = entry.shown.ifa_next;
    }
}

fn entry(interface: &Interface, address: Option<Cidr>) -> Box<Entry> {
    // SAFETY: null pointers, zero lengths and the family AF_UNSPEC.
    let mut entry: Box<Entry> = Box::new(unsafe { zeroed() });
    for (place, byte) in entry.name.iter_mut().zip(interface.name.bytes()) {
        *place = byte as c_char;
    }
    match address {
        None => put_link(interface, &mut entry),
        Some(Cidr { address, bits: length }) => {
            put(address, &mut entry.address);
            put(interfaces::mask(address, length), &mut entry.mask);
            if let (IpAddr::V4(v4), true) = (address, interface.flags & libc::IFF_BROADCAST != 0) {
                put(interfaces::broadcast(v4, length).into(), &mut entry.broadcast);
            }
        }
    }
    let Entry { shown, name, address, mask, broadcast } = &mut *entry;
    let pointer = |place: &mut sockaddr_storage| match c_int::from(place.ss_family) {
        libc::AF_UNSPEC => null_mut(),
        _ => (&raw mut *place).cast::<sockaddr>(),
    };
    shown.ifa_name = name.as_mut_ptr();
    shown.ifa_flags = interface.flags as c_uint;
    (shown.ifa_addr, shown.ifa_netmask) = (pointer(address), pointer(mask));
    shown.ifa_ifu = pointer(broadcast);
    entry
}

/// packet(7)
fn put_link(interface: &Interface, entry: &mut Entry) {
    // SAFETY: numbers only.
    let mut link: sockaddr_ll = unsafe { zeroed() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_ifindex = interface.index as c_int;
    link.sll_hatype = interface.hardware;
    link.sll_halen = interface.hardware_length;
    for place in [&mut entry.address, &mut entry.broadcast] {
        // SAFETY: a sockaddr_storage has room for any address.
        unsafe { (&raw mut *place).cast::<sockaddr_ll>().write(link) };
    }
}

fn put(address: IpAddr, place: &mut sockaddr_storage) {
    let (bytes, count) = address::format(SocketAddr::new(address, 0));
    let place: *mut u8 = (&raw mut *place).cast();
    // SAFETY: a sockaddr_storage has room for any address.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), place, count) };
}

/// if_nametoindex(3)
///
/// # Safety
/// `name` is null or a string that ends.
pub unsafe fn if_nametoindex(name: *const c_char) -> c_uint {
    // SAFETY: as the caller's.
    let interface = (!name.is_null()).then(|| unsafe { core::ffi::CStr::from_ptr(name) });
    match interface.and_then(|name| interfaces::by_name(name.to_bytes())) {
        Some(interface) => interface.index,
        None => {
            fail(libc::ENODEV);
            0
        }
    }
}

/// if_indextoname(3)
///
/// # Safety
/// `name` has IF_NAMESIZE writable bytes.
pub unsafe fn if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
    match interfaces::by_index(index) {
        Some(interface) if !name.is_null() => {
            // SAFETY: as the caller's.
            unsafe { put_name(interface, name) };
            name
        }
        _ => {
            fail(libc::ENXIO);
            null_mut()
        }
    }
}

/// # Safety
/// `place` has IF_NAMESIZE writable bytes.
unsafe fn put_name(interface: &Interface, place: *mut c_char) {
    let name = interface.name.as_bytes();
    // SAFETY: shorter than IF_NAMESIZE.
    unsafe { core::ptr::copy_nonoverlapping(name.as_ptr(), place.cast(), name.len()) };
    // SAFETY: the same.
    let end = unsafe { place.add(name.len()) };
    // SAFETY: the same.
    unsafe { *end = 0 };
}

/// if_nameindex(3)
pub fn if_nameindex() -> *mut libc::if_nameindex {
    let end = libc::if_nameindex { if_index: 0, if_name: null_mut() };
    let mut list: [libc::if_nameindex; INTERFACES.len() + 1] = [end; INTERFACES.len() + 1];
    for (place, interface) in list.iter_mut().zip(&INTERFACES) {
        let mut name = Box::new([0; libc::IFNAMSIZ]);
        // SAFETY: IF_NAMESIZE bytes.
        unsafe { put_name(interface, name.as_mut_ptr()) };
        *place = libc::if_nameindex { if_index: interface.index, if_name: Box::into_raw(name).cast() };
    }
    Box::into_raw(Box::new(list)).cast()
}

/// if_freenameindex(3)
///
/// # Safety
/// `list` is null or what `if_nameindex` gave.
pub unsafe fn if_freenameindex(list: *mut libc::if_nameindex) {
    if list.is_null() {
        return;
    }
    // SAFETY: ours, and nobody's any more.
    let list = unsafe { Box::from_raw(list.cast::<[libc::if_nameindex; INTERFACES.len() + 1]>()) };
    for named in list.iter().filter(|named| !named.if_name.is_null()) {
        // SAFETY: likewise.
        drop(unsafe { Box::from_raw(named.if_name.cast::<[c_char; libc::IFNAMSIZ]>()) });
    }
}

/// Where the value of an ifreq is, behind the name.
const VALUE: usize = offset_of!(libc::ifreq, ifr_ifru);
const REQUEST: usize = size_of::<libc::ifreq>();

/// Whether a request is one of netdevice(7).
pub fn is_about(request: c_ulong) -> bool {
    (libc::SIOCGIFNAME..=libc::SIOCSIFTXQLEN).contains(&request)
}

/// A request of netdevice(7) on a socket of ours. Those that would change an interface fail with EPERM.
///
/// # Safety
/// `argument` is what the request asks for, or null.
pub unsafe fn ioctl(request: c_ulong, argument: *mut c_void) -> Result<()> {
    if argument.is_null() {
        return Err(Error::BadAddress);
    }
    if request == libc::SIOCGIFCONF {
        // SAFETY: as the caller's: an ifconf.
        let wanted = unsafe { &mut *argument.cast() };
        // SAFETY: as the caller's.
        unsafe { list(wanted) };
        return Ok(());
    }
    // SAFETY: as the caller's: an ifreq.
    answer(request, unsafe { &mut *argument.cast::<[u8; REQUEST]>() })
}

/// SIOCGIFCONF: the IPv4 address of each, or how much room they need.
///
/// # Safety
/// The list's buffer is null or has as many bytes as it says.
unsafe fn list(list: &mut libc::ifconf) {
    // SAFETY: both of the union's fields are pointers.
    let buffer = unsafe { list.ifc_ifcu.ifcu_buf };
    let shown: Vec<_> = INTERFACES
        .iter()
        .filter_map(|interface| Some((interface, interface.state().first_v4()?.0)))
        .collect();
    let fits = if buffer.is_null() { shown.len() } else { list.ifc_len.max(0) as usize / REQUEST };
    let count = fits.min(shown.len());
    for (place, (interface, address)) in shown.iter().take(count).enumerate().filter(|_| !buffer.is_null()) {
        let mut bytes = [0; REQUEST];
        bytes[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
        put_address((*address).into(), &mut bytes);
        // SAFETY: within the buffer.
        let at = unsafe { buffer.cast::<u8>().add(place * REQUEST) };
        // SAFETY: the same.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), at, REQUEST) };
    }
    list.ifc_len = (count * REQUEST) as c_int;
}

fn answer(request: c_ulong, bytes: &mut [u8; REQUEST]) -> Result<()> {
    let number = |bytes: &[u8; REQUEST]| i32::from_ne_bytes(core::array::from_fn(|at| bytes[VALUE + at]));
    if request == libc::SIOCGIFNAME {
        let interface = interfaces::by_index(number(bytes) as u32).ok_or(Error::Kernel(libc::ENODEV))?;
        bytes[..libc::IFNAMSIZ].fill(0);
        bytes[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
        return Ok(());
    }
    let name = bytes[..libc::IFNAMSIZ].split(|&byte| byte == 0).next().unwrap_or_default();
    let interface = interfaces::by_name(name).ok_or(Error::Kernel(libc::ENODEV))?;
    let state = interface.state();
    let address = || state.first_v4().ok_or(Error::AddressNotAvailable);
    match request {
        libc::SIOCGIFINDEX => put_number(interface.index, bytes),
        libc::SIOCGIFFLAGS => {
            bytes[VALUE..VALUE + 2].copy_from_slice(&(interface.flags as u16).to_ne_bytes())
        }
        libc::SIOCGIFMTU => put_number(state.mtu, bytes),
        libc::SIOCGIFMETRIC => put_number(0, bytes),
        libc::SIOCGIFTXQLEN => put_number(1000, bytes),
        libc::SIOCGIFADDR | libc::SIOCGIFDSTADDR => put_address(address()?.0.into(), bytes),
        libc::SIOCGIFNETMASK => {
            let (address, length) = address()?;
            put_address(interfaces::mask(address.into(), length), bytes);
        }
        libc::SIOCGIFBRDADDR if interface.flags & libc::IFF_BROADCAST != 0 => {
            let (address, length) = address()?;
            put_address(interfaces::broadcast(address, length).into(), bytes);
        }
        libc::SIOCGIFBRDADDR => put_address(IpAddr::from([0; 4]), bytes),
        libc::SIOCGIFHWADDR => {
            bytes[VALUE..].fill(0);
            bytes[VALUE..VALUE + 2].copy_from_slice(&interface.hardware.to_ne_bytes());
        }
        _ => return Err(Error::Kernel(libc::EPERM)),
    }
    Ok(())
}

fn put_number(number: u32, bytes: &mut [u8; REQUEST]) {
    bytes[VALUE..VALUE + 4].copy_from_slice(&number.to_ne_bytes());
}

fn put_address(address: IpAddr, bytes: &mut [u8; REQUEST]) {
    let (formatted, count) = address::format(SocketAddr::new(address, 0));
    bytes[VALUE..].fill(0);
    bytes[VALUE..VALUE + count].copy_from_slice(&formatted[..count]);
}
