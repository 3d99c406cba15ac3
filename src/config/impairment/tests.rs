use super::*;

fn parsed(text: &str) -> Impairments {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn words_as_netem_has_them() {
    let both = parsed("delay 20ms 2ms loss 1% rate 100mbit limit 1000 seed 7");
    let expected = Impairment {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(2),
        loss: Loss::Random(Probability::from_percent(1.0)),
        rate: NonZeroU64::new(100_000_000),
        limit: Some(Limit::Packets(1000)),
        ..Impairment::default()
    };
    let expected = Impairments { outgoing: Some(expected), incoming: Some(expected), seed: Some(7) };
    assert_eq!(both, expected);
    let bursts = parsed("loss gemodel 1% 10%").outgoing.expect("both");
    assert_eq!(
        bursts.loss,
        Loss::Gilbert {
            turns_bad: Probability::from_percent(1.0),
            turns_good: Probability::from_percent(10.0),
            lost_when_bad: Probability::ALWAYS,
            lost_when_good: Probability::NEVER,
        }
    );
    let rates = [("1gbit", 1_000_000_000), ("1.5mbps", 12_000_000), ("64kibit", 65_536), ("9600", 9600)];
    for (text, bits) in rates {
        assert_eq!(rate(text), NonZeroU64::new(bits), "{text}");
    }
    assert_eq!(time("1500"), Some(Duration::from_micros(1500)));
}

#[test]
fn directions_are_apart() {
    let apart = parsed("loss 1% out delay 10ms in down 5s");
    let [out, inward] = [apart.outgoing, apart.incoming].map(|one| one.expect("both are named"));
    assert_eq!((out.delay, out.down), (Duration::from_millis(10), Duration::ZERO));
    assert_eq!((inward.delay, inward.down), (Duration::ZERO, Duration::from_secs(5)));
    assert_eq!(out.loss, inward.loss);
    let one = parsed("out loss 100%");
    assert_eq!((one.outgoing.is_some(), one.incoming), (true, None));
    assert_eq!(parsed("in none").incoming, Some(Impairment::default()));
}

#[test]
fn whether_the_seed_matters() {
    for text in [
        "delay 20ms 1ms",
        "out loss 1%",
        "loss gemodel 1%",
        "duplicate 1%",
        "corrupt 100%",
        "in delay 1ms reorder 5%",
    ] {
        assert!(parsed(text).is_random(), "{text}");
    }
    for text in
        ["delay 20ms", "loss 100%", "rate 1mbit limit 5", "down 1s", "delay 1ms reorder 100% gap 5", "none"]
    {
        assert!(!parsed(text).is_random(), "{text}");
    }
}

#[test]
fn what_is_shown_gives_the_same_again() {
    for text in [
        "delay 20ms 2ms loss 1% rate 100mbit limit 1000 seed 7",
        "out delay 1500us reorder 25% gap 5 in duplicate 0.1% corrupt 33.3333% mtu 1400 down 1s",
        "loss gemodel 1% 10% 70% 0.1% limit 64kb rate 9600",
        "in none",
    ] {
        let shown = parsed(text).to_string();
        assert_eq!(parsed(&shown), parsed(text), "{text} and {shown}");
    }
    assert_eq!(parsed("loss 1% delay 20000").to_string(), "delay 20ms loss 1%");
}

#[test]
fn what_is_no_impairment() {
    for (text, expected) in [
        ("", "nothing is asked for"),
        ("seed 1", "nothing is asked for"),
        ("delay", "'delay' needs a time, as 20ms"),
        ("delay 20m", "'20m' after 'delay' is none; write a time"),
        ("loss 101%", "'101%' after 'loss' is none; write a percentage"),
        ("loss x", "'x' after 'loss' is none"),
        ("rate 0", "'0' after 'rate' is none"),
        ("limit 1.5", "'1.5' after 'limit' is none"),
        ("delay 99999999999999s", "'99999999999999s' after 'delay'"),
        ("jitter 1ms", "'jitter' is none of its words"),
        ("limit 0", "'0' after 'limit' is none"),
        ("limit 0.1b", "'0.1b' after 'limit' is none"),
        ("mtu 0", "'0' after 'mtu' is none; write a number of bytes, 68 at least"),
        ("mtu 67", "'67' after 'mtu' is none"),
        ("delay 1ms loss 1% delay 2ms", "'delay' comes twice"),
        ("out delay 1ms delay 2ms", "'delay' comes twice"),
        ("out loss 1% in loss 1% out delay 1ms", "'out' comes twice"),
        ("out in out", "'out' has nothing behind it"),
        ("loss 1% in", "'in' has nothing behind it"),
        ("out seed 1", "'out' has nothing behind it"),
        ("seed 1 loss 1% seed 2", "'seed' comes twice"),
        ("reorder 50%", "'reorder' lets packets skip the delay, and there is none"),
        ("rate 1mbit reorder 50%", "'reorder' lets packets skip the delay"),
        ("reorder 50% out delay 20ms", "'reorder' lets packets skip the delay"),
        ("delay 20ms gap 5", "'gap' says how far apart packets are reordered, and none is"),
    ] {
        let error = text.parse::<Impairments>().expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
