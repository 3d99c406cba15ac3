"""Sends numbered datagrams: crossing.py HOST PORT CLOSED. The first asks the host, which then stands still: the next ones do not
need it. What asks again keeps its place among them, and so does what is sent last, however the program ends."""

import os
import select
import signal
import socket
import struct
import sys

host, port, closed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def send(numbers):
    for number in numbers:
        assert sender.sendto(b"%d" % number, (host, port)) == len(b"%d" % number)


send([0])
os.kill(os.getppid(), signal.SIGSTOP)
send(range(1, 50))
os.kill(os.getppid(), signal.SIGCONT)
ttl = (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 9))
sender.sendmsg([b"50"], [ttl], 0, (host, port))
send(range(51, 100))

refused = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused.connect((host, closed))
poll = select.poll()
poll.register(refused, 0)
for turn in range(3):
    refused.send(b"nobody there")
    assert poll.poll(20_000) == [(refused.fileno(), select.POLLERR)], turn
    try:
        refused.send(b"nobody there")
        raise AssertionError(turn)
    except ConnectionRefusedError:
        assert poll.poll(0) == [], turn

sender.connect((host, port))
sender.send(b"100")
sender.send(b"101")
os._exit(0)
