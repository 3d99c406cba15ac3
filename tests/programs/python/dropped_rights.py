"""Listens as root, and accepts as nobody; a child asks about what was accepted."""

import os
import socket

listener = socket.create_server(("127.0.0.1", 80))
os.setgid(65534)
os.setuid(65534)
client = socket.create_connection(("127.0.0.1", 80))
accepted, _ = listener.accept()
client.sendall(b"to nobody")
print(accepted.recv(100).decode(), flush=True)
if os.fork() == 0:
    print(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), accepted.getpeername()[0], flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
