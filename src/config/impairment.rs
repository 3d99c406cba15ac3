//! What is done to packets on their way, in the words of tc-netem(8): `delay 20ms 2ms loss 1% rate 100mbit limit 1000`.
//! Words hold for both directions until `out` or `in` comes, and for that one from there.
//!
//! ```text
//!   delay TIME [JITTER]                  TIME: 20ms, 1.5s, 200us; without a unit microseconds
//!   loss [random] PERCENT                loss gemodel P [R [1-H [1-K]]]: bursts, of Gilbert and Elliott
//!   duplicate PERCENT   corrupt PERCENT  reorder PERCENT [gap N]
//!   rate RATE                            100mbit, 1gbit, 12.5mbps (bytes); without a unit bits a second
//!   limit N                              packets that wait for the rate, or are under way without one; or bytes: 64kb
//!   mtu BYTES                            larger packets vanish; at least 68
//!   down TIME                            for so long nothing passes
//!   seed N                               of the whole; the same gives the same decisions
//!   none                                 nothing of all this
//! ```
//!
//! What can only be a mistake is refused: a word that comes twice in one place, a direction that comes twice or with nothing
//! behind it, a queue without room, `reorder` without a delay to skip, `gap` without `reorder`.
#![forbid(unsafe_code)]

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;
use core::time::Duration;
use std::str::SplitAsciiWhitespace;

/// How often something happens: parts of 2^32, as netem has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability(u64);

impl Probability {
    /// 0 %
    pub const NEVER: Probability = Probability(0);
    /// 100 %
    pub const ALWAYS: Probability = Probability(1 << 32);

    /// Bounded by 0 and 100; what is no number is 0.
    pub fn from_percent(percent: f64) -> Probability {
        Probability((percent.clamp(0.0, 100.0) / 100.0 * Self::ALWAYS.0 as f64).round() as u64)
    }

    /// Whether it happens, of 32 random bits.
    pub(crate) const fn has(self, drawn: u64) -> bool {
        drawn < self.0
    }

    /// Whether it may happen and may not.
    fn is_open(self) -> bool {
        self != Self::NEVER && self != Self::ALWAYS
    }

    fn opposite(self) -> Probability {
        Probability(Self::ALWAYS.0 - self.0)
    }
}

/// Which packets are lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// `loss random`: each with the same probability, whatever became of the others.
    Random(Probability),
    /// `loss gemodel`: bursts, by the model of Gilbert and Elliott. A link that starts good turns bad and good again.
    Gilbert {
        /// p: after a packet in the good state, that the next finds the bad one.
        turns_bad: Probability,
        /// r: after a packet in the bad state, that the next finds the good one.
        turns_good: Probability,
        /// 1-h: that a packet is lost in the bad state.
        lost_when_bad: Probability,
        /// 1-k: that a packet is lost in the good state.
        lost_when_good: Probability,
    },
}

/// What may wait for the rate, the packet being sent counted; without a rate, what may be under way. A packet that finds
/// nothing before it always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many packets.
    Packets(usize),
    /// So many bytes, headers included.
    Bytes(usize),
}

impl Limit {
    /// netem's.
    pub(crate) const OF_A_RATE: Limit = Limit::Packets(1000);

    /// Whether another packet may come to so many, of so many bytes in all.
    pub(crate) fn has_room(self, packets: usize, bytes: usize, another: usize) -> bool {
        packets == 0
            || match self {
                Limit::Packets(limit) => packets < limit,
                Limit::Bytes(limit) => bytes + another <= limit,
            }
    }
}

/// What one direction does to packets. The default does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impairment {
    /// Time that each packet takes.
    pub delay: Duration,
    /// How much more or less than `delay`, evenly spread: what this makes overtake, overtakes.
    pub jitter: Duration,
    /// Bits a second, headers included.
    pub rate: Option<NonZeroU64>,
    /// The queue before `rate`, which has one without this too; without a rate, what `delay` holds.
    pub limit: Option<Limit>,
    /// Which packets are lost.
    pub loss: Loss,
    /// That a packet comes twice; each copy has a fate of its own.
    pub duplicate: Probability,
    /// That one bit of a packet is flipped.
    pub corrupt: Probability,
    /// That a packet skips the delay, and so overtakes.
    pub reorder: Probability,
    /// Of so many packets at most one is reordered: with `reorder` at 100 %, exactly the `gap`-th. 0 is 1.
    pub gap: u32,
    /// A black hole: larger packets are lost, and nobody is told.
    pub mtu: Option<usize>,
    /// All packets are lost for so long from when the settings are made.
    pub down: Duration,
}

