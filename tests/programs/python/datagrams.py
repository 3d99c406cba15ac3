"""An echo client over UDP: datagrams.py HOST PORT. Connected and unconnected sockets, sizes from nothing to 60,000 bytes."""

import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
SIZES = (0, 1, 512, 1472, 9000, 60_000)

connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.settimeout(20)
connected.connect((host, port))
for size in SIZES:
    payload = bytes(index % 251 for index in range(size))
    connected.send(payload)
    assert connected.recv(65536) == payload, size

free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
free.settimeout(20)
for size in SIZES:
    payload = bytes(index % 241 for index in range(size))
    free.sendto(payload, (host, port))
    answer, sender = free.recvfrom(65536)
    assert (answer, sender) == (payload, (host, port)), (size, sender)

free.sendto(b"truncated", (host, port))
data, _, flags, sender = free.recvmsg(4)
assert (data, sender) == (b"trun", (host, port)) and flags & socket.MSG_TRUNC, (data, flags)
print("echoed", 2 * len(SIZES) + 1)
