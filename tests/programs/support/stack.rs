//! Which stack a program runs on, and how the command line says so.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The kernel's stack, or ours by one of its two ways.
pub(crate) struct Stack {
    way: Way,
    capture: Option<PathBuf>,
    publish: Vec<String>,
    log: Option<&'static str>,
    strict: bool,
    bypass: Option<String>,
    settings: Vec<(&'static str, String)>,
}

enum Way {
    Kernel,
    /// `tubesock run`
    Run(PathBuf),
    /// LD_PRELOAD and nothing else
    Preload(PathBuf),
}

impl Stack {
    pub(crate) fn kernel() -> Stack {
        Stack::by(Way::Kernel)
    }

    /// Ours, by `tubesock run`.
    pub(crate) fn run() -> Stack {
        Stack::by(Way::Run(env!("CARGO_BIN_EXE_tubesock").into()))
    }

    /// Ours, by LD_PRELOAD.
    pub(crate) fn preload() -> Stack {
        Stack::by(Way::Preload(preload_library()))
    }

    /// The same from a copy in `directory`, for users who may not enter the directory of the build.
    pub(crate) fn copied_to(mut self, directory: &Path) -> Stack {
        match &mut self.way {
            Way::Kernel => {}
            Way::Run(command) => {
                copy(&preload_library(), directory);
                *command = copy(command, directory);
            }
            Way::Preload(library) => *library = copy(library, directory),
        }
        self
    }

    pub(crate) fn capture(mut self, file: &Path) -> Stack {
        self.capture = Some(file.to_owned());
        self
    }

    /// Opens port `outside` of the machine's loopback to port `inside` of the program.
    pub(crate) fn publish(mut self, outside: u16, inside: u16) -> Stack {
        self.publish.push(format!("127.0.0.1:{outside}:{inside}"));
        self
    }

    /// Adds a `--publish` as it is.
    pub(crate) fn publish_as(mut self, text: &str) -> Stack {
        self.publish.push(text.to_owned());
        self
    }

    pub(crate) fn log(mut self, level: &'static str) -> Stack {
        self.log = Some(level);
        self
    }

    /// Lets the kernel connect to what `network` has.
    pub(crate) fn bypass(mut self, network: &str) -> Stack {
        self.bypass = Some(network.to_owned());
        self
    }

    /// Any other setting, by its flag without the dashes; again for another value. A switch has none.
    pub(crate) fn set(mut self, setting: &'static str, value: &str) -> Stack {
        self.settings.push((setting, value.to_owned()));
        self
    }

    pub(crate) fn strict(mut self) -> Stack {
        self.strict = true;
        self
    }

    /// Where a program on this stack finds the machine's loopback. 10.0.2.2 exists in our stack only: a
    /// program that went round it would not get there.
    pub(crate) fn gateway(&self) -> IpAddr {
        match self.way {
            Way::Kernel => [127, 0, 0, 1].into(),
            Way::Run(_) | Way::Preload(_) => [10, 0, 2, 2].into(),
        }
    }

    /// The words to put before a program's own.
    pub(crate) fn command(&self) -> Vec<OsString> {
        match &self.way {
            Way::Kernel => Vec::new(),
            Way::Run(command) => self.run_command(command),
            Way::Preload(library) => self.preload_command(library),
        }
    }

    fn run_command(&self, command: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![command.into(), "run".into()];
        if let Some(file) = &self.capture {
            words.extend(["--capture".into(), file.into()]);
        }
        for publish in &self.publish {
            words.extend(["--publish".into(), publish.into()]);
        }
        if let Some(level) = self.log {
            words.extend(["--log".into(), level.into()]);
        }
        if let Some(network) = &self.bypass {
            words.extend(["--bypass".into(), network.into()]);
        }
        for (setting, value) in &self.settings {
            words.push(format!("--{setting}").into());
            words.extend((!value.is_empty()).then(|| value.into()));
        }
        if self.strict {
            words.push("--strict".into());
        }
        words.push("--".into());
        words
    }

    fn preload_command(&self, library: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["env".into(), assignment("LD_PRELOAD", library.as_os_str())];
        if let Some(file) = &self.capture {
            words.push(assignment("TUBESOCK_CAPTURE", file.as_os_str()));
        }
        if !self.publish.is_empty() {
            words.push(assignment("TUBESOCK_PUBLISH", self.publish.join(",").as_ref()));
        }
        if let Some(level) = self.log {
            words.push(assignment("TUBESOCK_LOG", level.as_ref()));
        }
        if let Some(network) = &self.bypass {
            words.push(assignment("TUBESOCK_BYPASS", network.as_ref()));
        }
        for (setting, _) in &self.settings {
            let values: Vec<&str> = self
                .settings
                .iter()
                .filter(|(other, _)| other == setting)
                .map(|(_, value)| &value[..])
                .collect();
            let variable = format!("TUBESOCK_{}", setting.to_uppercase().replace('-', "_"));
            let value = Some(values.join(",")).filter(|value| !value.is_empty()).unwrap_or("1".into());
            words.push(assignment(&variable, value.as_ref()));
        }
        words
    }

    fn by(way: Way) -> Stack {
        Stack {
            way,
            capture: None,
            publish: Vec::new(),
            log: None,
            strict: false,
            bypass: None,
            settings: Vec::new(),
        }
    }
}

fn assignment(name: &str, value: &std::ffi::OsStr) -> OsString {
    let mut text = OsString::from(format!("{name}="));
    text.push(value);
    text
}

/// Cargo puts the library beside this test, because the package has it as a development dependency.
fn preload_library() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let library = test.with_file_name("libtubesock_preload.so");
    assert!(library.exists(), "{} is missing: run `cargo test`, which builds it", library.display());
    library
}

fn copy(file: &Path, directory: &Path) -> PathBuf {
    let target = directory.join(file.file_name().expect("a file has a name"));
    std::fs::copy(file, &target).expect("the directory is the test's own");
    target
}
