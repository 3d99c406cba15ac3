use super::*;
use std::str::FromStr;

fn from(variables: &[(&str, &str)]) -> Result<Config, String> {
    Config::from_environment(variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn published(listen: &str, port: u16, datagram: bool) -> Publish {
    Publish { listen: listen.parse().expect("an address in a test"), port, datagram }
}

fn parsed<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a value in a test")
}

fn setting(flag: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.flag == flag).expect("a flag in a test")
}

#[test]
fn nothing_set_is_the_default() {
    assert_eq!(from(&[("PATH", "/bin"), ("TUBESOCK_LOG", "")]), Ok(Config::default()));
}

#[test]
fn every_variable_is_read() {
    let config = from(&[
        ("TUBESOCK_LINK", "tun:tube"),
        ("TUBESOCK_ADDRESS", "192.0.2.15/24,2001:db8::15/64"),
        ("TUBESOCK_GATEWAY", "192.0.2.1, 2001:db8::1"),
        ("TUBESOCK_DNS", "192.0.2.53,[2001:db8::53]"),
        ("TUBESOCK_MTU", "1400"),
        ("TUBESOCK_ROUTE", "198.51.100.0/24,192.0.2.9  203.0.113.0/24"),
        ("TUBESOCK_IMPAIR", "delay 20ms loss 1% seed 7"),
        ("TUBESOCK_CAPTURE", "c.pcapng"),
        ("TUBESOCK_PUBLISH", "8080:80, [::1]:0:53/udp"),
        ("TUBESOCK_LOG", "debug"),
        ("TUBESOCK_TRACE", "/t"),
        ("TUBESOCK_STRICT", "1"),
        ("TUBESOCK_CAPTURE_CALLS", "1"),
        ("TUBESOCK_BYPASS", "127.0.0.0/8, [::1]:80"),
        ("TUBESOCK_HOST", "/run/h"),
    ]);
    let expected = Config {
        link: LinkChoice::Tun("tube".into()),
        address: vec![parsed("192.0.2.15/24"), parsed("2001:db8::15/64")],
        gateway: vec![parsed("192.0.2.1"), parsed("2001:db8::1")],
        dns: vec![parsed("192.0.2.53"), parsed("2001:db8::53")],
        mtu: Some(1400),
        impair: Some(parsed("delay 20ms loss 1% seed 7")),
        route: vec![parsed("198.51.100.0/24,192.0.2.9"), parsed("203.0.113.0/24")],
        capture: Some(Capture::File("c.pcapng".into())),
        capture_calls: true,
        publish: vec![published("0.0.0.0:8080", 80, false), published("[::1]:0", 53, true)],
        log: LogLevel::Debug,
        trace: Some(Trace::File("/t".into())),
        strict: true,
        bypass: vec![parsed("127.0.0.0/8"), parsed("[::1]/128:80")],
        host: Some(HostAddress::Path("/run/h".into())),
        names: Names::default(),
    };
    assert_eq!(config, Ok(expected));
}

