"""Urgent data between two sockets of the program: what each call and event says, one line each. Both stacks print the same."""

import array
import errno
import fcntl
import select
import signal
import socket
import os
import termios

listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
poll = select.poll()
poll.register(server, select.POLLIN | select.POLLPRI)


def attempt(what, call):
    try:
        print(what, call())
    except OSError as error:
        print(what, errno.errorcode[error.errno])


def mark():
    value = array.array("i", [0])
    fcntl.ioctl(server, 0x8905, value)
    return value[0]


def until(events):
    while poll.poll(10_000)[0][1] & events != events:
        pass
    return poll.poll(0)[0][1]


attempt("nothing", lambda: server.recv(1, socket.MSG_OOB))
client.sendall(b"before")
print(client.send(b"xY", socket.MSG_OOB))
client.sendall(b"behind")
print("events", until(select.POLLIN | select.POLLPRI), "mark", mark())
print(server.recv(100), "mark", mark())
attempt("urgent", lambda: server.recv(10, socket.MSG_OOB))
attempt("again", lambda: server.recv(10, socket.MSG_OOB))
print(server.recv(100), "mark", mark())

came, tell = os.pipe()
signal.signal(signal.SIGURG, lambda *_: os.write(tell, b"!"))
fcntl.fcntl(server, fcntl.F_SETOWN, os.getpid())
client.send(b"Z", socket.MSG_OOB)
print("signal", os.read(came, 1))
print("events", until(select.POLLPRI) & select.POLLPRI)
attempt("urgent", lambda: server.recv(10, socket.MSG_OOB))

client = socket.create_connection(listener.getsockname())
server, _ = listener.accept()
server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
client.sendall(b"in")
client.send(b"L", socket.MSG_OOB)
client.sendall(b"ine")
client.shutdown(socket.SHUT_WR)
# All of it is there when the end is: else the mark may come behind the reader.
end = select.poll()
end.register(server, select.POLLRDHUP)
end.poll(20_000)
inline = b""
while chunk := server.recv(1):
    inline += chunk + (b"|" if mark() else b"")
print("in line", inline)
attempt("urgent", lambda: server.recv(10, socket.MSG_OOB))