impl Default for Impairment {
    fn default() -> Impairment {
        Impairment {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            limit: None,
            loss: Loss::None,
            duplicate: Probability::NEVER,
            corrupt: Probability::NEVER,
            reorder: Probability::NEVER,
            gap: 1,
            mtu: None,
            down: Duration::ZERO,
        }
    }
}

/// What is done in each direction that is named, as the program sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairments {
    /// From the program to the network; None where only the other direction was named.
    pub outgoing: Option<Impairment>,
    /// From the network to the program.
    pub incoming: Option<Impairment>,
    /// None: whichever.
    pub seed: Option<u64>,
}

/// The words that are left to be read.
struct Words<'a>(core::iter::Peekable<SplitAsciiWhitespace<'a>>);

impl<'a> Words<'a> {
    /// What must follow `word`.
    fn value<T>(&mut self, word: &str, read: fn(&str) -> Option<T>, form: &str) -> Result<T, String> {
        let value = self.0.next().ok_or_else(|| format!("'{word}' needs {form}"))?;
        read(value).ok_or_else(|| format!("'{value}' after '{word}' is none; write {form}"))
    }

    /// What may follow: there is a value when it begins as numbers do.
    fn more<T>(&mut self, word: &str, read: fn(&str) -> Option<T>, form: &str) -> Result<Option<T>, String> {
        match self.0.peek() {
            Some(next) if next.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.') => {
                self.value(word, read, form).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The next word, if it is this one.
    fn skip(&mut self, word: &str) -> bool {
        self.0.next_if(|next| *next == word).is_some()
    }
}

const TIME: &str = "a time, as 20ms";
const PERCENT: &str = "a percentage, as 1%";
const RATE: &str = "a rate, as 100mbit";
const LIMIT: &str = "a number of packets, or of bytes, as 64kb";
const NUMBER: &str = "a number";

impl FromStr for Impairments {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = Words(text.split_ascii_whitespace().peekable());
        let (mut place, mut named) = (Place::default(), [false; 2]);
        let (mut out, mut inward, mut seed) = (Impairment::default(), Impairment::default(), None);
        while let Some(word) = words.0.next() {
            match word {
                "out" | "in" => place.enter(word)?,
                "seed" if seed.is_some() => return Err(twice(word)),
                "seed" => seed = Some(words.value(word, |text| text.parse().ok(), NUMBER)?),
                _ => {
                    let change = change(word, &mut words)?;
                    place.say(word)?;
                    let here = [place.is("out"), place.is("in")];
                    for (to, _) in [&mut out, &mut inward].into_iter().zip(here).filter(|(_, here)| *here) {
                        change(to);
                    }
                    named = [named[0] || here[0], named[1] || here[1]];
                }
            }
        }
        place.leave()?;
        if named == [false; 2] {
            return Err("nothing is asked for; write for example 'delay 20ms loss 1%'".into());
        }
        let asked =
            Impairments { outgoing: named[0].then_some(out), incoming: named[1].then_some(inward), seed };
        asked.outgoing.iter().chain(&asked.incoming).try_for_each(Impairment::check)?;
        Ok(asked)
    }
}

/// Whereabouts in the text: both directions, or behind the word of one.
#[derive(Default)]
struct Place<'a> {
    directions: Vec<&'a str>,
    /// The words that were said there.
    said: Vec<&'a str>,
}

impl<'a> Place<'a> {
    fn enter(&mut self, direction: &'a str) -> Result<(), String> {
        self.leave()?;
        if self.directions.contains(&direction) {
            return Err(twice(direction));
        }
        self.directions.push(direction);
        self.said.clear();
        Ok(())
    }

    fn say(&mut self, word: &'a str) -> Result<(), String> {
        if self.said.contains(&word) {
            return Err(twice(word));
        }
        self.said.push(word);
        Ok(())
    }

    fn leave(&self) -> Result<(), String> {
        match self.directions.last() {
            Some(direction) if self.said.is_empty() => {
                Err(format!("'{direction}' has nothing behind it; write what is to be done there, or 'none'"))
            }
            _ => Ok(()),
        }
    }

    /// Whether what stands here is for a direction.
    fn is(&self, direction: &str) -> bool {
        self.directions.last().is_none_or(|last| *last == direction)
    }
}

fn twice(word: &str) -> String {
    format!("'{word}' comes twice; leave one out")
}

/// What a word and its values do to a direction.
type Change = Box<dyn Fn(&mut Impairment)>;

