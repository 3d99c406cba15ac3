//! Our stack against the kernel's, in real time, over a TUN device in a network namespace that the test makes. Needs root.
//!
//! What one side's program does is a script of steps (`script.rs`), played on our side against an engine (`ours.rs`) and on
//! theirs against a socket of the kernel's (`theirs.rs`). The addresses of a `World` exist in its namespace only, so what
//! arrives was carried by our stack; the counters of the engine and of the link are looked at besides.

mod datagrams;
mod device;
#[path = "../support/drive.rs"]
mod drive;
mod echo;
#[path = "../support/namespace.rs"]
mod namespace;
mod ours;
mod pairings;
mod path_mtu;
mod script;
mod super_packets;
mod theirs;
mod world;
mod zero_window;
