//! Parity with the machine's libc, for everything that needs no network: lists, error codes and strings must be equal.
//! These tests call the real functions: a test binary is not interposed.

use super::addrinfo::{Buffer, getaddrinfo_by, getnameinfo_by};
use super::hostent::{Place, by_address, by_name};
use super::records::{query, written};
use super::*;
use crate::resolver::{Network, RecordClass, RecordType, SourceAddress};
use libc::{
    AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, AI_ALL, AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE,
    AI_V4MAPPED, EAI_OVERFLOW, NI_DGRAM, NI_NAMEREQD, NI_NUMERICHOST, NI_NUMERICSERV, SOCK_DGRAM, SOCK_RAW,
    SOCK_SEQPACKET, SOCK_STREAM, addrinfo, hostent, sockaddr, sockaddr_storage, socklen_t,
};
use proptest::prelude::*;
use std::ffi::CString;
use std::net::SocketAddr;
use std::ptr;
use std::time::Duration;

/// The machine's interfaces, and nobody to ask.
struct Offline;

impl Network for Offline {
    fn addresses(&self) -> Vec<SourceAddress> {
        Vec::new()
    }
    fn name_servers(&self) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([192, 0, 2, 53], 53))]
    }
    fn interface_index(&self, name: &str) -> Option<u32> {
        let name = CString::new(name).ok()?;
        // SAFETY: a string that ends.
        Some(unsafe { libc::if_nametoindex(name.as_ptr()) }).filter(|index| *index != 0)
    }
    fn interface_name(&self, index: u32) -> Option<String> {
        let mut name = [0; libc::IF_NAMESIZE];
        // SAFETY: room for a name.
        let name = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
        // SAFETY: null, or a string in our buffer.
        unsafe { text(name) }.map(Cow::into_owned)
    }
    fn exchange_datagrams(
        &self,
        _: SocketAddr,
        queries: &[&[u8]],
        _: Duration,
        accept: &mut dyn FnMut(&[u8]) -> bool,
    ) -> crate::error::Result<()> {
        for query in queries {
            // The same message with "response" and NXDOMAIN.
            let mut reply = query.to_vec();
            reply[2] |= 0x80;
            reply[3] |= 3;
            accept(&reply);
        }
        Ok(())
    }
    fn exchange_stream(
        &self,
        _: SocketAddr,
        _: &[u8],
        _: Duration,
        _: &mut dyn FnMut(&[u8]) -> bool,
    ) -> crate::error::Result<Vec<u8>> {
        Err(Error::ConnectionRefused)
    }
}

fn offline() -> Resolver<'static> {
    Resolver { machine: &ThisMachine, network: &Offline }
}

/// A list as text, one element a line, or the error code.
///
/// # Safety
/// A list, when `code` is 0.
unsafe fn shown(code: c_int, list: *mut addrinfo) -> String {
    let mut lines = vec![format!("{code}")];
    let mut next = if code == 0 { list } else { ptr::null_mut() };
    // SAFETY: the list's elements, one after the other.
    while let Some(info) = unsafe { next.as_ref() } {
        // SAFETY: the element's address, in its length.
        let address =
            unsafe { std::slice::from_raw_parts(info.ai_addr.cast::<u8>(), info.ai_addrlen as usize) };
        // SAFETY: null or a string.
        let name = unsafe { text(info.ai_canonname) };
        lines.push(format!(
            "flags {:#x} family {} type {} protocol {} address {address:x?} name {name:?}",
            info.ai_flags, info.ai_family, info.ai_socktype, info.ai_protocol
        ));
        next = info.ai_next;
    }
    lines.join("\n")
}

