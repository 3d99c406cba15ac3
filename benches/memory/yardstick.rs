//! smoltcp's TCP, measured as ours is: two interfaces in one thread, packets handed over one at a time, MTU 1500, no
//! checksums, buffers of as much, no congestion control, neither Nagle nor delayed acknowledgements.
//!
//! The limits are figures of smoltcp's on another day. This tells what they are on this machine in this run.

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr, Ipv4Address};

const BUFFER: usize = 256 * 1024;
const PORT: u16 = 80;
const CLIENT: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

/// An interface with one socket.
struct End {
    interface: Interface,
    device: Device,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
}

impl End {
    fn new(address: Ipv4Address) -> End {
        let mut device = Device::default();
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(address.into(), 24)).expect("there is room for one");
        });
        let ring = || SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = Socket::new(ring(), ring());
        socket.set_congestion_control(CongestionControl::None);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        End { interface, device, sockets, handle }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Makes one packet. Whether there is one to hand over.
    fn egress(&mut self, now: Instant) -> bool {
        self.device.sent
            || self.interface.poll_egress(now, &mut self.device, &mut self.sockets)
                == PollResult::SocketStateChanged
    }

    fn ingress(&mut self, now: Instant) {
        self.device.arrived = true;
        self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets);
    }
}

/// Hands at most `limit` packets over. Whether there were any.
fn carry(from: &mut End, to: &mut End, limit: usize, now: Instant) -> bool {
    let mut any = false;
    for _ in 0..limit {
        if !from.egress(now) {
            break;
        }
        core::mem::swap(&mut from.device.outgoing, &mut to.device.incoming);
        from.device.sent = false;
        to.ingress(now);
        any = true;
    }
    any
}

/// A client and a server.
pub(crate) struct Pair {
    client: End,
    server: End,
    now: Instant,
}

impl Pair {
    pub(crate) fn new() -> Pair {
        let mut pair =
            Pair { client: End::new(CLIENT), server: End::new(SERVER), now: Instant::from_secs(1) };
        pair.server.socket().listen(PORT).expect("listen");
        let End { interface, sockets, handle, .. } = &mut pair.client;
        let socket = sockets.get_mut::<Socket>(*handle);
        socket.connect(interface.context(), (SERVER, PORT), 50_000).expect("connect");
        while pair.exchange(usize::MAX) {}
        assert_eq!(pair.client.socket().state(), State::Established);
        pair
    }

    fn step(&mut self, micros: u64) {
        self.now += smoltcp::time::Duration::from_micros(micros);
    }

    fn exchange(&mut self, limit: usize) -> bool {
        let there = carry(&mut self.client, &mut self.server, limit, self.now);
        carry(&mut self.server, &mut self.client, limit, self.now) || there
    }

    /// Moves `total` bytes from the client to the server.
    pub(crate) fn bulk(&mut self, total: u64, packets_a_turn: usize, buffer: &mut [u8]) {
        let (mut written, mut received) = (0, 0);
        while received < total {
            self.step(10);
            if written < total {
                written += self.client.socket().send_slice(buffer).expect("a connection") as u64;
            }
            carry(&mut self.client, &mut self.server, packets_a_turn, self.now);
            received += self.server.socket().recv_slice(buffer).expect("a connection") as u64;
            carry(&mut self.server, &mut self.client, packets_a_turn, self.now);
        }
    }

    /// A byte to the server and back.
    pub(crate) fn round_trip(&mut self) {
        let mut byte = [1];
        self.step(1);
        assert_eq!(self.client.socket().send_slice(&byte), Ok(1));
        carry(&mut self.client, &mut self.server, usize::MAX, self.now);
        assert_eq!(self.server.socket().recv_slice(&mut byte), Ok(1));
        assert_eq!(self.server.socket().send_slice(&byte), Ok(1));
        carry(&mut self.server, &mut self.client, usize::MAX, self.now);
        assert_eq!(self.client.socket().recv_slice(&mut byte), Ok(1));
    }
}

/// Room for one packet each way, in memory that is used over and over.
#[derive(Default)]
struct Device {
    incoming: Vec<u8>,
    arrived: bool,
    outgoing: Vec<u8>,
    sent: bool,
}

impl phy::Device for Device {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sent<'_>)> {
        let arrived = core::mem::take(&mut self.arrived) && !self.sent;
        arrived.then_some((Received(&self.incoming), Sent(&mut self.outgoing, &mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        (!self.sent).then_some(Sent(&mut self.outgoing, &mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

struct Sent<'a>(&'a mut Vec<u8>, &'a mut bool);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.0.resize(length, 0);
        *self.1 = true;
        fill(self.0)
    }
}
