//! The table as text, in the columns of ss(8).
#![forbid(unsafe_code)]

use super::kernel::{self, Holder, Kernel, NearEnd};
use super::{Arguments, tcp};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use tubesock::engine::Kind;
use tubesock::engine::table::{Row, state};
use tubesock::host::Table;

/// ss(8)'s names of the states, by their numbers.
const STATES: [&str; 13] = [
    "UNKNOWN",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
    "SYN-RECV",
];

/// Netid, State, Recv-Q, Send-Q, and address and port of either end; Process stands behind them.
const COLUMNS: usize = 8;
const HEADINGS: [&str; COLUMNS] =
    ["Netid", "State", "Recv-Q", "Send-Q", "Local Address", "Port", "Peer Address", "Port"];
/// Addresses are to the right, next to their ports.
const TO_THE_RIGHT: [usize; 2] = [4, 6];

struct Line {
    cells: [String; COLUMNS],
    process: String,
    info: Option<String>,
}

/// The table of a host, ready to be written.
pub(crate) struct Report {
    lines: Vec<Line>,
    header: bool,
    /// Which of the columns are written: the first is not where it could only say one thing.
    first: usize,
}

impl Report {
    pub(crate) fn new(arguments: &Arguments, kernel: &Kernel, table: Table) -> Report {
        let ends = kernel.near_ends(table.token);
        let holders = if arguments.processes { kernel::holders() } else { HashMap::new() };
        let services = if arguments.numeric { Services::default() } else { Services::read() };
        let mut rows: Vec<Row> = table.rows.into_iter().filter(|row| arguments.shows(row)).collect();
        // ss(8): UDP, then what listens, then the rest.
        rows.sort_by_key(|row| (row.kind == Kind::Stream, row.state != state::LISTEN, row.local, row.peer));
        let lines = rows.iter().map(|row| {
            let end = row.id.and_then(|id| ends.get(&id));
            let held = end.and_then(|end| holders.get(&end.inode));
            Line {
                cells: cells(row, end, &services),
                process: held.map_or(String::new(), |held| process(held)),
                info: row
                    .congestion
                    .filter(|_| arguments.info)
                    .map(|algorithm| tcp::text(algorithm, row.info.as_ref(), arguments.numeric)),
            }
        });
        let both = arguments.tcp == arguments.udp;
        Report { lines: lines.collect(), header: !arguments.no_header, first: usize::from(!both) }
    }
}

fn cells(row: &Row, end: Option<&NearEnd>, services: &Services) -> [String; COLUMNS] {
    let (receive_queue, send_queue) = queues(row, end);
    let peer = row.peer.unwrap_or_else(|| SocketAddr::new(unspecified(row.local), 0));
    let dual = row.dual;
    [
        match row.kind {
            Kind::Stream => "tcp",
            Kind::Datagram => "udp",
            // ss(8) does not show those of the kernel.
            Kind::Lite => "udpl",
            Kind::Echo => "icmp",
        }
        .into(),
        STATES.get(usize::from(row.state)).unwrap_or(&STATES[0]).to_string(),
        receive_queue.to_string(),
        send_queue.to_string(),
        address(row.local, dual),
        services.name(row.local.port(), row.kind),
        address(peer, dual),
        services.name(peer.port(), row.kind),
    ]
}

/// What waits in the engine, and between it and the program.
fn queues(row: &Row, end: Option<&NearEnd>) -> (usize, usize) {
    let (unread, untaken) = match (row.state, end) {
        (_, None) => (0, 0),
        // Its backlog is the engine's to tell.
        (state::LISTEN, Some(end)) => (end.unread, 0),
        // What is in the queue keeps the descriptor from being writable, and is not the program's.
        (state::SYN_SENT, Some(_)) => (0, 0),
        (_, Some(end)) => (end.unread, end.untaken),
    };
    (row.receive_queue + unread as usize, row.send_queue + untaken as usize)
}

