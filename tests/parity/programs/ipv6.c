/* IPv6 and dual stack: mapped addresses, V6ONLY, who may share a port with whom, and IPv4 asked of IPv6 sockets. */
#include "parity.h"

static union address mapped(in_port_t port)
{
    union address address = wildcard(AF_INET6, port);

    inet_pton(AF_INET6, "::ffff:127.0.0.1", &address.v6.sin6_addr);
    return address;
}

static int listening_at(union address address, int only)
{
    int fd = (int)MUST(socket(address.any.sa_family, SOCK_STREAM, 0));

    if (address.any.sa_family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
    MUST(bind(fd, &address.any, length_of(&address)));
    MUST(listen(fd, 4));
    return fd;
}

static void visited(const char *who, int listening, union address to)
{
    union address from;
    socklen_t length = sizeof from;
    int client = (int)MUST(socket(to.any.sa_family, SOCK_STREAM, 0));
    const char *made = outcome(connect(client, &to.any, length_of(&to)));
    int fd;

    fact(label("%s, connect", who), "%s", made);
    if (strcmp(made, "0"))
        return;
    fact(label("%s, own name", who), "%s", local_name(client));
    fact(label("%s, peer's name", who), "%s", peer_name(client));
    fd = accept(listening, &from.any, &length);
    fact(label("%s, accept", who), "%s", success(fd));
    fact(label("%s, from", who), "%s", address_named(&from, length));
    fact(label("%s, accepted, own name", who), "%s", local_name(fd));
    fact(label("%s, accepted, peer's name", who), "%s", peer_name(fd));
    close(fd);
    close(client);
}

static void dual_stack(void)
{
    int fd = listening_at(wildcard(AF_INET6, 0), 0);
    in_port_t port = port_of(fd);

    fact("name", "%s", local_name(fd));
    visited("IPv6", fd, loopback(AF_INET6, port));
    visited("IPv4", fd, loopback(AF_INET, port));
    visited("mapped", fd, mapped(port));
    visited("wildcard", fd, wildcard(AF_INET6, port));
}

static void only_v6(void)
{
    int fd = listening_at(wildcard(AF_INET6, 0), 1);
    in_port_t port = port_of(fd);
    int only = 0;

    visited("IPv6", fd, loopback(AF_INET6, port));
    visited("IPv4", fd, loopback(AF_INET, port));
    visited("mapped", fd, mapped(port));
    fact("V6ONLY when bound", "%s", outcome(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only)));
}

static void mapped_listener(void)
{
    int fd = listening_at(mapped(0), 0);
    in_port_t port = port_of(fd);

    fact("name", "%s", local_name(fd));
    visited("IPv4", fd, loopback(AF_INET, port));
    visited("mapped", fd, mapped(port));
    visited("IPv6", fd, loopback(AF_INET6, port));
}

static void v4_listener(void)
{
    int fd = listening_at(loopback(AF_INET, 0), 0);
    in_port_t port = port_of(fd);
    union address to = mapped(port);
    int client = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0));

    visited("mapped", fd, to);
    set_int(client, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    fact("mapped with V6ONLY", "%s", outcome(connect(client, &to.any, sizeof to.v6)));
    visited("IPv6", fd, loopback(AF_INET6, port));
}

static const char *try_bind(union address address, int only)
{
    int fd = (int)MUST(socket(address.any.sa_family, SOCK_STREAM, 0));

    if (address.any.sa_family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, only);
    return outcome(bind(fd, &address.any, length_of(&address)));
}

static void one_port(void)
{
    in_port_t port = port_of(listening_at(wildcard(AF_INET6, 0), 0));

    fact("dual, then IPv4", "%s", try_bind(wildcard(AF_INET, port), 0));
    fact("dual, then IPv4's loopback", "%s", try_bind(loopback(AF_INET, port), 0));
    fact("dual, then IPv6's loopback", "%s", try_bind(loopback(AF_INET6, port), 1));
    port = port_of(listening_at(wildcard(AF_INET6, 0), 1));
    fact("only, then IPv4", "%s", try_bind(wildcard(AF_INET, port), 0));
    fact("only, then dual", "%s", try_bind(wildcard(AF_INET6, port), 0));
    port = port_of(listening_at(wildcard(AF_INET, 0), 0));
    fact("IPv4, then dual", "%s", try_bind(wildcard(AF_INET6, port), 0));
    fact("IPv4, then only", "%s", try_bind(wildcard(AF_INET6, port), 1));
    fact("mapped with V6ONLY", "%s", try_bind(mapped(0), 1));
}

