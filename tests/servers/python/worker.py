"""worker.py HOST PORT: one request, prints which process answered, then how the connection ends."""

import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as stream:
    stream.sendall(b"GET /small HTTP/1.1\r\nHost: worker\r\n\r\n")
    answer = b""
    while not answer.endswith(b"small\n"):
        answer += stream.recv(65536)
    (process,) = (line for line in answer.decode().splitlines() if line.startswith("X-Process: "))
    print(process, flush=True)
    try:
        print(stream.recv(65536), flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
