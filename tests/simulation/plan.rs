//! What a seed settles: the two hosts, the road between them, and what the programs on them do.

use crate::choices;
use crate::dice::Dice;
use std::time::Duration;
use tubesock::engine::SocketOption;
use tubesock::link::impair::{Loss, Probability, Settings};
use tubesock::tcp;

/// Who the far host is. The near one is always ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Far {
    Ours,
    Smoltcp(Smoltcp),
}

/// How smoltcp's sockets are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Smoltcp {
    pub(crate) receive_buffer: usize,
    pub(crate) send_buffer: usize,
    pub(crate) congestion: Congestion,
    pub(crate) timestamps: bool,
    pub(crate) delayed_acknowledgements: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Congestion {
    None,
    Reno,
    Cubic,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) began: Duration,
    pub(crate) far: Far,
    /// Of near and far, as all pairs here.
    pub(crate) mtu: [usize; 2],
    pub(crate) segmentation: [usize; 2],
    /// Whether what comes together is handed up as one.
    pub(crate) coalesces: [bool; 2],
    pub(crate) checksums: bool,
    pub(crate) in_memory: bool,
    pub(crate) tcp: [tcp::Settings; 2],
    /// How late the hosts' timers come.
    pub(crate) lateness: Duration,
    /// All listeners of a host are one, with this backlog.
    pub(crate) shared_backlog: Option<usize>,
    /// What each host's packets go through.
    pub(crate) roads: [Settings; 2],
    /// Largest packet that the router behind each host takes; it says so.
    pub(crate) routers: [Option<usize>; 2],
    /// So many packets in a hundred are followed by one of the past, or by a forged one.
    pub(crate) replays: u64,
    pub(crate) forgeries: u64,
    /// The link of near impairs both directions, instead of each host's its own.
    pub(crate) all_at_near: bool,
    pub(crate) changes: Vec<Change>,
    pub(crate) connections: Vec<Connection>,
}

/// Something about the packets of one host becomes another.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) at: Duration,
    pub(crate) side: usize,
    pub(crate) to: Changed,
}

#[derive(Clone, Debug)]
pub(crate) enum Changed {
    Road(Settings),
    Router(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) version_4: bool,
    pub(crate) opener: Opener,
    pub(crate) start: Start,
    pub(crate) ends: [End; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    Side(usize),
    /// Simultaneous open.
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    At(Duration),
    /// So long after the connection of this number is over, and between the same ports.
    After(usize, Duration),
}

/// The program at one end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// What it writes in all.
    pub(crate) bytes: u64,
    pub(crate) write: Pace,
    pub(crate) read: Pace,
    /// It reads no further than so many bytes for so long.
    pub(crate) stall: Option<(u64, Duration)>,
    pub(crate) close: Close,
    /// Now and then it writes a byte as urgent, which the other end takes in line.
    pub(crate) urgent: bool,
    /// What it sets when it has written and read so many bytes in all.
    pub(crate) options: Vec<(u64, SocketOption)>,
}

/// At most `chunk` bytes, and then a pause.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) chunk: u64,
    pub(crate) pause: Duration,
}

