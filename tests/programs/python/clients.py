"""The standard library's clients, one a run: clients.py WHICH HOST PORT [CERTIFICATE]. Prints the bytes received."""

import asyncio
import http.client
import socket
import ssl
import sys
import urllib.request

which, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])


def by_urllib():
    with urllib.request.urlopen(f"http://{host}:{port}/bytes/100000") as answer:
        return len(answer.read())


def by_http_client():
    connection = http.client.HTTPConnection(host, port)
    total = 0
    for _ in range(10):
        connection.request("GET", "/bytes/10000")
        total += len(connection.getresponse().read())
    connection.request("POST", "/digest", body=bytes(50000))
    digest = connection.getresponse().read().decode()
    assert len(digest) == 64, digest
    return total


async def one_of_many():
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET /bytes/2000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return len(answer.split(b"\r\n\r\n", 1)[1])


async def by_asyncio():
    return sum(await asyncio.gather(*(one_of_many() for _ in range(50))))


def by_ssl():
    context = ssl.create_default_context(cafile=sys.argv[4])
    with socket.create_connection((host, port)) as plain:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            secure.sendall(b"GET /file HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            answer = b""
            while chunk := secure.recv(65536):
                answer += chunk
    return len(answer.split(b"\r\n\r\n", 1)[1])


print({
    "urllib": by_urllib,
    "http.client": by_http_client,
    "asyncio": lambda: asyncio.run(by_asyncio()),
    "ssl": by_ssl,
}[which]())
