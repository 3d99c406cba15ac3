//! Starting the host: settings, log, link, engine, bridge, thread.

use super::exit::Ending;
use super::inner::ENDING;
use super::{HOST, Host, Inner, STARTING, driver};
use crate::bridge::Bridge;
use crate::config::{Config, LinkChoice};
use crate::engine::{Engine, Settings};
use crate::error::{Error, Result};
use crate::link::Link;
use crate::link::capture::Capture;
use crate::nat::{self, Nat};
use crate::observe::{log, trace};
use crate::sys;
use crate::sys::descriptors::duplicate;
use crate::sys::signals::Blocked;
use crate::tcp;
use rustix::event::epoll::EventFlags;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Exit status for settings that cannot be used: EX_CONFIG of sysexits(3).
const EX_CONFIG: i32 = 78;

/// Settings by `configure`, which win over the variables.
static CONFIGURED: Mutex<Vec<(String, OsString)>> = Mutex::new(Vec::new());

/// Sets what a TUBESOCK_* variable would set, before the first socket. EINVAL for a setting that does not exist or a
/// value that cannot be used, EBUSY once the host runs.
pub fn configure(name: &str, value: &str) -> Result<()> {
    if Host::running().is_some() {
        return Err(Error::Kernel(libc::EBUSY));
    }
    let mut configured = CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = configured.len();
    configured.push((name.to_owned(), value.into()));
    if read(&configured).is_err() {
        configured.truncate(before);
        return Err(Error::InvalidArgument);
    }
    Ok(())
}

/// The TUBESOCK_* variables as they were when the program started.
static REMEMBERED: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();

/// Notes the settings of the environment, before the program can change it. Costs nothing where there are none.
pub fn remember_settings() {
    REMEMBERED.get_or_init(|| std::env::vars_os().filter(|(name, _)| is_setting(name)).collect());
}

fn is_setting(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"TUBESOCK_")
}

/// The settings: what was configured, else what the environment says now, else what it said at the start. The error is
/// a sentence for a person.
fn read(configured: &[(String, OsString)]) -> Result<Config, String> {
    let mut settings: BTreeMap<OsString, OsString> =
        REMEMBERED.get().cloned().unwrap_or_default().into_iter().collect();
    settings.extend(std::env::vars_os().filter(|(name, _)| is_setting(name)));
    settings.extend(configured.iter().map(|(name, value)| (name.into(), value.clone())));
    Config::from_environment(settings)
}

/// Whether `tubesock run` started the program, also when the settings cannot be read.
fn is_run() -> bool {
    let remembered =
        REMEMBERED.get().is_some_and(|settings| settings.iter().any(|(name, _)| name == "TUBESOCK_RUN"));
    remembered || std::env::var_os("TUBESOCK_RUN").is_some()
}

/// Starts the host, or waits for the thread that is doing so.
pub(super) fn start() -> Result<&'static Host> {
    let process = sys::process_id();
    loop {
        if let Some(host) = Host::running() {
            return Ok(host);
        }
        let starting = STARTING.load(Ordering::Acquire);
        // A thread of the parent was starting one when the child was forked: it does not exist here.
        let free = starting != process;
        if free && STARTING.compare_exchange(starting, process, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // A handler in this thread that makes a socket would wait for itself.
            let _signals = Blocked::all();
            let _starting = Starting;
            return start_alone(process);
        }
        std::thread::yield_now();
    }
}

/// Says, however it ends, that nobody is starting the host any more.
struct Starting;

impl Drop for Starting {
    fn drop(&mut self) {
        STARTING.store(0, Ordering::Release);
    }
}

fn start_alone(process: u32) -> Result<&'static Host> {
    let configured = CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (config, problem) = match read(&configured) {
        Ok(config) => (config, None),
        Err(problem) => (Config::default(), Some(problem)),
    };
    log::start(config.log);
    let built = problem.map_or_else(|| build(&config, process), Err);
    let host: &'static Host = match built {
        Ok(host) => Box::leak(Box::new(host)),
        Err(problem) => {
            tracing::error!("{problem}");
            if config.run || is_run() {
                sys::end_process(EX_CONFIG);
            }
            return Err(Error::InvalidArgument);
        }
    };
    host.lock().step();
    // Once the thread runs it has the host for ever; if it does not, the host is leaked, descriptors and all, since
    // there is no process worth saving without a thread to be had.
    driver::start(host)?;
    HOST.store(core::ptr::from_ref(host).cast_mut(), Ordering::Release);
    tracing::info!("link {:?}, pid {process}", config.link);
    Ok(host)
}

fn build(config: &Config, process: u32) -> Result<Host, String> {
    if let Some(path) = &config.trace {
        trace::start(path)
            .map_err(|error| format!("TUBESOCK_TRACE: cannot open {}: {error}", path.display()))?;
    }
    let now = sys::now();
    let mut link: Box<dyn Link> = match config.link {
        LinkChoice::Nat => Box::new(Nat::new(&config.publish, sys::entropy(), now)?),
    };
    if let Some(path) = &config.capture {
        let capture = Capture::new(link, path);
        link = Box::new(
            capture.map_err(|error| format!("TUBESOCK_CAPTURE: cannot open {}: {error}", path.display()))?,
        );
    }
    let capabilities = link.capabilities();
    let engine = Engine::new(
        Settings {
            mtu: capabilities.mtu,
            addresses: vec![(IpAddr::V4(nat::GUEST_V4), 24), (IpAddr::V6(nat::GUEST_V6), 64)],
            any_address: false,
            offer_incoming: false,
            checksums: capabilities.checksums,
            segmentation: capabilities.segmentation,
            in_memory: capabilities.in_memory,
            tcp: tcp::Settings::default(),
            seed: sys::entropy(),
        },
        now,
    );
    let token = sys::entropy();
    let inner = Bridge::new(token).and_then(|bridge| Inner::new(engine, link, bridge));
    let inner = inner.map_err(|error| format!("the host cannot start: {error}"))?;
    let set = duplicate(inner.bridge.interest().descriptor());
    let set = set.map_err(|errno| format!("the host cannot start: {errno}"))?;
    let ending = Ending::new().and_then(|ending| {
        inner.bridge.interest().add(ending.wake(), ENDING, EventFlags::IN | EventFlags::ONESHOT)?;
        Ok(ending)
    });
    let ending = ending.map_err(|error| format!("the host cannot start: {error}"))?;
    Ok(Host { token, process, set, ending, inner: Mutex::new(inner) })
}
