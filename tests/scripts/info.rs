//! TCP_INFO by the names of its fields, and the names of its values.
#![forbid(unsafe_code)]

/// TCP_INFO, or as much as a backend fills.
pub(crate) type Info = std::collections::BTreeMap<&'static str, i64>;

/// tcpi_state, from 1.
const STATES: [&str; 12] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

/// tcpi_ca_state, from 0.
const CONGESTION_STATES: [&str; 5] = ["Open", "Disorder", "CWR", "Recovery", "Loss"];

/// The number of a value that has a name in the field `field`.
pub(crate) fn named_value(field: &str, value: &str) -> Option<i64> {
    let position =
        |names: &[&str], first| names.iter().position(|name| *name == value).map(|at| at as i64 + first);
    match field {
        "state" => position(&STATES, 1),
        "ca_state" => position(&CONGESTION_STATES, 0),
        _ => None,
    }
}

/// A value as a report shows it.
pub(crate) fn show_value(field: &str, value: i64) -> String {
    let name = |names: &[&str], first: i64| {
        usize::try_from(value - first).ok().and_then(|at| names.get(at).map(|name| (*name).to_string()))
    };
    let named = match field {
        "state" => name(&STATES, 1),
        "ca_state" => name(&CONGESTION_STATES, 0),
        _ => None,
    };
    named.unwrap_or_else(|| value.to_string())
}
