//! Two engines over a pair, in virtual time: what one's programs do, the other's must see.

mod addresses;
mod datagrams;
mod ends;
mod hostile;
mod listeners;
mod peer;
mod streams;
mod weather;
mod world;
