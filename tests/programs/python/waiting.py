"""Starts a command, waits until it waits for its network, and ends it, by a signal or by the key of its terminal. Prints how it
ended.

    waiting.py address PATH SIGNAL COMMAND...      at PATH is its link, on which nobody answers
    waiting.py name - SIGNAL COMMAND...            nobody answers at the machine's name server"""

import os
import pty
import signal
import socket
import sys

what, path, number, *command = sys.argv[1:]

if what == "address":
    network = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    network.bind(path)
    network.listen()
else:
    network = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    network.bind(("127.0.0.1", 53))
network.settimeout(30)

if number == "terminal":
    child, terminal = pty.fork()
else:
    child = os.fork()
if child == 0:
    # As a shell has it in the foreground.
    for end in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(end, signal.SIG_DFL)
    if number != "terminal":
        os.setpgid(0, 0)
    os.execvp(command[0], command)

if what == "address":
    link, _ = network.accept()
    asked = link.recv(4)
else:
    asked = network.recv(512)
assert asked, "it has ended before"
if number == "terminal":
    os.write(terminal, b"\x03")
else:
    os.kill(child, int(number))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
