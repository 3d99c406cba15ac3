/* Sockets of NETLINK_ROUTE: the calls, and what they tell of the loopback. The other interfaces are the machine's, or the
 * link's. */
#include "parity.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>

enum { ROOM = 32768, SEQUENCE = 4711 };

struct request {
    struct nlmsghdr header;
    union {
        struct rtgenmsg any;
        struct ifinfomsg link;
        struct ifaddrmsg address;
        struct rtmsg route;
    };
    char attributes[64];
};

static struct request request(int kind, int flags, size_t fixed)
{
    struct request made;

    memset(&made, 0, sizeof made);
    made.header = (struct nlmsghdr){NLMSG_LENGTH(fixed), (uint16_t)kind, (uint16_t)(NLM_F_REQUEST | flags), SEQUENCE, 0};
    return made;
}

static void attribute(struct request *to, int kind, const void *value, size_t length)
{
    struct rtattr *made = (struct rtattr *)((char *)to + NLMSG_ALIGN(to->header.nlmsg_len));

    made->rta_type = (uint16_t)kind;
    made->rta_len = (uint16_t)RTA_LENGTH(length);
    memcpy(RTA_DATA(made), value, length);
    to->header.nlmsg_len = (uint32_t)(NLMSG_ALIGN(to->header.nlmsg_len) + RTA_ALIGN(made->rta_len));
}

static int opened(int type)
{
    return (int)MUST(socket(AF_NETLINK, type | SOCK_CLOEXEC, NETLINK_ROUTE));
}

static uint32_t port_named(int fd)
{
    struct sockaddr_nl name;
    socklen_t length = sizeof name;

    MUST(getsockname(fd, (struct sockaddr *)&name, &length));
    return name.nl_pid;
}

static int bound(void)
{
    struct sockaddr_nl name = {.nl_family = AF_NETLINK};
    int fd = opened(SOCK_RAW);

    MUST(bind(fd, (struct sockaddr *)&name, sizeof name));
    return fd;
}

static const char *source_named(const struct sockaddr_nl *from, socklen_t length)
{
    return label("%u bytes, family %d, port %u, groups %u", length, from->nl_family, from->nl_pid, from->nl_groups);
}

static void tell_attribute(const char *of, int kind, const struct rtattr *found)
{
    char text[64];
    const unsigned char *bytes = RTA_DATA(found);

    if (RTA_PAYLOAD(found) == 16)
        inet_ntop(AF_INET6, bytes, text, sizeof text);
    else if (RTA_PAYLOAD(found) == 4)
        snprintf(text, sizeof text, "%d.%d.%d.%d", bytes[0], bytes[1], bytes[2], bytes[3]);
    else
        snprintf(text, sizeof text, "%d bytes, first %d", (int)RTA_PAYLOAD(found), bytes[0]);
    fact(label("%s, attribute %d", of, kind), "%s", text);
}

static void tell_attributes(const char *of, const struct nlmsghdr *message, size_t fixed, const int *kinds)
{
    int length = (int)message->nlmsg_len - (int)NLMSG_LENGTH(fixed);

    for (; *kinds; kinds++) {
        struct rtattr *each = (struct rtattr *)((char *)NLMSG_DATA(message) + NLMSG_ALIGN(fixed)), *found = NULL;
        int left = length;

        for (; RTA_OK(each, left); each = RTA_NEXT(each, left))
            if (each->rta_type == *kinds)
                found = each;
        if (found)
            tell_attribute(of, *kinds, found);
        else
            fact(label("%s, attribute %d", of, *kinds), "none");
    }
}

static void tell_link(const char *of, const struct nlmsghdr *message)
{
    static const int KINDS[] = {IFLA_IFNAME, IFLA_MTU, IFLA_ADDRESS, IFLA_BROADCAST, IFLA_OPERSTATE, IFLA_TXQLEN, IFLA_CARRIER, 0};
    const struct ifinfomsg *link = NLMSG_DATA(message);

    fact(of, "family %d, type %d, index %d, up %d, loopback %d, running %d, lower up %d", link->ifi_family,
         link->ifi_type, link->ifi_index, !!(link->ifi_flags & IFF_UP), !!(link->ifi_flags & IFF_LOOPBACK),
         !!(link->ifi_flags & IFF_RUNNING), !!(link->ifi_flags & 0x10000));
    tell_attributes(of, message, sizeof *link, KINDS);
}

