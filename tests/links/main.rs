//! Unmodified programs on our stack over a real link, with the kernel's stack, or another, at the other end. Needs root: each
//! test has a network namespace of its own, in which its device, its peers and the host of `tubesock run` live.
//!
//! The machine's side of a device has 192.0.2.1 and 2001:db8::1, the program's 192.0.2.15 and 2001:db8::15. In the
//! namespace the kernel would reach its own addresses without any device: the capture is the witness that it did not.

#[path = "../support/namespace.rs"]
mod namespace;
#[allow(dead_code)] // shared with `tests/programs`, which calls the rest
#[path = "../programs/support/mod.rs"]
mod support;

mod captures;
mod frames;
mod impair;
mod rights;
mod tun;
mod wireguard;
mod world;
