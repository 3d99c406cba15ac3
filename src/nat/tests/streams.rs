//! TCP from the program to servers of the kernel's.

use super::world::{World, read_some, write_some};
use super::*;
use crate::engine::{Refusal, StreamState};
use crate::error::Error;
use crate::link::Link;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Serves one connection on a thread of its own.
fn server<T: Send + 'static>(
    bind: &str,
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind(bind).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        serve(stream)
    });
    (address, thread)
}

/// Bytes that show it when some are lost, repeated or swapped.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// Closes with a RST.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn download_and_server_closes_first() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let (address, thread) = server(bind, |mut stream| stream.write_all(&pattern(5_000_000)).unwrap());
        let mut world = World::plain();
        let id = world.connected(seen_by_program(address));
        assert!(world.read_to_end(id) == pattern(5_000_000));
        thread.join().unwrap();
        world.program.shutdown_write(id, crate::sys::now());
        assert_eq!(world.end(id), None);
        world.run_nat(|nat| nat.streams.is_empty());
    }
}

#[test]
fn upload_and_program_closes_first() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let (address, thread) = server(bind, |mut stream| read_to_end(&mut stream));
        let mut world = World::plain();
        let id = world.connected(seen_by_program(address));
        world.write(id, &pattern(5_000_000));
        // What close(2) does: all that was written must arrive.
        world.program.release(id, crate::sys::now());
        world.run_nat(|nat| nat.streams.is_empty());
        assert!(!world.nat.busy());
        assert!(thread.join().unwrap() == pattern(5_000_000));
    }
}

