//! What settings are called by who gave them: a message names what a person wrote.
#![forbid(unsafe_code)]

/// The names under which settings were given. To be called otherwise makes no other setting: all are equal.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<(&'static str, String)>);

impl Names {
    pub(super) fn remember(&mut self, flag: &'static str, name: &str) {
        self.0.retain(|(other, _)| *other != flag);
        self.0.push((flag, name.to_owned()));
    }

    /// The flag, the variable or the key in a file; the flag of a setting that was not given.
    pub fn of<'a>(&'a self, flag: &'a str) -> &'a str {
        self.0.iter().find(|(other, _)| *other == flag).map_or(flag, |(_, name)| name)
    }

    /// What is said when a trace and a capture would go to one file.
    pub fn sharing(&self) -> String {
        let [trace, capture] = ["--trace", "--capture"].map(|flag| self.of(flag));
        format!("{trace} and {capture} cannot share a file: give each its own")
    }
}

impl PartialEq for Names {
    fn eq(&self, _: &Names) -> bool {
        true
    }
}

impl Eq for Names {}
