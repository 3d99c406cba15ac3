//! What the engine counts.
#![forbid(unsafe_code)]

use core::fmt;

/// The counters and their names, once.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters, all monotonic. As text: `name=value`, with spaces between.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl fmt::Display for Counters {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let each = [$((stringify!($name), self.$name)),*];
                for (index, (name, value)) in each.into_iter().enumerate() {
                    let space = if index == 0 { "" } else { " " };
                    write!(f, "{space}{name}={value}")?;
                }
                Ok(())
            }
        }
    };
}

impl Counters {
    /// A packet of `length` bytes went to the link.
    pub(super) fn sent(&mut self, length: usize) {
        self.packets_sent += 1;
        self.bytes_sent += length as u64;
    }
}

counters! {
    /// Packets from the link.
    packets_received,
    /// Packets to the link.
    packets_sent,
    /// Their bytes, headers included.
    bytes_received,
    /// Likewise.
    bytes_sent,
    /// Dropped: no packet of IP, TCP, UDP or ICMP that makes sense.
    malformed,
    /// Dropped: a checksum was wrong.
    bad_checksum,
    /// Dropped: to an address that is not ours.
    not_ours,
    /// Dropped for want of room, or of a socket that takes it.
    dropped,
    /// Connections that we opened and that were established.
    connections_opened,
    /// Connections that a listener took.
    connections_accepted,
    /// Connects that were refused.
    connections_refused,
    /// Connections that the peer reset.
    connections_reset,
    /// Connections that timed out.
    connections_timed_out,
    /// Datagrams handed to a socket.
    datagrams_received,
    /// Datagrams sent.
    datagrams_sent,
    /// SYNs dropped because a queue of their listener was full.
    listen_overflows,
    /// SYNs answered by a cookie because the queues of their listener were full.
    cookies_sent,
    /// Connections that came back with a cookie.
    cookies_accepted,
}
