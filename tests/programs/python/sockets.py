"""Sockets in all states that last, and then the command of the arguments, which shows them."""

import fcntl
import socket
import struct
import subprocess
import sys

LOOPBACK = "127.0.0.1"


def listener(family, address, port, backlog):
    made = socket.socket(family)
    if family == socket.AF_INET6 and port == 86:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    made.listen(backlog)
    return made


def pair(server):
    client = socket.create_connection((LOOPBACK, server.getsockname()[1]))
    return client, server.accept()[0]


server = listener(socket.AF_INET, LOOPBACK, 80, 5)
others = [
    listener(socket.AF_INET, "0.0.0.0", 84, 9),
    listener(socket.AF_INET6, "::", 85, 1),
    listener(socket.AF_INET6, "::", 86, 1),
]
established, far = pair(server)
# Unread bytes: a few, and more than are handed on at once.
established.sendall(b"x" * 300)
far.sendall(b"y" * 100_000)
mapped = socket.create_connection(("::ffff:127.0.0.1", 85))
accepted, _ = others[1].accept()

half, half_far = pair(server)
half.shutdown(socket.SHUT_WR)
assert half_far.recv(1) == b""
ended, ended_far = pair(server)
ended.close()
assert ended_far.recv(1) == b""
ended_far.close()
# Nobody accepts it.
waiting = socket.create_connection((LOOPBACK, 80))

datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagram.bind((LOOPBACK, 53))
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.connect((LOOPBACK, 53))
datagram6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
datagram6.bind(("::", 5353))

# Not in the table: neither has a port, or it does not listen.
unused = [socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]

# What was sent has arrived and is acknowledged.
SIOCOUTQ, FIN_WAIT_2 = 0x5411, 5
assert len(far.recv(300, socket.MSG_PEEK | socket.MSG_WAITALL)) == 300
assert len(established.recv(100_000, socket.MSG_PEEK | socket.MSG_WAITALL)) == 100_000
while any(struct.unpack("i", fcntl.ioctl(end, SIOCOUTQ, bytes(4)))[0] for end in (established, far)):
    pass
while half.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != FIN_WAIT_2:
    pass
subprocess.run(sys.argv[1:], check=True, close_fds=False)