fn unspecified(like: SocketAddr) -> std::net::IpAddr {
    match like {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// An address as ss(8) writes it.
fn address(address: SocketAddr, dual: bool) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && dual => "*".into(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// The processes that hold a socket.
fn process(holders: &[Holder]) -> String {
    let one = |Holder { program, process, descriptor }: &Holder| {
        format!("(\"{program}\",pid={process},fd={descriptor})")
    };
    format!("users:({})", holders.iter().map(one).collect::<Vec<_>>().join(","))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = HEADINGS.map(str::to_owned);
        let header = self.header.then_some(&headings);
        let all = || header.into_iter().chain(self.lines.iter().map(|line| &line.cells));
        let widths: [usize; COLUMNS] =
            core::array::from_fn(|column| all().map(|cells| cells[column].len()).max().unwrap_or(0));
        if let Some(header) = header {
            writeln!(f, "{} Process", self.line(header, &widths))?;
        }
        for Line { cells, process, info } in &self.lines {
            let line = format!("{} {process}", self.line(cells, &widths));
            writeln!(f, "{}", line.trim_end())?;
            if let Some(info) = info {
                writeln!(f, "\t {info}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn line(&self, cells: &[String; COLUMNS], widths: &[usize; COLUMNS]) -> String {
        let mut line = String::new();
        for column in self.first..COLUMNS {
            let (cell, width) = (&cells[column], widths[column]);
            let address = TO_THE_RIGHT.contains(&column);
            line += &if address { format!("{cell:>width$}:") } else { format!("{cell:<width$}") };
            if !address && column + 1 < COLUMNS {
                line.push(' ');
            }
        }
        line
    }
}

/// The names of ports (services(5)).
#[derive(Debug, Default)]
struct Services(HashMap<(u16, Kind), String>);

impl Services {
    fn read() -> Services {
        Services::parse(&std::fs::read_to_string("/etc/services").unwrap_or_default())
    }

    /// The first name of a port holds.
    fn parse(text: &str) -> Services {
        let mut services = Services::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let (Some(name), Some((port, protocol))) =
                (words.next(), words.next().and_then(|word| word.split_once('/')))
            else {
                continue;
            };
            let kind = match protocol {
                "tcp" => Kind::Stream,
                "udp" => Kind::Datagram,
                _ => continue,
            };
            if let Ok(port) = port.parse() {
                services.0.entry((port, kind)).or_insert_with(|| name.to_owned());
            }
        }
        services
    }

    fn name(&self, port: u16, kind: Kind) -> String {
        match (port, self.0.get(&(port, kind))) {
            (0, _) => "*".into(),
            (_, Some(name)) => name.clone(),
            (_, None) => port.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tubesock::engine::SocketId;

    fn row(kind: Kind, state: u8, local: &str, peer: Option<&str>, dual: bool) -> Row {
        Row {
            id: Some(SocketId(1)),
            kind,
            state,
            dual,
            local: local.parse().expect("an address"),
            peer: peer.map(|peer| peer.parse().expect("an address")),
            receive_queue: 1,
            send_queue: 20,
            congestion: None,
            info: None,
        }
    }

    /// Made by ss(8) of the same sockets, but for what stands behind the last column.
    #[test]
    fn columns_of_ss() {
        let services =
            Services::parse("# comment\nhttp 80/tcp www # web\nwww 80/tcp\nbad line\ndomain 53/udp\n");
        let held = NearEnd { inode: 7, unread: 4, untaken: 30 };
        let holder = |process| Holder { program: "nginx".into(), process, descriptor: 6 };
        let line = |row: &Row, end: Option<&NearEnd>| Line {
            cells: cells(row, end, &services),
            process: end.map_or(String::new(), |_| process(&[holder(8), holder(9)])),
            info: None,
        };
        let report = Report {
            lines: vec![
                line(&row(Kind::Datagram, state::CLOSE, "0.0.0.0:53", None, false), None),
                line(&row(Kind::Stream, state::LISTEN, "[::]:80", None, true), Some(&held)),
                line(&row(Kind::Stream, state::LISTEN, "[::]:8080", None, false), None),
                line(&row(Kind::Stream, 1, "10.0.2.15:80", Some("10.0.2.2:40000"), false), Some(&held)),
                line(&row(Kind::Stream, 2, "[fd00::15]:40000", Some("[fd00::2]:80"), true), Some(&held)),
            ],
            header: true,
            first: 0,
        };
        let expected = "\
Netid State    Recv-Q Send-Q Local Address:Port   Peer Address:Port  Process
udp   UNCONN   1      20           0.0.0.0:domain      0.0.0.0:*
tcp   LISTEN   5      20                 *:http              *:*     users:((\"nginx\",pid=8,fd=6),(\"nginx\",pid=9,fd=6))
tcp   LISTEN   1      20              [::]:8080           [::]:*
tcp   ESTAB    5      50         10.0.2.15:http       10.0.2.2:40000 users:((\"nginx\",pid=8,fd=6),(\"nginx\",pid=9,fd=6))
tcp   SYN-SENT 1      20        [fd00::15]:40000     [fd00::2]:http  users:((\"nginx\",pid=8,fd=6),(\"nginx\",pid=9,fd=6))
";
        assert_eq!(report.to_string(), expected);
        let bare = Report { header: false, first: 1, ..report };
        assert!(bare.to_string().starts_with("UNCONN   1 20    0.0.0.0:domain   0.0.0.0:*\n"), "{bare}");
    }
}
