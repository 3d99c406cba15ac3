"""What once differed: regressions.py HOST OPEN_PORT CLOSED_PORT. The same lines on the kernel's stack and on ours.

OPEN_PORT is the tests' HTTP server; nobody listens on CLOSED_PORT.
"""

import errno
import os
import select
import socket
import struct
import subprocess
import sys

host, open_port, closed_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
NO_LINGER = struct.pack("ii", 1, 0)


def show(what, call, *arguments):
    try:
        result = call(*arguments)
        text = repr(result) if isinstance(result, (bytes, int, str)) else "done"
    except OSError as error:
        text = errno.errorcode[error.errno]
    print(what, text)


OPTIONS = [
    ("SO_KEEPALIVE", socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    ("SO_REUSEADDR", socket.SOL_SOCKET, socket.SO_REUSEADDR),
    ("SO_BROADCAST", socket.SOL_SOCKET, socket.SO_BROADCAST),
    ("TCP_NODELAY", socket.IPPROTO_TCP, socket.TCP_NODELAY),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    ("IPV6_V6ONLY", socket.IPPROTO_IPV6, socket.IPV6_V6ONLY),
]


def every_option(state, endpoint):
    for name, level, option in OPTIONS:
        if level == socket.IPPROTO_TCP and endpoint.type != socket.SOCK_STREAM:
            continue
        show(f"{state}: set {name}", endpoint.setsockopt, level, option, 1)
        show(f"{state}: get {name}", endpoint.getsockopt, level, option)


for family, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    bound = socket.socket(family)
    bound.bind((wildcard, 0))
    every_option("bound", bound)
    bound.listen()
    every_option("listening", bound)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.sendto(b"x", (host, closed_port))
every_option("sent", datagrams)

# Both ends in this process, over its loopback: what is closed when, and by whom, is then the script's.
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(8)


def pair():
    near = socket.create_connection(listener.getsockname())
    return near, listener.accept()[0]


near, far = pair()
far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
far.sendall(b"hi")
far.shutdown(socket.SHUT_RDWR)
show("linger 0, SHUT_RDWR: data", near.recv, 10)
show("linger 0, SHUT_RDWR: end", near.recv, 10)

# What is known of an end survives the close of a duplicate, and anything else that asks who is still there.
for what, disturb in (
    ("close of a duplicate", lambda fd: os.close(os.dup(fd))),
    ("dup2", lambda fd: os.close(os.dup2(fd, 200))),
    ("a hundred sockets", lambda fd: [socket.socket().close() for _ in range(100)]),
    ("closerange", lambda fd: os.closerange(300, 400)),
):
    near, far = pair()
    far.shutdown(socket.SHUT_WR)
    near.sendall(b"last words")
    near.close()
    disturb(far.fileno())
    show(f"{what}: data", far.recv, 100)
    show(f"{what}: end", far.recv, 100)
    near, far = pair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    near.close()
    disturb(far.fileno())
    show(f"{what}: reset", far.recv, 100)

resets = [pair() for _ in range(100)]
for near, _ in resets:
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    near.close()
for _, far in resets:
    show("one of many resets", far.recv, 100)

# The address that bind gave survives a connect that was refused.
bound = socket.socket()
bound.bind(("0.0.0.0", 0))
port = bound.getsockname()[1]
show("refused", bound.connect, (host, closed_port))
show("connected", bound.connect, (host, open_port))
print("the same port", bound.getsockname()[1] == port)

show("SHUT_WR of a listener", listener.shutdown, socket.SHUT_WR)
near, far = pair()
print("still listens", near.getpeername() == listener.getsockname())
address = listener.getsockname()
show("SHUT_RDWR of a listener", listener.shutdown, socket.SHUT_RDWR)
show("accept after it", listener.accept)
print("still named", listener.getsockname() == address)

# A program that inherits a connection as its standard input reads all of it, and a true end.
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(8)
near, far = pair()
near.sendall(b"for a child\n")
near.shutdown(socket.SHUT_WR)
child = subprocess.run(["cat"], stdin=far, stdout=subprocess.PIPE)
print("cat", child.returncode, child.stdout)

# An epoll set goes on waiting for a socket that is connected again after a refusal.
retried = socket.socket()
poll = select.epoll()
poll.register(retried, select.EPOLLIN | select.EPOLLET)
show("refused", retried.connect, (host, closed_port))
show("connected again", retried.connect, (host, open_port))
poll.poll(0)
retried.sendall(b"GET /bytes/5 HTTP/1.0\r\n\r\n")
print("epoll after a second connect", [(fd == retried.fileno(), event & select.EPOLLIN) for fd, event in poll.poll(20)])
