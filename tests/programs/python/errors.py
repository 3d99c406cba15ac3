"""What fails and how: errors.py HOST OPEN_PORT CLOSED_PORT. The same lines on the kernel's stack and on ours.

OPEN_PORT is the tests' HTTP server; nobody listens on CLOSED_PORT.
"""

import errno
import select
import socket
import sys

host, open_port, closed_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def outcome(call, *arguments):
    try:
        result = call(*arguments)
    except TimeoutError as error:
        return "timeout" if error.errno is None else errno.errorcode[error.errno]
    except OSError as error:
        return errno.errorcode[error.errno]
    return len(result) if isinstance(result, bytes) else "done"


def show(what, call, *arguments):
    print(what, outcome(call, *arguments))


def request(path):
    connection = socket.create_connection((host, open_port))
    connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: test\r\n\r\n")
    return connection


def read_all(connection):
    total = 0
    while chunk := connection.recv(65536):
        total += len(chunk)
    return b"" * total


fresh = socket.socket()
show("recv unconnected", fresh.recv, 1)
show("send unconnected", fresh.send, b"x")
show("shutdown unconnected", fresh.shutdown, socket.SHUT_WR)
show("getpeername unconnected", fresh.getpeername)
show("accept not listening", fresh.accept)
show("connect refused", fresh.connect, (host, closed_port))
show("connect after refusal", fresh.connect, (host, open_port))
show("connect again", fresh.connect, (host, open_port))
show("bind connected", fresh.bind, ("0.0.0.0", 0))
show("listen connected", fresh.listen)
fresh.settimeout(0.05)
show("recv with time-out", fresh.recv, 1)
fresh.setblocking(False)
show("recv non-blocking", fresh.recv, 1)
show("shutdown", fresh.shutdown, socket.SHUT_WR)
show("send after shutdown", fresh.send, b"x")

waiting = socket.socket()
waiting.setblocking(False)
print("connect non-blocking", errno.errorcode[waiting.connect_ex((host, closed_port))])
poll = select.poll()
poll.register(waiting, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
print("events after refusal", poll.poll(10_000)[0][1])
print("SO_ERROR", waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
print("SO_ERROR again", waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

first, second = socket.socket(), socket.socket()
first.bind(("127.0.0.1", 0))
show("bind twice", first.bind, ("127.0.0.1", 0))
first.listen()
show("bind in use", second.bind, first.getsockname())
show("bind foreign address", second.bind, ("192.0.2.1", 0))
first.setblocking(False)
show("accept none waiting", first.accept)
show("bad address family", second.connect_ex, ("127.0.0.1", 0))

show("recv until reset", read_all, request(b"/reset"))
show("recv until end", read_all, request(b"/short"))
ended = request(b"/http10/10")
read_all(ended)
show("send after the peer's end", ended.send, b"x")

broken = request(b"/reset")
poll = select.poll()
poll.register(broken, select.POLLERR)
poll.poll(10_000)
outcomes = [outcome(read_all, broken), outcome(broken.send, b"x"), outcome(broken.recv, 1)]
print("after a reset", *outcomes)

datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.settimeout(10)
datagrams.connect((host, closed_port))
show("send to nobody", datagrams.send, b"x")
show("recv from nobody", datagrams.recv, 1)
show("oversized datagram", datagrams.send, bytes(70_000))
show("descriptor closed", lambda: (fresh.close(), fresh.recv(1)))