static void tell_address(const char *of, const struct nlmsghdr *message)
{
    static const int KINDS[] = {IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_FLAGS, 0};
    const struct ifaddrmsg *address = NLMSG_DATA(message);

    fact(of, "family %d, %d bits, flags %#x, scope %d", address->ifa_family, address->ifa_prefixlen, address->ifa_flags,
         address->ifa_scope);
    tell_attributes(of, message, sizeof *address, KINDS);
}

static void tell_route(const char *of, const struct nlmsghdr *message)
{
    static const int KINDS[] = {RTA_DST, RTA_OIF, RTA_PREFSRC, RTA_GATEWAY, RTA_TABLE, RTA_PRIORITY, RTA_SRC, RTA_PREF, 0};
    const struct rtmsg *route = NLMSG_DATA(message);

    fact(of, "family %d, %d bits from %d, table %d, protocol %d, scope %d, type %d, flags %#x", route->rtm_family,
         route->rtm_dst_len, route->rtm_src_len, route->rtm_table, route->rtm_protocol, route->rtm_scope, route->rtm_type,
         route->rtm_flags);
    tell_attributes(of, message, sizeof *route, KINDS);
}

static void tell_error(const char *of, const struct nlmsghdr *message)
{
    const struct nlmsgerr *error = NLMSG_DATA(message);

    fact(of, "%s of kind %d, %u bytes of %u", error->error ? errno_named(-error->error) : "acknowledged",
         error->msg.nlmsg_type, message->nlmsg_len, error->msg.nlmsg_len);
}

/* Whether it is about the loopback. */
static bool is_ours(const struct nlmsghdr *message)
{
    switch (message->nlmsg_type) {
    case RTM_NEWLINK:
        return ((struct ifinfomsg *)NLMSG_DATA(message))->ifi_index == 1;
    case RTM_NEWADDR:
        return ((struct ifaddrmsg *)NLMSG_DATA(message))->ifa_index == 1;
    default:
        return true;
    }
}

static void tell(const char *of, const struct nlmsghdr *message, uint32_t port)
{
    if (!is_ours(message))
        return;
    fact(label("%s, header", of), "kind %d, flags %#x, sequence %u, port of the socket %d", message->nlmsg_type,
         message->nlmsg_flags, message->nlmsg_seq, message->nlmsg_pid == port);
    if (message->nlmsg_type == RTM_NEWLINK)
        tell_link(of, message);
    if (message->nlmsg_type == RTM_NEWADDR)
        tell_address(of, message);
    if (message->nlmsg_type == RTM_NEWROUTE)
        tell_route(of, message);
    if (message->nlmsg_type == NLMSG_ERROR)
        tell_error(of, message);
}

/* Sends a request, and tells of all messages that answer it. */
static void ask(const char *of, int fd, const struct request *asked)
{
    _Alignas(struct nlmsghdr) static char room[ROOM];
    uint32_t port = port_named(fd);
    int number = 0;
    bool more = false;

    fact(label("%s, sent", of), "%d", send(fd, asked, asked->header.nlmsg_len, 0) == asked->header.nlmsg_len);
    do {
        ssize_t count = MUST(recv(fd, room, sizeof room, 0));
        int left = (int)count;

        for (struct nlmsghdr *each = (struct nlmsghdr *)room; NLMSG_OK(each, left); each = NLMSG_NEXT(each, left)) {
            more = each->nlmsg_flags & NLM_F_MULTI && each->nlmsg_type != NLMSG_DONE;
            if (is_ours(each))
                tell(label("%s %d", of, number++), each, port);
        }
    } while (more);
}

