//! Pointers and errno. Every call of the BSD API stands here once (`sockets`, `names`, `interfaces`), in C's terms and generic
//! over the way to the kernel; `tube` gives it the names of `include/tubesock.h`, the workspace member `preload`
//! the bare names of libc.

pub mod direct;
pub mod interfaces;
pub mod kernel;
pub mod names;
pub mod process;
pub mod sockets;
pub mod tube;
