//! A capture as tshark reads it: an independent witness of what our stack sent.

use super::command::Program;
use std::collections::BTreeMap;
use std::path::Path;

const FIELDS: [&str; 9] = [
    "tcp.stream",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "tcp.len",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
    "tcp.options.sack_perm",
    "_ws.malformed",
];

const FIN: u16 = 1;
const SYN: u16 = 2;
const RST: u16 = 4;
const ACK: u16 = 16;

/// The TCP connections of a capture, in order of their first segments.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) connections: Vec<Connection>,
}

/// One connection, from the SYN's sender's point of view.
#[derive(Debug, Default, Clone)]
pub(crate) struct Connection {
    pub(crate) server_port: u16,
    client_port: u16,
    /// Segments with SYN and without ACK: one, unless it was repeated.
    pub(crate) syns: usize,
    pub(crate) syn_acks: usize,
    /// Maximum segment size, window scale and SACK-permitted in the SYN.
    pub(crate) options: [bool; 3],
    pub(crate) fin_from_client: bool,
    pub(crate) fin_from_server: bool,
    pub(crate) reset: bool,
    /// Payload bytes, repeated ones counted again.
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl Capture {
    /// Reads a capture, and fails when tshark complains about it.
    #[track_caller]
    pub(crate) fn read(file: &Path) -> Capture {
        let fields = FIELDS.iter().flat_map(|field| ["-e", field]);
        // Large receive windows and packets of 64 KiB are what a `nat` link is; only the framing is judged.
        let outcome = Program::new("tshark")
            .args(["-n", "-T", "fields", "-E", "occurrence=f", "-r"])
            .arg(file)
            .args(fields)
            .run()
            .success();
        let complaints: Vec<&str> =
            outcome.stderr.lines().filter(|line| !line.starts_with("Running as user \"root\"")).collect();
        assert!(complaints.is_empty(), "tshark complains: {complaints:?}");
        let mut connections: BTreeMap<u32, Connection> = BTreeMap::new();
        for line in outcome.text().lines() {
            let values: Vec<&str> = line.split('\t').collect();
            assert!(values.last().is_none_or(|malformed| malformed.is_empty()), "malformed packet: {line}");
            if let Ok(stream) = values[0].parse() {
                connections.entry(stream).or_default().take(&values);
            }
        }
        Capture { connections: connections.into_values().collect() }
    }

    /// The connections to `port`.
    pub(crate) fn to_port(&self, port: u16) -> Vec<&Connection> {
        self.connections.iter().filter(|connection| connection.server_port == port).collect()
    }

    /// Fails unless there were exactly `count` connections to `port`, each opened by one handshake with the options of
    /// our stack and each closed by us with a FIN.
    #[track_caller]
    pub(crate) fn proves_connections(&self, port: u16, count: usize) {
        let connections = self.to_port(port);
        assert_eq!(connections.len(), count, "connections to port {port} in {self:#?}");
        for connection in connections {
            assert!(connection.whole_handshake(), "handshake of {connection:#?}");
            assert!(connection.fin_from_client, "no FIN of ours in {connection:#?}");
        }
    }
}

impl Connection {
    /// One SYN with all options and one SYN-ACK.
    pub(crate) fn whole_handshake(&self) -> bool {
        self.syns == 1 && self.syn_acks == 1 && self.options == [true; 3]
    }

    fn take(&mut self, values: &[&str]) {
        let number = |index: usize| values[index].parse::<u64>().unwrap_or(0);
        let flags = u16::from_str_radix(values[3].trim_start_matches("0x"), 16).expect("tshark prints flags");
        let (source, target) = (number(1) as u16, number(2) as u16);
        if self.server_port == 0 {
            let answer = flags & (SYN | ACK) == SYN | ACK;
            (self.client_port, self.server_port) = if answer { (target, source) } else { (source, target) };
        }
        let from_client = source == self.client_port;
        if flags & SYN != 0 && from_client {
            self.syns += 1;
            self.options = [!values[5].is_empty(), !values[6].is_empty(), !values[7].is_empty()];
        }
        self.syn_acks += usize::from(flags & SYN != 0 && !from_client);
        self.fin_from_client |= flags & FIN != 0 && from_client;
        self.fin_from_server |= flags & FIN != 0 && !from_client;
        self.reset |= flags & RST != 0;
        let bytes = if from_client { &mut self.sent_bytes } else { &mut self.received_bytes };
        *bytes += number(4);
    }
}