/// What libc's getaddrinfo and ours give. Each list is freed by the other's freeaddrinfo.
fn both_lists(node: Option<&str>, service: Option<&str>, hints: Option<[c_int; 4]>) -> (String, String) {
    let node = node.map(|text| CString::new(text).unwrap());
    let service = service.map(|text| CString::new(text).unwrap());
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: a structure of integers and pointers, for which zero is good.
    let mut filled: addrinfo = unsafe { std::mem::zeroed() };
    let hints = hints.map_or(ptr::null(), |[flags, family, kind, protocol]| {
        (filled.ai_flags, filled.ai_family, filled.ai_socktype, filled.ai_protocol) =
            (flags, family, kind, protocol);
        &raw const filled
    });
    let mut theirs = ptr::null_mut();
    // SAFETY: strings that end, valid hints, a place for the result.
    let code = unsafe { libc::getaddrinfo(pointer(&node), pointer(&service), hints, &mut theirs) };
    // SAFETY: libc's list.
    let expected = unsafe { shown(code, theirs) };
    if code == 0 {
        // SAFETY: libc's list, not used any more.
        unsafe { freeaddrinfo(theirs) };
    }
    let mut ours = ptr::null_mut();
    // SAFETY: as above.
    let (code, _) =
        unsafe { getaddrinfo_by(&offline(), pointer(&node), pointer(&service), hints, &mut ours) };
    // SAFETY: our list.
    let given = unsafe { shown(code, ours) };
    if code == 0 {
        // SAFETY: our list, not used any more.
        unsafe { libc::freeaddrinfo(ours) };
    }
    (expected, given)
}

#[track_caller]
fn assert_parity(node: Option<&str>, service: Option<&str>, hints: Option<[c_int; 4]>) {
    let (expected, given) = both_lists(node, service, hints);
    assert_eq!(given, expected, "{node:?} {service:?} {hints:?}");
}

/// Names that libc answers without asking anybody.
const HOSTS: [Option<&str>; 21] = [
    None,
    Some("*"),
    Some(""),
    Some("127.0.0.1"),
    Some("127.1"),
    Some("0x7f.1"),
    Some("0177.1"),
    Some("1.2.3"),
    Some("2130706433"),
    Some("::1"),
    Some("::"),
    Some("::ffff:192.0.2.1"),
    Some("2001:DB8::1"),
    Some("fe80::1%lo"),
    Some("fe80::1%1"),
    Some("ff02::1%lo"),
    Some("fe80::1%nosuch"),
    Some("2001:db8::1%lo"),
    Some("2001:db8::1%7"),
    Some("localhost"),
    Some("a..b"),
];

const SERVICES: [Option<&str>; 16] = [
    None,
    Some("*"),
    Some(""),
    Some("0"),
    Some("80"),
    Some("+80"),
    Some(" 80"),
    Some("80 "),
    Some("-1"),
    Some("65536"),
    Some("99999999999999999999"),
    Some("http"),
    Some("www"),
    Some("domain"),
    Some("HTTP"),
    Some("nosuchservice"),
];

#[test]
fn getaddrinfo_gives_libc_s_list_for_every_host_service_and_flag() {
    // Without AI_ADDRCONFIG, which goes by the addresses of the machine there and of the stack here.
    let flags = [
        0,
        AI_PASSIVE,
        AI_CANONNAME,
        AI_NUMERICHOST,
        AI_NUMERICSERV,
        AI_V4MAPPED,
        AI_V4MAPPED | AI_ALL,
        AI_PASSIVE | AI_CANONNAME | AI_NUMERICHOST | AI_NUMERICSERV,
        0x40,
        0x1000,
    ];
    for host in HOSTS {
        for service in SERVICES {
            for flags in flags {
                for family in [AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX] {
                    let asks_dns = host == Some("localhost") && family == AF_INET6;
                    if !asks_dns {
                        assert_parity(host, service, Some([flags, family, SOCK_STREAM, 0]));
                    }
                }
            }
        }
    }
}