static void names(void)
{
    struct sockaddr_nl name = {.nl_family = AF_NETLINK}, other;
    socklen_t length = sizeof name;
    int fd = opened(SOCK_RAW), value = 0;

    fact("bind", "%s", outcome(bind(fd, (struct sockaddr *)&name, sizeof name)));
    fact("getsockname", "%s", outcome(getsockname(fd, (struct sockaddr *)&name, &length)));
    fact("name", "%u bytes, family %d, port of the process %d", length, name.nl_family, name.nl_pid == (uint32_t)getpid());
    other = name;
    other.nl_pid += 1 << 22;
    fd = opened(SOCK_RAW);
    fact("bind to a port", "%s", outcome(bind(fd, (struct sockaddr *)&other, sizeof other)));
    fact("that port", "%d", port_named(fd) == other.nl_pid);
    fact("close on exec", "%d", !!(fcntl(fd, F_GETFD) & FD_CLOEXEC));
    fd = opened(SOCK_RAW | SOCK_NONBLOCK);
    fact("bind to the same port", "%s", outcome(bind(fd, (struct sockaddr *)&other, sizeof other)));
    fact("bind, too short", "%s", outcome(bind(fd, (struct sockaddr *)&other, 8)));
    other.nl_family = AF_INET;
    fact("bind, another family", "%s", outcome(bind(fd, (struct sockaddr *)&other, sizeof other)));
    name.nl_pid = 0;
    fact("bind, a second socket", "%s", outcome(bind(fd, (struct sockaddr *)&name, sizeof name)));
    fact("another port", "%d", port_named(fd) != (uint32_t)getpid());
    fact("connect", "%s", outcome(connect(fd, (struct sockaddr *)&name, sizeof name)));
    length = sizeof other;
    fact("getpeername", "%s", outcome(getpeername(fd, (struct sockaddr *)&other, &length)));
    fact("peer", "%s", source_named(&other, length));
    fact("nothing to read", "%s", received(&value, recv(fd, &value, sizeof value, 0)));
    fact("not blocking", "%d", !!(fcntl(fd, F_GETFL) & O_NONBLOCK));
}

static void options(void)
{
    static const struct {
        int level, option;
        const char *name;
    } OPTIONS[] = {
        {SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN"},
        {SOL_SOCKET, SO_TYPE, "SO_TYPE"},
        {SOL_SOCKET, SO_PROTOCOL, "SO_PROTOCOL"},
        {SOL_NETLINK, NETLINK_PKTINFO, "NETLINK_PKTINFO"},
        {SOL_NETLINK, NETLINK_CAP_ACK, "NETLINK_CAP_ACK"},
        {SOL_NETLINK, NETLINK_EXT_ACK, "NETLINK_EXT_ACK"},
        {SOL_NETLINK, 4711, "unknown"},
    };
    int fd = opened(SOCK_RAW), value, group = RTNLGRP_IPV4_IFADDR;
    socklen_t length = sizeof value;

    for (size_t i = 0; i < sizeof OPTIONS / sizeof *OPTIONS; i++) {
        value = -1;
        fact(OPTIONS[i].name, "%s", outcome(getsockopt(fd, OPTIONS[i].level, OPTIONS[i].option, &value, &length)));
        fact(label("%s, value", OPTIONS[i].name), "%d", value);
    }
    fact("NETLINK_ADD_MEMBERSHIP", "%s",
         outcome(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group)));
    value = 1;
    fact("NETLINK_EXT_ACK set", "%s", outcome(setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &value, sizeof value)));
    value = 65536;
    fact("SO_RCVBUF set", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, sizeof value)));
    fact("SO_SNDBUF set", "%s", outcome(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, sizeof value)));
}

static void links(void)
{
    struct request asked = request(RTM_GETLINK, NLM_F_DUMP, sizeof asked.any);
    int fd = bound();

    ask("all", fd, &asked);
    asked = request(RTM_GETLINK, 0, sizeof asked.link);
    asked.link.ifi_index = 1;
    ask("by number", fd, &asked);
    asked = request(RTM_GETLINK, 0, sizeof asked.link);
    attribute(&asked, IFLA_IFNAME, "lo", 3);
    ask("by name", fd, &asked);
    asked = request(RTM_GETLINK, NLM_F_ACK, sizeof asked.link);
    asked.link.ifi_index = 4711;
    ask("nobody", fd, &asked);
    asked = request(RTM_GETLINK, 0, sizeof asked.link);
    ask("nothing", fd, &asked);
}

