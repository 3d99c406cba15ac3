"""A small world with names: names.py ADDRESS COMMAND... Runs in a network namespace of its own.

A name server (UDP and TCP) and a web server on the loopback; `known.test` and `long.test` (whose answer fits into TCP
only) have ADDRESS, no other name exists. Then COMMAND runs, and its exit status is ours.
"""

import http.server
import socket
import socketserver
import struct
import subprocess
import sys
import threading

address, command = socket.inet_aton(sys.argv[1]), sys.argv[2:]


def answer_to(query, over_tcp):
    """RFC 1035 4.1: header, the question again, and the answers."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]])
        at += 1 + query[at]
    name, (kind,) = b".".join(labels).lower(), struct.unpack("!H", query[at + 1:at + 3])
    question = query[12:at + 5]
    known = name in (b"known.test", b"long.test")
    truncated = name == b"long.test" and not over_tcp
    answers = 1 if known and kind == 1 and not truncated else 0
    flags = 0x8180 | (0x0200 if truncated else 0) | (0 if known else 3)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + address
    return query[:2] + struct.pack("!HHHHH", flags, 1, answers, 0, 0) + question + record * answers


class OverUdp(socketserver.BaseRequestHandler):
    def handle(self):
        query, server = self.request
        server.sendto(answer_to(query, over_tcp=False), self.client_address)


class OverTcp(socketserver.StreamRequestHandler):
    def handle(self):
        while prefix := self.rfile.read(2):
            (length,) = struct.unpack("!H", prefix)
            answer = answer_to(self.rfile.read(length), over_tcp=True)
            self.wfile.write(struct.pack("!H", len(answer)) + answer)


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"reached by name\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


for server in (
    socketserver.ThreadingUDPServer(("127.0.0.1", 53), OverUdp),
    socketserver.ThreadingTCPServer(("127.0.0.1", 53), OverTcp),
    http.server.ThreadingHTTPServer(("127.0.0.1", 80), Web),
):
    threading.Thread(target=server.serve_forever, daemon=True).start()
sys.exit(subprocess.call(command))