fn change(word: &str, words: &mut Words<'_>) -> Result<Change, String> {
    Ok(match word {
        "none" => Box::new(|to| *to = Impairment::default()),
        "delay" => {
            let delay = words.value(word, time, TIME)?;
            let jitter = words.more(word, time, TIME)?.unwrap_or_default();
            Box::new(move |to| (to.delay, to.jitter) = (delay, jitter))
        }
        "loss" => {
            let loss = loss(words)?;
            Box::new(move |to| to.loss = loss)
        }
        "duplicate" => {
            let duplicate = words.value(word, percent, PERCENT)?;
            Box::new(move |to| to.duplicate = duplicate)
        }
        "corrupt" => {
            let corrupt = words.value(word, percent, PERCENT)?;
            Box::new(move |to| to.corrupt = corrupt)
        }
        "reorder" => {
            let reorder = words.value(word, percent, PERCENT)?;
            Box::new(move |to| to.reorder = reorder)
        }
        "gap" => {
            let gap = words.value(word, |text| text.parse().ok(), NUMBER)?;
            Box::new(move |to| to.gap = gap)
        }
        "rate" => {
            let rate = words.value(word, rate, RATE)?;
            Box::new(move |to| to.rate = Some(rate))
        }
        "limit" => {
            let limit = words.value(word, limit, LIMIT)?;
            Box::new(move |to| to.limit = Some(limit))
        }
        "mtu" => {
            let mtu = words.value(word, mtu, "a number of bytes, 68 at least")?;
            Box::new(move |to| to.mtu = Some(mtu))
        }
        "down" => {
            let down = words.value(word, time, TIME)?;
            Box::new(move |to| to.down = down)
        }
        _ => {
            return Err(format!(
                "'{word}' is none of its words; they are delay, loss, duplicate, corrupt, reorder, gap, rate, limit, mtu, \
                 down, seed, none, and out and in for one direction"
            ));
        }
    })
}

fn loss(words: &mut Words<'_>) -> Result<Loss, String> {
    if !words.skip("gemodel") {
        words.skip("random");
        return words.value("loss", percent, PERCENT).map(Loss::Random);
    }
    let turns_bad = words.value("gemodel", percent, PERCENT)?;
    let mut next = || words.more("gemodel", percent, PERCENT);
    // netem's defaults
    let turns_good = next()?.unwrap_or(turns_bad.opposite());
    let lost_when_bad = next()?.unwrap_or(Probability::ALWAYS);
    let lost_when_good = next()?.unwrap_or(Probability::NEVER);
    Ok(Loss::Gilbert { turns_bad, turns_good, lost_when_bad, lost_when_good })
}

/// A number and its unit.
fn quantity(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// The longest: as good as for ever.
const TIME_MAX_SECONDS: f64 = 1e9;

fn time(text: &str) -> Option<Duration> {
    let (number, unit) = quantity(text)?;
    let seconds = match unit {
        "" | "us" | "usec" | "usecs" => number / 1e6,
        "ms" | "msec" | "msecs" => number / 1e3,
        "s" | "sec" | "secs" => number,
        _ => return None,
    };
    // To the microsecond, which is what the clock has.
    (seconds <= TIME_MAX_SECONDS).then(|| Duration::from_micros((seconds * 1e6).round() as u64))
}

fn percent(text: &str) -> Option<Probability> {
    let number: f64 = text.strip_suffix('%').unwrap_or(text).parse().ok()?;
    (0.0..=100.0).contains(&number).then(|| Probability::from_percent(number))
}

fn rate(text: &str) -> Option<NonZeroU64> {
    let (number, unit) = quantity(text)?;
    let (prefix, bits) = match unit {
        "" => ("", 1.0),
        unit => match unit.strip_suffix("bit") {
            Some(prefix) => (prefix, 1.0),
            None => (unit.strip_suffix("bps")?, 8.0),
        },
    };
    let scale = match prefix {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "ki" => 1024.0,
        "mi" => 1024.0 * 1024.0,
        "gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    NonZeroU64::new((number * scale * bits).round() as u64)
}

fn limit(text: &str) -> Option<Limit> {
    let (number, unit) = quantity(text)?;
    let bytes = |scale: f64| Some(Limit::Bytes((number * scale).round() as usize));
    match unit {
        "" => text.parse().ok().map(Limit::Packets),
        "b" => bytes(1.0),
        "k" | "kb" => bytes(1024.0),
        "m" | "mb" => bytes(1024.0 * 1024.0),
        _ => None,
    }
    .filter(|limit| !matches!(limit, Limit::Packets(0) | Limit::Bytes(0)))
}

/// RFC 791 asks every link to carry so much.
fn mtu(text: &str) -> Option<usize> {
    text.parse().ok().filter(|bytes| *bytes >= 68)
}

impl Impairments {
    /// Whether the seed decides anything.
    pub fn is_random(&self) -> bool {
        self.outgoing.iter().chain(&self.incoming).any(Impairment::is_random)
    }
}

impl fmt::Display for Impairments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        match (self.outgoing, self.incoming) {
            (Some(outgoing), Some(incoming)) if outgoing == incoming => parts.push(outgoing.to_string()),
            (outgoing, incoming) => {
                parts.extend(outgoing.map(|outgoing| format!("out {outgoing}")));
                parts.extend(incoming.map(|incoming| format!("in {incoming}")));
            }
        }
        parts.extend(self.seed.map(|seed| format!("seed {seed}")));
        f.write_str(&parts.join(" "))
    }
}

