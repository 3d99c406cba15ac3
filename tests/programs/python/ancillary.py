"""Control messages, the error queue and groups over the loopback of the stack, one line each, without port numbers."""

import select
import socket
import struct

IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
IP_TOS, IP_TTL, IP_PKTINFO, IP_RECVERR, IP_RECVTTL, IP_RECVTOS = 1, 2, 8, 11, 12, 13
IP_MULTICAST_IF, IP_MULTICAST_TTL, IP_MULTICAST_LOOP, IP_ADD_MEMBERSHIP, IP_DROP_MEMBERSHIP = 32, 33, 34, 35, 36
IPV6_UNICAST_HOPS, IPV6_RECVERR, IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_RECVHOPLIMIT, IPV6_HOPLIMIT = 16, 25, 49, 50, 51, 52
IPV6_RECVTCLASS, IPV6_TCLASS = 66, 67
MSG_ERRQUEUE = 0x2000


def receiver(family, address):
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.bind((address, 0))
    bound.settimeout(20)
    return bound


def shown(bound, room, flags=0):
    data, control, flags, sender = bound.recvmsg(100, room, flags)
    print(data, control, flags, sender[0])


def attempt(what, call):
    try:
        print(what, call())
    except OSError as error:
        print(what, error.strerror)


for family, address, level, options, sent in (
    (socket.AF_INET, "127.0.0.1", IP, (IP_PKTINFO, IP_RECVTTL, IP_RECVTOS), (IP_TTL, IP_TOS)),
    (socket.AF_INET6, "::1", IPV6, (IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS), (IPV6_UNICAST_HOPS, IPV6_TCLASS)),
):
    bound, client = receiver(family, address), socket.socket(family, socket.SOCK_DGRAM)
    for option in options:
        bound.setsockopt(level, option, 1)
        print("set", bound.getsockopt(level, option))
    for option, value in zip(sent, (33, 16)):
        client.setsockopt(level, option, value)
        print("set", client.getsockopt(level, option))
    to = bound.getsockname()
    client.sendto(b"by options", to)
    shown(bound, 200)
    hops = IP_TTL if family == socket.AF_INET else IPV6_HOPLIMIT
    client.sendmsg([b"by control message"], [(level, hops, struct.pack("i", 7))], 0, to)
    shown(bound, 200, socket.MSG_PEEK)
    for room in (0, 10, 30, 50):
        client.sendto(b"no room", to)
        shown(bound, room)
    attempt("bad hops", lambda: client.sendmsg([b"x"], [(level, hops, struct.pack("i", 1000))], 0, to))
    client.sendto(b"0123456789" * 20, to)
    shown(bound, 0)
    bound.close()

    asking = socket.socket(family, socket.SOCK_DGRAM)
    asking.setsockopt(level, IP_RECVERR if family == socket.AF_INET else IPV6_RECVERR, 1)
    attempt("nothing", lambda: asking.recvmsg(100, 200, MSG_ERRQUEUE))
    asking.sendto(b"to a closed port", (address, to[1]))
    poll = select.poll()
    poll.register(asking, select.POLLIN)
    poll.poll(20_000)
    shown(asking, 200, MSG_ERRQUEUE)
    attempt("nothing", lambda: asking.recvmsg(100, 200, MSG_ERRQUEUE))

GROUP, LOOPBACK = socket.inet_aton("239.1.1.1"), socket.inet_aton("127.0.0.1")
members = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for member in members:
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    member.bind(("", members[0].getsockname()[1] if member is members[1] else 0))
    member.setsockopt(IP, IP_ADD_MEMBERSHIP, GROUP + LOOPBACK)
    member.settimeout(20)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(IP, IP_MULTICAST_IF, LOOPBACK)
for option in (IP_MULTICAST_TTL, IP_MULTICAST_LOOP):
    print("default", client.getsockopt(IP, option))
client.sendto(b"to all members", ("239.1.1.1", members[0].getsockname()[1]))
print([member.recv(100) for member in members])
attempt("again", lambda: members[0].setsockopt(IP, IP_ADD_MEMBERSHIP, GROUP + LOOPBACK))
members[0].setsockopt(IP, IP_DROP_MEMBERSHIP, GROUP + LOOPBACK)
attempt("left twice", lambda: members[0].setsockopt(IP, IP_DROP_MEMBERSHIP, GROUP + LOOPBACK))
attempt("no group", lambda: members[0].setsockopt(IP, IP_ADD_MEMBERSHIP, LOOPBACK + LOOPBACK))
attempt("bad TTL", lambda: client.setsockopt(IP, IP_TTL, 0))
