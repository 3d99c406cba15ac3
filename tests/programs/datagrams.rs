//! UDP over `nat`, both ways.

use crate::support::PYTHON;
use crate::support::command::Program;
use crate::support::network::{Directory, free_port, in_namespace};
use crate::support::stack::Stack;
use std::net::UdpSocket;
use std::time::Duration;

/// Sends every datagram back, until the test process ends.
fn echo_server() -> u16 {
    echo_server_at("127.0.0.1")
}

fn echo_server_at(address: &str) -> u16 {
    let socket = UdpSocket::bind((address, 0)).expect("the loopback has free ports");
    let port = socket.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, sender)) = socket.recv_from(&mut buffer) {
            let _gone = socket.send_to(&buffer[..length], sender);
        }
    });
    port
}

#[test]
fn python_client() {
    let (port, stack) = (echo_server(), Stack::run());
    let outcome = Program::new(PYTHON)
        .args(["-c", include_str!("python/datagrams.py"), &stack.gateway().to_string(), &port.to_string()])
        .on(&stack)
        .run()
        .success();
    assert_eq!(outcome.text(), "echoed 13\n");
}

/// Datagrams that do not fit come whole, both ways: in fragments, as the capture shows, and no packet is larger than the MTU.
#[test]
fn fragments() {
    let script = "import socket, sys
for family, host, port in [(socket.AF_INET, '10.0.2.2', sys.argv[1]), (socket.AF_INET6, 'fd00::2', sys.argv[2])]:
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.settimeout(20)
    for length in (1400, 4000, 60000):
        data = bytes(i // 7 % 256 for i in range(length))
        client.sendto(data, (host, int(port)))
        print(client.recv(65536) == data)";
    let directory = Directory::new();
    let file = directory.file("fragments.pcapng");
    let ports = ["127.0.0.1", "::1"].map(|address| echo_server_at(address).to_string());
    // A link that is impaired is a network, where checksums are looked at.
    for impair in ["none", "delay 1ms"] {
        let stack = Stack::run().set("mtu", "1500").set("impair", impair).capture(&file);
        let outcome = Program::new(PYTHON).args(["-c", script]).args(&ports).on(&stack).run().success();
        assert_eq!(outcome.text(), "True\n".repeat(6));
        let fields =
            "-T fields -e frame.packet_flags_direction -e frame.len -e ip.flags.mf -e ipv6.fraghdr.more";
        let fields = fields.split(' ');
        let tshark = Program::new("tshark").args(["-n", "-r"]).arg(&file).args(fields).run().success();
        let text = tshark.text();
        let packets: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        let length = |packet: &Vec<&str>| packet[1].parse::<usize>().expect("a length");
        assert!(packets.iter().all(|packet| length(packet) <= 1500), "{text}");
        for direction in ["0x00000001", "0x00000002"] {
            for more in [2, 3] {
                let parts = packets.iter().filter(|packet| packet[0] == direction && packet[more] == "1");
                // Two of 4000 bytes and forty of 60,000.
                assert_eq!(
                    parts.count(),
                    if more == 2 { 2 + 40 } else { 2 + 41 },
                    "{direction} {more}: {text}"
                );
            }
        }
    }
}

/// Under `tubesock run` a datagram that leaves does not wait for the host, and is overtaken by none.
#[test]
fn what_crosses_by_the_near_end_keeps_its_order() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("the loopback has free ports");
    server.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
    let port = server.local_addr().expect("it is bound").port();
    let reader = std::thread::spawn(move || {
        for expected in 0..102 {
            let mut number = [0; 100];
            let length = server.recv(&mut number).expect("the next number");
            assert_eq!(std::str::from_utf8(&number[..length]), Ok(expected.to_string().as_str()));
        }
    });
    let (stack, closed) = (Stack::run(), free_port());
    let arguments = [stack.gateway().to_string(), port.to_string(), closed.to_string()];
    let program = Program::new(PYTHON).args(["-c", include_str!("python/crossing.py")]).args(&arguments);
    program.on(&stack).run().success();
    reader.join().expect("all of them, in order");
}

/// An error queue gives the datagram back with what it tells, however large.
#[test]
fn large_report() {
    let script = "import select, socket
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.bind(('127.0.0.1', 0))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
SO_TIMESTAMPING, TX_SOFTWARE, SOFTWARE = 37, 1 << 1, 1 << 4
client.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE)
client.sendto(b'x' * 60000, bound.getsockname())
poll = select.poll()
poll.register(client, 0)
poll.poll(20000)
data, control, _, _ = client.recvmsg(1 << 16, 1000, socket.MSG_ERRQUEUE)
print(data.endswith(b'x' * 60000), len(control) > 0)";
    for stack in [Stack::run(), Stack::preload()] {
        let program = Program::new(PYTHON).args(["-c", script]).on(&stack);
        assert_eq!(program.run().success().text(), "True True\n");
    }
}

#[test]
fn published_server() {
    let outside = free_port();
    let script = "import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', 5353))
print('bound', flush=True)
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(data.upper(), peer)";
    let server = Program::new(PYTHON)
        .args(["-c", script])
        .on(&Stack::run().publish_as(&format!("127.0.0.1:{outside}:5353/udp")))
        .spawn();
    server.line_with("bound");
    let clients = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("the loopback has free ports"));
    for (client, text) in clients.iter().zip(["first", "second"]) {
        client.set_read_timeout(Some(Duration::from_secs(20))).expect("not zero");
        client.send_to(text.as_bytes(), ("127.0.0.1", outside)).expect("the loopback takes it");
    }
    for (client, text) in clients.iter().zip(["FIRST", "SECOND"]) {
        let mut answer = [0; 100];
        let (length, sender) = client.recv_from(&mut answer).expect("the server answers");
        assert_eq!((&answer[..length], sender.port()), (text.as_bytes(), outside));
    }
}

/// Control messages, the error queue, groups: what Python shows of them is the same on the kernel's loopback and on ours.
#[test]
fn ancillary_data_errors_and_groups() {
    let script = include_str!("python/ancillary.py");
    let lines = |stack: &Stack, up: &str| {
        let program = Program::new(PYTHON).args(["-c", script]).on(stack);
        program.inside(in_namespace(&format!("{up} exec \"$@\""))).run().success().text()
    };
    let kernel = lines(&Stack::kernel(), "ip link set lo up;");
    assert!(kernel.lines().count() > 15, "{kernel}");
    for ours in [Stack::run(), Stack::preload()] {
        assert_eq!(lines(&ours, ""), kernel);
    }
}

/// As an ordinary user would, whom the stack lets have echo sockets.
#[test]
fn ping() {
    let directory = Directory::new();
    // The machine's own has file capabilities, which switch LD_PRELOAD off; a copy has none.
    let program = directory.file("ping");
    std::fs::copy("/usr/bin/ping", &program).expect("ping is missing: apt-get install iputils-ping");
    for to in ["10.0.2.2", "127.0.0.1", "fd00::2", "::1"] {
        let outcome =
            Program::new(&program).args(["-c", "2", "-i", "0.2", to]).on(&Stack::run()).run().success();
        assert!(outcome.text().contains("2 received, 0% packet loss"), "{outcome}");
    }
}
