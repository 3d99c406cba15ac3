"""dup, and dup2 over a socket that is in use: the duplicate works on, what was covered is closed."""

import os
import socket
import sys

address = (sys.argv[1], int(sys.argv[2]))


def fetch(connection):
    connection.sendall(b"GET /bytes/1000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
    return len(answer.split(b"\r\n\r\n", 1)[1])


covered, kept = socket.create_connection(address), socket.create_connection(address)
os.dup2(kept.fileno(), covered.fileno())
kept.close()
print(fetch(covered))

original = socket.create_connection(address)
copy = original.dup()
original.close()
print(fetch(copy), copy.getpeername() == address)

replaced = socket.create_connection(address)
with open("/dev/null", "rb") as nothing:
    os.dup2(nothing.fileno(), replaced.fileno())
print(os.read(replaced.fileno(), 1), fetch(socket.create_connection(address)))