#[test]
fn published_ports() {
    let table = [
        ("8080:80", Ok(published("0.0.0.0:8080", 80, false))),
        ("8080:80/tcp", Ok(published("0.0.0.0:8080", 80, false))),
        ("53:53/udp", Ok(published("0.0.0.0:53", 53, true))),
        ("127.0.0.1:0:65535", Ok(published("127.0.0.1:0", 65535, false))),
        ("[fd00::1]:1:2/udp", Ok(published("[fd00::1]:1", 2, true))),
        ("80", Err("two ports are needed")),
        ("", Err("two ports are needed")),
        ("1:2/sctp", Err("'sctp' is no protocol")),
        ("1:2/tcp/tcp", Err("'tcp/tcp' is no protocol")),
        ("1:0", Err("0 is no port of a program")),
        ("65536:1", Err("'65536' is no port")),
        ("+1:1", Err("'+1' is no port")),
        (":1", Err("'' is no port")),
        ("::1:1:2", Err("'::1' is no address")),
        ("[127.0.0.1]:1:2", Err("'[127.0.0.1]' is no address")),
        ("localhost:1:2", Err("'localhost' is no address")),
    ];
    for (text, expected) in table {
        match (text.parse::<Publish>(), expected) {
            (Ok(publish), Ok(expected)) => assert_eq!(publish, expected, "{text}"),
            (Err(error), Err(expected)) => assert!(error.starts_with(expected), "{text}: {error}"),
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn an_error_names_what_the_person_wrote() {
    let table = [
        (
            "TUBESOCK_LOG",
            "loud",
            "TUBESOCK_LOG 'loud': not a level; use one of off, error, warn, info, debug, trace",
        ),
        ("TUBESOCK_LINK", "tun", "TUBESOCK_LINK 'tun': the name of a device is missing; write tun:NAME"),
        (
            "TUBESOCK_LINK",
            "tin:x",
            "TUBESOCK_LINK 'tin:x': there is no such link; use nat, tun:NAME, tap:NAME, stream:PATH or wireguard:FILE",
        ),
        (
            "TUBESOCK_LINK",
            "wireguard:",
            "TUBESOCK_LINK 'wireguard:': the name of a file is missing; write wireguard:FILE",
        ),
        (
            "TUBESOCK_ADDRESS",
            "127.0.0.2/8",
            "TUBESOCK_ADDRESS '127.0.0.2/8': no host has this address; give that of the program on its network",
        ),
        (
            "TUBESOCK_ADDRESS",
            "192.0.2.255/24",
            "TUBESOCK_ADDRESS '192.0.2.255/24': in 192.0.2.0/24 this is its broadcast address, and no host's; give another address of it",
        ),
        (
            "TUBESOCK_GATEWAY",
            "192.0.2.1,192.0.2.2",
            "TUBESOCK_GATEWAY '192.0.2.2': there is one of its family already; give one for IPv4 and one for IPv6",
        ),
        (
            "TUBESOCK_GATEWAY",
            "0.0.0.0",
            "TUBESOCK_GATEWAY '0.0.0.0': no router has this address; give that of one on the program's network",
        ),
        (
            "TUBESOCK_DNS",
            "127.0.0.1,0.0.0.0",
            "TUBESOCK_DNS '0.0.0.0': nobody answers at this address; give that of one server",
        ),
        ("TUBESOCK_MTU", "9", "TUBESOCK_MTU '9': no size of a packet; write a number from 576 to 65535"),
        ("TUBESOCK_STRICT", "yes", "TUBESOCK_STRICT 'yes': neither on nor off; write 1 or 0"),
        (
            "TUBESOCK_PUBLISH",
            "1:2,80",
            "TUBESOCK_PUBLISH '80': two ports are needed, the machine's and the program's; write for example 8080:80",
        ),
    ];
    for (name, value, message) in table {
        assert_eq!(from(&[(name, value)]), Err(message.into()));
    }
    for (flag, value, message) in [
        ("--log", "loud", "--log 'loud': "),
        ("--capture", "", "--capture '': the name of a file is missing; give one, or -"),
        ("--config", "/missing", "--config '/missing': cannot read the file: "),
    ] {
        let config = Config::with_flags(&[(setting(flag), vec![value.into()])], []);
        assert!(config.is_err_and(|error| error.starts_with(message)), "{flag}");
    }
}

#[test]
fn addresses_that_a_host_can_have() {
    let read = |text| own_address(text).err();
    for text in ["192.0.2.0/31", "192.0.2.1/31", "192.0.2.0/32", "10.0.0.1/0", "2001:db8::/64", "fe80::1/64"]
    {
        assert_eq!(read(text), None, "{text}");
    }
    for (text, why) in [
        ("192.0.2.0/24", "this is the network itself"),
        ("192.0.2.3/30", "is its broadcast address"),
        ("240.0.0.1/24", "no host has this address"),
        ("255.255.255.255/32", "no host has this address"),
        ("224.0.0.1/24", "no host has this address"),
        ("::/64", "no host has this address"),
        ("ff02::1/64", "no host has this address"),
        ("::ffff:192.0.2.1/120", "no host has this address"),
    ] {
        assert!(read(text).is_some_and(|problem| problem.contains(why)), "{text}: {:?}", read(text));
    }
}

#[test]
fn a_misspelt_variable_is_an_error() {
    let error = from(&[("TUBESOCK_CAPTRUE", "x")]).expect_err("the name is wrong");
    assert!(error.starts_with("TUBESOCK_CAPTRUE: there is no such setting"), "{error}");
    let others = [("TUBESOCK_PRELOAD_LIBRARY", "/x.so"), ("TUBESOCK_TEST_SEED", "7")];
    assert_eq!(from(&others), Ok(Config::default()));
}

#[test]
fn a_flag_replaces_the_variable() {
    let flags = [(setting("--publish"), vec!["3:3".into(), "4:4/udp".into()])];
    let variables = [("TUBESOCK_PUBLISH".into(), "1:1,2:2".into())];
    let config = Config::with_flags(&flags, variables).expect("good values");
    assert_eq!(config.publish, [published("0.0.0.0:3", 3, false), published("0.0.0.0:4", 4, true)]);
}

#[test]
fn trace_and_capture_have_a_file_each() {
    let config = |trace| from(&[("TUBESOCK_TRACE", trace), ("TUBESOCK_CAPTURE", "/x")]).expect("good values");
    let shared = "TUBESOCK_TRACE and TUBESOCK_CAPTURE cannot share a file: give each its own";
    assert_eq!(config("/x").check(), Err(shared.into()));
    assert_eq!([config("/y").check(), config("-").check()], [Ok(()), Ok(())]);
    let both = from(&[("TUBESOCK_TRACE", "-"), ("TUBESOCK_CAPTURE", "-")]).expect("good values");
    assert_eq!((both.check(), both.capture), (Ok(()), Some(Capture::Output)));
}

#[test]
fn variables_give_the_configuration_back() {
    let config = Config {
        link: LinkChoice::Tun("tube".into()),
        address: vec![parsed("192.0.2.15/24"), parsed("2001:db8::15/64")],
        gateway: vec![parsed("192.0.2.1"), parsed("2001:db8::1")],
        dns: vec![parsed("192.0.2.53"), parsed("2001:db8::53")],
        mtu: Some(1400),
        impair: Some(parsed("delay 20ms loss 1% seed 7")),
        route: vec![parsed("198.51.100.0/24,192.0.2.9"), parsed("203.0.113.0/24")],
        capture: Some(Capture::File("/c d".into())),
        capture_calls: true,
        publish: vec![published("[::]:8080", 80, false), published("127.0.0.1:53", 53, true)],
        log: LogLevel::Off,
        trace: Some(Trace::Ladder(Some(7))),
        strict: true,
        bypass: vec![parsed("127.0.0.0/8"), parsed("[::1]/128:80")],
        host: Some(HostAddress::Path("/run/h".into())),
        names: Names::default(),
    };
    let variables = config.variables().into_iter().map(|(name, value)| (name.into(), value));
    assert_eq!(Config::from_environment(variables), Ok(config));
}

#[test]
fn levels_in_order() {
    for (place, (level, name)) in LogLevel::ALL.into_iter().enumerate() {
        assert_eq!((level as usize, level.to_string(), name.parse()), (place, name.to_string(), Ok(level)));
    }
}

#[test]
fn the_document_has_every_entry() {
    let document = include_str!("../../docs/configuration.md");
    for setting in &SETTINGS {
        let row = format!(
            "| `{}` | `{}` | {} | {}{} |",
            format!("{} {}", setting.flag, setting.value).trim_end(),
            setting.variable,
            setting.default,
            setting.help,
            match setting.separator {
                Some(',') => " Repeatable; in the variable, comma-separated.",
                Some(_) => " Repeatable; in the variable, separated by spaces.",
                None => "",
            }
        );
        assert!(document.contains(&row), "docs/configuration.md lacks this row:\n{row}");
    }
    for (name, help) in OTHER_VARIABLES {
        let row = format!("| `{name}` | {help} |");
        assert!(document.contains(&row), "docs/configuration.md lacks this row:\n{row}");
    }
    assert!(document.contains(TEST_VARIABLE_PREFIX));
}

#[test]
fn settings_that_do_not_go_with_each_other() {
    for (variables, expected) in [
        (
            [("TUBESOCK_LINK", ""), ("TUBESOCK_ADDRESS", "192.0.2.1/24")],
            "TUBESOCK_ADDRESS does not go with --link nat",
        ),
        (
            [("TUBESOCK_LINK", ""), ("TUBESOCK_ROUTE", "192.0.2.0/24")],
            "TUBESOCK_ROUTE does not go with --link nat",
        ),
        (
            [("TUBESOCK_LINK", "tap:x"), ("TUBESOCK_PUBLISH", "1:1")],
            "TUBESOCK_PUBLISH does not go with TUBESOCK_LINK tap:x",
        ),
        (
            [("TUBESOCK_LINK", "tun:x"), ("TUBESOCK_MTU", "1500")],
            "TUBESOCK_LINK tun:x: the program has no address there",
        ),
        (
            [
                ("TUBESOCK_LINK", ""),
                ("TUBESOCK_PUBLISH", "80:1,80:1/udp,127.0.0.1:80:1,0:1,0:1,0.0.0.0:80:2"),
            ],
            "TUBESOCK_PUBLISH: 0.0.0.0:80 is there twice",
        ),
        (
            [("TUBESOCK_CAPTURE_CALLS", "1"), ("TUBESOCK_MTU", "1500")],
            "TUBESOCK_CAPTURE_CALLS: there is no capture",
        ),
        ([("TUBESOCK_MTU", "1000"), ("TUBESOCK_ADDRESS", "2001:db8::1/64")], "TUBESOCK_MTU: IPv6 needs 1280"),
    ] {
        let error = from(&variables).expect("each is good").check().expect_err(expected);
        assert!(error.starts_with(expected), "{error}");
    }
    let flags = [(setting("--link"), vec!["tap:x".into()])];
    let given =
        Config::with_flags(&flags, [("TUBESOCK_PUBLISH".into(), "1:1".into())]).expect("each is good");
    let error = given.check().expect_err("tap publishes nothing");
    assert!(error.starts_with("TUBESOCK_PUBLISH does not go with --link tap:x"), "{error}");
    let published =
        from(&[("TUBESOCK_PUBLISH", "80:1,80:1/udp,127.0.0.1:80:1,0:1,0:1")]).expect("good values");
    assert_eq!(published.check(), Ok(()));
    let dns = from(&[("TUBESOCK_DNS", "192.0.2.53"), ("TUBESOCK_MTU", "1500")]).expect("good values");
    assert_eq!(dns.check(), Ok(()));
}

#[test]
fn what_is_said_stands_in_place_of_what_the_link_brings() {
    let link = Addressing {
        addresses: vec![parsed("192.0.2.15/24")],
        routes: vec![parsed("0.0.0.0/0,192.0.2.1")],
        name_servers: vec![parsed("192.0.2.53")],
    };
    assert_eq!(Config::default().addressing(link.clone()), link);
    let said = from(&[("TUBESOCK_GATEWAY", "192.0.2.9"), ("TUBESOCK_ROUTE", "198.51.100.0/24")]);
    let addressing = said.expect("good values").addressing(link.clone());
    assert_eq!(addressing.routes, [parsed("198.51.100.0/24"), parsed("0.0.0.0/0,192.0.2.9")]);
    assert_eq!((addressing.addresses, addressing.name_servers), (link.addresses, link.name_servers));
}

/// Neither is read to its end, which one does not have and the other gets only from a writer.
#[test]
fn what_is_no_regular_file_is_refused() {
    for path in ["/dev/zero", "/"] {
        assert_eq!(read_file(path.as_ref(), 10), Err("it is no regular file".to_owned()), "{path}");
    }
    let long = read_file("/proc/self/exe".as_ref(), 10).expect_err("it is longer");
    assert!(long.contains("more than 10 bytes"), "{long}");
}