#[test]
fn both_ways_at_once() {
    let (address, thread) = server("127.0.0.1:0", |stream| {
        let mut reader = stream.try_clone().unwrap();
        let up = std::thread::spawn(move || read_to_end(&mut reader));
        (&stream).write_all(&pattern(3_000_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        up.join().unwrap()
    });
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    let upward = pattern(4_000_000);
    let (mut rest, mut downward) = (&upward[..], Vec::new());
    world.run(|program| {
        write_some(program, id, &mut rest);
        read_some(program, id, &mut downward);
        if rest.is_empty() {
            program.shutdown_write(id, crate::sys::now());
        }
        (rest.is_empty() && program.at_eof(id)).then_some(())
    });
    assert!(downward == pattern(3_000_000));
    world.run_nat(|nat| nat.streams.is_empty());
    assert!(thread.join().unwrap() == upward);
}

#[test]
fn the_program_half_closes_and_the_server_still_answers() {
    let (address, thread) = server("127.0.0.1:0", |mut stream| {
        let request = read_to_end(&mut stream);
        stream.write_all(b"answer to ").unwrap();
        stream.write_all(&request).unwrap();
    });
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    world.write(id, b"request");
    world.program.shutdown_write(id, crate::sys::now());
    assert_eq!(world.read_to_end(id), b"answer to request");
    thread.join().unwrap();
}

#[test]
fn the_server_half_closes_and_still_reads() {
    let (address, thread) = server("127.0.0.1:0", |mut stream| {
        stream.write_all(b"greeting").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_to_end(&mut stream)
    });
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    assert_eq!(world.read_to_end(id), b"greeting");
    assert_eq!(world.program.state(id), Some(StreamState::Connected));
    world.write(id, &pattern(1_000_000));
    world.program.shutdown_write(id, crate::sys::now());
    assert_eq!(world.end(id), None);
    assert!(thread.join().unwrap() == pattern(1_000_000));
}

#[test]
fn a_server_that_does_not_read_stops_the_program() {
    let (address, thread) = server("127.0.0.1:0", |stream| stream);
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    let mut stream = thread.join().unwrap();
    let bytes = pattern(24 << 20);
    let mut rest = &bytes[..];
    while !world.nat.busy() || world.program.room(id) > 0 {
        world.run(|program| {
            write_some(program, id, &mut rest);
            Some(())
        });
    }
    assert!(!rest.is_empty(), "24 MiB went nowhere");
    let written = bytes.len() - rest.len();
    let reader = std::thread::spawn(move || read_to_end(&mut stream));
    world.program.shutdown_write(id, crate::sys::now());
    world.run_nat(|nat| !nat.busy());
    world.program.release(id, crate::sys::now());
    world.run_nat(|nat| nat.streams.is_empty());
    assert!(reader.join().unwrap() == bytes[..written]);
}

#[test]
fn a_closed_port_is_refused() {
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let address = TcpListener::bind(bind).unwrap().local_addr().unwrap();
        let mut world = World::plain();
        let id = world.connect(seen_by_program(address));
        assert_eq!(world.end(id), Some(Error::ConnectionRefused));
        assert!(world.nat.streams.is_empty());
        assert_eq!(world.nat.counters().refused, 1);
    }
}

#[test]
fn what_has_no_way_is_unreachable() {
    let mut world = World::plain();
    let id = world.connect(at("10.0.2.3:80"));
    assert_eq!(world.end(id), Some(Error::ConnectionRefused));
    let id = world.connect(at("0.1.2.3:80"));
    assert_eq!(world.end(id), Some(Error::NetworkUnreachable));
    assert!(world.nat.streams.is_empty());
}

#[test]
fn a_reset_comes_behind_the_data_before_it() {
    let (address, thread) = server("127.0.0.1:0", |mut stream| {
        stream.write_all(&pattern(100_000)).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        reset(stream);
    });
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    world.write(id, b"x");
    thread.join().unwrap();
    let mut bytes = Vec::new();
    let end = world.run(|program| {
        read_some(program, id, &mut bytes);
        (program.state(id) == Some(StreamState::Ended)).then(|| program.end(id))
    });
    assert_eq!(end, Some(Error::ConnectionReset));
    assert!(bytes == pattern(100_000));
    assert!(world.nat.streams.is_empty());
}

#[test]
fn a_reset_reaches_a_program_that_only_writes() {
    let (address, thread) = server("127.0.0.1:0", |mut stream| {
        // More than the program's window takes, so that something is always undelivered.
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 65536]).is_ok() {}
        stream.set_nonblocking(false).unwrap();
        stream.read_exact(&mut [0; 100_000]).unwrap();
        reset(stream);
    });
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    let endless = pattern(1 << 20);
    let end = world.run(|program| {
        write_some(program, id, &mut &endless[..]);
        (program.state(id) == Some(StreamState::Ended)).then(|| program.end(id))
    });
    assert_eq!(end, Some(Error::ConnectionReset));
    thread.join().unwrap();
    assert!(world.nat.streams.is_empty());
}