static void datagrams(void)
{
    int server = bound_to(AF_INET6, SOCK_DGRAM, wildcard(AF_INET6, 0));
    int v4 = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int v6 = bound_to(AF_INET6, SOCK_DGRAM, loopback(AF_INET6, 0));
    union address to4 = loopback(AF_INET, port_of(server)), to6 = loopback(AF_INET6, port_of(server)), from;
    socklen_t length = sizeof from;
    char bytes[8];

    MUST(sendto(v4, "four", 4, 0, &to4.any, sizeof to4.v4));
    await(server, POLLIN);
    fact("IPv4", "%s", received(bytes, recvfrom(server, bytes, sizeof bytes, 0, &from.any, &length)));
    fact("IPv4, from", "%s", address_named(&from, length));
    fact("IPv4, answer", "%s", outcome(sendto(server, "four", 4, 0, &from.any, length)));
    length = sizeof from;
    await(v4, POLLIN);
    fact("IPv4, answered", "%s", received(bytes, recvfrom(v4, bytes, sizeof bytes, MSG_DONTWAIT, &from.any, &length)));
    fact("IPv4, answered from", "%s", address_named(&from, length));
    MUST(sendto(v6, "six", 3, 0, &to6.any, sizeof to6.v6));
    await(server, POLLIN);
    length = sizeof from;
    fact("IPv6", "%s", received(bytes, recvfrom(server, bytes, sizeof bytes, 0, &from.any, &length)));
    fact("IPv6, from", "%s", address_named(&from, length));
    fact("IPv6, answer", "%s", outcome(sendto(server, "six", 3, 0, &from.any, length)));
    await(v6, POLLIN);
    fact("IPv6, answered", "%s", received(bytes, recv(v6, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("IPv4's address to IPv6's socket", "%s", outcome(sendto(v6, "x", 1, 0, &to4.any, sizeof to4.v4)));
}

static void connected_datagrams(void)
{
    int server = bound_to(AF_INET, SOCK_DGRAM, loopback(AF_INET, 0));
    int client = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    union address to = mapped(port_of(server));
    struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
    char bytes[8];

    fact("connect to mapped", "%s", outcome(connect(client, &to.any, sizeof to.v6)));
    fact("own name", "%s", local_name(client));
    fact("peer's name", "%s", peer_name(client));
    fact("send", "%s", outcome(send(client, "hello", 5, 0)));
    await(server, POLLIN);
    fact("recv", "%s", received(bytes, recv(server, bytes, sizeof bytes, MSG_DONTWAIT)));
    fact("dissolve", "%s", outcome(connect(client, &nowhere, sizeof nowhere)));
    fact("dissolved, own name", "%s", local_name(client));
    to = loopback(AF_INET, port_of(server));
    fact("connect to IPv4's address", "%s", outcome(connect(client, &to.any, sizeof to.v4)));
    fact("its peer", "%s", peer_name(client));
}

static void refused(void)
{
    union address to = loopback(AF_INET6, free_port(AF_INET6, SOCK_STREAM));
    int fd = (int)MUST(socket(AF_INET6, SOCK_STREAM, 0));

    fact("IPv6", "%s", outcome(connect(fd, &to.any, sizeof to.v6)));
    to = mapped(free_port(AF_INET, SOCK_STREAM));
    fact("mapped", "%s", outcome(connect((int)MUST(socket(AF_INET6, SOCK_STREAM, 0)), &to.any, sizeof to.v6)));
}

static void bulk(void)
{
    static char block[1 << 16];
    int ends[2];
    long sent = 0, got = 0;
    unsigned char sum = 0, expected = 0;

    connection(AF_INET6, ends);
    set_nonblocking(ends[0]);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 7);
    while (got < 1 << 20) {
        static unsigned char room[1 << 16];
        ssize_t count;

        if (sent < 1 << 20 && (count = send(ends[0], block + sent % (1 << 16), (size_t)((1 << 16) - sent % (1 << 16)), 0)) > 0)
            sent += count;
        await(ends[1], POLLIN);
        count = recv(ends[1], room, sizeof room, 0);
        if (count <= 0)
            break;
        for (ssize_t i = 0; i < count; i++) {
            sum = (unsigned char)(sum * 31 + room[i]);
            expected = (unsigned char)(expected * 31 + (unsigned char)block[(got + i) % (1 << 16)]);
        }
        got += count;
    }
    fact("received", "%ld", got);
    fact("as it was sent", "%d", sum == expected);
}

const struct parity_case cases[] = {
    {"dual_stack", dual_stack},
    {"only_v6", only_v6},
    {"mapped_listener", mapped_listener},
    {"v4_listener", v4_listener},
    {"one_port", one_port},
    {"datagrams", datagrams},
    {"connected_datagrams", connected_datagrams},
    {"refused", refused},
    {"bulk", bulk},
    {NULL, NULL},
};
