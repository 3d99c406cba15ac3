//! Servers of the program that the kernel's clients reach, and UDP through a whole engine.

use super::world::World;
use super::*;
use crate::engine::{Domain, Kind, StreamState};
use crate::error::Error;
use crate::nat::{Nat, Taken, Way};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;

fn client(to: SocketAddr) -> JoinHandle<std::io::Result<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"hello")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    })
}

/// Serves `count` clients at `port` of the program: each gets back what it sent.
fn serve(world: &mut World, listen: SocketAddr, count: usize) -> Vec<SocketAddr> {
    let now = crate::sys::now();
    let domain = if listen.is_ipv4() { Domain::V4 } else { Domain::V6 };
    let listener = world.program.open(domain, Kind::Stream);
    world.program.bind(listener, listen, now).unwrap();
    world.program.listen(listener, 128, now).unwrap();
    let (mut open, mut peers) = (Vec::new(), Vec::new());
    world.run(|program| {
        while let Some(id) = program.accept(listener) {
            peers.push(program.peer(id).unwrap());
            open.push((id, Vec::new()));
        }
        open.retain_mut(|(id, bytes)| {
            super::world::read_some(program, *id, bytes);
            if !program.at_eof(*id) {
                return true;
            }
            super::world::write_some(program, *id, &mut &bytes[..]);
            program.release(*id, crate::sys::now());
            false
        });
        (peers.len() == count && open.is_empty()).then_some(())
    });
    world.run_nat(|nat| nat.streams.is_empty());
    peers
}

#[test]
fn the_kernels_clients_reach_the_programs_server() {
    for (listen, client_at, gateway, program) in [
        ("127.0.0.1:0", "127.0.0.1:0", "10.0.2.2:0", "0.0.0.0:8000"),
        ("[::1]:0", "[::1]:0", "[fd00::2]:0", "[::]:8000"),
        ("[::]:0", "127.0.0.1:0", "10.0.2.2:0", "0.0.0.0:8000"),
        ("[::]:0", "[::1]:0", "[fd00::2]:0", "[::]:8000"),
    ] {
        let mut world = World::new(at("127.0.0.1:53"), &[publishing(listen, 8000, false)]);
        let (publish, bound) = world.nat.published().next().unwrap();
        assert_eq!(publish, publishing(listen, 8000, false));
        let client = client(SocketAddr::new(at(client_at).ip(), bound.port()));
        let peers = serve(&mut world, at(program), 1);
        assert_eq!(peers[0].ip(), at(gateway).ip());
        assert_eq!(client.join().unwrap().unwrap(), b"hello");
    }
}

#[test]
fn a_hundred_clients() {
    let mut world = World::new(at("127.0.0.1:53"), &[publishing("127.0.0.1:0", 8000, false)]);
    let bound = world.nat.published().next().unwrap().1;
    let clients: Vec<_> = (0..100).map(|_| client(bound)).collect();
    let peers = serve(&mut world, at("0.0.0.0:8000"), 100);
    assert_eq!(peers.len(), 100);
    for client in clients {
        assert_eq!(client.join().unwrap().unwrap(), b"hello");
    }
}

/// More than a listener of the program keeps, with a backlog of one: nobody's SYN is dropped.
#[test]
fn a_crowd_waits_for_room() {
    let mut world = World::new(at("127.0.0.1:53"), &[publishing("127.0.0.1:0", 8000, false)]);
    let bound = world.nat.published().next().unwrap().1;
    let clients: Vec<_> = (0..400).map(|_| TcpStream::connect(bound).unwrap()).collect();
    let now = crate::sys::now();
    let listener = world.program.open(Domain::V4, Kind::Stream);
    world.program.bind(listener, at("0.0.0.0:8000"), now).unwrap();
    world.program.listen(listener, 1, now).unwrap();
    let mut accepted = 0;
    world.run(|program| {
        accepted += usize::from(program.accept(listener).is_some());
        (accepted == clients.len()).then_some(())
    });
    assert_eq!(world.program.counters().listen_overflows, 0);
}

#[test]
fn a_client_is_reset_when_the_program_does_not_listen() {
    let mut world = World::new(at("127.0.0.1:53"), &[publishing("127.0.0.1:0", 8000, false)]);
    let bound = world.nat.published().next().unwrap().1;
    let client = client(bound);
    world.run_nat(|nat| nat.counters().connections == 1 && nat.streams.is_empty());
    let error = client.join().unwrap().unwrap_err().kind();
    assert!(
        matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected),
        "{error}"
    );
    world.run_nat(|nat| nat.streams.is_empty());
}

#[test]
fn a_port_that_cannot_be_had_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (listen, words) in [
        (taken.to_string().as_str(), ["EADDRINUSE", &taken.to_string()]),
        ("192.0.2.77:0", ["EADDRNOTAVAIL", "192.0.2.77:0"]),
    ] {
        let held = TcpListener::bind(taken);
        let nat = Nat::new(
            &[publishing(listen, 80, false)],
            Taken::Refused,
            Way::default(),
            [0; 16],
            Instant::ZERO,
        );
        let error = nat.err().expect("an error");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        drop(held);
    }
}

#[test]
fn udp_through_the_engine_with_its_errors() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let address = server.local_addr().unwrap();
    let mut world = World::plain();
    let now = crate::sys::now();
    let id = world.program.open(Domain::V4, Kind::Datagram);
    world.program.connect(id, seen_by_program(address), now).unwrap();
    world.program.send_to(id, None, b"ping", now).unwrap();
    world.run(|_| Some(()));
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(&buffer[..length], from).unwrap();
    let datagram = world.run(|program| program.receive_from(id));
    assert_eq!((datagram.from, datagram.payload), (seen_by_program(address), b"ping".to_vec()));

    drop(server);
    world.program.send_to(id, None, b"anyone?", now).unwrap();
    assert_eq!(world.run(|program| program.take_error(id)), Error::ConnectionRefused);
    assert_eq!(world.program.state(id), None::<StreamState>);
}
