"""Other programs are started, and end, while a connection is open; then the connection still works."""

import socket
import subprocess
import sys

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
for number in range(20):
    assert subprocess.check_output(["echo", str(number)]) == f"{number}\n".encode()
connection.sendall(b"GET /bytes/1000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
answer = b""
while chunk := connection.recv(65536):
    answer += chunk
print(len(answer.split(b"\r\n\r\n", 1)[1]))