#[test]
fn a_reset_of_the_program_reaches_the_server() {
    let (address, thread) = server("127.0.0.1:0", |mut stream| stream.read_to_end(&mut Vec::new()));
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    world.write(id, b"x");
    world.program.abort(id, crate::sys::now());
    world.run_nat(|nat| nat.streams.is_empty());
    assert_eq!(thread.join().unwrap().unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_program_that_closes_early_resets_a_server_that_goes_on() {
    let (address, thread) = server("127.0.0.1:0", |mut stream| {
        loop {
            if let Err(error) = stream.write_all(&[0; 65536]) {
                return error.kind();
            }
        }
    });
    let mut world = World::plain();
    let id = world.connected(seen_by_program(address));
    world.read(id, 1);
    world.program.release(id, crate::sys::now());
    world.run_nat(|nat| nat.streams.is_empty());
    let error = thread.join().unwrap();
    assert!(matches!(error, std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn a_connection_that_nobody_waits_for_any_more_is_closed() {
    // A backlog of one that is full: the kernel leaves the next SYN unanswered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let _full = TcpStream::connect(address).unwrap();
    let mut world = World::plain();
    let id = world.connect(seen_by_program(address));
    world.run_nat(|nat| !nat.streams.is_empty());
    world.program.release(id, crate::sys::now());
    // The kernel sends its SYN again, and now there is room.
    drop(listener.accept().unwrap());
    world.run_nat(|nat| nat.streams.is_empty());
    assert_eq!(world.nat.counters().refused, 0);
}

#[test]
fn a_hundred_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let serve = |mut stream: TcpStream| {
            let request = read_to_end(&mut stream);
            stream.write_all(&request).unwrap();
        };
        let threads: Vec<_> = (0..100)
            .map(|_| {
                let stream = listener.accept().unwrap().0;
                std::thread::spawn(move || serve(stream))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let mut world = World::plain();
    let request = |n: usize| pattern(50_000 + n);
    let ids: Vec<_> = (0..100).map(|_| world.connect(seen_by_program(address))).collect();
    let requests: Vec<_> = (0..100).map(request).collect();
    let mut rests: Vec<_> = requests.iter().map(Vec::as_slice).collect();
    let mut answers = vec![Vec::new(); 100];
    world.run(|program| {
        for (n, &id) in ids.iter().enumerate() {
            assert_eq!(program.end(id), None);
            if !rests[n].is_empty() {
                write_some(program, id, &mut rests[n]);
                if rests[n].is_empty() {
                    program.shutdown_write(id, crate::sys::now());
                }
            }
            read_some(program, id, &mut answers[n]);
        }
        ids.iter().all(|&id| program.at_eof(id)).then_some(())
    });
    assert!(answers == requests);
    thread.join().unwrap();
    world.run_nat(|nat| nat.streams.is_empty());
    assert_eq!(world.nat.counters().connections, 100);
}

#[test]
fn a_flow_that_trickles_is_not_starved_by_one_that_floods() {
    let (flood, _thread) = server("127.0.0.1:0", |mut stream| while stream.write_all(&[0; 65536]).is_ok() {});
    let (echo, thread) = server("127.0.0.1:0", |mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut world = World::plain();
    let (flood, echo) = (world.connected(seen_by_program(flood)), world.connected(seen_by_program(echo)));
    let (mut rounds, mut flooded) = (0, 0);
    while rounds < 50 || flooded < 10_000_000 {
        rounds += 1;
        world.write(echo, b"?");
        world.run(|program| {
            flooded += program.read_with(flood, &mut |slice| slice.len());
            let mut answer = Vec::new();
            read_some(program, echo, &mut answer);
            (!answer.is_empty()).then_some(())
        });
    }
    world.program.release(echo, crate::sys::now());
    world.run(|program| {
        program.read_with(flood, &mut |slice| slice.len());
        thread.is_finished().then_some(())
    });
}

#[test]
fn names_over_tcp_go_to_the_name_server() {
    let (name_server, thread) = server("127.0.0.1:0", |mut stream| stream.write_all(b"names").unwrap());
    let mut world = World::new(name_server, &[]);
    let id = world.connected(at("10.0.2.3:53"));
    assert_eq!(world.read_to_end(id), b"names");
    thread.join().unwrap();
}

#[test]
fn errors_of_the_kernel_have_their_refusals() {
    use super::super::streams::refusal;
    use rustix::io::Errno;
    let to = at("192.0.2.1:80");
    assert_eq!(refusal(Errno::CONNREFUSED, to), Refusal::Reset);
    assert_eq!(refusal(Errno::NETUNREACH, to), Refusal::NetworkUnreachable);
    assert_eq!(refusal(Errno::ADDRNOTAVAIL, to), Refusal::NetworkUnreachable);
    assert_eq!(refusal(Errno::HOSTUNREACH, to), Refusal::HostUnreachable);
    assert_eq!(refusal(Errno::ACCESS, to), Refusal::HostUnreachable);
    assert_eq!(refusal(Errno::TIMEDOUT, to), Refusal::Silence);
}
