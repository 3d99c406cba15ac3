//! Real, unmodified programs on our stack, each against a peer on the kernel's. The programs are those of the
//! distribution; one that is missing fails its test (`./check` installs them all).
//!
//! Clients reach the machine's loopback as 10.0.2.2, an address that exists in our stack only, and servers are reached
//! through `--publish`: a program that went round the stack would fail. The capture, read by tshark, is the second
//! witness. Nothing here looks inside the crate, and nothing sleeps: a test waits for a line, a connection or an end.

mod bypass;
mod clients;
mod configuration;
mod curl;
mod datagrams;
mod descendants;
mod failures;
mod names;
mod processes;
mod servers;
mod shared_host;
mod strict;
#[allow(dead_code)] // shared with `tests/links`, which calls the rest
mod support;
mod table;
mod users;
mod waiting;