static void addresses(void)
{
    static const struct {
        int family;
        const char *name;
    } FAMILIES[] = {{AF_UNSPEC, "both"}, {AF_INET, "IPv4"}, {AF_INET6, "IPv6"}};
    int fd = bound();

    for (int i = 0; i < 3; i++) {
        struct request asked = request(RTM_GETADDR, NLM_F_DUMP, sizeof asked.address);

        asked.address.ifa_family = (uint8_t)FAMILIES[i].family;
        ask(FAMILIES[i].name, fd, &asked);
    }
}

static void ways(void)
{
    static const char *TO[] = {"127.0.0.1", "127.1.2.3", "::1"};
    int fd = bound();

    for (int i = 0; i < 3; i++) {
        struct request asked = request(RTM_GETROUTE, 0, sizeof asked.route);
        unsigned char address[16];
        bool v6 = strchr(TO[i], ':');

        asked.route.rtm_family = v6 ? AF_INET6 : AF_INET;
        asked.route.rtm_dst_len = v6 ? 128 : 32;
        asked.route.rtm_flags = RTM_F_LOOKUP_TABLE;
        inet_pton(asked.route.rtm_family, TO[i], address);
        attribute(&asked, RTA_DST, address, v6 ? 16 : 4);
        ask(TO[i], fd, &asked);
    }
}

static void refused(void)
{
    struct request asked = request(4711, NLM_F_ACK, sizeof asked.any);
    int fd = bound();

    ask("a kind that is none", fd, &asked);
    asked = request(RTM_GETADDR, 0, sizeof asked.address);
    asked.address.ifa_family = AF_INET;
    ask("one address", fd, &asked);
    asked = request(NLMSG_NOOP, NLM_F_ACK, sizeof asked.any);
    ask("nothing, acknowledged", fd, &asked);
    asked = request(RTM_GETLINK, NLM_F_ACK, sizeof asked.link);
    asked.link.ifi_index = 1;
    ask("acknowledged", fd, &asked);
    /* Is it said by itself, behind the answer. */
    fact("and that it is done", "%s", events_of(fd));
    MUST(setuid(65534));
    asked = request(RTM_SETLINK, 0, sizeof asked.link);
    fd = bound();
    asked.link.ifi_index = 1;
    ask("a change", fd, &asked);
}

static void reading(void)
{
    _Alignas(struct nlmsghdr) static char room[ROOM];
    struct request asked = request(RTM_GETLINK, 0, sizeof asked.link);
    struct sockaddr_nl from, kernel = {.nl_family = AF_NETLINK};
    struct iovec part = {NULL, 0};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    socklen_t length = sizeof from;
    ssize_t whole;
    int fd = bound();

    asked.link.ifi_index = 1;
    fact("before", "%s", events_of(fd));
    fact("sendto", "%d", sendto(fd, &asked, asked.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) > 0);
    fact("asked", "%s", events_of(fd));
    whole = recvmsg(fd, &message, MSG_PEEK | MSG_TRUNC);
    fact("peek", "%d, cut %d", whole > 100, !!(message.msg_flags & MSG_TRUNC));
    fact("peek, from", "%s", source_named(&from, message.msg_namelen));
    part = (struct iovec){room, sizeof room};
    message.msg_namelen = sizeof from;
    fact("read", "as long %d, cut %d", recvmsg(fd, &message, 0) == whole, !!(message.msg_flags & MSG_TRUNC));
    fact("read, from", "%s", source_named(&from, message.msg_namelen));
    fact("after", "%s", events_of(fd));

    fact("write", "%d", write(fd, &asked, asked.header.nlmsg_len) == asked.header.nlmsg_len);
    fact("recvfrom, less", "%zd", recvfrom(fd, room, 20, 0, (struct sockaddr *)&from, &length));
    fact("recvfrom, from", "%s", source_named(&from, length));
    fact("the rest is lost", "%s", events_of(fd));

    part = (struct iovec){&asked, asked.header.nlmsg_len};
    message.msg_namelen = 0;
    message.msg_name = NULL;
    fact("writev", "%d", writev(fd, &part, 1) == asked.header.nlmsg_len);
    fact("read(2)", "%d", read(fd, room, sizeof room) == whole);
    fact("sendmsg", "%d", sendmsg(fd, &message, 0) == asked.header.nlmsg_len);
    fact("recv", "%d", recv(fd, room, sizeof room, MSG_DONTWAIT) == whole);
    fact("recv, nothing", "%s", received(room, recv(fd, room, sizeof room, MSG_DONTWAIT)));
}