#[test]
fn getaddrinfo_expands_socket_types_and_protocols_as_libc_does() {
    for service in SERVICES {
        for kind in [0, SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, 6, 4, 99] {
            for protocol in [0, 1, 6, 17, 33, 132, 136, 255, 999] {
                assert_parity(Some("192.0.2.1"), service, Some([0, AF_UNSPEC, kind, protocol]));
                assert_parity(None, service, Some([AI_PASSIVE, AF_UNSPEC, kind, protocol]));
            }
        }
    }
    assert_parity(Some("127.0.0.1"), Some("80"), Some([0, AF_UNSPEC, SOCK_STREAM | libc::SOCK_CLOEXEC, 0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn numeric_hosts_are_read_as_libc_reads_them(host in "[0-9a-fx.:%]{1,16}") {
        let (expected, given) = both_lists(Some(&host), None, Some([AI_NUMERICHOST, AF_UNSPEC, SOCK_STREAM, 0]));
        prop_assert_eq!(given, expected);
    }

    #[test]
    fn dotted_hosts_are_read_as_libc_reads_them(host in "(0x|0)?[0-9a-f]{1,10}(\\.(0x|0)?[0-9]{1,8}){0,4}") {
        let (expected, given) = both_lists(Some(&host), None, Some([AI_NUMERICHOST, AF_UNSPEC, SOCK_STREAM, 0]));
        prop_assert_eq!(given, expected);
    }

    #[test]
    fn numeric_services_are_read_as_libc_reads_them(service in "[ \\t]?[+-]?[0-9]{0,21}[ x]?") {
        let (expected, given) = both_lists(Some("127.0.0.1"), Some(&service), Some([0, AF_UNSPEC, SOCK_STREAM, 0]));
        prop_assert_eq!(given, expected);
    }
}

/// getnameinfo's code and its two strings.
type Named = (c_int, String, String);

fn both_names(address: &[u8], host: usize, service: usize, flags: c_int) -> (Named, Named) {
    // Aligned for libc, whose contract asks for it.
    // SAFETY: a structure of integers, for which zero is good.
    let mut storage: sockaddr_storage = unsafe { std::mem::zeroed() };
    // SAFETY: no address here is longer than the storage.
    unsafe { ptr::copy_nonoverlapping(address.as_ptr(), (&raw mut storage).cast(), address.len()) };
    let (from, length) = ((&raw const storage).cast::<sockaddr>(), address.len() as socklen_t);
    let named = |call: &dyn Fn(*mut c_char, *mut c_char) -> c_int| {
        let (mut host, mut service) = ([0; 256], [0; 256]);
        let code = call(host.as_mut_ptr(), service.as_mut_ptr());
        // SAFETY: filled with a string, or with zeros.
        let host = unsafe { text(host.as_ptr()) }.unwrap_or_default().into_owned();
        // SAFETY: as above.
        let service = unsafe { text(service.as_ptr()) }.unwrap_or_default().into_owned();
        (code, host, service)
    };
    let expected = named(&|host_start, service_start| {
        // SAFETY: buffers at least as long as said.
        unsafe {
            libc::getnameinfo(
                from,
                length,
                host_start,
                host as socklen_t,
                service_start,
                service as socklen_t,
                flags,
            )
        }
    });
    let given = named(&|host_start, service_start| {
        let host = Buffer { start: host_start, length: host };
        let service = Buffer { start: service_start, length: service };
        // SAFETY: as above.
        unsafe { getnameinfo_by(&offline(), from, length, host, service, flags) }.0
    });
    (expected, given)
}

fn octets_4(address: [u8; 4], port: u16) -> Vec<u8> {
    let family = (AF_INET as u16).to_ne_bytes();
    [&family[..], &port.to_be_bytes(), &address, &[0; 8]].concat()
}

fn octets_6(address: &str, port: u16, scope: u32) -> Vec<u8> {
    let family = (AF_INET6 as u16).to_ne_bytes();
    let address = address.parse::<std::net::Ipv6Addr>().unwrap().octets();
    [&family[..], &port.to_be_bytes(), &[0; 4], &address, &scope.to_ne_bytes()].concat()
}

#[test]
fn getnameinfo_gives_libc_s_strings_and_codes() {
    let local = [&(AF_UNIX as u16).to_ne_bytes()[..], b"/run/x\0"].concat();
    let unknown = [&77u16.to_ne_bytes()[..], &[0; 14]].concat();
    let addresses = [
        octets_4([192, 0, 2, 1], 80),
        octets_4([127, 0, 0, 1], 53),
        octets_6("2001:db8::1", 443, 0),
        octets_6("2001:db8::1", 1, 3),
        octets_6("fe80::1", 65535, 1),
        octets_6("fe80::1", 65535, 4_000_000),
        octets_6("::ffff:192.0.2.1", 0, 0),
        octets_4([192, 0, 2, 1], 80)[..8].to_vec(),
        octets_6("::1", 80, 0)[..24].to_vec(),
        local,
        unknown,
        vec![2],
    ];
    for address in &addresses {
        for more in [0, NI_NUMERICSERV, NI_DGRAM, 0x1000, 0x20] {
            for (host, service) in [(256, 256), (0, 256), (256, 0), (4, 256), (256, 2), (0, 0)] {
                let (mut expected, given) = both_names(address, host, service, NI_NUMERICHOST | more);
                if expected.0 == EAI_OVERFLOW {
                    // libc leaves a part of the string.
                    (expected.1, expected.2) = (given.1.clone(), given.2.clone());
                }
                assert_eq!(given, expected, "{address:x?} {more:#x} {host} {service}");
            }
        }
    }
    // Found in the hosts file, so without a question.
    for flags in [0, NI_NAMEREQD] {
        let (expected, given) = both_names(&addresses[1], 256, 256, flags);
        assert_eq!(given, expected);
    }
    let (expected, given) = both_names(&addresses[0], 256, 256, NI_NUMERICHOST | NI_NAMEREQD);
    assert_eq!(given, expected);
}

proptest! {
    #[test]
    fn addresses_are_written_as_libc_writes_them(
        groups in proptest::array::uniform8(prop_oneof![3 => Just(0u16), 1 => Just(0xffff), 1 => any::<u16>()]),
        scope in prop_oneof![Just(0u32), Just(1), any::<u32>()],
    ) {
        let address = std::net::Ipv6Addr::from(groups).to_string();
        let (expected, given) = both_names(&octets_6(&address, 80, scope), 256, 256, NI_NUMERICHOST);
        prop_assert_eq!(given, expected);
    }
}

/// What a `_r` gave: code, h_errno, and the host.
type Entry = (c_int, c_int, Option<String>);

fn entry(call: &dyn Fn(&Place) -> c_int, length: usize, misaligned: bool) -> Entry {
    let mut buffer = vec![0u64; 128];
    // SAFETY: a structure of integers and pointers, for which zero is good.
    let mut entry: hostent = unsafe { std::mem::zeroed() };
    let (mut result, mut h_errno) = (ptr::null_mut(), -99);
    let code = call(&Place {
        entry: &mut entry,
        buffer: buffer.as_mut_ptr().cast::<c_char>().wrapping_add(usize::from(misaligned)),
        length,
        result: &mut result,
        h_errno: &mut h_errno,
    });
    // SAFETY: null, or our entry.
    let shown = unsafe { result.as_ref() }.map(shown_host);
    (code, if shown.is_some() { 0 } else { h_errno }, shown)
}

fn shown_host(host: &hostent) -> String {
    let table = |start: *mut *mut c_char| {
        // SAFETY: the tables end in null, and no more is read.
        (0..).map(move |at| unsafe { start.wrapping_add(at).read() }).take_while(|item| !item.is_null())
    };
    // SAFETY: strings that end.
    let aliases: Vec<_> = table(host.h_aliases).map(|alias| unsafe { text(alias) }).collect();
    let addresses: Vec<_> = table(host.h_addr_list)
        // SAFETY: addresses of the length that the entry says.
        .map(|address| unsafe { std::slice::from_raw_parts(address.cast::<u8>(), host.h_length as usize) })
        .collect();
    // SAFETY: a string that ends.
    let name = unsafe { text(host.h_name) };
    format!("{name:?} {aliases:?} {} {addresses:x?}", host.h_addrtype)
}

unsafe extern "C" {
    fn gethostbyname2_r(
        name: *const c_char,
        family: c_int,
        entry: *mut hostent,
        buffer: *mut c_char,
        length: usize,
        result: *mut *mut hostent,
        h_errno: *mut c_int,
    ) -> c_int;
}

#[test]
fn gethostbyname2_r_gives_libc_s_entry() {
    for name in ["1.2.3.4", "127.1", "1.2.3.4.5", "::1", "a:b", "localhost", "LOCALHOST", "", "a..b", "-x"] {
        let name = CString::new(name).unwrap();
        for family in [AF_INET, AF_INET6, AF_UNIX] {
            let is_localhost = name.to_str().unwrap().eq_ignore_ascii_case("localhost");
            // libc may ask the server for AAAA, and takes 1.2.3.4 for IPv4 whatever the family.
            if (family == AF_INET6 && is_localhost) || (family == AF_UNIX && !is_localhost) {
                continue;
            }
            for length in [8, 1000] {
                // What fits differs by some octets; too small is too small in both.
                let expected = entry(
                    // SAFETY: the places are ours.
                    &|to| unsafe {
                        gethostbyname2_r(
                            name.as_ptr(),
                            family,
                            to.entry,
                            to.buffer,
                            length,
                            to.result,
                            to.h_errno,
                        )
                    },
                    length,
                    false,
                );
                for misaligned in [false, true] {
                    let given = entry(
                        &|to| {
                            // SAFETY: a string that ends.
                            let found = unsafe { by_name(&offline(), name.as_ptr(), family) };
                            // SAFETY: the places are ours.
                            unsafe { to.put(found) }.0
                        },
                        length,
                        misaligned,
                    );
                    let both_fail = given.2.is_none() && expected.2.is_none();
                    // libc looks at the buffer even for names that it then does not find.
                    if !(both_fail && length == 8) {
                        assert_eq!(given, expected, "{name:?} {family} {length}");
                    }
                }
            }
        }
    }
}

#[test]
fn gethostbyaddr_checks_length_and_family() {
    let address = [127, 0, 0, 1];
    let found = |length, family| {
        entry(
            &|to| {
                // SAFETY: no more is read than the length says.
                let found = unsafe { by_address(&offline(), address.as_ptr().cast(), length, family) };
                // SAFETY: the places are ours.
                unsafe { to.put(found) }.0
            },
            1000,
            false,
        )
    };
    assert_eq!(found(4, AF_INET).0, 0);
    assert_eq!(found(3, AF_INET), (libc::EAFNOSUPPORT, NETDB_INTERNAL, None));
    assert_eq!(found(4, AF_UNIX), (libc::EAFNOSUPPORT, NETDB_INTERNAL, None));
}

#[test]
fn a_record_that_is_not_there_leaves_its_answer_in_the_buffer() {
    let mut buffer = [0u8; 64];
    let outcome = query(&offline(), "nx.test", RecordClass::IN, RecordType::A);
    // SAFETY: the buffer is ours.
    let (code, _) = unsafe { written(outcome, buffer.as_mut_ptr(), 64) };
    // SAFETY: this thread's h_errno.
    let h_errno = unsafe { __h_errno_location().read() };
    assert_eq!((code, h_errno, buffer[3] & 0x0f), (-1, HOST_NOT_FOUND, 3));
}

#[test]
fn a_panic_becomes_the_failed_value_and_eio() {
    crate::sys::raw::set_errno(0);
    assert_eq!(guarded(-7, || panic!("as in a test")), -7);
    assert_eq!(crate::sys::raw::errno(), libc::EIO);
    crate::sys::raw::set_errno(libc::ENOENT);
    assert_eq!(guarded(-7, || (3, None)), 3);
    assert_eq!(crate::sys::raw::errno(), libc::ENOENT);
}
