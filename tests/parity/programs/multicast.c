/* Broadcast and multicast on the loopback: who may send, who gets a copy, and what membership takes. */
#include "parity.h"

#include <net/if.h>

static const char GROUP[] = "239.1.2.3", OTHER_GROUP[] = "239.1.2.4", GROUP_V6[] = "ff01::1234";

static union address group(const char *text, in_port_t port)
{
    union address address = wildcard(AF_INET, port);

    inet_pton(AF_INET, text, &address.v4.sin_addr);
    return address;
}

static struct ip_mreq membership(const char *text)
{
    struct ip_mreq request = {.imr_interface.s_addr = htonl(INADDR_LOOPBACK)};

    inet_pton(AF_INET, text, &request.imr_multiaddr);
    return request;
}

static const char *change(int fd, int name, const char *text)
{
    struct ip_mreq request = membership(text);

    return outcome(setsockopt(fd, IPPROTO_IP, name, &request, sizeof request));
}

/* A socket that shares its port and may be in a group. */
static int shared(in_port_t port)
{
    union address address = wildcard(AF_INET, port);
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

    set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    MUST(bind(fd, &address.any, sizeof address.v4));
    return fd;
}

/* A socket that sends to groups over the loopback. */
static int sender(void)
{
    struct in_addr interface = {htonl(INADDR_LOOPBACK)};
    int fd = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

    fact("IP_MULTICAST_IF", "%s", outcome(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface)));
    return fd;
}

static const char *next_at(int fd)
{
    char bytes[16];

    await(fd, POLLIN);
    return received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT));
}

static const char *nothing_at(int fd)
{
    char bytes[16];

    return received(bytes, recv(fd, bytes, sizeof bytes, MSG_DONTWAIT));
}

static void membership_v4(void)
{
    struct ip_mreq request = membership(GROUP);
    struct ip_mreqn newer = {.imr_ifindex = (int)if_nametoindex("lo")};
    int fd = shared(0);

    fact("join", "%s", change(fd, IP_ADD_MEMBERSHIP, GROUP));
    fact("join again", "%s", change(fd, IP_ADD_MEMBERSHIP, GROUP));
    fact("leave", "%s", change(fd, IP_DROP_MEMBERSHIP, GROUP));
    fact("leave again", "%s", change(fd, IP_DROP_MEMBERSHIP, GROUP));
    fact("join what is no group", "%s", change(fd, IP_ADD_MEMBERSHIP, "192.0.2.1"));
    fact("join, short", "%s", outcome(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, 4)));
    inet_pton(AF_INET, GROUP, &newer.imr_multiaddr);
    fact("join by index", "%s", outcome(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &newer, sizeof newer)));
    newer.imr_ifindex = 4711;
    fact("join at no interface", "%s", outcome(setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &newer, sizeof newer)));
    fact("stream joins", "%s", change((int)MUST(socket(AF_INET, SOCK_STREAM, 0)), IP_ADD_MEMBERSHIP, GROUP));
}

