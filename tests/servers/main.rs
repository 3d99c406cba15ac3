//! Real servers with their real processes, under `tubesock run`: forked workers that accept from one listener, reloads
//! that hand listeners over, backends, sessions, background saves. Each is driven by a real client from outside, through
//! `--publish`, and inside the stack; where the client is a program worth showing, that runs on our stack alone too.
//! What they do makes the table in docs/compatibility.md.
//!
//! A client inside has nothing but our stack: the namespace's own loopback is down. From outside, the port it connects
//! to is one that only `--publish` opens; and 10.0.2.2, where a client on our stack looks for its server, exists in
//! our stack only. `world/` is where they live, and says how nothing can be left behind.
//!
//! `SERVERS_ON_KERNEL=1 cargo test --release --test servers -- --include-ignored` plays all of it on the kernel's stack,
//! which tells a wrong test from a wrong stack.

#[path = "../support/compatibility.rs"]
mod compatibility;
#[allow(dead_code)] // shared with `tests/programs`, which calls the rest
#[path = "../programs/support/mod.rs"]
mod support;

mod apache;
mod crowd;
mod dns;
mod git;
mod haproxy;
mod iperf3;
mod java;
mod kills;
mod load;
mod memcached;
mod nginx;
mod openssl;
mod postgres;
mod redis;
mod rsync;
mod ssh;
mod table;
mod world;
