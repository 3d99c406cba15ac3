"""A megabyte is sent and the process ends in the next line: exit_at_once.py HOST PORT HOW."""

import os
import socket
import sys

connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(bytes(1_000_000))
if sys.argv[3] == "_exit":
    os._exit(7)
if sys.argv[3] == "exit":
    sys.exit(7)
if sys.argv[3] == "kill":
    os.kill(os.getpid(), 9)
