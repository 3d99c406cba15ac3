"""TCP's options: options.py HOST OPEN_PORT CLOSED_PORT. The same lines on the kernel's stack and on ours.

OPEN_PORT is the tests' HTTP server. Not shown is what a machine's settings decide: the default congestion control, the
largest and the default buffer sizes. What ours refuses is in the README.
"""

import errno
import socket
import struct
import sys

host, open_port = sys.argv[1], int(sys.argv[2])
TCP, SOCKET = socket.IPPROTO_TCP, socket.SOL_SOCKET
SO_MAX_PACING_RATE = 47
SIZES = [0, 1, 1151, 1152, 2304, 10_000, 106_496, 106_497, 212_992]
OPTIONS = [
    ("TCP_NODELAY", TCP, [1, 0, 2]),
    ("TCP_CORK", TCP, [1, 0, 5]),
    ("TCP_QUICKACK", TCP, [0, 1, 0, 1]),
    ("TCP_MAXSEG", TCP, [87, 88, 536, 32_767, 32_768, -1, 0]),
    ("TCP_USER_TIMEOUT", TCP, [-1, 5000, 0]),
    ("TCP_KEEPIDLE", TCP, [0, 1, 32_767, 32_768, 7200]),
    ("TCP_KEEPINTVL", TCP, [0, 1, 32_767, 32_768, 75]),
    ("TCP_KEEPCNT", TCP, [0, 1, 127, 128, 9]),
    ("TCP_SYNCNT", TCP, [0, 1, 127, 128, 6]),
    ("TCP_LINGER2", TCP, [-5, 1, 120, 121, 1000, 0]),
    ("TCP_NOTSENT_LOWAT", TCP, [1, 5000, -1, 0]),
    ("SO_SNDBUF", SOCKET, SIZES),
    ("SO_RCVBUF", SOCKET, SIZES),
    ("SO_OOBINLINE", SOCKET, [1, 0]),
]


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def show(what, call, *arguments):
    print(what, outcome(call, *arguments))


def every_option(state, endpoint):
    for name, level, values in OPTIONS:
        option = getattr(socket, name)
        for value in values:
            show(f"{state}: set {name} {value}", endpoint.setsockopt, level, option, value)
            if (name, state) != ("TCP_MAXSEG", "connected"):  # What a connection's segments hold is the path's.
                show(f"{state}: get {name}", endpoint.getsockopt, level, option)
    for name in b"cubic", b"cubic\0more", b"nope", b"":
        show(f"{state}: set TCP_CONGESTION {name}", endpoint.setsockopt, TCP, socket.TCP_CONGESTION, name)
    for length in 3, 6, 16, 20:
        show(f"{state}: get TCP_CONGESTION", endpoint.getsockopt, TCP, socket.TCP_CONGESTION, length)
    for rate in struct.pack("I", 1000), struct.pack("Q", 1 << 40), b"\1\1", struct.pack("i", -1):
        show(f"{state}: set SO_MAX_PACING_RATE {rate}", endpoint.setsockopt, SOCKET, SO_MAX_PACING_RATE, rate)
        for length in 4, 8:
            show(f"{state}: get SO_MAX_PACING_RATE", endpoint.getsockopt, SOCKET, SO_MAX_PACING_RATE, length)
    show(f"{state}: set TCP_CORK, too short", endpoint.setsockopt, TCP, socket.TCP_CORK, b"\1")
    for length in 1, 2, 8:
        show(f"{state}: get TCP_NODELAY of {length}", endpoint.getsockopt, TCP, socket.TCP_NODELAY, length)


INFO = struct.Struct("8B24I4Q6I4Q2I2Q6I")
NAMES = """state ca_state retransmits probes backoff options scales limited rto ato snd_mss rcv_mss unacked sacked lost
retrans fackets last_data_sent last_ack_sent last_data_recv last_ack_recv pmtu rcv_ssthresh rtt rttvar snd_ssthresh
snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans pacing_rate max_pacing_rate bytes_acked bytes_received
segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out delivery_rate busy_time rwnd_limited sndbuf_limited
delivered delivered_ce bytes_sent bytes_retrans dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash""".split()