/// How a program ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// shutdown(SHUT_WR) when all is written, close when all is read.
    AfterWriting,
    /// The same, but the other end's FIN must come first.
    AfterEof,
    /// close, when all is written and all that the other end will write is read: its FIN need not have come.
    AfterReading,
    /// close when all is written, whatever the other end may still send.
    Early,
    /// Reset, when so many bytes were written and read in all.
    Abort(u64),
    /// close so long after the start, wherever things stand.
    Impatient(Duration),
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Plan {
        choices::plan(&mut Dice::new(seed))
    }

    /// One connection over a clear road, `bytes` each way.
    pub(crate) fn plain(bytes: u64) -> Plan {
        let pace = Pace { chunk: 10_000, pause: Duration::ZERO };
        let end = End {
            bytes,
            write: pace,
            read: pace,
            stall: None,
            close: Close::AfterWriting,
            urgent: false,
            options: Vec::new(),
        };
        Plan {
            began: Duration::from_secs(1),
            far: Far::Ours,
            mtu: [1500; 2],
            segmentation: [0; 2],
            coalesces: [false; 2],
            checksums: true,
            in_memory: false,
            tcp: [0, 1].map(|_| tcp::Settings::default()),
            lateness: Duration::ZERO,
            shared_backlog: None,
            roads: [Settings { delay: Duration::from_millis(5), ..Settings::default() }; 2],
            routers: [None; 2],
            replays: 0,
            forgeries: 0,
            all_at_near: false,
            changes: Vec::new(),
            connections: vec![Connection {
                version_4: true,
                opener: Opener::Side(0),
                start: Start::At(Duration::ZERO),
                ends: [end.clone(), end],
            }],
        }
    }

    /// Everything that the roads are at some time.
    fn all_roads(&self) -> impl Iterator<Item = &Settings> {
        let changed = self.changes.iter().filter_map(|change| match &change.to {
            Changed::Road(road) => Some(road),
            Changed::Router(_) => None,
        });
        self.roads.iter().chain(changed)
    }

    /// Whether connections may fail for reasons that are the network's: what retransmission need not get over.
    pub(crate) fn is_rough(&self) -> bool {
        self.all_roads().any(|road| road.down > Duration::ZERO || matches!(road.loss, Loss::Gilbert { .. }))
    }

    /// Whether neither SACK nor timestamps tell of what was sent twice.
    pub(crate) fn is_blind(&self) -> bool {
        let (sack, timestamps) = match &self.far {
            Far::Ours => (self.tcp[1].sack, self.tcp[1].timestamps),
            Far::Smoltcp(settings) => (false, settings.timestamps),
        };
        !(sack && self.tcp[0].sack || timestamps && self.tcp[0].timestamps)
    }

    /// Whether bits are flipped, at some time.
    pub(crate) fn corrupts(&self) -> bool {
        self.all_roads().any(|road| road.corrupt != Probability::NEVER)
    }

    /// Whether no packet is lost, so that nothing ever waits for a retransmission.
    pub(crate) fn is_calm(&self) -> bool {
        let quiet = |road: &Settings| {
            road.loss == Loss::None
                && road.corrupt == Probability::NEVER
                && road.rate.is_none()
                && road.mtu.is_none()
        };
        self.roads.iter().all(quiet) && self.changes.is_empty() && self.routers == [None; 2]
    }

    /// Whether every packet arrives once and in order, so that nothing need ever be sent twice.
    pub(crate) fn is_pristine(&self) -> bool {
        let in_order = |road: &Settings| {
            road.jitter.is_zero()
                && road.duplicate == Probability::NEVER
                && road.reorder == Probability::NEVER
        };
        self.is_calm() && self.roads.iter().all(in_order) && self.replays + self.forgeries == 0
    }

    /// The longest that a packet and its answer are under way, queues included.
    pub(crate) fn round_trip(&self) -> Duration {
        let way = |road: &Settings| {
            let queued = if road.rate.is_some() { choices::QUEUE_MAX } else { Duration::ZERO };
            road.delay + road.jitter + queued
        };
        self.all_roads().map(way).max().unwrap_or_default() * 2
    }

    /// The number of the first connection between the ports of this one.
    pub(crate) fn ports_of(&self, number: usize) -> usize {
        match self.connections[number].start {
            Start::At(_) => number,
            Start::After(before, _) => self.ports_of(before),
        }
    }
}

impl End {
    /// The least value of an option that it sets at some time.
    pub(crate) fn least<T: Ord>(&self, of: impl Fn(&SocketOption) -> Option<T>) -> Option<T> {
        self.options.iter().filter_map(|(_, option)| of(option)).min()
    }

    pub(crate) fn user_timeout(&self) -> Option<Duration> {
        self.least(|option| match option {
            SocketOption::UserTimeout(limit) => *limit,
            _ => None,
        })
    }

    /// How long the other end may be silent, if that is watched.
    pub(crate) fn keeps_alive(&self) -> Option<Duration> {
        self.least(|option| match option {
            SocketOption::KeepAlive(Some(probes)) => Some(probes.idle + probes.interval * probes.count),
            _ => None,
        })
    }

    pub(crate) fn gives_up_on_syn(&self) -> bool {
        self.options.iter().any(|(_, option)| matches!(option, SocketOption::SynRetries(Some(_))))
    }

    /// How long FIN-WAIT-2 lasts when nobody has the connection any more.
    pub(crate) fn lingers(&self) -> Duration {
        let set = self.least(|option| match option {
            SocketOption::Linger2(limit) => *limit,
            _ => None,
        });
        set.unwrap_or(Duration::from_secs(60))
    }
}
