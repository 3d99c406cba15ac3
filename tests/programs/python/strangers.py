"""A child that holds no socket looks up the names of its parent's, as anybody in the network namespace can, and asks about
them by ends that it gives such names."""

import os
import socket
import struct

SO_PROTOCOL = 38
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, DUMP, DONE = 4, 20, 0x301, 3


def names():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as diag:
        header = struct.pack("=IHHII", 40, SOCK_DIAG_BY_FAMILY, DUMP, 1, 0)
        # struct unix_diag_req: in every state, with UDIAG_SHOW_NAME
        diag.send(header + struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, 1, 0, 0))
        while True:
            answers = diag.recv(1 << 16)
            while answers:
                length, kind = struct.unpack_from("=IH", answers)
                if kind == DONE:
                    return
                attributes = answers[32:length]
                while attributes:
                    size, kind = struct.unpack_from("=HH", attributes)
                    if kind == 0:
                        yield attributes[4:size]
                    attributes = attributes[(size + 3) & ~3 :]
                answers = answers[(length + 3) & ~3 :]


def role(name):
    return chr(name[25])


def asked(fake):
    try:
        return f"is of protocol {fake.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL)}"
    except OSError as error:
        return error.strerror


def seen_by_a_stranger():
    found = {name for name in names() if name.startswith(b"\0tubesock")}
    streams = [name for name in found if role(name) == "s"]
    for name in found:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with near, far:
            if role(name) == "a":
                near.bind(streams[0])
                far.bind(name)
            elif role(name) in "sd":
                near.bind(name)
            else:
                continue
            yield f"{role(name)}: {asked(near)}"


listener = socket.create_server(("127.0.0.1", 80))
client = socket.create_connection(("127.0.0.1", 80))
accepted, _ = listener.accept()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if os.fork() == 0:
    for held in (listener, client, accepted, datagrams):
        held.close()
    print(*sorted(set(seen_by_a_stranger())), sep="\n", flush=True)
    os._exit(0)
os.wait()
if os.fork() == 0:
    print(*sorted({asked(held) for held in (listener, client, accepted, datagrams)}), sep="\n", flush=True)
    os._exit(0)
os.wait()