def info(endpoint):
    return dict(zip(NAMES, INFO.unpack_from(endpoint.getsockopt(TCP, socket.TCP_INFO, 512))))


def show_info(what, endpoint, *names):
    found = info(endpoint)
    print(what, *(f"{name}={found[name]}" for name in names))


idle = socket.socket()
show_info("idle", idle, "state", "ca_state", "retransmits", "unacked", "snd_cwnd", "snd_ssthresh", "rto", "snd_mss")
every_option("idle", idle)
for clamp in 1, 1152, 5000, -1, 0:
    show(f"set TCP_WINDOW_CLAMP {clamp}", idle.setsockopt, TCP, socket.TCP_WINDOW_CLAMP, clamp)
    show("get TCP_WINDOW_CLAMP", idle.getsockopt, TCP, socket.TCP_WINDOW_CLAMP)
for length in 1, 7, 8, 100, 104:
    show(f"TCP_INFO of {length}", lambda: len(idle.getsockopt(TCP, socket.TCP_INFO, length)))

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
show_info("listening", listener, "state", "snd_cwnd", "reordering")
every_option("listening", listener)
listener.close()

connection = socket.create_connection((host, open_port))
# The server's host acknowledges data when it pleases; an answer acknowledges it for certain.
request = b"GET /bytes/1000 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
connection.sendall(request)
received = 0
while chunk := connection.recv(65_536):
    received += len(chunk)
after = info(connection)
print("connected", after["state"], after["ca_state"], after["options"] & 7, after["retransmits"], after["lost"])
for name, least in (
    ("rto", 200_000), ("snd_mss", 536), ("rcv_mss", 536), ("pmtu", 576), ("advmss", 536), ("snd_cwnd", 10), ("rtt", 1),
    ("segs_out", 3), ("segs_in", 3), ("data_segs_out", 1), ("data_segs_in", 1), ("snd_wnd", 1), ("rcv_wnd", 1),
):
    print(name, after[name] >= least)
# Linux counts the SYN of an active open, and a FIN that came.
print("bytes", after["bytes_acked"] - len(request) in (0, 1), after["bytes_received"] - received in (0, 1))
print("bytes", after["bytes_sent"] - len(request), after["unacked"], after["total_retrans"], after["notsent_bytes"])
connection.close()

connection = socket.create_connection((host, open_port))
every_option("connected", connection)
show("set TCP_WINDOW_CLAMP 0", connection.setsockopt, TCP, socket.TCP_WINDOW_CLAMP, 0)
show("set TCP_WINDOW_CLAMP 5000", connection.setsockopt, TCP, socket.TCP_WINDOW_CLAMP, 5000)
show("get TCP_WINDOW_CLAMP", connection.getsockopt, TCP, socket.TCP_WINDOW_CLAMP)

# Corked, two small writes are one segment. The fifth of a second that a cork may hold is not waited for.
corked = socket.create_connection((host, open_port))
corked.setsockopt(TCP, socket.TCP_CORK, 1)
before = info(corked)["data_segs_out"]
corked.sendall(request[:10])
corked.sendall(request[10:])
corked.setsockopt(TCP, socket.TCP_CORK, 0)
answer = corked.recv(65_536)
print("corked", info(corked)["data_segs_out"] - before, answer[:8])

# What is set before a connection is there counts for it.
small = socket.socket()
small.setsockopt(TCP, socket.TCP_MAXSEG, 1000)
small.setsockopt(TCP, socket.TCP_NODELAY, 1)
small.connect((host, open_port))
print("small", small.getsockopt(TCP, socket.TCP_MAXSEG), info(small)["snd_mss"])
