"""The first process runs the stack and listens in it; programs that it starts connect there, or find that they cannot."""

import os
import subprocess
import sys
import threading

before = dict(os.environ)
assert before["TUBESOCK_HOST"] == ""
assert subprocess.run(["printenv", "TUBESOCK_HOST"], capture_output=True, text=True).stdout == "\n"

import socket

server = socket.create_server(("127.0.0.1", 80))
CLIENT = "import socket; print(socket.create_connection(('127.0.0.1', 80)).recv(9).decode())"


def serve():
    while True:
        server.accept()[0].sendall(b"from here")


threading.Thread(target=serve, daemon=True).start()


def attempt(what, words, **how):
    outcome = subprocess.run(words, capture_output=True, text=True, **how)
    last = (outcome.stdout + outcome.stderr).strip().splitlines()[-1]
    print(what + ":", last, flush=True)


python = [sys.executable, "-c", CLIENT]
attempt("exec", python)
attempt("shell", ["/bin/sh", "-c", 'python=$1 client=$2; "$python" -c "$client"; :', "sh", sys.executable, CLIENT])
attempt("grandchild", [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])"] + python)
attempt("environment of before", python, env=before)
attempt("no environment", python, env={"LD_PRELOAD": os.environ["LD_PRELOAD"]})
