//! How a run begins: the path, what the ends offer, who opens, and how far the handshake goes by itself.
#![forbid(unsafe_code)]

use super::model::{Model, Terms};
use super::{ACK, Bytes, Options, Peer, Plan, SYN, World};
use tubesock::ip;
use tubesock::link::Outgoing;
use tubesock::tcp::cookie::{self, Jar};
use tubesock::tcp::{
    Algorithm, Connection, Context, Options as Chosen, PathSettings, Segment, Sequence, Settings, State,
};
use tubesock::time::Instant;

/// What is added to the clock of our timestamps.
const CLOCK_OFFSET: u32 = 7;

/// A connection as the first bytes of an input describe it.
pub(super) fn world(input: &mut Bytes) -> World {
    let bits = input.u16();
    let terms = terms(input, bits);
    let path = PathSettings {
        mtu: terms.mtu,
        checksums: terms.checksums,
        segmentation: terms.segmentation,
        in_memory: bits & 0x100 != 0,
        tcp: terms.tcp.clone(),
    };
    let mut opening = Opening {
        context: Context::new(path),
        model: Model::new(terms, State::SynReceived),
        peer: Peer::default(),
        now: Instant::from_micros(1_000_000),
        chosen: Chosen::default(),
    };
    opening.model.urgent_apart = bits & 0x2000 != 0;
    opening.chosen.urgent_inline = !opening.model.urgent_apart;
    let way = input.u8() % 6;
    let mut world = match way {
        0 | 2 | 4 => opening.active(),
        1 | 3 => opening.passive(),
        _ => opening.by_cookie(),
    };
    world.settle();
    if way < 3 {
        world.shake_hands(way == 2);
    }
    world
}

/// What a world is made of.
struct Opening {
    context: Context,
    model: Model,
    peer: Peer,
    now: Instant,
    chosen: Chosen,
}

impl Opening {
    fn world(self, connection: Connection) -> World {
        let Opening { context, model, peer, now, .. } = self;
        let trace = std::env::var_os("FUZZ_TRACE").is_some();
        World { context, connection, model, peer, now, aborted: false, segments: 0, trace }
    }

    fn active(mut self) -> World {
        self.model.state = State::SynSent;
        let Terms { local, remote, iss, .. } = self.model.terms;
        let (iss, context) = (Sequence(iss), &mut self.context);
        let connection =
            Connection::connect(context, local, remote, iss, CLOCK_OFFSET, &self.chosen, self.now);
        self.world(connection)
    }

    fn passive(mut self) -> World {
        let syn = self.syn();
        let iss = Sequence(self.model.terms.iss);
        let connection =
            Connection::accept(&mut self.context, &syn, iss, CLOCK_OFFSET, &self.chosen, self.now);
        self.world(connection)
    }

    /// The SYN-ACK is a cookie, and the connection begins with the peer's acknowledgement of it.
    fn by_cookie(mut self) -> World {
        let jar = Jar::new([1, 2]);
        let syn = self.syn();
        let iss = jar.sequence(&syn, self.now);
        self.model.terms.iss = iss.0;
        // A cookie remembers one of a table, as on Linux: a smaller one than its least is forgotten.
        let least = if syn.source.is_ipv4() { 536 } else { 1220 };
        self.model.terms.offer.mss = self.model.terms.offer.mss.map(|mss| mss.max(least));
        let answer = cookie::answer(&self.context, &syn, iss, CLOCK_OFFSET, &self.chosen, self.now);
        let answer = self.model.leaves(&Outgoing::from(&answer[..]));
        self.peer.receive(&answer, &self.model);
        let plan = Plan { sequence: 1, ..self.peer.acknowledgement(60_000, false) };
        let wire = self.peer.build(&plan, &self.model, self.now);
        let segment = parsed(&wire.packet(false));
        let cookie = jar.open(&segment, CLOCK_OFFSET, self.now).expect("a cookie that was just baked");
        let context = &mut self.context;
        let connection =
            Connection::restore(context, &segment, &cookie, CLOCK_OFFSET, &self.chosen, self.now);
        let mut world = self.world(connection);
        world.inject(&wire);
        assert_eq!(world.connection.state(), State::Established, "a cookie without fault");
        world
    }

    /// The peer's SYN, which the model knows then.
    fn syn(&mut self) -> Segment {
        let plan = Plan { flags: SYN, window: 60_000, timestamp: Some(0), ..Plan::default() };
        let syn = self.peer.build(&plan, &self.model, self.now);
        self.model.arrives(&syn);
        parsed(&syn.packet(false))
    }
}

fn parsed(packet: &[u8]) -> Segment {
    let header = ip::parse(packet, false).expect("built well");
    Segment::parse(packet, &header, false).expect("built well")
}

impl World {
    /// The peer does its part of the handshake.
    fn shake_hands(&mut self, simultaneous: bool) {
        if let Some(syn) = self.peer.queue.pop_front() {
            self.peer.receive(&syn, &self.model);
        }
        let syn = Plan { flags: SYN, window: 60_000, timestamp: Some(0), ..Plan::default() };
        if self.connection.state() == State::SynSent && simultaneous {
            self.send(&syn);
        } else if self.connection.state() == State::SynSent {
            self.send(&Plan { flags: SYN | ACK, acknowledgement: Some(self.peer.next), ..syn });
        }
        if self.connection.state() == State::SynReceived {
            let ack = Plan { sequence: 1, ..self.peer.acknowledgement(60_000, false) };
            self.send(&ack);
        }
        assert_eq!(self.connection.state(), State::Established, "a handshake without fault");
    }
}

fn terms(input: &mut Bytes, bits: u16) -> Terms {
    let bit = |number: u16| bits & (1 << number) != 0;
    let ends = if bit(0) { ["[fd00::15]:80", "[fd00::2]:4000"] } else { ["10.0.2.15:80", "10.0.2.2:4000"] };
    let [local, remote] = ends.map(|text| text.parse().expect("an address"));
    let large = bit(1);
    let tcp = Settings {
        timestamps: !bit(2),
        sack: !bit(3),
        window_scale: !bit(4),
        congestion: if bit(5) { Algorithm::Bbr } else { Algorithm::Cubic },
        send_max: if large { 4 << 20 } else { 64 << 10 },
        receive_max: if large { 6 << 20 } else { 128 << 10 },
        receive_initial: if large { 64 << 10 } else { 16 << 10 },
    };
    let offer = Options {
        mss: match bit(9) {
            true => input.pick(&[
                Some(1460),
                Some(536),
                Some(1),
                None,
                Some(48),
                Some(88),
                Some(9000),
                Some(65_535),
            ]),
            false => Some(1460),
        },
        scale: if bit(10) {
            input.pick(&[None, Some(0), Some(1), Some(14), Some(15), Some(255)])
        } else {
            Some(7)
        },
        sack_permitted: !bit(11),
        timestamps: (!bit(12)).then_some((0, 0)),
        sack: Vec::new(),
    };
    Terms {
        local,
        remote,
        mtu: input.pick(&[1500, 1280, 9000, 65_535]),
        segmentation: if bit(6) { 65_000 } else { 0 },
        checksums: bit(7),
        tcp,
        iss: input.pick(&[1000, u32::MAX - 5000, 0, 0x7fff_f000]),
        irs: input.pick(&[u32::MAX - 5000, 77, 0x7fff_f000]),
        offer,
    }
}
