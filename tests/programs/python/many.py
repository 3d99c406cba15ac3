"""COUNT connections in sequence: many.py HOST PORT COUNT. Prints descriptors and resident KiB half-way, and at the end."""

import os
import socket
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
REQUEST = b"GET /bytes/64 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


def print_use():
    with open("/proc/self/status") as status:
        resident = next(line.split()[1] for line in status if line.startswith("VmRSS"))
    print(len(os.listdir("/proc/self/fd")), resident)


for number in range(1, count + 1):
    with socket.create_connection((host, port)) as connection:
        connection.sendall(REQUEST)
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert len(answer.split(b"\r\n\r\n", 1)[1]) == 64, (number, answer)
    if number in (count // 2, count):
        print_use()
