//! /etc/resolv.conf (resolv.conf(5)): where to search and how long to wait. Not who to ask: the servers are the link's.
#![forbid(unsafe_code)]

use super::Machine;
use std::time::Duration;

/// The limits are those of glibc (RES_MAXNDOTS, RES_MAXRETRANS, RES_MAXRETRY).
const NDOTS_MAX: u32 = 15;
const TIMEOUT_MAX_SECONDS: u32 = 30;
const ATTEMPTS_MAX: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// Domains to append to a name, in order; "" is the root.
    pub search: Vec<String>,
    /// With as many dots a name is tried as it stands first.
    pub ndots: usize,
    /// For one server, once.
    pub timeout: Duration,
    /// How often each server is asked.
    pub attempts: u32,
    /// Begin with another server each time.
    pub rotate: bool,
    /// Use TCP at once.
    pub use_stream: bool,
}

impl Settings {
    /// Reads the file and the variables LOCALDOMAIN and RES_OPTIONS, which outrank it.
    pub(super) fn read(machine: &dyn Machine) -> Settings {
        let mut settings = Settings {
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_stream: false,
        };
        let mut search = None;
        for line in machine.text("/etc/resolv.conf").unwrap_or_default().lines() {
            // A comment begins in the first column only; elsewhere '#' is part of a word (resolv.conf(5)).
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("domain") => search = words.next().map(|domain| vec![domain.to_owned()]).or(search),
                Some("search") => search = Some(words.map(str::to_owned).collect()),
                Some("options") => words.for_each(|option| settings.apply(option)),
                _ => {}
            }
        }
        if let Some(domains) = machine.variable("LOCALDOMAIN") {
            search = Some(domains.split_ascii_whitespace().map(str::to_owned).collect());
        }
        if let Some(options) = machine.variable("RES_OPTIONS") {
            options.split_ascii_whitespace().for_each(|option| settings.apply(option));
        }
        settings.search = search.unwrap_or_else(|| own_domain(machine).into_iter().collect());
        for domain in &mut settings.search {
            domain.truncate(domain.trim_end_matches('.').len());
        }
        settings
    }

    fn apply(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = |limit: u32| value.parse::<u32>().map_or(0, |number| number.min(limit));
        match name {
            "ndots" => self.ndots = number(NDOTS_MAX) as usize,
            "timeout" => self.timeout = Duration::from_secs(number(TIMEOUT_MAX_SECONDS).max(1).into()),
            "attempts" => self.attempts = number(ATTEMPTS_MAX).max(1),
            "rotate" => self.rotate = true,
            "use-vc" => self.use_stream = true,
            _ => {}
        }
    }
}

/// What follows the first dot of the machine's name.
pub(super) fn own_domain(machine: &dyn Machine) -> Option<String> {
    let name = host_name(machine)?;
    name.split_once('.').map(|(_, domain)| domain.to_owned()).filter(|domain| !domain.is_empty())
}

/// The machine's name, gethostname(2).
pub(super) fn host_name(machine: &dyn Machine) -> Option<String> {
    machine.text("/proc/sys/kernel/hostname").map(|name| name.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeMachine;
    use super::*;

    #[test]
    fn the_last_of_domain_and_search_wins() {
        let machine = FakeMachine::default().file(
            "/etc/resolv.conf",
            "domain a.test\nsearch b.test c.test.\noptions ndots:3 timeout:99 rotate\n",
        );
        let settings = Settings::read(&machine);
        assert_eq!(settings.search, ["b.test", "c.test"]);
        assert_eq!((settings.ndots, settings.timeout, settings.rotate), (3, Duration::from_secs(30), true));
        assert_eq!(settings.attempts, 2);
    }

    #[test]
    fn variables_outrank_the_file() {
        let machine = FakeMachine::default()
            .file("/etc/resolv.conf", "search b.test\noptions attempts:4\n")
            .variable("LOCALDOMAIN", "x.test y.test")
            .variable("RES_OPTIONS", "attempts:1 ndots:x");
        let settings = Settings::read(&machine);
        assert_eq!(settings.search, ["x.test", "y.test"]);
        assert_eq!((settings.attempts, settings.ndots), (1, 0));
    }

    #[test]
    fn without_a_list_the_domain_of_the_host_is_searched() {
        let machine = FakeMachine::default().file("/proc/sys/kernel/hostname", "vm.example.test\n");
        assert_eq!(Settings::read(&machine).search, ["example.test"]);
        assert_eq!(Settings::read(&FakeMachine::default()).search, [""; 0]);
    }
}
