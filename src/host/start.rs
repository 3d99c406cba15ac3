//! Starting the host: settings, log, link, engine, bridge, thread.
#![forbid(unsafe_code)]

use super::control::Control;
use super::exit::Ending;
use super::inner::ENDING;
use super::links::{self, Attached};
use super::{Address, ELSEWHERE, HOST, Host, Inner, STARTING, bypass, driver};
use crate::bridge::Bridge;
use crate::bridge::name;
use crate::config::{Capture, Config, HOST_VARIABLE, Key, LinkChoice, LogLevel, PROCESS_LENGTH};
use crate::engine::{Engine, Kind, Settings};
use crate::error::{Error, Result};
use crate::nat::Taken;
use crate::observe::{log, trace};
use crate::sys;
use crate::sys::descriptors::duplicate;
use crate::sys::environment::LateVariable;
use crate::sys::signals::Blocked;
use crate::tcp;
use rustix::event::epoll::EventFlags;
use rustix::thread::futex;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

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

/// Notes the settings of the environment, before the program can change it; and where the host is elsewhere, that the
/// program may have inherited sockets of its. Costs nothing where there are no settings.
pub fn remember_settings() {
    let settings = REMEMBERED.get_or_init(|| {
        std::env::vars_os().filter(|(name, value)| is_setting(name) && !value.is_empty()).collect()
    });
    if !settings.is_empty()
        && let Ok(config) = Config::from_environment(settings.iter().cloned())
        && let Some(at) = config.host.clone()
        && use_elsewhere(at, &config).is_ok()
        && inherited().filter_map(name::identify).any(|identity| identity.kind != Kind::Stream)
    {
        super::datagram_opened();
    }
}

/// TUBESOCK_HOST, for what this process will exec: filled in when it runs a host.
static DESCENDANTS: LateVariable<{ VARIABLE.len() + PROCESS_LENGTH + 1 }> = LateVariable::new(VARIABLE);
const VARIABLE: &str = "TUBESOCK_HOST=";

/// Puts TUBESOCK_HOST into the environment, empty, unless it is there with a value that stands. When the program starts.
pub fn reserve_variable() {
    match std::env::var_os(HOST_VARIABLE).filter(|value| !value.is_empty()) {
        None => DESCENDANTS.put(),
        // The host of a forebear may end before this process has its own.
        Some(value) if matches!(Address::parse(&value), Ok(Address::Process(_))) => {
            DESCENDANTS.fill(value.as_encoded_bytes());
            DESCENDANTS.put();
        }
        Some(_) => {}
    }
}

/// The descriptors that were open when the program started.
fn inherited() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
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

/// Where this process's sockets come from.
pub(super) enum Place {
    /// The host of this process.
    Here(&'static Host),
    /// Another process's.
    Elsewhere(&'static Address),
}

/// Where this process's sockets come from; decided when it is asked for the first time.
pub(super) fn place() -> Result<Place> {
    if let Some(host) = Host::running() {
        return if host.is_of_this_process() {
            Ok(Place::Here(host))
        } else {
            Ok(Place::Elsewhere(host.address()))
        };
    }
    match super::elsewhere() {
        Some(at) => Ok(Place::Elsewhere(at)),
        None => start(),
    }
}

/// The process that ran this one's host has ended.
static ABANDONED: AtomicBool = AtomicBool::new(false);

/// The host elsewhere has gone. Where `tubesock run` or a person named it that is an error, for nothing may go another
/// way; what descends from a process that ran its own stack gets one of its own.
pub(super) fn abandoned() -> Result<&'static Host> {
    prepare_log();
    if let Some(Address::Tree(_) | Address::Path(_)) = super::elsewhere() {
        if log::first_time("socket", 0) {
            tracing::error!(
                "socket: the host of this program has ended (TUBESOCK_HOST), or is in another network namespace: ENETDOWN"
            );
        }
        return Err(Error::Kernel(libc::ENETDOWN));
    }
    ABANDONED.store(true, Ordering::Relaxed);
    ELSEWHERE.store(core::ptr::null_mut(), Ordering::Release);
    match start()? {
        Place::Here(host) => Ok(host),
        Place::Elsewhere(_) => Err(Error::Kernel(libc::ENETDOWN)),
    }
}

/// Says once that a host lets others in, and not this process.
pub(super) fn not_let_in(at: &Address) {
    prepare_log();
    if log::first_time("socket", 1) {
        match at {
            Address::Path(path) => {
                let path = path.display();
                tracing::error!(
                    "socket: the host at '{path}' (TUBESOCK_HOST) does not let this user in: EACCES"
                );
            }
            Address::Tree(_) | Address::Process(_) => tracing::error!(
                "socket: this process has left the network namespace of its stack, which makes no new sockets for it: EACCES"
            ),
        }
    }
}

/// Starts the log of a process that runs no host.
pub(super) fn prepare_log() {
    let configured = CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner);
    log::start(read(&configured).unwrap_or_default().log);
}

