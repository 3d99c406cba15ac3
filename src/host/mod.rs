//! The host of this process: one engine, its link and the bridge, behind one lock, and who drives them.
//!
//! The first socket starts it. A call that asks something of it takes the lock, does its part and steps the engine in
//! the caller's thread; a thread of the host's own sleeps on the epoll set and steps for data and timers. Both run
//! `Inner::step`: nothing here needs a particular thread.
//!
//! Rules of the lock: whoever holds it has all signals blocked, so a handler that calls us cannot meet its own
//! thread inside; nothing under it blocks; a forked child never touches the parent's (it forgets the host instead).
//!
//! A descriptor says by its name which host it belongs to. `ask` makes a request of that host: a function call under the
//! lock when it is this process's, a message to its control socket when it is another's (`control`, `client`). New
//! sockets come from the host of this process, or from the one that it was told of or inherited: `TUBESOCK_HOST` tells
//! programs that are exec'd; what is forked knows it anyway.
//!
//! Limits: a host in process dies with its process, and with it the sockets that forked or exec'd children have of it;
//! under `tubesock run` the wrapper is the host, and outlives them all.

pub mod bypass;
mod client;
mod control;
mod driver;
mod entrance;
mod exit;
mod impairment;
mod inner;
mod ip_options;
mod kept_options;
mod links;
mod namespaces;
mod network;
pub mod options;
mod request;
mod requests;
mod start;
mod table;
mod tcp_info;
mod udp_options;

use crate::bridge::name::{self, Identity, Token};
use crate::config::HostAddress as Address;
use crate::engine::{Domain, Kind};
use crate::error::Result;
use crate::observe::log;
use crate::sys::descriptors::{Internal, Owned};
use crate::sys::signals::Blocked;
use crate::sys::{self, descriptors};
use control::Message;
pub use control::VERSION;
use core::time::Duration;
pub use entrance::{Entrance, can_enter};
pub use exit::drain_at_exit;
pub use impairment::{impair_at, impair_of};
pub use inner::Inner;
pub use links::{Attached, try_link};
pub use namespaces::Departure;
pub use network::{Network, network};
pub use request::{Answer, Answered, Request};
pub use requests::Connect;
use rustix::net::SocketFlags;
pub use start::{configure, open_link, remember_settings, reserve_variable, serve};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
pub use table::{Table, table_at, table_of};

static HOST: AtomicPtr<Host> = AtomicPtr::new(core::ptr::null_mut());
/// The process that is starting a host at the moment, or zero.
static STARTING: AtomicU32 = AtomicU32::new(0);
/// Another process's host that makes the sockets of this one: an `Address` that was leaked.
static ELSEWHERE: AtomicPtr<Address> = AtomicPtr::new(core::ptr::null_mut());
/// Datagram sockets opened in this process or a forebear: while zero, no descriptor needs their headers minded.
static DATAGRAMS: AtomicUsize = AtomicUsize::new(0);

/// The host.
pub struct Host {
    token: Token,
    address: Address,
    process: u32,
    /// The epoll set of the bridge, to wait on without the lock.
    set: Internal,
    ending: exit::Ending,
    inner: Mutex<Inner>,
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Host").field("process", &self.process).finish_non_exhaustive()
    }
}

/// The lock, held, with signals blocked.
pub struct Held {
    // Dropped in this order: the lock before the signals come through again.
    guard: MutexGuard<'static, Inner>,
    /// None in a thread whose signals are blocked for good.
    _signals: Option<Blocked>,
}

impl Host {
    /// The host of this process, if it has one. Async-signal-safe.
    pub fn running() -> Option<&'static Host> {
        // SAFETY: the pointer is null or comes from a `Box` that was leaked.
        unsafe { HOST.load(Ordering::Acquire).as_ref() }
    }

    /// The host of a descriptor, when it is this process's. A child that no fork handler ran in (vfork, `_Fork`, clone)
    /// sees its parent's, and must not touch it.
    fn of(identity: &Identity) -> Option<&'static Host> {
        Host::running().filter(|host| host.token == identity.token && host.is_of_this_process())
    }

    fn is_of_this_process(&self) -> bool {
        self.process == sys::process_id()
    }

    /// Where other processes find it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Lets others in by a path, too.
    pub fn open_entrance(&'static self, entrance: &Entrance) -> Result<()> {
        let mut held = self.lock();
        let Inner { control, bridge, .. } = &mut *held;
        control.enter_by(entrance.socket()?, bridge.interest())
    }

    /// Takes the lock.
    pub fn lock(&'static self) -> Held {
        self.lock_with(Some(Blocked::all()))
    }

    fn lock_with(&'static self, _signals: Option<Blocked>) -> Held {
        // A panic under the lock was caught, logged and marked in `Inner`; the lock itself stays usable.
        let guard = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Held { guard, _signals }
    }
}

impl Deref for Held {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.guard
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.guard
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        UNWATCHED.store(self.guard.bridge.unwatched(), Ordering::Relaxed);
        if std::thread::panicking() {
            self.guard.give_up();
        }
    }
}

/// A near end for a new socket of the host that makes those of this process; the first one starts a host here, unless
/// there is one elsewhere. The error is EINVAL when the settings cannot be used, ENETDOWN when the host elsewhere has
/// gone, EACCES when it lets others in, but not this user; the log says more.
pub fn open(domain: Domain, kind: Kind, flags: SocketFlags) -> Result<Owned> {
    let near = match start::place()? {
        start::Place::Here(host) => host.lock().open(domain, kind, flags),
        start::Place::Elsewhere(at) => client::open(at, domain, kind, flags).inspect_err(|error| {
            if error.errno() == libc::EACCES {
                start::not_let_in(at);
            }
        }),
    };
    match near {
        Err(error) if client::is_gone(error) => start::abandoned()?.lock().open(domain, kind, flags),
        near => near,
    }
}

