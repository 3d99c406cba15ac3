"""Three workers accept from a listener that their parent opened, and answer with options and names of their own."""

import os
import socket

listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
for worker in range(3):
    if os.fork() == 0:
        for _ in range(10):
            connection, peer = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert connection.getsockname()[1] == port and connection.getpeername() == peer
            connection.sendall(connection.recv(100) + b" %d" % worker)
            connection.close()
        os._exit(0)
listener.close()
answers = []
for number in range(30):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"%d" % number)
        echo, worker = connection.recv(100).split()
        assert int(echo) == number
        answers.append(int(worker))
for _ in range(3):
    assert os.wait()[1] == 0
print(len(answers), "answers, from workers", sorted(set(answers)))
