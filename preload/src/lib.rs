//! `libtubesock_preload.so`: the bare names of libc, for LD_PRELOAD.
//!
//! Each function is one call into `tubesock::abi`, where all the work is done; here is only what a preloaded library
//! needs besides: the way past ourselves, the guards of the host's descriptors, and _exit.
//!
//! ```text
//!   next          the functions behind ours (RTLD_NEXT): pass-through, and cancellation with it
//!   sockets       socket bind connect listen accept accept4 getsockname getpeername get/setsockopt shutdown ioctl
//!   data          read write recv send and their vectors, messages, and _FORTIFY_SOURCE variants
//!   names         getaddrinfo getnameinfo, the gethostby family, the res_ family
//!   interfaces    getifaddrs, the if_ family
//!   descriptors   close close_range closefrom dup dup2 dup3 fcntl: the host's own are not the program's
//!   namespaces    unshare setns: the host is found from other network namespaces too
//!   syscall       syscall(): the same calls by number
//!   process       _exit
//!   library       dlopen
//! ```
//!
//! Rules:
//! - Any of these may run before our constructor, inside malloc, in a signal handler, and in a vfork child. So before
//!   "is it ours?" says yes nothing locks, allocates or logs.
//! - A call that is not ours goes on by RTLD_NEXT and stays a cancellation point; our own work uses raw system calls.
//! - errno changes only when a call fails.
//!
//! Not here, on purpose:
//! - poll, select, epoll, sendfile, splice, socketpair, open, pipe: descriptors are the kernel's own, and it does these
//!   right.
//! - stdio on a descriptor of ours (fdopen, dprintf): libc reads and writes it inside itself, and for TCP that simply
//!   works. What is lost is the explanation: a reset on a quiet connection looks like an end of file there.
//! - pread, pwrite, preadv2, pwritev2: ESPIPE on a socket, as the kernel says itself.
//! - exec: the near ends survive it, the host in the process does not (`tubesock::abi::process`). The environment that is
//!   passed on tells of it (`tubesock::host::reserve_variable`).
//! - vfork cannot be wrapped in Rust (it returns twice); the guards compare process ids instead.
//! - What LD_PRELOAD cannot see: static programs, Go, setuid programs, dlmopen.

mod data;
mod descriptors;
mod interfaces;
mod library;
mod names;
mod namespaces;
mod next;
mod process;
mod sockets;
mod syscall;
