"""Goes to other network namespaces and comes back: whether there are new sockets, and descriptors more of the host."""

import ctypes
import errno
import os
import socket
import time

NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def must(result):
    assert result == 0, os.strerror(ctypes.get_errno())


def new_socket():
    try:
        socket.socket().close()
        return "a socket"
    except OSError as error:
        return errno.errorcode[error.errno]


def more_descriptors(expected):
    """Of the host, which answers first; that many once all is closed that was."""
    until = time.monotonic() + 10
    while True:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        more = len(os.listdir(f"/proc/{host}/fd")) - before
        if more == expected or time.monotonic() > until:
            return more


home = os.open("/proc/self/ns/net", os.O_RDONLY)
listener = socket.create_server(("127.0.0.1", 0))
connection = socket.create_connection(listener.getsockname())
accepted, _ = listener.accept()
host = os.getppid()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
before = len(os.listdir(f"/proc/{host}/fd"))

for count in (1, 100):
    for _ in range(count):
        must(libc.unshare(NEWNET))
    print(new_socket(), more_descriptors(2))
there = os.open("/proc/self/ns/net", os.O_RDONLY)
for namespace in (home, there) * 20:
    must(libc.setns(namespace, NEWNET))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
os.close(there)
must(libc.setns(home, NEWNET))
print(new_socket(), more_descriptors(0))
