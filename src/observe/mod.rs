//! What a person can see of the work: the log, the trace of calls and packets.

pub mod event;
pub mod log;
pub mod packet;
pub mod rung;
pub mod trace;
