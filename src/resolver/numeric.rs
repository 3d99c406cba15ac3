//! Numeric forms of hosts and services, exactly as wide as glibc's getaddrinfo(3) takes them. Nothing here is looked
//! up, but for the name of an interface in a scope.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// inet_aton(3) without trailing garbage: one to four numbers, decimal, octal or hexadecimal, the last of which fills
/// what is left of the 32 bits.
pub(super) fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(c_number).collect::<Option<_>>()?;
    let (last, octets) = parts.split_last()?;
    if octets.len() > 3 || octets.iter().any(|&octet| octet > 0xff) {
        return None;
    }
    let free_bits = 32 - 8 * octets.len() as u32;
    if u64::from(*last) >= 1 << free_bits {
        return None;
    }
    let high = octets.iter().enumerate().map(|(at, octet)| octet << (24 - 8 * at)).sum::<u32>();
    Some(Ipv4Addr::from(high | last))
}

/// strtoul(3) in base 0 over the whole text, which begins with a digit.
fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    // from_str_radix would take a sign.
    let all_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    all_digits.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

/// An IPv6 address with an optional scope: the address as inet_pton(3) takes it, and what follows '%'.
pub(super) fn ipv6(text: &str) -> Option<(Ipv6Addr, Option<&str>)> {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    Some((address.parse().ok()?, scope))
}

/// The number of a scope: the name of an interface where the address is link-local, a number anywhere.
pub(super) fn scope(
    address: Ipv6Addr,
    scope: &str,
    interface_index: &dyn Fn(&str) -> Option<u32>,
) -> Option<u32> {
    let named = if is_link_local(address) { interface_index(scope) } else { None };
    named.or_else(|| scope.bytes().all(|digit| digit.is_ascii_digit()).then(|| scope.parse().ok()).flatten())
}

/// Unicast or multicast within the link: the addresses whose scope is an interface.
pub(super) fn is_link_local(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.octets();
    (first == 0xfe && second & 0xc0 == 0x80) || (first == 0xff && second & 0x0f == 2)
}

/// An address as inet_ntop(3) writes it: IPv4-compatible addresses end in dotted decimal, where Rust's have two groups.
pub(super) fn written(address: Ipv6Addr) -> String {
    match address.to_bits() {
        // The lower bound keeps ::1 and all that would be compressed further.
        bits @ 0x1_0000..=0xffff_ffff => format!("::{}", Ipv4Addr::from_bits(bits as u32)),
        _ => address.to_string(),
    }
}

/// What gethostbyname(3) makes of a name that looks like an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dotted {
    /// It is one.
    Address(IpAddr),
    /// It looks like one but is not, or is of the other family: not found, and not asked for either.
    Malformed,
    /// It is a name.
    Name,
}

/// Digits and dots are an IPv4 address, hexadecimal digits and colons an IPv6 address, to gethostbyname(3).
pub(super) fn dotted(name: &str, ipv6: bool) -> Dotted {
    let ends_in_dot = name.ends_with('.');
    let only = |allowed: &dyn Fn(u8) -> bool| name.bytes().all(allowed);
    let begins_with_digit = name.starts_with(|first: char| first.is_ascii_digit());
    let looks_like_4 = begins_with_digit && only(&|octet| octet.is_ascii_digit() || octet == b'.');
    let looks_like_6 =
        name.contains(':') && only(&|octet| octet.is_ascii_hexdigit() || octet == b':' || octet == b'.');
    if ends_in_dot || !(looks_like_4 || looks_like_6) {
        return Dotted::Name;
    }
    let address = if ipv6 { name.parse().ok().map(IpAddr::V6) } else { self::ipv4(name).map(IpAddr::V4) };
    address.map_or(Dotted::Malformed, Dotted::Address)
}

/// The number of a service as glibc reads it: strtoul(3) in base 10, so with leading space and a sign, cut to an int.
/// A negative one is a number to AI_NUMERICSERV, but no port.
pub(super) fn service(text: &str) -> Option<i32> {
    let trimmed = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, digits) = match trimmed.as_bytes().first()? {
        b'-' => (true, &trimmed[1..]),
        b'+' => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value =
        digits.parse::<u64>().map_or(u64::MAX, |value| if negative { value.wrapping_neg() } else { value });
    Some(value as i32)
}

/// The port that a service names by its number, cut to 16 bits as glibc cuts it.
pub(super) fn port(text: &str) -> Option<u16> {
    service(text).filter(|number| *number >= 0).map(|number| number as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_odd_forms_of_ipv4() {
        let address = |text| ipv4(text).map(|address| address.to_string());
        for (text, expected) in [
            ("127.1", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("1.2.3", "1.2.0.3"),
            ("0", "0.0.0.0"),
            ("4294967295", "255.255.255.255"),
        ] {
            assert_eq!(address(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "1.",
            ".1",
            "1..2",
            "256.1.1.1",
            "1.2.3.4.5",
            "08",
            "0x",
            "+1",
            "1 ",
            "4294967296",
            "1.16777216",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn ports_as_strtoul_reads_them() {
        for (text, expected) in [
            ("80", Some(80)),
            (" +80", Some(80)),
            ("65616", Some(80)),
            ("-1", None),
            ("80 ", None),
            ("", None),
            (" ", None),
            ("http", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(port(text), expected, "{text:?}");
        }
        assert_eq!(service("-1"), Some(-1));
    }

    #[test]
    fn a_scope_is_an_interface_only_within_the_link() {
        let index = |name: &str| (name == "eth0").then_some(2);
        let local = "fe80::1".parse().unwrap();
        let global = "2001:db8::1".parse().unwrap();
        assert_eq!(scope(local, "eth0", &index), Some(2));
        assert_eq!(scope(local, "7", &index), Some(7));
        assert_eq!(scope(global, "eth0", &index), None);
        assert_eq!(scope(global, "7", &index), Some(7));
        assert_eq!(scope(local, "", &index), None);
        assert_eq!(scope(local, "+7", &index), None);
    }
}
