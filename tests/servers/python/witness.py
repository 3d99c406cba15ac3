"""witness.py server PORT: says how each connection ends. witness.py client HOST PORT KIND: a connection, to be killed.

The first line of a connection is its kind: "idle" sends nothing more; "sent" sends 300,000 octets; "unread" leaves what
the server sends unread; "endless" is sent to until the end."""

import select
import socket
import sys
import threading
import time

SENT = 300_000


def end_of(stream, kind):
    try:
        if kind == b"endless":
            while True:
                stream.sendall(bytes(10_000))
                time.sleep(0.01)
        if kind == b"unread":
            stream.sendall(bytes(1000))
        count = 0
        while data := stream.recv(65536):
            count += len(data)
        return f"{count} and end of file"
    except OSError as error:
        return type(error).__name__


def witness(stream):
    kind = b""
    while not kind.endswith(b"\n"):
        octet = stream.recv(1)
        if not octet:  # a look whether we listen
            return
        kind += octet
    kind = kind.strip()
    print(kind.decode(), "begins", flush=True)
    print(kind.decode(), end_of(stream, kind), flush=True)


def serve(port):
    listener = socket.create_server(("0.0.0.0", port))
    print("listening", flush=True)
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=witness, args=(stream,), daemon=True).start()


def connect(host, port, kind):
    stream = socket.create_connection((host, port))
    stream.sendall(kind.encode() + b"\n")
    if kind == "sent":
        stream.sendall(bytes(SENT))
    if kind == "unread":
        select.select([stream], [], [])
    print("waiting", flush=True)
    if kind == "endless":
        while stream.recv(65536):
            pass
    elif kind != "unread":
        # To be killed, or told of an end.
        try:
            print(stream.recv(1), flush=True)
        except OSError as error:
            print(type(error).__name__, flush=True)
    else:
        threading.Event().wait()


if sys.argv[1] == "server":
    serve(int(sys.argv[2]))
else:
    connect(sys.argv[2], int(sys.argv[3]), sys.argv[4])
