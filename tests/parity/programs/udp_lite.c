/* UDP-Lite: sockets of their own, with a checksum that may cover the front only (udplite(7)). */
#include "parity.h"

#ifndef UDPLITE_SEND_CSCOV
#define UDPLITE_SEND_CSCOV 10
#define UDPLITE_RECV_CSCOV 11
#endif

static int lite(int family, in_port_t port)
{
    union address address = loopback(family, port);
    int fd = (int)MUST(socket(family, SOCK_DGRAM, IPPROTO_UDPLITE));

    MUST(bind(fd, &address.any, length_of(&address)));
    return fd;
}

static int lite_connected_to(int family, int server)
{
    union address to = loopback(family, port_of(server));
    int fd = (int)MUST(socket(family, SOCK_DGRAM, IPPROTO_UDPLITE));

    MUST(connect(fd, &to.any, length_of(&to)));
    return fd;
}

static const char *option(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;

    if (getsockopt(fd, level, name, &value, &length) < 0)
        return errno_named(errno);
    return label("%d (%u)", value, length);
}

static void talk(int family)
{
    int server = lite(family, 0), client = lite_connected_to(family, server);
    union address from;
    socklen_t length = sizeof from;
    char bytes[16];

    fact("SO_PROTOCOL", "%s", option(client, SOL_SOCKET, SO_PROTOCOL));
    fact("SO_TYPE", "%s", option(client, SOL_SOCKET, SO_TYPE));
    fact("send", "%s", outcome(send(client, "light", 5, 0)));
    await(server, POLLIN);
    fact("recvfrom", "%s", received(bytes, recvfrom(server, bytes, sizeof bytes, 0, &from.any, &length)));
    fact("from", "%s", address_named(&from, length));
    fact("sendto", "%s", outcome(sendto(server, "back", 4, 0, &from.any, length)));
    await(client, POLLIN);
    fact("recv", "%s", received(bytes, recv(client, bytes, sizeof bytes, 0)));
    fact("largest", "%s", outcome(send(client, NULL, 70000, 0)));
}

static void talk_v4(void)
{
    talk(AF_INET);
}

static void talk_v6(void)
{
    talk(AF_INET6);
}

/* Its ports are not those of UDP. */
static void ports(void)
{
    int server = lite(AF_INET, 0), plain = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, port_of(server)));
    int client = lite_connected_to(AF_INET, server);
    char bytes[16];

    MUST(send(client, "x", 1, 0));
    await(server, POLLIN);
    fact("UDP-Lite", "%s", received(bytes, recv(server, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("UDP", "%s", received(bytes, recv(plain, bytes, sizeof bytes, MSG_DONTWAIT)));
    MUST(close(server));
    MUST(send(client, "x", 1, 0));
    fact("nobody there shows POLLERR", "%d", await(client, POLLERR));
    fact("nobody there", "%s", outcome(send(client, "x", 1, 0)));
}

static void coverage(void)
{
    static const int VALUES[] = {-1, 0, 1, 7, 8, 20, 65535, 65536};
    int server = lite(AF_INET, 0), client = lite_connected_to(AF_INET, server);
    int udp = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0)), twenty = 20, twelve = 12;
    char bytes[32];

    fact("to send", "%s", option(client, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV));
    fact("to receive", "%s", option(client, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV));
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        fact(label("send %d", VALUES[i]), "%s", outcome(setsockopt(client, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &VALUES[i], sizeof VALUES[i])));
        fact(label("send %d read", VALUES[i]), "%s", option(client, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV));
        fact(label("receive %d", VALUES[i]), "%s", outcome(setsockopt(client, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV, &VALUES[i], sizeof VALUES[i])));
        fact(label("receive %d read", VALUES[i]), "%s", option(client, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV));
    }
    fact("short", "%s", outcome(setsockopt(client, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &twelve, 2)));
    fact("by the level of UDP", "%s", option(client, IPPROTO_UDP, UDPLITE_RECV_CSCOV));
    fact("of UDP", "%s", option(udp, IPPROTO_UDP, UDPLITE_SEND_CSCOV));
    fact("of UDP, set", "%s", outcome(setsockopt(udp, IPPROTO_UDP, UDPLITE_SEND_CSCOV, &twelve, sizeof twelve)));
    set_int(client, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, 12);
    set_int(server, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV, 20);
    MUST(send(client, "covered too little", 18, 0));
    MUST(setsockopt(client, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &twenty, sizeof twenty));
    MUST(send(client, "covered enough", 14, 0));
    await(server, POLLIN);
    fact("arrives", "%s", received(bytes, recv(server, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("nothing else", "%s", received(bytes, recv(server, bytes, sizeof bytes, MSG_DONTWAIT)));
}

const struct parity_case cases[] = {
    {"talk_v4", talk_v4},
    {"talk_v6", talk_v6},
    {"ports", ports},
    {"coverage", coverage},
    {NULL, NULL},
};
