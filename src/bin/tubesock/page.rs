//! The demo's HTTP server: an ordinary program with kernel sockets, as far as the network can tell. HTTP/1.1, one page,
//! and the connection stays open until the client closes it. It is no more of a server than the demo needs.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Serves the page on a free port of 127.0.0.1 as long as this process lives.
pub(crate) fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("page".into()).spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that goes away in the middle is its own affair.
            let _ = answer(&client);
        }
    })?;
    Ok(address)
}

fn answer(client: &TcpStream) -> Result<()> {
    let mut lines = BufReader::new(client).lines();
    while let Some(request) = lines.next() {
        let request = request?;
        for header in lines.by_ref() {
            if header?.is_empty() {
                break;
            }
        }
        let page = page(&request, client.peer_addr()?, client.local_addr()?);
        let mut reply = client;
        write!(
            reply,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        )?;
    }
    Ok(())
}

fn page(request: &str, client: SocketAddr, server: SocketAddr) -> String {
    format!(
        "This page was made for the request\n\n    {request}\n\nthat an ordinary server took from the kernel's TCP at \
         {server}.\nThere its client is {client}: a socket of the link `nat`, in the process of the\nprogram. What \
         the program itself is connected to, from which port, and by which\nsegments, the kernel never saw; the ladder below shows it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn two_requests_on_one_connection() {
        let address = serve().expect("a port of the loopback is free");
        let mut client = TcpStream::connect(address).expect("the server listens");
        client.write_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\n\r\n").expect("it reads");
        client.shutdown(std::net::Shutdown::Write).expect("it is connected");
        let mut replies = String::new();
        client.read_to_string(&mut replies).expect("it answers and closes");
        assert_eq!(replies.matches("HTTP/1.1 200 OK\r\n").count(), 2);
        assert!(replies.contains("GET /1 HTTP/1.1\n") && replies.contains("GET /2 HTTP/1.1\n"), "{replies}");
        let (head, body) = replies.split_once("\r\n\r\n").expect("a header ends");
        let length: usize = head.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a length is last");
        assert!(body[length..].starts_with("HTTP/1.1 200 OK"));
    }
}