impl fmt::Display for Impairment {
    /// In words that give the same again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Impairment::default();
        let mut words = Vec::new();
        match (self.delay, self.jitter) {
            (Duration::ZERO, Duration::ZERO) => {}
            (delay, Duration::ZERO) => words.push(format!("delay {}", Time(delay))),
            (delay, jitter) => words.push(format!("delay {} {}", Time(delay), Time(jitter))),
        }
        words.extend(self.loss_words());
        for (word, probability) in
            [("duplicate", self.duplicate), ("corrupt", self.corrupt), ("reorder", self.reorder)]
        {
            if probability != Probability::NEVER {
                words.push(format!("{word} {probability}"));
            }
        }
        words.extend((self.gap != default.gap).then(|| format!("gap {}", self.gap)));
        words.extend(self.rate.map(|rate| format!("rate {}", Rate(rate.get()))));
        words.extend(self.limit.map(|limit| match limit {
            Limit::Packets(packets) => format!("limit {packets}"),
            Limit::Bytes(bytes) => format!("limit {bytes}b"),
        }));
        words.extend(self.mtu.map(|mtu| format!("mtu {mtu}")));
        words.extend((!self.down.is_zero()).then(|| format!("down {}", Time(self.down))));
        f.write_str(if words.is_empty() { "none" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

impl Impairment {
    /// Fails where a word has no effect without another, as tc(8) does.
    fn check(&self) -> Result<(), String> {
        let reorders = self.reorder != Probability::NEVER;
        if reorders && self.delay.is_zero() && self.jitter.is_zero() {
            return Err(
                "'reorder' lets packets skip the delay, and there is none in each direction that it is for; \
                        write for example 'delay 20ms reorder 25%'"
                    .into(),
            );
        }
        if self.gap != Impairment::default().gap && !reorders {
            return Err("'gap' says how far apart packets are reordered, and none is; write for example \
                        'delay 20ms reorder 25% gap 5'"
                .into());
        }
        Ok(())
    }

    fn is_random(&self) -> bool {
        let lost = match self.loss {
            Loss::None => false,
            Loss::Random(probability) => probability.is_open(),
            Loss::Gilbert { turns_bad, turns_good, lost_when_bad, lost_when_good } => {
                [turns_bad, turns_good, lost_when_bad, lost_when_good].iter().any(|one| one.is_open())
            }
        };
        // What is corrupted is so in a bit of its own.
        let corrupted = self.corrupt != Probability::NEVER;
        lost || corrupted || !self.jitter.is_zero() || self.duplicate.is_open() || self.reorder.is_open()
    }

    fn loss_words(&self) -> Option<String> {
        match self.loss {
            Loss::None => None,
            Loss::Random(probability) => Some(format!("loss {probability}")),
            Loss::Gilbert { turns_bad, turns_good, lost_when_bad, lost_when_good } => {
                Some(format!("loss gemodel {turns_bad} {turns_good} {lost_when_bad} {lost_when_good}"))
            }
        }
    }
}

impl fmt::Display for Probability {
    /// With as many digits as it takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 as f64 * 100.0 / Self::ALWAYS.0 as f64;
        let shown = (0..12).map(|digits| format!("{percent:.digits$}"));
        let exact = |text: &String| text.parse().is_ok_and(|shown| Probability::from_percent(shown) == *self);
        let text = shown.into_iter().find(exact).unwrap_or_else(|| percent.to_string());
        write!(f, "{text}%")
    }
}

struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            micros if micros % 1_000_000 == 0 => write!(f, "{}s", micros / 1_000_000),
            micros if micros % 1000 == 0 => write!(f, "{}ms", micros / 1000),
            micros => write!(f, "{micros}us"),
        }
    }
}

struct Rate(u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate % 1_000_000_000 == 0 => write!(f, "{}gbit", rate / 1_000_000_000),
            rate if rate % 1_000_000 == 0 => write!(f, "{}mbit", rate / 1_000_000),
            rate if rate % 1000 == 0 => write!(f, "{}kbit", rate / 1000),
            rate => write!(f, "{rate}bit"),
        }
    }
}

#[cfg(test)]
mod tests;
