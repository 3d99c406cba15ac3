//! The bodies of the fuzz targets: bytes in, a panic when something that must hold does not.
//!
//! They know nothing of libFuzzer, so that `tests/corpus.rs` runs the kept inputs through the same functions on the
//! stable toolchain. An input is read byte by byte (`bytes.rs`), by hand and not by the `arbitrary` crate: a step then lies
//! at one place of the input, a mutation changes one step, and the tests need no crate for it.
//!
//! ```text
//!   bytes intervals wire memory   reading an input; sets of ranges; TCP/IP on the wire; bytes on the heap
//!   packets                       any packets into an engine
//!   connection/                   plausible segments and calls against one connection, and a model of what must hold
//!   station/                      arp, ndp and dhcp: messages to a station on a network of frames
//!   stream                        frames behind their lengths
//!   vnet                          packets from a TUN device and to it, with what was left undone
//!   wireguard wireguard_file      datagrams for a tunnel; configuration files
//! ```
// `pub` is for the binaries of the fuzz package; in the test that includes this file nothing is reachable.
#![allow(unreachable_pub)]

mod bytes;
mod connection;
mod intervals;
mod memory;
mod packets;
mod station;
mod stream;
mod vnet;
mod wire;
mod wireguard;
mod wireguard_file;

pub use connection::connection;
pub use packets::packets;
pub use station::{arp, dhcp, ndp};
pub use stream::stream;
pub use vnet::vnet;
pub use wireguard::wireguard;
pub use wireguard_file::wireguard_file;