/// Makes a request about a socket of its host, wherever that is. Each kind of request knows which answer it gets.
pub fn ask(identity: &Identity, call: &'static str, request: Request, bytes: &[u8]) -> Result<Answered> {
    match Host::of(identity) {
        Some(host) => host.lock().perform(identity, request, bytes),
        None => client::ask(identity, request, bytes).inspect_err(|error| {
            if client::is_gone(*error) {
                host_has_gone(identity, call)
            }
        }),
    }
}

/// Whether the host of a descriptor is in another process.
pub fn is_elsewhere(identity: &Identity) -> bool {
    Host::of(identity).is_none()
}

/// Says once that a socket's host has gone.
pub fn host_has_gone(identity: &Identity, call: &'static str) {
    start::prepare_log();
    if log::first_time(call, 0) {
        let process =
            name::host_process(identity.near()).map_or("the process".into(), |pid| format!("process {pid}"));
        tracing::error!(
            "{call}: {process}, in which the stack of this socket ran, is in another network namespace or has ended: ENETDOWN. \
             Programs that leave their sockets to others run under 'tubesock run', whose stack outlives them"
        );
    }
}

/// A descriptor of a socket was closed: perhaps the last.
pub fn closed(identity: &Identity) {
    match Host::of(identity) {
        Some(host) => host.lock().closed(identity.id),
        None => client::tell_of(identity, Message::Closed(identity.id)),
    }
}

/// A connection was closed: waits until what it sent is acknowledged, no longer than `patience`; and not at all when others
/// hold it.
pub fn await_delivery(identity: &Identity, patience: Duration) -> Result<()> {
    client::await_delivery(identity, patience)
}

/// Descriptors were closed or replaced that nobody looked at.
pub fn closed_some() {
    match (Host::running().filter(|host| host.is_of_this_process()), elsewhere()) {
        (Some(host), _) => host.lock().closed_some(),
        (None, Some(at)) => client::tell(at, Message::ClosedSome),
        (None, None) => {}
    }
}

/// Puts a call of this process's into the capture of its host, before anything that the program does next.
fn comment(call: &str) {
    match (Host::running().filter(|host| host.is_of_this_process()), elsewhere()) {
        (Some(host), _) => host.lock().comment(call),
        (None, Some(at)) => client::comment(at, call),
        (None, None) => {}
    }
}

/// The host elsewhere that makes this process's sockets.
fn elsewhere() -> Option<&'static Address> {
    // SAFETY: the pointer is null or comes from a `Box` that was leaked.
    unsafe { ELSEWHERE.load(Ordering::Acquire).as_ref() }
}

/// Whether SO_LINGER was set with a time in this process or a forebear: while not, no close(2) has to wait.
static LINGER: AtomicBool = AtomicBool::new(false);

/// It was.
pub fn linger_is_set() {
    LINGER.store(true, Ordering::Relaxed);
}

/// Whether it was. Async-signal-safe.
pub fn is_linger_set() -> bool {
    LINGER.load(Ordering::Relaxed)
}

/// How long a host may take to answer a person: one that was stopped never does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether a user may look into the host of this process: its own, or root.
fn is_owner(user: Option<u32>) -> bool {
    user.is_some_and(|user| user == 0 || user == sys::user_id())
}

/// Counts a datagram socket.
pub fn datagram_opened() {
    DATAGRAMS.fetch_add(1, Ordering::Relaxed);
}

/// Whether any datagram socket of ours may be among the descriptors of this process. Async-signal-safe.
pub fn datagrams_exist() -> bool {
    DATAGRAMS.load(Ordering::Relaxed) != 0
}

/// Sockets of the running host that no far end watches over.
static UNWATCHED: AtomicUsize = AtomicUsize::new(0);

/// Whether a host must be told when descriptors are closed: it has sockets that no far end watches over, or is another
/// process's and may have. Async-signal-safe.
pub fn unwatched_exist() -> bool {
    UNWATCHED.load(Ordering::Relaxed) != 0 || !ELSEWHERE.load(Ordering::Relaxed).is_null()
}

/// Whether this very process runs a host: not before the first socket, nor in the child of fork, nor in that of vfork,
/// which sees our memory under another process id. Async-signal-safe; asks the kernel only when a host was started.
pub fn is_here() -> bool {
    Host::running().is_some_and(|host| host.process == sys::process_id())
}

/// After the program closed the numbers from `first` to `last` where no host runs: there, none of them is ours any more.
/// A child of vfork, whose memory is its parent's, changes nothing.
pub fn closed_without_host(first: i32, last: i32) {
    if Host::running().is_none() {
        descriptors::forget(first, last);
    }
}

/// In the child of fork: the parent's host is not ours any more, but it goes on making our sockets, by its control
/// socket. Its internal descriptors are closed. Takes no lock and allocates nothing.
pub fn forked_child() {
    if let Some(host) = Host::running() {
        ELSEWHERE.store(core::ptr::from_ref(&host.address).cast_mut(), Ordering::Release);
        HOST.store(core::ptr::null_mut(), Ordering::Release);
        UNWATCHED.store(0, Ordering::Relaxed);
        descriptors::drop_all();
    }
    STARTING.store(0, Ordering::Release);
}
