//! The other kind of host: smoltcp's interface with a socket set for each connection, used as its documentation says.
//!
//! What is known to be wrong with it must not count against us (`is_stuck_by_itself`): a sender that has something
//! outstanding and no timer left (a retransmission timeout under a zero window, a FIN after three duplicate
//! acknowledgements), and an interface that never finishes sending.

use crate::host::{Host, Status, active, address, passive, target};
use crate::plan::{Congestion, Plan, Smoltcp};
use crate::trace::Segment;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant as Time;
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint, IpListenEndpoint};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tubesock::engine::SocketOption;
use tubesock::error::Error;
use tubesock::link::{Outgoing, Packet};
use tubesock::time::Instant;

/// How long after a poll the next one comes at the earliest.
const PATIENCE: Duration = Duration::from_micros(10);

/// Packets that a socket may send in a row. More is its endless loop.
const BURST_MAX: usize = 10_000;

thread_local! {
    /// The clock of its timestamps, in milliseconds: they are made by a plain function.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

struct Connection {
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    local: SocketAddr,
    remote: SocketAddr,
    /// The state before the last packet.
    was: State,
    aborted: bool,
    /// No program has it any more.
    released: bool,
    /// Sent in a row without a packet received or time passed.
    burst: usize,
}

pub(crate) struct Peer<'a> {
    plan: &'a Plan,
    settings: &'a Smoltcp,
    interface: Interface,
    device: Device,
    connections: Vec<Option<Connection>>,
    /// For packets of no connection.
    nobody: SocketSet<'static>,
    now: Instant,
}

fn time(now: Instant) -> Time {
    CLOCK.set((now.micros() / 1000) as u32);
    Time::from_micros(now.micros() as i64)
}

impl<'a> Peer<'a> {
    pub(crate) fn new(plan: &'a Plan, settings: &'a Smoltcp, seed: u64, now: Instant) -> Peer<'a> {
        let mut device = Device::new(plan.mtu[1], plan.checksums);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, time(now));
        interface.update_ip_addrs(|addresses| {
            for (version_4, prefix) in [(true, 24), (false, 64)] {
                let address = IpCidr::new(address(1, version_4).into(), prefix);
                addresses.push(address).expect("there is room for two");
            }
        });
        let connections = plan.connections.iter().map(|_| None).collect();
        let nobody = SocketSet::new(Vec::new());
        Peer { plan, settings, interface, device, connections, nobody, now }
    }

    fn socket(&self) -> Socket<'static> {
        let ring = |bytes| SocketBuffer::new(vec![0; bytes]);
        let mut socket = Socket::new(ring(self.settings.receive_buffer), ring(self.settings.send_buffer));
        socket.set_congestion_control(match self.settings.congestion {
            Congestion::None => CongestionControl::None,
            Congestion::Reno => CongestionControl::Reno,
            Congestion::Cubic => CongestionControl::Cubic,
        });
        if self.settings.timestamps {
            socket.set_tsval_generator(Some(|| CLOCK.get()));
        }
        if !self.settings.delayed_acknowledgements {
            socket.set_ack_delay(None);
        }
        socket
    }

    fn open(&mut self, number: usize, socket: Socket<'static>, local: SocketAddr, remote: SocketAddr) {
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        self.connections[number] = Some(Connection {
            sockets,
            handle,
            local,
            remote,
            was: State::Closed,
            aborted: false,
            released: false,
            burst: 0,
        });
    }

    fn connection(&mut self, number: usize) -> &mut Connection {
        self.connections[number].as_mut().expect("only a socket that there is is used")
    }
}

impl Connection {
    fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    fn status(&self) -> Status {
        match self.socket().state() {
            State::Listen => Status::Waiting,
            State::SynSent | State::SynReceived => Status::Connecting,
            State::TimeWait => Status::Ended(None),
            State::Closed if self.aborted => Status::Ended(Some(Error::ConnectionAborted)),
            State::Closed => match self.was {
                State::LastAck | State::TimeWait => Status::Ended(None),
                _ => Status::Ended(Some(Error::ConnectionReset)),
            },
            _ => Status::Connected,
        }
    }