/* Every member has a copy, the sender too when it is one. */
static void fan_out(void)
{
    int first = shared(0), second, from;
    in_port_t port = port_of(first);
    union address to = group(GROUP, port), other = group(OTHER_GROUP, port);

    second = shared(port);
    fact("first joins", "%s", change(first, IP_ADD_MEMBERSHIP, GROUP));
    fact("second joins", "%s", change(second, IP_ADD_MEMBERSHIP, GROUP));
    fact("second joins another", "%s", change(second, IP_ADD_MEMBERSHIP, OTHER_GROUP));
    set_int(second, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    set_int(first, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    from = sender();
    fact("send", "%s", outcome(sendto(from, "to both", 7, 0, &to.any, sizeof to.v4)));
    fact("first", "%s", next_at(first));
    fact("second", "%s", next_at(second));
    fact("send to the other", "%s", outcome(sendto(from, "to one", 6, 0, &other.any, sizeof other.v4)));
    fact("second has it", "%s", next_at(second));
    fact("first does not", "%s", nothing_at(first));
    fact("second leaves", "%s", change(second, IP_DROP_MEMBERSHIP, GROUP));
    fact("send again", "%s", outcome(sendto(from, "to one", 6, 0, &to.any, sizeof to.v4)));
    fact("first has it", "%s", next_at(first));
    fact("second has it no more", "%s", nothing_at(second));
}

static void without_loop(void)
{
    int member = shared(0), from;
    union address to = group(GROUP, port_of(member));

    fact("join", "%s", change(member, IP_ADD_MEMBERSHIP, GROUP));
    from = sender();
    set_int(from, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
    fact("send", "%s", outcome(sendto(from, "unheard", 7, 0, &to.any, sizeof to.v4)));
    set_int(from, IPPROTO_IP, IP_MULTICAST_LOOP, 1);
    fact("send with loop", "%s", outcome(sendto(from, "heard", 5, 0, &to.any, sizeof to.v4)));
    fact("first that arrives", "%s", next_at(member));
}

static void source_specific(void)
{
    struct ip_mreq_source request = {.imr_interface.s_addr = htonl(INADDR_LOOPBACK), .imr_sourceaddr.s_addr = htonl(INADDR_LOOPBACK)};
    int member = shared(0);

    inet_pton(AF_INET, "232.1.2.3", &request.imr_multiaddr);
    fact("join a source", "%s", outcome(setsockopt(member, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request)));
    fact("leave a source", "%s", outcome(setsockopt(member, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, sizeof request)));
    fact("block without joining", "%s", outcome(setsockopt(member, IPPROTO_IP, IP_BLOCK_SOURCE, &request, sizeof request)));
}

static void protocol_independent(void)
{
    struct group_req request = {.gr_interface = if_nametoindex("lo")};
    union address to = group(GROUP, 0);
    int member = shared(0);

    memcpy(&request.gr_group, &to, sizeof to.v4);
    fact("MCAST_JOIN_GROUP", "%s", outcome(setsockopt(member, IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof request)));
    fact("MCAST_LEAVE_GROUP", "%s", outcome(setsockopt(member, IPPROTO_IP, MCAST_LEAVE_GROUP, &request, sizeof request)));
}

static void membership_v6(void)
{
    union address address = wildcard(AF_INET6, 0);
    struct ipv6_mreq request = {.ipv6mr_interface = if_nametoindex("lo")};
    int member = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    int from = (int)MUST(socket(AF_INET6, SOCK_DGRAM, 0));
    int index = (int)request.ipv6mr_interface;
    union address to;

    MUST(bind(member, &address.any, sizeof address.v6));
    to = wildcard(AF_INET6, port_of(member));
    inet_pton(AF_INET6, GROUP_V6, &to.v6.sin6_addr);
    request.ipv6mr_multiaddr = to.v6.sin6_addr;
    fact("join", "%s", outcome(setsockopt(member, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request, sizeof request)));
    fact("join again", "%s", outcome(setsockopt(member, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request, sizeof request)));
    fact("IPV6_MULTICAST_IF", "%s", outcome(setsockopt(from, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index)));
    fact("send", "%s", outcome(sendto(from, "to all", 6, 0, &to.any, sizeof to.v6)));
    fact("arrives", "%s", next_at(member));
    fact("leave", "%s", outcome(setsockopt(member, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &request, sizeof request)));
    fact("leave again", "%s", outcome(setsockopt(member, IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, &request, sizeof request)));
}

static void broadcast(void)
{
    int first = shared(0);
    int second = shared(port_of(first));
    union address to = group("127.255.255.255", port_of(first));
    int from = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

    fact("without SO_BROADCAST", "%s", outcome(sendto(from, "shout", 5, 0, &to.any, sizeof to.v4)));
    fact("connect without", "%s", outcome(connect(from, &to.any, sizeof to.v4)));
    set_int(from, SOL_SOCKET, SO_BROADCAST, 1);
    fact("with", "%s", outcome(sendto(from, "shout", 5, 0, &to.any, sizeof to.v4)));
    fact("first", "%s", next_at(first));
    fact("second", "%s", next_at(second));
    fact("connect with", "%s", outcome(connect(from, &to.any, sizeof to.v4)));
    fact("send", "%s", outcome(send(from, "again", 5, 0)));
    fact("first again", "%s", next_at(first));
}

/* A unicast datagram goes to one of those that share a port: the last that was bound. */
static void shared_port(void)
{
    int first = shared(0);
    int second = shared(port_of(first));
    union address to = loopback(AF_INET, port_of(first));
    int from = (int)MUST(socket(AF_INET, SOCK_DGRAM, 0));

    MUST(sendto(from, "one", 3, 0, &to.any, sizeof to.v4));
    fact("the last bound", "%s", next_at(second));
    fact("the first", "%s", nothing_at(first));
}

const struct parity_case cases[] = {
    {"membership_v4", membership_v4},
    {"fan_out", fan_out},
    {"without_loop", without_loop},
    {"source_specific", source_specific},
    {"protocol_independent", protocol_independent},
    {"membership_v6", membership_v6},
    {"broadcast", broadcast},
    {"shared_port", shared_port},
    {NULL, NULL},
};
