"""The first process runs the stack, and ends; its child goes on with what it inherited, and with a socket of its own."""

import errno
import os
import socket


def attempt(what, call):
    try:
        call()
        print(what + ": ok", flush=True)
    except OSError as error:
        print(what + ":", errno.errorcode[error.errno], flush=True)


gone, guard = os.pipe()
done, last = os.pipe()
first = os.fork()
if first == 0:
    os.close(guard)
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        # Until the first process has ended and was waited for.
        os.read(gone, 1)
        attempt("accept", listener.accept)
        attempt("setsockopt", lambda: listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        attempt("new socket", lambda: socket.create_server(("127.0.0.1", 0)))
    os._exit(0)
os.close(last)
os.waitpid(first, 0)
os.close(guard)
os.read(done, 1)
