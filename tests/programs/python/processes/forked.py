"""A forked child uses the socket it inherited: what needs the stack gets an error, nothing hangs, the parent goes on."""

import errno
import os
import socket
import sys


def fetch(connection, close):
    connection.sendall(b"GET /bytes/1000 HTTP/1.1\r\nHost: test\r\n" + close + b"\r\n")
    answer = b""
    while not answer.endswith(END):
        answer += connection.recv(65536)
    return len(answer.split(b"\r\n\r\n", 1)[1])


connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.settimeout(20)
END = bytes.fromhex(sys.argv[3])
child = os.fork()
if child == 0:
    try:
        print("child getpeername:", connection.getpeername()[1], flush=True)
    except OSError as error:
        print("child getpeername:", errno.errorcode[error.errno], flush=True)
    print("child:", fetch(connection, b""), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent:", fetch(connection, b"Connection: close\r\n"))