/// The settings of a host of this process, if there is to be one, and its link is to be `nat`.
pub(super) fn translates() -> Option<Config> {
    let configured = CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner);
    let config = read(&configured).ok()?;
    (config.link == LinkChoice::Nat && config.host.as_ref().is_none_or(has_gone)).then_some(config)
}

/// Starts the host, or waits for the thread that is doing so; or finds that the host is elsewhere.
fn start() -> Result<Place> {
    let process = sys::process_id();
    loop {
        if let Some(host) = Host::running().filter(|host| host.is_of_this_process()) {
            return Ok(Place::Here(host));
        }
        if let Some(at) = super::elsewhere() {
            return Ok(Place::Elsewhere(at));
        }
        let starting = STARTING.load(Ordering::Acquire);
        // A thread of the parent was starting one when the child was forked: it does not exist here.
        let free = starting != process;
        if free && STARTING.compare_exchange(starting, process, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // A handler in this thread that makes a socket would wait for itself.
            let signals = Blocked::all();
            let _starting = Starting;
            return start_alone(process, &signals);
        }
        // EINTR, or that it has changed: look again.
        let _ = futex::wait(&STARTING, futex::Flags::PRIVATE, starting, None);
    }
}

/// Says, however it ends, that nobody is starting the host any more.
struct Starting;

impl Drop for Starting {
    fn drop(&mut self) {
        STARTING.store(0, Ordering::Release);
        let _ = futex::wake(&STARTING, futex::Flags::PRIVATE, i32::MAX.cast_unsigned());
    }
}

/// EINTR when a signal waits for which the program need not wait any longer.
fn start_alone(process: u32, signals: &Blocked) -> Result<Place> {
    let configured = CONFIGURED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let settings = read(&configured);
    log::start(settings.as_ref().map_or_else(|_| LogLevel::default(), |config| config.log));
    settings.and_then(|config| find_or_run(&config, process, signals)).map_err(|problem| {
        if signals.holds_an_end() {
            return Error::Kernel(libc::EINTR);
        }
        tracing::error!("{problem}");
        Error::InvalidArgument
    })
}

fn find_or_run(config: &Config, process: u32, signals: &Blocked) -> Result<Place, String> {
    match &config.host {
        Some(at) if !has_gone(at) => use_elsewhere(at.clone(), config),
        _ if config.strict => {
            let setting = config.names.of("--strict");
            Err(format!(
                "{setting}: only 'tubesock run' can see to that, from outside; start the program by it, or take the \
                 setting back"
            ))
        }
        _ if config.capture == Some(Capture::Output) => {
            let setting = config.names.of("--capture");
            Err(format!(
                "{setting} '-': standard output is the program's; give a file, or start the program by 'tubesock run \
                 --capture -'"
            ))
        }
        _ => {
            let serves = Serves::ThisProcess(signals);
            let host = run(config, process, &serves, links::open(config, &serves, sys::now())?)?;
            DESCENDANTS.fill(host.address().variable_value().as_encoded_bytes());
            Ok(Place::Here(host))
        }
    }
}

/// Whether an address of the environment is that of the process that has ended.
fn has_gone(at: &Address) -> bool {
    matches!(at, Address::Process(_)) && ABANDONED.load(Ordering::Relaxed)
}

/// Takes the host elsewhere for this process's.
fn use_elsewhere(at: Address, config: &Config) -> Result<Place, String> {
    start_trace(config)?;
    start_comments(config);
    bypass::remember(&config.bypass);
    let at: &'static Address = Box::leak(Box::new(at));
    ELSEWHERE.store(core::ptr::from_ref(at).cast_mut(), Ordering::Release);
    Ok(Place::Elsewhere(at))
}

