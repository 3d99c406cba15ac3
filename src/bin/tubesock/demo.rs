//! `tubesock demo`: an ordinary server on the kernel's loopback, the system's curl on a stack of its own, and the ladder
//! of what happened between them. It fails when the transfer failed, or when the trace does not show that our stack
//! made the connection: then the picture would prove nothing.
#![forbid(unsafe_code)]

use crate::settings::SettingFlags;
use crate::{Failure, ladder, page, preload, program, reachable, run};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use tubesock::config::{Capture, Config, LinkChoice, Trace};
use tubesock::nat::GATEWAY_V4;
use tubesock::observe::event;

/// When the demo itself does not work out.
const FAILED: u8 = 1;

/// Runs the demo, and prints the transfer and the ladder.
pub(crate) fn show(settings: &SettingFlags) -> Result<(), Failure> {
    let curl = program::find(OsStr::new("curl"), std::env::var_os("PATH").as_deref()).map_err(|failure| {
        Failure::new(
            failure.status,
            "the demo runs the system's curl, which is not there: apt-get install curl",
        )
    })?;
    reachable::check(&curl)?;
    let mut config = settings.config()?;
    suits(&config)?;
    let library = preload::library_or_build()?;
    settings.open_files(&config)?.take()?;
    let trace = TraceFile::new(&mut config).map_err(|error| failed(format!("the trace: {error}")))?;
    let server = page::serve().map_err(|error| failed(format!("the server: {error}")))?;

    let url = format!("http://{GATEWAY_V4}:{}/", server.port());
    let mut command = Command::new(curl);
    // Neither its configuration file nor a proxy may come between.
    command.args([
        "--disable",
        "--noproxy",
        "*",
        "--silent",
        "--show-error",
        "--include",
        "--max-time",
        "20",
        &url,
    ]);
    run::add_library(&mut command, &library)?;
    command.envs(config.variables());
    say(&format!(
        "{}\n\n",
        heading(&format!("An ordinary HTTP server listens on {server}, by the kernel's TCP."))
    ))?;
    say(&format!("$ tubesock run -- curl --include {url}\n\n"))?;
    let status = command.status().map_err(|error| failed(format!("curl: {error}")))?;
    if !status.success() {
        return Err(failed(format!("the transfer failed: curl ended with {status}")));
    }
    let text = trace.read().map_err(|error| failed(format!("the trace: {error}")))?;
    let events = event::parse(&text).map_err(failed)?;
    say(&format!("\n{}\n\n{}", heading("The same as a ladder."), ladder::draw(&events)))?;
    if !ladder::shows_handshake(&events) {
        return Err(failed("the trace shows no handshake: the connection was not made by our stack".into()));
    }
    Ok(())
}

/// The demo runs curl on a stack in its process, which has the server on the machine's loopback by nat.
fn suits(config: &Config) -> Result<(), Failure> {
    let setting = |problem: String| Failure::new(Failure::SETTING, problem);
    let unfit = [
        ("--link", "", config.link != LinkChoice::Nat),
        ("--capture", " -", config.capture == Some(Capture::Output)),
        ("--capture-calls", "", config.capture_calls),
        ("--strict", "", config.strict),
        ("--bypass", "", !config.bypass.is_empty()),
    ];
    match unfit.iter().find(|(_, _, given)| *given) {
        Some((flag, value, _)) => {
            let name = config.names.of(flag);
            Err(setting(format!(
                "{name}{value}: the demo cannot show that; give it to 'tubesock run -- curl'"
            )))
        }
        None => config.check().map_err(setting),
    }
}

/// Not `print!`, which panics when the reader has gone. Flushed, because curl writes to the same place.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| failed(format!("standard output: {error}")))
}

fn failed(message: String) -> Failure {
    Failure::new(FAILED, message)
}

/// Bold on a terminal.
fn heading(text: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}

/// Where the trace goes: the file of the settings, behind what is there, or one of our own that is removed at the end.
struct TraceFile {
    path: PathBuf,
    start: u64,
    private: bool,
}

impl TraceFile {
    fn new(config: &mut Config) -> std::io::Result<TraceFile> {
        if let Some(path) = config.trace.as_ref().and_then(Trace::file) {
            return Ok(TraceFile {
                path: path.clone(),
                start: std::fs::metadata(path)?.len(),
                private: false,
            });
        }
        let name = format!("tubesock-demo-{:016x}.trace", u64::from_ne_bytes(tubesock::sys::entropy()));
        let path = std::path::absolute(std::env::temp_dir().join(name))?;
        // For us alone, and no link that somebody laid there.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        config.trace = Some(Trace::File(path.clone()));
        Ok(TraceFile { path, start: 0, private: true })
    }

    fn read(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        if self.private {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
