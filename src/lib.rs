//! `tubesock` gives an unmodified program its own TCP/IP stack in user space, without root.
//!
//! The rooms, in dependency order: a file uses only rooms above its own.
//!
//! ```text
//!   time error addressing config plain values: the clock's type, errno, addresses and routes, settings
//!   sys/                         the only room that calls the kernel; clock and entropy enter here
//!   observe/                     the log and the trace of calls and segments
//!   ip udp udp_lite icmp         packets, datagrams and messages: protocol values, sans-IO
//!   link/                        carries IP packets: pair, capture, impair, tun, wireguard
//!   tcp/                         a connection, sans-IO
//!   engine/                      demultiplexer, ports, listeners, sockets, timers
//!   ethernet/                     the link on a link of frames, tap or stream: ARP, neighbour discovery; a switch
//!   nat/                         the link whose far side is a second engine, ended at kernel sockets
//!   bridge/                      near and far ends of a descriptor: stream, datagram, listener
//!   host/                        one engine, its link and its bridge; who drives them
//!   resolver/                    getaddrinfo's rules; DNS over the stack's UDP and TCP
//!   calls/                       what POSIX says of each call and option
//!   abi/                         pointers and errno: every call once, generic over the way to the kernel;
//!                                from it `tube_*` here and the bare names in `preload/`
//! ```

pub mod abi;
pub mod addressing;
pub mod bridge;
pub mod calls;
pub mod config;
pub mod engine;
pub mod error;
pub mod ethernet;
pub mod host;
pub mod icmp;
pub mod ip;
pub mod link;
pub mod nat;
pub mod observe;
pub mod resolver;
pub mod sys;
pub mod tcp;
pub mod time;
pub mod udp;
pub mod udp_lite;
