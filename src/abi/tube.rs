//! `tube_*`: the BSD API as a C library, the source of `include/tubesock.h`.
//!
//! Each function is one statement: the work is in `super::sockets` and `super::names`, with raw system calls behind
//! them (`Direct`). cbindgen copies signatures and comments from here into the header (`build.rs`), so the comments
//! speak to a C programmer.
//!
//! None of these is a cancellation point, except the waits in `readiness`. There is no tube_dup, tube_fork or tube_fdopen:
//! a descriptor is the kernel's, and libc's own do it.
#![allow(
    clippy::missing_safety_doc,
    reason = "each has the contract of the C function of its name, which it cites"
)]

pub mod data;
pub mod names;
pub mod readiness;
pub mod settings;
pub mod sockets;
