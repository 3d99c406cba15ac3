"""A program that another one started outlives it, and the stack with it: what it inherited and what it had there is lost, and
new sockets are of a stack of its own, for its own descendants too."""

import errno
import os
import socket
import subprocess
import sys

LAST = "import socket; print('descendant:', socket.create_connection(('127.0.0.1', 81)).recv(9).decode(), flush=True)"


def attempt(what, call):
    try:
        call()
        print(what + ": ok", flush=True)
    except OSError as error:
        print(what + ":", errno.errorcode[error.errno], flush=True)


def first(gone, last):
    listener = socket.create_server(("127.0.0.1", 80))
    # This very script.
    words = [sys.executable, "-c", sys.orig_argv[2], str(gone), str(listener.fileno())]
    subprocess.Popen(words, pass_fds=(gone, last, listener.fileno()))
    listener.accept()[0].recv(1)
    os._exit(0)


def second(gone, inherited):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, inherited)
    client = socket.create_connection(("127.0.0.1", 80))
    client.send(b"x")
    # Until the first has ended and was waited for.
    os.read(gone, 1)
    attempt("accept", listener.accept)
    attempt("recv", lambda: client.recv(1))
    own = socket.create_server(("127.0.0.1", 81))
    child = subprocess.Popen([sys.executable, "-c", LAST])
    own.accept()[0].sendall(b"from here")
    child.wait()


if len(sys.argv) > 1:
    second(*map(int, sys.argv[1:]))
    sys.exit()
gone, guard = os.pipe()
done, last = os.pipe()
process = os.fork()
if process == 0:
    os.close(guard)
    first(gone, last)
os.close(last)
os.waitpid(process, 0)
os.close(guard)
os.read(done, 1)