static void several(void)
{
    _Alignas(struct nlmsghdr) static char rooms[4][4096];
    struct request asked = request(RTM_GETLINK, 0, sizeof asked.link);
    struct sockaddr_nl from[4];
    struct iovec sent[2], parts[4];
    struct mmsghdr out[2], in[4];
    char both[2 * sizeof asked];
    size_t length = asked.header.nlmsg_len;
    int fd = bound(), got;

    asked.link.ifi_index = 1;
    memset(out, 0, sizeof out);
    memset(in, 0, sizeof in);
    for (int i = 0; i < 2; i++) {
        sent[i] = (struct iovec){&asked, length};
        out[i].msg_hdr = (struct msghdr){.msg_iov = &sent[i], .msg_iovlen = 1};
    }
    for (int i = 0; i < 4; i++) {
        parts[i] = (struct iovec){rooms[i], sizeof rooms[i]};
        in[i].msg_hdr = (struct msghdr){.msg_name = &from[i], .msg_namelen = sizeof from[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    fact("sendmmsg", "%s", outcome(sendmmsg(fd, out, 2, 0)));
    memcpy(both, &asked, length);
    memcpy(both + length, &asked, length);
    fact("two in one", "%d", send(fd, both, 2 * length, 0) == (ssize_t)(2 * length));
    got = recvmmsg(fd, in, 4, MSG_WAITFORONE, NULL);
    fact("recvmmsg", "%s", outcome(got));
    for (int i = 0; i < got; i++)
        fact(label("recvmmsg %d", i), "%d, %s", in[i].msg_len > 100, source_named(&from[i], in[i].msg_hdr.msg_namelen));
}

static void shared(void)
{
    struct request asked = request(RTM_GETLINK, 0, sizeof asked.link);
    int fd = bound(), copy = (int)MUST(dup(fd));
    pid_t child;

    asked.link.ifi_index = 1;
    ask("by a copy", copy, &asked);
    child = (pid_t)MUST(fork());
    if (child == 0) {
        ask("by a child", fd, &asked);
        _exit(0);
    }
    fact("child", "%s", end_of(child));
    ask("after the child", fd, &asked);
    MUST(close(fd));
    ask("after a close", copy, &asked);
}

static void damaged(void)
{
    struct request asked = request(RTM_GETLINK, 0, sizeof asked.link);
    int fd = bound();

    set_nonblocking(fd);
    fact("no bytes", "%s", outcome(send(fd, &asked, 0, 0)));
    fact("no bytes, answer", "%s", events_of(fd));
    fact("half a header", "%s", outcome(send(fd, &asked, 8, 0)));
    fact("half a header, answer", "%s", events_of(fd));
    asked.header.nlmsg_len = 4096;
    fact("longer than it is", "%s", outcome(send(fd, &asked, 32, 0)));
    fact("longer than it is, answer", "%s", events_of(fd));
    asked.header.nlmsg_len = 3;
    fact("shorter than a header", "%s", outcome(send(fd, &asked, 32, 0)));
    fact("shorter than a header, answer", "%s", events_of(fd));
    asked.header.nlmsg_len = NLMSG_LENGTH(0);
    fact("a header alone", "%s", outcome(send(fd, &asked, NLMSG_LENGTH(0), 0)));
    fact("a header alone, answer", "%s", events_of(fd));
    asked = request(RTM_GETLINK, 0, sizeof asked.any);
    ask("less than the kind needs", fd, &asked);
}

const struct parity_case cases[] = {
    {"names", names},       {"options", options}, {"links", links},     {"addresses", addresses}, {"ways", ways},
    {"refused", refused},   {"reading", reading}, {"several", several}, {"shared", shared},       {"damaged", damaged},
    {NULL, NULL},
};
