//! Our end of a path: an engine in a thread, whose packets go through a SOCK_SEQPACKET pair. The emulator has the other end.

use crate::cable::{self, Cable, Refused};
use crate::drive::drive;
use crate::ends::{PORT, PREFIX, RECEIVER};
use crate::precedence::{pin, real_time};
use rustix::fd::OwnedFd;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use tubesock::addressing::Cidr;
use tubesock::engine::{Counters, Domain, Engine, Kind, Settings, SocketId};
use tubesock::link::Link;
use tubesock::sys;
use tubesock::tcp::{self, Algorithm};
use tubesock::time::Instant;

/// Our end.
pub(crate) struct OurEnd {
    link: Cable,
    refused: Refused,
    engine: Engine,
    prompt: bool,
}

impl OurEnd {
    /// An engine with one address, and the end of its cable for the emulator. `prompt`: in real time, as the kernel's TCP is,
    /// whose acknowledgements and segments are made in interrupts of the emulator's thread; for a path on which it sleeps.
    pub(crate) fn new(address: Ipv4Addr, algorithm: Algorithm, seed: u64, prompt: bool) -> (OurEnd, OwnedFd) {
        let [ours, cable] = cable::pair();
        let refused = Refused::default();
        let link = Cable::waiting(ours, &refused);
        let capabilities = link.capabilities();
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&seed.to_le_bytes());
        let settings = Settings {
            mtu: capabilities.mtu,
            addresses: vec![Cidr::new(IpAddr::V4(address), PREFIX)],
            any_address: false,
            offer_incoming: false,
            checksums: capabilities.checksums,
            segmentation: capabilities.segmentation,
            in_memory: capabilities.in_memory,
            tcp: tcp::Settings { congestion: algorithm, ..tcp::Settings::default() },
            seed: entropy,
        };
        (OurEnd { link, refused, engine: Engine::new(settings, sys::now()), prompt }, cable)
    }

    /// Connects to `RECEIVER` and writes until `over`.
    pub(crate) fn send(mut self, over: &AtomicBool, core: usize) -> Ended {
        self.take_place(core);
        let stream = self.engine.open(Domain::V4, Kind::Stream);
        let to = SocketAddr::from((RECEIVER, PORT));
        self.engine.connect(stream, to, sys::now()).expect("an address of the link");
        drive(&mut self.engine, &mut self.link, |engine, _| {
            engine.write_with(stream, &mut |room| {
                room.fill(0x55);
                room.len()
            });
            !over.load(Ordering::Relaxed)
        });
        self.ended(stream)
    }

    /// A listener at `RECEIVER`.
    pub(crate) fn listen(&mut self) -> SocketId {
        let listener = self.engine.open(Domain::V4, Kind::Stream);
        let at = SocketAddr::from((RECEIVER, PORT));
        self.engine.bind(listener, at, sys::now()).expect("the address is the engine's");
        self.engine.listen(listener, 1, sys::now()).expect("it is bound");
        listener
    }

    /// Takes the first connection and counts what is read until `deadline`.
    pub(crate) fn receive(mut self, listener: SocketId, deadline: Instant, core: usize) -> (u64, Ended) {
        self.take_place(core);
        let (mut stream, mut received) = (None, 0);
        drive(&mut self.engine, &mut self.link, |engine, now| {
            stream = stream.or_else(|| engine.accept(listener));
            if let Some(stream) = stream {
                received += engine.read_with(stream, &mut |bytes| bytes.len()) as u64;
            }
            now < deadline
        });
        let stream = stream.expect("a connection, whatever is lost of it");
        (received, self.ended(stream))
    }

    fn take_place(&self, core: usize) {
        pin(core);
        if self.prompt {
            real_time();
        }
    }

    fn ended(self, stream: SocketId) -> Ended {
        assert_eq!(self.engine.end(stream), None, "our end of the connection failed");
        let info = self.engine.info(stream, sys::now()).expect("nobody released it");
        Ended { counters: self.engine.counters(), info, refused: self.refused.count() }
    }
}

/// What our end has to say at the end.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) counters: Counters,
    pub(crate) info: tcp::Info,
    /// Packets that the cable had no room for.
    pub(crate) refused: u64,
}
