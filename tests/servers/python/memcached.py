"""memcached.py HOST PORT CONNECTIONS COUNT: sets COUNT values on each connection, reads them back, prints how many were right."""

import socket
import sys
import threading

HOST, PORT, CONNECTIONS, COUNT = sys.argv[1], *map(int, sys.argv[2:])
right = []


def value(connection, number):
    return (b"%d.%d " % (connection, number)) * (1 + number % 200)


def play(connection):
    with socket.create_connection((HOST, PORT), timeout=30) as stream, stream.makefile("rb") as answers:
        for number in range(COUNT):
            data = value(connection, number)
            stream.sendall(b"set %d.%d 0 0 %d\r\n%s\r\n" % (connection, number, len(data), data))
            if answers.readline() != b"STORED\r\n":
                return
        for number in range(COUNT):
            stream.sendall(b"get %d.%d\r\n" % (connection, number))
            length = int(answers.readline().split()[3])
            data = answers.read(length + 2)[:-2]
            if answers.readline() == b"END\r\n" and data == value(connection, number):
                right.append(1)


threads = [threading.Thread(target=play, args=(connection,)) for connection in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(right))
sys.exit(len(right) != CONNECTIONS * COUNT)
