"""Every descriptor from 3 up is closed, one by one and by ranges, before and after sockets are used."""

import ctypes
import os
import resource
import socket
import sys

libc = ctypes.CDLL(None, use_errno=True)
LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def fetch():
    connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    assert connection.fileno() < 20, connection.fileno()
    connection.sendall(b"GET /bytes/1000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    connection.detach()
    return len(answer.split(b"\r\n\r\n", 1)[1])


def close_each():
    for descriptor in range(3, LIMIT):
        libc.close(descriptor)


total = 0
for close_all in (
    lambda: os.closerange(3, 20_000),
    lambda: fetch(),
    lambda: os.closerange(3, 20_000),
    close_each,
    lambda: libc.close_range(3, 0x7FFFFFFF, 0),
    lambda: libc.closefrom(3),
):
    close_all()
    total += fetch()
print(total, resource.getrlimit(resource.RLIMIT_NOFILE)[0] == LIMIT)