    /// Notes the state, for when it has become Closed.
    fn look(&mut self) {
        if self.socket().state() != State::Closed {
            self.was = self.socket().state();
        }
    }
}

impl Host for Peer<'_> {
    fn listen(&mut self, number: usize, _: Instant) {
        let local = passive(self.plan, 1, number);
        let mut socket = self.socket();
        socket.listen(IpListenEndpoint::from(local)).expect("the port is not 0");
        self.open(number, socket, local, active(self.plan, 0, number));
    }

    fn connect(&mut self, number: usize, _: Instant) -> Result<(), Error> {
        let (local, remote) = (active(self.plan, 1, number), target(self.plan, 1, number));
        let mut socket = self.socket();
        let context = self.interface.context();
        let connected = socket.connect(context, IpEndpoint::from(remote), IpListenEndpoint::from(local));
        connected.expect("both addresses are given");
        self.open(number, socket, local, remote);
        Ok(())
    }

    fn set_option(&mut self, number: usize, option: SocketOption, _: Instant) {
        if let SocketOption::NoDelay(on) = option {
            self.connection(number).socket_mut().set_nagle_enabled(!on);
        }
    }

    fn status(&self, number: usize) -> Status {
        self.connections[number].as_ref().map_or(Status::Waiting, Connection::status)
    }

    fn write_with(&mut self, number: usize, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let socket = self.connection(number).socket_mut();
        let mut total = 0;
        while socket.can_send() {
            let filled = socket.send(|room| {
                let filled = fill(room);
                (filled, (filled, filled < room.len()))
            });
            let (filled, done) = filled.expect("it can send");
            total += filled;
            if done {
                break;
            }
        }
        total
    }

    fn write_urgent(&mut self, _: usize, _: u8) -> bool {
        false
    }

    fn read_with(&mut self, number: usize, take: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let socket = self.connection(number).socket_mut();
        let mut total = 0;
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                let taken = take(bytes);
                (taken, (taken, taken < bytes.len()))
            });
            let (taken, done) = taken.expect("it can receive");
            total += taken;
            if done {
                break;
            }
        }
        total
    }

    fn at_eof(&self, number: usize) -> bool {
        let Some(connection) = &self.connections[number] else { return false };
        let fin =
            |state| matches!(state, State::CloseWait | State::Closing | State::LastAck | State::TimeWait);
        let state = connection.socket().state();
        let over = state == State::Closed && fin(connection.was);
        (fin(state) || over) && connection.socket().recv_queue() == 0
    }

    fn has_outstanding(&self, number: usize) -> bool {
        self.connections[number].as_ref().is_some_and(|connection| connection.socket().send_queue() > 0)
    }

    /// Its TIME-WAIT throws it away after 10 s.
    fn forgets_unread(&self) -> bool {
        true
    }

    fn shutdown(&mut self, number: usize, _: Instant) {
        let connection = self.connection(number);
        connection.socket_mut().close();
        connection.look();
    }

    fn abort(&mut self, number: usize, _: Instant) {
        let connection = self.connection(number);
        connection.aborted = true;
        connection.socket_mut().abort();
    }

    /// It knows no release: what is unread makes a reset, as with us, and so does what comes later.
    fn release(&mut self, number: usize, now: Instant) {
        let connection = self.connection(number);
        connection.released = true;
        let socket = connection.socket();
        // Its close in SYN-RECEIVED never sends the FIN.
        let unsettled = matches!(socket.state(), State::SynReceived | State::SynSent);
        if unsettled || socket.recv_queue() > 0 {
            self.abort(number, now);
        } else {
            self.shutdown(number, now);
        }
    }

    fn receive(&mut self, packet: &[u8], now: Instant) {
        let Some(Segment { source, destination, .. }) = Segment::of(packet) else { return };
        let Peer { interface, device, connections, nobody, .. } = self;
        device.received.push_back(packet.to_vec());
        let ours =
            |connection: &&mut Connection| (connection.local, connection.remote) == (destination, source);
        let owner = connections.iter_mut().flatten().find(ours);
        let Some(connection) = owner else {
            interface.poll_ingress_single(time(now), device, nobody);
            return;
        };
        connection.look();
        connection.burst = 0;
        interface.poll_ingress_single(time(now), device, &mut connection.sockets);
        connection.look();
        if connection.released && connection.socket().recv_queue() > 0 {
            connection.socket_mut().abort();
        }
    }

    fn transmit(&mut self, now: Instant, send: &mut dyn FnMut(&Outgoing<'_>)) -> bool {
        let Peer { interface, device, connections, .. } = self;
        let later = core::mem::replace(&mut self.now, now) < now;
        for connection in connections.iter_mut().flatten() {
            if later && connection.burst < BURST_MAX {
                connection.burst = 0;
            }
            if !device.sent.is_empty() {
                continue;
            }
            connection.look();
            if connection.burst < BURST_MAX
                && interface.poll_egress(time(now), device, &mut connection.sockets) != PollResult::None
            {
                connection.burst += 1;
            }
        }
        let Some(packet) = device.sent.pop_front() else { return false };
        send(&packet.as_slice().into());
        true
    }

    fn deadline(&mut self) -> Option<Instant> {
        let Peer { interface, connections, now, .. } = self;
        let due = |connection: &Connection| interface.poll_at(time(*now), &connection.sockets);
        let quiet = connections.iter().flatten().filter(|connection| connection.burst < BURST_MAX);
        let at = quiet.filter_map(due).min()?;
        let at = Instant::from_micros(u64::try_from(at.total_micros()).unwrap_or(0));
        // What it wants at once and then does not do must not keep the time from passing.
        Some(at.max(*now + PATIENCE))
    }

    fn advance(&mut self, _: Instant) {}

    fn describe(&self, _: usize, _: Instant) -> Option<String> {
        None
    }

    fn settle(&mut self, _: Instant) -> Result<(), String> {
        Ok(())
    }

    fn rest(&mut self, _: Instant) -> Result<(), String> {
        Ok(())
    }

    fn is_stuck_by_itself(&mut self, number: usize) -> Option<&'static str> {
        let Peer { interface, connections, now, .. } = self;
        let connection = connections[number].as_ref()?;
        if connection.burst >= BURST_MAX {
            return Some("smoltcp never stops sending");
        }
        let socket = connection.socket();
        let fin = matches!(socket.state(), State::FinWait1 | State::Closing | State::LastAck);
        let outstanding = fin || socket.send_queue() > 0;
        (outstanding && interface.poll_at(time(*now), &connection.sockets).is_none())
            .then_some("smoltcp has something outstanding and no timer")
    }
}

/// Packets in, packets out. It always has room: connect() and no room for the SYN let smoltcp panic.
struct Device {
    mtu: usize,
    checksums: bool,
    received: VecDeque<Packet>,
    sent: VecDeque<Packet>,
}

impl Device {
    fn new(mtu: usize, checksums: bool) -> Device {
        Device { mtu, checksums, received: VecDeque::new(), sent: VecDeque::new() }
    }
}

impl phy::Device for Device {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Time) -> Option<(Received, Sent<'_>)> {
        Some((Received(self.received.pop_front()?), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _: Time) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        if !self.checksums {
            capabilities.checksum = ChecksumCapabilities::ignored();
        }
        capabilities
    }
}

struct Received(Packet);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

struct Sent<'a>(&'a mut VecDeque<Packet>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut packet = vec![0; length];
        let result = fill(&mut packet);
        self.0.push_back(packet);
        result
    }
}
