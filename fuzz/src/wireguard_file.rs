//! The target `wireguard_file`: a configuration file of any bytes. No error quotes what may be a key, each names a line; and
//! what is taken is what a tunnel can be made of.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use tubesock::link::wireguard::configuration::{Configuration, Endpoint};

/// So many characters of base64 in a row may be a key, or half of one.
const SECRET: usize = 20;

/// The body of the target.
pub fn wireguard_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let configuration = match Configuration::parse(&text) {
        Ok(configuration) => configuration,
        Err(error) => return refused(&text, &error),
    };
    assert!(
        !configuration.peers.is_empty() && configuration.mtu.is_none_or(|mtu| (68..=65_475).contains(&mtu))
    );
    let lines = text.lines().count();
    for peer in &configuration.peers {
        assert!((1..=lines).contains(&peer.line));
        for network in &peer.allowed {
            assert!(network.bits <= if network.address.is_ipv4() { 32 } else { 128 }, "{network}");
            assert!(network.contains(network.address));
            let behind = match network.address {
                IpAddr::V4(address) => u64::from(address.to_bits()).checked_shl(32 + u32::from(network.bits)),
                IpAddr::V6(address) => {
                    address.to_bits().checked_shl(network.bits.into()).map(|bits| (bits >> 64) as u64)
                }
            };
            assert!(behind.unwrap_or(0) == 0, "{network} has bits behind its prefix");
        }
        match &peer.endpoint {
            Some(Endpoint::Address(address)) => assert!(address.port() > 0),
            Some(Endpoint::Name(name, port)) => assert!(*port > 0 && !name.is_empty(), "{name:?}"),
            None => {}
        }
    }
    for own in &configuration.addresses {
        assert!(!own.address.is_unspecified() && !own.address.is_multicast() && !own.address.is_loopback());
    }
    let addressing = configuration.addressing();
    assert_eq!(addressing.addresses, configuration.addresses);
    // A comment changes nothing, nor do other ends of lines.
    let again = Configuration::parse(&format!(
        "# first\n{}\r\n# last",
        text.trim_start_matches('\u{feff}').replace('\n', "\r\n")
    ));
    let again = again.unwrap_or_else(|error| panic!("with comments: {error}"));
    assert_eq!(again.addressing(), addressing);
}

fn refused(text: &str, error: &str) {
    let (line, _) = error.split_once(": ").expect("a line's number, and why");
    let line: usize = line.parse().expect("a number");
    assert!((1..=text.lines().count().max(1)).contains(&line), "{error}");
    let base64 = |letter: char| letter.is_ascii_alphanumeric() || letter == '+' || letter == '/';
    let longest = error.split(|letter| !base64(letter)).map(str::len).max().unwrap_or(0);
    assert!(longest < SECRET, "an error may quote a key: {error}");
}
