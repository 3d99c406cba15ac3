use super::*;
use proptest::prelude::*;

/// wg(8)'s example, and the public key of its private one.
const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
const OWN: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";
const ONE: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const TWO: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn parse(text: &str) -> Configuration {
    Configuration::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A file with this [Interface] and this [Peer].
fn file(interface: &str, peer: &str) -> String {
    format!("[Interface]\nPrivateKey={PRIVATE}\n{interface}\n[Peer]\nPublicKey={ONE}\n{peer}\n")
}

fn shown(networks: &[Cidr]) -> Vec<String> {
    networks.iter().map(Cidr::to_string).collect()
}

#[test]
fn a_mark_before_the_text_is_no_part_of_it() {
    let marked = parse(&format!("\u{feff}{}", file("", "")));
    assert_eq!(marked.peers.len(), 1);
}

#[test]
fn a_whole_file() {
    let text = format!(
        "# comment\r\n\r\n [interface]\r\nPRIVATEKEY={PRIVATE}\r\nAddress = 10.192.122.1/24, fd00::1/64\r\n\
         Address=10.10.0.1\r\n\tDNS = 10.200.100.1,example.test fd00::53 # ours\r\nMTU = 1380\r\n\
         ListenPort = 51820\r\nPostUp = echo a = b [c]\r\nsaveconfig = true\r\nPostUp=x\r\n\
         [Peer]\r\nPublicKey = {ONE}\r\nEndpoint = 192.95.5.67:1234\r\nAllowedIPs = 10.192.122.3/32, 10.192.124.1/24\r\n\
         AllowedIPs = ::/0\r\nPresharedKey = {TWO}\r\n\
         [PEER]\r\nPublicKey = {TWO}\r\nendpoint=[2607:5300::1]:2468\r\nAllowedIPs =\r\nPersistentKeepalive=25\r\n\
         PresharedKey = {ZEROS}"
    );
    let configuration = parse(&text);
    assert!(Some(&configuration.private_key) == Key::parse(PRIVATE).as_ref());
    assert_eq!(shown(&configuration.addresses), ["10.192.122.1/24", "fd00::1/64", "10.10.0.1/32"]);
    let servers: [IpAddr; 2] = ["10.200.100.1".parse().unwrap(), "fd00::53".parse().unwrap()];
    assert_eq!(configuration.name_servers, servers);
    assert_eq!((configuration.mtu, configuration.listen_port), (Some(1380), 51820));
    assert_eq!(configuration.ignored, ["PostUp", "SaveConfig", "the domains of DNS"]);
    let [first, second] = &configuration.peers[..] else { panic!("two peers") };
    assert_eq!((first.line, second.line), (13, 19));
    assert!(first.preshared_key == Key::parse(TWO) && second.preshared_key.is_none());
    let routes: Vec<String> = configuration.addressing().routes.iter().map(Route::to_string).collect();
    assert_eq!(routes, ["10.192.122.3/32", "10.192.124.0/24", "::/0"]);
    assert_eq!(first.endpoint, Some(Endpoint::Address("192.95.5.67:1234".parse().unwrap())));
    assert_eq!(second.endpoint, Some(Endpoint::Address("[2607:5300::1]:2468".parse().unwrap())));
    assert_eq!((first.keepalive, second.keepalive), (None, NonZeroU16::new(25)));
}

#[test]
fn values() {
    let table = [
        ("Endpoint=vpn.example.test:51820", true),
        ("Endpoint=vpn.example.test.:1", true),
        ("Endpoint=10.0.0.1:0", false),
        ("Endpoint=10.0.0.1", false),
        ("Endpoint=fd00::1:51820", false),
        ("Endpoint=[10.0.0.1]:51820", false),
        ("Endpoint=:51820", false),
        ("Endpoint=a b:51820", false),
        ("Endpoint=[::1:51820", false),
        ("AllowedIPs=0.0.0.0/0,::/0", true),
        ("AllowedIPs=10.0.0.0/33", false),
        ("AllowedIPs=10.0.0.0/+8", false),
        ("AllowedIPs=10.0.0.0/", false),
        ("AllowedIPs=example.test", false),
        ("PersistentKeepalive=off", true),
        ("PersistentKeepalive=0", true),
        ("PersistentKeepalive=65536", false),
        ("PersistentKeepalive=-1", false),
    ];
    for (line, good) in table {
        assert_eq!(Configuration::parse(&file("", line)).is_ok(), good, "{line}");
    }
    for (line, good) in [
        ("MTU=1420", true),
        ("MTU=65475", true),
        ("MTU=67", false),
        ("MTU=65476", false),
        ("ListenPort=0", true),
        ("ListenPort=65536", false),
        ("Address=10.0.0.1/24", true),
        ("Address=vpn", false),
        ("Address=0.0.0.0", false),
        ("Address=127.0.0.1/8", false),
        ("Address=ff02::1", false),
        ("Table=off\nPreUp=x\nPreDown=x\nPostDown=x\nFwMark=0x1", true),
    ] {
        assert_eq!(Configuration::parse(&file(line, "")).is_ok(), good, "{line}");
    }
}

#[test]
fn an_error_has_its_line_and_no_key() {
    let half = &ONE[..20];
    let table = [
        (String::new(), "1: [Interface] has no PrivateKey"),
        (
            "PrivateKey=x".into(),
            "1: PrivateKey: a key before any section; [Interface] or [Peer] must stand before it",
        ),
        (file("Adress=10.0.0.1", ""), "3: Adress: [Interface] has no such key in wg-quick(8)"),
        (file("", "DNS=10.0.0.1"), "6: DNS: [Peer] has no such key in wg-quick(8)"),
        (file("", "[Peers]"), "6: '[Peers]' is no section; there are [Interface] and [Peer]"),
        (file("", ONE.trim_end_matches('=')), "6: neither a section nor KEY = VALUE"),
        // What stands before '=' is a key without its name.
        (file("", ONE), "6: [Peer] has no such key in wg-quick(8)"),
        (
            file("", &format!("PresharedKey={half}")),
            "6: PresharedKey: no key; wg(8) makes keys of 44 characters, the last of them '='",
        ),
        (file("", &format!("PublicKey={ZEROS}")), "6: PublicKey: no key but zeros"),
        (file("", &format!("PublicKey={OWN}")), "4: PublicKey is our own; it must be the other end's"),
        (file("", &format!("[Peer]\nPublicKey={ONE}")), "6: the peer of line 4 has the same PublicKey"),
        (file(&format!("Address={PRIVATE}"), ""), "3: Address: what stands there is no address"),
        (file("", &format!("Endpoint={half}:x")), "6: Endpoint: 'x' is no port"),
        (
            file("", &format!("Endpoint={half}")),
            "6: Endpoint: what stands there is no endpoint; write HOST:PORT, an IPv6 address in brackets",
        ),
        (file("", "[Peer]"), "6: [Peer] has no PublicKey"),
        (format!("[Interface]\nPrivateKey={PRIVATE}"), "2: there is no [Peer]"),
        (
            file("", "Endpoint=x"),
            "6: Endpoint: 'x' is no endpoint; write HOST:PORT, an IPv6 address in brackets",
        ),
        (file("MTU=1", ""), "3: MTU: 1 is no MTU; it lies between 68 and 65475"),
        (
            file("", "AllowedIPs=10.0.0.0/40"),
            "6: AllowedIPs: 10.0.0.0/40: a prefix of this address has at most 32 bits",
        ),
    ];
    for (text, expected) in table {
        let error = Configuration::parse(&text).err().unwrap_or_else(|| panic!("no error in:\n{text}"));
        assert_eq!(error, expected);
        assert!(!error.contains(half), "{error}");
    }
}

#[test]
fn the_bits_behind_a_prefix_do_not_count() {
    for (network, expected) in [
        ("255.255.255.255/0", "0.0.0.0"),
        ("255.255.255.255/1", "128.0.0.0"),
        ("10.1.2.3/31", "10.1.2.2"),
        ("10.1.2.3/32", "10.1.2.3"),
        ("ffff::1/0", "::"),
        ("fd00::ff/124", "fd00::f0"),
        ("fd00::ff/128", "fd00::ff"),
    ] {
        let Cidr { address, bits } = super::network(network).expect("a network");
        assert_eq!(masked(address, bits), expected.parse::<IpAddr>().unwrap(), "{network}");
    }
}

/// Lines that are nearly right, and some that are not at all.
fn line() -> impl Strategy<Value = String> {
    let names = [
        "[Interface]",
        "[Peer]",
        "PrivateKey=",
        "Address=",
        "DNS=",
        "MTU=",
        "ListenPort=",
        "PublicKey=",
        "PresharedKey=",
        "Endpoint=",
        "AllowedIPs=",
        "PersistentKeepalive=",
        "PostUp=",
        "#",
        "",
    ];
    let values = [
        PRIVATE,
        ONE,
        TWO,
        "10.0.0.1/24",
        "::/0",
        "a.b:1",
        "[::1]:2",
        "off",
        "25",
        "1420",
        ",",
        "/",
        ":",
        "]:",
        "ÿ",
    ];
    let value = prop_oneof![prop::sample::select(values.to_vec()).prop_map(str::to_owned), "\\PC{0,50}"];
    (prop::sample::select(names.to_vec()), value).prop_map(|(name, value)| format!("{name}{value}"))
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_and_no_error_shows_a_key(lines in prop::collection::vec(line(), 0..20)) {
        if let Err(error) = Configuration::parse(&lines.join("\n")) {
            for key in [PRIVATE, ONE, TWO] {
                prop_assert!(!error.contains(&key[..20]), "{}", error);
            }
        }
    }
}