fn start_trace(config: &Config) -> Result<(), String> {
    let Some(to) = &config.trace else { return Ok(()) };
    let place = to.file().map_or("standard error".into(), |path| path.display().to_string());
    trace::start(to).map_err(|error| links::unwritable(config.names.of("--trace"), &place, &error))
}

/// Lets the capture of the host have this process's calls, if it is to.
fn start_comments(config: &Config) {
    if config.capture_calls {
        trace::start_comments(super::comment);
    }
}

/// Opens the link of `config`, for `serve`; the files of a trace and a capture are not touched. The error is a sentence
/// for a person.
pub fn open_link(config: &Config) -> Result<Attached, String> {
    log::start(config.log);
    links::open(config, &Serves::Others, sys::now())
}

/// Makes this process, which has no sockets of its own, the host of others, on that link. The error is a sentence for a
/// person.
pub fn serve(config: &Config, attached: Attached) -> Result<&'static Host, String> {
    run(config, sys::process_id(), &Serves::Others, attached)
}

/// Whose sockets a host makes in the first place.
pub(super) enum Serves<'a> {
    /// Those of a tree of processes, or of whoever comes.
    Others,
    /// Those of the process that it is in, a thread of which waits for it with its signals blocked.
    ThisProcess(&'a Blocked),
}

impl Serves<'_> {
    fn address(&self, key: Key) -> Address {
        match self {
            Serves::Others => Address::Tree(key),
            Serves::ThisProcess(_) => Address::Process(key),
        }
    }

    /// What becomes of a port that is published already.
    pub(super) fn taken(&self) -> Taken {
        match self {
            Serves::Others => Taken::Refused,
            Serves::ThisProcess(_) => Taken::Left,
        }
    }

    /// Whether `is_interrupted` may change: elsewhere a signal ends the process.
    pub(super) fn may_be_interrupted(&self) -> bool {
        matches!(self, Serves::ThisProcess(_))
    }

    /// Whether a signal waits that ends the program, or which a handler of its waits for.
    pub(super) fn is_interrupted(&self) -> bool {
        match self {
            Serves::Others => false,
            Serves::ThisProcess(signals) => signals.holds_an_end(),
        }
    }
}

fn run(
    config: &Config,
    process: u32,
    serves: &Serves<'_>,
    attached: Attached,
) -> Result<&'static Host, String> {
    let host: &'static Host = Box::leak(Box::new(build(config, process, serves, attached)?));
    host.lock().step();
    // Once the thread runs it has the host for ever; if it does not, the host is leaked, descriptors and all, since
    // there is no process worth saving without a thread to be had.
    driver::start(host).map_err(|error| format!("the host cannot start its thread: {error}"))?;
    HOST.store(core::ptr::from_ref(host).cast_mut(), Ordering::Release);
    tracing::info!("link {}, pid {process}", config.link);
    Ok(host)
}

fn build(config: &Config, process: u32, serves: &Serves<'_>, attached: Attached) -> Result<Host, String> {
    start_trace(config)?;
    start_comments(config);
    let now = sys::now();
    let Attached { link, addressing, mtu } = attached;
    let link = links::captured(link, config)?;
    let capabilities = link.capabilities();
    let mut engine = Engine::new(
        Settings {
            mtu,
            addresses: Vec::new(),
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
    engine.set_addressing(addressing.addresses, addressing.routes);
    bypass::remember(&config.bypass);
    let token = sys::entropy();
    let control = Control::new(token).map_err(|error| format!("the host cannot start: {error}"))?;
    let address = serves.address(control.key());
    let inner = Bridge::new(token)
        .and_then(|bridge| Inner::new(engine, link, bridge, control, addressing.name_servers));
    let inner = inner.map_err(|error| format!("the host cannot start: {error}"))?;
    let set = duplicate(inner.bridge.interest().descriptor());
    let set = set.map_err(|errno| format!("the host cannot start: {errno}"))?;
    let ending = Ending::new().and_then(|ending| {
        inner.bridge.interest().add(ending.wake(), ENDING, EventFlags::IN | EventFlags::ONESHOT)?;
        Ok(ending)
    });
    let ending = ending.map_err(|error| format!("the host cannot start: {error}"))?;
    Ok(Host { token, address, process, set, ending, inner: Mutex::new(inner) })
}
