"""Under --bypass 127.0.0.0/8: what goes to the kernel, and what stays. Arguments: an HTTP server's port on the machine's
loopback, a UDP echo server's there, and a port that is closed."""

import errno
import os
import select
import socket
import sys

SERVER, ECHO, CLOSED = (("127.0.0.1", int(port)) for port in sys.argv[1:4])
GATEWAY = "10.0.2.2"


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def asks(stream):
    stream.sendall(b"GET /bytes/5 HTTP/1.0\r\n\r\n")
    return stream.recv(12)


def stream(family=socket.AF_INET):
    made = socket.socket(family)
    made.settimeout(20)
    return made


# The kernel knows the connection, and the options and flags that were set before.
one = stream()
one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 33)
one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\7\0\0\0")
one.connect(SERVER)
print("peer", one.getpeername() == SERVER, one.getsockname()[0])
print("domain", one.getsockopt(socket.SOL_SOCKET, 39) == socket.AF_INET)
print(
    "options",
    one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) > 0,
    one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[4],
)
print("flags", os.get_inheritable(one.fileno()), os.get_blocking(one.fileno()))
print("reply", asks(one))

# An epoll set that waited for it before it was connected waits on.
waited = socket.socket()
waited.setblocking(False)
other = os.dup(waited.fileno())
poll = select.epoll()
poll.register(waited, select.EPOLLOUT | select.EPOLLONESHOT)
poll.poll(0)
poll.modify(waited, select.EPOLLOUT | select.EPOLLET)
poll.poll(0)
print("begun", errno.errorcode[waited.connect_ex(SERVER)])
print("epoll", [(fd == waited.fileno(), event) for fd, event in poll.poll(20)])
print("connected", waited.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

# A refusal, and once more.
again = socket.socket()
print("refused", outcome(again.connect, CLOSED), outcome(again.connect, SERVER), asks(again))

# A port that was bound; IPv4 by an IPv6 socket.
bound = stream()
bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
bound.bind(("10.0.2.15", 0))
bound.connect(SERVER)
mapped = stream(socket.AF_INET6)
mapped.connect(("::ffff:127.0.0.1", SERVER[1]))
print("others", bound.getsockname()[0], mapped.getsockname()[0], asks(mapped))

# The stack has the rest: other destinations, and listeners. What became the kernel's goes nowhere else.
inside = stream()
inside.connect((GATEWAY, SERVER[1]))
print("inside", inside.getsockname()[0], asks(inside))
listener = socket.create_server(("127.0.0.1", 0))
print("listener", outcome(stream().connect, listener.getsockname()))
print("elsewhere", outcome(again.connect, (GATEWAY, SERVER[1])))

# Datagrams.
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.settimeout(20)
print("sendto", outcome(datagrams.sendto, b"x", ECHO))
datagrams.connect(ECHO)
datagrams.send(b"connected")
print("echo", datagrams.recv(100), datagrams.getsockname()[0])
print("sendto", outcome(datagrams.sendto, b"to", ECHO), datagrams.recv(100))
print("sendto", outcome(datagrams.sendto, b"x", (GATEWAY, ECHO[1])))
print("sendmsg", outcome(datagrams.sendmsg, [b"x"], [], 0, (GATEWAY, ECHO[1])))
print("connect", outcome(datagrams.connect, (GATEWAY, ECHO[1])))
